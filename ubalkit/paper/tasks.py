"""UBAL's tasks: one learning rule, asked for four different things.

A `Task` is pairs of patterns, what is measured on the trained network, and a
search over β and γ: `experiment.run` takes it as it takes any experiment.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ubalkit import space as spaces
from ubalkit.paper import datasets
from ubalkit.paper.protocols import Networks
from ubalkit.ubal import hyperparameters
from ubalkit.ubal.network import UBAL

__all__ = ["Task", "ALL", "classification", "autoassociation", "heteroassociation", "denoising"]
__all__ += ["binary_patterns", "noisy", "occluded", "explained_variance", "recalled", "judge", "read_by"]
__all__ += ["margins", "finalists", "moved"]


@dataclass(frozen=True)
class Task(Networks):
    """A search over UBAL's hyperparameters for pairs of patterns.

    Attributes
    ----------
    layers : tuple of int
        Sizes n_0 … n_L of the networks.
    x, y : Tensor, shape (n, n_0) and (n, n_L)
        The pairs to associate.
    measured : callable
        ``measured(net)``: the metrics of `directions`, each (n_networks,).
    """

    batch_size: int = 8
    layers: tuple[int, ...] = ()
    x: Tensor = field(default=None, compare=False, repr=False)
    y: Tensor = field(default=None, compare=False, repr=False)
    measured: Callable[[UBAL], dict[str, Tensor]] = field(default=None, compare=False, repr=False)

    def train(self, table: pd.DataFrame, seeds: Sequence[int], *, device="cpu") -> UBAL:
        """Networks trained on the pairs, one for each row of hyperparameters and seed."""
        net = self.networks(table, seeds, device=device)
        return net.associate(self.x, self.y, epochs=self.epochs, batch_size=self.batch_size)

    def repeated(self, table: pd.DataFrame, n_seeds: int, *, first: int = 1000) -> pd.DataFrame:
        """Each configuration from the seeds `first`, `first` + 1 …, none of them the search's."""
        rows = table.iloc[np.repeat(range(len(table)), n_seeds)]
        return self.again(rows, np.tile(np.arange(first, first + n_seeds), len(table)))


def _task(name: str, metrics: Sequence[str], layers, x, y, measure, **settings) -> Task:
    space, directions = hyperparameters.space(len(layers)), dict.fromkeys(metrics, "maximize")
    what = {"layers": layers, "x": x, "y": y, "measured": measure}
    task = Task(name, None, space, directions, 400, chunk=50, **what, **settings)
    # Rows of other patterns or another training are rows of another task.
    pairs = hashlib.sha256(torch.cat([x, y], 1).numpy().tobytes()).hexdigest()[:16]
    trained = f"{'-'.join(map(str, layers))}, {task.epochs} epochs of minibatches of {task.batch_size}"
    return replace(task, version=f"1: {trained}, pairs {pairs}")


