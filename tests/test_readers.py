"""Readers: what is kept, what is counted, what is refused with one sentence."""

import bz2
import contextlib
import gzip
import json
import lzma
import re
import sqlite3
import zipfile
from types import SimpleNamespace

import numpy as np
import optuna
import pandas as pd
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Constant, EqualsCondition, Float
from ConfigSpace.hyperparameters import IntegerHyperparameter
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from ubalkit import metamodel, readers
from ubalkit import space as spaces

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    lr, depth = 10 ** rng.uniform(-4, 0, 30), rng.integers(1, 9, 30)
    frame = pd.DataFrame({"lr": lr, "depth": depth, "kind": rng.choice(["a", "b"], 30)})
    return frame.assign(bias=rng.random(30) < 0.5, acc=np.log(lr) + depth)


def study(objective, n=40, **options):
    made = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), **options)
    made.optimize(objective, n, catch=(ArithmeticError,))
    return made


def added(*rows):
    """A study of trials with the given values, parameters and distributions."""
    made = optuna.create_study()
    for value, params, distributions in rows:
        made.add_trial(create_trial(value=value, params=params, distributions=distributions))
    return made


def lines(found, *hidden):
    """The report as a plain dict, without what every report has, and what was guessed."""
    told = found.report.drop([*hidden, "trials read", "used"])
    told = told[
        ~told["done"].str.startswith("follows")
        & ~told.index.str.match(r"scale of|to m|metric$|hyperparameters inferred")
    ]
    return told["n"].to_dict()


WHOLE = ConfigurationSpace({"depth": (1, 2)})


def test_a_table_is_read_and_its_space_inferred_by_the_rules(frame):
    found = readers.from_frame(
        frame.assign(seed=7), "acc", hyperparameters=pd.Index(["lr", "depth", "kind", "bias", "seed"])
    )
    assert spaces.names(found.space) == ["lr", "depth", "kind", "bias", "seed"]
    assert list(found.table) == ["lr", "depth", "kind", "bias", "seed", "acc", "status"]
    assert spaces.describe(found.space)["lr"] == "[0.000102, 0.975] log"
    assert isinstance(found.space["depth"], IntegerHyperparameter) and not found.space["depth"].log
    assert found.space["kind"].choices == ("a", "b") and found.space["bias"].choices == (False, True)
    assert isinstance(found.space["seed"], Constant)
    assert found.metric == "acc" and found.table.index.name == "index"
    assert lines(found) == {"constant hyperparameters": 1}
    assert lines(readers.from_frame(frame.assign(seed=7), "acc")) == {"constant columns": 1}


@pytest.mark.parametrize(
    ("values", "whole", "line"),
    [
        ([1, 2, 3], True, "[1, 3]"),
        ([0.01, 0.5, 0.99], False, "[0.01, 0.99]"),
        ([0.010019, 0.5, 0.98765], False, "[0.01, 0.988]"),
        ([-0.98765, 0.5, 123456.7], False, "[-0.988, 1.24e+05]"),
        ([16, 32, 64], True, "[16, 64] log"),
        ([1e-4, 1e-3, 1e-2], False, "[0.0001, 0.01] log"),
        (["1", "2", "3.0"], True, "[1, 3]"),
        (["1", "2.5", "4"], False, "[1, 4]"),
        (["x", "y", "y"], False, "{x, y}"),
        (["TRUE", "false", "true"], False, "{False, True}"),
        ([1.0, 0.0, 1.0], False, "{0, 1}"),
        ([32, 64, 64], False, "{32, 64}"),
        (["2", "x", "2"], False, "{2, x}"),
    ],
)
def test_inference(values, whole, line):
    frame = pd.DataFrame({"h": values, "other": [0.1, 0.2, 0.3], "acc": [1.0, 2.0, 4.0]})
    found = readers.from_frame(frame)
    assert spaces.describe(found.space)["h"] == line
    assert isinstance(found.space["h"], IntegerHyperparameter) == whole
    spaces.to_unit(found.space, found.table)


def test_a_mapping_overrides_what_is_inferred_and_a_step_is_kept_if_it_leaves_few_values(frame):
    frame["lr"] = frame["lr"].round(3)
    frame["rate"] = frame["lr"] + 0.001
    space = {"rate": (1e-5, 2.0, "log"), "depth": (0, 8, 1), "kind": ["b", "a", "c"], "lr": (0.0, 1.0, 0.001)}
    found = readers.from_frame(frame, "acc", space=space)
    line = spaces.describe(found.space)
    assert [line["rate"], line["kind"], line["lr"]] == ["[1e-05, 2] log", "{b, a, c}", "[0, 1]"]
    assert found.space["depth"].sequence == tuple(range(9))
    assert found.report["n"]["hyperparameters inferred"] == 1
    back = readers.optuna_distributions(found.space)
    assert back["depth"] == IntDistribution(0, 8, step=1)
    assert back["lr"] == FloatDistribution(0, 1, step=0.001)
    found = readers.from_frame(frame, "acc", space={"depth": (0.0, 10.0)})
    assert not isinstance(found.space["depth"], IntegerHyperparameter)


@pytest.mark.parametrize(
    "spec",
    [(1, 0), (0.0, 1.0, "log"), (0, 1, "ln"), (1,), (0, 1, -1), (0, np.inf), [], ["a", "a"], [1, True]],
)
def test_a_mapping_that_means_nothing_is_refused(frame, spec):
    with pytest.raises(ValueError, match=r"^depth: .* is none of \(low, high\)"):
        readers.from_frame(frame, "acc", space={"depth": spec})


def test_a_space_given_names_the_hyperparameters_and_the_rest_is_ignored(frame):
    space = ConfigurationSpace({"lr": (1e-5, 1.0), "depth": (0, 9), "kind": ["a", "b"]})
    space.add(Constant("momentum", 0.9))
    found = readers.from_frame(frame, "acc", space=space)
    assert found.space is space and found.table["momentum"].eq(0.9).all()
    assert lines(found) == {"columns ignored": 1}
    assert found.report.loc["columns ignored", "done"] == "bias"


