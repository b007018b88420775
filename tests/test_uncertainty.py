import itertools

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace, Constant, Float
from scipy import stats

from ubalkit import decomposition, metamodel, uncertainty
from ubalkit import space as spaces
from ubalkit.uncertainty import Estimate

#: Half the width of a 90 % interval, in standard deviations.
REACH = uncertainty.CALIBRATION * stats.norm.ppf(0.95)


def reach_of(n_members):
    """The same of an estimate from so many members."""
    return uncertainty.CALIBRATION * stats.t.ppf(0.95, n_members - 1) * (1 + 1 / n_members) ** 0.5


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


def test_of_few_members_the_interval_is_wider():
    replicates = np.array([[1.9], [2.1]] * 50)
    low, high = uncertainty.interval(np.array([2.0]), replicates, n_members=4)
    assert (high - low)[0] / 2 == pytest.approx(0.1 * reach_of(4))


def test_each_number_has_its_own_interval():
    rng = np.random.default_rng(0)
    replicates = rng.normal([1, 2, 3], [0.1, 0.2, 0.0], size=(4000, 3))
    low, high = uncertainty.interval(np.array([1.0, 2.0, 3.0]), replicates)
    np.testing.assert_allclose(low, [1 - REACH * 0.1, 2 - REACH * 0.2, 3], atol=0.02)
    np.testing.assert_allclose(high, [1 + REACH * 0.1, 2 + REACH * 0.2, 3], atol=0.02)


def test_the_bias_of_a_size_is_taken_off_its_square():
    # 3² in truth; noise made it 3² + 1 once in the value and twice in the replicates.
    value, replicates = np.array([10**0.5]), np.full((100, 1), 11**0.5)
    low, high = uncertainty.interval(value, replicates, nonnegative=True)
    np.testing.assert_allclose([low[0], high[0]], [3, value[0]], rtol=1e-12)


def test_a_size_that_is_nothing_but_noise_may_be_nothing():
    rng = np.random.default_rng(1)
    members = rng.standard_normal((10, 200, 3)) * [1.0, 1.0, 0.0]
    members[:, :, 1] += 5
    found = uncertainty.estimate(size, members, nonnegative=True)
    assert found.low[0] == 0 <= found.high[0]
    assert 4.5 < found.low[1] < 5 < found.high[1] < 5.5
    assert (found.low[2], found.high[2]) == (0, 0)


def test_a_size_is_never_negative():
    rng = np.random.default_rng(2)
    for spread in (0.1, 1, 10, 100):
        replicates = np.abs(rng.normal(1, spread, (50, 20)))
        with np.errstate(invalid="raise"):
            low, high = uncertainty.interval(np.ones(20), replicates, nonnegative=True)
        assert (low >= 0).all()
        assert (high >= low).all()
    # Whereas other statistics may be.
    assert uncertainty.interval(np.ones(20), replicates)[0].min() < 0


# The replicates


def test_the_value_is_that_of_the_members_mean():
    members = np.random.default_rng(3).standard_normal((5, 30, 2))
    found = uncertainty.estimate(size, members, n_resamples=70)
    np.testing.assert_allclose(found.value, np.abs(members.mean(0)).mean(0))
    assert found.replicates.shape == (70, 2)
    assert (found.low < found.high).all()


def test_the_members_spread_is_the_uncertainty():
    # Each member's own constant: nothing depends on the configurations.
    constants = np.linspace(-1, 1, 10)
    members = np.tile(constants[:, None, None], (1, 40, 1))
    found = uncertainty.estimate(mean, members, n_resamples=4000)
    assert np.ptp(found.replicates) == pytest.approx(2)
    assert found.high[0] - found.low[0] == pytest.approx(2 * reach_of(10) * constants.std(), rel=0.07)
    assert found.low[0] < found.value[0] < found.high[0]


def test_the_choice_of_the_configurations_adds_to_it():
    # Members that are one and the same: what is left is the standard error of a mean.
    values = np.random.default_rng(4).standard_normal((150, 2)) * [1, 3]
    members = np.array([values] * 6)
    found = uncertainty.estimate(mean, members, n_resamples=4000)
    expected = reach_of(6) * values.std(0) / 150**0.5
    np.testing.assert_allclose((found.high - found.low) / 2, expected, rtol=0.05)
    np.testing.assert_allclose((found.high + found.low) / 2, values.mean(0), atol=0.1 * expected.min())


