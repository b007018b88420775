"""The notebooks as a user runs them: all, once, for the smallest profile, with other parameters."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest

from ubalkit import attribution, metamodel, observations, paths, pipeline, profiles, search

#: None of them is a default of its notebook.
PARAMETERS = {
    "01_search": {"n_configurations": 100, "workers": 1},
    "02_metamodel": {"n_folds": 4, "seed": 1},
    "03_shap": {"n_background": 16},
    "04_constrained_search": {"metric": "backprojection_accuracy", "n_networks": 30, "workers": 1},
    "06_how_good": {"n_best": 4, "n_seeds": 2},
    "07_when": {"n_points": 64, "n_members": 4, "n_trials": 40},
    "08_why": {"n_networks": 60},
    "09_loop": {"n_first": 60, "n_best": 2, "n_seeds": 2},
}
FIGURES = {"best_of", "claims", "constrained", "fig3", "importance", "metamodel", "ranges", "search"}
FIGURES |= {"factors", "projections", "selection", "coupling", "shares", "surfaces", "deep_and_exact"}
FIGURES |= {"when", "why", "loop", "loop_fig3", "loop_full"}
FIGURES |= {"methods", "convergence", "explained_test_accuracy", "explained_backprojection_accuracy"}
NBVAL = [
    "-m",
    "pytest",
    "--nbval",
    "--nbval-current-env",
    "--nbval-cell-timeout",
    "600",
    "-p",
    "no:cacheprovider",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A repository of its own, so that what a run leaves there can be seen."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(
        paths.notebooks(),
        home / "notebooks",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__"),
    )
    return home


@pytest.fixture(scope="module")
def executed(home, tmp_path_factory):
    """Folder of the runs of profile ci after all notebooks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UBALKIT_HOME", str(home))
        patch.setenv("UBALKIT_RUNS", str(tmp_path_factory.mktemp("runs")))
        files = pipeline.run("ci", parameters=PARAMETERS)
        runs = paths.runs("ci")
    assert files == [runs / "notebooks" / f"{name}.ipynb" for name in pipeline.NOTEBOOKS]
    return runs


@pytest.fixture
def here(home, executed, monkeypatch):
    """The folder of the runs, with the paths that made it."""
    monkeypatch.setenv("UBALKIT_HOME", str(home))
    monkeypatch.setenv("UBALKIT_RUNS", str(executed.parent))
    return executed


def notebook(folder, name):
    return nbformat.read(folder / "notebooks" / f"{name}.ipynb", as_version=4)


def printed(nb):
    return "".join(o["text"] for c in nb.cells for o in c.get("outputs", []) if o.get("name") == "stdout")


@pytest.mark.parametrize("name", pipeline.NOTEBOOKS)
def test_every_cell_ran_without_an_error(executed, name):
    code = [c for c in notebook(executed, name).cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert not [o for c in code for o in c.outputs if o.output_type == "error"]
    # A warning in a published notebook is one that a reader has to wonder about.
    assert not [o["text"] for c in code for o in c.outputs if o.get("name") == "stderr"]


@pytest.mark.parametrize("name", pipeline.NOTEBOOKS)
def test_parameters_reach_their_notebook(executed, name):
    cells = [c for c in notebook(executed, name).cells if "injected-parameters" in c.metadata.get("tags", [])]
    assert len(cells) == 1
    injected = {}
    exec(cells[0].source, injected)
    expected = {"profile_name": "ci", **PARAMETERS.get(name, {})}
    assert {k: injected[k] for k in expected} == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("01_search", "100 networks"),
        ("02_metamodel", "profile ci: 100 observations, 10 members, 4 folds"),
        ("03_shap", "profile ci: 100 observations, 16 background points"),
        ("04_constrained_search", "profile ci: 30 networks in each space, for back-projection accuracy"),
    ],
)
def test_parameters_change_what_is_done(executed, name, text):
    assert text in printed(notebook(executed, name))


@pytest.mark.parametrize(("metric", "other"), [observations.METRICS, observations.METRICS[::-1]])
def test_each_notebook_hands_on_what_the_next_one_reads(executed, metric, other):
    table = observations.read(executed / "observations.csv", profiles.get("ci"))
    assert list(table.index) == list(range(100))
    ensemble = metamodel.load(executed / f"ensemble_{metric}.json")
    assert (ensemble.metric, ensemble.n_observations, len(ensemble.members)) == (metric, 100, 10)
    with np.load(executed / f"shap_{metric}.npz", allow_pickle=False) as archive:
        added = archive["base_values"].mean() + archive["member_values"].mean(0).sum(1)
    np.testing.assert_allclose(added, ensemble.predict(table), atol=1e-6)
    # Not those of the other metric under this name.
    wrong = metamodel.load(executed / f"ensemble_{other}.json").predict(table)
    assert np.abs(added - wrong).max() > 0.01


