"""Inference: from a table of trials as it is found to `Trials`: what was set, and what came out."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import ConfigSpace as cs
import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace, Constant
from ConfigSpace.hyperparameters import IntegerHyperparameter

from ubalkit import columns as cols
from ubalkit import space as spaces
from ubalkit.observations import Trials

Names = str | Sequence[str]
Space = ConfigurationSpace | Mapping[str, object] | None


@dataclass
class Reader:
    """Trials as a source holds them, on their way to `Trials`; `space` and `names` as users give them."""

    frame: pd.DataFrame  # objects, NaN where a trial has nothing
    space: Space
    names: Names
    prefix: str = ""  # with which the names of hyperparameters begin, where they do
    cells: bool = False  # whether a text may be a number
    declared: dict[str, object] = field(default_factory=dict)  # what a mapping would say
    report: list[tuple] = field(default_factory=list)

    def __post_init__(self):
        self.prefix = self.prefix or cols.tool_prefix([*self.frame])
        names = [self.names] if isinstance(self.names, str) else () if self.names is None else self.names
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
        nowhere = [index for index in settings.index[~ok] if not _lies_in(space, settings.loc[[index]])]
        self.tell("failed before all was set", len(nowhere), "left out")
        settings, ok = settings.drop(index=nowhere), ok.drop(nowhere)
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
        plain = {name: [cols.plain_value(value) for value in frame[name]] for name in frame}
        table = pd.DataFrame(plain, range(len(frame)), dtype=object).rename_axis("index")
        counters = {"index", *names[:1].intersection(["", "Unnamed: 0"])}
        counters |= {"number"} if self.prefix == "params_" else set()
        for name in counters.intersection(table):
            numbers = cols.as_numbers(table.pop(name)).astype(float)
            if ((numbers % 1 == 0) & (numbers.abs() < 2**62) & ~numbers.duplicated()).all():
                table.index = pd.Index(numbers, name="index", dtype="int64")
        return table

    def _last_reports(self, table: pd.DataFrame) -> pd.DataFrame:
        """Of trials that reported more than once, the last row."""
        for step in [name for name in table if name.lower() in cols.PROGRESS and name not in self._named()]:
            steps = cols.as_numbers(table[step])
            keys = {name: table[name].map(str) for name in table if cols.words_of(name) & cols.IDENTITIES}
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
        cols.need_all([status] if status else [], rest)
        words = {name: rest[name].dropna().map(cols.state_of) for name in rest if name not in self._named()}
        told = [name for name, found in words.items() if len(found) and found.isin(cols.STATES).all()]
        known = [*[status] * bool(status), *sorted(told, key=lambda name: name.lower() not in cols.STATUS)]
        # What says nothing has ended, if it has a metric.
        found = words[known[0]].reindex(rest.index).fillna("ok") if known else pd.Series("ok", rest.index)
        known_words = f"is none of {', '.join(cols.STATES)}"
        cols.refuse_values(found.rename("status"), ~found.isin(cols.STATES), known_words)
        states = found.map(cols.STATES)
        for state in ("pruned", "not finished", "failed"):
            done = "kept as failed" if state == "failed" else "left out"
            self.tell(state, (states == state).sum(), done)
        return states, known

    def _metrics(self, rest: pd.DataFrame, metric: Names, settings: pd.DataFrame) -> dict[str, str]:
        """The columns to explain, by the names that they get."""
        wanted, found = [metric] if isinstance(metric, str) else [*dict.fromkeys(metric)], {}
        for name in wanted if any(wanted) else cols.own_metrics(rest, self.prefix):
            column = cols.column_of(name, rest)
            short = cols.METRIC.sub("", column)
            short = short if name == short or (not any(wanted) and column.startswith("metrics")) else column
            others = (column, "objective", *(f"objective_{k}" for k in range(len(rest))))
            found[next(n for n in (short, *others) if n not in settings and n not in found)] = column
        self.tell("metric", [] if any(wanted) else [*found], "found by its name: ")
        return found

    def _directed(self, names: list[str], direction: Names) -> dict[str, str]:
        """Which values of each metric are the good ones."""
        if direction not in ("", ()):
            return cols.checked_directions(names, direction)
        words = {name: cols.words_of(name) for name in names}
        small = [n for n in names if words[n] & (cols.ERRORS | cols.COSTS) and "neg" not in words[n]]
        large = [name for name in names if name not in small]
        self.tell("to minimize", small, "as the name says, unless direction= does: ")
        self.tell("to maximize", large, "as no name says otherwise, unless direction= does: ")
        return {name: "minimize" if name in small else "maximize" for name in names}

    def _values(self, raw: pd.DataFrame, states: pd.Series) -> pd.DataFrame:
        """The metrics of all finished trials, NaN where one failed."""
        raw = raw[states.isin(["ok", "failed"])]
        values, ok = raw.apply(cols.as_numbers).astype(float), states[raw.index] == "ok"
        for name in raw:
            given = raw[name].notna()
            wrong = values[name].isna() & given
            cols.refuse_values(raw[name], wrong & (2 * wrong.sum() > given.sum()), "is not a number")
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
            resources = cols.as_numbers(rest.loc[values.index, "n_resources"])
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
        cols.need_all(names, pool)
        cols.need_all(self.space, names or pool)
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
        reasons = {name: cols.reason_to_leave(rows[name], values, order.index(name) > last) for name in pool}
        if len(cols.WANDB.intersection(order)) > 2:
            reasons |= {name: "columns of W&B" for name in pool if name in cols.WANDB or name[:1] == "_"}
        reasons = {name: why for name, why in reasons.items() if why and name not in self.space}
        if len(reasons) == len([*pool]):  # better these than nothing
            reasons = {name: why for name, why in reasons.items() if why not in (cols.COUNTS, cols.FOLLOWS)}
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
            legal = {n: cols.legal_values(self.space[n], table[n], self.cells) for n in table}
            return self.space, pd.DataFrame(legal)
        given, space, settings = self.declared | self.space, ConfigurationSpace(), {}
        lacks = {name: cols.is_absent(values[ok]) for name, values in table.items()}
        empty = [name for name in table if lacks[name].all()]
        for name, values in table.drop(columns=empty).items():
            cells = self.cells and name in given  # where an empty one may be None
            spec, how = (given[name], "") if name in given else cols.guessed(values, self.cells)
            if isinstance(spec, list) and None in spec and lacks[name].any() and not cells:
                # What is None and what is missing must differ in the table.
                spec = ["None" if choice is None else choice for choice in spec]
                values = values.map(lambda value: "None" if value is None else value)
            hp = cols.hyperparameter_of(spec, values, len(settings))
            self.tell(f"scale of {name}", 1 if how else 0, how)
            settings[name] = cols.legal_values(hp, values, cells)
            space.add(hp)
        inferred = [name for name in settings if name not in given]
        self.tell("hyperparameters inferred", inferred, "space={...} corrects them: ")
        self.tell("constant hyperparameters", [n for n in settings if isinstance(space[n], Constant)])
        self.tell("empty columns", empty, "left out: ")
        return space, pd.DataFrame(settings, table.index)

    def _connect(self, space: ConfigurationSpace, settings: pd.DataFrame) -> dict[str, pd.Series]:
        """Make conditional what finished trials lack; what nothing explains, and where it is missing."""
        absent = {name: cols.is_absent(values) for name, values in settings.items()}
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
            if abs(related.loc[one, other]) > cols.SAME:
                done = f"follows {one} (correlation {related.loc[one, other]:.2f}): name one of them"
                self.tell(other, 1, done)


def _lies_in(space: ConfigurationSpace, row: pd.DataFrame) -> bool:
    """Whether a trial has a place in the space: a value, and a legal one, of all that is active."""
    try:
        spaces.to_unit(space, row)
    except ValueError:
        return False
    return True


def _conditions(space, name: str, settings: pd.DataFrame, absent: Mapping) -> dict[tuple[str, ...], object]:
    """The conditions that tell exactly when a hyperparameter is set, by the names of their parents."""
    here, parents = ~absent[name], [parent for parent in settings if parent != name]
    tests = [test for parent in parents for test in _tests(space, name, parent, settings, absent)]
    found = {(parent,): condition for parent, where, condition in tests if (where == here).all()}
    # By chance two tell more often than one does.
    if found or min(here.sum(), (~here).sum()) < cols.FEW:
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
    elif whole or min(len(on), len(off)) >= cols.FEW:
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
