"""Functions whose importances are known: what the board asks the methods for, and the answers.

A function is a sum of terms of few hyperparameters each, in unit-cube
coordinates. What is linear in the function, as all effects and SHAP values
are, is the sum of what the terms have; so the answer is exact up to the error
of quasi-Monte-Carlo means, in 20 dimensions too.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace, EqualsCondition, Float

from ubalkit import space as spaces

#: Few and different ones, of which a board that is not full has all sizes.
FIRST = ("pairs 5", "three at once 5", "kinks 5", "ridge 4", "conditional 5", "exploding 5", "much noise 5")
FIRST += ("noise alone 4", "choices 6", "Ishigami 3", "additive 6", "g-function 7")

#: Added when every setting of ubalkit was fixed; tuned on them was only, later, `EVEN_CALIBRATION` of GPs.
LATER = ("Branin 4", "borehole 8", "least 5", "index 8", "pairs 10", "logarithms 6", "twelve choices 4")
LATER += ("two conditions 6", "some noise 8")

#: Up to so many hyperparameters all 2^d maxima of a function are taken.
FEW = 6


class Known(NamedTuple):
    """A space; terms, each with the places of the hyperparameters that it takes; and its noise.

    Noise is in standard deviations of the function (of the metric, where that is constant); it is normal, or
    Student's with two degrees of freedom, whose variance is infinite, where it is `heavy`.
    """

    space: ConfigurationSpace
    terms: list[tuple[tuple[int, ...], Callable]]
    noise: float = 0.1
    heavy: bool = False

    def __call__(self, unit: np.ndarray) -> np.ndarray:
        return sum((f(*unit.T[list(places)]) for places, f in self.terms), np.zeros(len(unit)))


def plain(d: int) -> ConfigurationSpace:
    return ConfigurationSpace({f"h{j:02d}": (0.0, 1.0) for j in range(d)})


def _logarithms(*more: str) -> ConfigurationSpace:
    ranges = {"h0_rate": (1e-5, 1.0), "h1_decay": (1e-6, 0.1)}
    ranges |= dict.fromkeys(["h2_units", "h3_batch", *more], (8.0, 512.0))
    return ConfigurationSpace(space={name: Float(name, ends, log=True) for name, ends in ranges.items()})


def _conditional(*, second: bool = False) -> ConfigurationSpace:
    # ConfigSpace puts what hangs on something else last.
    ranges = {"h0_kind": ["adam", "sgd"], "h1_rate": (0.0, 1.0), "h2_drop": (0.0, 1.0), "h3_warm": (0.0, 1.0)}
    space = ConfigurationSpace(ranges | {"h4_momentum": (0.0, 1.0)})
    space.add(EqualsCondition(space["h4_momentum"], space["h0_kind"], "sgd"))
    if second:
        space.add(beta := Float("h5_beta", (0.0, 1.0)))
        space.add(EqualsCondition(beta, space["h0_kind"], "adam"))
    return space


def each(weights: Iterable[float], *shapes: Callable) -> list:
    """Terms of one hyperparameter each, the shapes taken in turn."""
    turns = enumerate(zip(weights, itertools.cycle(shapes)))
    return [((j,), lambda u, w=w, f=f: w * f(u)) for j, (w, f) in turns]


def _pick(*values: float) -> Callable:
    """What a choice is worth, from its coordinate."""
    return lambda u: np.take(values, np.minimum(u * len(values), len(values) - 1).astype(int))


def _ishigami(x, y, z):
    x, y, z = (np.pi * (2 * u - 1) for u in (x, y, z))
    return np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x)


#: Coefficients of Sobol's g-function: the smaller, the more important.
A = (0, 0.5, 1.5, 3, 6, 9, 99)


def _g(*u):
    return math.prod((np.abs(4 * x - 2) + a) / (1 + a) for x, a in zip(u, A))


def _hill(x, y, z):
    return np.exp(-6 * (x - 0.7) ** 2 - 3 * (y - 0.3) ** 2 - 1.5 * (z - 0.5) ** 2)


def _branin(x, y):
    x, y = 15 * x - 5, 15 * y
    return (y - 5.1 * (x / (2 * np.pi)) ** 2 + 5 / np.pi * x - 6) ** 2 + (10 - 1.25 / np.pi) * np.cos(x)


def _borehole(*u):
    """Flow of water through a borehole (Morris, Mitchell & Ylvisaker, 1993)."""
    lows = (0.05, 100, 63070, 990, 63.1, 700, 1120, 9855)
    highs = (0.15, 50000, 115600, 1110, 116, 820, 1680, 12045)
    r_w, r, t_u, h_u, t_l, h_l, length, k = (a + (b - a) * x for x, a, b in zip(u, lows, highs))
    log = np.log(r / r_w)
    return 2 * np.pi * t_u * (h_u - h_l) / (log * (1 + t_u / t_l) + 2 * length * t_u / (r_w**2 * k))


def line(u):
    return u


def bowl(u):
    return -4 * (u - 0.7) ** 2


def _kink(u):
    return np.maximum(u - 0.4, 0)


def _step(u):
    return 1.0 * (u > 0.6)


def wave(u):
    return np.sin(2 * np.pi * u) / 2


def _steep(u):
    return np.exp(3 * u) / 12


FUNCTIONS = {
    "additive 6": Known(plain(6), each([1, 0.8, 0.6, 0.4, 0.2], line, bowl, _kink, _step, wave)),
    "additive 20": Known(plain(20), each(0.75 ** np.arange(10), line, bowl, _steep, wave)),
    "pairs 5": Known(
        plain(5),
        [
            *each([1, 1, 0.5, 0.2], line),
            ((0, 1), lambda x, y: 3 * (x - 0.5) * (y - 0.5)),
            ((2, 3), lambda x, y: 2 * wave(x) * (y - 0.5)),
        ],
    ),
    "product 6": Known(plain(6), [*each([1, 0.6, 0.4, 0.2], wave), ((0, 2), lambda x, y: x * wave(y))]),
    "Ishigami 3": Known(plain(3), [((0, 1, 2), _ishigami)]),
    "g-function 7": Known(plain(7), [(tuple(range(7)), _g)]),
    "three at once 5": Known(
        plain(5), [*each([0, 0, 0, 1], line), ((0, 1, 2), lambda *u: 8 * math.prod(x - 0.5 for x in u))]
    ),
    "kinks 5": Known(
        plain(5),
        [
            *each([1, 0, 0.5], _kink),
            ((0, 1), lambda x, y: np.abs(x + y - 1)),
            ((3,), lambda u: np.abs(u - 0.3)),
        ],
    ),
    "ridge 4": Known(plain(4), [((0, 1), lambda x, y: -np.abs(x - y)), ((2,), lambda u: 0.3 * u)]),
    "hill 4": Known(plain(4), [((0, 1, 2), _hill)]),
    "switch 4": Known(plain(4), [((0, 1, 2), lambda x, y, z: np.where(x > 0.5, y, 0.3 * z))]),
    "Friedman 10": Known(
        plain(10),
        [
            ((0, 1), lambda x, y: 10 * np.sin(np.pi * x * y)),
            ((2,), lambda u: 20 * (u - 0.5) ** 2),
            ((3,), lambda u: 10 * u),
            ((4,), lambda u: 5 * u),
        ],
    ),
    "sparse 15": Known(plain(15), [((3,), bowl), ((7, 11), lambda x, y: 3 * (x - 0.3) * y)]),
    "choices 6": Known(
        ConfigurationSpace(
            {"h0_act": ["relu", "gelu", "tanh", "silu"], "h1_depth": ["one", "two", "three"]}
            | {f"h{j}": (0.0, 1.0) for j in range(2, 6)}
        ),
        [
            ((0,), _pick(0, 0.3, 1, 0.5)),
            ((1, 2), lambda c, u: _pick(0.2, 1, -0.6)(c) * u),
            ((3,), lambda u: 0.3 * bowl(u)),
        ],
    ),
    "conditional 5": Known(
        _conditional(),
        [
            ((0, 4), lambda kind, u: np.where(kind > 0.5, -3 * (u - 0.9) ** 2, 0.2)),
            ((0, 1), lambda kind, u: bowl(u) * np.where(kind > 0.5, 0.5, 1)),
            ((2,), lambda u: 0.4 * u),
        ],
    ),
    "logarithms 4": Known(
        _logarithms(),
        [
            ((0, 1), lambda rate, decay: -np.abs(rate + decay - 1)),
            ((1,), lambda u: -(10 ** (5 * (u - 1)))),
            ((2,), lambda u: np.sqrt(64 ** (u - 1))),
        ],
    ),
    "exploding 5": Known(plain(5), [((0, 1, 2), lambda x, y, z: -np.exp(4 * x + 2 * y + z))]),
    "heavy noise 5": Known(plain(5), each([1, 0.7, 0.4, 0.2], line, bowl), 0.3, heavy=True),
    "much noise 5": Known(plain(5), each([1, 0.7, 0.4, 0.2], line, bowl), 1.0),
    "Branin 4": Known(plain(4), [((0, 1), lambda x, y: _branin(x, y) / 50), ((2,), lambda u: 0.5 * u)]),
    "borehole 8": Known(plain(8), [(tuple(range(8)), _borehole)]),
    "least 5": Known(plain(5), [((0, 1, 2), lambda *u: np.minimum.reduce(np.broadcast_arrays(*u)))]),
    "index 8": Known(
        plain(8),
        [((0, 1, 2, 3), lambda a, b, c, d: np.tanh(3 * (1.2 * a + 0.9 * b - 0.6 * c - 0.3 * d - 0.6)))],
    ),
    "pairs 10": Known(
        plain(10),
        [
            *each(0.7 ** np.arange(8), wave, line),
            ((1, 4), lambda x, y: 2 * (x - 0.5) * wave(y)),
            ((6, 9), lambda x, y: 1.5 * np.abs(x - y)),
        ],
    ),
    "logarithms 6": Known(
        _logarithms("h4_width", "h5_depth"),
        [((0, 3), lambda rate, batch: -3 * (rate - 0.5 * batch - 0.3) ** 2), ((4,), _kink), ((1,), _step)],
    ),
    "twelve choices 4": Known(
        ConfigurationSpace({"h0": list("abcdefghijkl")} | dict.fromkeys(["h1", "h2", "h3"], (0.0, 1.0))),
        [((0,), _pick(*np.sin(2.4 * np.arange(12)))), ((1,), bowl), ((1, 2), np.multiply)],
    ),
    "two conditions 6": Known(
        _conditional(second=True),
        [
            ((0, 4), lambda kind, u: np.where(kind > 0.5, bowl(u), -0.3)),
            ((0, 5), lambda kind, u: np.where(kind > 0.5, 0.2, _kink(u))),
            ((1, 2), lambda x, y: 2 * x * y),
        ],
    ),
    "some noise 8": Known(plain(8), [*each([1, 0.6, 0.4, 0.3], bowl, line), ((0, 1), np.multiply)], 0.5),
    "noise alone 4": Known(plain(4), [], 1.0),
    "noise alone 10": Known(plain(10), [], 1.0),
}


def parts(v: dict[tuple, np.ndarray]) -> dict[tuple, np.ndarray]:
    """What each set does beyond what its subsets do, of a game of all subsets: its Möbius transform."""
    return {s: sum((-1) ** (len(s) - len(t)) * v[t] for t in v if set(t) <= set(s)) for s in v if s}


def subsets(places: Iterable[int]) -> list[tuple[int, ...]]:
    places = sorted(places)
    return [s for size in range(len(places) + 1) for s in itertools.combinations(places, size)]


def effects(known: Known, n: int = 512) -> dict[tuple[int, ...], np.ndarray]:
    """The effect of each set of hyperparameters at n points spread over the space, (n,); none is nil."""
    x, b = (spaces.spread(known.space, n, seed) for seed in (0, 1))
    found = {}
    for places, f in known.terms:
        game = {}
        for held in subsets(places):
            columns = [x[:, j, None] if j in held else b[None, :, j] for j in places]
            game[held] = np.broadcast_to(f(*columns), (n, n) if held != tuple(places) else (n, 1)).mean(1)
        for s, part in parts(game).items():
            found[s] = found.get(s, 0) + part
    return found


def mean_shap(found: dict[tuple[int, ...], np.ndarray], d: int) -> np.ndarray:
    """Mean |SHAP| of each of d hyperparameters, (d,): an effect is shared equally by those it is of."""
    shared = (np.outer(part, np.isin(np.arange(d), s) / len(s)) for s, part in found.items())
    return np.abs(sum(shared, np.zeros((1, d)))).mean(0)


def _tunability(known: Known, d: int) -> np.ndarray:
    """Shapley values of how far the best lies above the default if some may be changed (HyperSHAP)."""
    if d > FEW or known.space.conditions or not known.terms:
        return np.full(d, np.nan)
    points, default = spaces.spread(known.space, 4096, 2), spaces.default(known.space)
    held = {s: np.isin(np.arange(d), s) for s in subsets(range(d))}
    best = parts({s: known(np.where(on, points, default)).max() for s, on in held.items()})
    return sum(part / len(s) * held[s] for s, part in best.items())


def _apart(known: Known, d: int, n_bins: int = 20) -> np.ndarray:
    """Divergence between the values of the best tenth and of all (PED-ANOVA)."""
    unit = spaces.spread(known.space, 2**14, 3)
    y = known(unit)
    found = []
    for u in unit.T:
        both = [np.histogram(v, n_bins, (0, 1))[0] / len(v) for v in (u[y >= np.quantile(y, 0.9)], u)]
        found.append(((both[0] - both[1]) ** 2 / np.maximum(both[1], 1e-12)).sum())
    return np.array(found)


@functools.cache
def truth(name: str) -> pd.DataFrame:
    """What each kind of importance is for a function, a row a hyperparameter and a column a kind.

    ``SHAP`` is the mean |SHAP| over the space, in units of the metric. In units
    of its variance, ``first`` is that of the own effect, ``total`` that of all
    effects that it is part of, and ``shared`` that of all effects, each shared
    equally by its hyperparameters (which is what splits of trees share out:
    Sutera et al., 2021). ``apart`` and ``tunability`` are what PED-ANOVA and
    HyperSHAP ask for.
    """
    known = FUNCTIONS[name]
    names = spaces.varied(known.space)
    d, found = len(names), effects(known)
    n = np.array([np.isin(np.arange(d), s) for s in found]).reshape(-1, d)
    spread = np.array([part.var() for part in found.values()])
    sizes = n.sum(1)
    columns = {
        "SHAP": mean_shap(found, d),
        "first": spread * (sizes == 1) @ n,
        "total": spread @ n,
        "shared": spread / np.maximum(sizes, 1) @ n,
        "apart": _apart(known, d) * bool(known.terms),
        "tunability": _tunability(known, d),
    }
    return pd.DataFrame(columns, index=pd.Index(names, name="hyperparameter"))
