"""Convergence: how many observations an explanation needs, and when a search may stop.

The paper leaves the number of its observations open. Here the recorded ones
are subsampled: how soon the order of the hyperparameters, their curves and
the recommended ranges are those of all observations.
"""

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace

from ubalkit import decomposition, metamodel, observations, trust
from ubalkit.attribution import Attribution
from ubalkit.constraints import LOW

__all__ = ["curve", "overlap", "Stopping", "stopping"]


def curve(
    table: pd.DataFrame,
    metric: str,
    space: ConfigurationSpace | None = None,
    *,
    rivals: Mapping[str, Callable[..., pd.Series]] | None = None,
    sizes: Sequence[int] = (50, 100, 200, 400, 700),
    n_repeats: int = 4,
    reference: Attribution | None = None,
    seed: int = 0,
    **fit,
) -> pd.DataFrame:
    """How explanations of fewer observations differ from that of all.

    Parameters
    ----------
    table : DataFrame
        Observations.
    metric : str
    space : ConfigurationSpace, optional
        UBAL's seven hyperparameters by default.
    rivals : mapping of name to function
        Other methods, as in `importance.METHODS`.
    sizes : sequence of int
        Those smaller than the table are used.
    n_repeats : int
        Disjoint subsamples of each size where there are as many, else
        overlapping ones.
    reference : Attribution, optional
        Exact SHAP values at all observations; computed if not given.
    seed : int
    **fit
        For `metamodel.fit`.

    Returns
    -------
    DataFrame
        A row a size, repeat and method: ``n``, ``repeat``, ``method``;
        ``rank_correlation`` (Spearman) with the same method's importances on
        all observations; for ours (``exact``) also ``r2`` (held out),
        ``curve_error``, the root mean square difference of the running means
        from those of all, over the largest of them, and ``overlap``, the
        length that the parts of positive mean share over that of their union,
        mean of the hyperparameters (1 if equal; a frozen one has all).
    """
    rows = observations.usable(table)
    if reference is None:
        reference = decomposition.decompose(metamodel.fit(rows, metric, space, seed=seed, **fit), rows).shap()
    rivals = dict(rivals or {})
    final = {name: method(rows, metric, space, seed=seed) for name, method in rivals.items()}
    final["exact"] = pd.Series(reference.importance_estimate().value, reference.names)
    means, ranges = _shape(reference)
    rng = np.random.default_rng(seed)
    found = []
    for n in sorted(size for size in sizes if size < len(rows)):
        order = rng.permutation(len(rows))
        for repeat in range(n_repeats):
            if (repeat + 1) * n > len(rows):
                order = rng.permutation(len(rows))
            part = rows.iloc[np.take(order, range(repeat * n, (repeat + 1) * n), mode="wrap")]
            importances = {name: method(part, metric, space, seed=seed) for name, method in rivals.items()}
            ensemble = metamodel.fit(part, metric, space, seed=seed + repeat, **fit)
            ours = {"r2": ensemble.r2}
            # Where there is nothing to explain, nothing is compared.
            with contextlib.suppress(trust.UntrustworthyError):
                explained = decomposition.decompose(ensemble, n_points=128).shap()
                importances["exact"] = pd.Series(np.abs(explained.values).mean(0), explained.names)
                means_here, ranges_here = _shape(explained)
                ours["curve_error"] = np.sqrt(np.mean((means_here - means) ** 2)) / np.abs(means).max()
                ours["overlap"] = _overlap(ranges_here, ranges)
            for name in final:
                row = {"n": n, "repeat": repeat, "method": name, **(ours if name == "exact" else {})}
                if name in importances:
                    row["rank_correlation"] = _spearman(importances[name], final[name])
                found.append(row)
    columns = ["n", "repeat", "method", "rank_correlation", "r2", "curve_error", "overlap"]
    return pd.DataFrame(found, columns=columns)


def _spearman(a: pd.Series, b: pd.Series) -> float:
    return a.corr(b.reindex(a.index), method="spearman")


