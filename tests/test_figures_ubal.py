"""Figures of notebook 0: what is drawn is what the frames and the network hold."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

from ubalkit import UBAL, figures_ubal
from ubalkit import space as spaces

NAMES = spaces.names(spaces.ubal())


@pytest.fixture(autouse=True)
def no_figure_left_open():
    yield
    plt.close("all")


@pytest.fixture
def net():
    return UBAL([3, 2, 4], [0.9, 0.5, 0.2], [0.8, 0.7], [0.6, 0.4], seed=3)


def test_the_phases_are_the_activations_of_the_network(net):
    x, y = torch.tensor([[1.0, 0.0, 0.5]]), torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    states = net.activations(x, y)
    for ax, prediction, echo in zip(
        figures_ubal.phases(net, x, y).axes, (states.FP, states.BP), (states.FE, states.BE)
    ):
        units = [patch for patch in ax.patches if isinstance(patch, plt.Circle)]
        written = [text.get_text() for text in ax.texts if text.get_fontsize() == 6]
        shown = {tuple(unit.center): float(number) for unit, number in zip(units, written, strict=True)}
        for unit in units:
            assert unit.get_facecolor()[0] == pytest.approx(1 - 0.85 * shown[tuple(unit.center)], abs=0.01)
        for l in range(3):
            column = sorted((-h, v) for (place, h), v in shown.items() if place == 4.4 * l)
            values = prediction[l].ravel().tolist() + ([] if echo[l] is None else echo[l].ravel().tolist())
            assert [v for _, v in column] == pytest.approx(values, abs=0.0051)
    assert sum(unit.get_linewidth() == 2 for unit in units) == 4  # the target, bold


def test_the_lines_between_units_are_the_weights(net):
    figure = figures_ubal.phases(net, torch.ones(1, 3), torch.ones(1, 4))
    left, right = ([c for c in ax.collections if isinstance(c, LineCollection)] for ax in figure.axes)
    # Forward: W_1, its echo through M_1, W_2, its echo through M_2; backward the other way round.
    order = [net.W[0], net.M[0], net.W[1], net.M[1]]
    for lines, expected in ((left, order), (right, [net.M[0], net.W[0], net.M[1], net.W[1]])):
        for collection, weights in zip(lines, expected, strict=True):
            weights = weights[0, :-1].numpy().ravel()
            widths = np.array(collection.get_linewidths())
            np.testing.assert_allclose(widths, 2.5 * np.abs(weights) / np.abs(weights).max(), rtol=1e-5)
            blue = [tuple(c[:3]) == to_rgba("#0072B2")[:3] for c in collection.get_colors()]
            assert blue == (weights > 0).tolist()


def test_learning_curves_are_means_over_seeds():
    frame = pd.DataFrame(
        [
            {"model": m, "seed": s, "epoch": e, "accuracy": 0.5 + 0.1 * e + 0.02 * s - 0.1 * (m == "b")}
            for m in ("a", "b")
            for s in (0, 1)
            for e in (1, 2, 3)
        ]
    )
    (ax,) = figures_ubal.learning_curves(frame).axes
    first, second = ax.get_lines()
    np.testing.assert_allclose(first.get_ydata(), [0.61, 0.71, 0.81])
    np.testing.assert_allclose(second.get_ydata(), [0.51, 0.61, 0.71])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a: 0.81", "b: 0.71"]
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.6, 0.82))


def test_a_gallery_shows_images_in_their_order_and_on_one_scale():
    rows = {"in": np.linspace(0, 1, 18).reshape(2, 9), "out": np.random.default_rng(0).random((2, 9))}
    axes = np.reshape(figures_ubal.gallery(rows).axes, (2, 2))
    for line, (label, images) in zip(axes, rows.items()):
        assert line[0].get_ylabel() == label
        for ax, image in zip(line, images):
            (drawn,) = ax.images
            np.testing.assert_allclose(drawn.get_array(), np.reshape(image, (3, 3)))
            assert drawn.get_clim() == (0, 1) and drawn.get_cmap().name == "gray_r"


def test_capacity_has_a_line_for_each_label_and_direction():
    frame = pd.DataFrame(
        [
            {"label": a, "direction": d, "n": n, "recalled": (1 + r) / n}
            for a in ("short", "long")
            for d in ("forward", "backward")
            for n in (10, 20)
            for r in (0, 1)
        ]
    )
    frame.loc[frame["direction"] == "backward", "recalled"] /= 2
    (ax,) = figures_ubal.capacity(frame).axes
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert set(lines) == {"short, forward", "short, backward", "long, forward", "long, backward"}
    np.testing.assert_allclose(lines["short, forward"].get_ydata(), [0.15, 0.075])
    np.testing.assert_allclose(lines["long, backward"].get_ydata(), [0.075, 0.0375])
    assert lines["long, backward"].get_linestyle() == "--" and lines["long, forward"].get_linestyle() == "-"
    assert lines["long, backward"].get_color() == lines["long, forward"].get_color()


def moved_frame():
    rows = [
        {"question": q, "hyperparameter": name, "value": v, "result": k * v + 0.1 * j}
        for j, q in enumerate(("remember", "clean"))
        for k, name in enumerate(NAMES)
        for v in (0, 0.5, 1)
    ]
    return pd.DataFrame(rows)


def test_what_is_moved_is_a_line_a_question_with_a_dot_at_its_setting():
    best = pd.DataFrame([dict.fromkeys(NAMES, 0.25), dict.fromkeys(NAMES, 0.75)], index=["remember", "clean"])
    figure = figures_ubal.moved(moved_frame(), best)
    assert len(figure.axes) == 8
    for k, ax in enumerate(figure.axes[:7]):
        first, dot, second, other, _ = ax.get_lines()
        np.testing.assert_allclose(first.get_ydata(), [0, 0.5 * k, k])
        np.testing.assert_allclose(second.get_ydata(), [0.1, 0.5 * k + 0.1, k + 0.1])
        assert (dot.get_xdata(), dot.get_ydata()) == (pytest.approx([0.25]), pytest.approx([0.25 * k]))
        assert other.get_ydata() == pytest.approx([0.75 * k + 0.1])
    labels = [text.get_text() for text in figure.axes[7].get_legend().get_texts()]
    assert labels == ["remember", "clean"]


def test_importances_are_written_in_their_cells():
    shares = pd.DataFrame(
        [[0.1, 0.9], [0.6, 0.4]], index=["remember", "clean"], columns=["beta_1", "gammaF_2"]
    )
    gains = pd.DataFrame([[-0.2], [-0.001]], index=shares.index, columns=["M_1"])
    left, right = figures_ubal.importances(shares, gains).axes
    assert [t.get_text() for t in left.texts] == ["0.10", "0.90", "0.60", "0.40"]
    assert [t.get_text() for t in right.texts] == ["-0.20", "0.00"]
    assert [t.get_text() for t in left.get_xticklabels()] == [r"$\beta_1^F$", r"$\gamma_2^F$"]
    assert [t.get_text() for t in left.get_yticklabels()] == ["remember", "clean"]


def test_results_show_every_trial_every_finalist_and_what_is_left():
    searched = {"remember": pd.Series([0.1, 0.2, 0.3]), "clean": pd.Series([-1.0, 0.5])}
    finalists = pd.DataFrame(
        [("remember", "observed", 0.3), ("remember", "predicted", 0.4), ("clean", "observed", 0.5)],
        columns=["question", "chosen", "result"],
    )
    again = {"remember": pd.Series([0.36, 0.38]), "clean": pd.Series([0.45])}
    (ax,) = figures_ubal.results(searched, finalists, again).axes
    drawn = [sorted(c.get_offsets()[:, 0].tolist()) for c in ax.collections]
    assert drawn == [[0.1, 0.2, 0.3], [0.3], [0.4], [-1.0, 0.5], [0.5], []]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.get_lines()] == [
        (pytest.approx(0.37), 0),
        (0.45, 1),
    ]
    assert [t.get_text() for t in ax.texts] == ["0.37", "0.45"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["observed", "predicted", "trained again"]
