"""Figures of the paper's study alone, and how a chapter shows any; the others are in `ubalkit.figures`."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.core.pylabtools import print_figure
from IPython.display import display

from ubalkit import figures
from ubalkit.figures import GREY
from ubalkit.paper.figures import COLORS, LABELS
from ubalkit.shapley import Attribution


def show(figure, says: str = "") -> None:
    """Show a figure in a notebook, with its label for those who cannot see it; `says` makes this label."""
    if says:
        figure.set_label(says)
    words = figure.get_label()
    shown = {"image/png": print_figure(figure, base64=True), "text/plain": words}
    display(shown, raw=True, metadata={"image/png": {"alt": words}})
    plt.close(figure)


def quality(predicted: Mapping, table: pd.DataFrame, *, labels=("predicted, held out", "observed")):
    """One number of each network over another, an axis a metric: held-out predictions over what was observed.

    Parameters
    ----------
    predicted : mapping of metric to ndarray, shape (n,)
        What is along the vertical axis.
    table : DataFrame
        The same n networks, whose metrics are along the horizontal axis.
    labels : (str, str)
        What the vertical and the horizontal axis are called.

    Examples
    --------
    >>> networks = pd.DataFrame({"test_accuracy": [0.1, 0.9]})
    >>> figure = quality({"test_accuracy": np.array([0.2, 0.8])}, networks)
    """
    figure, axes = plt.subplots(1, len(predicted), figsize=(6, 3), sharey=True, squeeze=False)
    rng = np.random.default_rng(0)
    size, alpha = (4, 0.35) if len(table) > 300 else (12, 0.7)
    for ax, (metric, values) in zip(axes.flat, predicted.items()):
        # Accuracies move in steps; a little jitter shows how many share one.
        observed = table[metric] + rng.uniform(-0.012, 0.012, len(table))
        ax.scatter(observed, values, s=size, alpha=alpha, lw=0, color=COLORS[metric])
        ax.plot([0, 1], [0, 1], color=GREY, lw=0.8)
        ax.set(xlabel=f"{labels[1]} {LABELS[metric]}", xlim=(-0.03, 1.03), ylim=(-0.15, 1.15))
        ax.set_aspect("equal", adjustable="box")
    axes[0, 0].set_ylabel(labels[0])
    return figure


def selection(selections: Mapping[str, pd.DataFrame]):
    """Cross-validated R² of each size and weight decay of the meta-model, an axis a metric.

    Parameters
    ----------
    selections : mapping of metric to DataFrame
        The attribute `selection` of each ensemble.

    Examples
    --------
    >>> names = ["n_h", "d_h", "weight_decay"]
    >>> index = pd.MultiIndex.from_product([[1, 2], [32], [0.001, 0.01]], names=names)
    >>> figure = selection({"test_accuracy": pd.DataFrame({"r2": [0.7, 0.8, 0.6, 0.9]}, index)})
    """
    size = (3.1 * len(selections), 2.2)
    figure, axes = plt.subplots(1, len(selections), figsize=size, sharey=True, squeeze=False)
    for ax, (metric, frame) in zip(axes.flat, selections.items()):
        grid = frame["r2"].unstack("weight_decay")
        grid.index = [f"{n_h} × {d_h}" for n_h, d_h in grid.index]
        figures.heat(ax, grid.rename(columns="{:g}".format), title=LABELS[metric], size=8, fmt=".3f")
        ax.set_xlabel("weight decay")
    axes[0, 0].set_ylabel(r"$n_h$ × $d_h$")
    return figure


def claims(judged: pd.DataFrame):
    """Effect of every claim in units of its own size, with its 90 % interval: right of zero it holds.

    Parameters
    ----------
    judged : DataFrame
        From `claims.judge`.

    Examples
    --------
    >>> row = {"claim": 1, "statement": "beta_2 has the most impact", "metric": "test_accuracy"}
    >>> figure = claims(pd.DataFrame([{**row, "effect": 0.2, "low": 0.1, "high": 0.3}]))
    """
    colors = {**COLORS, "both": GREY}
    figure, ax = plt.subplots(figsize=(7.2, 0.26 * len(judged) + 0.8))
    # Effects have different units; each is drawn in units of the interval's farthest end.
    scale = judged[["low", "high"]].abs().max(axis=1)
    y, color = np.arange(len(judged)), judged["metric"].map(colors)
    ax.axvline(0, color=GREY, lw=0.8)
    ax.hlines(y, judged["low"] / scale, judged["high"] / scale, color=color, lw=2)
    ax.scatter(judged["effect"] / scale, y, color=color, s=22, zorder=3)
    labels = judged["claim"].astype(str) + "  " + judged["statement"]
    figures.rows(ax, labels.mask(judged["statement"].duplicated(), "").to_list())
    ax.set(xlim=(-1.08, 1.08), xticks=[0], xticklabels=["does not hold  |  holds"])
    for metric in judged["metric"].unique():
        label = LABELS.get(metric, "both metrics")
        ax.plot([], [], color=colors[metric], lw=2, marker="o", ms=4, label=label)
    ax.tick_params(axis="y", length=0, labelsize=8)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=3, fontsize=8)
    return figure


def ranges(recommendations: Mapping, attribution: Attribution):
    """The ranges that each recommendation keeps (bars) and the values at which it freezes (dots).

    Parameters
    ----------
    recommendations : mapping of str to Recommendation
        Each with the words that the legend says for it.
    attribution : Attribution
        What they were made from; its `names` are the rows.

    Examples
    --------
    >>> from types import SimpleNamespace as Some
    >>> ours = Some(ranges={"beta_2": (0, 0.4)}, freeze={"beta_1": 0.3})
    >>> figure = ranges({"ours": ours}, Some(names=["beta_1", "beta_2"]))
    """
    names = attribution.names
    figure, ax = plt.subplots(figsize=(5.2, 0.42 * len(names) + 0.7))
    step = 0.5 / len(recommendations)
    for k, ((label, r), color) in enumerate(zip(recommendations.items(), sns.color_palette())):
        y = {name: j + (k - (len(recommendations) - 1) / 2) * step for j, name in enumerate(names)}
        for name, (low, high) in r.ranges.items():
            ax.hlines(y[name], low, high, color=color, lw=5)
        ax.plot(list(r.freeze.values()), [y[name] for name in r.freeze], "o", color=color, ms=5)
        ax.plot([], [], color=color, lw=5, label=label)
    ax.plot([], [], "o", color="#666666", label="frozen at")
    figures.rows(ax, list(map(figures.symbol, names)))
    ax.set(xlim=(-0.02, 1.02), xlabel="value")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def best_of(frame: pd.DataFrame, metric: str):
    """Best accuracy after n networks, an arm a line, with 90 % bootstrap bands.

    Parameters
    ----------
    frame : DataFrame
        From `comparisons.best_of`.
    metric : str
        What the accuracy is, for the axis.

    Examples
    --------
    >>> curve = pd.DataFrame({"n": [1, 8], "best": [0.5, 0.8], "low": [0.4, 0.7], "high": [0.6, 0.9]})
    >>> figure = best_of(curve.assign(arm="whole"), "test_accuracy")
    """
    figure, ax = plt.subplots(figsize=(5.2, 3.1))
    for (arm, curve), color, ls in zip(frame.groupby("arm", sort=False), figures.PALETTE, figures.LINES):
        figures.band(ax, curve, "n", "best", color, 0.2, label=arm, ls=ls)
    ax.set(xscale="log", xlabel="networks trained", ylabel=f"best {figures.label(metric)}")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.legend(loc="lower right", handlelength=3)
    return figure


def coupling(table: pd.DataFrame):
    """Both metrics of every network over γ^F less β of its two layers; see `claims.coupling`.

    Examples
    --------
    >>> table = pd.DataFrame({"gammaF_1": [0.9, 0.1], "beta_2": [0.1, 0.9], "gammaF_2": 0.5, "beta_3": 0.5})
    >>> figure = coupling(table.assign(test_accuracy=[0.9, 0.1], backprojection_accuracy=[1.0, 0.2]))
    """
    figure, axes = plt.subplots(1, len(LABELS), figsize=(7.6, 3.2), sharey=True, layout="constrained")
    x, y = table["gammaF_1"] - table["beta_2"], table["gammaF_2"] - table["beta_3"]
    for ax, (metric, label) in zip(axes, LABELS.items()):
        drawn = ax.scatter(x, y, c=table[metric], cmap=figures.AMOUNT, vmin=0, vmax=1, s=9, lw=0)
        ax.axhline(0, color=GREY, lw=0.8)
        ax.axvline(0, color=GREY, lw=0.8)
        ax.set(title=label, xlim=(-1, 1), ylim=(-1, 1), xticks=[-1, 0, 1], yticks=[-1, 0, 1], aspect="equal")
        ax.set_xlabel(f"{figures.symbol('gammaF_1')} − {figures.symbol('beta_2')}")
        ax.grid(visible=False)
    axes[0].set_ylabel(f"{figures.symbol('gammaF_2')} − {figures.symbol('beta_3')}")
    bar = figure.colorbar(drawn, ax=list(axes), shrink=0.85, ticks=[0, 0.5, 1], label="accuracy")
    bar.outline.set_visible(False)
    return figure


def projections(images: np.ndarray, class_means: np.ndarray):
    """Generated digits, a row of images for each network, above the class means of the training images.

    Parameters
    ----------
    images : ndarray, shape (n_networks, n_classes, n_pixels)
        What each network generates for each class.
    class_means : ndarray, shape (n_classes, n_pixels)
        Mean training image of each class.

    Examples
    --------
    >>> figure = projections(np.ones((1, 2, 9)), np.zeros((2, 9)))
    """
    rows = {f"network {k}": row for k, row in enumerate(images, 1)} | {"mean": class_means}
    return pictures(rows, (7, 0.72 * len(rows)), framed=False)


def pictures(rows: Mapping[str, np.ndarray], size: tuple[float, float], *, framed: bool):
    """Square images in labelled rows; black is 1 where they are framed, else the largest pixel of each.

    Examples
    --------
    >>> figure = pictures({"white": np.zeros((2, 9))}, (2, 1), framed=True)
    """
    figure, axes = plt.subplots(len(rows), len(next(iter(rows.values()))), figsize=size, squeeze=False)
    for line, (label, images) in zip(axes, rows.items()):
        for ax, image in zip(line, np.asarray(images)):
            side, most = round(len(image) ** 0.5), 1 if framed else max(image.max(), 1e-9)
            ax.imshow(image.reshape(side, side), cmap="gray_r", vmin=0, vmax=most)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=framed, color="#cccccc", lw=0.6)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    return figure
