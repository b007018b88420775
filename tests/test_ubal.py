"""The model: its numbers, its independence of what trains beside it, its accuracies and its errors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import ubal_reference as reference

from ubalkit import UBAL
from ubalkit.paper import datasets

GOLDEN = json.loads((Path(__file__).parent / "reference" / "ubal_golden.json").read_text())["cases"]
GOOD = {"beta": (1, 0, 0), "gamma_f": (1, 1), "gamma_b": (1, 0.8)}


def hyperparameters(n_layers, n_networks, seed=0):
    rng = np.random.default_rng(seed)
    widths = {"beta": n_layers, "gamma_f": n_layers - 1, "gamma_b": n_layers - 1}
    return {name: rng.random((n_networks, width)) for name, width in widths.items()}


def rows_of(given, rows):
    return {name: value[rows] for name, value in given.items()}


def assert_close(actual, desired):
    """The same numbers, whatever axes of one there are; or none in both."""
    assert (actual is None) == (desired is None)
    if desired is not None:
        actual, desired = (np.squeeze(np.asarray(values)) for values in (actual, desired))
        np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-12)


def golden_network(case):
    values = (case[name] for name in ("layers", "beta_f", "gamma_f", "gamma_b"))
    net = UBAL(*values, learning_rate=case["learning_rate"], dtype=torch.float64)
    for name in ("W", "M"):
        setattr(net, name, [torch.tensor([w], dtype=torch.float64) for w in case["initial"][name]])
    return net


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: "-".join(map(str, case["layers"])))
def test_agrees_with_the_public_implementation(case):
    net = golden_network(case)
    phases = net.activations(case["inputs"][0], case["targets"][0])
    for phase, layers in case["first_step_activations"].items():
        for actual, desired in zip(getattr(phases, phase), layers, strict=True):
            assert_close(actual, desired)
    for x, y in zip(case["inputs"], case["targets"], strict=True):
        net.update(x, y)
    for name, weights in case["final"].items():
        for actual, desired in zip(getattr(net, name), weights, strict=True):
            assert_close(actual[0], desired)
    assert_close(net.project()[0], case["backward_projection"])
    assert_close(net.predict_forward(net.project())[0], case["reprojection"])


@pytest.mark.parametrize("layers", [(5, 3), (5, 4, 3), (5, 4, 6, 3), (5, 4, 6, 2, 3)])
def test_agrees_with_the_equations_at_any_depth(layers):
    rng = np.random.default_rng(0)
    given = hyperparameters(len(layers), 2)
    net = UBAL(layers, **given, learning_rate=0.3, dtype=torch.float64)
    weights = [([w[k].numpy().copy() for w in net.W], [m[k].numpy().copy() for m in net.M]) for k in (0, 1)]
    for _ in range(4):
        x, y = rng.random((7, layers[0])), rng.random((7, layers[-1]))
        phases = net.activations(x, y)
        for k in (0, 1):
            for actual, desired in zip(phases, reference.activations(*weights[k], x, y), strict=True):
                for a, d in zip(actual, desired, strict=True):
                    assert_close(a if a is None or a.dim() == 2 else a[k], d)
            weights[k] = reference.updated(*weights[k], *(h[k] for h in given.values()), 0.3, x, y)
        net.update(x, y)
    for k in (0, 1):
        for actual, desired in zip(net.W + net.M, [*weights[k][0], *weights[k][1]], strict=True):
            assert_close(actual[k], desired)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits", n_train=100)


@pytest.fixture(scope="module")
def seven_together(digits):
    # 13 hidden units and a last minibatch of 4: nothing fills a vector register.
    net = UBAL((64, 13, 10), **hyperparameters(3, 7), seed=range(7))
    return net.fit(digits, epochs=2, batch_size=8)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_fitted_in_groups_of_any_size_bit_for_bit(digits, seven_together, size):
    given = hyperparameters(3, 7)
    for k in range(0, 7, size):
        rows = slice(k, min(k + size, 7))
        net = UBAL((64, 13, 10), **rows_of(given, rows), seed=range(7)[rows])
        net.fit(digits, epochs=2, batch_size=8)
        for joint, group in zip(seven_together.W + seven_together.M, net.W + net.M, strict=True):
            assert torch.equal(joint[rows], group)
        for accuracy in ("test_accuracy", "backprojection_accuracy"):
            data = (digits.x_test, digits.y_test) if accuracy == "test_accuracy" else ()
            assert torch.equal(getattr(seven_together, accuracy)(*data)[rows], getattr(net, accuracy)(*data))


def test_every_network_sees_the_data_in_an_order_of_its_own(digits):
    twins = UBAL((64, 5, 10), np.tile([1, 0, 0], (3, 1)), (1, 1), (1, 1), seed=[4, 4, 5])
    twins.W, twins.M = ([weights[[0, 1, 0]] for weights in kind] for kind in (twins.W, twins.M))
    twins.fit(digits, epochs=1, batch_size=8)
    assert torch.equal(twins.W[0][0], twins.W[0][1])
    assert not torch.equal(twins.W[0][0], twins.W[0][2])


def test_an_int_seed_gives_network_k_the_seed_plus_k():
    given = hyperparameters(3, 3)
    by_int, by_list = (UBAL((4, 3, 2), **given, seed=seed) for seed in (np.int64(5), [5, 6, 7]))
    alone = UBAL((4, 3, 2), **rows_of(given, 2), seed=7)
    assert by_int.seeds == (5, 6, 7)
    for a, b, c in zip(by_int.W + by_int.M, by_list.W + by_list.M, alone.W + alone.M, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a[2], c[0])
    assert not torch.equal(by_int.W[0][0], by_int.W[0][1])
    # Both precisions start from the same weights.
    double = UBAL((4, 3, 2), **given, seed=5, dtype=torch.float64)
    for a, b in zip(by_int.W + by_int.M, double.W + double.M, strict=True):
        assert (a.dtype, b.dtype) == (torch.float32, torch.float64) and torch.equal(a.double(), b)


def test_initial_weights_are_normal_with_the_given_deviation():
    net = UBAL((200, 100, 10), **GOOD, init_std=0.5)
    assert net.W[0].std().item() == pytest.approx(0.5, abs=0.01)
    assert net.W[0].mean().item() == pytest.approx(0, abs=0.02)
    assert net.W[0][:, -1].std().item() == pytest.approx(0.5, abs=0.15)  # the biases too


def test_weights_can_be_set():
    net = UBAL((2, 3), beta=(1, 0), gamma_f=(1,), gamma_b=(1,))
    net.W = [torch.zeros(1, 3, 3)]
    assert torch.equal(net.predict_forward([[0.3, 0.7]]), torch.full((1, 1, 3), 0.5))
    net.M = [torch.full((1, 4, 2), 100.0)]
    assert torch.equal(net.predict_backward([[1.0, 0, 0]]), torch.ones(1, 1, 2))
    with pytest.raises(ValueError, match=r"W has the shapes \[\(1, 2, 3\)\]; \[\(1, 3, 3\)\] are needed"):
        net.W = [torch.zeros(1, 2, 3)]
    # Those read are copies, and those set are copied.
    mine = torch.zeros(1, 3, 3)
    net.W[0].fill_(1)
    assert not net.W[0].any()
    net.W = [mine]
    net.update([[0.3, 0.7]], [[1.0, 0, 0]])
    assert net.W[0].any() and not mine.any()


def permutation_networks():
    """Three networks whose weights map classes to classes: all three right, one right, none right."""
    net = UBAL((3, 3), np.ones((3, 2)), (1,), (1,))
    biases = torch.full((3, 1, 3), -10.0)
    orders = torch.tensor([(0, 1, 2), (0, 2, 1), (1, 2, 0)])
    net.W = [torch.cat([20 * torch.eye(3).expand(3, -1, -1), biases], dim=1)]
    net.M = [torch.cat([20 * torch.eye(3)[orders], biases], dim=1)]
    return net


def changed(weights, place, value):
    """The weights of two layers with some of them replaced."""
    weights = weights[0].clone()
    weights[place] = value
    return [weights]


def test_accuracies_are_the_shares_of_right_classes_and_of_projections_read_again():
    net = permutation_networks()
    assert net.backprojection_accuracy().tolist() == pytest.approx([1, 1 / 3, 0])
    x = torch.eye(3)[[0, 1, 2, 0]]
    assert net.classify(x).tolist() == [[0, 1, 2, 0]] * 3
    assert net.test_accuracy(x, [0, 1, 2, 0]).tolist() == [1.0] * 3
    assert net.test_accuracy(x, [0, 1, 0, 1]).tolist() == [0.5] * 3
    net.W = changed(net.W, (1, slice(3)), 20 * torch.eye(3)[[1, 2, 0]])
    assert net.test_accuracy(x, [0, 1, 2, 0]).tolist() == [1.0, 0.0, 1.0]
    # More images than fit into one slice.
    labels = torch.arange(1030) % 3
    assert torch.equal(net.classify(torch.eye(3)[labels])[0], labels)
    for wrong in ([0, 1], [0], [[0], [1], [2], [0]]):
        with pytest.raises(ValueError, match=r"x has 4 rows and labels the shape"):
            net.test_accuracy(x, wrong)


@pytest.mark.parametrize(("kind", "value"), [("W", np.nan), ("M", np.inf)])
def test_a_network_that_is_not_finite_has_no_accuracy(kind, value):
    net = permutation_networks()
    setattr(net, kind, changed(getattr(net, kind), (1, 0, 0), value))
    assert net.finite().tolist() == [True, False, True]
    for accuracy in (net.test_accuracy(torch.eye(3), [0, 1, 2]), net.backprojection_accuracy()):
        assert accuracy.isnan().tolist() == [False, True, False]


def test_a_network_that_diverges_leaves_its_neighbours_alone(digits):
    given = hyperparameters(3, 3)
    sick, well = (UBAL((64, 13, 10), **given) for _ in range(2))
    sick.W = [*changed(sick.W, 1, torch.inf), sick.W[1]]
    for net in (sick, well):
        net.fit(digits, epochs=1, batch_size=8)
    assert sick.finite().tolist() == [True, False, True]
    for a, b in zip(sick.W + sick.M, well.W + well.M, strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])


# A good configuration learns in a few epochs; with updates of the wrong sign it unlearns.
@pytest.mark.parametrize(("rate", "low", "high"), [(0.1, 0.8, 1), (-0.1, 0, 0.3)])
def test_learns_to_read_digits(rate, low, high):
    data = datasets.load("digits")
    net = UBAL((64, 50, 10), **GOOD, learning_rate=rate).fit(data, epochs=4, batch_size=8)
    assert low <= net.test_accuracy(data.x_test, data.y_test).item() <= high


TWO, THREE = np.ones((2, 3)), np.ones((3, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": (-0.1, 0, 0)}, r"^beta holds -0.1; every value must lie in \[0, 1\]\.$"),
        ({"gamma_f": (1.5, 1)}, r"^gamma_f holds 1.5; every value"),
        ({"gamma_b": (np.nan, 1)}, r"^gamma_b holds nan; every value"),
        ({"beta": (1, 0)}, r"^beta has the shape \(2,\); \(3,\) or \(n_networks, 3\) is needed"),
        ({"gamma_b": 0.5}, r"^gamma_b has the shape \(\); \(2,\) or \(n_networks, 2\) is needed"),
        ({"layers": (4,)}, "at least two sizes of at least 1"),
        ({"layers": (4, 0, 2)}, "at least two sizes of at least 1"),
        ({"layers": ()}, "at least two sizes of at least 1"),
        ({"beta": TWO, "gamma_f": THREE}, "numbers of networks differ: .*'beta': 2, 'gamma_f': 3"),
        ({"beta": TWO, "seed": [1, 2, 3]}, "seed"),
    ],
)
def test_networks_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        UBAL(**{"layers": (4, 3, 2), **GOOD, **change})


def test_data_of_the_wrong_shape_are_refused():
    net = UBAL((4, 3, 2), np.ones((2, 3)), (1, 1), (1, 1))
    x, y = torch.rand(5, 4), torch.rand(5, 2)
    with pytest.raises(ValueError, match=r"x has the shape \(5, 2\); \(batch, 4\) or .* is needed"):
        net.update(y, y)
    with pytest.raises(ValueError, match=r"y has the shape \(5, 4\); \(batch, 2\) or .* is needed"):
        net.activations(x, x)
    with pytest.raises(ValueError, match=r"x has 5 rows and y has 4"):
        net.update(x, y[:4])
    with pytest.raises(ValueError, match=r"x has the shape \(3, 5, 4\)"):
        net.predict_forward(x.expand(3, -1, -1))
    with pytest.raises(ValueError, match="pairs are needed"):
        net.associate(x, y[:4])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(digits):
    given = hyperparameters(3, 7)
    nets = []
    for device in ("cpu", "cuda"):
        net = UBAL((64, 13, 10), **given, device=device, dtype=torch.float64)
        nets.append(net.fit(digits.to(device), epochs=1, batch_size=8))
    for a, b in zip(nets[0].W + nets[0].M, nets[1].W + nets[1].M, strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=0, atol=1e-9)
