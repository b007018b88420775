"""Effects: against functions whose decomposition is known, and other software."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import Categorical, ConfigurationSpace, Constant, Float, GreaterThanCondition, Integer
from helpers import Function, cube, ensemble_of, trials
from torch import nn

from ubalkit import effects, metamodel, uncertainty
from ubalkit import space as spaces
from ubalkit.metamodel import Process

#: Two values with the mean, variance and skewness of the uniform distribution.
LEVELS = 0.5 - 12**-0.5, 0.5 + 12**-0.5


def space_of(d):
    return cube(f"h{k}" for k in range(d))


def mlp(widths, seed=0, scale=2.0, activation=lambda: nn.GELU(approximate="tanh")):
    """A network with large random weights, so that it is anything but linear."""
    generator = torch.Generator().manual_seed(seed)
    modules = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layer = nn.Linear(fan_in, fan_out, dtype=torch.float64)
        layer.weight.data = scale * torch.randn(fan_out, fan_in, generator=generator).double() / fan_in**0.5
        layer.bias.data = torch.randn(fan_out, generator=generator).double()
        modules += [layer, activation()]
    return nn.Sequential(*modules[:-1]).requires_grad_(False)


def rows(d, n=20, seed=0):
    unit = np.random.default_rng(seed).random((n, d))
    return pd.DataFrame(unit, columns=spaces.names(space_of(d)))


def factorial(d):
    return np.array(list(itertools.product(LEVELS, repeat=d)))


def all_sets(d):
    return [s for size in range(d + 1) for s in itertools.combinations(range(d), size)]


@pytest.fixture
def balanced(monkeypatch):
    """Every product of centred coordinates averages to nothing over the background, as over the cube."""
    stand_on(monkeypatch, factorial)


def stand_on(monkeypatch, design):
    def points(ensemble, n_background, seed):
        return np.array([design(len(spaces.varied(ensemble.space)))] * len(ensemble.members))

    monkeypatch.setattr(uncertainty, "backgrounds", points)


def polynomial(coefficients):
    """Σ_S c_S Π_{i∈S} (u_i - 1/2): its own decomposition, whatever the point."""

    def f(u):
        terms = [c * (u[:, list(s)] - 0.5).prod(1) for s, c in coefficients.items()]
        return sum(terms[1:], terms[0])

    return f


def value_of(ensemble, background, point, held):
    """v(S) of one member and point, spelled out: the mean with the point held on S."""
    mixed = background.copy()
    mixed[:, list(held)] = point[list(held)]
    return ensemble.predict_unit(mixed)[0].mean()


# What is known of a function


@pytest.fixture(scope="module")
def coefficients():
    rng = np.random.default_rng(5)
    return dict(zip(all_sets(5), rng.normal(size=32)))


def test_the_components_of_a_polynomial_are_its_terms(balanced, coefficients):
    ensemble, table = ensemble_of(space_of(5), polynomial(coefficients)), rows(5)
    found = effects.decompose(ensemble, table)
    unit, names = table.to_numpy(), list(table)
    assert found.names == names
    np.testing.assert_allclose(found.base_values, coefficients[()], rtol=0, atol=1e-10)
    assert set(found.components) == {tuple(names[i] for i in s) for s in all_sets(5)[1:]}
    for s in all_sets(5)[1:]:
        expected = coefficients[s] * (unit[:, s] - 0.5).prod(1)
        component = found.components[tuple(names[i] for i in s)]
        np.testing.assert_allclose(component, expected, rtol=0, atol=1e-10, err_msg=str(s))


def test_sobol_indices_of_a_polynomial(balanced):
    terms = {(): 9.0, (0,): 0.3, (1,): -0.1, (0, 2): 1.0, (1, 3): 2.0, (0, 1, 2, 3): 8.0}
    variance = {s: c**2 / 12 ** len(s) for s, c in terms.items() if s}
    variance = {s: v / sum(variance.values()) for s, v in variance.items()}
    # The two levels have the variance of the uniform distribution, so that nothing is left to sampling.
    table = pd.DataFrame(factorial(4), columns=spaces.names(space_of(4)))
    found = effects.decompose(ensemble_of(space_of(4), polynomial(terms)), table)
    shares, sobol, orders = found.variance()["share"], found.sobol(), found.orders()
    for s in all_sets(4)[1:]:
        label = " × ".join(f"h{i}" for i in s)
        assert shares[label] == pytest.approx(variance.get(s, 0), abs=1e-10), label
    for i in range(4):
        own, total = variance.get((i,), 0), sum(v for s, v in variance.items() if i in s)
        assert sobol.loc[f"h{i}", "first"] == pytest.approx(own, abs=1e-10)
        assert sobol.loc[f"h{i}", "total"] == pytest.approx(total, abs=1e-10)
    for k, order in enumerate(("1", "2", "3+")):
        expected = sum(v for s, v in variance.items() if min(len(s), 3) == k + 1)
        assert orders.loc[order, "share"] == pytest.approx(expected, abs=1e-10)


def test_sobol_indices_of_the_g_function_are_those_of_its_product_formula():
    a = np.array([0, 0.5, 1.5, 3, 6, 9, 99])
    variance = 1 / (3 * (1 + a) ** 2)
    whole = np.prod(1 + variance) - 1
    ensemble = ensemble_of(space_of(7), lambda u: ((np.abs(4 * u - 2) + a) / (1 + a)).prod(1))
    found = effects.decompose(ensemble).sobol().loc[spaces.names(space_of(7))]
    np.testing.assert_allclose(found["first"], variance / whole, rtol=0, atol=0.03)
    total = variance * np.prod(1 + variance) / (1 + variance) / whole
    np.testing.assert_allclose(found["total"], total, rtol=0, atol=0.03)


# What holds of any function


@pytest.fixture(scope="module")
def pair_of_networks():
    return ensemble_of(space_of(4), mlp((4, 8, 1), 1), mlp((4, 6, 5, 1), 2))


@pytest.fixture(scope="module")
def decomposed(pair_of_networks):
    return effects.decompose(pair_of_networks, rows(4), n_background=8, seed=3)


@pytest.fixture(scope="module")
def each_game(pair_of_networks):
    """Each member's v by the set held, at every point: computed one set, point and member at a time."""
    games, unit = [], np.array(rows(4))
    backgrounds = uncertainty.backgrounds(pair_of_networks, 8, 3)
    for member, background in zip(pair_of_networks.members, backgrounds):
        alone = ensemble_of(space_of(4), member)
        games.append(
            {s: np.array([value_of(alone, background, point, s) for point in unit]) for s in all_sets(4)}
        )
    return games


