"""Meta-models and explanations of tables and files of any kind: right, or refused by a sentence."""

import functools
import json

import numpy as np
from ConfigSpace import ConfigurationSpace
from fuzzing import as_file, fuzz, refusals
from helpers import trials
from hypothesis import strategies as st

from ubalkit import explanation, metamodel, readers
from ubalkit import space as spaces


@functools.cache
def fitted():
    """A small ensemble and its trials."""
    space = ConfigurationSpace({"a": (0.0, 1.0), "b": ["x", "y"], "c": (1, 5)})
    table = spaces.sample(space, 0, range(60))
    table["m"] = table["a"] ** 2 + (table["b"] == "x") + 0.1 * table["c"]
    found = trials(table, space, m="maximize")
    return metamodel.fit(found, n_members=3, steps=60), found


@functools.cache
def saved(folder):
    fitted()[0].save(folder / "whole.json")
    return json.loads((folder / "whole.json").read_text())


@fuzz(quick=30, slow=800, data=st.data())
def test_a_file_of_an_ensemble_that_was_changed_is_refused_or_the_same(folder, data):
    whole = saved(folder)
    (folder / "ensemble.json").write_bytes(data.draw(as_file(whole)))
    ensemble, found = fitted()
    with refusals():
        again = metamodel.load(folder / "ensemble.json")
        np.testing.assert_array_equal(again.predict(found.table), ensemble.predict(found.table))
        assert (again.metric, again.r2, again.maximize) == (ensemble.metric, ensemble.r2, ensemble.maximize)


@st.composite
def nonsense(draw):
    """Small tables of trials in which much is wrong."""
    table = fitted()[1].table.head(draw(st.integers(0, 40))).astype(object)
    for _ in range(draw(st.integers(0, 3)) if len(table) else 0):
        k, row = draw(st.integers(0, table.shape[1] - 1)), draw(st.integers(0, len(table) - 1))
        table.iloc[row:, k] = draw(st.sampled_from([0, "x", "ok", np.nan, None, np.inf]))
    return table.drop(columns=draw(st.sampled_from([[], [], [], ["a"], ["m"], ["status"]])))


@fuzz(quick=4, slow=200, table=nonsense(), metric=st.sampled_from(["m", "m", "m", "a", "b", "z"]))
def test_tables_of_nonsense_are_explained_or_refused(table, metric):
    with refusals():
        read = readers.from_frame(table, metric)
        found = explanation.explain(read, n_members=2, steps=40, n_folds=2)
        assert np.isfinite(found.shap.values).all()
        assert set(found.table.index) == {*spaces.varied(read.space)}
