"""Ensembles against functions that are known, and how far they say they can be believed."""

import json
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import ConfigurationSpace, Constant, Float, GreaterThanCondition
from helpers import ensemble_of, trials
from sklearn.gaussian_process import GaussianProcessRegressor, kernels
from torch import nn

from ubalkit import effects, metamodel, shapley, uncertainty
from ubalkit import space as spaces
from ubalkit.metamodel import Trust, UntrustworthyError

SPACE = ConfigurationSpace({name: (0.0, 1.0) for name in "abcdefg"})
#: One small size, so that a fit takes a second.
QUICK = {"architectures": [(1, 32)], "weight_decays": [1e-3], "n_folds": 3, "steps": 300}


def observed(n, function, space=SPACE, seed=0):
    """Trials as a search makes them, whose metric is a function of the unit coordinates."""
    table = spaces.sample(space, seed, range(n))
    y = function(spaces.to_unit(space, table))
    return trials(table.assign(y=y, other=0.5), space, y="maximize", other="maximize")


def changed(given, change):
    return trials(change(given.table), given.space, **given.metrics)


def additive_with_pair(u):
    return 0.5 + 0.3 * (0.5 - u[:, 1]) + 0.2 * np.sin(3 * u[:, 2]) + 0.4 * (u[:, 3] - 0.5) * (u[:, 4] - 0.5)


def noise(u):
    return np.random.default_rng(7).uniform(0, 1, len(u))


def r2(y, predicted):
    return 1 - np.mean((y - predicted) ** 2) / np.var(y)


@pytest.fixture(scope="module")
def given():
    return observed(300, additive_with_pair)


@pytest.fixture(scope="module")
def ensemble(given):
    return metamodel.fit(given, **QUICK)


# What is learnt


def test_a_known_function_is_learnt(ensemble, given):
    assert ensemble.r2 > 0.9
    assert ensemble.r2 == pytest.approx(r2(given.table["y"], ensemble.held_out))
    # The figure that fit reports is that of rows nobody has seen.
    new = observed(200, additive_with_pair, seed=1).table
    assert r2(new["y"], ensemble.predict(new)) == pytest.approx(ensemble.r2, abs=0.05)
    found = ensemble.trust
    assert (found.metric, found.r2, found.verdict) == ("y", ensemble.r2, "good")
    assert 0.8 < found.low <= found.r2 <= found.high <= 1


def test_quality_is_measured_on_rows_that_a_member_has_not_seen():
    # A large network without decay learns sixty numbers drawn by lot by heart, and nothing else.
    given = observed(60, noise)
    by_heart = QUICK | {"architectures": [(2, 64)], "weight_decays": [0.0], "steps": 600}
    ensemble = metamodel.fit(given, **by_heart)
    assert r2(given.table["y"], ensemble.predict(given.table)) > 0.6
    assert ensemble.r2 < 0.2
    members = ensemble.quality.drop("ensemble")
    assert (members["r2"] < 0.2).all() and (members["low"] < members["high"]).all()
    # A fifth of the rows each, so that each row is left out by two of ten.
    assert set(members["n"]) == {12}


def test_members_differ_and_predict_a_table_as_its_unit_coordinates(ensemble, given):
    unit = ensemble.predict_unit(spaces.to_unit(SPACE, given.table))
    assert unit.shape == (10, 300)
    different = ~np.isclose(unit[:, None], unit[None], atol=1e-6).all(2)
    assert different.sum() == 10 * 9
    # Neither the order of the columns nor that of the rows matters.
    shuffled = given.table.sample(frac=1, random_state=0)[list(reversed(given.table.columns))]
    expected = unit.mean(0)[shuffled.index.to_numpy()]
    np.testing.assert_allclose(ensemble.predict(shuffled), expected, rtol=0, atol=1e-12)


