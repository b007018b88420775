"""The search: the same table however it is cut, stopped, resumed or damaged on the way."""

import json
import os
import re
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from helpers import assert_same, chunk_files

from ubalkit import chunks, observations, paths, profiles, search, trust
from ubalkit import space as spaces

TINY = replace(profiles.get("ci"), n_train=100, epochs=1, hidden=(8,), n_configurations=10)
# At this learning rate some networks' weights overflow and others' do not.
WILD = replace(TINY, learning_rate=3e37)


def quiet_run(profile=TINY, n=None, **how):
    return search.run(profile, n, **{"workers": 1, "progress": False, **how})


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """What every way of searching must give."""
    return quiet_run(folder=tmp_path_factory.mktemp("whole"), chunk=10)


def test_a_search_gives_a_checked_table_of_the_profile(table):
    assert list(table) == [*spaces.names(TINY.space), *observations.METRICS, "status"]
    assert table.index.tolist() == list(range(10)) and table.index.name == "index"
    assert (table["status"] == "ok").all()
    assert table["test_accuracy"].nunique() > 3  # it measures something
    assert observations.check(table, TINY) is table


@pytest.mark.parametrize("chunk", [1, 7, 500])
def test_chunks_of_any_size_give_the_same_table(table, tmp_path, chunk):
    assert_same(quiet_run(folder=tmp_path, chunk=chunk), table)
    assert len(chunk_files(tmp_path)) == -(10 // -chunk)


def test_two_processes_give_the_same_table(table, tmp_path):
    assert_same(quiet_run(folder=tmp_path, chunk=3, workers=2), table)


def test_a_range_of_a_search_is_its_rows(table, tmp_path):
    assert_same(quiet_run(n=3, first=6, folder=tmp_path), table.loc[6:8])
    # What another range left in the folder does not come along.
    assert_same(quiet_run(n=2, first=0, folder=tmp_path), table.loc[:1])


@pytest.mark.parametrize("indices", [[7, 2, 3], np.array([9, 0])])
def test_any_configurations_can_be_searched_and_nothing_else_is(table, tmp_path, indices):
    wanted = [int(i) for i in indices]
    assert_same(quiet_run(folder=tmp_path, indices=indices, chunk=2), table.loc[wanted])
    assert chunks.read(tmp_path, TINY).index.tolist() == sorted(wanted)
    # A range that meets them computes the rest.
    assert_same(quiet_run(folder=tmp_path), table)


@pytest.mark.parametrize("index", [0, 9])
def test_a_row_can_be_run_again_alone(table, index):
    assert_same(search.evaluate(TINY, [index]), table.loc[[index]])


def test_recorded_rows_can_be_verified(table):
    assert search.verify(TINY, table, n_rows=3)["holds"].all()
    # Off by a half, whatever the accuracy was.
    wrong = table.assign(test_accuracy=(table["test_accuracy"] + 0.5) % 1)
    compared = search.verify(TINY, wrong, n_rows=3)
    assert len(compared) == 6
    assert not compared["holds"].xs("test_accuracy", level="metric").any()
    assert compared["holds"].xs("backprojection_accuracy", level="metric").all()
    np.testing.assert_allclose(compared["difference"], compared["again"] - compared["recorded"])


def test_configurations_are_those_of_the_profile(table):
    names = spaces.names(TINY.space)
    assert_same(search.configurations(TINY, [4, 2]), table.loc[[4, 2], names])


def test_networks_can_be_given_other_seeds():
    rows = search.configurations(TINY, [0, 1])
    assert search.networks(TINY, rows).seeds == search.networks(TINY, rows).seeds
    assert len(set(search.networks(TINY, rows).seeds)) == 2
    assert search.networks(TINY, rows, seeds=[3, 4]).seeds == (3, 4)
    assert search.networks(replace(TINY, seed=1), rows).seeds != search.networks(TINY, rows).seeds


def spy_on_measure(monkeypatch):
    """What `search.measure` is called with, and on how many threads."""
    calls, measure = [], search.measure

    def spy(profile, table, *, seeds=None, device="cpu"):
        calls.append({"index": table.index.tolist(), "seeds": seeds, "threads": torch.get_num_threads()})
        return measure(profile, table, seeds=seeds, device=device)

    monkeypatch.setattr(search, "measure", spy)
    return calls


def test_repeats_are_the_same_configurations_from_other_seeds(monkeypatch):
    calls = spy_on_measure(monkeypatch)
    table = search.repeats(TINY, n=4, n_seeds=3)
    assert table.index.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    names = spaces.names(TINY.space)
    assert_same(table[names], search.configurations(TINY, table.index))
    assert (table["status"] == "ok").all()
    seeds = [seed for call in calls for seed in call["seeds"]]
    search_s = search.networks(TINY, search.configurations(TINY, range(4))).seeds
    assert len(set(seeds) | set(search_s)) == 12 + 4, "a seed stands twice"
    # Chance moves the metrics, and every row is that of its seed.
    assert (table.groupby(level="index")["backprojection_accuracy"].std() > 0).any()
    row = search.measure(TINY, search.configurations(TINY, [1]), seeds=[seeds[4]])
    assert_same(row, table.iloc[[4]])


def test_repeats_do_not_depend_on_what_trains_beside_them(monkeypatch):
    whole = search.repeats(TINY, n=3, n_seeds=2)
    calls = spy_on_measure(monkeypatch)
    assert_same(search.repeats(replace(TINY, chunk=4), n=3, n_seeds=2), whole)
    assert [call["index"] for call in calls] == [[0, 0, 1, 1], [2, 2]]
    # More of them continue those there are.
    assert_same(search.repeats(TINY, n=2, n_seeds=4).groupby(level="index").head(2), whole.loc[:1])


def test_repeats_say_how_much_is_noise():
    table = search.repeats(TINY, n=3, n_seeds=2)
    one, other = (table["backprojection_accuracy"].iloc[k::2].to_numpy() for k in (0, 1))
    expected = np.mean((one - other) ** 2 / 2)
    assert trust.noise_variance(table, "backprojection_accuracy") == pytest.approx(expected)


WAYS = {
    "run": lambda folder: quiet_run(n=2, folder=folder),
    "repeats": lambda folder: search.repeats(TINY, n=1, n_seeds=2),
    "verify": lambda folder: search.verify(TINY, search.configurations(TINY, [0]).assign(**ZERO), 1),
}
ZERO = dict.fromkeys(observations.METRICS, 0.0)


@pytest.mark.parametrize("way", WAYS)
def test_no_number_of_threads_decides_a_row(way, tmp_path, monkeypatch):
    before = torch.get_num_threads()
    tables = {}
    for threads in (1, 2):
        calls = spy_on_measure(monkeypatch)
        torch.set_num_threads(threads)
        try:
            tables[threads] = WAYS[way](tmp_path / str(threads))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        assert calls and all(call["threads"] == 1 for call in calls)
    assert_same(tables[1], tables[2])


def test_on_the_cpu_as_many_train_side_by_side_as_the_profile_says():
    for profile in (TINY, replace(TINY, chunk=3), profiles.get("paper")):
        assert search.side_by_side(profile) == search.side_by_side(profile, "cpu") == profile.chunk


def test_chunks_are_as_large_as_the_profile_says(tmp_path):
    quiet_run(replace(TINY, chunk=4), folder=tmp_path)
    assert len(chunk_files(tmp_path)) == 3


def test_networks_have_the_hyperparameters_of_their_rows():
    rows = search.configurations(TINY, [0, 1])
    net, twin = search.networks(TINY, rows), search.networks(TINY, rows.loc[[1]])
    assert net.layers == (64, 8, 10)
    x, y = np.full((3, 64), 0.5), np.eye(10)[:3]
    for each in (net, twin):
        each.update(x, y)
    assert all((a[1] == b[0]).all() for a, b in zip(net.W + net.M, twin.W + twin.M))


def test_a_complement_is_searched_as_the_network_that_it_stands_for(tmp_path):
    logarithmic = replace(TINY, space=spaces.ubal(near_one=("beta_2", "gammaF_1")))
    found = search.run(logarithmic, 3, folder=tmp_path, workers=1, progress=False)
    assert "one_minus_beta_2" in found and "beta_2" not in found
    same = spaces.without_complements(found)
    again = search.measure(TINY, same[spaces.names(TINY.space)])
    assert_same(again[list(TINY.metrics)], found[list(TINY.metrics)])


def test_a_space_that_does_not_fit_the_layers_is_refused():
    with pytest.raises(ValueError, match=r"beta_4"):
        search.evaluate(replace(TINY, hidden=(8, 8)), [0])


def test_chunks_lie_in_the_runs_of_the_profile(runs):
    quiet_run(n=2)
    assert len(chunk_files(runs / "ci" / "chunks")) == 1


def test_what_is_on_disk_is_not_computed_again(table, tmp_path):
    quiet_run(n=4, chunk=2, folder=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in chunk_files(tmp_path)}
    assert_same(quiet_run(folder=tmp_path, chunk=3), table)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(chunk_files(tmp_path)) == 2 + 2


def command(*arguments):
    return [sys.executable, "-m", "ubalkit.search", "--profile", "ci", "--workers", "1", *arguments]


def test_killed_and_resumed_gives_the_same_table(runs, tmp_path_factory):
    # Many small chunks, so that the kill comes between the first and the last.
    start = command("--count", "30", "--chunk", "1")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    folder = runs / "ci" / "chunks"
    process = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not chunk_files(folder):
            assert process.poll() is None and time.monotonic() < deadline, "The search wrote no chunk."
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    done = {path: path.stat().st_mtime_ns for path in chunk_files(folder)}
    assert 1 <= len(done) < 30
    assert not (runs / "ci" / "observations.csv").exists()
    subprocess.run(start, env=environment, check=True, capture_output=True, timeout=120)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    resumed = observations.read(runs / "ci" / "observations.csv", profiles.get("ci"))
    undisturbed = quiet_run(profiles.get("ci"), 30, folder=tmp_path_factory.mktemp("undisturbed"))
    assert_same(resumed, undisturbed)


DAMAGES = {
    "changed": lambda packed: packed.replace(b",ok", b",0k", 1),
    "truncated": lambda packed: packed[: len(packed) // 2],
    "empty": lambda packed: b"",
    "not ours": lambda packed: b"null",
    "not text": lambda packed: b"\xff\xfe\x00" + packed,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_chunk_is_reported_and_computed_again(table, tmp_path, damage):
    quiet_run(chunk=4, folder=tmp_path)
    victim = chunk_files(tmp_path)[1]
    packed = victim.read_bytes()
    victim.write_bytes(DAMAGES[damage](packed))
    assert victim.read_bytes() != packed
    with pytest.warns(UserWarning, match=rf"{victim.name} is damaged; its configurations are computed again"):
        again = quiet_run(chunk=4, folder=tmp_path)
    assert_same(again, table)
    assert victim.read_bytes() == packed


def test_a_damaged_chunk_is_reported_once(table, tmp_path):
    quiet_run(chunk=4, folder=tmp_path)
    chunk_files(tmp_path)[1].write_text("")
    with pytest.warns(UserWarning, match="is damaged"):
        quiet_run(chunk=3, folder=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert_same(quiet_run(chunk=3, folder=tmp_path), table)


def test_a_half_written_chunk_is_no_chunk(table, tmp_path):
    quiet_run(n=4, chunk=4, folder=tmp_path)
    whole = chunk_files(tmp_path)[0]
    # What a kill in the middle of writing leaves behind: a draft, under another name.
    (tmp_path / f".{whole.name}.4711").write_bytes(whole.read_bytes()[:100])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert_same(quiet_run(folder=tmp_path), table)


def test_a_write_that_fails_leaves_the_old_chunk(table, tmp_path, monkeypatch):
    path = chunks.write(table, tmp_path, TINY)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = r"chunk\.json could not be written \(No space left on device\)"
    with pytest.raises(ValueError, match=message):
        chunks.write(table, tmp_path, TINY)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before


def test_chunks_of_other_settings_are_refused(tmp_path):
    quiet_run(n=2, folder=tmp_path)
    other = replace(TINY, learning_rate=0.2)
    with pytest.raises(ValueError, match=r"000000-000001\.chunk\.json was made with other settings"):
        quiet_run(other, 2, folder=tmp_path)


def test_networks_that_diverge_are_rows_with_status_failed(tmp_path):
    table = quiet_run(WILD, 20, folder=tmp_path)
    failed = table["status"] == "failed"
    assert 0 < failed.sum() < 20
    for metric in observations.METRICS:
        assert table.loc[failed, metric].isna().all()
        assert table.loc[~failed, metric].between(0, 1).all()
    # The others are what they are without them.
    well = table.index[~failed]
    assert_same(search.evaluate(WILD, well), table.loc[well])


@pytest.mark.parametrize("how", [{"n": 0}, {"first": -1}, {"chunk": -2}])
def test_an_impossible_range_is_refused(tmp_path, how):
    message = rf"{next(iter(how))} = {next(iter(how.values()))}\b.*at least 0, 1 and 1 are needed"
    with pytest.raises(ValueError, match=message):
        quiet_run(folder=tmp_path, **how)


@pytest.mark.parametrize("precision", ["tf32", "float16", "high", ""])
def test_a_precision_that_the_cpu_does_not_have_is_refused(tmp_path, precision):
    with pytest.raises(ValueError) as caught:
        quiet_run(folder=tmp_path, precision=precision)
    message = f"precision = {precision!r}: float32 and, on a CUDA device, tf32 are allowed."
    assert str(caught.value) == message
    assert not list(tmp_path.iterdir())


def test_an_unknown_precision_is_refused_on_every_device(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match=r"precision = 'float16': float32 and, on a CUDA device, tf32"):
        quiet_run(folder=tmp_path, device="cuda", precision="float16")


@pytest.mark.parametrize("precision", search.PRECISIONS)
def test_the_precision_of_products_is_that_inside_alone(precision):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with pytest.raises(ZeroDivisionError), search.products(precision):
            assert torch.get_float32_matmul_precision() == search.PRECISIONS[precision]
            raise ZeroDivisionError
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert search.PRECISIONS["float32"] == "highest"


def test_a_device_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device = 'cuda': torch finds no such device here; cpu is allowed"):
        quiet_run(folder=tmp_path, device="cuda")


# Permissions do not stop an administrator; a path below a file stops everyone.
def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "chunks"
    with pytest.raises(ValueError) as caught:
        quiet_run(folder=folder)
    assert str(caught.value) == (
        f"The folder {folder} cannot be written to (Not a directory); name another one or set UBALKIT_RUNS."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "tiny"], "Unknown profile 'tiny'; there are paper, compact, digits, ci.\n"),
        (
            ["--profile", "ci", "--count", "0"],
            "first = 0, n = 0, chunk = 20: at least 0, 1 and 1 are needed.\n",
        ),
        (
            ["--profile", "ci", "--count", "1", "--precision", "tf32"],
            "precision = 'tf32': float32 and, on a CUDA device, tf32 are allowed.\n",
        ),
    ],
)
def test_the_command_line_reports_errors_in_one_line(runs, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        search.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err == message


def test_the_command_line_names_a_folder_that_cannot_be_written_to(runs, capsys):
    (runs / "file").touch()
    with pytest.raises(SystemExit) as caught:
        search.main(["--profile", "ci", "--out", str(runs / "file")])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"The folder {runs / 'file' / 'chunks'} cannot be written to")
    assert error.count("\n") == 1


def test_the_command_line_writes_the_table_and_what_made_it(runs, capsys):
    for first in ("4", "0"):
        search.main(["--profile", "ci", "--first", first, "--count", "2", "--workers", "1"])
    path = paths.runs("ci") / "observations.csv"
    assert f"4 configurations in {path}" in capsys.readouterr().out
    profile = profiles.get("ci")
    table = observations.read(path, profile)
    assert_same(table, search.evaluate(profile, [0, 1, 4, 5]))
    about = table.attrs["about"]
    assert (about["rows"], about["fingerprint"], about["device"]) == (4, profile.fingerprint, "cpu")
    assert (about["name"], about["seed"], about["epochs"]) == ("ci", 0, profile.epochs)
    assert {"torch", "numpy", "pandas"} <= set(about["versions"])
    assert {"ubalkit", "python", "written", "seconds", "made_by", "space"} <= set(about)


@pytest.fixture
def settings_file(tmp_path_factory):
    """Settings that no profile has, as they stand beside a table."""
    path = tmp_path_factory.mktemp("settings") / "observations.json"
    path.write_text(json.dumps({**replace(TINY, name="tiny").settings(), "rows": 10}))
    return path


def test_the_command_line_takes_settings_from_a_file(runs, table, settings_file, capsys):
    search.main(["--profile", str(settings_file), "--count", "3", "--workers", "1", "--precision", "float32"])
    path = runs / "tiny" / "observations.csv"
    assert f"3 configurations in {path}" in capsys.readouterr().out
    assert_same(observations.read(path, TINY), table.loc[:2])
    about = json.loads(path.with_suffix(".json").read_text())
    assert (about["name"], about["fingerprint"], about["precision"]) == ("tiny", TINY.fingerprint, "float32")
    # And what it wrote is such a file again.
    assert profiles.find(str(path.with_suffix(".json"))) == replace(TINY, name="tiny")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r".*settings\.json holds no settings of a profile: .*settings\.json is damaged: .*\.\n"),
        ("{}", r".*settings\.json holds no settings of a profile: .* lack batch_size, .*\.\n"),
        (None, r"There is no profile at .*settings\.json\.\n"),
    ],
    ids=["no JSON", "no settings", "no file"],
)
def test_the_command_line_refuses_a_broken_file_of_settings(runs, capsys, content, message):
    path = runs / "settings.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit) as caught:
        search.main(["--profile", str(path), "--count", "1"])
    assert caught.value.code == 2
    assert re.fullmatch(message, capsys.readouterr().err)


