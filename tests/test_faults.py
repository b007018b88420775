"""Searches under faults: killed, cut, out of disk, locked, interrupted; nothing is lost, nothing is wrong."""

import itertools
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import tqdm.std
from ConfigSpace import ConfigurationSpace, Float
from helpers import assert_same, chunk_files, until
from jupyter_client.manager import KernelManager

from ubalkit import chunks, executors, observations, profiles, search
from ubalkit.experiment import Experiment

PROFILE = replace(profiles.get("ci"), n_train=100, epochs=1, hidden=(8,), n_configurations=60)
SPACE = ConfigurationSpace(space={"x": Float("x", (0.0, 1.0))})

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="These faults are Unix's.")


@pytest.fixture(autouse=True)
def interruptible():
    """What a shell runs in the background ignores interrupts, and so would all that a test starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def quiet_run(profile, folder, **how):
    return search.run(profile, folder=folder, **{"workers": 1, "progress": False, **how})


def experiment(objective=lambda configuration, seed: configuration["x"], n=12):
    return Experiment("toy", objective, SPACE, {"loss": "minimize"}, n_configurations=n, chunk=2)


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


def test_killed_twenty_times_in_a_row_the_table_is_that_of_an_undisturbed_search(tmp_path):
    undisturbed = quiet_run(PROFILE, tmp_path / "undisturbed")
    folder, moment, alive = tmp_path / "killed", random.Random(0), 0
    for _ in range(20):
        with forked(lambda: quiet_run(PROFILE, folder, chunk=1)) as process:
            time.sleep(moment.uniform(0, 0.1))  # any moment
            alive += os.waitpid(process, os.WNOHANG) == (0, 0)
    assert alive >= 15
    with warnings.catch_warnings():
        # A kill leaves no damaged file behind that would have to be computed again.
        warnings.simplefilter("error", UserWarning)
        assert_same(quiet_run(PROFILE, folder, chunk=7), undisturbed)


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_while_it_writes_a_search_leaves_whole_chunks_only(tmp_path, moment, after):
    calls, real = [], getattr(os, moment)

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 3 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*arguments)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    def work():
        setattr(os, moment, killed)
        quiet_run(experiment(), tmp_path)

    with forked(work) as process:
        os.waitpid(process, 0)
    whole = 2 + (moment == "replace" and after)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert len(chunks.read(tmp_path, experiment())) == 2 * whole
        table = quiet_run(experiment(), tmp_path)
    assert_same(table, quiet_run(experiment(), tmp_path / "undisturbed"))
    # The draft that the kill left is gone, too.
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} <= {
        ".lock",
        *(path.name for path in chunk_files(tmp_path)),
    }


def test_a_process_of_the_search_that_is_killed_is_named_and_nothing_finished_is_lost(tmp_path):
    fatal = search.configurations(experiment(), [10])["x"].item()

    def killed(configuration, seed):
        if configuration["x"] == fatal:
            while not (tmp_path / "000000-000001.chunk.json").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return configuration["x"]

    with pytest.raises(
        executors.Lost, match=r"died.* of 12 configurations are finished, in .*run again"
    ) as lost:
        quiet_run(experiment(killed), tmp_path, workers=2)
    kept = chunks.read(tmp_path, experiment())
    assert f" {len(kept)} of 12" in str(lost.value) and 2 <= len(kept) <= 10
    before = {path: path.stat().st_mtime_ns for path in chunk_files(tmp_path)}
    assert_same(quiet_run(experiment(), tmp_path), quiet_run(experiment(), tmp_path / "undisturbed"))
    assert {path: path.stat().st_mtime_ns for path in before} == before


# Damage


def test_a_chunk_cut_at_any_byte_is_detected_and_computed_again(tmp_path):
    one = experiment(n=2)
    undisturbed = quiet_run(one, tmp_path)
    (file,) = chunk_files(tmp_path)
    whole = file.read_bytes()
    for length in range(len(whole) - 1):  # the last byte ends the line, no more
        file.write_bytes(whole[:length])
        with pytest.warns(UserWarning, match="is damaged; its configurations are computed again"):
            assert_same(quiet_run(one, tmp_path), undisturbed)
        assert file.read_bytes() == whole


def test_a_chunk_with_any_byte_changed_is_detected_or_says_the_same(tmp_path):
    one = experiment(n=2)
    undisturbed = quiet_run(one, tmp_path)
    (file,) = chunk_files(tmp_path)
    whole, detected = file.read_bytes(), 0
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                assert_same(quiet_run(one, tmp_path), undisturbed)
            except ValueError as error:
                assert "was made with other settings" in str(error)  # the fingerprint was hit
                caught.append(error)
        detected += bool(caught)
        file.write_bytes(whole)
    assert detected >= 0.9 * len(whole)


def test_a_reason_of_any_length_is_read_back(tmp_path):
    def fails(configuration, seed):
        raise ValueError("x" * 1_000_000)

    quiet_run(experiment(fails, n=2), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        table = chunks.read(tmp_path, experiment(n=2))
    assert table["why"].str.startswith("ValueError: xxx").all() and table["why"].str.len().max() == 500


# The disk


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="No device here is always full.")
def test_a_disk_that_fills_up_is_one_sentence_and_what_was_finished_stays(tmp_path):
    def fills(configuration, seed):
        # The third chunk's draft goes to a device that has no space left.
        draft = tmp_path / f".000004-000005.chunk.json.{os.getpid()}"
        if len(chunk_files(tmp_path)) == 2 and not draft.is_symlink():
            draft.symlink_to("/dev/full")
        return configuration["x"]

    with pytest.raises(
        ValueError, match=r"000004-000005\.chunk\.json could not be written \(No space left on"
    ):
        quiet_run(experiment(fills), tmp_path)
    assert len(chunks.read(tmp_path, experiment())) == 4
    assert_same(quiet_run(experiment(), tmp_path), quiet_run(experiment(), tmp_path / "undisturbed"))


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


def test_a_folder_that_can_only_be_read_is_refused_before_anything_is_evaluated(readable):
    asked = []
    quiet_run(experiment(n=2), readable)
    readable.chmod(0o555)
    with nobody(), pytest.raises(ValueError, match=r"cannot be written to \(Permission denied\)"):
        quiet_run(experiment(lambda *given: asked.append(given)), readable)
    assert not asked and len(chunks.read(readable, experiment())) == 2


# Two at once


def test_of_two_searches_in_one_folder_the_second_is_refused_and_neither_is_harmed(tmp_path):
    go = tmp_path / "go"

    def waits(configuration, seed):
        until(go.exists, "It was never let go.")
        return configuration["x"]

    folder = tmp_path / "chunks"
    with forked(lambda: quiet_run(experiment(waits), folder)) as first:
        until((folder / ".lock").exists, "The first search did not begin.")

        def refused():
            try:
                quiet_run(experiment(), folder)
            except ValueError as error:
                return "Another search is writing to" in str(error)
            return False

        assert refused()
        go.touch()
        os.waitpid(first, 0)
    assert len(chunk_files(folder)) == 6
    assert_same(quiet_run(experiment(), folder), quiet_run(experiment(), tmp_path / "undisturbed"))


def test_a_search_that_was_killed_does_not_keep_others_out(tmp_path):
    folder = tmp_path / "chunks"

    def hangs(configuration, seed):
        (tmp_path / "begun").touch()
        time.sleep(600)

    with forked(lambda: quiet_run(experiment(hangs), folder)):
        until((tmp_path / "begun").exists, "The search did not begin.")
        with pytest.raises(ValueError, match="Another search is writing to"):
            quiet_run(experiment(), folder)
    assert len(quiet_run(experiment(), folder)) == 12


# The clock


@pytest.mark.parametrize("hours", [-1, 1], ids=["back", "ahead"])
def test_a_clock_that_jumps_changes_nothing(hours, tmp_path, monkeypatch, capsys):
    undisturbed = quiet_run(PROFILE, tmp_path / "undisturbed", n=10)
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path))
    # By an hour each time that somebody looks at it.
    real, looks = time.time, itertools.count()
    for module in (time, tqdm.std):
        monkeypatch.setattr(module, "time", lambda: real() + 3600 * hours * next(looks))
    assert_same(quiet_run(PROFILE, tmp_path / "jumping", n=10, chunk=1, progress=True), undisturbed)
    search.main(["--profile", "ci", "--count", "2", "--workers", "1"])
    about = observations.read(tmp_path / "ci" / "observations.csv").attrs["about"]
    assert 0 <= about["seconds"] < 600
    assert "Traceback" not in capsys.readouterr().err


# Interrupts


def test_interrupted_in_a_notebook_a_search_says_what_is_kept_and_goes_on_from_there(tmp_path):
    code = f"""
