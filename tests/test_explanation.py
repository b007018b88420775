"""From trials to what they say, in one call: as a new user would, from every source."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest
import shap
from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, Integer
from helpers import trials
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from ubalkit import experiment, explanation, metamodel, readers, rivals
from ubalkit import space as spaces

FEW = {"n_members": 4, "n_folds": 3}


def objective(trial):
    rate = trial.suggest_float("rate", 1e-4, 1, log=True)
    width = trial.suggest_int("width", 1, 64)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    return (np.log10(rate) + 2) ** 2 + 3 * (kind == "b") + width / 640


@pytest.fixture(scope="module")
def study():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=80)
    return study


@pytest.fixture(scope="module")
def explained(study):
    return explanation.explain(readers.from_optuna(study), **FEW)


def test_importing_it_leaves_the_figures_of_a_session_as_they_were():
    # The backend is said, for matplotlib looks for one when asked.
    lines = ["import matplotlib", "matplotlib.use('agg')", "before = matplotlib.rcParams.copy()"]
    lines += ["from ubalkit import explanation", "assert matplotlib.rcParams == before"]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_an_optuna_study_is_explained(explained):
    assert explained.trust.verdict == "good"
    assert set(explained.table.index[:2]) == {"rate", "kind"}
    assert explained.table.loc["width", "action"] == "freeze"
    # What is minimised is best where the SHAP values are lowest: around a rate of 0.01.
    rec = explained.recommendation
    low, high = rec.ranges["rate"]
    assert 1e-4 < low < 0.01 < high < 1
    assert explained.order[0].startswith(("rate is first", "kind is first"))
    # And the best are those with the lowest values.
    best = explained.trials.usable.sort_values("value").head(20)
    assert rec.lost == (~best["rate"].between(low, high)).sum() < 5
    assert rec.loss["low"] <= rec.loss["loss"] <= rec.loss["high"]


def test_the_next_search_is_in_the_reduced_space_and_better(explained, study):
    again = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=1))
    distributions = readers.optuna_distributions(explained.space)
    # The constant has a value of its own kind there.
    assert distributions["width"].choices == (explained.recommendation.freeze["width"],)
    for _ in range(40):
        trial = again.ask(distributions)
        again.tell(trial, objective(optuna.trial.FixedTrial(trial.params | {"width": 1})))
    values = [[t.value for t in s.trials] for s in (study, again)]
    assert np.mean(values[1]) < np.mean(values[0]) - 0.3


def test_a_grid_search_of_scikit_learn_is_explained():
    grid = {"C": np.logspace(-3, 2, 6).tolist(), "gamma": np.logspace(-4, 1, 6).tolist()}
    found = GridSearchCV(SVC(), grid, cv=3).fit(*load_iris(return_X_y=True))
    explained = explanation.explain(readers.from_sklearn(found.cv_results_), **FEW)
    assert explained.trust.r2 > 0.5
    assert spaces.describe(explained.ensemble.space)["C"] == "[0.001, 100] log"
    assert set(explained.table.index) == {"C", "gamma"}


def test_every_method_sees_the_same_trials(explained):
    compared = explained.methods()
    assert list(compared) == ["SHAP", *rivals.METHODS]
    assert (compared.sum() - 1).abs().max() < 1e-9
    # What the best have in common is asked of the lowest values.
    lowest = rivals.ped_anova(explained.trials)
    highest = rivals.ped_anova(replace(explained.trials, metrics={"value": "maximize"}))
    np.testing.assert_allclose(compared["PED-ANOVA"], (lowest / lowest.sum())[compared.index])
    assert not np.allclose(lowest / lowest.sum(), highest / highest.sum())


def test_saved_it_can_be_read_without_this_package(explained, tmp_path):
    folder = explained.save(tmp_path / "out")
    table = pd.read_csv(folder / "importance.csv", index_col=0)
    assert table.index.tolist() == explained.table.index.tolist()
    plain = json.loads((folder / "space.json").read_text())
    assert set(ConfigurationSpace.from_serialized_dict(plain | {"format_version": 0.4})) == set(table.index)
    names = {p.name for p in (folder / "figures").iterdir()}
    assert names == {"fig3.png", "fig3.pdf", "explained.png", "explained.pdf"}


def test_shap_s_own_plots_take_the_values(explained):
    values = explained.shap.explanation()
    assert isinstance(values, shap.Explanation) and values.shape == explained.shap.values.shape
    added = values.base_values + values.values.sum(1)
    np.testing.assert_allclose(added, explained.ensemble.predict(explained.shap.table), atol=1e-8)
    assert values.feature_names == explained.shap.names
    assert (values.display_data == explained.shap.table[explained.shap.names].to_numpy()).all()
    shap.plots.beeswarm(values, show=False)


def test_noise_and_a_study_without_a_finished_trial_are_refused_in_a_sentence():
    space = ConfigurationSpace({name: (0.0, 1.0) for name in "abcdefg"})
    table = spaces.sample(space, 0, range(60)).assign(score=np.random.default_rng(0).random(60))
    with pytest.raises(metamodel.UntrustworthyError, match="there is nothing to explain"):
        explanation.explain(trials(table, space, score="maximize"), **FEW)
    with pytest.raises(ValueError, match=r"^[A-Z][^\n]+\.$"):
        explanation.explain(readers.from_optuna(optuna.create_study()))


def test_with_conditions_the_figure_shows_what_is_active(tmp_path):
    space = ConfigurationSpace(name="deep")
    kind, momentum = Categorical("kind", ["sgd", "adam"]), Float("momentum", (0.0, 1.0))
    space.add([kind, momentum, Float("rate", (1e-4, 1.0), log=True), Integer("width", (1, 8))])
    space.add(EqualsCondition(momentum, kind, "sgd"))

    def score(c, seed):
        return -abs(np.log10(c["rate"]) + 1 + 2 * (c["kind"] == "sgd")) + c.get("momentum", 0)

    how = {"n_jobs": 1, "progress": False}
    searched = experiment.Experiment("deep", score, space, {"score": "maximize"}, n_configurations=120)
    given = experiment.run(searched, folder=tmp_path, **how)
    explained = explanation.explain(given, **FEW)
    axes = {ax.get_xlabel(): ax for ax in explained.figure().axes if ax.axison}
    points = {name: len(ax.collections[0].get_offsets()) for name, ax in axes.items()}
    assert points["rate"] == 120 and points["momentum"] == given.table["kind"].eq("sgd").sum()
    assert [t.get_text() for t in axes["kind"].get_xticklabels()] == ["sgd", "adam"]
    assert axes["rate"].get_xticklabels()[0].get_text() == "$10^{-4}$"
    # Others depend on the kind: it stays as it is.
    assert "kind" not in {**explained.recommendation.freeze, **explained.recommendation.ranges}
    smaller = replace(searched, name="smaller", space=explained.space, n_configurations=60)
    again = experiment.run(smaller, folder=tmp_path / "again", **how)
    assert again.table["score"].mean() > given.table["score"].mean() + 0.2


def test_anything_that_holds_a_search_is_explained(study, explained, tmp_path):
    frame = study.trials_dataframe()
    frame.to_csv(tmp_path / "trials.csv", index=False)
    for source in (study, tmp_path / "trials.csv"):
        assert explanation.explain(source, **FEW).table.index[0] == explained.table.index[0]
    assert explanation.explain(frame, "Value", **FEW).trust.metric == "value"
    with pytest.raises(ValueError, match="no such"):
        explanation.explain(frame, "no such", **FEW)


def test_it_is_short_in_a_console_and_shows_itself_in_a_notebook(explained):
    assert len(repr(explained)) < 300 and explained.table.index[0] in repr(explained)
    shown = explained._repr_html_()
    assert str(explained.trust) in shown and "<table" in shown and 'alt="SHAP values of' in shown
