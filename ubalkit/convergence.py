"""Convergence: how many observations and how large a budget an explanation needs, and when to stop.

The paper leaves the number of its observations open. Here the recorded ones
are subsampled: how soon the order of the hyperparameters, their curves and
the recommended ranges are those of all observations.

Trials whose metric is known after several budgets (epochs, shares of the
data, seconds) are explained at each of them. What matters early and not late,
and which budget would have been enough, can be read off.
"""

import contextlib
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from ubalkit import advice, effects, metamodel, uncertainty
from ubalkit.effects import Decomposition
from ubalkit.observations import Trials
from ubalkit.shapley import Attribution

__all__ = ["curve", "overlap", "Stopping", "stopping", "Budgets", "at_budgets", "intermediate_values"]


def curve(
    trials: Trials,
    metric: str | None = None,
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
    trials : Trials
        Observations.
    metric : str, optional
        What to explain; the trials' first metric by default.
    rivals : mapping of name to function
        Other methods, as in `rivals.METHODS`.
    sizes : sequence of int
        Those smaller than the table are used.
    n_repeats : int
        Disjoint subsamples of each size where there are as many, else
        overlapping ones.
    reference : Attribution, optional
        Exact SHAP values at all observations; computed if not given.
    seed : int
        Seed of the subsamples and the meta-models.
    **fit
        Further settings, for `metamodel.fit`.

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
    rows = trials.usable
    if reference is None:
        reference = effects.decompose(metamodel.fit(trials, metric, seed=seed, **fit), rows).shap()
    rivals = dict(rivals or {})
    final = {name: method(trials, metric, seed=seed) for name, method in rivals.items()}
    final["exact"] = pd.Series(reference.importance_estimate().value, reference.names)
    means, ranges = _shape(reference)
    rng = np.random.default_rng(seed)
    found = []
    for n in sorted(size for size in sizes if size < len(rows)):
        order = rng.permutation(len(rows))
        for repeat in range(n_repeats):
            if (repeat + 1) * n > len(rows):
                order = rng.permutation(len(rows))
            drawn = np.take(order, range(repeat * n, (repeat + 1) * n), mode="wrap")
            part = replace(trials, table=rows.iloc[drawn])
            importances = {name: method(part, metric, seed=seed) for name, method in rivals.items()}
            ensemble = metamodel.fit(part, metric, seed=seed + repeat, **fit)
            ours = {"r2": ensemble.r2}
            # Where there is nothing to explain, nothing is compared.
            with contextlib.suppress(metamodel.UntrustworthyError):
                explained = effects.decompose(ensemble, n_points=128).shap()
                importances["exact"] = pd.Series(np.abs(explained.values).mean(0), explained.names)
                means_here, ranges_here = _shape(explained)
                ours["curve_error"] = np.sqrt(np.mean((means_here - means) ** 2)) / np.abs(means).max()
                ours["overlap"] = _overlap(ranges_here, ranges)
            for name in final:
                row = {"n": n, "repeat": repeat, "method": name, **(ours if name == "exact" else {})}
                if name in importances:
                    here = importances[name].reindex(final[name].index)
                    row["rank_correlation"] = spearmanr(here, final[name])[0]
                found.append(row)
    columns = ["n", "repeat", "method", "rank_correlation", "r2", "curve_error", "overlap"]
    return pd.DataFrame(found, columns=columns)


def _shape(attribution: Attribution) -> tuple[np.ndarray, np.ndarray]:
    """Running means (d, n_grid), and which points of the grid are recommended, all if frozen."""
    running = np.array([attribution.running(name).value for name in attribution.names])
    means, frozen = running[:, 0], advice.low_throughout(running[:, 1].max(1))
    return means, frozen[:, None] | (attribution.ensemble.sign * means > 0)


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
    trials: Trials,
    metric: str | None = None,
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
    trials : Trials
        Observations so far.
    metric : str, optional
        What to explain; the trials' first metric by default.
    top : int
        How many of the most important hyperparameters must be certain.
    patience : int
        Observations over which their order must hold.
    every : int
        Observations between checks.
    seed : int
        Seed of the subsamples and the meta-models.
    **fit
        Further settings, for `metamodel.fit`.

    Returns
    -------
    Stopping
    """
    rows, checks, reached = trials.usable, [], None
    doubt = f"the first check comes after {every} observations"
    for n in range(every, len(rows) + 1, every):
        ensemble = metamodel.fit(replace(trials, table=rows.iloc[:n]), metric, seed=seed, **fit)
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
        explained = effects.decompose(ensemble, n_points=128).shap()
    except metamodel.UntrustworthyError:
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
        (see `overlap`); ``saved``, the share of the cost of a
        search at the largest budget that one at this budget saves. NaN where
        nothing was explained.
        """
        rows, final, last = {}, self.last.shap(), self._importances[self.budgets[-1]].draws
        for budget, found in self.decompositions.items():
            # The same members and resamples stand behind replicate k of both.
            pairs = zip(self._importances[budget].draws, last)
            agreement, *replicates = (spearmanr(here, there)[0] for here, there in pairs)
            # Two noisy orders agree less than their means do: the interval holds at least the value.
            low, high = uncertainty.bounds(np.array(replicates))
            low, high = min(low, agreement), max(high, agreement)
            shared = overlap(found.shap(), final)
            rows[budget] = (found.ensemble.r2, agreement, low, high, shared)
        table = pd.DataFrame(rows, ["r2", "agreement", "low", "high", "overlap"]).T.reindex(self.budgets)
        table["saved"] = 1 - table.index / self.budgets[-1]
        return table.rename_axis("budget")

    def enough(self, least: float = 0.95) -> float:
        """The smallest budget from which on the agreement is at least `least`."""
        short = [b for b, value in self.table["agreement"].items() if not value >= least]
        return self.budgets[self.budgets.index(short[-1]) + 1] if short else self.budgets[0]


def at_budgets(
    trials: Trials,
    values: pd.DataFrame,
    metric: str | None = None,
    *,
    n_points: int = 512,
    seed: int = 0,
    **fit,
) -> Budgets:
    """Explain trials after each of several budgets.

    Parameters
    ----------
    trials : Trials
        Observations: what was set, a row a trial.
    values : DataFrame
        The metric after each budget: the same index; the columns are the
        budgets, numbers that increase. A trial that has no value at a budget
        (it was pruned before, say) is left out there.
    metric : str, optional
        Which metric of the trials `values` holds; the first by default.
    n_points : int
        Points of the space at which predictions are decomposed: the same
        after every budget.
    seed : int
        Seed of folds, resamples, initial weights, points and backgrounds.
    **fit
        Further settings, for `metamodel.fit`. The size and the weight decay of
        the meta-models are chosen after the largest budget, and kept.

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
    budgets, metric = pd.to_numeric(list(values.columns), errors="coerce").tolist(), trials.named(metric)
    if not budgets or not all(0 < a < b for a, b in itertools.pairwise([*budgets, np.inf])):
        raise ValueError(
            f"budgets = {list(values.columns)!s:.60}; positive numbers that increase are needed."
        )
    table, fit = trials.usable, fit | {"seed": seed}
    if values.index.has_duplicates or len(table.index.difference(values.index)):
        raise ValueError("The table of values after each budget does not have one row of each trial.")
    found, refused = {}, {}
    for budget, column in list(zip(budgets, values.columns))[::-1]:
        rows = table.assign(**{metric: values.loc[table.index, column].astype(float)}).dropna(subset=[metric])
        try:
            ensemble = metamodel.fit(replace(trials, table=rows), metric, **fit)
            with warnings.catch_warnings():
                # How well each ensemble predicts stands in the table.
                warnings.simplefilter("ignore", UserWarning)
                found[budget] = effects.decompose(ensemble, n_points=n_points, seed=seed)
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
    """What the trials of an Optuna study reported on their way, for `at_budgets`.

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
