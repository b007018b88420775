"""UBAL's tasks: each is mastered at the setting that the search found, and by no broken learning rule."""

from dataclasses import replace
from types import SimpleNamespace

import claims
import pandas as pd
import pytest
import torch

from ubalkit import files, observations
from ubalkit import space as spaces
from ubalkit.paper import datasets, tasks
from ubalkit.ubal import hyperparameters

NAMES = spaces.names(hyperparameters.space())
#: Of each question: the task, and what its metrics reach. A broken rule fails each line.
LEAST = {
    "classification": ("classification", {"accuracy": 0.92}),
    "generation": ("classification", {"generation": 0.95}),
    "auto-association": ("autoassociation", {"forward": 0.91, "backward": 0.91}),
    "hetero-association": ("heteroassociation", {"bits": 0.99, "forward": 0.8, "backward": 0.8}),
    "denoising": ("denoising", {"noise": 0.53}),
    "completion": ("denoising", {"occlusion": 0.62}),
}


@pytest.fixture(scope="module")
def made():
    return {name: make() for name, make in tasks.ALL.items()}


@pytest.fixture(scope="module")
def best():
    finalists, _ = files.read_table(files.data("tasks") / "finalists.csv")
    return finalists.loc[finalists.groupby("question")["result"].idxmax()].set_index("question")


@pytest.fixture
def small():
    """A task of milliseconds: ten pairs of four bits."""
    return tasks.heteroassociation(10, size=4, hidden=5, epochs=3)


@pytest.mark.parametrize("question", LEAST)
def test_a_task_is_mastered_at_the_setting_found_for_it(made, best, question):
    name, least = LEAST[question]
    found = made[name].repeated(best.loc[[question]], 3, first=50)[list(least)].mean()
    assert (found >= pd.Series(least)).all(), found


@pytest.mark.parametrize("change", [{"seed": 1}, {"epochs": 4}, {"hidden": 6}, {"n": 11}], ids=str)
def test_other_pairs_or_training_are_another_task(small, change):
    settings = {"n": 10, "size": 4, "hidden": 5, "epochs": 3}
    assert tasks.heteroassociation(**settings).fingerprint == small.fingerprint
    assert tasks.heteroassociation(**{**settings, **change}).fingerprint != small.fingerprint


def test_repeats_differ_in_their_seeds_alone(small):
    table = small.evaluate(range(2))
    again = small.repeated(table, 2, first=7)
    assert list(again.index) == [0, 0, 1, 1]
    pd.testing.assert_frame_equal(again.iloc[[1, 3]], small.measure(table[NAMES], [8, 8]))
    halves = replace(small, chunk=1).repeated(table, 2, first=7)
    pd.testing.assert_frame_equal(again, halves)


# Data and measures


def test_noise_hits_its_share_of_the_pixels_and_leaves_the_others():
    x = torch.full((500, 16), 2.0)
    out = tasks.noisy(x, torch.Generator().manual_seed(0), share=0.2)
    assert (out != x).double().mean() == pytest.approx(0.2, abs=0.02)
    hit = out[out != x]
    assert 0 <= hit.min() and hit.max() <= 1 and hit.std() == pytest.approx(12**-0.5, abs=0.02)
    assert torch.equal(out, tasks.noisy(x, torch.Generator().manual_seed(0), share=0.2))


def test_each_half_is_blank_equally_often_and_the_other_one_whole():
    out = tasks.occluded(torch.ones(800, 36), torch.Generator().manual_seed(0)).reshape(-1, 6, 6)
    blank = {"upper": out[:, :3], "lower": out[:, 3:], "left": out[:, :, :3], "right": out[:, :, 3:]}
    shares = [(half == 0).flatten(1).all(1).double().mean().item() for half in blank.values()]
    assert sum(shares) == pytest.approx(1) and min(shares) > 0.2
    assert (out.sum((1, 2)) == 18).all()


def test_explained_variance_is_one_zero_and_no_less_than_minus_one():
    wanted = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    some = wanted + torch.tensor([[0.5, 0], [0, 0]])
    out = torch.stack([wanted, torch.full((2, 2), 0.5), 1 - wanted, some])
    found = tasks.explained_variance(out, wanted, torch.tensor([0.5, 0.5]))
    assert found.tolist() == [1, 0, -1, 0.75]


@pytest.mark.parametrize(("right", "wrong"), [("forward", "backward"), ("backward", "forward")])
def test_pairs_are_held_as_well_as_in_the_worse_direction(small, right, wrong):
    out = {"forward": small.y[None], "backward": small.x[None]}
    out[wrong] = 1 - out[wrong]
    ways = {f"predict_{way}": lambda given, way=way: out[way] for way in out}
    net = SimpleNamespace(**ways)
    assert {k: v.item() for k, v in small.measured(net).items()} == {"bits": 0, right: 1, wrong: 0}


def test_the_judge_reads_digits_and_not_noise():
    data = datasets.load("digits")
    judge = tasks.judge(data)
    noise = torch.rand(data.x_test.shape, generator=torch.Generator().manual_seed(0))
    images = torch.stack([data.x_test, noise])
    right = tasks.read_by(judge, images, data.y_test)
    assert right[0] > 0.97 and right[1] < 0.2


# What the search is made into


@pytest.mark.parametrize("question", LEAST)
def test_networks_that_keep_all_four_margins_are_better_at_every_task(question):
    name, (metric, *_) = LEAST[question]
    table = observations.read(files.data("tasks") / f"{name}.csv").table
    good = claims.margins(table) > 0
    forward, backward = good[["W_1", "W_2"]].all(axis=1), good[["M_1", "M_2"]].all(axis=1)
    means = table[metric].groupby(forward.astype(int) + backward).mean()
    assert means[2] > means[1] > means[0]
