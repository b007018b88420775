import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import Categorical, ConfigurationSpace, Constant, Float, Integer
from torch import nn

from ubalkit import constraints, decomposition, uncertainty
from ubalkit import space as spaces
from ubalkit.attribution import Attribution
from ubalkit.metamodel import Ensemble

NAMES = spaces.names(spaces.ubal())


class Sum(nn.Module):
    """A member that predicts the sum of functions of single unit coordinates."""

    def __init__(self, names, effects):
        super().__init__()
        self.names, self.effects = names, effects

    def forward(self, u):
        columns = [effect(u[:, self.names.index(name)].numpy()) for name, effect in self.effects.items()]
        return torch.as_tensor(np.sum([np.zeros(len(u)), *columns], axis=0))[:, None]


def ensemble_of(members, space):
    quality = pd.DataFrame({"r2": 1.0}, index=["ensemble"])
    return Ensemble("test_accuracy", space, members, quality, np.empty(0), pd.DataFrame(), 0, 0)


def explained(effects, space=None, accuracy=lambda u: u[:, 0]):
    """An attribution whose SHAP values are given functions of the unit coordinates; 0 for the others.

    Given a list of such functions, each is another member's.
    """
    space = space or spaces.ubal()
    names = spaces.varied(space)
    unit = spaces.sobol(len(names), 512)
    of_members = effects if isinstance(effects, list) else [effects, effects]
    values = np.zeros((len(of_members), len(unit), len(names)))
    for of_member, functions in zip(values, of_members):
        for name, effect in functions.items():
            of_member[:, names.index(name)] = effect(unit[:, names.index(name)])
    table = spaces.from_unit(space, unit).assign(test_accuracy=accuracy(unit), status="ok")
    ensemble = ensemble_of([Sum(names, functions) for functions in of_members], space)
    return Attribution(ensemble, table, names, unit, values, np.zeros(len(of_members)))


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


# How sure that is


def test_what_all_members_agree_on_is_sure():
    table = constraints.recommend(explained([EFFECTS] * 10)).table
    assert (table["sure"] == 1).all()
    # Bounds are only of ranges; the members' are equal, so that the rows drawn decide, and they hardly do.
    bounds = table[["from_low", "from_high", "to_low", "to_high"]]
    assert bounds.loc[["beta_2", "gammaF_1"]].notna().all(axis=None)
    assert bounds.drop(index=["beta_2", "gammaF_1"]).isna().all(axis=None)
    low, high = constraints.recommend(explained(EFFECTS)).ranges["beta_2"]
    assert bounds.loc["beta_2"].tolist() == pytest.approx([low, low, high, high], abs=0.05)


def test_bounds_that_members_put_elsewhere_have_wide_intervals():
    members = [{**EFFECTS, "beta_2": lambda u, c=crossing: 0.4 * (c - u)} for crossing in (0.35, 0.5, 0.65)]
    table = constraints.recommend(explained(members)).table
    assert table.loc["beta_2", ["from_low", "from_high"]].tolist() == [0, 0]
    # As the other intervals: of three numbers 0.15 apart it reaches far, but not out of the space.
    reach = uncertainty.CALIBRATION * 2.92 * (4 / 3) ** 0.5 * np.std([0.35, 0.5, 0.65])
    assert reach > 0.5
    assert table.loc["beta_2", ["to_low", "to_high"]].tolist() == pytest.approx([0, 1], abs=0.03)
    # Ten members are surer.
    members = [{**EFFECTS, "beta_2": lambda u, c=c: 0.4 * (c - u)} for c in np.linspace(0.35, 0.65, 10)]
    table = constraints.recommend(explained(members)).table
    reach = uncertainty.CALIBRATION * 1.833 * 1.1**0.5 * np.std(np.linspace(0.35, 0.65, 10))
    expected = [0.5 - reach, 0.5 + reach]
    assert table.loc["beta_2", ["to_low", "to_high"]].tolist() == pytest.approx(expected, abs=0.07)
    assert table.loc["gammaF_1", ["from_low", "from_high"]].tolist() == pytest.approx([0.6, 0.6], abs=0.06)


@pytest.mark.parametrize("of_four", [1, 3])
def test_sure_is_the_share_of_members_that_would_do_the_same(of_four):
    weak = {**EFFECTS, "beta_3": lambda u: 0.02 * (u - 0.5)}
    strong = {**EFFECTS, "beta_3": lambda u: 0.36 * (u - 0.5)}
    rec = constraints.recommend(explained([strong] * of_four + [weak] * (4 - of_four)))
    assert ("beta_3" in rec.ranges) == (of_four == 3)
    assert rec.table.loc["beta_3", "sure"] == pytest.approx(0.75, abs=0.12)
    assert (rec.table["sure"].drop("beta_3") == 1).all()


# What is lost