def test_frames_hold_what_the_figures_show(executed):
    curves = pd.read_csv(executed / "fig3_curves.csv")
    points = pd.read_csv(executed / "fig3_points.csv")
    assert len(curves) == 2 * 7 * 41
    assert len(points) == 2 * 7 * 100
    table = observations.read(executed / "observations.csv")
    ensemble = metamodel.load(executed / "ensemble_test_accuracy.json")
    explained = attribution.deep_shap(ensemble, table, n_background=PARAMETERS["03_shap"]["n_background"])
    recorded = curves[curves["metric"] == "test_accuracy"]
    np.testing.assert_allclose(recorded["mean"], explained.curves()["mean"], atol=1e-5)


def test_the_arms_of_the_constrained_search_are_of_the_size_asked_for(executed):
    tables = {
        arm: observations.read(executed / f"constrained_{arm}.csv")
        for arm in ("full", "paper", "ours", "TPE")
    }
    assert {arm: len(table) for arm, table in tables.items()} == {
        "full": 30,
        "paper": 30,
        "ours": 30,
        "TPE": 30,
    }
    paper = tables["paper"]
    assert paper[["beta_2", "beta_3"]].max().max() <= 0.4
    assert paper[["gammaF_1", "gammaF_2"]].min().min() >= 0.6
    assert all(len(set(paper[name])) == 1 for name in ("beta_1", "gammaB_1", "gammaB_2"))
    # New networks: the full arm continues where the profile's search ends.
    assert tables["full"].index.min() >= profiles.get("ci").n_configurations
    assert (executed / "best_of.csv").is_file()
    assert (executed / "constrained_differences.csv").is_file()


def test_figures_lie_in_the_runs_and_nowhere_else(executed, home):
    names = {p.stem for p in (executed / "figures").iterdir()}
    assert names >= FIGURES
    assert sorted(p.name for p in (executed / "figures").iterdir()) == sorted(
        f"{name}.{suffix}" for name in names for suffix in ("pdf", "png")
    )
    assert sorted(p.name for p in home.iterdir()) == ["notebooks"]
    for source in paths.notebooks().glob("*.ipynb"):
        assert (home / "notebooks" / source.name).read_bytes() == source.read_bytes()


def test_publishing_copies_the_figures_and_the_frame_of_fig3(here, home, tmp_path, monkeypatch):
    monkeypatch.setenv("UBALKIT_HOME", str(tmp_path))
    published = pipeline.publish("ci")
    *copies, claims, found = published
    assert found == tmp_path / "data" / "results" / "ci.csv"
    notebooks = pd.read_csv(found)["notebook"]
    assert list(notebooks.unique()) == sorted(pipeline.NOTEBOOKS) and not notebooks.isna().any()
    assert sorted(p.name for p in copies) == sorted(p.name for p in (tmp_path / "figures").iterdir())
    assert len(copies) == len(list((here / "figures").iterdir())) + len(pipeline.FRAMES)
    assert claims == tmp_path / "data" / "ci" / "claims.csv"
    assert claims.read_bytes() == (here / "claims.csv").read_bytes()
    assert {f"{name}_ci.pdf" for name in FIGURES} <= {p.name for p in published}
    for suffix in ("png", "pdf"):
        copy = tmp_path / "figures" / f"fig3_ci.{suffix}"
        assert copy.read_bytes() == (here / "figures" / f"fig3.{suffix}").read_bytes()
    copy = tmp_path / "figures" / "fig3_curves_ci.csv"
    assert copy.read_bytes() == (here / "fig3_curves.csv").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "nosuch"}, "Unknown profile 'nosuch'.*paper, compact, digits, ci"),
        ({"profile": "ci", "notebooks": ["05_more"]}, "Unknown notebook '05_more'.*01_search"),
        ({"profile": "ci", "parameters": {"3_shap": {}}}, "Unknown notebook '3_shap'.*03_shap"),
        (
            {"profile": "ci", "parameters": {"03_shap": {"n_backgrund": 8}}},
            "03_shap.*'n_backgrund'.*n_background",
        ),
    ],
    ids=["profile", "notebook", "notebook of parameters", "parameter"],
)
def test_an_unknown_name_is_told_before_anything_runs(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path / "runs"))
    with pytest.raises(ValueError, match=message):
        pipeline.run(**arguments)
    assert not (tmp_path / "runs").exists()


