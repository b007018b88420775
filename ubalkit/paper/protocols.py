"""Protocols: searches over UBAL networks that train side by side, and the paper's own, by name."""

import functools
import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace

from ubalkit import files
from ubalkit import space as spaces
from ubalkit.experiment import Experiment
from ubalkit.paper import datasets
from ubalkit.ubal import hyperparameters
from ubalkit.ubal.network import UBAL

#: What is measured of every UBAL network of a protocol, both to be maximised.
METRICS = ("test_accuracy", "backprojection_accuracy")

#: Networks side by side on a CUDA device: on an H200, 128 of `paper` train 1.07 times as fast as 64, and 64
#: 1.14 times as fast as 32. Each takes 24 MB.
MOST = 128

#: How far a row trained again on another kind of processor may lie from the
#: recorded one; on one machine rows are the same to the last bit. Rounding
#: differs there, and training amplifies it. Of 150 rows of digits and 60 of
#: compact, trained once more with other vector instructions, half came out
#: within 0.013 and 0.028 of the recorded testing accuracy and nine in ten
#: within these bounds; single ones strayed by 0.4 (testing) and 0.7 (back-projection).
TOLERANCE = {"test_accuracy": 0.15, "backprojection_accuracy": 0.41}


# The least value of each setting that is a number; a whole one where the least is.
_LEAST = dict.fromkeys(("n_configurations", "chunk", "batch_size", "n_train", "hidden"), 1)
_LEAST |= dict.fromkeys(("epochs", "seed"), 0) | dict.fromkeys(("learning_rate", "init_std"), 0.0)


@dataclass(frozen=True)
class Networks(Experiment):
    """A search over UBAL's hyperparameters whose networks train side by side.

    A subclass says how large they are (`layers`), how they are trained and
    what is measured of them.

    Attributes
    ----------
    epochs, batch_size : int
        Passes over the training data, and pairs a minibatch.
    learning_rate : float
        Learning rate λ.
    init_std : float
        Standard deviation of the initial weights.
    """

    objective: None = field(default=None, repr=False)
    space: ConfigurationSpace = field(default_factory=hyperparameters.space, compare=False, repr=False)
    directions: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(METRICS, "maximize"))
    epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 0.1
    init_std: float = 0.5

    def networks(self, table: pd.DataFrame, seeds: Sequence[int], *, device="cpu") -> UBAL:
        """Networks, untrained, one for each row of hyperparameters and seed."""
        how = {"learning_rate": self.learning_rate, "init_std": self.init_std, "device": device}
        return hyperparameters.networks(self.layers, table, seed=[int(s) for s in seeds], **how)

    def train(self, table: pd.DataFrame, seeds: Sequence[int], *, device="cpu") -> UBAL:
        """The same networks, trained."""

    def measured(self, net: UBAL) -> dict:
        """The metrics of trained networks by name, tensors of shape (n_networks,)."""

    def measure(self, table: pd.DataFrame, seeds: Sequence[int], *, device="cpu") -> pd.DataFrame:
        """Observations of rows of hyperparameters, trained side by side; NaN where weights diverged."""
        net = self.train(table, seeds, device=device)
        ok = net.finite().cpu().numpy()
        found = {name: values.double().cpu().numpy() for name, values in self.measured(net).items()}
        found = {name: np.where(ok, found[name], np.nan) for name in self.metrics}
        return table.assign(**found, status=np.where(ok, "ok", "failed"))


