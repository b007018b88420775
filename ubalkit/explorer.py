"""Explorer: set a configuration's hyperparameters and see what the ensemble predicts there, and why.

For a live notebook. A slider or a list for each hyperparameter; the
prediction with its interval; the waterfall of SHAP values that leads there
from the mean; a slice through two hyperparameters. All of it is plain
ipywidgets, so that JupyterLab and Notebook show the same. The charts are
inline SVG: matplotlib would take several times the tenth of a second in
which a moved slider has to be answered.
"""

import base64
import io
import math
import warnings
from collections.abc import Mapping
from html import escape

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ConfigSpace.hyperparameters import IntegerHyperparameter

from ubalkit import effects, figures, uncertainty
from ubalkit import space as spaces
from ubalkit.metamodel import Ensemble

RAISES, LOWERS, WARNING = "#0072B2", "#D55E00", "var(--jp-error-color1, #B00020)"

#: Cells of the slice along a hyperparameter that does not have fewer values.
CELLS = 33

#: Width and height of the slice, in pixels.
SIZE = 204

#: The row for joint effects of more than two hyperparameters, where they were not computed one by one.
HIGHER = "three and more"


class Explorer(widgets.VBox):
    """What `explore` shows. Its parts can be read, and its controls set, from code.

    Attributes
    ----------
    ensemble : Ensemble
        What is explored.
    controls : dict of str to Widget
        The slider or list of each hyperparameter that is not a constant.
    across, up : Dropdown
        The two hyperparameters of the slice.
    prediction, waterfall, heat_map : HTML
        The sentence and the two charts.
    configuration : dict
        What the controls say, constants included.
    value, low, high : float
        The prediction and its 90 % interval.
    base : float
        The mean prediction over the background, where the waterfall starts.
    contributions : DataFrame
        Index: hyperparameter; ``contribution``, its SHAP value, with the 90 %
        interval ``low`` and ``high``. Of more than `effects.MOST`
        hyperparameters the joint effects of three and more have their own row.
    slice : ndarray
        The predictions shown, rows along `up`, columns along `across`; none of
        a single hyperparameter.

    Examples
    --------
    >>> from ubalkit import metamodel, readers
    >>> table = pd.DataFrame(np.random.default_rng(0).random((60, 2)), columns=["rate", "depth"])
    >>> trials = readers.from_frame(table.assign(score=table["rate"]), "score")
    >>> shown = explore(metamodel.fit(trials, n_members=2, n_folds=2, steps=99, weight_decays=[0.001]))
    >>> shown.controls["rate"].value = 0.8
    >>> round(shown.value, 1), shown.contributions["contribution"].idxmax()
    (0.8, 'rate')
    """

    def __init__(self, ensemble: Ensemble, at: Mapping | None, n_background: int, seed: int):
        super().__init__()
        space = ensemble.space
        self.ensemble, self._settings = ensemble, {"n_background": n_background, "seed": seed}
        given = {} if at is None else {n: at[n] for n in at.keys() if at[n] == at[n]}  # without NaN
        self.configuration = {n: given.get(n, space[n].default_value) for n in spaces.names(space)}
        spaces.to_unit(space, pd.DataFrame([self.configuration]))  # refuses what lies outside
        self._names = spaces.varied(space)
        width = f"{max(len(_plain(n)) for n in self._names) + 1}ch"
        self.controls = {n: _control(space[n], self.configuration[n], width) for n in self._names}
        # Of the whole space, so that a colour means the same wherever the sliders are.
        everywhere = ensemble.predict_unit(spaces.spread(space, 1024, seed)).mean(0)
        self._range = everywhere.min(), everywhere.max()
        self.prediction, self.waterfall, self.heat_map = (widgets.HTML() for _ in range(3))
        self.slice = None
        self._explain()
        # The slice starts with the two that contribute most.
        first = self.contributions["contribution"][self._names].abs().nlargest(2).index
        shared = {"options": [(_plain(n), n) for n in self._names], "layout": {"width": "auto"}}
        self.across = widgets.Dropdown(value=first[0], description="across", **shared)
        self.up = widgets.Dropdown(value=first[-1], description="up", **shared)
        self._draw()
        for control in (*self.controls.values(), self.across, self.up):
            control.observe(self._changed, "value")
        constants = {n: v for n, v in self.configuration.items() if n not in self._names}
        texts = [widgets.HTML(escape(f"{_plain(n)} = {v}, constant")) for n, v in constants.items()]
        right = [self.heat_map, self.across, self.up] if len(self._names) > 1 else []
        columns = [widgets.VBox([*self.controls.values(), *texts]), self.waterfall, widgets.VBox(right)]
        self.children = [self.prediction, widgets.HBox(columns, layout={"flex_flow": "row wrap"})]

    def _changed(self, change) -> None:
        if self.across.value == self.up.value and len(self._names) > 1:
            # A slice needs two hyperparameters: they change places.
            (self.up if change["owner"] is self.across else self.across).value = change["old"]
        else:
            self._explain()
            self._draw()

    def _explain(self) -> None:
        for name, control in self.controls.items():
            hp, value = self.ensemble.space[name], control.value
            # The ends of a logarithmic slider are rounded, and may lie just outside.
            self.configuration[name] = min(max(value, hp.lower), hp.upper) if spaces.is_number(hp) else value
        with warnings.catch_warnings():
            # That the ensemble is poor was said at the start, and stands above the charts.
            warnings.simplefilter("ignore")
            table = pd.DataFrame([self.configuration])
            found = effects.decompose(self.ensemble, table, **self._settings)
        values = np.column_stack([found.member_shares[:, 0], found.remainder, found.predictions])
        low, high = uncertainty.interval(values.mean(0), values, n_members=len(values))
        rows = [*self._names, HIGHER, "prediction"]
        frame = pd.DataFrame({"contribution": values.mean(0), "low": low, "high": high}, rows)
        self.contributions = frame.iloc[: -2 if found.complete else -1].rename_axis("hyperparameter")
        self.value, self.low, self.high = frame.iloc[-1]
        self.base, self._unit = float(found.base_values.mean()), found.unit[0]
        # What a condition switches off cannot be moved.
        for control, on in zip(self.controls.values(), spaces.active(self.ensemble.space, found.unit)[0]):
            control.disabled = not on

    def _draw(self) -> None:
        trust, metric = self.ensemble.trust, figures.label(self.ensemble.metric)
        low, value, high = (self._number(v) for v in (self.low, self.value, self.high))
        interval = f"90 % interval {low} to {high}" if self.low < self.high else "one member has no interval"
        note, style = f"held-out R² = {trust.r2:.2f} ({trust.low:.2f} to {trust.high:.2f})", ""
        if trust.verdict == "poor":
            note, style = f"A hint only: the meta-model predicts poorly, {note}", f"color: {WARNING}"
        self.prediction.value = (
            f'<div aria-live="polite">predicted {escape(metric)} <b style="font-size: 150%">{value}</b>, '
            f'{interval}</div><div style="{style}">{note}</div>'
        )
        self.waterfall.value = self._waterfall(f"predicted {metric}")
        if len(self._names) > 1:
            self.heat_map.value = self._heat_map(f"predicted {metric}")

    def _number(self, value: float, sign: str = "") -> str:
        digits = max(0, 2 - round(math.log10(self._range[1] - self._range[0])))
        return f"{value:{sign}z.{digits}f}".replace("-", "−")

    def _waterfall(self, title: str) -> str:
        # An effect of nothing first and last: the mean, and the prediction with its own interval.
        own = [0, self.low - self.value, self.high - self.value]
        steps, low, high = np.nan_to_num(np.vstack([np.zeros(3), self.contributions, own])).T
        ends = self.base + steps.cumsum()
        starts = ends - steps
        rows = np.column_stack([starts, ends, starts + low, starts + high])
        least, most = min(rows.min(), self._range[0]), max(rows.max(), self._range[1])
        ticks = np.array(_nice(least, most))
        said = {n: f"{_plain(n)} = {_readable(self.configuration[n])}" for n in self._names}
        names = ["mean prediction", *(said.get(n, n) for n in self.contributions.index), "this prediction"]
        inner = (self._number(step, "+") for step in steps[1:-1])
        texts = [self._number(self.base), *inner, self._number(self.value)]
        # Room for values that change in length, and for a number at either end of the bars.
        left, bottom = 7 * max(15, *(len(_plain(n)) + 10 for n in self._names)), 24 * len(rows) + 6
        rows, places = (left + 42 + (v - least) / (most - least) * 160 for v in (rows, ticks))
        parts = [_tick(x, bottom, _readable(t), 0, 1) for x, t in zip(places, ticks)]
        parts += [_line(x, 4, x, bottom, 0.15) for x in places] + [_text(left + 122, bottom + 36, title)]
        for k, (name, text, (a, b, low, high)) in enumerate(zip(names, texts, rows)):
            y, color = 24 * k + 8, RAISES if b > a else LOWERS
            bar = _tag("rect", x=min(a, b), y=y, width=abs(b - a), height=16, fill=color)
            link = _line(b, y, b, y + (24 if k < len(ends) - 1 else 16))
            whisker = _line(low, y + 8, high, y + 8)
            place, anchor = (min(b, low) - 5, "end") if b < a else (max(b, high) + 5, "start")
            name = _text(left, y + 12, _short(name, left // 6), "end")
            parts += [bar, link, whisker, name, _text(place, y + 12, text, anchor)]
        return _svg(left + 245, bottom + 44, parts)

    def _heat_map(self, title: str) -> str:
        space, names, limits = self.ensemble.space, [self.across.value, self.up.value], self._range
        j, i = (self._names.index(n) for n in names)
        columns, rows = (_cells(space, n) for n in names)
        unit = np.tile(self._unit, (len(rows) * len(columns), 1))
        unit[:, j], unit[:, i] = np.tile(columns, len(rows)), np.repeat(rows, len(columns))
        self.slice = self.ensemble.predict_unit(unit).mean(0).reshape(len(rows), len(columns))
        smooth = all(math.isinf(space[n].size) for n in names)
        across, up = _ticks(space[names[0]], SIZE // 7), _ticks(space[names[1]], 96)
        left = 32 + 7 * max(len(label) for _, label in up)
        places = SIZE * (1 - np.interp(ticks := _nice(*limits), limits, (0, 1))) + 8
        parts = [
            _picture(self.slice, limits, smooth, x=left, width=SIZE),
            _picture(np.linspace(*limits, 64)[:, None], limits, True, x=left + SIZE + 14, width=12),
            *(_tick(left + SIZE * u, SIZE + 8, label, 0, 1) for u, label in across),
            *(_tick(left, SIZE * (1 - u) + 8, label, -1, 0) for u, label in up),
            *(_tick(left + SIZE + 26, y, _readable(t), 1, 0) for y, t in zip(places, ticks)),
            _text(left + SIZE / 2, SIZE + 44, _plain(names[0])),
            _text(14, SIZE / 2, _plain(names[1]), turned=True),
            _text(left + SIZE + 76, SIZE / 2, title, turned=True),
        ]
        x, y = left + SIZE * self._unit[j], SIZE * (1 - self._unit[i]) + 8
        # White within black is seen on every colour.
        for color, width in (("black", 4), ("white", 2)):
            parts.append(_tag("circle", cx=x, cy=y, r=6, fill="none", stroke=color, stroke_width=width))
        return _svg(left + SIZE + 84, SIZE + 52, parts)


def explore(ensemble: Ensemble, *, at: Mapping | None = None, n_background=32, seed=0) -> Explorer:
    """Explore what an ensemble predicts, in a live notebook.

    The waterfall leads from the mean prediction over the space to the
    prediction for the configuration set: each bar is the exact SHAP value of
    a hyperparameter's setting, blue where it raises the prediction and
    orange where it lowers it, the line across it its 90 % interval. The heat
    map is the prediction over two hyperparameters while the others are as
    set; the ring is the configuration. The interval of the prediction is that
    of the mean over seeds as the ensemble knows it: single trainings scatter
    more.

    Parameters
    ----------
    ensemble : Ensemble
        From `metamodel.fit`.
    at : mapping of name to value, optional
        Where to start, for example a row of the observations; what it lacks
        (or has NaN for) starts at the default of the space.
    n_background : int
        Points for the mean over the other hyperparameters; see
        `effects.decompose`.
    seed : int
        Seed of these points.

    Returns
    -------
    Explorer
        A widget, with what it shows as attributes. With ten members a move
        takes about 50 ms for seven hyperparameters, and twice as long with
        each one more, up to `effects.MOST`; fewer background points
        are faster.

    Raises
    ------
    ValueError
        If the ensemble predicts no better than the mean (see
        `metamodel.Ensemble.trust`), or `at` lies outside the space.

    Examples
    --------
    >>> from ubalkit import metamodel, readers
    >>> table = pd.DataFrame(np.random.default_rng(0).random((60, 2)), columns=["rate", "depth"])
    >>> trials = readers.from_frame(table.assign(score=table["rate"]), "score")
    >>> ensemble = metamodel.fit(trials, n_members=2, n_folds=2, steps=99, weight_decays=[0.001])
    >>> explore(ensemble, at={"rate": 0.2}).across.value
    'rate'
    """
    ensemble.trust.check()
    return Explorer(ensemble, at, n_background, seed)


def _control(hp, value, width: str) -> widgets.Widget:
    shared = {"description": _plain(hp.name), "tooltip": hp.name, "style": {"description_width": width}}
    shared["layout"] = {"width": f"calc({width} + 210px)"}
    options = spaces.choices(hp)
    if isinstance(hp, IntegerHyperparameter):
        if not hp.log:
            return widgets.IntSlider(int(value), hp.lower, hp.upper, **shared)
        options = sorted({*np.geomspace(hp.lower, hp.upper, 100).round().astype(int).tolist(), int(value)})
    if options is not None:
        kind = widgets.Dropdown if hasattr(hp, "choices") else widgets.SelectionSlider
        return kind(options=[(str(o), o) for o in options], value=value, **shared)
    low, high = (math.log10(v) if hp.log else v for v in (hp.lower, hp.upper))
    kind = widgets.FloatLogSlider if hp.log else widgets.FloatSlider
    return kind(float(value), min=low, max=high, step=(high - low) / 100, readout_format=".3g", **shared)


def _cells(space, name: str) -> np.ndarray:
    """Coordinates along one axis of the slice, only such as configurations have."""
    n = int(min(space[name].size, CELLS))
    return spaces.snapped(space, name, (np.arange(n) + 0.5) / n)


def _nice(low: float, high: float) -> list[float]:
    return [t for t in plt.MaxNLocator(5, steps=[1, 2.5, 5, 10]).tick_values(low, high) if low <= t <= high]


def _ticks(hp, room: int) -> list[tuple[float, str]]:
    """Coordinates and labels along an axis with so many characters to share."""
    values, labels = figures.ticks(hp)
    # More than eight would overlap.
    every = -(-len(values) // 8)
    values, labels = values[::every], labels[::every]
    if spaces.is_number(hp):
        labels = [label.replace("-", "−") for label in labels]
    return list(zip(spaces.coordinate(hp, values), (_short(label, room // len(labels)) for label in labels)))


def _plain(name: str) -> str:
    """The symbol of a hyperparameter in plain characters: β₂ᶠ for its mathematics."""
    text = figures.symbol(name)
    if text == name:
        return name
    signs = str.maketrans("0123456789FB-", "₀₁₂₃₄₅₆₇₈₉ᶠᴮ−", "$_^\\")
    whole, minus, rest = text.replace("beta", "β").replace("gamma", "γ").rpartition("- ")
    return whole.replace("$", "") + (minus + rest).translate(signs)


def _readable(value) -> str:
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else _short(str(value), 12)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _tag(kind: str, content: str = "", **attributes) -> str:
    given = ((k, f"{v:.1f}" if isinstance(v, float) else v) for k, v in attributes.items())
    pairs = " ".join(f'{k.replace("_", "-")}="{v}"' for k, v in given)
    return f"<{kind} {pairs}>{content}</{kind}>"


def _svg(width: int, height: int, parts: list[str]) -> str:
    # The colour of JupyterLab's theme, light or dark; black elsewhere.
    style = "color: var(--jp-content-font-color1, black); font: 11px DejaVu Sans, Verdana, sans-serif"
    return _tag("svg", "".join(parts), width=width, height=height, style=style)


def _line(x1: float, y1: float, x2: float, y2: float, opacity: float = 0.7) -> str:
    return _tag("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke="currentColor", stroke_opacity=opacity)


def _text(x: float, y: float, text: str, anchor: str = "middle", turned: bool = False) -> str:
    turn = {"transform": f"rotate(-90 {x:.1f} {y:.1f})"} if turned else {}
    return _tag("text", escape(text), x=x, y=y, text_anchor=anchor, fill="currentColor", **turn)


def _tick(x: float, y: float, text: str, right: int, down: int) -> str:
    """A tick that points out of an axis, and its label."""
    anchor = ("middle", "start", "end")[right]
    return _line(x, y, x + 4 * right, y + 4 * down) + _text(x + 7 * right, y + 4 + 13 * down, text, anchor)


def _picture(values: np.ndarray, limits: tuple, smooth: bool, **place) -> str:
    file = io.BytesIO()
    plt.imsave(file, values, cmap="viridis", vmin=limits[0], vmax=limits[1], origin="lower", format="png")
    place |= {"y": 8, "height": SIZE, "preserveAspectRatio": "none"}
    style = f"image-rendering: {'auto' if smooth else 'pixelated'}"
    data = base64.b64encode(file.getvalue()).decode()
    return _tag("image", href=f"data:image/png;base64,{data}", style=style, **place)
