"""What hyperparameters columns of trials are: declared, inferred or of a given space.

The rules are those of `ubalkit.readers`. A column is a list of plain values:
None, True, False, numbers and text, and NaN where a trial has none. What is
known of it is said as a user would say it: ``(low, high)``,
``(low, high, "log")``, ``(low, high, step)``, a list of choices, or one value.
"""

import contextlib
import decimal
import re

import ConfigSpace as cs
import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace, Constant
from ConfigSpace.hyperparameters import FloatHyperparameter, IntegerHyperparameter, OrdinalHyperparameter

from ubalkit import space as spaces
from ubalkit.files import line

__all__ = ["MISSING", "infer", "unite", "plain", "cell", "as_number"]

MISSING = float("nan")
_MANY = 20


def infer(columns, rows, ok, space, declared, table):
    """Space and table of columns, and lines for the report.

    Parameters
    ----------
    columns : dict of name to list
    rows : Index
        Numbers of the trials.
    ok : ndarray of bool, shape (n,)
        The finished ones, which alone say what is missing.
    space : ConfigurationSpace, mapping or None
        As the user gives it.
    declared : mapping
        What the source says where `space` does not.
    table : bool
        Whether the values are cells, in which None is missing and text may be
        a number misspelt.
    """
    own, made, taken, report = isinstance(space, ConfigurationSpace), [], {}, []
    given = {} if own else {**dict(declared), **(space or {})}
    absent = {name: np.array([v != v for v in values]) & ok for name, values in columns.items()}
    empty = [] if own else [name for name in columns if absent[name][ok].all()]
    for name in spaces.names(space) if own else [n for n in columns if n not in empty]:
        values = columns.get(name) or [space[name].value] * len(rows)
        if own:
            hp = space[name]
        else:
            spec = given[name] if name in given else _guess(name, values, table)
            # What is None and what is missing must differ in the table.
            if isinstance(spec, list) and None in spec and not table and absent[name].any():
                spec, values = (["None" if v is None else v for v in part] for part in (spec, values))
            hp = _hyperparameter(name, spec, values, len(made))
            if isinstance(spec, tuple) and spec[2:] not in ((), ("log",)) and spaces.is_number(hp):
                report.append((f"step of {name}", spec[2], f"left out: more than {_MANY} values"))
        if table and None in (spaces.choices(hp) or []):
            values = [None if v != v else v for v in values]
        made.append(hp)
        taken[name] = _column(hp, values, rows)
        absent[name] = ok & np.array([v != v for v in taken[name]])
    if not own:
        space = ConfigurationSpace()
        space.add(made)
    for name in taken:
        if not absent[name].any() or (own and space.parent_conditions_of[name]):
            continue
        condition = None if own else _condition(space[name], made, taken, absent, ok)
        if condition is None:
            what = f"{name} is missing in {absent[name].sum()} finished trials and nothing tells when"
            raise ValueError(f"{what}: give a space with its condition, or hyperparameters without it.")
        space.add(condition)
        report.append((f"{name} missing", absent[name].sum(), f"taken as conditional: {condition}"))
    if not own:
        guessed = [name for name in taken if name not in given]
        constant = [hp.name for hp in made if isinstance(hp, Constant)]
        report.append(("hyperparameters inferred", len(guessed), ", ".join(guessed)))
        report.append(("constant hyperparameters", len(constant), ", ".join(constant)))
        report.append(("empty columns", len(empty), "left out: " + ", ".join(empty)))
    return space, pd.DataFrame(taken), report


def _condition(child, others, columns, absent, ok):
    """When a hyperparameter is set, if choices, or else an integer, tell exactly."""
    for hp in sorted(others, key=spaces.is_number):
        gone, lost = absent[child.name], absent[hp.name]
        # What is missing with its parent is missing elsewhere too: conditions make no circle.
        inner = not (lost & ~gone).any() and lost.sum() < gone.sum()
        if not inner or isinstance(hp, (Constant, FloatHyperparameter)):
            continue
        on, off = columns[hp.name][ok & ~gone], columns[hp.name][gone & ~lost]
        if isinstance(hp, IntegerHyperparameter):
            if on.min() > off.max():
                return cs.GreaterThanCondition(child, hp, int(off.max()))
            if on.max() < off.min():
                return cs.LessThanCondition(child, hp, int(off.min()))
        elif not set(on) & set(off):
            values = [c for c in spaces.choices(hp) if c in set(on)]
            return cs.InCondition(child, hp, values) if values[1:] else cs.EqualsCondition(child, hp, *values)
    return None


