import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import Categorical, ConfigurationSpace, Constant, Float, Integer
from torch import nn

from ubalkit import decomposition, metamodel, uncertainty
from ubalkit import space as spaces
from ubalkit.metamodel import Ensemble

#: Two values with the mean, variance and skewness of the uniform distribution.
LEVELS = 0.5 - 12**-0.5, 0.5 + 12**-0.5


def cube(d):
    space = ConfigurationSpace()
    space.add([Float(f"h{k}", (0.0, 1.0), meta={"position": k}) for k in range(d)])
    return space


class Function(nn.Module):
    """A function of rows as a member of an ensemble."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x).reshape(-1, 1)


def ensemble_of(*members, d=None, space=None):
    """An ensemble of hand-made members; nothing was fitted."""
    members = [m if isinstance(m, nn.Module) else Function(m) for m in members]
    quality = pd.DataFrame({"r2": 1.0, "spearman": 1.0, "n": 1}, index=["ensemble"])
    return Ensemble("metric", space or cube(d), members, quality, np.empty(0), pd.DataFrame(), 0, 0)


def mlp(widths, seed=0, scale=2.0):
    """A GELU network with large random weights, so that it is anything but linear."""
    generator = torch.Generator().manual_seed(seed)
    modules = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layer = nn.Linear(fan_in, fan_out, dtype=torch.float64)
        layer.weight.data = scale * torch.randn(fan_out, fan_in, generator=generator).double() / fan_in**0.5
        layer.bias.data = torch.randn(fan_out, generator=generator).double()
        modules += [layer, nn.GELU(approximate="tanh")]
    return nn.Sequential(*modules[:-1]).requires_grad_(False)


def rows(d, n=20, seed=0):
    unit = np.random.default_rng(seed).random((n, d))
    return pd.DataFrame(unit, columns=spaces.names(cube(d)))


def factorial(d, levels=LEVELS):
    return np.array(list(itertools.product(levels, repeat=d)))


def all_sets(d):
    return [s for size in range(d + 1) for s in itertools.combinations(range(d), size)]


@pytest.fixture
def balanced(monkeypatch):
    """Every product of centred coordinates averages to nothing over the background, as over the cube."""
    stand_on(monkeypatch, lambda d: factorial(d))


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
    ensemble, table = ensemble_of(polynomial(coefficients), d=5), rows(5)
    found = decomposition.decompose(ensemble, table)
    unit, names = table.to_numpy(), list(table)
    assert found.names == names
    np.testing.assert_allclose(found.base_values, coefficients[()], rtol=0, atol=1e-10)
    assert set(found.components) == {tuple(names[i] for i in s) for s in all_sets(5)[1:]}
    for s in all_sets(5)[1:]:
        expected = coefficients[s] * (unit[:, s] - 0.5).prod(1)
        component = found.components[tuple(names[i] for i in s)]
        np.testing.assert_allclose(component, expected, rtol=0, atol=1e-10, err_msg=str(s))


def test_few_sobol_points_stand_for_the_distribution(coefficients):
    ensemble, table = ensemble_of(polynomial(coefficients), d=5), rows(5)
    errors = {}
    for n in (32, 1024):
        found = decomposition.decompose(ensemble, table, n_background=n)
        own = [coefficients[i,] * (table[f"h{i}"] - 0.5) for i in range(5)]
        errors[n] = max(np.abs(found.components[f"h{i}",] - own[i]).max() for i in range(5))
    assert errors[32] < 0.05
    assert errors[1024] < 0.005


POLYNOMIALS = {
    "linear": {(0,): 1.0, (1,): 2.0, (2,): -3.0},
    "bilinear": {(0,): 1.0, (1,): 1.0, (0, 1): 4.0},
    "three-way product": {(0, 1, 2): 1.0},
    "pure pair": {(1, 2): -0.5},
    "everything": {(): 9.0, (0,): 0.3, (1,): -0.1, (0, 2): 1.0, (1, 3): 2.0, (0, 1, 2, 3): 8.0},
}


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_sobol_indices_of_polynomials(balanced, name):
    terms = POLYNOMIALS[name]
    variance = {s: c**2 / 12 ** len(s) for s, c in terms.items() if s}
    variance = {s: v / sum(variance.values()) for s, v in variance.items()}
    # The two levels have the variance of the uniform distribution, so that nothing is left to sampling.
    table = pd.DataFrame(factorial(4), columns=spaces.names(cube(4)))
    found = decomposition.decompose(ensemble_of(polynomial(terms), d=4), table)
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


A = np.array([0, 0.5, 1.5, 3, 6, 9, 99])


def g_function(u):
    a = torch.as_tensor(A)
    return (((4 * u - 2).abs() + a) / (1 + a)).prod(1)


def g_indices():
    """First-order and total indices, from the product formula."""
    variance = 1 / (3 * (1 + A) ** 2)
    whole = np.prod(1 + variance) - 1
    return variance / whole, variance * np.prod(1 + variance) / (1 + variance) / whole


def test_sobol_indices_of_the_g_function(monkeypatch):
    # At 1/4 each factor is 1, its mean; |4u - 2| has the right variance at two values.
    stand_on(monkeypatch, lambda d: np.full((1, d), 0.25))
    levels = tuple(0.5 + (1 + sign * 3**-0.5) / 4 for sign in (-1, 1))
    table = pd.DataFrame(factorial(7, levels), columns=spaces.names(cube(7)))
    found = decomposition.decompose(ensemble_of(g_function, d=7), table).sobol().loc[list(table)]
    first, total = g_indices()
    assert first[:3] == pytest.approx([0.503, 0.223, 0.080], abs=1e-3)
    np.testing.assert_allclose(found["first"], first, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found["total"], total, rtol=0, atol=1e-10)


def test_sobol_indices_of_the_g_function_by_default():
    found = decomposition.decompose(ensemble_of(g_function, d=7)).sobol()
    first, total = g_indices()
    names = spaces.names(cube(7))
    np.testing.assert_allclose(found.loc[names, "first"], first, rtol=0, atol=0.03)
    np.testing.assert_allclose(found.loc[names, "total"], total, rtol=0, atol=0.03)


def ishigami(u):
    x = 2 * np.pi * (u - 0.5)
    return x[:, 0].sin() + 7 * x[:, 1].sin() ** 2 + 0.1 * x[:, 2] ** 4 * x[:, 0].sin()


def test_sobol_indices_of_ishigami_s_function():
    a, b = 7, 0.1
    own = np.array([(1 + b * np.pi**4 / 5) ** 2 / 2, a**2 / 8, 0])
    pair = b**2 * np.pi**8 * (1 / 18 - 1 / 50)
    total = own + np.array([pair, 0, pair])
    whole = own.sum() + pair
    found = decomposition.decompose(ensemble_of(ishigami, d=3), n_background=256)
    sobol = found.sobol().loc[["h0", "h1", "h2"]]
    np.testing.assert_allclose(sobol["first"], own / whole, rtol=0, atol=0.01)
    np.testing.assert_allclose(sobol["total"], total / whole, rtol=0, atol=0.01)
    shares = found.variance()["share"]
    assert shares["h0 × h2"] == pytest.approx(pair / whole, abs=0.01)
    assert shares[["h0 × h1", "h1 × h2", "h0 × h1 × h2"]].abs().max() < 0.005


# What holds of any function


@pytest.fixture(scope="module")
def pair_of_networks():
    return ensemble_of(mlp((4, 8, 1), 1), mlp((4, 6, 5, 1), 2), d=4)


@pytest.fixture(scope="module")
def decomposed(pair_of_networks):
    return decomposition.decompose(pair_of_networks, rows(4), n_background=8, seed=3)


@pytest.fixture(scope="module")
def each_game(pair_of_networks):
    """Each member's v by the set held, at every point: computed one set, point and member at a time."""
    games, unit = [], np.array(rows(4))
    backgrounds = uncertainty.backgrounds(pair_of_networks, 8, 3)
    for member, background in zip(pair_of_networks.members, backgrounds):
        alone = ensemble_of(member, d=4)
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
    np.testing.assert_allclose(whole, pair_of_networks.predict(rows(4)), rtol=0, atol=1e-10)
    # Nothing of this is small.
    assert np.abs(decomposed.member_components).mean((0, 1)).min() > 1e-3


