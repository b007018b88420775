import numpy as np
import pandas as pd
import pytest

from ubalkit import claims
from ubalkit import space as spaces
from ubalkit.attribution import Attribution
from ubalkit.metamodel import Ensemble

SPACE = spaces.ubal()
NAMES = spaces.names(SPACE)


def attribution(metric, effects, spread=0.01, noise=0.001, n=400):
    """SHAP values of five members: given functions of the hyperparameters' values, and errors.

    Members are off by a slope of their own for each hyperparameter, as smooth
    meta-models are, and by a little noise.
    """
    rng = np.random.default_rng(len(metric))
    unit = spaces.sobol(7, n)
    slopes = rng.normal(0, spread, (5, 1, 7))
    values = slopes * (unit - 0.5) + rng.normal(0, noise, (5, n, 7))
    for name, effect in effects.items():
        values[:, :, NAMES.index(name)] += effect(unit)
    table = spaces.from_unit(SPACE, unit).assign(status="ok")
    ensemble = Ensemble(metric, SPACE, [], pd.DataFrame(), np.empty(0), pd.DataFrame(), n, 0)
    return Attribution(ensemble, table, NAMES, unit, values, np.zeros(5))


def column(name):
    return NAMES.index(name)


def falls(name, size):
    return lambda u: size * (0.45 - u[:, column(name)])


def rises(name, size):
    return lambda u: size * (u[:, column(name)] - 0.55)


#: What the paper says of its Fig. 3: beta_2's contribution also depends on beta_3 where beta_2 is small.
AS_IN_THE_PAPER = {
    "beta_2": lambda u: falls("beta_2", 0.6)(u) + 0.3 * (u[:, 1] < 0.4) * (u[:, 2] - 0.5),
    "beta_3": falls("beta_3", 0.2),
    "gammaF_1": rises("gammaF_1", 0.3),
    "gammaF_2": rises("gammaF_2", 0.2),
}
TEST = {
    **AS_IN_THE_PAPER,
    "beta_2": lambda u: AS_IN_THE_PAPER["beta_2"](u) + 0.2 * np.maximum(u[:, 1] - 0.4, 0),
}


def judge(test, back, made=None, **options):
    effects = {"test_accuracy": test, "backprojection_accuracy": back}
    attributions = {m: attribution(m, e, **(made or {})) for m, e in effects.items()}
    return claims.judge(attributions, n_resamples=100, **options)


def test_every_statement_holds_where_the_figure_is_the_papers():
    judged = judge(TEST, AS_IN_THE_PAPER)
    assert judged["claim"].unique().tolist() == list(range(1, 9))
    assert set(judged["verdict"]) == {"holds"}
    assert (judged["low"] <= judged["effect"]).all()
    assert (judged["effect"] <= judged["high"]).all()


def test_the_intervals_hold_what_a_figure_without_error_says():
    truth = judge(TEST, AS_IN_THE_PAPER, made={"spread": 0, "noise": 0})["effect"]
    for spread in (0.01, 0.05):
        judged = judge(TEST, AS_IN_THE_PAPER, made={"spread": spread})
        missed = ~truth.between(judged["low"] - 1e-12, judged["high"] + 1e-12)
        assert missed.sum() <= 2, judged[missed]


def test_members_that_differ_more_make_wider_intervals():
    little, much = (judge(TEST, AS_IN_THE_PAPER, made={"spread": spread}) for spread in (0.01, 0.1))
    wider = (much["high"] - much["low"]) > 2 * (little["high"] - little["low"])
    # A slope does not add to the scatter around the running mean (claim 8).
    assert wider[much["claim"] < 8].all()
    assert set(much["verdict"]) == {"holds", "undecided"}


def test_no_share_of_the_largest_peak_is_below_nothing():
    judged = judge(TEST, AS_IN_THE_PAPER, made={"spread": 0.1})
    assert (judged.loc[judged["claim"] == 5, "high"] <= claims.LOW).all()


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        (1, {"gammaF_1": rises("gammaF_1", 2.0)}),
        (2, {"beta_2": rises("beta_2", 0.6)}),
        (3, {"beta_2": rises("beta_2", 0.6)}),
        (5, {"beta_1": rises("beta_1", 0.6)}),
        (6, {"beta_3": rises("beta_3", 0.2)}),
        (7, {"gammaF_1": falls("gammaF_1", 0.3)}),
        (7, {"gammaF_2": falls("gammaF_2", 0.2)}),
        (8, {"beta_2": falls("beta_2", 0.6), "gammaB_1": lambda u: 0.6 * (u[:, column("gammaF_1")] - 0.5)}),
    ],
)
def test_a_statement_does_not_hold_where_the_figure_says_otherwise(claim, change):
    judged = judge({**TEST, **change}, {**AS_IN_THE_PAPER, **change})
    verdicts = judged.loc[judged["claim"] == claim, "verdict"]
    assert "does not hold" in set(verdicts)


def test_testing_below_backprojection_is_told_from_above():
    swapped = judge(AS_IN_THE_PAPER, TEST)
    assert swapped.loc[swapped["claim"] == 4, "verdict"].tolist() == ["does not hold"] * 2


