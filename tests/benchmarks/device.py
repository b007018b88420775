"""What a device could do for training UBAL, and what it does: a table in Markdown, within minutes on a GPU.

``python tests/benchmarks/device.py`` takes the CUDA device where there is one, and small networks on the CPU
otherwise. What training could do is counted: what an update computes and moves, at the device's own rates.
"""

import argparse
import contextlib
import itertools
import math
import time
from unittest.mock import patch

import numpy as np
import torch

from ubalkit import UBAL, workers
from ubalkit.paper import protocols
from ubalkit.ubal import network

# Counted: steps of an update of one network, as FLOP and numbers moved


def product(m, k, n, out=1):
    """(m, k) by (k, n); what is added to something reads that, too."""
    return 2 * m * k * n, m * k + k * n + out * m * n


def learning(a, b, batch):
    return product(a, batch, b, out=2), product(b, batch, a, out=2)


def products(layers, batch):
    """The products alone: of four phases, and two that learn."""
    for a, b in itertools.pairwise(layers):
        yield from [product(batch, a, b), product(batch, b, a)] * 2
        yield from learning(a, b, batch)


def fused(layers, batch):
    """All of `ubalkit.ubal.fused`."""
    yield 0, 2 * batch * (layers[0] + layers[-1])  # the patterns are picked
    for a, b in itertools.pairwise(layers):
        yield from [product(batch, b, a)] * 2  # BP, FE
        yield product(2 * batch, a, b)  # FP and BE
        yield 0, 2 * batch * (a + b)  # σ of BP and FP
        yield from learning(a, b, batch)
    for l, n in enumerate(layers):  # FP, BP and echoes become targets and errors
        yield 0, batch * n * (3 + 2 * (l > 0) + 2 * (l < len(layers) - 1))


def bounds(layers, batch, n_updates, flops, moves):
    """Networks a second at most, by what is counted."""
    alone, steps = [*products(layers, batch)], [*fused(layers, batch)]
    seconds = {
        "arithmetic": sum(flop for flop, _ in alone) / flops,
        "memory": sum(4 * moved for _, moved in alone) / moves,
        "fused": sum(max(flop / flops, 4 * moved / moves) for flop, moved in steps),
    }
    return {name: 1 / (n_updates * s) for name, s in seconds.items()}


# Measured


def seconds(work, device, least):
    """Of one call, from as many as take `least` seconds together."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    work()
    for n in (2**k for k in itertools.count()):
        wait()
        start = time.perf_counter()
        for _ in range(n):
            work()
        wait()
        if (passed := time.perf_counter() - start) >= least:
            return passed / n


def rates(device, least, n):
    """FLOP a second of a product (n, n) by (n, n); bytes a second of a copy."""
    a, b, out = (torch.rand(n, n, device=device) for _ in range(3))
    flops = 2 * n**3 / seconds(lambda: torch.mm(a, b, out=out), device, least)
    source, copy = (torch.rand(4 * n * n, device=device) for _ in range(2))
    return flops, 32 * n * n / seconds(lambda: copy.copy_(source), device, least)


def networks(layers, n, device="cpu"):
    h = np.random.default_rng(0).random((n, 7))
    return UBAL(layers, h[:, :3], h[:, 3:5], h[:, 5:], device=device)


def products_alone(net, batch):
    """The matrix products of an update, and nothing else."""
    a = [torch.rand(net.n_networks, batch, n, device=net.device) for n in net.layers]
    out = [torch.empty_like(t) for t in a]
    W, M = ([w.weights.clone() for w in weights] for weights in (net._W, net._M))

    def work():
        for l in range(len(W)):
            for _ in range(2):
                torch.bmm(a[l], W[l], out=out[l + 1])
                torch.bmm(a[l + 1], M[l], out=out[l])
            W[l].baddbmm_(a[l].mT, a[l + 1], alpha=1e-9)
            M[l].baddbmm_(a[l + 1].mT, a[l], alpha=1e-9)

    return work


def paths(device):
    """Ways to train there, each with the context that takes it."""
    yield "`UBAL.update`", patch.object(network, "_fuses", lambda *_: False)
    if network._fuses(torch.zeros(0, device=device).device, torch.float32):
        yield "fused", contextlib.nullcontext()


def updates(net, batch):
    """An update of networks, from random patterns, by each path."""
    x, y = (torch.rand(20 * batch, n, device=net.device) for n in (net.layers[0], net.layers[-1]))
    rows = torch.randint(len(x), (net.n_networks, batch), device=net.device)
    for name, path in paths(net.device):
        with path:
            learn = net._learner(x, y, batch)
        yield name, lambda learn=learn: learn(rows)


def report(protocol, device, sizes, least, largest):
    """The table, line by line."""
    layers, batch = protocol.layers, protocol.batch_size
    n_updates = protocol.epochs * math.ceil(len(protocol.data().x_train) / batch)
    flops, moves = rates(device, least, largest)
    most = bounds(layers, batch, n_updates, flops, moves)

    def row(what, rate):
        arithmetic, memory = rate / most["arithmetic"], rate / most["memory"]
        return f"| {what} | {rate:.1f} | {arithmetic:.0%} | {memory:.0%} |"

    where = torch.cuda.get_device_name() if device == "cuda" else device
    yield f"{where}: {flops / 1e12:.3g} TFLOP/s of large products, {moves / 1e12:.2g} TB/s copied.\n"
    yield f"| `{protocol.name}`, torch {torch.__version__} | networks a second | of arithmetic | of memory |"
    yield "|---|---|---|---|"
    yield row("bound by arithmetic", most["arithmetic"])
    yield row("bound by memory, every factor of a product moved once", most["memory"])
    yield row("fused, counted: every step at its bound", most["fused"])
    for n in sizes:
        net = networks(layers, n, device)
        # One after the other: the fused path stores the weights otherwise.
        for name, work in itertools.chain(
            [("products alone", products_alone(net, batch))], updates(net, batch)
        ):
            yield row(f"{name}, {n} side by side", n / n_updates / seconds(work, device, least))
    table, seeds, accuracies = protocol.configurations(range(n)), protocol.seeds(range(n)), []
    for name, path in paths(device):
        with path:
            start = time.perf_counter()
            accuracies.append(protocol.measure(table, seeds, device=device)["test_accuracy"])
            yield row(f"{name}, {n} trained whole", n / (time.perf_counter() - start))
    for other in accuracies[1:]:
        off = 100 * (other - accuracies[0])
        mean, half = off.mean(), off.abs().median()
        what = "Testing accuracy, fused less not fused, in percentage points"
        yield f"\n{what}: {mean:+.1f} on average; half of the networks within {half:.1f}."


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="tf32", choices=[*workers.PRECISIONS])
    given = parser.parse_args()
    profile, *how = "ci", (2,), 0.01, 256
    if given.device != "cpu":
        profile, *how = "paper", (64, protocols.MOST), 1, 8192
    with workers.torch_set(given.device, given.precision):
        for line in report(protocols.get(profile).protocol, given.device, *how):
            print(line, flush=True)


if __name__ == "__main__":
    main()
