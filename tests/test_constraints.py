import numpy as np
import pandas as pd
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Constant, Float, Integer

from ubalkit import constraints
from ubalkit import space as spaces
from ubalkit.attribution import Attribution
from ubalkit.metamodel import Ensemble

NAMES = spaces.names(spaces.ubal())


def explained(effects, space=None, accuracy=lambda u: u[:, 0]):
    """An attribution whose SHAP values are given functions of the unit coordinates; 0 for the others."""
    space = space or spaces.ubal()
    names = spaces.varied(space)
    unit = spaces.sobol(len(names), 512)
    values = np.zeros((2, len(unit), len(names)))
    for name, effect in effects.items():
        values[:, :, names.index(name)] = effect(unit[:, names.index(name)])
    table = spaces.from_unit(space, unit).assign(test_accuracy=accuracy(unit), status="ok")
    quality = pd.DataFrame({"r2": 1.0}, index=["ensemble"])
    ensemble = Ensemble("test_accuracy", space, [], quality, np.empty(0), pd.DataFrame(), 0, 0)
    return Attribution(ensemble, table, names, unit, values, np.zeros(2))


#: Strong, downwards: positive below 0.5. Upwards: positive above 0.6. Weak: frozen at its upper end.
EFFECTS = {
    "beta_2": lambda u: 0.4 * (0.5 - u),
    "gammaF_1": lambda u: 0.3 * (u - 0.6),
    "gammaB_1": lambda u: 0.02 * (u - 0.5),
}


def test_what_matters_little_is_frozen_where_it_does_best():
    rec = constraints.recommend(explained(EFFECTS))
    assert set(rec.freeze) == set(NAMES) - {"beta_2", "gammaF_1"}
    assert rec.freeze["gammaB_1"] == pytest.approx(1)
    for name, value in rec.freeze.items():
        assert isinstance(rec.space[name], Constant)
        assert rec.space[name].value == value


def test_the_rest_is_searched_where_it_contributes_positively():
    rec = constraints.recommend(explained(EFFECTS))
    assert set(rec.ranges) == {"beta_2", "gammaF_1"}
    # The grid has steps of 0.025.
    assert rec.ranges["beta_2"] == pytest.approx((0, 0.5), abs=0.03)
    assert rec.ranges["gammaF_1"] == pytest.approx((0.6, 1), abs=0.03)
    assert rec.share == pytest.approx(0.5 * 0.4, abs=0.03)


def test_of_two_hills_the_higher_one_is_kept():
    hills = {"beta_2": lambda u: 0.2 * np.sin(4 * np.pi * u) * (1 + u)}
    (low, high) = constraints.recommend(explained(hills)).ranges["beta_2"]
    assert (low, high) == pytest.approx((0.5, 0.75), abs=0.03)


def test_a_peak_narrower_than_the_grid_still_gives_a_range():
    # Negative everywhere but in a point: the running mean is largest there and nowhere positive.
    narrow = {"beta_2": lambda u: -np.abs(u - 0.4)}
    rec = constraints.recommend(explained(narrow))
    low, high = rec.ranges["beta_2"]
    assert low < 0.4 < high
    assert high - low < 0.1


def test_low_decides_what_is_frozen():
    effects = {"beta_1": lambda u: 0.10 * (u - 0.5), "beta_2": lambda u: 0.30 * (u - 0.5)}
    assert "beta_1" in constraints.recommend(explained(effects), low=0.4).freeze
    assert "beta_1" in constraints.recommend(explained(effects), low=0.3).ranges


@pytest.mark.parametrize("low", [0, 1, -0.1, 1.5, float("nan")])
def test_low_outside_its_range_is_refused(low):
    with pytest.raises(ValueError, match=r"low = .*between 0 and 1"):
        constraints.recommend(explained(EFFECTS), low=low)


def test_the_table_says_what_to_do():
    rec = constraints.recommend(explained(EFFECTS))
    assert rec.table.index[0] == "beta_2"
    assert rec.table["importance"].is_monotonic_decreasing
    assert rec.table["action"].to_dict() == {n: "freeze" if n in rec.freeze else "search" for n in NAMES}
    assert rec.table.loc["beta_2", "peak"] == pytest.approx(0.2, abs=0.02)
    assert rec.table.loc["gammaB_1", "where"].startswith("=")
    assert rec.table.loc["beta_2", "where"] == f"[0, {rec.ranges['beta_2'][1]:.3g}]"