def test_failed_rows_are_left_out_and_counted():
    given = observed(80, additive_with_pair)
    kept = metamodel.fit(changed(given, lambda t: t.iloc[10:]), **QUICK)
    # What a diverged network recorded must not matter.
    given.table.loc[:9, ["y", "status"]] = [np.nan, "failed"]
    ensemble = metamodel.fit(given, **QUICK)
    assert (ensemble.n_observations, ensemble.n_failed) == (70, 10)
    np.testing.assert_array_equal(ensemble.predict(given.table), kept.predict(given.table))


def test_a_seed_decides_everything(given):
    quick = QUICK | {"n_members": 3, "steps": 50}
    with torch.random.fork_rng():
        first = metamodel.fit(given, seed=3, **quick)
        torch.manual_seed(11)
        np.random.seed(11)  # noqa: NPY002 - the global state must not matter
        again = metamodel.fit(given, seed=3, **quick)
    other = metamodel.fit(given, seed=4, **quick)
    np.testing.assert_array_equal(first.predict(given.table), again.predict(given.table))
    assert first.r2 == again.r2
    assert np.abs(first.predict(given.table) - other.predict(given.table)).max() > 1e-4


def test_cross_validation_chooses_the_best_of_those_given(given):
    choice = {"architectures": [(1, 8), (2, 16)], "weight_decays": [1e-3, 10.0]}
    ensemble = metamodel.fit(given, n_folds=3, steps=200, **choice)
    assert len(ensemble.selection) == 4
    assert ensemble.chosen["weight_decay"] == 1e-3  # ten times the error lets nothing be learnt
    assert ensemble.r2 > 0.5  # and the members are of the choice
    assert ensemble.selection["r2"].xs(10.0, level="weight_decay").max() < 0.5
    hidden = [m for m in ensemble.members[0] if isinstance(m, nn.Linear)][:-1]
    assert [m.out_features for m in hidden] == [ensemble.chosen["d_h"]] * ensemble.chosen["n_h"]


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(y=0.1), "There is nothing to explain: y is the same in all trials"),
        (lambda t: t.iloc[:16], "16 different usable configurations.*at least 17"),
        (lambda t: t.assign(b=1.5), r"b = 1\.5 lies outside"),
        (lambda t: t.drop(columns="c"), "no column 'c'"),
    ],
    ids=["constant", "too few", "outside the space", "no column"],
)
def test_what_cannot_be_fitted_is_refused(given, change, message):
    with pytest.raises(ValueError, match=message):
        metamodel.fit(changed(given, change), **QUICK)


def test_an_unknown_metric_is_refused(given):
    with pytest.raises(ValueError, match="Unknown metric 'nosuch'; the trials have y, other"):
        metamodel.fit(given, "nosuch", **QUICK)


# On disk


# Gaussian processes


def process(lengths, variance, noise):
    kernel = kernels.ConstantKernel(variance) * kernels.RBF(lengths) + kernels.WhiteKernel(noise)
    return GaussianProcessRegressor(kernel, optimizer=None)


def test_draws_are_those_of_the_process_that_scikit_learn_knows():
    x = np.random.default_rng(0).random((30, 2))
    y, seen, lengths = np.sin(5 * x[:20, 0]) + x[:20, 1], np.arange(20) % 4 > 0, np.array([0.3, 0.8])
    known = process(lengths, 2.0, 0.05).fit(x[:20][seen], y[seen])
    scaled = torch.as_tensor(1 / lengths)
    kernel = 2 * metamodel._bumps(*map(torch.as_tensor, (x, x)), scaled)
    given = torch.tensor(0.05), torch.as_tensor(seen), torch.as_tensor(y[seen])
    heights = metamodel._heights(kernel, *given, 20_000, torch.Generator().manual_seed(0))
    expected, *drawn = (kernel @ heights).T.numpy()
    mean, covariance = known.predict(x, return_cov=True)
    np.testing.assert_allclose(expected, mean, atol=1e-10)
    # Scikit-learn's holds the noise of a new observation too.
    np.testing.assert_allclose(np.cov(np.transpose(drawn)), covariance - 0.05 * np.eye(30), atol=0.02)
    assert np.diag(covariance).max() > 0.5