def binary_patterns(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Random patterns of zeros and ones, equally likely; (n, size)."""
    return torch.randint(2, (n, size), generator=generator).float()


def noisy(x: Tensor, generator: torch.Generator, share: float = 0.3) -> Tensor:
    """Images in which each pixel, with the probability `share`, has a random value in [0, 1]."""
    hit = torch.rand(x.shape, generator=generator) < share
    return torch.where(hit, torch.rand(x.shape, generator=generator), x)


def occluded(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images of which the upper, lower, left or right half, each as often, is blank."""
    side = round(x.shape[-1] ** 0.5)
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    halves = torch.stack([row < side / 2, row >= side / 2, column < side / 2, column >= side / 2])
    hidden = halves.flatten(1)[torch.randint(4, (len(x),), generator=generator)]
    return torch.where(hidden, 0.0, x)


def explained_variance(out: Tensor, wanted: Tensor, baseline: Tensor) -> Tensor:
    """1 - the squared error of `out` in units of that of `baseline`, over all of a network's outputs.

    Parameters
    ----------
    out : Tensor, shape (n_networks, n, size)
    wanted : Tensor, shape (n, size)
    baseline : Tensor, broadcastable to `wanted`
        What costs nothing: the mean image, or the corrupted one.

    Returns
    -------
    Tensor, shape (n_networks,)
        1 for no error, 0 for one as large as the baseline's, -1 for twice
        that or more: how bad a network is that failed is of no interest.
    """
    error = ((out - wanted) ** 2).sum((-2, -1)) / ((baseline - wanted) ** 2).sum()
    return (1 - error).clamp(min=-1)


def recalled(out: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Share of bits and share of whole patterns that are right; each (n_networks,)."""
    right = (out > 0.5) == (wanted > 0.5)
    return right.double().mean((-2, -1)), right.all(-1).double().mean(-1)


def judge(data: datasets.Dataset, seed: int = 0):
    """Another model that reads digits: a support vector machine trained on the training images."""
    from sklearn.svm import SVC

    return SVC(gamma="scale", random_state=seed).fit(data.x_train.numpy(), data.y_train.numpy())


def read_by(model, images: Tensor, labels: Tensor) -> Tensor:
    """Share of each network's images that `model` reads as their labels."""
    n_networks, n, _ = images.shape
    flat = np.nan_to_num(images.flatten(0, 1).cpu().numpy())
    right = model.predict(flat).reshape(n_networks, n) == labels.numpy()
    return torch.as_tensor(right).double().mean(-1)


def classification(
    dataset: str = "digits", *, n_train: int | None = None, hidden: int = 100, epochs: int = 30
):
    """Images to one-hot codes: ``accuracy``; ``generation``, how many codes' images a judge reads right."""
    data = datasets.load(dataset, n_train=n_train)
    codes, model = torch.eye(data.n_classes), judge(data)

    def measure(net: UBAL) -> dict[str, Tensor]:
        return {
            "accuracy": net.test_accuracy(data.x_test, data.y_test),
            "generation": read_by(model, net.project(), torch.arange(data.n_classes)),
        }

    layers = (data.x_train.shape[1], hidden, data.n_classes)
    metrics = ("accuracy", "generation")
    return _task("classification", metrics, layers, data.x_train, codes[data.y_train], measure, epochs=epochs)


def autoassociation(
    dataset: str = "digits", *, n_train: int | None = None, hidden: int = 32, epochs: int = 30
):
    """Images to themselves; the variance that is reproduced of new ones, ``forward`` and ``backward``."""
    data = datasets.load(dataset, n_train=n_train)
    mean = data.x_train.mean(0)

    def measure(net: UBAL) -> dict[str, Tensor]:
        x = data.x_test
        return {
            "forward": explained_variance(net.predict_forward(x), x, mean),
            "backward": explained_variance(net.predict_backward(x), x, mean),
        }

    size = data.x_train.shape[1]
    layers, metrics = (size, hidden, size), ("forward", "backward")
    return _task("autoassociation", metrics, layers, data.x_train, data.x_train, measure, epochs=epochs)


def heteroassociation(n: int = 50, *, size: int = 36, hidden: int = 100, epochs: int = 100, seed: int = 0):
    """Pairs of random binary patterns: ``bits`` right in the worse direction; patterns recalled in each."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (binary_patterns(n, size, generator) for _ in range(2))

    def measure(net: UBAL) -> dict[str, Tensor]:
        bits, forward = recalled(net.predict_forward(x), y)
        bits_backward, backward = recalled(net.predict_backward(y), x)
        return {"bits": torch.minimum(bits, bits_backward), "forward": forward, "backward": backward}

    metrics = ("bits", "forward", "backward")
    return _task("heteroassociation", metrics, (size, hidden, size), x, y, measure, epochs=epochs)


def denoising(
    dataset: str = "digits", *, n_train: int | None = None, hidden: int = 100, epochs: int = 15, seed: int = 0
):
    """Corrupted images to clean ones; the share of the error removed of ``noise`` and of ``occlusion``."""
    data = datasets.load(dataset, n_train=n_train)
    generator = torch.Generator().manual_seed(seed)
    kinds = {"noise": noisy, "occlusion": occluded}
    x = torch.cat([corrupt(data.x_train, generator) for corrupt in kinds.values()])
    tests = {name: corrupt(data.x_test, generator) for name, corrupt in kinds.items()}

    def measure(net: UBAL) -> dict[str, Tensor]:
        return {
            name: explained_variance(net.predict_forward(test), data.x_test, test)
            for name, test in tests.items()
        }

    size, y = data.x_train.shape[1], data.x_train.repeat(2, 1)
    return _task("denoising", tuple(kinds), (size, hidden, size), x, y, measure, epochs=epochs)


def margins(table: pd.DataFrame) -> pd.DataFrame:
    """By how much each weight matrix keeps from learning its own activity, from UBAL's hyperparameters.

    In ΔW_l the forward prediction of the unit that learns has the factor
    β - γ^F, in ΔM_l its backward prediction has 1 - β - γ^B. Where such a
    factor is above zero, a unit's activity feeds back on itself.

    Returns
    -------
    DataFrame
        A column a matrix, ``W_1`` … (γ^F_l - β_{l+1}) and ``M_1`` …
        (γ^B_l + β_l - 1): these factors with the sign turned, from -1 to 1;
        above zero is good.
    """
    n = sum(name.startswith("gammaF") for name in table)
    forward = {f"W_{l}": table[f"gammaF_{l}"] - table[f"beta_{l + 1}"] for l in range(1, n + 1)}
    backward = {f"M_{l}": table[f"gammaB_{l}"] + table[f"beta_{l}"] - 1 for l in range(1, n + 1)}
    return pd.DataFrame(forward | backward)


def finalists(explained, n: int = 6) -> pd.DataFrame:
    """Configurations worth training again, by where they come from.

    Parameters
    ----------
    explained : Explanation
        What the trials of a task say.
    n : int
        How many of each kind.

    Returns
    -------
    DataFrame
        The hyperparameters and ``chosen``: ``observed`` (the best of the
        table), ``predicted`` (the best by the meta-model, of 8 192 points of
        the whole space) and ``recommended`` (the same, within its ranges).
    """
    ensemble = explained.ensemble
    observed = explained.shap.table.nlargest(n, ensemble.metric)
    found = {"observed": observed[spaces.names(ensemble.space)]}
    for chosen, space in (("predicted", ensemble.space), ("recommended", explained.space)):
        points = spaces.from_unit(space, spaces.spread(space, 2**13))
        found[chosen] = points.iloc[np.argsort(-ensemble.predict(points))[:n]]
    return pd.concat(found, names=["chosen"]).reset_index("chosen").reset_index(drop=True)


def moved(task: Task, configuration: pd.DataFrame, n_values: int = 11, n_seeds: int = 3) -> pd.DataFrame:
    """One hyperparameter after another moved from 0 to 1, the others kept.

    Parameters
    ----------
    configuration : DataFrame, 1 row

    Returns
    -------
    DataFrame
        A row a network: ``hyperparameter``, ``value`` and the metrics.
    """
    names = spaces.names(task.space)
    steps = [(name, value) for name in names for value in np.linspace(0, 1, n_values)]
    rows = pd.concat([configuration[names].assign(**{name: value}) for name, value in steps])
    rows.index = pd.MultiIndex.from_tuples(steps, names=["hyperparameter", "value"])
    return task.repeated(rows, n_seeds)[list(task.metrics)].reset_index()


ALL = {
    "classification": classification,
    "autoassociation": autoassociation,
    "heteroassociation": heteroassociation,
    "denoising": denoising,
}