def test_a_set_s_components_add_up_to_its_value(decomposed, each_game):
    for k, game in enumerate(each_game):
        np.testing.assert_allclose(decomposed.base_values[k], game[()], rtol=0, atol=1e-10)
        for held in all_sets(4):
            inside = [set(s) <= {f"h{i}" for i in held} for s in decomposed.subsets]
            added = decomposed.base_values[k] + decomposed.member_components[k][:, inside].sum(1)
            np.testing.assert_allclose(added, game[held], rtol=0, atol=1e-10)


def test_shap_values_are_those_of_shapley_s_formula(decomposed, each_game):
    attribution = decomposed.shap()
    for game, values in zip(each_game, attribution.member_values):
        expected = np.zeros((20, 4))
        for sequence in itertools.permutations(range(4)):
            for position, i in enumerate(sequence):
                before = tuple(sorted(sequence[:position]))
                expected[:, i] += (game[tuple(sorted((*before, i)))] - game[before]) / math.factorial(4)
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-10)


def test_shap_values_are_those_of_the_exact_explainer(decomposed, pair_of_networks):
    import shap

    unit = np.array(rows(4))
    backgrounds = uncertainty.backgrounds(pair_of_networks, 8, 3)
    attribution = decomposed.shap()
    for k, background in enumerate(backgrounds):

        def predict(u, k=k):
            return pair_of_networks.predict_unit(u)[k]

        masker = shap.maskers.Independent(background, max_samples=len(background))
        expected = shap.explainers.Exact(predict, masker)(unit[:5])
        values = attribution.member_values[k][:5]
        np.testing.assert_allclose(values, expected.values, rtol=0, atol=1e-10)
        np.testing.assert_allclose(attribution.base_values[k], expected.base_values, rtol=0, atol=1e-10)


