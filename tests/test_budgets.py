"""Explanations after increasing budgets, against trials whose course is known."""

import numpy as np
import optuna
import pandas as pd
import pytest
from ConfigSpace import ConfigurationSpace

from ubalkit import budgets, convergence, observations
from ubalkit import space as spaces

SPACE = ConfigurationSpace({"early": (0.0, 1.0), "late": (0.0, 1.0), "never": (0.0, 1.0)})
FIT = {"n_members": 4, "steps": 150, "architectures": [(1, 16)], "weight_decays": [1e-3]}


def course(n=120, noise=0.02):
    """What matters at first is `early`, in the end `late`; at budget 1 there is noise alone."""
    table = spaces.sample(SPACE, 0, range(n)).assign(status="ok")
    rng, values = np.random.default_rng(1), {}
    for budget, early, late in ((1, 0.0, 0.0), (2, 1.0, 0.1), (4, 0.5, 1.0), (8, 0.1, 1.0)):
        values[budget] = early * table["early"] - late * table["late"] + rng.normal(0, noise, n)
    return table, pd.DataFrame(values)


@pytest.fixture(scope="module")
def explained():
    return budgets.explain(*course(), "score", SPACE, **FIT)


def test_what_matters_early_and_what_late_is_told(explained):
    first = explained.importances.query("rank == 1").set_index("budget")["hyperparameter"]
    assert first.to_dict() == {2: "early", 4: "late", 8: "late"}
    assert explained.last.shap().importance().index[0] == "late"


def test_a_budget_at_which_there_is_noise_alone_is_refused(explained):
    assert list(explained.refused) == [1] and "nothing to explain" in explained.refused[1]
    assert explained.table.loc[1, ["r2", "agreement", "overlap"]].isna().all()


def test_the_table_compares_each_budget_with_the_last(explained):
    table = explained.table
    assert list(table.index) == explained.budgets == [1, 2, 4, 8]
    assert table.loc[8, ["agreement", "low", "overlap", "saved"]].tolist() == [1, 1, 1, 0]
    assert table["saved"].tolist() == [0.875, 0.75, 0.5, 0]
    assert table.loc[2, "agreement"] < 0.9 and table.loc[4, "agreement"] == 1
    assert (table["low"] <= table["agreement"])[1:].all()
    # The range of `early` that helps is kept at 2, and at 8 all of it, for it is frozen there.
    assert table.loc[2, "overlap"] < table.loc[4, "overlap"] <= 1


def test_enough_is_the_budget_from_which_on_the_order_stays(explained):
    assert explained.enough() == 4
    assert explained.enough(-1) == 2


def test_the_same_trials_give_the_same_again(explained):
    again = budgets.explain(*course(), "score", SPACE, **FIT)
    pd.testing.assert_frame_equal(again.table, explained.table, check_exact=True)


def test_a_trial_without_a_value_at_a_budget_is_left_out_there_alone():
    table, values = course()
    values.loc[:9, 4] = np.nan
    found = budgets.explain(table, values[[4, 8]], "score", SPACE, **FIT)
    assert [e.ensemble.n_observations for e in found.decompositions.values()] == [110, 120]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, v: (t, v.drop(7)), "lacks trial 7"),
        (lambda t, v: (t, pd.concat([v, v.head(1)])), "holds a trial twice"),
        (lambda t, v: (t, v[[2, 8, 4]]), r"budgets = \[2, 8, 4\]; positive numbers that increase"),
        (lambda t, v: (t, v.rename(columns={2: "two"})), "positive numbers that increase"),
        (lambda t, v: (t, v.rename(columns={1: 0})), "positive numbers that increase"),
        (lambda t, v: (t, v[[]]), "positive numbers that increase"),
        (lambda t, v: (t, v[[1]]), "nothing to explain"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_a_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        budgets.explain(*change(*course()), "score", SPACE, **FIT)


def test_intermediate_values_of_optuna_are_budgets():
    def objective(trial):
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        for step in (1, 3, 9):
            trial.report(x + step * y, step)
            if step == 3 and trial.number % 5 == 0:
                raise optuna.TrialPruned
        return x + 9 * y

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, 60)
    values = budgets.intermediate_values(study)
    assert list(values.columns) == [1, 3, 9] and values[9].isna().sum() == 12
    given = observations.from_optuna(study)
    found = budgets.explain(given.table, values, "value", given.space, **FIT)
    # Pruned trials are left out everywhere: the same trials stand behind every budget.
    assert [e.ensemble.n_observations for e in found.decompositions.values()] == [48] * 3
    assert budgets.intermediate_values(study, [3, 9]).columns.tolist() == [3, 9]


def test_ranges_of_a_metric_to_be_minimised_are_those_where_it_is_small():
    table, values = course()
    up = budgets.explain(table, values[[8]], "score", SPACE, **FIT).last.shap()
    down = budgets.explain(table, -values[[8]], "score", SPACE, maximize=False, **FIT).last.shap()
    # Mirrored values, to be minimised: the same ranges are good.
    assert convergence.overlap(up, down) > 0.9
    wrong = budgets.explain(table, -values[[8]], "score", SPACE, maximize=True, **FIT).last.shap()
    assert convergence.overlap(up, wrong) < 0.75