def test_base_and_components_add_up_to_every_prediction(decomposed, pair_of_networks):
    predicted = pair_of_networks.predict_unit(np.array(rows(4)))
    added = decomposed.base_values[:, None] + decomposed.member_components.sum(2)
    assert decomposed.member_components.shape == (2, 20, 15)
    np.testing.assert_allclose(added, predicted, rtol=0, atol=1e-10)
    np.testing.assert_allclose(decomposed.predictions, predicted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(decomposed.remainder, 0, atol=1e-10)
    whole = decomposed.base_values.mean() + sum(decomposed.components.values())
    np.testing.assert_allclose(whole, predicted.mean(0), rtol=0, atol=1e-10)
    # Nothing of this is small.
    assert np.abs(decomposed.member_components).mean((0, 1)).min() > 1e-3


def test_a_set_s_components_add_up_to_its_value(decomposed, each_game):
    for k, game in enumerate(each_game):
        np.testing.assert_allclose(decomposed.base_values[k], game[()], rtol=0, atol=1e-10)
        for held in all_sets(4):
            inside = [set(s) <= {f"h{i}" for i in held} for s in decomposed.subsets]
            added = decomposed.base_values[k] + decomposed.member_components[k][:, inside].sum(1)
            np.testing.assert_allclose(added, game[held], rtol=0, atol=1e-10)


def test_shap_values_are_those_of_shapley_s_formula(decomposed, pair_of_networks, each_game):
    attribution = decomposed.shap()
    assert attribution.ensemble is pair_of_networks and attribution.names == ["h0", "h1", "h2", "h3"]
    np.testing.assert_array_equal(attribution.unit, np.array(rows(4)))
    for game, values in zip(each_game, attribution.member_values):
        expected = np.zeros((20, 4))
        for sequence in itertools.permutations(range(4)):
            for position, i in enumerate(sequence):
                before = tuple(sorted(sequence[:position]))
                expected[:, i] += (game[tuple(sorted((*before, i)))] - game[before]) / math.factorial(4)
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "member",
    [
        mlp((3, 16, 1), scale=5),
        mlp((3, 5, 6, 7, 1), scale=5),
        mlp((3, 8, 1), activation=nn.ReLU),
        mlp((3, 8, 1), activation=nn.GELU),
        nn.Sequential(*mlp((3, 8, 1)), nn.Tanh()),
        mlp((3, 1)),
    ],
    ids=["one layer", "three layers", "relu", "exact gelu", "tanh at the end", "linear"],
)
def test_every_network_is_decomposed_as_any_function_is(member):
    function = Function(lambda u: member(torch.as_tensor(u)))
    found, expected = (effects.decompose(ensemble_of(space_of(3), m), rows(3)) for m in (member, function))
    np.testing.assert_allclose(found.remainder, 0, atol=1e-10)
    assert np.ptp(found.predictions) > 1e-3
    np.testing.assert_allclose(found.member_components, expected.member_components, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.base_values, expected.base_values, rtol=0, atol=1e-12)


