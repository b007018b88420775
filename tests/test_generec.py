"""GeneRec and CHL: what O'Reilly (1996) says of them, and that they learn."""

import pytest
import torch
from generec import GeneRec


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(40, 12, generator=generator), torch.eye(4)[torch.arange(40) % 4]


def test_a_settled_state_is_a_fixed_point(pair):
    net = GeneRec((12, 7, 4), n_steps=200)
    hidden, output = net.settle(pair[0])
    torch.testing.assert_close(hidden, (pair[0] @ net.W + output @ net.V + net.b).sigmoid())
    torch.testing.assert_close(output, (hidden @ net.U + net.c).sigmoid())
    # The feedback counts: it is not the state of a feedforward network.
    assert (hidden - (pair[0] @ net.W + net.b).sigmoid()).abs().max() > 0.05


@pytest.mark.parametrize("symmetric", [False, True])
def test_it_descends_the_gradient_of_backpropagation_where_feedback_is_the_transpose(pair, symmetric):
    x, y = pair
    net = GeneRec((12, 7, 4), symmetric=symmetric, init_std=0.2, seed=3)
    net.V = net.U.T.clone() if not symmetric else net.V
    W, U, b, c = own = [w.clone().requires_grad_() for w in (net.W, net.U, net.b, net.c)]
    output = ((x @ W + b).sigmoid() @ U + c).sigmoid()
    torch.nn.functional.binary_cross_entropy(output, y, reduction="sum").backward()
    net.update(x, y)
    for old, new in zip(own, (net.W, net.U, net.b, net.c)):
        assert torch.cosine_similarity((new - old.detach()).ravel(), -old.grad.ravel(), dim=0) > 0.95


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_weights_change_by_products_of_activations_unit_by_unit(pair, symmetric):
    x, y = pair
    net = GeneRec((12, 7, 4), symmetric=symmetric, learning_rate=0.3)
    U, V = net.U.clone(), net.V.clone()
    (hidden, output), plus = net.settle(x), net.clamped(x, y)
    net.update(x, y)
    for i, k in ((0, 0), (3, 2), (6, 3)):
        forward = sum(hidden[n, i] * (y[n, k] - output[n, k]) for n in range(40))
        backward = sum(output[n, k] * (plus[n, i] - hidden[n, i]) for n in range(40))
        if symmetric:
            forward = sum(plus[n, i] * y[n, k] - hidden[n, i] * output[n, k] for n in range(40))
            backward = forward
        torch.testing.assert_close(net.U[i, k] - U[i, k], 0.3 * forward, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(net.V[k, i] - V[k, i], 0.3 * backward, atol=1e-4, rtol=1e-4)
    # CHL stays symmetric and GeneRec does not.
    assert torch.equal(net.V, net.U.T) == symmetric


@pytest.mark.parametrize("symmetric", [False, True])
def test_it_learns_what_no_single_layer_can(symmetric):
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    net = GeneRec((2, 8, 1), symmetric=symmetric, learning_rate=0.5, init_std=1.0)
    net.associate(x, y, epochs=1500, batch_size=4)
    assert ((net.predict_forward(x) > 0.5) == (y > 0.5)).all()


def test_backward_the_output_stays_clamped_and_the_rest_settles(pair):
    net = GeneRec((12, 7, 4), symmetric=True, n_steps=500)
    x = net.predict_backward(pair[1])
    assert x.shape == (40, 12)
    hidden = net.clamped(x, pair[1])
    torch.testing.assert_close(x, (hidden @ net.W.T).sigmoid(), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(x[0], x[1], atol=1e-3)
