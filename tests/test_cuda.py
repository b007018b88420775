"""The path of a CUDA device where there is none: tensors with devices and shapes, and no numbers in them.

Torch refuses an operation between devices on them as on real ones.
"""

import contextlib
import functools
import importlib
from dataclasses import replace
from importlib.util import find_spec
from unittest.mock import MagicMock

import device
import pytest
import torch
from torch.nn import functional

from ubalkit.paper import datasets, protocols
from ubalkit.ubal import network

fake_tensor = pytest.importorskip("torch._subclasses.fake_tensor")

PAPER = replace(protocols.get("paper").protocol, n_train=3 * 256, epochs=1)


@contextlib.contextmanager
def simulated():
    """A CUDA device whose tensors hold nothing."""
    indexed, moved = torch.Tensor.__getitem__, torch.Tensor.to

    def index(x, key):
        # Indices elsewhere are an error, or are copied to the device at every step.
        assert not isinstance(key, torch.Tensor) or key.device == x.device
        if x.device.type != "cuda":
            return indexed(x, key)
        # Done without the driver, which indexing asks first.
        if isinstance(key, torch.Tensor):
            return torch.ops.aten.index.Tensor(x, [key])
        axis = 0
        for part in key if isinstance(key, tuple) else (key,):
            if isinstance(part, int):
                x = torch.ops.aten.select.int(x, axis, part)
            else:
                x = torch.ops.aten.slice.Tensor(x, axis, part.start, part.stop)
                axis += 1
        return x

    def to(x, *given):
        if x.device.type == "cpu" and torch.device(given[0]).type == "cuda":
            return torch.empty(x.shape, dtype=(*given, x.dtype)[1], device="cuda")
        return moved(x, *given)

    with pytest.MonkeyPatch.context() as patch, fake_tensor.FakeTensorMode(allow_non_fake_inputs=True):
        patch.setattr(torch.Tensor, "__getitem__", index)
        patch.setattr(torch.Tensor, "to", to)
        patch.setattr(functional, "pad", torch.ops.aten.constant_pad_nd.default)
        patch.setattr(torch.Tensor, "copy_", lambda x, other: torch.ops.aten.copy_.default(x, other))
        # Hyperparameters are looked at, which needs numbers: on the CPU, before they go to the device.
        checked = network._unit_interval
        with_numbers = fake_tensor.unset_fake_temporarily

        def looked_at(*given):
            with with_numbers():
                return checked(*given)

        patch.setattr(network, "_unit_interval", looked_at)
        yield


@pytest.fixture(params=[False, True], ids=["plain", "fused"])
def fuses(request, monkeypatch):
    """Whether updates are fused; kernels need the memory itself, so they do nothing here."""
    monkeypatch.setattr(network, "_fuses", lambda *_: request.param)
    if request.param:
        pytest.importorskip("triton", reason="Triton is not installed.")
        for kernel in ("_activate", "_learn"):
            monkeypatch.setattr(importlib.import_module("ubalkit.ubal.fused"), kernel, MagicMock())
    return request.param


@pytest.fixture
def images(monkeypatch):
    """Images on the device, once there is one."""
    empty = functools.partial(torch.empty, device="cuda")

    def load(*_):
        train = empty(PAPER.n_train, 784), empty(PAPER.n_train, dtype=torch.int64)
        return datasets.Dataset("mnist", *train, empty(1024, 784), empty(1024, dtype=torch.int64))

    monkeypatch.setattr(protocols, "_dataset", load)


def test_training_and_measuring_stay_on_the_device(fuses, images):
    # What `measure` does on a device.
    table, seeds = PAPER.configurations(range(3)), PAPER.seeds(range(3))
    with simulated():
        net = PAPER.train(table, seeds, device="cuda")
        measured = [*PAPER.measured(net).values(), net.finite()]
    assert net.device.type == "cuda"
    assert [(m.device.type, tuple(m.shape)) for m in measured] == [("cuda", (3,))] * 3
    assert (PAPER.side_by_side("cuda"), PAPER.side_by_side("cpu")) == (protocols.MOST, PAPER.chunk)


# The benchmark of a device, which whoever has one for ten minutes runs once


def test_the_benchmark_goes_through_on_a_simulated_device(fuses, images, monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "simulated")
    found = device.report(PAPER, "cuda", sizes=(1, 2), least=0, largest=64)
    with simulated():
        lines = [next(found) for _ in range(10 + 2 * fuses)]
    assert lines[0].startswith("simulated: ")
    assert [line.split("|")[1].strip() for line in lines[6:]] == [
        f"{name}, {n} side by side"
        for n in (1, 2)
        for name in ("products alone", "`UBAL.update`", *["fused"] * fuses)
    ]


def test_the_benchmark_trains_networks_whole_and_compares_the_paths(monkeypatch):
    interpreted = find_spec("triton") is not None and not torch.cuda.is_available()
    monkeypatch.setattr(network, "_fuses", lambda *_: interpreted)
    small = replace(protocols.get("ci").protocol, n_train=64, epochs=1, batch_size=32)
    lines = [*device.report(small, "cpu", sizes=(1,), least=0, largest=64)]
    assert sum("trained whole" in line for line in lines) == 1 + interpreted
    assert ("in percentage points: +0.0 on average" in lines[-1]) == interpreted


def test_products_are_counted():
    counted = sum(flop for flop, _ in device.products((784, 1200, 10), 256))
    assert counted == 12 * 256 * (784 * 1200 + 1200 * 10)
