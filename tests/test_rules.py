"""Rules: relations that are there are found and said in own units; others, and chance, are not."""

import functools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ConfigSpace import ConfigurationSpace, EqualsCondition, Float

from ubalkit import explain, metamodel, readers, rules
from ubalkit import space as spaces
from ubalkit.rules import Corner, Line, Rule

UNIT = ConfigurationSpace({name: (0.0, 1.0) for name in "abc"})
LOGS = ConfigurationSpace(
    {"a": Float("a", (1e-4, 1.0), log=True), "b": Float("b", (1.0, 100.0), log=True), "c": (0.0, 1.0)}
)
MIXED = ConfigurationSpace({"depth": (1, 10), "rate": Float("rate", (1e-4, 1.0), log=True)})
KINDS = {
    "difference": (UNIT, lambda u: np.tanh(8 * (u[:, 0] - u[:, 1]))),
    "sum": (UNIT, lambda u: np.tanh(8 * (u[:, 0] + u[:, 1] - 1))),
    "product": (LOGS, lambda u: np.tanh(8 * (2 * u[:, 0] + u[:, 1] - 1.5))),
    "corner": (UNIT, lambda u: 2.0 * ((u[:, 0] > 0.4) & (u[:, 1] <= 0.5))),
    "additive": (UNIT, lambda u: 2 * u[:, 0] - u[:, 1]),
    "plain": (UNIT, lambda u: u[:, 0] + 4 * u[:, 0] * u[:, 1]),
}


@functools.cache
def explained(kind, maximize=True):
    space, f = KINDS[kind]
    unit = np.random.default_rng(1).random((150, 3))
    frame = spaces.from_unit(space, unit).assign(y=(2 * maximize - 1) * (f(unit) + unit[:, 2]))
    trials = readers.from_frame(frame, "y", direction="maximize" if maximize else "minimize", space=space)
    return explain(trials, n_members=5, n_folds=2, steps=300, weight_decays=[1e-3])


@pytest.mark.parametrize(
    "kind, maximize, said",
    [
        ("difference", True, "a > b"),
        ("difference", False, "a > b"),
        ("sum", True, "a + b > 1"),
        ("product", True, "a · b > "),
        ("corner", True, "a > 0.4 and b ≤ 0.5"),
    ],
)
def test_a_relation_that_is_there_is_found_and_no_other(kind, maximize, said):
    found = explained(kind, maximize).rules
    assert len(found) == 1 and str(found[0]).startswith(said)
    assert found[0].found["gain_low"] > 0 and found[0].found["surprise"] <= rules.SURPRISE


@pytest.mark.parametrize("kind", ["additive", "plain"])
def test_what_adds_up_and_a_plain_product_are_no_rules(kind):
    assert explained(kind).rules == []


def test_a_relation_must_foretell_trials_left_out_not_fit_those_it_was_read_from():
    given = explained("difference")
    luck = given.trials.usable.assign(y=np.random.default_rng(0).permutation(given.trials.usable["y"]))
    assert rules.find(given.ensemble, replace(given.trials, table=luck)) == []


def test_what_the_interaction_itself_refutes_is_not_said(monkeypatch):
    good = pd.Series({"share": 1, "step": 1, "gain_low": 1, "t": 1})
    less = [Rule(UNIT, ("a", "b"), "", None, good.where(good.index != name, -1)) for name in good.index]
    assert [rule.matters for rule in less] == [False] * 3 + [True]
    assert not Rule(UNIT, ("a", "b"), "", None, good.where(good.index != "gain_low")).matters
    # Each does good by itself, so that more of both is better; jointly they do less beyond a + b = 1.
    u = np.random.default_rng(2).random((200, 3))
    y = 3 * (u[:, 0] + u[:, 1]) - 0.3 * np.tanh(8 * (u[:, 0] + u[:, 1] - 1))
    frame = spaces.from_unit(UNIT, u).assign(y=y)
    trials = readers.from_frame(frame, "y", direction="maximize", space=UNIT)
    ensemble = metamodel.fit(trials, kinds=["GP"])
    assert rules.find(ensemble, trials) == []
    monkeypatch.setattr(Rule, "matters", True)
    (rule,) = rules.find(ensemble, trials)
    predicted = rule.tried(ensemble, probes := rule.probes(60), ensemble.predict(probes))
    assert predicted["gain"] == pytest.approx(rule.found["step"], rel=0.3) and rule.found["step"] < 0


def test_what_members_learnt_by_heart_is_no_evidence(monkeypatch):
    monkeypatch.setattr(Rule, "matters", True)
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.random((60, 3)), columns=list("abc"))
    frame["y"] = 3 * frame["c"] + rng.standard_normal(60) * 0.4
    trials = readers.from_frame(frame, "y", direction="maximize", space=UNIT)
    ensemble = metamodel.fit(trials, n_members=5, n_folds=2, steps=600, weight_decays=[1e-5])
    assert rules.find(ensemble, trials) == []
    assert rules.find(replace(ensemble, unseen=~ensemble.unseen), trials) != []
    assert rules.find(replace(ensemble, unseen=np.zeros((5, 60), bool)), trials) == []


def test_repetitions_of_a_configuration_are_no_further_evidence():
    frame = explained("difference").trials.usable[[*"abc", "y"]].head(40)
    trials = readers.from_frame(pd.concat([frame] * 4), "y", direction="maximize", space=UNIT)
    ensemble = metamodel.fit(trials, n_members=5, n_folds=2, steps=300, weight_decays=[1e-3])
    first = rules.find(ensemble, trials, least=1.0)[0]
    assert str(first) == "a > b" and first.found["t"] <= 40**0.5


