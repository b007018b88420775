import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from ubalkit import comparison


def arm(values):
    return pd.DataFrame({"test_accuracy": values, "status": "ok"})


def uniform(n, seed, low=0.0, high=1.0):
    return arm(np.random.default_rng(seed).uniform(low, high, n))


@pytest.mark.parametrize("values", [[0.1, 0.5, 0.9], [0.3, 0.3, 0.8, 0.2], [0.7]])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_expected_best_is_the_mean_over_all_draws(values, n):
    every = [max(draw) for draw in itertools.product(values, repeat=n)]
    assert comparison.expected_best(np.array(values), n)[0] == pytest.approx(np.mean(every))


def test_expected_best_of_uniform_draws_is_known():
    values = (np.arange(2000) + 0.5) / 2000
    n = np.array([1, 2, 5, 20])
    np.testing.assert_allclose(comparison.expected_best(values, n), n / (n + 1), atol=0.001)


def test_expected_best_takes_many_samples_at_once():
    values = np.random.default_rng(0).random((3, 20))
    n = np.array([1, 7])
    together = comparison.expected_best(values, n)
    assert together.shape == (3, 2)
    for row, expected in zip(values, together):
        np.testing.assert_allclose(comparison.expected_best(row, n), expected)
    np.testing.assert_allclose(together[:, 0], values.mean(1))


def test_best_of_rises_with_the_budget_inside_its_interval():
    tables = {"full": uniform(80, 0), "ours": uniform(60, 1, 0.4)}
    frame = comparison.best_of(tables, "test_accuracy", n_resamples=200)
    assert list(dict.fromkeys(frame["arm"])) == ["full", "ours"]
    for name, curve in frame.groupby("arm"):
        assert curve["n"].iloc[0] == 1
        assert curve["n"].iloc[-1] == len(tables[name])
        assert curve["best"].is_monotonic_increasing
        assert curve["best"].iloc[0] == pytest.approx(tables[name]["test_accuracy"].mean())
        assert (curve["low"] <= curve["best"]).all()
        assert (curve["best"] <= curve["high"]).all()
        assert curve["high"].iloc[-1] <= tables[name]["test_accuracy"].max()


def test_failed_networks_do_not_count():
    table = uniform(50, 0)
    failed = arm([np.nan]).assign(status="failed")
    with pytest.warns(UserWarning, match="1 of 51"):
        frame = comparison.best_of({"full": pd.concat([table, failed])}, "test_accuracy", n_resamples=50)
    pd.testing.assert_frame_equal(
        frame, comparison.best_of({"full": table}, "test_accuracy", n_resamples=50), check_exact=True
    )


def test_differences_are_those_of_the_arms():
    tables = {"full": uniform(100, 0), "ours": uniform(100, 1, 0.5)}
    frame = comparison.differences(tables, "test_accuracy", against="full", sizes=(5,), n_resamples=200)
    a, b = (tables[name]["test_accuracy"].to_numpy() for name in ("ours", "full"))
    assert list(frame.index) == [("ours", "mean"), ("ours", "best of 5")]
    best = comparison.expected_best(a, 5)[0] - comparison.expected_best(b, 5)[0]
    expected = [a.mean() - b.mean(), best]
    np.testing.assert_allclose(frame["difference"], expected)
    assert (frame["low"] <= frame["high"]).all()


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (uniform(200, 0), "not distinguishable"),  # the same networks
        (uniform(200, 13), "not distinguishable"),  # others, of the same distribution
        (uniform(200, 1, 0.5, 1.5), "better"),
        (uniform(200, 1, -0.5, 0.5), "worse"),
    ],
    ids=["same", "alike", "better", "worse"],
)
def test_the_verdict_says_what_the_intervals_bear(other, word):
    tables = {"full": uniform(200, 0), "ours": other}
    frame = comparison.differences(tables, "test_accuracy", against="full")
    verdict = comparison.verdict(frame, "ours", "full")
    assert verdict.startswith("ours against full: ")
    assert verdict == (f"ours against full: mean: {word}; best of 10: {word}; best of 50: {word}.")
    # Seen from the other arm, the words turn round.
    frame = comparison.differences({"ours": other, "full": uniform(200, 0)}, "test_accuracy", against="ours")
    opposite = {"better": "worse", "worse": "better"}.get(word, word)
    assert set(comparison.verdict(frame, "full", "ours").rstrip(".").split(": ", 1)[1].split("; ")) == {
        f"{measure}: {opposite}" for measure in ("mean", "best of 10", "best of 50")
    }


@pytest.mark.parametrize("measure", ["mean", "best of 10"])
def test_equal_arms_are_rarely_told_apart(measure):
    # 90 % intervals shall err in one comparison of ten; a bootstrap of sixty networks errs a bit more often.
    errors = 0
    for k in range(200):
        tables = {"a": uniform(60, 2 * k), "b": uniform(60, 2 * k + 1)}
        frame = comparison.differences(tables, "test_accuracy", against="a", n_resamples=300, seed=k)
        row = frame.loc[("b", measure)]
        errors += bool(row["low"] > 0 or row["high"] < 0)
    assert errors / 200 < 0.18


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "nosuch", "against": "full"}, "Unknown metric 'nosuch'"),
        ({"metric": "test_accuracy", "against": "nosuch"}, "'nosuch'.*full"),
    ],
)
def test_an_unknown_name_is_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        comparison.differences({"full": uniform(20, 0), "ours": uniform(20, 1)}, **arguments)


def test_a_seed_decides_the_intervals():
    tables = {"full": uniform(50, 0), "ours": uniform(50, 1)}
    once, again = (
        comparison.differences(tables, "test_accuracy", against="full", n_resamples=100) for _ in range(2)
    )
    pd.testing.assert_frame_equal(once, again)


