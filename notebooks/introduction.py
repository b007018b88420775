"""The figure that introduces UBAL: the four phases of a small network, with the numbers."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection

from ubalkit.figures import GREY
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
