"""Hyperparameter spaces: which configuration an index is, unit-cube coordinates, smaller spaces."""

import json

import numpy as np
import pandas as pd
import pytest
from ConfigSpace import (
    Categorical,
    Configuration,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    ForbiddenLessThanClause,
    GreaterThanCondition,
    InCondition,
    Integer,
    Normal,
    OrdinalHyperparameter,
)
from scipy import stats

from ubalkit import space as spaces

SEVEN = ["beta_1", "beta_2", "beta_3", "gammaF_1", "gammaF_2", "gammaB_1", "gammaB_2"]


def mixed():
    space = ConfigurationSpace(name="mixed")
    space.add(
        Float("momentum", (0.5, 1.0)),
        Float("rate", (1e-4, 1.0), log=True),
        Integer("depth", (1, 5)),
        Integer("width", (1, 1000), log=True),
        Categorical("optimizer", ["sgd", "adam", "lion"]),
        OrdinalHyperparameter("size", ["small", "middle", "large"]),
        Constant("epochs", 7),
    )
    return space


def test_ubal_has_the_seven_hyperparameters_in_the_order_of_the_paper():
    space = spaces.ubal()
    assert spaces.names(space) == spaces.varied(space) == SEVEN
    assert {(space[name].lower, space[name].upper) for name in SEVEN} == {(0, 1)}
    assert list(spaces.sample(space, 0, [0])) == SEVEN


def test_a_deeper_ubal_has_more_hyperparameters_in_their_order():
    names = spaces.names(spaces.ubal(12))
    assert names[:12] == [f"beta_{k}" for k in range(1, 13)]
    assert names[12:] == [f"{g}_{k}" for g in ("gammaF", "gammaB") for k in range(1, 12)]


def test_values_near_one_are_drawn_from_the_logarithm_of_their_complement():
    space = spaces.ubal(near_one=("beta_2", "gammaF_1"))
    assert spaces.names(space) == [
        "beta_1",
        "one_minus_beta_2",
        "beta_3",
        "one_minus_gammaF_1",
        *SEVEN[4:],
    ]
    table = spaces.sample(space, 0, range(2000))
    share = -np.log10(table["one_minus_beta_2"]) / 4  # of four decades, from 1 down to 1e-4
    assert stats.kstest(share, "uniform").pvalue > 0.01
    plain = spaces.without_complements(table)
    assert list(plain) == SEVEN
    np.testing.assert_array_equal(plain["beta_2"], 1 - table["one_minus_beta_2"])
    pd.testing.assert_series_equal(plain["beta_1"], table["beta_1"])
    # The complements go through JSON, into smaller spaces and back, as any hyperparameter does.
    smaller = spaces.reduced(space, {"one_minus_gammaF_1": 0.01}, {"one_minus_beta_2": (0.001, 0.1)})
    again = spaces.sample(spaces.from_plain(spaces.plain(smaller)), 0, range(50))
    assert spaces.without_complements(again)["beta_2"].between(0.9, 0.999).all()
    assert set(again["one_minus_gammaF_1"]) == {0.01}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"one_minus_beta_2": [0.5, 1.2]}, r"one_minus_beta_2 = 1\.2 in row 1; it must lie in \[0, 1\]"),
        ({"one_minus_beta_2": [-0.1, 0.2]}, r"one_minus_beta_2 = -0\.1 in row 0"),
        ({"one_minus_beta_2": [np.nan, 0.2]}, "one_minus_beta_2 = nan in row 0"),
        ({"one_minus_beta_2": [0.1], "beta_2": [0.9]}, "both one_minus_beta_2 and beta_2"),
    ],
)
def test_a_complement_outside_its_range_is_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        spaces.without_complements(pd.DataFrame(columns))


def test_only_hyperparameters_of_ubal_have_complements():
    with pytest.raises(ValueError, match=r"near_one: 'beta_4' is no hyperparameter of UBAL; beta_1, beta_2"):
        spaces.ubal(near_one=["beta_4"])


@pytest.mark.parametrize("space", [spaces.ubal(), mixed()], ids=["ubal", "mixed"])
def test_a_configuration_depends_on_space_seed_and_index_alone(space):
    table = spaces.sample(space, 3, range(10))
    pd.testing.assert_frame_equal(spaces.sample(space, 3, range(10)), table)
    pd.testing.assert_frame_equal(spaces.sample(space, 3, [7, 2, 9]), table.loc[[7, 2, 9]])
    assert not table.equals(spaces.sample(space, 4, range(10)))
    assert not table.drop_duplicates().shape[0] < len(table)


def test_recorded_configurations_stay_what_they_are():
    # A change here means that no recorded observation belongs to its index any more.
    drawn = spaces.sample(spaces.ubal(), 0, [0, 2999]).to_numpy()
    expected = [np.random.default_rng([0, i]).random(7) for i in (0, 2999)]
    np.testing.assert_array_equal(drawn, expected)
    assert drawn[0, :2] == pytest.approx([0.6369616873214543, 0.2697867137638703], abs=1e-15)


