"""Importance by other methods: against what is known of functions, and the definition written down."""

import logging.handlers
import math
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Constant, Float, Integer
from helpers import cube, trials

from ubalkit import rivals
from ubalkit import space as spaces

QUICK = {"MDI": rivals.mdi, "N-RReliefF": rivals.n_rrelieff}


def given(unit, y, names="abcd"):
    """Trials whose hyperparameters are their unit-cube coordinates."""
    table = pd.DataFrame(unit, columns=list(names)).assign(y=y)
    return trials(table, cube(names), y="maximize")


def observed(space, f, n=256, noise=0.0):
    """Trials at Sobol' points: neither hyperparameter happens to vary more than another."""
    unit = spaces.sobol(len(spaces.varied(space)), n)
    values = f(*unit.T) + noise * np.random.default_rng(0).standard_normal(n)
    return trials(spaces.from_unit(space, unit).assign(y=values), space, y="maximize")


def part(given, rows):
    return replace(given, table=given.table.iloc[rows])


def mirrored(given, direction="maximize"):
    return trials(given.table.assign(y=-given.table["y"]), given.space, y=direction)


def shares(weights):
    weights = np.maximum(weights, 0)
    return weights / weights.sum()


WEIGHTS = np.array([1.0, 0.5, 0.25, 0.0])
SPACE = cube(["strong", "medium", "weak", "dummy"])


@pytest.fixture(scope="module")
def linear():
    return observed(SPACE, lambda *u: WEIGHTS @ np.array(u), noise=0.02)


@pytest.fixture(scope="module")
def frame(linear):
    return rivals.compare(linear)


def test_two_hyperparameters_of_equal_effect_share_it_whatever_their_scale():
    space = ConfigurationSpace()
    space.add([Float("plain", (0.0, 1.0)), Float("rate", (1e-5, 1.0), log=True)])
    frame = rivals.compare(observed(space, lambda u, v: 0.3 * u + 0.3 * v, n=128))
    assert list(frame.columns) == list(rivals.METHODS)
    for method in frame:
        assert frame.loc["rate", method] == pytest.approx(0.5, abs=0.06), method


def test_a_linear_function_s_slopes_are_put_in_order(frame, linear):
    for method in frame:
        column = frame[method]
        assert column["strong"] > column["medium"] > column["weak"] >= column["dummy"], method
    assert frame.loc["dummy"].max() < 0.05
    weights = rivals.n_rrelieff(linear, signed=True)
    assert list(weights.sort_values(ascending=False).index) == spaces.names(SPACE)
    assert weights["dummy"] < 0


def test_shares_of_a_linear_function_are_the_known_ones(frame):
    # Variances go with the squared slope, SHAP values with the slope.
    for method, expected in {
        "fANOVA": shares(WEIGHTS**2),
        "permutation": shares(WEIGHTS**2),
        "MDI": shares(WEIGHTS**2),
        "TreeSHAP": shares(WEIGHTS),
    }.items():
        np.testing.assert_allclose(frame[method][spaces.names(SPACE)], expected, atol=0.06, err_msg=method)


def test_fanova_is_a_share_of_the_variance_and_leaves_interactions_out(linear):
    assert 0.85 < rivals.fanova(part(linear, range(128))).sum() < 1.01
    interaction = observed(SPACE, lambda a, b, *_: (a - 0.5) * (b - 0.5))
    assert rivals.fanova(interaction).sum() < 0.3
    # Which N-RReliefF sees.
    weights = rivals.n_rrelieff(interaction)
    assert set(weights.index[weights > 0]) == {"strong", "medium"}


def test_permutation_finds_nothing_in_noise():
    # On rows that the forests have seen it would: they learn noise by heart.
    noise = observed(SPACE, lambda *u: 0 * u[0], n=100, noise=0.1)
    assert rivals.permutation(noise).sum() < 0.1 * noise.table["y"].var()


@pytest.mark.parametrize("method", rivals.METHODS)
def test_weights_are_named_reproducible_and_not_negative(method, linear):
    rows, function = part(linear, range(60)), rivals.METHODS[method]
    weights = function(rows)
    assert list(weights.index) == spaces.names(SPACE)
    assert weights.name == method and weights.index.name == "hyperparameter"
    assert np.isfinite(weights).all() and (weights >= 0).all()
    pd.testing.assert_series_equal(function(rows, "y", seed=0), weights)
    if method != "PED-ANOVA":
        pd.testing.assert_series_equal(function(mirrored(rows)), weights, rtol=1e-6)


def test_to_ped_anova_best_and_worst_differ():
    # The best are so by the first hyperparameter, the worst by the second.
    given = observed(cube(["best", "worst"]), lambda a, b: np.maximum(a - 0.8, 0) - np.maximum(b - 0.8, 0))
    weights, opposite = rivals.ped_anova(given), rivals.ped_anova(mirrored(given))
    assert weights["best"] > 3 * weights["worst"]
    assert opposite["worst"] > 3 * opposite["best"]
    pd.testing.assert_series_equal(rivals.ped_anova(mirrored(given, "minimize")), weights)