def _guess(name, values, table):
    """What a mapping would say of a column: a range, choices or one value."""
    present = [v for v in values if v == v]
    numbers = [as_number(v) for v in present]
    words = [v for v, n in zip(present, numbers) if n is None and isinstance(v, str)]
    if {str(v).lower() for v in present} <= {"true", "false"}:
        present = [str(v).lower() == "true" for v in present]
    elif None not in numbers:
        whole = len(present) < len(values) or any(isinstance(n, int) for n in numbers)
        kind = int if whole and all(float(n).is_integer() for n in numbers) else float
        low, high = kind(min(numbers)), kind(max(numbers))
        if kind is float and low < high:
            low, high = _round(low, decimal.ROUND_FLOOR), _round(high, decimal.ROUND_CEILING)
        span = (low, high, "log") if 0 < 100 * low <= high else (low, high)
        return low if low == high else span
    # Text among numbers, decimal commas and names of runs are no choices.
    elif table and words:
        many = 2 * len(words) <= len(present) or len(set(words)) > max(_MANY, len(present) / 2)
        if many or any(re.fullmatch(r"[-+]?\d+,\d+", word) for word in words):
            what = f"{name} holds {words[0]!r:.60} and {len(set(words)) - 1} other texts"
            raise ValueError(f"{what}: correct it, state its choices in space, or name hyperparameters.")
    choices = sorted(set(present), key=lambda v: (type(v).__name__, v))
    return choices if len(choices) > 1 else choices[0]


def unite(name, distributions):
    """What a mapping would say of Optuna's distributions, united."""
    first, kinds = distributions[0], {type(d).__name__ for d in distributions}
    if len(kinds) > 1:
        raise ValueError(f"{name} changed its kind between trials: {' and '.join(sorted(kinds))}.")
    if hasattr(first, "choices"):
        return list(dict.fromkeys(plain(c) for d in distributions for c in d.choices))
    low, high = min(d.low for d in distributions), max(d.high for d in distributions)
    if low == high:
        return low
    step = "log" if all(d.log for d in distributions) else first.step if len(distributions) == 1 else None
    return (low, high) if step in (None, 1) else (low, high, step)


def _hyperparameter(name, spec, values, position):
    """The hyperparameter that a range, choices or one value mean."""
    meta = {"position": position}
    try:
        if not isinstance(spec, tuple):
            choices = list(map(plain, spec if isinstance(spec, list) else [spec]))
            one = len(choices) == 1
            return Constant(name, *choices, meta=meta) if one else cs.Categorical(name, choices, meta=meta)
        low, high, step = spec if len(spec) == 3 else (*spec, None)
        log, steps = step == "log", 0 if step in (None, "log") else (high - low) / step + 1e-9
        if steps < 0 or not high - low < np.inf:
            raise ValueError("a step above 0 and bounds that are finite are needed")
        if 0 < steps < _MANY:
            grid = [round(low + step * k, 12) for k in range(int(steps) + 1)]
            return OrdinalHyperparameter(name, grid, meta={**meta, "step": step})
        numbers = [n for n in map(as_number, values) if n is not None]
        whole = not isinstance(low + high, float) and all(n % 1 == 0 for n in numbers if n == n)
        return (cs.Integer if whole else cs.Float)(name, (low, high), log=log, meta=meta)
    except (ValueError, TypeError, ArithmeticError) as error:
        meant = "(low, high), (low, high, 'log'), (low, high, step), a list of choices that differ, one value"
        raise ValueError(f"{name}: {spec!r:.60} is none of {meant}.") from error


def _column(hp, values, rows):
    """Values as the hyperparameter has them, NaN where missing."""
    choices, whole = spaces.choices(hp), isinstance(hp, IntegerHyperparameter)
    known = {_key(c): c for c in choices or []} | {c: c for c in choices or []}
    taken = []
    for row, value in zip(rows, values):
        found = [known[key] for key in (value, _key(value)) if key in known]
        number = as_number(value)
        if choices is None and number is not None:
            # ConfigSpace keeps 13 decimals of a bound.
            inside = min(max(number, hp.lower), hp.upper)
            found = [inside] if abs(inside - number) < 1e-12 and (not whole or inside % 1 == 0) else []
        if not found and value == value:
            raise ValueError(
                f"Trial {row} has {hp.name} = {value!r:.60}, which lies outside its space: {line(hp, 150)}."
            )
        taken.append(found[0] if found else value)
    taken = pd.Series(taken, rows, dtype=object)
    kind = object if choices else "int64" if whole and not taken.isna().any() else float
    return taken.astype(kind)


def plain(value):
    """A value as Python's own None, bool, number or text; NaN if it is missing."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if value is pd.NA or value is pd.NaT:
        return MISSING
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else " ".join(str(value).split())


def cell(value):
    """A cell of a table, in which None, empty text and ``nan`` are missing too."""
    value = plain(value)
    return MISSING if value is None or str(value).strip().lower() in ("", "nan") else value


def as_number(value):
    """The number that a value is or spells; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # Beyond 64 bits a whole number is one of many that look alike.
        return value if isinstance(value, float) or value.bit_length() < 63 else float(value)
    # Python reads 1_000 as a number; nobody who writes a table does.
    for kind in (int, float) if isinstance(value, str) and "_" not in value else ():
        with contextlib.suppress(ValueError):
            return as_number(kind(value))
    return None


def _round(value, way):
    return float(decimal.Context(prec=3, rounding=way).create_decimal(repr(value)))


def _key(value):
    """What values that mean the same have in common: 0.3 and 0.30000000000000004, True and TRUE."""
    number = as_number(value)
    return str(value).lower() if number is None else f"{number:.9g}"
