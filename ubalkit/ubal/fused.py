"""`UBAL.update` on a CUDA device: all that lies between the matrix products in two kernels of Triton.

The products are torch's. Between them (biases, σ, targets, estimates, errors)
little is computed and much is moved, so a kernel reads and writes every number
once. And what the products read lies as a GPU reads it fastest:

- FP_l and BP_l of a pattern side by side: W_l propagates both in one product.
- Weights as (out, in), targets and errors as (units, patterns): both factors
  of every product run along the axis that it sums over, as TF32 units want.
- Layers padded to whole 16 units with zeros, which stay zeros, and minibatches
  to whole tiles: no width is odd.

``tests/benchmarks/device.py`` counts what an update computes and moves, what
a device could make of that, and measures what it does.
"""

import functools
import warnings

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from ubalkit import files

# What one program of a kernel works on at a time: patterns, and units of a layer.
_PATTERNS, _UNITS = tl.constexpr(32), tl.constexpr(64)


@triton.jit
def _sigma(z):
    return 1 / (1 + tl.exp(-z))


@triton.jit
def _activate(z, a, bias, z_row, a_row, batch, n_units, width):
    """σ(z + bias), of patterns that lie `z_row` and `a_row` apart, `batch` of each network."""
    pattern = tl.program_id(0).to(tl.int64) * _PATTERNS + tl.arange(0, _PATTERNS)[:, None]
    network = tl.program_id(0) * _PATTERNS // batch
    unit = tl.program_id(1) * _UNITS + tl.arange(0, _UNITS)[None, :]
    b = tl.load(bias + network * width + unit, unit < n_units)
    activation = _sigma(tl.load(z + pattern * z_row + unit, unit < n_units) + b)
    tl.store(a + pattern * a_row + unit, activation, unit < n_units)


@triton.jit
def _error(target, prediction, echo, gamma):
    return target - (echo + gamma * (prediction - echo))


@triton.jit
def _learn(both, BE, FE, b_W, b_M, beta, gamma_f, gamma_b, t, e_f, e_b, rate, n, batch, n_units, width):
    """Targets and errors of a layer from its first `n` patterns; 0 for the others. Its biases learn.

    There is no `BE` in layer 0, and no `FE` in layer L.
    """
    network = tl.program_id(0).to(tl.int64)
    unit = tl.program_id(1) * _UNITS + tl.arange(0, _UNITS)[None, :]
    there, at_bias = unit < n_units, network * width + unit
    sum_f = tl.zeros((1, _UNITS), tl.float32)
    sum_b = tl.zeros((1, _UNITS), tl.float32)
    for start in range(0, batch, _PATTERNS):
        pattern = start + tl.arange(0, _PATTERNS)[:, None]
        row, given = network * batch + pattern, there & (pattern < n)
        at, transposed = row * 2 * width + unit, at_bias * batch + pattern
        fp, bp = tl.load(both + at, there), tl.load(both + at + width, there)
        target = bp + tl.load(beta + network) * (fp - bp)
        tl.store(t + transposed, tl.where(given, target, 0.0), there)
        if BE is not None:
            be = _sigma(tl.load(BE + at, there) + tl.load(b_W + at_bias, there))
            e = tl.where(given, _error(target, fp, be, tl.load(gamma_f + network)), 0.0)
            tl.store(e_f + transposed, e, there)
            sum_f += tl.sum(e, axis=0, keep_dims=True)
        if FE is not None:
            fe = _sigma(tl.load(FE + row * width + unit, there) + tl.load(b_M + at_bias, there))
            e = tl.where(given, _error(target, bp, fe, tl.load(gamma_b + network)), 0.0)
            tl.store(e_b + transposed, e, there)
            sum_b += tl.sum(e, axis=0, keep_dims=True)
    if BE is not None:
        tl.store(b_W + at_bias, tl.load(b_W + at_bias, there) + rate * sum_f, there)
    if FE is not None:
        tl.store(b_M + at_bias, tl.load(b_M + at_bias, there) + rate * sum_b, there)


@functools.cache
def works(device: torch.device) -> bool:
    """Whether a device runs the kernels; a warning says why one does not: for want of a C compiler, say."""
    a = torch.zeros(_PATTERNS.value, 16, device=device)
    try:
        _activate[(1, 1)](a, a, a, 16, 16, len(a), 16, 16)
    except Exception as error:
        why = files.line(error, 200)
        warnings.warn(f"Networks train without Triton, and more slowly: {why}", stacklevel=2)
        return False
    return True


def _padded(a: Tensor, axes: int) -> Tensor:
    """A contiguous copy whose last `axes` axes are filled with zeros to whole 16."""
    sizes = [n for size in a.shape[: -axes - 1 : -1] for n in (0, -size % 16)]
    return functional.pad(a, sizes).clone(memory_format=torch.contiguous_format)


