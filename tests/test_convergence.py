"""Convergence: what is said of few observations or after small budgets, and when a search may stop."""

import itertools
from dataclasses import replace

import convergence
import numpy as np
import optuna
import pandas as pd
import pytest
from ConfigSpace import ConfigurationSpace
from helpers import cube, ensemble_of, trials

from ubalkit import effects, metamodel, readers
from ubalkit import space as spaces
from ubalkit.shapley import Attribution

NAMES = list("abcd")
SPACE = cube(NAMES)
# Few observations make poor ensembles, and they say so.
pytestmark = pytest.mark.filterwarnings("ignore:y. held-out R².*poor")
QUICK = {"architectures": [(1, 16)], "weight_decays": [1e-2], "n_folds": 2, "n_members": 6, "steps": 250}
COLUMNS = ["n", "repeat", "method", "rank_correlation", "r2", "curve_error", "overlap"]


def observed(n, *weights, noise=0.05):
    """Trials whose metric is a sum of the hyperparameters with these weights."""
    table = spaces.sample(SPACE, 0, range(n))
    error = noise * np.random.default_rng(0).normal(size=n)
    return trials(table.assign(y=table @ np.array(weights) + error), SPACE, y="maximize")


def first(given, n):
    return replace(given, table=given.table.iloc[:n])


def exact(given):
    return effects.decompose(metamodel.fit(given, **QUICK), given.usable).shap()


def curve(given, **options):
    return convergence.curve(given, **{"n_repeats": 2, **options}, **QUICK)


def stopping(given, **options):
    return convergence.stopping(given, **{"patience": 120, "every": 60, **QUICK, **options})


@pytest.fixture(scope="module")
def clear():
    """The hyperparameters matter in the order of their names, each clearly more than the next."""
    return observed(300, 4, -2, 1, 0.2)


@pytest.fixture(scope="module")
def noisy():
    return observed(320, 2, -1, 0.5, 0.2, noise=0.5)


# Fewer observations


@pytest.fixture(scope="module")
def converging(noisy):
    """Subsamples as ours explains them and as a rival that of fewer than 100 rows says the opposite."""
    seen = []

    def rival(given, metric, *, seed):
        seen.append(set(given.table.index))
        return pd.Series([4, 3, 2, 1] if len(given) >= 100 else [1, 2, 3, 4], NAMES, dtype=float)

    frame = curve(noisy, metric="y", sizes=(120, 30, 320, 500), n_repeats=3, rivals={"rival": rival})
    return frame, seen


def test_a_row_for_each_size_repeat_and_method_which_is_compared_with_itself_on_all_rows(converging):
    frame, _ = converging
    assert list(frame) == COLUMNS
    # Sizes that the table does not exceed are left out, smaller ones come first.
    expected = itertools.product((30, 120), range(3), ("rival", "exact"))
    assert [tuple(row) for row in frame[["n", "repeat", "method"]].to_numpy()] == list(expected)
    correlations = frame[frame["method"] == "rival"].groupby("n")["rank_correlation"].unique()
    assert {n: list(values) for n, values in correlations.items()} == {30: [-1.0], 120: [1.0]}


def test_subsamples_are_disjoint_where_there_are_rows_enough(converging):
    whole, *parts = converging[1]
    assert [len(part) for part in (whole, *parts)] == [320] + [30] * 3 + [120] * 3
    small, large = parts[:3], parts[3:]
    assert not any(one & other for one, other in itertools.combinations(small, 2))
    # Two of 120 fit into 320; the third is drawn anew.
    assert not large[0] & large[1]
    assert 0 < len(large[2] & large[0]) < 120


def test_more_observations_come_closer(converging):
    means = converging[0].query("method == 'exact'").groupby("n")[COLUMNS[3:]].mean()
    assert means.loc[120, "rank_correlation"] >= 0.9
    # The noise leaves 0.64 at most; of thirty rows the R² is itself too noisy to be compared.
    assert 0.45 < means.loc[120, "r2"] < 0.64
    assert 0 < means.loc[120, "curve_error"] < min(0.15, means.loc[30, "curve_error"])
    assert 0.85 < means.loc[120, "overlap"] <= 1


