"""Advice: what is frozen, where to search, and what that loses, of functions that are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Constant, Float, Integer
from helpers import ensemble_of, reach_of

from ubalkit import advice, effects
from ubalkit import space as spaces
from ubalkit.shapley import Attribution

NAMES = list("abcdefg")
SPACE = ConfigurationSpace({name: (0.0, 1.0) for name in NAMES})


def explained(effects, space=SPACE, y=lambda u: u[:, 0]):
    """An attribution whose SHAP values are given functions of the unit coordinates; 0 for the others.

    Given a list of such functions, each is another member's.
    """
    names = spaces.varied(space)
    unit = spaces.sobol(len(names), 512)
    of_members = effects if isinstance(effects, list) else [effects, effects]

    def values(functions, u):
        columns = [functions.get(name, np.zeros_like)(u[:, j]) for j, name in enumerate(names)]
        return np.column_stack(columns).astype(float)

    members = [lambda u, functions=functions: values(functions, u).sum(1) for functions in of_members]
    shap = np.array([values(functions, unit) for functions in of_members])
    table = spaces.from_unit(space, unit).assign(y=y(unit))
    return Attribution(ensemble_of(space, *members), table, names, unit, shap, np.zeros(len(members)))


#: Strong, downwards: positive below 0.5. Upwards: positive above 0.6. Weak: frozen at its upper end.
EFFECTS = {
    "b": lambda u: 0.4 * (0.5 - u),
    "d": lambda u: 0.3 * (u - 0.6),
    "f": lambda u: 0.02 * (u - 0.5),
}


def test_what_matters_little_is_frozen_where_it_does_best_and_the_rest_searched_where_it_is_good():
    rec = advice.recommend(explained(EFFECTS))
    assert set(rec.freeze) == set(NAMES) - {"b", "d"}
    assert rec.freeze["f"] == pytest.approx(1)
    assert set(rec.ranges) == {"b", "d"}
    # The grid has steps of 0.025.
    assert rec.ranges["b"] == pytest.approx((0, 0.5), abs=0.03)
    assert rec.ranges["d"] == pytest.approx((0.6, 1), abs=0.03)
    assert rec.share == pytest.approx(0.5 * 0.4, abs=0.03)
    # Nothing is lost where effects add up: the best there are found as well, or better, as points lie closer.
    assert list(rec.loss.index) == ["loss", "low", "high"]
    assert -0.02 < rec.loss["loss"] <= 0
    # The reduced space is ready to search.
    assert spaces.names(rec.space) == NAMES
    for name, bounds in rec.ranges.items():
        assert (rec.space[name].lower, rec.space[name].upper) == bounds
    assert {n: rec.space[n].value for n in NAMES if isinstance(rec.space[n], Constant)} == rec.freeze


def test_of_a_metric_to_be_minimised_the_mirrored_values_say_the_same():
    given = explained([EFFECTS, {**EFFECTS, "b": lambda u: 0.5 * (0.4 - u)}], y=lambda u: -u[:, 1])
    negated = [lambda u, f=member.f: -f(u) for member in given.ensemble.members]
    ensemble = ensemble_of(SPACE, *negated, maximize=False)
    table = given.table.assign(y=-given.table["y"])
    mirrored = replace(given, ensemble=ensemble, table=table, member_values=-given.member_values)
    for recommend in (advice.recommend, advice.joint):
        up, down = recommend(given), recommend(mirrored)
        assert (down.freeze, down.ranges, down.lost) == (up.freeze, up.ranges, up.lost)
        pd.testing.assert_series_equal(down.loss, up.loss)


def test_of_two_hills_the_higher_one_is_kept_and_of_a_peak_narrower_than_the_grid_a_range():
    hills = {"b": lambda u: 0.2 * np.sin(4 * np.pi * u) * (1 + u)}
    assert advice.recommend(explained(hills)).ranges["b"] == pytest.approx((0.5, 0.75), abs=0.03)
    # Negative everywhere but in a point: the running mean is largest there and nowhere positive.
    low, high = advice.recommend(explained({"b": lambda u: -np.abs(u - 0.4)})).ranges["b"]
    assert low < 0.4 < high
    assert high - low < 0.1


def test_the_table_says_what_to_do():
    rec = advice.recommend(explained(EFFECTS))
    assert rec.table.index[0] == "b"
    assert rec.table["importance"].is_monotonic_decreasing
    assert rec.table["action"].to_dict() == {n: "freeze" if n in rec.freeze else "search" for n in NAMES}
    assert rec.table.loc["b", "peak"] == pytest.approx(0.2, abs=0.02)
    assert rec.table.loc["f", "where"].startswith("=")
    assert rec.table.loc["b", "where"] == f"[0, {rec.ranges['b'][1]:.3g}]"


@pytest.mark.parametrize(
    ("y", "lost"),
    [(lambda u: u[:, 1], 20), (lambda u: u[:, 3] - u[:, 1], 0)],
    ids=["the best lie where b is excluded", "the best lie inside both ranges"],
)
def test_the_guard_counts_the_best_that_would_be_lost(y, lost):
    rec = advice.recommend(explained(EFFECTS, y=y), n_best=20)
    assert (rec.n_best, rec.lost) == (20, lost)


def of_kinds(kind, sign=1):
    """Of one hyperparameter that matters, and ``other`` that does not."""
    space = ConfigurationSpace()
    space.add([kind, type(kind)("other", kind.lower, kind.upper, log=kind.log)])
    slopes = {kind.name: 0.4 * sign, "other": 0.01 * sign}
    return explained({n: lambda u, s=s: s * (u - 0.5) for n, s in slopes.items()}, space)


def test_a_log_scaled_range_keeps_its_share_and_its_bounds():
    rec = advice.recommend(of_kinds(Float("rate", (1e-5, 1.0), log=True), sign=-1))
    assert rec.ranges["rate"][0] == rec.freeze["other"] == pytest.approx(1e-5)
    assert np.log10(rec.ranges["rate"][1]) == pytest.approx(-2.5, abs=0.15)
    assert rec.share == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_bounds_of_many_digits_are_not_left_by_rounding(log, sign):
    rec = advice.recommend(of_kinds(Float("rate", (0.0123456, 0.987654), log=log), sign))
    end = 0.987654 if sign > 0 else 0.0123456
    assert rec.freeze["other"] == pytest.approx(end, rel=0.01)
    assert rec.ranges["rate"][sign > 0] == pytest.approx(end, rel=0.01)


def test_digits_that_a_range_shares_are_not_counted():
    rec = advice.recommend(of_kinds(Float("kelvin", (300.0, 301.0)), sign=-1))
    assert rec.ranges["kelvin"] == pytest.approx((300, 300.5), abs=0.05)


def test_an_integer_keeps_an_integer_range():
    rec = advice.recommend(of_kinds(Integer("units", (8, 256), log=True)))
    low, high = rec.ranges["units"]
    assert 35 < low < 60 and high == 256
    drawn = spaces.sample(rec.space, 0, range(50))["units"]
    assert drawn.between(low, high).all() and (drawn == drawn.round()).all()


@pytest.mark.parametrize("recommend", [advice.recommend, advice.joint])
def test_a_range_of_one_value_is_no_error(recommend):
    space = ConfigurationSpace({"units": (1, 4), "other": (0.0, 1.0)})
    effects = {"units": lambda u: 0.4 * (u > 0.75) - 0.32, "other": lambda u: 0.3 * (u - 0.5)}
    rec = recommend(given := explained(effects, space))
    assert (spaces.sample(rec.space, 0, range(20))["units"] == 4).all()
    # The best that have another value are lost.
    assert rec.lost >= (given.table.nlargest(20, "y")["units"] != 4).sum() > 10


def test_a_category_that_matters_little_is_frozen_at_its_best_and_joint_leaves_it_as_it_is():
    space = ConfigurationSpace()
    space.add([Categorical("kind", ["a", "c"]), Float("rate", (1e-4, 1.0), log=True)])
    given = explained({"kind": lambda u: 0.01 * u, "rate": lambda u: 0.4 * (u - 0.5)}, space)
    assert advice.recommend(given).freeze == {"kind": "c"}
    rec = advice.joint(given)
    assert set(rec.ranges) == {"rate"} and rec.space["kind"].choices == ("a", "c")
    assert rec.ranges["rate"][0] > 0.5 and rec.space["rate"].log


# How sure that is


@pytest.mark.parametrize("n_members", [3, 10])
def test_bounds_that_members_put_elsewhere_have_wide_intervals(n_members):
    crossings = np.linspace(0.35, 0.65, n_members)
    members = [{**EFFECTS, "b": lambda u, c=c: 0.4 * (c - u)} for c in crossings]
    table = advice.recommend(explained(members)).table
    assert table.loc["b", ["from_low", "from_high"]].tolist() == [0, 0]
    # As the other intervals: of three numbers it reaches far, but not out of the space; ten are surer.
    reach = reach_of(n_members) * np.std(crossings)
    expected = np.clip([0.5 - reach, 0.5 + reach], 0, 1)
    assert table.loc["b", ["to_low", "to_high"]].tolist() == pytest.approx(expected, abs=0.07)
    assert table.loc["d", ["from_low", "from_high"]].tolist() == pytest.approx([0.6, 0.6], abs=0.08)


@pytest.mark.parametrize("of_four", [1, 3])
def test_sure_is_the_share_of_members_that_would_do_the_same(of_four):
    weak = {**EFFECTS, "c": lambda u: 0.02 * (u - 0.5)}
    strong = {**EFFECTS, "c": lambda u: 0.36 * (u - 0.5)}
    rec = advice.recommend(explained([strong] * of_four + [weak] * (4 - of_four)))
    assert ("c" in rec.ranges) == (of_four == 3)
    assert rec.table.loc["c", "sure"] == pytest.approx(0.75, abs=0.12)
    assert (rec.table["sure"].drop("c") == 1).all()


# What is lost


def of_pair(*members):
    """Exact SHAP values of members that are functions of b and d alone."""
    ensemble = ensemble_of(SPACE, *(lambda u, f=f: f(u[:, 1], u[:, 3]) for f in members))
    found = effects.decompose(ensemble, n_points=256)
    return replace(found.shap(), table=found.table.assign(y=0.0))


def only_jointly_good(b, d, size=2.0):
    """Alone, small b and large d are good; best are both large, as good both small."""
    return 0.4 * (0.5 - b) + 0.4 * (d - 0.5) + size * (b - 0.5) * (d - 0.5)


def saddle(b, d):
    """As `only_jointly_good`, and both large are by far the best."""
    return only_jointly_good(b, d, 1.2) + 0.5 * ((b > 0.8) & (d > 0.8))


def test_what_is_only_jointly_good_is_lost_and_said():
    rec = advice.recommend(of_pair(only_jointly_good, only_jointly_good))
    (low, high), (above, top) = rec.ranges["b"], rec.ranges["d"]
    assert (low, top) == (0, 1) and high < 0.6 and above > 0.4
    corners = [only_jointly_good(b, d) for b in (low, high) for d in (above, top)]
    assert rec.loss["loss"] == pytest.approx(only_jointly_good(1, 1) - max(corners), abs=0.03)
    assert rec.loss["low"] > 0.1


def test_the_interval_of_the_loss_is_the_members():
    members = [lambda b, d, s=size: only_jointly_good(b, d, s) for size in (1.6, 2.0, 2.4)]
    loss = advice.recommend(of_pair(*members)).loss
    of_each = [advice.recommend(of_pair(m, m)).loss["loss"] for m in members]
    assert loss["low"] < min(of_each) and max(of_each) < loss["high"]
    assert loss["loss"] == pytest.approx(np.mean(of_each), abs=0.05)
    assert (loss["high"] - loss["low"]) / 2 == pytest.approx(reach_of(3) * np.std(of_each), rel=0.1)
    # One member has none.
    alone = advice.recommend(of_pair(only_jointly_good))
    assert np.isnan(alone.loss[["low", "high"]]).all()
    assert alone.table[["from_low", "to_high"]].isna().all(axis=None)


def test_what_a_member_was_lucky_with_is_no_loss():
    # Each member has a hill of its own outside of the ranges, which the others know nothing of.
    def with_hill(k):
        here = lambda d: (d > k / 8) & (d < (k + 1) / 8)  # noqa: E731
        return lambda b, d: 0.4 * (0.5 - b) + 0.001 * d + 0.5 * ((b > 0.7) & here(d))

    rec = advice.recommend(of_pair(*(with_hill(k) for k in range(8))))
    assert rec.ranges["b"][1] < 0.7
    assert rec.loss["loss"] == pytest.approx(0, abs=0.01)


# Where the best lie jointly


def test_joint_keeps_where_the_best_predictions_lie():
    explanation = of_pair(saddle, saddle)
    rec = advice.joint(explanation)
    assert rec.freeze == {} and set(rec.ranges) == set(NAMES)
    for name in ("b", "d"):
        assert rec.ranges[name][0] > 0.8
    for name in set(NAMES) - {"b", "d"}:
        assert rec.ranges[name] == pytest.approx((0.05, 0.95), abs=0.05)
    # What the ranges of single effects cut off, these keep.
    assert advice.recommend(explanation).loss["low"] > 0.2
    assert rec.loss["high"] <= 0.01
    assert rec.share == pytest.approx(np.prod([high - low for low, high in rec.ranges.values()]))
    assert (rec.space["b"].lower, rec.space["b"].upper) == rec.ranges["b"]


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_joint_holds_the_middle_of_the_best_share(share):
    # The best share lies within share / 2 of 0.3; the middle 90 % of it within nine tenths of that.
    rec = advice.joint(explained({"b": lambda u: -np.abs(u - 0.3)}), share=share)
    reach = 0.45 * share
    assert rec.ranges["b"] == pytest.approx((0.3 - reach, 0.3 + reach), abs=0.06 * share)
    assert "sure" not in rec.table and (rec.table["action"] == "search").all()


# Why


def test_reasons_name_the_interaction_that_makes_the_excluded_good():
    def twofold(b, d):
        return 0.525 * (0.5 - b) + 0.2 * (0.5 - d) + 2.4 * (b**2 - 1 / 3) * (0.5 - d)

    explanation = of_pair(twofold, twofold)
    why = advice.reasons(explanation, advice.recommend(explanation))
    # Of the best excluded some have a large b and a small d, which interact strongly, and some
    # the opposite, which do less.
    assert set(why.index[:2]) == {("b", "d"), ("d", "b")}
    assert why["outside"].iloc[:2].sum() == 1 and why["outside"].iloc[:2].between(0.2, 0.8).all()
    for name, slope in {"b": 0.525, "d": 0.2}.items():
        row = why.loc[name].iloc[0]
        value, partner = row["value"], row["partner_value"]
        assert value > 0.9 > 0.1 > partner
        assert row["own"] == pytest.approx(slope * (0.5 - value), abs=0.03)
        b, d = (value, partner) if name == "b" else (partner, value)
        assert row["interaction"] == pytest.approx(2.4 * (b**2 - 1 / 3) * (0.5 - d), abs=0.05)
    # No other pair interacts.
    assert (why["interaction"].iloc[2:].abs() < 0.01).all()
    assert why["interaction"].is_monotonic_decreasing
    # Where nothing is excluded there is no reason.
    everything = replace(advice.recommend(explanation), ranges={"b": (0, 1)})
    assert advice.reasons(explanation, everything).empty