def test_the_lengths_learnt_are_those_that_the_rows_were_drawn_with():
    x = np.random.default_rng(0).random((200, 3))
    true = [0.3, 1.0, 30.0], 1.0, 0.01
    y = process(*true).sample_y(x, random_state=0)[:, 0]
    apart = torch.as_tensor((x.T[:, :, None] - x.T[:, None]) ** 2)
    *lengths, variance, noise = metamodel._most_probable(apart, torch.as_tensor(y)).exp().tolist()
    assert lengths[:2] == pytest.approx(true[0][:2], rel=0.3) and lengths[2] > 5
    assert variance == pytest.approx(1, rel=1) and noise == pytest.approx(0.01, rel=0.3)


def bent(u):
    return np.maximum(u[:, 0] + u[:, 1] - 1.2, 0)


def conditional():
    space = ConfigurationSpace(dict.fromkeys("abcdefg", (0.0, 1.0)))
    space.add(GreaterThanCondition(space["b"], space["a"], 0.5))
    return space


def test_the_kind_is_kept_whose_members_predict_unseen_rows_better(monkeypatch):
    smooth, both = observed(60, additive_with_pair), QUICK | {"kinds": metamodel.KINDS}
    mlp, gp, best = (
        metamodel.fit(smooth, **QUICK | {"kinds": k}) for k in (["MLP"], ["GP"], metamodel.KINDS)
    )
    assert (mlp.kind, gp.kind, best.kind) == ("MLP", "GP", "GP") and gp.r2 > mlp.r2 + 0.1
    np.testing.assert_array_equal(best.held_out, gp.held_out)
    # The two that have not seen the same rows err in opposite directions.
    left_out = np.where(gp.unseen, gp.predict_unit(gp.unit), np.nan)
    np.testing.assert_allclose(np.nanmean(left_out, axis=0), gp.held_out, atol=1e-9)
    assert np.nanstd(left_out, axis=0).min() > 0
    monkeypatch.setitem(uncertainty.EVEN_CALIBRATION, "GP", 0)
    found = effects.decompose(gp, n_points=16)
    of_it = (
        found.shap().importance_estimate(),
        found.shap().running("a"),
        found._estimate(found._shares, 50, 0),
    )
    assert [estimate.replicates.std(0).max() < 1e-12 for estimate in of_it] == [True] * 3
    with pytest.raises(ValueError, match="neither Gaussian processes"):
        shapley.deep_shap(gp, smooth.table)
    flat = ConfigurationSpace(dict.fromkeys("ab", (0.0, 1.0)))
    assert metamodel.fit(observed(60, bent, flat), **both).kind == "MLP"
    # Where a process is not for, no one is fitted.
    assert metamodel.fit(observed(60, additive_with_pair, conditional()), **both).kind == "MLP"
    monkeypatch.setattr(metamodel, "_MOST", 59)
    assert metamodel.fit(smooth, **QUICK | {"kinds": ["GP"]}).kind == "MLP"