@pytest.mark.parametrize(
    ("accuracy", "lost"),
    [
        (lambda u: -u[:, 1] + u[:, 5], None),  # agrees with the ranges in beta_2; gammaB_1 is no range
        (lambda u: u[:, 1], 20),  # the best lie where beta_2 is excluded
        (lambda u: u[:, 3] - u[:, 1], 0),  # the best lie inside both ranges
    ],
)
def test_the_guard_counts_the_best_that_would_be_lost(accuracy, lost):
    explanation = explained(EFFECTS, accuracy=accuracy)
    rec = constraints.recommend(explanation, n_best=20)
    best = explanation.table.sort_values("test_accuracy", ascending=False).head(20)
    inside = [
        all(low <= row[n] <= high for n, (low, high) in rec.ranges.items()) for _, row in best.iterrows()
    ]
    assert (rec.n_best, rec.lost) == (20, 20 - sum(inside))
    if lost is not None:
        assert rec.lost == lost


def test_the_reduced_space_is_ready_to_search():
    rec = constraints.recommend(explained(EFFECTS))
    drawn = spaces.sample(rec.space, 3, range(200))
    assert list(drawn) == NAMES
    for name, (low, high) in rec.ranges.items():
        assert drawn[name].between(low, high).all()
        assert drawn[name].max() - drawn[name].min() > 0.9 * (high - low)
    for name, value in rec.freeze.items():
        assert (drawn[name] == value).all()


def test_the_paper_s_constraints_are_those_of_its_text():
    # "HPs β1F, γ1B, and γ2B could be excluded … β2F, β3F ≤ 0.4, γ1F, γ2F ≳ 0.6" (Section 4)
    rec = constraints.paper(explained(EFFECTS))
    assert set(rec.freeze) == {"beta_1", "gammaB_1", "gammaB_2"}
    assert rec.ranges == {"beta_2": (0, 0.4), "beta_3": (0, 0.4), "gammaF_1": (0.6, 1), "gammaF_2": (0.6, 1)}
    assert rec.share == pytest.approx(0.4**4)
    assert rec.freeze["gammaB_1"] == pytest.approx(1)  # held where its mean SHAP value is highest
    drawn = spaces.sample(rec.space, 0, range(100))
    assert drawn["beta_2"].max() <= 0.4
    assert drawn["gammaF_2"].min() >= 0.6


def test_a_log_scaled_range_keeps_its_share_and_its_bounds():
    space = ConfigurationSpace()
    space.add([Float("rate", (1e-5, 1.0), log=True), Float("other", (2e-5, 1.0), log=True)])
    effects = {"rate": lambda u: 0.4 * (0.5 - u), "other": lambda u: 0.01 * (0.5 - u)}
    rec = constraints.recommend(explained(effects, space))
    low, high = rec.ranges["rate"]
    assert low == pytest.approx(1e-5)
    assert np.log10(high) == pytest.approx(-2.5, abs=0.15)
    assert rec.share == pytest.approx(0.5, abs=0.03)
    assert rec.freeze["other"] == pytest.approx(2e-5)
    assert spaces.sample(rec.space, 0, range(50))["rate"].between(low, high).all()


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_bounds_of_many_digits_are_not_left_by_rounding(log, sign):
    space = ConfigurationSpace()
    space.add([Float(name, (0.0123456, 0.987654), log=log) for name in ("rate", "other")])
    effects = {"rate": lambda u: 0.4 * sign * (u - 0.5), "other": lambda u: 0.01 * sign * (u - 0.5)}
    rec = constraints.recommend(explained(effects, space))
    end = 0.987654 if sign > 0 else 0.0123456
    assert rec.freeze["other"] == pytest.approx(end, rel=0.01)
    assert rec.ranges["rate"][sign > 0] == pytest.approx(end, rel=0.01)


def test_an_integer_keeps_an_integer_range():
    space = ConfigurationSpace()
    space.add([Integer("units", (8, 256), log=True), Float("other", (0.0, 1.0))])
    effects = {"units": lambda u: 0.4 * (u - 0.5), "other": lambda u: 0.01 * u}
    rec = constraints.recommend(explained(effects, space))
    low, high = rec.ranges["units"]
    assert 35 < low < 60
    assert high == 256
    drawn = spaces.sample(rec.space, 0, range(50))["units"]
    assert drawn.between(low, high).all()
    assert (drawn == drawn.round()).all()


def test_a_category_that_matters_little_is_frozen_at_its_best():
    space = ConfigurationSpace()
    space.add([Categorical("kind", ["a", "b", "c"]), Float("other", (0.0, 1.0))])
    effects = {"kind": lambda u: 0.01 * u, "other": lambda u: 0.4 * (u - 0.5)}
    rec = constraints.recommend(explained(effects, space))
    assert rec.freeze == {"kind": "c"}
