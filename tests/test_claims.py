"""The paper's statements: of figures that say the same, and of figures that say otherwise."""

import claims
import numpy as np
import pandas as pd
import pytest
from helpers import Function, ensemble_of

from ubalkit import space as spaces
from ubalkit.shapley import Attribution
from ubalkit.ubal import hyperparameters

SPACE = hyperparameters.space()
NAMES = spaces.names(SPACE)


def attribution(metric, effects, spread=0.01, noise=0.001, n=400):
    """SHAP values of five members: given functions of the hyperparameters' values, and errors.

    Members are off by a slope of their own for each hyperparameter, as smooth
    meta-models are, and by a little noise.
    """
    rng, unit = np.random.default_rng(len(metric)), spaces.sobol(7, n)
    slopes = rng.normal(0, spread, (5, 1, 7))
    values = slopes * (unit - 0.5) + rng.normal(0, noise, (5, n, 7))
    for name, effect in effects.items():
        values[:, :, NAMES.index(name)] += effect(unit)
    members = [lambda u: sum(effect(u) for effect in effects.values())] * 2
    ensemble, table = ensemble_of(SPACE, *members, metric=metric), spaces.from_unit(SPACE, unit)
    return Attribution(ensemble, table, NAMES, unit, values, np.zeros(5))


def falls(name, size):
    return lambda u: size * (0.45 - u[:, NAMES.index(name)])


def rises(name, size):
    return lambda u: size * (u[:, NAMES.index(name)] - 0.55)


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
    pd.testing.assert_frame_equal(judge(TEST, AS_IN_THE_PAPER), judged)


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
    # No share of the largest peak is below nothing.
    assert (much.loc[much["claim"] == 5, "high"] <= claims.LOW).all()


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
        (8, {"beta_2": falls("beta_2", 0.6), "gammaB_1": lambda u: 0.6 * (u[:, 3] - 0.5)}),
    ],
)
def test_a_statement_does_not_hold_where_the_figure_says_otherwise(claim, change):
    judged = judge({**TEST, **change}, {**AS_IN_THE_PAPER, **change})
    verdicts = judged.loc[judged["claim"] == claim, "verdict"]
    assert "does not hold" in set(verdicts)


def test_testing_below_backprojection_is_told_from_above():
    swapped = judge(AS_IN_THE_PAPER, TEST)
    assert swapped.loc[swapped["claim"] == 4, "verdict"].tolist() == ["does not hold"] * 2


# The coupling of a layer's estimate and its target


def test_coupling_counts_layers_in_which_gamma_is_above_beta_and_leaves_failed_networks_out():
    table = spaces.sample(hyperparameters.space(4), 0, range(60))
    table = table.assign(test_accuracy=np.linspace(0, 1, 60), backprojection_accuracy=0.5)
    found = claims.coupling(table, n_best=20).loc["test_accuracy"]
    above = sum((table[f"gammaF_{k}"] > table[f"beta_{k + 1}"]).astype(int) for k in (1, 2, 3))
    assert found["n"].to_dict() == above.value_counts().to_dict()
    assert found["best"].tolist() == [(above[40:] == count).sum() for count in range(4)]
    np.testing.assert_allclose(found["mean"], table["test_accuracy"].groupby(above).mean())
    table.loc[:29, ["test_accuracy", "backprojection_accuracy"]] = np.nan
    pd.testing.assert_frame_equal(claims.coupling(table), claims.coupling(table.loc[30:]))


def test_the_paper_s_constraints_are_those_of_its_text_and_asked_what_they_lose():
    given = attribution("test_accuracy", {**AS_IN_THE_PAPER, "gammaB_1": rises("gammaB_1", 0.1)})
    given.table["test_accuracy"] = 0.0
    # "HPs β1F, γ1B, and γ2B could be excluded … β2F, β3F ≤ 0.4, γ1F, γ2F ≳ 0.6" (Section 4)
    rec = claims.constraints(given)
    assert set(rec.freeze) == {"beta_1", "gammaB_1", "gammaB_2"}
    assert rec.ranges == {"beta_2": (0, 0.4), "beta_3": (0, 0.4), "gammaF_1": (0.6, 1), "gammaF_2": (0.6, 1)}
    assert rec.share == pytest.approx(0.4**4)
    assert rec.freeze["gammaB_1"] == pytest.approx(1)  # held where its mean SHAP value is highest
    assert spaces.sample(rec.space, 0, range(100))["beta_2"].max() <= 0.4
    assert rec.loss["loss"] <= 0.01
    # Something far better lies where beta_2 is large.
    given.ensemble.members[:] = [Function(lambda u: 3.0 * (u[:, 1] > 0.8))] * 2
    assert claims.constraints(given).loss["low"] > 1
