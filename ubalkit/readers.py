"""Readers: trials of any model, from a table, a CSV file, Optuna or scikit-learn, and out again.

One rule for every source:

- Finished trials are used. Pruned ones are left out, for their values were measured too early to
  compare; so are those that still run or wait. Failed ones, and those with a metric that is not a
  finite number, stay in the table with the status ``failed``, which no method uses.
- Copies, the same hyperparameters with the same metrics, count once. The same hyperparameters with
  other metrics are repetitions: all are kept, their difference is noise.
- A hyperparameter that nothing declares is inferred. Numbers: the range observed, rounded outwards
  to three digits unless they are integers, and logarithmic if all are positive and the largest is
  at least 100 times the smallest; integers if all are whole and some written without a decimal
  point or missing. True, false, None and text: choices. One value alone: a constant.
- A step makes an ordinal of up to 20 values; of more, the range without it.
- A hyperparameter that finished trials lack is conditional if another one, with choices or an
  integer, tells exactly when. If none does, it is refused. None as a choice of a conditional one is
  the text ``None``.
- A name is one line of up to 100 printable characters, with no more than one dollar, between two of
  which figures would set mathematics. Texts stay as they are.
- What was found and done is counted in `Trials.report`. What cannot be used raises a ValueError of
  one sentence.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from pathlib import Path

import ConfigSpace as cs
import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace, Constant
from ConfigSpace.hyperparameters import Hyperparameter, IntegerHyperparameter

from ubalkit import space as spaces
from ubalkit.files import line
from ubalkit.observations import Trials

Names = str | Sequence[str]
Space = ConfigurationSpace | Mapping[str, object] | None

_STATES = {
    **dict.fromkeys("ok complete completed success succeeded finished done terminated".split(), "ok"),
    **dict.fromkeys("failed fail failure error crash crashed timeout memoryout".split(), "failed"),
    **dict.fromkeys("running waiting pending paused killed aborted preempting".split(), "not finished"),
    "pruned": "pruned",
}
_MANY = 20


def from_frame(
    frame: pd.DataFrame,
    metric: Names,
    *,
    direction: Names = "maximize",
    space: Space = None,
    hyperparameters: Sequence[str] = (),
    status: str = "",
) -> Trials:
    """Trials from a table with a row a trial.

    Parameters
    ----------
    frame : DataFrame
        A column ``index``, or an index of that name, numbers the trials.
    metric : str or sequence of str
        Columns to explain.
    direction : "maximize" or "minimize", or one for each metric
        Which values are the good ones.
    space : ConfigurationSpace or mapping, optional
        A mapping says what to use in place of what would be inferred, by name: ``(low, high)``,
        ``(low, high, "log")``, ``(low, high, step)``, a list of choices, or one value, a constant.
        Whole bounds make an integer if the values are whole too. An empty cell is None if that is
        among the choices.
    hyperparameters : sequence of str, optional
        Columns that were set: by default all others. A ConfigurationSpace names them itself.
    status : str, optional
        Column with a word a trial, such as COMPLETE, PRUNED, FAIL, RUNNING; by default ``status``,
        if there is one.

    Examples
    --------
    >>> frame = pd.DataFrame({"rate": [0.001, 0.01, 0.1], "depth": [3, 5, 4], "loss": [0.4, 0.9, 0.7]})
    >>> trials = from_frame(frame, "loss", direction="minimize")
    >>> spaces.describe(trials.space).to_dict()
    {'rate': '[0.001, 0.1] log', 'depth': '[3, 5]'}
    """
    names, numbered = [*map(str, frame)], frame.index.name == "index"
    table = frame.set_axis(names, axis=1).reset_index(drop=not numbered, allow_duplicates=True).astype(object)
    empty = table.map(lambda cell: str(cell).strip().lower()).isin(["", "nan"])
    table = table.mask(empty | table.isna(), math.nan)
    _need([status] if status else [], table)
    table = table.rename(columns={status: "status"} if status else {})
    return _Reader(table, _directions(metric, direction), space, hyperparameters, cells=True).trials()


def from_csv(path: str | Path, metric: Names, **options) -> Trials:
    """Trials from a CSV file, separated by commas, semicolons or tabs.

    Every cell is read as the text that it is; an empty one and ``nan`` are missing.

    Parameters
    ----------
    path : str or Path
        UTF-8, with the names in the first line.
    metric, **options
        As for `from_frame`.

    Examples
    --------
    >>> from ubalkit import files
    >>> len(from_csv(files.data("svm") / "observations.csv", "accuracy"))
    500
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no table of trials at {path}.")
    try:
        text = Path(path).read_text(encoding="utf-8-sig").lstrip("\n")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        rows = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
        rows = [[cell.strip() for cell in row] for row in rows if any(row)]
        # Strictly: a row with more or fewer cells than others raises.
        head, *rows = zip(*zip(*rows, strict=True))
        frame = pd.DataFrame(rows, columns=head, dtype=object)
    except (ValueError, csv.Error) as error:
        what = f"{path} is not in UTF-8 with all quotes closed and in each row a cell for each of its columns"
        raise ValueError(f"{what}; separate them by comma, semicolon or tab ({line(error, 99)}).") from error
    return from_frame(frame, metric, **options)


