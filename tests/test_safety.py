"""Files and names that mean harm: nothing in them is run, nothing is written elsewhere, nothing is markup."""

import ast
import os
import re
import sqlite3

import numpy as np
import optuna
import pandas as pd
import pytest
from fuzzing import CODE, FORMULAS, MARKUP, refusals

from ubalkit import explorer, metamodel, observations, paths, pipeline, profiles, trials
from ubalkit import space as spaces

# Modules and calls that run what a file or a text says.
RUNNING = {*"pickle cloudpickle dill joblib marshal shelve yaml subprocess runpy code".split()}
CALLS = {*"eval exec compile __import__ read_pickle to_pickle system popen literal_eval".split()}
#: A search packs an objective for processes that it starts itself: no file is read so. The defaults of
#: our own notebooks are read as literals, which can be nothing else.
ALLOWED = {("search.py", "pickle"), ("search.py", "cloudpickle"), ("pipeline.py", "literal_eval")}


def suspicious(source):
    """Names of what a module imports or calls that may run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            )
            yield from RUNNING & {name.split(".")[0] for name in names}
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            of = getattr(getattr(node.func, "value", None), "id", "")
            if called in CALLS and of != "re":
                yield called
            if (of, called) == ("np", "load") and given.get("allow_pickle") is not False:
                yield "np.load"
            if (of, called) == ("torch", "load") and given.get("weights_only") is not True:
                yield "torch.load"
            if given.get("allow_pickle") or given.get("shell"):
                yield "allow_pickle or shell"


def test_no_module_reads_what_can_run():
    found = {
        (path.name, name)
        for path in sorted((paths.home() / "ubalkit").glob("**/*.py"))
        for name in suspicious(path.read_text())
    }
    assert found == ALLOWED


BAD = ["import pickle", "from joblib import load", "eval(x)", "np.load(p)", "np.load(p, allow_pickle=True)"]
BAD += [
    "torch.load(p)",
    "torch.load(p, weights_only=False)",
    "os.system(x)",
    "pd.read_pickle(p)",
    "import yaml",
]


@pytest.mark.parametrize("source", BAD)
def test_the_look_through_the_modules_sees(source):
    assert list(suspicious(source))
    assert not list(
        suspicious("np.load(p, allow_pickle=False); torch.load(p, weights_only=True); re.compile(x)")
    )


def assert_refused(function):
    with refusals():
        function()
        raise AssertionError("it was not refused")


# Files that want to run -----------------------------------------------------------------------------


class Harmful:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.fixture
def canary(tmp_path):
    """What must not come into being; and harmful texts that would make it."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def harmful(path):
    return [
        f"__import__('os').mkdir({str(path)!r})",
        f"=cmd|'/C mkdir {path}'!A0",
        f"$(mkdir {path})",
        *CODE,
        *FORMULAS,
    ]


def test_a_pickle_in_place_of_any_file_is_refused(canary, tmp_path):
    import pickle

    packed = pickle.dumps(Harmful(canary))
    for name in ("t.csv", "t.json", "ensemble.json", "study.db"):
        (tmp_path / name).write_bytes(packed)
    for read in (
        lambda: observations.read(tmp_path / "t.csv"),
        lambda: trials.from_csv(tmp_path / "t.csv", "y"),
        lambda: profiles.find(str(tmp_path / "t.json")),
        lambda: metamodel.load(tmp_path / "ensemble.json"),
        lambda: trials.from_optuna(f"sqlite:///{tmp_path / 'study.db'}"),
    ):
        assert_refused(read)


def test_texts_of_a_csv_file_stay_texts(canary, tmp_path):
    texts = harmful(canary)
    frame = pd.DataFrame({name: np.arange(20) % 3 for name in texts if name.isprintable()})
    frame = frame.assign(kind=(texts * 20)[:20], y=np.arange(20.0))
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = trials.from_csv(tmp_path / "t.csv", "y", space={"kind": sorted(set(frame["kind"].str.strip()))})
    assert list(found.table["kind"]) == list(frame["kind"].str.strip())
    assert spaces.names(found.space) == [name.strip() for name in frame if name != "y"]


