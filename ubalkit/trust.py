"""The trust gate: whether an ensemble predicts well enough for its explanation to mean anything.

An importance is computed from a meta-model, whatever the meta-model is worth:
on pure noise, too, bars have lengths. So every explanation carries the
held-out quality of its ensemble and asks it first.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["Trust", "UntrustworthyError", "LEAST_R2", "r2_interval", "noise_variance"]

#: Below this share of the explainable variance an explanation is called poor.
LEAST_R2 = 0.5


class UntrustworthyError(ValueError):
    """There is nothing to explain: the ensemble predicts no better than the mean."""


@dataclass(frozen=True)
class Trust:
    """How far an ensemble can be believed.

    Attributes
    ----------
    metric : str
    r2 : float
        Held-out R².
    low, high : float
        Bounds of its 90 % interval, by bootstrap over the held-out rows.
    ceiling : float
        The noise ceiling: the R² that knowing every configuration's true mean
        would give, 1 less the share of the variance that other seeds of the
        same configuration make. NaN where no configuration was repeated.
    """

    metric: str
    r2: float
    low: float
    high: float
    ceiling: float = float("nan")

    @property
    def explained(self) -> float:
        """Share of the explainable variance that the ensemble predicts: R² over its ceiling, if known."""
        known = np.isfinite(self.ceiling) and self.ceiling > 0
        return min(self.r2 / self.ceiling, 1.0) if known else self.r2

    @property
    def verdict(self) -> str:
        """``none`` if the interval of R² reaches 0, else ``poor`` below `LEAST_R2`, else ``good``."""
        if not self.low > 0:
            return "none"
        return "good" if self.explained >= LEAST_R2 else "poor"

    def __str__(self):
        ceiling = f" of at most {self.ceiling:.2f}" if np.isfinite(self.ceiling) else ""
        return (
            f"{self.metric}: held-out R² {self.r2:.2f} ({self.low:.2f} to {self.high:.2f}){ceiling}, "
            f"{self.verdict}"
        )

    def check(self) -> None:
        """Refuse or warn where the ensemble is not good.

        Raises
        ------
        UntrustworthyError
            If the verdict is ``none``.

        Warns
        -----
        UserWarning
            If it is ``poor``.
        """
        if self.verdict == "none":
            raise UntrustworthyError(
                f"{self}: the ensemble predicts held-out configurations no better than their mean does, so "
                "there is nothing to explain. More observations may help, or the metric is noise."
            )
        if self.verdict == "poor":
            warnings.warn(
                f"{self}: less than {LEAST_R2:.0%} of what could be explained is; read the explanation as a "
                "hint.",
                stacklevel=3,
            )


def r2_interval(
    y: np.ndarray, predicted: np.ndarray, *, n_resamples: int = 400, seed: int = 0
) -> tuple[float, float]:
    """Bounds of the 90 % interval of R², by bootstrap over rows; NaN predictions are left out."""
    known = ~np.isnan(predicted)
    y, predicted = y[known], predicted[known]
    rows = np.random.default_rng(seed).integers(len(y), size=(n_resamples, len(y)))
    variance = y[rows].var(1)
    r2 = 1 - ((y - predicted) ** 2)[rows].mean(1) / np.where(variance > 0, variance, np.nan)
    return tuple(np.nanquantile(r2, [0.05, 0.95]).tolist())


def noise_variance(repeats: pd.DataFrame, metric: str) -> float:
    """Variance of a metric between seeds of one configuration, pooled over configurations.

    Parameters
    ----------
    repeats : DataFrame
        Observations in which every configuration (``index``) stands several
        times; see `search.repeats`.
    metric : str

    Returns
    -------
    float
    """
    groups = repeats.groupby(level="index")[metric]
    freedom = groups.count() - 1
    return float((groups.var(ddof=1) * freedom).sum() / freedom.sum()) if freedom.sum() > 0 else float("nan")
