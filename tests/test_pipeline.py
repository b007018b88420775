"""The notebooks as a user runs them: all, once, for the smallest profile, with other parameters."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import nbformat
import numpy as np
import pandas as pd
import pytest

from ubalkit import files, metamodel, observations, shapley
from ubalkit.observations import Trials
from ubalkit.paper import notebooks, protocols

#: None of them is a default of its notebook.
PARAMETERS = {
    "01_search": {"n_configurations": 100, "n_jobs": 1},
    "02_metamodel": {"n_folds": 4, "n_members": 4, "seed": 1},
    "03_shap": {"n_background": 16, "n_exact": 8, "n_repeats": 1},
    "04_constrained_search": {"metric": "backprojection_accuracy", "n_networks": 30, "n_jobs": 1},
    "06_how_good": {"n_best": 4, "n_seeds": 2, "n_combined": 10, "n_log": 30},
    "07_when": {"n_points": 64, "n_members": 3, "n_trials": 40},
    "08_why": {"n_networks": 60, "n_subsamples": 2, "n_points": 32},
    "09_loop": {"n_first": 60, "n_best": 2, "n_seeds": 2},
    "10_rules": {"n_networks": 80, "n_probes": 5},
}
FIGURES = {"best_of", "claims", "constrained", "fig3", "importance", "metamodel", "ranges", "search"}
FIGURES |= {"factors", "projections", "selection", "coupling", "shares", "surfaces"}
FIGURES |= {"when", "why", "loop", "loop_fig3", "loop_full", "rules"}
FIGURES |= {"methods", "convergence", "explained_test_accuracy", "explained_backprojection_accuracy"}
CI = protocols.get("ci").protocol


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A repository of its own, so that what a run leaves there can be seen."""
    home = tmp_path_factory.mktemp("home")
    left_out = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
    shutil.copytree(files.notebooks(), home / "notebooks", ignore=left_out)
    for recorded in ("digits", "tasks", "svm"):  # what notebooks 4 and 10 read of other searches
        shutil.copytree(files.data(recorded), home / "data" / recorded)
    searched = [f"{recorded}/observations.csv" for recorded in ("digits", "svm")]
    for name in [*searched, "tasks/classification.csv", "tasks/heteroassociation.csv"]:
        path = home / "data" / name  # few trials are explained in less time
        trials = observations.read(path)
        observations.write(replace(trials, table=trials.table.head(150)), path)
    return home


