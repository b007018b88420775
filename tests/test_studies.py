"""Studies as they come: what real searches look like is explained rightly, or refused for what is true."""

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, GreaterThanCondition, Integer
from helpers import trials

from ubalkit import effects, explain, metamodel, readers, uncertainty
from ubalkit import space as spaces

QUICK = {"n_members": 5, "n_folds": 4, "steps": 300}


def given(n, function, *, seed=0, repeats=1, names="abcd", **options):
    """Trials at random points: the metric is a function of the columns and a generator."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.random((n, len(names))), columns=list(names))
    frame = frame.loc[frame.index.repeat(repeats)].reset_index(drop=True)
    frame["metric"] = function(frame, rng)
    space = {name: (0.0, 1.0) for name in names}
    return readers.from_frame(frame, "metric", **{"direction": "maximize", "space": space, **options})


# Repetitions


def lucky(frame, rng):
    """A number for each configuration that no hyperparameter tells, and little noise beside it."""
    luck = rng.normal(size=len(frame))[frame.groupby("a", sort=False).ngroup()]
    return luck + rng.normal(0, 0.02, len(frame))


@pytest.mark.parametrize(("n", "repeats"), [(60, 5), (100, 2)])
def test_noise_is_refused_though_each_configuration_stands_there_several_times(n, repeats):
    with pytest.raises(metamodel.UntrustworthyError):
        explain(given(n, lucky, repeats=repeats), **QUICK)


def test_repetitions_tell_the_noise_ceiling():
    noisy = given(80, lambda f, rng: f.a + rng.normal(0, f.a.std(), len(f)), repeats=4)
    trust = metamodel.fit(noisy, **QUICK).trust
    assert 0.35 < trust.ceiling < 0.65
    assert trust.explained > trust.r2
    assert np.isnan(metamodel.fit(given(60, lambda f, rng: f.a), **QUICK).trust.ceiling)


def test_few_configurations_many_times_are_few():
    with pytest.raises(ValueError, match="6 different usable configurations are too few for 4"):
        metamodel.fit(given(6, lucky, repeats=20))


# Where the trials lie


@pytest.fixture(scope="module")
def crowded():
    """A search by TPE of 4 (a - 0.8)² + b + 0.4 c: over the space a has 0.64 of the importance, b 0.25."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rng = np.random.default_rng(0)

    def objective(trial):
        a, b, c, _ = (trial.suggest_float(name, 0, 1) for name in "abcd")
        return 4 * (a - 0.8) ** 2 + b + 0.4 * c + 0.05 * rng.normal()

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=200)
    return explain(readers.from_optuna(study), n_members=6, n_folds=3, steps=400)


def test_importances_are_over_the_space_and_not_over_the_trials(crowded):
    table, truth = crowded.table, {"a": 0.64, "b": 0.25, "c": 0.1, "d": 0.0}
    assert table.index[0] == "a"
    for name, size in truth.items():
        assert table.loc[name, "low"] <= size <= table.loc[name, "high"]
    # Among the trials, which crowd where b is small and a is right, a has not twice what b has.
    among = crowded.at_trials.shap().importance()["importance"]
    assert among["a"] < 1.7 * among["b"]


def test_a_report_says_how_the_trials_were_spread(crowded):
    assert crowded.crowding.max() > 0.25
    assert any("crowd in a part of the space" in sentence for sentence in crowded.report)
    even = explain(given(80, lambda f, rng: f.a), **QUICK)
    assert "The trials are spread over the whole space." in even.report


def test_what_a_condition_switches_off_does_not_count_as_crowded(conditional):
    table = spaces.sample(conditional.space, 1, range(200))
    table["metric"] = table["rate"]
    found = explain(trials(table, conditional.space, metric="maximize"), **QUICK)
    assert found.crowding.max() < 0.25


def test_where_hardly_any_trial_lies_no_advice_is_given():
    def corner(f, rng):
        return f.a + 0.05 * f.b

    whole = given(200, corner, names="abc")
    # Of b only a fifth of the range was ever tried, but for two trials.
    rows = whole.table["b"].lt(0.2) | (whole.table.index < 2)
    some = explain(trials(whole.table[rows], whole.space, metric="maximize"), **QUICK)
    assert some.table.loc["b", "covered"] < 0.5
    assert some.table["action"].to_dict() == {"a": "search", "b": "search", "c": "freeze"}
    assert any("Hardly any trials in much of b" in sentence for sentence in some.report)
    assert explain(whole, **QUICK).table.loc["b", "action"] == "freeze"


# Kinds of hyperparameters


