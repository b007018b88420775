import numpy as np
import pandas as pd
import pytest

from ubalkit import claims
from ubalkit import space as spaces
from ubalkit.attribution import Attribution
from ubalkit.metamodel import Ensemble

SPACE = spaces.ubal()
NAMES = spaces.names(SPACE)


def attribution(metric, effects, noise=0.005, n=400):
    """SHAP values of five members: given functions of the hyperparameters' values, and a little noise."""
    rng = np.random.default_rng(0)
    unit = spaces.sobol(7, n)
    values = rng.normal(0, noise, (5, n, 7))
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


def judge(test, back, **options):
    made = {m: attribution(m, e) for m, e in (("test_accuracy", test), ("backprojection_accuracy", back))}
    return claims.judge(made, n_resamples=100, **options)


def test_every_statement_holds_where_the_figure_is_the_papers():
    judged = judge(TEST, AS_IN_THE_PAPER)
    assert judged["claim"].unique().tolist() == list(range(1, 9))
    assert set(judged["verdict"]) == {"holds"}
    assert (judged["low"] <= judged["effect"]).all()
    assert (judged["effect"] <= judged["high"]).all()


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
