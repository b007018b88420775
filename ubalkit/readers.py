"""Readers: trials of any model, from a table, a CSV file, Optuna or scikit-learn, and out again.

One rule for every source:

- Finished trials are used. Pruned ones are left out, for their values were
  measured too early to compare; so are those that still run or wait. Failed
  ones, and those with a metric that is not a finite number, stay in the table
  with the status ``failed``, which no method uses.
- Copies, the same hyperparameters with the same metrics, count once. The same
  hyperparameters with other metrics are repetitions: all are kept, their
  difference is noise.
- A hyperparameter that nothing declares is inferred. Numbers: the range
  observed, rounded outwards to three digits unless they are integers, and
  logarithmic if all are positive and the largest is at least 100 times the
  smallest; integers if all are whole and some written without a
  decimal point or missing. True, false, None and text: choices. One value
  alone: a constant.
- A step makes an ordinal of up to 20 values; of more, the range without it.
- A hyperparameter that finished trials lack is conditional if another one,
  with choices or an integer, tells exactly when. If none does, it is refused.
  None as a choice of a conditional one is the text ``None``.
- A name is one line of up to 100 printable characters, with no more than one
  dollar, between two of which figures would set mathematics. Texts stay as
  they are.
- What was found and done is counted in `Trials.report`. What cannot be used
  raises a ValueError of one sentence.
"""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace, Constant

from ubalkit import space as spaces
from ubalkit.columns import MISSING, as_number, cell, infer, plain, unite
from ubalkit.observations import Trials

__all__ = ["from_frame", "from_csv", "from_optuna", "from_sklearn", "optuna_distributions"]

_STATUS = {
    **dict.fromkeys("ok complete completed success succeeded finished done terminated".split(), "ok"),
    **dict.fromkeys("failed fail failure error crash crashed timeout memoryout".split(), "failed"),
    **dict.fromkeys("running waiting pending paused killed aborted preempting".split(), "not finished"),
    "pruned": "pruned",
}


def from_frame(
    frame: pd.DataFrame, metric, *, direction="maximize", space=None, hyperparameters=None, status=None
) -> Trials:
    """Trials from a table with a row a trial.

    Parameters
    ----------
    frame : DataFrame
        A column ``index``, or an index of that name, numbers the trials.
    metric : str or sequence of str
        Columns to explain.
    direction : "maximize" or "minimize", or one for each metric
    space : ConfigurationSpace or mapping, optional
        A mapping says what to use in place of what would be inferred, by
        name: ``(low, high)``, ``(low, high, "log")``, ``(low, high, step)``,
        a list of choices, or one value, a constant. Whole bounds make an
        integer if the values are whole too. An empty cell is None if that is
        among the choices.
    hyperparameters : sequence of str, optional
        Columns that were set: by default all others. A ConfigurationSpace
        names them itself.
    status : str, optional
        Column with a word a trial, such as COMPLETE, PRUNED, FAIL, RUNNING;
        ``status`` by default, if there is one.

    Returns
    -------
    Trials

    Raises
    ------
    ValueError
        For what the table lacks or holds that cannot be used.
    """
    columns = {}
    for k, name in enumerate(map(str, frame)):
        if name in columns:
            raise ValueError(f"The table has two columns {name!r:.60}.")
        columns[name] = [cell(value) for value in frame.iloc[:, k]]
    index = frame.index if frame.index.name == "index" else columns.pop("index", range(len(frame)))
    numbers = [as_number(plain(number)) for number in index]
    status = status or ("status" if "status" in columns else None)
    if status is not None and status not in columns:
        raise ValueError(f"The table has no column {status!r:.60}; it has {', '.join(columns):.200}.")
    words = [str(word).lower() for word in columns.pop(status, ["ok"] * len(frame))]
    if unknown := sorted(set(words) - set(_STATUS)):
        raise ValueError(f"{status} holds {unknown[0]!r:.60}; known are {', '.join(_STATUS)}.")
    states = [_STATUS[word] for word in words]
    return _trials(columns, metric, direction, space, hyperparameters, states, numbers, table=True)


