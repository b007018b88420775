"""Figures: a function draws each from the frame behind it; `fig3_frame` makes that of Fig. 3.

Every style decision is here and in ``style.mplstyle``, which holds inside
these functions alone: the figures of a session stay as its user likes them.
Names of hyperparameters and metrics are drawn as they are, unless `use` says
how a model's own are called.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import IntegerHyperparameter

from ubalkit import effects
from ubalkit import space as spaces
from ubalkit.convergence import Budgets
from ubalkit.effects import Decomposition
from ubalkit.metamodel import Trust
from ubalkit.shapley import Attribution

__all__ = ["Labels", "use", "label", "symbol", "colors", "styled", "STYLE"]
__all__ += ["ticks", "along", "scattered", "panels", "heat", "rows", "save"]
__all__ += ["fig3_frame", "fig3", "importance", "explained", "shares", "surfaces", "deep_and_exact"]
__all__ += ["methods", "convergence", "budgets"]

#: Style sheet of matplotlib.
STYLE = Path(__file__).with_name("style.mplstyle")

#: Colours of metrics, in their order; colour-blind readers can tell them apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#666666", "#CC79A7", "#E69F00")

#: From low to high values of a partner.
PARTNER = sns.color_palette("viridis", as_cmap=True)


@dataclass(frozen=True)
class Labels:
    """What the things of one model are called in figures.

    Attributes
    ----------
    symbol : callable
        From the name of a hyperparameter to its sign.
    metrics, ensembles, colors : mapping of metric to str
        Name of each metric, sign of its ensemble, and its colour.
    point : str
        What a point is.
    """

    symbol: Callable[[str], str] = str
    metrics: Mapping[str, str] = field(default_factory=dict)
    ensembles: Mapping[str, str] = field(default_factory=dict)
    colors: Mapping[str, str] = field(default_factory=dict)
    point: str = "trial"


_labels = Labels()


def use(labels: Labels = _labels) -> None:
    """Call things by these labels from now on; without an argument by their own names again."""
    global _labels
    _labels = labels


def label(metric: str) -> str:
    """What a metric is called."""
    return _labels.metrics.get(metric, metric)


def symbol(name: str) -> str:
    """The sign of a hyperparameter: its name, unless `use` gave it another."""
    return _labels.symbol(name)


def colors(metrics: Iterable[str]) -> dict[str, str]:
    """The colour of each metric."""
    return {m: _labels.colors.get(m, PALETTE[k % len(PALETTE)]) for k, m in enumerate(metrics)}


def styled(draw: Callable) -> Callable:
    """Let a function draw in the style of this package, and leave the session's as it was."""

    @functools.wraps(draw)
    def drawn(*arguments, **settings):
        with plt.style.context(STYLE):
            return draw(*arguments, **settings)

    return drawn


def ticks(hp) -> tuple[Sequence, list[str]]:
    """Values to mark along the axis of a hyperparameter of ConfigSpace, and their labels."""
    if not spaces.is_number(hp):
        return spaces.choices(hp), list(map(str, spaces.choices(hp)))
    whole = isinstance(hp, IntegerHyperparameter)
    locator = plt.LogLocator(numticks=5) if hp.log else plt.MaxNLocator(5, steps=[1, 2, 5, 10], integer=whole)
    bounds = np.array([hp.lower, hp.upper], dtype=float)
    values = locator.tick_values(*bounds)
    values = values[(values >= bounds[0] - 1e-9) & (values <= bounds[1] * (1 + 1e-9))]
    # A range within one decade has no tick of its own.
    values = bounds if len(values) < 2 else values
    return values, [f"{v:g}" for v in values]


_POWER = re.compile(r"^(0\.00+1|1e[+-]\d+)$")


def _as_power(label: re.Match) -> str:
    # Written out, the labels of neighbouring panels run into each other.
    return rf"$10^{{{round(np.log10(float(label[0])))}}}$"


