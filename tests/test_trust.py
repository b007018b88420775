import dataclasses
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import ConfigurationSpace, Float
from torch import nn

from ubalkit import attribution, decomposition, metamodel, trust
from ubalkit import space as spaces
from ubalkit.metamodel import Ensemble
from ubalkit.trust import Trust, UntrustworthyError

QUICK = {"architectures": [(1, 16)], "weight_decays": [1e-3], "n_folds": 2, "n_members": 6, "steps": 200}


def observed(n, function, seed=0):
    """A table as the search makes it, whose testing accuracy is a function of the unit coordinates."""
    space = spaces.ubal()
    table = spaces.sample(space, seed, range(n))
    table["test_accuracy"] = function(spaces.to_unit(space, table))
    return table.assign(backprojection_accuracy=0.5, status="ok")


def noise(u):
    return np.random.default_rng(7).uniform(0, 1, len(u))


def slope(u):
    return 0.5 + 0.3 * u[:, 1] - 0.1 * u[:, 3]


def ensemble_with(r2, low, high, ceiling=math.nan):
    """A linear member said to be of some quality."""
    space = ConfigurationSpace()
    space.add([Float("a", (0.0, 1.0)), Float("b", (0.0, 1.0))])
    member = nn.Sequential(nn.Linear(2, 1)).double().requires_grad_(False)
    member[0].weight.data = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    quality = pd.DataFrame({"r2": r2, "low": low, "high": high, "n": 9}, index=["ensemble"])
    return Ensemble("accuracy", space, [member], quality, np.empty(0), pd.DataFrame(), 9, 0, ceiling)


@pytest.mark.parametrize(
    ("r2", "low", "ceiling", "verdict"),
    [
        (0.9, 0.8, math.nan, "good"),
        (0.5, 0.3, math.nan, "good"),
        (0.499, 0.3, math.nan, "poor"),
        (0.2, 1e-9, math.nan, "poor"),
        # R² alone says nothing: what matters is that its interval stays clear of 0.
        (0.2, 0.0, math.nan, "none"),
        (0.6, -0.01, math.nan, "none"),
        (-0.1, -0.3, math.nan, "none"),
        (0.9, math.nan, math.nan, "none"),
        (math.nan, math.nan, math.nan, "none"),
        # Half of what can be explained at all is enough.
        (0.3, 0.1, 0.6, "good"),
        (0.299, 0.1, 0.6, "poor"),
        (0.3, -0.1, 0.4, "none"),
        # A ceiling of 0 or below is no ceiling.
        (0.3, 0.1, 0.0, "poor"),
        (0.3, 0.1, -0.5, "poor"),
        (0.6, 0.1, -0.5, "good"),
    ],
)
def test_verdicts(r2, low, ceiling, verdict):
    assert Trust("accuracy", r2, low, 1.0, ceiling).verdict == verdict


def test_the_ceiling_scales_what_is_explained():
    assert Trust("accuracy", 0.4, 0.3, 0.5).explained == 0.4
    assert Trust("accuracy", 0.4, 0.3, 0.5, math.nan).explained == 0.4
    assert Trust("accuracy", 0.4, 0.3, 0.5, 0.8).explained == pytest.approx(0.5)
    assert Trust("accuracy", 0.9, 0.8, 0.95, 0.8).explained == 1.0
    assert Trust("accuracy", 0.4, 0.3, 0.5, -1.0).explained == 0.4


def test_in_words():
    assert str(Trust("accuracy", 0.512, 0.4, 0.613)) == "accuracy: held-out R² 0.51 (0.40 to 0.61), good"
    words = str(Trust("accuracy", 0.2, 0.1, 0.3, 0.75))
    assert words == "accuracy: held-out R² 0.20 (0.10 to 0.30) of at most 0.75, poor"


def test_good_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Trust("accuracy", 0.8, 0.7, 0.9).check()
        Trust("accuracy", 0.3, 0.2, 0.4, 0.4).check()


def test_poor_warns():
    with pytest.warns(UserWarning, match=r"accuracy: held-out R² 0\.30.*poor: less than 50% of what could"):
        Trust("accuracy", 0.3, 0.2, 0.4).check()


def test_none_is_refused():
    message = r"accuracy: held-out R² 0\.05 \(-0\.10 to 0\.15\), none:.*nothing to explain"
    with pytest.raises(UntrustworthyError, match=message):
        Trust("accuracy", 0.05, -0.1, 0.15).check()
    assert issubclass(UntrustworthyError, ValueError)