def test_a_choice_of_many_levels_is_learnt_level_by_level():
    rng, n = np.random.default_rng(1), 400
    names = [f"c{j:02d}" for j in range(20)]
    effect = pd.Series(rng.normal(size=20), names)
    frame = pd.DataFrame({"model": rng.choice(names, n), "rate": rng.random(n)})
    frame["acc"] = frame["model"].map(effect) + frame["rate"] + rng.normal(0, 0.1, n)
    space = {"model": names, "rate": (0.0, 1.0)}
    explained = explain(readers.from_frame(frame, "acc", direction="maximize", space=space), n_members=5)
    assert explained.trust.r2 > 0.9
    sizes = explained.table["importance"]
    assert sizes["model"] == pytest.approx((effect - effect.mean()).abs().mean(), rel=0.1)
    # The levels that surely harm are left out of the next search, the best one never.
    kept = explained.space["model"].choices
    assert effect.idxmax() in kept and effect.idxmin() not in kept
    assert effect[[*set(names) - set(kept)]].max() < effect.mean() + 0.3


def test_a_choice_of_floats_that_matters_little_is_frozen_at_one_of_them():
    rng, values = np.random.default_rng(1), [0.9, 0.95, 0.99]
    frame = pd.DataFrame({"rate": rng.random(50), "keep": rng.choice(values, 50)})
    frame["score"] = frame["rate"]
    explained = explain(readers.from_frame(frame, "score", space={"keep": values}), **QUICK)
    assert explained.recommendation.freeze["keep"] in values


def test_a_frozen_value_lies_on_the_steps_of_its_range():
    space = ConfigurationSpace()
    step = {"step": 32, "origin": 32}
    space.add([Integer("units", (32, 1024), meta=step), Float("rate", (0.0, 1.0))])
    table = spaces.sample(space, 0, range(60))
    table["units"] = (table["units"] // 32) * 32
    table["metric"] = table["rate"] + 1e-5 * table["units"]
    explained = explain(trials(table, space, metric="maximize"), **QUICK)
    assert explained.recommendation.freeze["units"] % 32 == 0


def test_a_flag_that_matters_is_set_and_one_that_does_not_is_frozen():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.integers(0, 2, (60, 3)), columns=["good", "bad", "idle"])
    frame["rate"] = rng.random(60)
    frame["score"] = frame["good"] - frame["bad"] + 0.1 * rng.normal(size=60)
    flags = {name: [0, 1] for name in ("good", "bad", "idle")}
    explained = explain(readers.from_frame(frame, "score", direction="maximize", space=flags), **QUICK)
    table = explained.table
    assert table.loc[["good", "bad"], "where"].tolist() == ["= 1", "= 0"]
    assert table.loc[["good", "bad"], "action"].tolist() == ["set", "set"]
    assert table.loc[["idle", "rate"], "action"].tolist() == ["freeze", "freeze"]


# Advice no bolder than what is known


def test_the_end_of_a_range_at_which_a_metric_is_best_is_said_but_only_where_trials_lie():
    rising = explain(given(120, lambda f, rng: 2 * f.a - 8 * (f.b - 0.4) ** 2), **QUICK)
    assert "Best at an end of the range: a at 1. Look beyond it if you can." in rising.report
    falling = explain(given(120, lambda f, rng: 2 * f.a, direction="minimize"), **QUICK)
    assert any(sentence.startswith("Best at an end of the range: a at 0.") for sentence in falling.report)
    half = given(120, lambda f, rng: 2 * f.a + f.b, space=dict.fromkeys("abcd", (0.0, 2.0)))
    assert not any("a at 2" in sentence for sentence in explain(half, **QUICK).report)


def test_hyperparameters_that_move_together_are_named_with_their_correlation():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"lr": rng.random(200), "x": rng.random(200)})
    frame = frame.assign(lr_final=frame["lr"] / 10, acc=2 * frame["lr"] + 0.5 * frame["x"])
    found = readers.from_frame(frame, "acc", hyperparameters=["lr", "lr_final", "x"])
    report = explain(found, **QUICK).report
    assert any("follows lr (correlation 1.00): what one does may be the other's." in line for line in report)


def test_what_is_important_is_not_frozen_because_another_has_a_steep_end():
    def steep(f, rng):
        return -12 * np.maximum(f.a - 0.88, 0) + 0.45 * f.b + rng.normal(0, 0.01, len(f))

    table = explain(given(150, steep), n_members=6).table
    assert table["action"].to_dict() == {"a": "search", "b": "search", "c": "freeze", "d": "freeze"}


def test_nothing_is_frozen_that_the_resamples_do_not_agree_on():
    # Four that matter alike, hidden by noise: which of them is low is chance.
    hidden = given(60, lambda f, rng: f.sum(axis=1) + rng.normal(0, 0.4, len(f)))
    explained = explain(hidden, n_members=5, kinds=["MLP"])
    unsure = explained.table["sure"] < 0.9
    assert unsure.any() and (explained.table.loc[unsure, "action"] == "search").all()


