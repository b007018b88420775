"""Saved networks: the same to the last bit when loaded, and every file that holds none refused."""

import json
import os
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ubalkit import UBAL
from ubalkit.ubal import weights

LAYERS = (3, 4, 2)
RNG = np.random.default_rng(0)
GIVEN = {"beta": RNG.random((2, 3)), "gamma_f": RNG.random((2, 2)), "gamma_b": RNG.random((2, 2))}
X, Y = torch.rand(9, 3, generator=torch.Generator().manual_seed(0)), torch.eye(2).repeat(5, 1)[:9]


def trained(dtype=torch.float32):
    net = UBAL(LAYERS, **GIVEN, learning_rate=0.3, init_std=0.7, seed=[5, 2**40], dtype=dtype)
    return net.associate(X, Y, epochs=2, batch_size=4)


def same(a, b):
    """The same bits, those of NaN too."""
    pairs = list(zip(a.W + a.M, b.W + b.M, strict=True))
    return all(v.dtype == w.dtype and torch.equal(v.view(torch.uint8), w.view(torch.uint8)) for v, w in pairs)


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
    # Of a network that diverged, too.
    net.W = [w.masked_fill(w > 0, np.nan) for w in net.W]
    weights.save(net, tmp_path / "net")
    assert same(net, weights.load(tmp_path / "net"))


def test_a_file_that_cannot_be_replaced_stays_as_it_was(path, monkeypatch):
    before = path.read_bytes()

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ValueError, match=r"could not be written \(No space left on device\)"):
        weights.save(UBAL(LAYERS, **GIVEN), path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_training_goes_on_as_if_it_had_not_been_interrupted(path):
    whole = trained().associate(X, Y, epochs=3, batch_size=4)
    assert same(whole, weights.load(path).associate(X, Y, epochs=3, batch_size=4))


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


def test_a_file_of_something_else_is_refused_and_none_is_said_to_be_missing(tmp_path):
    (tmp_path / "text").write_text("beta_1,beta_2\n" * 99)
    torch.save({"W": torch.ones(2)}, tmp_path / "pickle")
    for name in ("text", "pickle", "."):
        refuses(tmp_path / name)
    for metadata in (None, {"format": "pt"}, {"ubal": "{}"}):
        save_file({"W.0": torch.ones(2, 3)}, tmp_path / "tensors", metadata)
        refuses(tmp_path / "tensors", "version None where")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        weights.load(tmp_path / "nowhere")


def rewrite(path, name, value):
    """Write the file again with another value in its header, or another tensor; None removes."""
    with safe_open(path, "pt") as file:
        tensors, about = load_file(path), json.loads(file.metadata()["ubal"])
    changed = tensors if name in tensors else about
    changed[name] = value
    if value is None:
        del changed[name]
    save_file(tensors, path, {"ubal": json.dumps(about)})


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("version", 2, "version 2 where"),
        ("version", None, "version None where"),
        ("beta", [[0.5, 1.5, 0.5]] * 2, "beta holds 1.5"),
        ("gamma_b", None, ""),
        ("layers", [3, 5, 2], ""),
        ("seeds", [5], ""),
        ("dtype", "F16", ""),
        ("W.0", None, ""),
        ("W.0", torch.ones(2, 4, 5), ""),
        ("generators", None, ""),
        ("generators", torch.full((2, 5056), 255, dtype=torch.uint8), ""),
    ],
)
def test_a_file_with_a_wrong_or_missing_value_or_tensor_is_refused(path, name, value, reason):
    rewrite(path, name, value)
    refuses(path, reason)