@pytest.fixture
def recorded(table, runs):
    """A recorded table and the settings that made it: what the command line needs to verify it."""
    observations.write(table, runs / "observations.csv", **search.provenance(TINY))
    return ["--profile", str(runs / "observations.json"), "--out", str(runs)]


def test_the_command_line_verifies_and_searches_nothing(runs, recorded, capsys):
    with pytest.raises(SystemExit) as caught:
        search.main([*recorded, "--verify", "2"])
    assert caught.value.code == 0
    assert {path.name for path in runs.iterdir()} == {"observations.csv", "observations.json"}
    assert capsys.readouterr().out.count("True") == 4


def test_the_command_line_that_verifies_no_row_searches_nothing_either(runs, recorded):
    with pytest.raises(SystemExit) as caught:
        search.main([*recorded, "--verify", "0", "--count", "1", "--workers", "1"])
    assert caught.value.code == 2
    assert not (runs / "chunks").exists()


@pytest.mark.parametrize(
    ("n_hold", "code"), [(6, 0), (5, 0), (4, 0), (3, 1), (0, 1)], ids=lambda value: str(value)
)
def test_a_table_is_verified_if_two_thirds_hold(recorded, monkeypatch, n_hold, code):
    compared = pd.DataFrame({"holds": [True] * n_hold + [False] * (6 - n_hold)})
    monkeypatch.setattr(search, "verify", lambda *_, **__: compared)
    with pytest.raises(SystemExit) as caught:
        search.main([*recorded, "--verify", "3"])
    assert caught.value.code == code


