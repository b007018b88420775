"""From an attribution to a smaller search space: what to freeze, where to search, and what to try next.

This is the last step of the paper (end of Section 4): leave out the
hyperparameters whose importance is low throughout their range, and keep of the
others the range that contributes positively. Each range is right on average
over the other hyperparameters; what is good only jointly it may cut off. So
every recommendation says what it would lose, and `joint` recommends the ranges
of the best predicted configurations instead.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import IntegerHyperparameter
from scipy.spatial import KDTree

from ubalkit import effects, uncertainty
from ubalkit import space as spaces
from ubalkit.columns import is_absent
from ubalkit.metamodel import Ensemble
from ubalkit.observations import Trials
from ubalkit.shapley import LEAST_SUPPORT, Attribution

#: Importance is low if the peak of the running mean |SHAP| stays below this
#: share of the largest peak of all. The paper gives no number.
LOW = 0.4

# Points of the space at which predictions are compared, and how many of the
# best of them stand for the best.
_N_POINTS, _N_TOP = 2**14, 16


@dataclass(frozen=True)
class Recommendation:
    """A smaller space and what speaks for it; `recommend` and `joint` make it.

    Attributes
    ----------
    metric : str
        What is to become good.
    freeze : dict of name to value
        What to hold fixed, and where.
    ranges : dict of name to (low, high) or to a list of choices
        Where to search others.
    space : ConfigurationSpace
        The reduced space, ready for `experiment.run`.
    table : DataFrame
        A row for each hyperparameter: its importance, its peak (the largest
        running mean of its absolute SHAP values) and what to do with it:
        ``freeze`` what does not matter, ``set`` what has one good value,
        ``search`` the others. From
        `recommend` there is also the share of the resamples that agree on
        whether it matters (``sure``), the share of its range where there are
        observations (``covered``), and the 90 % intervals of the bounds of its
        range.
    share : float
        Volume of the ranges kept, as a share of the space searched before;
        frozen hyperparameters do not count.
    n_best : int
        How many of the best configurations observed were looked at.
    lost : int
        How many of these lie outside the ranges.
    loss : Series
        How much worse the best prediction is within the ranges than in the
        whole space: ``loss``, and ``low`` and ``high``, its 90 % interval.
        Above zero, something good lies outside.

    Examples
    --------
    >>> from ubalkit import explain, readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> frame = pd.DataFrame({"x": x, "y": y, "score": 2 * x + 0.1 * y})
    >>> trials = readers.from_frame(frame, "score", space={"x": (0, 1), "y": (0, 1)})
    >>> shap = explain(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3]).shap
    >>> found = recommend(shap, trials.usable)
    >>> found.freeze, found.table["where"].to_dict()
    ({'y': 1.0}, {'x': '[0.525, 1]', 'y': '= 1'})
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


