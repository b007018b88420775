"""Readers: trials of any model, from the tables and storages in which people keep finished searches.

One rule for every source:

- The tables of known tools are known by the names of their columns: ``param_C``, ``params_lr``,
  ``config/lr``, ``params.lr`` are hyperparameters, called ``C`` and ``lr``. Of any other table each
  column may be one. Left out is what is constant, counts up, tells a time, a place or a run, or
  looks like a result: by its name (``accuracy``, ``val_loss``, ``time``), or because it follows the
  metric. Whatever ``hyperparameters`` or ``space`` name is used.
- Finished trials are used. Pruned ones are left out, for their values were measured too early to
  compare; so are those that still run or wait. Failed ones, and those with a metric that is not a
  finite number, stay in the table with the status ``failed``. Of a trial that reported several times
  the last row is used.
- Copies, the same hyperparameters with the same metrics, count once. The same hyperparameters with
  other metrics are repetitions: all are kept, their difference is noise.
- A hyperparameter that nothing declares is inferred. Numbers: the range observed, rounded outwards
  to three digits unless they are integers; logarithmic if the logarithms are spread more evenly than
  the values. Whole numbers are integers, two of them alone choices, as are True, false, None and text.
- A step makes an ordinal of up to 20 values; of more, a range that remembers it.
- A hyperparameter that finished trials lack is conditional if one or two others tell exactly when.
  If none do, the trials without it are left out, or it is, whichever keeps more.
- What was found and done is counted in `Trials.report`. What cannot be used raises a ValueError of
  one sentence.
"""

import contextlib
import csv
import io
import itertools
import json
import math
import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from pathlib import Path

import ConfigSpace as cs
import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace, Constant
from ConfigSpace.hyperparameters import Hyperparameter, IntegerHyperparameter

from ubalkit import extra
from ubalkit import space as spaces
from ubalkit.files import line
from ubalkit.observations import Trials

Names = str | Sequence[str]
Space = ConfigurationSpace | Mapping[str, object] | None

_STATES = {
    word: state
    for state, words in {
        "ok": "ok complete completed success succeeded finished done terminated",
        "failed": "failed fail failure error crash crashed timeout memoryout invalid",
        "not finished": "running waiting pending paused killed aborted stopped preempting queued idle",
        "pruned": "pruned earlystopped",
    }.items()
    for word in words.split()
}
# How tools begin the names of hyperparameters, and of what they measure.
_SET = re.compile(r"(params?_|(config|params|parameters|hyperparameters|hparams|hp)[./])(?=.)")
_METRIC = re.compile(r"(metrics[./]|values_|mean_test_)(?=.)")
# Levels that a choice may well have; trials too few to conclude from; correlation of ranks of what is one.
_MANY, _FEW, _SAME = 20, 5, 0.95

# Words in the names of columns: results of which the small ones are good, other results, ...
_COSTS = set(
    "time duration seconds secs sec minutes latency elapsed memory mem gb flops params zeit dauer".split()
)
_AVERAGES = set("mean avg average median sem".split())
_ERRORS = set("loss error errors err mse rmse mae mape smape nll logloss perplexity ppl regret cost".split())
_ERRORS |= set("deviance wer cer fid brier misclassification fehler verlust".split())
_QUALITY = set(
    "acc accuracy auc auroc auprc ap map f1 fscore precision recall sensitivity score r2 r²".split()
)
_QUALITY |= set("specificity dice iou jaccard kappa mcc bleu ndcg mrr psnr ssim fitness sharpe".split())
_QUALITY |= set("profit pnl drawdown reward objective genauigkeit".split())
_RESULTS, _PARTS = _ERRORS | _QUALITY | _COSTS, set("train test val valid dev best".split())
# ... what is a result unless its values look as if somebody had set them, ...
_DOUBTFUL = set("rank std cost train test val valid validation cv epoch step iteration".split())
_HEDGES = set("n num max min total cost".split())
# ... what is set whatever else its name says, and by its logarithm, ...
_SETTINGS = set("weight weights coef coefficient beta threshold limit fraction scale size batch seed".split())
_SETTINGS |= set(
    "steps function fn type kind penalty margin smoothing temperature drop dropout warmup".split()
)
_SETTINGS |= set("window patience tolerance horizon factor depth units layers width hidden momentum".split())
_LOGARITHMIC = set("lr learning decay alpha lambda gamma reg l1 l2 eps epsilon tol".split())
_SETTINGS |= _LOGARITHMIC | set("estimators epochs".split())
# ... what says which trial it is, and how far.
_IDENTITIES = set("id tid uuid trial run name number no nr job experiment".split())
_PROGRESS = set("epoch step iteration iter training_iteration _step global_step budget resource".split())
# What stands beside the settings and results of W&B.
_STATUS, _OWN = {"status", "state"}, {"value", "target", "result"}
_WANDB = set("Name State Notes User Tags Created Runtime Sweep ID Group Hostname Description Commit".split())
_TEXTS = {
    "dates and times": r"(?s).*\b(19|20)\d\d[-/.]\d\d?[-/.]\d.*|.*\d:\d\d(:\d\d.*)?|\d+ days.*"
    r"|\d\d?[./]\d\d?[./](19|20)?\d\d( .*)?|[\d.]+ ?(s|ms|sec|seconds|min|minutes|h|hours)",
    "paths": r"(?s)([a-z0-9]+:/)?[./~]*/.*|[A-Za-z]:\\.*",
    "objects": r"(?s)\{.*\}",
}


def read(source, metric: Names = "", **options) -> Trials:
    """Trials from whatever holds a finished search.

    Parameters
    ----------
    source : object
        An Optuna study, its storage's URL or file; a table as a DataFrame or a CSV file; a search of
        scikit-learn or its ``cv_results_``; what Ray Tune returns, or its folder; runs of W&B.
    metric, **options
        As for the reader of that source. An empty option counts as not given.

    Examples
    --------
    >>> read({"param_max_depth": [1, 2, 3], "mean_test_score": [0.9, 0.6, 0.8]}).metrics
    {'mean_test_score': 'maximize'}
    """
    given = {name: value for name, value in options.items() if value not in (None, "", (), [])}
    if isinstance(source, (str, Path)):
        reader = _reader_of(str(source))
    elif hasattr(source, "get_trials"):
        reader = from_optuna
    elif isinstance(source := getattr(source, "cv_results_", source), pd.DataFrame):
        reader = from_frame
    elif isinstance(source, Mapping):
        reader = from_sklearn
    else:
        reader = from_ray if _tables(source) else from_wandb
    name = "metrics" if reader is from_optuna else "metric"
    return reader(source, **{name: metric}, **given)


