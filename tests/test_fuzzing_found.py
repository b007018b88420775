"""What random input found, each as an example that stays."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import ConfigurationSpace
from fuzzing import refusals
from helpers import trials

from ubalkit import UBAL, experiment, metamodel, observations, readers
from ubalkit import space as spaces
from ubalkit.experiment import Experiment
from ubalkit.paper import protocols

FRAME = pd.DataFrame({"a": np.arange(8) / 8, "kind": ["x", "y"] * 4, "y": np.arange(8.0) ** 2})
SPACE = ConfigurationSpace({"a": (0.0, 1.0), "c": (1, 5), "kind": ["x", "y"]})


def test_a_choice_of_text_that_breaks_lines_is_refused_in_one():
    with refusals():
        readers.from_frame(FRAME, "y", space={"kind": "\x1e\n"})
        raise AssertionError("it was not refused")


@pytest.mark.parametrize("text", ["[[", "5", '{"a"'])
def test_json_of_no_object_is_refused_wherever_it_stands(text, tmp_path):
    for name in ("t.json", "ensemble.json"):
        (tmp_path / name).write_text(text)
    (tmp_path / "t.csv").write_text("index,a\n0,1\n")
    for read in (
        lambda: observations.read(tmp_path / "t.csv"),
        lambda: protocols.find(str(tmp_path / "t.json")),
        lambda: metamodel.load(tmp_path / "ensemble.json"),
    ):
        with pytest.raises(ValueError, match="is damaged"):
            read()


@pytest.mark.parametrize("error", [ValueError("\udcff\n" * 9), ValueError("x" * 10**6), KeyError("a")])
def test_a_search_survives_an_error_whatever_it_says(error, tmp_path):
    def objective(configuration, seed):
        raise error

    made = Experiment("x", objective, SPACE, {"m": "maximize"}, 2)
    table = experiment.run(made, folder=tmp_path, n_jobs=1, progress=False).table
    assert (table["status"] == "failed").all() and table["why"].str.startswith(type(error).__name__).all()
    assert table["why"].str.len().max() <= 500


def test_an_ensemble_with_one_weight_changed_is_refused(tmp_path):
    table, path = spaces.sample(SPACE, 0, range(60)), tmp_path / "ensemble.json"
    found = trials(table.assign(m=table["a"] ** 2 + (table["kind"] == "x")), SPACE, m="maximize")
    metamodel.fit(found, n_members=2, steps=40).save(path)
    plain = json.loads(path.read_text())
    plain["members"][0][0][0][0] += 1e-9
    path.write_text(json.dumps(plain))
    with pytest.raises(ValueError, match="was changed after it was written"):
        metamodel.load(path)


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