def test_a_table_that_has_just_been_begun_is_explained(home, tmp_path, monkeypatch):
    """Neither repeats nor searches are recorded beside it: what needs them is left out or not known."""
    profile = profiles.get("compact")
    table = observations.read(paths.data("compact") / "observations.csv", profile).head(90)
    monkeypatch.setenv("UBALKIT_HOME", str(tmp_path))
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path / "runs"))
    shutil.copytree(home / "notebooks", tmp_path / "notebooks")
    recorded = paths.writable(paths.data("compact"))
    observations.write(table, recorded / "observations.csv", **search.provenance(profile))
    assert pipeline.possible("compact") == pipeline.NOTEBOOKS[:3]
    less = {"02_metamodel": {"n_members": 5}, "03_shap": {"n_background": 8, "n_repeats": 1}}
    runs = pipeline.run("compact", pipeline.possible("compact"), less)[0].parents[1]
    assert "chance makes an unknown part of the variance" in printed(notebook(runs, "01_search"))
    assert np.isnan(metamodel.load(runs / "ensemble_test_accuracy.json").ceiling)
    assert (runs / "figures" / "fig3.png").is_file()
    for name in (
        "constrained_full.csv",
        "best.csv",
        "curves.csv",
        "../why/averaged.csv",
        "../loop/round_1.csv",
    ):
        (recorded / name).parent.mkdir(exist_ok=True)
        (recorded / name).touch()
    assert pipeline.possible("compact") == pipeline.NOTEBOOKS
    assert pipeline.possible("digits") == pipeline.NOTEBOOKS  # trains its own


def test_the_command_line_names_an_unknown_profile(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ubalkit.pipeline", "--profile", "nosuch"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"UBALKIT_RUNS": str(tmp_path / "runs")},
    )
    assert done.returncode == 2
    assert done.stderr == "Unknown profile 'nosuch'; there are paper, compact, digits, ci.\n"
    assert done.stdout == ""


def test_a_notebook_runs_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    papermill.execute_notebook(
        str(paths.notebooks() / "01_search.ipynb"),
        str(tmp_path / "out.ipynb"),
        {"profile_name": "ci", "n_configurations": 6, "workers": 1, "n_rerun": 1},
        cwd=str(tmp_path / "elsewhere"),
        progress_bar=False,
    )
    assert len(observations.read(tmp_path / "runs" / "ci" / "observations.csv", profiles.get("ci"))) == 6
    assert list((tmp_path / "elsewhere").iterdir()) == []


