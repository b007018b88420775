"""Figures of any model: what is drawn is what the frames hold, by names and in a style of their own."""

import inspect
import itertools
import re
import warnings
from dataclasses import replace

import convergence
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import Categorical, ConfigurationSpace, Float
from convergence import Budgets
from helpers import Function, ensemble_of
from matplotlib import font_manager
from matplotlib.collections import LineCollection, PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_rgba, to_rgba_array
from matplotlib.contour import QuadContourSet
from matplotlib.text import Text
from scipy.interpolate import RegularGridInterpolator

from ubalkit import effects, figures
from ubalkit import space as spaces
from ubalkit.metamodel import Trust

# Adam's betas: they are not UBAL's.
SPACE = ConfigurationSpace(
    {"beta_1": (0.8, 0.99), "beta_2": (0.9, 0.9999), "rate": Float("rate", (1e-4, 0.1), log=True)}
)
NAMES = ["beta_1", "beta_2", "rate"]
METRICS = ONE, OTHER = "accuracy", "seconds"
COLORS = figures.colors(METRICS)


@pytest.fixture(autouse=True)
def no_figure_left_open():
    yield
    plt.close("all")


def ensemble(metric, seed, space=SPACE):
    """Two networks with random weights: every effect is there."""
    n_inputs = spaces.encoded(space, np.full((1, len(spaces.varied(space))), 0.5)).shape[1]
    rng = np.random.default_rng(seed)
    weights = [(rng.normal(0, 1.5, (n_inputs, 8)), rng.normal(0, 1.5, 8)) for _ in range(2)]
    members = [lambda u, w=w, v=v: np.tanh(u @ w) @ v for w, v in weights]
    return ensemble_of(space, *members, metric=metric, quality=(0.8123, 0.7, 0.9))


def decomposed(space, metrics):
    """Exact effects of two ensembles at forty configurations, whose table has both metrics."""
    table, rng = spaces.sample(space, 0, range(40)), np.random.default_rng(0)
    table = table.assign(**{metric: rng.integers(0, 11, 40) / 10 for metric in metrics}, status="ok")
    made = {metric: ensemble(metric, seed, space) for seed, metric in enumerate(metrics)}
    return {metric: effects.decompose(e, table, n_background=8) for metric, e in made.items()}


@pytest.fixture(scope="module")
def decompositions():
    return decomposed(SPACE, METRICS)


@pytest.fixture(scope="module")
def attributions(decompositions):
    return {metric: dec.shap() for metric, dec in decompositions.items()}


@pytest.fixture(scope="module")
def frames(attributions):
    return figures.fig3_frame(attributions)


@pytest.fixture(scope="module")
def methods():
    shares = np.random.default_rng(3).dirichlet(np.ones(3), (2, 3)).transpose(0, 2, 1)
    return {m: pd.DataFrame(s, NAMES, ["ours", "fANOVA", "MDI"]) for m, s in zip(METRICS, shares)}


@pytest.fixture(scope="module")
def courses():
    """Three budgets, after which three different ensembles are explained."""
    found = {}
    for k, metric in enumerate(METRICS):
        made = {b: ensemble(metric, 10 * k + j) for j, b in enumerate((1, 4, 16))}
        explained = {b: effects.decompose(e, n_points=32, n_background=8) for b, e in made.items()}
        found[metric] = Budgets([1, 4, 16], explained, {})
    return found


def panels(figure):
    return [ax for ax in figure.axes if ax.axison and ax.get_label() != "<colorbar>"]


def of_kind(ax, kind):
    (artist,) = (c for c in ax.collections if isinstance(c, kind))
    return artist


def texts(labels):
    return [label.get_text() for label in labels]


def words(figure):
    """All that stands in the axes of a figure, legends included."""
    legends = [ax.get_legend().get_texts() for ax in figure.axes if ax.get_legend()]
    return "\n".join(texts(itertools.chain(*legends, *(ax.texts for ax in figure.axes))))


def only_legend(figure):
    (legend,) = (ax.get_legend() for ax in figure.axes if ax.get_legend())
    return list(zip(texts(legend.get_texts()), legend.legend_handles, strict=True))


# Fig. 3


