"""Files and names that mean harm: nothing in them is run, nothing is written elsewhere, nothing is markup."""

import ast
import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float
from helpers import trials

from ubalkit import explain, files, metamodel, observations, readers
from ubalkit import space as spaces
from ubalkit.paper import notebooks, protocols

# Modules and calls that run what a file or a text says.
RUNNING = {*"pickle cloudpickle dill joblib marshal shelve yaml subprocess runpy code".split()}
CALLS = {*"eval exec compile __import__ read_pickle to_pickle system popen literal_eval".split()}
#: A search has joblib start its own processes, and catches what pickle raises: no file is read so. The
#: defaults of our own notebooks are read as literals, which can be nothing else.
ALLOWED = {("workers.py", "joblib"), ("workers.py", "pickle"), ("notebooks.py", "literal_eval")}


def suspicious(source):
    """Names of what a module imports or calls that may run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from RUNNING & {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            yield from RUNNING & {(node.module or "").split(".")[0]}
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
    modules = (files.home() / "ubalkit").glob("**/*.py")
    assert {(path.name, name) for path in modules for name in suspicious(path.read_text())} == ALLOWED


BAD = "import pickle; from joblib import load; eval(x); np.load(p); np.load(p, allow_pickle=True)"
BAD += "; torch.load(p); torch.load(p, weights_only=False); os.system(x); pd.read_pickle(p); import yaml"


@pytest.mark.parametrize("source", BAD.split("; "))
def test_the_look_through_the_modules_sees(source):
    assert list(suspicious(source))
    good = "np.load(p, allow_pickle=False); torch.load(p, weights_only=True); re.compile(x)"
    assert not list(suspicious(good))


# Files that want to run


class Harmful:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.fixture
def canary():
    """What must not come into being; of a short name, for it becomes part of a column's."""
    path = Path(tempfile.gettempdir(), f"canary-{os.getpid()}")
    yield path
    assert not path.exists()


def harmful(path):
    """Texts that would make it, or be taken for a formula or for markup."""
    code = [f"__import__('os').mkdir({str(path)!r})", f"$(mkdir {path})", f"=cmd|'/C mkdir {path}'!A0"]
    return [*code, "{0.__class__}", "'; drop table trials; --", "=1+1", "@SUM(A1)", *MARKUP]


MARKUP = ["<script>alert(1)</script>", '<img src=x onerror="alert(1)">', "</div><b>", "&lt;i&gt;"]


def test_a_pickle_in_place_of_any_file_is_refused(canary, tmp_path):
    for name in ("t.csv", "t.json", "ensemble.json", "study.db"):
        (tmp_path / name).write_bytes(pickle.dumps(Harmful(canary)))
    for read in (
        lambda: observations.read(tmp_path / "t.csv"),
        lambda: readers.from_csv(tmp_path / "t.csv", "y"),
        lambda: protocols.find(str(tmp_path / "t.json")),
        lambda: metamodel.load(tmp_path / "ensemble.json"),
        lambda: readers.from_optuna(f"sqlite:///{tmp_path / 'study.db'}"),
    ):
        with pytest.raises(ValueError) as refused:
            read()
        assert "\n" not in str(refused.value)


def test_texts_of_a_csv_file_stay_texts(canary, tmp_path):
    texts = harmful(canary)
    frame = pd.DataFrame({name: np.arange(20) % 3 for name in texts})
    frame = frame.assign(kind=(texts * 20)[:20], y=np.arange(20.0))
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = readers.from_csv(tmp_path / "t.csv", "y", space={"kind": sorted(set(frame["kind"]))})
    assert list(found.table["kind"]) == list(frame["kind"])
    assert spaces.names(found.space) == [name for name in frame if name != "y"]


# Names that want out


@pytest.mark.parametrize(
    "name", ["../x", "/tmp/x", "a/b", "a\\b", "..", ".hidden", "x\0", "x\n", "~", "x" * 300]
)
def test_a_name_leads_nowhere_but_into_the_runs(name, runs):
    before = sorted(runs.parent.iterdir())
    for use in (files.runs, files.data, notebooks.publish, lambda name: notebooks.own(name=name)):
        with pytest.raises(ValueError, match=r"cannot be that of a folder"):
            use(name)
    assert sorted(runs.parent.iterdir()) == before and not list(runs.iterdir())
    for plain in ("", "my search 2", "a-b_c.d+e", "été"):
        assert files.runs(plain) == runs / plain


# Texts that want to be markup


@pytest.fixture
def searched():
    """Trials whose names and choices are markup."""
    space, number, choice = ConfigurationSpace(), MARKUP[0], '"><b a="'
    space.add(Float(number, (0.0, 1.0)), Categorical(choice, [*MARKUP, "=1+1"]))
    table = spaces.sample(space, 0, range(80))
    table["<i>m"] = table[number] + (table[choice] == MARKUP[1])
    return trials(table, space, **{"<i>m": "maximize"})


def test_a_report_of_harmful_trials_holds_their_texts_and_no_markup(searched):
    # What a browser makes of it is seen in test_report.
    html = explain(searched, n_members=3, n_folds=2, steps=200).html()
    body = html[html.index("<body") :]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
    assert "<script>alert(1)" not in body and "<img src=x" not in body
