"""Searches under faults: killed, cut, out of disk, locked, interrupted; nothing is lost, nothing is wrong."""

import errno
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from ConfigSpace import ConfigurationSpace, Float
from helpers import assert_same, chunk_files, until

from ubalkit import experiment as experiments
from ubalkit import files, observations, workers
from ubalkit.experiment import Experiment

SPACE = ConfigurationSpace(space={"x": Float("x", (0.0, 1.0))})

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="These faults are Unix's.")


@pytest.fixture(autouse=True)
def interruptible():
    """What a shell runs in the background ignores interrupts, and so would all that a test starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def quiet_run(searched, folder, **how):
    return experiments.run(searched, folder=folder, **{"n_jobs": 1, "progress": False, **how}).table


def experiment(objective=lambda configuration, seed: configuration["x"], n=12):
    return Experiment("toy", objective, SPACE, {"loss": "minimize"}, n_configurations=n, chunk=2)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the search of `experiment` must give whatever befalls it."""
    return quiet_run(experiment(), tmp_path_factory.mktemp("undisturbed"))


@contextmanager
def no_warning():
    """No damaged file is found, for one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def times(folder):
    return {path: path.stat().st_mtime_ns for path in chunk_files(folder)}


@contextmanager
def forked(work):
    """A process that does something; it is killed at the end, if it still lives."""
    process = os.fork()
    if not process:
        with suppress(BaseException):
            work()
        os._exit(0)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


# Kills


def test_an_objective_that_cannot_be_pickled_is_refused_in_a_sentence(tmp_path):
    lock = threading.Lock()
    with pytest.raises(ValueError, match=r"to another process, TypeError: cannot pickle .*lock.*n_jobs=1"):
        quiet_run(experiment(lambda configuration, seed: lock.locked()), tmp_path, n_jobs=2)


def test_a_process_of_the_search_that_is_killed_is_named_and_nothing_finished_is_lost(tmp_path, undisturbed):
    fatal = undisturbed.loc[10, "x"]

    def killed(configuration, seed):
        if configuration["x"] == fatal:
            while not (tmp_path / "000000-000001.chunk.json").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return configuration["x"]

    with pytest.raises(workers.Lost, match=r"died.* of 12 configurations .*run again") as lost:
        quiet_run(experiment(killed), tmp_path, n_jobs=2)
    before, kept = times(tmp_path), observations.read_chunks(tmp_path, experiment())
    assert f" {len(kept)} of 12" in str(lost.value) and 2 <= len(kept) <= 10
    assert_same(quiet_run(experiment(), tmp_path), undisturbed)
    assert before.items() <= times(tmp_path).items()


# Damage


def test_a_chunk_cut_or_replaced_is_reported_once_and_computed_again(tmp_path, undisturbed):
    quiet_run(experiment(n=2), tmp_path)
    (file,) = chunk_files(tmp_path)
    whole = file.read_bytes()
    cut = [whole[:length] for length in range(len(whole) - 1)]  # the last byte ends the line, no more
    for damaged in [*cut, b"null", b"[]", b"\xff\xfe\x00" + whole]:
        file.write_bytes(damaged)
        with pytest.warns(UserWarning, match=rf"{file.name} is damaged; its configurations are computed"):
            assert_same(quiet_run(experiment(n=2), tmp_path), undisturbed.head(2))
        assert file.read_bytes() == whole
    with no_warning():
        quiet_run(experiment(n=2), tmp_path)
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert_same(quiet_run(experiment(n=2), tmp_path), undisturbed.head(2))


# The disk


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="No device here is always full.")
def test_a_disk_that_fills_up_is_one_sentence_and_what_was_finished_stays(tmp_path, undisturbed):
    def fills(configuration, seed):
        # The third chunk's draft goes to a device that has no space left.
        draft = tmp_path / f".000004-000005.chunk.json.{os.getpid()}"
        if len(chunk_files(tmp_path)) == 2 and not draft.is_symlink():
            draft.symlink_to("/dev/full")
        return configuration["x"]

    with pytest.raises(ValueError, match=r"000004-.*\.chunk\.json could not be written \(No space left on"):
        quiet_run(experiment(fills), tmp_path)
    assert len(observations.read_chunks(tmp_path, experiment())) == 4
    assert_same(quiet_run(experiment(), tmp_path), undisturbed)


@pytest.fixture
def readable():
    """A folder that everyone can read; pytest's own are its user's alone."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        Path(folder).chmod(0o755)