def from_frame(
    frame: pd.DataFrame,
    metric: Names = "",
    *,
    direction: Names = "",
    space: Space = None,
    hyperparameters: Sequence[str] = (),
    status: str = "",
) -> Trials:
    """Trials from a table with a row a trial.

    Parameters
    ----------
    frame : DataFrame
        A column ``index``, or an index of that name, numbers the trials.
    metric : str or sequence of str, optional
        Columns to explain: by default the only one that looks like a metric.
    direction : "maximize" or "minimize", or one for each metric, optional
        Which values are the good ones: by default the small ones of an error, a loss, a time or a
        cost, and the large ones of anything else.
    space : ConfigurationSpace or mapping, optional
        A mapping says what to use in place of what would be inferred, by name: ``(low, high)``,
        ``(low, high, "log")``, ``(low, high, step)``, a list of choices, or one value, a constant.
        Whole bounds make an integer if the values are whole too. An empty cell is None if that is
        among the choices.
    hyperparameters : sequence of str, optional
        Columns that were set: by default those that do not look like anything else. Trials that lack
        one of them for no reason are left out. A ConfigurationSpace names them itself.
    status : str, optional
        Column with a word a trial, such as COMPLETE, PRUNED, FAIL, RUNNING: by default one that holds
        only such words.

    Examples
    --------
    >>> frame = pd.DataFrame({"rate": [0.001, 0.01, 0.1], "depth": [3, 5, 4], "loss": [0.4, 0.9, 0.7]})
    >>> trials = from_frame(frame)
    >>> spaces.describe(trials.space).to_dict(), trials.metrics
    ({'rate': '[0.001, 0.1] log', 'depth': '[3, 5]'}, {'loss': 'minimize'})
    """
    names, numbered = [*map(str, frame)], frame.index.name == "index"
    table = frame.set_axis(names, axis=1).reset_index(drop=not numbered, allow_duplicates=True).astype(object)
    empty = table.map(lambda cell: str(cell).strip().lower()).isin(["", "nan", "na", "n/a", "<na>", "null"])
    table = table.mask(empty | table.isna(), math.nan)
    return _Reader(table, space, hyperparameters, cells=True).trials(metric, direction, status)


