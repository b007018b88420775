"""Generalized recirculation and contrastive Hebbian learning: what UBAL is an alternative to.

O'Reilly (1996), "Biologically plausible error-driven learning using local
activation differences: the generalized recirculation algorithm", Neural
Computation 8, 895-938; one hidden layer, in compact form.
"""

import torch
from torch import Tensor


class GeneRec:
    """A network with feedback that learns from the difference between two settled states.

    In the minus phase the input is clamped and the network settles; in the
    plus phase the target is clamped too. Each weight then changes by
    λ a⁻ (b⁺ - b⁻), from a sending unit a to a receiving one b, summed over
    the minibatch.

    Parameters
    ----------
    layers : (int, int, int)
        Sizes of the input, hidden and output layer.
    symmetric : bool
        The feedback weights are the transposed forward weights and both learn
        by λ (a⁺ b⁺ - a⁻ b⁻): contrastive Hebbian learning. Otherwise they are
        weights of their own.
    learning_rate, init_std : float
        λ, and the spread of the initial weights.
    n_steps : int
        Steps of settling, each half of the way to where the unit is driven.
    seed : int
        Seed of the initial weights and of the order of the pairs.

    Attributes
    ----------
    W, U, V : Tensor
        Weights from the input to the hidden layer, from there to the output,
        and back from the output to the hidden layer; `b` and `c` are the
        biases of the hidden and the output layer.

    Examples
    --------
    >>> net = GeneRec((3, 2, 3), symmetric=True).associate(torch.eye(3), torch.eye(3), epochs=5)
    >>> net.predict_forward(torch.eye(3)).shape
    torch.Size([3, 3])
    """

    def __init__(
        self,
        layers: tuple[int, int, int],
        *,
        symmetric: bool = False,
        learning_rate: float = 0.1,
        init_std: float = 0.5,
        n_steps: int = 20,
        seed: int = 0,
    ):
        self.layers, self.symmetric = tuple(layers), symmetric
        self.learning_rate, self.n_steps = learning_rate, n_steps
        self._generator = torch.Generator().manual_seed(seed)
        n, m, k = self.layers
        self.W, self.U, self.V = (
            torch.empty(shape).normal_(0.0, init_std, generator=self._generator)
            for shape in ((n, m), (m, k), (k, m))
        )
        self.b, self.c = torch.zeros(m), torch.zeros(k)
        if symmetric:
            self.V = self.U.T

    def settle(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The minus phase: hidden and output activations that the input alone brings about.

        Parameters
        ----------
        x : Tensor, shape (batch, n_input)
        """
        driven = x @ self.W + self.b
        hidden = driven.sigmoid()
        output = (hidden @ self.U + self.c).sigmoid()
        for _ in range(self.n_steps):
            hidden = (hidden + (driven + output @ self.V).sigmoid()) / 2
            output = (output + (hidden @ self.U + self.c).sigmoid()) / 2
        return hidden, output

    def clamped(self, x: Tensor, y: Tensor) -> Tensor:
        """The plus phase: hidden activations with both ends clamped, which leaves nothing to settle."""
        return (x @ self.W + y @ self.V + self.b).sigmoid()

    def update(self, x: Tensor, y: Tensor) -> None:
        """Learn from one minibatch, in place."""
        (hidden, output), plus = self.settle(x), self.clamped(x, y)
        error, rate = y - output, self.learning_rate
        forward = plus.T @ y - hidden.T @ output if self.symmetric else hidden.T @ error
        self.W += rate * x.T @ (plus - hidden)
        self.b += rate * (plus - hidden).sum(0)
        self.U += rate * forward
        self.c += rate * error.sum(0)
        if not self.symmetric:
            self.V += rate * output.T @ (plus - hidden)

    def associate(self, x: Tensor, y: Tensor, *, epochs: int = 30, batch_size: int = 8) -> "GeneRec":
        """Train on pairs in an order shuffled anew each epoch; itself."""
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=self._generator).split(batch_size):
                self.update(x[rows], y[rows])
        return self

    def predict_forward(self, x: Tensor) -> Tensor:
        """Output activations of the minus phase, (batch, n_output)."""
        return self.settle(x)[1]

    def predict_backward(self, y: Tensor) -> Tensor:
        """Input activations where the output alone is clamped, (batch, n_input).

        The input layer is read through the transposed weights, which nothing
        has trained in this direction: the input is clamped in both phases.
        """
        x = torch.full((len(y), self.layers[0]), 0.5)
        hidden = self.clamped(x, y)
        for _ in range(self.n_steps):
            x = (x + (hidden @ self.W.T).sigmoid()) / 2
            hidden = (hidden + self.clamped(x, y)) / 2
        return x
