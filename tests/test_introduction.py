"""Notebook 0: what is drawn is what the network holds, and what is trained again is what it says."""

from dataclasses import replace
from types import SimpleNamespace

import introduction
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from ubalkit import UBAL
from ubalkit import space as spaces
from ubalkit.paper import tasks
from ubalkit.ubal import hyperparameters

NAMES = spaces.names(hyperparameters.space())


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


def test_finalists_are_the_best_observed_and_the_best_predicted(monkeypatch):
    space = hyperparameters.space()
    narrow = spaces.reduced(space, ranges={"beta_1": (0.2, 0.3)}, freeze={"gammaB_2": 0.25})
    ensemble = SimpleNamespace(metric="m", space=space, predict=lambda t: t["beta_1"].to_numpy())
    table = spaces.sample(space, 0, range(30)).assign(m=np.arange(30.0))
    at_trials, trials = SimpleNamespace(shap=lambda: None), SimpleNamespace(usable=table)
    monkeypatch.setattr(introduction.advice, "recommend", lambda shap: SimpleNamespace(space=narrow))
    explained = SimpleNamespace(ensemble=ensemble, at_trials=at_trials, trials=trials)
    found = introduction.finalists(explained, n=3)
    assert list(found["chosen"]) == ["observed"] * 3 + ["predicted"] * 3 + ["recommended"] * 3
    np.testing.assert_array_equal(found.iloc[:3][NAMES], table.loc[[29, 28, 27], NAMES])
    assert found.iloc[3:6]["beta_1"].min() > 0.999
    assert found.iloc[6:]["beta_1"].between(0.299, 0.3).all() and set(found.iloc[6:]["gammaB_2"]) == {0.25}


def test_one_hyperparameter_is_moved_at_a_time():
    small = tasks.heteroassociation(10, size=4, hidden=5, epochs=3)
    start, trained = pd.DataFrame([dict.fromkeys(NAMES, 0.3)]), []
    watched = replace(small, measured=lambda net: trained.append(net) or small.measured(net))
    frame = introduction.moved(watched, start, n_values=3, n_seeds=2)
    expected = [(name, value) for name in NAMES for value in (0, 0.5, 1) for _ in range(2)]
    assert list(map(tuple, frame[["hyperparameter", "value"]].to_numpy())) == expected
    beta = torch.cat([torch.cat(net._beta, dim=2)[:, 0] for net in trained]).numpy()
    moved = [[value if name == own else 0.3 for own in NAMES[:3]] for name, value in expected]
    np.testing.assert_allclose(beta, moved, atol=1e-6)
