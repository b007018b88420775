"""Figures of notebook 0: what is drawn is what the frames and the network hold."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

from ubalkit import UBAL, figures
from ubalkit.paper import introduction
from ubalkit.paper.figures import UBAL as SYMBOLS

NAMES = ["beta_1", "beta_2", "beta_3", "gammaF_1", "gammaF_2", "gammaB_1", "gammaB_2"]


@pytest.fixture(autouse=True)
def symbols():
    figures.use(SYMBOLS)
    yield
    figures.use()
    plt.close("all")


@pytest.fixture
def net():
    return UBAL([3, 2, 4], [0.9, 0.5, 0.2], [0.8, 0.7], [0.6, 0.4], seed=3)


def test_the_phases_are_the_activations_of_the_network(net):
    x, y = torch.tensor([[1.0, 0.0, 0.5]]), torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    states = net.activations(x, y)
    for ax, prediction, echo in zip(
        introduction.phases(net, x, y).axes, (states.FP, states.BP), (states.FE, states.BE)
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
    figure = introduction.phases(net, torch.ones(1, 3), torch.ones(1, 4))
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
    (ax,) = introduction.learning_curves(frame).axes
    first, second = ax.get_lines()
    np.testing.assert_allclose(first.get_ydata(), [0.61, 0.71, 0.81])
    np.testing.assert_allclose(second.get_ydata(), [0.51, 0.61, 0.71])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a: 0.81", "b: 0.71"]
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.6, 0.82))


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
    figure = introduction.moved(moved_frame(), best)
    assert len(figure.axes) == 8
    for k, ax in enumerate(figure.axes[:7]):
        first, dot, second, other, _ = ax.get_lines()
        np.testing.assert_allclose(first.get_ydata(), [0, 0.5 * k, k])
        np.testing.assert_allclose(second.get_ydata(), [0.1, 0.5 * k + 0.1, k + 0.1])
        assert (dot.get_xdata(), dot.get_ydata()) == (pytest.approx([0.25]), pytest.approx([0.25 * k]))
        assert other.get_ydata() == pytest.approx([0.75 * k + 0.1])
    labels = [text.get_text() for text in figure.axes[7].get_legend().get_texts()]
    assert labels == ["remember", "clean"]