@dataclass(frozen=True)
class Protocol(Networks):
    """A search over UBAL networks that learn to classify images: the paper's Section 4.

    Attributes
    ----------
    dataset : str
        Name for `datasets.load`, or an ``.npz`` file.
    n_train : int or None
        Training images: the first so many; None for all.
    hidden : tuple of int
        Sizes of the hidden layers.

    Raises
    ------
    ValueError
        For a setting of another type, or a number that is negative, or 0 where
        some are needed.

    Examples
    --------
    >>> small = Protocol("small", dataset="digits", n_train=200, hidden=(10,), epochs=2, batch_size=8)
    >>> small.layers, small.evaluate([0, 1])["status"].tolist()
    ([64, 10, 10], ['ok', 'ok'])
    """

    n_configurations: int = 3000
    chunk: int = 4
    dataset: str = "mnist"
    n_train: int | None = 55_000
    hidden: tuple[int, ...] = (1200,)

    def __post_init__(self):
        n_train = 1 if self.n_train is None else self.n_train
        given = vars(self) | {"hidden": min(self.hidden, default=1), "n_train": n_train}
        for name, least in _LEAST.items():
            kinds = (int, float) if isinstance(least, float) else (int,)
            if type(given[name]) not in kinds or not least <= given[name] < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)!r:.60} is no such setting of a protocol.")
        super().__post_init__()

    def identity(self) -> dict:
        """What decides what a row holds, as plain values, sorted by name."""
        parts = ("dataset", "n_train", "hidden", "epochs", "batch_size", "learning_rate", "init_std", "seed")
        plain = {name: getattr(self, name) for name in parts} | {"space": spaces.plain(self.space)}
        if str(self.dataset).endswith(".npz"):  # wherever the file lies, and not if it changes
            plain["dataset"] = hashlib.sha256(Path(self.dataset).read_bytes()).hexdigest()
        return json.loads(json.dumps(plain, sort_keys=True))

    def settings(self) -> dict:
        """The identity with name, metrics and fingerprint, for files that say what made them."""
        return {"name": self.name, **super().settings(), "directions": dict(self.directions)}

    @property
    def layers(self) -> list[int]:
        """Sizes n_0 … n_L of the networks."""
        data = self.data()
        return [data.x_train.shape[1], *self.hidden, data.n_classes]

    def data(self, device="cpu") -> datasets.Dataset:
        """The images that the networks are trained and tested on."""
        path = Path(self.dataset)
        # Of one's own file, as it is now.
        written = path.stat().st_mtime_ns if path.is_file() else 0
        return _dataset(self.dataset, self.n_train, str(device), written)

    def side_by_side(self, device="cpu") -> int:
        """How many networks to train as one piece: on the CPU as many as its cache likes, else `MOST`."""
        return self.chunk if str(device) == "cpu" else MOST

    def train(self, table: pd.DataFrame, seeds: Sequence[int], *, device="cpu") -> UBAL:
        """Networks trained on the images, one for each row of hyperparameters and seed."""
        net = self.networks(table, seeds, device=device)
        return net.fit(self.data(device), epochs=self.epochs, batch_size=self.batch_size)

    def curves(self, indices: Sequence[int], epochs: Sequence[int], *, device="cpu") -> pd.DataFrame:
        """What is measured of configurations while they train, all of them side by side.

        Parameters
        ----------
        indices : sequence of int
            Which configurations.
        epochs : sequence of int
            When: after so many epochs, in increasing order.
        device : str
            Device of torch.

        Returns
        -------
        DataFrame
            A row a configuration. Under the name of each metric, a column for
            each number of epochs: what notebook 7 explains.

        Examples
        --------
        >>> get("ci").protocol.curves([0, 1], [1, 3])["test_accuracy"].columns.tolist()
        [1, 3]
        """
        net, found = self.networks(self.configurations(indices), self.seeds(indices), device=device), {}
        for done, n in itertools.pairwise([0, *epochs]):
            net.fit(self.data(device), epochs=n - done, batch_size=self.batch_size)
            found |= {(name, n): values.cpu() for name, values in self.measured(net).items()}
        return pd.DataFrame(found, index=list(indices))

    def measured(self, net: UBAL) -> dict:
        """Both accuracies of trained networks, tensors of shape (n_networks,)."""
        data, (test, back) = self.data(net.device), METRICS
        return {test: net.test_accuracy(data.x_test, data.y_test), back: net.backprojection_accuracy()}


@functools.cache
def _dataset(name: str, n_train: int | None, device: str, written: int) -> datasets.Dataset:
    return datasets.load(name, n_train=n_train).to(device)