def from_optuna(
    study, *, study_name: str = "", metrics: Names = (), space: Space = None, hyperparameters: Names = ()
) -> Trials:
    """Trials of an Optuna study: its distributions, directions and states.

    Ranges that changed between trials are united, with a logarithm if all have it and without a step.

    Parameters
    ----------
    study : optuna.Study or str
        A string is the URL of a storage.
    study_name : str, optional
        Which study of the storage; not needed if it holds one.
    metrics : str or sequence of str, optional
        Names for the objectives, in their order: by default the study's own, else ``value``, or
        ``value_0``, ``value_1`` and so on.
    space, hyperparameters
        As for `from_frame`, in place of the study's distributions.

    Examples
    --------
    >>> import optuna
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> study = optuna.create_study()
    >>> study.optimize(lambda trial: trial.suggest_float("x", 0, 1) ** 2, n_trials=5)
    >>> from_optuna(study).metrics
    {'value': 'minimize'}
    """
    study = _load(study, study_name) if isinstance(study, str) else study
    trials, directions = study.get_trials(deepcopy=False), [d.name.lower() for d in study.directions]
    value = ["value"] if len(directions) == 1 else [f"value_{k}" for k in range(len(directions))]
    wanted, seen, rows = _directions(metrics or study.metric_names or value, directions), {}, []
    for trial in trials:
        for name, distribution in trial.distributions.items():
            seen.setdefault(name, {})[str(distribution)] = distribution
    for trial in trials:
        params = [trial.params.get(name, math.nan) for name in seen]
        rows.append([*params, *(trial.values or [math.nan] * len(wanted)), trial.state.name, trial.number])
    frame = pd.DataFrame(rows, columns=[*seen, *wanted, "status", "index"], dtype=object)
    reader = _Reader(frame, wanted, space, hyperparameters)
    for name, found in seen.items():
        reader.declared[name] = _united([*found.values()])
        reader.tell(f"distributions of {name}", [*found] if len(found) > 1 else [], "united: ")
    return reader.trials()


