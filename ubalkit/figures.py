"""Figures: a function draws each from the frame behind it; `fig3_frame` makes that of Fig. 3.

Every style decision is here and in ``style.mplstyle``: symbols as in the
paper, two colours that colour-blind readers can tell apart.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import IntegerHyperparameter

from ubalkit import space as spaces
from ubalkit.attribution import Attribution
from ubalkit.trust import Trust

__all__ = ["LABELS", "COLORS", "symbol", "ticks", "along", "scattered", "panels", "heat", "save"]
__all__ += ["fig3_frame", "fig3", "spread", "selection", "quality", "importance", "claims"]
__all__ += ["ranges", "arms", "best_of", "factors", "projections", "pictures"]

#: Of the paper's two metrics; any other has its name, and the first colour.
LABELS = {"test_accuracy": "testing accuracy", "backprojection_accuracy": "back-projection accuracy"}
ENSEMBLES = {"test_accuracy": r"$\mathcal{E}_{test}$", "backprojection_accuracy": r"$\mathcal{E}_{backproj}$"}
COLORS = {"test_accuracy": "#0072B2", "backprojection_accuracy": "#D55E00"}

_OTHER = "#0072B2"

plt.style.use(Path(__file__).with_name("style.mplstyle"))


def symbol(name: str) -> str:
    """The paper's symbol of a hyperparameter: ``beta_2`` becomes β₂ᶠ, set as mathematics."""
    match = re.fullmatch(r"(one_minus_)?(beta|gamma)(F|B)?_(\d+)", name)
    if not match:
        return name
    complement, letter, direction, layer = match.groups()
    return rf"${'1 - ' if complement else ''}\{letter}_{layer}^{direction or 'F'}$"


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


def _rows(ax, labels) -> None:
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


def fig3(
    points: pd.DataFrame,
    curves: pd.DataFrame,
    trust: Mapping[str, Trust] | None = None,
    space: ConfigurationSpace | None = None,
):
    """Fig. 3 of the paper: SHAP values of each hyperparameter along its value, for both ensembles.

    Points are configurations; lines are running means; bands are their 90 %
    intervals.

    Parameters
    ----------
    points, curves : DataFrame
        From `fig3_frame`.
    trust : mapping of metric to Trust, optional
        Shown in the legend; and across the figure, where it is poor.
    space : ConfigurationSpace, optional
        UBAL's seven hyperparameters by default.

    Returns
    -------
    Figure
    """
    space = space or spaces.ubal()
    names = list(dict.fromkeys(curves["hyperparameter"]))
    figure, axes, legend = panels(names, 2.3, "SHAP value")
    for ax, name in zip(axes, names):
        here = points[points["hyperparameter"] == name]
        # In a shuffled order, so that neither ensemble hides the other.
        here = here.sample(frac=1, random_state=0)
        colors = [COLORS.get(metric, _OTHER) for metric in here["metric"]]
        x = scattered(space, name, here["unit"].to_numpy())
        ax.scatter(x, here["shap"], s=3, alpha=0.25, lw=0, c=colors, rasterized=True)
        for metric, curve in curves[curves["hyperparameter"] == name].groupby("metric", sort=False):
            color = COLORS.get(metric, _OTHER)
            parts = [curve]
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
        words = " and ".join(f"{LABELS.get(t.metric, t.metric)} (held-out $R^2$ = {t.r2:.2f})" for t in poor)
        figure.suptitle(f"A hint only: the meta-model predicts {words} poorly", color="#B00020", fontsize=11)
    return figure


def _fig3_legend(ax, metrics, trust: Mapping[str, Trust]) -> None:
    colors = [COLORS.get(m, _OTHER) for m in metrics]
    handles = [plt.Line2D([], [], color=color, marker="o", ms=3.5, mew=0) for color in colors]
    labels = [
        f"{ENSEMBLES.get(m, '')}  {LABELS.get(m, m)}".strip()
        + (f"\n   held-out $R^2$ = {trust[m].r2:.2f}" if m in trust else "")
        for m in metrics
    ]
    ax.legend(handles, labels, loc="center left", bbox_to_anchor=(-0.05, 0.62), fontsize=8, labelspacing=0.9)
    point = "one trained network" if set(metrics) <= set(LABELS) else "one trial"
    note = f"point: {point}\nline: running mean\nband: its 90 % interval"
    ax.text(0.0, 0.02, note, transform=ax.transAxes, fontsize=7.5, color="#444444", linespacing=1.5)


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
        heat(ax, grid, title=LABELS[metric], size=8, fmt=".3f")
        ax.set_xlabel("weight decay")
    axes[0, 0].set_ylabel(r"$n_h$ × $d_h$")
    return figure


def importance(importances: Mapping[str, pd.DataFrame]):
    """Mean absolute SHAP values of both ensembles with their 90 % intervals."""
    names = next(iter(importances.values())).index
    figure, ax = plt.subplots(figsize=(4.6, 0.42 * len(names) + 0.7))
    height = 0.8 / len(importances)
    for k, (metric, frame) in enumerate(importances.items()):
        y = np.arange(len(names)) + (k - (len(importances) - 1) / 2) * height
        frame = frame.loc[names]
        color, label = COLORS.get(metric, _OTHER), LABELS.get(metric, metric)
        ax.barh(y, frame["importance"], height * 0.9, color=color, label=label)
        ax.hlines(y, frame["low"], frame["high"], color="black", lw=1)
    _rows(ax, list(map(symbol, names)))
    ax.set_xlabel("mean |SHAP value|")
    ax.legend(loc="lower right", fontsize=8)
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
    _rows(ax, ["" if again else label for again, label in zip(repeated, labels)])
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
    _rows(ax, list(map(symbol, names)))
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
    _rows(ax, list(tables))
    ax.set(xlabel=f"{LABELS.get(metric, metric)}  (bar: median)", ylabel="")
    return figure


def best_of(frame: pd.DataFrame, metric: str):
    """Best accuracy after n networks, an arm a line, with 90 % bootstrap bands."""
    figure, ax = plt.subplots(figsize=(5.2, 3.1))
    for (arm, curve), color in zip(frame.groupby("arm", sort=False), sns.color_palette()):
        ax.fill_between(curve["n"], curve["low"], curve["high"], color=color, alpha=0.2, lw=0)
        ax.plot(curve["n"], curve["best"], color=color, label=arm)
    ax.set(xscale="log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="networks trained", ylabel=f"best {LABELS.get(metric, metric)}")
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
    axes[0].set_ylabel(LABELS.get(metric, metric))
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


def save(figure, folder: Path, name: str) -> Path:
    """Write a figure as PNG and PDF; the PNG's path."""
    for suffix in ("pdf", "png"):
        # Without dates, so that equal figures are equal files.
        metadata = {"CreationDate": None} if suffix == "pdf" else {"Software": None}
        figure.savefig(folder / f"{name}.{suffix}", metadata=metadata)
    return folder / f"{name}.png"