def test_what_the_data_cannot_tell_is_undecided():
    equal = {**AS_IN_THE_PAPER, "gammaF_1": lambda u: AS_IN_THE_PAPER["beta_2"](u[:, [0, 3, 2, 1, 4, 5, 6]])}
    judged = judge(equal, equal)
    assert "undecided" in set(judged.loc[judged["claim"].isin([1, 4]), "verdict"])


def test_the_same_seed_gives_the_same_table():
    pd.testing.assert_frame_equal(judge(TEST, AS_IN_THE_PAPER, seed=3), judge(TEST, AS_IN_THE_PAPER, seed=3))


def test_both_metrics_are_needed_and_for_the_same_rows():
    test = attribution("test_accuracy", TEST)
    with pytest.raises(ValueError, match="no attribution of backprojection_accuracy"):
        claims.judge({"test_accuracy": test})
    other = attribution("backprojection_accuracy", TEST, n=200)
    with pytest.raises(ValueError, match="400 and 200 different rows"):
        claims.judge({"test_accuracy": test, "backprojection_accuracy": other})


# The coupling of a layer's estimate and its target


@pytest.fixture(scope="module")
def networks():
    """Good where gammaF is above beta in a layer, whichever, and in both."""
    table = spaces.sample(SPACE, 0, range(200))
    rng = np.random.default_rng(1)
    above = (table["gammaF_1"] > table["beta_2"]).astype(int) + (table["gammaF_2"] > table["beta_3"])
    table["test_accuracy"] = 0.2 + 0.3 * above + rng.uniform(0, 0.1, 200)
    table["backprojection_accuracy"] = rng.uniform(0, 1, 200)
    return table.assign(status="ok")


def spelled_out(table, metric, n_best):
    """Values and number of the best of each count of layers, network by network."""
    values, among = {0: [], 1: [], 2: []}, {0: 0, 1: 0, 2: 0}
    best = sorted(table[metric], reverse=True)[:n_best]
    for _, row in table.iterrows():
        count = int(row["gammaF_1"] > row["beta_2"]) + int(row["gammaF_2"] > row["beta_3"])
        values[count].append(row[metric])
        among[count] += row[metric] in best
    return values, among


@pytest.mark.parametrize("metric", ["test_accuracy", "backprojection_accuracy"])
@pytest.mark.parametrize("n_best", [20, 70])
def test_coupling_counts_layers_in_which_gamma_is_above_beta(networks, metric, n_best):
    coupled = claims.coupling(networks, n_best=n_best)
    assert coupled.index.names == ["metric", "layers"]
    values, among = spelled_out(networks, metric, n_best)
    found = coupled.loc[metric]
    assert found["n"].to_dict() == {count: len(v) for count, v in values.items()}
    assert found["best"].to_dict() == among
    assert found["best"].sum() == n_best
    for count, of_count in values.items():
        mean, error = np.mean(of_count), np.std(of_count) / len(of_count) ** 0.5
        assert found.loc[count, "mean"] == pytest.approx(mean, rel=1e-12)
        # The bootstrap of a mean is the normal approximation's, 1.645 standard errors to each side.
        assert found.loc[count, "low"] == pytest.approx(mean - 1.645 * error, abs=0.25 * error)
        assert found.loc[count, "high"] == pytest.approx(mean + 1.645 * error, abs=0.25 * error)


def test_coupling_tells_layers_apart_where_they_matter(networks):
    coupled = claims.coupling(networks)
    means = coupled.loc["test_accuracy"]
    assert means["high"].iloc[0] < means["low"].iloc[1] and means["high"].iloc[1] < means["low"].iloc[2]
    assert means["best"].tolist() == [0, 0, 20]
    chance = coupled.loc["backprojection_accuracy"]
    assert chance["low"].max() < chance["high"].min()


def test_coupling_of_the_same_seed_is_the_same(networks):
    pd.testing.assert_frame_equal(claims.coupling(networks, seed=3), claims.coupling(networks, seed=3))
    assert not claims.coupling(networks, seed=3).equals(claims.coupling(networks, seed=4))


def test_coupling_looks_at_every_layer_there_is():
    table = spaces.sample(spaces.ubal(4), 0, range(60)).assign(status="ok")
    table = table.assign(test_accuracy=np.linspace(0, 1, 60), backprojection_accuracy=0.5)
    found = claims.coupling(table).loc["test_accuracy"]
    above = sum((table[f"gammaF_{k}"] > table[f"beta_{k + 1}"]).astype(int) for k in (1, 2, 3))
    assert found["n"].to_dict() == above.value_counts().to_dict()


def test_coupling_leaves_out_networks_that_failed(networks):
    failed = networks.index < 30
    metrics = ["test_accuracy", "backprojection_accuracy"]
    table = networks.assign(status=np.where(failed, "failed", "ok"))
    table.loc[failed, metrics] = np.nan
    with pytest.warns(UserWarning, match="30 of 200 configurations failed"):
        found = claims.coupling(table)
    pd.testing.assert_frame_equal(found, claims.coupling(networks[~failed]))
