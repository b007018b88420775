"""The command line: searches, checks, merges and explains."""

import functools
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import assert_same, chunk_files

from ubalkit import experiment, explanation, observations
from ubalkit.__main__ import main
from ubalkit.observations import Trials
from ubalkit.paper import protocols

CI = protocols.get("ci").protocol
TINY = replace(CI, name="tiny", n_train=100, epochs=1, hidden=(8,), n_configurations=10)
ALONE = ["--profile", "ci", "--workers", "1"]


def call(*arguments):
    """The status with which a command ends."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def written(folder):
    return observations.read(folder / "observations.csv", CI)


def test_searching_twice_adds_to_what_is_there(runs, capsys):
    assert call("search", *ALONE, "--count", 2) == 0
    assert call("search", *ALONE, "--first", 4, "--count", 2) == 0
    path = runs / "ci" / "observations.csv"
    assert f"4 configurations in {path}" in capsys.readouterr().out
    trials = written(path.parent)
    assert_same(trials.table, CI.evaluate([0, 1, 4, 5]))
    about = trials.about
    assert (about["rows"], about["fingerprint"], about["device"]) == (4, CI.fingerprint, "cpu")
    assert (about["name"], about["seed"], about["epochs"]) == ("ci", 0, CI.epochs)
    assert {"torch", "numpy", "pandas"} <= set(about["versions"]) and about["precision"] == "float32"
    assert {"ubalkit", "python", "written", "seconds", "made_by", "space"} <= set(about)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("search --profile tiny", "Unknown profile 'tiny'; there are paper, compact, digits, ci.\n"),
        ("search --profile ci --count -1", "Give at least one index, .*\n"),
        ("search --profile ci --device cuda:99", "device = 'cuda:99': torch finds no such device here.*\n"),
        ("search --profile no.json", r".*No such file or directory: 'no\.json'\n"),
        ("search --profile broken.json", r"broken\.json holds no settings of a protocol: .* damaged: .*\.\n"),
        ("search --profile empty.json", r"empty\.json holds no settings of a protocol: 'name'\n"),
        ("merge nowhere --profile ci", r"No chunk files in nowhere\.\n"),
        ("verify --profile ci --out nowhere", "There are no observations at nowhere.*\n"),
        ("explain nothing.csv --metric loss", r"There is no table of trials at .*nothing\.csv.*\n"),
        ("notebooks --profile tiny", "Unknown profile 'tiny'; there are paper, compact, digits, ci.\n"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(runs, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(runs)
    (runs / "broken.json").write_text("{")
    (runs / "empty.json").write_text("{}")
    assert call(*arguments.split()) == 2
    assert re.fullmatch(message, capsys.readouterr().err.splitlines(keepends=True)[-1])


@pytest.fixture
def recorded(runs):
    """A recorded table and the settings that made it: a profile of the user's own."""
    path = runs / "tiny" / "observations.csv"
    path.parent.mkdir()
    trials = Trials(TINY.evaluate(range(3)), TINY.space, TINY.directions, about=experiment.provenance(TINY))
    observations.write(trials, path)
    return trials, path


def test_settings_come_from_a_file(recorded, runs, capsys):
    trials, path = recorded
    settings, out = path.with_suffix(".json"), runs / "again"
    assert call("search", "--profile", settings, "--count", 3, "--workers", 1, "--out", out) == 0
    assert f"3 configurations in {out / 'observations.csv'}" in capsys.readouterr().out
    assert_same(observations.read(out / "observations.csv", TINY).table, trials.table)
    # And what it wrote is such a file again.
    assert protocols.find(str(out / "observations.json")) == replace(TINY, n_configurations=3000, chunk=4)


def test_verifying_searches_nothing(recorded, capsys):
    trials, path = recorded
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    given = ["--profile", path.with_suffix(".json"), "--out", path.parent, "--rows", 2]
    assert call("verify", *given) == 0
    assert capsys.readouterr().out.count("True") == 4
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
    wrong = trials.table.assign(**{m: (trials.table[m] + 0.5) % 1 for m in TINY.metrics})
    observations.write(replace(trials, table=wrong), path)
    assert call("verify", *given) == 1


# Merging


