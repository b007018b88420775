"""What random input found, each as an example that stays."""

import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import ConfigurationSpace
from fuzzing import refusals

from ubalkit import UBAL, experiment, readers
from ubalkit.experiment import Experiment

FRAME = pd.DataFrame({"a": np.arange(8) / 8, "kind": ["x", "y"] * 4, "y": np.arange(8.0) ** 2})
SPACE = ConfigurationSpace({"a": (0.0, 1.0), "c": (1, 5), "kind": ["x", "y"]})


def test_a_choice_of_text_that_breaks_lines_is_refused_in_one():
    with refusals():
        readers.from_frame(FRAME, "y", space={"kind": "\x1e\n"})
        raise AssertionError("it was not refused")


@pytest.mark.parametrize("error", [ValueError("\udcff\n" * 9), ValueError("x" * 10**6), KeyError("a")])
def test_a_search_survives_an_error_whatever_it_says(error, tmp_path):
    def objective(configuration, seed):
        raise error

    made = Experiment("x", objective, SPACE, {"m": "maximize"}, 2)
    table = experiment.run(made, folder=tmp_path, n_jobs=1, progress=False).table
    assert (table["status"] == "failed").all() and table["why"].str.startswith(type(error).__name__).all()
    assert table["why"].str.len().max() <= 500


@pytest.mark.parametrize(
    "beta", [np.full(3, 0.5), torch.full((3,), 0.5, dtype=torch.float64)], ids=["NumPy", "torch"]
)
def test_a_networks_hyperparameters_are_its_own(beta):
    net = UBAL([4, 3, 2], beta, [0.5] * 2, [0.5] * 2, dtype=torch.float64)
    other = UBAL([4, 3, 2], [0.5] * 3, [0.5] * 2, [0.5] * 2, dtype=torch.float64)
    beta[:] = 0
    x, y = torch.rand(2, 4), torch.rand(2, 2)
    net.update(x, y)
    other.update(x, y)
    assert all(torch.equal(a, b) for a, b in zip(net.W, other.W))
