"""Figures of the paper's study alone, and how UBAL's things are called in every figure."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from ubalkit import figures
from ubalkit.shapley import Attribution
from ubalkit.ubal import hyperparameters

__all__ = ["LABELS", "COLORS", "UBAL", "spread", "quality", "selection", "claims", "ranges", "arms"]
__all__ += ["best_of", "factors", "coupling", "projections", "pictures"]

#: What the paper's two metrics are called, and their colours.
LABELS = {"test_accuracy": "testing accuracy", "backprojection_accuracy": "back-projection accuracy"}
COLORS = {"test_accuracy": "#0072B2", "backprojection_accuracy": "#D55E00"}

_ENSEMBLES = {
    "test_accuracy": r"$\mathcal{E}_{test}$",
    "backprojection_accuracy": r"$\mathcal{E}_{backproj}$",
}

#: Symbols as in the paper.
UBAL = figures.Labels(hyperparameters.symbol, LABELS, _ENSEMBLES, COLORS, "trained network")


def spread(table: pd.DataFrame):
    """Distribution of both metrics over the observations."""
    figure, axes = plt.subplots(1, len(LABELS), figsize=(7, 2.3), sharey=True)
    for ax, (metric, label) in zip(axes, LABELS.items()):
        bins = np.linspace(-0.025, 1.025, 43)
        ax.hist(table[metric], bins, color=COLORS[metric], edgecolor="white", lw=0.4)
        ax.set(xlabel=label, xlim=(-0.03, 1.03))
    axes[0].set_ylabel("networks")
    return figure


def quality(
    predicted: Mapping[str, np.ndarray],
    table: pd.DataFrame,
    *,
    labels: tuple[str, str] = ("predicted, held out", "observed"),
):
    """One number of each network over another, an axis a metric: held-out predictions over what was observed.

    Parameters
    ----------
    predicted : mapping of metric to ndarray, shape (n,)
    table : DataFrame
        Of the same n networks; the metrics in it are along the horizontal axis.
    labels : (str, str)
        What is along the vertical and along the horizontal axis.
    """
    figure, axes = plt.subplots(1, len(predicted), figsize=(6, 3), sharey=True, squeeze=False)
    rng = np.random.default_rng(0)
    size, alpha = (4, 0.35) if len(table) > 300 else (12, 0.7)
    for ax, (metric, values) in zip(axes.flat, predicted.items()):
        # Accuracies move in steps; a little jitter shows how many share one.
        observed = table[metric] + rng.uniform(-0.012, 0.012, len(table))
        ax.scatter(observed, values, s=size, alpha=alpha, lw=0, color=COLORS[metric])
        ax.plot([0, 1], [0, 1], color="#444444", lw=0.8)
        ax.set(xlabel=f"{labels[1]} {LABELS[metric]}", xlim=(-0.03, 1.03), ylim=(-0.15, 1.15))
        ax.set_aspect("equal", adjustable="box")
    axes[0, 0].set_ylabel(labels[0])
    return figure


def selection(selections: Mapping[str, pd.DataFrame]):
    """Cross-validated R² of each size and weight decay of the meta-model, an axis a metric."""
    size = (3.1 * len(selections), 2.2)
    figure, axes = plt.subplots(1, len(selections), figsize=size, sharey=True, squeeze=False)
    for ax, (metric, frame) in zip(axes.flat, selections.items()):
        grid = frame["r2"].unstack("weight_decay")
        grid.index = [f"{n_h} × {d_h}" for n_h, d_h in grid.index]
        grid.columns = [f"{decay:g}" for decay in grid.columns]
        figures.heat(ax, grid, title=LABELS[metric], size=8, fmt=".3f")
        ax.set_xlabel("weight decay")
    axes[0, 0].set_ylabel(r"$n_h$ × $d_h$")
    return figure


def claims(judged: pd.DataFrame):
    """Effect of every claim in units of its own size, with its 90 % interval: right of zero it holds."""
    colors = {**COLORS, "both": "#666666"}
    figure, ax = plt.subplots(figsize=(7.2, 0.26 * len(judged) + 0.8))
    # Effects have different units; each is drawn in units of the interval's farthest end.
    scale = judged[["low", "high"]].abs().max(axis=1)
    y = np.arange(len(judged))
    ax.axvline(0, color="#444444", lw=0.8)
    color = judged["metric"].map(colors)
    ax.hlines(y, judged["low"] / scale, judged["high"] / scale, color=color, lw=2)
    ax.scatter(judged["effect"] / scale, y, color=color, s=22, zorder=3)
    labels = [f"{row.claim}  {row.statement}" for row in judged.itertuples()]
    repeated = judged["statement"].duplicated()
    figures.rows(ax, ["" if again else label for again, label in zip(repeated, labels)])
    ax.set(xlim=(-1.08, 1.08), xticks=[0], xticklabels=["does not hold  |  holds"])
    for metric in dict.fromkeys(judged["metric"]):
        label = LABELS.get(metric, "both metrics")
        ax.plot([], [], color=colors[metric], lw=2, marker="o", ms=4, label=label)
    ax.tick_params(axis="y", length=0, labelsize=8)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=3, fontsize=8)
    return figure


def ranges(recommendations: Mapping, attribution: Attribution):
    """The ranges that each recommendation keeps (bars) and the values at which it freezes (dots)."""
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


def arms(tables: Mapping[str, pd.DataFrame], metric: str):
    """Distributions of a metric in the arms of a comparison, and their medians."""
    figure, ax = plt.subplots(figsize=(6.2, 0.62 * len(tables) + 0.8))
    rng = np.random.default_rng(0)
    for k, (table, color) in enumerate(zip(tables.values(), sns.color_palette())):
        jitter = k + rng.uniform(-0.28, 0.28, len(table))
        ax.scatter(table[metric], jitter, s=6, alpha=0.5, lw=0, color=color)
        ax.plot([table[metric].median()] * 2, [k - 0.36, k + 0.36], color="black", lw=2)
    figures.rows(ax, list(tables))
    ax.set(xlabel=f"{figures.label(metric)}  (bar: median)", ylabel="")
    return figure


def best_of(frame: pd.DataFrame, metric: str):
    """Best accuracy after n networks, an arm a line, with 90 % bootstrap bands."""
    figure, ax = plt.subplots(figsize=(5.2, 3.1))
    for (arm, curve), color in zip(frame.groupby("arm", sort=False), sns.color_palette()):
        ax.fill_between(curve["n"], curve["low"], curve["high"], color=color, alpha=0.2, lw=0)
        ax.plot(curve["n"], curve["best"], color=color, label=arm)
    ax.set(xscale="log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="networks trained", ylabel=f"best {figures.label(metric)}")
    ax.legend(loc="lower right")
    return figure


def factors(frame: pd.DataFrame, metric: str):
    """Accuracy as one setting after another is moved: a panel a setting, a point a network."""
    names = list(dict.fromkeys(frame["setting"]))
    figure, axes = plt.subplots(1, len(names), figsize=(1.45 * len(names), 2.3), sharey=True)
    for ax, name in zip(axes, names):
        here = frame[frame["setting"] == name].fillna({"value": "all"})
        values = list(dict.fromkeys(here["value"]))
        ax.scatter([values.index(v) for v in here["value"]], here[metric], s=10, alpha=0.6, color="#0072B2")
        ax.plot(range(len(values)), [here.loc[here["value"] == v, metric].mean() for v in values])
        labels = [v if isinstance(v, str) else f"{v:g}" for v in values]
        ax.set(xticks=range(len(values)), xticklabels=labels, xlim=(-0.4, len(values) - 0.6))
        ax.set_xlabel(name.replace("_", " "))
        ax.tick_params(axis="x", labelsize=8)
    axes[0].set_ylabel(figures.label(metric))
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
        ax.set_xlabel(f"{figures.symbol('gammaF_1')} − {figures.symbol('beta_2')}")
        ax.set_aspect("equal")
        ax.grid(visible=False)
    axes[0].set_ylabel(f"{figures.symbol('gammaF_2')} − {figures.symbol('beta_3')}")
    bar = figure.colorbar(drawn, ax=axes.tolist(), shrink=0.85, ticks=[0, 0.5, 1])
    bar.set_label("accuracy")
    bar.outline.set_visible(False)
    return figure


def projections(images: np.ndarray, class_means: np.ndarray):
    """Generated digits, a row of images for each network, above the class means of the training images.

    Parameters
    ----------
    images : ndarray, shape (n_networks, n_classes, n_pixels)
    class_means : ndarray, shape (n_classes, n_pixels)
    """
    rows = {f"network {k}": row for k, row in enumerate(images, 1)} | {"mean": class_means}
    return pictures(rows, (7, 0.72 * len(rows)), framed=False)


def pictures(rows: Mapping[str, np.ndarray], size: tuple[float, float], *, framed: bool):
    """Square images in labelled rows; black is 1 where they are framed, else the largest pixel of each."""
    figure, axes = plt.subplots(len(rows), len(next(iter(rows.values()))), figsize=size, squeeze=False)
    for line, (label, images) in zip(axes, rows.items()):
        for ax, image in zip(line, np.asarray(images)):
            side, most = round(len(image) ** 0.5), 1 if framed else max(image.max(), 1e-9)
            ax.imshow(image.reshape(side, side), cmap="gray_r", vmin=0, vmax=most)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=framed, color="#cccccc", lw=0.6)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    return figure
