"""Saved networks: the same to the last bit when loaded, and every file that holds none refused."""

import json
import os
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import ubalkit
from ubalkit import UBAL, weights

LAYERS = (3, 4, 2)
RNG = np.random.default_rng(0)
GIVEN = {"beta": RNG.random((2, 3)), "gamma_f": RNG.random((2, 2)), "gamma_b": RNG.random((2, 2))}
X, Y = torch.rand(9, 3, generator=torch.Generator().manual_seed(0)), torch.eye(2).repeat(5, 1)[:9]


def trained(dtype=torch.float32):
    net = UBAL(LAYERS, **GIVEN, learning_rate=0.3, init_std=0.7, seed=[5, 2**40], dtype=dtype)
    return net.associate(X, Y, epochs=2, batch_size=4)


def same(a, b):
    return all(torch.equal(v, w) and v.dtype == w.dtype for v, w in zip(a.W + a.M, b.W + b.M, strict=True))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "net.safetensors"
    weights.save(trained(), path)
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_loaded_is_what_was_saved_to_the_last_bit(tmp_path, dtype):
    net = trained(dtype)
    weights.save(net, tmp_path / "net")
    again = weights.load(tmp_path / "net")
    assert same(net, again)
    for name in ("beta", "gamma_f", "gamma_b"):
        assert torch.equal(getattr(again, name), torch.tensor(GIVEN[name]))
    for name in ("layers", "seeds", "learning_rate", "init_std", "dtype", "n_networks"):
        assert getattr(again, name) == getattr(net, name)
    assert torch.equal(again.predict_forward(X), net.predict_forward(X))


def test_training_goes_on_as_if_it_had_not_been_interrupted(path):
    whole = trained().associate(X, Y, epochs=3, batch_size=4)
    assert same(whole, weights.load(path).associate(X, Y, epochs=3, batch_size=4))


def test_weights_that_are_not_finite_come_back_as_they_are(tmp_path):
    net = trained()
    net.W = [w.masked_fill(w > 0, np.nan) for w in net.W]
    weights.save(net, tmp_path / "net")
    for saved, loaded in zip(net.W, weights.load(tmp_path / "net").W):
        assert torch.equal(saved.view(torch.int32), loaded.view(torch.int32))


def test_the_header_says_in_plain_text_what_the_networks_are(path):
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["ubal"])
    assert about["version"] == weights.VERSION and about["ubalkit"] == ubalkit.__version__
    assert about["layers"] == list(LAYERS) and about["beta"] == GIVEN["beta"].tolist()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_file_that_cannot_be_replaced_stays_as_it_was(path, step, monkeypatch):
    before = path.read_bytes()

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(ValueError, match=r"could not be written \(No space left on device\)"):
        weights.save(UBAL(LAYERS, **GIVEN), path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_other_layers_than_expected_are_refused(path):
    assert weights.load(path, layers=LAYERS).layers == LAYERS
    with pytest.raises(ValueError, match=r"layers \[3, 4, 2\] where \[3, 5, 2\] are needed"):
        weights.load(path, layers=(3, 5, 2))


def refuses(path, reason=""):
    """The refusal, which names the file, is one line and no traceback's text."""
    with pytest.raises(ValueError, match=re.escape(str(path)) + " cannot be loaded.*" + reason) as caught:
        weights.load(path)
    assert "\n" not in str(caught.value)[:400] and type(caught.value) is ValueError


def test_a_file_cut_anywhere_is_refused(path):
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for length in (*range(header + 9), *range(header, len(whole), 97), *range(len(whole) - 9, len(whole))):
        path.write_bytes(whole[:length])
        refuses(path)
    path.write_bytes(whole + b"\0")
    refuses(path)


def test_what_is_no_safetensors_file_is_refused_and_none_is_said_to_be_missing(tmp_path):
    (tmp_path / "text").write_text("beta_1,beta_2\n" * 99)
    torch.save({"W": torch.ones(2)}, tmp_path / "pickle")
    for name in ("text", "pickle"):
        refuses(tmp_path / name)
    refuses(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        weights.load(tmp_path / "nowhere")


def rewrite(path, change=None, **tensors):
    """Write the file again with another header or other tensors; None removes."""
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["ubal"])
    about |= change or {}
    kept = {k: v for k, v in (load_file(path) | tensors).items() if v is not None}
    save_file(kept, path, {"ubal": json.dumps({k: v for k, v in about.items() if v is not None})})


def test_tensors_of_something_else_are_refused(tmp_path):
    for k, metadata in enumerate((None, {"format": "pt"}, {"ubal": "{}"})):
        save_file({"W.0": torch.ones(2, 3)}, tmp_path / str(k), metadata)
        refuses(tmp_path / str(k), "version None where")


@pytest.mark.parametrize("version", [0, 2, None])
def test_another_version_is_refused(path, version):
    rewrite(path, {"version": version})
    refuses(path, f"version {version} where")


@pytest.mark.parametrize(
    "tensors",
    [{"W.0": None}, {"generators": None}, {"W.0": torch.ones(2, 4, 5)}, {"W.0": torch.ones(1, 4, 4)}],
    ids=lambda tensors: " ".join(f"{k} {None if v is None else tuple(v.shape)}" for k, v in tensors.items()),
)
def test_missing_and_misshapen_tensors_are_refused(path, tensors):
    rewrite(path, **tensors)
    refuses(path)


@pytest.mark.parametrize(
    "change",
    [
        {"beta": [[0.5, 1.5, 0.5]] * 2},
        {"beta": [[0.5] * 3] * 3},
        {"gamma_f": [[0.5]] * 2},
        {"gamma_b": None},
        {"layers": [3, 5, 2]},
        {"layers": [3, 4]},
        {"seeds": [5]},
        {"dtype": "F16"},
    ],
    ids=lambda change: f"{change}"[:40],
)
def test_a_header_with_wrong_values_is_refused(path, change):
    rewrite(path, change)
    refuses(path)


def test_a_damaged_generator_is_refused(path):
    rewrite(path, generators=torch.full((2, 5056), 255, dtype=torch.uint8))
    refuses(path, "mt19937")