def test_the_frame_of_fig3_holds_the_attributions(attributions, frames):
    points, curves = frames
    assert len(points) == 2 * 3 * 40
    for metric, a in attributions.items():
        of_metric = points[points["metric"] == metric]
        for column, expected in (("shap", a.values), ("value", a.table[NAMES]), ("unit", a.unit)):
            drawn = of_metric.pivot(index="index", columns="hyperparameter", values=column)
            np.testing.assert_array_equal(drawn.loc[a.table.index, NAMES], expected)
        means = curves[curves["metric"] == metric].drop(columns="metric").reset_index(drop=True)
        pd.testing.assert_frame_equal(means, a.curves())


def sorted_rows(array):
    array = np.asarray(array, float)
    return array[np.lexsort(array.T)]


def assert_shows(figure, points, curves, trust):
    """The artists of Fig. 3, read back from the axes, are those of the frames."""
    drawn = panels(figure)
    assert [ax.get_xlabel() for ax in drawn] == NAMES
    assert len({ax.get_ylim() for ax in drawn}) == 1
    for ax, name in zip(drawn, NAMES):
        scatter, here = of_kind(ax, PathCollection), points[points["hyperparameter"] == name]
        # Nothing is cut off, silently or not.
        low, high = ax.get_ylim()
        assert low < here["shap"].min() and here["shap"].max() < high
        colours = to_rgba_array(here["metric"].map(COLORS), figures._dots(len(here))["alpha"])
        expected = np.column_stack([here[["unit", "shap"]], colours])
        found = np.column_stack([scatter.get_offsets(), scatter.get_facecolors()])
        np.testing.assert_allclose(sorted_rows(found), sorted_rows(expected), atol=1e-12)
        lines = {line.get_label(): line for line in ax.lines}
        bands = {tuple(c.get_facecolor()[0][:3]): c for c in ax.collections if isinstance(c, PolyCollection)}
        for metric, colour in COLORS.items():
            curve = curves[(curves["hyperparameter"] == name) & (curves["metric"] == metric)]
            np.testing.assert_array_equal(lines[metric].get_xydata(), curve[["unit", "mean"]])
            assert to_rgba(lines[metric].get_color()) == to_rgba(colour)
            outline = np.unique(bands[to_rgba(colour)[:3]].get_paths()[0].vertices, axis=0)
            edges = np.vstack([curve[["unit", "low"]], curve[["unit", "high"]]])
            np.testing.assert_allclose(outline, np.unique(edges, axis=0), atol=1e-12)
    for (text, handle), (metric, colour) in zip(only_legend(figure), COLORS.items(), strict=True):
        assert text == f"{metric}\n   held-out $R^2$ = {trust[metric].r2:.2f}"
        assert to_rgba(handle.get_color()) == to_rgba(colour)
    # In grey the two are told apart by their dashes, too.
    styles = [line.get_linestyle() for line in drawn[0].lines if line.get_label() in COLORS]
    assert len(set(styles)) == 2


GOOD = {ONE: Trust(ONE, 0.871, 0.85, 0.89), OTHER: Trust(OTHER, 0.634, 0.60, 0.67)}


def test_fig3_shows_what_its_frame_holds(frames):
    figure = figures.fig3(*frames, SPACE, GOOD)
    assert_shows(figure, *frames, GOOD)
    for line in ("point: one trial", "line: running mean", "band: its 90 % interval"):
        assert line in words(figure)
    assert len(set(COLORS.values())) == 2
    assert figure.get_suptitle() == ""
    # Axes of the unit cube say values.
    ax = panels(figure)[-1]
    assert ax.get_xticks() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert texts(ax.get_xticklabels()) == ["$10^{-4}$", "$10^{-3}$", "0.01", "0.1"]
    # Without a measure of trust there are no numbers to show.
    assert "R^2" not in words(figures.fig3(*frames, SPACE))


POOR, NONE = Trust(OTHER, 0.312, 0.2, 0.4), Trust(ONE, 0.04, -0.1, 0.15)


