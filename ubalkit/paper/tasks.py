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

from ubalkit.paper import datasets
from ubalkit.paper.protocols import Networks
from ubalkit.ubal import hyperparameters
from ubalkit.ubal.network import UBAL


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

    Examples
    --------
    >>> task = heteroassociation(3, size=4, hidden=5, epochs=2)
    >>> table = task.evaluate([0, 1])  # two configurations of the search
    >>> task.repeated(table.head(1), n_seeds=3)[list(task.metrics)].shape
    (3, 3)
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


def _task(name: str, x: Tensor, y: Tensor, hidden: int, epochs: int, measures: dict):
    """A task from its pairs and, for each metric, a function from a network to its values."""
    layers = (x.shape[1], hidden, y.shape[1])
    space, directions = hyperparameters.space(len(layers)), dict.fromkeys(measures, "maximize")

    def measured(net: UBAL) -> dict[str, Tensor]:
        return {metric: measure(net) for metric, measure in measures.items()}

    what = {"layers": layers, "x": x, "y": y, "measured": measured}
    task = Task(name, None, space, directions, 400, chunk=50, epochs=epochs, **what)
    # Rows of other patterns or another training are rows of another task.
    pairs = hashlib.sha256(torch.cat([x, y], 1).numpy().tobytes()).hexdigest()[:16]
    trained = f"{'-'.join(map(str, layers))}, {epochs} epochs of minibatches of {task.batch_size}"
    return replace(task, version=f"1: {trained}, pairs {pairs}")


