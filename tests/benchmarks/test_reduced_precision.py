"""What TF32 products do to the results: the products' factors are rounded as such a device rounds them.

Weights, activations and sums stay float32, on a GPU as here. Networks that
differ by rounding alone drift apart, as they do between processors; what may
not change is the distribution of their accuracies.
"""

import pandas as pd
import pytest
import torch

from ubalkit import comparison, observations, paths, profiles, search
from ubalkit import space as spaces

#: Of the profile's configurations; they take some ten minutes, most of it for the rounding.
N = {"digits": 300, "compact": 60}


def tf32(x):
    """To the nearest number with ten explicit bits of the mantissa, ties to even."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & -0x2000).view(torch.float32)


def test_rounding_keeps_eleven_bits():
    x = torch.tensor([1.0, 1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-11, -1 - 2**-12, 3.14159274])
    expected = torch.tensor([1.0, 1 + 2**-10, 1.0, 1 + 2**-9, -1.0, 3.140625])
    torch.testing.assert_close(tf32(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", N)
def test_results_are_distributed_as_those_of_float32(name, monkeypatch):
    profile, add, add_ = profiles.get(name), torch.baddbmm, torch.Tensor.baddbmm_
    recorded = observations.read(paths.data(name) / "observations.csv", profile).head(N[name])

    def rounded(bias, a, b, out):
        return add(bias, tf32(a), tf32(b), out=out)

    monkeypatch.setattr(torch, "baddbmm", rounded)
    monkeypatch.setattr(
        torch.Tensor, "baddbmm_", lambda x, a, b, alpha: add_(x, tf32(a), tf32(b), alpha=alpha)
    )
    torch.set_num_threads(1)
    size = profile.chunk
    parts = [search.evaluate(profile, recorded.index[k : k + size]) for k in range(0, len(recorded), size)]
    again = pd.concat(parts)
    for metric in observations.METRICS:
        agreed = comparison.agreement(recorded, again, metric, spaces.names(profile.space))
        apart = (again[metric] - recorded[metric]).abs().quantile([0.5, 0.9])
        print(
            f"\n{name}, {metric}: {len(again)} networks, half within {apart[0.5]:.3f}, 90 % {apart[0.9]:.3f}"
        )
        print(agreed.round(3))
        assert (again[metric] != recorded[metric]).any(), "the products were not rounded"
        assert agreed.loc["rank correlation", "value"] > 0.85
        assert agreed.loc["mean difference", "low"] < 0.01 and agreed.loc["mean difference", "high"] > -0.01
