"""Searches in any order of events: run, stopped, killed, merged, cut, moved; against what must be there."""

import os
import shutil
import signal
import tempfile
import warnings
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

import pytest
from ConfigSpace import ConfigurationSpace, Float
from crashing import crashes, put, tree, written_down
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from ubalkit import files, observations
from ubalkit.__main__ import main
from ubalkit.experiment import Experiment
from ubalkit.paper import examples

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="The limit of a step is Unix's.")

SPACE = ConfigurationSpace(space={"x": Float("x", (0.0, 1.0))})
PLACE, FIRST, COUNT = st.sampled_from("ab"), st.integers(0, 8), st.integers(1, 5)
PICK = st.integers(0, 10**6)
#: What stops a search, and the status with which its command ends.
STOPS = {KeyboardInterrupt: 130, MemoryError: 2}
#: Seconds that a step may take.
LIMIT = 60
STEPS = Counter()


@contextmanager
def within(seconds):
    def late(*_):
        raise AssertionError(f"It waited longer than {seconds} s.")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def rows_of(path):
    """Indices of the rows in a chunk or a table; None if it is damaged or there is none."""
    with suppress(ValueError, OSError):
        if path.suffix == ".json":
            return {*files.from_csv(files.read_sealed(path)["csv"]).index}
        return {*files.read_table(path)[0].index}


