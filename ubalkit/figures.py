"""Figures: a function draws each from what was found, and returns it.

Figures: a style
----------------
How figures are made here, in the chapters of the paper's study too:

- `STYLE` holds inside these functions alone; the session keeps its own. Fonts are at least 6 points.
- A metric has one colour everywhere. The first two of `PALETTE` differ in lightness, all of them for
  colour-blind readers; lines also differ in their dashes, points of choices in their marks. So a figure can
  be read in grey.
- Amounts run from light to dark (`AMOUNT`), and what is best is dark; choices have no order and get colours
  of their own, never a scale.
- A band lies behind its points: a tint with an edge, so that two that overlap do not mix to a third.
- Nothing is cut off: axes reach as far as their points. Few points are large, many are small and pale.
- What a line, a point, a band and a colour are stands in the figure, in words; so does the unit of an axis.
- A figure carries one sentence that says what it shows, the first of the function that draws it: `save`
  writes it into the file, as the text for whoever cannot see it.

Examples
--------
>>> from ubalkit import explanation, readers
>>> table = pd.DataFrame(np.random.default_rng(0).random((60, 2)), columns=["rate", "depth"])
>>> trials = readers.from_frame(table.assign(score=table["rate"] * (1 + table["depth"])), "score")
>>> found = explanation.explain(trials, n_members=2, n_folds=2, steps=99, weight_decays=[0.001])

Fig. 3 for these trials, then its scatter explained, then what the strongest pair does jointly:

>>> points, curves = fig3_frame({"score": found.shap})
>>> figure = fig3(points, curves, trials.space, {"score": found.trust})
>>> figure = explained(found.decomposition)
>>> figure = surfaces(found.decomposition, n_pairs=1)
"""

import base64
import contextlib
import functools
import io
import itertools
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import IntegerHyperparameter
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from ubalkit import effects
from ubalkit import space as spaces
from ubalkit.rules import Rule
from ubalkit.shapley import LEAST_SUPPORT, Attribution

#: Style sheet of matplotlib, for what `styled` decorates.
STYLE = Path(__file__).with_name("style.mplstyle")

PALETTE = ("#0072B2", "#E08A00", "#009E73", "#666666", "#CC79A7", "#A63D00")
GREY = "#444444"
#: Colours of amounts, the largest dark; what has none is grey.
AMOUNT = sns.color_palette("flare", as_cmap=True).with_extremes(bad="#b8b8b8")
LINES, _MARKS = ("-", (0, (5, 1.2)), "-.", (0, (1, 1)), (0, (9, 2)), (0, (4, 1, 1, 1, 1, 1))), "o^sDvX"
_HALO = {"lw": 1.8, "path_effects": [withStroke(linewidth=3, foreground="white")]}
_POWER = re.compile(r"0\.00+1|1e[+-]\d+")
_LACKS = "Glyph .* missing from font"
_R2 = "held-out $R^2$ = {:.2f}"


def styled(draw: Callable) -> Callable:
    """Decorate a function that draws, which doctest passes over then: see above."""

    @functools.wraps(draw)
    def drawn(*given, **settings):
        with plt.style.context(STYLE):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", _LACKS)
                made = draw(*given, **settings)
            if isinstance(made, Figure):
                made.set_label(draw.__doc__.split("\n")[0])
                _find_letters(made)
            return made

    return drawn


def _find_letters(figure: Figure) -> None:
    """Take letters of a figure that the style's font lacks from another one, or say that there is none."""
    texts = figure.findobj(Text)
    own = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    letters = frozenset(c for text in texts for c in text.get_text() if c != "\n" and ord(c) not in own)
    if letters and (font := _font_with(letters)):
        plt.setp(texts, fontfamily=["DejaVu Sans", font])
    elif letters:
        # Matplotlib would say so of each letter, again and again.
        warnings.filterwarnings("ignore", _LACKS)


