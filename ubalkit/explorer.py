"""Explorer: set a configuration's hyperparameters and see what the ensemble predicts there, and why.

For a live notebook, JupyterLab or Notebook. A slider or a list for each
hyperparameter; the prediction with its interval; the SHAP values that lead
there from the mean; a slice through two hyperparameters. The charts are SVG,
drawn anew with each move.
"""

import io
import math
import warnings
from collections.abc import Mapping
from html import escape

import ipywidgets as widgets
import numpy as np
import pandas as pd
from ConfigSpace.hyperparameters import IntegerHyperparameter
from matplotlib.figure import Figure

from ubalkit import effects, figures, uncertainty
from ubalkit import space as spaces
from ubalkit.metamodel import Ensemble

RAISES, LOWERS, WARNING = "#0072B2", "#D55E00", "var(--jp-error-color1, #B00020)"

#: Cells of the slice along a hyperparameter that does not have fewer values.
CELLS = 33


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
    prediction, waterfall, heat_map : HTML and two Images
        The sentence and the two charts.
    configuration : dict
        What the controls say, constants included.
    value, low, high : float
        The prediction and its 90 % interval.
    forbidden : bool
        Whether a clause of the space excludes the configuration.
    base : float
        The mean prediction over the background, where the SHAP values start.
    contributions : DataFrame
        Index: hyperparameter; ``contribution``, its SHAP value, with the 90 %
        interval ``low`` and ``high``.
    slice : ndarray
        The predictions shown, rows along `up`, columns along `across`, NaN
        where they are forbidden; none of a single hyperparameter.

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
        given = {n: v for n, v in dict({} if at is None else at).items() if v == v}  # without NaN
        self.configuration = {n: given.get(n, space[n].default_value) for n in spaces.names(space)}
        spaces.to_unit(space, pd.DataFrame([self.configuration]))  # refuses what lies outside
        names = self._names = spaces.varied(space)
        self.controls = {n: _control(space[n], self.configuration[n]) for n in names}
        # Of the whole space, so that a colour means the same wherever the sliders are.
        everywhere = ensemble.predict_unit(spaces.spread(space, 1024, seed)).mean(0)
        self._range = everywhere.min(), everywhere.max()
        self.prediction, self.slice = widgets.HTML(), None
        self.waterfall, self.heat_map = (widgets.Image(format="svg+xml") for _ in range(2))
        self._explain()
        # The slice starts with the two that contribute most.
        first = self.contributions["contribution"][names].abs().nlargest(2).index
        options = [(figures.short(n), n) for n in names]
        self.across = widgets.Dropdown(options=options, value=first[0], description="across")
        self.up = widgets.Dropdown(options=options, value=first[-1], description="up")
        self._draw()
        for control in (*self.controls.values(), self.across, self.up):
            control.observe(self._changed, "value")
        constants = [f"{n} = {v}, constant" for n, v in self.configuration.items() if n not in names]
        texts = [widgets.HTML(escape(text)) for text in constants]
        right = [self.heat_map, self.across, self.up] if len(names) > 1 else []
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
        space = self.ensemble.space
        for name, control in self.controls.items():
            hp, value = space[name], control.value
            # The ends of a logarithmic slider are rounded, and may lie just outside.
            self.configuration[name] = min(max(value, hp.lower), hp.upper) if spaces.is_number(hp) else value
        with warnings.catch_warnings():
            # That the ensemble is poor was said at the start, and stands above the charts.
            warnings.simplefilter("ignore")
            table = pd.DataFrame([self.configuration])
            found = effects.decompose(self.ensemble, table, **self._settings)
        values = np.column_stack([found.member_shares[:, 0], found.predictions])
        low, high = uncertainty.interval(values.mean(0), values, n_members=len(values))
        frame = pd.DataFrame({"contribution": values.mean(0), "low": low, "high": high})
        self.contributions = frame.iloc[:-1].set_axis(pd.Index(self._names, name="hyperparameter"))
        self.value, self.low, self.high = frame.iloc[-1]
        self.base, self._unit = float(found.base_values.mean()), found.unit
        self.forbidden = not spaces.legal(space, found.unit)[0]
        # What a condition switches off cannot be moved.
        for control, on in zip(self.controls.values(), spaces.active(space, found.unit)[0]):
            control.disabled = not on

    def _draw(self) -> None:
        trust, metric = self.ensemble.trust, escape(figures.label(self.ensemble.metric))
        low, value, high = map(self._number, (self.low, self.value, self.high))
        interval = f"90 % interval {low} to {high}" if self.low < self.high else "one member has no interval"
        note, style = escape(str(trust)), ""
        if trust.verdict == "poor":
            note, style = f"A hint only: {note}", f"color: {WARNING}"
        said = f'predicted {metric} <b style="font-size: 150%">{value}</b>, {interval}'
        if self.forbidden:
            said = '<b style="font-size: 150%">forbidden</b>: the space excludes this configuration'
        self.prediction.value = f'<div aria-live="polite">{said}</div><div style="{style}">{note}</div>'
        self.waterfall.value = _svg(self._waterfall())
        if len(self._names) > 1:
            self.heat_map.value = _svg(self._heat_map())

    def _number(self, value: float, sign: str = "") -> str:
        digits = max(0, 2 - round(math.log10(self._range[1] - self._range[0])))
        return f"{value:{sign}z.{digits}f}".replace("-", "−")

    @figures.styled
    def _waterfall(self) -> Figure:
        steps, low, high = self.contributions.to_numpy().T
        ends, y = self.base + steps.cumsum(), range(len(steps))
        names = [figures.symbol(n) for n in self._names]
        values = [_readable(self.configuration[n]) for n in self._names]
        # Room for values that change in length.
        figure, ax = _canvas(0.07 * max(map(len, names)) + 1.2, 0.5, 2.0, 0.26 * len(steps) + 0.2)
        ax.barh(y, steps, left=ends - steps, color=np.where(steps > 0, RAISES, LOWERS))
        ax.hlines(y, ends - steps + low, ends - steps + high, color="black", lw=1)
        ax.axvline(self.base, color=figures.GREY, lw=0.8, ls=":")
        ax.axvline(self.value, color=figures.GREY, lw=0.8)
        for k, step in enumerate(steps):
            ax.text(1.02, k, self._number(step, "+"), transform=ax.get_yaxis_transform(), va="center")
        figures.rows(ax, [f"{name} = {value}" for name, value in zip(names, values)])
        ax.set_title(f"from the mean {self._number(self.base)} to {self._number(self.value)}")
        return figure

    @figures.styled
    def _heat_map(self) -> Figure:
        space, names = self.ensemble.space, (self.across.value, self.up.value)
        places = [self._names.index(n) for n in names]
        across, up = np.meshgrid(*(_cells(space, n) for n in names))
        unit = np.repeat(self._unit, across.size, axis=0)
        unit[:, places] = np.column_stack([across.ravel(), up.ravel()])
        predicted = self.ensemble.predict_unit(unit).mean(0)
        self.slice = np.where(spaces.legal(space, unit), predicted, np.nan).reshape(across.shape)
        figure, ax = _canvas(1.6, 1.0, 2.1, 2.1)
        limits = {"vmin": self._range[0], "vmax": self._range[1]}
        drawn = ax.imshow(self.slice, origin="lower", extent=(0, 1, 0, 1), aspect="auto", **limits)
        figure.colorbar(drawn, cax=ax.inset_axes([1.05, 0, 0.07, 1]))
        for name, axis in zip(names, "xy"):
            figures.along(ax, space, name, axis)
        # White within black is seen on every colour.
        for color, width in (("black", 3), ("white", 1.5)):
            ax.plot(*self._unit[0, places], "o", ms=8, mfc="none", mec=color, mew=width, clip_on=False)
        ax.set_title(f"predicted {figures.label(self.ensemble.metric)}")
        ax.grid(visible=False)
        return figure