EXPLANATIONS = {
    "deep_shap": lambda e: attribution.deep_shap(e, spaces.sample(e.space, 0, range(5)).assign(status="ok")),
    "decompose": lambda e: decomposition.decompose(e, n_points=4),
    "decompose a table": lambda e: decomposition.decompose(e, spaces.sample(e.space, 0, range(5))),
}


@pytest.mark.parametrize("explain", EXPLANATIONS.values(), ids=list(EXPLANATIONS))
def test_every_explanation_asks_first(explain):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        explain(ensemble_with(0.8, 0.7, 0.9))
    with pytest.warns(UserWarning, match="poor") as caught:
        explain(ensemble_with(0.3, 0.2, 0.4))
    # The warning names the line that asked for the explanation, not one of the package.
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.raises(UntrustworthyError, match="no better than their mean"):
        explain(ensemble_with(0.1, -0.1, 0.2))


def test_a_surface_asks_first():
    with pytest.raises(UntrustworthyError):
        decomposition.surface(ensemble_with(0.1, -0.1, 0.2), ("a", "b"))


@pytest.fixture(scope="module")
def of_noise():
    return metamodel.fit(observed(200, noise), "test_accuracy", **QUICK)


@pytest.mark.parametrize("explain", EXPLANATIONS.values(), ids=list(EXPLANATIONS))
def test_pure_noise_is_not_explained(of_noise, explain):
    assert of_noise.trust.verdict == "none"
    with pytest.raises(UntrustworthyError, match=r"test_accuracy: held-out R².*or the metric is noise\."):
        explain(of_noise)


def test_what_can_be_learnt_is_good():
    ensemble = metamodel.fit(observed(120, slope), "test_accuracy", **QUICK)
    found = ensemble.trust
    assert found.verdict == "good"
    assert (found.metric, found.r2) == ("test_accuracy", ensemble.r2)
    assert 0.8 < found.low <= found.r2 <= found.high <= 1
    assert math.isnan(found.ceiling)
    # Every member's quality has its interval too.
    members = ensemble.quality.drop("ensemble")
    assert (members["low"] < members["high"]).all()


def test_quality_without_an_interval_is_taken_at_its_word():
    ensemble = ensemble_with(0.7, 0, 1)
    ensemble = dataclasses.replace(ensemble, quality=ensemble.quality[["r2", "n"]])
    assert (ensemble.trust.low, ensemble.trust.high, ensemble.trust.verdict) == (0.7, 0.7, "good")


# The interval of R²


def r2(y, predicted):
    return 1 - np.mean((y - predicted) ** 2) / np.var(y)


def test_the_interval_holds_r2_and_narrows_with_more_rows():
    rng = np.random.default_rng(0)
    widths = []
    for n in (50, 800):
        y = rng.standard_normal(n)
        predicted = y + 0.5 * rng.standard_normal(n)
        low, high = trust.r2_interval(y, predicted)
        assert low < r2(y, predicted) < high < 1
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.4)


def test_the_interval_is_that_of_repeated_samples():
    # 90 % of the R² of other samples of the same size lie in an interval of that width.
    rng = np.random.default_rng(1)
    y = rng.standard_normal((2000, 100))
    predicted = y + 0.6 * rng.standard_normal((2000, 100))
    samples = 1 - ((y - predicted) ** 2).mean(1) / y.var(1)
    expected = np.diff(np.quantile(samples, [0.05, 0.95]))[0]
    found = np.mean([np.diff(trust.r2_interval(y[k], predicted[k]))[0] for k in range(30)])
    assert found == pytest.approx(expected, rel=0.15)


def test_rows_without_a_prediction_are_left_out_of_the_interval():
    rng = np.random.default_rng(2)
    y, predicted = rng.standard_normal((2, 60))
    missing = np.where(np.arange(90) % 3 == 2)[0]
    padded_y = np.insert(y, missing - np.arange(30), 99.0)
    padded = np.insert(predicted, missing - np.arange(30), np.nan)
    assert np.isnan(padded).sum() == 30
    assert trust.r2_interval(padded_y, padded) == trust.r2_interval(y, predicted)