@functools.cache
def _font_with(letters: frozenset[str]) -> str | None:
    # The last resort, which comes with matplotlib, has a box for every letter.
    fonts = [font for font in font_manager.fontManager.ttflist if not font.name.startswith("Last Resort")]
    for font in sorted(fonts, key=lambda font: (font.style != "normal", font.weight != 400)):
        with contextlib.suppress(OSError, RuntimeError):  # a file that is no font
            if set(map(ord, letters)) <= font_manager.get_font(font.fname).get_charmap().keys():
                return font.name
    some = "".join(sorted(letters))[:20]
    warnings.warn(f"No font here has all of the letters {some}; boxes stand for them.", stacklevel=4)
    return None


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

    Examples
    --------
    >>> use(Labels(metrics={"loss": "validation loss"}))
    >>> label("loss"), symbol("rate"), colors(["loss"])
    ('validation loss', 'rate', {'loss': '#0072B2'})
    >>> use()
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


def short(text, most: int = 24) -> str:
    """A text on one line that leaves room for its neighbours: the middle of a longer one is left out.

    >>> short("trainer.optimizer.weight_decay")
    'trainer.…er.weight_decay'
    """
    text = " ".join(str(text).split())
    if any(unicodedata.east_asian_width(c) in "WF" for c in text):
        most //= 2
    return text if len(text) <= most else f"{text[: most // 3]}…{text[most // 3 + 1 - most :]}"


def _shown(text, most: int = 24) -> str:
    # Two dollars are no mathematics.
    return short(text, most).replace("$", r"\$")


def label(metric: str) -> str:
    """What a metric is called: by its name, if need be shortened, unless `use` gave it another."""
    return _labels.metrics.get(metric) or _shown(metric)


def symbol(name: str, most: int = 24) -> str:
    """The sign of a hyperparameter: its name, if need be shortened, unless `use` gave it another."""
    sign = _labels.symbol(name)
    return sign if sign != name else _shown(name, most)


def _ensemble(metric: str) -> str:
    return f"{_labels.ensembles.get(metric, '')}  {label(metric)}".strip()


def colors(metrics: Iterable[str]) -> dict[str, str]:
    """The colour of each metric; the default ones can be told apart by colour-blind readers."""
    return {m: _labels.colors.get(m, PALETTE[k % len(PALETTE)]) for k, m in enumerate(metrics)}


