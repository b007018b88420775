import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import ConfigurationSpace, Float
from scipy import stats
from torch import nn

from ubalkit import attribution, decomposition, metamodel, uncertainty
from ubalkit import space as spaces
from ubalkit.attribution import Attribution
from ubalkit.metamodel import Ensemble

NAMES = spaces.names(spaces.ubal())


def reach_of(n_members):
    """Half the width of a 90 % interval from so many members, in standard deviations."""
    student = stats.t.ppf(0.95, n_members - 1)
    return uncertainty.CALIBRATION * student * (1 + 1 / n_members) ** 0.5


def configurations(n, space=None, seed=0):
    return spaces.sample(space or spaces.ubal(), seed, range(n)).assign(test_accuracy=0.5, status="ok")


def ensemble_of(*members, space=None):
    """An ensemble of hand-made members; nothing was fitted."""
    quality = pd.DataFrame({"r2": 1.0, "spearman": 1.0, "n": 1}, index=["ensemble"])
    space = space or spaces.ubal()
    return Ensemble("test_accuracy", space, list(members), quality, np.empty(0), pd.DataFrame(), 0, 0)


def network(*modules):
    return nn.Sequential(*modules).double().requires_grad_(False)


def linear(weights, bias=0.25):
    member = network(nn.Linear(len(weights), 1))
    member[0].weight.data[0] = torch.tensor(weights)
    member[0].bias.data[0] = bias
    return member


@pytest.fixture
def fixed_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def explained():
    """Of an ensemble fitted to a function with an interaction."""
    table = configurations(120)
    u = spaces.to_unit(spaces.ubal(), table)
    table["test_accuracy"] = 0.5 + 0.3 * (0.5 - u[:, 1]) + 0.4 * (u[:, 3] - 0.5) * (u[:, 4] - 0.5)
    ensemble = metamodel.fit(
        table,
        "test_accuracy",
        n_members=4,
        n_folds=2,
        architectures=[(2, 16)],
        weight_decays=[1e-3],
        steps=200,
    )
    return attribution.deep_shap(ensemble, table, n_background=16)


def test_values_add_up_to_every_member_s_prediction(explained):
    predicted = explained.ensemble.predict_unit(explained.unit)
    assert explained.member_values.shape == (4, 120, 7)
    added = explained.base_values[:, None] + explained.member_values.sum(2)
    np.testing.assert_allclose(added, predicted, rtol=0, atol=1e-9)
    # Members differ: the identity is not that of one network repeated.
    assert np.ptp(predicted, axis=0).min() > 1e-6


def test_the_ensemble_s_values_are_the_members_mean(explained):
    np.testing.assert_allclose(explained.values, explained.member_values.mean(0))
    added = explained.base_values.mean() + explained.values.sum(1)
    np.testing.assert_allclose(added, explained.ensemble.predict(explained.table), rtol=0, atol=1e-9)


def test_base_values_are_means_over_each_member_s_background(explained):
    backgrounds = uncertainty.backgrounds(explained.ensemble, 16, 0)
    means = [explained.ensemble.predict_unit(points)[k].mean() for k, points in enumerate(backgrounds)]
    np.testing.assert_allclose(explained.base_values, means, rtol=1e-12)


def test_of_a_linear_member_the_values_are_known():
    weights = [np.array([0.5, -1, 0.25, 0, 2, -0.125, 0.75]), np.arange(7.0)]
    table, ensemble = configurations(50), ensemble_of(*map(linear, weights))
    explained = attribution.deep_shap(ensemble, table, n_background=64, seed=5)
    backgrounds = uncertainty.backgrounds(ensemble, 64, 5)
    for values, w, background in zip(explained.member_values, weights, backgrounds):
        centred = table[NAMES].to_numpy() - background.mean(0)
        np.testing.assert_allclose(values, w * centred, rtol=0, atol=1e-12)