def recommend(
    attribution: Attribution,
    observed: pd.DataFrame | None = None,
    *,
    low: float = LOW,
    sure: float | None = None,
    keep: int = 0,
    n_best: int = 20,
) -> Recommendation:
    """Recommend what the attribution says: what to freeze, and where to search.

    A hyperparameter is frozen, at the value with the highest mean SHAP value,
    if its peak is below `low` times the largest peak. Of each other one that
    part of the range is kept, around the highest mean SHAP value, in which the
    mean stays positive; and of choices those with a positive mean. (Where small
    values of the metric are the good ones, it is the lowest, and negative.)
    What conditions or forbidden clauses speak of stays as it is. No advice is
    taken from where hardly any observation lies (`LEAST_SUPPORT`): no value
    there is frozen at, and what is covered to less than half is not frozen.

    Parameters
    ----------
    attribution : Attribution
        SHAP values at observed configurations, or at points of the space.
    observed : DataFrame, optional
        The observations with their metric; by default the configurations of
        the attribution.
    low : float
        Share of the largest peak below which one is low; between 0 and 1.
    sure : float, optional
        Act only on what at least this share of the resamples agree in: that
        peak and importance are low, or that a mean is negative. By default the
        means themselves decide, as in the paper.
    keep : int
        Ranges and choices are widened until they hold so many of the best
        configurations observed.
    n_best : int
        How many of the best configurations observed to look for in the ranges.

    Returns
    -------
    Recommendation

    Examples
    --------
    >>> from ubalkit import explain, readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> frame = pd.DataFrame({"x": x, "y": y, "score": 2 * x + 0.1 * y})
    >>> trials = readers.from_frame(frame, "score", space={"x": (0, 1), "y": (0, 1)})
    >>> shap = explain(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3]).shap
    >>> recommend(shap, trials.usable).ranges
    {'x': (0.525, 1.0)}
    """
    assert 0 < low < 1, "low is a share"
    space, sign = attribution.ensemble.space, attribution.ensemble.sign
    best = _best(attribution, observed, keep)
    running = {name: attribution.running(name).draws for name in attribution.names}
    # First of the ensemble, then of its replicates.
    freezes = low_throughout(np.array([draws[:, 1].max(1) for draws in running.values()]).T, low)
    if sure is not None:
        freezes &= low_throughout(attribution.importance_estimate(n_resamples=len(freezes) - 1).draws, low)
    freeze, ranges, more = {}, {}, {}
    for (name, draws), frozen in zip(running.items(), freezes.T):
        if name in spaces.bound(space):
            continue
        means, support = sign * draws[:, 0], attribution.support(name, draws.shape[2])
        values = spaces.values(space, name, spaces.grid(space, name, draws.shape[2]))
        # Where a mean is not surely negative, its upper quantile is positive.
        curve = means[0] if sure is None else np.quantile(means[1:], sure, axis=0)
        covered = support >= LEAST_SUPPORT
        peak = np.where(covered, means[0], -np.inf).argmax()
        certain = frozen[1:].mean() >= (sure or 0) and covered.mean() > 0.5
        more[name] = {"sure": (frozen[1:] == frozen[0]).mean(), "covered": covered.mean()}
        if frozen[0] and certain:
            freeze[name] = readable(values[peak], space[name])
        elif not spaces.is_number(space[name]):
            held = {*best[name]}
            kept = [v for k, v in enumerate(values) if curve[k] > 0 or k == peak or v in held]
            _fewer(space[name], kept, freeze, ranges)
        else:
            stretch = _positive(curve, peak)
            _narrow(space[name], values[list(stretch)], freeze, ranges, best[name].dropna())
            # Places on the grid, which are spaced alike on every scale.
            places = np.array([stretch, *(_positive(mean, mean.argmax()) for mean in means[1:])])
            reach = uncertainty.interval(places[0], places[1:], n_members=len(attribution.member_values))
            for bound, ends in zip(("low", "high"), reach if name in ranges else ()):
                starts, stops = np.interp(ends, np.arange(len(values)), values.astype(float))
                more[name] |= {f"from_{bound}": starts, f"to_{bound}": stops}
    more = pd.DataFrame(more).T
    matter = [name for name, frozen in zip(running, freezes[0]) if name in freeze and not frozen]
    how = {"observed": observed, "n_best": n_best, "more": more, "matter": matter}
    return recommendation(attribution, freeze, ranges, **how)


def _best(attribution: Attribution, observed: pd.DataFrame | None, n: int) -> pd.DataFrame:
    """The best configurations observed, the best first."""
    rows = attribution.table if observed is None else observed
    order = {"ascending": not attribution.ensemble.maximize, "kind": "stable"}
    # Points of the space have no metric.
    n *= attribution.metric in rows
    return rows.sort_values(attribution.metric, **order).head(n) if n else rows.head(0)