def test_the_space_proposed_holds_the_best_trials():
    rng = np.random.default_rng(0)
    # As TPE leaves it: some trials everywhere, then many around the best, which a mean along b hides.
    wide, near = rng.random((40, 3)), rng.normal([0.85, 0.12, 0.5], [0.05, 0.05, 0.1], (100, 3))
    frame = pd.DataFrame(np.clip(np.vstack([wide, near]), 0, 1), columns=list("abc"))
    hill = np.exp(-((frame.a - 0.85) ** 2 + (frame.b - 0.12) ** 2 + (frame.c - 0.5) ** 2) / 0.05)
    frame["metric"] = hill + 0.7 * frame.b * (frame.a < 0.7)
    space = dict.fromkeys("abc", (0.0, 1.0))
    study = readers.from_frame(frame, "metric", direction="maximize", space=space)
    explained = explain(study, n_members=6)
    best = study.usable.nlargest(10, "metric")
    for name, (low, high) in explained.recommendation.ranges.items():
        assert best[name].between(low, high).all()
    assert explained.recommendation.lost <= 10
    assert f"{explained.recommendation.lost} of the best 20 trials lie outside" in " ".join(explained.report)


# Metrics as they are


@pytest.fixture
def diverged():
    def heavy(f, rng):
        loss = 0.1 + (f.a - 0.3) ** 2 + rng.normal(0, 0.005, len(f))
        return np.where(f.a > 0.85, 10 ** (3 + 9 * rng.random(len(f))), loss)

    return given(120, heavy, direction="minimize")


def test_a_refusal_says_that_a_few_values_hide_the_others(diverged):
    hint = r"of 120 values, up to .* hide the others: .* scale='log' or scale='rank'"
    with pytest.raises(metamodel.UntrustworthyError, match=hint):
        explain(diverged, **QUICK)
    noise = given(60, lambda f, rng: rng.normal(size=len(f)))
    with pytest.raises(metamodel.UntrustworthyError) as refused:
        explain(noise, **QUICK)
    assert "hide the others" not in str(refused.value)


def test_a_report_says_so_too_where_the_gate_lets_a_few_large_values_pass():
    steep = given(120, lambda f, rng: f.a + 100 * np.maximum(f.a - 0.8, 0), direction="minimize")
    plain, ranked = explain(steep, **QUICK), explain(steep, scale="rank", **QUICK)
    assert ["hide the others" in " ".join(found.report) for found in (plain, ranked)] == [True, False]


@pytest.mark.parametrize(("scale", "name"), [("log", "log10 metric"), ("rank", "rank of metric")])
def test_a_metric_is_explained_on_another_scale_and_in_its_own_units(diverged, scale, name):
    explained = explain(diverged, scale=scale, **QUICK)
    assert (explained.trust.metric, explained.trust.verdict) == (name, "good")
    assert explained.order[0].startswith("a is first") and explained.recommendation.ranges["a"][1] < 0.9
    own, ours = explained.table["in metric"], explained.table["importance"]
    assert (own >= 0).all() and own.idxmax() == ours.idxmax()
    if scale == "log":
        step, middle = ours["a"] / 2, diverged.table["metric"].median()
        assert own["a"] == pytest.approx(middle * (10**step - 10**-step), rel=0.5)


def test_a_metric_without_logarithm_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"goes down to .*, which has no logarithm: take its rank"):
        explain(given(40, lambda f, rng: f.a - 0.5), scale="log")


def test_a_refusal_does_not_say_that_nothing_is_predicted_where_something_is():
    trust = metamodel.Trust("loss", r2=0.49, low=-0.12, high=0.72)
    with pytest.raises(metamodel.UntrustworthyError, match=r"may be chance.*further ones would tell"):
        trust.check()
    with pytest.raises(metamodel.UntrustworthyError, match="no better than their mean"):
        metamodel.Trust("loss", r2=0.02, low=-0.3, high=0.2).check()


def test_which_trials_fail_is_explained_as_any_metric_is():
    some = given(150, lambda f, rng: np.where(f.a > 0.8, np.nan, f.b))
    explained = explain(some.failing, **QUICK)
    assert explained.trust.verdict == "good" and explained.table.index[0] == "a"
    assert explained.recommendation.ranges["a"][1] < 0.9
    assert "hide the others" not in "\n".join(explained.report)
    assert f"{len(some) - len(some.usable)} trials failed" in "\n".join(explain(some, **QUICK).report)


# Many hyperparameters, and conditions