def from_sklearn(
    cv_results: Mapping,
    *,
    metric: Names = "mean_test_score",
    direction: Names = "maximize",
    space: Space = None,
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
    metric, direction, space
        As for `from_frame`.

    Examples
    --------
    >>> results = {"param_max_depth": [None, 1, 2], "mean_test_score": [0.9, 0.6, 0.8]}
    >>> spaces.describe(from_sklearn(results).space).to_dict()
    {'max_depth': '{None, 1, 2}'}
    """
    columns = {key: np.ma.asarray(v, dtype=object).filled(math.nan) for key, v in cv_results.items()}
    table = pd.DataFrame(columns, dtype=object).rename(columns=lambda key: key.removeprefix("param_"))
    names = [key.removeprefix("param_") for key in columns if key.startswith("param_")]
    reader = _Reader(table, _directions(metric, direction), space, names)
    if "n_resources" in table:
        counts = table.groupby("n_resources").size()[::-1]
        used = counts.clip(upper=2 * len(names) + 5).idxmax()
        reader.frame = table[table["n_resources"] == used]
        reader.tell("other resources", len(table) - len(reader.frame), f"left out: {used} used")
    return reader.trials()


def optuna_distributions(space: ConfigurationSpace) -> dict:
    """A space as Optuna's distributions, by name; a constant is a choice of one.

    Parameters
    ----------
    space : ConfigurationSpace
        Optuna has no conditions or forbidden clauses: the objective states them.

    Examples
    --------
    >>> optuna_distributions(ConfigurationSpace({"rate": (0.1, 1.0)}))
    {'rate': FloatDistribution(high=1.0, log=False, low=0.1, step=None)}
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def distribution(hp: Hyperparameter):
        choices, step = spaces.choices(hp), (hp.meta or {}).get("step")
        if choices is not None and (step is None or len(choices) == 1):
            return CategoricalDistribution([_plain(choice) for choice in choices])
        low, high = (hp.lower, hp.upper) if choices is None else (choices[0], choices[-1])
        kind = IntDistribution if isinstance(low, int) else FloatDistribution
        return kind(low, high, log=hp.log) if choices is None else kind(low, high, step=step)

    return {name: distribution(space[name]) for name in spaces.names(space)}


@dataclass
class _Reader:
    """Trials as a source holds them, on their way to `Trials`; `space` and `names` as users give them."""

    frame: pd.DataFrame  # objects, NaN where a trial has nothing; with columns status and index, if known
    metrics: dict[str, str]
    space: Space
    names: Sequence[str]
    cells: bool = False  # whether what is missing may be None, and a text a number misspelt
    declared: dict[str, object] = field(default_factory=dict)  # what a mapping would say
    report: list[tuple] = field(default_factory=list)

    def tell(self, what: str, found: float | Sequence[str], done: str = "") -> None:
        """Add a number, or names and their number, to the report, if there is anything to tell."""
        n, names = (len(found), ", ".join(found)) if isinstance(found, list) else (found, "")
        self.report += [(what, n, done + names)] if n else []

    def trials(self) -> Trials:
        """What is left after all rules."""
        table = self._numbered()
        hyperparameters, values = self._used(table), self._measured(table)
        ok = values.notna().all(axis=1)
        if ok.sum() < 2:
            seen = ", ".join(f"{what}: {n}" for what, n, _ in self.report)
            raise ValueError(f"Of {len(table)} trials {ok.sum()} can be used, which is too few ({seen}).")
        space, settings = self._read(hyperparameters.loc[ok.index], ok)
        self._connect(space, settings[ok])
        if not spaces.varied(space):
            raise ValueError("There is nothing to explain: no hyperparameter varies in the trials.")
        whole = pd.concat([settings, values], axis=1).assign(status=np.where(ok, "ok", "failed"))
        copies = whole.duplicated() & ok
        whole, used = whole[~copies], whole[ok & ~copies]
        self.tell("copies", copies.sum(), "dropped: same hyperparameters, same metrics")
        repeated = used.duplicated([*settings]).sum()
        self.tell("repetitions", repeated, "kept: same hyperparameters, other metrics")
        self.tell("constant metrics", [name for name in values if np.ptp(used[name]) == 0])
        lines = [("trials read", len(table), ""), ("used", len(used), ""), *self.report]
        report = pd.DataFrame(lines, columns=["what", "n", "done"]).set_index("what")
        return Trials(whole, space, self.metrics, report)

    def _numbered(self) -> pd.DataFrame:
        """The frame with plain values, by the number of the trial, its words read as states."""
        names = list(self.frame)
        for name in names:
            # They become axes of figures, lines of reports and words of sentences.
            shown = name.isprintable() and 0 < len(name) <= 100 and name.count("$") < 2
            if not shown or names.count(name) > 1:
                what = f"The column {name!r:.60} needs a name of its own"
                raise ValueError(f"{what}: 1 to 100 characters, all printable, and one $ at most.")
        plain = {name: [_plain(value) for value in self.frame[name]] for name in names}
        table = pd.DataFrame(plain, self.frame.index, dtype=object)
        index = table.pop("index") if "index" in table else table.index.to_series()
        wrong = (_numbers(index) % 1 != 0) | index.duplicated()
        _refuse(index.rename("index"), wrong, "is not a whole number of its own")
        words = table.get("status", pd.Series("ok", table.index)).map(lambda word: str(word).lower())
        table["status"] = words.map(_STATES)
        _refuse(words.rename("status"), table["status"].isna(), f"is none of {', '.join(_STATES)}")
        return table.set_index(pd.Index(_numbers(index), name="index", dtype="int64"))

    def _used(self, table: pd.DataFrame) -> pd.DataFrame:
        """The hyperparameters as the source has them."""
        _need(self.metrics, table.columns.drop("status"))
        columns, names = table.drop(columns=["status", *self.metrics]), [*(self.names or ())]
        if isinstance(self.space, ConfigurationSpace):
            names = spaces.names(self.space)
            constants = {n: self.space[n].value for n in names if isinstance(self.space[n], Constant)}
            columns = columns.assign(**{n: v for n, v in constants.items() if n not in columns})
        names = names or [*columns]
        _need(names, columns)
        _need(self.space or (), names)
        self.tell("columns ignored", [name for name in columns if name not in names])
        return columns[names]

    def _measured(self, table: pd.DataFrame) -> pd.DataFrame:
        """The metrics of all finished trials, NaN where one failed."""
        states, metrics = table["status"], [*self.metrics]
        for state, done in (
            ("pruned", "left out"),
            ("not finished", "left out"),
            ("failed", "kept as failed"),
        ):
            self.tell(state, (states == state).sum(), done)
        raw = table.loc[states.isin(["ok", "failed"]), metrics]
        values = raw.apply(_numbers).astype(float)
        for name in metrics:
            _refuse(raw[name], values[name].isna() & raw[name].notna(), "is not a number")
        ok, sound = states[raw.index] == "ok", np.isfinite(values).all(axis=1)
        self.tell("metric is not a number", (ok & ~sound).sum(), "kept as failed")
        return values.where(ok & sound)

    def _read(self, table: pd.DataFrame, ok: pd.Series) -> tuple[ConfigurationSpace, pd.DataFrame]:
        """The space, and the hyperparameters as it has them."""
        if isinstance(self.space, ConfigurationSpace):
            return self.space, pd.DataFrame({n: _legal(self.space[n], table[n], self.cells) for n in table})
        given, space, settings = self.declared | dict(self.space or {}), ConfigurationSpace(), {}
        lacks = {name: _absent(values[ok]) for name, values in table.items()}
        empty = [name for name in table if lacks[name].all()]
        for name, values in table.drop(columns=empty).items():
            spec = given[name] if name in given else _guess(values, self.cells)
            if isinstance(spec, list) and None in spec and lacks[name].any() and not self.cells:
                # What is None and what is missing must differ in the table.
                spec = ["None" if choice is None else choice for choice in spec]
                values = values.map(lambda value: "None" if value is None else value)
            hp = _hyperparameter(spec, values, len(settings))
            if isinstance(spec, tuple) and spec[2:] not in ((), ("log",)) and spaces.is_number(hp):
                self.tell(f"step of {name}", spec[2], f"left out: more than {_MANY} values")
            settings[name] = _legal(hp, values, self.cells)
            space.add(hp)
        self.tell("hyperparameters inferred", [name for name in settings if name not in given])
        self.tell("constant hyperparameters", [n for n in settings if isinstance(space[n], Constant)])
        self.tell("empty columns", empty, "left out: ")
        return space, pd.DataFrame(settings, table.index)

    def _connect(self, space: ConfigurationSpace, settings: pd.DataFrame) -> None:
        """Make conditional what finished trials lack."""
        absent = {name: _absent(values) for name, values in settings.items()}
        # A space of the user's says itself what is conditional.
        parents = [] if space is self.space else sorted(settings, key=lambda n: spaces.is_number(space[n]))
        for name in [n for n in settings if absent[n].any() and not space.parent_conditions_of[n]]:
            found = (_condition(space[name], space[parent], settings, absent) for parent in parents)
            told = next((condition for condition in found if condition is not None), None)
            if told is None:
                what = f"{name} is missing in {absent[name].sum()} finished trials and nothing tells when"
                raise ValueError(f"{what}: give a space with its condition, or hyperparameters without it.")
            space.add(told)
            self.tell(f"{name} missing", absent[name].sum(), f"taken as conditional: {told}")


def _condition(child: Hyperparameter, parent: Hyperparameter, settings: pd.DataFrame, absent: Mapping):
    """When a hyperparameter is set, if another one tells exactly."""
    gone, lost = absent[child.name], absent[parent.name]
    on, off = settings.loc[~gone, parent.name], settings.loc[gone & ~lost, parent.name]
    # What is missing with its parent is missing elsewhere too: conditions make no circle.
    if (lost & ~gone).any() or off.empty:
        return None
    if isinstance(parent, IntegerHyperparameter):
        if on.min() > off.max():
            return cs.GreaterThanCondition(child, parent, int(off.max()))
        return cs.LessThanCondition(child, parent, int(off.min())) if on.max() < off.min() else None
    if spaces.is_number(parent) or {*on} & {*off}:
        return None
    own = [choice for choice in spaces.choices(parent) if choice in {*on}]
    return cs.InCondition(child, parent, own) if own[1:] else cs.EqualsCondition(child, parent, *own)


def _guess(values: pd.Series, cells: bool) -> object:
    """What a mapping would say of a column: a range, choices or one value."""
    present = values[~_absent(values)]
    numbers, texts = _numbers(present), present.map(str).str.lower()
    if {*texts} <= {"true", "false"}:
        present = texts == "true"
    elif numbers.notna().all():
        written_whole = len(present) < len(values) or texts.str.fullmatch(r"\s*[-+]?\d+\s*").any()
        # Beyond 64 bits a whole number is one of many that look alike.
        whole = ((numbers % 1 == 0) & (numbers.abs() < 2**62)).all()
        return _range(numbers.min(), numbers.max(), written_whole and whole)
    elif cells:
        words = present[numbers.isna() & present.map(lambda value: isinstance(value, str))]
        _refuse_misspelt(words, len(present))
    choices = sorted({*present}, key=lambda choice: (type(choice).__name__, choice))
    return choices if len(choices) > 1 else choices[0]


def _range(low: float, high: float, whole: bool) -> object:
    if whole:
        low, high = int(low), int(high)
    elif low < high:
        outwards = ((low, ROUND_FLOOR), (high, ROUND_CEILING))
        low, high = (float(Context(3, way).create_decimal(repr(float(number)))) for number, way in outwards)
    span = (low, high, "log") if 0 < 100 * low <= high else (low, high)
    return low if low == high else span


def _refuse_misspelt(words: pd.Series, n: int) -> None:
    """Text among numbers, decimal commas and names of runs are no choices."""
    many = 2 * len(words) <= n or words.nunique() > max(_MANY, n / 2)
    wrong = words.str.fullmatch(r"[-+]?\d+,\d+").astype(bool) | many
    _refuse(words, wrong, "is no number: correct it, state its choices in space, or name hyperparameters")


def _hyperparameter(spec: object, values: pd.Series, position: int) -> Hyperparameter:
    """The hyperparameter that a range, choices or one value mean."""
    name, meta = values.name, {"position": position}
    try:
        if not isinstance(spec, tuple):
            choices = [_plain(choice) for choice in (spec if isinstance(spec, list) else [spec])]
            one = len(choices) == 1
            return Constant(name, *choices, meta=meta) if one else cs.Categorical(name, choices, meta=meta)
        low, high, how = (*spec, None) if len(spec) == 2 else spec
        # Bounds that are infinite have no whole number of steps, which raises.
        steps = math.floor((high - low) / (1 if how in (None, "log") else how) + 1e-9)
        if how not in (None, "log") and steps < _MANY:
            grid = [round(low + how * k, 12) for k in range(steps + 1)]
            return cs.OrdinalHyperparameter(name, grid, meta={**meta, "step": how})
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
        raise ValueError(f"Trial {row} has {values.name:.60} = {values[row]!r:.60}, which {why}.")


def _need(wanted: Iterable[str], there: Iterable[str]) -> None:
    for name in wanted:
        if name not in there:
            raise ValueError(f"There is no column {name!r:.60} to use; there are {', '.join(there):.200}.")


def _directions(metric: Names, direction: Names) -> dict[str, str]:
    metrics = [metric] if isinstance(metric, str) else list(metric)
    directions = [direction] * len(metrics) if isinstance(direction, str) else list(direction)
    if not 0 < len({*metrics}) == len(metrics) == len(directions) or {*directions} - {"maximize", "minimize"}:
        what = f"The direction {direction!r:.60} of {', '.join(metrics):.100} is not maximize or minimize"
        raise ValueError(f"{what}, one for each metric with a name of its own.")
    return dict(zip(metrics, directions))


def _load(url: str, study_name: str):
    import optuna

    try:
        if url.startswith("sqlite"):  # which would make the file that is missing
            Path(url.partition("://")[2][1:].split("?")[0]).stat()
        return optuna.load_study(study_name=study_name or None, storage=url)
    except Exception as error:  # each storage has errors of its own
        raise ValueError(f"The study {study_name} cannot be read from {url}: {error!r:.200}") from error


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