@pytest.mark.parametrize(
    ("trust", "named"),
    [
        # Little can be explained, and most of it is.
        ({**GOOD, OTHER: Trust(OTHER, 0.3, 0.2, 0.4, ceiling=0.4)}, ""),
        ({**GOOD, OTHER: POOR}, "seconds (held-out $R^2$ = 0.31)"),
        ({ONE: NONE, OTHER: POOR}, "accuracy (held-out $R^2$ = 0.04) and seconds (held-out $R^2$ = 0.31)"),
    ],
    ids=["ceiling", "poor", "both"],
)
def test_a_fig3_of_a_poor_ensemble_says_so_across_it(frames, trust, named):
    figure = figures.fig3(*frames, SPACE, trust)
    expected = f"A hint only: the meta-model may predict {named} poorly" if named else ""
    assert figure.get_suptitle() == expected
    if named:
        red, green, blue = to_rgba(figure._suptitle.get_color())[:3]
        assert red > 0.5 and max(green, blue) < 0.3


def test_choices_are_drawn_within_their_shares():
    space = ConfigurationSpace({"kernel": ["linear", "poly", "rbf"], "rate": (0.0, 1.0)})
    shap = {ONE: effects.decompose(ensemble(ONE, 0, space), n_points=64, n_background=8).shap()}
    figure = figures.fig3(*figures.fig3_frame(shap), space)
    ax = panels(figure)[0]
    assert texts(ax.get_xticklabels()) == ["linear", "poly", "rbf"]
    drawn = of_kind(ax, PathCollection).get_offsets()[:, 0]
    assert len(set(drawn)) > 50 and set((drawn * 3).astype(int)) == {0, 1, 2}
    # A line for each, and none between them.
    ends = sorted(line.get_xdata().tolist() for line in ax.lines if line.get_label() == ONE)
    assert [int(3 * a) for a, _ in ends] == [int(3 * b) for _, b in ends] == [0, 1, 2]


# The other figures


def test_whiskers_and_bars_of_the_importance_are_those_of_the_tables(attributions):
    tables = {m: a.importance() for m, a in attributions.items()}
    ax = figures.importance(tables).axes[0]
    names = tables[ONE].index
    assert texts(ax.get_yticklabels()) == list(names)
    whiskers = [c for c in ax.collections if isinstance(c, LineCollection)]
    for bars, whisker, (metric, importance) in zip(ax.containers, whiskers, tables.items(), strict=True):
        np.testing.assert_allclose([b.get_width() for b in bars], importance.loc[names, "importance"])
        assert bars.get_label() == metric
        assert bars[0].get_facecolor() == to_rgba(COLORS[metric])
        drawn = [segment[:, 0].tolist() for segment in whisker.get_segments()]
        np.testing.assert_allclose(drawn, importance.loc[names, ["low", "high"]])


def test_explained_has_the_exact_shap_values_the_own_effects_and_the_strongest_partner(decompositions):
    dec = decompositions[ONE]
    values, scatter = dec.shap().values, dec.scatter()["value"].unstack()
    figure = figures.explained(dec)
    drawn = panels(figure)
    assert [ax.get_xlabel() for ax in drawn] == NAMES
    for j, (ax, name) in enumerate(zip(drawn, NAMES)):
        points = of_kind(ax, PathCollection)
        np.testing.assert_allclose(points.get_offsets(), np.column_stack([dec.unit[:, j], values[:, j]]))
        share = scatter.loc[name, [n for n in NAMES if n != name]].astype(float)
        assert ax.get_title() == f"colour: {share.idxmax()}\ncauses {share.max():.0%} of the scatter"
        np.testing.assert_array_equal(points.get_array(), dec.unit[:, NAMES.index(share.idxmax())])
        assert (points.norm.vmin, points.norm.vmax) == (0, 1)
        own = next(line for line in ax.lines if len(line.get_xdata()) == len(dec.table))
        expected = np.column_stack([dec.unit[:, j], dec.components[name,]])
        np.testing.assert_array_equal(own.get_xydata(), expected[expected[:, 0].argsort()])
    assert len({ax.get_title() for ax in drawn}) == 3
    for line in (ONE, "held-out $R^2$ = 0.81", "point: one trial"):
        assert line in words(figure)
    assert [text for text, _ in only_legend(figure)] == ["low", "middle", "high"]


