"""Comparing searches: against draws written out, and samples whose truth is known."""

import itertools

import comparisons
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr


def arm(values):
    return pd.DataFrame({"test_accuracy": values})


def uniform(n, seed, low=0.0, high=1.0):
    return arm(np.random.default_rng(seed).uniform(low, high, n))


def test_expected_best_is_the_mean_over_all_draws():
    samples, n = np.array([[0.1, 0.5, 0.9], [0.3, 0.3, 0.8]]), np.array([1, 2, 4])
    # Of many samples at once.
    for values, found in zip(samples, comparisons.expected_best(samples, n)):
        every = [np.mean([max(draw) for draw in itertools.product(values, repeat=k)]) for k in n]
        np.testing.assert_allclose(found, every)
    # Of uniform draws it is known.
    values, n = (np.arange(2000) + 0.5) / 2000, np.array([1, 2, 5, 20])
    np.testing.assert_allclose(comparisons.expected_best(values, n), n / (n + 1), atol=0.001)


def test_best_of_rises_with_the_budget_inside_its_interval():
    tables = {"full": uniform(80, 0), "ours": uniform(60, 1, 0.4)}
    # Failed networks do not count.
    tables["ours"].loc[60] = np.nan
    frame = comparisons.best_of(tables, "test_accuracy", n_resamples=200)
    assert list(dict.fromkeys(frame["arm"])) == ["full", "ours"]
    for name, curve in frame.groupby("arm"):
        accuracies = tables[name]["test_accuracy"].dropna()
        assert (curve["n"].iloc[0], curve["n"].iloc[-1]) == (1, len(accuracies))
        assert curve["best"].is_monotonic_increasing
        assert curve["best"].iloc[0] == pytest.approx(accuracies.mean())
        assert ((curve["low"] <= curve["best"]) & (curve["best"] <= curve["high"])).all()
        assert curve["high"].iloc[-1] <= accuracies.max()


def words(one, other):
    """The verdict on one arm against another, by measure."""
    frame = comparisons.differences({"one": one, "other": other}, "test_accuracy", against="other")
    start, said = comparisons.verdict(frame, "one", "other").rstrip(".").split(": ", 1)
    assert start == "one against other"
    return dict(measure.split(": ") for measure in said.split("; "))


@pytest.mark.parametrize(
    ("ours", "word", "opposite"),
    [
        (uniform(200, 13), "not distinguishable", "not distinguishable"),
        (uniform(200, 1, 0.5, 1.5), "better", "worse"),
    ],
    ids=["alike", "better"],
)
def test_the_verdict_says_what_the_intervals_bear(ours, word, opposite):
    measures = ("mean", "best of 10", "best of 50")
    assert words(ours, uniform(200, 0)) == dict.fromkeys(measures, word)
    assert words(uniform(200, 0), ours) == dict.fromkeys(measures, opposite)


def studies(*best):
    """A table of sequential studies, a sequence of accuracies each."""
    rows = [(study, trial, value) for study, values in enumerate(best) for trial, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["study", "trial", "test_accuracy"]).sample(frac=1, random_state=0)


def test_a_sequential_search_is_judged_by_its_best_so_far():
    frame = comparisons.best_of({"TPE": studies([0.1, 0.5, 0.3], [0.2, 0.1, 0.9])}, "test_accuracy")
    assert frame["n"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(frame["best"], [0.15, 0.35, 0.7])
    # Two studies: the resamples reach from the one to the other.
    np.testing.assert_allclose(frame[["low", "high"]], [[0.1, 0.2], [0.2, 0.5], [0.5, 0.9]])


def protocols(n=60, noise=0.2, seed=0):
    """The same configurations by two protocols; the costly one is a second look, shifted by 0.1."""
    rng = np.random.default_rng(seed)
    x = pd.DataFrame(rng.random((n, 2)), columns=["a", "b"])
    cheap, costly = (x["a"] + noise * rng.standard_normal(n) + shift for shift in (0, 0.1))
    return [x.assign(test_accuracy=y) for y in (cheap, costly)]


def test_agreement_is_spearmans_and_that_of_the_rows_both_have():
    cheap, costly = protocols()
    cheap.loc[3, "test_accuracy"] = np.nan
    agreed = comparisons.agreement(
        cheap.head(40), costly.sample(frac=1, random_state=0), "test_accuracy", ["a"]
    )
    rows = cheap.index[:40].drop(3)
    a, b, x = cheap.loc[rows, "test_accuracy"], costly.loc[rows, "test_accuracy"], cheap.loc[rows, "a"]
    expected = [spearmanr(a, b)[0], (b - a).mean(), spearmanr(x, b)[0] - spearmanr(x, a)[0]]
    np.testing.assert_allclose(agreed["value"], expected)
    assert (agreed["low"] < agreed["value"]).all() and (agreed["value"] < agreed["high"]).all()


def test_the_intervals_of_agreement_hold_the_truth():
    # Of normal variables with correlation ρ Spearman's is 6/π asin(ρ/2).
    covered, truth = [], {"rank correlation": 6 / np.pi * np.arcsin(0.4), "mean difference": 0.5}
    for seed in range(80):
        x, y = np.random.default_rng(seed).multivariate_normal([0, 0.5], [[1, 0.8], [0.8, 1]], 70).T
        agreed = comparisons.agreement(arm(x), arm(y), "test_accuracy", n_resamples=200)
        covered.append([agreed.loc[m, "low"] < t < agreed.loc[m, "high"] for m, t in truth.items()])
    assert (np.mean(covered, axis=0) >= 0.8).all()