def test_shap_values_are_an_attribution_like_any_other(decomposed, pair_of_networks):
    attribution = decomposed.shap()
    assert attribution.ensemble is pair_of_networks
    assert attribution.names == ["h0", "h1", "h2", "h3"]
    np.testing.assert_array_equal(attribution.unit, np.array(rows(4)))
    added = attribution.base_values[:, None] + attribution.member_values.sum(2)
    np.testing.assert_allclose(added, decomposed.predictions, rtol=0, atol=1e-10)
    assert list(attribution.importance()["rank"]) == [1, 2, 3, 4]


def mean_game(each_game, row):
    """The ensemble's game at one point, as shapiq plays it: rows of players in and out."""

    def play(coalitions):
        held = [tuple(np.flatnonzero(coalition).tolist()) for coalition in coalitions]
        return np.array([np.mean([game[s][row] for game in each_game]) for s in held])

    return play


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("index", ["k-SII", "SII", "FSII", "STII"])
def test_interaction_indices_are_those_of_shapiq(decomposed, each_game, index, order):
    shapiq = pytest.importorskip("shapiq")
    for row in (0, 7):
        expected = shapiq.ExactComputer(mean_game(each_game, row), 4)(index, order)
        found = decomposed.interaction_values(row, index=index, order=order)
        assert isinstance(found, shapiq.InteractionValues)
        assert (found.max_order, found.n_players) == (order, 4)
        # Of order 1 all of them are SHAP values, and shapiq calls some so.
        assert found.index in ((index,) if order > 1 else (index, "SV"))
        for s in all_sets(4)[1:]:
            if len(s) <= order:
                assert found[s] == pytest.approx(expected[s], abs=1e-10), s


def test_shap_values_are_those_of_shapiq(decomposed, each_game):
    shapiq = pytest.importorskip("shapiq")
    values = decomposed.shap().values
    for row in range(20):
        expected = shapiq.ExactComputer(mean_game(each_game, row), 4)("SV", 1)
        np.testing.assert_allclose(values[row], [expected[i,] for i in range(4)], rtol=0, atol=1e-10)


def test_a_hyperparameter_that_does_nothing_is_in_no_component():
    member = mlp((4, 8, 1))
    member[0].weight.data[:, 2] = 0
    for either in (member, Function(lambda u: u[:, 0] * (u[:, 1] + u[:, 3]).exp())):
        found = decomposition.decompose(ensemble_of(either, d=4), rows(4))
        for s, component in found.components.items():
            if "h2" in s:
                np.testing.assert_allclose(component, 0, atol=1e-13, err_msg=str(s))
        np.testing.assert_allclose(found.shap().values[:, 2], 0, atol=1e-13)
        sobol = found.sobol()
        assert sobol.index[-1] == "h2"
        assert sobol.loc["h2", "total"] == pytest.approx(0, abs=1e-12)


def test_two_hyperparameters_that_do_the_same_share_alike(balanced):
    table = rows(4).assign(h3=rows(4)["h1"])
    f = lambda u: (u[:, 0] + 1) * torch.tanh(4 * u[:, 1] * u[:, 3] - u[:, 2])  # noqa: E731
    found = decomposition.decompose(ensemble_of(f, d=4), table)
    values = found.shap().values
    assert np.abs(values[:, 1]).min() > 1e-4
    np.testing.assert_allclose(values[:, 1], values[:, 3], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.components["h0", "h1"], found.components["h0", "h3"], rtol=0, atol=1e-12)


