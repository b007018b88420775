"""Figures that introduce UBAL: its phases, its tasks, what it is an alternative to."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.collections import LineCollection

from ubalkit.figures import symbol
from ubalkit.paper.figures import pictures
from ubalkit.ubal.network import UBAL

__all__ = ["phases", "learning_curves", "gallery", "capacity", "moved", "importances", "results"]

_POSITIVE, _NEGATIVE, _GREY = "#0072B2", "#D55E00", "#444444"

# Of a diagram of units: between layers, between units, and radius.
_COLUMN, _RADIUS = 4.4, 0.42


def phases(net: UBAL, x, y):
    """The four phases of a small network as diagrams of its units, with the numbers (paper, Fig. 1 left).

    A unit is as dark as it is active; a line is a weight, as wide as it is
    large. Above are the predictions, from the end that is clamped (bold) to
    the other; below the echoes, each one layer back from the prediction that
    it bounces off.

    Parameters
    ----------
    net : UBAL
        The first of its networks is drawn.
    x, y : array_like, shape (1, n_0) and (1, n_L)

    Returns
    -------
    Figure
    """
    states, last, height = net.activations(x, y), len(net.layers) - 1, max(net.layers)
    top, low, width = height / 2 + 0.45, -(height + 0.7), _COLUMN * last + 2.4
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.7 / width * (2 * height + 5)))
    panels = (
        ("forward", states.FP, states.FE, net.W, net.M, range(1, last + 1), -1, ("FP", "FE", "W", "M")),
        ("backward", states.BP, states.BE, net.M, net.W, range(last), 1, ("BP", "BE", "M", "W")),
    )
    for ax, (title, prediction, echo, there, back, reached, step, names) in zip(axes, panels):
        for l in range(last + 1):
            _units(ax, _places(net, l, 0), prediction[l].flatten(0, -2)[0], bold=l not in reached)
            ax.text(_COLUMN * l, top, f"${names[0]}_{l + 1}$", ha="center", va="center")
            if echo[l] is not None:
                _units(ax, _places(net, l, low), echo[l][0, 0])
                ax.text(_COLUMN * l, low - top, f"${names[1]}_{l + 1}$", ha="center", va="center")
        for l in reached:
            source, k = l + step, min(l, l + step)
            _links(ax, _places(net, source, 0), _places(net, l, 0), there[k][0, :-1])
            _links(ax, _places(net, l, 0), _places(net, source, low), back[k][0, :-1])
            _arrow(ax, source, l, top, f"${names[2]}_{k + 1}$")
            _arrow(ax, l, source, low - top, f"${names[3]}_{k + 1}$")
        ax.set_title(f"{title} prediction, and its echo", fontsize=9)
        ax.set(xlim=(-1.2, width - 1.2), ylim=(low - top - 0.45, top + 0.75), aspect="equal")
        ax.axis("off")
    return figure


def _places(net: UBAL, l: int, y: float) -> np.ndarray:
    """Where the units of a layer are, (n_l, 2), the first on top."""
    n = net.layers[l]
    return np.column_stack([np.full(n, _COLUMN * l), y + (n - 1) / 2 - np.arange(n)])


def _links(ax, sources: np.ndarray, targets: np.ndarray, weights) -> None:
    weights = weights.numpy().ravel()
    lines = [(a, b) for a in sources for b in targets]
    colors = [_POSITIVE if w > 0 else _NEGATIVE for w in weights]
    widths = 2.5 * np.abs(weights) / max(np.abs(weights).max(), 1e-9)
    ax.add_collection(LineCollection(lines, colors=colors, linewidths=widths, alpha=0.55, zorder=1))


def _units(ax, places: np.ndarray, values, bold: bool = False) -> None:
    for place, value in zip(places, values.tolist()):
        grey, edge = str(1 - 0.85 * value), 2.0 if bold else 0.7
        ax.add_patch(plt.Circle(place, _RADIUS, facecolor=grey, edgecolor="black", lw=edge, zorder=2))
        ink = "white" if value > 0.5 else "black"
        ax.text(*place, f"{value:.2f}", color=ink, fontsize=6, ha="center", va="center", zorder=3)


def _arrow(ax, source: int, target: int, y: float, text: str) -> None:
    start, end = _COLUMN * source, _COLUMN * target
    gap = 0.75 if end > start else -0.75
    arrow = {"arrowstyle": "->", "color": _GREY, "lw": 0.8}
    ax.annotate("", (end - gap, y), (start + gap, y), arrowprops=arrow)
    ax.text((start + end) / 2, y + 0.12, text, ha="center", va="bottom", fontsize=8, color=_GREY)


def _band(ax, values, color, alpha: float, **line) -> None:
    """Means of grouped values as a line, over a band from the smallest to the largest."""
    curve = values.agg(["mean", "min", "max"])
    ax.fill_between(curve.index, curve["min"], curve["max"], color=color, alpha=alpha, lw=0)
    ax.plot(curve.index, curve["mean"], color=color, **line)


def learning_curves(frame: pd.DataFrame):
    """Accuracy after each epoch: the mean over seeds and their range, a line a model.

    Parameters
    ----------
    frame : DataFrame
        ``model``, ``seed``, ``epoch``, ``accuracy``.
    """
    figure, ax = plt.subplots(figsize=(5.2, 3.0))
    for (model, here), color in zip(frame.groupby("model", sort=False), sns.color_palette()):
        values = here.groupby("epoch")["accuracy"]
        _band(ax, values, color, 0.2, label=f"{model}: {values.mean().iloc[-1]:.2f}")
    lowest = frame.loc[frame["epoch"] > 2, "accuracy"].quantile(0.01)
    ax.set(xlabel="epoch", ylabel="testing accuracy", ylim=(max(0, lowest - 0.03), 1), xlim=(1, None))
    ax.legend(loc="lower right", fontsize=8)
    return figure


def gallery(rows: Mapping[str, np.ndarray]):
    """Images in labelled rows, white for 0 and black for 1.

    Parameters
    ----------
    rows : mapping of str to array, shape (n_images, n_pixels)
    """
    n = len(next(iter(rows.values())))
    return pictures(rows, (0.62 * n + 1.2, 0.66 * len(rows)), framed=True)


def capacity(frame: pd.DataFrame):
    """Share of patterns recalled without a wrong bit against their number, with the range over networks.

    Parameters
    ----------
    frame : DataFrame
        ``label``, ``direction`` (forward, backward), ``n`` and ``recalled``;
        a row a network.
    """
    figure, ax = plt.subplots(figsize=(7.2, 2.9))
    for (label, here), color in zip(frame.groupby("label", sort=False), sns.color_palette()):
        for direction, style in (("forward", "-"), ("backward", "--")):
            values = here[here["direction"] == direction].groupby("n")["recalled"]
            _band(ax, values, color, 0.12, ls=style, marker="o", ms=4, label=f"{label}, {direction}")
    ax.set(xscale="log", xlabel="pairs of patterns", ylabel="recalled exactly", ylim=(-0.02, 1.03))
    ax.set_xticks(sorted(frame["n"].unique()))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def moved(frame: pd.DataFrame, best: pd.DataFrame):
    """What becomes of each task when one hyperparameter is moved away from its best setting.

    Parameters
    ----------
    frame : DataFrame
        ``question``, ``hyperparameter``, ``value``, ``result``: a row a network.
    best : DataFrame
        The setting of each question (index), a dot on its line.
    """
    names = list(dict.fromkeys(frame["hyperparameter"]))
    figure, axes = plt.subplots(2, -(-(len(names) + 1) // 2), figsize=(9.2, 4.4), sharey=True)
    means = frame.pivot_table(index=["hyperparameter", "value"], columns="question", values="result")
    for ax, name in zip(axes.flat, names):
        for question, color in zip(best.index, sns.color_palette()):
            curve, at = means.loc[name][question], best.loc[question, name]
            ax.plot(curve.index, curve, color=color, lw=1.4, label=question)
            ax.plot(at, np.interp(at, curve.index, curve), "o", color=color, ms=4.5, clip_on=False)
        ax.axhline(0, color=_GREY, lw=0.7)
        ax.set(xlabel=symbol(name), xlim=(0, 1), xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"])
    for ax in axes[:, 0]:
        ax.set_ylabel("metric of the task")
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    handles = axes.flat[0].get_legend_handles_labels()
    axes.flat[len(names)].legend(*handles, loc="center left", fontsize=8, title="dot: the setting found")
    return figure


def importances(shares: pd.DataFrame, gains: pd.DataFrame):
    """What matters for which task: of single hyperparameters, and of the margins of the weight matrices.

    Parameters
    ----------
    shares : DataFrame
        A row a question, a column a hyperparameter: its share of the importance.
    gains : DataFrame
        A row a question, a column a weight matrix: what a positive margin gains (`tasks.margins`).
    """
    size, widths = (9.2, 0.42 * len(shares) + 1.2), [shares.shape[1], gains.shape[1]]
    figure, axes = plt.subplots(1, 2, figsize=size, width_ratios=widths, sharey=True)
    settings = {"annot": True, "fmt": ".2f", "cbar": False, "linewidths": 1.5, "annot_kws": {"size": 8}}
    sns.heatmap(shares.rename(columns=symbol), cmap="Blues", vmin=0, vmax=0.4, ax=axes[0], **settings)
    most = gains.abs().max().max()
    margins = (gains.round(2) + 0.0).rename(columns=lambda name: f"${name}$")
    sns.heatmap(margins, cmap="vlag_r", vmin=-most, vmax=most, ax=axes[1], **settings)
    axes[0].set(title="share of the importance", xlabel="", ylabel="")
    axes[1].set(title="gain where its margin is positive", xlabel="", ylabel="")
    for ax in axes:
        ax.tick_params(length=0, labelrotation=0)
    return figure


def results(searched: Mapping[str, pd.Series], finalists: pd.DataFrame, again: Mapping[str, pd.Series]):
    """What a search finds for each question, and what of it is left.

    Parameters
    ----------
    searched : mapping of question to Series
        The metric of random configurations: grey dots.
    finalists : DataFrame
        ``question``, ``chosen`` and ``result``: see `tasks.finalists`.
    again : mapping of question to Series
        The best of the finalists from other initial weights: a diamond at the
        mean, and its number.
    """
    figure, ax = plt.subplots(figsize=(7.4, 0.55 * len(searched) + 0.8))
    rng = np.random.default_rng(0)
    kinds = dict(zip(dict.fromkeys(finalists["chosen"]), sns.color_palette()))
    for k, (question, values) in enumerate(searched.items()):
        ax.scatter(values, k + rng.uniform(-0.3, 0.3, len(values)), s=4, color="#bbbbbb", lw=0)
        for j, (kind, color) in enumerate(kinds.items()):
            here = finalists[(finalists["question"] == question) & (finalists["chosen"] == kind)]["result"]
            height = np.full(len(here), k + 0.2 * (j - (len(kinds) - 1) / 2))
            ax.scatter(here, height, s=16, lw=0, color=color, label=None if k else kind)
        ax.plot(again[question].mean(), k, "D", color="black", ms=4.5, label=None if k else "trained again")
        ax.text(1.04, k, f"{again[question].mean():.2f}", va="center", fontsize=9)
    ax.set(yticks=range(len(searched)), yticklabels=searched, xlim=(-1.03, 1.12), xlabel="metric of the task")
    ax.set_xticks([-1, -0.5, 0, 0.5, 1])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.legend(loc="upper left", bbox_to_anchor=(0.1, -0.14), ncols=len(kinds) + 1, fontsize=8)
    return figure
