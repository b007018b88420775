"""Meta-models and runs with tables, files and parameters of any kind: right, or refused by a sentence."""

# ruff: noqa: PD009 - iloc would take a list for a row of cells

import ast
import contextlib
import functools
import json

import numpy as np
import pandas as pd
import pytest
from ConfigSpace import ConfigurationSpace
from fuzzing import EXAMPLES, as_file, fuzz, odd, refusals, words
from hypothesis import strategies as st
from papermill.translators import PythonTranslator

from ubalkit import (
    constraints,
    decomposition,
    explanation,
    metamodel,
    pipeline,
    profiles,
)
from ubalkit import space as spaces

PROFILE = profiles.get("ci")

# Meta-models and what explains them --------------------------------------------------------------


@functools.cache
def fitted():
    """A small ensemble and its table."""
    space = ConfigurationSpace({"a": (0.0, 1.0), "b": ["x", "y"], "c": (1, 5)})
    table = spaces.sample(space, 0, range(60))
    table["m"] = table["a"] ** 2 + (table["b"] == "x") + 0.1 * table["c"]
    table["status"] = "ok"
    return metamodel.fit(table, "m", space, n_members=3, steps=60), table


@functools.cache
def explained():
    return decomposition.decompose(*fitted()).shap()


@functools.cache
def saved(folder):
    fitted()[0].save(folder / "whole.json")
    return json.loads((folder / "whole.json").read_text())


@fuzz(quick=30, slow=800, data=st.data())
def test_a_file_of_an_ensemble_that_was_changed_is_refused_or_the_same(folder, data):
    whole = saved(folder)
    (folder / "ensemble.json").write_bytes(data.draw(as_file(whole)))
    ensemble, table = fitted()
    with refusals():
        again = metamodel.load(folder / "ensemble.json")
        np.testing.assert_array_equal(again.predict(table), ensemble.predict(table))
        assert (again.metric, again.r2, again.maximize) == (ensemble.metric, ensemble.r2, ensemble.maximize)


@st.composite
def points(draw):
    """Two configurations, of which a cell or a column may be anything."""
    kinds = {
        "a": st.floats(0, 1),
        "b": st.sampled_from("xy"),
        "c": st.integers(1, 5),
        "status": st.just("ok"),
        "z": odd,
    }
    table = pd.DataFrame({name: [None, None] for name in kinds}, dtype=object)
    for k, kind in enumerate(kinds.values()):
        table.iat[0, k], table.iat[1, k] = draw(kind), draw(kind)
    for _ in range(draw(st.integers(0, 2))):
        table.iat[draw(st.integers(0, 1)), draw(st.integers(0, 3))] = draw(
            words | st.floats(-1, 6) | st.none()
        )
    return table.drop(columns=draw(st.sampled_from([[], [], [], ["a"], ["b"], ["status"]])))


@fuzz(quick=25, slow=1500, points=points())
def test_points_outside_of_the_space_are_refused(points):
    ensemble, _ = fitted()
    with refusals():
        found = decomposition.decompose(ensemble, points, n_background=4)
        assert points["a"].isin(found.table["a"]).sum() >= len(found.unit)
        for name, low, high in (("a", 0, 1), ("c", 1, 5)):
            assert all(low <= float(v) <= high for v in found.table[name])
        whole = found.base_values[:, None] + found.member_components.sum(2)
        np.testing.assert_allclose(whole, found.predictions, atol=1e-9)


# No number that would be taken and be too much to wait for.
bad = odd.filter(lambda v: not (isinstance(v, (int, float)) and 20 < abs(v) < 2**33))
numbers = st.integers(-2, 5) | st.integers(1, 5) | bad


@fuzz(
    quick=15,
    slow=200,
    given=st.builds(dict, low=st.floats(-0.5, 1.5) | odd) | st.builds(dict, n_best=numbers),
)
def test_a_recommendation_stays_within_the_space_or_is_refused(given):
    with refusals():
        found = constraints.recommend(explained(), **given)
        assert found.n_best == min(given.get("n_best", 20), 60)
        spaces.to_unit(fitted()[0].space, spaces.sample(found.space, 0, range(3)))


@st.composite
def nonsense(draw):
    """Small tables of observations in which much is wrong."""
    table = fitted()[1].head(draw(st.integers(0, 40))).astype(object)
    for _ in range(draw(st.integers(0, 3))):
        if len(table):
            k = draw(st.integers(0, table.shape[1] - 1))
            table.iloc[draw(st.integers(0, len(table) - 1)) :, k] = draw(
                st.sampled_from([0, "x", "ok", np.nan, None, np.inf])
            )
    return table.drop(columns=draw(st.sampled_from([[], [], [], ["a"], ["m"], ["status"]])))


@fuzz(quick=4, slow=200, table=nonsense(), metric=st.sampled_from(["m", "m", "m", "a", "b", "z"]))
def test_tables_of_nonsense_are_explained_or_refused(table, metric):
    with refusals():
        found = explanation.explain(table, metric, fitted()[0].space, n_members=2, steps=40, n_folds=2)
        assert np.isfinite(found.shap.values).all()
        assert set(found.table.index) == {"a", "b", "c"}


# Runs --------------------------------------------------------------------------------------------


class Reached(Exception):
    """A notebook would be executed now: its parameters were found right."""


texts = st.sampled_from(["accuracy", "", "trials.csv"]) | words
parameters = st.dictionaries(
    words | st.sampled_from(["metric", "source", "n_members"]), odd | texts | st.integers(), max_size=2
)


@fuzz(quick=30, slow=600, name=words | st.sampled_from(["ci", "svm"]) | odd, parameters=parameters)
def test_parameters_of_notebooks_are_known_and_stay_in_the_runs(folder, name, parameters):
    reached = []

    def execute(source, given, where, progress):
        reached.append((given, where))
        raise Reached

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UBALKIT_RUNS", str(folder / "runs"))
        patch.setattr(pipeline, "_execute", execute)
        for run in (
            lambda: pipeline.own(**{"name": name, **parameters}),
            lambda: pipeline.run(name, ["02_metamodel"], {"02_metamodel": parameters}),
        ):
            with refusals(), contextlib.suppress(Reached):
                run()
    for given, where in reached:
        assert where.is_relative_to(folder / "runs") and where.is_dir()
        assert set(given) <= {"name", "profile_name", "metric", "source", "n_members"}
        assert all(type(v) is (int if k == "n_members" else str) for k, v in given.items())
        # What papermill writes before the notebook sets names to constants and does nothing else.
        for line in ast.parse(PythonTranslator.codify(given)).body:
            ast.literal_eval(line.value)
    assert {path.name for path in folder.iterdir()} <= {"runs"}


def test_the_slow_sizes_add_up_to_ten_thousand_examples():
    import test_fuzzing
    import test_fuzzing_settings

    modules = {__name__, test_fuzzing.__name__, test_fuzzing_settings.__name__}
    assert {module for module, _ in EXAMPLES} == modules
    assert sum(EXAMPLES.values()) >= 10_000
