"""Files: where they lie, written whole or not at all, sealed so that a changed one is noticed.

Three environment variables move things: ``UBALKIT_HOME`` (the repository),
``UBALKIT_RUNS`` (what runs write; ignored by git) and ``UBALKIT_MNIST`` (the
folder that holds ``MNIST/raw``).
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pandas as pd

from ubalkit import __version__


def home() -> Path:
    """The repository."""
    return Path(os.environ.get("UBALKIT_HOME") or Path(__file__).parents[1]).resolve()


def data(name: str = "") -> Path:
    """Recorded observations: committed, only read by the code."""
    return home() / "data" / _folder(name)


def figures() -> Path:
    """Figures as published: committed, written by ``make reproduce`` alone."""
    return home() / "figures"


def notebooks() -> Path:
    """The numbered notebooks."""
    return home() / "notebooks"


def runs(name: str = "") -> Path:
    """What the runs of an experiment write: observations, frames, figures, executed notebooks."""
    return Path(os.environ.get("UBALKIT_RUNS") or home() / "runs").absolute() / _folder(name)


def _folder(name: str) -> str:
    # A name is a folder in ours, never a way out of it.
    if name != "" and not (isinstance(name, str) and re.fullmatch(r"\w[\w .+-]{0,99}", name)):
        raise ValueError(
            f"The name {name!r:.60} cannot be that of a folder: up to 100 letters, digits, spaces and any of "
            "_ . + - are allowed, a letter or digit first."
        )
    return name


def mnist() -> Path:
    """What holds ``MNIST/raw``, the folder of the MNIST archives."""
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
        for within in folder.parents:
            _sync(within)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        what = f"The folder {folder} cannot be written to ({error.strerror})"
        raise ValueError(f"{what}; name another one or set UBALKIT_RUNS.") from error
    return folder


def line(value, most: int = 60) -> str:
    r"""A value as text on one line, of so many characters at most, all of which a file can hold.

    >>> line("two\nlines")
    'two lines'
    """
    return " ".join(str(value).split()).encode("utf-8", "backslashreplace").decode()[:most]


@functools.cache
def code() -> str:
    """What evaluates here: this package, a hash of its source, and torch's version."""
    source = sha256("".join(p.read_text("utf-8") for p in sorted(Path(__file__).parent.rglob("*.py"))))
    torch = metadata.version("torch").split("+")[0]  # loading it takes longer than a cluster may
    return f"ubalkit {__version__} of source {source[:8]} with torch {torch}"


def sha256(text: str) -> str:
    """SHA-256 of a text, in hexadecimal.

    >>> sha256("")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(text.encode()).hexdigest()


def _sync(folder: Path) -> None:
    """Have the names in a folder on the disk: until then a power cut may bring the old ones back."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:  # Windows opens no folder
        opened = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, opened)
        os.fsync(opened)


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; once this returns it is on the disk.

    Raises
    ------
    ValueError
        If it cannot be written: a full disk, a folder without permission.
    """
    # A reader, or a kill, sees the old file or the new one, nothing between.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        _sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise ValueError(f"{path} could not be written ({error.strerror}).") from error


def read_json(path: Path) -> dict:
    """The plain values that a JSON file holds by name.

    Raises
    ------
    ValueError
        If it holds anything else.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: it holds no JSON object ({line(error)}).") from error


def write_sealed(path: Path, content: dict) -> None:
    """Write plain values as JSON with the SHA-256 of all of them, which `read_sealed` checks.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_sealed(Path(folder, "a.json"), {"rate": 0.1})
    ...     read_sealed(Path(folder, "a.json"))
    {'rate': 0.1}
    """
    write(path, json.dumps({"sha256": sha256(json.dumps(content)), **content}) + "\n")


def read_sealed(path: Path) -> dict:
    """The plain values that `write_sealed` wrote.

    Raises
    ------
    ValueError
        If the file is damaged or was changed since it was written.
    """
    content = read_json(path)
    _unchanged(path, content.pop("sha256", None), json.dumps(content))
    return content


def _unchanged(path: Path, recorded: str | None, text: str) -> None:
    if recorded != sha256(text):
        raise ValueError(f"{path} was changed after it was written: its SHA-256 is not the recorded one.")


def to_csv(table: pd.DataFrame) -> str:
    """A table as CSV; `from_csv` reads it back to the last bit."""
    return table.to_csv(lineterminator="\n")


def from_csv(text: str) -> pd.DataFrame:
    """The table that `to_csv` wrote; its index is named ``index``."""
    # Python's parser reads floats back to the last bit in every version of pandas.
    return pd.read_csv(io.StringIO(text), index_col="index", engine="python")


def write_table(table: pd.DataFrame, path: Path, **about) -> None:
    """Write a table as CSV and, beside it, JSON that says what made it and holds its SHA-256.

    Examples
    --------
    >>> import tempfile
    >>> table = pd.DataFrame({"score": [0.1, 0.2]}).rename_axis("index")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_table(table, Path(folder, "a.csv"), seed=0)
    ...     again, about = read_table(Path(folder, "a.csv"))
    >>> again.equals(table), about["rows"], about["seed"]
    (True, 2, 0)
    """
    text, before = to_csv(table), {}
    with contextlib.suppress(OSError, ValueError):  # none, or none that can be read
        before = {"before": read_table(path)[1]}
    own = {"rows": len(table), "sha256": sha256(text)}
    # The first and the last word are the table's own, also where `about` is that of another one.
    about = {**own, **about, **own}
    # A kill between these leaves a table, the old or the new one, with what is said of it.
    write(path.with_suffix(".json"), json.dumps(about | before, indent=1) + "\n")
    write(path, text)
    write(path.with_suffix(".json"), json.dumps(about, indent=1) + "\n")


def read_table(path: Path) -> tuple[pd.DataFrame, dict]:
    """The table that `write_table` wrote, and what is said of it.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or no JSON beside it.
    ValueError
        If it was changed since it was written.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There are no observations at {path}; notebook 01_search makes them.")
    # What is not UTF-8 has another SHA-256 than what was written.
    text, about = path.read_text(encoding="utf-8", errors="replace"), read_json(path.with_suffix(".json"))
    before = about.pop("before", {})
    # Of an old table, where what wrote the new words was stopped before it wrote the new one.
    about = before if sha256(text) == before.get("sha256") else about
    _unchanged(path, about.get("sha256"), text)
    return from_csv(text), about


@contextlib.contextmanager
def held(folder: Path, drafts: str) -> Iterator[None]:
    """Keep every other process out of a folder; the system lets go when this one ends, however it ends.

    Parameters
    ----------
    folder : Path
        The folder; its lock is the file ``.lock``.
    drafts : str
        Pattern of the files that a killed process leaves half written; they are removed.

    Raises
    ------
    ValueError
        If another process holds the folder, or it cannot be locked.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except OSError as error:  # of which `Timeout` is one
        what = f"{folder} cannot be locked ({error.strerror or error});"
        what = f"Another search is writing to {folder}; wait for it, or" if type(error) is Timeout else what
        raise ValueError(f"{what} search in another folder and merge.") from None
    try:
        for draft in folder.glob(drafts):
            with contextlib.suppress(OSError):  # another user's
                draft.unlink()
        yield
    finally:
        lock.release()
