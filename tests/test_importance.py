import itertools
import logging.handlers
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Constant, Float, Integer

from ubalkit import importance
from ubalkit import space as spaces

METRIC = "test_accuracy"
QUICK = {"MDI": importance.mdi, "N-RReliefF": importance.n_rrelieff}


def cube(*names):
    space = ConfigurationSpace()
    space.add([Float(name, (0.0, 1.0), meta={"position": k}) for k, name in enumerate(names)])
    return space


def observed(space, f, n=256, noise=0.0):
    """A table at Sobol' points: neither hyperparameter happens to vary more than another."""
    unit = spaces.sobol(len(spaces.varied(space)), n)
    values = f(*unit.T) + noise * np.random.default_rng(0).standard_normal(n)
    return spaces.from_unit(space, unit).assign(**{METRIC: values}, status="ok")


def shares(weights):
    weights = np.maximum(weights, 0)
    return weights / weights.sum()


WEIGHTS = np.array([1.0, 0.5, 0.25, 0.0])
SPACE = cube("strong", "medium", "weak", "dummy")


@pytest.fixture(scope="module")
def linear():
    return observed(SPACE, lambda *u: WEIGHTS @ np.array(u), noise=0.02)


@pytest.fixture(scope="module")
def frame(linear):
    return importance.compare(linear, METRIC, SPACE)


def test_two_hyperparameters_of_equal_effect_share_it_whatever_their_scale():
    space = ConfigurationSpace()
    space.add([Float("plain", (0.0, 1.0)), Float("rate", (1e-5, 1.0), log=True)])
    table = observed(space, lambda u, v: 0.3 * u + 0.3 * v, n=128)
    frame = importance.compare(table, METRIC, space)
    assert list(frame.columns) == list(importance.METHODS)
    for method in frame:
        assert frame.loc["rate", method] == pytest.approx(0.5, abs=0.06), method


def test_a_linear_function_s_slopes_are_put_in_order(frame, linear):
    for method in frame:
        column = frame[method]
        assert column["strong"] > column["medium"] > column["weak"] >= column["dummy"], method
    weights = importance.n_rrelieff(linear, METRIC, SPACE, signed=True)
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
    own = importance.fanova(linear.iloc[:128], METRIC, SPACE)
    assert 0.85 < own.sum() < 1.01
    interaction = observed(SPACE, lambda a, b, *_: (a - 0.5) * (b - 0.5))
    assert importance.fanova(interaction, METRIC, SPACE).sum() < 0.3


def test_a_dummy_gets_next_to_nothing(frame):
    assert frame.loc["dummy"].max() < 0.05


def test_permutation_finds_nothing_in_noise():
    # On rows that the forests have seen it would: they learn noise by heart.
    table = observed(SPACE, lambda *u: 0 * u[0], n=100, noise=0.1)
    weights = importance.permutation(table, METRIC, SPACE)
    assert weights.sum() < 0.1 * table[METRIC].var()


def test_shares_add_up_to_one(frame):
    np.testing.assert_allclose(frame.sum(), 1)
    assert (frame >= 0).all(axis=None)


@pytest.mark.parametrize("method", importance.METHODS)
def test_weights_are_named_and_not_negative(method, linear):
    rows = linear.iloc[:60]
    weights = importance.METHODS[method](rows, METRIC, SPACE)
    assert list(weights.index) == spaces.names(SPACE)
    assert weights.name == method and weights.index.name == "hyperparameter"
    assert np.isfinite(weights).all() and (weights >= 0).all()
    pd.testing.assert_series_equal(importance.METHODS[method](rows, METRIC, SPACE, seed=0), weights)


def test_the_mirrored_metric_has_the_same_importances(linear):
    rows = linear.iloc[:32]
    mirrored = rows.assign(**{METRIC: -rows[METRIC]})
    for name in importance.METHODS.keys() - {"PED-ANOVA"}:
        method = importance.METHODS[name]
        there, here = method(mirrored, METRIC, SPACE), method(rows, METRIC, SPACE)
        pd.testing.assert_series_equal(there, here, rtol=1e-6, obj=name)