def test_discrete_hyperparameters_count_and_constants_do_not():
    space = ConfigurationSpace()
    space.add([Integer("units", (1, 64), log=True), Categorical("kind", ["x", "y", "z"])])
    space.add([Constant("fixed", 3), Float("rate", (1e-4, 1e-1), log=True)])
    table = spaces.sample(space, 0, range(80))
    unit = pd.DataFrame(spaces.to_unit(space, table), table.index, spaces.varied(space))
    frame = rivals.compare(trials(table.assign(y=unit["units"] + unit["kind"]), space, y="maximize"))
    assert set(frame.index) == {"units", "kind", "rate"}
    assert (frame.idxmin() == "rate").all()
    assert frame.notna().all(axis=None)


@pytest.mark.parametrize("method", [*rivals.METHODS.values(), rivals.compare])
def test_what_cannot_be_ranked_is_refused(method, linear):
    with pytest.raises(ValueError, match=r"7 different .* are too few for 4 .*; at least 8"):
        method(part(linear, range(7)))
    assert len(method(part(linear, range(8)))) == 4
    with pytest.raises(ValueError, match="nothing to explain: y is the same in all trials"):
        method(replace(linear, table=linear.table.assign(y=0.25)))
    with pytest.raises(ValueError, match="Unknown metric 'nosuch'"):
        method(linear, "nosuch")
    with pytest.raises(ValueError, match="constants only"):
        method(trials(linear.table.assign(strong=1.0), ConfigurationSpace({"strong": 1.0}), y="maximize"))


def test_optuna_stays_quiet_and_as_it_was(linear):
    import optuna

    told = logging.handlers.BufferingHandler(1000)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    logging.getLogger("optuna").addHandler(told)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            rivals.mdi(linear)
            rivals.ped_anova(linear)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        logging.getLogger("optuna").removeHandler(told)
        optuna.logging.set_verbosity(before)
    assert told.buffer == []


def transcription(unit, y, k, sigma):
    """RReliefF's three sums, row by row and neighbour by neighbour; then the weights."""
    n, d = unit.shape
    n_dc, n_da, n_dcda = 0.0, [0.0] * d, [0.0] * d
    for i in range(n):
        others = [j for j in range(n) if j != i]
        others.sort(key=lambda j: (sum(abs(unit[i, a] - unit[j, a]) for a in range(d)), j))
        near = others[:k]
        d1 = [1.0 if sigma is None else math.exp(-((rank / sigma) ** 2)) for rank in range(1, len(near) + 1)]
        for j, influence in zip(near, d1):
            weight = influence / sum(d1)
            dc = abs(y[i] - y[j]) / (max(y) - min(y))
            n_dc += weight * dc
            for a in range(d):
                da = abs(unit[i, a] - unit[j, a])
                n_da[a] += weight * da
                n_dcda[a] += weight * dc * da
    return [both / n_dc - (da - both) / (n - n_dc) for da, both in zip(n_da, n_dcda)]


@pytest.mark.parametrize(("k", "sigma"), [(1, None), (5, None), (5, 2.0), (39, None), (70, 20.0)])
def test_n_rrelieff_is_its_definition_written_down(k, sigma):
    rng = np.random.default_rng(3)
    unit = rng.random((40, 3))
    # Rows twice and points of a grid: equally near ones must be told apart by their place.
    unit[20:25] = unit[:5]
    unit[25:] = rng.integers(0, 5, (15, 3)) / 4
    y = unit[:, 0] ** 2 + unit[:, 1] * unit[:, 2]
    settings = {"n_neighbors": k, "sigma": sigma}
    weights = rivals.n_rrelieff(given(unit, y, "abc"), **settings, signed=True)
    np.testing.assert_allclose(weights, transcription(unit, y, min(k, 39), sigma), rtol=0, atol=1e-12)
    clipped = rivals.n_rrelieff(given(unit, y, "abc"), **settings)
    np.testing.assert_array_equal(clipped, np.maximum(weights, 0))


@pytest.mark.parametrize("y", [[0, 0, 1, 1], [0, 1, 0, 1]], ids=["all agree", "all differ"])
def test_n_rrelieff_of_neighbours_that_all_agree_or_all_differ_is_finite(y):
    weights = rivals.n_rrelieff(given([[0.0], [0.1], [0.9], [1.0]], y, "a"), n_neighbors=1, signed=True)
    assert abs(weights["a"]) == pytest.approx(0.1)


def test_our_importances_come_first_and_set_the_order(linear):
    ours = {
        "exact": pd.Series({"dummy": -1.0, "weak": 3.0, "medium": 1.0, "strong": 0.0}),
        "nothing": pd.Series(0.0, index=spaces.names(SPACE)),
    }
    frame = rivals.compare(linear, ours=ours, methods=QUICK)
    assert list(frame.columns) == ["exact", "nothing", "MDI", "N-RReliefF"]
    assert frame["exact"].to_dict() == {"weak": 0.75, "medium": 0.25, "strong": 0, "dummy": 0}
    assert list(frame.index) == ["weak", "medium", "strong", "dummy"] and frame["nothing"].isna().all()


def test_of_many_trials_a_part_is_compared(monkeypatch):
    monkeypatch.setattr(rivals, "MOST", 40)
    seen = []

    def counting(trials, metric, seed):
        seen.append(len(trials))
        return rivals.mdi(trials, metric, seed=seed)

    rivals.compare(observed(SPACE, lambda *u: u[0], n=64), methods={"one": counting, "two": counting})
    rivals.compare(observed(SPACE, lambda *u: u[0], n=32), methods={"few": counting})
    assert seen == [40, 40, 32]
