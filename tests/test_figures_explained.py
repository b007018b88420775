"""Figures of the decomposition: what is drawn is what the frames hold."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_rgba
from matplotlib.contour import QuadContourSet
from scipy.interpolate import RegularGridInterpolator
from torch import nn

from ubalkit import budgets, decomposition, figures, figures_explained, observations
from ubalkit import space as spaces
from ubalkit.metamodel import Ensemble

SPACE = spaces.ubal()
NAMES = spaces.names(SPACE)
TEST, BACK = observations.METRICS


@pytest.fixture(autouse=True)
def no_figure_left_open():
    yield
    plt.close("all")


def ensemble(metric, seed):
    """Two networks with random weights: every effect is there."""
    generator = torch.Generator().manual_seed(seed)
    members = []
    for _ in range(2):
        member = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 1)).double().requires_grad_(False)
        for p in member.parameters():
            p.data = torch.randn(p.shape, generator=generator).double() * (0.2 if len(p) == 1 else 1.5)
        members.append(member)
    quality = pd.DataFrame({"r2": 0.8123, "low": 0.7, "high": 0.9}, index=["ensemble"])
    return Ensemble(metric, SPACE, members, quality, np.empty(0), pd.DataFrame(), 40, 0)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    table = spaces.sample(SPACE, 0, range(40))
    return table.assign(**{TEST: rng.random(40), BACK: rng.random(40), "status": "ok"})


@pytest.fixture(scope="module")
def decompositions(table):
    return {
        metric: decomposition.decompose(ensemble(metric, seed), table, n_background=8)
        for seed, metric in enumerate(observations.METRICS)
    }


@pytest.fixture(scope="module")
def deep_and_exact(decompositions):
    """Exact values of other ensembles stand for Deep SHAP's: the lines must differ."""
    exact = {metric: dec.shap() for metric, dec in decompositions.items()}
    return {metric: exact[other] for metric, other in ((TEST, BACK), (BACK, TEST))}, exact


@pytest.fixture(scope="module")
def methods():
    rng = np.random.default_rng(3)
    columns = ["ours", "fANOVA", "MDI"]
    made = {m: pd.DataFrame(rng.dirichlet(np.ones(7), 3).T, NAMES, columns) for m in (TEST, BACK)}
    return {m: frame.sort_values("ours", ascending=False) for m, frame in made.items()}


@pytest.fixture(scope="module")
def converging():
    """As `convergence.curve` gives it; one of the smallest subsamples could not be trusted."""
    rng = np.random.default_rng(4)
    rows = []
    for n, repeat, method in itertools.product((50, 100, 400), range(3), ("fANOVA", "exact")):
        row = {"n": n, "repeat": repeat, "method": method, "rank_correlation": rng.uniform(0.5, 1)}
        if method == "exact":
            row |= {"r2": 0.5, "curve_error": rng.uniform(0, 0.3), "overlap": rng.random()}
        if (n, repeat, method) == (50, 1, "exact"):
            row |= {"rank_correlation": np.nan, "curve_error": np.nan, "overlap": np.nan}
        rows.append(row)
    return pd.DataFrame(rows)


def panels(figure):
    return [ax for ax in figure.axes if ax.axison and ax.get_label() != "<colorbar>"]


def of_kind(ax, kind):
    (artist,) = (c for c in ax.collections if isinstance(c, kind))
    return artist


# Fig. 3 explained


def test_points_are_the_exact_shap_values_and_lines_the_own_effects(decompositions):
    dec = decompositions[TEST]
    values, scatter = dec.shap().values, dec.scatter()["value"].unstack()
    figure = figures_explained.explained(dec)
    drawn = panels(figure)
    assert [ax.get_xlabel() for ax in drawn] == [figures.symbol(name) for name in NAMES]
    partners = []
    for j, (ax, name) in enumerate(zip(drawn, NAMES)):
        points = of_kind(ax, PathCollection)
        np.testing.assert_allclose(points.get_offsets(), np.column_stack([dec.table[name], values[:, j]]))
        share = scatter.loc[name, [n for n in NAMES if n != name]].astype(float)
        partners.append(share.idxmax())
        assert ax.get_title() == f"scatter: {share.max():.0%} {figures.symbol(share.idxmax())}"
        np.testing.assert_array_equal(points.get_array(), dec.table[share.idxmax()])
        assert (points.norm.vmin, points.norm.vmax) == (0, 1)
        own = next(line for line in ax.lines if len(line.get_xdata()) == len(dec.table))
        expected = np.column_stack([dec.table[name], dec.components[name,]])
        np.testing.assert_array_equal(own.get_xydata(), expected[expected[:, 0].argsort()])
    assert len(set(partners)) > 1
    words = "\n".join(t.get_text() for ax in figure.axes for t in ax.texts)
    assert "testing accuracy" in words and "held-out $R^2$ = 0.81" in words
    (bar,) = (inset for ax in figure.axes for inset in ax.child_axes)
    assert [t.get_text() for t in bar.get_xticklabels()] == ["low", "high"]