def test_chunks_of_an_array_job_are_merged_and_what_is_wrong_with_them_is_said(tmp_path, capsys):
    for first, count in ((0, 4), (4, 4), (6, 2), (9, 1)):
        piece = ["--chunk", 2, "--first", first, "--count", count, "--out", tmp_path / f"{first}"]
        call("search", *ALONE, *piece)
    ours = written(tmp_path / "4").table
    observations.write_chunk(ours.loc[[5]].assign(test_accuracy=0.5), tmp_path / "6" / "chunks", CI)
    capsys.readouterr()
    out = ["--profile", "ci", "--count", 10, "--out", tmp_path / "merged"]
    assert call("merge", *(tmp_path / f for f in "0469"), *out) == 1
    said = capsys.readouterr().out.splitlines()[1:]
    assert said == ["missing: 1 (8)", "twice: 2 (6-7)", "in conflict: 1 (5)"]
    merged = written(tmp_path / "merged")
    assert merged.table.index.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert merged.table.loc[5, "test_accuracy"] == ours.loc[5, "test_accuracy"]
    (made,) = merged.about["made_by"]
    assert made["device"] == "cpu" and made["precision"] == "float32"


def test_a_table_that_came_without_its_chunks_is_extended_and_merged(tmp_path, capsys):
    task, recorded = [*ALONE, "--chunk", 2], tmp_path / "recorded"
    call("search", *task, "--count", 4, "--out", recorded)
    whole = written(recorded)
    marked = replace(whole, table=whole.table.assign(test_accuracy=0.25))  # rows trained again would be seen
    shutil.rmtree(recorded / "chunks")
    observations.write(marked, recorded / "observations.csv", made_by=[{"device": "another"}], seconds=1000.0)
    shutil.copytree(recorded, tmp_path / "copy")

    call("search", *task, "--first", 2, "--count", 5, "--out", recorded)
    longer = written(recorded)
    assert len(chunk_files(recorded / "chunks")) == 3  # the table once, and two pieces
    assert_same(longer.table.head(4), marked.table)
    assert [made["device"] for made in longer.about["made_by"]] == ["another", "cpu"]
    assert 1000 < longer.about["seconds"] < 2000

    call("search", *task, "--first", 4, "--count", 3, "--out", tmp_path / "elsewhere")
    capsys.readouterr()
    sources = [tmp_path / "copy", tmp_path / "elsewhere"]
    assert call("merge", *sources, "--profile", "ci", "--count", 7, "--out", tmp_path / "copy") == 0
    assert "conflict" not in capsys.readouterr().out
    merged = written(tmp_path / "copy")
    assert_same(merged.table, longer.table)
    assert merged.about["made_by"] == longer.about["made_by"]


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A folder with a table of trials, from which the command line is called, that is quickly explained."""
    quick = functools.partial(explanation.explain, n_members=3, n_folds=2, steps=200)
    monkeypatch.setattr(explanation, "explain", quick)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"rate": rng.random(60), "width": rng.random(60), "seed_of": rng.random(60)})
    frame.assign(loss=10 ** (3 * frame["rate"])).to_csv("trials.csv", index=False)
    (tmp_path / "space.json").write_text('{"rate": [0, 2]}')
    return tmp_path


def test_a_table_becomes_a_page_in_the_folder_of_the_call(table, capsys):
    told = ["--metric", "loss", "--hyperparameters", "rate, width", "--scale", "log", "--space", "space.json"]
    assert call("explain", "trials.csv", *told) == 0
    said, html = capsys.readouterr().out, (table / "report.html").read_text("utf-8")
    assert "rate is first" in said and said.rstrip().endswith("Open report.html.")
    assert "What decides log10 loss" in html and "[0, 2]" in html and "2 hyperparameters" in html
    assert "--hyperparameters &#39;rate, width&#39;" in html


def test_trials_that_say_nothing_become_a_page_that_says_why(table, capsys):
    frame = pd.read_csv("trials.csv")
    frame.assign(loss=np.random.default_rng(1).random(60)).to_csv("noise.csv", index=False)
    assert call("explain", "noise.csv", "--metric", "loss", "--out", "no.html") == 1
    assert "held-out R²" in capsys.readouterr().out
    html = (table / "no.html").read_text("utf-8")
    assert "held-out R²" in html and "Do this" not in html and "The best 10 trials" in html