from dataclasses import replace
from pathlib import Path
from ubalkit import profiles, search
profile = replace(profiles.get("ci"), n_configurations=40)
table = search.run(profile, folder=Path({str(tmp_path / "chunks")!r}), chunk=1, workers=2, progress=False)
print(len(table))
"""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env={**os.environ, "OMP_NUM_THREADS": "1"})
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        client.execute(code)
        until(lambda: len(chunk_files(tmp_path / "chunks")) >= 3, "The search wrote no chunk.")
        manager.interrupt_kernel()
        (error,) = [m for m in messages(client) if m["msg_type"] == "error"]
        assert error["content"]["ename"] == "KeyboardInterrupt"
        kept = len(chunk_files(tmp_path / "chunks"))
        assert error["content"]["evalue"].startswith(
            f"Stopped. {kept} of 40 configurations are finished, in "
        )
        assert 3 <= kept < 40
        client.execute(code)
        (printed,) = [m["content"]["text"] for m in messages(client) if m["msg_type"] == "stream"]
        assert printed == "40\n"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    profile = replace(profiles.get("ci"), n_configurations=40)
    resumed = quiet_run(profile, tmp_path / "chunks")
    assert_same(resumed.loc[[0, 39]], quiet_run(profile, tmp_path / "two", indices=[0, 39]))


def messages(client):
    """What a cell sends, until it has ended."""
    found = []
    while True:
        try:
            message = client.get_iopub_msg(timeout=120)
        except queue.Empty:
            raise AssertionError("The kernel does not answer.") from None
        found.append(message)
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            if any(m["msg_type"] == "execute_input" for m in found):
                return found


def test_interrupted_on_the_command_line_it_ends_with_one_sentence(tmp_path):
    command = [sys.executable, "-m", "ubalkit.search", "--profile", "ci", "--chunk", "1", "--workers", "2"]
    with subprocess.Popen([*command, "--out", str(tmp_path)], stderr=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: chunk_files(tmp_path / "chunks"), "The search wrote no chunk.")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    last = said.strip().splitlines()[-1]
    assert last.startswith("Stopped. ") and " of 120 configurations are finished" in last
    assert "Traceback" not in said


def test_interrupted_with_its_processes_a_search_says_so_once(tmp_path):
    # As in a terminal or a notebook, where an interrupt goes to the whole group.
    script = f"""
