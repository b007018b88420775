"""From an attribution to a smaller search space: what to freeze, where to search.

The paper's last step (end of Section 4): leave out the hyperparameters whose
importance is low throughout their range, and keep of the others the range
that contributes positively.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace

from ubalkit import space as spaces
from ubalkit.attribution import Attribution

__all__ = ["Recommendation", "recommend", "paper", "LOW", "PAPER_EXCLUDED", "PAPER_RANGES"]

#: Importance is low if the peak of the running mean |SHAP| stays below this
#: share of the largest peak of all. The paper gives no number.
LOW = 0.4

#: What the paper leaves out of the next search, and where it keeps the rest.
PAPER_EXCLUDED = ("beta_1", "gammaB_1", "gammaB_2")
PAPER_RANGES = {"beta_2": (0, 0.4), "beta_3": (0, 0.4), "gammaF_1": (0.6, 1), "gammaF_2": (0.6, 1)}


@dataclass(frozen=True)
class Recommendation:
    """A smaller space and what speaks for it.

    Attributes
    ----------
    metric : str
    freeze : dict of name to value
    ranges : dict of name to (low, high)
    space : ConfigurationSpace
        The reduced space, ready for `search.run`.
    table : DataFrame
        A row a hyperparameter: its importance, its peak (the largest running
        mean of its absolute SHAP values), what to do.
    share : float
        Volume of the ranges kept, as a share of the space searched before;
        frozen hyperparameters do not count.
    n_best, lost : int
        The guard: of the `n_best` best configurations observed, how many lie
        outside the ranges.
    """

    metric: str
    freeze: dict
    ranges: dict
    space: ConfigurationSpace
    table: pd.DataFrame
    share: float
    n_best: int
    lost: int


def recommend(attribution: Attribution, *, low: float = LOW, n_best: int = 20) -> Recommendation:
    """What the attribution says to freeze and where to search.

    A hyperparameter is frozen, at the value with the highest mean SHAP value,
    if its peak is below `low` times the largest peak. Of the others that
    part of the range is kept, around the highest mean SHAP value, in which
    the mean stays positive.

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

    Raises
    ------
    ValueError
        For `low` outside (0, 1).
    """
    if not 0 < low < 1:
        raise ValueError(f"low = {low:g}; it must lie between 0 and 1.")
    curves = attribution.curves()
    peaks = curves.groupby("hyperparameter")["size"].max()
    freeze, ranges, space = {}, {}, attribution.ensemble.space
    for name, curve in curves.groupby("hyperparameter", sort=False):
        best = int(curve["mean"].to_numpy().argmax())
        # A category that matters stays as it is: only numbers have ranges.
        if peaks[name] < low * peaks.max():
            freeze[name] = _plain(curve["value"].iloc[best], space[name])
        elif hasattr(space[name], "lower"):
            ranges[name] = tuple(_plain(v, space[name]) for v in _positive_around(curve, best))
    return _recommendation(attribution, freeze, ranges, n_best)


def paper(attribution: Attribution, *, n_best: int = 20) -> Recommendation:
    """The paper's own constraints (Section 4), as a recommendation.

    The paper does not say at which values the three hyperparameters that it
    leaves out are held; here at those with the highest mean SHAP value.
    """
    space = attribution.ensemble.space
    if missing := [name for name in [*PAPER_EXCLUDED, *PAPER_RANGES] if name not in space]:
        raise ValueError(f"The paper's constraints are on UBAL's hyperparameters; {missing[0]} is missing.")
    curves = attribution.curves().set_index("hyperparameter")
    freeze = {n: _plain(curves.loc[n].set_index("value")["mean"].idxmax(), space[n]) for n in PAPER_EXCLUDED}
    return _recommendation(attribution, freeze, dict(PAPER_RANGES), n_best)


def _plain(value, hp):
    if not isinstance(value, (float, np.floating)):
        return value
    # Three digits are more than a curve bears; rounding must not leave the space.
    return min(max(float(f"{value:.3g}"), hp.lower), hp.upper)


def _positive_around(curve: pd.DataFrame, best: int) -> tuple[float, float]:
    positive = curve["mean"].to_numpy() > 0
    low = high = best
    while low > 0 and positive[low - 1]:
        low -= 1
    while high < len(positive) - 1 and positive[high + 1]:
        high += 1
    if low == high:  # a peak narrower than the grid
        low, high = max(low - 1, 0), min(high + 1, len(positive) - 1)
    return curve["value"].iloc[low], curve["value"].iloc[high]


def _recommendation(
    attribution: Attribution, freeze: Mapping, ranges: Mapping, n_best: int
) -> Recommendation:
    whole = attribution.ensemble.space
    space = spaces.reduced(whole, freeze, ranges)
    best = attribution.table.nlargest(n_best, attribution.metric)
    kept = np.ones(len(best), bool)
    share = 1.0
    for name, (low, high) in ranges.items():
        kept &= best[name].between(low, high).to_numpy()
        share *= float(np.diff(spaces.coordinate(whole[name], [low, high]))[0])
    table = attribution.importance()[["importance", "low", "high", "peak"]]
    table["action"] = ["freeze" if name in freeze else "search" for name in table.index]
    table["where"] = spaces.describe(space)
    return Recommendation(
        attribution.metric, dict(freeze), dict(ranges), space, table, share, len(best), int((~kept).sum())
    )