def test_more_hyperparameters_than_can_be_taken_apart_exactly_are_explained():
    names = [f"h{j:02d}" for j in range(14)]

    def fourteen(f, rng):
        return 3 * f["h00"] - 2 * f["h01"] + 2 * f["h02"] * f["h03"] + rng.normal(0, 0.1, len(f))

    explained = explain(given(300, fourteen, names=names), n_members=4, architectures=[(2, 32)])
    importance = explained.table["importance"]
    assert importance.index[:2].tolist() == ["h00", "h01"]
    assert importance["h00"] == pytest.approx(0.75, abs=0.1)
    whole = explained.shap
    added = whole.base_values[:, None] + whole.member_values.sum(2)
    np.testing.assert_allclose(added, explained.decomposition.predictions, atol=1e-9)
    assert len(explained.explained().axes) > 14


@pytest.fixture
def conditional():
    """A choice of three, one that only one of them has, one that hangs on a number, and one for all."""
    space = ConfigurationSpace()
    kind, depth = Categorical("kind", ["a", "b", "c"]), Integer("depth", (1, 5))
    momentum, last, rate = (Float(name, (0.0, 1.0)) for name in ("momentum", "last", "rate"))
    space.add([kind, depth, momentum, last, rate])
    space.add([EqualsCondition(momentum, kind, "b"), GreaterThanCondition(last, depth, 3)])
    table = spaces.sample(space, 0, range(120))
    table["metric"] = table["rate"] + table["momentum"].fillna(0) - table["last"].fillna(0.5)
    return metamodel.fit(trials(table, space, metric="maximize"), **QUICK | {"n_members": 2})


def test_effects_follow_conditions_as_every_single_mixture_does(conditional):
    table = spaces.from_unit(conditional.space, spaces.spread(conditional.space, 6, 1))
    found = effects.decompose(conditional, table, n_background=8)
    background = uncertainty.backgrounds(conditional, 8, 0)
    for k, name in enumerate(found.names):
        held = np.arange(len(found.names)) == k
        for m in range(2):
            mixed = np.where(held, found.unit[:, None], background[m]).reshape(-1, len(held))
            inputs = torch.as_tensor(spaces.encoded(conditional.space, mixed))
            alone = conditional.members[m](inputs).numpy().reshape(6, 8).mean(1)
            own = found.member_components[m][:, found.subsets.index((name,))]
            np.testing.assert_allclose(found.base_values[m] + own, alone, atol=1e-10)
    np.testing.assert_allclose(found.remainder, 0, atol=1e-9)


def test_many_hyperparameters_with_a_condition_are_explained(conditional, monkeypatch):
    exact = effects.decompose(conditional, n_points=64).shap()
    monkeypatch.setattr(effects, "MOST", 3)
    found = effects.decompose(conditional, n_points=64).shap()
    np.testing.assert_allclose(found.member_values.sum(2), exact.member_values.sum(2), atol=1e-9)
    assert np.abs(found.values - exact.values).max() < 0.15 * exact.values.std()


def test_the_number_of_threads_changes_nothing():
    before, found = torch.get_num_threads(), {}
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            found[n] = explain(given(60, lambda f, rng: f.a), **QUICK).shap.member_values
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found[1], found[2])


# Noise


def noise_table(seed):
    """A table in which nothing is to be found: its size, its spread and its repetitions at random."""
    rng = np.random.default_rng(seed)
    d, n = int(rng.integers(2, 21)), int(rng.integers(50, 501))
    repeats = int(rng.choice([1, 1, 3, 5]))
    n_configurations = max(n // repeats, 2 * d + 5)
    unit = rng.random((n_configurations, d))
    if rng.random() < 0.5:
        # As TPE leaves it: most of them around one point.
        near = rng.random(n_configurations) < 0.7
        unit[near] = np.clip(rng.random(d) + rng.normal(0, 0.1, (near.sum(), d)), 0, 1)
    frame = pd.DataFrame(unit, columns=[f"h{j}" for j in range(d)])
    luck = rng.standard_normal(n_configurations)
    frame = frame.loc[frame.index.repeat(repeats)].reset_index(drop=True)
    frame["metric"] = luck.repeat(repeats) + rng.choice([0.05, 1.0]) * rng.standard_normal(len(frame))
    space = {name: (0.0, 1.0) for name in list(frame)[:d]}
    return readers.from_frame(frame, "metric", direction="maximize", space=space)


def alarms(seeds):
    """Of how many tables of noise the gate believes that there is something to explain."""
    tables = map(noise_table, seeds)
    return sum(metamodel.fit(t, kinds=metamodel.KINDS).trust.verdict != "none" for t in tables)


@pytest.mark.slow
def test_of_a_thousand_tables_of_noise_at_most_one_in_twenty_is_explained():
    found = alarms(range(1000))
    print(f"\nfalse alarms: {found} of 1 000 tables of noise")
    assert found <= 50