def ticks(hp) -> tuple[Sequence, list[str]]:
    """Values to mark along the axis of a hyperparameter of ConfigSpace, and their labels."""
    if not spaces.is_number(hp):
        # More than eight would overlap.
        some = spaces.choices(hp)[:: -(-len(spaces.choices(hp)) // 8)]
        return some, [_shown(choice, 16) for choice in some]
    whole = isinstance(hp, IntegerHyperparameter)
    locator = plt.LogLocator(numticks=5) if hp.log else plt.MaxNLocator(5, steps=[1, 2, 5, 10], integer=whole)
    low, high = float(hp.lower), float(hp.upper)
    values = [v for v in locator.tick_values(low, high) if low - 1e-9 <= v <= high * (1 + 1e-9)]
    # A range within one decade has no tick of its own.
    values = values if len(values) > 1 else [low, high]
    return values, [f"{v:g}" for v in values]


def along(ax, space: ConfigurationSpace, name: str, axis: str = "x") -> None:
    """Make an axis that shows unit-cube coordinates say the values of a hyperparameter, and its name."""
    values, labels = ticks(space[name])
    # Written out, small and large labels of neighbouring panels run into each other.
    powers = {t: f"$10^{{{round(np.log10(float(t)))}}}$" for t in labels if _POWER.fullmatch(t)}
    shown = [powers.get(t, t) for t in labels]
    ax.set(**{f"{axis}ticks": spaces.coordinate(space[name], values), f"{axis}ticklabels": shown})
    ax.set(**{f"{axis}lim": (0, 1), f"{axis}label": symbol(name, 22)})
    if axis == "x" and sum(map(len, labels)) > 22:
        ax.tick_params(axis="x", labelrotation=30)
        plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")


def _scattered(space: ConfigurationSpace, name: str, unit: np.ndarray) -> np.ndarray:
    """Unit-cube coordinates to draw points at: those of choices are spread over the width of their share."""
    if spaces.is_number(space[name]):
        return unit
    share = np.diff(np.unique(unit)).min(initial=1.0)
    return unit + np.random.default_rng(0).uniform(-0.3, 0.3, len(unit)) * share


def _dots(n: int, alpha: float = 0.0) -> dict:
    """How n points are drawn in a panel: few of them large, many small and, unless `alpha` says, pale."""
    size, pale = np.clip([2 + 3000 / max(n, 1), 12 / max(n, 1) ** 0.5], [3, 0.25], [24, 0.6])
    return {"s": size, "alpha": alpha or pale, "lw": 0, "rasterized": True, "clip_on": False}


def _coloured(ax, x: np.ndarray, y: np.ndarray, hp, unit: np.ndarray) -> None:
    """Points in the colour of a hyperparameter's value: from light to dark, or a mark and colour a choice.

    Grey where a point does not have that hyperparameter, at the coordinate nan.
    """
    look = _dots(len(x), 0.75)
    if spaces.is_number(hp):
        ax.scatter(x, y, c=unit, cmap=AMOUNT, vmin=0, vmax=1, plotnonfinite=True, **look)
        return
    words, last = [_shown(choice, 10) for choice in spaces.choices(hp)], len(_MARKS) - 1
    kind = np.nan_to_num(unit * len(words), nan=-1).astype(int).clip(max=last)
    words[last:] = ["others"] if len(words) > last + 1 else words[last:]
    for k in np.unique(kind):
        color, here = [*PALETTE, "#888888"][k], kind == k
        ax.scatter(x[here], y[here], c=color, marker=_MARKS[k], label=[*words, "has none"][k], **look)
    ax.legend(fontsize=7, handletextpad=0.1, borderpad=0.2, labelspacing=0.2, frameon=True)


def _panels(space: ConfigurationSpace, names: Sequence[str], height: float, ylabel: str, zorder: float):
    """A panel for each hyperparameter, at most four in a row, with a line at 0; and one for the legend."""
    n_columns = min(4, len(names) + 1)
    n_rows = -(-(len(names) + 1) // n_columns)
    size = (2.35 * n_columns, height * n_rows)
    figure, axes = plt.subplots(n_rows, n_columns, figsize=size, sharey=True, squeeze=False)
    plt.setp(axes[:, 0], ylabel=ylabel)
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    for ax, name in zip(axes.flat, names):
        ax.axhline(0, color=GREY, lw=0.7, zorder=zorder)
        along(ax, space, name)
    return figure, axes.flat[: len(names)], axes.flat[len(names)]


def band(ax, frame: pd.DataFrame, x: str, y: str, color, alpha: float, edge: float = 0, **line) -> None:
    """The column `y` over the column `x` as a line, in a band from the column ``low`` to ``high``."""
    tint = {"facecolor": (color, alpha), "edgecolor": color, "lw": edge, "zorder": 0.9}
    ax.fill_between(frame[x], frame["low"], frame["high"], **tint)
    ax.plot(frame[x], frame[y], color=color, **line)


def logarithmic(ax, values: Sequence[float], xlabel: str) -> None:
    """A logarithmic axis on which these values alone are marked."""
    ax.set(xscale="log", xlabel=xlabel)
    ax.set_xticks(values, [f"{v:g}" for v in values])
    ax.minorticks_off()


def rows(ax, labels: Sequence[str]) -> None:
    """A row a label, from the top down."""
    ax.set(yticks=range(len(labels)), yticklabels=labels)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)


def heat(ax, grid: pd.DataFrame, *, title: str, size: float, annot=True, **settings) -> None:
    """A table as a heat map, its numbers in it."""
    settings |= {"annot": annot, "annot_kws": {"size": size}, "cmap": "Blues", "cbar": False, "linewidths": 1}
    sns.heatmap(grid, ax=ax, **settings)
    ax.tick_params(length=0)
    ax.tick_params(axis="y", labelrotation=0)
    ax.set(title=title, xlabel="", ylabel="")
    ax.grid(visible=False)


def fig3_frame(attributions: Mapping[str, Attribution]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What Fig. 3 shows of each metric: its points and its running means.

    Returns
    -------
    points : DataFrame
        ``metric``, ``index``, ``hyperparameter``, ``value``, its ``unit``-cube
        coordinate, ``shap``; of the hyperparameters that are active.
    curves : DataFrame
        ``metric`` and the columns of `Attribution.curves`.
    """
    points, curves = [], []
    for metric, a in attributions.items():
        columns = {"shap": a.values, "value": a.table[a.names].to_numpy(object), "unit": a.unit}
        frame = pd.DataFrame({name: values.T.ravel() for name, values in columns.items()})
        frame.insert(0, "index", np.tile(a.table.index, len(a.names)))
        frame.insert(1, "hyperparameter", np.repeat(a.names, len(a.table)))
        on = spaces.active(a.ensemble.space, a.unit).T.ravel()
        points.append(frame.assign(metric=metric)[on])
        curves.append(a.curves().assign(metric=metric))
    return pd.concat(points, ignore_index=True), pd.concat(curves, ignore_index=True)


@styled
def fig3(points: pd.DataFrame, curves: pd.DataFrame, space: ConfigurationSpace, trust: Mapping | None = None):
    """SHAP values of each hyperparameter along its value, for each ensemble, as in Fig. 3 of the paper.

    A point is a configuration, a line a running mean, a band its 90 % interval.

    Parameters
    ----------
    points, curves : DataFrame
        From `fig3_frame`.
    space : ConfigurationSpace
        That of the hyperparameters.
    trust : mapping of metric to Trust, optional
        Shown in the legend; and across the figure, where it is poor.
    """
    names, color_of, trust = curves["hyperparameter"].unique(), colors(curves["metric"].unique()), trust or {}
    dashes = dict(zip(color_of, itertools.cycle(LINES)))
    figure, axes, legend = _panels(space, names, 2.3, "SHAP value", 1.5)
    for ax, name in zip(axes, names):
        # In a shuffled order, so that neither ensemble hides the other.
        here = points[points["hyperparameter"] == name].sample(frac=1, random_state=0)
        x, color = _scattered(space, name, here["unit"].to_numpy()), list(here["metric"].map(color_of))
        ax.scatter(x, here["shap"], c=color, **_dots(len(here)))
        for metric, curve in curves[curves["hyperparameter"] == name].groupby("metric", sort=False):
            for part in [curve] if spaces.is_number(space[name]) else _dashes(curve):
                guess, line = part["support"] < LEAST_SUPPORT, {"color": color_of[metric], **_HALO}
                seen = part.assign(mean=part["mean"].mask(guess))
                band(ax, seen, "unit", "mean", alpha=0.16, edge=0.7, ls=dashes[metric], label=metric, **line)
                if guess.any():
                    ax.plot(part["unit"], part["mean"].where(guess), ls=":", **line)
    lines = [plt.Line2D([], [], color=c, ls=dashes[m], marker="o", ms=4, mew=0) for m, c in color_of.items()]
    words = [_ensemble(m) + (f"\n   {_R2.format(trust[m].r2)}" if m in trust else "") for m in color_of]
    legend.legend(lines, words, loc="center left", bbox_to_anchor=(-0.05, 0.62), fontsize=8, handlelength=3)
    note = f"point: one {_labels.point}\nline: running mean\nband: its 90 % interval"
    if (curves["support"] < LEAST_SUPPORT).any():
        note += "\ndotted: hardly any trial"
    legend.text(0.0, 0.02, note, transform=legend.transAxes, fontsize=7.5, color=GREY, linespacing=1.5)
    if poor := [t for t in trust.values() if t.verdict != "good"]:
        words = " and ".join(f"{label(t.metric)} ({_R2.format(t.r2)})" for t in poor)
        says = f"A hint only: the meta-model may predict {words} poorly"
        figure.suptitle(says, color="#B00020", fontsize=11)
    return figure


def _dashes(curve: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The mean of each choice as a dash in the middle of its share: between choices there is nothing."""
    for k, unit in enumerate(curve["unit"]):
        yield curve.iloc[[k, k]].assign(unit=unit + 0.35 / len(curve) * np.array([-1, 1]))


@styled
def importance(importances: Mapping[str, pd.DataFrame], values: str = "SHAP value"):
    """Mean absolute SHAP value of each hyperparameter, a bar for each ensemble, with its 90 % interval.

    What kind of SHAP values they are, `values` says, on the axis.
    """
    names, height = next(iter(importances.values())).index, 0.8 / len(importances)
    figure, ax = plt.subplots(figsize=(4.6, 0.42 * len(names) + 0.7))
    for k, (metric, color) in enumerate(colors(importances).items()):
        y = np.arange(len(names)) + (k - (len(importances) - 1) / 2) * height
        frame = importances[metric].loc[names]
        ax.barh(y, frame["importance"], height * 0.9, color=color, label=label(metric))
        ax.hlines(y, frame["low"], frame["high"], color="black", lw=1)
    rows(ax, list(map(symbol, names)))
    ax.set_xlabel(f"mean |{values}|  (line: 90 % interval)")
    ax.legend(loc="lower right", fontsize=8)
    return figure


@styled
def explained(dec: effects.Decomposition):
    """Fig. 3 explained: own effects, and the scatter coloured by the partner that causes most of it.

    A point is the exact SHAP value of a configuration, the line the own effect
    of the hyperparameter, which depends on its value alone. All that departs
    from it is interaction; the partner that explains most of it gives the colour.
    """
    values, scatter = dec.shap().values, dec.scatter(n_resamples=0)["value"]
    space, active = dec.ensemble.space, spaces.active(dec.ensemble.space, dec.unit)
    figure, axes, legend = _panels(space, dec.names, 2.6, "exact SHAP value", 0.5)
    for j, (ax, name, on) in enumerate(zip(axes, dec.names, active.T)):
        partners = scatter.loc[name].iloc[2:-1]  # by place: a hyperparameter may be called "own"
        partner = partners.idxmax() if len(partners) else name
        u, k = dec.unit[on, j], dec.names.index(partner)
        color = np.where(active[on, k], dec.unit[on, k], np.nan)
        _coloured(ax, _scattered(space, name, u), values[on, j], space[partner], color)
        order, own = np.argsort(u), dec.components[name,][on]
        line = "-" if spaces.is_number(space[name]) else "_"
        ax.plot(u[order], own[order], line, color="black", lw=1.6, ms=16, mew=1.8)
        if len(partners):
            causes = f"causes {partners.max():.0%} of the scatter"
            ax.set_title(f"colour: {symbol(partner, 15)}\n{causes}", fontsize=8.5)
    text = f"{_ensemble(dec.ensemble.metric)}\n{_R2.format(dec.ensemble.r2)}\n\npoint: one {_labels.point}\n"
    text += "line: what a value does by itself;\noff it, others make the difference"
    legend.text(0.0, 0.98, text, transform=legend.transAxes, va="top", fontsize=8, linespacing=1.4)
    marks = {"low": 0.0, "middle": 0.5, "high": 1.0} | ({} if active.all() else {"has none": np.nan})
    dots = [plt.Line2D([], [], ls="", marker="o", ms=4, color=AMOUNT(v), label=w) for w, v in marks.items()]
    title = "colour: the value of what is\nnamed above the panel"
    legend.legend(handles=dots, title=title, loc="lower left", ncols=2, fontsize=8, title_fontsize=8)
    return figure


@styled
def shares(decompositions: Mapping[str, effects.Decomposition]):
    """Share of the variance that each hyperparameter explains alone (diagonal) and each pair jointly."""
    figure, axes = plt.subplots(1, n := len(decompositions), figsize=(4.0 * n, 3.5), squeeze=False)
    for ax, (metric, dec) in zip(axes.flat, decompositions.items()):
        found, grid = dec.variance(n_resamples=0), pd.DataFrame(np.nan, dec.names, dec.names)
        share = dict(zip(zip(found["order"], found.index), found["share"]))
        for subset in (s for s in dec.subsets if len(s) <= 2):
            grid.loc[subset[-1], subset[0]] = share[len(subset), " × ".join(subset)] * 100
        text = grid.map(lambda v: f"{v:.0f}" if v >= 0.5 else "")
        rest = f"in larger sets {dec.orders(n_resamples=0)['share']['3+']:.0%}"
        title = f"{label(metric)}: % of variance alone\nand in pairs; {rest}"
        named = grid.rename(index=symbol, columns=symbol)
        heat(ax, named, title=title, size=9, annot=text, fmt="", vmin=0, square=True)
    return figure


@styled
def surfaces(dec: effects.Decomposition, *, n_pairs: int = 3, rules: Sequence[Rule] = ()):
    """What pairs do jointly: mean prediction over both, less the overall mean; bold, where a rule ends.

    Pairs that follow one of the rules come first, then the strongest.
    """
    share = dec.variance(n_resamples=0).query("order == 2")["share"]
    pairs, ruled = {" × ".join(subset): subset for subset in dec.subsets}, {rule.pair: rule for rule in rules}
    shown = sorted(share.index, key=lambda pair: pairs[pair] not in ruled)[:n_pairs]
    grids = {pairs[pair]: effects.surface(dec.ensemble, pairs[pair])["joint"] for pair in shown}
    largest = max(grid.abs().max() for grid in grids.values())
    figure, axes = plt.subplots(1, len(grids), figsize=(2.75 * len(grids) + 0.6, 2.75), squeeze=False)
    for ax, ((x, y), grid), of_variance in zip(axes.flat, grids.items(), share[shown]):
        u = np.linspace(0, 1, round(len(grid) ** 0.5))
        z = grid.to_numpy().reshape(len(u), -1).T
        levels = np.linspace(-largest, largest, 15)
        drawn = ax.contourf(u, u, z, levels=levels, cmap="RdBu_r")
        ax.contour(u, u, z, levels=levels[1::2], colors=GREY, linewidths=0.7)  # dashed where it is below 0
        along(ax, dec.ensemble.space, x)
        along(ax, dec.ensemble.space, y, "y")
        title = f"interaction: {of_variance:.0%} of variance"
        if rule := ruled.get((x, y)):
            holds = rule.region.holds(*np.meshgrid(fine := np.linspace(0, 1, 400), fine))
            ax.contour(fine, fine, holds, [0.5], colors="black", linewidths=2)
            title = rule.region.words(rule.space, rule.pair, [symbol(x), symbol(y)]) + f"\n{title}"
        ax.set_title(title, fontsize=8.5)
        ax.set_aspect("equal")
        ax.grid(visible=False)
    told = plt.FuncFormatter(lambda v, _: f"{v:+.2g}" if abs(v) > 1e-9 * largest else "0")
    scale = {"ticks": plt.MaxNLocator(6), "format": told, "shrink": 0.8, "pad": 0.02}
    bar = figure.colorbar(drawn, ax=list(axes.flat), label=f"effect on {label(dec.ensemble.metric)}", **scale)
    bar.outline.set_visible(False)
    return figure


@styled
def methods(tables: Mapping[str, pd.DataFrame]):
    """Shares of importance by every method, a panel a metric, with the agreement with the first column."""
    n_columns = sum(len(frame.columns) for frame in tables.values())
    figure, axes = plt.subplots(1, len(tables), figsize=(0.62 * n_columns + 0.6, 3.4), squeeze=False)
    for ax, (metric, frame) in zip(axes.flat, tables.items()):
        share = frame.rename(index=symbol) * 100
        heat(ax, share, title=f"{label(metric)}: % of importance", size=8.5, fmt=".0f")
        (first, _), *others = frame.corr("kendall").iloc[0].items()
        labels = [first, *(f"{method}\nτ = {tau:.2f}" for method, tau in others)]
        ax.set_xticklabels(labels, rotation=50, ha="right", rotation_mode="anchor")
    return figure


@styled
def save(figure, folder: Path, name: str, *, close: bool = False) -> Path:
    """Write a figure as PNG and PDF, and close it if that is all that it was for; the PNG's path."""
    # Without dates, so that equal figures are equal files.
    for suffix, dated, says in (("pdf", "CreationDate", "Subject"), ("png", "Software", "Description")):
        figure.savefig(folder / f"{name}.{suffix}", metadata={dated: None, says: figure.get_label()})
    if close:
        plt.close(figure)
    return folder / f"{name}.png"


def inline(figure, words: str) -> str:
    """A figure as an element of HTML that needs no file, with its alternative text; the figure is closed."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    plt.close(figure)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{data}">'
