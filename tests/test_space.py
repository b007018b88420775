"""Hyperparameter spaces: which configuration an index is, unit-cube coordinates, smaller spaces."""

import json

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ubalkit import space as spaces

NAMES = ["momentum", "rate", "depth", "width", "optimizer", "size", "epochs"]


def mixed():
    space = cs.ConfigurationSpace(name="mixed")
    space.add(
        cs.Float("momentum", (0.5, 1.0), meta={"position": 0}),
        cs.Float("rate", (1e-4, 1.0), log=True, meta={"position": 1}),
        cs.Integer("depth", (1, 5), meta={"position": 2}),
        cs.Integer("width", (1, 1000), log=True, meta={"position": 3}),
        cs.Categorical("optimizer", ["sgd", "adam", "lion"], meta={"position": 4}),
        cs.OrdinalHyperparameter("size", ["small", "middle", "large"], meta={"position": 5}),
        cs.Constant("epochs", 7, meta={"position": 6}),
    )
    return space


def svm():
    """Choices of unequal weight, conditions on conditions, forbidden clauses of two kinds."""
    space = cs.ConfigurationSpace(name="svm")
    scale = cs.Categorical("scale", ["yes", "no"])
    kernel = cs.Categorical("kernel", ["rbf", "poly", "linear"], weights=[2, 1, 1])
    gamma, degree = cs.Float("gamma", (1e-4, 1.0), log=True, default=0.01), cs.Integer("degree", (2, 6))
    offset, cost = cs.Float("offset", (0.0, 1.0), default=0.0), cs.Float("C", (0.01, 100.0), log=True)
    space.add([scale, kernel, gamma, degree, offset, cost])
    space.add(cs.InCondition(gamma, kernel, ["rbf", "poly"]), cs.EqualsCondition(degree, kernel, "poly"))
    space.add(cs.GreaterThanCondition(offset, degree, 3))
    linear, unscaled = cs.ForbiddenEqualsClause(kernel, "linear"), cs.ForbiddenEqualsClause(scale, "no")
    space.add(cs.ForbiddenAndConjunction(linear, unscaled), cs.ForbiddenEqualsClause(degree, 5))
    return space


@pytest.mark.parametrize("make", [mixed, svm])
def test_a_configuration_depends_on_space_seed_and_index_alone_through_json_too(make):
    space, table = make(), spaces.sample(make(), 3, range(20))
    assert list(table) == spaces.names(space)
    pd.testing.assert_frame_equal(spaces.sample(space, 3, range(20)), table)
    pd.testing.assert_frame_equal(spaces.sample(space, 3, [7, 2, 9]), table.loc[[7, 2, 9]], check_dtype=False)
    assert not table.equals(spaces.sample(space, 4, range(20)))
    assert not table.duplicated().any()
    plain = json.loads(json.dumps(spaces.plain(space)))
    for _ in range(2):
        again = spaces.from_plain(plain)
        assert spaces.names(again) == spaces.names(space)
        pd.testing.assert_frame_equal(spaces.sample(again, 3, range(20)), table)


def test_samples_are_uniform_on_their_scale_and_discrete_values_equally_likely():
    table = spaces.sample(mixed(), 0, range(2000))
    for values in (2 * table["momentum"] - 1, np.log10(table["rate"]) / 4 + 1):
        assert stats.kstest(values, "uniform").pvalue > 1e-3
    for name, n_values in {"depth": 5, "optimizer": 3, "size": 3}.items():
        unit = np.full((60 * n_values, 6), 0.5)
        unit[:, NAMES.index(name)] = (np.arange(len(unit)) + 0.5) / len(unit)
        assert spaces.from_unit(mixed(), unit)[name].value_counts().tolist() == [60] * n_values