def test_status_words_sort_the_rows(frame):
    words = ["COMPLETE", "finished", "PRUNED", "failed", "Running", "crashed"] + ["ok"] * 24
    found = readers.from_frame(frame.assign(State=words), "acc", status="State")
    assert lines(found, "hyperparameters inferred") == {"pruned": 1, "not finished": 1, "failed": 2}
    assert found.table.index.tolist() == [0, 1, 3, *range(5, 30)]
    assert found.table["status"].value_counts().to_dict() == {"ok": 26, "failed": 2}
    assert found.table.loc[found.table["status"] == "failed", "acc"].isna().all()
    with pytest.raises(ValueError, match=r"^Trial 0 has status = 'odd', which is none of ok"):
        readers.from_frame(frame.assign(State="odd"), "acc", status="State")


def test_metrics_that_are_no_finite_number_are_failures_copies_count_once_and_repetitions_stay(frame):
    again = pd.concat([frame, frame.iloc[:3], frame.iloc[[5]].assign(acc=0.5)], ignore_index=True)
    again.loc[[7, 8, 9], "acc"] = [np.nan, np.inf, -np.inf]
    found = readers.from_frame(again, "acc")
    counted = {"metric is not a number": 3, "copies": 3, "repetitions": 1}
    assert lines(found, "hyperparameters inferred") == counted
    assert found.table.index[found.table["status"] == "failed"].tolist() == [7, 8, 9]
    assert len(found.table) == 31 and found.report.loc["used", "n"] == 28


def test_several_metrics_each_with_its_direction(frame):
    table, directions = frame.assign(loss=-frame["acc"], flat=1), ["maximize", "minimize", "minimize"]
    found = readers.from_frame(table, ["acc", "loss", "flat"], direction=directions)
    assert found.metrics == {"acc": "maximize", "loss": "minimize", "flat": "minimize"}
    assert lines(found, "hyperparameters inferred") == {"constant metrics": 1}
    for direction in ("up", ["maximize"] * 2, ["maximize", "up", "minimize"]):
        with pytest.raises(ValueError, match="is not maximize or minimize"):
            readers.from_frame(table, ["acc", "loss", "flat"], direction=direction)


def test_missing_values_need_a_condition_that_explains_them(frame):
    frame["degree"] = np.where(frame["kind"] == "a", 2.0 + frame["depth"] % 3, np.nan)
    frame["coef"] = np.where(frame["degree"] > 2, frame["lr"], np.nan)
    frame["flat"] = np.where(frame["depth"] < 5, frame["lr"], np.nan)
    frame["deep"] = np.where(frame["depth"] > 4, frame["lr"], np.nan)
    found = readers.from_frame(frame, "acc")
    wanted = {"degree | kind == 'a'", "coef | degree > 2", "deep | depth > 4", "flat | depth < 5"}
    assert {str(c) for c in found.space.conditions} == wanted
    assert found.table["degree"].isna().sum() == frame["degree"].isna().sum()
    assert found.report.loc["degree missing", "done"] == "taken as conditional: if kind == 'a'"


def test_trials_that_lack_a_hyperparameter_for_no_reason_are_left_out_or_it_is(frame):
    rows = np.arange(30)
    baseline = frame.assign(lr=frame["lr"].where(rows != 4), depth=frame["depth"].where(rows != 4))
    found = readers.from_frame(baseline, "acc")
    assert len(found.table) == 29 and 4 not in found.table.index
    assert lines(found) == {"without lr": 1}
    late = frame.assign(late=frame["lr"].where((rows > 11) & (rows != 20)))
    found = readers.from_frame(late, "acc")
    assert lines(found) == {"without late": 13} and "late" in found.space
    later = frame.assign(late=frame["lr"].where((rows > 15) & (rows != 20)))
    found = readers.from_frame(later, "acc")
    assert lines(found) == {"late missing": 17} and "late" not in found.space and len(found.table) == 30
    for named in ({"hyperparameters": ["depth", "late"]}, {"space": {"late": (1e-5, 1.0, "log")}}):
        found = readers.from_frame(later, "acc", **named)
        assert lines(found)["without late"] == 17 and len(found.table) == 13 and "late" in found.space


def test_conditions_never_go_in_a_circle_or_through_what_is_missing_elsewhere(frame):
    rows = np.arange(30)
    twins = frame.assign(a=np.where(rows % 7 == 3, None, "x"), b=np.where(rows % 7 == 3, None, "y"))
    twins["a"] = twins["a"].where((rows % 2 == 0) | twins["a"].isna(), "z")
    twins["b"] = twins["b"].where((rows % 3 == 0) | twins["b"].isna(), "z")
    assert lines(readers.from_frame(twins, "acc")) == {"without a": 4}
    apart = frame.assign(x=np.where(rows < 3, np.nan, frame["lr"]), p=np.where(rows < 3, "u", "v"))
    apart["q"] = np.where(rows == 5, "no", "yes")
    assert str(readers.from_frame(apart, "acc").space.conditions[0]) == "x | p == 'v'"
    found = readers.from_frame(apart.assign(p=apart["p"].where(rows != 5)), "acc")
    assert lines(found) == {"without x": 3, "p missing": 1, "constant hyperparameters": 1}


def test_what_no_finished_trial_has_is_left_out_and_what_failed_ones_lack_needs_no_condition(frame):
    frame = frame.assign(rare=[0.5] + [None] * 29, status=["failed"] * 2 + ["ok"] * 28)
    frame.loc[1, ["lr", "acc"]] = np.nan
    found = readers.from_frame(frame, "acc")
    # The second failed before its rate was set, and can be placed nowhere.
    assert lines(found) == {"failed": 2, "empty columns": 1, "failed before all was set": 1}
    assert len(spaces.to_unit(found.space, found.failing.table)) == 29
    assert "rare" not in found.table and 1 not in found.table.index and not found.space.conditions


