"""UBAL, the Universal Bidirectional Activation-based Learning model.

One network, or many side by side that differ in their hyperparameters and
seeds. Networks side by side share every matrix product as a batch, which is
what makes a hyperparameter search of thousands of networks cheap.

The equations are those of Malinovská et al. (2019), "UBAL: a universal
bidirectional activation-based learning rule for neural networks"; the names
are those of Cibula et al., Section 2 and Fig. 1.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ubalkit import workers
from ubalkit.ubal.memory import Kept, copied, harmless, memory


class Activations(NamedTuple):
    """The four activation phases; each a list over the layers 0 … L.

    Every tensor has the shape (n_networks, batch, n_l). The forward echo has
    no value in layer L and the backward echo none in layer 0: None there.
    """

    FP: list[Tensor]  #: forward prediction
    FE: list[Tensor | None]  #: forward echo
    BP: list[Tensor]  #: backward prediction
    BE: list[Tensor | None]  #: backward echo


def _numbers(value, dtype: torch.dtype, device) -> Tensor:
    if not isinstance(value, Tensor):
        # Torch shares an array's memory, and warns where it must not be written to.
        value = np.require(value, None if isinstance(value, np.ndarray) else float, "W")
    return torch.as_tensor(value, dtype=dtype, device=device)


def _unit_interval(name: str, value, width: int) -> Tensor:
    value = _numbers(value, torch.float64, "cpu").clone()
    if value.dim() not in (1, 2) or value.shape[-1] != width:
        raise ValueError(
            f"{name} has the shape {tuple(value.shape)}; ({width},) or (n_networks, {width}) is needed."
        )
    if not ((value >= 0) & (value <= 1)).all():
        wrong = value[~((value >= 0) & (value <= 1))][0].item()
        raise ValueError(f"{name} holds {wrong:g}; every value must lie in [0, 1].")
    return torch.atleast_2d(value)


class _Weights(NamedTuple):
    """Of one direction between two layers.

    The biases lie apart, so that no column of ones is ever concatenated to
    activations and the rest is contiguous: only then is a product over all
    networks, and its addition in place, one call of the BLAS library.
    """

    weights: Tensor  # (n_networks, n_pre, n_post)
    bias: Tensor  # (n_networks, 1, n_post)

    def propagate(self, a: Tensor, kept: Kept | None = None, key=None) -> Tensor:
        """σ([a, 1] W)."""
        n_networks, _, n_post = self.weights.shape
        a = a if a.dim() == 3 else a.expand(n_networks, -1, -1)
        place = memory if kept is None else functools.partial(kept, key)
        flat, out = place(n_networks, a.shape[1], n_post, like=self.weights)
        torch.baddbmm(self.bias, a, self.weights, out=out)
        flat.sigmoid_()
        return out

    def learn(self, pre: Tensor, error: Tensor, rate: float) -> None:
        """W += λ Σ [pre, 1]ᵀ error."""
        self.weights.baddbmm_(pre.mT, error, alpha=rate)
        self.bias.add_(error.sum(1, keepdim=True), alpha=rate)

    @classmethod
    def split(cls, whole: Tensor) -> "_Weights":
        """From (n_networks, n_pre + 1, n_post), whose last row is the bias."""
        return cls(copied(whole[:, :-1]), whole[:, -1:].clone())


def _fuses(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether updates are fused: in float32, on the CUDA device that Triton uses."""
    if device.type != "cuda" or dtype != torch.float32 or not find_spec("triton"):
        return False
    from ubalkit.ubal.fused import works

    return device.index == torch.cuda.current_device() and works(device)


