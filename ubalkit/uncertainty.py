"""Uncertainty: intervals for whatever is computed from an ensemble, and how sure an order is.

A member of an ensemble is trained on observations weighted at random, a kind
of bootstrap, from its own initial weights, and is explained against its own
background points. So the members are what else might have come out: a number
computed from each varies as the number would have with other observations. A
replicate takes one member at random and resamples the configurations
explained. What no member can represent, no interval shows; how far the
ensemble is from its noise ceiling says how much that may be.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ubalkit import space as spaces

__all__ = ["Estimate", "estimate", "interval", "bootstrap", "bounds", "backgrounds", "order"]

#: Confidence of all intervals.
LEVEL = 0.9

#: What the spread of the members lacks, because all of them smooth alike: with
#: it 90 % intervals hold the truth of known functions in about nine of ten cases.
CALIBRATION = 1.25


@dataclass(frozen=True)
class Estimate:
    """An estimate with its 90 % interval and the replicates behind it.

    Attributes
    ----------
    value, low, high : ndarray
    replicates : ndarray, shape (n_resamples, ...)
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    replicates: np.ndarray

    @property
    def draws(self) -> np.ndarray:
        """The value, then the replicates, (1 + n_resamples, ...)."""
        return np.concatenate([self.value[None], self.replicates])

    def columns(self, name: str) -> dict[str, np.ndarray]:
        """As columns of a frame: `name`, ``low``, ``high``."""
        return {name: self.value, "low": self.low, "high": self.high}

    def columns_of(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The same of several kinds, along the first axis: each name, with ``…_low`` and ``…_high``."""
        bounds = {"": self.value, "_low": self.low, "_high": self.high}
        return {f"{n}{end}": values[k] for k, n in enumerate(names) for end, values in bounds.items()}


def estimate(
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
    member_values: np.ndarray,
    *,
    nonnegative: bool = False,
    resample_rows: bool = True,
    n_resamples: int = 500,
    seed: int = 0,
) -> Estimate:
    """An estimate from an ensemble, with its interval.

    Parameters
    ----------
    statistic : callable
        From values (n, ...) and the weights of the n configurations, which
        add up to one, to an array.
    member_values : ndarray, shape (n_members, n, ...)
        What the statistic is computed from, of each member; their mean is the
        ensemble's.
    nonnegative : bool
        Whether the statistic is a size, like a mean absolute value. Noise
        adds to its square, so that the bias is taken off there.
    resample_rows : bool
        Whether the configurations are a random sample, whose choice adds to
        the uncertainty; not so for a grid or Sobol' points.
    n_resamples : int
        Number of replicates; with 0 the value comes alone, its interval NaN.
    seed : int
        Seed of the members drawn and of the configurations resampled.

    Returns
    -------
    Estimate
        Without an interval (NaN) where the ensemble has one member.

    Examples
    --------
    >>> members = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> estimate(lambda values, weights: weights @ values, members, n_resamples=0).value
    array(2.5)
    """
    n_members, n = member_values.shape[:2]
    rng = np.random.default_rng(seed)
    even = np.full(n, 1 / n)
    value = np.asarray(statistic(member_values.mean(0), even))
    drawn = rng.integers(n_members, size=n_resamples)
    weights = rng.multinomial(n, even, size=n_resamples) / n if resample_rows else [even] * n_resamples
    replicates = np.array([statistic(member_values[k], w) for k, w in zip(drawn, weights)])
    low = high = np.full_like(value, np.nan)
    if n_members > 1 and n_resamples:
        low, high = interval(value, replicates, n_members=n_members, nonnegative=nonnegative)
    return Estimate(value, low, high, replicates)


def interval(
    value: np.ndarray, replicates: np.ndarray, *, n_members: int | None = None, nonnegative: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the 90 % interval of a value from its replicates; see `estimate`.

    It reaches as far from the value, and from the value freed of the
    replicates' bias, as the replicates' standard deviation says: which of the
    two is nearer to the truth differs, so that both are covered. Of few
    members the standard deviation is itself uncertain: Student's quantile.
    `CALIBRATION` widens it.
    """
    if nonnegative:
        low, high = interval(value**2, replicates**2, n_members=n_members)
        return np.sqrt(np.maximum(low, 0)), np.sqrt(np.maximum(high, 0))
    unbiased = 2 * value - replicates.mean(0)
    quantile = stats.t.ppf((1 + LEVEL) / 2, n_members - 1 if n_members else np.inf)
    reach = CALIBRATION * quantile * replicates.std(0) * (1 + 1 / (n_members or np.inf)) ** 0.5
    return np.minimum(value, unbiased) - reach, np.maximum(value, unbiased) + reach


def bounds(replicates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the 90 % percentile interval, along the first axis; NaN are left out."""
    return tuple(np.nanquantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0))


def bootstrap(
    statistic: Callable[..., np.ndarray], *samples: np.ndarray, n_resamples: int = 2000, seed=0
) -> tuple[float, float, float]:
    """A statistic of observations with the bounds of its 90 % interval, by resampling them.

    Parameters
    ----------
    statistic : callable
        From arrays (..., n) to (...).
    *samples : ndarray, shape (n,)
        What it is computed from; entry *i* of all is of one observation.
    n_resamples : int
        Number of resamples.
    seed : int or Generator
        Seed of the resampling, or what draws.

    Returns
    -------
    value, low, high : float

    Examples
    --------
    >>> value, low, high = bootstrap(lambda x: x.mean(-1), np.arange(100.0))
    >>> bool(low < value < high)
    True
    """
    samples = [np.asarray(sample, dtype=float) for sample in samples]
    n = len(samples[0])
    rows = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    low, high = bounds(statistic(*(sample[rows] for sample in samples)))
    return statistic(*samples), low, high


def backgrounds(ensemble, n_background: int, seed: int) -> np.ndarray:
    """Scrambled Sobol' points of the sampling distribution for each member, (n_members, n_background, d)."""
    # The seed alone is that of the points explained.
    seeds = [np.random.default_rng([seed, k + 1]) for k in range(len(ensemble.members))]
    return np.array([spaces.spread(ensemble.space, n_background, s) for s in seeds])


def order(estimate: Estimate, names: Sequence[str], *, sure: float = 0.95) -> list[str]:
    """How sure an order is, in sentences.

    Parameters
    ----------
    estimate : Estimate
        Of one number for each name, (d,).
    sure : float
        Two names can be told apart if one is larger in at least this share of
        the replicates.

    Returns
    -------
    list of str
        Which name is first and how often; then the neighbours in the order
        that cannot be told apart, tied ones together.
    """
    wins = np.bincount(estimate.replicates.argmax(1), minlength=len(names)) / len(estimate.replicates)
    ranked = np.argsort(-estimate.value)
    most = ranked[wins[ranked].argmax()]
    sentences = [f"{names[most]} is first in {wins[most]:.0%} of the resamples"]
    groups = [[ranked[0]]]
    for above, below in itertools.pairwise(ranked):
        larger = (estimate.replicates[:, above] > estimate.replicates[:, below]).mean()
        if larger < sure:
            groups[-1].append(below)
        else:
            groups.append([below])
    for group in groups:
        tied = [names[j] for j in group]
        if len(tied) > 1:
            sentences.append(f"{', '.join(tied[:-1])} and {tied[-1]} cannot be told apart")
    return sentences