def test_a_space_given_with_a_condition_allows_what_is_missing(frame):
    space = ConfigurationSpace()
    space.add(kind := Categorical("kind", ["a", "b"]), lr := Float("lr", (1e-5, 1.0), log=True))
    space.add(EqualsCondition(lr, kind, "a"))
    frame["lr"] = frame["lr"].where(frame["kind"] == "a")
    assert readers.from_frame(frame, "acc", space=space).table["lr"].isna().sum() == frame["lr"].isna().sum()


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        ({}, {"metric": "accuracy"}, "no column 'accuracy' to use; there are lr, depth, kind, bias, acc"),
        ({}, {"space": {"lr2": (0, 1)}}, "no column 'lr2' to use"),
        ({}, {"hyperparameters": ["depth"], "space": {"lr": (0, 1)}}, "no column 'lr' to use"),
        ({}, {"space": ConfigurationSpace({"lr2": (0.0, 1.0)})}, "no column 'lr2' to use"),
        ({}, {"status": "State"}, "no column 'State'"),
        ({}, {"hyperparameters": ["lr", "acc"]}, "no column 'acc' to use; there are lr, depth, kind, bias"),
        ({"status": "ok"}, {"metric": "status"}, "no column 'status' to use"),
        ({"status": 3}, {"hyperparameters": ["status", "lr"]}, "'status' needs a name of its own"),
        ({"auc": range(30)}, {"metric": ""}, "No metric is named; say metric= one of acc, auc"),
        ({"acc": np.nan}, {}, r"Of 30 trials 0 can be used, .*metric is not a number: 30"),
        ({"acc": ["x"] * 16 + ["0.5"] * 14}, {}, "Trial 0 has acc = 'x', which is not a number"),
        ({"lr": ["o.1", *map(str, range(29))]}, {}, "Trial 0 has lr = 'o.1', which is no number"),
        ({"lr": ["0,1", "0,2", "0,5"] * 10}, {}, "lr = '0,1', which is no number: correct it"),
        ({}, {"space": {"depth": (1, 2)}}, "Trial . has depth = ., which lies outside its space"),
        ({"depth": [1.5, 2] * 15}, {"space": WHOLE}, "has depth = 1.5, which lies"),
        ({}, {"space": {"kind": ["a", "c"]}}, "Trial . has kind = 'b', which lies outside"),
    ],
)
def test_what_cannot_be_used_is_refused_with_one_sentence(frame, change, options, sentence):
    with pytest.raises(ValueError, match=sentence) as refusal:
        readers.from_frame(frame.assign(**change), **{"metric": "acc", **options})
    assert "\n" not in str(refusal.value)


def test_what_explains_nothing_is_refused(frame):
    for n in (0, 1):
        with pytest.raises(ValueError, match=f"Of {n} trials {n} can be used"):
            readers.from_frame(frame[:n], "acc")
    with pytest.raises(ValueError, match=r"Of 30 trials 0 .*\(pruned: 29, not finished: 1"):
        readers.from_frame(frame.assign(status=["pruned"] * 29 + ["running"]), "acc")
    same = {"lr": "x", "depth": 1, "kind": "x", "bias": True}
    for table in (frame.assign(**same), frame[["acc"]], frame.assign(**dict.fromkeys(same))):
        with pytest.raises(ValueError, match="nothing to explain: no hyperparameter varies"):
            readers.from_frame(table, "acc")
    # The rest is for the meta-model to say.
    with pytest.raises(ValueError, match="acc is the same in all trials"):
        metamodel.fit(readers.from_frame(frame.assign(acc=0.5), "acc"))


@pytest.mark.parametrize("name", ["depth", "two\nlines", "x" * 101, "\u202etxt", "$\\foo$"])
def test_a_column_whose_name_is_anothers_or_that_nothing_can_show_is_refused(frame, name):
    with pytest.raises(ValueError, match="needs a name of its own"):
        readers.from_frame(frame.rename(columns={"lr": name}), "acc")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "# searched in spring, on one machine\n\n" + text,
        lambda text: "The results\n\n" + text + "# that is all, so far\n",
        lambda text: "# " + re.sub(r"(?m)^\w+,", "", text),
        lambda text: text.removeprefix("n,"),
        lambda text: text.replace("\n", ",,\n"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace(",", " | "),
        lambda text: text.replace(",", ";").replace(".", ","),
        lambda text: text.replace("\n", "\r\n").encode("utf-16"),
        lambda text: text.replace("größe", "gr\u00f6\u00dfe").encode("latin-1"),
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("a\n", '"a, or ""b"""\n'),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "csv.bz2", "csv.xz", "csv.zip"])
def test_a_table_is_found_in_a_file_as_people_keep_it(tmp_path, suffix, change):
    rows = [f"{3 * k},{(k * 7 % 12) / 8},{k**2 / 7:.3f},a\n" for k in range(12)]
    changed = change("n,größe,acc,kind\n" + "".join(rows) + "40,0.75,2.25,b\n")
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.get(suffix[4:], bytes)
    path, data = tmp_path / f"t.{suffix}", changed if isinstance(changed, bytes) else changed.encode()
    path.write_bytes(pack(data))
    if suffix == "csv.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("t.csv", data)
    if suffix != "csv" and data.startswith((b"\xff", b"\xfe")):
        pytest.skip("which encoding it is in is seen in a plain file alone")
    found = readers.from_csv(path, "acc", hyperparameters=["größe", "kind"])
    assert len(found.table) == 13 and found.table["größe"].iloc[:3].tolist() == [0, 0.875, 0.25]
    assert found.table["acc"].iloc[-1] == 2.25 and found.table["kind"].iloc[-1] == "b"


GOOD = {"maximize": ["acc", "neg_log_loss", "value"], "minimize": ["val_loss", "testRMSE", "time (s)"]}


@pytest.mark.parametrize(("direction", "name"), [(d, name) for d, names in GOOD.items() for name in names])
def test_a_metrics_name_tells_which_values_are_good(frame, name, direction):
    found = readers.from_frame(frame.rename(columns={"acc": name}), name)
    assert found.metrics == {name: direction}
    assert found.report.loc[f"to {direction}", "done"].endswith(f": {name}")


