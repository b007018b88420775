"""The search of networks: the same table however it is cut, stopped, resumed or spread over processes."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from helpers import assert_same, chunk_files, until

from ubalkit import experiment, metamodel, observations
from ubalkit import space as spaces
from ubalkit.paper import protocols
from ubalkit.ubal import hyperparameters

CI = protocols.get("ci").protocol
TINY = replace(CI, n_train=100, epochs=1, hidden=(8,), n_configurations=10)
# At this learning rate some networks' weights overflow and others' do not.
WILD = replace(TINY, learning_rate=3e37)


def quiet_run(protocol=TINY, n=None, **how):
    return experiment.run(protocol, n, **{"n_jobs": 1, "progress": False, **how}).table


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """What every way of searching must give."""
    folder = tmp_path_factory.mktemp("whole")
    return experiment.run(TINY, folder=folder, chunk=10, n_jobs=1, progress=False)


@pytest.fixture(scope="module")
def table(trials):
    return trials.table


def test_a_search_gives_the_trials_of_the_protocol(trials, table):
    assert list(table) == [*spaces.names(TINY.space), *protocols.METRICS, "status"]
    assert table.index.tolist() == list(range(10)) and table.index.name == "index"
    assert (table["status"] == "ok").all()
    assert table["test_accuracy"].nunique() > 3  # it measures something
    assert (trials.space, dict(trials.metrics)) == (TINY.space, dict.fromkeys(protocols.METRICS, "maximize"))
    assert trials.about["fingerprint"] == TINY.fingerprint


@pytest.mark.parametrize(
    "how", [{"chunk": 1}, {"chunk": 7}, {"chunk": 500}, {"chunk": 3, "n_jobs": 2}], ids=str
)
def test_pieces_of_any_size_in_any_process_give_the_same_table(table, tmp_path, how):
    assert_same(quiet_run(folder=tmp_path, **how), table)
    assert len(chunk_files(tmp_path)) == -(10 // -how["chunk"])


@pytest.mark.parametrize("indices", [range(6, 9), [7, 2, 3], np.array([9, 0])], ids=str)
def test_any_configurations_are_searched_and_not_computed_again(table, tmp_path, indices):
    wanted = [int(i) for i in indices]
    assert_same(quiet_run(folder=tmp_path, indices=indices, chunk=2), table.loc[wanted])
    assert observations.read_chunks(tmp_path, TINY).index.tolist() == sorted(wanted)
    before = {path: path.stat().st_mtime_ns for path in chunk_files(tmp_path)}
    # A search that meets them computes the rest, and gives what is asked for alone.
    assert_same(quiet_run(folder=tmp_path), table)
    assert_same(quiet_run(n=2, folder=tmp_path), table.loc[:1])
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_networks_have_the_hyperparameters_and_the_seeds_of_their_rows(table):
    rows = TINY.configurations([4, 2])
    assert_same(rows, table.loc[[4, 2], spaces.names(TINY.space)])
    seeds = TINY.seeds([4, 2])
    assert len({*seeds, *TINY.seeds([4, 2], stream=2), *replace(TINY, seed=1).seeds([4, 2])}) == 6
    both, twin = TINY.networks(rows, seeds), TINY.networks(rows.loc[[2]], seeds[1:])
    assert both.layers == (64, 8, 10)
    x, y = np.full((3, 64), 0.5), np.eye(10)[:3]
    for net in (both, twin):
        net.update(x, y)
    assert all((a[1] == b[0]).all() for a, b in zip(both.W + both.M, twin.W + twin.M))


def spy_on_measure(monkeypatch):
    """What `measure` is called with, and on how many threads."""
    calls, measure = [], protocols.Protocol.measure

    def spy(protocol, table, seeds, *, device="cpu"):
        threads = torch.get_num_threads()
        calls.append({"index": table.index.tolist(), "seeds": [*seeds], "threads": threads})
        return measure(protocol, table, seeds, device=device)

    monkeypatch.setattr(protocols.Protocol, "measure", spy)
    return calls


def test_repeats_are_the_same_configurations_from_other_seeds(monkeypatch):
    calls = spy_on_measure(monkeypatch)
    table = TINY.repeats(n=4, n_seeds=3)
    assert table.index.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert_same(table[spaces.names(TINY.space)], TINY.configurations(table.index))
    seeds = [seed for call in calls for seed in call["seeds"]]
    assert len({*seeds, *TINY.seeds(range(4))}) == 12 + 4, "a seed stands twice"
    # Chance moves the metrics, and every row is that of its seed.
    assert (table.groupby(level="index")["backprojection_accuracy"].std() > 0).any()
    assert_same(TINY.measure(TINY.configurations([1]), seeds[4:5]), table.iloc[[4]])
    one, other, third = (table["backprojection_accuracy"].iloc[k::3].to_numpy() for k in range(3))
    expected = np.var([one, other, third], axis=0, ddof=1).mean()
    assert metamodel.noise_variance(table, "backprojection_accuracy") == pytest.approx(expected)
    # Fewer of them, cut otherwise, are the first of these.
    calls.clear()
    assert_same(replace(TINY, chunk=4).repeats(3, 2), table.groupby(level="index").head(2).loc[:2])
    assert [call["index"] for call in calls] == [[0, 0, 1, 1], [2, 2]]


WAYS = {
    "run": lambda folder, trials: quiet_run(n=2, folder=folder),
    "repeats": lambda folder, trials: TINY.repeats(1, 2),
    "verify": lambda folder, trials: experiment.verify(TINY, trials, 1),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_number_of_threads_decides_a_row(way, trials, tmp_path, monkeypatch):
    before, tables = torch.get_num_threads(), {}
    for threads in (1, 2):
        calls = spy_on_measure(monkeypatch)
        torch.set_num_threads(threads)
        try:
            tables[threads] = WAYS[way](tmp_path / str(threads), trials)
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        assert calls and all(call["threads"] == 1 for call in calls)
    assert_same(tables[1], tables[2])


def test_a_complement_is_searched_as_the_network_that_it_stands_for(tmp_path):
    logarithmic = replace(TINY, space=hyperparameters.space(near_one=("beta_2", "gammaF_1")))
    found = quiet_run(logarithmic, 3, folder=tmp_path)
    assert "one_minus_beta_2" in found and "beta_2" not in found
    same = hyperparameters.without_complements(found)[spaces.names(TINY.space)]
    again = TINY.measure(same, TINY.seeds(found.index))
    assert_same(again[list(TINY.metrics)], found[list(TINY.metrics)])


def test_networks_that_diverge_are_rows_with_status_failed(tmp_path):
    table = quiet_run(WILD, 20, folder=tmp_path)
    failed = table["status"] == "failed"
    assert 0 < failed.sum() < 20
    for metric in protocols.METRICS:
        assert table.loc[failed, metric].isna().all()
        assert table.loc[~failed, metric].between(0, 1).all()
    # The others are what they are without them.
    well = table.index[~failed]
    assert_same(WILD.evaluate(well), table.loc[well])


# What is refused, before anything is trained


@pytest.mark.parametrize(
    "how", [{"n": 0}, {"chunk": 0}, {"indices": []}, {"indices": [1, 1]}, {"indices": [-1]}], ids=str
)
def test_configurations_that_make_no_sense_are_refused(tmp_path, how):
    with pytest.raises(ValueError, match="at least one index, each once and none negative"):
        quiet_run(folder=tmp_path, **how)
    assert not list(tmp_path.iterdir())


# Machines


def test_a_bare_machine_with_torch_numpy_pandas_configspace_and_filelock_is_enough(tmp_path):
    # As on a machine that is lent for its GPU: nothing else can be installed there.
    blocked = "sklearn shap matplotlib seaborn tqdm torchvision papermill optuna IPython ipywidgets"
    blocked += " distributed cloudpickle safetensors nbformat nbconvert"
    script = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked.split()!r}:
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
import torch
from ubalkit.__main__ import main
from ubalkit.paper import datasets

images, labels = torch.rand(600, 64), torch.arange(600) % 10
datasets._LOADERS["digits"] = lambda root: (images, labels, images, labels)
main(["search", "--profile", "ci", "--count", "6", "--workers", "1", "--out", {str(tmp_path)!r}])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("6 configurations in "), done.stderr


def test_workers_do_not_outlive_a_killed_search(tmp_path):
    command = [sys.executable, "-m", "ubalkit", "search", "--profile", "digits", "--workers", "2"]
    process = subprocess.Popen([*command, "--out", str(tmp_path)], stderr=subprocess.DEVNULL)
    try:

        def workers():
            children = psutil.Process(process.pid).children()
            return [child for child in children if "popen_loky" in " ".join(child.cmdline())]

        found = until(lambda: len(there := workers()) == 2 and there, "The workers did not start.")
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(found, timeout=60)
    assert not alive
