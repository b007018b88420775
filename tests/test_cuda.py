"""The path of a CUDA device where there is none: tensors with devices and shapes, and no numbers in them.

Torch refuses an operation between devices on them as on real ones, and their memory can be counted.
"""

import contextlib
import weakref
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ubalkit import datasets, profiles, search, ubal

fake_tensor = pytest.importorskip("torch._subclasses.fake_tensor")

PROFILE = replace(profiles.get("paper"), n_train=3 * 256, epochs=1)


class Memory(TorchDispatchMode):
    """Counts the bytes of the device's tensors that are alive."""

    def __init__(self):
        super().__init__()
        self.alive, self.now, self.peak = set(), 0, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cuda":
                storage = tensor.untyped_storage()
                if storage._cdata not in self.alive:
                    self.alive.add(storage._cdata)
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        return result

    def _freed(self, key, n):
        self.alive.discard(key)
        self.now -= n


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
        patch.setattr(torch.Tensor, "copy_", lambda x, other: torch.ops.aten.copy_.default(x, other))
        # Hyperparameters are looked at, which needs numbers: on the CPU, before they go to the device.
        checked = ubal._unit_interval
        with_numbers = fake_tensor.unset_fake_temporarily

        def looked_at(*given):
            with with_numbers():
                return checked(*given)

        patch.setattr(ubal, "_unit_interval", looked_at)
        with Memory() as memory:
            yield memory


def trained(n_networks, n_test=1024):
    """What `search.measure` does on a device, and the bytes that it took there beside the data."""
    table = search.configurations(PROFILE, range(n_networks))
    with simulated() as memory, pytest.MonkeyPatch.context() as patch:
        data = datasets.Dataset(
            "mnist",
            torch.empty(PROFILE.n_train, 784, device="cuda"),
            torch.empty(PROFILE.n_train, dtype=torch.int64, device="cuda"),
            torch.empty(n_test, 784, device="cuda"),
            torch.empty(n_test, dtype=torch.int64, device="cuda"),
        )
        patch.setattr(search, "_dataset", lambda *_: data)
        before = memory.now
        net = search.networks(PROFILE, table, device="cuda")
        net.fit(data, epochs=PROFILE.epochs, batch_size=PROFILE.batch_size)
        measured = [net.test_accuracy(data.x_test, data.y_test), net.backprojection_accuracy(), net.finite()]
        return net, measured, memory.peak - before


def test_training_and_measuring_stay_on_the_device():
    net, measured, _ = trained(3)
    assert net.device.type == "cuda"
    assert [(m.device.type, tuple(m.shape)) for m in measured] == [("cuda", (3,))] * 3


def test_the_chunk_of_a_device_takes_the_memory_that_is_stated():
    n = search.side_by_side(PROFILE, "cuda")
    assert (n, search.side_by_side(PROFILE, "cpu")) == (search.MOST, PROFILE.chunk)
    # Megabytes of a network, as the comment at search.MOST has it.
    assert 22e6 < trained(16)[2] / 16 < 26e6