def binary_patterns(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Random patterns of zeros and ones, equally likely; (n, size).

    Examples
    --------
    >>> binary_patterns(2, 3, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    return torch.randint(2, (n, size), generator=generator).float()


def noisy(x: Tensor, generator: torch.Generator, share: float = 0.3) -> Tensor:
    """Images in which each pixel, with the probability `share`, has a random value in [0, 1].

    Examples
    --------
    >>> x = noisy(torch.full((2, 500), 2.0), torch.Generator().manual_seed(0))
    >>> x.lt(2).float().mean().round(decimals=1)
    tensor(0.3000)
    """
    hit = torch.rand(x.shape, generator=generator) < share
    return torch.where(hit, torch.rand(x.shape, generator=generator), x)


def occluded(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images of which the upper, lower, left or right half, each as often, is blank.

    Examples
    --------
    >>> occluded(torch.ones(1, 4), torch.Generator().manual_seed(0)).sum()  # of 2 × 2 pixels
    tensor(2.)
    """
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
        What each network gives.
    wanted : Tensor, shape (n, size)
        What it should give.
    baseline : Tensor, broadcastable to `wanted`
        What costs nothing: the mean image, or the corrupted one.

    Returns
    -------
    Tensor, shape (n_networks,)
        1 for no error, 0 for one as large as the baseline's, -1 for twice
        that or more: how bad a network is that failed is of no interest.

    Examples
    --------
    >>> explained_variance(torch.tensor([[[0.5, 1.0]]]), torch.tensor([[0.0, 1.0]]), torch.tensor(0.5))
    tensor([0.5000])
    """
    error = ((out - wanted) ** 2).sum((-2, -1)) / ((baseline - wanted) ** 2).sum()
    return (1 - error).clamp(min=-1)


def recalled(out: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Share of bits and share of whole patterns that are right; each (n_networks,).

    Examples
    --------
    >>> bits, patterns = recalled(torch.tensor([[[0.9, 0.2], [0.6, 0.7]]]), torch.eye(2))
    >>> bits.item(), patterns.item()
    (0.75, 0.5)
    """
    right = (out > 0.5) == (wanted > 0.5)
    return right.double().mean((-2, -1)), right.all(-1).double().mean(-1)


def judge(data: datasets.Dataset, seed: int = 0):
    """Another model that reads digits: a support vector machine trained on the training images.

    Parameters
    ----------
    data : Dataset
        Its training images and labels are learned.
    seed : int
        Seed of scikit-learn's classifier.

    Examples
    --------
    >>> data = datasets.load("digits")
    >>> read_by(judge(data), data.x_test[None], data.y_test).round(decimals=2)
    tensor([0.9900], dtype=torch.float64)
    """
    from sklearn.svm import SVC

    return SVC(gamma="scale", random_state=seed).fit(data.x_train.numpy(), data.y_train.numpy())


def read_by(model, images: Tensor, labels: Tensor) -> Tensor:
    """Share of each network's images that `model` reads as their labels; see `judge`.

    Parameters
    ----------
    model : classifier of scikit-learn
        What reads the images.
    images : Tensor, shape (n_networks, n, n_pixels)
        What each network has generated.
    labels : Tensor, shape (n,)
        What the images are meant to show.
    """
    n_networks, n, _ = images.shape
    flat = np.nan_to_num(images.flatten(0, 1).cpu().numpy())
    right = model.predict(flat).reshape(n_networks, n) == labels.numpy()
    return torch.as_tensor(right).double().mean(-1)


def classification(
    dataset: str = "digits", *, n_train: int | None = None, hidden: int = 100, epochs: int = 30
):
    """Images to one-hot codes: ``accuracy``; ``generation``, how many codes' images a judge reads right.

    Parameters
    ----------
    dataset, n_train
        As for `datasets.load`; here and in the other tasks of images.
    hidden : int
        Units of the hidden layer, in every task.
    epochs : int
        Passes over the pairs, in every task.

    Returns
    -------
    Task

    Examples
    --------
    >>> classification(hidden=20).layers
    (64, 20, 10)
    """
    data = datasets.load(dataset, n_train=n_train)
    codes, model = torch.eye(data.n_classes), judge(data)
    measures = {
        "accuracy": lambda net: net.test_accuracy(data.x_test, data.y_test),
        "generation": lambda net: read_by(model, net.project(), torch.arange(data.n_classes)),
    }
    return _task("classification", data.x_train, codes[data.y_train], hidden, epochs, measures)


def autoassociation(
    dataset: str = "digits", *, n_train: int | None = None, hidden: int = 32, epochs: int = 30
):
    """Images to themselves; the variance that is reproduced of new ones, ``forward`` and ``backward``.

    Returns
    -------
    Task

    Examples
    --------
    >>> task = autoassociation(hidden=20)
    >>> task.layers, task.metrics
    ((64, 20, 64), ('forward', 'backward'))
    """
    data = datasets.load(dataset, n_train=n_train)
    x, mean = data.x_test, data.x_train.mean(0)
    measures = {
        "forward": lambda net: explained_variance(net.predict_forward(x), x, mean),
        "backward": lambda net: explained_variance(net.predict_backward(x), x, mean),
    }
    return _task("autoassociation", data.x_train, data.x_train, hidden, epochs, measures)


def heteroassociation(n: int = 50, *, size: int = 36, hidden: int = 100, epochs: int = 100, seed: int = 0):
    """Pairs of random binary patterns: ``bits`` right in the worse direction; patterns recalled in each.

    Parameters
    ----------
    n, size : int
        Number of pairs, and of the bits of a pattern.
    hidden, epochs : int
        As for `classification`.
    seed : int
        Seed of the patterns.

    Returns
    -------
    Task

    Examples
    --------
    >>> task = heteroassociation(10, size=4)
    >>> task.x.shape, task.metrics
    (torch.Size([10, 4]), ('bits', 'forward', 'backward'))
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = (binary_patterns(n, size, generator) for _ in range(2))

    def both_ways(net: UBAL):
        return recalled(net.predict_forward(x), y), recalled(net.predict_backward(y), x)

    measures = {
        "bits": lambda net: torch.minimum(*(bits for bits, _ in both_ways(net))),
        "forward": lambda net: both_ways(net)[0][1],
        "backward": lambda net: both_ways(net)[1][1],
    }
    return _task("heteroassociation", x, y, hidden, epochs, measures)


def denoising(
    dataset: str = "digits", *, n_train: int | None = None, hidden: int = 100, epochs: int = 15, seed: int = 0
):
    """Corrupted images to clean ones; the share of the error removed of ``noise`` and of ``occlusion``.

    Parameters
    ----------
    dataset, n_train, hidden, epochs
        As for `classification`.
    seed : int
        Seed of the corruptions.

    Returns
    -------
    Task

    Examples
    --------
    >>> len(denoising(n_train=50).x)  # each image twice
    100
    """
    data = datasets.load(dataset, n_train=n_train)
    generator = torch.Generator().manual_seed(seed)
    kinds = {"noise": noisy, "occlusion": occluded}
    x = torch.cat([corrupt(data.x_train, generator) for corrupt in kinds.values()])

    def removed(corrupt) -> Callable[[UBAL], Tensor]:
        test = corrupt(data.x_test, generator)
        return lambda net: explained_variance(net.predict_forward(test), data.x_test, test)

    measures = {kind: removed(corrupt) for kind, corrupt in kinds.items()}
    return _task("denoising", x, data.x_train.repeat(2, 1), hidden, epochs, measures)


ALL = {make.__name__: make for make in (classification, autoassociation, heteroassociation, denoising)}