def from_csv(path: str | Path, metric: Names = "", **options) -> Trials:
    """Trials from a CSV file: the separator, the decimal sign and the encoding are found.

    Parameters
    ----------
    path : str or Path
        Separated by comma, semicolon, tab or ``|``; also packed, as its suffix says: gz, bz2, xz, zip.
        Lines above the names of the columns are skipped.
    metric, **options
        As for `from_frame`.

    Examples
    --------
    >>> from ubalkit import files
    >>> len(from_csv(files.data("svm") / "observations.csv", "accuracy"))
    500
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no table of trials at {path.absolute()}.")
    try:
        frame = _parted(_text(path))
    except Exception as error:  # each way of packing has errors of its own
        what = f"{path} is no table with a cell in each row for each of its columns and all quotes closed"
        raise ValueError(
            f"{what}; separate them by comma, semicolon, tab or | ({line(error, 99)})."
        ) from error
    return from_frame(frame, metric, **options)


def from_optuna(
    study,
    *,
    study_name: str = "",
    metrics: Names = (),
    direction: Names = "",
    space: Space = None,
    hyperparameters: Names = (),
) -> Trials:
    """Trials of an Optuna study: its distributions, directions and states.

    Ranges that changed between trials are united, with a logarithm if all have it. A file is read from
    a copy, and never written to.

    Parameters
    ----------
    study : optuna.Study, str or Path
        A text is the URL of a storage, or the file of one: SQLite or a journal.
    study_name : str, optional
        Which study of the storage; not needed if it holds one.
    metrics : str or sequence of str, optional
        Names for the objectives, in their order: by default the study's own, else ``value``, or
        ``value_0``, ``value_1`` and so on; ``objective`` if a hyperparameter has that name.
    direction, space, hyperparameters
        As for `from_frame`, in place of the study's directions and distributions.

    Examples
    --------
    >>> import optuna
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> study = optuna.create_study()
    >>> study.optimize(lambda trial: trial.suggest_float("x", 0, 1) ** 2, n_trials=5)
    >>> from_optuna(study).metrics
    {'value': 'minimize'}
    """
    trials, directions, named = _loaded(study, study_name)
    value = ["value"] if len(directions) == 1 else [f"value_{k}" for k in range(len(directions))]
    metrics = [metrics] if isinstance(metrics, str) and metrics else metrics
    wanted, seen, rows = [*_directions(metrics or named or value, directions)], {}, []
    for trial in trials:
        for name, distribution in trial.distributions.items():
            seen.setdefault(name, {})[str(distribution)] = distribution
    for trial in trials:
        params = [trial.params.get(name, math.nan) for name in seen]
        rows.append([trial.number, *params, *(trial.values or [math.nan] * len(wanted)), trial.state.name])
    columns = ["number", *(f"params_{name}" for name in seen), *wanted, "state"]
    reader = _Reader(pd.DataFrame(rows, columns=columns, dtype=object), space, hyperparameters, "params_")
    for name, found in seen.items():
        reader.declared[name] = _united([*found.values()])
        if len(found) > 1:
            done = "united: where ranges depend on other values, not all of the space was tried"
            reader.tell(f"distributions of {name}", len(found), done)
    return reader.trials(wanted, direction or directions, "state")


def from_sklearn(
    cv_results: Mapping,
    *,
    metric: Names = "",
    direction: Names = "",
    space: Space = None,
    hyperparameters: Sequence[str] = (),
) -> Trials:
    """Trials of a search of scikit-learn: its ``cv_results_``.

    What was measured with different resources (successive halving) cannot be compared: of the
    resources with trials enough to fit a meta-model the largest is used, and if none has, that with
    the most trials.

    Parameters
    ----------
    cv_results : mapping
        Of GridSearchCV, RandomizedSearchCV or a halving search. Estimators and other objects as
        values become their text.
    metric, direction, space, hyperparameters
        As for `from_frame`; the metric is ``mean_test_score`` by default.

    Examples
    --------
    >>> results = {"param_max_depth": [None, 1, 2], "mean_test_score": [0.9, 0.6, 0.8]}
    >>> spaces.describe(from_sklearn(results).space).to_dict()
    {'max_depth': '{None, 1, 2}'}
    """
    columns = {key: np.ma.asarray(v, dtype=object).filled(math.nan) for key, v in cv_results.items()}
    reader = _Reader(pd.DataFrame(columns, dtype=object), space, hyperparameters, "param_")
    return reader.trials(metric, direction)


def from_ray(results, metric: Names = "", **options) -> Trials:
    """Trials of Ray Tune; Ray itself is not needed.

    Parameters
    ----------
    results : ResultGrid, ExperimentAnalysis, DataFrame, str or Path
        What ``Tuner.fit`` or ``tune.run`` returned, its table, or the folder of the experiment. Nested
        settings are taken apart: ``config/model/width`` is ``model.width``.
    metric, **options
        As for `from_frame`.

    Examples
    --------
    >>> frame = pd.DataFrame({"config/model/width": [8, 16, 9], "loss": [0.3, 0.1, 0.2], "pid": 7})
    >>> list(from_ray(frame, "loss").space)
    ['model.width']
    """
    if isinstance(results, (str, Path)):
        folders = sorted(path.parent for path in Path(results).rglob("params.json"))
        frame = pd.DataFrame([_ray_trial(folder) for folder in folders])
    else:
        found = next(iter(_tables(results)), results)
        frame = found() if callable(found) else found
    return from_frame(frame, metric, **options)


def from_wandb(runs: Iterable, metric: Names = "", **options) -> Trials:
    """Trials of Weights & Biases; the package wandb itself is not needed.

    Parameters
    ----------
    runs : iterable
        Runs, such as ``wandb.Api().runs("me/project")``, or pairs of their configuration and summary.
        Nested settings are taken apart with dots; names that begin with ``_`` are left out.
    metric, **options
        As for `from_frame`.

    Examples
    --------
    >>> runs = [({"model": {"width": width}}, {"loss": 1 / width}) for width in (8, 16, 9)]
    >>> list(from_wandb(runs).space)
    ['model.width']
    """
    rows = []
    for run in runs:
        config, summary = run if isinstance(run, (tuple, list)) else (run.config, run.summary)
        state = getattr(run, "state", "finished")
        rows.append({**_flat(summary), **_flat(config, "config/"), "State": state})
    return from_frame(pd.DataFrame(rows), metric, **options)


def optuna_distributions(space: ConfigurationSpace) -> dict:
    """A space as Optuna's distributions, by name; a constant is a choice of one.

    Parameters
    ----------
    space : ConfigurationSpace
        Optuna has no conditions or forbidden clauses: the objective states them. A range with a step
        begins and ends on it, wherever the range was cut.

    Examples
    --------
    >>> optuna_distributions(ConfigurationSpace({"rate": (0.1, 1.0)}))
    {'rate': FloatDistribution(high=1.0, log=False, low=0.1, step=None)}
    """
    return {name: _distribution(space[name]) for name in spaces.names(space)}


def _distribution(hp: Hyperparameter):
    kinds = extra("optuna").distributions
    choices, step = spaces.choices(hp), (hp.meta or {}).get("step")
    if choices is not None and (step is None or len(choices) == 1):
        own = [_plain(choice) for choice in choices]
        return kinds.CategoricalDistribution(own if step is None else [spaces.on_step(hp, own[0])])
    low, high = (hp.lower, hp.upper) if choices is None else (choices[0], choices[-1])
    kind = kinds.IntDistribution if isinstance(low, int) else kinds.FloatDistribution
    if step is None:
        return kind(low, high, log=hp.log)
    low = spaces.on_step(hp, low, math.ceil)
    return kind(low, max(low, spaces.on_step(hp, high, math.floor)), step=step)


@dataclass
class _Reader:
    """Trials as a source holds them, on their way to `Trials`; `space` and `names` as users give them."""

    frame: pd.DataFrame  # objects, NaN where a trial has nothing
    space: Space
    names: Names
    prefix: str = ""  # with which the names of hyperparameters begin, where they do
    cells: bool = False  # whether a text may be a number
    declared: dict[str, object] = field(default_factory=dict)  # what a mapping would say
    report: list[tuple] = field(default_factory=list)

    def __post_init__(self):
        self.prefix = self.prefix or _prefix([*self.frame])
        names = [self.names] if isinstance(self.names, str) else self.names or ()
        self.names = [self._bare(name) for name in dict.fromkeys(names)]
        if not isinstance(self.space, ConfigurationSpace):
            self.space = {self._bare(name): spec for name, spec in (self.space or {}).items()}

    def _bare(self, name: str) -> str:
        """A hyperparameter's name without what its tool puts before it; nested ones with dots."""
        bare = name.removeprefix(self.prefix)
        return bare.replace("/", ".") if self.prefix.endswith("/") else bare

    def tell(self, what: str, found: float | Sequence[str], done: str = "") -> None:
        """Add a number, or names and their number, to the report, if there is anything to tell."""
        n, names = (len(found), ", ".join(found)) if isinstance(found, list) else (found, "")
        self.report += [(what, n, done + names)] if n else []

    def trials(self, metric: Names, direction: Names, status: str = "") -> Trials:
        """What is left after all rules."""
        table = self._last_reports(self._numbered())
        own = {self._bare(name): name for name in table if self.prefix and name.startswith(self.prefix)}
        settings, rest = table[[*own.values()]].set_axis([*own], axis=1), table.drop(columns=own.values())
        states, told = self._states(rest, status)
        rest = rest.drop(columns=told)
        columns = self._metrics(rest, metric, settings)
        metrics = self._directed([*columns], direction)
        values = self._values(rest[[*columns.values()]].set_axis([*columns], axis=1), states)
        if self.prefix == "param_":
            settings, values = self._of_search(rest, settings, values)
        others = rest.drop(columns=[*columns.values(), *settings], errors="ignore")
        chosen = self._chosen(settings.join(others).loc[values.index], [*own], columns, values)
        space, settings, ok = self._fitted(chosen, values.notna().all(axis=1))
        if not spaces.varied(space):
            raise ValueError("There is nothing to explain: no hyperparameter varies in the trials.")
        self._tell_together(space, settings[ok])
        whole = settings.join(values).assign(status=np.where(ok, "ok", "failed"))
        copies = whole.duplicated() & ok
        whole, used = whole[~copies], whole[ok & ~copies]
        self.tell("copies", copies.sum(), "dropped: same hyperparameters, same metrics")
        repeated = used.duplicated([*settings]).sum()
        self.tell("repetitions", repeated, "kept: same hyperparameters, other metrics")
        self.tell("constant metrics", [name for name in values if np.ptp(used[name]) == 0])
        lines = [("trials read", len(self.frame), ""), ("used", len(used), ""), *self.report]
        report = pd.DataFrame(lines, columns=["what", "n", "done"]).set_index("what")
        return Trials(whole, space, metrics, report)

    def _numbered(self) -> pd.DataFrame:
        """The frame with plain values, by the number of the trial."""
        names = pd.Index([*self.frame])
        self.twice = {*names[names.duplicated()]}
        frame = self.frame.loc[:, ~names.duplicated()]
        plain = {name: [_plain(value) for value in frame[name]] for name in frame}
        table = pd.DataFrame(plain, range(len(frame)), dtype=object).rename_axis("index")
        counters = {"index", *names[:1].intersection(["", "Unnamed: 0"])}
        counters |= {"number"} if self.prefix == "params_" else set()
        for name in counters.intersection(table):
            numbers = _numbers(table.pop(name)).astype(float)
            if ((numbers % 1 == 0) & (numbers.abs() < 2**62) & ~numbers.duplicated()).all():
                table.index = pd.Index(numbers, name="index", dtype="int64")
        return table

    def _last_reports(self, table: pd.DataFrame) -> pd.DataFrame:
        """Of trials that reported more than once, the last row."""
        for step in [name for name in table if name.lower() in _PROGRESS and name not in self._named()]:
            steps = _numbers(table[step])
            keys = {name: table[name].map(str) for name in table if _words(name) & _IDENTITIES}
            if steps.min() in (0, 1):  # without a name of the trial, each begins anew
                keys[step] = (steps.diff() != 1).cumsum()
            for name, key in keys.items():
                again = pd.DataFrame({"key": key, "step": steps}).duplicated().any()
                if steps.notna().all() and not again and 1 < key.nunique() <= len(table) / 2:
                    last = table.loc[steps.groupby(key).idxmax()].sort_index()
                    self.tell("earlier reports", len(table) - len(last), f"left out: the last {step} used")
                    return last.drop(columns={step, name})
        return table

    def _named(self) -> set[str]:
        return {*self.names, *self.space}

    def _states(self, rest: pd.DataFrame, status: str) -> tuple[pd.Series, list[str]]:
        """What became of each trial, and the columns that tell such things."""
        _need([status] if status else [], rest)
        words = {name: rest[name].dropna().map(_state) for name in rest if name not in self._named()}
        told = [name for name, found in words.items() if len(found) and found.isin(_STATES).all()]
        known = [*[status] * bool(status), *sorted(told, key=lambda name: name.lower() not in _STATUS)]
        # What says nothing has ended, if it has a metric.
        found = words[known[0]].reindex(rest.index).fillna("ok") if known else pd.Series("ok", rest.index)
        _refuse(found.rename("status"), ~found.isin(_STATES), f"is none of {', '.join(_STATES)}")
        states = found.map(_STATES)
        for state in ("pruned", "not finished", "failed"):
            done = "kept as failed" if state == "failed" else "left out"
            self.tell(state, (states == state).sum(), done)
        return states, known

    def _metrics(self, rest: pd.DataFrame, metric: Names, settings: pd.DataFrame) -> dict[str, str]:
        """The columns to explain, by the names that they get."""
        wanted, found = [metric] if isinstance(metric, str) else [*dict.fromkeys(metric)], {}
        for name in wanted if any(wanted) else _own_metrics(rest, self.prefix):
            column = _column(name, rest)
            short = _METRIC.sub("", column)
            short = short if name == short or (not any(wanted) and column.startswith("metrics")) else column
            others = (column, "objective", *(f"objective_{k}" for k in range(len(rest))))
            found[next(n for n in (short, *others) if n not in settings and n not in found)] = column
        self.tell("metric", [] if any(wanted) else [*found], "found by its name: ")
        return found

    def _directed(self, names: list[str], direction: Names) -> dict[str, str]:
        """Which values of each metric are the good ones."""
        if direction not in ("", ()):
            return _directions(names, direction)
        small = [name for name in names if _words(name) & (_ERRORS | _COSTS) and "neg" not in _words(name)]
        large = [name for name in names if name not in small]
        self.tell("to minimize", small, "as the name says, unless direction= does: ")
        self.tell("to maximize", large, "as no name says otherwise, unless direction= does: ")
        return {name: "minimize" if name in small else "maximize" for name in names}

    def _values(self, raw: pd.DataFrame, states: pd.Series) -> pd.DataFrame:
        """The metrics of all finished trials, NaN where one failed."""
        raw = raw[states.isin(["ok", "failed"])]
        values, ok = raw.apply(_numbers).astype(float), states[raw.index] == "ok"
        for name in raw:
            wrong = values[name].isna() & raw[name].notna()
            _refuse(raw[name], wrong & (2 * wrong.sum() > raw[name].notna().sum()), "is not a number")
        sound = np.isfinite(values).all(axis=1)
        self.tell("metric is not a number", (ok & ~sound).sum(), "kept as failed")
        return values.where(ok & sound)

    def _of_search(self, rest: pd.DataFrame, settings: pd.DataFrame, values: pd.DataFrame) -> tuple:
        """What scikit-learn's own columns tell of its trials: None, 2 rather than 2.0, and the resource."""
        told = rest.get("params", pd.Series("", rest.index)).map(str).str.replace(": None", ": null")
        for name in settings:
            said = told.str.extract(rf"'{re.escape(name)}': (null|\d+)[,}}]", expand=False)
            known = [now if word != word else json.loads(word) for word, now in zip(said, settings[name])]
            settings[name] = pd.Series(known, settings.index, dtype=object)
        if "n_resources" in rest:
            resources = _numbers(rest.loc[values.index, "n_resources"])
            counts = resources.groupby(resources).size()[::-1]
            used = counts.clip(upper=2 * settings.shape[1] + 5).idxmax()
            self.tell("other resources", len(values) - counts[used], f"left out: {used} used")
            values = values[resources == used]
        return settings, values

    def _chosen(self, pool: pd.DataFrame, own: list, columns: Mapping, values: pd.DataFrame) -> pd.DataFrame:
        """The columns of what was set."""
        names = self.names
        if isinstance(self.space, ConfigurationSpace):
            names = spaces.names(self.space)
            constants = {n: self.space[n].value for n in names if isinstance(self.space[n], Constant)}
            pool = pool.assign(**{n: v for n, v in constants.items() if n not in pool})
        _need(names, pool)
        _need(self.space, names or pool)
        self.tell("columns ignored", [name for name in own or pool if names and name not in names])
        names = names or own or self._guessed(pool, [*columns.values()], values)
        for name in [*names, *values]:
            # They become axes of figures, lines of reports and words of sentences.
            shown = name.isprintable() and 0 < len(name) <= 100 and name.count("$") < 2
            if not shown or name in self.twice | {"status"}:
                what = f"The column {name!r:.60} needs a name of its own"
                raise ValueError(f"{what}: 1 to 100 characters, all printable, and one $ at most.")
        return pool[names]

    def _guessed(self, pool: pd.DataFrame, metrics: Sequence[str], values: pd.DataFrame) -> list[str]:
        """The columns that look as if they had been set."""
        values = values.dropna() if values.notna().all(axis=1).any() else values
        order, rows = [*self.frame], pool.loc[values.index]
        last = max(map(order.index, metrics))
        reasons = {name: _reason(rows[name], values, order.index(name) > last) for name in pool}
        if len(_WANDB.intersection(order)) > 2:
            reasons |= {name: "columns of W&B" for name in pool if name in _WANDB or name[:1] == "_"}
        reasons = {name: why for name, why in reasons.items() if why and name not in self.space}
        if len(reasons) == len([*pool]):  # better these than nothing
            reasons = {name: why for name, why in reasons.items() if why not in (_COUNTS, _FOLLOWS)}
        for why in dict.fromkeys(reasons.values()):
            left = [name for name in reasons if reasons[name] == why]
            self.tell(why, left, "left out, unless named in hyperparameters=[...]: ")
        return [name for name in pool if name not in reasons]

    def _fitted(self, table: pd.DataFrame, ok: pd.Series) -> tuple:
        """The space, the hyperparameters as it has them, and which trials are sound."""
        while ok.sum() > 1:
            told = len(self.report)
            space, settings = self._read(table, ok)
            lacks = self._connect(space, settings[ok])
            if not lacks:
                return space, settings, ok
            del self.report[told:]
            table, ok = self._without(min(lacks, key=lambda name: lacks[name].sum()), lacks, table, ok)
        seen = ", ".join(f"{what}: {n}" for what, n, _ in self.report) or "there are no more"
        few = f"Of {len(self.frame)} trials {ok.sum()} can be used, which is too few"
        raise ValueError(f"{few} ({seen:.250}).")

    def _without(self, name: str, lacks: Mapping, table: pd.DataFrame, ok: pd.Series) -> tuple:
        """What is left without the trials that lack a hyperparameter, or without that one."""
        gone = lacks[name].index[lacks[name]]
        stay = ok.sum() - len(gone)
        if name in self._named() or 2 * stay >= ok.sum() or stay >= max(50, ok.sum() / 4):
            self.tell(f"without {name}", len(gone), "left out: nothing tells why they lack it")
            return table.drop(index=gone), ok.drop(gone)
        self.tell(f"{name} missing", len(gone), "left out, unless named in hyperparameters=[...]")
        return table.drop(columns=name), ok

    def _read(self, table: pd.DataFrame, ok: pd.Series) -> tuple[ConfigurationSpace, pd.DataFrame]:
        """The space, and the hyperparameters as it has them."""
        if isinstance(self.space, ConfigurationSpace):
            return self.space, pd.DataFrame({n: _legal(self.space[n], table[n], self.cells) for n in table})
        given, space, settings = self.declared | self.space, ConfigurationSpace(), {}
        lacks = {name: _absent(values[ok]) for name, values in table.items()}
        empty = [name for name in table if lacks[name].all()]
        for name, values in table.drop(columns=empty).items():
            cells = self.cells and name in given  # where an empty one may be None
            spec, how = (given[name], "") if name in given else _guess(values, self.cells)
            if isinstance(spec, list) and None in spec and lacks[name].any() and not cells:
                # What is None and what is missing must differ in the table.
                spec = ["None" if choice is None else choice for choice in spec]
                values = values.map(lambda value: "None" if value is None else value)
            hp = _hyperparameter(spec, values, len(settings))
            self.tell(f"scale of {name}", 1 if how else 0, how)
            settings[name] = _legal(hp, values, cells)
            space.add(hp)
        inferred = [name for name in settings if name not in given]
        self.tell("hyperparameters inferred", inferred, "space={...} corrects them: ")
        self.tell("constant hyperparameters", [n for n in settings if isinstance(space[n], Constant)])
        self.tell("empty columns", empty, "left out: ")
        return space, pd.DataFrame(settings, table.index)

    def _connect(self, space: ConfigurationSpace, settings: pd.DataFrame) -> dict[str, pd.Series]:
        """Make conditional what finished trials lack; what nothing explains, and where it is missing."""
        absent = {name: _absent(values) for name, values in settings.items()}
        lacks = {n: gone for n, gone in absent.items() if gone.any() and not space.parent_conditions_of[n]}
        # A space of the user's says itself what is conditional.
        told = {} if space is self.space else {n: _conditions(space, n, settings, absent) for n in lacks}
        # Siblings depend on the same, and on what is never missing, rather than on each other.
        liked = Counter(itertools.chain(*itertools.chain(*told.values())))
        for name, found in told.items():
            if found:
                rank = {ps: (any(absent[p].any() for p in ps), -max(liked[p] for p in ps)) for ps in found}
                parents = min(found, key=rank.get)
                space.add(found[parents])
                when = spaces.describe(space)[name].partition(", if ")[2]
                self.tell(f"{name} missing", absent[name].sum(), f"taken as conditional: if {when}")
        return {name: gone for name, gone in lacks.items() if not told.get(name)}

    def _tell_together(self, space: ConfigurationSpace, settings: pd.DataFrame) -> None:
        """Say which numbers move together: what one does cannot be told from what the other does."""
        numbers = [name for name in spaces.varied(space) if spaces.is_number(space[name])]
        related = settings[numbers].astype(float).corr("spearman", min_periods=8)
        for one, other in itertools.combinations(numbers, 2):
            if abs(related.loc[one, other]) > _SAME:
                done = f"follows {one} (correlation {related.loc[one, other]:.2f}): name one of them"
                self.tell(other, 1, done)