def test_to_ped_anova_best_and_worst_differ():
    # The best are so by the first hyperparameter, the worst by the second.
    space = cube("best", "worst")
    table = observed(space, lambda a, b: np.maximum(a - 0.8, 0) - np.maximum(b - 0.8, 0))
    mirrored = table.assign(**{METRIC: -table[METRIC]})
    weights = importance.ped_anova(table, METRIC, space)
    assert weights["best"] > 3 * weights["worst"]
    opposite = importance.ped_anova(mirrored, METRIC, space)
    assert opposite["worst"] > 3 * opposite["best"]
    again = importance.ped_anova(mirrored, METRIC, space, maximize=False)
    pd.testing.assert_series_equal(again, weights)


def test_the_order_of_the_columns_does_not_matter(linear):
    rows = linear.iloc[:48]
    turned = rows[rows.columns[::-1]]
    pd.testing.assert_frame_equal(
        importance.compare(turned, METRIC, SPACE, methods=QUICK),
        importance.compare(rows, METRIC, SPACE, methods=QUICK),
    )
    frame = importance.compare(rows, METRIC, SPACE)
    turned = importance.compare(rows, METRIC, cube(*spaces.names(SPACE)[::-1])).loc[frame.index]
    forests = ["permutation", "TreeSHAP"]
    exact = frame.columns.difference(forests)
    np.testing.assert_allclose(turned[exact], frame[exact], rtol=0, atol=1e-12)
    # Another order draws other trees.
    np.testing.assert_allclose(turned[forests], frame[forests], rtol=0, atol=0.03)


def test_discrete_hyperparameters_count_and_constants_do_not():
    space = ConfigurationSpace()
    space.add([Integer("units", (1, 64), log=True), Categorical("kind", ["x", "y", "z"])])
    space.add([Constant("fixed", 3), Float("rate", (1e-4, 1e-1), log=True)])
    table = spaces.sample(space, 0, range(80))
    table.loc[0, ["units", "rate"]] = [64, 1e-1]
    unit = pd.DataFrame(spaces.to_unit(space, table), columns=spaces.varied(space), index=table.index)
    table = table.assign(**{METRIC: unit["units"] + unit["kind"]}, status="ok")
    frame = importance.compare(table, METRIC, space)
    assert set(frame.index) == {"units", "kind", "rate"}
    assert (frame.idxmin() == "rate").all()
    assert frame.notna().all(axis=None)


def test_failed_configurations_are_left_out_and_warned_of_once(linear):
    table = linear.iloc[:60].copy()
    table.loc[table.index[::7], [METRIC, "status"]] = [np.nan, "failed"]
    with pytest.warns(UserWarning, match="9 of 60 configurations failed") as told:
        frame = importance.compare(table, METRIC, SPACE, methods=QUICK)
    assert len(told) == 1
    without = importance.compare(table[table["status"] == "ok"], METRIC, SPACE, methods=QUICK)
    pd.testing.assert_frame_equal(frame, without)


@pytest.mark.parametrize("method", [*importance.METHODS.values(), importance.compare])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(**{METRIC: 0.25}), "is constant at 0.25: there is nothing to explain"),
        (lambda t: t.assign(**{METRIC: np.r_[t[METRIC][1:], np.inf]}), "holds 1 values that are not finite"),
        (lambda t: t.iloc[:7], "7 usable observations are too few for 4 hyperparameters; at least 8"),
        (lambda t: t.drop(columns=METRIC), "Unknown metric 'test_accuracy'"),
        (lambda t: t.drop(columns="weak"), "no column 'weak'"),
    ],
    ids=["constant", "infinite", "few", "no metric", "no column"],
)
def test_what_cannot_be_ranked_is_refused(method, change, message, linear):
    with pytest.raises(ValueError, match=message):
        method(change(linear.iloc[:20]), METRIC, SPACE)


def test_a_space_of_constants_is_refused(linear):
    space = ConfigurationSpace({"strong": 1.0})
    with pytest.raises(ValueError, match="constants only"):
        importance.mdi(linear.assign(strong=1.0), METRIC, space)


def test_twice_as_many_rows_as_hyperparameters_are_enough(linear):
    assert importance.compare(linear.iloc[:8], METRIC, SPACE).shape == (4, 6)