import os, pathlib, time
from ConfigSpace import ConfigurationSpace, Float
from ubalkit import search
from ubalkit.experiment import Experiment

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
hangs = search.configurations(experiment, [1])["x"].item()
try:
    search.run(experiment, folder=pathlib.Path({str(tmp_path / "chunks")!r}), workers=2, progress=False)
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


# Merging


def test_chunks_of_an_array_job_are_merged_and_what_is_wrong_with_them_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path / "runs"))
    task = ["--profile", "ci", "--workers", "1", "--chunk", "2"]
    for first, count in ((0, 4), (4, 4), (6, 2), (9, 1)):
        search.main(
            [*task, "--first", str(first), "--count", str(count), "--out", str(tmp_path / f"{first}")]
        )
    ours = observations.read(tmp_path / "4" / "observations.csv")
    wrong = ours.loc[[5]].assign(test_accuracy=0.5)
    chunks.write(wrong, tmp_path / "6" / "chunks", profiles.get("ci"))
    merge = ["merge", *(str(tmp_path / f) for f in "0469"), "--profile", "ci", "--count", "10"]
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        search.main([*merge, "--out", str(tmp_path / "merged")])
    assert ended.value.code == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        "missing: 1 (8)",
        "twice: 2 (6-7)",
        "in conflict: 1 (5)",
    ]
    merged = observations.read(tmp_path / "merged" / "observations.csv", profiles.get("ci"))
    assert merged.index.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert merged.loc[5, "test_accuracy"] == ours.loc[5, "test_accuracy"]
    (made,) = merged.attrs["about"]["made_by"]
    assert made["device"] == "cpu" and made["precision"] == "float32"


