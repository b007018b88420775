"""Which trials next: configurations that can be tried, where none has been."""

import numpy as np
import pandas as pd
import pytest
from ConfigSpace import ConfigurationSpace, EqualsCondition, ForbiddenEqualsClause
from ConfigSpace.hyperparameters import UniformFloatHyperparameter as Float
from helpers import trials

from ubalkit import advice, explain
from ubalkit import space as spaces

ONE = {"n_members": 3, "n_folds": 2, "steps": 100, "weight_decays": [1e-3]}


@pytest.fixture(scope="module")
def searched():
    """Trials of a space with all that one can have, crowded at small rates."""
    space = ConfigurationSpace({"kind": ["sgd", "adam", "none"], "rate": (1e-4, 1.0), "units": (1, 64)})
    drop = Float("drop", 0.1, 0.8, meta={"step": 0.1, "origin": 0.1})
    space.add([drop, Float("momentum", 0, 1)])
    space.add(EqualsCondition(space["momentum"], space["kind"], "sgd"))
    space.add([ForbiddenEqualsClause(space["kind"], "none"), ForbiddenEqualsClause(space["drop"], 0.5)])
    table = spaces.sample(space, 0, range(60))
    table["drop"] = np.tile([0.1, 0.3, 0.7], 20)
    table["rate"] = table["rate"].clip(upper=0.3)
    score = np.log(table["units"]) + table["drop"] + table["rate"]
    return trials(table.assign(score=score), space, score="maximize")


def test_they_can_be_tried_and_no_two_are_the_same(searched):
    found = advice.gaps(searched, 50)
    assert len(found) == len(found.drop_duplicates()) == 50
    assert list(found) == spaces.names(searched.space)
    assert set(found["kind"]) == {"sgd", "adam"}
    assert (found["momentum"].notna() == (found["kind"] == "sgd")).all()
    assert set(found["drop"]) == {0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8}
    assert spaces.legal(searched.space, spaces.to_unit(searched.space, found)).all()


def test_they_are_a_function_of_the_seed(searched):
    pd.testing.assert_frame_equal(advice.gaps(searched, 9), advice.gaps(searched, 9, seed=0))
    assert not advice.gaps(searched, 9).equals(advice.gaps(searched, 9, seed=1))


def test_they_lie_where_trials_are_missing(searched):
    found = advice.gaps(searched, 40)
    assert (found["rate"] > 0.3).mean() > 0.8  # of an even spread 0.7
    far = spaces.to_unit(searched.space, found)
    tried = spaces.to_unit(searched.space, searched.table)
    nearest = np.linalg.norm(far[:, None] - tried, axis=2).min(1)
    assert (np.diff(nearest) <= 0).all() and nearest[0] > 0
    # A failed trial has been tried, too.
    failed = pd.concat([searched.table, found.head(9).assign(status="failed")])
    after = advice.gaps(trials(failed, searched.space, score="maximize"), 20)
    assert not pd.concat([after, found.head(9)]).duplicated().any()


def test_a_small_space_has_no_more():
    space = ConfigurationSpace({"kind": ["a", "b"], "units": (1, 3)})
    tried = pd.DataFrame({"kind": ["a"], "units": [1], "score": [1.0]})
    found = advice.gaps(trials(tried, space, score="maximize"), 20)
    assert len(found) == 6 and found.iloc[-1].to_dict() == {"kind": "a", "units": 1}


def test_an_explanation_proposes_and_writes_them(searched, tmp_path):
    explained = explain(searched, **ONE)
    pd.testing.assert_frame_equal(explained.next(5), advice.gaps(searched, 5))
    written = pd.read_csv(explained.save(tmp_path) / "next.csv")
    assert len(written) == 20 and list(written) == list(explained.next(20))
    # The report says so where an order is unsure.
    assert any("explained.next" in line for line in explained.report) == (len(explained.order) > 1)