def test_components_add_up_over_members(balanced):
    one, two = mlp((4, 8, 1), 1), mlp((4, 5, 5, 1), 2)
    alone = [decomposition.decompose(ensemble_of(m, d=4), rows(4)).member_components[0] for m in (one, two)]
    together = decomposition.decompose(ensemble_of(one, two, d=4), rows(4))
    np.testing.assert_allclose(together.member_components, alone, rtol=0, atol=1e-12)
    mean = np.mean(alone, axis=0)
    for s, expected in zip(together.subsets, mean.T):
        np.testing.assert_allclose(together.components[s], expected, rtol=0, atol=1e-12)
    both = decomposition.decompose(ensemble_of(lambda u: (one(u) + two(u)) / 2, d=4), rows(4))
    np.testing.assert_allclose(both.member_components[0], mean, rtol=0, atol=1e-10)


def test_a_component_depends_on_its_own_coordinates_alone(pair_of_networks):
    others = rows(4, seed=8).assign(h1=0.3, h3=0.8)
    found = decomposition.decompose(pair_of_networks, others)
    for s, component in found.components.items():
        if set(s) <= {"h1", "h3"}:
            np.testing.assert_allclose(component, component[0], rtol=0, atol=1e-12, err_msg=str(s))
        else:
            assert np.ptp(component) > 1e-3, s


class Wrapped(nn.Module):
    def __init__(self, member):
        super().__init__()
        self.member = member

    def forward(self, x):
        return self.member(x)


@pytest.mark.parametrize("hidden", [(16,), (9, 4), (5, 6, 7)], ids=str)
def test_networks_are_decomposed_as_any_function_is(hidden):
    members = [mlp((5, *hidden, 1), seed, scale=5) for seed in (1, 2)]
    fast, any_function = (
        decomposition.decompose(ensemble_of(*kind, d=5), rows(5), n_background=7, seed=4)
        for kind in (members, map(Wrapped, members))
    )
    assert np.abs(fast.member_components).max() > 0.5
    np.testing.assert_allclose(fast.member_components, any_function.member_components, rtol=0, atol=1e-11)
    np.testing.assert_allclose(fast.base_values, any_function.base_values, rtol=0, atol=1e-12)


def test_the_fast_path_is_taken_by_the_networks_that_fit_makes(monkeypatch):
    table = rows(3, 40).assign(y=lambda t: t["h0"] * t["h2"], status="ok")
    settings = {"architectures": [(2, 8)], "weight_decays": [1e-3], "n_folds": 2, "steps": 5}
    (member,) = metamodel.fit(table, "y", cube(3), n_members=1, **settings).members
    before = decomposition.decompose(ensemble_of(member, d=3), rows(3))
    monkeypatch.setattr(type(member), "forward", None)  # which it does without, but for the predictions
    monkeypatch.setattr(Ensemble, "predict_unit", lambda self, unit: before.predictions)
    again = decomposition.decompose(ensemble_of(member, d=3), rows(3))
    np.testing.assert_array_equal(again.member_components, before.member_components)


@pytest.mark.parametrize(
    "modules",
    [
        (nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)),
        (nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 5), nn.Sigmoid(), nn.Linear(5, 1)),
        (nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1), nn.Tanh()),
        (nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 1)),
        (nn.Linear(3, 8), nn.Linear(8, 1)),
        (nn.Linear(3, 1),),
    ],
    ids=["relu", "sigmoid", "tanh at the end", "exact gelu", "no activation", "linear"],
)
def test_other_networks_are_decomposed_too(modules):
    member = nn.Sequential(*modules).double().requires_grad_(False)
    found = decomposition.decompose(ensemble_of(member, d=3), rows(3))
    np.testing.assert_allclose(found.remainder, 0, atol=1e-10)
    assert np.ptp(found.predictions) > 1e-3


def test_a_network_without_biases_is_decomposed_too():
    member = nn.Sequential(
        nn.Linear(3, 8, bias=False), nn.GELU(approximate="tanh"), nn.Linear(8, 1, bias=False)
    ).double()
    found = decomposition.decompose(ensemble_of(member.requires_grad_(False), d=3), rows(3))
    np.testing.assert_allclose(found.remainder, 0, atol=1e-10)


