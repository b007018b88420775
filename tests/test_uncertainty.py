"""Intervals: against what is known of their spread, scipy's bootstrap, and functions whose truth is known."""

import itertools

import board
import known
import numpy as np
import pandas as pd
import pytest
from board import Cell
from ConfigSpace import ConfigurationSpace
from helpers import ensemble_of, reach_of
from scipy import stats

from ubalkit import effects, metamodel, uncertainty
from ubalkit import space as spaces
from ubalkit.uncertainty import Estimate

#: Half the width of a 90 % interval, in standard deviations.
REACH = uncertainty.CALIBRATION * stats.norm.ppf(0.95)


def mean(values, weights):
    return weights @ values


def size(values, weights):
    return weights @ np.abs(values)


# The interval


def test_the_interval_covers_the_value_and_the_value_freed_of_bias():
    # The replicates came out 0.5 too high, and so, perhaps, did the value.
    replicates = np.array([[2.5 - 0.1], [2.5 + 0.1]] * 50)
    low, high = uncertainty.interval(np.array([2.0]), replicates)
    assert low == pytest.approx(1.5 - REACH * 0.1)
    assert high == pytest.approx(2.0 + REACH * 0.1)
    # Of few members it is wider.
    low, high = uncertainty.interval(np.array([2.5]), replicates, n_members=4)
    assert (high - low)[0] / 2 == pytest.approx(0.1 * reach_of(4))


def test_the_bias_of_a_size_is_taken_off_its_square():
    # 3² in truth; noise made it 3² + 1 once in the value and twice in the replicates.
    value, replicates = np.array([10**0.5]), np.full((100, 1), 11**0.5)
    low, high = uncertainty.interval(value, replicates, nonnegative=True)
    np.testing.assert_allclose([low[0], high[0]], [3, value[0]], rtol=1e-12)


def test_a_size_that_is_nothing_but_noise_may_be_nothing_and_never_less():
    rng = np.random.default_rng(1)
    members = rng.standard_normal((10, 200, 3)) * [1.0, 1.0, 0.0]
    members[:, :, 1] += 5
    found = uncertainty.estimate(size, members, nonnegative=True)
    assert found.low[0] == 0 <= found.high[0]
    assert 4.5 < found.low[1] < 5 < found.high[1] < 5.5
    assert (found.low[2], found.high[2]) == (0, 0)
    # Whereas other statistics may be.
    assert uncertainty.interval(found.value, found.replicates)[0][0] < 0


# The replicates


def test_the_value_is_that_of_the_members_mean():
    members = np.random.default_rng(3).standard_normal((5, 30, 2))
    found = uncertainty.estimate(size, members, n_resamples=70)
    np.testing.assert_allclose(found.value, np.abs(members.mean(0)).mean(0))
    assert found.replicates.shape == (70, 2) and (found.low < found.high).all()
    # Of one member, or without resamples, the value comes alone.
    for few in ({"member_values": members[:1]}, {"member_values": members, "n_resamples": 0}):
        alone = uncertainty.estimate(size, **few, nonnegative=True)
        assert np.isfinite(alone.value).all() and np.isnan([alone.low, alone.high]).all()


def test_the_members_spread_is_the_uncertainty():
    # Each member's own constant: nothing depends on the configurations.
    constants = np.linspace(-1, 1, 10)
    members = np.tile(constants[:, None, None], (1, 40, 1))
    found = uncertainty.estimate(mean, members, n_resamples=4000)
    # Every member takes part, alike often.
    values, counts = np.unique(found.replicates.round(9), return_counts=True)
    np.testing.assert_allclose(values, constants)
    assert counts.min() > 4000 / 10 / 2
    assert found.high[0] - found.low[0] == pytest.approx(2 * reach_of(10) * constants.std(), rel=0.07)
    assert found.low[0] < found.value[0] < found.high[0]


def test_the_choice_of_the_configurations_adds_to_it_where_they_were_drawn():
    # Members that are one and the same: what is left is the standard error of a mean.
    values = np.random.default_rng(4).standard_normal((150, 2)) * [1, 3]
    members = np.array([values] * 6)
    found = uncertainty.estimate(mean, members, n_resamples=4000)
    expected = reach_of(6) * values.std(0) / 150**0.5
    np.testing.assert_allclose((found.high - found.low) / 2, expected, rtol=0.05)
    np.testing.assert_allclose((found.high + found.low) / 2, values.mean(0), atol=0.1 * expected.min())
    evenly = uncertainty.estimate(mean, members, resample_rows=False)
    for alike in (evenly.low, evenly.high, *evenly.replicates):
        np.testing.assert_allclose(alike, evenly.value, rtol=0, atol=1e-12)


# Of observations


def test_bounds_are_the_quantiles_of_what_is_there():
    # 0 … 100, and the same doubled, in any order and with NaN between.
    known = np.arange(101.0)[:, None] * [1, 2]
    holes = np.full((20, 2), np.nan)
    shuffled = np.random.default_rng(0).permutation(np.concatenate([known, holes]))
    for replicates in (known, shuffled):
        low, high = uncertainty.bounds(replicates)
        np.testing.assert_allclose([low, high], [[5, 10], [95, 190]])


@pytest.mark.parametrize("n", [20, 200])
def test_the_bootstrap_is_scipy_s(n):
    x = np.random.default_rng(n).gamma(2.0, size=n)
    value, *found = uncertainty.bootstrap(lambda x: x.mean(-1), x, n_resamples=20_000)
    how = {"method": "percentile", "confidence_level": 0.9, "n_resamples": 20_000, "rng": 1}
    expected = stats.bootstrap([x], np.mean, **how).confidence_interval
    assert value == x.mean()
    # Each bound is a quantile of 20 000 resamples: known to within a few hundredths of a standard error.
    np.testing.assert_allclose(found, expected, atol=0.08 * x.std() / n**0.5)


