"""Uncertainty: intervals for whatever is computed from an ensemble, and how sure an order is.

A member of an ensemble has seen a part of the observations. A network is
trained on these weighted at random, a kind of bootstrap, from its own initial
weights; a Gaussian process is a draw of what they leave open. Each is explained
against its own background points. So the members are what else might have come out: a number
computed from each varies as the number would have with other observations. A
replicate takes one member at random and resamples the configurations
explained. What no member can represent, no interval shows; how far the
ensemble is from its noise ceiling says how much that may be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ubalkit import space as spaces

#: Confidence of all intervals.
LEVEL = 0.9

#: What the spread of the members lacks, because all of them smooth alike: with
#: it 90 % intervals hold the truth of known functions in about nine of ten cases.
CALIBRATION = 1.25

#: The same where the configurations are no sample, so that nothing but the
#: members, MLPs or draws of Gaussian processes, tells how unsure a value is
#: (`tests/benchmarks/board.py`).
EVEN_CALIBRATION = {"MLP": 1.9, "GP": 1.5}


@dataclass(frozen=True)
class Estimate:
    """An estimate with its 90 % interval and the replicates behind it; `estimate` makes them.

    Attributes
    ----------
    value : ndarray
        The estimate itself: a number or an array of them.
    low, high : ndarray
        Bounds of the interval, of the same shape.
    replicates : ndarray, shape (n_resamples, ...)
        What else the value might have been.

    Examples
    --------
    >>> sizes = Estimate(np.array([3.0]), np.array([2.0]), np.array([5.0]), np.array([[2.5], [4.0]]))
    >>> sizes.draws.ravel().tolist()
    [3.0, 2.5, 4.0]
    >>> list(sizes.columns("importance"))
    ['importance', 'low', 'high']
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    replicates: np.ndarray

    @property
    def draws(self) -> np.ndarray:
        """The value and after it the replicates, in one array of shape (1 + n_resamples, ...)."""
        return np.concatenate([self.value[None], self.replicates])

    def columns(self, name: str) -> dict[str, np.ndarray]:
        """Columns for a DataFrame: `name` for the value, and its bounds as ``low`` and ``high``."""
        return {name: self.value, "low": self.low, "high": self.high}

    def columns_of(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Columns for a value with several parts along its first axis.

        Each part has its name in `names`, and that with ``_low`` and ``_high``
        for its bounds.
        """
        bounds = {"": self.value, "_low": self.low, "_high": self.high}
        return {f"{n}{end}": values[k] for k, n in enumerate(names) for end, values in bounds.items()}


def estimate(
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
    member_values: np.ndarray,
    *,
    nonnegative: bool = False,
    resample_rows: bool = True,
    kind: str = "MLP",
    n_resamples: int = 500,
    seed: int = 0,
) -> Estimate:
    """Compute a statistic of an ensemble, with its interval.

    Parameters
    ----------
    statistic : callable
        A function of values of shape (n, ...) and of the weights of the n
        configurations, which add up to one. It gives an array.
    member_values : ndarray, shape (n_members, n, ...)
        What the statistic is computed from, one entry for each member; the
        ensemble's are their mean.
    nonnegative : bool
        Whether the statistic is a size, like a mean absolute value. Noise
        adds to the square of a size, so the bias is taken off there.
    resample_rows : bool
        Whether the configurations are a random sample, whose choice adds to
        the uncertainty. It does not where they are a grid or Sobol' points.
    kind : str
        What the members are, ``MLP`` or ``GP``.
    n_resamples : int
        Number of replicates. With 0 the value comes alone, its interval NaN.
    seed : int
        Seed of which member each replicate takes and which configurations.

    Returns
    -------
    Estimate
        Its interval is NaN where the ensemble has only one member.

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
    calibration = CALIBRATION if resample_rows else EVEN_CALIBRATION[kind]
    if n_members > 1 and n_resamples:
        how = {"n_members": n_members, "nonnegative": nonnegative, "calibration": calibration}
        low, high = interval(value, replicates, **how)
    if not resample_rows and n_resamples:
        # So that what is counted among them is as unsure as the interval says.
        middle = replicates.mean(0)
        replicates = middle + calibration / CALIBRATION * (replicates - middle)
        replicates = np.maximum(replicates, 0) if nonnegative else replicates
    return Estimate(value, low, high, replicates)


def interval(
    value: np.ndarray,
    replicates: np.ndarray,
    *,
    n_members: int | None = None,
    nonnegative: bool = False,
    calibration: float = CALIBRATION,
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the 90 % interval of a value from its replicates.

    The interval holds the value and the value freed of the replicates' bias,
    for which of the two is nearer to the truth differs. Beyond them it reaches
    as far as the replicates' standard deviation says. With few members that
    deviation is itself uncertain, so Student's quantile multiplies it.

    Parameters
    ----------
    value : ndarray
        The value of the ensemble.
    replicates : ndarray, shape (n_resamples, ...)
        What else it might have been.
    n_members : int, optional
        How many members the replicates come from; as many as one likes if not
        given.
    nonnegative : bool
        Whether the value is a size; see `estimate`.
    calibration : float
        Factor by which the interval reaches further than the replicates say.

    Returns
    -------
    low, high : ndarray
        Of the shape of `value`.

    Examples
    --------
    >>> low, high = interval(np.array(0.0), np.array([-1.0, 1.0]))
    >>> round(float(high), 2)
    2.06
    """
    if nonnegative:
        low, high = interval(value**2, replicates**2, n_members=n_members, calibration=calibration)
        return np.sqrt(np.maximum(low, 0)), np.sqrt(np.maximum(high, 0))
    unbiased = 2 * value - replicates.mean(0)
    quantile = stats.t.ppf((1 + LEVEL) / 2, n_members - 1 if n_members else np.inf)
    reach = calibration * quantile * replicates.std(0) * (1 + 1 / (n_members or np.inf)) ** 0.5
    return np.minimum(value, unbiased) - reach, np.maximum(value, unbiased) + reach


def bounds(replicates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the 90 % percentile interval along the first axis; NaN are left out.

    Examples
    --------
    >>> [round(float(bound)) for bound in bounds(np.linspace(0, 100, 101))]
    [5, 95]
    """
    return tuple(np.nanquantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0))


def bootstrap(
    statistic: Callable[..., np.ndarray], *samples: np.ndarray, n_resamples: int = 2000, seed=0
) -> tuple[float, float, float]:
    """Compute a statistic of observations, with the bounds of its 90 % interval, by resampling them.

    Parameters
    ----------
    statistic : callable
        A function of arrays of shape (..., n), one for each of the samples. It
        gives an array of shape (...).
    *samples : ndarray, shape (n,)
        What the statistic is computed from; entry *i* of each belongs to
        observation *i*.
    n_resamples : int
        Number of times the observations are drawn anew, with replacement.
    seed : int or Generator
        Seed of the drawing, or what draws.

    Returns
    -------
    value, low, high : float
        The statistic and the bounds of its interval.

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
    """Points that predictions are compared with, other ones for each member.

    Parameters
    ----------
    ensemble : Ensemble
        Whose members are explained.
    n_background : int
        Number of points for each member.
    seed : int
        Seed of all of them.

    Returns
    -------
    ndarray, shape (n_members, n_background, d)
        Scrambled Sobol' points of the space, as unit-cube coordinates.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from ConfigSpace import ConfigurationSpace
    >>> ensemble = SimpleNamespace(space=ConfigurationSpace({"x": (0.0, 1.0)}), members=["a", "b"])
    >>> backgrounds(ensemble, 4, seed=0).shape
    (2, 4, 1)
    """
    # The seed alone is that of the points explained.
    seeds = [np.random.default_rng([seed, k + 1]) for k in range(len(ensemble.members))]
    return np.array([spaces.spread(ensemble.space, n_background, s) for s in seeds])


def order(estimate: Estimate, names: Sequence[str], *, sure: float = 0.95) -> list[str]:
    """Say how sure an order is, in sentences.

    Parameters
    ----------
    estimate : Estimate
        A number for each name, by whose size the names are ordered.
    names : sequence of str
        What is ordered.
    sure : float
        Two names can be told apart if one is larger in at least this share of
        the replicates.

    Returns
    -------
    list of str
        Which name is first and how often; then, for each group of neighbours
        in the order that cannot be told apart, which these are.

    Examples
    --------
    >>> replicates = np.array([[5.0, 2.0, 1.0], [4.0, 1.0, 2.0]])
    >>> sizes = Estimate(np.array([5.0, 2.0, 1.0]), np.zeros(3), np.ones(3), replicates)
    >>> order(sizes, ["rate", "units", "layers"])
    ['rate is first in 100% of the resamples', 'units and layers cannot be told apart']
    """
    wins = np.bincount(estimate.replicates.argmax(1), minlength=len(names)) / len(estimate.replicates)
    ranked = np.argsort(-estimate.value)
    most = ranked[wins[ranked].argmax()]
    replicates = estimate.replicates[:, ranked]
    apart = (replicates[:, :-1] > replicates[:, 1:]).mean(0) >= sure
    groups = np.split(np.array(names)[ranked], np.flatnonzero(apart) + 1)
    sentences = [f"{names[most]} is first in {wins[most]:.0%} of the resamples"]
    tied = [group for group in groups if len(group) > 1]
    return sentences + [f"{', '.join(g[:-1])} and {g[-1]} cannot be told apart" for g in tied]
