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
import json
import math
import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import Hyperparameter

from ubalkit import extra
from ubalkit import space as spaces
from ubalkit.columns import checked_directions, plain_value
from ubalkit.files import line
from ubalkit.inference import Names, Reader, Space
from ubalkit.observations import Trials


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
    given = {
        name: v for name, v in options.items() if v is not None and (not hasattr(v, "__len__") or len(v))
    }
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
    names, numbered = [_written(str(name)) for name in frame], frame.index.name == "index"
    table = frame.set_axis(names, axis=1).reset_index(drop=not numbered, allow_duplicates=True)
    # Not by `map`, which makes numbers of one kind of them.
    table = table.apply(lambda column: pd.Series([*map(_written, column)], column.index, object))
    empty = table.map(lambda cell: str(cell).strip().lower()).isin(["", "nan", "na", "n/a", "<na>", "null"])
    table = table.mask(empty | table.isna(), math.nan)
    return Reader(table, space, hyperparameters, cells=True).trials(metric, direction, status)


def _written(cell):
    """A cell with its text as a file can hold it: half of a pair of surrogates as its number."""
    return cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell


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
        Which objectives, or new names for all, in their order: by default all by the study's own names, else
        ``value``, or ``value_0``, ``value_1`` and so on; ``objective`` if a hyperparameter has that name.
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
    known, metrics = named or value, [metrics] if isinstance(metrics, str) and metrics else [*metrics]
    chosen = metrics if {*metrics} <= {*known} else []
    wanted, seen, rows = [*checked_directions(known if chosen else metrics or known, directions)], {}, []
    for trial in trials:
        for name, distribution in trial.distributions.items():
            seen.setdefault(name, {})[str(distribution)] = distribution
    for trial in trials:
        params = [trial.params.get(name, math.nan) for name in seen]
        rows.append([trial.number, *params, *(trial.values or [math.nan] * len(wanted)), trial.state.name])
    columns = ["number", *(f"params_{name}" for name in seen), *wanted, "state"]
    reader = Reader(pd.DataFrame(rows, columns=columns, dtype=object), space, hyperparameters, "params_")
    for name, found in seen.items():
        reader.declared[name] = _united([*found.values()])
        if len(found) > 1:
            done = "united: where ranges depend on other values, not all of the space was tried"
            reader.tell(f"distributions of {name}", len(found), done)
    own = [directions[wanted.index(name)] for name in chosen] if chosen else directions
    return reader.trials(chosen or wanted, direction or own, "state")


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
    reader = Reader(pd.DataFrame(columns, dtype=object), space, hyperparameters, "param_")
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
        own = [plain_value(choice) for choice in choices]
        return kinds.CategoricalDistribution(own if step is None else [spaces.on_step(hp, own[0])])
    low, high = (hp.lower, hp.upper) if choices is None else (choices[0], choices[-1])
    kind = kinds.IntDistribution if isinstance(low, int) else kinds.FloatDistribution
    if step is None:
        return kind(low, high, log=hp.log)
    low = spaces.on_step(hp, low, math.ceil)
    return kind(low, max(low, spaces.on_step(hp, high, math.floor)), step=step)


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
        return list(dict.fromkeys(plain_value(choice) for d in distributions for choice in d.choices))
    low, high = min(d.low for d in distributions), max(d.high for d in distributions)
    if low == high:
        return low
    step = "log" if all(d.log for d in distributions) else None if others else first.step
    return (low, high) if step is None or (step == 1 and isinstance(low, int)) else (low, high, step)
