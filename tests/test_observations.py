"""The observation table: exact files, and checks that find what does not belong."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ubalkit import chunks, observations, profiles, search

PROFILE = profiles.get("ci")


@pytest.fixture
def table():
    """Six rows with accuracies that a careless file would round, the last one failed."""
    rows = search.configurations(PROFILE, range(6))
    rows["test_accuracy"] = [0.1 + 0.2, 1 / 3, np.nextafter(1, 0), 5e-324, 0.0, np.nan]
    rows["backprojection_accuracy"] = [1.0, 0.1, 0.7, 0.30000000000000004, 0.9, np.nan]
    rows["status"] = ["ok"] * 5 + ["failed"]
    return rows


def assert_same(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True, check_dtype=False)


@pytest.fixture
def file(table, tmp_path):
    path = tmp_path / "observations.csv"
    observations.write(table, path, fingerprint=PROFILE.fingerprint, device="cpu")
    return path


def test_a_table_is_read_back_to_the_last_bit(table, file):
    again = observations.read(file, PROFILE)
    assert_same(again, table)
    for column in table.columns.drop("status"):
        assert again[column].to_numpy().tobytes() == table[column].to_numpy().tobytes()


def test_a_table_that_was_read_and_changed_is_written_with_what_made_it(file):
    read = observations.read(file)
    observations.write(read.head(2), file, **read.attrs["about"])
    again = observations.read(file, PROFILE)
    assert_same(again, read.head(2))
    assert again.attrs["about"]["rows"] == 2 and again.attrs["about"]["device"] == "cpu"


def test_a_path_may_be_text(table, tmp_path):
    observations.write(table, f"{tmp_path}/own.csv", fingerprint=PROFILE.fingerprint)
    assert_same(observations.read(f"{tmp_path}/own.csv", PROFILE), table)


def test_writing_twice_gives_the_same_bytes(table, file):
    before = file.read_bytes()
    observations.write(observations.read(file), file)
    assert file.read_bytes() == before
    assert b"\r" not in before


def test_a_table_knows_what_made_it(table, file):
    about = observations.read(file).attrs["about"]
    assert (about["rows"], about["device"], about["fingerprint"]) == (6, "cpu", PROFILE.fingerprint)


def test_writing_leaves_the_two_files_and_nothing_else(file):
    assert sorted(path.name for path in file.parent.iterdir()) == ["observations.csv", "observations.json"]


def test_a_table_that_was_changed_is_refused(file):
    text = file.read_text()
    changed = text.replace("0.7,ok", "0.8,ok")
    assert changed != text
    file.write_text(changed)
    with pytest.raises(ValueError, match=r"observations\.csv was changed after it was written"):
        observations.read(file)


def test_a_table_without_its_json_is_refused(file):
    file.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match=r"^observations\.json is missing beside .*observations\.csv"):
        observations.read(file)


def test_a_damaged_json_is_named(file):
    file.with_suffix(".json").write_text('{"rows": 6, ')
    with pytest.raises(ValueError, match=r"observations\.json"):
        observations.read(file)


def test_a_missing_table_says_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no observations at .*x\.csv; notebook 01_search makes"):
        observations.read(tmp_path / "x.csv")


def test_a_table_of_other_settings_is_refused(file):
    with pytest.raises(ValueError, match=r"was made with other settings than the profile 'ci' has"):
        observations.read(file, replace(PROFILE, epochs=9))


def test_rows_that_their_own_settings_do_not_draw_are_refused(table, tmp_path):
    path = tmp_path / "observations.csv"
    observations.write(table, path, **replace(PROFILE, seed=1).settings())
    with pytest.raises(ValueError, match=r"^Row 0 is not configuration 0"):
        observations.read(path)


def test_a_folder_that_cannot_be_written_to_is_named(table, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"observations\.csv could not be written"):
        observations.write(table, tmp_path / "file" / "observations.csv")


def test_a_good_table_passes_and_comes_back(table):
    assert observations.check(table, PROFILE) is table
    assert observations.check(table.loc[[4, 1]], PROFILE) is not None


def failed_in(change):
    def changed(table):
        for (row, column), value in change.items():
            table.loc[row, column] = value
        return table

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["beta_2", "status"]), r"lacks the columns beta_2, status\.$"),
        (lambda t: pd.concat([t, t.loc[[3]]]), r"holds the index 3 more than once\.$"),
        (failed_in({(1, "test_accuracy"): np.nan}), r"^Row 1 has no number for test_accuracy though"),
        (failed_in({(1, "beta_3"): np.nan}), r"^Row 1 is not configuration 1 of the profile 'ci'; "),
        (failed_in({(3, "beta_1"): 0.123}), r"^Row 3 is not configuration 3 of the profile 'ci'; "),
        (failed_in({(5, "gammaB_2"): 0.123}), r"^Row 5 is not configuration 5 of the profile 'ci'; "),
        (lambda t: t.rename(index={2: 9}), r"^Row 9 is not configuration 9"),
        (lambda t: t.assign(beta_1=t["beta_2"], beta_2=t["beta_1"]), r"^Row 0 is not configuration 0"),
    ],
    ids=[
        "missing columns",
        "duplicate",
        "no accuracy",
        "no hyperparameter",
        "another hyperparameter",
        "another hyperparameter, failed",
        "another index",
        "swapped columns",
    ],
)
def test_what_does_not_belong_is_found(table, change, message):
    with pytest.raises(ValueError, match=message):
        observations.check(change(table), PROFILE)


@pytest.mark.filterwarnings("ignore:.*incompatible dtype:FutureWarning")
def test_text_where_a_number_belongs_is_found(table):
    table["test_accuracy"] = table["test_accuracy"].astype(object)
    table.loc[0, "test_accuracy"] = "high"
    with pytest.raises(ValueError, match=r"^Row 0 has no number for test_accuracy"):
        observations.check(table, PROFILE)


def test_rows_of_another_seed_are_found(table):
    with pytest.raises(ValueError, match=r"^Row 0 is not configuration 0 of the profile 'ci'"):
        observations.check(table, replace(PROFILE, seed=1))


def test_a_metric_is_a_column(table):
    assert observations.metric_values(table, "test_accuracy").equals(table["test_accuracy"])


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_an_unknown_metric_is_named_beside_those_there_are(table, metric):
    message = rf"^Unknown metric '{metric}'; the table has test_accuracy, backprojection_accuracy\.$"
    with pytest.raises(ValueError, match=message):
        observations.metric_values(table, metric)


def test_usable_says_how_many_rows_it_leaves_out(table):
    with pytest.warns(UserWarning, match=r"^1 of 6 configurations failed and are left out\.$"):
        assert observations.usable(table).index.tolist() == [0, 1, 2, 3, 4]


def test_usable_is_silent_where_nothing_failed(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert len(observations.usable(table.loc[:4])) == 5


def test_a_chunk_is_read_back_to_the_last_bit(table, tmp_path):
    path = chunks.write(table.loc[3:], tmp_path, PROFILE)
    chunks.write(table.loc[:2], tmp_path, PROFILE)
    assert json.loads(path.read_text())["fingerprint"] == PROFILE.fingerprint
    assert_same(chunks.read(tmp_path, PROFILE), table)


def test_overlapping_chunks_give_each_row_once(table, tmp_path):
    for rows in (table.loc[:3], table.loc[2:], table.loc[[0, 5]]):
        chunks.write(rows, tmp_path, PROFILE)
    assert_same(chunks.read(tmp_path, PROFILE), table)


def test_an_empty_folder_holds_no_rows(tmp_path):
    assert chunks.read(tmp_path, PROFILE).empty