def _conditions(space, name: str, settings: pd.DataFrame, absent: Mapping) -> dict[tuple[str, ...], object]:
    """The conditions that tell exactly when a hyperparameter is set, by the names of their parents."""
    here, parents = ~absent[name], [parent for parent in settings if parent != name]
    tests = [test for parent in parents for test in _tests(space, name, parent, settings, absent)]
    found = {(parent,): condition for parent, where, condition in tests if (where == here).all()}
    # By chance two tell more often than one does.
    if found or min(here.sum(), (~here).sum()) < _FEW:
        return found
    pairs = [(a, b) for a, b in itertools.combinations(tests, 2) if ((a[1] & b[1]) == here).all()]
    return {(a[0], b[0]): cs.AndConjunction(a[2], b[2]) for a, b in pairs if a[0] != b[0]}


def _tests(space, name: str, parent: str, settings: pd.DataFrame, absent: Mapping) -> Iterator[tuple]:
    """A parent, where a condition on it holds, and the condition: all that hold wherever a child is set."""
    child, hp, here, there = space[name], space[parent], ~absent[name], ~absent[parent]
    values = settings[parent].astype(float) if spaces.is_number(hp) else settings[parent]
    on, off = values[here], values[~here & there]
    # What is missing with its parent is missing elsewhere too: conditions make no circle.
    if (here & ~there).any() or off.empty or on.empty:
        return
    whole = isinstance(hp, IntegerHyperparameter)
    if not spaces.is_number(hp):
        own = [choice for choice in spaces.choices(hp) if choice in {*on}]
        condition = cs.InCondition(child, hp, own) if own[1:] else cs.EqualsCondition(child, hp, *own)
        yield parent, values.map(lambda value: value in own), condition
    elif whole or min(len(on), len(off)) >= _FEW:
        below, above = off[off < on.min()].max(), off[off > on.max()].min()
        at = int(below) if whole and below == below else _between(below, on.min())
        if below < on.min():
            yield parent, values > at, cs.GreaterThanCondition(child, hp, at)
        at = int(above) if whole and above == above else _between(on.max(), above)
        if above > on.max():
            yield parent, values < at, cs.LessThanCondition(child, hp, at)