def test_observations_are_resampled_together_and_by_the_seed():
    x = np.random.default_rng(0).random(50)

    def slope(x, y):
        return ((x - x.mean(-1, keepdims=True)) * y).sum(-1) / x.shape[-1] / x.var(-1)

    # Of pairs on a line every resample has the line's slope.
    np.testing.assert_allclose(uncertainty.bootstrap(slope, x, 3 * x), 3)
    first, again, other = (uncertainty.bootstrap(slope, x, x**2, seed=s) for s in (1, 1, 2))
    assert first == again and first[1:] != other[1:]


# How sure an order is


@pytest.mark.parametrize(
    ("replicates", "value", "sentences"),
    [
        ([[1, 5]] * 15 + [[9, 5]] * 5, None, ["b is first in 75% of the resamples", "b and a"]),
        ([[1, 1]] * 10, None, ["a is first in 100% of the resamples", "a and b"]),
        # c and b change places every other time, a and d never.
        (
            [[9, 2, 3, 0], [9, 3, 2, 0]] * 10,
            [9, 2.5, 2.6, 0],
            ["a is first in 100% of the resamples", "c and b"],
        ),
        # A chain of ties is one group, and groups stand in order.
        (
            [[1, 2, 3, 8, 9], [3, 2, 1, 9, 8]] * 10,
            [2.1, 2.0, 1.9, 8.4, 8.5],
            ["e is first in 50% of the resamples", "e and d", "a, b and c"],
        ),
    ],
    ids=["mostly", "equal", "neighbours", "chain"],
)
def test_how_sure_an_order_is_is_said(replicates, value, sentences):
    first, *ties = sentences
    expected = [first, *(f"{tied} cannot be told apart" for tied in ties)]
    replicates = np.array(replicates, float)
    value = replicates.mean(0) if value is None else np.array(value)
    found = Estimate(value, value, value, replicates)
    assert uncertainty.order(found, list("abcde")[: len(value)]) == expected


# The backgrounds


def of_members(n):
    """So many members, of three hyperparameters and a constant."""
    space = ConfigurationSpace({f"h{k}": (2.0, 9.0) for k in range(3)} | {"fixed": 1})
    return ensemble_of(space, *[len] * n)


def test_every_member_has_a_background_of_its_own_spread_over_the_unit_cube():
    found = uncertainty.backgrounds(of_members(5), 32, seed=0)
    assert found.shape == (5, 32, 3)
    assert 0 <= found.min() and found.max() < 1
    for one, other in itertools.combinations(found, 2):
        assert np.abs(one[:, None] - other).max(2).min() > 1e-6
    # Scrambled Sobol' points: in every thirty-second of every axis there is one.
    cells = np.sort((found * 32).astype(int), axis=1)
    np.testing.assert_array_equal(cells, np.broadcast_to(np.arange(32)[None, :, None], cells.shape))


def test_a_seed_decides_the_backgrounds_of_the_first_members_however_many_there_are():
    one, fewer, other = (uncertainty.backgrounds(of_members(n), 16, s) for n, s in ((3, 1), (2, 1), (3, 2)))
    np.testing.assert_array_equal(fewer, one[:2])
    # Neighbouring seeds share none, neither of the same member nor of another.
    assert np.abs(one[:, None] - other[None]).max((2, 3)).min() > 1e-6


# Whether the intervals hold the truth

N_GRID, BANDWIDTH = 11, 0.05


def truth(name):
    """What a decomposition estimates: Sobol' indices, mean |SHAP|, own effects as the window sees them."""
    space, table, found = known.FUNCTIONS[name].space, known.truth(name), known.effects(known.FUNCTIONS[name])
    window = np.linspace(0, 1, N_GRID)[:, None, None] - spaces.spread(space, 512, 0)
    window = np.exp(-0.5 * (window / BANDWIDTH) ** 2)
    window /= window.sum(1, keepdims=True)
    curve = [window[:, :, j] @ found.get((j,), np.zeros(512)) for j in range(len(table))]
    indices = table[["first", "total"]] / sum(part.var() for part in found.values())
    return {**indices, "size": table["SHAP"], "curve": curve}


def explained(name, seed):
    """The decomposition of an ensemble fitted to 300 noisy observations."""
    settings = {"architectures": [(2, 32)], "weight_decays": [3e-3], "n_folds": 2, "seed": seed}
    ensemble = metamodel.fit(board.trials(Cell(name, "random", 300, seed)), **settings)
    return effects.decompose(ensemble, n_points=256, seed=100 * seed)


def intervals(found):
    """Low and high of each kind of estimate, in the hyperparameters' order."""
    sobol = found.sobol().loc[found.names]
    size = found.shap().importance_estimate()
    curves = found.shap().curves(N_GRID, BANDWIDTH)
    return {
        "first": (sobol["first_low"], sobol["first_high"]),
        "total": (sobol["total_low"], sobol["total_high"]),
        "size": (size.low, size.high),
        "curve": tuple(curves[bound].to_numpy().reshape(-1, N_GRID) for bound in ("low", "high")),
    }


@pytest.mark.slow
def test_nine_of_ten_intervals_hold_the_truth():
    shares = {}
    for name in ("product 6", "g-function 7"):
        right = truth(name)
        for seed in range(15):
            for kind, (low, high) in intervals(explained(name, seed)).items():
                held = (np.asarray(low) <= right[kind]) & (right[kind] <= np.asarray(high))
                shares.setdefault((name, kind), []).append(held.mean())
    print(pd.DataFrame(shares).mean())
    assert 0.85 <= np.mean([*shares.values()]) <= 0.97