@dataclass(frozen=True)
class Profile:
    """What the notebooks run for: a protocol, and how large their own parts are.

    Attributes
    ----------
    protocol : Protocol
        The search whose networks are explained.
    n_members : int
        Meta-models in an ensemble.
    n_constrained : int
        Networks in each arm of the constrained search (paper, end of Section 4).
    n_studies, n_trials : int
        Studies of the sequential search that the constrained one is compared
        with, and networks in each.
    live : bool
        Whether the notebooks train the networks; otherwise they read the
        observations recorded in ``data``.
    """

    protocol: Protocol
    n_members: int = 10
    n_constrained: int = 200
    n_studies: int = 8
    n_trials: int = 25
    live: bool = False

    @property
    def name(self) -> str:
        """Name of the protocol, also the folder of its files."""
        return self.protocol.name


# As many updates as the paper's protocol makes, 6 250 to 6 450, each an eighth as large.
_COMPACT = {"n_train": 20_000, "hidden": (100,), "epochs": 10, "batch_size": 32, "chunk": 8}
_DIGITS = {"dataset": "digits", "n_train": None, "hidden": (100,), "batch_size": 8, "chunk": 50}
_CI = {"dataset": "digits", "n_train": 600, "hidden": (30,), "epochs": 8, "batch_size": 8, "chunk": 20}
_SMALL = {"n_constrained": 40, "n_studies": 2, "n_trials": 15}
_ALL = (
    Profile(Protocol("paper", n_configurations=1472, chunk=1), n_studies=16, n_trials=50),
    Profile(Protocol("compact", n_configurations=1000, **_COMPACT), n_constrained=100),
    Profile(Protocol("digits", n_configurations=1000, **_DIGITS), live=True),
    Profile(Protocol("ci", n_configurations=120, **_CI), **_SMALL, live=True),
)
_PROFILES = {profile.name: profile for profile in _ALL}
NAMES = tuple(_PROFILES)


def default() -> str:
    """The profile that notebooks and ``make reproduce`` use: the paper's own."""
    return "paper"


def get(name: str) -> Profile:
    """The profile of a name: ``paper``, ``compact``, ``digits`` or ``ci``; or of a JSON file, as for `find`.

    A file's profile is kept in the runs, and known by its name from then on.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> get("paper").protocol.hidden
    (1200,)
    """
    if isinstance(name, str) and name in _PROFILES:
        return _PROFILES[name]
    if str(name).endswith(".json"):
        own, name = json.dumps(_settings(Path(name))), find(name).name
        files.write(files.writable(files.runs(name)) / "profile.json", own)
    kept = files.runs(str(name)) / "profile.json"
    if not kept.is_file():
        raise ValueError(f"Unknown profile {name!r:.60}; there are {', '.join(NAMES)}.")
    return Profile(find(str(kept)), live=True)


def _settings(path: Path) -> dict:
    given = files.read_json(path)
    if "base" not in given:
        return given
    base = get(given.pop("base")).protocol
    space = hyperparameters.space(len(given.get("hidden", base.hidden)) + 2)
    known = base.identity() | {"name": path.stem, "space": spaces.plain(space)}
    known |= {"n_configurations": base.n_configurations, "chunk": base.chunk}
    if "data" in given:
        known |= {"dataset": str((path.parent / given.pop("data")).resolve()), "n_train": None}
        datasets.load(known["dataset"])  # what is wrong with it is said before anything is trained
    if unknown := {*given} - {*known}:
        raise ValueError(f"{unknown.pop()} is none of {', '.join(known)}, data")
    return known | given


def find(name: str) -> Protocol:
    """The protocol of a profile's name, or the one that a JSON file of settings describes.

    A file holds all settings, or the name of a profile as ``base`` and what
    differs from it; ``data`` is an ``.npz`` file, from the JSON file's folder
    on. The space follows from the number of hidden layers.

    Raises
    ------
    ValueError
        For an unknown name or a file that holds no settings.
    FileNotFoundError
        If there is no such file.
    """
    if not name.endswith(".json"):
        return get(name).protocol
    try:
        given = _settings(Path(name))
        known = {key: given[key] for key in ["name", *get("ci").protocol.identity()]}
        known |= {key: given[key] for key in ("n_configurations", "chunk") if key in given}
        space = spaces.from_plain(known["space"])
        return Protocol(**{**known, "hidden": tuple(known["hidden"]), "space": space})
    except (KeyError, ValueError, TypeError) as error:
        where = files.line(name, 150)
        raise ValueError(f"{where} holds no settings of a protocol: {files.line(error, 200)}") from error
