"""SHAP values: against captum, the exact ones, and functions whose values are known."""

import warnings

import comparisons
import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float
from helpers import ensemble_of, reach_of, trials
from torch import nn

from ubalkit import effects, metamodel, shapley, uncertainty
from ubalkit import space as spaces
from ubalkit.shapley import Attribution

NAMES = ["beta_1", "beta_2", "beta_3", "gammaB_1", "gammaB_2", "gammaF_1", "gammaF_2"]
SPACE = ConfigurationSpace({name: (0.0, 1.0) for name in NAMES})


def configurations(n):
    return spaces.sample(SPACE, 0, range(n))


def network(*modules):
    return nn.Sequential(*modules).double().requires_grad_(False)


def linear(weights, bias=0.25):
    member = network(nn.Linear(len(weights), 1))
    member[0].weight.data[0] = torch.tensor(weights)
    member[0].bias.data[0] = bias
    return member


@pytest.fixture(scope="module")
def explained():
    """Of an ensemble fitted to a function with an interaction."""
    table = configurations(120)
    u = table.to_numpy()
    y = 0.5 + 0.3 * (0.5 - u[:, 1]) + 0.4 * (u[:, 3] - 0.5) * (u[:, 4] - 0.5)
    small = {"n_members": 4, "n_folds": 2, "architectures": [(2, 16)], "weight_decays": [1e-3]}
    ensemble = metamodel.fit(trials(table.assign(y=y), SPACE, y="maximize"), steps=200, **small)
    return shapley.deep_shap(ensemble, table, n_background=16)


def test_values_add_up_to_every_member_s_prediction(explained):
    predicted = explained.ensemble.predict_unit(explained.unit)
    assert explained.member_values.shape == (4, 120, 7)
    added = explained.base_values[:, None] + explained.member_values.sum(2)
    np.testing.assert_allclose(added, predicted, rtol=0, atol=1e-9)
    # Members differ: the identity is not that of one network repeated.
    assert np.ptp(predicted, axis=0).min() > 1e-6
    backgrounds = uncertainty.backgrounds(explained.ensemble, 16, 0)
    means = [explained.ensemble.predict_unit(points)[k].mean() for k, points in enumerate(backgrounds)]
    np.testing.assert_allclose(explained.base_values, means, rtol=1e-12)


def test_of_a_linear_member_the_values_are_known():
    weights = [np.array([0.5, -1, 0.25, 0, 2, -0.125, 0.75]), np.arange(7.0), np.zeros(7)]
    table, ensemble = configurations(50), ensemble_of(SPACE, *map(linear, weights))
    found = shapley.deep_shap(ensemble, table, n_background=64, seed=5)
    backgrounds = uncertainty.backgrounds(ensemble, 64, 5)
    for values, w, background in zip(found.member_values, weights, backgrounds):
        np.testing.assert_allclose(values, w * (table - background.mean(0)), rtol=0, atol=1e-12)