def joint(
    attribution: Attribution, observed: pd.DataFrame | None = None, *, share: float = 0.01, n_best: int = 20
) -> Recommendation:
    """Recommend where the best predicted configurations lie, all hyperparameters taken together.

    Parameters
    ----------
    attribution : Attribution
        SHAP values at observed configurations, or at points of the space.
    observed : DataFrame, optional
        The observations with their metric; by default the configurations of
        the attribution.
    share : float
        How much of the space, the best predicted part of it, is looked at. The
        ranges hold the middle 90 % of that part.
    n_best : int
        How many of the best configurations observed to look for in the ranges.

    Returns
    -------
    Recommendation
        Nothing is frozen but an integer of which one value alone is good.

    Examples
    --------
    >>> from ubalkit import explain, readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> frame = pd.DataFrame({"x": x, "y": y, "score": 2 * x + 0.1 * y})
    >>> trials = readers.from_frame(frame, "score", space={"x": (0, 1), "y": (0, 1)})
    >>> shap = explain(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3]).shap
    >>> low, high = joint(shap, trials.usable, share=0.1).ranges["x"]
    >>> round(low, 1), round(high, 1)
    (0.9, 1.0)
    """
    ensemble = attribution.ensemble
    unit = spaces.spread(ensemble.space, _N_POINTS)
    predicted = ensemble.sign * ensemble.predict_unit(unit).mean(0)
    best = spaces.from_unit(ensemble.space, unit[predicted >= np.quantile(predicted, 1 - share)])
    freeze, ranges = {}, {}
    for name in attribution.names:
        hp = ensemble.space[name]
        if spaces.is_number(hp) and name not in spaces.bound(ensemble.space) and best[name].notna().any():
            middle = best[name].quantile([0.05, 0.95], interpolation="nearest")
            _narrow(hp, middle, freeze, ranges)
    return recommendation(attribution, freeze, ranges, observed=observed, n_best=n_best, matter=[*freeze])


def _narrow(hp, ends, freeze: dict, ranges: dict, held: Sequence = ()) -> None:
    """Search between two values, and where the held ones are; of one integer alone, freeze there."""
    low, high = (readable(value, hp) for value in ends)
    low, high = min([low, *held]), max([high, *held])
    if low + 1e-12 < high:
        ranges[hp.name] = low, high
    else:
        freeze[hp.name] = low


def _fewer(hp, kept: list, freeze: dict, ranges: dict) -> None:
    """Search among some choices; one alone is frozen."""
    if len(kept) == 1:
        freeze[hp.name] = kept[0]
    elif len(kept) < len(spaces.choices(hp)):
        ranges[hp.name] = kept


def low_throughout(peaks: np.ndarray, low: float = LOW) -> np.ndarray:
    """Tell which hyperparameters matter little throughout their range: these are frozen.

    Parameters
    ----------
    peaks : ndarray, shape (..., d)
        Largest running mean of the absolute SHAP values of each.
    low : float
        Share of the largest peak below which one is low.

    Returns
    -------
    ndarray of bool, shape (..., d)

    Examples
    --------
    >>> low_throughout(np.array([1.0, 0.5, 0.3])).tolist()
    [False, False, True]
    """
    return peaks < low * peaks.max(-1, keepdims=True)


def readable(value, hp):
    """Write a value of a hyperparameter of ConfigSpace as one would: a number with three digits.

    Examples
    --------
    >>> space = ConfigurationSpace({"rate": (0.0, 0.98765), "units": (1, 64)})
    >>> readable(0.123456, space["rate"]), readable(0.98765, space["rate"]), readable(31.9, space["units"])
    (0.123, 0.98765, 32)
    """
    if not spaces.is_number(hp):
        return value
    if "step" in (hp.meta or {}):
        value = spaces.on_step(hp, value)
    elif not isinstance(hp, IntegerHyperparameter):
        # Three digits are more than a curve bears, but those that all of the range shares.
        shared = 0 if hp.log else math.log10(max(abs(hp.lower), abs(hp.upper)) / (hp.upper - hp.lower))
        value = float(f"{value:.{3 + int(shared)}g}")
    value = round(value) if isinstance(hp, IntegerHyperparameter) else value
    # Rounding must not leave the space.
    return min(max(value, hp.lower), hp.upper)


