"""`UBAL.update` on a CUDA device, with all that lies between the matrix products in two kernels of Triton.

The products are torch's. Between them (biases, σ, targets, estimates, errors)
little is computed and much is moved, so kernels read and write every number
once. And what the products work on lies as a GPU reads it fastest:

- FP_l and BP_l of a pattern side by side: W_l propagates both in one product.
- Weights as (out, in), targets and errors as (units, patterns): both factors
  of each product run along the axis that it sums over. TF32 units want that.
- Layers padded with zeros to whole 16 units, minibatches to whole tiles. The
  zeros stay zeros, and ten classes are no odd width.

``tests/benchmarks/device.py`` counts what an update computes and moves, says
how fast a device can be by that, and measures how fast it is.
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
    """Whether a device runs the kernels. A warning says why one does not: Triton needs a C compiler, say."""
    a = torch.zeros(1, _PATTERNS.value, 16, device=device)
    try:
        _activate[(1, 1)](a, a, a, 16, 16, _PATTERNS.value, 16, 16)
    except Exception as error:
        warnings.warn(f"Networks train without Triton, and more slowly: {files.line(error, 200)}", stacklevel=2)
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
        self.W, self.b_W = _moved(net._W)
        self.M, self.b_M = _moved(net._M)
        # A value that all networks share would lie in memory once.
        h = net._beta, net._gamma_f, net._gamma_b
        self.beta, self.gamma_f, self.gamma_b = ([_padded(v.flatten(), 0) for v in values] for values in h)
        n, tile = net.n_networks, _PATTERNS.value
        self.batch = batch = -(min(batch_size, len(x)) // -tile) * tile
        widths = [size + -size % 16 for size in self.layers]
        self.both, self.forward = ([x.new_zeros(n, batch, 2, w) for w in widths] for _ in range(2))
        self.FP, self.BP = ([pair[:, :, k] for pair in self.both] for k in range(2))
        self.FE = [x.new_zeros(n, batch, w) for w in widths]
        self.t, self.e_f, self.e_b = ([x.new_zeros(n, w, batch) for w in widths] for _ in range(3))

    def __call__(self, rows: Tensor) -> None:
        """Learn from the pairs of some rows, (n_networks, at most `batch_size`), as `UBAL.update` does."""
        n, L, W, M, FP, BP = rows.shape[1], len(self.W), self.W, self.M, self.FP, self.BP
        rows = functional.pad(rows, (0, self.batch - n)).flatten()
        torch.index_select(self.x, 0, rows, out=FP[0].view(len(rows), -1))
        torch.index_select(self.y, 0, rows, out=BP[L].view(len(rows), -1))
        for l in reversed(range(L)):
            torch.bmm(BP[l + 1], M[l].mT, out=BP[l])
            self._activate(l, BP[l], self.b_M[l], BP[l])
        for l in range(L):
            torch.bmm(self.both[l].flatten(1, 2), W[l].mT, out=self.forward[l + 1].flatten(1, 2))
            self._activate(l + 1, self.forward[l + 1][:, :, 0], self.b_W[l], FP[l + 1])
            torch.bmm(FP[l + 1], M[l].mT, out=self.FE[l])
        for l in range(L + 1):
            self._learn(l, n)
        for l in range(L):
            W[l].baddbmm_(self.e_f[l + 1], self.t[l].mT, alpha=self.rate)
            M[l].baddbmm_(self.e_b[l], self.t[l + 1].mT, alpha=self.rate)

    def _activate(self, l: int, z: Tensor, bias: Tensor, a: Tensor) -> None:
        grid = (len(z) * self.batch // _PATTERNS.value, triton.cdiv(self.layers[l], _UNITS.value))
        _activate[grid](z, a, bias, z.stride(1), a.stride(1), self.batch, self.layers[l], z.shape[2])

    def _learn(self, l: int, n: int) -> None:
        forward = (self.forward[l][:, :, 1], self.b_W[l - 1], self.gamma_f[l - 1]) if l else (None,) * 3
        backward = (self.FE[l], self.b_M[l], self.gamma_b[l]) if l < len(self.M) else (None,) * 3
        (BE, b_W, gamma_f), (FE, b_M, gamma_b) = forward, backward
        sizes = self.batch, self.layers[l], self.t[l].shape[1]
        grid = (len(self.t[l]), triton.cdiv(self.layers[l], _UNITS.value))
        _learn[grid](
            self.both[l], BE, FE, b_W, b_M, self.beta[l], gamma_f, gamma_b, self.t[l], self.e_f[l],
            self.e_b[l], self.rate, n, *sizes
        )  # fmt: skip