def _between(low: float, high: float) -> float:
    """A short number between two others."""
    short = (float(f"{(low + high) / 2:.{digits}g}") for digits in range(1, 17))
    return next((number for number in short if low < number < high), low)


def _prefix(names: Sequence[str]) -> str:
    """With what a tool began the names of hyperparameters, if this is a tool's table."""
    found = Counter(match.group() for name in names if (match := _SET.match(name)))
    prefix, n = next(iter(found.most_common(1)), ("", 0))
    # One such column may be anything's, but not beside these.
    sure = n > 1 or prefix[-1:] in "./" or {"number", "params", "value", "mean_test_score"} & {*names}
    return prefix if sure else ""


def _words(name: str) -> set[str]:
    """The words in a column's name: val and acc in valAcc, val_acc, Val-Acc and valacc."""
    words = {*re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())}
    words |= {word.rstrip("0123456789") for word in words}
    glued = {(word.removesuffix(end), end) for word in words for end in _RESULTS if word.endswith(end)}
    return words | {end for start, end in glued if len(end) > 3 or start in _PARTS}


def _state(value: object) -> str:
    return re.sub(r".*\.|[\s_-]", "", str(value)).lower()


def _column(wanted: str, rest: pd.DataFrame) -> str:
    """The column that a metric's name means: with or without what a tool puts before it, in any case."""
    short = {name: _METRIC.sub("", name) for name in rest}
    exact = [name for name in rest if wanted in (name, short[name])]
    folded = [name for name in rest if wanted.lower() in (name.lower(), short[name].lower())]
    found = [wanted] if wanted in rest or not folded else exact if len(exact) == 1 else folded
    _need([wanted] if len(found) > 1 else found, rest)
    return found[0]


