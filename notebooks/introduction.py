"""What notebook 0 alone needs.

It draws the four phases of a small network, with the numbers, chooses the
finalists of a task's search, and moves their hyperparameters one at a time.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection

from ubalkit import advice
from ubalkit import space as spaces
from ubalkit.figures import GREY
from ubalkit.paper.tasks import Task
from ubalkit.ubal.network import UBAL

_POSITIVE, _NEGATIVE = "#0072B2", "#D55E00"

# Between two layers of a diagram, where the distance between two units is 1.
_COLUMN = 4.4


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
        The pair of patterns that its two ends are clamped to.

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure = phases(UBAL([2, 2], [0.9, 0.1], [0.8], [0.6]), [[1.0, 0.0]], [[0.0, 1.0]])
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
        ax.add_patch(plt.Circle(place, 0.42, facecolor=grey, edgecolor="black", lw=edge, zorder=2))
        ink = "white" if value > 0.5 else "black"
        ax.text(*place, f"{value:.2f}", color=ink, fontsize=6, ha="center", va="center", zorder=3)


def _arrow(ax, source: int, target: int, y: float, text: str) -> None:
    start, end = _COLUMN * source, _COLUMN * target
    gap = 0.75 if end > start else -0.75
    arrow = {"arrowstyle": "->", "color": GREY, "lw": 0.8}
    ax.annotate("", (end - gap, y), (start + gap, y), arrowprops=arrow)
    ax.text((start + end) / 2, y + 0.12, text, ha="center", va="bottom", fontsize=8, color=GREY)


def finalists(explained, n: int = 6) -> pd.DataFrame:
    """Configurations worth training again, by where they come from.

    Parameters
    ----------
    explained : Explanation
        What the trials of a task say.
    n : int
        How many of each kind.

    Returns
    -------
    DataFrame
        The hyperparameters and ``chosen``: ``observed`` (the best of the
        table), ``predicted`` (the best by the meta-model, of 8 192 points of
        the whole space) and ``recommended`` (the same, within the ranges that
        the paper's rule recommends; see `advice.recommend`).

    Examples
    --------
    >>> from ubalkit import explanation, files, observations
    >>> trials = observations.read(files.data("tasks") / "denoising.csv")
    >>> quick = {"n_members": 2, "n_folds": 2, "steps": 50, "weight_decays": [0.01]}
    >>> finalists(explanation.explain(trials, **quick), n=1)["chosen"].tolist()
    ['observed', 'predicted', 'recommended']
    """
    ensemble = explained.ensemble
    observed = explained.trials.usable.nlargest(n, ensemble.metric)
    found = {"observed": observed[spaces.names(ensemble.space)]}
    ranges = advice.recommend(explained.at_trials.shap()).space
    for chosen, space in (("predicted", ensemble.space), ("recommended", ranges)):
        points = spaces.from_unit(space, spaces.spread(space, 2**13))
        found[chosen] = points.iloc[np.argsort(-ensemble.predict(points))[:n]]
    return pd.concat(found, names=["chosen"]).reset_index("chosen").reset_index(drop=True)


def moved(task: Task, configuration: pd.DataFrame, n_values: int = 11, n_seeds: int = 3) -> pd.DataFrame:
    """One hyperparameter after another moved from 0 to 1, the others kept.

    Parameters
    ----------
    task : Task
        What the networks are trained for.
    configuration : DataFrame, 1 row
        From where each hyperparameter is moved.
    n_values, n_seeds : int
        Values of each hyperparameter, and networks of each value.

    Returns
    -------
    DataFrame
        A row a network: ``hyperparameter``, ``value`` and the metrics.

    Examples
    --------
    >>> from ubalkit.paper import tasks
    >>> task = tasks.heteroassociation(3, size=4, hidden=5, epochs=2)
    >>> len(moved(task, task.configurations([0]), n_values=2, n_seeds=1))  # of seven hyperparameters
    14
    """
    names = spaces.names(task.space)
    steps = [(name, value) for name in names for value in np.linspace(0, 1, n_values)]
    rows = pd.concat([configuration[names].assign(**{name: value}) for name, value in steps])
    rows.index = pd.MultiIndex.from_tuples(steps, names=["hyperparameter", "value"])
    return task.repeated(rows, n_seeds)[list(task.metrics)].reset_index()