def test_a_process_is_decomposed_as_any_function_is_where_the_background_is_a_product(balanced):
    generator = torch.Generator().manual_seed(0)
    sizes = ((9, 3), (3,), (9,), (1,))
    member = Process(*(torch.randn(*size, generator=generator).double() for size in sizes))
    function = Function(lambda u: member(torch.as_tensor(u)))
    found, expected = (effects.decompose(ensemble_of(space_of(3), m), rows(3)) for m in (member, function))
    assert np.abs(found.components["h0", "h1", "h2"]).max() > 1e-3
    np.testing.assert_allclose(found.member_components, expected.member_components, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.base_values, expected.base_values, rtol=0, atol=1e-12)


# Many hyperparameters


@pytest.fixture
def truncated(monkeypatch, balanced, coefficients):
    """The same with all sets and without those of three and more."""
    ensemble, table = ensemble_of(space_of(5), polynomial(coefficients)), rows(5)
    complete = effects.decompose(ensemble, table)
    monkeypatch.setattr(effects, "MOST", 4)
    return complete, effects.decompose(ensemble, table)


def test_of_many_hyperparameters_pairs_are_found_and_the_rest_is_said(truncated):
    complete, pairs = truncated
    assert len(complete.subsets) == 2 ** len(complete.names) - 1 > len(pairs.subsets)
    assert pairs.subsets == [s for s in complete.subsets if len(s) <= 2]
    for s in pairs.subsets:
        np.testing.assert_allclose(pairs.components[s], complete.components[s], rtol=0, atol=1e-12)
    higher = sum(m for s, m in complete.components.items() if len(s) > 2)
    assert higher.std() > 0.05
    np.testing.assert_allclose(pairs.remainder[0], higher, rtol=0, atol=1e-10)
    np.testing.assert_allclose(complete.remainder, 0, atol=1e-10)
    # Shares are of the whole prediction all the same, and what was left out explains together is known.
    all_shares, shares = (d.variance()["share"] for d in truncated)
    np.testing.assert_allclose(shares, all_shares[shares.index], rtol=0, atol=1e-10)
    assert shares.sum() < 0.999
    assert complete.orders().loc["3+", "share"] > 0.01
    pd.testing.assert_frame_equal(pairs.orders(), complete.orders(), atol=1e-10)
    # What each has of it is estimated, of half of all there is to either side of the truth.
    exact, found = complete.shap().values, pairs.shap().values
    assert np.abs(found - exact).max() < 0.2 * np.abs(exact - exact.mean(0)).std()
    np.testing.assert_allclose(found.sum(1), exact.sum(1), rtol=0, atol=1e-10)
    all_parts, parts = (d.scatter()["value"].unstack() for d in truncated)
    assert all_parts["order 3+"].abs().max() > 1e-3
    np.testing.assert_allclose(parts, all_parts, rtol=0, atol=0.1)


def test_of_twelve_hyperparameters_all_sets_are_decomposed_and_of_thirteen_pairs():
    found = effects.decompose(ensemble_of(space_of(12), mlp((12, 4, 1))), n_points=2, n_background=2)
    assert len(found.subsets) == 2**12 - 1
    np.testing.assert_allclose(found.shap().values.sum(1), (found.predictions - found.base_values).mean(0))
    found = effects.decompose(ensemble_of(space_of(13), mlp((13, 8, 1))), n_points=16)
    assert found.member_components.shape == (1, 16, 13 + 78)
    assert found.remainder.std() > 0.01
    assert len(found.sobol()) == 13


# The tables


@pytest.fixture(scope="module")
def found():
    """Fitted to one own effect, a pair, and one hyperparameter that does nothing."""
    unit = np.random.default_rng(1).random((160, 4))
    y = unit[:, 0] + 2 * (unit[:, 1] - 0.5) * (unit[:, 2] - 0.5)
    y += 0.02 * np.random.default_rng(2).standard_normal(160)
    given = trials(spaces.from_unit(space_of(4), unit).assign(y=y), space_of(4), y="maximize")
    quick = {"n_members": 6, "n_folds": 2, "architectures": [(1, 16)], "weight_decays": [1e-3]}
    ensemble = metamodel.fit(given, steps=300, **quick)
    assert ensemble.r2 > 0.9
    return effects.decompose(ensemble, n_points=256)