def _own_metrics(rest: pd.DataFrame, prefix: str) -> list[str]:
    """What a table's own tool explains, else the only column that looks like a metric."""
    own = [name for name in rest if prefix and re.fullmatch(r"value|mean_test_score", name)]
    several = [name for name in rest if prefix == "params_" and name.startswith("values_")]
    numbers = [name for name in rest if 2 * _numbers(rest[name]).notna().sum() > len(rest)]
    numbers = [name for name in numbers if len({*rest[name].dropna()}) > 1]
    words = {name: _words(name) for name in numbers}
    sure = [n for n in numbers if words[n] & (_ERRORS | _QUALITY) and not words[n] & _SETTINGS]
    sure += [n for n in numbers if n not in sure and (_METRIC.match(n) or n.lower() in _OWN)]
    best = [n for n in sure if not words[n] & (_COSTS | {"train", "std", "rank", "split", "best"})]
    for found in (own, several, sure, best):
        if len(found) == 1 or (found and found is several):
            return found
    known = line(", ".join(best or sure or numbers or rest), 200)
    raise ValueError(f"No metric is named; say metric= one of {known}.")


_COUNTS, _FOLLOWS = "columns that count", "columns that follow the metric"


def _reason(values: pd.Series, metrics: pd.DataFrame, after: bool) -> str:
    """Why a column of an unknown table is no hyperparameter, or nothing."""
    present = values.dropna()
    numbers, distinct, n = _numbers(present), present.map(str).nunique(), len(present)
    if distinct < 2:
        return "constant columns" if n else "empty columns"
    if re.fullmatch(r"status|(Unnamed: \d+)?", values.name):
        return "columns without a name of their own"
    if numbers.isna().any():
        return _reason_of_texts(present.map(str), distinct, numbers.isna().all())
    if (numbers.between(1e9, 2e9) | numbers.between(1e12, 2e12)).all():
        return "dates and times"
    if numbers.nunique() == n >= _FEW and (numbers % 1 == 0).all():
        turns = {*np.sign(numbers.diff().dropna())}
        if len(turns) == 1 or np.ptp(numbers) == n - 1 or _words(values.name) & _IDENTITIES:
            return _COUNTS
    return _reason_of_results(numbers, metrics.loc[present.index], after)


def _reason_of_texts(texts: pd.Series, distinct: int, only: bool) -> str:
    kind = next((why for why, pattern in _TEXTS.items() if texts.str.fullmatch(pattern).mean() > 0.9), "")
    many = distinct > max(_MANY, len(texts) / 2) or distinct > max(_FEW, 0.8 * len(texts))
    return kind or ("texts that differ" if only and many else "")


def _reason_of_results(numbers: pd.Series, metrics: pd.DataFrame, after: bool) -> str:
    words, n, distinct = _words(numbers.name), len(numbers), numbers.nunique()
    related = metrics.rank().corrwith(numbers.rank()).abs().max() if n >= 10 else 0
    drawn = 3 * distinct <= n or _even(numbers)
    if words & {"best", "fold", "completed", "generation"}:
        return "results"
    if words & _SETTINGS:
        return ""
    if words & (_RESULTS | _AVERAGES) and not words & (_HEDGES | {"cost"}):
        few = 3 * distinct <= n and distinct <= _MANY and (numbers % 1 == 0).all()
        return "" if few else "results"
    if words & (_RESULTS | _AVERAGES | _DOUBTFUL):
        return "" if related <= _SAME and drawn else "results"
    return _FOLLOWS if related > _SAME and distinct == n and (after or not drawn) else ""


def _even(numbers: pd.Series) -> bool:
    """Whether numbers may have been drawn uniformly, or their logarithms (Kolmogorov-Smirnov, 5 %)."""
    return min(_distances(numbers)) * math.sqrt(len(numbers)) < 1.36


def _distances(numbers: pd.Series) -> tuple[float, float]:
    """How far numbers are from uniform between their ends, and their logarithms (Kolmogorov-Smirnov)."""
    share, places = numbers.rank(), [numbers, np.log(numbers) if numbers.min() > 0 else None]
    share, *places = (None if v is None else (v - v.min()) / np.ptp(v) for v in (share, *places))
    return tuple(math.inf if v is None else (share - v).abs().max() for v in places)


def _guess(values: pd.Series, cells: bool) -> tuple[object, str]:
    """What a mapping would say of a column: a range, choices or one value; and how its scale was found."""
    present = values[~_absent(values)]
    numbers, texts = _numbers(present), present.map(str).str.lower()
    if {*texts} <= {"true", "false"}:
        present = texts == "true"
    elif numbers.notna().all():
        return _range(numbers.astype(float), present)
    elif cells:
        words = present[numbers.isna() & present.map(lambda value: isinstance(value, str))]
        # Text among many numbers and decimal commas are no choices.
        wrong = words.str.fullmatch(r"[-+]?\d+,\d+").astype(bool) | (numbers.nunique() > _MANY)
        _refuse(words, wrong, "is no number: correct it, state its choices in space, or name hyperparameters")
        present = [_whole(number) if math.isfinite(number) else v for number, v in zip(numbers, present)]
    choices = sorted({*present}, key=lambda choice: (type(choice).__name__, choice))
    return (choices if len(choices) > 1 else choices[0]), ""


