"""After a kill or a power cut at any call to the file system every finished row is to be had."""

import os
import shutil
import warnings

import pytest
from ConfigSpace import ConfigurationSpace, Float
from crashing import crashes, put, tree, written_down
from helpers import assert_same

from ubalkit import files, observations
from ubalkit.__main__ import main
from ubalkit.experiment import Experiment
from ubalkit.paper import examples

SPACE = ConfigurationSpace(space={"x": Float("x", (0.0, 1.0))})
SEARCH = ["search", "--profile", "toy", "--workers", "1", "--chunk", "2"]


@pytest.fixture
def evaluated(monkeypatch):
    """The command line knows a toy; the list says which of its configurations were evaluated."""
    asked = []

    def objective(configuration, seed):
        asked.append(numbers[configuration["x"]])
        return configuration["x"]

    toy = Experiment("toy", objective, SPACE, {"loss": "minimize"}, n_configurations=8)
    numbers = {x: index for index, x in toy.configurations(range(100))["x"].items()}
    monkeypatch.setitem(examples.ALL, "toy", lambda: toy)
    return asked


def call(*arguments):
    with pytest.raises(SystemExit) as ended, warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # nothing is damaged
        main([str(argument) for argument in arguments])
    return ended.value.code


def searched(root, *first):
    """A folder in which these pieces of four were searched; recorded tables come without their chunks."""
    for index in first:
        assert call(*SEARCH, "--first", index, "--count", 4, "--out", root) == 0


def recorded(root, *first):
    searched(root, *first)
    shutil.rmtree(root / "chunks")


#: What is there before, what is done, and how many states it leads to at least.
WAYS = {
    "a first search": (lambda root: None, [*SEARCH, "--count", 8], 60),
    "a search that goes on": (lambda root: searched(root / "out", 0), [*SEARCH, "--count", 8], 60),
    "a table extended": (lambda root: recorded(root / "out", 0), [*SEARCH, "--count", 8], 60),
    "a merge": (
        lambda root: (recorded(root / "out", 0), searched(root / "other", 4)),
        ["merge", "out", "other", "--profile", "toy"],
        15,
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_state_of_the_disk_loses_a_finished_row(way, tmp_path, monkeypatch, evaluated, capsys):
    prepare, command, at_least = WAYS[way]
    whole = files.from_csv(files.to_csv(examples.ALL["toy"]().evaluate(range(8))))
    monkeypatch.chdir(tmp_path)
    root, out = tmp_path / "root", tmp_path / "root" / "out"
    root.mkdir()
    prepare(root)
    before = tree(root)
    table = [observations.read(out / "observations.csv").table] if before.get(out) else []
    known, finished = {*table[0].index} if table else set(), []  # calls made, rows that are promised by then
    write_chunk = observations.write_chunk

    def write(rows, *where):
        write_chunk(rows, *where)
        finished.append((len(log), {*rows.index}))

    command = [root / a if a in ("out", "other") else a for a in command] + ["--out", out]
    with written_down(root) as log:
        monkeypatch.setattr(observations, "write_chunk", write)
        assert call(*command) == 0
        monkeypatch.setattr(observations, "write_chunk", write_chunk)
    monkeypatch.setattr(os, "fsync", lambda opened: None)  # what follows outlives no power cut
    finished.append((len(log), {*range(8)}))
    assert_same(observations.read(out / "observations.csv").table, whole)

    tried = set()
    for made, state in crashes(before, log):
        if (state_of := (made, frozenset(state.items()))) in tried:
            continue
        tried.add(state_of)
        put(root, state)
        promised = known.union(*(rows for by, rows in finished if by <= made))
        if table:  # read at once, the old or the new one
            assert known <= {*observations.read(out / "observations.csv").table.index}
        evaluated.clear()
        assert call(*command) == 0, (made, log)
        assert not promised & {*evaluated}, (made, log)
        assert_same(observations.read(out / "observations.csv").table, whole)
        about = files.read_json(out / "observations.json")
        assert about["rows"] == 8 and "before" not in about
    print(f"{way}: {len(tried)} states of {len(log)} calls")
    assert len(tried) >= at_least