def test_the_reference_may_be_given(clear):
    rows = first(clear, 120)
    opposite = exact(replace(rows, table=rows.table.assign(y=-rows.table["y"])))
    against = curve(rows, sizes=(60,), n_repeats=1, reference=opposite).loc[0]
    assert against["curve_error"] > 0.5 and against["overlap"] < 0.7


def test_a_subsample_that_cannot_be_trusted_has_no_importance(noisy):
    frame = curve(noisy, sizes=(14, 120)).set_index("n")
    untrusted = frame["rank_correlation"].isna()
    assert untrusted[14].any() and not untrusted[120].any()
    assert frame.loc[untrusted, ["curve_error", "overlap"]].isna().all(axis=None)
    assert frame["r2"].notna().all()


# What ranges share


def attribution(*slopes, sign=1):
    """SHAP values that rise or fall along each hyperparameter, of a metric times `sign`."""
    unit = spaces.sobol(4, 512)
    values = np.array([sign * np.array(slopes) * (unit - 0.5)] * 2)
    ensemble = ensemble_of(SPACE, maximize=sign > 0)
    return Attribution(ensemble, spaces.from_unit(SPACE, unit), NAMES, unit, values, np.zeros(2))


def test_overlap_is_what_both_would_keep_over_what_either_would():
    # c is frozen by both, d by one, which keeps all of it, and of which the other keeps half.
    slopes, others = (1, 1, 0.1, 1), (1, -1, 0.1, 0.1)
    shared = convergence.overlap(attribution(*slopes), attribution(*others))
    assert shared == pytest.approx((1 + 0 + 1 + 0.5) / 4, abs=0.03)
    # Of a metric to be minimised the ranges compared are the good ones too.
    negated = [attribution(*either, sign=-1) for either in (slopes, others)]
    assert convergence.overlap(*negated) == shared
    assert convergence.overlap(attribution(*slopes), negated[0]) == 1
    falling = attribution(*(-slope for slope in slopes))
    assert convergence.overlap(attribution(*slopes), falling) == pytest.approx(1 / 4)


# When to stop


def test_a_search_that_has_shown_its_order_may_stop(clear):
    stop = stopping(clear)
    # Three checks span the patience; the order is clear from the first on.
    assert (stop.stop, stop.n) == (True, 180)
    assert stop.sentence == (
        "Stop: after 180 observations the order of the first 3 (a, b, c) had not changed in the last 120, "
        "and their intervals did not overlap."
    )
    assert stop.history["n"].tolist() == [60, 120, 180, 240, 300]
    assert set(stop.history["order"]) == {("a", "b", "c")} and stop.history["apart"].iloc[2:].all()


def test_failed_networks_do_not_count_and_a_search_too_short_goes_on(clear):
    failed = pd.DataFrame({"status": "failed"}, index=range(1000, 1060))
    stop = stopping(replace(clear, table=pd.concat([failed, clear.table.iloc[:120]])))
    assert stop.history["n"].tolist() == [60, 120] and not stop.stop
    assert stop.sentence == "Go on: the order of the first 3 has not been the same for 120 observations yet."
    assert stopping(first(clear, 59)).sentence == "Go on: the first check comes after 60 observations."


@pytest.mark.parametrize(
    ("top", "weights", "tied"),
    [(1, (1, 1, 0.4, 0), "ab"), (3, (2, 1, 0.4, 0.4), "cd")],
    ids=["the first and the next", "the last"],
)
def test_a_search_with_tied_hyperparameters_goes_on(top, weights, tied):
    stop = stopping(observed(180, *weights), top=top)
    pairs = {" and ".join(pair) for pair in itertools.permutations(tied)}
    assert stop.sentence in {f"Go on: the intervals of {pair} overlap." for pair in pairs}