def test_configurations_that_were_not_drawn_add_nothing():
    values = np.random.default_rng(4).standard_normal((150, 2))
    found = uncertainty.estimate(mean, np.array([values] * 6), resample_rows=False)
    np.testing.assert_allclose(found.low, found.value, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.high, found.value, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.replicates, found.replicates[:1].repeat(500, 0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("resample_rows", [True, False])
def test_weights_add_up_to_one(resample_rows):
    seen = []

    def statistic(values, weights):
        seen.append(weights)
        return mean(values, weights)

    uncertainty.estimate(statistic, np.zeros((3, 12, 1)), resample_rows=resample_rows, n_resamples=20)
    assert len(seen) == 21
    np.testing.assert_allclose([w.sum() for w in seen], 1)
    np.testing.assert_allclose(seen[0], 1 / 12)
    uneven = [np.ptp(w) > 0 for w in seen[1:]]
    assert all(uneven) if resample_rows else not any(uneven)


def test_every_member_takes_part():
    members = np.arange(8.0)[:, None, None].repeat(5, 1)
    found = uncertainty.estimate(mean, members, n_resamples=400)
    counts = np.unique(found.replicates.round(9), return_counts=True)
    np.testing.assert_allclose(counts[0], np.arange(8))
    assert counts[1].min() > 400 / 8 / 2


def test_one_member_has_no_interval():
    members = np.random.default_rng(5).standard_normal((1, 30, 2))
    found = uncertainty.estimate(size, members, nonnegative=True)
    np.testing.assert_allclose(found.value, np.abs(members[0]).mean(0))
    assert np.isnan([found.low, found.high]).all()


def test_a_seed_decides_everything():
    members = np.random.default_rng(6).standard_normal((4, 30, 2))
    first, again, other = (uncertainty.estimate(mean, members, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.replicates, again.replicates)
    np.testing.assert_array_equal([first.low, first.high], [again.low, again.high])
    np.testing.assert_array_equal(first.value, other.value)
    assert (first.low != other.low).all()


def test_as_columns():
    found = Estimate(np.array([1.0]), np.array([0.5]), np.array([1.5]), np.ones((3, 1)))
    assert found.columns("share") == {"share": found.value, "low": found.low, "high": found.high}


# How sure an order is


def ranked(replicates, value=None):
    replicates = np.array(replicates, dtype=float)
    value = replicates.mean(0) if value is None else np.array(value, dtype=float)
    return Estimate(value, value, value, replicates)


def test_it_says_which_is_first_and_how_often():
    found = uncertainty.order(ranked([[1, 2, 0]] * 3 + [[5, 2, 0]]), ["a", "b", "c"])
    assert found[0] == "b is first in 75% of the resamples"


def test_a_sure_order_has_one_sentence():
    found = ranked([[1, 3, 2]] * 20)
    assert uncertainty.order(found, ["a", "b", "c"]) == ["b is first in 100% of the resamples"]


def test_neighbours_that_change_places_are_tied():
    # c and b change places every other time, a and d never.
    found = ranked([[9, 2, 3, 0], [9, 3, 2, 0]] * 10, value=[9, 2.5, 2.6, 0])
    assert uncertainty.order(found, ["a", "b", "c", "d"]) == [
        "a is first in 100% of the resamples",
        "c and b cannot be told apart",
    ]


def test_a_chain_of_ties_is_one_group_and_groups_stand_in_order():
    draws = [[1, 2, 3, 8, 9], [3, 2, 1, 9, 8]] * 10
    found = ranked(draws, value=[2.1, 2.0, 1.9, 8.4, 8.5])
    assert uncertainty.order(found, ["a", "b", "c", "d", "e"]) == [
        "e is first in 50% of the resamples",
        "e and d cannot be told apart",
        "a, b and c cannot be told apart",
    ]


def test_how_sure_is_sure_enough():
    found = ranked([[2, 1]] * 9 + [[1, 2]])
    assert len(uncertainty.order(found, ["a", "b"], sure=0.95)) == 2
    assert len(uncertainty.order(found, ["a", "b"], sure=0.9)) == 1
    assert uncertainty.order(found, ["a", "b"])[0] == "a is first in 90% of the resamples"


def test_what_is_equal_cannot_be_told_apart():
    found = ranked(np.ones((10, 2)))
    assert uncertainty.order(found, ["a", "b"])[1] == "a and b cannot be told apart"


# The backgrounds


class OfMembers:
    """As much of an ensemble as a background asks for."""

    def __init__(self, n_members, d=3):
        self.members = [None] * n_members
        self.space = ConfigurationSpace()
        self.space.add([Float(f"h{k}", (2.0, 9.0)) for k in range(d)] + [Constant("fixed", 1)])


def test_every_member_has_a_background_of_its_own():
    found = uncertainty.backgrounds(OfMembers(5), 32, seed=0)
    assert found.shape == (5, 32, 3)
    for k in range(5):
        for other in range(k):
            distance = np.abs(found[k][:, None] - found[other]).max(2)
            assert distance.min() > 1e-6


def test_backgrounds_are_spread_over_the_unit_cube():
    found = uncertainty.backgrounds(OfMembers(20), 32, seed=0)
    assert found.min() >= 0
    assert found.max() < 1
    # Scrambled Sobol' points: in every thirty-second of every axis there is one.
    cells = np.sort((found * 32).astype(int), axis=1)
    np.testing.assert_array_equal(cells, np.broadcast_to(np.arange(32)[None, :, None], cells.shape))


def test_a_seed_decides_the_backgrounds():
    one, again, other = (uncertainty.backgrounds(OfMembers(3), 16, seed) for seed in (1, 1, 500))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max(2).min() > 1e-6
    # More members leave those of the first as they were.
    np.testing.assert_array_equal(uncertainty.backgrounds(OfMembers(2), 16, 1), one[:2])


def test_neighbouring_seeds_share_no_background():
    one, next_ = (uncertainty.backgrounds(OfMembers(3), 16, seed) for seed in (1, 2))
    distance = np.abs(one[:, None] - next_[None]).max((2, 3))
    assert distance.min() > 1e-6


# Whether the intervals hold the truth

N_GRID, BANDWIDTH = 11, 0.05


def smooth(u):
    """Two waves, a slope and two products: the components of a function, by the places they depend on."""
    slope = 12**0.5 * (u - 0.5)
    wave = 2**0.5 * np.sin(np.pi * (u - 0.5))
    return {
        (0,): slope[:, 0],
        (1,): 0.7 * wave[:, 1],
        (2,): 0.4 * slope[:, 2],
        (2, 3): 0.5 * slope[:, 2] * slope[:, 3],
        (0, 4): 0.3 * slope[:, 0] * slope[:, 4],
        (5,): 0.15 * slope[:, 5],
    }


def g_function(u):
    """Components of Π_i (|4u_i - 2| + a_i) / (1 + a_i)."""
    a = np.array([0, 0.5, 1.5, 3, 6, 9, 99])
    factors = (np.abs(4 * u - 2) - 1) / (1 + a)
    sets = itertools.chain.from_iterable(itertools.combinations(range(7), k) for k in range(1, 8))
    return {s: factors[:, list(s)].prod(1) for s in sets}


def truth(components):
    """What a decomposition estimates: Sobol' indices, mean |SHAP|, own effects as the window sees them."""
    found = components(spaces.sobol(7, 2**14, seed=99))
    variance = {s: (m**2).mean() for s, m in found.items()}
    whole = sum(variance.values())
    values = [sum(m / len(s) for s, m in found.items() if i in s) + np.zeros(2**14) for i in range(7)]
    line = (np.arange(1000) + 0.5) / 1000
    along = components(line[:, None].repeat(7, 1))
    window = np.exp(-0.5 * ((np.linspace(0, 1, N_GRID)[:, None] - line) / BANDWIDTH) ** 2)
    window /= window.sum(1, keepdims=True)
    return whole, {
        "first": np.array([variance.get((i,), 0) for i in range(7)]) / whole,
        "total": np.array([sum(v for s, v in variance.items() if i in s) for i in range(7)]) / whole,
        "size": np.abs(values).mean(1),
        "curve": np.array([window @ along.get((i,), np.zeros(1000)) for i in range(7)]),
    }


def explained(components, variance, seed):
    """The decomposition of an ensemble fitted to 300 noisy observations."""
    space = spaces.ubal()
    table = spaces.sample(space, 1000 + seed, range(300))
    y = sum(components(spaces.to_unit(space, table)).values())
    y = y + 0.2 * variance**0.5 * np.random.default_rng(seed).standard_normal(300)
    table = table.assign(test_accuracy=y, backprojection_accuracy=0.5, status="ok")
    settings = {"architectures": [(2, 32)], "weight_decays": [3e-3], "n_folds": 2, "seed": seed}
    ensemble = metamodel.fit(table, "test_accuracy", **settings)
    return decomposition.decompose(ensemble, n_points=256, seed=100 * seed)


def intervals(found):
    """Low and high of each kind of estimate, in the hyperparameters' order."""
    sobol = found.sobol().loc[found.names]
    attribution = found.shap()
    size = attribution.importance_estimate()
    curves = attribution.curves(N_GRID, BANDWIDTH)
    return {
        "first": (sobol["first_low"], sobol["first_high"]),
        "total": (sobol["total_low"], sobol["total_high"]),
        "size": (size.low, size.high),
        "curve": tuple(curves[bound].to_numpy().reshape(7, N_GRID) for bound in ("low", "high")),
    }


def coverage(repeats):
    """In what share of repeats, hyperparameters and kinds the interval holds the truth."""
    shares = []
    for components in (smooth, g_function):
        variance, known = truth(components)
        for seed in range(repeats):
            for kind, (low, high) in intervals(explained(components, variance, seed)).items():
                held = (np.asarray(low) <= known[kind]) & (known[kind] <= np.asarray(high))
                shares.append((components.__name__, kind, held.mean()))
    return shares


@pytest.mark.slow
def test_nine_of_ten_intervals_hold_the_truth():
    shares = coverage(repeats=15)
    for function, kind in dict.fromkeys(share[:2] for share in shares):
        print(f"{function}, {kind}: {np.mean([s[2] for s in shares if s[:2] == (function, kind)]):.0%}")
    pooled = np.mean([share[2] for share in shares])
    print(f"pooled: {pooled:.0%}")
    assert 0.85 <= pooled <= 0.97