def test_a_table_of_wrong_rows_is_not_verified(table, runs, recorded):
    wrong = table.assign(**{m: (table[m] + 0.5) % 1 for m in observations.METRICS})
    observations.write(wrong, runs / "observations.csv", **search.provenance(TINY))
    with pytest.raises(SystemExit) as caught:
        search.main([*recorded, "--verify", "2"])
    assert caught.value.code == 1


def test_a_bare_machine_with_torch_numpy_pandas_and_configspace_is_enough(tmp_path):
    # As on a machine that is lent for its GPU: nothing else can be installed there.
    blocked = "sklearn shap matplotlib seaborn tqdm torchvision papermill optuna IPython ipywidgets"
    blocked += " distributed cloudpickle safetensors"
    script = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked.split()!r}:
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
import torch
from dataclasses import replace
from ubalkit import datasets, profiles, search

images, labels = torch.rand(40, 64), torch.arange(40) % 10
datasets._LOADERS["digits"] = lambda root: (images, labels, images, labels)
profile = replace(profiles.get("ci"), n_train=40, epochs=1)
print(len(search.run(profile, 6, chunk=3, workers=1, folder={str(tmp_path)!r})))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "6", done.stderr


def test_workers_do_not_outlive_a_killed_search(tmp_path):
    command = [sys.executable, "-m", "ubalkit.search", "--profile", "digits", "--workers", "2"]
    process = subprocess.Popen([*command, "--out", str(tmp_path)], stderr=subprocess.DEVNULL)
    try:
        children, deadline = [], time.monotonic() + 60
        # The two workers and the tracker of their resources.
        while len(children) < 3 and time.monotonic() < deadline:
            children = psutil.Process(process.pid).children()
            time.sleep(0.05)
        assert len(children) == 3
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


@pytest.mark.parametrize("indices", [[], [1, 1], [-1]], ids=str)
def test_indices_that_make_no_sense_are_refused_before_anything_is_trained(indices, tmp_path):
    with pytest.raises(ValueError, match="indices must be at least one, different, and not negative"):
        search.run(TINY, indices=indices, folder=tmp_path, progress=False)


@pytest.mark.parametrize("counts", [{"n": 0}, {"n_seeds": 0}], ids=str)
def test_no_repeats_are_refused(counts):
    with pytest.raises(ValueError, match="at least 1 of each is needed"):
        search.repeats(TINY, **counts)
