"""What random input found, each as an example that stays."""

import csv
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import ConfigurationSpace
from fuzzing import refusals

from ubalkit import UBAL, metamodel, observations, profiles, search, trials
from ubalkit import space as spaces
from ubalkit.experiment import Experiment

FRAME = pd.DataFrame({"a": np.arange(8) / 8, "kind": ["x", "y"] * 4, "y": np.arange(8.0) ** 2})
SPACE = ConfigurationSpace({"a": (0.0, 1.0), "c": (1, 5), "kind": ["x", "y"]})


def assert_refused(function, *given, match=None, **options):
    with refusals():
        function(*given, **options)
        raise AssertionError("it was not refused")
    with pytest.raises(ValueError, match=match):
        function(*given, **options)


def test_a_quote_that_nothing_closes_swallows_no_rows(tmp_path):
    text = FRAME.to_csv(index=False).replace("0.5,x", '0.5,"x')
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match="all quotes closed"):
        trials.from_csv(tmp_path / "t.csv", "y")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_file_in_which_all_is_quoted_is_read(tmp_path, delimiter):
    FRAME.to_csv(tmp_path / "t.csv", index=False, sep=delimiter, quoting=csv.QUOTE_ALL)
    found = trials.from_csv(tmp_path / "t.csv", "y")
    assert list(found.table["a"]) == list(FRAME["a"]) and list(found.table["kind"]) == list(FRAME["kind"])


def test_a_space_of_texts_that_break_lines_is_refused_in_one():
    assert_refused(trials.from_frame, FRAME, "y", space={"kind": "\x1e\n"}, match="outside its space")


def test_a_range_narrower_than_its_rounding_is_refused():
    assert_refused(spaces.reduced, SPACE, None, {"a": (0, 5e-324)}, match="does not lie within")


@pytest.mark.parametrize("name", ["", "two\nlines", "x" * 101, "\u202etxt", "$\\foo$"])
def test_a_column_whose_name_nothing_can_show_is_refused(name):
    with pytest.raises(ValueError, match="A column is named"):
        trials.from_frame(FRAME.rename(columns={"a": name}), "y")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", "5", '{"a"', "\ud800".encode("utf-8", "surrogatepass")]
)
def test_json_of_no_object_is_refused_wherever_it_stands(text, tmp_path):
    for name in ("t.json", "ensemble.json"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "t.csv").write_text("index,a\n0,1\n")
    for read in (
        lambda: observations.read(tmp_path / "t.csv"),
        lambda: profiles.find(str(tmp_path / "t.json")),
        lambda: metamodel.load(tmp_path / "ensemble.json"),
    ):
        with pytest.raises(ValueError, match="is damaged"):
            read()


WRONG = {"n_train": -5, "hidden": (0,), "epochs": "x", "learning_rate": float("nan"), "chunk": 0, "seed": -1}
WRONG |= {"init_std": -1.0, "live": 1, "batch_size": True, "space": None, "n_members": 2.0, "dataset": 3}


@pytest.mark.parametrize("setting", WRONG)
def test_a_profile_refuses_a_setting_that_is_none(setting):
    with pytest.raises(ValueError, match=rf"{setting} = .* is no such setting"):
        replace(profiles.get("ci"), **{setting: WRONG[setting]})


def test_what_describes_no_space_is_refused():
    plain = spaces.plain(SPACE)
    plain["hyperparameters"][-1]["type"] = "nothing"
    for broken in (plain, {"hyperparameters": 5}):
        with pytest.raises(ValueError, match="describes no space"):
            spaces.from_plain(broken)


def test_a_whole_number_beyond_64_bits_is_kept_as_a_float():
    frame = FRAME.astype({"a": object})
    frame.loc[3, "a"] = 2**80
    assert trials.from_frame(frame, "y").table["a"].max() == 2.0**80


@pytest.mark.parametrize("value", [2.5, "x", None, [1], np.arange(2), 10**400])
def test_a_value_that_an_integer_cannot_have_has_no_coordinate(value):
    table = pd.DataFrame({"a": [0.5], "c": pd.Series([value], dtype=object), "kind": ["x"]})
    with pytest.raises(ValueError, match=r"c = .* lies outside its space"):
        spaces.to_unit(SPACE, table)


@pytest.mark.parametrize("value", [["x"], {}, 1])
def test_a_value_that_is_no_choice_has_no_coordinate(value):
    column = pd.Series([None], dtype=object)
    column.iat[0] = value  # noqa: PD009
    with pytest.raises(ValueError, match=r"kind = .* lies outside its space"):
        spaces.to_unit(SPACE, pd.DataFrame({"a": [0.5], "c": [1], "kind": column}))


@pytest.mark.parametrize("index", ["a", -1, 1.5, None])
def test_an_index_that_is_no_whole_number_is_refused(index):
    profile = profiles.get("ci")
    table = search.configurations(profile, range(2)).assign(
        **dict.fromkeys(profile.metrics, 0.5), status="ok"
    )
    assert observations.check(table, profile) is table
    table.index = pd.Index([0, index], dtype=object)
    assert_refused(observations.check, table, profile)


def test_a_table_without_status_is_refused():
    assert_refused(
        metamodel.fit, ensemble()[1].drop(columns="status"), "m", SPACE, match="no column 'status'"
    )


@pytest.mark.parametrize("error", [ValueError("\udcff\n" * 9), ValueError("x" * 10**6), KeyError("a")])
def test_a_search_survives_an_error_whatever_it_says(error, tmp_path):
    def objective(configuration, seed):
        raise error

    experiment = Experiment("x", objective, SPACE, {"m": "maximize"}, 2)
    table = search.run(experiment, folder=tmp_path, workers=1, progress=False)
    assert (table["status"] == "failed").all() and table["why"].str.startswith(type(error).__name__).all()
    assert table["why"].str.len().max() <= 500


@pytest.mark.parametrize("value", [10**400, {"m": None}, object(), "1e999"])
def test_what_is_no_number_is_a_configuration_that_failed(value):
    table = Experiment("x", lambda c, seed: value, SPACE, {"m": "maximize"}).evaluate([0])
    assert table.loc[0, "status"] == "failed" and len(table.loc[0, "why"]) <= 500


def ensemble():
    table = spaces.sample(SPACE, 0, range(60))
    table = table.assign(m=table["a"] ** 2 + (table["kind"] == "x"), status="ok")
    return metamodel.fit(table, "m", SPACE, n_members=2, steps=40), table


def test_an_ensemble_with_one_weight_changed_is_refused(tmp_path):
    path = tmp_path / "ensemble.json"
    ensemble()[0].save(path)
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