def from_csv(path: str | Path, metric, **options) -> Trials:
    """Trials from a CSV file, separated by commas, semicolons or tabs.

    Every cell is read as the text that it is; an empty one and ``nan`` are
    missing.

    Parameters
    ----------
    path : str or Path
        UTF-8, with the names in the first line.
    metric : str or sequence of str
    **options
        As for `from_frame`.

    Returns
    -------
    Trials

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        For a file that is not such a table, and as `from_frame`.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no table of trials at {path}.")
    try:
        text = Path(path).read_text(encoding="utf-8-sig").lstrip("\n")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        table = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
        head, *rows = [[cell.strip() for cell in row] for row in table if any(row)] or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8 with all quotes closed ({error}).") from error
    if len(head) < 2:
        raise ValueError(f"{path} has {len(head)} columns; separate them by comma, semicolon or tab.")
    for k, row in enumerate(rows):
        if len(row) != len(head):
            raise ValueError(f"Row {k} of {path} has {len(row)} cells, its first line {len(head)}.")
    return from_frame(pd.DataFrame(rows, columns=head, dtype=object), metric, **options)


def from_optuna(study, *, study_name=None, metrics=None, space=None, hyperparameters=None) -> Trials:
    """Trials of an Optuna study: its distributions, directions and states.

    Ranges that changed between trials are united, with a logarithm if all
    have it and without a step.

    Parameters
    ----------
    study : optuna.Study or str
        A string is the URL of a storage.
    study_name : str, optional
        Which study of the storage; not needed if it holds one.
    metrics : str or sequence of str, optional
        Names for the objectives, in their order: by default the study's own,
        else ``value``, or ``value_0``, ``value_1`` and so on.
    space : ConfigurationSpace or mapping, optional
        As for `from_frame`, in place of the study's distributions.
    hyperparameters : sequence of str, optional
        All by default.

    Returns
    -------
    Trials

    Raises
    ------
    ValueError
        For a study that cannot be read or used.
    """
    study = _load(study, study_name) if isinstance(study, str) else study
    trials, directions = study.get_trials(deepcopy=False), [d.name.lower() for d in study.directions]
    count = len(directions)
    metrics = [metrics] if isinstance(metrics, str) else metrics or study.metric_names
    metrics = list(metrics or (["value"] if count == 1 else [f"value_{k}" for k in range(count)]))
    if len(metrics) != count or len(set(metrics)) != count:
        raise ValueError(f"The study has {count} objectives, which {', '.join(metrics)} does not name.")
    seen = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            seen.setdefault(name, {})[str(distribution)] = distribution
    if clash := set(metrics) & set(seen):
        raise ValueError(f"{min(clash)} names a hyperparameter too: name the objectives by metrics.")
    columns = {n: [plain(t.params[n]) if n in t.params else MISSING for t in trials] for n in seen}
    for k, name in enumerate(metrics):
        columns[name] = [MISSING if t.values is None else t.values[k] for t in trials]
    states = [_STATUS[t.state.name.lower()] for t in trials]
    declared = {n: unite(n, list(found.values())) for n, found in seen.items()}
    several = {n: found for n, found in seen.items() if len(found) > 1}
    united = [(f"distributions of {n}", len(d), f"united: {', '.join(d)}") for n, d in several.items()]
    numbers = [t.number for t in trials]
    given = {"declared": declared, "found": united}
    return _trials(columns, metrics, directions, space, hyperparameters, states, numbers, **given)


def from_sklearn(cv_results, *, metric="mean_test_score", direction="maximize", space=None) -> Trials:
    """Trials of a search of scikit-learn: its ``cv_results_``.

    What was measured with different resources (successive halving) cannot be
    compared: of the resources with trials enough to fit a meta-model the
    largest is used, and if none has, that with the most trials.

    Parameters
    ----------
    cv_results : mapping
        Of GridSearchCV, RandomizedSearchCV or a halving search. Estimators
        and other objects as values become their text.
    metric, direction, space
        As for `from_frame`.

    Returns
    -------
    Trials

    Raises
    ------
    ValueError
        For results that lack the metric, or cannot be used.
    """
    columns = {}
    for key, values in cv_results.items():
        masks = np.ma.getmaskarray(np.ma.asarray(values))
        name = key.removeprefix("param_")
        columns[name] = [MISSING if m else plain(v) for v, m in zip(np.ma.getdata(values), masks)]
    names = [key.removeprefix("param_") for key in cv_results if key.startswith("param_")]
    count, found = len(next(iter(columns.values()), [])), []
    numbers = list(range(count))
    if resources := columns.get("n_resources"):
        levels = sorted(set(resources), reverse=True)
        enough = [r for r in levels if resources.count(r) >= 2 * len(names) + 5]
        used = enough[0] if enough else max(levels, key=resources.count)
        numbers = [k for k in numbers if resources[k] == used]
        found = [("other resources", count - len(numbers), f"left out: {used} used")]
        columns = {name: [values[k] for k in numbers] for name, values in columns.items()}
    states = ["ok"] * len(numbers)
    return _trials(columns, metric, direction, space, names, states, numbers, found=found)


def optuna_distributions(space: ConfigurationSpace) -> dict:
    """A space as Optuna's distributions, by name; a constant is a choice of one.

    Optuna has no conditions or forbidden clauses: the objective states them.
    """
    from optuna import distributions

    made = {}
    for name in spaces.names(space):
        hp, choices = space[name], spaces.choices(space[name])
        low, high = (hp.lower, hp.upper) if choices is None else (choices[0], choices[-1])
        kind = distributions.IntDistribution if isinstance(low, int) else distributions.FloatDistribution
        if choices is None:
            made[name] = kind(low, high, log=hp.log)
        elif "step" in (hp.meta or {}) and len(choices) > 1:
            made[name] = kind(low, high, step=hp.meta["step"])
        else:
            made[name] = distributions.CategoricalDistribution([plain(c) for c in choices])
    return made


def _trials(columns, metric, direction, space, names, states, numbers, table=False, declared=(), found=()):
    """The common way of all sources: columns of plain values, NaN where missing; a state a row."""
    for name in columns:
        # They become axes of figures, lines of reports and words of sentences.
        if not (0 < len(name) <= 100 and name.isprintable() and name.count("$") < 2):
            raise ValueError(
                f"A column is named {name!r:.60}; 1 to 100 characters are allowed, all printable, and one $."
            )
    metrics = [metric] if isinstance(metric, str) else list(metric)
    directions = [direction] * len(metrics) if isinstance(direction, str) else list(direction)
    if not metrics or len(directions) != len(metrics) or set(directions) - {"maximize", "minimize"}:
        raise ValueError(f"The direction {direction!r:.60} is not maximize or minimize, one for each metric.")
    if isinstance(space, ConfigurationSpace):
        names = [n for n in spaces.names(space) if n in columns or not isinstance(space[n], Constant)]
    names = list(names or [n for n in columns if n not in metrics])
    given = [] if isinstance(space, ConfigurationSpace) else space or []
    for name in [*metrics, *names, *given]:
        if name not in columns or (name in given and name not in names):
            raise ValueError(f"There is no column {name!r:.60} to use; there are {', '.join(columns):.200}.")
        if name in ("status", "index") or (name in names and name in metrics):
            raise ValueError(f"The name {name!r} has a meaning of its own here: rename this column.")
    rows = pd.Index(numbers, name="index", dtype=object)
    if not (rows.is_unique and all(isinstance(number, int) for number in numbers)):
        raise ValueError("The column index must number the trials, each by a whole number of its own.")
    rows = rows.astype("int64")
    ignored = [n for n in columns if n not in [*names, *metrics]]
    report = [*found, ("columns ignored", len(ignored), ", ".join(ignored))]

    status = pd.Series(states, rows, dtype=object)
    report += [(state, (status == state).sum(), "left out") for state in ("pruned", "not finished")]
    kept = status.isin(["ok", "failed"]).to_numpy()
    columns = {n: [v for v, k in zip(columns[n], kept) if k] for n in [*names, *metrics]}
    status = status[kept]
    values = pd.DataFrame({m: _numbers(m, columns[m], status.index) for m in metrics}, status.index)
    sound = np.isfinite(values).all(axis=1)
    report.append(("failed", (status == "failed").sum(), "kept as failed"))
    report.append(("metric is not a number", (~sound & (status == "ok")).sum(), "kept as failed"))
    ok = (sound & (status == "ok")).to_numpy()
    if ok.sum() < 2:
        seen = ", ".join(f"{what}: {n}" for what, n, _ in report if n)
        raise ValueError(f"Of {len(rows)} trials {ok.sum()} can be used, which explains nothing ({seen}).")
    values.loc[~ok] = np.nan
    settings = {name: columns[name] for name in names}
    space, settings, more = infer(settings, status.index, ok, space, declared, table)
    whole = pd.concat([settings, values], axis=1).assign(status=np.where(ok, "ok", "failed"))
    copies = whole.duplicated().to_numpy() & ok
    whole, ok = whole[~copies], ok[~copies]
    repeated = whole.loc[ok, list(settings)].duplicated().sum()
    constant = [m for m in metrics if np.ptp(whole.loc[ok, m]) == 0]
    report += [*more, ("copies", copies.sum(), "dropped: same hyperparameters, same metrics")]
    report.append(("repetitions", repeated, "kept: same hyperparameters, other metrics"))
    report.append(("constant metrics", len(constant), ", ".join(constant)))
    varied = len(spaces.varied(space))
    if not varied or ok.sum() < varied:
        raise ValueError(f"{ok.sum()} different trials cannot explain {varied} hyperparameters that vary.")
    if metrics[0] in constant:
        raise ValueError(f"{metrics[0]} is the same in all {ok.sum()} trials: there is nothing to explain.")
    report = [("trials read", len(rows), ""), ("used", ok.sum(), ""), *(line for line in report if line[1])]
    report = pd.DataFrame(report, columns=["what", "n", "done"]).set_index("what")
    return Trials(whole, space, dict(zip(metrics, directions)), report)


def _numbers(name, values, rows):
    numbers = [MISSING if v is None else as_number(v) for v in values]
    if None in numbers:
        k = numbers.index(None)
        raise ValueError(f"Trial {rows[k]} has {name} = {values[k]!r:.60}, which is not a number.")
    return pd.Series(numbers, rows, dtype=float)


def _load(url, study_name):
    import optuna

    # SQLite would make the file that is missing.
    if url.startswith("sqlite") and not Path(url.partition("://")[2][1:].split("?")[0]).is_file():
        raise ValueError(f"There is no study at {url}.")
    try:
        return optuna.load_study(study_name=study_name, storage=url)
    except Exception as error:  # each storage has errors of its own
        raise ValueError(f"The study {study_name or ''} cannot be read from {url}: {error!r:.200}") from error
