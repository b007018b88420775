"""Objectives of one's own: the same rows however searched, failures counted, nothing finished lost."""

from dataclasses import replace

import numpy as np
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, Integer

from ubalkit import effects, metamodel, observations
from ubalkit import experiment as experiments
from ubalkit import space as spaces
from ubalkit.experiment import Experiment


def space():
    space = ConfigurationSpace(name="toy")
    kind, rate = Categorical("kind", ["a", "b"]), Float("rate", (1e-3, 1.0), log=True)
    depth = Integer("depth", (1, 4))
    space.add([kind, rate, depth])
    space.add(EqualsCondition(depth, kind, "b"))
    return space


def score(configuration, seed):
    noise = np.random.default_rng(seed).normal(0, 0.01)
    return {"loss": np.log10(configuration["rate"]) ** 2 + configuration.get("depth", 0) + noise, "size": 1.0}


def experiment(objective=score, **changes):
    directions = {"loss": "minimize", "size": "maximize"}
    changes = {"directions": directions, "n_configurations": 12, **changes}
    return Experiment("toy", objective, space(), **changes)


def run(experiment, folder, **how):
    return experiments.run(experiment, folder=folder, **{"n_jobs": 1, "progress": False, **how})


def test_a_search_gives_the_hyperparameters_the_metrics_and_how_it_went(tmp_path):
    trials = run(experiment(), tmp_path)
    table = trials.table
    assert list(table) == ["kind", "rate", "depth", "loss", "size", "status", "why"]
    assert trials.metrics == {"loss": "minimize", "size": "maximize"} and trials.space == space()
    assert (table["status"] == "ok").all() and table["kind"].nunique() == 2
    expected = np.log10(table["rate"]) ** 2 + table["depth"].fillna(0)
    np.testing.assert_allclose(table["loss"], expected, atol=0.06)
    assert table["depth"].isna().equals(table["kind"] == "a")


def test_configurations_hold_what_is_active_as_plain_python_values(tmp_path):
    seen = []

    def spy(configuration, seed):
        seen.append((configuration, seed))
        return {"loss": 0, "size": 0}

    run(experiment(spy), tmp_path)
    for configuration, seed in seen:
        types = {"kind": str, "rate": float} | ({"depth": int} if configuration["kind"] == "b" else {})
        assert {name: type(value) for name, value in configuration.items()} == types
        assert isinstance(seed, int)
    assert len({seed for _, seed in seen}) == 12


def test_failures_are_rows_that_say_why(tmp_path):
    def fragile(configuration, seed):
        if configuration["kind"] == "a":
            raise RuntimeError("no such kind" + "!" * 1_000_000)
        depth = configuration["depth"]
        return {"loss": np.nan if depth == 1 else 1.0, "size": "large" if depth == 2 else 2}

    table = run(experiment(fragile, n_configurations=30), tmp_path).table
    (why,) = set(table.loc[table["kind"] == "a", "why"])
    assert why.startswith("RuntimeError: no such kind!!!") and len(why) == 500
    assert set(table.loc[table["depth"] == 1, "why"]) == {"loss = nan"}
    assert table.loc[table["depth"] == 2, "why"].str.contains("could not convert string to float").all()
    ok = table["kind"].eq("b") & table["depth"].gt(2)
    assert table["status"].map({"ok": True, "failed": False}).equals(ok)
    assert table.loc[~ok, ["loss", "size"]].isna().all(axis=None)


def test_other_metrics_stop_the_search_and_lose_nothing(tmp_path):
    calls = []

    def fickle(configuration, seed):
        calls.append(seed)
        return {"loss": 1.0, "size": 2.0} if len(calls) <= 5 else {"loss": 1.0}

    with pytest.raises(ValueError, match=r"metrics loss for configuration 5; loss, size are wanted"):
        run(experiment(fickle), tmp_path)
    assert len(observations.read_chunks(tmp_path, experiment())) == 5
    assert len(run(experiment(), tmp_path)) == 12


@pytest.mark.parametrize("metric", ["score", "test_accuracy"])
def test_one_metric_may_be_a_number_of_any_name_and_size(tmp_path, metric):
    # UBAL's own test_accuracy is a share; another model's may be in per cent.
    own = experiment(lambda c, seed: np.float32(93.5), directions={metric: "maximize"})
    trials = run(own, tmp_path / "chunks")
    assert trials.metric == metric and set(trials.table[metric]) == {93.5}
    observations.write(trials, tmp_path / "observations.csv")
    again = observations.read(tmp_path / "observations.csv", own)
    assert again.metrics == {metric: "maximize"} and set(again.usable[metric]) == {93.5}


def test_rows_of_another_version_are_not_taken_for_rows_of_this_one(tmp_path):
    run(experiment(), tmp_path)
    with pytest.raises(ValueError, match="made with other settings"):
        run(experiment(version="2"), tmp_path)


def test_a_recorded_table_is_checked_against_its_experiment(tmp_path):
    trials, path = run(experiment(), tmp_path), tmp_path / "observations.csv"
    observations.write(trials, path)
    again = observations.read(path, experiment())
    assert again.table["loss"].equals(trials.table["loss"]) and again.space == space()
    assert again.about["fingerprint"] == experiment().fingerprint
    assert experiments.verify(experiment(), trials, 2)["holds"].all()
    worse = replace(trials, table=trials.table.assign(loss=trials.table["loss"] + 1e-3))
    compared = experiments.verify(experiment(), worse, 2)
    assert not compared["holds"].xs("loss", level="metric").any()
    assert compared["holds"].xs("size", level="metric").all()
    np.testing.assert_allclose(compared["difference"], compared["again"] - compared["recorded"])
    assert experiments.verify(experiment(), worse, 2, tolerance={"loss": 0.01})["holds"].all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"directions": {}}, "each metric is to maximize or minimize"),
        ({"directions": {"loss": "down"}}, "each metric is to maximize or minimize"),
        ({"directions": {"rate": "minimize"}}, "'rate' cannot name a metric"),
        ({"directions": {"status": "minimize"}}, "'status' cannot name a metric"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        experiment(**changes)


def test_what_conditions_switch_off_has_no_effect_there(tmp_path):
    trials = run(experiment(n_configurations=150), tmp_path)
    table = trials.table
    ensemble = metamodel.fit(trials, n_members=3)
    assert (ensemble.metric, ensemble.maximize) == ("loss", False)
    off = table[table["kind"] == "a"]
    for depth in (1, 4):
        np.testing.assert_array_equal(ensemble.predict(off.assign(depth=depth)), ensemble.predict(off))
    on = table[table["kind"] == "b"]
    assert np.abs(ensemble.predict(on.assign(depth=4)) - ensemble.predict(on.assign(depth=1))).min() > 1
    # At coordinates that no table has, too: those that a decomposition mixes.
    points, depth = np.random.default_rng(0).random((50, 3)), spaces.varied(space()).index("depth")
    moved = points.copy()
    moved[:, depth] = 0.9
    is_off = ~spaces.active(space(), points)[:, depth]
    same = ensemble.predict_unit(points) == ensemble.predict_unit(moved)
    assert is_off.any() and same[:, is_off].all() and not same[:, ~is_off].any()
    # Exactly: base and effects still add up to the predictions.
    assert np.abs(effects.decompose(ensemble, table.head(20)).remainder).max() < 1e-10
