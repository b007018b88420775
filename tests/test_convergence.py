"""Convergence: what is said of few observations, and when a search may stop."""

import itertools

import numpy as np
import pandas as pd
import pytest
from ConfigSpace import ConfigurationSpace, Float

from ubalkit import convergence, decomposition, metamodel
from ubalkit import space as spaces

NAMES = list("abcd")
SPACE = ConfigurationSpace()
SPACE.add([Float(name, (0.0, 1.0)) for name in NAMES])
# Few observations make poor ensembles, and they say so.
pytestmark = pytest.mark.filterwarnings("ignore:y. held-out R².*poor")
QUICK = {"architectures": [(1, 16)], "weight_decays": [1e-2], "n_folds": 2, "n_members": 6, "steps": 250}


def observed(n, *weights, noise=0.05):
    """A table whose metric is a sum of the hyperparameters with these weights."""
    table = spaces.sample(SPACE, 0, range(n))
    error = noise * np.random.default_rng(0).normal(size=n)
    return table.assign(y=table[NAMES] @ np.array(weights) + error, status="ok")


def curve(table, **options):
    return convergence.curve(table, "y", SPACE, **{"n_repeats": 2, **options}, **QUICK)


def stopping(table, **options):
    return convergence.stopping(table, "y", SPACE, **{"patience": 120, "every": 60, **QUICK, **options})


@pytest.fixture(scope="module")
def clear():
    """The hyperparameters matter in the order of their names, each clearly more than the next."""
    return observed(300, 4, -2, 1, 0.2)


@pytest.fixture(scope="module")
def noisy():
    return observed(320, 2, -1, 0.5, 0.2, noise=0.5)


# Fewer observations


class Rival:
    """Another method: of fewer than 100 rows it says the opposite. It remembers which rows it saw."""

    def __init__(self):
        self.seen = []

    def __call__(self, table, metric, space, *, seed):
        assert (metric, space) == ("y", SPACE)
        self.seen.append(set(table.index))
        assert len(self.seen[-1]) == len(table), "a row stands twice in a subsample"
        weights = [4, 3, 2, 1] if len(table) >= 100 else [1, 2, 3, 4]
        return pd.Series(weights, NAMES, dtype=float)


@pytest.fixture(scope="module")
def converging(noisy):
    rival = Rival()
    frame = curve(noisy, sizes=(120, 30, 320, 500), n_repeats=3, rivals={"rival": rival})
    return frame, rival


def test_a_row_for_each_size_repeat_and_method(converging):
    frame, _ = converging
    assert list(frame) == ["n", "repeat", "method", "rank_correlation", "r2", "curve_error", "overlap"]
    # Sizes that the table does not exceed are left out, smaller ones come first.
    expected = itertools.product((30, 120), range(3), ("rival", "exact"))
    assert [tuple(row) for row in frame[["n", "repeat", "method"]].to_numpy()] == list(expected)
    of_rival = frame[frame["method"] == "rival"]
    assert of_rival[["r2", "curve_error", "overlap"]].isna().all(axis=None)


def test_subsamples_are_disjoint_where_there_are_rows_enough(converging):
    whole, *parts = converging[1].seen
    assert len(whole) == 320
    small, large = parts[:3], parts[3:]
    assert [len(part) for part in parts] == [30] * 3 + [120] * 3
    assert not any(one & other for one, other in itertools.combinations(small, 2))
    # Two of 120 fit into 320; the third is drawn anew.
    assert not large[0] & large[1]
    assert 0 < len(large[2] & large[0]) < 120


def test_a_rival_is_compared_with_itself_on_all_observations(converging):
    frame, _ = converging
    correlations = frame[frame["method"] == "rival"].groupby("n")["rank_correlation"].unique()
    assert {n: list(values) for n, values in correlations.items()} == {30: [-1.0], 120: [1.0]}


def test_more_observations_come_closer(converging):
    exact = converging[0].query("method == 'exact'").groupby("n")
    means = exact[["rank_correlation", "r2", "curve_error", "overlap"]].mean()
    assert means.loc[120, "rank_correlation"] >= 0.9
    # The noise leaves 0.64 at most; of thirty rows the R² is itself too noisy to be compared.
    assert 0.45 < means.loc[120, "r2"] < 0.64
    assert means.loc[120, "curve_error"] < min(0.15, means.loc[30, "curve_error"])
    assert means.loc[120, "overlap"] > 0.85
    assert exact["overlap"].max().max() <= 1 and exact["curve_error"].min().min() > 0


def test_the_reference_may_be_given(clear):
    rows = clear.iloc[:120]
    reference = decomposition.decompose(metamodel.fit(rows, "y", SPACE, **QUICK), rows).shap()
    frame = curve(rows, sizes=(60,), n_repeats=1)
    pd.testing.assert_frame_equal(curve(rows, sizes=(60,), n_repeats=1, reference=reference), frame)
    # Against another one the same subsample is far off.
    opposite = rows.assign(y=-rows["y"])
    reference = decomposition.decompose(metamodel.fit(opposite, "y", SPACE, **QUICK), opposite).shap()
    against = curve(rows, sizes=(60,), n_repeats=1, reference=reference)
    assert against.loc[0, "rank_correlation"] == frame.loc[0, "rank_correlation"]
    assert against.loc[0, "curve_error"] > 0.5 > 5 * frame.loc[0, "curve_error"]
    assert against.loc[0, "overlap"] < 0.7 < frame.loc[0, "overlap"]