def test_the_interval_s_resamples_are_decided_by_the_seed():
    y, predicted = np.random.default_rng(3).standard_normal((2, 40))
    assert trust.r2_interval(y, predicted, seed=1) == trust.r2_interval(y, predicted, seed=1)
    assert trust.r2_interval(y, predicted, seed=1) != trust.r2_interval(y, predicted, seed=2)
    assert all(isinstance(bound, float) for bound in trust.r2_interval(y, predicted))


def test_a_perfect_prediction_has_an_interval_of_one():
    y = np.arange(20.0)
    assert trust.r2_interval(y, y) == (1.0, 1.0)


def test_resamples_that_do_not_vary_do_not_count():
    # Of three rows one resample in nine is of one row alone.
    y = np.array([0.0, 1.0, 2.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = trust.r2_interval(y, y + 0.1)
    assert np.isfinite([low, high]).all()


# The noise between seeds


def repeats(sizes, sd=0.1, seed=0):
    """Configurations of very different means, each repeated some times."""
    rng = np.random.default_rng(seed)
    index = np.repeat(range(len(sizes)), sizes)
    values = 10.0 * index + sd * rng.standard_normal(len(index))
    index = pd.Index(index, name="index")
    return pd.DataFrame({"test_accuracy": values, "other": 0.0}, index=index)


def test_the_noise_is_the_pooled_variance_within_configurations():
    table = repeats([4, 4, 4])
    groups = table["test_accuracy"].to_numpy().reshape(3, 4)
    expected = ((groups - groups.mean(1, keepdims=True)) ** 2).sum() / (3 * 3)
    assert trust.noise_variance(table, "test_accuracy") == pytest.approx(expected, rel=1e-9)
    assert trust.noise_variance(table.sample(frac=1, random_state=0), "test_accuracy") == pytest.approx(
        expected, rel=1e-9
    )
    assert trust.noise_variance(table, "other") == 0


def test_a_known_noise_is_recovered():
    found = trust.noise_variance(repeats([4] * 400, sd=0.3), "test_accuracy")
    assert found == pytest.approx(0.09, rel=0.1)
    # With two each a variance that divides by n would come out at half.
    assert trust.noise_variance(repeats([2] * 800, sd=0.3), "test_accuracy") == pytest.approx(0.09, rel=0.15)


def test_a_configuration_that_stands_alone_says_nothing_of_noise():
    table = repeats([4, 1, 4])
    assert trust.noise_variance(table, "test_accuracy") == trust.noise_variance(
        table.drop(index=1), "test_accuracy"
    )
    assert math.isnan(trust.noise_variance(repeats([1, 1]), "test_accuracy"))


def test_configurations_count_by_their_repeats():
    table = repeats([40, 2])
    groups = [group.to_numpy() for _, group in table.groupby(level="index")["test_accuracy"]]
    pooled = sum(((g - g.mean()) ** 2).sum() for g in groups) / (39 + 1)
    assert trust.noise_variance(table, "test_accuracy") == pytest.approx(pooled, rel=1e-9)


def test_the_ceiling_passes_through_fitting_saving_and_loading(tmp_path):
    table = observed(60, lambda u: slope(u) + 0.05 * noise(u))
    variance = table["test_accuracy"].var(ddof=0)
    ensemble = metamodel.fit(table, "test_accuracy", noise=0.25 * variance, **QUICK)
    assert ensemble.ceiling == pytest.approx(0.75)
    assert ensemble.trust.ceiling == ensemble.ceiling
    assert ensemble.trust.explained == pytest.approx(min(ensemble.r2 / 0.75, 1))
    ensemble.save(tmp_path / "ensemble.json")
    again = metamodel.load(tmp_path / "ensemble.json")
    assert again.ceiling == ensemble.ceiling
    assert again.trust == ensemble.trust


def test_a_ceiling_that_is_not_known_stays_so(tmp_path):
    ensemble = metamodel.fit(observed(60, slope), "test_accuracy", **QUICK)
    assert math.isnan(ensemble.ceiling)
    ensemble.save(tmp_path / "ensemble.json")
    assert "NaN" not in (tmp_path / "ensemble.json").read_text()
    again = metamodel.load(tmp_path / "ensemble.json")
    assert math.isnan(again.ceiling)
    assert (again.trust.low, again.trust.high) == (ensemble.trust.low, ensemble.trust.high)


def test_no_noise_is_a_ceiling_of_one():
    assert metamodel.fit(observed(60, slope), "test_accuracy", noise=0.0, **QUICK).ceiling == 1.0