def _positive(mean: np.ndarray, peak: int) -> tuple[int, int]:
    """First and last point of the stretch around a peak in which a curve is positive."""
    others = np.flatnonzero(mean <= 0)
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
    observed: pd.DataFrame | None = None,
    n_best: int = 20,
    more: pd.DataFrame | None = None,
    matter: Sequence[str] = (),
) -> Recommendation:
    """Make a recommendation of any choice of what to freeze and where to search.

    Parameters
    ----------
    attribution : Attribution
        SHAP values at observed configurations.
    freeze : mapping of name to value
        What to freeze, and where.
    ranges : mapping of name to (low, high) or to choices
        Where to search others.
    observed : DataFrame, optional
        The observations with their metric; by default the configurations of
        the attribution.
    n_best : int
        How many of the best configurations observed to look for in the ranges.
    more : DataFrame, optional
        Further columns for the table, by hyperparameter.
    matter : sequence of str
        What is frozen because one value is good, not because all are alike:
        the best configurations with another value are lost.

    Returns
    -------
    Recommendation

    Examples
    --------
    >>> from ubalkit import explain, readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> frame = pd.DataFrame({"x": x, "y": y, "score": 2 * x + 0.1 * y})
    >>> trials = readers.from_frame(frame, "score", space={"x": (0, 1), "y": (0, 1)})
    >>> shap = explain(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3]).shap
    >>> found = recommendation(shap, {"y": 0.5}, {"x": (0.8, 1.0)}, observed=trials.usable, n_best=5)
    >>> found.lost, round(found.share, 2)
    (0, 0.2)
    """
    ensemble, metric = attribution.ensemble, attribution.metric
    space, best = spaces.reduced(ensemble.space, freeze, ranges), _best(attribution, observed, n_best)
    lost = int(_outside(best, {**ranges, **{n: [freeze[n]] for n in matter}}).any(axis=1).sum())
    share = math.prod((_share(ensemble.space[name], kept) for name, kept in ranges.items()), start=1.0)
    table = attribution.importance()[["importance", "low", "high", "peak"]]
    frozen = {**dict.fromkeys(freeze, "freeze"), **dict.fromkeys(matter, "set")}
    table["action"] = [frozen.get(name, "search") for name in table.index]
    table["where"] = spaces.describe(space)
    table = table if more is None else table.join(more)
    loss = _loss(ensemble, space)
    return Recommendation(metric, dict(freeze), dict(ranges), space, table, share, len(best), lost, loss)


def _share(hp, kept) -> float:
    if not spaces.is_number(hp):
        return len(kept) / len(spaces.choices(hp))
    low, high = spaces.coordinate(hp, kept)
    return float(high - low)


def _outside(table: pd.DataFrame, ranges: Mapping) -> pd.DataFrame:
    """Which configurations leave which range; where a hyperparameter is not active, none does."""

    def left(values, kept):
        return ~is_absent(values) & ~(values.isin(kept) if isinstance(kept, list) else values.between(*kept))

    return pd.DataFrame({name: left(table[name], kept) for name, kept in ranges.items()}, table.index)


