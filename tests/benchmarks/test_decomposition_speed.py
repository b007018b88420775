"""Speed of the exact decomposition against Deep SHAP: `make benchmark`, never part of the tests.

Both explain the same points by the same networks against the same number of
background points. They take turns, and the median of their ratios is reported,
with the seconds of this machine beside it.
"""

import itertools
import statistics
import time

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ubalkit import attribution, decomposition
from ubalkit import space as spaces
from ubalkit.metamodel import Ensemble

N_POINTS, N_MEMBERS, N_BACKGROUND = 1000, 10, 32


def ensemble_of(n_h, d_h):
    """Random networks of the sizes that meta-models have."""
    generator = torch.Generator().manual_seed(0)
    members = []
    for _ in range(N_MEMBERS):
        modules = []
        for fan_in, fan_out in itertools.pairwise([7] + [d_h] * n_h + [1]):
            layer = nn.Linear(fan_in, fan_out, dtype=torch.float64)
            layer.weight.data = torch.randn(fan_out, fan_in, generator=generator).double() / fan_in**0.5
            layer.bias.data = torch.randn(fan_out, generator=generator).double()
            modules += [layer, nn.GELU(approximate="tanh")]
        members.append(nn.Sequential(*modules[:-1]).requires_grad_(False))
    quality = pd.DataFrame({"r2": 1.0}, index=["ensemble"])
    return Ensemble("test_accuracy", spaces.ubal(), members, quality, np.empty(0), pd.DataFrame(), 0, 0)


def seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


@pytest.mark.parametrize(("n_h", "d_h"), [(1, 64), (2, 32)], ids=["1-64", "2-32"])
def test_exact_decomposition_against_deep_shap(benchmark, n_h, d_h):
    ensemble = ensemble_of(n_h, d_h)
    table = spaces.sample(spaces.ubal(), 0, range(N_POINTS)).assign(status="ok")

    def exact():
        return decomposition.decompose(ensemble, table, n_background=N_BACKGROUND)

    def deep():
        return attribution.deep_shap(ensemble, table, n_background=N_BACKGROUND)

    assert exact().shap().member_values.shape == deep().member_values.shape == (N_MEMBERS, N_POINTS, 7)
    turns = [(seconds(exact), seconds(deep)) for _ in range(3)]
    times = statistics.median(a / b for a, b in turns)
    medians = [statistics.median(column) for column in zip(*turns)]
    benchmark.extra_info["times the seconds of Deep SHAP"] = round(times, 2)
    print(
        f"\n{n_h} × {d_h}, {N_MEMBERS} members, {N_POINTS} points, {N_BACKGROUND} of background: the exact "
        f"decomposition takes {times:.2f} × as long as Deep SHAP ({medians[0]:.2f} s and {medians[1]:.2f} s)"
    )
    benchmark.pedantic(exact, rounds=1)