def _range(numbers: pd.Series, present: pd.Series) -> tuple[object, str]:
    """What a mapping would say of numbers, and how the scale was found."""
    distinct = sorted({*numbers})
    low, high = distinct[0], distinct[-1]
    # Beyond 64 bits a whole number is one of many that look alike.
    whole = (numbers % 1 == 0).all() and numbers.abs().max() < 2**62
    if low == high or (whole and len(distinct) == 2) or _of_two_kinds(distinct, present):
        choices = [_whole(number) for number in distinct] if low < high or whole else distinct
        return (choices if low < high else choices[0]), ""
    log, how = _scale(numbers, low, high)
    if whole:
        low, high = int(low), int(high)
    else:
        outwards = ((low, ROUND_FLOOR), (high, ROUND_CEILING))
        low, high = (float(Context(3, way).create_decimal(repr(float(number)))) for number, way in outwards)
    return (low, high, "log") if log else (low, high), how


def _of_two_kinds(distinct: list[float], present: pd.Series) -> bool:
    """Whether numbers are shares and counts, 0.1 and 2: no scale has both. 0.1, 1, 10 and 100 are on one."""
    shares, counts = [v for v in distinct if v < 1], [v for v in distinct if v >= 1]
    if not 1 < len(shares) <= _MANY or not 1 < len(counts) <= _MANY or shares[0] <= 0:
        return False
    written = present.map(lambda value: isinstance(value, int) or bool(re.fullmatch(r"\d+", str(value))))
    gaps = np.diff(np.log(distinct))
    return bool(np.std(gaps) > 0.3 * np.mean(gaps) and all(v % 1 == 0 for v in counts) and written.any())


def _scale(numbers: pd.Series, low: float, high: float) -> tuple[bool, str]:
    """Whether numbers are better seen by their logarithms, and why."""
    n = numbers.nunique()
    grid = n < 10 and np.ptp(numbers) != n - 1
    linear, log = _distances(numbers.drop_duplicates() if grid else numbers)
    fits, chosen = 0.1 if grid else 1.36 / math.sqrt(len(numbers)), log < (0.5 if grid else 0.75) * linear
    sure, chosen = min(linear, log) < fits < max(linear, log), chosen and high >= 4 * low
    # Where a search kept to one place, the name is the better witness.
    if min(linear, log) > fits and 0 < 100 * low <= high and _words(numbers.name) & _LOGARITHMIC:
        chosen = True
    words = ("logarithmic", log, "linear", linear) if chosen else ("linear", linear, "logarithmic", log)
    how = "{} (distance from uniform {:.2f}; {} {:.2f})".format(*words)
    return chosen, ("" if sure else "unsure: ") + how if chosen or 0 < 10 * low <= high else ""


def _whole(number: float) -> float:
    return int(number) if number % 1 == 0 and abs(number) < 2**62 else number


def _hyperparameter(spec: object, values: pd.Series, position: int) -> Hyperparameter:
    """The hyperparameter that a range, choices or one value mean."""
    name, meta = values.name, {"position": position}
    try:
        if not isinstance(spec, tuple):
            choices = [_plain(choice) for choice in (spec if isinstance(spec, list) else [spec])]
            one = len(choices) == 1
            return Constant(name, *choices, meta=meta) if one else cs.Categorical(name, choices, meta=meta)
        low, high, how = (*spec, None) if len(spec) == 2 else spec
        step = None if how == "log" else how
        # Bounds that are infinite have no whole number of steps, which raises.
        steps = math.floor((high - low) / (step or 1) + 1e-9)
        if step is not None:
            meta |= {"step": step, "origin": low}
        if step is not None and steps < _MANY:
            grid = [round(low + step * k, 12) for k in range(steps + 1)]
            return cs.OrdinalHyperparameter(name, grid, meta=meta)
        whole = not isinstance(low + high, float) and (_numbers(values).dropna() % 1 == 0).all()
        return (cs.Integer if whole else cs.Float)(name, (low, high), log=how == "log", meta=meta)
    except (ValueError, TypeError, ArithmeticError, LookupError) as error:
        meant = "(low, high), (low, high, 'log'), (low, high, step), a list of choices that differ, one value"
        raise ValueError(f"{name}: {spec!r:.60} is none of {meant}.") from error


def _legal(hp: Hyperparameter, values: pd.Series, cells: bool) -> pd.Series:
    """Values as the hyperparameter has them, NaN where missing."""
    if spaces.is_number(hp):
        numbers, whole = _numbers(values), isinstance(hp, IntegerHyperparameter)
        inside = numbers.clip(hp.lower, hp.upper)
        # ConfigSpace keeps 13 decimals of a bound.
        right = ((inside - numbers).abs() < 1e-12) & ((inside % 1 == 0) | (not whole))
        taken = inside.where(right).astype("int64" if whole and right.all() else float)
    else:
        taken = _among(spaces.choices(hp), values, cells)
    _refuse(values, _absent(taken) & ~_absent(values), f"lies outside its space: {line(hp, 150)}")
    return taken


def _among(choices: list, values: pd.Series, cells: bool) -> pd.Series:
    """The choices that values mean: themselves, or 0.30000000000000004 0.3 and TRUE True."""
    both = pd.Series([*choices, *values], dtype=object)
    numbers = _numbers(both)
    keys = [*numbers.map("{:.9g}".format).where(numbers.notna(), both.map(str).str.lower())]
    known = dict(zip(keys, choices)) | {choice: choice for choice in choices}
    if cells and None in choices:
        known["nan"] = None
    found = [known.get(value, known.get(key, math.nan)) for value, key in zip(values, keys[len(choices) :])]
    return pd.Series(found, values.index, dtype=object)


def _numbers(values: pd.Series) -> pd.Series:
    """The numbers that values are or spell, NaN for others."""
    return pd.to_numeric(values.where(~values.map(lambda value: isinstance(value, bool))), errors="coerce")


def _absent(values: pd.Series) -> pd.Series:
    """Where a trial has no value; None is one."""
    return values.isna() & ~values.map(lambda value: value is None)