def of_pair(f, *others):
    """Exact SHAP values of members that are functions of beta_2 and gammaF_1 alone."""
    places = [NAMES.index("beta_2"), NAMES.index("gammaF_1")]

    class Pair(nn.Module):
        def __init__(self, f):
            super().__init__()
            self.f = f

        def forward(self, u):
            return self.f(*u[:, places].T)[:, None]

    ensemble = ensemble_of([Pair(g) for g in (f, *others)], spaces.ubal())
    dec = decomposition.decompose(ensemble, n_points=256)
    return dataclasses.replace(dec.shap(), table=dec.table.assign(test_accuracy=0.0, status="ok"))


def only_jointly_good(b, g, size=2.0):
    """Alone, small beta_2 and large gammaF_1 are good; best are both large, as good both small."""
    return 0.4 * (0.5 - b) + 0.4 * (g - 0.5) + size * (b - 0.5) * (g - 0.5)


def saddle(b, g):
    """As `only_jointly_good`, and both large are by far the best."""
    return only_jointly_good(b, g, 1.2) + 0.5 * ((b > 0.8) & (g > 0.8))


def test_nothing_is_lost_where_effects_add_up():
    rec = constraints.recommend(explained(EFFECTS))
    assert list(rec.loss.index) == ["loss", "low", "high"]
    # The best corner lies inside: the best there are found as well, or better, as points lie closer.
    assert -0.02 < rec.loss["loss"] <= 0
    # The members are equal.
    assert rec.loss["low"] == pytest.approx(rec.loss["loss"]) == rec.loss["high"]


def test_what_is_only_jointly_good_is_lost_and_said():
    rec = constraints.recommend(of_pair(only_jointly_good, only_jointly_good))
    (low, high), (above, top) = rec.ranges["beta_2"], rec.ranges["gammaF_1"]
    assert (low, top) == (0, 1) and high < 0.6 and above > 0.4
    corners = [only_jointly_good(b, g) for b in (low, high) for g in (above, top)]
    assert rec.loss["loss"] == pytest.approx(only_jointly_good(1, 1) - max(corners), abs=0.03)
    assert rec.loss["low"] > 0.1


def test_the_interval_of_the_loss_is_the_members():
    members = [lambda b, g, s=size: only_jointly_good(b, g, s) for size in (1.6, 2.0, 2.4)]
    rec = constraints.recommend(of_pair(*members))
    of_each = [constraints.recommend(of_pair(m, m)).loss["loss"] for m in members]
    assert rec.loss["low"] < min(of_each) and max(of_each) < rec.loss["high"]
    assert rec.loss["loss"] == pytest.approx(np.mean(of_each), abs=0.05)
    # Student's quantile of two degrees, and the calibration of all intervals.
    reach = uncertainty.CALIBRATION * 2.92 * (4 / 3) ** 0.5 * np.std(of_each)
    assert (rec.loss["high"] - rec.loss["low"]) / 2 == pytest.approx(reach, rel=0.1)


def test_one_member_has_no_intervals():
    explanation = of_pair(only_jointly_good)
    rec = constraints.recommend(explanation)
    assert np.isnan(rec.loss[["low", "high"]]).all()
    assert rec.table[["from_low", "to_high"]].isna().all(axis=None)


def test_what_a_member_was_lucky_with_is_no_loss():
    # Each member has a hill of its own outside of the ranges, which the others know nothing of.
    def with_hill(k):
        here = lambda g: (g > k / 8) & (g < (k + 1) / 8)  # noqa: E731
        return lambda b, g: 0.4 * (0.5 - b) + 0.001 * g + 0.5 * ((b > 0.7) & here(g))

    rec = constraints.recommend(of_pair(*(with_hill(k) for k in range(8))))
    assert rec.ranges["beta_2"][1] < 0.7
    assert rec.loss["loss"] == pytest.approx(0, abs=0.01)


def test_the_paper_s_constraints_are_asked_what_they_lose():
    assert constraints.paper(of_pair(saddle, saddle)).loss["low"] > 0.2
    assert constraints.paper(explained(EFFECTS)).loss["loss"] <= 0


# Where the best lie jointly


def test_joint_keeps_where_the_best_predictions_lie():
    explanation = of_pair(saddle, saddle)
    rec = constraints.joint(explanation)
    assert rec.freeze == {}
    assert set(rec.ranges) == set(NAMES)
    for name in ("beta_2", "gammaF_1"):
        assert rec.ranges[name][0] > 0.8
    for name in set(NAMES) - {"beta_2", "gammaF_1"}:
        assert rec.ranges[name] == pytest.approx((0.05, 0.95), abs=0.05)
    # What the ranges of single effects cut off, these keep.
    assert constraints.recommend(explanation).loss["low"] > 0.2
    assert rec.loss["high"] <= 0.01
    assert rec.share == pytest.approx(np.prod([high - low for low, high in rec.ranges.values()]))
    drawn = spaces.sample(rec.space, 0, range(100))
    assert drawn["beta_2"].between(*rec.ranges["beta_2"]).all()


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_joint_holds_the_middle_of_the_best_share(share):
    # The best share lies within share / 2 of 0.3; the middle 90 % of it within nine tenths of that.
    rec = constraints.joint(explained({"beta_2": lambda u: -np.abs(u - 0.3)}), share=share)
    reach = 0.45 * share
    assert rec.ranges["beta_2"] == pytest.approx((0.3 - reach, 0.3 + reach), abs=0.06 * share)
    assert "sure" not in rec.table and (rec.table["action"] == "search").all()


