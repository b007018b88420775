"""Convergence: how many observations and how large a budget an explanation needs, and when to stop.

The paper leaves open how many observations its explanations need. Here those
that were recorded are subsampled, to see how soon the order of the
hyperparameters, their curves and the recommended ranges are those of all
observations.

Trials whose metric is known after several budgets (epochs, shares of the data,
seconds) are explained at each of them. So one sees what matters early and not
late, and which budget would have been enough.
"""

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from scipy.stats import spearmanr

from ubalkit import advice, effects, figures, metamodel, uncertainty
from ubalkit.effects import Decomposition
from ubalkit.metamodel import Ensemble
from ubalkit.observations import Trials
from ubalkit.shapley import Attribution


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
    """Tell how explanations of fewer observations differ from that of all.

    Parameters
    ----------
    trials : Trials
        All observations.
    metric : str, optional
        What to explain; the trials' first metric by default.
    rivals : mapping of name to function, optional
        Other methods to look at, as in `rivals.METHODS`.
    sizes : sequence of int
        Numbers of observations to explain. Those that are not smaller than the
        number of usable rows are left out.
    n_repeats : int
        Number of subsamples of each size; disjoint ones as far as there are
        rows enough.
    reference : Attribution, optional
        Exact SHAP values at all observations; computed if not given.
    seed : int
        Seed of the subsamples and the meta-models.
    **fit
        Further settings for `metamodel.fit`.

    Returns
    -------
    DataFrame
        A row for each size ``n``, ``repeat`` and ``method``, of which ours is
        called ``exact``. ``rank_correlation`` (Spearman) is with the same
        method's importances on all observations. Ours also has ``r2`` (held
        out); ``curve_error``, the root mean square difference of the running
        means from those of all observations, over the largest of them; and
        ``overlap`` of the ranges recommended. These are NaN where there is
        nothing to explain.

    Examples
    --------
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 80))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + y}), "score")
    >>> settings = {"n_members": 3, "n_folds": 2, "steps": 100, "weight_decays": [1e-3]}
    >>> curve(trials, sizes=[40], n_repeats=2, **settings)["rank_correlation"].round().tolist()
    [1.0, 1.0]
    """
    rows, rivals, found = trials.usable, rivals or {}, []
    if reference is None:
        reference = effects.decompose(metamodel.fit(trials, metric, seed=seed, **fit), rows).shap()
    ours = _summary(reference)
    final = {name: method(trials, metric, seed=seed) for name, method in rivals.items()}
    for n, repeat, drawn in _subsamples(len(rows), sizes, n_repeats, seed):
        part = replace(trials, table=rows.iloc[drawn])
        for name, method in rivals.items():
            agreement = method(part, metric, seed=seed).corr(final[name], method="spearman")
            found.append({"n": n, "repeat": repeat, "method": name, "rank_correlation": agreement})
        ensemble = metamodel.fit(part, metric, seed=seed + repeat, **fit)
        found.append({"n": n, "repeat": repeat, "method": "exact", "r2": ensemble.r2})
        # Where there is nothing to explain, nothing is compared.
        if ensemble.trust.verdict != "none":
            found[-1] |= _compared(_summary(_explained(ensemble).shap()), ours)
    columns = ["n", "repeat", "method", "rank_correlation", "r2", "curve_error", "overlap"]
    return pd.DataFrame(found, columns=columns)