def test_choices_that_give_the_colour_have_marks_of_their_own_and_who_has_none_is_grey():
    rng, kinds = np.random.default_rng(0), ["a", "b", "c"]
    figure, ax = plt.subplots()
    unit = np.append(rng.integers(0, 3, 20) / 3 + 1 / 6, np.nan)
    figures._coloured(ax, np.arange(21), np.arange(21), Categorical("kind", kinds), unit)
    drawn = {c.get_label(): c for c in ax.collections}
    assert set(drawn) == {*kinds, "has none"} and ax.get_legend()
    assert len({tuple(c.get_facecolor()[0][:3]) for c in drawn.values()}) == 4
    assert len({len(c.get_paths()[0].vertices) for c in drawn.values()}) == 4
    for k, kind in enumerate(kinds):
        np.testing.assert_array_equal(drawn[kind].get_offsets()[:, 0], np.flatnonzero(unit * 3 // 1 == k))
    many = Categorical("kind", list("abcdefghijkl"))
    figures._coloured(figure.add_subplot(), np.arange(12), np.arange(12), many, (np.arange(12) + 0.5) / 12)
    assert texts(figure.axes[-1].get_legend().get_texts()) == [*"abcde", "others"]


def luminance(colour):
    return np.dot(to_rgba(colour)[:3], [0.299, 0.587, 0.114])


def test_the_first_two_colours_and_the_ends_of_a_scale_differ_in_grey():
    first, second = map(luminance, figures.PALETTE[:2])
    assert abs(first - second) > 0.15
    assert luminance(figures.AMOUNT(0.0)) - luminance(figures.AMOUNT(1.0)) > 0.4
    assert max(luminance(figures.AMOUNT(v)) for v in np.linspace(0, 1, 20)) < 0.8


def test_shares_stand_where_their_hyperparameters_cross(decompositions):
    figure = figures.shares(decompositions)
    for ax, (metric, dec) in zip(figure.axes, decompositions.items(), strict=True):
        share = dec.variance()["share"]
        cells = of_kind(ax, QuadMesh).get_array().reshape(3, 3)
        written = {tuple(np.floor(t.get_position()).astype(int)): t.get_text() for t in ax.texts}
        for (i, one), (j, other) in itertools.product(enumerate(NAMES), repeat=2):
            # Row i, column j: pairs stand below the diagonal alone.
            if j > i:
                assert np.ma.is_masked(cells[i, j]) and (j, i) not in written
                continue
            expected = 100 * share[one if i == j else f"{other} × {one}"]
            assert cells[i, j] == pytest.approx(expected)
            assert written.get((j, i), "") == (f"{expected:.0f}" if expected >= 0.5 else "")
        assert texts(ax.get_xticklabels()) == texts(ax.get_yticklabels()) == NAMES
        higher = share[dec.variance()["order"] >= 3].sum()
        assert ax.get_title() == f"{metric}: % of variance alone\nand in pairs; in larger sets {higher:.0%}"


def test_surfaces_are_those_of_the_strongest_pairs(decompositions):
    dec = decompositions[ONE]
    figure = figures.surfaces(dec, n_pairs=2)
    drawn, share, largest = panels(figure), dec.variance(), 0
    strongest = share[share["order"] == 2]["share"].iloc[:2]
    for ax, (pair, of_variance) in zip(drawn, strongest.items(), strict=True):
        assert f"{ax.get_xlabel()} × {ax.get_ylabel()}" == pair
        assert ax.get_title() == f"interaction: {of_variance:.0%} of variance"
        frame = effects.surface(dec.ensemble, tuple(pair.split(" × ")))
        filled, zero = (c for c in ax.collections if isinstance(c, QuadContourSet))
        assert (filled.zmin, filled.zmax) == pytest.approx((frame["joint"].min(), frame["joint"].max()))
        largest = max(largest, frame["joint"].abs().max())
        # Along the line drawn as zero the joint effect is zero: axes are not swapped, and values are these.
        grid = np.linspace(0, 1, 41)
        joint = RegularGridInterpolator((grid, grid), frame["joint"].to_numpy().reshape(41, 41))
        path = zero.get_paths()[np.abs(zero.levels).argmin()]
        assert len(path.vertices) > 5
        assert np.abs(joint(path.vertices)).max() < 0.02 * frame["joint"].abs().max()
    assert all(ax.collections[0].levels[[0, -1]] == pytest.approx([-largest, largest]) for ax in drawn)
    (bar,) = (ax for ax in figure.axes if ax not in drawn)
    assert bar.get_ylabel() == f"effect on {ONE}"


def test_methods_have_their_shares_and_their_agreement_with_the_first(methods):
    figure = figures.methods(methods)
    for ax, (metric, frame) in zip(figure.axes, methods.items(), strict=True):
        np.testing.assert_allclose(of_kind(ax, QuadMesh).get_array().reshape(3, 3), 100 * frame)
        assert texts(ax.texts) == [f"{100 * v:.0f}" for v in frame.to_numpy().ravel()]
        assert texts(ax.get_yticklabels()) == list(frame.index)
        tau = {m: frame["ours"].corr(frame[m], method="kendall") for m in ("fANOVA", "MDI")}
        labels = ["ours", *(f"{m}\nτ = {value:.2f}" for m, value in tau.items())]
        assert texts(ax.get_xticklabels()) == labels
        assert ax.get_title() == f"{metric}: % of importance"


def test_budgets_have_lines_of_importances_and_bands_of_their_intervals(courses):
    drawn = convergence.draw_budgets(courses, "epochs").axes
    for ax, course in zip(drawn, courses.values(), strict=True):
        of = dict(list(course.importances.groupby("hyperparameter")))
        *lines, enough = ax.lines
        assert list(enough.get_xdata()) == [course.enough()] * 2
        for name, line, band in zip(NAMES, lines, ax.collections, strict=True):
            np.testing.assert_allclose(line.get_xydata(), of[name][["budget", "importance"]])
            edges = np.unique(band.get_paths()[0].vertices[:, 1].round(9))
            np.testing.assert_allclose(edges, np.unique(of[name][["low", "high"]].to_numpy().round(9)))


DRAWN = {
    "fig3": lambda frames: figures.fig3(*frames, SPACE, {**GOOD, OTHER: POOR}),
    "importance": lambda attributions: figures.importance(
        {m: a.importance() for m, a in attributions.items()}
    ),
    "budgets": lambda courses: convergence.draw_budgets(courses),
    "explained": lambda decompositions: figures.explained(decompositions[ONE]),
    "shares": lambda decompositions: figures.shares(decompositions),
    "surfaces": lambda decompositions: figures.surfaces(decompositions[ONE]),
    "methods": lambda methods: figures.methods(methods),
}


def test_every_figure_is_drawn_here():
    public = {name for name in vars(figures) if name[0] != "_"} - {"save"}
    assert set(DRAWN) >= {name for name in public if hasattr(getattr(figures, name), "__wrapped__")}


def assert_drawn_alike(draw, folder, *sessions):
    """Drawn and saved in two sessions a figure has the same files, and leaves their settings as they were."""
    files = []
    for k, session in enumerate(sessions):
        np.random.seed(k)  # noqa: NPY002 - the state of NumPy's global generator must not matter
        with plt.rc_context(session):
            before = dict(plt.rcParams)
            path = figures.save(draw(), folder, f"figure {k}")
            assert dict(plt.rcParams) == before
        files.append([path.read_bytes(), path.with_suffix(".pdf").read_bytes()])
    assert files[0] == files[1] and min(map(len, files[0])) > 5000


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DRAWN)
def test_files_are_equal_whatever_the_session_s_style_which_stays(name, request, tmp_path):
    (fixture,) = inspect.signature(DRAWN[name]).parameters
    given = request.getfixturevalue(fixture)
    other = {"axes.grid": False, "font.size": 20, "lines.linewidth": 5, "axes.spines.top": True}
    assert_drawn_alike(lambda: DRAWN[name](given), tmp_path, {}, other)


# Names and choices as trials have them

NESTED = ["model.encoder.num_attention_heads", "trainer.optimizer.weight_decay"]
NESTED += [NESTED[0].upper()]


def drawn_of(names, choices=()):
    """The figures of an ensemble whose hyperparameters have these names, the last one these choices."""
    space = ConfigurationSpace()
    space.add([Float(name, (0.0, 1.0), meta={"position": k}) for k, name in enumerate(names)])
    if choices:
        space.add(Categorical("kind", choices))
    decs = decomposed(space, [ONE])
    shap = {ONE: decs[ONE].shap()}
    yield figures.fig3(*figures.fig3_frame(shap), space)
    yield figures.explained(decs[ONE])
    yield figures.importance({ONE: shap[ONE].importance()})
    yield figures.shares(decs)
    yield figures.surfaces(decs[ONE])


def labels_of(ax):
    return [ax.xaxis.label, ax.yaxis.label, ax.title, *ax.get_xticklabels(), *ax.get_yticklabels()]


def assert_apart(figure):
    """No axis label or title prints over that of another axes."""
    figure.draw_without_rendering()
    boxes = [[t.get_window_extent() for t in labels_of(ax) if t.get_text()] for ax in panels(figure)]
    for one, other in itertools.combinations(boxes, 2):
        assert not [(a, b) for a, b in itertools.product(one, other) if a.overlaps(b)]


@pytest.mark.parametrize("names", [NESTED, [f"trainer.{'x' * 60}.groups.{j}" for j in range(4)]])
def test_long_names_are_told_apart_and_print_over_no_neighbour(names):
    for figure in drawn_of(names):
        assert_apart(figure)
        width, height = figure.get_tightbbox().size
        assert width < 14 and height < 8
    # Each ends as it does, by which siblings differ.
    assert len({figures.symbol(name) for name in names}) == len(names)
    assert figures.symbol(names[0]).endswith(names[0][-8:])


def test_long_and_many_choices_leave_the_figure_its_size():
    for choices in (["y" * 2000, "p", "q"], [f"choice {k} of many" for k in range(300)]):
        fig3 = next(drawn_of(["rate"], choices))
        assert_apart(fig3)
        labels = texts(panels(fig3)[-1].get_xticklabels())
        assert len(labels) <= 8 and max(map(len, labels)) <= 16 and len(set(labels)) == len(labels)
        assert max(fig3.get_tightbbox().size) < 10


@pytest.mark.parametrize("name", ["value", "shap", "scatter", "order 3+", "index", "mean", "a × b"])
def test_a_hyperparameter_may_be_called_as_a_column_of_ours(name):
    plain, named = drawn_of(["b", "c"]), drawn_of([name, "c"])
    for expected, figure in zip(plain, named, strict=True):
        for one, other in zip(expected.axes, figure.axes, strict=True):
            renamed = [re.sub(r"\bb\b", name, text) for text in texts(labels_of(one))]
            assert texts(labels_of(other)) == renamed
            for a, b in zip(one.collections, other.collections, strict=True):
                np.testing.assert_array_equal(a.get_array(), b.get_array())


def test_a_hyperparameter_may_be_the_only_one():
    for figure in itertools.islice(drawn_of(["rate"]), 4):
        assert panels(figure) and "nan" not in words(figure)


def test_dollars_are_no_mathematics():
    for figure in drawn_of(["cost in $ of $", "b"]):
        figure.draw_without_rendering()
        assert r"cost in \$ of \$" in {t.get_text() for t in figure.findobj(Text)} | {words(figure)}


def test_letters_that_the_font_lacks_come_from_another_one_or_one_warning_says_so(tmp_path, monkeypatch):
    # STIX, which comes with matplotlib, has letters that DejaVu Sans lacks.
    has = {f.name: font_manager.get_font(f.fname).get_charmap() for f in font_manager.fontManager.ttflist}
    letter = chr(min(has["STIXGeneral"].keys() - has["DejaVu Sans"].keys()))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for k, figure in enumerate(drawn_of([f"{letter} rate", "b"])):
            figures.save(figure, tmp_path, f"letters {k}")
        assert not said, [str(w.message) for w in said]
        families = {family for t in figure.findobj(Text) for family in t.get_fontfamily()}
        assert families == {"DejaVu Sans", figures._font_with(frozenset(letter))}
        # Nothing has this one.
        for figure in drawn_of(["\U000f1234 rate", "b"]):
            figures.save(figure, tmp_path, "no letters")
    (one,) = said
    assert str(one.message) == "No font here has all of the letters \U000f1234; boxes stand for them."


def test_the_effects_on_a_metric_of_any_size_have_a_scale(decompositions):
    dec, labels = decompositions[ONE], {}
    for size in (1e-9, 1.0, 3e4):
        members = [Function(lambda u, m=m, s=size: s * m(torch.as_tensor(u))) for m in dec.ensemble.members]
        scaled = replace(dec, ensemble=replace(dec.ensemble, members=members))
        labels[size] = texts(figures.surfaces(scaled, n_pairs=1).axes[-1].get_yticklabels())
    assert all(3 <= len(set(found)) <= 11 and "0" in found for found in labels.values())
    assert [float(t) for t in labels[1.0]] == pytest.approx([1e9 * float(t) for t in labels[1e-9]])