# Many hyperparameters


@pytest.fixture
def truncated(monkeypatch, balanced, coefficients):
    """The same with all sets and without those of three and more."""
    ensemble, table = ensemble_of(polynomial(coefficients), d=5), rows(5)
    complete = decomposition.decompose(ensemble, table)
    monkeypatch.setattr(decomposition, "MOST", 4)
    return complete, decomposition.decompose(ensemble, table)


def test_of_many_hyperparameters_pairs_are_found_and_the_rest_is_said(truncated):
    complete, pairs = truncated
    assert complete.complete
    assert not pairs.complete
    assert pairs.subsets == [s for s in complete.subsets if len(s) <= 2]
    for s in pairs.subsets:
        np.testing.assert_allclose(pairs.components[s], complete.components[s], rtol=0, atol=1e-12)
    higher = sum(m for s, m in complete.components.items() if len(s) > 2)
    assert higher.std() > 0.05
    np.testing.assert_allclose(pairs.remainder[0], higher, rtol=0, atol=1e-10)
    np.testing.assert_allclose(complete.remainder, 0, atol=1e-10)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda d: d.shap(), "SHAP values need the effects of all sets; of 5 hyperparameters.*deep_shap"),
        (lambda d: d.interaction_values(0), "Interaction indices need the effects of all sets"),
    ],
    ids=["shap", "interaction_values"],
)
def test_what_needs_all_sets_is_refused_without_them(truncated, ask, message):
    _, pairs = truncated
    with pytest.raises(ValueError, match=message):
        ask(pairs)


def test_of_twelve_hyperparameters_all_sets_are_decomposed():
    found = decomposition.decompose(ensemble_of(mlp((12, 4, 1)), d=12), n_points=2, n_background=2)
    assert decomposition.MOST == 12
    assert found.complete
    assert len(found.subsets) == 2**12 - 1
    np.testing.assert_allclose(found.shap().values.sum(1), (found.predictions - found.base_values).mean(0))


def test_thirteen_hyperparameters():
    member = mlp((13, 8, 1))
    found = decomposition.decompose(ensemble_of(member, d=13), n_points=16)
    assert found.member_components.shape == (1, 16, 13 + 78)
    assert not found.complete
    assert found.remainder.std() > 0.01
    assert len(found.sobol()) == 13
    with pytest.raises(ValueError, match="of 13 hyperparameters"):
        found.shap()


def test_shares_are_of_the_whole_prediction_even_if_sets_are_left_out(truncated):
    complete, pairs = (d.variance()["share"] for d in truncated)
    np.testing.assert_allclose(pairs, complete[pairs.index], rtol=0, atol=1e-10)
    assert pairs.sum() < 0.999


def test_what_sets_left_out_explain_together_is_known(truncated):
    complete, pairs = (d.orders() for d in truncated)
    assert complete.loc["3+", "share"] > 0.01
    pd.testing.assert_frame_equal(pairs, complete, atol=1e-10)


def test_the_scatter_of_sets_left_out_is_not_known(truncated):
    complete, pairs = (d.scatter()["value"].unstack() for d in truncated)
    assert (complete["order 3+"].abs() > 1e-3).any()
    assert pairs["order 3+"].isna().all()


# The tables


@pytest.fixture(scope="module")
def fitted():
    """Fitted to one own effect, a pair, and one hyperparameter that does nothing."""
    space = cube(4)
    unit = np.random.default_rng(1).random((160, 4))
    table = spaces.from_unit(space, unit).assign(status="ok")
    table["metric"] = unit[:, 0] + 2 * (unit[:, 1] - 0.5) * (unit[:, 2] - 0.5)
    table["metric"] += 0.02 * np.random.default_rng(2).standard_normal(160)
    quick = {"n_members": 6, "n_folds": 2, "architectures": [(1, 16)], "weight_decays": [1e-3]}
    # The columns that a search's table has.
    table = table.rename(columns={"metric": "test_accuracy"}).assign(backprojection_accuracy=0.5)
    ensemble = metamodel.fit(table, "test_accuracy", space, steps=300, **quick)
    assert ensemble.r2 > 0.9
    return ensemble, table


@pytest.fixture(scope="module")
def found(fitted):
    return decomposition.decompose(fitted[0], n_points=256)


