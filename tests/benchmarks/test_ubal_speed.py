"""Speed of UBAL, as ratios measured in one run: `make benchmark`, never part of the tests.

Machines differ and are noisy. So nothing here is a time: two pieces of work
alternate, and the median of their ratios is reported.
"""

import itertools
import statistics
import time

import pytest
import torch
from device import networks

#: Layers, networks side by side, minibatch: those of the profiles digits, compact and paper.
SHAPES = {
    "64-100-10": ((64, 100, 10), 50, 8),
    "784-100-10": ((784, 100, 10), 8, 32),
    "784-1200-10": ((784, 1200, 10), 1, 256),
}


def ratio(work, reference, repeats=15, rounds=3):
    """Median time of `work` over that of `reference`, taken in turns."""

    def seconds(f):
        start = time.perf_counter()
        for _ in range(rounds):
            f()
        return time.perf_counter() - start

    work(), reference()
    return statistics.median(seconds(work) / seconds(reference) for _ in range(repeats))


def minibatch(layers, n, batch):
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(n, batch, layers[0], generator=generator)
    labels = torch.randint(layers[-1], (n, batch), generator=generator)
    return x, torch.eye(layers[-1])[labels]


def transcription(layers, batch):
    """One network, the equations written down in PyTorch as they stand."""
    W = [torch.randn(n + 1, m) / 2 for n, m in itertools.pairwise(layers)]
    M = [torch.randn(m + 1, n) / 2 for n, m in itertools.pairwise(layers)]
    beta, gamma_f, gamma_b, rate = torch.rand(3), torch.rand(2), torch.rand(2), 0.1
    one = torch.ones(batch, 1)
    x, y = (t[0] for t in minibatch(layers, 1, batch))

    def step(a, weights):
        return torch.sigmoid(torch.cat([a, one], 1) @ weights)

    def work():
        FP = [x, step(x, W[0])]
        FP.append(step(FP[1], W[1]))
        BP = [None, step(y, M[1]), y]
        BP[0] = step(BP[1], M[0])
        FE = [step(FP[1], M[0]), step(FP[2], M[1])]
        BE = [None, step(BP[0], W[0]), step(BP[1], W[1])]
        t = [beta[l] * FP[l] + (1 - beta[l]) * BP[l] for l in range(3)]
        for l in range(2):
            e_f = gamma_f[l] * FP[l + 1] + (1 - gamma_f[l]) * BE[l + 1]
            e_b = gamma_b[l] * BP[l] + (1 - gamma_b[l]) * FE[l]
            W[l] += rate * torch.cat([t[l], one], 1).T @ (t[l + 1] - e_f)
            M[l] += rate * torch.cat([t[l + 1], one], 1).T @ (t[l] - e_b)

    return work


@pytest.mark.parametrize("shape", SHAPES)
def test_side_by_side_against_one_at_a_time(benchmark, shape):
    layers, n, batch = SHAPES[shape]
    net, (x, y) = networks(layers, n), minibatch(layers, n, batch)
    single = transcription(layers, batch)
    times = n / ratio(lambda: net.update(x, y), single)
    benchmark.extra_info["times faster than one at a time"] = round(times, 2)
    print(f"\n{shape}, {n} networks, minibatches of {batch}: {times:.2f} × faster than one at a time")
    benchmark.pedantic(net.update, (x, y), rounds=5)