def test_a_subsample_that_cannot_be_trusted_has_no_importance(noisy):
    frame = curve(noisy, sizes=(14, 120), n_repeats=2)
    few, many = (frame[frame["n"] == n] for n in (14, 120))
    untrusted = few["rank_correlation"].isna()
    assert untrusted.any() and not many["rank_correlation"].isna().any()
    assert few.loc[untrusted, ["curve_error", "overlap"]].isna().all(axis=None)
    assert few["r2"].notna().all()


@pytest.mark.parametrize("sizes", [(30,), (500,)], ids=["none to be trusted", "none smaller than the table"])
def test_the_columns_are_there_whatever_came_out(clear, sizes):
    rows = clear.iloc[:100]
    reference = decomposition.decompose(metamodel.fit(rows, "y", SPACE, **QUICK), rows).shap()
    noise = rows.assign(y=np.random.default_rng(0).normal(size=100))
    frame = curve(noise, sizes=sizes, reference=reference)
    assert frame["rank_correlation"].isna().all()
    assert list(frame) == ["n", "repeat", "method", "rank_correlation", "r2", "curve_error", "overlap"]


# When to stop


def test_a_search_that_has_shown_its_order_may_stop(clear):
    stop = stopping(clear)
    assert stop.stop
    # Three checks span the patience; the order is clear from the first on.
    assert stop.n == 180
    assert stop.sentence == (
        "Stop: after 180 observations the order of the first 3 (a, b, c) had not changed in the last 120, "
        "and their intervals did not overlap."
    )
    assert list(stop.history) == ["n", "r2", "order", "apart"]
    assert stop.history["n"].tolist() == [60, 120, 180, 240, 300]
    assert set(stop.history["order"]) == {("a", "b", "c")} and stop.history["apart"].iloc[2:].all()
    assert (stop.history["r2"] > 0.9).all()


def test_more_patience_stops_later(clear):
    stop = stopping(clear.iloc[:240], patience=180, top=2)
    assert (stop.stop, stop.n) == (True, 240)
    assert "the first 2 (a, b) had not changed in the last 180" in stop.sentence


def test_a_search_with_tied_hyperparameters_goes_on():
    stop = stopping(observed(180, 1, 1, 0.4, 0))
    assert (stop.stop, stop.n) == (False, None)
    assert stop.sentence in {f"Go on: the intervals of {pair} overlap." for pair in ("a and b", "b and a")}
    assert not stop.history["apart"].any()


def test_a_search_whose_order_changed_of_late_goes_on():
    early, late = observed(180, 1, 2, 0, 0), observed(180, 4, 0.5, 0, 0)
    stop = stopping(pd.concat([early.iloc[:60], late.iloc[60:180]]), top=1, n_members=8)
    assert stop.history["order"].iloc[[0, 2]].tolist() == [("b",), ("a",)]
    assert stop.history["apart"].iloc[[0, 2]].all()
    assert not stop.stop
    assert stop.sentence == "Go on: the order of the first 1 changed in the last 120 observations."


def test_a_search_of_noise_goes_on_and_says_why():
    stop = stopping(observed(180, 0, 0, 0, 0, noise=1.0))
    assert (stop.stop, stop.n) == (False, None)
    assert stop.sentence.startswith("Go on: y: held-out R² -0.") and stop.sentence.endswith(", none.")
    assert stop.history["order"].tolist() == [()] * 3
    assert not stop.history["apart"].any()


def test_failed_networks_do_not_count(clear):
    failed = pd.DataFrame({"status": "failed"}, index=range(1000, 1060))
    with pytest.warns(UserWarning, match="60 of 180 configurations failed"):
        stop = stopping(pd.concat([failed, clear.iloc[:120]]))
    assert stop.history["n"].tolist() == [60, 120]


def test_too_few_observations_for_one_check_are_refused(clear):
    with pytest.raises(ValueError, match=r"^59 usable observations; the first check comes after 60\.$"):
        stopping(clear.iloc[:59])


def test_a_search_too_short_for_the_patience_says_so(clear):
    stop = stopping(clear.iloc[:120])
    assert not stop.stop
    assert set(stop.history["order"]) == {("a", "b", "c")}
    assert stop.sentence == (
        "Go on: the order of the first 3 has not been the same for 120 observations yet."
    )


@pytest.mark.parametrize(("top", "weights"), [(1, (1, 1, 0.4, 0)), (3, (2, 1, 0.4, 0.4))])
def test_the_last_of_the_first_must_be_certain_too(top, weights):
    stop = stopping(observed(180, *weights), top=top)
    assert not stop.stop, stop.sentence


def test_one_check_alone_shows_no_lasting_order(clear):
    assert stopping(clear.iloc[:180], every=180, patience=120).n is None