def test_the_variance_of_each_set(found):
    frame = found.variance()
    assert frame.index.name == "subset"
    assert list(frame) == ["order", "share", "low", "high"]
    assert len(frame) == 15
    assert frame["share"].is_monotonic_decreasing
    assert frame["share"].sum() == pytest.approx(1, abs=1e-10)
    # 1/12 against 4/144.
    assert list(frame.index[:2]) == ["h0", "h1 × h2"]
    assert list(frame["order"].iloc[:2]) == [1, 2]
    np.testing.assert_allclose(frame["share"].iloc[:2], [0.75, 0.25], atol=0.05)
    assert (frame["order"] == [len(label.split(" × ")) for label in frame.index]).all()


def test_sobol_indices_of_each_hyperparameter(found):
    frame = found.sobol()
    assert frame.index.name == "hyperparameter"
    assert list(frame) == ["first", "first_low", "first_high", "total", "total_low", "total_high"]
    assert frame["total"].is_monotonic_decreasing
    assert frame.index[0] == "h0"
    assert frame.index[-1] == "h3"
    shares = found.variance()["share"]
    for name in found.names:
        assert frame.loc[name, "first"] == pytest.approx(shares[name])
        containing = [name in label.split(" × ") for label in shares.index]
        assert frame.loc[name, "total"] == pytest.approx(shares[containing].sum())


def test_intervals_are_there_and_narrow_for_a_function_that_is_learnt(found):
    frame, sobol = found.variance(), found.sobol()
    intervals = [(frame["low"], frame["high"], frame["share"])]
    intervals += [(sobol[f"{k}_low"], sobol[f"{k}_high"], sobol[k]) for k in ("first", "total")]
    for low, high, value in intervals:
        width = high - low
        assert width.min() > 0
        assert width.max() < 0.2
        assert (low <= value).all()
        assert (value <= high).all()
    truth = {"h0": 0.75, "h1 × h2": 0.25}
    for label, share in truth.items():
        assert frame.loc[label, "low"] - 0.02 < share < frame.loc[label, "high"] + 0.02


def test_a_seed_decides_the_intervals(found):
    pd.testing.assert_frame_equal(found.sobol(seed=3), found.sobol(seed=3))
    assert (found.sobol(seed=3)["total_low"] != found.sobol(seed=4)["total_low"]).all()
    pd.testing.assert_series_equal(found.sobol(seed=3)["total"], found.sobol(seed=4)["total"])


def test_one_member_has_no_interval():
    alone = decomposition.decompose(ensemble_of(mlp((3, 8, 1)), d=3), rows(3))
    assert alone.variance()[["low", "high"]].isna().all(axis=None)
    assert alone.variance()["share"].notna().all()


def test_points_spread_evenly_add_nothing_to_the_intervals(balanced):
    # Members that are one and the same: all that is left to vary is the choice of the points.
    member = mlp((3, 8, 1))
    ensemble = ensemble_of(member, member, d=3)
    evenly = decomposition.decompose(ensemble, n_points=64)
    drawn = decomposition.decompose(ensemble, rows(3, 64))
    assert (evenly.random, drawn.random) == (False, True)
    for frame, widths in ((evenly.sobol(), 0), (drawn.sobol(), 0.05)):
        width = frame["total_high"] - frame["total_low"]
        assert (width <= 1e-12).all() if widths == 0 else (width > 1e-3).all()


def test_nor_to_those_of_their_shap_values(balanced):
    member = mlp((3, 8, 1))
    evenly = decomposition.decompose(ensemble_of(member, member, d=3), n_points=64)
    importance = evenly.shap().importance()
    np.testing.assert_allclose(importance["low"], importance["high"], rtol=0, atol=1e-10)


def test_orders_add_up_to_one(found):
    orders = found.orders()
    assert list(orders.index) == ["1", "2", "3+"]
    assert list(orders) == ["share", "low", "high"]
    assert orders["share"].sum() == pytest.approx(1, abs=1e-10)
    shares = found.variance()["share"].groupby(found.variance()["order"].clip(upper=3)).sum()
    np.testing.assert_allclose(orders["share"], shares, rtol=0, atol=1e-10)
    # The truth: an own effect of variance 1/12 and a pair of 4/144.
    truth = np.array([0.75, 0.25, 0])
    assert ((orders["low"] < truth) & (truth < orders["high"])).all()
    assert (orders["high"] - orders["low"]).between(1e-3, 0.2).all()