def test_joint_counts_the_best_observed_outside_too():
    explanation = explained({"beta_2": lambda u: -u}, accuracy=lambda u: u[:, NAMES.index("beta_2")])
    rec = constraints.joint(explanation, n_best=12)
    assert (rec.n_best, rec.lost) == (12, 12)


def test_joint_leaves_categories_as_they_are():
    space = ConfigurationSpace()
    space.add([Categorical("kind", ["a", "b", "c"]), Float("rate", (1e-4, 1.0), log=True)])
    effects = {"kind": lambda u: 0.1 * u, "rate": lambda u: 0.4 * u}
    rec = constraints.joint(explained(effects, space))
    assert set(rec.ranges) == {"rate"} and rec.space["kind"].choices == ("a", "b", "c")
    assert rec.ranges["rate"][0] > 0.5 and rec.space["rate"].log


# Why


def test_reasons_name_the_interaction_that_makes_the_excluded_good():
    def interaction(b, g):
        return 2.4 * (b**2 - 1 / 3) * (0.5 - g)

    def twofold(b, g):
        return 0.525 * (0.5 - b) + 0.2 * (0.5 - g) + interaction(b, g)

    explanation = of_pair(twofold, twofold)
    why = constraints.reasons(explanation, constraints.recommend(explanation))
    assert why.index.names == ["range", "partner"]
    assert list(why) == ["outside", "value", "partner_value", "own", "interaction"]
    # Of the best excluded some have a large beta_2 and a small gammaF_1, which interact strongly, and some
    # the opposite, which do less.
    assert set(why.index[:2]) == {("beta_2", "gammaF_1"), ("gammaF_1", "beta_2")}
    row = why.loc[("beta_2", "gammaF_1")]
    other = why.loc[("gammaF_1", "beta_2")]
    assert row["outside"] + other["outside"] == 1 and 0.2 < row["outside"] < 0.8
    assert row["value"] > 0.9 > 0.1 > row["partner_value"]
    assert row["own"] == pytest.approx(0.525 * (0.5 - row["value"]), abs=0.03)
    assert row["interaction"] == pytest.approx(interaction(row["value"], row["partner_value"]), abs=0.05)
    assert other["value"] > 0.9 > 0.1 > other["partner_value"]
    assert other["own"] == pytest.approx(0.2 * (0.5 - other["value"]), abs=0.03)
    assert other["interaction"] == pytest.approx(
        interaction(other["partner_value"], other["value"]), abs=0.05
    )
    # No other pair interacts.
    assert (why["interaction"].iloc[2:].abs() < 0.01).all()
    assert why["interaction"].is_monotonic_decreasing


def test_as_many_reasons_as_asked_for():
    explanation = of_pair(only_jointly_good, only_jointly_good)
    rec = constraints.recommend(explanation)
    assert len(constraints.reasons(explanation, rec)) == 3
    assert len(constraints.reasons(explanation, rec, n_reasons=1)) == 1


def test_a_range_that_the_best_excluded_keep_to_gives_no_reason():
    def steep(b, g):
        return -b + 0.0001 * (g - 0.5)

    explanation = of_pair(steep, steep)
    rec = dataclasses.replace(
        constraints.recommend(explanation), ranges={"beta_2": (0, 0.5), "gammaF_1": (0, 0.9)}
    )
    # What is best outside is so by a small beta_2: outside are its values of gammaF_1.
    assert set(constraints.reasons(explanation, rec, n_reasons=20).index.get_level_values("range")) == {
        "gammaF_1"
    }


def test_where_nothing_is_excluded_there_is_no_reason():
    explanation = explained(EFFECTS)
    rec = constraints.recommend(explanation)
    for ranges in ({}, {"beta_2": (0, 1)}):
        assert constraints.reasons(explanation, dataclasses.replace(rec, ranges=ranges)).empty


@pytest.mark.parametrize("recommend", [constraints.recommend, constraints.joint])
def test_a_range_of_one_value_is_no_error(recommend):
    space = ConfigurationSpace()
    space.add([Integer("units", (1, 4)), Float("other", (0.0, 1.0))])
    effects = {"units": lambda u: 0.4 * (u > 0.75) - 0.32, "other": lambda u: 0.3 * (u - 0.5)}
    rec = recommend(explained(effects, space))
    assert (spaces.sample(rec.space, 0, range(20))["units"] == 4).all()