def _shape(attribution: Attribution) -> tuple[np.ndarray, np.ndarray]:
    """Running means (d, n_grid), and which points of the grid are recommended, all if frozen."""
    running = np.array([attribution.running(name).value for name in attribution.names])
    means, peaks = running[:, 0], running[:, 1].max(1)
    frozen = peaks < LOW * peaks.max()
    sign = 1 if attribution.ensemble.maximize else -1
    return means, frozen[:, None] | (sign * means > 0)


def overlap(one: Attribution, other: Attribution) -> float:
    """How far two explanations recommend the same ranges: 1 if they do, 0 if they share nothing.

    Of each hyperparameter the length of the range that both would keep over
    the length that either would, and the mean of these; one that would be
    frozen keeps all of its range.
    """
    return _overlap(_shape(one)[1], _shape(other)[1])


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean((one & other).sum(1) / np.maximum((one | other).sum(1), 1)))


@dataclass(frozen=True)
class Stopping:
    """Whether a search has shown what it was made for.

    Attributes
    ----------
    stop : bool
    n : int or None
        After how many observations the rule was fulfilled first.
    sentence : str
    history : DataFrame
        A row a check: ``n``, ``r2``, ``order`` (the first hyperparameters) and
        ``apart`` (whether the intervals of their importances are disjoint).
    """

    stop: bool
    n: int | None
    sentence: str
    history: pd.DataFrame


def stopping(
    table: pd.DataFrame,
    metric: str,
    space: ConfigurationSpace | None = None,
    *,
    top: int = 3,
    patience: int = 200,
    every: int = 100,
    seed: int = 0,
    **fit,
) -> Stopping:
    """Whether a search, in the order of its rows, may stop.

    The rule: stop when the order of the first `top` hyperparameters has been
    the same at every check of the last `patience` observations and the 90 %
    intervals of their importances (mean |SHAP|, exact) overlap neither each
    other nor the next one's.

    Parameters
    ----------
    table : DataFrame
        Observations so far.
    metric : str
    space : ConfigurationSpace, optional
    top : int
        How many of the most important hyperparameters must be certain.
    patience : int
        Observations over which their order must hold.
    every : int
        Observations between checks.
    seed : int
    **fit
        For `metamodel.fit`.

    Returns
    -------
    Stopping

    Raises
    ------
    ValueError
        If the table has fewer rows than one check needs.
    """
    rows = observations.usable(table)
    if len(rows) < every:
        raise ValueError(f"{len(rows)} usable observations; the first check comes after {every}.")
    checks, reached = [], None
    for n in range(every, len(rows) + 1, every):
        ensemble = metamodel.fit(rows.iloc[:n], metric, space, seed=seed, **fit)
        order, doubt = _order(ensemble, top)
        checks.append({"n": n, "r2": ensemble.r2, "order": order, "apart": not doubt})
        lasting = {check["order"] for check in checks if check["n"] >= n - patience}
        if not doubt and len(lasting) > 1:
            doubt = f"the order of the first {top} changed in the last {patience} observations"
        elif not doubt and checks[0]["n"] > n - patience:
            doubt = f"the order of the first {top} has not been the same for {patience} observations yet"
        if reached is None and not doubt:
            reached = checks[-1]
    history = pd.DataFrame(checks)
    if reached is None:
        return Stopping(False, None, f"Go on: {doubt}.", history)
    n, order = reached["n"], ", ".join(reached["order"])
    sentence = (
        f"Stop: after {n} observations the order of the first {top} ({order}) had not changed in the last "
        f"{patience}, and their intervals did not overlap."
    )
    return Stopping(True, n, sentence, history)


def _order(ensemble: metamodel.Ensemble, top: int) -> tuple[tuple[str, ...], str]:
    """The first hyperparameters, and what makes their order doubtful."""
    try:
        explained = decomposition.decompose(ensemble, n_points=128).shap()
    except trust.UntrustworthyError:
        return (), str(ensemble.trust)
    estimate = explained.importance_estimate()
    ranked = np.argsort(-estimate.value)[: top + 1]
    tied = [
        f"{explained.names[a]} and {explained.names[b]}"
        for a, b in itertools.pairwise(ranked)
        if estimate.low[a] <= estimate.high[b]
    ]
    doubt = f"the intervals of {', of '.join(tied)} overlap" if tied else ""
    return tuple(explained.names[j] for j in ranked[:top]), doubt