def test_the_metric_is_named(decompositions):
    texts = figures_explained.explained(decompositions[BACK]).axes[7].texts
    assert "back-projection accuracy" in "\n".join(t.get_text() for t in texts)


# Shares of the variance


def test_shares_stand_where_their_hyperparameters_cross(decompositions):
    figure = figures_explained.shares(decompositions)
    assert len(figure.axes) == 2
    for ax, (metric, dec) in zip(figure.axes, decompositions.items()):
        share = dec.variance()["share"]
        cells = of_kind(ax, QuadMesh).get_array().reshape(7, 7)
        texts = {tuple(np.floor(t.get_position()).astype(int)): t.get_text() for t in ax.texts}
        for (i, one), (j, other) in itertools.product(enumerate(NAMES), repeat=2):
            # Row i, column j: pairs stand below the diagonal alone.
            if j > i:
                assert np.ma.is_masked(cells[i, j]) and (j, i) not in texts
                continue
            expected = 100 * share[one if i == j else f"{other} × {one}"]
            assert cells[i, j] == pytest.approx(expected)
            assert texts.get((j, i), "") == (f"{expected:.0f}" if expected >= 0.5 else "")
        labels = [figures.symbol(name) for name in NAMES]
        assert [t.get_text() for t in ax.get_xticklabels()] == labels
        assert [t.get_text() for t in ax.get_yticklabels()] == labels
        higher = share[dec.variance()["order"] >= 3].sum()
        title = f"{figures.LABELS[metric]}: % of variance\n(three and more together: {higher:.0%})"
        assert ax.get_title() == title


# Joint effects of pairs


@pytest.mark.parametrize("n_pairs", [1, 3])
def test_surfaces_are_those_of_the_strongest_pairs(decompositions, n_pairs):
    dec = decompositions[TEST]
    figure = figures_explained.surfaces(dec, n_pairs=n_pairs)
    drawn = panels(figure)
    share = dec.variance()
    strongest = share[share["order"] == 2]["share"].iloc[:n_pairs]
    assert len(drawn) == n_pairs
    largest = 0
    for ax, (pair, of_variance) in zip(drawn, strongest.items()):
        one, other = pair.split(" × ")
        assert (ax.get_xlabel(), ax.get_ylabel()) == (figures.symbol(one), figures.symbol(other))
        assert ax.get_title() == f"interaction: {of_variance:.0%} of variance"
        frame = decomposition.surface(dec.ensemble, (one, other))
        filled, zero = (c for c in ax.collections if isinstance(c, QuadContourSet))
        assert (filled.zmin, filled.zmax) == pytest.approx((frame["joint"].min(), frame["joint"].max()))
        largest = max(largest, frame["joint"].abs().max())
        # Along the line drawn as zero the joint effect is zero: axes are not swapped, and values are these.
        grid = np.linspace(0, 1, 41)
        joint = RegularGridInterpolator((grid, grid), frame["joint"].to_numpy().reshape(41, 41))
        (path,) = zero.get_paths()
        assert len(path.vertices) > 5
        assert np.abs(joint(path.vertices)).max() < 0.02 * frame["joint"].abs().max()
    for ax in drawn:
        levels = ax.collections[0].levels
        assert (levels[0], levels[-1]) == pytest.approx((-largest, largest))
    (bar,) = (ax for ax in figure.axes if ax not in drawn)
    assert bar.get_ylabel() == "effect on testing accuracy"


# Coupling