def nbval(folder, runs):
    """Check the notebooks of a folder against their outputs, as the Makefile does."""
    environment = os.environ | {"UBALKIT_RUNS": str(runs), "PYTEST_ADDOPTS": ""}
    command = [sys.executable, *NBVAL, "--rootdir", str(folder), "-q", "--color", "no", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


def negate_beta_2(ensemble):
    """Every member reads beta_2 mirrored at 0: what was good is bad."""
    for weights, *_ in ensemble["members"]:
        for row in weights:
            row[1] = -row[1]


@pytest.mark.parametrize("damage", [None, negate_beta_2], ids=["as it was", "damaged"])
def test_the_check_of_outputs_fails_where_an_input_was_damaged(here, tmp_path, damage):
    runs, folder = tmp_path / "runs", tmp_path / "notebooks"
    shutil.copytree(here, runs / "ci")
    folder.mkdir()
    shutil.copy(here / "notebooks" / "03_shap.ipynb", folder)
    shutil.copy(paths.notebooks() / "conftest.py", folder)
    if damage is not None:
        path = runs / "ci" / "ensemble_test_accuracy.json"
        ensemble = json.loads(path.read_text())
        damage(ensemble)
        # As one would who means it: with the right SHA-256.
        del ensemble["sha256"]
        path.write_text(json.dumps({**ensemble, "sha256": observations.sha256(json.dumps(ensemble))}))
    done = nbval(folder, runs)
    assert done.returncode == (0 if damage is None else 1), done.stdout
    if damage is not None:
        assert "Cell outputs differ" in done.stdout


@pytest.mark.parametrize("published", [True, False])
def test_fig3_comes_first_and_every_notebook_is_published_when_it_is_done(monkeypatch, published):
    ran, copied = [], []
    monkeypatch.setattr(pipeline, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(pipeline, "run", lambda profile, notebooks: ran.extend(notebooks))
    monkeypatch.setattr(pipeline, "meet", lambda: ran.append(pipeline.FIRST))
    monkeypatch.setattr(pipeline, "own", lambda: ran.append(pipeline.OWN))
    monkeypatch.setattr(pipeline, "publish", copied.append)
    pipeline._everything("ci", pipeline.NOTEBOOKS, published)
    assert ran == [*pipeline.NOTEBOOKS[:2], pipeline.FIRST, *pipeline.NOTEBOOKS[2:], pipeline.OWN]
    once_each = ["ci"] * (len(pipeline.NOTEBOOKS) - 1) + ["svm", "ubal"]
    assert sorted(copied) == (once_each if published else [])


# The first chapter


def test_the_first_chapter_trains_and_draws_by_its_parameters(home, tmp_path, monkeypatch):
    shutil.copytree(paths.data("tasks"), tmp_path / "home" / "data" / "tasks")
    shutil.copytree(home / "notebooks", tmp_path / "home" / "notebooks")
    monkeypatch.setenv("UBALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path))
    executed = pipeline.meet(n_train=300, epochs=3, n_seeds=2, n_members=3)
    assert executed == tmp_path / "ubal" / "notebooks" / "00_ubal.ipynb"
    nb = nbformat.read(executed, as_version=4)
    streams = [o for c in nb.cells for o in c.get("outputs", []) if o.output_type in ("error", "stream")]
    assert not [o for o in streams if o.output_type == "error" or o.name == "stderr"]
    assert "classification: 64–100–10, 300 pairs, 3 epochs" in printed(nb)
    drawn = {"phases", "importances_of_tasks", "results", "learning_curves", "memory", "capacity"}
    drawn |= {"restored", "generated", "moved", "phases_before"}
    assert drawn == {path.stem for path in (tmp_path / "ubal" / "figures").glob("*.png")}


def test_a_parameter_that_the_first_chapter_lacks_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path / "runs"))
    with pytest.raises(ValueError, match=r"00_ubal has no parameter 'data'; it has dataset, n_train"):
        pipeline.meet(data="mnist")
    assert not (tmp_path / "runs").exists()


# Trials of one's own


@pytest.fixture(scope="module")
def reported(home, tmp_path_factory):
    """What notebook 5 makes of a CSV file of another model's trials, a metric to be minimised."""
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"rate": 10 ** rng.uniform(-4, 0, 80), "depth": rng.integers(1, 9, 80)})
    table["kind"] = rng.choice(["a", "b"], 80)
    table["loss"] = np.log10(table["rate"]) ** 2 * (1 + table["kind"].eq("b")) + rng.normal(0, 0.1, 80)
    table.to_csv(folder / "trials.csv", index=False, sep=";")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UBALKIT_HOME", str(home))
        patch.setenv("UBALKIT_RUNS", str(folder / "runs"))
        given = {"metric": "loss", "direction": "minimize", "name": "toy", "n_members": 4}
        return pipeline.own(source=str(folder / "trials.csv"), **given)


def test_a_csv_file_becomes_a_report_without_code(reported):
    executed, report = reported
    text = report.read_text(encoding="utf-8")
    nb = nbformat.read(executed, as_version=4)
    assert not [o for c in nb.cells for o in c.get("outputs", []) if o.output_type in ("error", "stderr")]
    assert "Fig. 3 of this model" in text and text.count("data:image/png;base64,") >= 4
    assert "explanation.explain(" not in text  # no code
    assert "to minimize" in printed(nb) and "not at hand" in printed(nb)


def test_what_matters_is_in_the_tables_and_the_space(reported):
    folder = reported[1].parent
    importance = pd.read_csv(folder / "importance.csv", index_col=0)
    assert importance.index[0] == "rate" and importance.loc["depth", "action"] == "freeze"
    # The loss is least where the rate is 1: that end is kept.
    space = json.loads((folder / "space.json").read_text())
    rate = next(hp for hp in space["hyperparameters"] if hp["name"] == "rate")
    assert rate["log"] and rate["upper"] > 0.5 and rate["lower"] > 1e-3
    optuna_space = json.loads((folder / "space_optuna.json").read_text())
    assert set(optuna_space) == {"rate", "depth", "kind"}
    for name in ("fig3", "explained", "surfaces", "methods"):
        assert (folder / "figures" / f"{name}.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--own", "no_such.csv"], "There is no table of trials at"),
        (["--own", "empty.csv"], "columns; separate them by"),
    ],
)
def test_the_command_line_says_what_is_wrong_with_a_source(tmp_path, arguments, message):
    (tmp_path / "empty.csv").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "ubalkit.pipeline", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"UBALKIT_RUNS": str(tmp_path / "runs")},
    )
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