def test_values_survive_the_way_to_the_unit_cube_and_back():
    space = mixed()
    assert spaces.names(space) == NAMES and spaces.varied(space) == NAMES[:-1]
    table = spaces.sample(space, 0, range(200)).reset_index(drop=True)
    unit = spaces.to_unit(space, table)
    assert unit.shape == (200, 6)  # a constant has no coordinate
    assert ((unit >= 0) & (unit <= 1)).all()
    back = spaces.from_unit(space, unit)
    pd.testing.assert_frame_equal(back, table, rtol=1e-12)
    assert (back["epochs"] == 7).all()
    np.testing.assert_allclose(spaces.to_unit(space, back), unit, atol=1e-12)
    # That of a choice is the middle of its share.
    np.testing.assert_allclose(np.unique(unit[:, 4]), [1 / 6, 0.5, 5 / 6])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 2.0}, r"^rate = 2.0 lies outside its space: rate, .*\[0.0001, 1.0\]"),
        ({"rate": np.nan}, r"^rate = nan lies outside its space"),
        ({"depth": 2.5}, r"^depth = 2.5 lies outside its space"),
        ({"size": "huge"}, r"^size = huge lies outside its space: .*small, middle, large"),
        ({"rate": None}, r"no column 'rate'; it has momentum, depth"),
    ],
)
def test_values_outside_the_space_have_no_coordinate_and_a_missing_column_is_named(change, message):
    table = spaces.sample(mixed(), 0, range(3)).assign(**change)
    if None in change.values():
        table = table.drop(columns=list(change))
    with pytest.raises(ValueError, match=message):
        spaces.to_unit(mixed(), table)


def test_sobol_points_lie_evenly_in_the_cube_and_follow_their_seed():
    assert spaces.sobol(7, 100).shape == (100, 7) and spaces.sobol(7, 1).shape == (1, 7)
    points = spaces.sobol(7, 64, seed=1)
    assert ((points >= 0) & (points < 1)).all()
    assert all((np.bincount(axis, minlength=16) == 4).all() for axis in (points * 16).astype(int).T)
    np.testing.assert_array_equal(points, spaces.sobol(7, 64, seed=1))
    assert not np.array_equal(points, spaces.sobol(7, 64, seed=2))


def test_a_reduced_space_freezes_narrows_and_keeps_order_scale_and_kind():
    ranges = {"rate": (1e-3, 0.1), "depth": (2, 4)}
    space = spaces.reduced(mixed(), freeze={"momentum": 0.75, "size": "small"}, ranges=ranges)
    assert spaces.names(space) == NAMES
    assert spaces.varied(space) == ["rate", "depth", "width", "optimizer"]
    table = spaces.sample(space, 0, range(500))
    assert list(table) == NAMES
    assert (table["momentum"] == 0.75).all() and (table["size"] == "small").all()
    assert space["rate"].log and 1e-3 <= table["rate"].min() < 1.1e-3 and 0.09 < table["rate"].max() <= 0.1
    assert set(table["depth"]) == {2, 3, 4} and len(set(table["width"])) > 100
    all_frozen = spaces.reduced(mixed(), freeze=table.iloc[0].drop("epochs").to_dict())
    assert (spaces.sample(all_frozen, 1, range(3)) == table.iloc[0]).all(axis=None)
    assert spaces.to_unit(all_frozen, table.iloc[:1]).shape == (1, 0)


@pytest.mark.parametrize(
    ("freeze", "ranges", "message"),
    [
        ({"momentum": 1.5}, {}, r"^momentum = 1.5 lies outside its space: .*\[0.5, 1.0\]"),
        ({}, {"momentum": (0.5, 1.5)}, r"^momentum: the range 0.5 to 1.5 does not lie within 0.5 to 1\.$"),
        ({}, {"momentum": (0.8, 0.6)}, r"^momentum: the range 0.8 to 0.6"),
        ({}, {"momentum": (np.nan, 0.6)}, r"^momentum: the range nan to 0.6"),
    ],
)
def test_impossible_reductions_are_refused(freeze, ranges, message):
    with pytest.raises(ValueError, match=message):
        spaces.reduced(mixed(), freeze, ranges)


def test_what_is_drawn_is_what_configspace_calls_valid():
    space, table, unit = svm(), spaces.sample(svm(), 0, range(300)), spaces.spread(svm(), 64)
    assert unit.shape == (64, 6) and spaces.legal(space, unit).all()
    for row in table.to_dict("records"):
        # Raises for what is forbidden, for what is inactive and there, for what is active and is not.
        cs.Configuration(space, values={k: v for k, v in row.items() if not pd.isna(v)})
    assert table["kernel"].value_counts(normalize=True)["rbf"] == pytest.approx(0.5 / 0.875, abs=0.1)
    assert table["offset"].notna().sum() < table["degree"].notna().sum() < table["gamma"].notna().sum() < 300