@contextmanager
def nobody():
    """No rights that root has."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_can_only_be_read_is_merged_from_and_nothing_is_evaluated_for_it(readable):
    asked = []
    table = quiet_run(experiment(n=4), readable)
    (readable / "000000-000001.chunk.json").write_text("cut")
    readable.chmod(0o555)
    with nobody(), pytest.raises(ValueError, match=r"cannot be written to \(Permission denied\)"):
        quiet_run(experiment(lambda *given: asked.append(given)), readable)
    assert not asked
    with nobody(), pytest.warns(UserWarning, match="is damaged"):
        rest, twice, conflicts = observations.merge([readable], experiment())
    assert not twice and not conflicts
    assert_same(rest, table.loc[[2, 3]])


def sealed(path):
    csv = "index,x,loss,status,why\nTrue,0.1,0.1,ok,\nFalse,0.1,0.1,ok,\n"
    files.write_sealed(path, {"fingerprint": experiment().fingerprint, "csv": csv})


ODD = {
    "folder": lambda path: path.mkdir(),
    "link to itself": lambda path: path.symlink_to(path.name),
    "pipe": lambda path: os.mkfifo(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "unreadable": lambda path: path.touch(0),
    "index of words": sealed,
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_file_among_the_chunks_is_reported_as_a_damaged_one(readable, undisturbed, kind):
    readable.chmod(0o777)
    ODD[kind](readable / "000000-000001.chunk.json")
    with nobody(), pytest.warns(UserWarning, match="000000-000001.chunk.json is damaged"):
        assert_same(quiet_run(experiment(), readable), undisturbed)


# Two at once


@pytest.mark.parametrize("killed", [False, True], ids=["to its end", "killed"])
def test_of_two_searches_in_one_folder_the_second_is_refused_until_the_first_is_gone(
    tmp_path, undisturbed, killed
):
    go, begun, folder = tmp_path / "go", tmp_path / "begun", tmp_path / "chunks"

    def waits(configuration, seed):
        begun.touch()
        until(go.exists, "It was never let go.")
        return configuration["x"]

    with forked(lambda: quiet_run(experiment(waits), folder)) as first:
        until(begun.exists, "The first search did not begin.")
        with pytest.raises(ValueError, match="Another search is writing to"):
            quiet_run(experiment(), folder)
        if not killed:
            go.touch()
            os.waitpid(first, 0)
    assert len(chunk_files(folder)) == (0 if killed else 6)
    assert_same(quiet_run(experiment(), folder), undisturbed)


def test_a_folder_that_cannot_be_locked_is_one_sentence(readable):
    quiet_run(experiment(n=4), readable)
    (readable / ".lock").chmod(0o444)
    readable.chmod(0o777)
    with nobody(), pytest.raises(ValueError, match=r"cannot be locked \(Permission .*; search in another"):
        quiet_run(experiment(), readable)


# Interrupts


def test_interrupted_with_its_processes_a_search_says_so_once(tmp_path):
    # As in a terminal or a notebook, where an interrupt goes to the whole group.
    script = f"""
import os, pathlib, time
from ConfigSpace import ConfigurationSpace, Float
from ubalkit.experiment import Experiment, run

def objective(configuration, seed):
    here = pathlib.Path({str(tmp_path)!r})
    (here / ("process-%d" % os.getpid())).touch()
    while len(list(here.glob("process-*"))) < 2:
        time.sleep(0.01)
    if configuration["x"] == hangs:
        time.sleep(600)
    return configuration["x"]

space = ConfigurationSpace(space={{"x": Float("x", (0.0, 1.0))}})
experiment = Experiment("toy", objective, space, {{"loss": "minimize"}}, n_configurations=2)
hangs = experiment.configurations([1])["x"].item()
try:
    run(experiment, folder=pathlib.Path({str(tmp_path / "chunks")!r}), n_jobs=2, progress=False)
except KeyboardInterrupt as stopped:
    print(stopped)