def with_pairs(*strengths):
    """Members in which h1 and h2 join with different strengths, and h1 with h3."""
    members = [polynomial({(0,): 1.0, (1, 2): c, (1, 3): 2.0}) for c in strengths]
    return decomposition.decompose(ensemble_of(*members, d=4), n_points=512)


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
        expected = 2 * uncertainty.CALIBRATION * 2.92 * (4 / 3) ** 0.5 * np.std(of_each, axis=0)
        np.testing.assert_allclose(width[varied], expected[varied], rtol=0.1)
        assert (width[~varied] < 0.1).all()
        assert ((frame["low"] <= np.min(of_each, axis=0)) & (np.max(of_each, axis=0) <= frame["high"])).all()


def test_the_choice_of_configurations_adds_to_the_intervals_of_the_scatter(balanced):
    f = polynomial({(1, 2): 4.0, (1, 3): 2.0})
    ensemble = ensemble_of(f, f, d=4)
    few, many = (decomposition.decompose(ensemble, rows(4, n)).scatter().loc["h1"] for n in (40, 1000))
    widths = [(frame["high"] - frame["low"]).loc[["scatter", "h2", "h3"]] for frame in (few, many)]
    assert (widths[0] > 2 * widths[1]).all()
    assert (widths[1] > 1e-3).all()


