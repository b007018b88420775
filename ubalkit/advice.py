"""From an attribution to a smaller search space: what to freeze, where to search.

The paper's last step (end of Section 4): leave out the hyperparameters whose
importance is low throughout their range, and keep of the others the range
that contributes positively. Each range is right on average over the other
hyperparameters; what is good only jointly it may cut off. So every
recommendation says what it would lose, and `joint` recommends the ranges of
the best predicted configurations instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import IntegerHyperparameter

from ubalkit import effects, uncertainty
from ubalkit import space as spaces
from ubalkit.shapley import Attribution

__all__ = [
    "Recommendation",
    "recommend",
    "joint",
    "recommendation",
    "reasons",
    "low_throughout",
    "readable",
    "LOW",
]

#: Importance is low if the peak of the running mean |SHAP| stays below this
#: share of the largest peak of all. The paper gives no number.
LOW = 0.4

# Points of the space at which predictions are compared, and how many of the
# best of them stand for the best.
_N_POINTS, _N_TOP = 2**14, 16


@dataclass(frozen=True)
class Recommendation:
    """A smaller space and what speaks for it.

    Attributes
    ----------
    metric : str
    freeze : dict of name to value
    ranges : dict of name to (low, high)
    space : ConfigurationSpace
        The reduced space, ready for `experiment.run`.
    table : DataFrame
        A row a hyperparameter: its importance, its peak (the largest running
        mean of its absolute SHAP values), what to do and, for `recommend`,
        in which share of the resamples that would be done (``sure``), and the
        90 % intervals of the bounds of its range.
    share : float
        Volume of the ranges kept, as a share of the space searched before;
        frozen hyperparameters do not count.
    n_best, lost : int
        The guard: of the `n_best` best configurations observed, how many lie
        outside the ranges.
    loss : Series
        How much worse the best prediction is within the ranges than in the
        whole space: ``loss``, ``low``, ``high`` (90 % interval). Above zero,
        something good lies outside.
    """

    metric: str
    freeze: dict
    ranges: dict
    space: ConfigurationSpace
    table: pd.DataFrame
    share: float
    n_best: int
    lost: int
    loss: pd.Series


def recommend(attribution: Attribution, *, low: float = LOW, n_best: int = 20) -> Recommendation:
    """What the attribution says to freeze and where to search.

    A hyperparameter is frozen, at the value with the highest mean SHAP value,
    if its peak is below `low` times the largest peak. Of the others that
    part of the range is kept, around the highest mean SHAP value, in which
    the mean stays positive. (The lowest and negative, where small values of
    the metric are the good ones.) What conditions or forbidden clauses speak
    of, and choices that matter, stay as they are.

    Parameters
    ----------
    attribution : Attribution
    low : float
        In (0, 1).
    n_best : int
        Best configurations that the guard counts.

    Returns
    -------
    Recommendation
    """
    assert 0 < low < 1, "low is a share"
    space, sign = attribution.ensemble.space, attribution.ensemble.sign
    running = {name: attribution.running(name).draws for name in attribution.names}
    # First of the ensemble, then of its replicates.
    freezes = low_throughout(np.array([draws[:, 1].max(1) for draws in running.values()]).T, low).T
    freeze, ranges, sure = {}, {}, {}
    for (name, draws), frozen in zip(running.items(), freezes):
        means = sign * draws[:, 0]
        values = spaces.values(space, name, np.linspace(0, 1, means.shape[1]))
        sure[name] = {"sure": (frozen[1:] == frozen[0]).mean()}
        # A category that matters stays as it is: only numbers have ranges.
        if name in spaces.bound(space):
            sure[name] = {}
        elif frozen[0]:
            freeze[name] = readable(values[means[0].argmax()], space[name])
        elif spaces.is_number(space[name]):
            places = np.array([_positive(mean) for mean in means])
            start, stop = (readable(values[k], space[name]) for k in places[0])
            # An integer may have one good value alone.
            if start == stop:
                freeze[name] = start
                continue
            ranges[name] = start, stop
            # Places on the grid, which are spaced alike on every scale.
            reach = uncertainty.interval(places[0], places[1:], n_members=len(attribution.member_values))
            for bound, ends in zip(("low", "high"), reach):
                starts, stops = np.interp(ends, np.arange(len(values)), values.astype(float))
                sure[name] |= {f"from_{bound}": starts, f"to_{bound}": stops}
    return recommendation(attribution, freeze, ranges, n_best=n_best, sure=pd.DataFrame(sure).T)


def joint(attribution: Attribution, *, share: float = 0.01, n_best: int = 20) -> Recommendation:
    """Where the best predicted configurations lie, all hyperparameters taken together.

    Parameters
    ----------
    attribution : Attribution
    share : float
        Of the space, by prediction: the best so much of it is looked at. The
        ranges hold the middle 90 % of it.
    n_best : int
        Best configurations that the guard counts.

    Returns
    -------
    Recommendation
        Nothing is frozen, but an integer with one good value.
    """
    ensemble = attribution.ensemble
    unit = spaces.spread(ensemble.space, _N_POINTS)
    predicted = ensemble.sign * ensemble.predict_unit(unit).mean(0)
    best = spaces.from_unit(ensemble.space, unit[predicted >= np.quantile(predicted, 1 - share)])
    freeze, ranges = {}, {}
    for name in attribution.names:
        hp = ensemble.space[name]
        if spaces.is_number(hp) and name not in spaces.bound(ensemble.space) and best[name].notna().any():
            values = best[name].quantile([0.05, 0.95], interpolation="nearest")
            low, high = (readable(v, hp) for v in values)
            # An integer may have one good value alone.
            if low < high:
                ranges[name] = low, high
            else:
                freeze[name] = low
    return recommendation(attribution, freeze, ranges, n_best=n_best)


def low_throughout(peaks: np.ndarray, low: float = LOW) -> np.ndarray:
    """Which hyperparameters matter little throughout their range: the rule by which they are frozen.

    Parameters
    ----------
    peaks : ndarray, shape (..., d)
        Largest running mean of the absolute SHAP values of each.
    low : float
        Share of the largest peak below which one is low.

    Examples
    --------
    >>> low_throughout(np.array([1.0, 0.5, 0.3]))
    array([False, False,  True])
    """
    return peaks < low * peaks.max(-1, keepdims=True)


def readable(value, hp):
    """A value of a hyperparameter of ConfigSpace as one would write it: a number with three digits."""
    if isinstance(hp, IntegerHyperparameter):
        return round(value)
    if not isinstance(value, (float, np.floating)):
        return value
    # Three digits are more than a curve bears; rounding must not leave the space.
    return min(max(float(f"{value:.3g}"), hp.lower), hp.upper)


def _positive(mean: np.ndarray) -> tuple[int, int]:
    """First and last point of the stretch around the highest in which a curve is positive."""
    peak, others = int(mean.argmax()), np.flatnonzero(mean <= 0)
    low = int(others[others < peak].max(initial=-1)) + 1
    high = int(others[others > peak].min(initial=len(mean))) - 1
    if low == high:  # a peak narrower than the grid
        low, high = max(low - 1, 0), min(high + 1, len(mean) - 1)
    return low, high


def recommendation(
    attribution: Attribution,
    freeze: Mapping,
    ranges: Mapping,
    *,
    n_best: int = 20,
    sure: pd.DataFrame | None = None,
) -> Recommendation:
    """Any choice of what to freeze and where to search, with what speaks for it.

    Parameters
    ----------
    attribution : Attribution
    freeze : mapping of name to value
    ranges : mapping of name to (low, high)
    n_best : int
        Best configurations that the guard counts.
    sure : DataFrame, optional
        Further columns of the table.
    """
    ensemble, metric = attribution.ensemble, attribution.metric
    space = spaces.reduced(ensemble.space, freeze, ranges)
    ordered = attribution.table.sort_values(metric, ascending=not ensemble.maximize, kind="stable")
    best = ordered.head(n_best)
    kept = np.ones(len(best), bool)
    share = 1.0
    for name, (low, high) in ranges.items():
        kept &= (best[name].between(low, high) | best[name].isna()).to_numpy()
        share *= float(np.diff(spaces.coordinate(ensemble.space[name], [low, high]))[0])
    table = attribution.importance()[["importance", "low", "high", "peak"]]
    table["action"] = ["freeze" if name in freeze else "search" for name in table.index]
    table["where"] = spaces.describe(space)
    table = table if sure is None else table.join(sure)
    lost, loss = int((~kept).sum()), _loss(attribution, space)
    return Recommendation(metric, dict(freeze), dict(ranges), space, table, share, len(best), lost, loss)


def _loss(attribution: Attribution, space: ConfigurationSpace) -> pd.Series:
    ensemble = attribution.ensemble
    found = []
    for searched in (ensemble.space, space):
        inside = spaces.from_unit(searched, spaces.spread(searched, _N_POINTS))
        predicted = ensemble.sign * ensemble.predict_unit(spaces.to_unit(ensemble.space, inside))
        # Chosen by the other members and read off the one left out: a best
        # that is chosen and read off alike is too good by what was lucky.
        others = (predicted.sum(0) - predicted) / max(len(predicted) - 1, 1)
        chosen = np.argsort(-others, axis=1)[:, :_N_TOP]
        found.append(np.take_along_axis(predicted, chosen, axis=1).mean(1))
    losses = found[0] - found[1]
    low, high = uncertainty.interval(losses.mean(), losses, n_members=len(losses))
    return pd.Series({"loss": losses.mean(), "low": low, "high": high})


def reasons(attribution: Attribution, recommendation: Recommendation, *, n_reasons: int = 3) -> pd.DataFrame:
    """Which interactions make configurations outside of the ranges good.

    Looks at the best predicted configurations that the recommendation
    excludes, and at each range that they violate: what the hyperparameter
    does there by itself, and which of its interactions make up for it.

    Parameters
    ----------
    attribution : Attribution
    recommendation : Recommendation
    n_reasons : int
        Pairs listed.

    Returns
    -------
    DataFrame
        Index: the range violated and its partner. ``outside``: share of those
        configurations that violate it; ``value`` and ``partner_value``: their
        medians; ``own`` and ``interaction``: mean effects there, in units of
        the metric. The largest interactions first.
    """
    ensemble = attribution.ensemble
    unit = spaces.spread(ensemble.space, _N_POINTS)
    points = spaces.from_unit(ensemble.space, unit)
    outside = {
        n: (points[n].notna() & ~points[n].between(*r)).to_numpy() for n, r in recommendation.ranges.items()
    }
    excluded = np.any(list(outside.values()), axis=0)
    predicted = np.where(excluded, ensemble.sign * ensemble.predict_unit(unit).mean(0), -np.inf)
    top = np.argsort(-predicted)[: 4 * _N_TOP]
    parts = effects.decompose(ensemble, points.iloc[top]).components
    rows = []
    for name, violated in outside.items():
        here = violated[top]
        if here.mean() < 0.2:
            continue
        for partner in (n for n in attribution.names if n != name):
            pair = (name, partner) if (name, partner) in parts else (partner, name)
            value, partner_value = points[[name, partner]].iloc[top][here].median()
            own, interaction = parts[name,][here].mean(), parts[pair][here].mean()
            rows.append((name, partner, here.mean(), value, partner_value, own, interaction))
    columns = ["range", "partner", "outside", "value", "partner_value", "own", "interaction"]
    frame = pd.DataFrame(rows, columns=columns).set_index(["range", "partner"])
    return frame.sort_values("interaction", ascending=not ensemble.maximize).head(n_reasons)