"""
    start = [sys.executable, "-c", script]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(start, **pipes, start_new_session=True) as process:
        try:
            # One process is in the middle of its chunk then, the other waits for a further one.
            until(lambda: chunk_files(tmp_path / "chunks"), "The processes did not begin.")
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert out.startswith("Stopped. 1 of 2 ") and out.count("\n") == 1
    assert err == ""


# While it runs


VANISHES = {
    "deleted": lambda path: path.unlink(),
    "damaged": lambda path: path.write_text("cut"),
    "moved": lambda path: (path.parent.rename(path.parent.parent / "elsewhere"), path.parent.mkdir()),
}


@pytest.mark.parametrize("what", VANISHES)
@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_a_chunk_gone_while_the_search_runs_is_named_and_computed_the_next_time(what, tmp_path, undisturbed):
    def strikes(configuration, seed):
        if configuration["x"] == undisturbed.loc[7, "x"]:
            VANISHES[what](tmp_path / "chunks" / "000000-000001.chunk.json")
        return configuration["x"]

    said = "0-5 are lost. 6 of 12" if what == "moved" else "0-1 are lost. 10 of 12"
    with pytest.raises(workers.Lost, match=rf"Configurations {re.escape(said)} .* goes on from there"):
        quiet_run(experiment(strikes), tmp_path / "chunks")
    assert_same(quiet_run(experiment(), tmp_path / "chunks"), undisturbed)


FAILURES = [MemoryError(), OSError(errno.ENOSPC, "full"), OSError(errno.EMFILE, "too many")]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_failure_of_the_machine_is_lost_work_and_no_result(failure, n_jobs, tmp_path, undisturbed):
    def fails(configuration, seed):
        if configuration["x"] in fatal:
            raise failure
        return configuration["x"]

    fatal = set(undisturbed.loc[[2, 3, 6], "x"])
    said = rf"Configurations 2-3, 6 are lost \({type(failure).__name__}:.*\)\. 9 of 12 configurations"
    with pytest.raises(workers.Lost, match=said):
        quiet_run(experiment(fails), tmp_path, n_jobs=n_jobs)
    assert_same(quiet_run(experiment(), tmp_path), undisturbed)


def test_a_folder_stays_where_it_was_when_an_objective_changes_its_own(tmp_path, monkeypatch, undisturbed):
    monkeypatch.chdir(tmp_path)
    moves = experiment(lambda configuration, seed: (os.chdir("/"), configuration["x"])[1])
    assert_same(quiet_run(moves, Path("here")), undisturbed)
    assert len(chunk_files(tmp_path / "here")) == 6


def test_what_an_objective_may_do_harms_no_search(tmp_path):
    script = f"""
import sys, threading
from pathlib import Path
from ConfigSpace import ConfigurationSpace, Float
from ubalkit.experiment import Experiment, run

class Own(Exception):
    def __init__(self, one, two):
        pass

def objective(configuration, seed):
    threading.Thread(target=threading.Event().wait).start()
    if configuration["x"] < 0.3:
        raise Own(1, 2)
    return configuration["x"] if configuration["x"] < 0.6 else sys.exit("enough")

space = ConfigurationSpace(space={{"x": Float("x", (0.0, 1.0))}})
toy = Experiment("toy", objective, space, {{"loss": "minimize"}}, n_configurations=12)
table = run(toy, folder=Path({str(tmp_path)!r}), n_jobs=2, progress=False).table
print(*sorted(set(table["why"].fillna(""))), sep="|")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "|Own: (1, 2)|SystemExit: enough", done.stderr


SHORT = "search --profile ci --count 4 --chunk 1 --workers "
#: What a shell does, and what is said.
SHELL = {
    f"ulimit -n 16; {{}} {SHORT} 2 --out a": r"\[Errno 24\] Too many open files.*",
    f"{{}} {SHORT} 1 --out b | true": r"\[Errno 32\] Broken pipe",
    f"ln -s r r; UBALKIT_RUNS=r {{}} {SHORT} 1": r"The folder .*/r/ci/.* cannot be written to \(.*link.*",
}


@pytest.mark.parametrize("line", SHELL)
def test_a_poor_place_is_one_sentence(line, tmp_path):
    command = ["bash", "-c", line.format(f"{sys.executable} -m ubalkit")]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120).stderr
    assert "Traceback" not in said and re.fullmatch(SHELL[line], said.strip().splitlines()[-1])


def test_want_of_files_is_said_as_such_where_the_pool_says_otherwise(monkeypatch):
    def confused(*given, **how):
        try:
            raise OSError(errno.EMFILE, "Too many open files")
        finally:
            raise UnboundLocalError("child_r")

    monkeypatch.setattr("joblib.Parallel", lambda *given, **how: confused)
    with pytest.raises(OSError, match="Too many open files"):
        list(workers.in_processes(len, [[0]], 2))
