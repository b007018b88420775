"""The phases of notebook 0: what is drawn is what the network holds."""

import introduction
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

from ubalkit import UBAL


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
