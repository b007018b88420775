"""What is recorded in data/ is true: rows trained again come out as recorded."""

import json
import os
import subprocess

import nbformat
import pytest
import torch

from ubalkit import datasets, examples, experiment, observations, paths, pipeline, profiles, search

RECORDED = sorted(path.parent.name for path in paths.data().glob("*/observations.csv"))
FILES = sorted(paths.data().glob("*/*.csv"))


def made_by(name):
    return examples.ALL[name]() if name in examples.ALL else profiles.get(name)


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_rows_come_out_again(name):
    profile = made_by(name)
    if name == "paper":
        pytest.skip("A network of the full protocol takes minutes on a CPU.")
    on_mnist = getattr(profile, "dataset", "") == "mnist"
    if on_mnist:
        try:
            datasets.load("mnist", n_train=1)
        except FileNotFoundError as error:
            pytest.skip(str(error))
    table = observations.read(paths.data(name) / "observations.csv", profile)
    assert len(table) >= profile.n_configurations
    compared = search.verify(profile, table, 1 if on_mnist else 5, seed=len(table))
    # One in ten may stray on another kind of processor; see search.TOLERANCE.
    assert compared["holds"].mean() >= 2 / 3, compared


@pytest.mark.skipif(
    "UBALKIT_OTHER_PYTHON" not in os.environ,
    reason="UBALKIT_OTHER_PYTHON names no interpreter with another version of torch.",
)
def test_another_version_of_torch_trains_the_same_rows(tmp_path):
    other, where = os.environ["UBALKIT_OTHER_PYTHON"], {**os.environ, "PYTHONPATH": str(paths.home())}
    asked = ["-m", "ubalkit.search", "--profile", "digits", "--count", "40", "--out", str(tmp_path)]
    subprocess.run([other, *asked], env=where, check=True, cwd=tmp_path)
    profile = profiles.get("digits")
    table = observations.read(tmp_path / "observations.csv", profile)
    assert table.attrs["about"]["versions"]["torch"] != torch.__version__.split("+")[0]
    assert search.verify(profile, table, 40)["holds"].mean() >= 2 / 3


def test_a_wrong_row_is_seen():
    profile = profiles.get("ci")
    table = search.evaluate(profile, range(3))
    assert search.verify(profile, table, 3)["holds"].all()
    # Off by a half, whatever the accuracy was; the other metric is as recorded.
    wrong = table.assign(test_accuracy=(table["test_accuracy"] + 0.5) % 1)
    holds = search.verify(profile, wrong, 3)["holds"].unstack("metric")
    assert holds.all().to_dict() == {"test_accuracy": False, "backprojection_accuracy": True}
    assert not holds["test_accuracy"].any()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_recorded_table_is_described(path):
    text = (paths.data() / "README.md").read_text()
    assert path.parent.name in text
    assert path.name in text or path.name.startswith("constrained_")


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_table_says_what_made_it(name):
    about = json.loads((paths.data(name) / "observations.json").read_text())
    assert {"fingerprint", "sha256", "rows", "ubalkit", "versions", "device", "written", "seconds"} <= set(
        about
    )
    read = experiment if name in examples.ALL else profiles
    assert read.from_settings(about).fingerprint == made_by(name).fingerprint


@pytest.mark.parametrize("notebook", pipeline.NOTEBOOKS)
def test_notebooks_are_for_the_best_recorded_profile(notebook):
    cells = nbformat.read(paths.notebooks() / f"{notebook}.ipynb", 4).cells
    (parameters,) = [c.source for c in cells if "parameters" in c.metadata.get("tags", [])]
    assert f'profile_name = "{profiles.default()}"' in parameters


def test_the_default_is_the_best_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("UBALKIT_HOME", str(tmp_path))
    assert profiles.default() == "digits"
    for name, rows, expected in (
        ("compact", 1000, "compact"),
        ("paper", 999, "compact"),
        ("paper", 1000, "paper"),
    ):
        folder = paths.data(name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "observations.json").write_text(json.dumps({"rows": rows}))
        assert profiles.default() == expected