def test_networks_stand_at_their_differences_in_the_colour_of_their_accuracy(table):
    figure = figures_explained.coupling(table)
    drawn = panels(figure)
    assert [ax.get_title() for ax in drawn] == list(figures.LABELS.values())
    for ax, metric in zip(drawn, observations.METRICS):
        points = of_kind(ax, PathCollection)
        x, y = table["gammaF_1"] - table["beta_2"], table["gammaF_2"] - table["beta_3"]
        np.testing.assert_array_equal(points.get_offsets(), np.column_stack([x, y]))
        np.testing.assert_array_equal(points.get_array(), table[metric])
        assert (points.norm.vmin, points.norm.vmax) == (0, 1)
        assert ax.get_xlabel() == f"{figures.symbol('gammaF_1')} − {figures.symbol('beta_2')}"
    assert drawn[0].get_ylabel() == f"{figures.symbol('gammaF_2')} − {figures.symbol('beta_3')}"


# Deep SHAP beside exact values


def test_exact_lines_are_solid_and_deep_ones_dashed(deep_and_exact):
    deep, exact = deep_and_exact
    figure = figures_explained.deep_and_exact(deep, exact)
    drawn = panels(figure)
    assert [ax.get_xlabel() for ax in drawn] == [figures.symbol(name) for name in NAMES]
    for ax, name in zip(drawn, NAMES):
        lines = {
            (to_rgba(line.get_color()), line.get_linestyle()): line.get_xydata()
            for line in ax.lines
            if len(line.get_xdata()) > 2
        }
        assert len(lines) == 4
        for style, attributions in (("--", deep), ("-", exact)):
            for metric, a in attributions.items():
                curves = a.curves()
                curve = curves[curves["hyperparameter"] == name]
                line = lines[to_rgba(figures.COLORS[metric]), style]
                np.testing.assert_array_equal(line, curve[["unit", "mean"]])
    (legend,) = (ax.get_legend() for ax in figure.axes if ax.get_legend())
    entries = {
        text.get_text(): (to_rgba(handle.get_color()), handle.get_linestyle())
        for text, handle in zip(legend.get_texts(), legend.legend_handles)
    }
    assert entries["Deep SHAP"][1] == "--" and entries["exact"][1] == "-"
    for metric in observations.METRICS:
        assert entries[figures.LABELS[metric]][0] == to_rgba(figures.COLORS[metric])


# Methods


def test_methods_have_their_shares_and_their_agreement_with_the_first(methods):
    figure = figures_explained.methods(methods)
    for ax, (metric, frame) in zip(figure.axes, methods.items(), strict=True):
        np.testing.assert_allclose(of_kind(ax, QuadMesh).get_array().reshape(7, 3), 100 * frame)
        assert [t.get_text() for t in ax.texts] == [f"{100 * v:.0f}" for v in frame.to_numpy().ravel()]
        assert [t.get_text() for t in ax.get_yticklabels()] == [figures.symbol(n) for n in frame.index]
        tau = {m: frame["ours"].corr(frame[m], method="kendall") for m in ("fANOVA", "MDI")}
        assert len(set(tau.values())) == 2
        labels = [t.get_text() for t in ax.get_xticklabels()]
        assert labels == ["ours", *(f"{m}\nτ = {value:.2f}" for m, value in tau.items())]
        assert ax.get_title() == f"{figures.LABELS[metric]}: % of importance"


# Convergence


def test_lines_are_means_and_bands_ranges_of_the_repeats(converging):
    drawn = figures_explained.convergence(converging).axes
    columns = ("rank_correlation", "curve_error", "overlap")
    for ax, column in zip(drawn, columns, strict=True):
        # Rivals have importances alone.
        methods = ["exact", "fANOVA"] if column == "rank_correlation" else ["exact"]
        assert [line.get_label() for line in ax.lines] == methods
        bands = [c for c in ax.collections if isinstance(c, PolyCollection)]
        for method, line, band in zip(methods, ax.lines, bands, strict=True):
            of_sizes = converging[converging["method"] == method].groupby("n")[column]
            np.testing.assert_allclose(line.get_xydata(), of_sizes.mean().reset_index())
            outline = np.unique(band.get_paths()[0].vertices.round(9), axis=0)
            edges = pd.concat([of_sizes.min(), of_sizes.max()]).reset_index().to_numpy()
            np.testing.assert_allclose(outline, np.unique(edges.round(9), axis=0))
            assert band.get_facecolor()[0][:3] == pytest.approx(to_rgba(line.get_color())[:3])
        assert [t.get_text() for t in ax.get_xticklabels()] == ["50", "100", "400"]
    assert [t.get_text() for t in drawn[0].get_legend().get_texts()] == ["exact", "fANOVA"]
    assert drawn[1].get_ylim()[0] == 0