def test_the_tables_of_a_function_that_is_learnt(found):
    frame, sobol = found.variance(), found.sobol()
    assert list(frame) == ["order", "share", "low", "high"]
    assert len(frame) == 15 and frame["share"].is_monotonic_decreasing
    assert (frame["order"] == [len(label.split(" × ")) for label in frame.index]).all()
    assert frame["share"].sum() == pytest.approx(1, abs=1e-10)
    # 1/12 against 4/144.
    assert list(frame.index[:2]) == ["h0", "h1 × h2"]
    for label, share in {"h0": 0.75, "h1 × h2": 0.25}.items():
        assert frame.loc[label, "share"] == pytest.approx(share, abs=0.05)
        assert frame.loc[label, "low"] - 0.02 < share < frame.loc[label, "high"] + 0.02
    assert list(sobol) == ["first", "first_low", "first_high", "total", "total_low", "total_high"]
    assert sobol["total"].is_monotonic_decreasing and (sobol.index[0], sobol.index[-1]) == ("h0", "h3")
    intervals = [(frame["low"], frame["share"], frame["high"])]
    intervals += [(sobol[f"{k}_low"], sobol[k], sobol[f"{k}_high"]) for k in ("first", "total")]
    for low, value, high in intervals:
        assert (high - low).between(0, 0.2, inclusive="neither").all()
        assert ((low <= value) & (value <= high)).all()
    orders, truth = found.orders(), np.array([0.75, 0.25, 0])
    assert list(orders.index) == ["1", "2", "3+"]
    assert ((orders["low"] < truth) & (truth < orders["high"])).all()


def test_points_spread_evenly_add_nothing_to_the_intervals(balanced):
    # Members that are one and the same: all that is left to vary is the choice of the points.
    member = mlp((3, 8, 1))
    ensemble = ensemble_of(space_of(3), member, member)
    evenly, drawn = effects.decompose(ensemble, n_points=64), effects.decompose(ensemble, rows(3, 64))
    assert (evenly.random, drawn.random) == (False, True)
    widths = [d.sobol().eval("total_high - total_low") for d in (evenly, drawn)]
    assert (widths[0] <= 1e-12).all() and (widths[1] > 1e-3).all()
    # Nor to those of their SHAP values.
    importance = evenly.shap().importance()
    np.testing.assert_allclose(importance["low"], importance["high"], rtol=0, atol=1e-10)


def with_pairs(*strengths):
    """Members in which h1 and h2 join with different strengths, and h1 with h3."""
    members = [polynomial({(0,): 1.0, (1, 2): c, (1, 3): 2.0}) for c in strengths]
    return effects.decompose(ensemble_of(space_of(4), *members), n_points=512)


def test_the_intervals_of_scatter_and_orders_are_the_members(balanced):
    strengths = (3.6, 4.0, 4.4)
    found = with_pairs(*strengths)
    assert not found.random
    # Of each member by itself; the points are no sample, so that nothing else varies.
    alone = [with_pairs(c) for c in strengths]
    for ask in (lambda d: d.scatter().loc["h1"], lambda d: d.orders()):
        frame, of_each = ask(found), [ask(d).iloc[:, 0] for d in alone]
        assert list(frame)[1:] == ["low", "high"]
        assert np.isnan(ask(alone[0])[["low", "high"]]).all(axis=None)
        spread = np.ptp(of_each, axis=0)
        varied = spread > 0.01
        assert varied.sum() >= 2
        width = frame["high"] - frame["low"]
        # Twice Student's quantile of two degrees, the spread of three numbers, and the calibration.
        expected = 2 * uncertainty.EVEN_CALIBRATION["MLP"] * 2.92 * (4 / 3) ** 0.5 * np.std(of_each, axis=0)
        np.testing.assert_allclose(width[varied], expected[varied], rtol=0.2)
        assert (width[~varied] < 0.1).all()
        lowest, highest = np.min(of_each, axis=0) + 1e-12, np.max(of_each, axis=0) - 1e-12
        assert ((frame["low"] <= lowest) & (highest <= frame["high"])).all()


