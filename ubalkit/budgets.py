"""Budgets: from when on a search says what it will say in the end.

Trials whose metric is known after several budgets (epochs, shares of the
data, seconds) are explained at each of them. What matters early and not late,
and which budget would have been enough, can be read off.
"""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace
from scipy.stats import spearmanr

from ubalkit import convergence, decomposition, inputs, metamodel, uncertainty
from ubalkit.decomposition import Decomposition

__all__ = ["Budgets", "explain", "intermediate_values"]


@dataclass(frozen=True)
class Budgets:
    """Explanations of the same trials after increasing budgets.

    Attributes
    ----------
    budgets : list of float
        All of them, in increasing order.
    decompositions : dict of budget to Decomposition
        Of the ensembles of those at which there is something to explain, all
        at the same points of the space.
    refused : dict of budget to str
        Why there is nothing at the others.
    """

    budgets: list[float]
    decompositions: dict[float, Decomposition]
    refused: dict[float, str]

    @property
    def last(self) -> Decomposition:
        """After the largest budget, with which the others are compared."""
        return self.decompositions[self.budgets[-1]]

    @cached_property
    def _importances(self) -> dict[float, uncertainty.Estimate]:
        return {b: d.shap().importance_estimate() for b, d in self.decompositions.items()}

    @cached_property
    def importances(self) -> pd.DataFrame:
        """Importance of each hyperparameter after each budget.

        ``budget``, ``hyperparameter``; ``importance``, the mean |SHAP| over
        the space, with its 90 % interval, ``low`` and ``high``; and ``rank``.
        """
        names, estimates = self.last.names, self._importances.items()
        frames = [pd.DataFrame({"hyperparameter": names, **e.columns("importance")}) for _, e in estimates]
        frame = pd.concat(dict(zip(self._importances, frames)), names=["budget"]).reset_index("budget")
        ranks = frame.groupby("budget")["importance"].rank(ascending=False)
        return frame.assign(rank=ranks.astype(int)).reset_index(drop=True)

    @cached_property
    def table(self) -> pd.DataFrame:
        """How far each budget says what the largest says.

        Index: budget. ``r2``, held out; ``agreement``, the rank correlation
        (Spearman) of its importances with the last ones, with its 90 %
        interval, ``low`` and ``high``; ``overlap`` of the ranges recommended
        (see `convergence.overlap`); ``saved``, the share of the cost of a
        search at the largest budget that one at this budget saves. NaN where
        nothing was explained.
        """
        rows, final, last = {}, self.last.shap(), self._importances[self.budgets[-1]].draws
        for budget, found in self.decompositions.items():
            # The same members and resamples stand behind replicate k of both.
            pairs = zip(self._importances[budget].draws, last)
            agreement, *replicates = (spearmanr(here, there)[0] for here, there in pairs)
            # Two noisy orders agree less than their means do: the interval holds at least the value.
            low, high = np.quantile(replicates, [0.05, 0.95])
            low, high = min(low, agreement), max(high, agreement)
            overlap = convergence.overlap(found.shap(), final)
            rows[budget] = (found.ensemble.r2, agreement, low, high, overlap)
        table = pd.DataFrame(rows, ["r2", "agreement", "low", "high", "overlap"]).T.reindex(self.budgets)
        table["saved"] = 1 - table.index / self.budgets[-1]
        return table.rename_axis("budget")

    def enough(self, least: float = 0.95) -> float:
        """The smallest budget from which on the agreement is at least `least`."""
        short = [b for b, value in self.table["agreement"].items() if not value >= least]
        return self.budgets[self.budgets.index(short[-1]) + 1] if short else self.budgets[0]


def explain(
    table: pd.DataFrame,
    values: pd.DataFrame,
    metric: str,
    space: ConfigurationSpace,
    *,
    maximize: bool = True,
    n_points: int = 512,
    seed: int = 0,
    **fit,
) -> Budgets:
    """Explain trials after each of several budgets.

    Parameters
    ----------
    table : DataFrame
        Observations: what was set, a row a trial.
    values : DataFrame
        The metric after each budget: the same index; the columns are the
        budgets, numbers that increase. A trial that has no value at a budget
        (it was pruned before, say) is left out there.
    metric : str
        A name for what `values` holds.
    space : ConfigurationSpace
    maximize : bool
        Whether large values of the metric are the good ones.
    n_points : int
        Points of the space at which predictions are decomposed: the same
        after every budget.
    seed : int
        Of folds, resamples, initial weights, points and backgrounds.
    **fit
        For `metamodel.fit`. The size and the weight decay of the meta-models
        are chosen after the largest budget, and kept.

    Returns
    -------
    Budgets

    Raises
    ------
    ValueError
        If `values` lacks a row of the table, or its budgets are not positive
        numbers that increase, or there is nothing to explain after the
        largest.
    """
    budgets = [inputs.real(budget) for budget in values.columns]
    if not budgets or not all(0 < a < b for a, b in itertools.pairwise([*budgets, np.inf])):
        shown = inputs.line(list(values.columns))
        raise ValueError(f"budgets = {shown}; positive numbers that increase are needed.")
    missing = table.index.difference(values.index)
    if len(missing) or values.index.has_duplicates:
        what = f"lacks trial {missing[0]}" if len(missing) else "holds a trial twice"
        raise ValueError(f"The table of values after each budget {what}; one row of each is needed.")
    fit |= {"maximize": maximize, "seed": seed}
    found, refused = {}, {}
    for budget, column in list(zip(budgets, values.columns))[::-1]:
        rows = table.assign(**{metric: values.loc[table.index, column].astype(float)})
        rows = rows[rows[metric].notna() & (rows["status"] == "ok")]
        try:
            ensemble = metamodel.fit(rows, metric, space, **fit)
            with warnings.catch_warnings():
                # How well each ensemble predicts stands in the table.
                warnings.simplefilter("ignore", UserWarning)
                found[budget] = decomposition.decompose(ensemble, n_points=n_points, seed=seed)
        except ValueError as error:
            if not found:
                raise
            refused[budget] = str(error)
            continue
        if len(found) == 1:
            size = ensemble.chosen
            fit |= {"architectures": [(size["n_h"], size["d_h"])], "weight_decays": [size["weight_decay"]]}
            fit |= {"n_folds": 2}
    return Budgets(budgets, dict(reversed(found.items())), refused)


def intermediate_values(study, steps: Sequence[int] | None = None) -> pd.DataFrame:
    """What the trials of an Optuna study reported on their way, for `explain`.

    Parameters
    ----------
    study : optuna.Study
    steps : sequence of int, optional
        The budgets to take; by default all at which a trial reported.

    Returns
    -------
    DataFrame
        A row a trial, by its number; a column a step.
    """
    reported = {t.number: t.intermediate_values for t in study.get_trials(deepcopy=False)}
    frame = pd.DataFrame.from_dict(reported, orient="index").sort_index(axis=1)
    return frame if steps is None else frame.reindex(columns=list(steps))
