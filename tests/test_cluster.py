"""Searches on a Dask cluster of real processes: the same table from any of them, and when they are killed."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pandas as pd
import pytest
import torch
from ConfigSpace import ConfigurationSpace, Float
from helpers import assert_same, chunk_files, until

from ubalkit import experiment as experiments
from ubalkit import files, observations, workers
from ubalkit.__main__ import main
from ubalkit.experiment import Experiment
from ubalkit.paper import notebooks, protocols

distributed = pytest.importorskip("distributed")

CI = protocols.get("ci").protocol
TINY = replace(CI, n_train=100, epochs=1, hidden=(8,), n_configurations=60)
SPACE = ConfigurationSpace(space={"x": Float("x", (0.0, 1.0))})


def experiment(objective, n=40, **settings):
    return Experiment("toy", objective, SPACE, {"loss": "minimize"}, n_configurations=n, **settings)


def value(configuration, seed):
    return configuration["x"]


def quiet_run(searched, folder, **how):
    return experiments.run(searched, folder=folder, **{"progress": False, **how}).table


def dask(folder, environment, *arguments):
    """A process of Dask's command line."""
    command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, **quiet)


@contextmanager
def cluster(folder, n_workers, *options, **environment):
    """A scheduler and workers, each a process: (address, scheduler, workers)."""
    file, processes = folder / "scheduler.json", []

    def start(*arguments):
        processes.append(dask(folder, environment, *arguments))

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        there = until(lambda: file.exists() and json.loads(file.read_text() or "{}"), "No scheduler.")
        address = there["address"]
        for _ in range(n_workers):
            start("worker", address, "--nthreads", "1", "--no-nanny", *options)
        with distributed.Client(address, set_as_default=False) as client:
            if n_workers:
                client.wait_for_workers(n_workers, timeout=180)
                client.run(files.code)  # the first time it takes long
        yield address, processes[0], processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def another_worker(client, folder, *options, **environment):
    """One more worker of a client's cluster; gives its process."""
    address, known = client.scheduler.address, len(client.scheduler_info(n_workers=-1)["workers"])
    with dask(folder, environment, "worker", address, "--no-nanny", *options) as process:
        try:
            client.wait_for_workers(known + 1, timeout=180)
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a cluster of two workers."""
    with cluster(tmp_path_factory.mktemp("cluster"), 2) as (address, _, _):
        yield address


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """What every way of searching must give."""
    return quiet_run(TINY, tmp_path_factory.mktemp("undisturbed"), n_jobs=1)


@pytest.mark.parametrize(("n_workers", "chunk"), [(1, 60), (2, 7), (2, 1)])
def test_any_number_of_workers_and_any_chunk_give_the_same_table(address, table, tmp_path, n_workers, chunk):
    with workers.connected(address) as client:
        chosen = list(client.scheduler_info(n_workers=-1)["workers"])[:n_workers]
        asked = client.submit

        def of_the_chosen(*arguments, **how):
            return asked(*arguments, **{**how, "workers": chosen})

        client.submit = of_the_chosen
        assert_same(quiet_run(TINY, tmp_path, client=client, chunk=chunk), table)


def test_an_objective_of_a_notebook_reaches_the_workers_and_its_errors_come_back(address, tmp_path):
    with workers.connected(address) as client:
        here = quiet_run(experiment(lambda c, s: c["x"] + s % 7), tmp_path / "here", n_jobs=1)
        there = quiet_run(experiment(lambda c, s: c["x"] + s % 7), tmp_path / "there", client=client)
        assert_same(there, here)
        with pytest.raises(ValueError, match="returned the metrics depth for configuration"):
            quiet_run(experiment(lambda c, s: {"depth": 1}), tmp_path / "wrong", client=client)


def test_what_a_cluster_cannot_do_is_refused(address, tmp_path, monkeypatch):
    with workers.connected(address) as client:
        # Of one that comes too late to be asked.
        monkeypatch.setattr(workers, "_able", lambda client: None)
        monkeypatch.setattr(files, "code", lambda: "other code")
        with pytest.raises(ValueError, match=r"A worker has ubalkit .* the search other code\."):
            quiet_run(TINY, tmp_path, client=client)


def test_workers_without_the_code_of_the_search_are_named_and_left_out(tmp_path, table, monkeypatch):
    lacking, other = tmp_path / "lacking", tmp_path / "other"
    (lacking / "ubalkit").mkdir(parents=True)
    (lacking / "ubalkit" / "__init__.py").write_text("raise ImportError('no ubalkit here')")
    shutil.copytree(files.home() / "ubalkit", other / "ubalkit")
    with (other / "ubalkit" / "ubal" / "network.py").open("a") as changed:
        changed.write("# The same version, other code.")

    with (
        cluster(tmp_path, 0) as (address, _, _),
        workers.connected(address) as client,
        ExitStack() as stack,
    ):

        def refused(message):
            start = time.monotonic()
            with pytest.raises(workers.Lost, match=message):
                quiet_run(TINY, tmp_path / "chunks", client=client)
            assert time.monotonic() - start < 15

        def joins(folder, *options):
            return stack.enter_context(another_worker(client, tmp_path, *options, PYTHONPATH=str(folder)))

        refused(r"has no worker with ubalkit [\d.]+ of source \w{8} with torch [\d.]+\. 0 of 60")
        joins(lacking)
        joins(other)
        stopped = joins(files.home())
        stopped.send_signal(signal.SIGSTOP)
        said = [r"ImportError\('no ubalkit here'\)", r"ubalkit \S+ of source \w+ with torch \S+", "no answer"]
        refused("".join(rf"(?=.*tcp\S+ has {what}[.;])" for what in said))
        stopped.kill()
        until(lambda: len(client.scheduler_info()["workers"]) == 2, "It was not missed.")
        right = joins(files.home())
        monkeypatch.setattr(workers, "LIMIT", 60)
        with pytest.warns(UserWarning, match=r"Workers without .* are left out: (tcp.*){2}\."):
            assert_same(quiet_run(TINY, tmp_path / "chunks", client=client, chunk=2), table)

        def kills(configuration, seed):
            os.kill(pid, signal.SIGKILL)

        pid = right.pid
        monkeypatch.setattr(workers, "LIMIT", 5)
        with pytest.raises(workers.Lost, match=r"no worker is left.* 0 of 40"), pytest.warns(UserWarning):
            quiet_run(experiment(kills), tmp_path / "killed", client=client)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "spam://1", "tcp://"])
def test_where_no_scheduler_answers_one_sentence_says_so(address):
    with pytest.raises(ValueError, match="No Dask scheduler answers at '"), workers.connected(address):
        pass
    # Half made, the garbage collector would close it: while another one starts, they wait for each other.
    clients = [made for made in gc.get_objects() if type(made) is distributed.Client]
    assert {client.status for client in clients} <= {"closed", "running"}


def test_the_command_line_and_the_first_notebook_search_on_a_cluster(address, runs):
    task, out = ["search", "--profile", "ci", "--count", "8", "--dask", address], runs / "there"
    with pytest.raises(SystemExit) as ended:
        main([*task, "--out", str(out)])
    assert ended.value.code == 0
    found = observations.read(out / "observations.csv", CI)
    assert_same(found.table, quiet_run(CI, runs / "here", n=8, n_jobs=1))
    given = {"dask_scheduler": address, "n_configurations": 20, "n_rerun": 1}
    notebooks.run("ci", ["01_search"], {"01_search": given})
    again = observations.read(runs / "ci" / "observations.csv", CI)
    assert_same(again.table.head(8), found.table)


# GPUs


def test_a_gpu_is_asked_for_where_a_worker_offers_one_and_one_chunk_at_a_time(address, tmp_path):
    def work(piece):
        with (tmp_path / "busy").open("x"):
            pass
        time.sleep(0.05)  # as long as a chunk takes
        (tmp_path / "busy").unlink()
        return pd.DataFrame({"pid": os.getpid(), "threads": torch.get_num_threads()}, index=list(piece))

    with workers.connected(address) as client:
        with pytest.raises(ValueError, match="No worker of the cluster offers a GPU"):
            list(workers.on_cluster(work, [[0]], client, gpu=True))
        options = ["--nthreads", "4", "--resources", "GPU=1"]
        with another_worker(client, tmp_path, *options, OMP_NUM_THREADS="2") as process:
            parts = list(workers.on_cluster(work, [[k] for k in range(12)], client, gpu=True))
        until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 2, "It was not missed.")
    rows = pd.concat(parts)
    assert sorted(rows.index) == list(range(12))
    assert set(rows["pid"]) == {process.pid} and set(rows["threads"]) == {1}


# Kills


def slow():
    """Made anew, so that it is sent to workers as it is: they cannot import a module of the tests."""

    def objective(configuration, seed):
        time.sleep(0.05)
        return configuration["x"]

    return objective


@contextmanager
def killed(process, folder, n):
    """Kill a process, in mid-run, once there are so many chunks."""

    def kill():
        until(lambda: len(chunk_files(folder)) >= n, "Nothing was written.")
        process.send_signal(signal.SIGKILL)
        there.append(len(chunk_files(folder)))

    there, killer = [], threading.Thread(target=kill, daemon=True)
    killer.start()
    yield
    killer.join()
    assert process.wait(60) == -signal.SIGKILL and n <= there[0] < 200


def test_a_worker_killed_in_mid_run_costs_nothing(tmp_path):
    folder = tmp_path / "chunks"
    with cluster(tmp_path, 2) as (address, _, processes), workers.connected(address) as client:
        with killed(processes[1], folder, 8):
            found = quiet_run(experiment(slow(), n=200), folder, client=client)
    assert_same(found, quiet_run(experiment(value, n=200), tmp_path / "undisturbed", n_jobs=1))


def test_a_chunk_of_which_workers_die_is_given_up_and_named(tmp_path):
    folder = tmp_path / "chunks"

    def deadly(configuration, seed):
        if configuration["x"] == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return configuration["x"]

    fatal = experiment(None).configurations([20])["x"].item()
    # No death is allowed, so that a worker is left.
    allowed = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with cluster(tmp_path, 2, **allowed) as (address, _, _), workers.connected(address) as client:
        with pytest.raises(workers.Lost, match=r"workers die of a piece.* of 40 configurations"):
            quiet_run(experiment(deadly), folder, client=client)
    assert 20 not in observations.read_chunks(folder, experiment(None)).index


def test_a_scheduler_that_is_killed_is_named_and_the_search_goes_on_elsewhere(tmp_path):
    folder = tmp_path / "chunks"
    with cluster(tmp_path, 1) as (address, scheduler, _), workers.connected(address) as client:
        gone = pytest.raises(workers.Lost, match=r"scheduler is gone.* \d+ of 200 .*goes on from there")
        with killed(scheduler, folder, 5), gone:
            quiet_run(experiment(slow(), n=200), folder, client=client)
    before = {path: path.stat().st_mtime_ns for path in chunk_files(folder)}
    assert 5 <= len(before) < 200
    found = quiet_run(experiment(value, n=200), folder, n_jobs=1)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_same(found, quiet_run(experiment(value, n=200), tmp_path / "undisturbed", n_jobs=1))
