"""Recorded trials: exact files, and checks that find what does not belong."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import assert_same

from ubalkit import observations
from ubalkit.observations import Trials
from ubalkit.paper import protocols

CI = protocols.get("ci").protocol
GIVEN = (CI.space, CI.seed, CI.metrics)
# What a spreadsheet may take for a formula: our files are data for programs, and no cell is changed.
FORMULAS = ["=1+1", "+1", "-1+2", "@SUM(A1)", '=HYPERLINK("x")', "=cmd|' /C calc'!A0"]


@pytest.fixture
def table():
    """Six rows with accuracies that a careless file would round, the last one failed."""
    rows = CI.configurations(range(6))
    rows["test_accuracy"] = [0.1 + 0.2, 1 / 3, np.nextafter(1, 0), 5e-324, 0.0, np.nan]
    rows["backprojection_accuracy"] = [1.0, 0.1, 0.7, 0.30000000000000004, 0.9, np.nan]
    rows["status"] = ["ok"] * 5 + ["failed"]
    return rows


@pytest.fixture
def trials(table):
    return Trials(table, CI.space, CI.directions, about={**CI.settings(), "device": "cpu"})


@pytest.fixture
def file(trials, tmp_path):
    observations.write(trials, tmp_path / "observations.csv")
    return tmp_path / "observations.csv"


def same(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True, check_dtype=False)


def test_trials_are_read_back_to_the_last_bit_with_what_made_them(table, trials, file):
    again = observations.read(str(file), CI)
    same(again.table, table)
    for column in table.columns.drop("status"):
        assert again.table[column].to_numpy().tobytes() == table[column].to_numpy().tobytes()
    assert (again.space, again.metrics) == (trials.space, trials.metrics)
    about = again.about
    assert (about["rows"], about["device"], about["fingerprint"]) == (6, "cpu", CI.fingerprint)
    assert sorted(path.name for path in file.parent.iterdir()) == ["observations.csv", "observations.json"]
    # Those that were read and changed are written with what made them, the same ones as the same bytes.
    before = file.read_bytes()
    observations.write(again, file)
    assert file.read_bytes() == before and b"\r" not in before
    observations.write(replace(again, table=again.table.head(2)), file, device="other")
    again = observations.read(file, CI)
    assert len(again) == again.about["rows"] == 2 and again.about["device"] == "other"


def test_trials_know_their_metrics_and_the_rows_that_did_not_fail(trials):
    assert trials.usable.index.tolist() == [0, 1, 2, 3, 4] and len(trials) == 6
    assert trials.metric == trials.named(None) == "test_accuracy"
    assert trials.named("backprojection_accuracy") == "backprojection_accuracy"
    message = r"^Unknown metric 'f1'; the trials have test_accuracy, backprojection_accuracy\.$"
    with pytest.raises(ValueError, match=message):
        trials.named("f1")


def test_a_cell_that_looks_like_a_formula_is_written_as_it_is(trials, tmp_path):
    notes = trials.table.assign(why=FORMULAS)
    observations.write(replace(trials, table=notes), tmp_path / "t.csv")
    assert list(observations.read(tmp_path / "t.csv").table["why"]) == FORMULAS


def changed(file):
    text = file.read_text()
    assert "0.7,ok" in text
    file.write_text(text.replace("0.7,ok", "0.8,ok"))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (changed, ValueError, r"observations\.csv was changed after it was written"),
        (lambda file: file.write_bytes(b"\xff\xfe"), ValueError, "was changed after it was written"),
        (lambda file: file.with_suffix(".json").unlink(), FileNotFoundError, r"observations\.json"),
        (
            lambda file: file.with_suffix(".json").write_text('{"rows": 6, '),
            ValueError,
            r"observations\.json",
        ),
        (lambda file: file.unlink(), FileNotFoundError, r"no observations at .*; notebook 01_search makes"),
    ],
)
def test_a_damaged_table_is_refused(file, damage, error, message):
    damage(file)
    with pytest.raises(error, match=message):
        observations.read(file)


def test_a_table_of_other_settings_is_refused(trials, file):
    with pytest.raises(ValueError, match=r"was made with other settings than 'ci' has"):
        observations.read(file, replace(CI, epochs=9))
    observations.write(trials, file, seed=1)
    with pytest.raises(ValueError, match=r"^Row 0 is not configuration 0"):
        observations.read(file)


def put(row, column, value):
    def changed(table):
        table[column] = table[column].astype(object)
        table.loc[row, column] = value
        return table

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["beta_2", "status"]), r"lacks the columns beta_2, status\.$"),
        (put(1, "test_accuracy", np.nan), r"^Row 1 has no number for each metric though its status is ok"),
        (put(1, "beta_3", np.nan), r"^Row 1 is not configuration 1; "),
        (put(3, "beta_1", 0.123), r"^Row 3 is not configuration 3; "),
        (lambda t: t.rename(index={2: 9}), r"^Row 9 is not configuration 9"),
        (lambda t: t.assign(beta_1=t["beta_2"], beta_2=t["beta_1"]), r"^Row 0 is not configuration 0"),
    ],
)
def test_what_does_not_belong_is_found(table, change, message):
    assert observations.checked(table, *GIVEN) is table
    with pytest.raises(ValueError, match=message):
        observations.checked(change(table.copy()), *GIVEN)
    with pytest.raises(ValueError, match=r"^Row 0 is not configuration 0"):
        observations.checked(table, CI.space, 1, CI.metrics)


def test_overlapping_chunks_give_each_row_once_to_the_last_bit(table, tmp_path):
    assert observations.read_chunks(tmp_path, CI).empty
    for rows in (table.loc[:3], table.loc[2:], table.loc[[0, 5]]):
        observations.write_chunk(rows, tmp_path, CI)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        same(observations.read_chunks(tmp_path, CI), table)


def test_rows_in_conflict_are_named_and_the_first_are_kept(table, tmp_path):
    observations.write_chunk(table, tmp_path, CI)
    observations.write_chunk(table.loc[[1, 2]].assign(test_accuracy=0.7), tmp_path, CI)
    with pytest.warns(UserWarning, match="different numbers for 1-2; the first are kept"):
        assert_same(observations.read_chunks(tmp_path, CI)[["status"]], table[["status"]])
    merged, twice, conflicts = observations.merge([tmp_path], CI)
    assert (conflicts, twice) == ([1, 2], [])
    same(merged, table)