def _subsamples(n_rows: int, sizes, n_repeats: int, seed: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Size, repeat and rows of each subsample; rows are shuffled anew when too few are left."""
    rng = np.random.default_rng(seed)
    for n in sorted(size for size in sizes if size < n_rows):
        order = rng.permutation(n_rows)
        for repeat in range(n_repeats):
            if (repeat + 1) * n > n_rows:
                order = rng.permutation(n_rows)
            yield n, repeat, np.take(order, range(repeat * n, (repeat + 1) * n), mode="wrap")


def _explained(ensemble: Ensemble, n_points: int = 128, seed: int = 0) -> Decomposition:
    """The predictions at points of the space; how well an ensemble predicts stands in the tables."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return effects.decompose(ensemble, n_points=n_points, seed=seed)


def _summary(attribution: Attribution) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Importances (d,), running means (d, n_grid), and which points of the grid are recommended."""
    running = np.array([attribution.running(name).value for name in attribution.names])
    means, frozen = running[:, 0], advice.low_throughout(running[:, 1].max(1))
    sizes = attribution.importance_estimate(n_resamples=0).value
    # What would be frozen keeps all of its range: it makes no difference there.
    return sizes, means, frozen[:, None] | (attribution.ensemble.sign * means > 0)


def _compared(found, reference) -> dict[str, float]:
    """How far one summary of an explanation is from another."""
    (sizes, means, ranges), (final_sizes, final_means, final_ranges) = found, reference
    shared = (ranges & final_ranges).sum(1) / np.maximum((ranges | final_ranges).sum(1), 1)
    return {
        "rank_correlation": spearmanr(sizes, final_sizes)[0],
        "curve_error": np.sqrt(np.mean((means - final_means) ** 2)) / np.abs(final_means).max(),
        "overlap": float(np.mean(shared)),
    }


def overlap(one: Attribution, other: Attribution) -> float:
    """Tell how far two explanations recommend the same ranges.

    Of each hyperparameter it takes the length of the range that both would
    keep over the length that either would, and of these the mean. One that
    would be frozen counts as if all of its range were kept.

    Parameters
    ----------
    one, other : Attribution
        SHAP values of the same hyperparameters; the configurations may differ.

    Returns
    -------
    float
        1 if they recommend the same, 0 if the ranges share nothing.

    Examples
    --------
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> frame = pd.DataFrame({"x": x, "y": y, "up": 2 * x + y, "mixed": 2 * x - y})
    >>> unit = {"x": (0.0, 1.0), "y": (0.0, 1.0)}
    >>> trials = readers.from_frame(frame, ["up", "mixed"], space=unit)
    >>> settings = {"n_members": 3, "n_folds": 2, "steps": 100, "weight_decays": [1e-3]}
    >>> up, mixed = (metamodel.fit(trials, m, **settings) for m in ("up", "mixed"))
    >>> round(overlap(effects.decompose(up).shap(), effects.decompose(mixed).shap()), 1)
    0.5
    """
    return _compared(_summary(one), _summary(other))["overlap"]


@dataclass(frozen=True)
class Stopping:
    """Whether a search has shown what it was made for; `stopping` makes it.

    Attributes
    ----------
    stop : bool
        Whether the search may stop.
    n : int or None
        After how many observations it might have first; None if it may not.
    sentence : str
        The same in words, with what is still missing.
    history : DataFrame
        A row for each check: the number ``n`` of observations, the held-out
        ``r2``, the ``order`` of the first hyperparameters, and ``apart``,
        whether the intervals of their importances are disjoint.

    Examples
    --------
    >>> Stopping(False, None, "Go on: the first check comes after 100 observations.", pd.DataFrame()).stop
    False
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
    """Tell whether a search, in the order of its rows, may stop.

    It may when the order of the first `top` hyperparameters has been the same
    at every check of the last `patience` observations, and the 90 % intervals
    of their importances (mean |SHAP|, exact) overlap neither each other nor
    the next one's.

    Parameters
    ----------
    trials : Trials
        The observations so far.
    metric : str, optional
        What to explain; the trials' first metric by default.
    top : int
        Number of the most important hyperparameters whose order must be
        certain.
    patience : int
        Number of observations over which their order must hold.
    every : int
        Number of observations from one check to the next.
    seed : int
        Seed of the meta-models.
    **fit
        Further settings for `metamodel.fit`.

    Returns
    -------
    Stopping

    Examples
    --------
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 80))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + 0.1 * y}), "score")
    >>> settings = {"n_members": 3, "n_folds": 2, "steps": 100, "weight_decays": [1e-3]}
    >>> stopping(trials, top=1, every=40, patience=40, **settings).sentence
    'Stop: after 80 observations the order of the first 1 (x) had not changed in the last 40, ...
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


def _order(ensemble: Ensemble, top: int) -> tuple[tuple[str, ...], str]:
    """The first hyperparameters, and what makes their order doubtful."""
    if ensemble.trust.verdict == "none":
        return (), str(ensemble.trust)
    explained = _explained(ensemble).shap()
    names, sizes = explained.names, explained.importance_estimate()
    ranked = np.argsort(-sizes.value)[: top + 1]
    close = [(a, b) for a, b in itertools.pairwise(ranked) if sizes.low[a] <= sizes.high[b]]
    tied = ", of ".join(f"{names[a]} and {names[b]}" for a, b in close)
    return tuple(names[j] for j in ranked[:top]), f"the intervals of {tied} overlap" if tied else ""


@dataclass(frozen=True)
class Budgets:
    """Explanations of the same trials after increasing budgets; `at_budgets` makes them.

    Attributes
    ----------
    budgets : list of float
        All budgets, in increasing order.
    decompositions : dict of budget to Decomposition
        The predictions after each budget at which there is something to
        explain, all at the same points of the space.
    refused : dict of budget to str
        Why there is nothing to explain after the others.

    Examples
    --------
    >>> from ubalkit import readers
    >>> early, late = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"early": early, "late": late, "score": late}), "score")
    >>> settings = {"n_members": 3, "n_folds": 2, "steps": 100, "weight_decays": [1e-3]}
    >>> found = at_budgets(trials, pd.DataFrame({1: early, 5: late + 0.1 * early, 9: late}), **settings)
    >>> found.table["agreement"].round().to_dict(), found.enough()
    ({1: -1.0, 5: 1.0, 9: 1.0}, 5)
    """

    budgets: list[float]
    decompositions: dict[float, Decomposition]
    refused: dict[float, str]

    @property
    def last(self) -> Decomposition:
        """The predictions after the largest budget, with which the others are compared."""
        return self.decompositions[self.budgets[-1]]

    @cached_property
    def _importances(self) -> dict[float, uncertainty.Estimate]:
        return {b: d.shap().importance_estimate() for b, d in self.decompositions.items()}

    @cached_property
    def importances(self) -> pd.DataFrame:
        """Importance of each hyperparameter after each budget.

        Columns: ``budget`` and ``hyperparameter``; ``importance``, the mean
        |SHAP| over the space, with its 90 % interval, ``low`` and ``high``;
        and ``rank``.
        """
        names, found = self.last.names, self._importances
        frames = {budget: pd.DataFrame(e.columns("importance"), names) for budget, e in found.items()}
        frame = pd.concat(frames, names=["budget", "hyperparameter"]).reset_index()
        ranks = frame.groupby("budget")["importance"].rank(ascending=False)
        return frame.assign(rank=ranks.astype(int))

    @cached_property
    def table(self) -> pd.DataFrame:
        """How far each budget says what the largest says.

        Index: budget. Columns: ``r2`` (held out); ``agreement``, the rank
        correlation (Spearman) of its importances with the last ones, with its
        90 % interval, ``low`` and ``high``; ``overlap`` of the ranges
        recommended (see `overlap`); ``saved``, the share of the cost of a
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
            rows[budget] = (found.ensemble.r2, agreement, low, high, overlap(found.shap(), final))
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
        The observations: what was set in each trial.
    values : DataFrame
        The metric after each budget: a row for each trial, with the index of
        the trials; a column for each budget, named by its number, smaller ones
        first. A trial that has no value at a budget (as it was pruned before,
        say) is left out there.
    metric : str, optional
        Which metric of the trials `values` holds; the first by default.
    n_points : int
        Number of points of the space at which predictions are decomposed: the
        same points after every budget.
    seed : int
        Seed of the meta-models, the points and the backgrounds.
    **fit
        Further settings for `metamodel.fit`. The architecture and the weight
        decay are chosen after the largest budget, and kept for the others.

    Returns
    -------
    Budgets

    Raises
    ------
    ValueError
        If `values` lacks a row of the table, or its budgets are not positive
        numbers that increase, or there is nothing to explain after the
        largest.

    Examples
    --------
    >>> from ubalkit import readers
    >>> early, late = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"early": early, "late": late, "score": late}), "score")
    >>> settings = {"n_members": 3, "n_folds": 2, "steps": 100, "weight_decays": [1e-3]}
    >>> found = at_budgets(trials, pd.DataFrame({1: early, 9: late}), **settings)
    >>> found.importances.query("rank == 1").set_index("budget")["hyperparameter"].to_dict()
    {1: 'early', 9: 'late'}
    """
    budgets, metric = pd.to_numeric(list(values), errors="coerce").tolist(), trials.named(metric)
    if not budgets or not all(0 < a < b for a, b in itertools.pairwise([*budgets, np.inf])):
        raise ValueError(f"budgets = {list(values)!s:.60}; positive numbers that increase are needed.")
    table, fit = trials.usable, fit | {"seed": seed}
    if values.index.has_duplicates or len(table.index.difference(values.index)):
        raise ValueError("The table of values after each budget does not have one row of each trial.")
    found, refused = {}, {}
    for budget, column in reversed(list(zip(budgets, values))):
        rows = table.assign(**{metric: values.loc[table.index, column].astype(float)}).dropna(subset=[metric])
        try:
            ensemble = metamodel.fit(replace(trials, table=rows), metric, **fit)
            found[budget] = _explained(ensemble, n_points, seed)
        except ValueError as error:
            if not found:
                raise
            refused[budget] = str(error)
        chosen = found[budgets[-1]].ensemble.chosen
        fit |= {"architectures": [(chosen["n_h"], chosen["d_h"])], "weight_decays": [chosen["weight_decay"]]}
        # There is nothing left to choose.
        fit["n_folds"] = 2
    return Budgets(budgets, dict(reversed(found.items())), refused)


def intermediate_values(study, steps: Sequence[int] | None = None) -> pd.DataFrame:
    """What the trials of an Optuna study reported on their way, for `at_budgets`.

    Parameters
    ----------
    study : optuna.Study
        A study whose trials called ``trial.report(value, step)``.
    steps : sequence of int, optional
        The budgets to take; by default all at which a trial reported.

    Returns
    -------
    DataFrame
        A row for each trial, by its number; a column for each step.

    Examples
    --------
    >>> import optuna
    >>> study = optuna.create_study()
    >>> for values in ({1: 0.5, 2: 0.7}, {1: 0.4}):
    ...     study.add_trial(optuna.trial.create_trial(value=values[1], intermediate_values=values))
    >>> intermediate_values(study).to_numpy().tolist()
    [[0.5, 0.7], [0.4, nan]]
    """
    reported = {t.number: t.intermediate_values for t in study.get_trials(deepcopy=False)}
    frame = pd.DataFrame.from_dict(reported, orient="index").sort_index(axis=1)
    return frame if steps is None else frame.reindex(columns=list(steps))


def repeats(frame: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The ``mean`` of the column `y` at each value of `x`, with the smallest and the largest for `band`."""
    return frame.groupby(x)[y].agg(mean="mean", low="min", high="max").reset_index()