def test_optuna_stays_quiet_and_as_it_was(linear):
    import optuna

    told = logging.handlers.BufferingHandler(1000)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    logging.getLogger("optuna").addHandler(told)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            importance.mdi(linear, METRIC, SPACE)
            importance.ped_anova(linear, METRIC, SPACE)
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
    table = pd.DataFrame(unit, columns=["a", "b", "c"])
    table = table.assign(**{METRIC: unit[:, 0] ** 2 + unit[:, 1] * unit[:, 2]}, status="ok")
    settings = {"n_neighbors": k, "sigma": sigma}
    weights = importance.n_rrelieff(table, METRIC, cube("a", "b", "c"), **settings, signed=True)
    expected = transcription(unit, table[METRIC].to_numpy(), min(k, 39), sigma)
    assert list(weights.index) == ["a", "b", "c"]
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-12)
    clipped = importance.n_rrelieff(table, METRIC, cube("a", "b", "c"), **settings)
    np.testing.assert_array_equal(clipped, np.maximum(weights, 0))


def rectangles(n_rectangles=12, seed=0):
    """Rows in fours, at the corners of small rectangles far apart; at two on one side the metric is 1.

    So the two rows nearest to a row are one that has its value and one that
    has the other.
    """
    rng = np.random.default_rng(seed)
    unit, y = [], []
    for centre in rng.random((n_rectangles, 4)):
        sides, axis = rng.uniform(0.02, 0.04, 2), rng.integers(2)
        for corner in itertools.product((0, 1), repeat=2):
            unit.append(centre + np.r_[sides * corner, rng.uniform(0, 0.004, 2)])
            y.append(float(corner[axis]))
    # skrebate divides by the range in the table, here by that of the space: one in both.
    return (unit - np.min(unit, 0)) / np.ptp(unit, 0), np.array(y)


def test_n_rrelieff_agrees_with_skrebate_where_the_definitions_meet():
    # skrebate takes k rows that agree in the metric (to one standard deviation)
    # and k that do not, averages each kind row by row, and knows no graded
    # difference of the metric and no influence of the rank. With a metric of
    # two values and neighbourhoods of one row of each kind that is RReliefF.
    skrebate = pytest.importorskip("skrebate")
    unit, y = rectangles()
    distance = np.abs(unit[:, None] - unit).sum(2)
    near = distance.argsort(1)[:, 1:3]
    assert ((y[near] != y[:, None]).sum(1) == 1).all()
    theirs = skrebate.ReliefF(n_neighbors=1, categorical_threshold=1, label_type="continuous")
    theirs = theirs.fit(unit.copy(), y).feature_importances_
    names = ["a", "b", "c", "d"]
    table = pd.DataFrame(unit, columns=names).assign(**{METRIC: y}, status="ok")
    settings = {"n_neighbors": 2, "sigma": None, "signed": True}
    ours = importance.n_rrelieff(table, METRIC, cube(*names), **settings)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    assert (ours[["a", "b"]].abs() > 1e-3).all() and ours.min() < 0


def test_a_pure_interaction_is_seen_by_n_rrelieff():
    space = cube("a", "b", "c", "d")
    table = observed(space, lambda a, b, *_: (a - 0.5) * (b - 0.5))
    weights = importance.n_rrelieff(table, METRIC, space)
    assert set(weights.index[weights > 0]) == {"a", "b"}


@pytest.mark.parametrize("y", [[0, 0, 1, 1], [0, 1, 0, 1]], ids=["all agree", "all differ"])
def test_n_rrelieff_of_neighbours_that_all_agree_or_all_differ_is_finite(y):
    table = pd.DataFrame({"a": [0.0, 0.1, 0.9, 1.0], METRIC: y, "status": "ok"})
    weights = importance.n_rrelieff(table, METRIC, cube("a"), n_neighbors=1, signed=True)
    assert abs(weights["a"]) == pytest.approx(0.1)


def test_our_importances_come_first_and_set_the_order(linear):
    ours = {
        "exact": pd.Series({"dummy": -1.0, "weak": 3.0, "medium": 1.0, "strong": 0.0}),
        "nothing": pd.Series(0.0, index=spaces.names(SPACE)),
    }
    frame = importance.compare(linear, METRIC, SPACE, ours=ours, methods=QUICK)
    assert list(frame.columns) == ["exact", "nothing", "MDI", "N-RReliefF"]
    assert list(frame.index) == ["weak", "medium", "strong", "dummy"]
    assert list(frame["exact"]) == [0.75, 0.25, 0, 0]
    assert frame["nothing"].isna().all()
    assert frame["MDI"].idxmax() == "strong"