def test_the_scatter_is_put_down_to_the_right_partner(balanced):
    f = polynomial({(): 0.5, (0,): 1.0, (1, 2): 4.0})
    whole = effects.decompose(ensemble_of(space_of(4), f), rows(4, 200)).scatter()
    assert list(whole) == ["value", "low", "high"]
    assert list(whole.loc["h1"].index) == ["own", "scatter", "h0", "h2", "h3", "order 3+"]
    frame, unit = whole["value"].unstack(), np.array(rows(4, 200))
    assert frame.index.name == "hyperparameter"
    pair = 4 * (unit[:, 1] - 0.5) * (unit[:, 2] - 0.5)
    np.testing.assert_allclose(frame["own"], [unit[:, 0].std(), 0, 0, 0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(frame["scatter"], [0, pair.std() / 2, pair.std() / 2, 0], rtol=0, atol=1e-10)
    assert [frame.loc["h1", "h2"], frame.loc["h2", "h1"]] == pytest.approx([1, 1], abs=1e-10)
    assert frame.loc["h1", ["h0", "h3", "order 3+"]].abs().max() < 1e-10
    assert np.isnan([frame.loc[name, name] for name in frame.index]).all()


def test_the_scatter_is_the_shap_value_less_the_own_effect(decomposed):
    frame, values = decomposed.scatter()["value"].unstack(), decomposed.shap().values
    for j, name in enumerate(decomposed.names):
        rest = values[:, j] - decomposed.components[name,]
        assert frame.loc[name, "scatter"] == pytest.approx(rest.std(), abs=1e-12)
        assert frame.loc[name, "own"] == pytest.approx(decomposed.components[name,].std(), abs=1e-12)
    shares = frame.drop(columns=["own", "scatter"])
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=0, atol=1e-10)
    assert (shares["order 3+"].abs() > 1e-3).all()


def test_the_surface_is_made_of_the_components(pair_of_networks, monkeypatch):
    table = effects.surface(pair_of_networks, ("h0", "h2"), n_grid=4, n_background=16, seed=9)
    # All members stand on the surface's background.
    stand_on(monkeypatch, lambda d: spaces.sobol(d, 16, 9))
    grid = table[["h0", "h2"]].assign(h1=0.1, h3=0.9)
    found = effects.decompose(pair_of_networks, grid[["h0", "h1", "h2", "h3"]])
    np.testing.assert_allclose(table["interaction"], found.components["h0", "h2"], rtol=0, atol=1e-10)
    joint = found.components["h0",] + found.components["h2",] + found.components["h0", "h2"]
    np.testing.assert_allclose(table["joint"], joint, rtol=0, atol=1e-10)
    assert table["interaction"].std() > 0.01
    assert list(table) == ["h0", "h2", "joint", "interaction"] and len(table) == 16
    # What hangs on a hyperparameter that is not of the pair is active where that is.
    space = space_of(3)
    space.add(GreaterThanCondition(space["h2"], space["h1"], 0.6))
    grid = effects.surface(ensemble_of(space, mlp((3, 8, 1))), ("h0", "h2"), n_grid=3)
    assert grid.groupby("h0")["joint"].std().min() > 1e-4


# The points


def test_by_default_the_points_are_those_of_the_sampling_distribution(pair_of_networks):
    found = effects.decompose(pair_of_networks, n_points=128, seed=2)
    assert found.unit.shape == (128, 4)
    np.testing.assert_allclose(found.unit.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(found.unit.var(0), 1 / 12, atol=0.005)
    np.testing.assert_array_equal(found.table.to_numpy(), found.unit)
    again, other = (effects.decompose(pair_of_networks, n_points=128, seed=s) for s in (2, 3))
    np.testing.assert_array_equal(again.member_components, found.member_components)
    assert np.abs(other.base_values - found.base_values).min() > 1e-6
    # None is another seed's, or one of the background.
    for points in (other.unit, uncertainty.backgrounds(pair_of_networks, 32, 2).reshape(-1, 4)):
        assert np.abs(found.unit[:, None] - points).max(2).min() > 1e-6


def test_every_kind_of_hyperparameter_varies_as_it_is_drawn():
    space, kinds = ConfigurationSpace(), [Categorical("kind", ["a", "b"]), Integer("size", (1, 3))]
    space.add([*kinds, Float("rate", (1e-5, 1.0), log=True), Constant("frozen", 3), Float("x", (-1.0, 1.0))])
    found = effects.decompose(ensemble_of(space, lambda u: u.sum(1)), n_points=256)
    assert set(found.table) == {*found.names, "frozen"}
    np.testing.assert_allclose(spaces.to_unit(space, found.table), found.unit, rtol=0, atol=1e-9)
    variance = pd.Series({"kind": 1 / 16, "size": 2 / 27, "rate": 1 / 12, "x": 1 / 12})
    shares = found.sobol()["first"]
    np.testing.assert_allclose(shares[variance.index], variance / variance.sum(), atol=0.01)