def explore(ensemble: Ensemble, *, at: Mapping | None = None, n_background=32, seed=0) -> Explorer:
    """Explore what an ensemble predicts, in a live notebook.

    The bars lead from the mean prediction over the space (dotted) to the
    prediction for the configuration set: each is the exact SHAP value of
    a hyperparameter's setting, blue where it raises the prediction and
    orange where it lowers it, the line across it its 90 % interval. The heat
    map is the prediction over two hyperparameters while the others are as
    set, blank where the space forbids it; the ring is the configuration. The
    interval of the prediction is that of the mean over seeds as the ensemble
    knows it: single trainings scatter more.

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
        takes about a fifth of a second for seven hyperparameters; beyond ten
        of them each one more doubles it, up to `effects.MOST`; fewer
        background points are faster.

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


def _control(hp, value) -> widgets.Widget:
    shared = {"description": figures.short(hp.name), "tooltip": hp.name}
    shared["style"] = {"description_width": "16ch"}
    options = spaces.choices(hp)
    if isinstance(hp, IntegerHyperparameter):
        if not hp.log:
            return widgets.IntSlider(int(value), hp.lower, hp.upper, **shared)
        options = sorted({*np.geomspace(hp.lower, hp.upper, 100).round().astype(int).tolist(), int(value)})
    if options is not None:
        kind = widgets.Dropdown if hasattr(hp, "choices") else widgets.SelectionSlider
        return kind(options=[(figures.short(o), o) for o in options], value=value, **shared)
    low, high = (math.log10(v) if hp.log else v for v in (hp.lower, hp.upper))
    kind = widgets.FloatLogSlider if hp.log else widgets.FloatSlider
    return kind(float(value), min=low, max=high, step=(high - low) / 100, readout_format=".3g", **shared)


def _cells(space, name: str) -> np.ndarray:
    """Coordinates along one axis of the slice, only such as configurations have."""
    n = int(min(space[name].size, CELLS))
    return spaces.snapped(space, name, (np.arange(n) + 0.5) / n)


def _readable(value) -> str:
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else figures.short(value, 12)


def _canvas(left: float, bottom: float, width: float, height: float) -> tuple:
    """A figure that pyplot does not keep, and its axes, of this size in inches with these margins."""
    size = np.array([left + width + 0.7, bottom + height + 0.3])
    figure = Figure(size, layout="none")
    return figure, figure.add_axes([*([left, bottom] / size), *([width, height] / size)])


@figures.styled
def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", bbox_inches=figure.bbox_inches)
    return file.getvalue()
