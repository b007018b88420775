"""The sequential search for comparison: its studies learn, each from its own results."""

import numpy as np
import pandas as pd
import pytest
import tpe

from ubalkit import space as spaces
from ubalkit.paper import protocols

CI = protocols.get("ci").protocol


@pytest.fixture(scope="module")
def table():
    trials = tpe.run(CI, "test_accuracy", n_trials=14, n_studies=3)
    assert trials.metrics == CI.directions and trials.space == CI.space
    return trials.table


def test_every_study_has_all_its_trials(table):
    assert table.groupby("study")["trial"].apply(list).tolist() == [list(range(14))] * 3
    assert table.index.tolist() == list(range(42))
    assert (spaces.to_unit(CI.space, table) <= 1).all()


def test_accuracies_are_those_of_the_configurations_proposed(table):
    # Trained again beside other networks, from the same weights.
    seeds = [int(np.random.default_rng([0, i, 2]).integers(2**32)) for i in (5, 40)]
    again = CI.measure(table.loc[[5, 40], spaces.names(CI.space)], seeds)
    assert again["test_accuracy"].tolist() == table.loc[[5, 40], "test_accuracy"].tolist()


def test_it_learns_from_its_own_results(table):
    # After ten random trials each study proposes; what it proposes is better than what it drew.
    drawn, proposed = table["trial"] < 10, table["trial"] >= 10
    assert table.loc[proposed, "test_accuracy"].mean() > table.loc[drawn, "test_accuracy"].mean() + 0.1


def test_studies_do_not_depend_on_each_other(table):
    fewer = tpe.run(CI, "test_accuracy", n_trials=2, n_studies=2).table
    first = table[(table["trial"] == 0) & (table["study"] < 2)]
    pd.testing.assert_frame_equal(fewer[fewer["trial"] == 0], first, check_exact=True)
    assert first["beta_1"].is_unique