def test_the_scatter_is_put_down_to_the_right_partner(balanced):
    f = polynomial({(): 0.5, (0,): 1.0, (1, 2): 4.0})
    found = decomposition.decompose(ensemble_of(f, d=4), rows(4, 200))
    whole = found.scatter()
    assert list(whole) == ["value", "low", "high"]
    assert list(whole.loc["h1"].index) == ["own", "scatter", "h0", "h2", "h3", "order 3+"]
    frame = whole["value"].unstack()
    assert frame.index.name == "hyperparameter"
    unit = np.array(rows(4, 200))
    pair = 4 * (unit[:, 1] - 0.5) * (unit[:, 2] - 0.5)
    np.testing.assert_allclose(frame["own"], [unit[:, 0].std(), 0, 0, 0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(frame["scatter"], [0, pair.std() / 2, pair.std() / 2, 0], rtol=0, atol=1e-10)
    assert [frame.loc["h1", "h2"], frame.loc["h2", "h1"]] == pytest.approx([1, 1], abs=1e-10)
    assert frame.loc["h1", ["h0", "h3", "order 3+"]].abs().max() < 1e-10
    for name in found.names:
        assert np.isnan(frame.loc[name, name])


def test_the_scatter_is_the_shap_value_less_the_own_effect(decomposed):
    frame, values = decomposed.scatter()["value"].unstack(), decomposed.shap().values
    for j, name in enumerate(decomposed.names):
        rest = values[:, j] - decomposed.components[name,]
        assert frame.loc[name, "scatter"] == pytest.approx(rest.std(), abs=1e-12)
        assert frame.loc[name, "own"] == pytest.approx(decomposed.components[name,].std(), abs=1e-12)
    shares = frame.drop(columns=["own", "scatter"])
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=0, atol=1e-10)
    assert (shares["order 3+"].abs() > 1e-3).all()


def test_the_scatter_of_some_rows(decomposed, pair_of_networks):
    some = np.arange(20) % 3 == 0
    frame = decomposed.scatter(rows=some)
    fewer = decomposition.decompose(pair_of_networks, rows(4)[some], n_background=8, seed=3).scatter()
    pd.testing.assert_frame_equal(frame, fewer, rtol=1e-8)
    assert not np.allclose(frame["value"], decomposed.scatter()["value"])


def test_where_there_is_no_scatter_no_partner_is_named():
    found = decomposition.decompose(ensemble_of(lambda u: u[:, 0] + u[:, 1].exp(), d=3), rows(3))
    frame = found.scatter()["value"].unstack()
    assert (frame["scatter"] < 1e-12).all()
    shares = frame.drop(columns=["own", "scatter"])
    assert (shares.fillna(0).abs() < 0.01).all(axis=None)


def test_the_surface_of_a_pair(coefficients):
    table = decomposition.surface(ensemble_of(polynomial(coefficients), d=5), ("h3", "h1"), n_grid=5)
    assert list(table) == ["h3", "h1", "joint", "interaction"]
    assert len(table) == 25
    assert sorted(set(table["h3"])) == sorted(set(table["h1"])) == [0, 0.25, 0.5, 0.75, 1]
    one, two = table["h3"] - 0.5, table["h1"] - 0.5
    pair = coefficients[1, 3] * one * two
    joint = coefficients[3,] * one + coefficients[1,] * two + pair
    np.testing.assert_allclose(table["interaction"], pair, rtol=0, atol=0.01)
    np.testing.assert_allclose(table["joint"], joint, rtol=0, atol=0.01)


def test_the_surface_is_made_of_the_components(pair_of_networks, monkeypatch):
    table = decomposition.surface(pair_of_networks, ("h0", "h2"), n_grid=4, n_background=16, seed=9)
    # All members stand on the surface's background.
    stand_on(monkeypatch, lambda d: spaces.sobol(d, 16, 9))
    grid = table[["h0", "h2"]].assign(h1=0.1, h3=0.9)
    found = decomposition.decompose(pair_of_networks, grid[["h0", "h1", "h2", "h3"]])
    np.testing.assert_allclose(table["interaction"], found.components["h0", "h2"], rtol=0, atol=1e-10)
    joint = found.components["h0",] + found.components["h2",] + found.components["h0", "h2"]
    np.testing.assert_allclose(table["joint"], joint, rtol=0, atol=1e-10)
    assert table["interaction"].std() > 0.01


# The points


def test_by_default_the_points_are_those_of_the_sampling_distribution(pair_of_networks):
    found = decomposition.decompose(pair_of_networks, n_points=128, seed=2)
    assert found.unit.shape == (128, 4)
    np.testing.assert_allclose(found.unit.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(found.unit.var(0), 1 / 12, atol=0.005)
    np.testing.assert_array_equal(found.table.to_numpy(), found.unit)
    again, other = (decomposition.decompose(pair_of_networks, n_points=128, seed=s) for s in (2, 3))
    np.testing.assert_array_equal(again.member_components, found.member_components)
    assert np.abs(other.unit - found.unit).max(1).min() > 1e-6
    assert np.abs(other.base_values - found.base_values).min() > 1e-6


def test_no_point_is_of_a_background(pair_of_networks):
    found = decomposition.decompose(pair_of_networks, n_points=64)
    backgrounds = uncertainty.backgrounds(pair_of_networks, 32, 0).reshape(-1, 4)
    assert np.abs(found.unit[:, None] - backgrounds).max(2).min() > 1e-6


def test_log_scale_and_constants():
    space = ConfigurationSpace()
    space.add([Float("rate", (1e-5, 1.0), log=True), Constant("frozen", 3), Float("x", (-1.0, 1.0))])
    found = decomposition.decompose(ensemble_of(lambda u: u.sum(1), space=space), n_points=256)
    assert sorted(found.names) == ["rate", "x"]
    np.testing.assert_allclose(found.sobol()["first"], 0.5, atol=0.01)
    assert set(found.table) == {"rate", "x", "frozen"}
    np.testing.assert_allclose(spaces.to_unit(space, found.table), found.unit, rtol=0, atol=1e-9)


def test_categories_and_integers_vary_as_they_are_drawn():
    space = ConfigurationSpace()
    discrete = [Categorical("kind", ["a", "b"]), Integer("size", (1, 3))]
    space.add([*discrete, Float("x", (0.0, 1.0))])
    found = decomposition.decompose(ensemble_of(lambda u: u.sum(1), space=space), n_points=256)
    np.testing.assert_allclose(spaces.to_unit(space, found.table), found.unit, rtol=0, atol=1e-9)
    variance = pd.Series({"kind": 1 / 16, "size": 2 / 27, "x": 1 / 12})
    shares = found.sobol()["first"]
    np.testing.assert_allclose(shares[variance.index], variance / variance.sum(), atol=0.01)


def test_failed_configurations_are_left_out(fitted):
    ensemble, table = fitted
    table = table.iloc[:10].copy()
    table.loc[3, "status"] = "failed"
    with pytest.warns(UserWarning, match="1 of 10 configurations failed"):
        found = decomposition.decompose(ensemble, table)
    assert list(found.table.index) == [i for i in range(10) if i != 3]
    whole = decomposition.decompose(ensemble, table.drop(columns="status"))
    kept = np.delete(whole.member_components, 3, axis=1)
    np.testing.assert_allclose(found.member_components, kept, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"table": rows(3)}, "no column 'h3'"),
        ({"table": rows(4).assign(h1=1.5)}, r"h1 = 1\.5 lies outside"),
    ],
    ids=["a column missing", "outside the space"],
)
def test_what_cannot_be_decomposed_is_refused(pair_of_networks, settings, message):
    with pytest.raises(ValueError, match=message):
        decomposition.decompose(pair_of_networks, **settings)