def test_convergence_of_ours_alone_needs_no_rivals(converging):
    drawn = figures_explained.convergence(converging[converging["method"] == "exact"]).axes
    assert [len(ax.lines) for ax in drawn] == [1, 1, 1]


# Budgets


@pytest.fixture(scope="module")
def courses(decompositions):
    """Three budgets, after which three different ensembles are explained."""
    found = {}
    for k, metric in enumerate(observations.METRICS):
        ensembles = {b: ensemble(metric, 10 * k + j) for j, b in enumerate((1, 4, 16))}
        explained = {b: decomposition.decompose(e, n_points=32, n_background=8) for b, e in ensembles.items()}
        found[metric] = budgets.Budgets([1, 4, 16], explained, {})
    return found


def test_lines_are_the_importances_after_each_budget_and_bands_their_intervals(courses):
    drawn = figures_explained.budgets(courses, "epochs").axes
    for ax, (metric, course) in zip(drawn, courses.items(), strict=True):
        assert (ax.get_title(), ax.get_xlabel(), ax.get_xscale()) == (figures.LABELS[metric], "epochs", "log")
        of = dict(list(course.importances.groupby("hyperparameter")))
        *lines, enough = ax.lines
        assert list(enough.get_xdata()) == [course.enough()] * 2
        labels = {text.get_text(): text for text in ax.texts}
        assert len({text.get_position()[1] for text in ax.texts}) == 7
        for name, line, band in zip(sorted(NAMES), lines, ax.collections, strict=True):
            np.testing.assert_allclose(line.get_xydata(), of[name][["budget", "importance"]])
            edges = np.unique(band.get_paths()[0].vertices[:, 1].round(9))
            np.testing.assert_allclose(edges, np.unique(of[name][["low", "high"]].to_numpy().round(9)))
            # A label has the colour of its line.
            assert labels[figures.symbol(name)].get_color() == line.get_color()
    # The same hyperparameter has one colour everywhere.
    assert [line.get_color() for line in drawn[0].lines] == [line.get_color() for line in drawn[1].lines]


DRAWN = {
    "budgets": lambda d, both, methods, converging, courses: figures_explained.budgets(courses),
    "explained": lambda d, both, *_: figures_explained.explained(d[TEST]),
    "shares": lambda d, both, *_: figures_explained.shares(d),
    "surfaces": lambda d, both, *_: figures_explained.surfaces(d[TEST]),
    "coupling": lambda d, both, *_: figures_explained.coupling(
        d[TEST].table.assign(**{TEST: 0.3, BACK: 0.7})
    ),
    "deep and exact": lambda d, both, *_: figures_explained.deep_and_exact(*both),
    "methods": lambda d, both, methods, *_: figures_explained.methods(methods),
    "convergence": lambda d, both, methods, converging, _: figures_explained.convergence(converging),
}


def test_every_figure_is_drawn_here():
    assert {name.replace(" ", "_") for name in DRAWN} == set(figures_explained.__all__)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DRAWN)
def test_drawn_and_saved_twice_the_files_are_equal(
    name, decompositions, deep_and_exact, methods, converging, courses, tmp_path
):
    files = []
    for k in (1, 2):
        folder = tmp_path / str(k)
        folder.mkdir()
        np.random.seed(k)  # noqa: NPY002 - the state of NumPy's global generator must not matter
        figure = DRAWN[name](decompositions, deep_and_exact, methods, converging, courses)
        figures.save(figure, folder, "figure")
        files.append({suffix: (folder / f"figure.{suffix}").read_bytes() for suffix in ("png", "pdf")})
    for suffix in ("png", "pdf"):
        assert len(files[0][suffix]) > 5000
        assert files[0][suffix] == files[1][suffix], f"two {suffix} of the same figure differ"