class UBAL:
    """A batch of UBAL networks of one architecture.

    Parameters
    ----------
    layers : sequence of int
        Sizes n_0 … n_L of the layers, input first; at least two.
    beta : array_like, shape (L + 1,) or (n_networks, L + 1)
        β^F of each layer in [0, 1]; β^B = 1 - β^F. The target of layer l is
        β_l FP_l + (1 - β_l) BP_l.
    gamma_f : array_like, shape (L,) or (n_networks, L)
        γ^F in [0, 1]: shares of the forward prediction in the forward
        estimates of the layers 1 … L.
    gamma_b : array_like, shape (L,) or (n_networks, L)
        γ^B in [0, 1]: shares of the backward prediction in the backward
        estimates of the layers 0 … L - 1.
    learning_rate : float
        λ; updates are summed over the minibatch.
    init_std : float
        Weights and biases are drawn from N(0, `init_std`²).
    seed : int or sequence of int
        Of the initial weights and of the order of the training data, one for
        each network; a single int s gives network k the seed s + k.
    device : str or torch.device
        Where the weights are, and where training runs.
    dtype : torch.dtype
        ``float32`` or ``float64``; both start from the same weights.

    Attributes
    ----------
    W, M : lists of Tensor
        Forward weights ``W[l]`` (n_networks, n_l + 1, n_{l+1}) and backward
        weights ``M[l]`` (n_networks, n_{l+1} + 1, n_l); the last row is the
        bias. Copies: to change the weights, set the whole list.
    beta, gamma_f, gamma_b : Tensors of float64, shapes (n_networks, L + 1) and (n_networks, L)
        As given, to be read: training uses what was given to the constructor.

    Raises
    ------
    ValueError
        If a hyperparameter lies outside [0, 1] or has the wrong shape, or
        the numbers of networks differ.

    References
    ----------
    Malinovská et al. (2019), CIIS 2019, 57-62; Cibula et al., Fig. 1.

    Examples
    --------
    Two networks that differ in their seeds learn to pass on four patterns.

    >>> x = torch.eye(4)
    >>> net = UBAL([4, 3, 4], [0.99, 0.9, 0.1], [0.0, 0.9], [1.0, 0.6], learning_rate=0.5, seed=[0, 1])
    >>> net.associate(x, x, epochs=1000, batch_size=4).classify(x).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        layers: Sequence[int],
        beta,
        gamma_f,
        gamma_b,
        *,
        learning_rate: float = 0.1,
        init_std: float = 0.5,
        seed: int | Sequence[int] = 0,
        device="cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.layers = tuple(map(int, layers))
        if len(self.layers) < 2 or min(self.layers) < 1:
            raise ValueError(f"layers = {self.layers}: at least two sizes of at least 1 are needed.")
        depth = len(self.layers)
        given = {
            "beta": _unit_interval("beta", beta, depth),
            "gamma_f": _unit_interval("gamma_f", gamma_f, depth - 1),
            "gamma_b": _unit_interval("gamma_b", gamma_b, depth - 1),
        }
        sizes = {name: len(value) for name, value in given.items()}
        self.n_networks = n = max([*sizes.values(), len(seed) if np.iterable(seed) else 1])
        self.seeds = tuple(map(int, seed if np.iterable(seed) else range(int(seed), int(seed) + n)))
        if set(sizes.values()) - {1, n} or len(self.seeds) != n:
            raise ValueError(f"The numbers of networks differ: {sizes | {'seed': len(self.seeds)}}.")
        self.learning_rate, self.init_std = float(learning_rate), float(init_std)
        self.beta, self.gamma_f, self.gamma_b = (value.expand(n, -1) for value in given.values())
        # Hyperparameters are kept as a list over layers of (n_networks, 1, 1),
        # ready to broadcast over (n_networks, batch, n_l).
        self._beta, self._gamma_f, self._gamma_b = (
            list(value.to(device, dtype).expand(n, -1).T.reshape(-1, n, 1, 1)) for value in given.values()
        )
        self._generators = [torch.Generator().manual_seed(s) for s in self.seeds]
        self._kept = Kept()
        self._W, self._M = [], []
        for n, m in itertools.pairwise(self.layers):
            self._W.append(self._draw(n + 1, m, device, dtype))
            self._M.append(self._draw(m + 1, n, device, dtype))
        #: Where the weights are, and their type.
        self.device, self.dtype = self._W[0].weights.device, dtype

    def _draw(self, rows: int, columns: int, device, dtype) -> _Weights:
        # Always in float32: both precisions start from the same weights.
        drawn = self._by_network(lambda g: torch.empty(rows, columns).normal_(0, self.init_std, generator=g))
        return _Weights.split(drawn.to(device, dtype))

    def _by_network(self, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        # Always on the CPU, network by network: what one draws depends neither
        # on the device nor on what trains beside it. In threads, because a GPU
        # would wait for it.
        return torch.stack(workers.in_threads(draw, self._generators))

    def __repr__(self):
        shape = "-".join(map(str, self.layers))
        return f"UBAL({shape}, n_networks={self.n_networks}, device={str(self.device)!r})"

    @property
    def W(self) -> list[Tensor]:
        """Forward weights, biases last."""
        return [torch.cat(w, dim=1) for w in self._W]

    @W.setter
    def W(self, whole: Sequence[Tensor]) -> None:
        self._W = self._replaced("W", self._W, whole)

    @property
    def M(self) -> list[Tensor]:
        """Backward weights, biases last."""
        return [torch.cat(m, dim=1) for m in self._M]

    @M.setter
    def M(self, whole: Sequence[Tensor]) -> None:
        self._M = self._replaced("M", self._M, whole)

    def _replaced(self, name: str, old: list[_Weights], whole: Sequence[Tensor]) -> list[_Weights]:
        whole = [torch.as_tensor(w, dtype=self.dtype, device=self.device) for w in whole]
        given = [tuple(w.shape) for w in whole]
        needed = [(self.n_networks, w.weights.shape[1] + 1, w.weights.shape[2]) for w in old]
        if given != needed:
            raise ValueError(f"{name} has the shapes {given}; {needed} are needed.")
        return [_Weights.split(w) for w in whole]

    def _input(self, name: str, value, width: int) -> Tensor:
        value, n = _numbers(value, self.dtype, self.device), self.n_networks
        if value.dim() not in (2, 3) or value.shape[-1] != width or (value.dim() == 3 and len(value) != n):
            needed = f"(batch, {width}) or ({n}, batch, {width})"
            raise ValueError(f"{name} has the shape {tuple(value.shape)}; {needed} is needed.")
        return value if harmless(value) else copied(value)

    def predict_forward(self, x) -> Tensor:
        """Forward prediction of the output layer, FP_L.

        Parameters
        ----------
        x : array_like, shape (batch, n_0) or (n_networks, batch, n_0)
            Inputs, the same for all networks or of each.

        Returns
        -------
        Tensor, shape (n_networks, batch, n_L)
        """
        a = self._input("x", x, self.layers[0])
        for W in self._W:
            a = W.propagate(a)
        return a

    def predict_backward(self, y) -> Tensor:
        """Backward prediction of the input layer, BP_0: the network's projections.

        Parameters
        ----------
        y : array_like, shape (batch, n_L) or (n_networks, batch, n_L)
            Targets, the same for all networks or of each.

        Returns
        -------
        Tensor, shape (n_networks, batch, n_0)
        """
        a = self._input("y", y, self.layers[-1])
        for M in reversed(self._M):
            a = M.propagate(a)
        return a

    def activations(self, x, y, kept: Kept | None = None) -> Activations:
        """All four phases for inputs `x` and targets `y`.

        Parameters
        ----------
        x : array_like, shape (batch, n_0) or (n_networks, batch, n_0)
            Inputs, the same for all networks or of each.
        y : array_like, shape (batch, n_L) or (n_networks, batch, n_L)
            Targets, the same for all networks or of each.
        kept : Kept, optional
            Memory to write them into; fresh memory by default.

        Returns
        -------
        Activations

        Raises
        ------
        ValueError
            If `x` and `y` differ in length or have the wrong width.
        """
        x, y = self._input("x", x, self.layers[0]), self._input("y", y, self.layers[-1])
        if x.shape[-2] != y.shape[-2]:
            raise ValueError(f"x has {x.shape[-2]} rows and y has {y.shape[-2]}; both need the same.")
        FP, BP = [x], [y]
        for l, W in enumerate(self._W):
            FP.append(W.propagate(FP[-1], kept, ("FP", l)))
        for l, M in reversed(list(enumerate(self._M))):
            BP.insert(0, M.propagate(BP[0], kept, ("BP", l)))
        FE = [M.propagate(FP[l + 1], kept, ("FE", l)) for l, M in enumerate(self._M)] + [None]
        BE = [None] + [W.propagate(BP[l], kept, ("BE", l)) for l, W in enumerate(self._W)]
        return Activations(FP, FE, BP, BE)

    def update(self, x, y) -> None:
        """Learn from one minibatch, in place.

        ΔW_l = λ Σ [t_l, 1]ᵀ (t_{l+1} - e^F_{l+1}) and
        ΔM_l = λ Σ [t_{l+1}, 1]ᵀ (t_l - e^B_l), summed over the minibatch, all
        from the activations before the update. Parameters and errors are
        those of `activations`.
        """
        FP, FE, BP, BE = self.activations(x, y, self._kept)
        target = []
        for l, (fp, bp, beta) in enumerate(zip(FP, BP, self._beta)):
            _, out = self._kept(("t", l), self.n_networks, *fp.shape[-2:], like=fp)
            target.append(torch.lerp(bp, fp, beta, out=out))
        # The echoes are not needed again: they become estimates, then errors.
        for l, (W, M) in enumerate(zip(self._W, self._M)):
            estimate = BE[l + 1].lerp_(FP[l + 1], self._gamma_f[l])
            W.learn(target[l], torch.sub(target[l + 1], estimate, out=estimate), self.learning_rate)
            estimate = FE[l].lerp_(BP[l], self._gamma_b[l])
            M.learn(target[l + 1], torch.sub(target[l], estimate, out=estimate), self.learning_rate)

    def fit(self, dataset, *, epochs: int = 30, batch_size: int = 256) -> "UBAL":
        """Train on the training part of a data set.

        Parameters
        ----------
        dataset : Dataset
            Images ``x_train`` (n, n_0) and labels ``y_train`` (n,), which become
            one-hot codes, the targets of the output layer.
        epochs, batch_size : int
            Passes over the training data, and images a minibatch.

        Returns
        -------
        UBAL
            Itself.
        """
        codes = torch.eye(self.layers[-1], dtype=self.dtype, device=self.device)
        y = codes[torch.as_tensor(dataset.y_train, device=self.device)]
        return self.associate(dataset.x_train, y, epochs=epochs, batch_size=batch_size)

    def associate(self, x, y, *, epochs: int = 30, batch_size: int = 256) -> "UBAL":
        """Train on pairs of patterns, any inputs with any targets.

        Every network sees the pairs in an order of its own, shuffled anew each
        epoch by its own generator.

        Parameters
        ----------
        x : array_like, shape (n, n_0)
            Inputs.
        y : array_like, shape (n, n_L)
            Targets.
        epochs, batch_size : int
            Passes over the pairs, and pairs a minibatch.

        Returns
        -------
        UBAL
            Itself.
        """
        x, y = self._input("x", x, self.layers[0]), self._input("y", y, self.layers[-1])
        if x.dim() != 2 or y.dim() != 2 or len(x) != len(y):
            raise ValueError(f"x is {tuple(x.shape)} and y {tuple(y.shape)} in shape; pairs are needed.")
        learn = self._learner(x, y, batch_size)
        for _ in range(epochs):
            order = self._by_network(lambda g: torch.randperm(len(x), generator=g)).to(self.device)
            for rows in order.split(batch_size, dim=1):
                learn(rows)
        return self

    def _learner(self, x: Tensor, y: Tensor, batch_size: int) -> Callable[[Tensor], None]:
        """What learns from rows of the pairs: `update`, or the same fused."""
        if _fuses(self.device, self.dtype):
            from ubalkit.ubal.fused import Updates

            return Updates(self, x, y, batch_size)
        return lambda rows: self.update(x[rows], y[rows])

    def classify(self, x) -> Tensor:
        """Class of each input: the argmax of the forward prediction.

        Parameters
        ----------
        x : array_like, shape (batch, n_0) or (n_networks, batch, n_0)
            Inputs, the same for all networks or of each.

        Returns
        -------
        Tensor of int, shape (n_networks, batch)
        """
        x = self._input("x", x, self.layers[0])
        # In slices: the hidden activations of a whole test set for hundreds
        # of networks would not fit.
        return torch.cat([self.predict_forward(part).argmax(-1) for part in x.split(512, dim=-2)], dim=1)

    def project(self) -> Tensor:
        """The input that each one-hot code generates by backward prediction.

        Returns
        -------
        Tensor, shape (n_networks, n_L, n_0)
        """
        return self.predict_backward(torch.eye(self.layers[-1], dtype=self.dtype, device=self.device))

    def test_accuracy(self, x, labels) -> Tensor:
        """Share of inputs whose class is their label.

        Parameters
        ----------
        x : array_like, shape (batch, n_0)
            Test inputs.
        labels : array_like of int, shape (batch,)
            Class of each.

        Returns
        -------
        Tensor, shape (n_networks,)
            In [0, 1]; NaN for a network whose weights are not finite.
        """
        classes, labels = self.classify(x), torch.as_tensor(labels, device=self.device)
        if labels.shape != classes.shape[1:]:  # a column of labels would be compared with every row
            raise ValueError(f"x has {classes.shape[1]} rows and labels the shape {tuple(labels.shape)}.")
        right = classes == labels
        return self._where_finite(right.double().mean(-1))

    def backprojection_accuracy(self) -> Tensor:
        """Share of one-hot codes whose projection is classified as that code (paper, Section 4).

        Returns
        -------
        Tensor, shape (n_networks,)
            In [0, 1], in steps of 1 / n_L; NaN for a network whose weights
            are not finite.
        """
        right = self.classify(self.project()) == torch.arange(self.layers[-1], device=self.device)
        return self._where_finite(right.double().mean(-1))

    def finite(self) -> Tensor:
        """Whether all weights of each network are finite; (n_networks,) of bool."""
        parts = [part for weights in self._W + self._M for part in weights]
        return torch.stack([part.isfinite().flatten(1).all(1) for part in parts]).all(0)

    def _where_finite(self, accuracy: Tensor) -> Tensor:
        return torch.where(self.finite(), accuracy, torch.nan)