def _moved(directions: list) -> tuple[list[Tensor], list[Tensor]]:
    """Weights (n_networks, out, in) and biases, padded; the network's own become views of them."""
    weights = [_padded(w.weights.mT, 2) for w in directions]
    biases = [_padded(w.bias[:, 0], 1) for w in directions]
    for k, (w, b) in enumerate(zip(weights, biases)):
        _, n_pre, n_post = directions[k].weights.shape
        directions[k] = type(directions[k])(w.mT[:, :n_pre, :n_post], b.unsqueeze(1)[:, :, :n_post])
    return weights, biases


class Updates:
    """The updates of networks that learn from pairs of patterns.

    Parameters
    ----------
    net : UBAL
        Networks in ``float32``. Their weights move to other memory, and stay
        theirs.
    x : Tensor, shape (n, n_0)
        Inputs.
    y : Tensor, shape (n, n_L)
        Targets.
    batch_size : int
        Pairs a minibatch, at most.

    Examples
    --------
    >>> from ubalkit import UBAL
    >>> x = torch.eye(4, device="cuda")  # doctest: +SKIP
    >>> net = UBAL([4, 3, 4], [0.99, 0.9, 0.1], [0.0, 0.9], [1.0, 0.6], device="cuda")  # doctest: +SKIP
    >>> Updates(net, x, x, 4)(torch.tensor([[0, 1, 2]], device="cuda"))  # doctest: +SKIP
    """

    def __init__(self, net, x: Tensor, y: Tensor, batch_size: int):
        self.layers, self.rate = net.layers, net.learning_rate
        self.x, self.y = _padded(x, 1), _padded(y, 1)
        self.W, b_W = _moved(net._W)
        self.M, b_M = _moved(net._M)
        # Copies, for a value that all networks share lies in memory once.
        h = net._beta, net._gamma_f, net._gamma_b
        self.beta, gamma_f, gamma_b = ([_padded(v.flatten(), 0) for v in values] for values in h)
        new = functools.partial(x.new_zeros, net.n_networks)
        widths, tile = [n + -n % 16 for n in self.layers], _PATTERNS.value
        self.batch = batch = -(min(batch_size, len(x)) // -tile) * tile
        self.both = [new(batch, 2, n) for n in widths]
        self.FP, self.BP = ([pair[:, :, k] for pair in self.both] for k in range(2))
        self.t = [new(n, batch) for n in widths]
        # By layer, as everything: no backward echo in layer 0, and no forward echo in layer L.
        self.b_W, self.gamma_f = [None, *b_W], [None, *gamma_f]
        self.b_M, self.gamma_b = [*b_M, None], [*gamma_b, None]
        self.forward = [None, *(new(batch, 2, n) for n in widths[1:])]
        self.BE = [None, *(z[:, :, 1] for z in self.forward[1:])]
        self.FE = [*(new(batch, n) for n in widths[:-1]), None]
        self.e_f = [None, *(new(n, batch) for n in widths[1:])]
        self.e_b = [*(new(n, batch) for n in widths[:-1]), None]

    def __call__(self, rows: Tensor) -> None:
        """Learn from the pairs of some rows, (n_networks, at most `batch_size`), as `UBAL.update` does."""
        n, L, W, M, FP, BP = rows.shape[1], len(self.W), self.W, self.M, self.FP, self.BP
        rows = functional.pad(rows, (0, self.batch - n)).flatten()
        torch.index_select(self.x, 0, rows, out=FP[0].view(len(rows), -1))
        torch.index_select(self.y, 0, rows, out=BP[L].view(len(rows), -1))
        for l in reversed(range(L)):
            torch.bmm(BP[l + 1], M[l].mT, out=BP[l])
            self._sigma(l, BP[l], self.b_M[l], BP[l])
        for l in range(L):
            torch.bmm(self.both[l].flatten(1, 2), W[l].mT, out=self.forward[l + 1].flatten(1, 2))
            self._sigma(l + 1, self.forward[l + 1][:, :, 0], self.b_W[l + 1], FP[l + 1])
            torch.bmm(FP[l + 1], M[l].mT, out=self.FE[l])
        for l in range(L + 1):
            self._errors(l, n)
        for l in range(L):
            W[l].baddbmm_(self.e_f[l + 1], self.t[l].mT, alpha=self.rate)
            M[l].baddbmm_(self.e_b[l], self.t[l + 1].mT, alpha=self.rate)

    def _sigma(self, l: int, z: Tensor, bias: Tensor, a: Tensor) -> None:
        grid = (len(z) * self.batch // _PATTERNS.value, triton.cdiv(self.layers[l], _UNITS.value))
        _activate[grid](z, a, bias, z.stride(1), a.stride(1), self.batch, self.layers[l], z.shape[2])

    def _errors(self, l: int, n: int) -> None:
        _learn[(len(self.t[l]), triton.cdiv(self.layers[l], _UNITS.value))](
            self.both[l], self.BE[l], self.FE[l], self.b_W[l], self.b_M[l],
            self.beta[l], self.gamma_f[l], self.gamma_b[l], self.t[l], self.e_f[l], self.e_b[l],
            self.rate, n, self.batch, self.layers[l], self.t[l].shape[1],
        )  # fmt: skip
