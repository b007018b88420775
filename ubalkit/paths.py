"""Where data, figures and runs lie; no other module builds a path.

Three environment variables move things: ``UBALKIT_HOME`` (the repository),
``UBALKIT_RUNS`` (what runs write; ignored by git) and ``UBALKIT_MNIST`` (the
folder that holds ``MNIST/raw``, as torchvision lays it out).
"""

import os
import re
from pathlib import Path

__all__ = ["home", "data", "figures", "notebooks", "runs", "mnist", "writable"]


def home() -> Path:
    """The repository."""
    return Path(os.environ.get("UBALKIT_HOME") or Path(__file__).parents[1]).resolve()


def data(profile: str = "") -> Path:
    """Recorded observations: committed, read only by the code."""
    return home() / "data" / _folder(profile)


def figures() -> Path:
    """Figures as published: committed, written by ``make reproduce`` alone."""
    return home() / "figures"


def notebooks() -> Path:
    """The numbered notebooks."""
    return home() / "notebooks"


def runs(profile: str = "") -> Path:
    """What runs of a profile write: observations, frames, figures, executed notebooks."""
    return Path(os.environ.get("UBALKIT_RUNS") or home() / "runs").resolve() / _folder(profile)


def _folder(name: str) -> str:
    # A name is a folder in ours, never a way out of it.
    if name != "" and not (isinstance(name, str) and re.fullmatch(r"\w[\w .+-]{0,99}", name)):
        raise ValueError(
            f"The name {name!r:.60} cannot be that of a folder: up to 100 letters, digits, spaces and any of "
            "_ . + - are allowed, a letter or digit first."
        )
    return name


def mnist() -> Path:
    """Root of the MNIST archives, the `root` of torchvision's data set."""
    return Path(os.environ.get("UBALKIT_MNIST") or data("mnist"))


def writable(folder: Path) -> Path:
    """Make a folder and see that it can be written to.

    Raises
    ------
    ValueError
        If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"The folder {folder} cannot be written to ({error.strerror}); "
            "name another one or set UBALKIT_RUNS."
        ) from error
    return folder