def _loss(ensemble: Ensemble, space: ConfigurationSpace) -> pd.Series:
    """How much worse the best prediction in a smaller space is than in the whole."""
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
    """Tell which interactions make configurations outside of the ranges good.

    This looks at the best predicted configurations that the recommendation
    excludes, and at each range that they leave: what the hyperparameter does
    there by itself, and which of its interactions make up for it.

    Parameters
    ----------
    attribution : Attribution
        SHAP values at observed configurations.
    recommendation : Recommendation
        What was recommended for them.
    n_reasons : int
        How many pairs to list, those with the largest interactions first.

    Returns
    -------
    DataFrame
        Index: the hyperparameter whose range is left, and its partner.
        ``outside`` is the share of the excluded configurations that leave the
        range; ``value`` and ``partner_value`` are their medians (of choices
        the most frequent); ``own`` and ``interaction`` are the mean effects
        there, in units of the metric.

    Examples
    --------
    >>> from ubalkit import explain, readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> frame = pd.DataFrame({"x": x, "y": y, "score": (4 * x - 3) * y})
    >>> trials = readers.from_frame(frame, "score", space={"x": (0, 1), "y": (0, 1)})
    >>> shap = explain(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3]).shap
    >>> why = reasons(shap, recommend(shap, trials.usable), n_reasons=1)
    >>> why[["own", "interaction"]].round(1).T.to_dict()
    {('y', 'x'): {'own': -0.4, 'interaction': 0.7}}
    """
    ensemble, names = attribution.ensemble, attribution.names
    unit = spaces.spread(ensemble.space, _N_POINTS)
    points = spaces.from_unit(ensemble.space, unit)
    outside = _outside(points, recommendation.ranges)
    predicted = ensemble.sign * ensemble.predict_unit(unit).mean(0)
    top = np.argsort(-np.where(outside.any(axis=1), predicted, -np.inf))[: 4 * _N_TOP]
    excluded, outside = points.iloc[top], outside.iloc[top]
    parts = effects.decompose(ensemble, excluded).components
    rows = []
    for name, here in outside.items():
        # What hardly any of them does is no reason.
        if here.mean() < 0.2:
            continue
        typical = excluded[here].mode().iloc[0].astype(object)
        typical.update(excluded[here].median(numeric_only=True))
        for partner in (n for n in names if n != name):
            pair = tuple(n for n in names if n in (name, partner))
            own, interaction = (parts[s][here].mean() for s in ((name,), pair))
            rows.append((name, partner, here.mean(), typical[name], typical[partner], own, interaction))
    columns = ["range", "partner", "outside", "value", "partner_value", "own", "interaction"]
    frame = pd.DataFrame(rows, columns=columns).set_index(["range", "partner"])
    return frame.sort_values("interaction", ascending=not ensemble.maximize).head(n_reasons)


def gaps(trials: Trials, n: int, seed: int = 0) -> pd.DataFrame:
    """Configurations to try next: those farthest from all trials, of twice as many that are spread evenly.

    Importances are over the whole space, so that what is unsure about them is
    settled where trials are missing (Kennard and Stone, 1969, choose alike).
    Rules that ask a meta-model what it is unsure of, as in active learning
    (Cohn, Ghahramani and Jordan, 1996), narrow its intervals as much but come
    no nearer to the truth: `tests/benchmarks/next_trials.py`.

    Parameters
    ----------
    trials : Trials
        What has been tried; failed ones count.
    n : int
        How many configurations, at least 1.
    seed : int
        What scrambles the even spread. Another one gives other configurations.

    Returns
    -------
    DataFrame
        A row for each configuration, the farthest first, a column for each
        hyperparameter, missing where conditions switch it off. All are legal
        and on their steps, no two are the same: where the space has fewer
        than `n`, there are fewer.

    Raises
    ------
    ValueError
        If the forbidden clauses of the space leave next to nothing.

    Examples
    --------
    >>> from ubalkit import readers
    >>> frame = pd.DataFrame({"x": [0.0, 0.1, 0.2, 0.3], "score": [1, 2, 3, 4]})
    >>> trials = readers.from_frame(frame, "score", space={"x": (0, 1)})
    >>> bool((gaps(trials, 2)["x"] > 0.5).all())
    True
    """
    space, unit = trials.space, spaces.spread(trials.space, 2 * n, seed)
    steps = {name: space[name] for name in spaces.varied(space) if "step" in (space[name].meta or {})}
    for name, hp in steps.items():
        j = spaces.varied(space).index(name)
        values = spaces.values(space, name, unit[:, j])
        unit[:, j] = spaces.coordinate(hp, [readable(value, hp) for value in values])
    unit = np.unique(unit[spaces.legal(space, unit)], axis=0)
    nearest = KDTree(spaces.to_unit(space, trials.table)).query(unit)[0]
    table = spaces.from_unit(space, unit[np.argsort(-nearest, kind="stable")[:n]])
    for name, hp in steps.items():  # without the last digits that coordinates lose
        table[name] = [value if pd.isna(value) else readable(value, hp) for value in table[name]]
    return table