def test_a_merge_of_all_there_is_ends_well(tmp_path, capsys):
    task = ["--profile", "ci", "--workers", "1", "--count", "4"]
    search.main([*task, "--out", str(tmp_path / "one")])
    with pytest.raises(SystemExit) as ended:
        search.main(["merge", str(tmp_path), *task, "--out", str(tmp_path / "merged")])
    assert not ended.value.code
    one, merged = (tmp_path / f / "observations.csv" for f in ("one", "merged"))
    assert merged.read_bytes() == one.read_bytes()


def test_a_table_that_came_without_its_chunks_is_extended_and_merged(tmp_path, capsys):
    task, recorded = ["--profile", "ci", "--workers", "1", "--chunk", "2"], tmp_path / "recorded"
    search.main([*task, "--count", "4", "--out", str(recorded)])
    whole = observations.read(recorded / "observations.csv")
    marked = whole.assign(test_accuracy=0.25)  # so that rows trained again would be seen
    shutil.rmtree(recorded / "chunks")
    about = {**whole.attrs["about"], "made_by": [{"device": "another"}], "seconds": 1000.0}
    observations.write(marked, recorded / "observations.csv", **about)
    shutil.copytree(recorded, tmp_path / "copy")

    search.main([*task, "--first", "2", "--count", "4", "--out", str(recorded)])
    search.main([*task, "--first", "6", "--count", "1", "--out", str(recorded)])
    longer = observations.read(recorded / "observations.csv", profiles.get("ci"))
    assert longer.index.tolist() == list(range(7))
    assert len(chunk_files(recorded / "chunks")) == 3  # the table once, and two pieces
    assert_same(longer.head(4), marked)
    about = longer.attrs["about"]
    assert [made["device"] for made in about["made_by"]] == ["another", "cpu"]
    assert 1000 < about["seconds"] < 2000

    search.main([*task, "--first", "4", "--count", "3", "--out", str(tmp_path / "elsewhere")])
    sources = [str(tmp_path / "copy"), str(tmp_path / "elsewhere")]
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        search.main(["merge", *sources, *task, "--count", "7", "--out", str(tmp_path / "copy")])
    assert not ended.value.code and "conflict" not in capsys.readouterr().out
    merged = observations.read(tmp_path / "copy" / "observations.csv", profiles.get("ci"))
    assert_same(merged, longer)
    assert merged.attrs["about"]["made_by"] == about["made_by"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["merge", "nowhere", "--profile", "ci"], "No chunk files in nowhere."),
        (["merge", "--profile", "ci"], "merge takes the folders to merge"),
        (["marge", "nowhere", "--profile", "ci"], "merge takes the folders to merge"),
    ],
)
def test_a_merge_of_nothing_is_refused(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        search.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_rows_in_conflict_within_a_folder_are_warned_of(tmp_path):
    table = quiet_run(experiment(n=4), tmp_path, chunk=4)
    chunks.write(table.loc[[1, 2]].assign(loss=7.0), tmp_path, experiment(n=4))
    with pytest.warns(UserWarning, match="different numbers for 1-2; the first are kept"):
        again = chunks.read(tmp_path, experiment(n=4))
    assert_same(again, table)


def test_a_folder_that_can_only_be_read_can_be_merged_from(readable):
    table = quiet_run(experiment(n=4), readable)
    (readable / "000000-000001.chunk.json").write_text("cut")
    readable.chmod(0o555)
    with nobody(), pytest.warns(UserWarning, match="is damaged"):
        merged = chunks.merge([readable], experiment(n=4))
    assert merged.missing(4) == [0, 1] and not merged.twice and not merged.conflicts
    assert_same(merged.table, table.loc[[2, 3]])