def test_texts_of_a_study_stay_texts(canary, tmp_path):
    url, texts = f"sqlite:///{tmp_path}/study.db", harmful(canary)
    study = optuna.create_study(storage=url, study_name="x")
    study.optimize(
        lambda trial: len(trial.suggest_categorical("kind", texts)) + trial.suggest_float("a", 0, 1), 12
    )
    found = trials.from_optuna(url)
    assert set(found.table["kind"]) <= set(texts)
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("update trial_params set distribution_json = ?", (texts[0],))
    with pytest.raises(Exception):  # noqa: B017 - Optuna's own, of its JSON
        trials.from_optuna(url)


# Names that want out --------------------------------------------------------------------------------

OUT = [
    "../x",
    "../../etc",
    "/tmp/x",
    "a/b",
    "a\\b",
    "..",
    ".",
    ".hidden",
    "x\0",
    "x\n",
    " x",
    "x" * 300,
    "~",
    "C:x",
    None,
    5,
]


@pytest.mark.parametrize("name", OUT, ids=repr)
def test_a_name_leads_nowhere_but_into_the_runs(name, runs):
    for folder in (paths.runs, paths.data):
        with pytest.raises(ValueError, match=r"cannot be that of a folder"):
            folder(name)
    before = sorted(runs.parent.iterdir())
    for run in (
        lambda: pipeline.own(name=name),
        lambda: pipeline.publish(name),
        lambda: pipeline.run(name),
    ):
        assert_refused(run)
    assert sorted(runs.parent.iterdir()) == before and not list(runs.iterdir())


@pytest.mark.parametrize("name", ["svm", "my search 2", "a-b_c.d+e", "été", "", "digits"])
def test_a_plain_name_is_a_folder_in_the_runs(name, runs):
    assert paths.runs(name) == runs / name
    assert paths.runs(name).resolve().is_relative_to(runs)


# Texts that want to be markup -------------------------------------------------------------------------

SPACE = spaces.from_plain(
    {
        "name": None,
        "hyperparameters": [
            {
                "type": "uniform_float",
                "name": MARKUP[0],
                "lower": 0.0,
                "upper": 1.0,
                "default_value": 0.5,
                "log": False,
                "meta": None,
            },
            {
                "type": "categorical",
                "name": '"><b a="',
                "choices": [*MARKUP, "=1+1"],
                "weights": None,
                "default_value": MARKUP[0],
                "meta": None,
            },
        ],
        "conditions": [],
        "forbiddens": [],
    }
)


def search_table(n):
    table = spaces.sample(SPACE, 0, range(n))
    return table.assign(m=table[MARKUP[0]] + (table['"><b a="'] == MARKUP[1]), status="ok")


def test_what_the_explorer_shows_is_escaped():
    ensemble = metamodel.fit(
        search_table(80).rename(columns={"m": "<i>m"}), "<i>m", SPACE, n_members=3, steps=200
    )
    shown = explorer.explore(ensemble)
    for part in (shown.prediction, shown.waterfall, shown.heat_map):
        tags = set(re.findall(r"<\s*/?\s*([a-zA-Z]+)", part.value))
        assert tags <= {"div", "b", "svg", "rect", "line", "text", "image", "circle"}
        for tag in re.findall(r"<[^>]*>", part.value):
            assert "onerror" not in tag and "alert" not in tag


# What is written ------------------------------------------------------------------------------------


def test_a_cell_that_looks_like_a_formula_is_written_as_it_is(tmp_path):
    """The rule: our files are data for programs, and read back to the last bit; no cell is changed.

    A spreadsheet may take ``=1+1`` for a formula, which our documentation says; names and choices
    that do so come from the user's own table.
    """
    table = pd.DataFrame({"=a": FORMULAS, "m": np.arange(len(FORMULAS)) / 3, "status": "ok"})
    table.index.name = "index"
    observations.write(table, tmp_path / "t.csv")
    pd.testing.assert_frame_equal(observations.read(tmp_path / "t.csv"), table, check_exact=True)


@pytest.mark.slow
def test_a_report_of_harmful_trials_holds_their_texts_and_no_markup(tmp_path, monkeypatch):
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path / "runs"))
    table = search_table(80).drop(columns="status")
    table.to_csv(tmp_path / "t.csv", index=False)
    _, report = pipeline.own(source=str(tmp_path / "t.csv"), metric="m", name="harm", n_members=3)
    html = report.read_text()
    body = html[html.index("<body") :]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
    assert "<script>alert(1)" not in body and "<img src=x" not in body
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "t.csv"}
