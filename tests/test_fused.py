"""The fused update is `UBAL.update`: by Triton's interpreter (conftest.py) where there is no CUDA device."""

import os
import subprocess
import sys

import pytest
import torch

from ubalkit import UBAL
from ubalkit.paper import datasets
from ubalkit.ubal import network

pytest.importorskip("triton", reason="Triton, which makes the kernels for CUDA devices, is not installed.")

from ubalkit.ubal import fused

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def weights(net):
    return torch.cat([w.flatten() for w in net.W + net.M])


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize(
    "layers", [(5, 3), (13, 7, 10), (17, 70, 9, 10)], ids=lambda n: "-".join(map(str, n))
)
@pytest.mark.parametrize("n", [40, 33, 1])
def test_an_update_of_any_depth_size_and_minibatch_is_that_of_the_network(layers, n, shared):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.rand(*shape, generator=generator).to(DEVICE)

    h = [random(*() if shared else (3,), len(layers) - k) for k in (0, 1, 1)]
    nets = [UBAL(layers, *h, learning_rate=0.03, seed=range(3), device=DEVICE) for _ in range(2)]
    x, y = random(50, layers[0]), random(50, layers[-1])
    rows, before = torch.randint(50, (3, n), generator=generator).to(DEVICE), weights(nets[0])
    nets[0].update(x[rows], y[rows])
    fused.Updates(nets[1], x, y, batch_size=40)(rows)
    plain, found = map(weights, nets)
    assert (plain - before).abs().max() > 1e-3
    assert (plain - found).abs().max() < 1e-6


def test_networks_trained_by_both_are_the_same(monkeypatch):
    data, trained = datasets.load("digits", n_train=600).to(DEVICE), []
    for fuses in (False, True):
        monkeypatch.setattr(network, "_fuses", lambda *_, fuses=fuses: fuses)
        # At this learning rate training does not amplify how sums are rounded.
        how = {"learning_rate": 0.02, "seed": [0, 1], "device": DEVICE}
        net = UBAL((64, 30, 10), (0.9, 0.7, 0.1), (0.8, 0.8), (0.8, 0.1), **how)
        trained.append(net.fit(data, epochs=5, batch_size=32))
    plain, found = (net.test_accuracy(data.x_test, data.y_test) for net in trained)
    assert found.min() > 0.75
    assert (plain - found).abs().max() < 0.01
    assert (weights(trained[0]) - weights(trained[1])).abs().max() < 1e-4


def test_updates_are_fused_in_float32_on_the_device_that_runs_kernels(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(fused, "works", lambda device: True)
    asked = [("cuda:0", torch.float32), ("cuda:1", torch.float32), ("cuda:0", torch.float64)]
    asked += [("cpu", torch.float32)]
    assert [network._fuses(torch.device(at), dtype) for at, dtype in asked] == [True, False, False, False]


def test_a_device_that_runs_no_kernels_is_told_in_a_warning(monkeypatch):
    works, device = fused.works.__wrapped__, torch.device(DEVICE)
    assert works(device)

    def refuse(*_):
        raise RuntimeError("Failed to find\nC compiler.")

    monkeypatch.setattr(fused, "_activate", {(1, 1): refuse})
    with pytest.warns(UserWarning, match="train without Triton, and more slowly: Failed to find C compiler."):
        assert not works(device)


def test_the_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    # The interpreter takes what the compiler refuses; and the compiler needs no GPU.
    script = """
import triton
from triton.backends.compiler import GPUTarget
from ubalkit.ubal import fused

kinds = dict.fromkeys(("z_row", "a_row", "n", "batch", "n_units", "width"), "i32") | {"rate": "fp32"}
layers = {(): fused._activate, ("",): fused._learn}
layers |= {("BE", "b_W", "gamma_f"): fused._learn, ("FE", "b_M", "gamma_b"): fused._learn}
for none, kernel in layers.items():
    types = {name: "constexpr" if name in none else kinds.get(name, "*fp32") for name in kernel.arg_names}
    absent = {(k,): None for k, name in enumerate(kernel.arg_names) if name in none}
    source = triton.compiler.ASTSource(kernel, types, absent)
    print(len(triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]) > 1000)
"""
    compiled = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=compiled, capture_output=True, text=True)
    assert done.stdout.split() == ["True"] * 4, done.stderr