def _plain(value: object) -> object:
    """A value as Python's own None, bool, number or text."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return getattr(value, "__name__", None) or " ".join(str(value).split())


def _refuse(values: pd.Series, wrong: pd.Series, why: str) -> None:
    """Refuse the first value that is wrong."""
    if wrong.any():
        row = wrong.idxmax()
        raise ValueError(f"Trial {row} has {line(values.name)} = {values[row]!r:.60}, which {why}.")


def _need(wanted: Iterable[str], there: Iterable[str]) -> None:
    for name in wanted:
        if name not in there:
            known = line(", ".join(there), 200)
            raise ValueError(f"There is no column {name!r:.60} to use; there are {known}.")


def _directions(metrics: Sequence[str], direction: Names) -> dict[str, str]:
    directions = [direction] * len(metrics) if isinstance(direction, str) else list(direction)
    if not 0 < len({*metrics}) == len(metrics) == len(directions) or {*directions} - {"maximize", "minimize"}:
        what = f"The direction {direction!r:.60} of {', '.join(metrics):.100} is not maximize or minimize"
        raise ValueError(f"{what}, one for each metric with a name of its own.")
    return dict(zip(metrics, directions))


def _text(path: Path) -> str:
    """What a file says, unpacked and decoded."""
    only = {"header": None, "sep": "\1", "quoting": csv.QUOTE_NONE, "dtype": str, "na_filter": False}
    marked = _start(path)[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ["utf-16"] if marked else ["utf-8-sig", "latin-1"]:
        with contextlib.suppress(UnicodeError):
            # Lines are a table of one column: pandas unpacks them.
            return "\n".join(pd.read_csv(path, encoding=encoding, **only)[0])
    return ""


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(19)


def _parted(text: str) -> pd.DataFrame:
    """The table that a text means, by the separator that gives the most rows of one width."""
    found = {}
    for separator in ",;\t|" if "\0" not in text else "":
        with contextlib.suppress(csv.Error, ValueError):  # no table so, perhaps for another one's quotes
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
            rows = [cells for row in rows if (cells := _filled(row))]
            ((width, n),) = Counter(len(row) for row in rows if row[1:]).most_common(1)
            found[n, width] = separator, rows
    (_, width), (separator, rows) = max(found.items())
    top = next(k for k, row in enumerate(rows) if len(row) >= width)
    # The head may have no name for the numbers of the rows.
    if top and len(rows[top - 1]) == width - 1 > 1 and any(cell[:1].isdigit() for cell in rows[top]):
        top -= 1
        rows[top] = ["", *rows[top]]
    head, n = [rows[top][0].removeprefix("# "), *rows[top][1:]], len(rows[top])
    body = [row + [""] * (n - len(row)) for row in rows[top + 1 :] if row[0][:1] != "#" or len(row) == n]
    # Strictly: a row with more cells than the head raises.
    frame = pd.DataFrame(list(zip(*zip(*body, strict=True))), columns=head, dtype=object)
    return frame if separator == "," else _with_points(frame)


def _filled(row: list[str]) -> list[str]:
    """The cells of a row, up to the last that holds anything."""
    n = max((k for k, cell in enumerate(row, 1) if cell.strip()), default=0)
    return [cell.strip() for cell in row[:n]]


def _with_points(frame: pd.DataFrame) -> pd.DataFrame:
    """Decimal commas as points, where commas are what numbers have."""
    sign = frame.map(lambda cell: re.sub(r"[-+]?\d*([.,])\d+([eE][-+]?\d+)?", r"\1", cell))
    comma = sign == ","
    decimal = comma.sum(axis=None) > (sign == ".").sum(axis=None)
    return frame.mask(comma, frame.map(lambda cell: cell.replace(",", "."))) if decimal else frame


def _reader_of(source: str):
    """The reader of what lies at a path or URL."""
    path = Path(source)
    start = _start(path) if path.is_file() else b""
    storage = "://" in source or start.startswith((b"SQLite format 3", b'{"op_code"'))
    missing = not path.exists() and path.suffix in (".db", ".sqlite", ".sqlite3", ".log")
    return from_ray if path.is_dir() else from_optuna if storage or missing else from_csv


def _loaded(study, study_name: str) -> tuple[list, list[str], list[str]]:
    """The trials of a study, its directions, and the names of its objectives."""
    if not isinstance(study, (str, Path)):
        named = [*map(str, study.metric_names or ())]
        return study.get_trials(deepcopy=False), [d.name.lower() for d in study.directions], named
    optuna = extra("optuna")
    url, why = str(study), ""
    file = re.sub(r"^sqlite[^/]*:///(file:)?|\?.*", "", url)
    path = Path(file).absolute() if file and "://" not in file else None
    try:
        with tempfile.TemporaryDirectory() as folder:
            storage = _copied(path, Path(folder, "copy")) if path else url
            names = optuna.get_all_study_names(storage)
            name = study_name or (names[0] if len(names) == 1 else None)
            why = "" if name in names else f"it holds {', '.join(names) or 'none':.150}: say study_name="
            return _loaded(optuna.load_study(study_name=name, storage=storage), "")
    except Exception as error:  # each storage has errors of its own
        where = f"{path}, which was left as it is" if path else url
        what = f"No study {study_name} can be read from {where}: {why or repr(error)}"
        # A password is for nobody's eyes, nor is it part of what went wrong.
        for secret in re.findall(r"//[^/:@]*:(\S+)@|(?<=password=)([^&\s]+)", url):
            what = what.replace(max(secret), "***")
        raise ValueError(line(what, 390)) from error


def _copied(path: Path, copy: Path):
    """A storage of Optuna that holds what a file does: what Optuna writes goes to a copy."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    start = _start(path)
    if not start.startswith(b"SQLite"):
        shutil.copyfile(path, copy)
        return JournalStorage(JournalFileBackend(str(copy)))
    # What others still write lies beside the file; where nothing does, SQLite would begin to.
    how = "mode=ro" if start[18:] != b"\2" or Path(f"{path}-wal").exists() else "immutable=1"
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?{how}", uri=True)) as source:
        # Optuna would make the tables that are missing; and a view in place of one may never end.
        kinds = {*source.execute("select type from sqlite_master where type in ('table', 'view')")}
        if ("view",) not in kinds:
            source.execute("select 1 from studies, trials limit 1")
            with contextlib.closing(sqlite3.connect(copy)) as target:
                source.backup(target)
    storage = RDBStorage(f"sqlite:///{copy}", skip_compatibility_check=True)
    with contextlib.suppress(Exception):  # it may be readable all the same
        if storage.get_current_version() != storage.get_head_version():
            storage.upgrade()
    return storage


def _tables(results) -> list:
    """What the results of Ray Tune call their table."""
    names = ("get_dataframe", "results_df", "dataframe")
    return [getattr(results, name) for name in names if hasattr(results, name)]


def _ray_trial(folder: Path) -> dict:
    """What Ray Tune wrote of a trial: its settings and its last report."""
    result, last = folder / "result.json", {}
    for text in result.read_text().splitlines() if result.is_file() else []:
        with contextlib.suppress(ValueError):  # what was being written as it ended
            last = {**json.loads(text), "config": None}
    config = json.loads((folder / "params.json").read_text())
    state = "ERROR" if (folder / "error.txt").exists() else "TERMINATED"
    return {**_flat(last), **_flat(config, "config/"), "status": state}


def _flat(tree: Mapping, above: str = "") -> dict[str, object]:
    """What is nested, by names with dots."""
    flat = {}
    for name, value in dict(tree).items():
        if not str(name).startswith("_"):
            flat |= _flat(value, f"{above}{name}.") if hasattr(value, "keys") else {f"{above}{name}": value}
    return flat


def _united(distributions: Sequence) -> object:
    """What a mapping would say of Optuna's distributions, united."""
    first, *others = distributions
    if hasattr(first, "choices"):
        return list(dict.fromkeys(_plain(choice) for d in distributions for choice in d.choices))
    low, high = min(d.low for d in distributions), max(d.high for d in distributions)
    if low == high:
        return low
    step = "log" if all(d.log for d in distributions) else None if others else first.step
    return (low, high) if step in (None, 1) else (low, high, step)
