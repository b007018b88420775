"""From trials to what they say: as a new user would, from every source; and the two examples."""

import json
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest
import shap
from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, Integer
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from ubalkit import examples, explanation, importance, observations, search, trials, trust
from ubalkit import space as spaces
from ubalkit.experiment import Experiment

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
    return explanation.explain(observations.from_optuna(study), **FEW)


def test_an_optuna_study_is_explained(explained):
    assert explained.trust.verdict == "good"
    assert set(explained.table.index[:2]) == {"rate", "kind"}
    assert explained.table.loc["width", "action"] == "freeze"
    # What is minimised is best where the SHAP values are lowest: around a rate of 0.01.
    low, high = explained.recommendation.ranges["rate"]
    assert 1e-4 < low < 0.01 < high < 1
    assert explained.order[0].startswith(("rate is first", "kind is first"))


def test_the_best_of_a_minimised_metric_are_the_lowest(explained, study):
    best = explained.shap.table.sort_values("value").head(20)
    inside = best["rate"].between(*explained.recommendation.ranges["rate"])
    assert explained.recommendation.lost == (~inside).sum() < 5
    loss = explained.recommendation.loss
    assert loss["low"] <= loss["loss"] <= loss["high"]


def test_the_next_search_is_in_the_reduced_space_and_better(explained, study):
    again = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=1))
    distributions = trials.optuna_distributions(explained.space)
    for _ in range(40):
        trial = again.ask(distributions)
        # The constant has a value of its own kind there.
        assert distributions["width"].choices == (explained.recommendation.freeze["width"],)
        again.tell(trial, objective(optuna.trial.FixedTrial(trial.params | {"width": 1})))
    values = [[t.value for t in s.trials] for s in (study, again)]
    assert np.mean(values[1]) < np.mean(values[0]) - 0.3


def test_a_grid_search_of_scikit_learn_is_explained():
    grid = {"C": np.logspace(-3, 2, 6).tolist(), "gamma": np.logspace(-4, 1, 6).tolist()}
    x, y = load_iris(return_X_y=True)
    found = GridSearchCV(SVC(), grid, cv=3).fit(x, y)
    explained = explanation.explain(observations.from_sklearn(found.cv_results_), **FEW)
    assert explained.trust.r2 > 0.5
    assert spaces.describe(explained.ensemble.space)["C"] == "[0.001, 100] log"
    assert set(explained.table.index) == {"C", "gamma"}


def test_a_csv_file_is_explained(study, tmp_path):
    study.trials_dataframe().rename(columns=lambda c: c.removeprefix("params_"))[
        ["rate", "width", "kind", "value"]
    ].to_csv(tmp_path / "trials.csv", index=False)
    given = observations.from_csv(tmp_path / "trials.csv", "value", direction="minimize")
    explained = explanation.explain(given, **FEW)
    assert set(explained.table.index[:2]) == {"rate", "kind"}
    assert not explained.ensemble.maximize


def test_every_method_sees_the_same_trials(explained):
    compared = explained.methods()
    assert list(compared) == ["SHAP", *importance.METHODS]
    assert (compared.sum() - 1).abs().max() < 1e-9
    # What the best have in common is asked of the lowest values.
    table, space = explained.shap.table, explained.ensemble.space
    pair = [importance.ped_anova(table, "value", space, maximize=m) for m in (False, True)]
    lowest, highest = (p / p.sum() for p in pair)
    np.testing.assert_allclose(compared["PED-ANOVA"], lowest.reindex(compared.index))
    assert not np.allclose(lowest, highest)


def test_saved_it_can_be_read_without_this_package(explained, tmp_path):
    folder = explained.save(tmp_path / "out")
    assert (
        pd.read_csv(folder / "importance.csv", index_col=0).index.tolist() == explained.table.index.tolist()
    )
    space = ConfigurationSpace.from_serialized_dict(
        json.loads((folder / "space.json").read_text()) | {"format_version": 0.4}
    )
    assert set(space) == {"rate", "width", "kind"}
    names = {p.name for p in (folder / "figures").iterdir()}
    assert names == {"fig3.png", "fig3.pdf", "explained.png", "explained.pdf"}


def test_shap_s_own_plots_take_the_values(explained):
    values = explained.shap.explanation()
    assert isinstance(values, shap.Explanation) and values.shape == explained.shap.values.shape
    added = values.base_values + values.values.sum(1)
    np.testing.assert_allclose(added, explained.ensemble.predict(explained.shap.table))
    assert values.feature_names == explained.shap.names
    assert (values.display_data == explained.shap.table[explained.shap.names].to_numpy()).all()
    shap.plots.beeswarm(values, show=False)


def test_noise_is_not_explained():
    table = spaces.sample(spaces.ubal(), 0, range(60))
    table = table.assign(score=np.random.default_rng(0).random(60), status="ok")
    with pytest.raises(trust.UntrustworthyError, match="there is nothing to explain"):
        explanation.explain(table, "score", **FEW)
    with pytest.raises(ValueError, match="Unknown metric None"):
        explanation.explain(table)


def test_a_study_without_a_finished_trial_is_refused_in_a_sentence():
    empty = optuna.create_study()
    with pytest.raises(ValueError, match=r"^[A-Z][^\n]+\.$"):
        explanation.explain(observations.from_optuna(empty))


def conditional():
    space = ConfigurationSpace(name="deep")
    kind, momentum = Categorical("kind", ["sgd", "adam"]), Float("momentum", (0.0, 1.0))
    space.add([kind, momentum, Float("rate", (1e-4, 1.0), log=True), Integer("width", (1, 8))])
    space.add(EqualsCondition(momentum, kind, "sgd"))
    return space


def test_with_conditions_the_figure_shows_what_is_active(tmp_path):
    def score(c, seed):
        return -abs(np.log10(c["rate"]) + 1 + 2 * (c["kind"] == "sgd")) + c.get("momentum", 0)

    searched = Experiment("deep", score, conditional(), {"score": "maximize"}, n_configurations=120, chunk=40)
    table = search.run(searched, folder=tmp_path, workers=1, progress=False)
    explained = explanation.explain(table, "score", conditional(), **FEW)
    figure = explained.figure()
    axes = {ax.get_xlabel(): ax for ax in figure.axes if ax.axison}
    points = {name: len(ax.collections[0].get_offsets()) for name, ax in axes.items()}
    assert points["rate"] == 120 and points["momentum"] == table["kind"].eq("sgd").sum()
    assert [t.get_text() for t in axes["kind"].get_xticklabels()] == ["sgd", "adam"]
    assert axes["rate"].get_xticklabels()[0].get_text() == "$10^{-4}$"
    # Others depend on the kind: it stays as it is.
    assert "kind" not in {**explained.recommendation.freeze, **explained.recommendation.ranges}
    smaller = replace(searched, name="smaller", space=explained.space, n_configurations=60)
    again = search.run(smaller, folder=tmp_path / "again", workers=1, progress=False)
    assert again["score"].mean() > table["score"].mean() + 0.2


@pytest.mark.parametrize("name", examples.ALL)
def test_the_examples_run_and_are_functions_of_their_index(name):
    example = examples.ALL[name]()
    table = example.evaluate(range(3))
    assert (table["status"] == "ok").all(), table["why"].tolist()
    assert set(example.metrics) <= set(table)
    pd.testing.assert_frame_equal(example.evaluate([1]), table.loc[[1]], check_dtype=False)
