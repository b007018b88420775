"""The paper's figures: its symbols, and Fig. 3 again, within a tolerance, from the recorded observations."""

from dataclasses import replace

import drawings
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from test_figures import assert_drawn_alike, decomposed, of_kind, panels, texts, words

from ubalkit import figures, files, metamodel, observations, shapley
from ubalkit import space as spaces
from ubalkit.paper import figures as paper
from ubalkit.paper import protocols
from ubalkit.ubal import hyperparameters

SPACE = hyperparameters.space()
NAMES = spaces.names(SPACE)
SYMBOLS = [hyperparameters.symbol(name) for name in NAMES]
TEST, BACK = METRICS = protocols.METRICS


@pytest.fixture(autouse=True)
def symbols():
    figures.use(paper.UBAL)
    yield
    figures.use()
    plt.close("all")


@pytest.fixture(scope="module")
def decompositions():
    return decomposed(SPACE, METRICS)


@pytest.fixture(scope="module")
def attributions(decompositions):
    return {metric: dec.shap() for metric, dec in decompositions.items()}


@pytest.fixture(scope="module")
def table(decompositions):
    return decompositions[TEST].table


def assert_called(decompositions, attributions, names, metrics, point):
    """What hyperparameters, metrics and points are called in the figures of any model."""
    fig3 = figures.fig3(*figures.fig3_frame(attributions), SPACE)
    explained = figures.explained(decompositions[TEST])
    importance = figures.importance({m: a.importance() for m, a in attributions.items()})
    for figure in (fig3, explained):
        assert [ax.get_xlabel() for ax in panels(figure)] == names
        assert f"point: one {point}" in words(figure) and metrics[0] in words(figure)
    assert set(texts(importance.axes[0].get_yticklabels())) == set(names)
    assert texts(importance.axes[0].get_legend().get_texts()) == metrics
    assert all(any(name in ax.get_title() for name in names) for ax in panels(explained))


def test_names_are_symbols_only_as_long_as_ubal_s_labels_are_used(decompositions, attributions):
    labels = ["testing accuracy", "back-projection accuracy"]
    assert_called(decompositions, attributions, SYMBOLS, labels, "trained network")
    drawn = words(figures.fig3(*figures.fig3_frame(attributions), SPACE))
    for sign, label in zip(("test", "backproj"), labels):
        assert rf"$\mathcal{{E}}_{{{sign}}}$  {label}" in drawn
    figures.use()
    assert_called(decompositions, attributions, NAMES, list(METRICS), "trial")


def test_networks_stand_at_their_differences_in_the_colour_of_their_accuracy(table):
    drawn = panels(drawings.coupling(table))
    assert [ax.get_title() for ax in drawn] == list(paper.LABELS.values())
    for ax, metric in zip(drawn, METRICS):
        points = of_kind(ax, PathCollection)
        x, y = table["gammaF_1"] - table["beta_2"], table["gammaF_2"] - table["beta_3"]
        np.testing.assert_array_equal(points.get_offsets(), np.column_stack([x, y]))
        np.testing.assert_array_equal(points.get_array(), table[metric])
        assert (points.norm.vmin, points.norm.vmax) == (0, 1)
        assert ax.get_xlabel() == f"{SYMBOLS[3]} − {SYMBOLS[1]}"
    assert drawn[0].get_ylabel() == f"{SYMBOLS[4]} − {SYMBOLS[2]}"


@pytest.mark.filterwarnings("error")
def test_the_jitter_of_accuracies_is_the_same_each_time(table, tmp_path):
    style = matplotlib.rc_params_from_file(figures.STYLE, use_default_template=False)
    found = {metric: 0.9 * table[metric].to_numpy() for metric in METRICS}
    assert_drawn_alike(lambda: drawings.quality(found, table), tmp_path, style, style)


# Fig. 3 again from the recorded observations


def assert_same_fig3(curves, reference, tolerance):
    """The lines of two Figs. 3 lie within a tolerance, in units of accuracy, all along their grids."""
    keys = ["metric", "hyperparameter", "unit"]
    curves, reference = curves.round({"unit": 6}), reference.round({"unit": 6})
    both = curves.merge(reference, on=keys, suffixes=("", "_reference"), validate="1:1")
    assert len(both) == len(curves) == len(reference), "the grids differ"
    apart = (both["mean"] - both["mean_reference"]).abs()
    worst = both.loc[apart.idxmax()]
    assert apart.max() <= tolerance, (
        f"{worst['metric']}, {worst['hyperparameter']} = {worst['unit']:g}: "
        f"{worst['mean']:.3f} instead of {worst['mean_reference']:.3f}"
    )


#: In units of accuracy. Of half as many members, explained at half of the networks, the lines lie up to 0.05
#: from the published ones; a hyperparameter that is mixed up moves its line by 0.14 to 0.35.
TOLERANCE = 0.08


@pytest.fixture(scope="module")
def recorded():
    """The networks of the full protocol, and the published lines made from them."""
    path = files.data("paper") / "observations.csv"
    trials = observations.read(path, protocols.get("paper").protocol)
    return trials, pd.read_csv(files.figures() / "fig3_curves_paper.csv")


def assert_fig3_comes_out(trials, published, metrics):
    """The way of notebooks 02 and 03, with the size that is chosen there, fewer members and points."""
    quick = {"architectures": [(2, 32)], "weight_decays": [0.003], "n_folds": 2, "n_members": 5}
    ensembles = {m: metamodel.fit(trials, m, **quick) for m in metrics}
    attributions = {m: shapley.deep_shap(e, trials.usable[::2], n_background=8) for m, e in ensembles.items()}
    curves = figures.fig3_frame(attributions)[1]
    assert_same_fig3(curves, published[published["metric"].isin(metrics)], TOLERANCE)


def test_fig3_comes_out_again(recorded):
    assert_fig3_comes_out(*recorded, METRICS)


def mixed_up(table):
    """The values of one hyperparameter, shuffled."""
    return table.assign(gammaF_2=np.random.default_rng(0).permutation(table["gammaF_2"]))


def test_a_fig3_of_damaged_observations_is_noticed(recorded):
    trials, published = recorded
    damaged = replace(trials, table=mixed_up(trials.table))
    # The lines differ, or the gate finds that there is nothing left to explain.
    expected = (AssertionError, metamodel.UntrustworthyError)
    with pytest.raises(expected, match=r"= .* instead of|nothing to explain"):
        assert_fig3_comes_out(damaged, published, METRICS[:1])