def test_a_metric_is_found_by_its_name_with_or_without_what_a_tool_puts_before_it(frame):
    shown = {("metrics.acc", "acc"): "acc", ("mean_test_acc", "acc"): "acc", ("Acc", "acc"): "Acc"}
    shown["metrics.acc", "metrics.acc"] = "metrics.acc"
    for (column, wanted), metric in shown.items():
        assert readers.from_frame(frame.rename(columns={"acc": column}), wanted).metric == metric


def test_numbers_of_the_trials_are_an_index_and_never_a_hyperparameter(frame, tmp_path):
    def numbers(table, metric="acc", **options):
        table.to_csv(tmp_path / "t.csv", **options)
        found = readers.from_csv(tmp_path / "t.csv", metric)
        assert spaces.names(found.space) == ["lr", "depth", "kind", "bias"]
        return found.table.index.tolist()

    own = [5 * k for k in range(30)]
    assert numbers(frame.set_axis(own)) == own
    assert numbers(frame.assign(index=own), index=False) == own
    assert numbers(frame.set_axis(own), index_label="Unnamed: 0") == own
    assert numbers(frame.assign(index=0.5), index=False) == [*range(30)]
    assert numbers(frame.set_axis([7] * 30)) == [*range(30)]
    names = {name: f"params_{name}" for name in ("lr", "depth", "kind", "bias")} | {"acc": "value"}
    assert numbers(frame.rename(columns=names).assign(number=own, state="COMPLETE"), "value") == own


def test_only_a_tables_own_words_make_it_a_tools(frame):
    found = readers.from_frame(frame.rename(columns={"lr": "param_count"}), "acc")
    assert spaces.names(found.space) == ["param_count", "depth", "kind", "bias"]
    marked = frame.rename(columns={"lr": "param_lr", "acc": "mean_test_score"})
    assert spaces.names(readers.from_frame(marked).space) == ["lr"]
    found = readers.from_frame(marked, hyperparameters=["param_lr", "depth"])
    assert spaces.names(found.space) == ["lr", "depth"]


def test_rows_of_one_trial_are_reduced_to_the_last_only_where_they_are_reports(frame):
    curves = pd.concat([frame.assign(trial=range(30), step=k, acc=frame["acc"] + k) for k in (5, 1, 3)])
    found = readers.from_frame(curves, "acc")
    assert lines(found) == {"earlier reports": 60} and found.table["acc"].tolist() == list(frame["acc"] + 5)
    assert spaces.names(found.space) == ["lr", "depth", "kind", "bias"]
    again = pd.concat([curves, curves])  # of which a step stands twice: no curve
    assert "earlier reports" not in readers.from_frame(again, "acc").report.index
    epochs = frame.assign(trial=np.arange(30) % 10, step=np.repeat([10, 20, 40], 10))
    assert len(readers.from_frame(epochs, "acc", hyperparameters=["lr", "step"]).table) == 30


def test_a_table_of_trials_is_written_and_read_again(frame, tmp_path):
    frame["cap"] = np.where(frame["depth"] > 4, 5, np.nan)
    frame.loc[4, "acc"] = np.nan
    found = readers.from_frame(frame.drop([2, 3]), "acc", space={"cap": [None, 5]})
    found.table.to_csv(tmp_path / "t.csv")
    again = readers.from_csv(tmp_path / "t.csv", "acc", space=found.space)
    pd.testing.assert_frame_equal(again.table, found.table, check_exact=True)
    assert lines(again) == {"failed": 1}
    # An empty cell is None where that is a choice.
    assert found.space["cap"].choices == (None, 5) and not found.space.conditions
    assert {type(v) for v in found.table["cap"]} == {type(None), int}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "columns and all quotes closed; separate them by"),
        ("lr,acc\n1,2\n1,2,3\n", "is no table with a cell in each row for each of its columns"),
        ('lr,acc\n"1,2\n1,2\n', "all quotes closed"),
        ("lr,acc,lr\n1,2,3\n2,3,4\n", "'lr' needs a name of its own"),
        ("lr,acc\n", "Of 0 trials 0 can be used"),
        ("lr,acc\n1,0.5\n2,\0\n3,0.7\n", "is no table"),
    ],
)
def test_a_csv_file_with_a_defect_is_refused_with_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence) as refusal:
        readers.from_csv(path, "acc")
    assert "\n" not in str(refusal.value)


def everything(trial):
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    layers = trial.suggest_int("layers", 1, 3)
    kernel = trial.suggest_categorical("kernel", ["rbf", "poly", "linear"])
    drop = trial.suggest_float("drop", 0, 0.5, step=0.1)
    batch = trial.suggest_int("batch", 32, 128, step=32)
    fine = trial.suggest_int("fine", 0, 900, step=10)
    cap = trial.suggest_categorical("cap", [None, True, 8, 0.5, "big"])
    wide = trial.suggest_int("wide", 1, 512, log=True) if layers >= 2 else 0
    degree = trial.suggest_int("degree", 2, 5) if kernel != "linear" else 0
    if trial.number % 10 == 3:
        trial.report(0.1, 0)
        raise optuna.TrialPruned
    if trial.number % 10 == 4:
        raise ArithmeticError
    return np.log(lr) ** 2 + layers + drop + batch + fine + degree + wide + (cap is None)