def test_a_search_whose_order_changed_of_late_goes_on():
    early, late = (observed(180, *weights) for weights in ((1, 2, 0, 0), (4, 0.5, 0, 0)))
    table = pd.concat([early.table.iloc[:60], late.table.iloc[60:]])
    stop = stopping(replace(early, table=table), top=1, n_members=8)
    assert stop.history["order"].iloc[[0, 2]].tolist() == [("b",), ("a",)]
    assert stop.sentence == "Go on: the order of the first 1 changed in the last 120 observations."


def test_a_search_of_noise_goes_on_and_says_why():
    stop = stopping(observed(180, 0, 0, 0, 0, noise=1.0))
    assert (stop.stop, stop.n) == (False, None)
    assert stop.sentence.startswith("Go on: y: held-out R² -0.") and stop.sentence.endswith(", none.")


# After increasing budgets

BUDGETS = {"n_members": 4, "steps": 150, "architectures": [(1, 16)], "weight_decays": [1e-3]}


def course():
    """What matters at first is `early`, in the end `late`; at budget 1 there is noise alone."""
    space = ConfigurationSpace({"early": (0.0, 1.0), "late": (0.0, 1.0), "never": (0.0, 1.0)})
    table = spaces.sample(space, 0, range(120))
    rng, values = np.random.default_rng(1), {}
    for budget, early, late in ((1, 0.0, 0.0), (2, 1.0, 0.1), (4, 0.5, 1.0), (8, 0.1, 1.0)):
        values[budget] = early * table["early"] - late * table["late"] + rng.normal(0, 0.02, 120)
    return trials(table, space, y="maximize"), pd.DataFrame(values)


@pytest.fixture(scope="module")
def explained():
    return convergence.at_budgets(*course(), **BUDGETS)


def test_what_matters_early_and_what_late_is_told(explained):
    leading = explained.importances.query("rank == 1").set_index("budget")["hyperparameter"]
    assert leading.to_dict() == {2: "early", 4: "late", 8: "late"}
    assert explained.last.shap().importance().index[0] == "late"
    # At the smallest budget there is noise alone.
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
    assert (explained.enough(), explained.enough(-1)) == (4, 2)


def test_a_trial_without_a_value_at_a_budget_is_left_out_there_alone():
    given, values = course()
    values.loc[:9, 4] = np.nan
    found = convergence.at_budgets(given, values[[4, 8]], **BUDGETS)
    assert [e.ensemble.n_observations for e in found.decompositions.values()] == [110, 120]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.drop(7), "does not have one row of each trial"),
        (lambda v: pd.concat([v, v.head(1)]), "does not have one row of each trial"),
        (lambda v: v[[2, 8, 4]], r"budgets = \[2, 8, 4\]; positive numbers that increase"),
        (lambda v: v.rename(columns={2: "two"}), "positive numbers that increase"),
        (lambda v: v[[1]], "nothing to explain"),
    ],
    ids=["a trial missing", "a trial twice", "not increasing", "no number", "noise"],
)
def test_what_cannot_be_explained_is_refused_in_a_sentence(change, message):
    given, values = course()
    with pytest.raises(ValueError, match=message):
        convergence.at_budgets(given, change(values), **BUDGETS)


def test_intermediate_values_of_optuna_are_budgets():
    def objective(trial):
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        for step in (1, 3, 9):
            trial.report(x + step * y, step)
            if step == 3 and trial.number % 5 == 0:
                raise optuna.TrialPruned
        return x + 9 * y

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, 60)
    values = convergence.intermediate_values(study)
    assert list(values.columns) == [1, 3, 9] and values[9].isna().sum() == 12
    found = convergence.at_budgets(readers.from_optuna(study), values, **BUDGETS)
    # Pruned trials are left out everywhere: the same trials stand behind every budget.
    assert [e.ensemble.n_observations for e in found.decompositions.values()] == [48] * 3
    assert convergence.intermediate_values(study, [3, 9]).columns.tolist() == [3, 9]
