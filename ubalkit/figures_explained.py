"""Figures of the decomposition: Fig. 3 explained, interactions, rival methods, convergence."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from ubalkit import decomposition
from ubalkit import space as spaces
from ubalkit.attribution import Attribution
from ubalkit.budgets import Budgets
from ubalkit.decomposition import Decomposition
from ubalkit.figures import COLORS, ENSEMBLES, LABELS, along, heat, panels, scattered, symbol

__all__ = ["explained", "shares", "surfaces", "coupling", "deep_and_exact", "methods", "convergence"]
__all__ += ["budgets"]

#: From low to high values of a partner.
PARTNER = sns.color_palette("viridis", as_cmap=True)


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
    values, scatter = dec.shap().values, dec.scatter(n_resamples=2)["value"].unstack()
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
        if hasattr(space[name], "lower"):
            ax.plot(dec.unit[order, j], own[order], color="black", lw=1.6)
        else:
            ax.plot(dec.unit[order, j], own[order], "_", color="black", ms=16, mew=1.8)
        ax.axhline(0, color="#444444", lw=0.7, zorder=0.5)
        ax.set_title(f"scatter: {scatter.loc[name, partner]:.0%} {symbol(partner)}", fontsize=8.5)
        along(ax, space, name)
    metric = dec.ensemble.metric
    text = f"{ENSEMBLES.get(metric, '')}  {LABELS.get(metric, metric)}".strip() + "\n"
    point = "trained network" if metric in LABELS else "trial"
    text += f"held-out $R^2$ = {dec.ensemble.r2:.2f}\n\nline: own effect\npoint: one {point}"
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


def shares(decompositions: Mapping[str, Decomposition]):
    """Share of the variance that each hyperparameter explains alone (diagonal) and each pair jointly."""
    size = (4.0 * len(decompositions), 3.5)
    figure, axes = plt.subplots(1, len(decompositions), figsize=size, squeeze=False)
    for ax, (metric, dec) in zip(axes.flat, decompositions.items()):
        share = dec.variance(n_resamples=2)["share"]
        grid = pd.DataFrame(np.nan, dec.names, dec.names)
        for s in dec.subsets:
            if len(s) <= 2:
                grid.loc[s[-1], s[0]] = share[" × ".join(s)]
        symbols = [symbol(name) for name in dec.names]
        grid = grid.set_axis(symbols, axis=0).set_axis(symbols, axis=1) * 100
        text = grid.map(lambda v: "" if not v >= 0.5 else f"{v:.0f}")
        higher = dec.orders(n_resamples=2)["share"]["3+"]
        title = f"{LABELS.get(metric, metric)}: % of variance\n(three and more together: {higher:.0%})"
        heat(ax, grid, title=title, size=9, annot=text, fmt="", vmin=0, square=True)
    return figure


def surfaces(dec: Decomposition, *, n_pairs: int = 3):
    """What the strongest pairs do jointly: mean prediction over both values, less the overall mean."""
    share = dec.variance(n_resamples=2)
    pairs = [tuple(s.split(" × ")) for s in share.index[share["order"] == 2][:n_pairs]]
    grids = [decomposition.surface(dec.ensemble, pair) for pair in pairs]
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
    bar.set_label(f"effect on {LABELS.get(dec.ensemble.metric, dec.ensemble.metric)}", fontsize=8)
    bar.outline.set_visible(False)
    return figure


def coupling(table: pd.DataFrame):
    """Both metrics of every network over γ^F less β of its two layers; see `claims.coupling`."""
    figure, axes = plt.subplots(1, len(LABELS), figsize=(7.6, 3.2), sharey=True, layout="constrained")
    x, y = table["gammaF_1"] - table["beta_2"], table["gammaF_2"] - table["beta_3"]
    for ax, (metric, label) in zip(axes, LABELS.items()):
        drawn = ax.scatter(x, y, c=table[metric], cmap="viridis", vmin=0, vmax=1, s=9, lw=0)
        ax.axhline(0, color="#444444", lw=0.8)
        ax.axvline(0, color="#444444", lw=0.8)
        ax.set(title=label, xlim=(-1, 1), ylim=(-1, 1), xticks=[-1, 0, 1], yticks=[-1, 0, 1])
        ax.set_xlabel(f"{symbol('gammaF_1')} − {symbol('beta_2')}")
        ax.set_aspect("equal")
        ax.grid(visible=False)
    axes[0].set_ylabel(f"{symbol('gammaF_2')} − {symbol('beta_3')}")
    bar = figure.colorbar(drawn, ax=axes.tolist(), shrink=0.85, ticks=[0, 0.5, 1])
    bar.set_label("accuracy")
    bar.outline.set_visible(False)
    return figure


def deep_and_exact(deep: Mapping[str, Attribution], exact: Mapping[str, Attribution]):
    """Running means of Deep SHAP (dashed) and exact SHAP values (solid) of both ensembles."""
    names = next(iter(deep.values())).names
    figure, axes, legend = panels(names, 2.1, "mean SHAP value")
    for metric in deep:
        for attributions, style in ((deep, "--"), (exact, "-")):
            curves = attributions[metric].curves().groupby("hyperparameter")
            for ax, name in zip(axes, names):
                curve = curves.get_group(name)
                ax.plot(curve["unit"], curve["mean"], style, color=COLORS.get(metric), lw=1.4)
                along(ax, attributions[metric].ensemble.space, name)
    for ax in axes:
        ax.axhline(0, color="#444444", lw=0.7, zorder=0.5)
    handles = [plt.Line2D([], [], color=COLORS.get(m), label=LABELS.get(m, m)) for m in deep]
    handles += [
        plt.Line2D([], [], color="#444444", ls=style, label=label)
        for style, label in (("-", "exact"), ("--", "Deep SHAP"))
    ]
    legend.legend(handles=handles, loc="center left", fontsize=8)
    return figure


def methods(tables: Mapping[str, pd.DataFrame]):
    """Shares of importance by every method, a panel a metric, with the agreement with the first column."""
    n_methods = len(next(iter(tables.values())).columns)
    size = (0.62 * n_methods * len(tables) + 0.6, 3.4)
    figure, axes = plt.subplots(1, len(tables), figsize=size, squeeze=False)
    for ax, (metric, frame) in zip(axes.flat, tables.items()):
        tau = frame.corr("kendall").iloc[0]
        title = f"{LABELS.get(metric, metric)}: % of importance"
        heat(ax, frame.rename(index=symbol) * 100, title=title, size=8.5, fmt=".0f")
        labels = [f"{method}\nτ = {tau[method]:.2f}" for method in frame]
        ax.set_xticklabels([frame.columns[0], *labels[1:]], rotation=50, ha="right", rotation_mode="anchor")
    return figure


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
        colors = dict(zip(names, sns.color_palette("colorblind", len(names))))
        lines = dict(list(frames[metric].groupby("hyperparameter")))
        for name, line in lines.items():
            ax.fill_between(line["budget"], line["low"], line["high"], color=colors[name], alpha=0.15, lw=0)
            ax.plot(line["budget"], line["importance"], color=colors[name], marker="o", ms=3, lw=1.6)
        ends = pd.Series({name: line["importance"].iloc[-1] for name, line in lines.items()})
        for name, height in _apart(ends, 0.07 * top).items():
            ax.text(last * 1.1, height, symbol(name), color=colors[name], va="center", fontsize=9.5)
        ax.axvline(found.enough(), color="#444444", lw=1, ls=":")
        ax.set(xscale="log", xlabel=unit, title=LABELS.get(metric, metric), ylim=(0, top))
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