def along(ax, space: ConfigurationSpace, name: str, axis: str = "x") -> None:
    """Make an axis that shows unit-cube coordinates say the values of a hyperparameter, and its name."""
    hp = space[name]
    values, labels = ticks(hp)
    # Two dollars in a choice are no mathematics.
    shown = [_POWER.sub(_as_power, label.replace("$", r"\$")) for label in labels]
    ax.set(**{f"{axis}ticks": spaces.coordinate(hp, values), f"{axis}ticklabels": shown})
    ax.set(**{f"{axis}lim": (0, 1), f"{axis}label": symbol(name)})
    if axis == "x" and sum(map(len, labels)) > 22:
        ax.tick_params(axis="x", labelrotation=30)
        plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")


def scattered(space: ConfigurationSpace, name: str, unit: np.ndarray) -> np.ndarray:
    """Unit-cube coordinates to draw points at: those of choices are spread over the width of their share."""
    if spaces.is_number(space[name]):
        return unit
    share = np.diff(np.unique(unit)).min() if len(np.unique(unit)) > 1 else 1.0
    return unit + np.random.default_rng(0).uniform(-0.3, 0.3, len(unit)) * share


def panels(names, height: float, ylabel: str):
    """A panel for each hyperparameter, at most four in a row, and an empty one for the legend.

    Returns
    -------
    figure : Figure
    axes : list of Axes
    legend : Axes
    """
    n_columns = min(4, len(names) + 1)
    n_rows = -(-(len(names) + 1) // n_columns)
    size = (2.35 * n_columns, height * n_rows)
    figure, axes = plt.subplots(n_rows, n_columns, figsize=size, sharey=True, squeeze=False)
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    return figure, list(axes.flat[: len(names)]), axes.flat[len(names)]


def heat(ax, grid: pd.DataFrame, *, title: str, size: float, **settings) -> None:
    """A table as a heat map, its numbers in it."""
    annotation = {"annot": True, "annot_kws": {"size": size}}
    sns.heatmap(grid, ax=ax, cmap="Blues", cbar=False, linewidths=1, **{**annotation, **settings})
    ax.tick_params(length=0)
    ax.tick_params(axis="y", labelrotation=0)
    ax.set(title=title, xlabel="", ylabel="")
    ax.grid(visible=False)


def rows(ax, labels: Sequence[str]) -> None:
    """A row a label, from the top down."""
    ax.set(yticks=range(len(labels)), yticklabels=labels)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)


def _ends(part: pd.DataFrame) -> list[float]:
    middle, half = part["unit"].mean(), 0.7 * np.ptp(part["unit"]) / 2
    return [middle - half, middle + half]