def studies(*best):
    """A table of sequential studies, a sequence of accuracies each."""
    rows = [(study, trial, value) for study, values in enumerate(best) for trial, value in enumerate(values)]
    table = pd.DataFrame(rows, columns=["study", "trial", "test_accuracy"])
    return table.assign(status="ok").sample(frac=1, random_state=0)


def test_a_sequential_search_is_judged_by_its_best_so_far():
    frame = comparison.best_of({"TPE": studies([0.1, 0.5, 0.3], [0.2, 0.1, 0.9])}, "test_accuracy")
    assert frame["n"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(frame["best"], [0.15, 0.35, 0.7])
    # Two studies: the resamples reach from the one to the other.
    np.testing.assert_allclose(frame[["low", "high"]], [[0.1, 0.2], [0.2, 0.5], [0.5, 0.9]])


def test_trials_to_reach_are_read_off_the_curves():
    curves = pd.DataFrame(
        {"arm": "a", "n": [1, 2, 4], "best": [0.2, 0.5, 0.8], "low": [0.1, 0.3, 0.6], "high": [0.5, 0.7, 0.9]}
    )
    reached = comparison.trials_to_reach(curves, 0.5).loc["a"]
    assert reached[["n", "low", "high"]].tolist() == [2, 1, 4]
    assert comparison.trials_to_reach(curves, 0.85).loc["a", "n"] != 2
    assert np.isnan(comparison.trials_to_reach(curves, 0.95).loc["a", "n"])


def protocols(n=60, noise=0.2, seed=0):
    """The same configurations by two protocols; the costly one is a second look, shifted by 0.1."""
    rng = np.random.default_rng(seed)
    x = pd.DataFrame(rng.random((n, 2)), columns=["a", "b"])
    cheap, costly = (x["a"] + noise * rng.standard_normal(n) + shift for shift in (0, 0.1))
    return [x.assign(test_accuracy=y, status="ok") for y in (cheap, costly)]


def test_agreement_of_a_table_with_itself_is_whole():
    table = protocols()[0]
    agreed = comparison.agreement(table, table, "test_accuracy", ["a", "b"])
    assert list(agreed.index) == ["rank correlation", "mean difference", "pull of a", "pull of b"]
    np.testing.assert_allclose(agreed, [[1] * 3, [0] * 3, [0] * 3, [0] * 3], atol=1e-12)


def test_agreement_is_spearmans_and_that_of_the_rows_both_have():
    cheap, costly = protocols()
    cheap.loc[3, "status"] = "failed"
    rows = cheap.index[10:40].append(cheap.index[:10].drop(3))
    with pytest.warns(UserWarning, match="1 of 40"):
        agreed = comparison.agreement(
            cheap.head(40), costly.sample(frac=1, random_state=0), "test_accuracy", ["a"]
        )
    a, b, x = cheap.loc[rows, "test_accuracy"], costly.loc[rows, "test_accuracy"], cheap.loc[rows, "a"]
    assert agreed.loc["rank correlation", "value"] == pytest.approx(spearmanr(a, b)[0])
    assert agreed.loc["mean difference", "value"] == pytest.approx((b - a).mean())
    pull = spearmanr(x, b)[0] - spearmanr(x, a)[0]
    assert agreed.loc["pull of a", "value"] == pytest.approx(pull)
    assert (agreed["low"] < agreed["value"]).all() and (agreed["value"] < agreed["high"]).all()


def test_a_hyperparameter_that_pulls_the_other_way_is_noticed():
    cheap, costly = protocols(noise=0.01)
    costly["test_accuracy"] = -costly["test_accuracy"]
    agreed = comparison.agreement(cheap, costly, "test_accuracy", ["a", "b"])
    assert agreed.loc["rank correlation", "high"] < -0.9
    assert agreed.loc["pull of a", "high"] < -1.9
    assert agreed.loc["pull of b", "low"] < 0 < agreed.loc["pull of b", "high"]


def test_the_intervals_of_agreement_hold_the_truth():
    # Of normal variables with correlation ρ Spearman's is 6/π asin(ρ/2).
    covered, truth = [], {"rank correlation": 6 / np.pi * np.arcsin(0.4), "mean difference": 0.5}
    for seed in range(80):
        x, y = np.random.default_rng(seed).multivariate_normal([0, 0.5], [[1, 0.8], [0.8, 1]], 70).T
        agreed = comparison.agreement(arm(x), arm(y), "test_accuracy", n_resamples=200)
        covered.append([agreed.loc[m, "low"] < t < agreed.loc[m, "high"] for m, t in truth.items()])
    assert (np.mean(covered, axis=0) >= 0.8).all()


def test_what_does_not_vary_has_no_pull():
    cheap, costly = (t.assign(b=0.5, c=np.nan) for t in protocols())
    agreed = comparison.agreement(cheap, costly, "test_accuracy", ["a", "b", "c"])
    assert agreed.isna().all(axis=1).tolist() == [False, False, False, True, True]


def test_tables_that_cannot_be_compared_are_refused():
    cheap, costly = protocols()
    with pytest.raises(ValueError, match=r"^The tables share 2 configurations; at least 3 are needed"):
        comparison.agreement(cheap, costly.head(2), "test_accuracy")
    with pytest.raises(ValueError, match=r"^Unknown metric 'nosuch'"):
        comparison.agreement(cheap, costly, "nosuch")
    with pytest.raises(ValueError, match="different configurations under the same index"):
        comparison.agreement(cheap, costly.set_axis(costly.index[::-1]), "test_accuracy", ["a"])
    with pytest.raises(ValueError, match="A configuration stands twice"):
        comparison.agreement(cheap, pd.concat([costly, costly.head(1)]), "test_accuracy")