class Searches(RuleBasedStateMachine):
    """Two places with a search each; of each place which rows must be there."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp()).resolve() / "root"
        self.place = {name: self.root / name for name in "ab"}
        for path in self.place.values():
            path.mkdir(parents=True)
        # Spoiled are those in which something was cut since they were last searched.
        self.known, self.spoiled = {"a": set(), "b": set()}, {"a": False, "b": False}
        self.evaluated, self.promised, self.log, self.fault = [], [], [], None
        self.toy = Experiment("toy", self.objective, SPACE, {"loss": "minimize"}, n_configurations=13)
        self.numbers = {x: index for index, x in self.toy.configurations(range(13))["x"].items()}
        write = observations.write_chunk

        def promising(rows, *where):
            write(rows, *where)
            self.promised.append((len(self.log), {*rows.index}))

        self.patches = [
            mock.patch.dict(examples.ALL, toy=lambda: self.toy),
            mock.patch.object(observations, "write_chunk", promising),
            mock.patch.object(os, "fsync", lambda opened: None),  # a power cut is put on
        ]
        for patch in self.patches:
            patch.start()

    def teardown(self):
        for patch in self.patches:
            patch.stop()
        shutil.rmtree(self.root.parent)

    def objective(self, configuration, seed):
        self.evaluated.append(self.numbers[configuration["x"]])
        if self.fault and len(self.evaluated) == self.fault[0]:
            raise self.fault[1]
        return configuration["x"]

    def call(self, *arguments):
        """The status with which a command ends."""
        self.evaluated.clear(), self.promised.clear()
        with pytest.raises(SystemExit) as ended, warnings.catch_warnings(), within(LIMIT):
            warnings.simplefilter("ignore", UserWarning)
            main([str(argument) for argument in arguments])
        return ended.value.code

    def search(self, name, first, count):
        STEPS["steps"] += 1
        command = ["search", "--profile", "toy", "--workers", 1, "--chunk", 2, "--out", self.place[name]]
        table = self.place[name] / "observations.csv"
        spoiled = self.spoiled[name] and table.exists() and rows_of(table) is None
        code = self.call(*command, "--first", first, "--count", count)
        if spoiled and not self.known[name]:
            # A cut table without chunks: it is for its owner to give up.
            assert code == 2 and not self.evaluated
            (self.place[name] / "observations.csv").unlink()
            return self.search(name, first, count)
        assert not self.known[name] & {*self.evaluated}, "What was there is computed again."
        self.spoiled[name] &= code != 0
        return code

    def gained(self, name, rows):
        """What must be there is, and is right; what there is besides must be from now on."""
        if self.known[name] | rows:
            table, _, conflicts = observations.merge([self.place[name]], self.toy)
            assert {*table.index} >= self.known[name] | rows, "Rows are lost."
            assert (table["loss"].map(self.numbers) == table.index).all() and not conflicts
            self.known[name] = {*table.index}

    def finished(self):
        return set().union(*(rows for _, rows in self.promised))

    # What people do

    @rule(name=PLACE, first=FIRST, count=COUNT)
    def runs(self, name, first, count):
        assert self.search(name, first, count) == 0
        self.gained(name, {*range(first, first + count)})
        assert {*observations.read(self.place[name] / "observations.csv").table.index} == self.known[name]

    @rule(name=PLACE, first=FIRST, count=COUNT, at=st.integers(1, 5), error=st.sampled_from([*STOPS]))
    def is_stopped(self, name, first, count, at, error):
        self.fault = at, error()
        code = self.search(name, first, count)
        struck, self.fault = len(self.evaluated) >= at, None
        assert code == (STOPS[error] if struck else 0)
        self.gained(name, self.finished())

    @rule(name=PLACE, first=FIRST, count=COUNT, pick=PICK)
    def is_killed(self, name, first, count, pick):
        before, spoiled = tree(self.root), dict(self.spoiled)
        with written_down(self.root) as self.log:
            self.search(name, first, count)
        self.spoiled = spoiled
        self.crash(before, name, pick)

    def crash(self, before, name, pick):
        states = [*crashes(before, self.log)]
        made, state = states[pick % len(states)]
        put(self.root, state)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if self.spoiled[name] else "error", UserWarning)
            self.gained(name, set().union(*(rows for by, rows in self.promised if by <= made)))

    @rule(name=PLACE, killed=st.booleans(), pick=PICK)
    def merges(self, name, killed, pick):
        (other,) = {*"ab"} - {name}
        if any(self.spoiled.values()) or not (self.known[name] and self.known[other]):
            return
        STEPS["steps"] += 1
        before, rows = tree(self.root), set(self.known[other])
        with written_down(self.root) as self.log:
            folders = [self.place[name], self.place[other]]
            assert self.call("merge", *folders, "--profile", "toy", "--out", self.place[name]) in (0, 1)
        assert not self.evaluated
        self.crash(before, name, pick) if killed else self.gained(name, rows)

    # What befalls them

    @rule(name=PLACE, pick=PICK, share=st.floats(0, 0.99))
    def is_cut(self, name, pick, share):
        STEPS["steps"] += 1
        paths = [*self.place[name].rglob("*.chunk.json"), self.place[name] / "observations.csv"]
        rows = {path: found for path in sorted(paths) if (found := rows_of(path)) is not None}
        if rows:
            path = [*rows][pick % len(rows)]
            path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size) - 2])
            self.spoiled[name], self.known[name] = True, set().union(*(rows[p] for p in rows if p != path))

    @rule(name=PLACE)
    def comes_without_its_chunks(self, name):
        path = self.place[name] / "observations.csv"
        if rows_of(path) == self.known[name]:
            STEPS["steps"] += 1
            shutil.rmtree(self.place[name] / "chunks", ignore_errors=True)
            self.gained(name, set())

    @rule(name=PLACE)
    def is_left_by_the_previous_release(self, name):
        # Killed between the two files, which it wrote the other way round.
        path, chunks = self.place[name] / "observations.csv", self.place[name].rglob("*.chunk.json")
        chunked = set().union(*(rows_of(chunk) or () for chunk in chunks))
        if path.exists() and chunked == self.known[name] != set():
            STEPS["steps"] += 1
            path.write_text(path.read_text() + "12,0,0,ok,\n")
            self.spoiled[name] = True

    @rule(name=PLACE)
    def is_moved(self, name):
        STEPS["steps"] += 1
        self.place[name] = self.place[name].rename(self.root / f"{name}{STEPS['steps']}")

    @rule(name=PLACE)
    def is_copied_to_another_machine(self, name):
        STEPS["steps"] += 1
        (other,) = {*"ab"} - {name}
        shutil.rmtree(self.place[other])
        shutil.copytree(self.place[name], self.place[other])
        self.known[other], self.spoiled[other] = set(self.known[name]), self.spoiled[name]

    @rule(name=PLACE, first=FIRST)
    def is_searched_by_two(self, name, first):
        folder = files.writable(self.place[name] / "chunks")
        with files.held(folder, "none"):
            assert self.search(name, first, 2) == 2
        assert not self.evaluated


Searches.TestCase.settings = settings(max_examples=12, stateful_step_count=25)
TestSearches = Searches.TestCase


@pytest.mark.slow
def test_ten_thousand_steps():
    from hypothesis.stateful import run_state_machine_as_test

    STEPS.clear()
    run_state_machine_as_test(Searches, settings=settings(max_examples=350, stateful_step_count=40))
    print(dict(STEPS))
    assert STEPS["steps"] >= 10_000