@pytest.mark.parametrize("stored", [False, True])
def test_a_study_keeps_its_distributions_conditions_and_states(tmp_path, stored):
    url, n = f"sqlite:///{tmp_path}/study.db", 20 if stored else 60
    made = study(everything, n, study_name="s", **({"storage": url} if stored else {}))
    made.enqueue_trial({"lr": 0.1})
    found = readers.from_optuna(url, study_name="s") if stored else readers.from_optuna(made)
    assert spaces.describe(found.space).drop("kernel").to_dict() == {
        "lr": "[1e-05, 0.1] log",
        "layers": "[1, 3]",
        "drop": "{0.0, 0.1, 0.2, 0.3, 0.4, 0.5}",
        "batch": "{32, 64, 96, 128}",
        "fine": "[0, 900]",
        "cap": "{None, True, 8, 0.5, big}",
        "wide": "[1, 512] log, if layers > 1",
        "degree": "[2, 5], if kernel in {'rbf', 'poly'}",
    }
    counted = {"pruned": n // 10, "not finished": 1, "failed": n // 10}
    assert lines(found, "wide missing", "degree missing") == counted
    assert found.report["n"][["trials read", "used"]].tolist() == [n + 1, n * 8 // 10]
    assert found.metrics == {"value": "minimize"}
    for number, row in found.usable.iterrows():
        params, value = made.trials[number].params, made.trials[number].value
        assert [row["value"], row["cap"], row["lr"]] == [value, params["cap"], params["lr"]]
        assert (row["wide"] == params["wide"]) if "wide" in params else np.isnan(row["wide"])


def test_several_objectives_have_names_and_directions():
    made = study(lambda t: (t.suggest_float("x", 0, 1), -t.params["x"]), directions=["minimize", "maximize"])
    assert readers.from_optuna(made).metrics == {"value_0": "minimize", "value_1": "maximize"}
    assert readers.read(made, "value_1").metrics == {"value_1": "maximize"}
    with pytest.warns(match="experimental"):
        made.set_metric_names(["loss", "acc"])
    found = readers.from_optuna(made)
    assert found.metrics == {"loss": "minimize", "acc": "maximize"}
    assert found.table["acc"].tolist() == [t.values[1] for t in made.trials]
    assert readers.from_optuna(made, metrics=["a", "b"]).metric == "a"
    for metrics in ("a", ["a", "a"]):
        with pytest.raises(ValueError, match=r"of a.* is not maximize or minimize, one for each"):
            readers.from_optuna(made, metrics=metrics)


def test_ranges_that_changed_are_united_and_reported():
    rows = []
    for n, (x, high, log) in enumerate([(0.1, 1, True), (0.2, 1, True), (5.0, 10, True), (2.0, 10, False)]):
        space = {"x": FloatDistribution(1e-3, high, log=log), "k": IntDistribution(1, 9)}
        rows.append((x, {"x": x, "k": 1 + n}, space))
    found = readers.from_optuna(added(*rows[:3]))
    assert lines(found) == {"distributions of x": 2}
    own = readers.from_optuna(added(*rows), space={"x": (0.1, 6.0)})
    described = [spaces.describe(f.space)["x"] for f in (found, readers.from_optuna(added(*rows)), own)]
    assert described == ["[0.001, 10] log", "[0.001, 10]", "[0.1, 6]"]


def test_a_study_that_cannot_be_used_is_refused_with_one_sentence(tmp_path):
    url, unit = f"sqlite:///{tmp_path}/study.db", FloatDistribution(0, 1)
    study(everything, 1, study_name="s", storage=url)
    early = [(v, {"x": v}, {"x": unit}) for v in (0.1, 0.2, 0.3)]
    late = added(*early, (1.0, {"x": 0.4, "y": 0.1}, {"x": unit, "y": unit}))
    for source, options, sentence in [
        (study(everything, 1), {}, "Of 1 trials 1 can be used"),
        (late, {"hyperparameters": ["z"]}, "no column 'z' to use; there are x"),
        (f"sqlite:///{tmp_path}/none.db", {}, f"from {tmp_path}/none.db, which was left as"),
        (url, {"study_name": "t"}, "No study t can be read from .* it holds s: say study_name="),
    ]:
        with pytest.raises(ValueError, match=sentence) as refusal:
            readers.from_optuna(source, **options)
        assert "\n" not in str(refusal.value)
    assert not (tmp_path / "none.db").exists()
    assert lines(readers.from_optuna(late)) == {"y missing": 3}
    assert lines(readers.from_optuna(late, hyperparameters=["x"])) == {"columns ignored": 1}


def test_values_meet_steps_with_other_last_digits_and_bounds_that_configspace_rounds():
    space = {"x": FloatDistribution(0, 0.9, step=0.1)}
    made = added(*[(k / 9, {"x": x}, space) for k, x in enumerate([0.1, 0.1 * 3, 0.3, 0.9])])
    assert readers.from_optuna(made).table["x"].tolist() == [0.1, 0.3, 0.3, 0.9]
    third = 2 / 3 * 1e-4
    space = {"x": FloatDistribution(third, 1, log=True)}
    found = readers.from_optuna(added(*[(v, {"x": v}, space) for v in (third, 0.5)]))
    assert found.table["x"][0] == pytest.approx(third, abs=1e-13)
    assert spaces.to_unit(found.space, found.table)[0, 0] == pytest.approx(0, abs=1e-9)


X, Y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2


def test_a_grid_search_with_parts_and_estimators():
    pipe = Pipeline([("model", SVC())])
    grid = [
        {"model": [SVC()], "C": [0.1, 1.0, 100.0], "kernel": ["rbf"], "gamma": ["scale", 0.1]},
        {"model": [DecisionTreeClassifier()], "max_depth": [None, 2, 3], "criterion": ["gini", "entropy"]},
        {"model": [LogisticRegression()], "C": [0.1, 1.0]},
    ]
    grid = [{name if name == "model" else f"model__{name}": v for name, v in part.items()} for part in grid]
    found = readers.from_sklearn(GridSearchCV(pipe, grid, cv=2).fit(X, Y).cv_results_)
    assert spaces.describe(found.space).str.replace(", if .*", "", regex=True).to_dict() == {
        "model": "{DecisionTreeClassifier(), LogisticRegression(), SVC()}",
        "model__C": "[0.1, 100] log",
        "model__kernel": "= rbf",
        "model__gamma": "{0.1, scale}",
        "model__max_depth": "{None, 2, 3}",
        "model__criterion": "{entropy, gini}",
    }
    condition = "model__max_depth | model == 'DecisionTreeClassifier()'"
    assert condition in {str(c) for c in found.space.conditions}
    assert found.metric == "mean_test_score" and len(found.table) == 14
    assert found.table["model__max_depth"].isin(["None"]).sum() == 2


def test_the_reduced_space_of_a_study_goes_back_to_optuna():
    made = study(everything, 60)
    found = readers.from_optuna(made)
    back = readers.optuna_distributions(found.space)
    assert list(back) == spaces.names(found.space)
    assert back == {n: d for t in made.trials for n, d in t.distributions.items()}
    space = ConfigurationSpace({"x": (0.0, 1.0), "c": 3, "o": ["a", "b"]})
    back = readers.optuna_distributions(spaces.reduced(space, ranges={"x": (0.25, 0.5)}))
    choices = {"c": CategoricalDistribution([3]), "o": CategoricalDistribution(["a", "b"])}
    assert back == choices | {"x": FloatDistribution(0.25, 0.5)}


@pytest.mark.parametrize(
    ("values", "described"),
    [
        (lambda rng: rng.uniform(0, 1, 200), r"\[[\d.e-]+, [\d.]+\]"),
        (lambda rng: rng.integers(1, 301, 60), r"\[\d+, \d+\]"),
        (lambda rng: 10 ** rng.uniform(-2, 0, 60), r"\[.*\] log"),
        (lambda rng: np.rint(10 ** rng.uniform(0, 2, 60)), r"\[1, \d+\] log"),
        (lambda rng: rng.choice([16, 32, 64, 128], 60), r"\[16, 128\] log"),
        (lambda rng: rng.choice([32, 64, 96, 128], 60), r"\[32, 128\]"),
        (lambda rng: rng.choice([2, 5, 10, 0.1, 0.3], 60).astype(object), r"\[0.1, 10\]( log)?"),
        (lambda rng: [[2, 5, 10, 0.1, 0.3][k] for k in rng.integers(0, 5, 60)], r"\{0.1, 0.3, 2, 5, 10\}"),
        (lambda rng: [[0.1, 1, 10, 100][k] for k in rng.integers(0, 4, 60)], r"\[0.1, 100\] log"),
    ],
)
def test_a_scale_is_the_one_on_which_values_are_spread_evenly(values, described):
    rng = np.random.default_rng(2)
    x = values(rng)
    frame = pd.DataFrame({"x": pd.Series(x, dtype=object), "other": rng.random(len(x))})
    found = readers.from_frame(frame.assign(score=frame["other"] + rng.random(len(x))))
    assert re.fullmatch(described, spaces.describe(found.space)["x"])
    if described.endswith("] log"):
        assert "logarithmic (distance from uniform 0." in found.report.loc["scale of x", "done"]


def test_where_a_search_kept_to_one_place_the_name_tells_the_scale():
    rng = np.random.default_rng(0)
    narrow = np.concatenate([10 ** rng.uniform(-5, -1, 20), 10 ** rng.normal(-1.7, 0.2, 80).clip(-5, -1)])
    frame = pd.DataFrame({"lr": narrow, "x": narrow, "other": rng.random(100), "loss": rng.random(100)})
    found = readers.from_frame(frame)
    assert found.space["lr"].log and not found.space["x"].log
    assert found.report.loc["scale of x", "done"].startswith("unsure: linear")


RESULTS = ["Recall@1", "train acc", "valLoss", "time_total_s", "split0_test_score", "best_epoch", "peak mem"]
RESULTS += ["F1-Score", "ROC-AUC", "mse", "fold", "std_test_score", "rank", "Testfehler", "episode_len_mean"]


def test_columns_that_look_like_results_are_left_out_and_said(frame):
    rng = np.random.default_rng(1)
    measured = {name: frame["acc"].rank() / 40 + rng.normal(0, 0.05, 30) for name in RESULTS}
    chosen = {"loss": rng.choice(["hinge", "log"], 30), "n_epochs": rng.integers(5, 50, 30)}
    drawn = ["dropout_rate", "warmup_steps", "test_size", "max_time"]
    chosen |= {name: rng.uniform(1, 2, 30) for name in drawn} | {"loss_weight": rng.normal(size=30) ** 6}
    chosen |= {"lora_rank": rng.choice([4, 8, 16, 32], 30), "precision": rng.choice([16, 32], 30)}
    table = frame.assign(**measured, **chosen, result=frame["acc"] ** 3)
    found = readers.from_frame(table, "acc")
    assert spaces.names(found.space) == ["lr", "depth", "kind", "bias", *chosen]
    assert found.report.loc["results", "done"].endswith(" hyperparameters=[...]: " + ", ".join(RESULTS))
    assert found.report.loc["columns that follow the metric", "done"].endswith(": result")
    # One that decides nearly alone, but was drawn evenly, was set.
    deciding = pd.DataFrame(rng.random((30, 2)), columns=["x", "y"])
    assert len(readers.from_frame(deciding.assign(score=deciding["x"] + deciding["y"] / 99)).space) == 2
    for named in ({"hyperparameters": ["mse", "result"]}, {"space": {"mse": (-9, 9), "result": (-999, 999)}}):
        assert {"mse", "result"} <= set(readers.from_frame(table, "acc", **named).space)


def test_columns_that_tell_of_the_trial_are_left_out_and_said(frame):
    dates, rows = pd.date_range("2024-01-30", periods=30, freq="h"), np.arange(30)
    table = frame.assign(nth=3 * rows, shuffled=np.random.default_rng(0).permutation(30), started=dates)
    table = table.assign(took=[f"{k % 9}.5 s" for k in rows], day=dates.strftime("%d.%m.%Y %H:%M"))
    table = table.assign(stamp=1.7e9 + rows, uuid=[f"r{k}" for k in rows], version=2, trial=rows**2 % 97)
    table = table.assign(path=[f"/data/{k % 3}/x" for k in rows], config=[f"{{'a': {k % 4}}}" for k in rows])
    found = readers.from_frame(table, "acc")
    assert spaces.names(found.space) == ["lr", "depth", "kind", "bias"]
    left = found.report["done"].str.rpartition(": ")[2].to_dict()
    assert left["columns that count"] == "nth, shuffled, trial" and left["paths"] == "path"
    assert left["dates and times"] == "started, took, day, stamp" and left["objects"] == "config"
    assert left["texts that differ"] == "uuid" and left["constant columns"] == "version"
    only = readers.from_frame(pd.DataFrame({"size": range(1, 13), "acc": np.sin(range(12))}))
    assert list(only.space) == ["size"]  # better a column that counts than none


def test_a_column_of_states_alone_is_the_status_whatever_its_name():
    rows = np.arange(30)
    words = np.select([rows % 5 == 1, rows % 5 == 2], ["TrialState.PRUNED", "crashed"], "TERMINATED")
    frame = pd.DataFrame({"x": rows * 1.3 % 7, "acc": np.cos(rows), "Outcome": words})
    found = readers.from_frame(frame, "acc")
    assert lines(found) == {"pruned": 6, "failed": 6} and "Outcome" not in found.space
    assert found.table["x"].notna().all()
    both = readers.from_frame(frame.assign(State=frame["Outcome"], Outcome="ok"), "acc")
    assert lines(both) == {"pruned": 6, "failed": 6} and list(both.space) == ["x"]
    kept = readers.from_frame(frame, "acc", hyperparameters=["x", "Outcome"])
    assert "Outcome" in kept.space and len(kept.table) == 30


def test_conditions_of_two_parents_of_a_float_and_of_siblings():
    def objective(trial):
        method = trial.suggest_categorical("method", ["full", "lora"])
        where = trial.suggest_categorical("where", ["attn", "mlp"])
        rate = trial.suggest_float("rate", 0, 1)
        rank = trial.suggest_int("rank", 1, 64) if (method, where) == ("lora", "attn") else 0
        layers = trial.suggest_int("layers", 1, 4)
        units = [trial.suggest_categorical(f"units_{k}", [16, 32, 64]) for k in range(layers)]
        return rank + sum(units) + (trial.suggest_float("decay", 0, 1) if rate > 0.3 else 0)

    found = readers.from_optuna(study(objective, 80))
    told = spaces.describe(found.space).str.partition(", if ")[2]
    assert told["rank"] == "method == 'lora' and where == 'attn'"
    assert [told[f"units_{k}"] for k in (1, 2, 3)] == ["layers > 1", "layers > 2", "layers > 3"]
    over, threshold = told["decay"].split(" > ")
    assert over == "rate" and 0.2 < float(threshold) < 0.4
    spaces.to_unit(found.space, found.usable)


def test_of_conditions_that_tell_as_exactly_the_siblings_own_is_taken():
    """And one that is never missing: by chance units_2 tells of units_3 as n_layers does."""
    n = np.array([1, 2, 3] * 10)
    units = np.where(n == 3, 64, np.where(np.arange(30) % 2, 16, 32))
    frame = pd.DataFrame(
        {"units_2": units, "units_3": units + np.arange(30) % 5, "n_layers": n, "loss": n + units}
    )
    frame["units_2"] = frame["units_2"].where(n > 1).map({16.0: "s", 32.0: "m", 64.0: "l"})
    frame["units_3"] = frame["units_3"].where(n > 2)
    told = spaces.describe(readers.from_frame(frame).space).str.partition(", if ")[2]
    assert told.to_dict() == {"units_2": "n_layers > 1", "units_3": "n_layers > 2", "n_layers": ""}


def test_steps_are_kept_through_a_narrower_space():
    made = study(lambda t: t.suggest_int("d", 32, 1024, step=32) + t.suggest_float("f", 0.1, 9.1, step=0.1))
    space = readers.from_optuna(made).space
    assert readers.optuna_distributions(space) == made.trials[0].distributions
    narrow = spaces.reduced(space, ranges={"d": (100, 200), "f": (0.55, 2.0)})
    assert readers.optuna_distributions(narrow) == {
        "d": IntDistribution(128, 192, step=32),
        "f": FloatDistribution(0.6, 2.0, step=0.1),
    }
    frozen = spaces.reduced(space, freeze={"d": 100})
    assert readers.optuna_distributions(frozen)["d"] == CategoricalDistribution([96])


def test_a_hyperparameter_may_be_named_like_the_objective():
    unit = FloatDistribution(0, 1)
    space = {"value": unit, "number": unit}
    made = added(*[(v**2, {"value": v, "number": v}, space) for v in (0.1, 0.2, 0.3)])
    found = readers.from_optuna(made)
    assert found.metrics == {"objective": "minimize"} and spaces.names(found.space) == ["value", "number"]
    assert found.table["objective"].tolist() == [t.value for t in made.trials]


def everything_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_storages_are_read_from_a_copy_and_left_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url, file = "sqlite:///study.db", tmp_path / "study.db"
    study(lambda t: t.suggest_float("x", 0, 1), 5, study_name="s", storage=url)
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("pragma journal_mode=wal")
    journal = JournalStorage(JournalFileBackend("journal.log"))
    study(lambda t: t.suggest_float("x", 0, 1), 5, study_name="j", storage=journal)
    before = everything_in(tmp_path)
    file.chmod(0o444)
    for source in (url, f"sqlite:///{file}", "study.db", file, "journal.log", tmp_path / "journal.log"):
        assert len(readers.read(source)) == 5
        assert everything_in(tmp_path) == before
    file.chmod(0o644)
    with contextlib.closing(sqlite3.connect(file)) as db:  # while another one writes
        db.execute("update trial_values set value = 7 where trial_id = 1")
        db.commit()
        before = everything_in(tmp_path)
        assert "study.db-wal" in before and readers.read("study.db").table["value"][0] == 7
        assert everything_in(tmp_path).keys() == before.keys()
        assert file.read_bytes() == before["study.db"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (None, "no such table: studies"),
        ("drop table trials", "no such table: trials"),
        ("drop table studies; create view studies as select 1 as study_id", "it holds none"),
        ("insert into studies(study_name) values ('t')", "it holds s, t: say study_name="),
        ("update trial_params set distribution_json='" + "[" * 100000 + "'", "RecursionError"),
        ("update trials set number='abc' where number=3", "TypeError"),
    ],
)
def test_a_storage_that_is_none_is_refused_and_left_as_it_is(tmp_path, change, sentence):
    path = tmp_path / "some.db"
    if change:
        study(lambda t: t.suggest_float("x", 0, 1), 5, study_name="s", storage=f"sqlite:///{path}")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(change or "create table accounts (owner text); insert into accounts values ('a')")
    before = everything_in(tmp_path)
    for source in (path, f"sqlite:///{path}"):
        with pytest.raises(ValueError, match=f"{path}, which was left as it is: .*{sentence}"):
            readers.read(source)
    assert everything_in(tmp_path) == before


def test_an_old_storage_is_upgraded_in_the_copy_alone(tmp_path):
    path = tmp_path / "old.db"
    study(lambda t: t.suggest_float("x", 0, 1), 5, study_name="s", storage=f"sqlite:///{path}")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("update alembic_version set version_num = 'v3.0.0.c'")
        db.execute("alter table trial_values drop column value_type")
        db.commit()
    before = everything_in(tmp_path)
    assert len(readers.from_optuna(path)) == 5 and everything_in(tmp_path) == before


HIDDEN = "mysql+pymysql://bob:S3C@RET@127.0.0.1:1/db redis://:S3C@RET@127.0.0.1:1 x://h/d?password=S3C@RET"


@pytest.mark.parametrize("url", HIDDEN.split())
def test_no_password_is_told(url):
    with pytest.raises(ValueError, match=r"No study can be read from \w+") as refusal:
        readers.from_optuna(url)
    assert "S3C" not in str(refusal.value) and "RET" not in str(refusal.value)


def test_ray_results_are_read_from_what_they_are(tmp_path):
    rng = np.random.default_rng(0)
    widths = rng.integers(8, 64, 12).tolist()
    rows = [{"lr": 10 ** rng.uniform(-4, -1), "model": {"width": width}} for width in widths]
    for k, config in enumerate(rows):
        folder = tmp_path / f"trial_{k}"
        folder.mkdir()
        reports = [{"loss": config["lr"] / step, "lr": 0.1, "pid": k, "config": config} for step in (1, 2)]
        (folder / "params.json").write_text(json.dumps(config))
        text = "".join(json.dumps(report) + "\n" for report in reports)
        (folder / "result.json").write_text(text + '{"loss": 0.')
    (tmp_path / "trial_3" / "error.txt").write_text("no")
    (tmp_path / "trial_4" / "result.json").unlink()
    (tmp_path / "trial_4" / "error.txt").write_text("no")
    found = readers.read(tmp_path)
    assert spaces.names(found.space) == ["lr", "model.width"] and lines(found) == {"failed": 2}
    assert sorted(found.usable["loss"]) == sorted(r["lr"] / 2 for k, r in enumerate(rows) if k not in (3, 4))

    frame = pd.DataFrame({"loss": found.table["loss"], "lr": 0.1, "config/lr": found.table["lr"]})
    frame["config/model/width"] = found.table["model.width"]
    grid = SimpleNamespace(get_dataframe=lambda: frame)
    analysis = SimpleNamespace(results_df=frame.rename(columns=lambda name: name.replace("/", ".")))
    for results in (frame, grid, analysis, SimpleNamespace(dataframe=lambda metric=None, mode=None: frame)):
        found = readers.from_ray(results, "loss")
        assert spaces.names(found.space) == ["lr", "model.width"] and found.metrics == {"loss": "minimize"}


def test_runs_of_wandb_are_read_from_what_they_are():
    rng = np.random.default_rng(0)
    pairs = []
    for k in range(20):
        config = {"lr": 10 ** rng.uniform(-4, -1), "model": {"act": "ab"[k % 2]}, "_wandb": {"v": 1}}
        pairs.append((config, {"val": {"loss": rng.random()}, "lr": 0.1, "_step": 7}))
    runs = [SimpleNamespace(config=c, summary=s, state="finished", name="a run") for c, s in pairs]
    runs[3].state, runs[4].state = "crashed", "running"
    for source, counted in ((pairs, {}), (runs, {"not finished": 1, "failed": 1})):
        found = readers.read(source, "val.loss")
        assert spaces.names(found.space) == ["lr", "model.act"] and lines(found) == counted
        assert found.metrics == {"val.loss": "minimize"}
        assert found.table["lr"][0] == pairs[0][0]["lr"]


def test_anything_is_read_through_one_door(frame, tmp_path):
    frame.to_csv(tmp_path / "t.csv")
    made = study(lambda t: t.suggest_float("x", 0, 1), 5)
    search = GridSearchCV(SVC(), {"C": [0.1, 1, 10]}, cv=2).fit(X, Y)
    sources = {"lr": [frame, str(tmp_path / "t.csv")], "x": [made], "C": [search, search.cv_results_]}
    for first, of_kind in sources.items():
        for source in of_kind:
            found = readers.read(source, hyperparameters=(), space=None, direction="")
            assert spaces.names(found.space)[0] == first
    assert readers.read(made, "height", direction="maximize").metrics == {"height": "maximize"}
    with pytest.raises(FileNotFoundError, match=f"There is no table of trials at {tmp_path}/none.csv"):
        readers.read(tmp_path / "none.csv")


def test_text_that_no_file_can_hold_is_written_as_its_number():
    frame = pd.DataFrame({"kind\ud800": ["a", "b\udc80"] * 9, "x": range(18), "loss": range(18)})
    trials = readers.from_frame(frame, "loss", hyperparameters=["kind\\ud800", "x"])
    assert trials.space["kind\\ud800"].choices == ("a", "b\\udc80")