class Functional(nn.Module):
    """An activation that Deep SHAP does not see."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(7, 16), nn.Linear(16, 1)

    def forward(self, x):
        return self.last(torch.tanh(3 * self.first(x)))


# Against other ways to the same values


@pytest.fixture
def tanh_networks():
    members = [
        network(nn.Linear(7, 16), nn.Tanh(), nn.Linear(16, 1)),
        network(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)),
    ]
    for member in members:
        for module in member[::2]:
            module.weight.data *= 3
    return members


def test_values_are_those_of_captum(tanh_networks):
    captum = pytest.importorskip("captum.attr")
    ensemble, table = ensemble_of(SPACE, *tanh_networks), configurations(60)
    explained = shapley.deep_shap(ensemble, table, n_background=16, seed=2)
    x = torch.as_tensor(explained.unit)
    for k, points in enumerate(uncertainty.backgrounds(ensemble, 16, 2)):
        # What must be alike: the same background, every point of it weighted alike (captum draws from
        # one that is given as a function); contributions, which is slope times difference, rather than
        # slopes; the network's one output chosen; float64 throughout. Where the inputs of a unit differ by
        # next to nothing both take its gradient, shap below 1e-6 and captum below 1e-10: either is as good.
        explainer = captum.DeepLiftShap(tanh_networks[k], multiply_by_inputs=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of the hooks that it sets and takes away
            expected = explainer.attribute(x, torch.as_tensor(points), target=0).detach().numpy()
        error = np.abs(explained.member_values[k] - expected).max() / np.abs(expected).max()
        assert error < 1e-6


def test_units_that_hardly_change_do_not_matter():
    # Two inputs 1e-8 apart: the slope of the chord is rounding, that of the tangent is not.
    member = network(nn.Linear(7, 1), nn.Tanh(), nn.Linear(1, 1))
    member[0].weight.data[:] = torch.tensor([1e-8, 0, 0, 0, 0, 0, 0])
    member[0].bias.data[:], member[2].weight.data[:], member[2].bias.data[:] = 0.3, 1e8, 0
    table = configurations(20)
    explained = shapley.deep_shap(ensemble_of(SPACE, member), table, tolerance=1e-3)
    slope = 1 - np.tanh(0.3) ** 2
    background = uncertainty.backgrounds(explained.ensemble, 32, 0)[0]
    expected = slope * (table["beta_1"] - background[:, 0].mean())
    np.testing.assert_allclose(explained.values[:, 0], expected, rtol=0, atol=1e-6)


def additive(seed):
    """A network each of whose units sees one hyperparameter alone."""
    generator = torch.Generator().manual_seed(seed)
    member = network(nn.Linear(7, 21), nn.Tanh(), nn.Linear(21, 1))
    sees = torch.eye(7, dtype=torch.float64).repeat(3, 1)
    member[0].weight.data = sees * 6 * torch.randn(21, 7, generator=generator).double()
    member[2].weight.data = torch.randn(1, 21, generator=generator).double()
    return member


def of(known, values):
    """The same with other values, of as many members; the configurations were not drawn."""
    base = np.zeros(len(values))
    return Attribution(known.ensemble, known.table, NAMES, known.unit, values, base, random=False)


def test_where_nothing_interacts_the_values_are_the_exact_ones():
    ensemble, table = ensemble_of(SPACE, additive(1), additive(2)), configurations(30)
    found = shapley.deep_shap(ensemble, table, seed=4)
    expected = effects.decompose(ensemble, table, n_background=32, seed=4).shap()
    np.testing.assert_allclose(found.member_values, expected.member_values, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.base_values, expected.base_values, rtol=0, atol=1e-10)
    assert np.abs(expected.values).mean(0).max() > 0.05


def test_how_far_two_attributions_are_apart(known):
    same = comparisons.deviation(known, known)
    assert list(same.index) == [*known.importance().index, "all"]
    assert same.loc["all", "error"] == 0
    assert (same["rank"] == same["exact_rank"])[NAMES].all()
    assert (same.loc[["beta_1", "beta_2", "all"], "signs"] == 1).all()
    # Larger, and the slope the other way round.
    found = comparisons.deviation(of(known, known.member_values * np.array([-3, 2, 1, 1, 1, 1, 1])), known)
    one, other = found.loc["beta_1"], found.loc["beta_2"]
    assert one[["error", "rank", "exact_rank"]].tolist() == pytest.approx([4, 1, 2]) and one["signs"] < 0.05
    assert other[["error", "rank", "exact_rank", "signs"]].tolist() == pytest.approx([1, 2, 1, 1])
    assert list(found.index[:2]) == ["beta_2", "beta_1"]
    sizes = np.abs(known.values).mean(0)
    assert found.loc["all", "error"] == pytest.approx((4 * sizes[0] + sizes[1]) / sizes.sum())


def test_how_far_they_are_apart_has_an_interval(known):
    # Two members whose approximations err differently: by 10 % and by 30 % of every value.
    members = np.array([known.values] * 2)
    exact, other = of(known, members), of(known, members * np.array([1.1, 1.3])[:, None, None])
    found = comparisons.deviation(other, exact).loc[["beta_1", "beta_2", "all"]]
    np.testing.assert_allclose(found[["error", "ratio"]], [[0.2, 1.2]] * 3)
    assert (found["error_low"] <= 0.1).all() and (found["error_high"] >= 0.3).all()
    assert (found["ratio_low"] <= 1.1).all() and (found["ratio_high"] >= 1.3).all()
    np.testing.assert_allclose(found[["signs_low", "signs", "signs_high"]], 1)
    # Signs that one member of four has otherwise are unsure.
    members = np.array([known.values] * 4)
    mixed = of(known, members * np.array([1, 1, 1, -1])[:, None, None])
    found = comparisons.deviation(mixed, of(known, members)).loc["beta_2"]
    assert found["signs_low"] < 0.5 < found["signs"] == found["signs_high"] == 1


# An absolute tolerance would let anything pass for a metric that varies by 0.0001.
@pytest.mark.parametrize("scale", [1, 1e-4])
def test_values_that_do_not_add_up_are_refused(scale):
    member = Functional().double().requires_grad_(False)
    member.last.weight.data *= scale
    with pytest.raises(ArithmeticError, match=r"not additive.*is allowed"):
        shapley.deep_shap(ensemble_of(SPACE, member), configurations(30))


def test_conditions_are_refused():
    space = ConfigurationSpace()
    space.add([Float("a", (0.0, 1.0)), Categorical("kind", ["x", "y"])])
    space.add(EqualsCondition(space["a"], space["kind"], "x"))
    with pytest.raises(ValueError, match=r"nor conditions between.*effects\.decompose"):
        shapley.deep_shap(ensemble_of(space, linear(np.ones(2))), spaces.sample(space, 0, range(9)))


def test_importance_is_the_mean_absolute_value(explained):
    table, curves = explained.importance(), explained.curves().groupby("hyperparameter")
    np.testing.assert_allclose(table.loc[NAMES, "importance"], np.abs(explained.values).mean(0))
    pd.testing.assert_series_equal(table["peak"], curves["size"].max()[table.index], check_names=False)
    # The bounds are those of a size: noise is taken off its square, and may leave nothing.
    estimate = explained.importance_estimate()
    low, high = uncertainty.interval(estimate.value, estimate.replicates, nonnegative=True, n_members=4)
    np.testing.assert_array_equal(table.loc[NAMES, ["low", "high"]], np.column_stack([low, high]))
    assert table["importance"].is_monotonic_decreasing and list(table["rank"]) == [1, 2, 3, 4, 5, 6, 7]
    assert table.index[0] == "beta_2" and table.loc["beta_2", "low"] > 0


@pytest.fixture(scope="module")
def known():
    """Members whose SHAP values are known: a slope and a wave, each member a little off."""
    unit = spaces.sobol(7, 1024)
    values = np.zeros((10, 1024, 7))
    offsets = np.linspace(-0.05, 0.05, 10)[:, None]
    values[:, :, 0] = 0.4 * (unit[:, 0] - 0.5) + offsets
    values[:, :, 1] = 0.2 * np.sin(2 * np.pi * unit[:, 1]) * (1 + offsets)
    table = pd.DataFrame(unit, columns=NAMES)
    return Attribution(ensemble_of(SPACE, linear(np.zeros(7))), table, NAMES, unit, values, np.zeros(10))


def test_curves_follow_a_known_function(known):
    curves = known.curves(n_grid=21, bandwidth=0.02).set_index("hyperparameter")
    assert list(dict.fromkeys(curves.index)) == NAMES
    # A window that hangs over the edge sees one side only.
    slope, wave = (curves.loc[name].iloc[2:-2] for name in ("beta_1", "beta_2"))
    np.testing.assert_allclose(slope["unit"], np.linspace(0, 1, 21)[2:-2])
    np.testing.assert_allclose(slope["value"], slope["unit"], atol=1e-9)
    np.testing.assert_allclose(slope["mean"], 0.4 * (slope["unit"] - 0.5), atol=0.003)
    expected = 0.2 * np.sin(2 * np.pi * wave["unit"])
    np.testing.assert_allclose(wave["mean"], expected, atol=0.006)
    np.testing.assert_allclose(wave["size"], np.abs(expected), atol=0.03)
    assert (wave["size"] >= np.abs(wave["mean"]) - 1e-12).all()
    np.testing.assert_allclose(curves.loc["gammaB_1", ["mean", "low", "high", "size"]], 0, atol=1e-12)
    # A wider window smooths more.
    peaks = [known.curves(bandwidth=b).groupby("hyperparameter")["mean"].max()["beta_2"] for b in (0.02, 0.2)]
    assert peaks[0] > 1.3 * peaks[1]


def test_the_band_is_that_of_the_members(known):
    slope = known.curves(n_grid=21).set_index("hyperparameter").loc["beta_1"]
    # The slope itself is known well; members are spread evenly over ±0.05 of it.
    half = reach_of(10) * np.linspace(-0.05, 0.05, 10).std()
    np.testing.assert_allclose((slope["high"] - slope["low"]) / 2, half, rtol=0.1)
    np.testing.assert_allclose((slope["high"] + slope["low"]) / 2, slope["mean"], atol=0.01)


def test_what_is_saved_is_read_without_this_package(explained, tmp_path):
    explained.save(tmp_path / "shap.npz")
    with np.load(tmp_path / "shap.npz", allow_pickle=False) as archive:
        for name in ("member_values", "base_values", "unit"):
            np.testing.assert_array_equal(archive[name], getattr(explained, name))
        np.testing.assert_array_equal(archive["index"], explained.table.index)