def test_a_study_says_its_rules_in_report_page_and_figure():
    given = explained("difference")
    sentence = given.rules[0].sentence
    assert sentence in given.report and "a &gt; b" in given.html()


@pytest.mark.parametrize(
    "space, pair, region, said",
    [
        (UNIT, "ab", Line("difference", low=0.5), "a > b"),
        (UNIT, "ab", Line("difference", low=0.5, within=False), "b > a"),
        (UNIT, "ab", Line("difference", low=0.55), "a − b > 0.1"),
        (UNIT, "ab", Line("sum", low=0.25, high=0.75, within=False), "not 0.5 < a + b < 1.5"),
        (LOGS, "ab", Line("sum", (2 / 3, 1 / 3), low=0.5), "a · b > 0.1"),
        (LOGS, "ab", Line("sum", low=0.5, within=False), "a · b^2 < 1"),
        (LOGS, "ac", Line("difference", low=0.5), "log10(a) − 4 · c > −4"),
        (MIXED, ("depth", "rate"), Corner((0.3, 0.5), (True, False)), "depth > 3 and rate ≤ 0.01"),
        (MIXED, ("depth", "rate"), Corner((0.3, 0.5), (True, False), False), "depth ≤ 3 or rate > 0.01"),
    ],
)
def test_regions_are_said_in_own_units(space, pair, region, said):
    assert region.words(space, tuple(pair)) == said


@pytest.mark.parametrize(
    "space, pair, region",
    [
        (UNIT, ("a", "b"), Line("difference")),
        (UNIT, ("a", "b"), Line("difference", within=False)),
        (MIXED, ("depth", "rate"), Corner((0.3, 0.5), (True, False))),
        (MIXED, ("depth", "rate"), Corner((0.3, 0.5), (True, True), False)),
    ],
)
def test_the_next_space_forbids_what_breaks_a_rule(space, pair, region):
    rule = Rule(space, pair, "", region, pd.Series(dtype=float))
    smaller, table = rule.forbid(space), spaces.sample(space, 0, range(200))
    np.testing.assert_array_equal(rule.holds(table), spaces.legal(smaller, spaces.to_unit(space, table)))
    assert rule.holds(spaces.sample(smaller, 0, range(50))).all() and not space.forbidden_clauses


def test_what_no_clause_can_say_is_said_so():
    rule, smaller = functools.partial(Rule, UNIT, ("a", "b"), ""), spaces.reduced(UNIT, {}, {"a": (0.5, 0.9)})
    corner = Corner((0.3, 0.5), (True, True))
    for region, space in ((Line("sum"), UNIT), (corner, smaller), (corner, spaces.reduced(UNIT, {"a": 0.4}))):
        with pytest.raises(ValueError, match=r"cannot forbid what breaks a .* draw, and keep"):
            rule(region, pd.Series(dtype=float)).forbid(space)
    compared = rule(Line("difference"), pd.Series(dtype=float)).forbid(smaller)
    assert (drawn := spaces.sample(compared, 0, range(50)))["a"].gt(drawn["b"]).all()


def test_probes_lie_on_both_sides_and_differ_in_the_two_alone():
    space = ConfigurationSpace({"kind": ["x", "y"], "a": (0.0, 1.0), "b": (0.0, 1.0)})
    space.add(EqualsCondition(space["b"], space["kind"], "x"))
    rule = Rule(space, ("a", "b"), "sum", Line("sum"), pd.Series(dtype=float))
    probes = rule.probes(20)
    kept, broken = probes[:20], probes[20:]
    assert rule.holds(kept).all() and not rule.holds(broken).any()
    assert (probes["kind"] == "x").all() and list(kept["kind"]) == list(broken["kind"])
    assert np.abs(kept[["a", "b"]].to_numpy() - broken[["a", "b"]].to_numpy()).max() <= 0.3
    # Integers are judged as they will be tried.
    whole = ConfigurationSpace({"a": (1, 4), "b": (0.0, 1.0)})
    rule = Rule(whole, ("a", "b"), "corner", Corner((0.3, 0.5), (True, True)), pd.Series(dtype=float))
    probes = rule.probes(20)
    assert rule.holds(probes[:20]).all() and not rule.holds(probes[20:]).any()


def test_new_trials_uphold_a_rule_that_is_there_and_refute_one_that_is_not():
    given, additive = explained("difference"), explained("additive")
    rule = given.rules[0]
    probes = rule.probes(60)
    unit = spaces.to_unit(UNIT, probes)
    upheld = rule.tried(given.ensemble, probes, KINDS["difference"][1](unit) + unit[:, 2])
    assert 0 < upheld["low"] < upheld["foretold"] * 1.5
    refuted = rule.tried(additive.ensemble, probes, KINDS["additive"][1](unit) + unit[:, 2])
    assert abs(refuted["gain"]) < 0.1 * upheld["gain"]


def test_an_ensemble_read_again_knows_what_its_members_have_not_seen(tmp_path):
    ensemble = explained("sum").ensemble
    ensemble.save(tmp_path / "ensemble.json")
    again = metamodel.load(tmp_path / "ensemble.json")
    np.testing.assert_array_equal(again.unseen, ensemble.unseen)
    assert ensemble.unseen.sum(0).tolist() == [1] * 150