def test_a_hyperparameter_that_does_nothing_gets_nothing(fixed_seed):
    member = network(nn.Linear(7, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    member[0].weight.data[:, 2] = 0
    explained = attribution.deep_shap(ensemble_of(member), configurations(40))
    np.testing.assert_array_equal(explained.values[:, 2], 0)
    assert (np.abs(np.delete(explained.values, 2, axis=1)).max(0) > 1e-3).all()
    assert explained.importance().index[-1] == NAMES[2]


def test_a_constant_prediction_is_explained_by_zeros():
    explained = attribution.deep_shap(ensemble_of(linear(np.zeros(7))), configurations(10))
    np.testing.assert_array_equal(explained.values, 0)


class Functional(nn.Module):
    """An activation that Deep SHAP does not see."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(7, 16), nn.Linear(16, 1)

    def forward(self, x):
        return self.last(torch.tanh(3 * self.first(x)))


class Reused(nn.Module):
    """One activation module for two layers: Deep SHAP remembers the last call only."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(7, 16), nn.Linear(16, 16), nn.Linear(16, 1)
        self.tanh = nn.Tanh()

    def forward(self, x):
        return self.last(self.tanh(self.second(3 * self.tanh(3 * self.first(x)))))


# Against other ways to the same values


@pytest.fixture
def tanh_networks(fixed_seed):
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
    ensemble, table = ensemble_of(*tanh_networks), configurations(60)
    explained = attribution.deep_shap(ensemble, table, n_background=16, seed=2)
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
    explained = attribution.deep_shap(ensemble_of(member), table, tolerance=1e-3)
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
    return member


def exact(ensemble, table, n_background, seed):
    return decomposition.decompose(ensemble, table, n_background=n_background, seed=seed).shap()


@pytest.mark.parametrize("kind", ["additive", "linear"])
def test_where_nothing_interacts_the_values_are_the_exact_ones(kind, fixed_seed):
    if kind == "additive":
        members = [additive(1), additive(2)]
    else:
        members = [linear(np.arange(7.0)), network(nn.Linear(7, 5), nn.Linear(5, 1))]
    ensemble, table = ensemble_of(*members), configurations(30)
    found, expected = attribution.deep_shap(ensemble, table, seed=4), exact(ensemble, table, 32, 4)
    np.testing.assert_allclose(found.member_values, expected.member_values, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.base_values, expected.base_values, rtol=0, atol=1e-10)
    assert np.abs(expected.values).mean(0).max() > 0.05


def test_where_things_interact_the_values_are_near_the_exact_ones(tanh_networks):
    ensemble, table = ensemble_of(*tanh_networks), configurations(60)
    found, expected = attribution.deep_shap(ensemble, table), exact(ensemble, table, 32, 0)
    np.testing.assert_allclose(found.base_values, expected.base_values, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.member_values.sum(2), expected.member_values.sum(2), rtol=0, atol=1e-9)
    error = np.abs(found.member_values - expected.member_values).mean((1, 2))
    relative = error / np.abs(expected.member_values).mean((1, 2))
    # Not the same: the decomposition is no Deep SHAP under another name.
    assert (relative > 0.005).all()
    assert (relative < 0.3).all()


def test_how_far_two_attributions_are_apart(known):
    same = attribution.agreement(known, known)
    assert list(same.index) == [*known.importance().index, "all"]
    assert same.loc["all", "error"] == 0
    assert (same["rank"] == same["exact_rank"])[NAMES].all()
    assert (same.loc[["beta_1", "beta_2", "all"], "signs"] == 1).all()
    # Larger, and the slope the other way round.
    values = known.member_values * np.array([-3, 2, 1, 1, 1, 1, 1])
    other = Attribution(known.ensemble, known.table, NAMES, known.unit, values, known.base_values)
    found = attribution.agreement(other, known)
    assert found.loc["beta_1", "error"] == pytest.approx(4)
    assert found.loc["beta_2", "error"] == pytest.approx(1)
    assert found.loc["beta_1", "signs"] < 0.05
    assert found.loc["beta_2", "signs"] == 1
    assert found.loc[["beta_1", "beta_2"], "rank"].tolist() == [1, 2]
    assert found.loc[["beta_1", "beta_2"], "exact_rank"].tolist() == [2, 1]
    assert list(found.index[:2]) == ["beta_2", "beta_1"]
    sizes = np.abs(known.values).mean(0)
    assert found.loc["all", "error"] == pytest.approx((4 * sizes[0] + sizes[1]) / sizes.sum())


def test_how_far_they_are_apart_has_an_interval(known):
    # Two members whose approximations err differently: by 10 % and by 30 % of every value.
    members = np.array([known.values, known.values])
    exact = Attribution(known.ensemble, known.table, NAMES, known.unit, members, np.zeros(2), random=False)
    larger = members * np.array([1.1, 1.3])[:, None, None]
    other = Attribution(known.ensemble, known.table, NAMES, known.unit, larger, np.zeros(2), random=False)
    found = attribution.agreement(other, exact).loc[["beta_1", "beta_2", "all"]]
    np.testing.assert_allclose(found["error"], 0.2)
    np.testing.assert_allclose(found["ratio"], 1.2)
    assert (found["error_low"] <= 0.1).all() and (found["error_high"] >= 0.3).all()
    assert (found["ratio_low"] <= 1.1).all() and (found["ratio_high"] >= 1.3).all()
    np.testing.assert_allclose(found[["signs_low", "signs", "signs_high"]], 1)
    # Where the members err alike, there is nothing to be unsure of.
    alike = Attribution(
        known.ensemble, known.table, NAMES, known.unit, 1.2 * members, np.zeros(2), random=False
    )
    sure = attribution.agreement(alike, exact).loc["all"]
    np.testing.assert_allclose(
        sure[["error_low", "error_high", "ratio_low", "ratio_high"]], [0.2, 0.2, 1.2, 1.2]
    )


def test_signs_that_some_members_have_otherwise_are_unsure(known):
    members = np.array([known.values] * 4)
    exact, mixed = (
        Attribution(known.ensemble, known.table, NAMES, known.unit, values, np.zeros(4), random=False)
        for values in (members, members * np.array([1, 1, 1, -1])[:, None, None])
    )
    found = attribution.agreement(mixed, exact).loc["beta_2"]
    assert found["signs"] == 1
    assert found["signs_low"] < 0.5
    assert found["signs_high"] == 1


def test_attributions_of_other_configurations_are_not_compared(known):
    moved = Attribution(
        known.ensemble,
        known.table,
        NAMES,
        1 - known.unit,
        known.member_values,
        known.base_values,
    )
    with pytest.raises(ValueError, match="explain different configurations"):
        attribution.agreement(moved, known)


@pytest.mark.parametrize("module", [Functional, Reused])
def test_values_that_do_not_add_up_are_refused(module, fixed_seed):
    member = module().double().requires_grad_(False)
    with pytest.raises(ArithmeticError, match=r"not additive.*is allowed"):
        attribution.deep_shap(ensemble_of(member), configurations(30))


def test_a_small_metric_is_checked_as_strictly(fixed_seed):
    # An absolute tolerance would let anything pass for a metric that varies by 0.0001.
    member = Functional().double().requires_grad_(False)
    member.last.weight.data *= 1e-4
    with pytest.raises(ArithmeticError, match="not additive"):
        attribution.deep_shap(ensemble_of(member), configurations(30))


def test_importance_is_the_mean_absolute_value(explained):
    table = explained.importance()
    assert set(table.index) == set(NAMES)
    for j, name in enumerate(NAMES):
        assert table.loc[name, "importance"] == pytest.approx(np.abs(explained.values[:, j]).mean())
        assert 0 <= table.loc[name, "low"] <= table.loc[name, "high"]
        curve = explained.curves().set_index("hyperparameter").loc[name]
        assert table.loc[name, "peak"] == pytest.approx(curve["size"].max())
        assert table.loc[name, "peak"] >= table.loc[name, "importance"] / 1.1
    # The bounds are those of a size: noise is taken off its square, and may leave nothing.
    estimate = explained.importance_estimate()
    few = {"n_members": len(explained.member_values)}
    low, high = uncertainty.interval(estimate.value, estimate.replicates, nonnegative=True, **few)
    np.testing.assert_array_equal(table.loc[NAMES, ["low", "high"]], np.column_stack([low, high]))
    np.testing.assert_array_equal(table.loc[NAMES, "importance"], estimate.value)
    assert table.loc["beta_2", "low"] > 0
    assert table["importance"].is_monotonic_decreasing
    assert list(table["rank"]) == [1, 2, 3, 4, 5, 6, 7]
    assert table.index[0] == "beta_2"


@pytest.fixture(scope="module")
def known():
    """Members whose SHAP values are known: a slope and a wave, each member a little off."""
    unit = spaces.sobol(7, 1024)
    values = np.zeros((10, 1024, 7))
    offsets = np.linspace(-0.05, 0.05, 10)[:, None]
    values[:, :, 0] = 0.4 * (unit[:, 0] - 0.5) + offsets
    values[:, :, 1] = 0.2 * np.sin(2 * np.pi * unit[:, 1]) * (1 + offsets)
    table = pd.DataFrame(unit, columns=NAMES).assign(test_accuracy=0.5, status="ok")
    return Attribution(ensemble_of(linear(np.zeros(7))), table, NAMES, unit, values, np.zeros(10))


def test_curves_follow_a_known_function(known):
    curves = known.curves(n_grid=21, bandwidth=0.02).set_index("hyperparameter")
    assert list(dict.fromkeys(curves.index)) == NAMES
    slope, wave = (curves.loc[name].reset_index(drop=True) for name in ("beta_1", "beta_2"))
    np.testing.assert_allclose(slope["unit"], np.linspace(0, 1, 21))
    np.testing.assert_allclose(slope["value"], slope["unit"], atol=1e-9)
    # A window that hangs over the edge sees one side only.
    inner = slope["unit"].between(0.1, 0.9)
    np.testing.assert_allclose(slope["mean"][inner], 0.4 * (slope["unit"][inner] - 0.5), atol=0.003)
    np.testing.assert_allclose(wave["mean"][inner], 0.2 * np.sin(2 * np.pi * wave["unit"][inner]), atol=0.006)
    np.testing.assert_allclose(curves.loc["gammaB_1", ["mean", "low", "high", "size"]], 0, atol=1e-12)


def test_the_band_is_that_of_the_members(known):
    slope = known.curves(n_grid=21).set_index("hyperparameter").loc["beta_1"]
    # The slope itself is known well; members are spread evenly over ±0.05 of it.
    half = reach_of(10) * np.linspace(-0.05, 0.05, 10).std()
    np.testing.assert_allclose((slope["high"] - slope["low"]) / 2, half, rtol=0.1)
    np.testing.assert_allclose((slope["high"] + slope["low"]) / 2, slope["mean"], atol=0.01)


def test_explained_from_few_configurations_the_band_is_wider(known):
    values = known.member_values[:, :64]
    few = Attribution(known.ensemble, known.table[:64], NAMES, known.unit[:64], values, known.base_values)
    widths = []
    for of in (known, few):
        wave = of.curves(n_grid=21).set_index("hyperparameter").loc["beta_2"]
        widths.append((wave["high"] - wave["low"]).mean())
    assert widths[1] > 2 * widths[0]


def test_members_that_agree_on_everything_leave_the_choice_of_configurations(known):
    one = known.member_values[:1]
    agreed = Attribution(known.ensemble, known.table, NAMES, known.unit, one.repeat(5, 0), known.base_values)
    frame = agreed.importance()
    expected = 2 * reach_of(5) * np.abs(one[0]).std(0) / 1024**0.5
    widths = (frame["high"] - frame["low"])[NAMES]
    np.testing.assert_allclose(widths, expected, rtol=0.15, atol=1e-12)


def test_one_member_has_values_and_no_intervals(known):
    alone = Attribution(known.ensemble, known.table, NAMES, known.unit, known.member_values[:1], np.zeros(1))
    assert alone.importance()["importance"].notna().all()
    assert alone.importance()[["low", "high"]].isna().all(axis=None)
    assert alone.curves()[["low", "high"]].isna().all(axis=None)
    assert alone.curves()["mean"].notna().all()


def test_size_is_the_running_mean_of_the_absolute_value(known):
    wave = known.curves(n_grid=21, bandwidth=0.02).set_index("hyperparameter").loc["beta_2"].iloc[2:-2]
    expected = 0.2 * np.abs(np.sin(2 * np.pi * wave["unit"]))
    np.testing.assert_allclose(wave["size"], expected, atol=0.03)
    assert (wave["size"] >= np.abs(wave["mean"]) - 1e-12).all()


def test_a_wider_window_smooths_more(known):
    peaks = [known.curves(bandwidth=b).groupby("hyperparameter")["mean"].max()["beta_2"] for b in (0.02, 0.2)]
    assert peaks[0] > 1.3 * peaks[1]


def test_a_log_scaled_hyperparameter_counts_as_much_as_its_equal():
    space = ConfigurationSpace()
    space.add([Float("plain", (0.0, 1.0)), Float("rate", (1e-5, 1.0), log=True)])
    # Evenly spread, so that neither happens to vary more.
    u = spaces.sobol(2, 256)
    table = spaces.from_unit(space, u).assign(status="ok")
    table["test_accuracy"] = 0.3 * u[:, 0] + 0.3 * u[:, 1]
    ensemble = metamodel.fit(
        table, "test_accuracy", space, n_members=4, n_folds=2, architectures=[(1, 32)], weight_decays=[1e-3]
    )
    explained = attribution.deep_shap(ensemble, table)
    importance = explained.importance()["importance"]
    assert importance["rate"] / importance["plain"] == pytest.approx(1, abs=0.1)
    # Its curve rises over the whole range in unit coordinates; its values are those of the hyperparameter.
    curve = explained.curves().set_index("hyperparameter").loc["rate"]
    assert np.corrcoef(curve["unit"], curve["mean"])[0, 1] > 0.99
    np.testing.assert_allclose(curve["value"], 10 ** (5 * curve["unit"] - 5), rtol=1e-6)


def test_failed_configurations_are_not_explained(explained):
    table = explained.table.copy()
    table.loc[3, "status"] = "failed"
    with pytest.warns(UserWarning, match="1 of 120 configurations failed"):
        fewer = attribution.deep_shap(explained.ensemble, table, n_background=16)
    assert list(fewer.table.index) == [i for i in range(120) if i != 3]
    np.testing.assert_allclose(fewer.values, np.delete(explained.values, 3, axis=0), rtol=0, atol=1e-12)


def test_what_is_saved_is_read_without_this_package(explained, tmp_path):
    explained.save(tmp_path / "shap.npz")
    with np.load(tmp_path / "shap.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["member_values"], explained.member_values)
        np.testing.assert_array_equal(archive["base_values"], explained.base_values)
        np.testing.assert_array_equal(archive["unit"], explained.unit)
        np.testing.assert_array_equal(archive["index"], explained.table.index)