@figures.styled
def draw(frame: pd.DataFrame):
    """How explanations of n observations differ from that of all; means and ranges of the repeats."""
    panels = {"rank_correlation": "rank correlation of importances\nwith those of all observations"}
    panels["curve_error"] = "error of the curves,\nshare of the largest effect"
    panels["overlap"] = "overlap of\nrecommended ranges"
    figure, axes = plt.subplots(1, 3, figsize=(8.6, 2.6))
    frame = frame.assign(method=frame["method"].replace("exact", "exact SHAP values"))
    order = sorted(frame["method"].unique(), key="exact SHAP values".__ne__)
    for ax, (column, title) in zip(axes, panels.items()):
        for method, color, mark in zip(order, figures.PALETTE, "o^sDvX"):
            line = {"alpha": 0.15, "marker": mark, "ms": 4, "label": method}
            here = frame[frame["method"] == method].dropna(subset=[column])
            if len(here):
                figures.band(ax, repeats(here, "n", column), "n", "mean", color, **line)
        ax.set_title(title, fontsize=8.5)
        figures.logarithmic(ax, sorted(frame["n"].unique()), "observations")
    axes[0].legend(fontsize=7.5, loc="lower right")
    axes[1].set_ylim(bottom=0)
    axes[2].set_ylim(0, 1.05)
    return figure