@pytest.mark.parametrize("kind", metamodel.KINDS)
@pytest.mark.parametrize("share", [0.25, math.nan], ids=["noise known", "not known"])
def test_saved_and_loaded_it_is_the_same(share, kind, tmp_path):
    space = ConfigurationSpace()
    space.add([Float("rate", (1e-4, 1.0), log=True), Constant("frozen", 0.3), Float("a", (-1.0, 1.0))])
    given = observed(60, lambda u: u[:, 0] + 0.05 * noise(u), space)
    given = trials(given.table, space, y="minimize")
    variance = given.table["y"].var(ddof=0)
    ensemble = metamodel.fit(given, noise=share * variance, kinds=[kind], **QUICK)
    ensemble.save(tmp_path / "ensemble.json")
    plain = json.loads((tmp_path / "ensemble.json").read_text(), parse_constant=pytest.fail)
    assert plain["metric"] == "y" and len(plain["members"]) == 10
    again = metamodel.load(tmp_path / "ensemble.json")
    np.testing.assert_array_equal(again.predict(given.table), ensemble.predict(given.table))
    np.testing.assert_array_equal(again.held_out, ensemble.held_out)
    assert again.space == space and spaces.varied(again.space) == spaces.varied(space)
    assert (again.metric, again.kind, again.sign) == ("y", kind, -1)
    assert again.selection.to_dict() == ensemble.selection.to_dict()
    assert (again.n_observations, again.n_failed) == (60, 0)
    pd.testing.assert_frame_equal(again.quality, ensemble.quality, check_exact=True)
    assert ensemble.ceiling == pytest.approx(1 - share, nan_ok=True)
    assert again.ceiling == pytest.approx(ensemble.ceiling, nan_ok=True)
    assert str(again.trust) == str(ensemble.trust)


def test_a_file_that_is_missing_or_was_changed_is_refused(ensemble, tmp_path):
    path = tmp_path / "nothing.json"
    with pytest.raises(FileNotFoundError, match=r"nothing\.json"):
        metamodel.load(path)
    ensemble.save(path)
    path.write_text(path.read_text().replace('"y"', '"z"'))
    with pytest.raises(ValueError, match=r"nothing\.json"):
        metamodel.load(path)


# How far it can be believed


@pytest.mark.parametrize(
    ("r2", "low", "ceiling", "explained", "verdict"),
    [
        (0.5, 0.3, math.nan, 0.5, "good"),
        (0.499, 0.3, math.nan, 0.499, "poor"),
        # R² alone says nothing: what matters is that its interval stays clear of 0.
        (0.2, 1e-9, math.nan, 0.2, "poor"),
        (0.2, 0.0, math.nan, 0.2, "none"),
        (0.9, math.nan, math.nan, 0.9, "none"),
        # Half of what can be explained at all is enough.
        (0.3, 0.15, 0.6, 0.5, "good"),
        (0.299, 0.2, 0.6, 0.299 / 0.6, "poor"),
        (0.3, -0.1, 0.4, 0.75, "none"),
        # A ceiling of 0 or below is no ceiling.
        (0.6, 0.25, -0.5, 0.6, "good"),
        # What may be a quarter of it is not.
        (0.6, 0.24, math.nan, 0.6, "poor"),
        (0.3, 0.14, 0.6, 0.5, "poor"),
    ],
)
def test_verdicts(r2, low, ceiling, explained, verdict):
    trust = Trust("accuracy", r2, low, 1.0, ceiling)
    assert trust.explained == pytest.approx(explained)
    assert trust.verdict == verdict


def test_in_words():
    assert str(Trust("accuracy", 0.512, 0.4, 0.613)) == "accuracy: held-out R² 0.51 (0.40 to 0.61), good"
    words = str(Trust("accuracy", 0.2, 0.1, 0.3, 0.75))
    assert words == "accuracy: held-out R² 0.20 (0.10 to 0.30) of at most 0.75, poor"


def linear(*quality):
    """A linear member said to be of some quality."""
    member = nn.Sequential(nn.Linear(2, 1)).double().requires_grad_(False)
    member[0].weight.data = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    space = ConfigurationSpace({"a": (0.0, 1.0), "b": (0.0, 1.0)})
    return ensemble_of(space, member, metric="accuracy", quality=quality)


EXPLANATIONS = {
    "deep_shap": lambda e: shapley.deep_shap(e, spaces.sample(e.space, 0, range(5))),
    "decompose": lambda e: effects.decompose(e, n_points=4),
    "surface": lambda e: effects.surface(e, tuple(spaces.names(e.space)[:2]), n_grid=3),
}


