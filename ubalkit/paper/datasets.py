"""The image data sets that UBAL is trained on, as tensors.

`digits` is embedded in scikit-learn; `mnist` is downloaded once, by
torchvision. Images of one's own come from an ``.npz`` file.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ubalkit import extra, files

_MNIST_FILES = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}


@dataclass(frozen=True)
class Dataset:
    """Training and test images of one task.

    Attributes
    ----------
    name : str
        Name for `load`.
    x_train, x_test : Tensor of float32, shape (n_images, n_pixels)
        Pixels in [0, 1].
    y_train, y_test : Tensor of int64, shape (n_images,)
        Labels 0 … n_classes - 1.
    n_classes : int
        Number of classes.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    n_classes: int = 10

    def to(self, device) -> "Dataset":
        """The same data on another device."""
        tensors = (self.x_train, self.y_train, self.x_test, self.y_test)
        return Dataset(self.name, *(t.to(device) for t in tensors), self.n_classes)


def load(name: str, *, n_train: int | None = None, root: str | Path | None = None) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : str
        ``digits``: scikit-learn's 1 797 images of 8 × 8, a fixed stratified
        split into 1 347 for training and 450 for testing. ``mnist``: 60 000
        and 10 000 images of 28 × 28. Or an ``.npz`` file with arrays of these
        names: ``x_train``, ``x_test``, images of any shape, in [0, 1] or as
        whole grey levels up to 255; ``y_train``, ``y_test``, labels 0, 1, 2 …
    n_train : int, optional
        Only the first so many training images; all by default.
    root : path, optional
        Where the MNIST archives are or shall be; `files.mnist()` by default.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        For an unknown name, or arrays with other values.
    FileNotFoundError
        If MNIST is neither there nor can be downloaded.

    Examples
    --------
    >>> load("digits", n_train=100).x_train.shape
    torch.Size([100, 64])
    """
    if name not in NAMES and not str(name).endswith(".npz"):
        raise ValueError(f"Unknown data set {name!r}; there are {', '.join(NAMES)}.")
    root = Path(root) if root else files.mnist()
    x_train, y_train, x_test, y_test = _LOADERS[name](root) if name in NAMES else _npz(name)
    assert n_train is None or 1 <= n_train <= len(x_train), f"{name} has 1 to {len(x_train)} training images"
    x = [np.asarray(images).reshape(len(images), -1) for images in (x_train[:n_train], x_test)]
    x = [torch.tensor(i / 255 if i.dtype.kind in "iu" else i, dtype=torch.float32) for i in x]
    y = [torch.tensor(np.asarray(labels), dtype=torch.int64) for labels in (y_train[:n_train], y_test)]
    if not all(i.min() >= 0 and i.max() <= 1 and j.min() >= 0 for i, j in zip(x, y)):
        raise ValueError(f"{name} needs pixels in [0, 1] or whole grey levels up to 255, labels from 0 on.")
    return Dataset(name, x[0], y[0], x[1], y[1], int(max(y[0].max(), y[1].max())) + 1)


def _npz(path: str):
    with np.load(path, allow_pickle=False) as file:
        return [file[name] for name in ("x_train", "y_train", "x_test", "y_test")]


def _digits(root: Path):
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x / 16, y, test_size=450, stratify=y, random_state=0)
    return x_train, y_train, x_test, y_test


def _mnist(root: Path):
    raw = root / "MNIST" / "raw"
    if not all((raw / file).is_file() for file in _MNIST_FILES):
        _download_mnist(root)
    # The archives are read here rather than through torchvision, so that a
    # search on a bare GPU machine needs torch alone.
    x_train, y_train, x_test, y_test = (_read_idx(raw / file, md5) for file, md5 in _MNIST_FILES.items())
    return x_train.reshape(60_000, -1) / 255, y_train, x_test.reshape(10_000, -1) / 255, y_test


def _read_idx(file: Path, md5: str) -> np.ndarray:
    packed = file.read_bytes()
    if hashlib.md5(packed, usedforsecurity=False).hexdigest() != md5:
        raise ValueError(f"{file} is damaged (its MD5 is not {md5}); delete it and load again.")
    header = 16 if "images" in file.name else 8
    return np.frombuffer(gzip.decompress(packed), np.uint8, offset=header)


def _download_mnist(root: Path) -> None:
    mnist = _torchvision_mnist()
    try:
        mnist(files.writable(root), train=True, download=True)
    except Exception as error:
        raise FileNotFoundError(
            f"MNIST is not in {root} and could not be downloaded ({type(error).__name__}); connect to "
            f"the network, or put the four archives into {root / 'MNIST' / 'raw'} or set UBALKIT_MNIST."
        ) from error


def _torchvision_mnist():
    try:
        return extra("torchvision.datasets").MNIST
    except RuntimeError:
        # The registry's torchvision is built against CUDA; beside a CPU-only
        # torch its compiled operators are absent and its import fails on
        # their names. The data sets need none of them: declaring is enough.
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return extra("torchvision.datasets").MNIST


_LOADERS = {"digits": _digits, "mnist": _mnist}
NAMES = tuple(_LOADERS)