@figures.styled
def draw_budgets(explained: Mapping[str, Budgets], unit: str = "budget"):
    """How importances come about: each hyperparameter a line with its 90 % band, a panel a metric.

    The dotted line is the budget from which on the order is nearly the last
    one; see `Budgets.enough`.

    Parameters
    ----------
    explained : mapping of metric to Budgets
        From `at_budgets`.
    unit : str
        What the budget is, for the axis: ``epochs`` for example.
    """
    figure, axes = plt.subplots(1, n := len(explained), figsize=(4.4 * n, 3.6), sharey=True, squeeze=False)
    top = 1.03 * max(found.importances["high"].max() for found in explained.values())
    for ax, (metric, found) in zip(axes.flat, explained.items()):
        color_of = dict(zip(found.last.names, sns.color_palette("colorblind", len(found.last.names))))
        lines, height = found.importances.groupby("hyperparameter"), -np.inf
        for name, line in lines:
            figures.band(ax, line, "budget", "importance", color_of[name], 0.15, marker="o", ms=3, lw=1.6)
        for name, end in lines["importance"].last().sort_values().items():
            # Moved up until it does not overlap the one below.
            height = max(end, height + 0.07 * top)
            ax.text(found.budgets[-1] * 1.1, height, figures.symbol(name), color=color_of[name], va="center")
        ax.axvline(found.enough(), color=figures.GREY, lw=1, ls=":")
        # Labels of neighbouring budgets would run into each other.
        apart = np.divide([*found.budgets[1:], np.inf], found.budgets) > 1.22
        figures.logarithmic(ax, np.array(found.budgets)[apart], f"{unit}  (dotted: the order is settled)")
        ax.set(title=figures.label(metric), ylim=(0, top))
    axes[0, 0].set_ylabel("importance: mean |SHAP value|")
    return figure
