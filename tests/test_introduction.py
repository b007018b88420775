"""The phases of notebook 0: what is drawn is what the network holds."""

import introduction
import matplotlib.pyplot as plt
import pytest
import torch

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