@pytest.mark.parametrize("name", SEVEN)
def test_samples_are_uniform(name):
    values = spaces.sample(spaces.ubal(), 0, range(2000))[name]
    assert stats.kstest(values, "uniform").pvalue > 1e-3


def test_samples_on_a_log_scale_are_uniform_in_the_logarithm():
    decades = np.log10(spaces.sample(mixed(), 0, range(2000))["rate"]) / 4 + 1
    assert stats.kstest(decades, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name", ["depth", "optimizer", "size"])
def test_discrete_values_are_equally_likely(name):
    space = mixed()
    n_values = {"depth": 5, "optimizer": 3, "size": 3}[name]
    unit = np.full((60 * n_values, len(spaces.varied(space))), 0.5)
    unit[:, spaces.varied(space).index(name)] = (np.arange(len(unit)) + 0.5) / len(unit)
    assert spaces.from_unit(space, unit)[name].value_counts().tolist() == [60] * n_values


def test_values_survive_the_way_to_the_unit_cube_and_back():
    space = mixed()
    table = spaces.sample(space, 0, range(200)).reset_index(drop=True)
    unit = spaces.to_unit(space, table)
    assert unit.shape == (200, 6)  # a constant has no coordinate
    assert ((unit >= 0) & (unit <= 1)).all()
    back = spaces.from_unit(space, unit)
    pd.testing.assert_frame_equal(back, table, rtol=1e-12)
    assert (back["epochs"] == 7).all()


@pytest.mark.parametrize("name", ["momentum", "rate"])
def test_coordinates_of_floats_survive_the_way_back(name):
    space = mixed()
    j = spaces.varied(space).index(name)
    unit = np.random.default_rng(0).random((50, 6))
    np.testing.assert_allclose(
        spaces.to_unit(space, spaces.from_unit(space, unit))[:, j], unit[:, j], atol=1e-12
    )


def test_a_categorys_coordinate_is_the_middle_of_its_share():
    space = ConfigurationSpace()
    space.add(OrdinalHyperparameter("size", ["small", "large"]))
    unit = spaces.to_unit(space, pd.DataFrame({"size": ["large", "small"]}))
    assert unit.tolist() == [[0.75], [0.25]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 2.0}, r"^rate = 2.0 lies outside its space: rate, .*\[0.0001, 1.0\]"),
        ({"rate": np.nan}, r"^rate = nan lies outside its space"),
        ({"size": "huge"}, r"^size = huge lies outside its space: .*small, middle, large"),
    ],
)
def test_values_outside_the_space_have_no_coordinate(change, message):
    table = spaces.sample(mixed(), 0, range(3)).assign(**change)
    with pytest.raises(ValueError, match=message):
        spaces.to_unit(mixed(), table)


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match=r"no column 'beta_2'; it has beta_1"):
        spaces.to_unit(spaces.ubal(), pd.DataFrame({"beta_1": [0.5]}))


@pytest.mark.parametrize("n", [1, 64, 100])
def test_sobol_points_lie_in_the_cube_and_follow_their_seed(n):
    points = spaces.sobol(7, n, seed=1)
    assert points.shape == (n, 7)
    assert ((points >= 0) & (points < 1)).all()
    np.testing.assert_array_equal(points, spaces.sobol(7, n, seed=1))
    assert not np.array_equal(points, spaces.sobol(7, n, seed=2))


def test_sobol_points_fill_every_sixteenth_of_every_axis_equally():
    bins = (spaces.sobol(7, 64) * 16).astype(int)
    assert all((np.bincount(axis, minlength=16) == 4).all() for axis in bins.T)


def test_a_reduced_space_freezes_narrows_and_keeps_the_order():
    space = spaces.reduced(spaces.ubal(), freeze={"beta_1": 0.25}, ranges={"gammaF_2": (0.6, 0.9)})
    assert spaces.names(space) == SEVEN
    assert spaces.varied(space) == SEVEN[1:]
    table = spaces.sample(space, 0, range(500))
    assert list(table) == SEVEN
    assert (table["beta_1"] == 0.25).all()
    assert 0.6 <= table["gammaF_2"].min() < 0.61 and 0.89 < table["gammaF_2"].max() <= 0.9
    assert table["beta_2"].min() < 0.01 and table["beta_2"].max() > 0.99


def test_a_reduced_space_can_freeze_everything():
    space = spaces.reduced(spaces.ubal(), freeze=dict.fromkeys(SEVEN, 0.5))
    table = spaces.sample(space, 0, range(3))
    assert (table == 0.5).all(axis=None) and list(table) == SEVEN
    assert spaces.to_unit(space, table).shape == (3, 0)


def test_a_narrower_range_keeps_its_scale_and_its_kind():
    space = spaces.reduced(mixed(), ranges={"rate": (1e-3, 0.1), "depth": (2, 4)})
    assert space["rate"].log and (space["rate"].lower, space["rate"].upper) == (1e-3, 0.1)
    assert set(spaces.sample(space, 0, range(50))["depth"]) == {2, 3, 4}