@pytest.mark.parametrize("explain", EXPLANATIONS.values(), ids=list(EXPLANATIONS))
def test_every_explanation_asks_first(explain):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        explain(linear(0.8, 0.7, 0.9))
    with pytest.warns(UserWarning, match=r"R² 0\.30.*poor: less than 50% of what could") as caught:
        explain(linear(0.3, 0.2, 0.4))
    # The warning names the line that asked for the explanation, not one of the package.
    assert [warning.filename for warning in caught] == [__file__]
    message = r"accuracy: held-out R² 0\.05 \(-0\.10 to 0\.15\), none:.*nothing to explain"
    with pytest.raises(UntrustworthyError, match=message):
        explain(linear(0.05, -0.1, 0.15))
    assert issubclass(UntrustworthyError, ValueError)


def test_noise_cannot_be_learnt_and_is_not_explained():
    ensemble = metamodel.fit(observed(200, noise), kinds=metamodel.KINDS, **QUICK)
    assert ensemble.r2 < 0.1 and ensemble.selection["r2"].max() < 0.1
    with pytest.raises(UntrustworthyError, match=r"y: held-out R².*or the metric is noise\."):
        effects.decompose(ensemble)


def test_the_interval_of_r2_is_that_of_repeated_samples():
    # 90 % of the R² of other samples of the same size lie in an interval of that width.
    rng = np.random.default_rng(1)
    y = rng.standard_normal((2000, 100))
    predicted = y + 0.6 * rng.standard_normal((2000, 100))
    samples = np.array([r2(*pair) for pair in zip(y, predicted)])
    expected = np.diff(np.quantile(samples, [0.05, 0.95]))[0]
    found = np.array([metamodel.r2_interval(y[k], predicted[k]) for k in range(30)])
    assert np.diff(found).mean() == pytest.approx(expected, rel=0.15)
    assert ((found[:, 0] < samples[:30]) & (samples[:30] < found[:, 1])).all()


def test_rows_without_a_prediction_and_resamples_that_do_not_vary_do_not_count():
    y, predicted = np.random.default_rng(2).standard_normal((2, 60))
    places = np.arange(0, 60, 2)
    padded = np.insert(y, places, 99.0), np.insert(predicted, places, np.nan)
    assert metamodel.r2_interval(*padded) == metamodel.r2_interval(y, predicted)
    assert metamodel.r2_interval(y, y) == (1.0, 1.0)
    # Of three rows one resample in nine is of one row alone.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(metamodel.r2_interval(np.arange(3.0), np.arange(3.0) + 0.1)).all()


# The noise between seeds


def repeats(sizes, sd=0.1):
    """Configurations of very different means, each repeated some times."""
    index = pd.Index(np.repeat(range(len(sizes)), sizes), name="index")
    y = 10.0 * index + sd * np.random.default_rng(0).standard_normal(len(index))
    return pd.DataFrame({"y": y, "same": 0.0}, index=index)


@pytest.mark.parametrize("sizes", [[4, 4, 4], [40, 2], [4, 1, 4]], ids=str)
def test_the_noise_is_the_pooled_variance_within_configurations(sizes):
    table = repeats(sizes)
    within = [group - group.mean() for _, group in table.groupby(level="index")["y"]]
    # A configuration that stands alone says nothing of noise.
    pooled = sum((w**2).sum() for w in within) / sum(n - 1 for n in sizes)
    for rows in (table, table.sample(frac=1, random_state=0)):
        assert metamodel.noise_variance(rows, "y") == pytest.approx(pooled, rel=1e-9)
    assert metamodel.noise_variance(table, "same") == 0


def test_a_known_noise_is_recovered():
    # With two each a variance that divides by n would come out at half.
    assert metamodel.noise_variance(repeats([2] * 800, 0.3), "y") == pytest.approx(0.09, rel=0.15)
    assert math.isnan(metamodel.noise_variance(repeats([1, 1]), "y"))
