"""Profiles: the settings of one experiment, and the named ones."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from ConfigSpace import ConfigurationSpace

from ubalkit import inputs, paths
from ubalkit import space as spaces

__all__ = ["Profile", "default", "find", "from_settings", "get", "METRICS", "NAMES"]

#: What is measured of every UBAL network, both to be maximised.
METRICS = ("test_accuracy", "backprojection_accuracy")


# Settings that no row depends on; and the space, which is written apart.
_NEUTRAL = {
    "name",
    "n_configurations",
    "chunk",
    "n_constrained",
    "n_studies",
    "n_trials",
    "n_members",
    "live",
}
_NEUTRAL |= {"space"}

# What a setting of each type may be; type rather than isinstance, for True is no number.
_RIGHT = {
    str: lambda v: isinstance(v, str),
    bool: lambda v: isinstance(v, bool),
    int: lambda v: type(v) is int and v >= 0,
    int | None: lambda v: v is None or (type(v) is int and v > 0),
    float: lambda v: type(v) in (int, float) and 0 <= v < 1e38,
    tuple[int, ...]: lambda v: isinstance(v, tuple) and all(type(n) is int and n > 0 for n in v),
    ConfigurationSpace: lambda v: isinstance(v, ConfigurationSpace),
}


@dataclass(frozen=True)
class Profile:
    """Everything that the rows of an observation table depend on, and how many there are.

    Attributes
    ----------
    name : str
        Also the folder of its files.
    dataset : str
        Name for `datasets.load`.
    n_train : int or None
        Training images: the first so many; None for all.
    hidden : tuple of int
        Sizes of the hidden layers.
    epochs, batch_size : int
    learning_rate : float
        λ.
    init_std : float
        Standard deviation of the initial weights.
    seed : int
        Of the whole experiment: configuration i, its initial weights and the
        order of its data follow from `seed` and i.
    space : ConfigurationSpace
        Where configurations are drawn from.
    n_configurations : int
        Rows 0 … n - 1 make the experiment; further rows continue it.
    chunk : int
        Networks side by side on one CPU core: as many as its cache likes.
    n_constrained : int
        Networks in each arm of the constrained search (paper, end of Section 4).
    n_studies, n_trials : int
        Studies of the sequential search that the constrained one is compared
        with, and networks in each.
    n_members : int
        Meta-models in an ensemble.
    live : bool
        Whether the notebooks train the networks; otherwise they read the
        observations recorded in ``data``.

    Raises
    ------
    ValueError
        For a setting of another type, or a number below 0, or 0 of what is
        needed.
    """

    name: str
    dataset: str = "mnist"
    n_train: int | None = 55_000
    hidden: tuple[int, ...] = (1200,)
    epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 0.1
    init_std: float = 0.5
    seed: int = 0
    space: ConfigurationSpace = field(default_factory=spaces.ubal, compare=False, repr=False)
    n_configurations: int = 3000
    chunk: int = 4
    n_constrained: int = 200
    n_studies: int = 8
    n_trials: int = 25
    n_members: int = 10
    live: bool = False

    def __post_init__(self):
        for f in fields(self):
            value = getattr(self, f.name)
            needed = f.type is int and f.name not in ("epochs", "seed")
            if not _RIGHT[f.type](value) or (needed and value == 0):
                raise ValueError(f"{f.name} = {value!r:.60} is no such setting of a profile.")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics: `METRICS`."""
        return METRICS

    @property
    def fingerprint(self) -> str:
        """Hash of the settings that decide what a row holds; equal rows need equal fingerprints."""
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NEUTRAL}
        settings["space"] = spaces.plain(self.space)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def settings(self) -> dict:
        """The settings as plain values, for files that say what made them; see `from_settings`."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**plain, "space": spaces.plain(self.space), "fingerprint": self.fingerprint}


_PROFILES = {
    p.name: p
    for p in (
        Profile("paper", n_configurations=1472, chunk=1, n_constrained=100),
        # As many updates as the paper's protocol makes, 6 250 to 6 450, each an eighth as large.
        Profile(
            "compact",
            n_train=20_000,
            hidden=(100,),
            epochs=10,
            batch_size=32,
            n_configurations=1000,
            chunk=8,
            n_constrained=100,
        ),
        Profile(
            "digits",
            dataset="digits",
            n_train=None,
            hidden=(100,),
            batch_size=8,
            n_configurations=1000,
            chunk=50,
            live=True,
        ),
        Profile(
            "ci",
            dataset="digits",
            n_train=600,
            hidden=(30,),
            epochs=8,
            batch_size=8,
            n_configurations=120,
            chunk=20,
            n_constrained=40,
            n_studies=2,
            n_trials=15,
            live=True,
        ),
    )
}
NAMES = tuple(_PROFILES)


def default() -> str:
    """The profile that notebooks and ``make reproduce`` use: the best that is recorded.

    ``paper`` once at least 1 000 of its rows are recorded, else ``compact``,
    else ``digits``, which needs no recorded observations.
    """
    for name in ("paper", "compact"):
        about = paths.data(name) / "observations.json"
        if about.is_file() and inputs.mapping(about)["rows"] >= 1000:
            return name
    return "digits"


def from_settings(settings: Mapping) -> Profile:
    """The profile that a file's settings describe; other entries of the file are passed over.

    Raises
    ------
    ValueError
        If a setting is missing or is none.
    """
    needed = {f.name for f in fields(Profile) if f.name not in _NEUTRAL} | {"name", "space"}
    if missing := sorted(needed - set(settings)):
        raise ValueError(f"The settings of a profile lack {', '.join(missing)}.")
    known = {f.name: settings[f.name] for f in fields(Profile) if f.name in settings}
    hidden = tuple(known["hidden"]) if isinstance(known["hidden"], (list, tuple)) else known["hidden"]
    return Profile(**{**known, "hidden": hidden, "space": spaces.from_plain(known["space"])})


def get(name: str) -> Profile:
    """The profile of a name: ``paper``, ``compact``, ``digits`` or ``ci``.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if not isinstance(name, str) or name not in _PROFILES:
        raise ValueError(f"Unknown profile {name!r:.60}; there are {', '.join(NAMES)}.")
    return _PROFILES[name]


def find(name: str) -> Profile:
    """The profile of a name, or the one that a JSON file of settings describes.

    Raises
    ------
    ValueError
        For an unknown name or a file that holds no settings.
    FileNotFoundError
        If there is no such file.
    """
    if not name.endswith(".json"):
        return get(name)
    try:
        return from_settings(inputs.mapping(Path(name)))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no profile at {inputs.line(name, 150)}.") from error
    except (ValueError, OSError) as error:
        where = inputs.line(name, 150)
        raise ValueError(f"{where} holds no settings of a profile: {inputs.line(error, 200)}") from error