@pytest.mark.parametrize(
    ("freeze", "ranges", "message"),
    [
        ({"alpha": 1}, {}, r"no hyperparameter 'alpha'; it has beta_1, beta_2"),
        ({}, {"alpha": (0, 1)}, r"no hyperparameter 'alpha'"),
        ({"beta_1": 1.5}, {}, r"^beta_1 = 1.5 lies outside its space: .*\[0.0, 1.0\]"),
        ({}, {"beta_1": (0.5, 1.5)}, r"^beta_1: the range 0.5 to 1.5 does not lie within 0 to 1\.$"),
        ({}, {"beta_1": (0.8, 0.2)}, r"^beta_1: the range 0.8 to 0.2"),
        ({}, {"beta_1": (np.nan, 0.2)}, r"^beta_1: the range nan to 0.2"),
    ],
)
def test_impossible_reductions_are_refused(freeze, ranges, message):
    with pytest.raises(ValueError, match=message):
        spaces.reduced(spaces.ubal(), freeze, ranges)


@pytest.mark.parametrize("name", ["optimizer", "size", "epochs"])
def test_only_numbers_have_a_narrower_range(name):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        spaces.reduced(mixed(), ranges={name: (0, 1)})


@pytest.mark.parametrize(
    "space",
    [spaces.ubal(), spaces.reduced(spaces.ubal(), {"gammaB_1": 0.5}, {"beta_3": (0, 0.4)}), mixed()],
    ids=["ubal", "reduced", "mixed"],
)
def test_a_space_survives_as_json_with_its_order(space):
    text = json.dumps(space.to_serialized_dict())
    again = ConfigurationSpace.from_serialized_dict(json.loads(text))
    assert spaces.names(again) == spaces.names(space)
    pd.testing.assert_frame_equal(spaces.sample(again, 0, range(20)), spaces.sample(space, 0, range(20)))


def svm():
    """Choices of unequal weight, conditions on conditions, forbidden clauses of two kinds."""
    space = ConfigurationSpace(name="svm")
    scale = Categorical("scale", ["yes", "no"])
    kernel = Categorical("kernel", ["rbf", "poly", "linear"], weights=[2, 1, 1])
    gamma, degree = Float("gamma", (1e-4, 1.0), log=True, default=0.01), Integer("degree", (2, 6))
    offset, cost = Float("offset", (0.0, 1.0), default=0.0), Float("C", (0.01, 100.0), log=True)
    space.add([scale, kernel, gamma, degree, offset, cost])
    space.add(InCondition(gamma, kernel, ["rbf", "poly"]), EqualsCondition(degree, kernel, "poly"))
    space.add(GreaterThanCondition(offset, degree, 3))
    space.add(
        ForbiddenAndConjunction(ForbiddenEqualsClause(kernel, "linear"), ForbiddenEqualsClause(scale, "no"))
    )
    space.add(ForbiddenEqualsClause(degree, 5))
    return space


def test_what_is_drawn_is_what_configspace_calls_valid():
    space, table = svm(), spaces.sample(svm(), 0, range(300))
    for row in table.to_dict("records"):
        # Raises for what is forbidden, for what is inactive and there, for what is active and is not.
        Configuration(space, values={k: v for k, v in row.items() if not pd.isna(v)})
    assert table["kernel"].value_counts(normalize=True)["rbf"] == pytest.approx(0.5 / 0.875, abs=0.1)
    assert table["offset"].notna().sum() < table["degree"].notna().sum() < table["gamma"].notna().sum() < 300


def test_configurations_with_conditions_are_functions_of_their_index():
    some, all_of_them = spaces.sample(svm(), 7, [11, 3]), spaces.sample(svm(), 7, range(20))
    pd.testing.assert_frame_equal(some, all_of_them.loc[[11, 3]], check_dtype=False)


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
    space = ConfigurationSpace("closed", space={"x": Float("x", (0.0, 1.0), default=1.0)})
    space.add(ForbiddenLessThanClause(space["x"], 1.0))
    for draw in (lambda: spaces.sample(space, 0, [0]), lambda: spaces.spread(space, 8)):
        with pytest.raises(ValueError, match="'closed' leave next to nothing"):
            draw()


def test_points_spread_over_the_space_are_legal():
    unit = spaces.spread(svm(), 64)
    assert unit.shape == (64, 6)
    assert spaces.legal(svm(), unit).all()


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


def test_conditions_are_described():
    assert spaces.describe(svm())["degree"] == "[2, 6], if kernel == 'poly'"


def test_a_distribution_that_is_not_uniform_is_refused():
    space = ConfigurationSpace({"x": Float("x", (0.0, 1.0), distribution=Normal(0.5, 0.1))})
    with pytest.raises(ValueError, match="x is neither uniform nor a choice"):
        spaces.sample(space, 0, [0])


def test_a_space_is_described_in_lines():
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


def test_plain_values_can_be_read_twice():
    plain = spaces.plain(spaces.ubal())
    first, second = spaces.from_plain(plain), spaces.from_plain(plain)
    assert spaces.names(first) == spaces.names(second) == spaces.names(spaces.ubal())
