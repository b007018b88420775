"""The path of a CUDA device where there is none: tensors with devices and shapes, and no numbers in them.

Torch refuses an operation between devices on them as on real ones.
"""

import contextlib
import importlib
from dataclasses import replace
from unittest.mock import MagicMock

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


def trained(n_networks, fuses, n_test=1024):
    """What `measure` does on a device."""
    table, seeds = PAPER.configurations(range(n_networks)), PAPER.seeds(range(n_networks))
    with simulated(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "_fuses", lambda *_: fuses)
        if fuses:  # kernels ask for the memory itself
            for kernel in ("_activate", "_learn"):
                patch.setattr(importlib.import_module("ubalkit.ubal.fused"), kernel, MagicMock())
        data = datasets.Dataset(
            "mnist",
            torch.empty(PAPER.n_train, 784, device="cuda"),
            torch.empty(PAPER.n_train, dtype=torch.int64, device="cuda"),
            torch.empty(n_test, 784, device="cuda"),
            torch.empty(n_test, dtype=torch.int64, device="cuda"),
        )
        patch.setattr(protocols, "_dataset", lambda *_: data)
        net = PAPER.train(table, seeds, device="cuda")
        measured = [*PAPER.measured(net).values(), net.finite()]
        return net, measured


@pytest.mark.parametrize("fuses", [False, True], ids=["plain", "fused"])
def test_training_and_measuring_stay_on_the_device(fuses):
    if fuses:
        pytest.importorskip("triton", reason="Triton is not installed.")
    net, measured = trained(3, fuses)
    assert net.device.type == "cuda"
    assert [(m.device.type, tuple(m.shape)) for m in measured] == [("cuda", (3,))] * 3


def test_a_device_trains_more_side_by_side_than_a_cpu():
    assert (PAPER.side_by_side("cuda"), PAPER.side_by_side("cpu")) == (protocols.MOST, PAPER.chunk)