@pytest.fixture(scope="module")
def executed(home, tmp_path_factory):
    """Folder of the runs of profile ci after all notebooks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UBALKIT_HOME", str(home))
        patch.setenv("UBALKIT_RUNS", str(tmp_path_factory.mktemp("runs")))
        made = notebooks.run("ci", parameters=PARAMETERS)
        runs = files.runs("ci")
    assert made == [runs / "notebooks" / f"{name}.ipynb" for name in notebooks.NOTEBOOKS]
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


@pytest.mark.parametrize("name", notebooks.NOTEBOOKS)
def test_every_cell_ran_with_its_parameters_and_without_an_error(executed, name):
    cells = notebook(executed, name).cells
    code = [c for c in cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert not [o for c in code for o in c.outputs if o.output_type == "error"]
    # A warning in a published notebook is one that a reader has to wonder about.
    assert not [o["text"] for c in code for o in c.outputs if o.get("name") == "stderr"]
    (given,) = [c for c in cells if "injected-parameters" in c.metadata.get("tags", [])]
    injected = {}
    exec(given.source, injected)
    expected = {"profile_name": "ci", **PARAMETERS[name]}
    assert {k: injected[k] for k in expected} == expected


def test_each_notebook_hands_on_what_the_next_one_reads_and_what_the_figures_show(executed):
    trials = observations.read(executed / "observations.csv", CI)
    assert list(trials.table.index) == list(range(100))
    for metric in protocols.METRICS:
        ensemble = metamodel.load(executed / f"ensemble_{metric}.json")
        assert (ensemble.metric, ensemble.n_observations, len(ensemble.members)) == (metric, 100, 4)
        predicted = ensemble.predict(trials.usable)
        with np.load(executed / f"shap_{metric}.npz", allow_pickle=False) as archive:
            added = archive["base_values"].mean() + archive["member_values"].mean(0).sum(1)
        np.testing.assert_allclose(added, predicted, atol=1e-6)
    curves, points = (pd.read_csv(executed / f"fig3_{name}.csv") for name in ("curves", "points"))
    assert len(curves) == 2 * 7 * 41 and len(points) == 2 * 7 * 100
    explained = shapley.deep_shap(ensemble, trials.usable, n_background=PARAMETERS["03_shap"]["n_background"])
    recorded = curves[curves["metric"] == metric]
    np.testing.assert_allclose(recorded["mean"], explained.curves()["mean"], atol=1e-5)


def test_the_arms_of_the_constrained_search_are_of_the_size_asked_for(executed):
    arms = ("full", "paper", "ours", "TPE")
    tables = {arm: observations.read(executed / f"constrained_{arm}.csv").table for arm in arms}
    assert [len(table) for table in tables.values()] == [30] * 4
    paper = tables["paper"]
    assert paper[["beta_2", "beta_3"]].max().max() <= 0.4
    assert paper[["gammaF_1", "gammaF_2"]].min().min() >= 0.6
    assert all(len(set(paper[name])) == 1 for name in ("beta_1", "gammaB_1", "gammaB_2"))
    # New networks: the full arm continues where the profile's search ends.
    assert tables["full"].index.min() >= CI.n_configurations
    assert (executed / "best_of.csv").is_file()
    assert (executed / "constrained_differences.csv").is_file()


def test_figures_lie_in_the_runs_and_nowhere_else(executed, home):
    names = {p.stem for p in (executed / "figures").iterdir()}
    assert names >= FIGURES
    both = {f"{name}.{suffix}" for name in names for suffix in ("pdf", "png")}
    assert {p.name for p in (executed / "figures").iterdir()} == both
    assert sorted(p.name for p in home.iterdir()) == ["data", "notebooks"]
    for source in files.notebooks().glob("*.ipynb"):
        assert (home / "notebooks" / source.name).read_bytes() == source.read_bytes()


def test_publishing_copies_the_figures_and_the_frame_of_fig3(here, home, tmp_path, monkeypatch):
    monkeypatch.setenv("UBALKIT_HOME", str(tmp_path))
    published = notebooks.publish("ci")
    claims, found = (tmp_path / "data" / name for name in ("ci/claims.csv", "results/ci.csv"))
    copies = [path for path in published if path not in (claims, found)]
    assert len(copies) == len(published) - 2
    by = pd.read_csv(found)["notebook"]
    assert list(by.unique()) == sorted(notebooks.NOTEBOOKS) and not by.isna().any()
    assert sorted(p.name for p in copies) == sorted(p.name for p in (tmp_path / "figures").iterdir())
    assert len(copies) == len(list((here / "figures").iterdir())) + len(notebooks.FRAMES)
    assert claims.read_bytes() == (here / "claims.csv").read_bytes()
    assert {f"{name}_ci.pdf" for name in FIGURES} <= {p.name for p in published}
    for copy, source in (("fig3_ci.png", "figures/fig3.png"), ("fig3_curves_ci.csv", "fig3_curves.csv")):
        assert (tmp_path / "figures" / copy).read_bytes() == (here / source).read_bytes()
    # What says the same is left alone, though not what is missing, and all is new where a number is.
    assert notebooks.publish("ci") == []
    picture, table = tmp_path / "figures" / "fig3_ci.png", tmp_path / "figures" / "coupling_ci.csv"
    picture.unlink()
    frame = pd.read_csv(table)
    frame.assign(mean=frame["mean"] + 0.004).to_csv(table, index=False)
    assert notebooks.publish("ci") == [picture]
    frame.assign(mean=frame["mean"] + 0.2).to_csv(table, index=False)
    again = notebooks.publish("ci")
    assert again[0] == table and picture in again and len(again) > len(FIGURES)


def shap(**given):
    return notebooks.run("ci", parameters={"03_shap": given})


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: notebooks.run("nosuch"), "Unknown profile 'nosuch'.*paper, compact, digits, ci"),
        (lambda: shap(n_backgrund=8), "03_shap takes no parameter n_backgrund = 8; it has .*n_background"),
        (lambda: shap(n_background="8"), "takes no parameter n_background = 8; it has .*n_background = 32"),
        (lambda: notebooks.meet(data="mnist"), "00_ubal takes no parameter data = mnist; it has dataset"),
    ],
    ids=["profile", "parameter", "type", "first chapter"],
)
def test_what_a_notebook_does_not_take_is_told_before_anything_runs(tmp_path, monkeypatch, run, message):
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path / "runs"))
    with pytest.raises(ValueError, match=message):
        run()
    assert not (tmp_path / "runs").exists()


def test_a_table_that_has_just_been_begun_is_explained(home, tmp_path, monkeypatch):
    """Neither repeats nor searches are recorded beside it: what needs them is left out or not known."""
    trials = observations.read(files.data("compact") / "observations.csv")
    begun = Trials(trials.table.head(90), trials.space, trials.metrics, about=trials.about)
    monkeypatch.setenv("UBALKIT_HOME", str(tmp_path))
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path / "runs"))
    shutil.copytree(home / "notebooks", tmp_path / "notebooks")
    recorded = files.writable(files.data("compact"))
    observations.write(begun, recorded / "observations.csv")
    assert notebooks.possible("compact") == notebooks.NOTEBOOKS[:3]
    less = {"02_metamodel": {"n_members": 3, "n_folds": 3}}
    less["03_shap"] = {"n_background": 8, "n_exact": 4, "n_repeats": 1}
    runs = notebooks.run("compact", notebooks.possible("compact"), less)[0].parents[1]
    assert "chance makes an unknown part of the variance" in printed(notebook(runs, "01_search"))
    assert np.isnan(metamodel.load(runs / "ensemble_test_accuracy.json").ceiling)
    assert (runs / "figures" / "fig3.png").is_file()
    assert notebooks.possible("digits") == notebooks.NOTEBOOKS  # trains its own


@pytest.mark.parametrize("published", [True, False])
def test_fig3_comes_first_and_every_notebook_is_published_when_it_is_done(monkeypatch, published):
    ran, copied = [], []
    monkeypatch.setattr(notebooks, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(notebooks, "run", lambda profile, names: ran.extend(names))
    monkeypatch.setattr(notebooks, "meet", lambda: ran.append(notebooks.FIRST))
    monkeypatch.setattr(notebooks, "own", lambda: ran.append(notebooks.OWN))
    monkeypatch.setattr(notebooks, "publish", copied.append)
    notebooks.everything("ci", published=published)
    assert ran == [*notebooks.NOTEBOOKS[:2], notebooks.FIRST, *notebooks.NOTEBOOKS[2:], notebooks.OWN]
    once_each = ["ci"] * (len(notebooks.NOTEBOOKS) - 1) + ["svm", "ubal"]
    assert sorted(copied) == (once_each if published else [])


# The first chapter


def test_the_first_chapter_trains_and_draws_by_its_parameters(home, tmp_path, monkeypatch):
    shutil.copytree(files.data("tasks"), tmp_path / "home" / "data" / "tasks")
    shutil.copytree(home / "notebooks", tmp_path / "home" / "notebooks")
    monkeypatch.setenv("UBALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path))
    executed = notebooks.meet(n_train=300, epochs=3, n_seeds=2, n_members=3)
    assert executed == tmp_path / "ubal" / "notebooks" / "00_ubal.ipynb"
    nb = nbformat.read(executed, as_version=4)
    streams = [o for c in nb.cells for o in c.get("outputs", []) if o.output_type in ("error", "stream")]
    assert not [o for o in streams if o.output_type == "error" or o.name == "stderr"]
    assert "classification: 64–100–10, 300 pairs, 3 epochs" in printed(nb)
    drawn = {"phases", "importances_of_tasks", "results", "learning_curves", "memory", "capacity"}
    drawn |= {"restored", "generated", "moved", "phases_before"}
    assert drawn == {path.stem for path in (tmp_path / "ubal" / "figures").glob("*.png")}


# Trials of one's own


def test_a_csv_file_of_another_models_trials_is_explained_by_a_notebook(home, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"rate": 10 ** rng.uniform(-4, 0, 80), "depth": rng.integers(1, 9, 80)})
    table["kind"] = rng.choice(["a", "b"], 80)
    table["loss"] = np.log10(table["rate"]) ** 2 * (1 + table["kind"].eq("b")) + rng.normal(0, 0.1, 80)
    table.to_csv(tmp_path / "trials.csv", index=False, sep=";")
    monkeypatch.setenv("UBALKIT_HOME", str(home))
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path / "runs"))
    given = {"metric": "loss", "direction": "minimize", "name": "toy", "n_members": 4}
    reported = notebooks.own(source=str(tmp_path / "trials.csv"), **given)
    nb, folder = nbformat.read(reported, as_version=4), reported.parents[1]
    assert not [o for c in nb.cells for o in c.get("outputs", []) if o.output_type in ("error", "stderr")]
    assert "to minimize" in printed(nb) and "not at hand" in printed(nb)
    assert "What decides loss" in (folder / "report.html").read_text("utf-8")
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