def test_what_is_inactive_stands_at_its_default():
    space, names = svm(), spaces.varied(svm())
    table = spaces.sample(space, 0, range(50))
    unit = spaces.to_unit(space, table)
    for name, default in {"gamma": 0.5, "degree": 0.5, "offset": 0.0}.items():
        off = table[name].isna().to_numpy()
        assert off.any()
        assert unit[off, names.index(name)] == pytest.approx(default)
    # Whatever a point has there, and with a value in the table too.
    points = np.random.default_rng(0).random((50, len(names)))
    settled = spaces.settled(space, points)
    np.testing.assert_array_equal(settled, spaces.settled(space, settled))
    filled = table.fillna({"gamma": 0.5, "degree": 2, "offset": 1.0})
    np.testing.assert_array_equal(spaces.to_unit(space, filled), unit)


def test_what_is_active_must_be_there():
    table = spaces.sample(svm(), 0, range(5)).assign(kernel="rbf", gamma=[0.1, 0.1, np.nan, 0.1, 0.1])
    with pytest.raises(ValueError, match=r"Row 2 has no gamma, which is active there"):
        spaces.to_unit(svm(), table)
    with pytest.raises(ValueError, match=r"C = nan lies outside its space"):
        spaces.to_unit(svm(), spaces.sample(svm(), 0, range(5)).assign(C=np.nan))


def test_clauses_that_forbid_everything_are_said_to():
    space = cs.ConfigurationSpace("closed", space={"x": cs.Float("x", (0.0, 1.0), default=1.0)})
    space.add(cs.ForbiddenLessThanClause(space["x"], 1.0))
    for draw in (lambda: spaces.sample(space, 0, [0]), lambda: spaces.spread(space, 8)):
        with pytest.raises(ValueError, match="'closed' leave next to nothing"):
            draw()


def test_a_reduced_space_keeps_its_conditions_and_clauses():
    smaller = spaces.reduced(svm(), {"gamma": 0.1}, {"C": (0.1, 10), "offset": (0.5, 1)})
    assert len(smaller.conditions) == 3
    assert len(smaller.forbidden_clauses) == 2
    table = spaces.sample(smaller, 0, range(100))
    assert set(table["gamma"].dropna()) == {0.1}
    # A constant, too, is there only where its condition holds.
    assert table["gamma"].isna().equals(table["kernel"] == "linear")
    assert np.isfinite(spaces.to_unit(svm(), table)).all()
    assert spaces.bound(svm()) == {"kernel", "scale", "degree"}
    for change in ({"freeze": {"kernel": "rbf"}}, {"ranges": {"degree": (2, 4)}}):
        with pytest.raises(ValueError, match="stands in a condition or a forbidden clause"):
            spaces.reduced(svm(), **change)
    with pytest.raises(ValueError, match="c is not in the space"):
        spaces.reduced(svm(), ranges={"c": (0.1, 10)})


def test_a_distribution_that_is_not_uniform_is_refused():
    space = cs.ConfigurationSpace({"x": cs.Float("x", (0.0, 1.0), distribution=cs.Normal(0.5, 0.1))})
    with pytest.raises(ValueError, match="x is neither uniform nor a choice"):
        spaces.sample(space, 0, [0])


def test_a_space_is_described_in_lines():
    assert spaces.describe(svm())["degree"] == "[2, 6], if kernel == 'poly'"
    lines = spaces.describe(spaces.reduced(mixed(), freeze={"momentum": 0.9}))
    assert dict(lines) == {
        "depth": "[1, 5]",
        "epochs": "= 7",
        "momentum": "= 0.9",
        "optimizer": "{sgd, adam, lion}",
        "rate": "[0.0001, 1] log",
        "size": "{small, middle, large}",
        "width": "[1, 1000] log",
    }
