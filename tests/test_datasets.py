"""Data sets: shapes, splits, ranges, and what is said when MNIST is damaged or missing."""

import os

import numpy as np
import pytest
import torch

from ubalkit import files
from ubalkit.paper import datasets

TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
ARCHIVES = list(datasets._MNIST_FILES)


def test_digits_have_their_shapes_and_range():
    data = datasets.load("digits")
    assert (data.x_train.shape, data.x_test.shape) == ((1347, 64), (450, 64))
    assert (data.y_train.shape, data.y_test.shape) == ((1347,), (450,))
    assert (data.x_train.dtype, data.y_train.dtype) == (torch.float32, torch.int64)
    assert (data.x_train.min(), data.x_train.max()) == (0, 1)
    assert (data.n_classes, data.name) == (10, "digits")


def test_the_split_of_digits_is_fixed_stratified_and_whole():
    data = datasets.load("digits")
    # Another split would make recorded observations another experiment's.
    assert data.y_train[:8].tolist() == [7, 3, 6, 6, 7, 6, 7, 9]
    assert data.x_test.sum().item() == pytest.approx(8794.6, abs=0.5)
    train, test = torch.bincount(data.y_train), torch.bincount(data.y_test)
    assert ((train + test).double() / 4 - test).abs().max() <= 1
    rows = torch.cat([data.x_train, data.x_test])
    assert len(rows) == 1797 and len(rows.unique(dim=0)) == 1797


def test_n_train_takes_the_first_images():
    data, cut = datasets.load("digits"), datasets.load("digits", n_train=100)
    assert torch.equal(cut.x_train, data.x_train[:100]) and torch.equal(cut.y_train, data.y_train[:100])
    assert torch.equal(cut.x_test, data.x_test)


def test_an_unknown_data_set_is_named_beside_those_there_are():
    with pytest.raises(ValueError, match=r"^Unknown data set 'cifar'; there are digits, mnist\.$"):
        datasets.load("cifar")


def test_images_of_ones_own_come_from_a_file(tmp_path):
    x, y = np.arange(48, dtype=np.uint8).reshape(12, 2, 2), np.arange(12) % 3
    arrays = {"x_train": x[:9], "y_train": y[:9], "x_test": x[9:] / 255, "y_test": y[9:]}
    np.savez(tmp_path / "mine.npz", **arrays)
    mine = datasets.load(str(tmp_path / "mine.npz"), n_train=6)
    assert (mine.x_train.shape, mine.n_classes) == ((6, 4), 3)
    np.testing.assert_allclose(mine.x_train.numpy(), x[:6].reshape(6, 4) / 255, rtol=1e-6)
    np.testing.assert_allclose(mine.x_test.numpy(), x[9:].reshape(3, 4) / 255, rtol=1e-6)
    np.savez(tmp_path / "mine.npz", **arrays | {"x_test": x[9:] / 2})
    with pytest.raises(ValueError, match=r"mine.npz needs pixels in \[0, 1\]"):
        datasets.load(str(tmp_path / "mine.npz"))


@pytest.fixture(scope="module")
def archives():
    """The folder of the MNIST archives, wherever this machine has them."""
    for root in (files.mnist(), files.home().parent / "shared" / "mnist"):
        if all((root / "MNIST" / "raw" / file).is_file() for file in ARCHIVES):
            return root
    pytest.skip("no MNIST archives here")


def test_mnist_is_read_from_a_folder_that_the_environment_may_name(archives, monkeypatch):
    data = datasets.load("mnist", root=archives)
    assert (data.x_train.shape, data.x_test.shape) == ((60_000, 784), (10_000, 784))
    assert data.y_train.bincount().tolist() == TRAIN_COUNTS
    assert data.y_test.bincount().tolist() == TEST_COUNTS
    assert (data.x_train.min(), data.x_train.max()) == (0, 1)
    assert data.x_train.dtype == torch.float32
    # Images and labels belong together and lie the right way up: the mean pixel is the known one.
    assert data.x_train.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert data.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    monkeypatch.setenv("UBALKIT_MNIST", str(archives))
    assert torch.equal(datasets.load("mnist", n_train=10).x_train, data.x_train[:10])


@pytest.mark.parametrize("file", ARCHIVES[:2])
def test_a_damaged_archive_is_named(archives, tmp_path, file):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for other in set(ARCHIVES) - {file}:
        os.symlink(archives.resolve() / "MNIST" / "raw" / other, raw / other)
    damaged = bytearray((archives / "MNIST" / "raw" / file).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (raw / file).write_bytes(damaged)
    with pytest.raises(ValueError, match=rf"{file} is damaged .*; delete it and load again\.$"):
        datasets.load("mnist", root=tmp_path)


def test_mnist_that_cannot_be_downloaded_says_what_to_do(tmp_path, monkeypatch):
    def download(self):
        raise OSError("no route")

    monkeypatch.setattr(datasets._torchvision_mnist(), "download", download)
    with pytest.raises(FileNotFoundError) as caught:
        datasets.load("mnist", root=tmp_path)
    message = str(caught.value)
    assert "\n" not in message and message.count(". ") == 0
    for part in (str(tmp_path), "could not be downloaded (OSError)", "MNIST/raw", "UBALKIT_MNIST"):
        assert part in message


def test_torchvision_gives_its_mnist_beside_any_torch():
    MNIST = datasets._torchvision_mnist()
    assert (MNIST.__module__, MNIST.__name__) == ("torchvision.datasets.mnist", "MNIST")
    assert datasets._torchvision_mnist() is MNIST
    # The archives that are read here are the ones that it downloads.
    assert dict(MNIST.resources) == datasets._MNIST_FILES