def fig3_frame(attributions: Mapping[str, Attribution]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What Fig. 3 shows: the points and the running means.

    Parameters
    ----------
    attributions : mapping of metric to Attribution

    Returns
    -------
    points : DataFrame
        ``metric``, ``index``, ``hyperparameter``, ``value``, its ``unit``-cube
        coordinate, ``shap``; of the hyperparameters that are active.
    curves : DataFrame
        ``metric`` and the columns of `Attribution.curves`.
    """
    points, curves = [], []
    for metric, attribution in attributions.items():
        shap = pd.DataFrame(attribution.values, attribution.table.index, attribution.names)
        long = shap.melt(var_name="hyperparameter", value_name="shap", ignore_index=False)
        value = attribution.table[attribution.names].astype(object).melt()["value"]
        long = long.assign(value=value.to_numpy(), unit=attribution.unit.T.ravel(), metric=metric)
        on = spaces.active(attribution.ensemble.space, attribution.unit)
        points.append(long.rename_axis("index")[on.T.ravel()].reset_index())
        curves.append(attribution.curves().assign(metric=metric))
    return pd.concat(points, ignore_index=True), pd.concat(curves, ignore_index=True)


@styled
def fig3(
    points: pd.DataFrame,
    curves: pd.DataFrame,
    space: ConfigurationSpace,
    trust: Mapping[str, Trust] | None = None,
):
    """Fig. 3 of the paper: SHAP values of each hyperparameter along its value, for both ensembles.

    Points are configurations; lines are running means; bands are their 90 %
    intervals.

    Parameters
    ----------
    points, curves : DataFrame
        From `fig3_frame`.
    space : ConfigurationSpace
    trust : mapping of metric to Trust, optional
        Shown in the legend; and across the figure, where it is poor.

    Returns
    -------
    Figure
    """
    names, color_of = list(dict.fromkeys(curves["hyperparameter"])), colors(curves["metric"].unique())
    figure, axes, legend = panels(names, 2.3, "SHAP value")
    for ax, name in zip(axes, names):
        here = points[points["hyperparameter"] == name]
        # In a shuffled order, so that neither ensemble hides the other.
        here = here.sample(frac=1, random_state=0)
        x = scattered(space, name, here["unit"].to_numpy())
        ax.scatter(
            x, here["shap"], s=3, alpha=0.25, lw=0, c=list(here["metric"].map(color_of)), rasterized=True
        )
        for metric, curve in curves[curves["hyperparameter"] == name].groupby("metric", sort=False):
            color, parts = color_of[metric], [curve]
            if not spaces.is_number(space[name]):  # between choices there is nothing
                parts = [part for _, part in curve.groupby("value", sort=False)]
                parts = [part.iloc[[len(part) // 2] * 2].assign(unit=_ends(part)) for part in parts]
            for part in parts:
                x = part["unit"]
                ax.fill_between(x, part["low"], part["high"], color=color, alpha=0.45, lw=0)
                ax.plot(x, part["mean"], color=color, lw=1.5, label=metric)
        ax.axhline(0, color="#444444", lw=0.7, zorder=1.5)
        along(ax, space, name)
    low, high = points["shap"].quantile([0.001, 0.999])
    margin = 0.05 * (high - low)
    axes[0].set_ylim(low - margin, high + margin)
    _fig3_legend(legend, curves["metric"].unique(), trust or {})
    if poor := [t for t in (trust or {}).values() if t.verdict != "good"]:
        words = " and ".join(f"{label(t.metric)} (held-out $R^2$ = {t.r2:.2f})" for t in poor)
        figure.suptitle(f"A hint only: the meta-model predicts {words} poorly", color="#B00020", fontsize=11)
    return figure


def _fig3_legend(ax, metrics, trust: Mapping[str, Trust]) -> None:
    handles = [plt.Line2D([], [], color=c, marker="o", ms=3.5, mew=0) for c in colors(metrics).values()]
    labels = [
        f"{_labels.ensembles.get(m, '')}  {label(m)}".strip()
        + (f"\n   held-out $R^2$ = {trust[m].r2:.2f}" if m in trust else "")
        for m in metrics
    ]
    ax.legend(handles, labels, loc="center left", bbox_to_anchor=(-0.05, 0.62), fontsize=8, labelspacing=0.9)
    note = f"point: one {_labels.point}\nline: running mean\nband: its 90 % interval"
    ax.text(0.0, 0.02, note, transform=ax.transAxes, fontsize=7.5, color="#444444", linespacing=1.5)


@styled
def importance(importances: Mapping[str, pd.DataFrame]):
    """Mean absolute SHAP values of both ensembles with their 90 % intervals."""
    names, color_of = next(iter(importances.values())).index, colors(importances)
    figure, ax = plt.subplots(figsize=(4.6, 0.42 * len(names) + 0.7))
    height = 0.8 / len(importances)
    for k, (metric, frame) in enumerate(importances.items()):
        y = np.arange(len(names)) + (k - (len(importances) - 1) / 2) * height
        frame = frame.loc[names]
        ax.barh(y, frame["importance"], height * 0.9, color=color_of[metric], label=label(metric))
        ax.hlines(y, frame["low"], frame["high"], color="black", lw=1)
    rows(ax, list(map(symbol, names)))
    ax.set_xlabel("mean |SHAP value|")
    ax.legend(loc="lower right", fontsize=8)
    return figure


@styled
def explained(dec: Decomposition):
    """Fig. 3 explained: own effects, and the scatter coloured by the partner that causes most of it.

    Points are the exact SHAP values of the configurations. The line is the
    hyperparameter's own effect, which depends on its value alone; all that
    departs from it is interaction. The partner that explains most of the
    scatter gives the colour.

    Returns
    -------
    Figure
    """
    values, scatter = dec.shap().values, dec.scatter(n_resamples=0)["value"].unstack()
    space, active = dec.ensemble.space, spaces.active(dec.ensemble.space, dec.unit)
    figure, axes, legend = panels(dec.names, 2.45, "exact SHAP value")
    for j, (ax, name) in enumerate(zip(axes, dec.names)):
        partner = scatter.loc[name, dec.names].idxmax()
        on = active[:, j]
        x, color = scattered(space, name, dec.unit[on, j]), dec.unit[on, dec.names.index(partner)]
        settings = {"cmap": PARTNER, "vmin": 0, "vmax": 1, "s": 5, "lw": 0, "alpha": 0.7}
        ax.scatter(x, values[on, j], c=color, rasterized=True, **settings)
        order = np.flatnonzero(on)[np.argsort(dec.unit[on, j])]
        own = dec.components[name,]
        if spaces.is_number(space[name]):
            ax.plot(dec.unit[order, j], own[order], color="black", lw=1.6)
        else:
            ax.plot(dec.unit[order, j], own[order], "_", color="black", ms=16, mew=1.8)
        ax.axhline(0, color="#444444", lw=0.7, zorder=0.5)
        ax.set_title(f"scatter: {scatter.loc[name, partner]:.0%} {symbol(partner)}", fontsize=8.5)
        along(ax, space, name)
    metric = dec.ensemble.metric
    text = f"{_labels.ensembles.get(metric, '')}  {label(metric)}".strip() + "\n"
    text += f"held-out $R^2$ = {dec.ensemble.r2:.2f}\n\nline: own effect\npoint: one {_labels.point}"
    legend.text(0.0, 0.98, text, transform=legend.transAxes, va="top", fontsize=8.5, linespacing=1.5)
    bar = figure.colorbar(
        plt.cm.ScalarMappable(plt.Normalize(0, 1), PARTNER),
        cax=legend.inset_axes([0.0, 0.16, 0.75, 0.07]),
        orientation="horizontal",
        ticks=[0, 1],
    )
    bar.set_ticklabels(["low", "high"])
    bar.outline.set_visible(False)
    legend.text(0.0, 0.27, "colour: value of the partner", transform=legend.transAxes, fontsize=8.5)
    return figure


@styled
def shares(decompositions: Mapping[str, Decomposition]):
    """Share of the variance that each hyperparameter explains alone (diagonal) and each pair jointly."""
    size = (4.0 * len(decompositions), 3.5)
    figure, axes = plt.subplots(1, len(decompositions), figsize=size, squeeze=False)
    for ax, (metric, dec) in zip(axes.flat, decompositions.items()):
        share = dec.variance(n_resamples=0)["share"]
        grid = pd.DataFrame(np.nan, dec.names, dec.names)
        for s in dec.subsets:
            if len(s) <= 2:
                grid.loc[s[-1], s[0]] = share[" × ".join(s)]
        symbols = [symbol(name) for name in dec.names]
        grid = grid.set_axis(symbols, axis=0).set_axis(symbols, axis=1) * 100
        text = grid.map(lambda v: "" if not v >= 0.5 else f"{v:.0f}")
        higher = dec.orders(n_resamples=0)["share"]["3+"]
        title = f"{label(metric)}: % of variance\n(three and more together: {higher:.0%})"
        heat(ax, grid, title=title, size=9, annot=text, fmt="", vmin=0, square=True)
    return figure


@styled
def surfaces(dec: Decomposition, *, n_pairs: int = 3):
    """What the strongest pairs do jointly: mean prediction over both values, less the overall mean."""
    share = dec.variance(n_resamples=0)
    pairs = [tuple(s.split(" × ")) for s in share.index[share["order"] == 2][:n_pairs]]
    grids = [effects.surface(dec.ensemble, pair) for pair in pairs]
    largest = max(grid["joint"].abs().max() for grid in grids)
    levels = np.linspace(-largest, largest, 15)
    figure, axes = plt.subplots(1, len(pairs), figsize=(2.75 * len(pairs) + 0.6, 2.75), squeeze=False)
    for ax, pair, grid in zip(axes.flat, pairs, grids):
        z = grid.pivot(index=pair[1], columns=pair[0], values="joint")
        drawn = ax.contourf(z.columns, z.index, z, levels=levels, cmap="RdBu_r")
        ax.contour(z.columns, z.index, z, levels=[0], colors="#444444", linewidths=0.8)
        for name, axis in zip(pair, "xy"):
            along(ax, dec.ensemble.space, name, axis)
        ax.set_title(f"interaction: {share.loc[' × '.join(pair), 'share']:.0%} of variance", fontsize=8.5)
        ax.set_aspect("equal")
        ax.grid(visible=False)
    bar = figure.colorbar(
        drawn, ax=axes.ravel().tolist(), shrink=0.8, pad=0.02, format=lambda t, _: f"{t:+.1f}" if t else "0"
    )
    bar.set_ticks([0.2 * k for k in range(-5, 6) if abs(0.2 * k) <= largest])
    bar.set_label(f"effect on {label(dec.ensemble.metric)}", fontsize=8)
    bar.outline.set_visible(False)
    return figure


@styled
def deep_and_exact(deep: Mapping[str, Attribution], exact: Mapping[str, Attribution]):
    """Running means of Deep SHAP (dashed) and exact SHAP values (solid) of both ensembles."""
    names, color_of = next(iter(deep.values())).names, colors(deep)
    figure, axes, legend = panels(names, 2.1, "mean SHAP value")
    for metric in deep:
        for attributions, style in ((deep, "--"), (exact, "-")):
            curves = attributions[metric].curves().groupby("hyperparameter")
            for ax, name in zip(axes, names):
                curve = curves.get_group(name)
                ax.plot(curve["unit"], curve["mean"], style, color=color_of[metric], lw=1.4)
                along(ax, attributions[metric].ensemble.space, name)
    for ax in axes:
        ax.axhline(0, color="#444444", lw=0.7, zorder=0.5)
    handles = [plt.Line2D([], [], color=color_of[m], label=label(m)) for m in deep]
    handles += [
        plt.Line2D([], [], color="#444444", ls=style, label=label)
        for style, label in (("-", "exact"), ("--", "Deep SHAP"))
    ]
    legend.legend(handles=handles, loc="center left", fontsize=8)
    return figure


@styled
def methods(tables: Mapping[str, pd.DataFrame]):
    """Shares of importance by every method, a panel a metric, with the agreement with the first column."""
    n_methods = len(next(iter(tables.values())).columns)
    size = (0.62 * n_methods * len(tables) + 0.6, 3.4)
    figure, axes = plt.subplots(1, len(tables), figsize=size, squeeze=False)
    for ax, (metric, frame) in zip(axes.flat, tables.items()):
        tau = frame.corr("kendall").iloc[0]
        title = f"{label(metric)}: % of importance"
        heat(ax, frame.rename(index=symbol) * 100, title=title, size=8.5, fmt=".0f")
        labels = [f"{method}\nτ = {tau[method]:.2f}" for method in frame]
        ax.set_xticklabels([frame.columns[0], *labels[1:]], rotation=50, ha="right", rotation_mode="anchor")
    return figure


@styled
def convergence(frame: pd.DataFrame):
    """How explanations of n observations differ from that of all; means and ranges of the repeats."""
    panels = {
        "rank_correlation": "rank correlation of importances\nwith those of all observations",
        "curve_error": "error of the curves,\nshare of the largest effect",
        "overlap": "overlap of\nrecommended ranges",
    }
    figure, axes = plt.subplots(1, 3, figsize=(8.6, 2.6))
    order = ["exact", *[m for m in frame["method"].unique() if m != "exact"]]
    for ax, (column, label) in zip(axes, panels.items()):
        for method, color in zip(order, sns.color_palette(n_colors=len(order))):
            here = frame[frame["method"] == method].dropna(subset=[column])
            if here.empty:
                continue
            grouped = here.groupby("n")[column]
            ax.fill_between(grouped.min().index, grouped.min(), grouped.max(), color=color, alpha=0.15, lw=0)
            ax.plot(grouped.mean(), marker="o", ms=3, color=color, label=method)
        ax.set(xscale="log", xlabel="observations", title=label)
        ax.title.set_size(8.5)
        ticks = sorted(frame["n"].unique())
        ax.set_xticks(ticks, [f"{n}" for n in ticks])
        ax.xaxis.set_minor_locator(plt.NullLocator())
    axes[0].legend(fontsize=7.5, loc="lower right")
    axes[1].set_ylim(bottom=0)
    axes[2].set_ylim(0, 1.05)
    return figure


@styled
def budgets(explained: Mapping[str, Budgets], unit: str = "budget"):
    """How importances come about: each hyperparameter a line with its 90 % band, a panel a metric.

    The dotted line is the budget from which on the order is nearly the last
    one; see `Budgets.enough`.

    Parameters
    ----------
    explained : mapping of metric to Budgets
    unit : str
        What the budget is, for the axis: ``epochs`` for example.
    """
    size = (4.4 * len(explained), 3.6)
    figure, axes = plt.subplots(1, len(explained), figsize=size, sharey=True, squeeze=False)
    frames = {metric: found.importances for metric, found in explained.items()}
    top = 1.03 * max(frame["high"].max() for frame in frames.values())
    for ax, (metric, found) in zip(axes.flat, explained.items()):
        last, names = found.budgets[-1], found.last.names
        line_color = dict(zip(names, sns.color_palette("colorblind", len(names))))
        lines = dict(list(frames[metric].groupby("hyperparameter")))
        for name, line in lines.items():
            ax.fill_between(
                line["budget"], line["low"], line["high"], color=line_color[name], alpha=0.15, lw=0
            )
            ax.plot(line["budget"], line["importance"], color=line_color[name], marker="o", ms=3, lw=1.6)
        ends = pd.Series({name: line["importance"].iloc[-1] for name, line in lines.items()})
        for name, height in _apart(ends, 0.07 * top).items():
            ax.text(last * 1.1, height, symbol(name), color=line_color[name], va="center", fontsize=9.5)
        ax.axvline(found.enough(), color="#444444", lw=1, ls=":")
        ax.set(xscale="log", xlabel=unit, title=label(metric), ylim=(0, top))
        # Labels of neighbouring budgets would run into each other.
        shown = [b for b, after in zip(found.budgets, [*found.budgets[1:], np.inf]) if after / b > 1.22]
        ax.set_xticks(shown, [f"{b:g}" for b in shown])
        ax.xaxis.set_minor_locator(plt.NullLocator())
    axes[0, 0].set_ylabel("importance: mean |SHAP value|")
    return figure


def _apart(heights: pd.Series, least: float) -> pd.Series:
    """Heights of labels, moved up until none overlaps the one below."""
    placed, floor = {}, -np.inf
    for name, height in heights.sort_values().items():
        floor = placed[name] = max(height, floor + least)
    return pd.Series(placed)


@styled
def save(figure, folder: Path, name: str, *, close: bool = False) -> Path:
    """Write a figure as PNG and PDF, and close it if that is all that it was for; the PNG's path."""
    for suffix in ("pdf", "png"):
        # Without dates, so that equal figures are equal files.
        metadata = {"CreationDate": None} if suffix == "pdf" else {"Software": None}
        figure.savefig(folder / f"{name}.{suffix}", metadata=metadata)
    if close:
        plt.close(figure)
    return folder / f"{name}.png"
