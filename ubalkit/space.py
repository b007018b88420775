"""Hyperparameter spaces, on ConfigSpace, and their unit-cube coordinates.

A space is a `ConfigSpace.ConfigurationSpace`. Everything that measures
importance does so in unit-cube coordinates u in [0, 1]^d, in which the
sampling distribution is uniform: a log-scaled hyperparameter is uniform in
its logarithm there, an integer or a choice owns an interval as long as it is
probable. Constants have no coordinate.

A hyperparameter that a condition switches off is missing (NaN or None) in a
table. In the unit cube it stands at its default there, whatever its coordinate
is, so that no prediction depends on it where it is not in force.
"""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace, Constant
from ConfigSpace.conditions import OrConjunction
from ConfigSpace.hyperparameters import (
    IntegerHyperparameter,
    NumericalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)

from ubalkit import files

__all__ = ["names", "varied", "choices", "is_number", "describe"]
__all__ += ["sample", "sobol", "spread", "to_unit", "from_unit", "active", "legal", "settled", "bound"]
__all__ += ["coordinate", "snapped", "values", "reduced", "plain", "from_plain"]


# Draws of one configuration before forbidden clauses are said to leave nothing.
_PATIENCE = 1000


def names(space: ConfigurationSpace) -> list[str]:
    """Names of all hyperparameters, in the order of the table's columns."""
    return sorted(space, key=lambda name: (space[name].meta or {}).get("position", len(space)))


def varied(space: ConfigurationSpace) -> list[str]:
    """Names of the hyperparameters that are not constants: the axes of the unit cube."""
    return [name for name in names(space) if not isinstance(space[name], Constant)]


def sample(space: ConfigurationSpace, seed: int, indices: Sequence[int]) -> pd.DataFrame:
    """Configurations by their index: each a pure function of (space, seed, index).

    Parameters
    ----------
    space : ConfigurationSpace
    seed : int
        Not negative.
    indices : sequence of int
        Not negative.

    Returns
    -------
    DataFrame
        Columns: the hyperparameters. Index: `indices`, named ``index``. What
        a forbidden clause forbids is drawn again.

    Raises
    ------
    ValueError
        If the forbidden clauses leave next to nothing, or `seed` or an index
        is negative.

    Examples
    --------
    >>> space = ConfigurationSpace({"rate": (0.0, 1.0)})
    >>> sample(space, seed=0, indices=[0, 7])["rate"].round(2).to_dict()
    {0: 0.64, 7: 0.04}
    """
    d = len(varied(space))
    indices = [int(i) for i in indices]
    generators = [np.random.default_rng([seed, i]) for i in indices]
    unit = np.array([generator.random(d) for generator in generators]).reshape(len(indices), d)
    for _ in range(_PATIENCE):
        forbidden = np.flatnonzero(~legal(space, unit))
        if not len(forbidden):
            return from_unit(space, unit).set_index(pd.Index(indices, name="index", dtype="int64"))
        for k in forbidden:
            unit[k] = generators[k].random(d)
    raise ValueError(f"The forbidden clauses of the space {space.name!r} leave next to nothing to draw.")


def from_unit(space: ConfigurationSpace, unit: np.ndarray) -> pd.DataFrame:
    """Configurations at given unit-cube coordinates.

    Parameters
    ----------
    unit : ndarray, shape (n, d)
        In [0, 1), columns in the order of `varied`.

    Returns
    -------
    DataFrame, n rows
    """
    columns = dict.fromkeys(names(space))
    for name in columns:
        hp = space[name]
        if isinstance(hp, Constant):
            columns[name] = [hp.value] * len(unit)
    for name, u in zip(varied(space), np.asarray(unit, dtype=float).T):
        columns[name] = _to_value(space[name], u)
    table = pd.DataFrame(columns, range(len(unit)))
    on = _vectors(space, unit)[1] if space.conditions else {}
    for name in on:
        if space.parent_conditions_of[name]:
            # NaN has no integer type.
            values = table[name].astype(object).where(on[name])
            table[name] = values.astype(float) if is_number(space[name]) else values
    return table


def to_unit(space: ConfigurationSpace, table: pd.DataFrame) -> np.ndarray:
    """Unit-cube coordinates of configurations; a category's is the middle of its share.

    Returns
    -------
    ndarray, shape (n, d)
        Columns in the order of `varied`; see `settled` for what is not active.

    Raises
    ------
    ValueError
        If a column is missing, a value lies outside the space, or one is
        missing that is active.
    """
    columns, absent = [], []
    for name in varied(space):
        if name not in table:
            raise ValueError(f"The table has no column {name!r}; it has {', '.join(map(str, table)):.200}.")
        hp, values = space[name], table[name]
        missing = values.isna().to_numpy() & bool(space.parent_conditions_of[name])
        values = values.astype(object).where(~missing, hp.default_value) if missing.any() else values
        values = values.to_numpy()
        if is_number(hp):
            values = pd.to_numeric(values, errors="coerce") if values.dtype.kind not in "iuf" else values
            right = (values >= hp.lower) & (values <= hp.upper)
            right &= (values % 1 == 0) | (not isinstance(hp, IntegerHyperparameter))
        else:
            right = np.array([value in choices(hp) for value in values], dtype=bool)
        wrong = table[name].to_numpy()[~right]
        if len(wrong):
            raise _outside(hp, wrong[0])
        columns.append(coordinate(hp, values))
        absent.append(missing)
    if not columns:
        return np.empty((len(table), 0))
    unit, absent = np.column_stack(columns).astype(float), np.column_stack(absent)
    if absent.any() and (wrong := absent & active(space, unit)).any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(f"Row {table.index[row]} has no {varied(space)[column]}, which is active there.")
    return settled(space, unit)


def active(space: ConfigurationSpace, unit: np.ndarray) -> np.ndarray:
    """Which hyperparameters the conditions leave in force at unit-cube coordinates; (n, d) of bool."""
    if not space.conditions:
        return np.ones(np.shape(unit), bool)
    on = _vectors(space, unit)[1]
    return np.column_stack([on[name] for name in varied(space)])


def settled(space: ConfigurationSpace, unit: np.ndarray) -> np.ndarray:
    """Unit-cube coordinates in which what is not active stands at its default; (n, d)."""
    if not space.conditions:
        return unit
    default = [coordinate(hp, [hp.default_value])[0] for hp in map(space.__getitem__, varied(space))]
    return np.where(active(space, unit), unit, default)


def legal(space: ConfigurationSpace, unit: np.ndarray) -> np.ndarray:
    """Which configurations no forbidden clause forbids; (n,) of bool."""
    if not space.forbidden_clauses:
        return np.ones(len(unit), bool)
    vectors = _vectors(space, unit)[0]
    return ~np.any([c.is_forbidden_vector_array(vectors) for c in space.forbidden_clauses], axis=0)


def bound(space: ConfigurationSpace) -> set[str]:
    """Names of those that conditions or forbidden clauses speak of: their ranges cannot be narrowed."""
    parents = {parent.name for name in space for parent in space.parents_of[name]}
    clauses = [c for f in space.forbidden_clauses for c in getattr(f, "dlcs", [f])]
    sides = [getattr(c, side, None) for c in clauses for side in ("hyperparameter", "left", "right")]
    return parents | {side.name for side in sides if side is not None}


def _vectors(space: ConfigurationSpace, unit: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Configurations as ConfigSpace's own vectors, (n_hyperparameters, n), and where each name is active.

    Only those are filled in that conditions or forbidden clauses ask for.
    """
    vectors, on, needed = np.zeros((len(space), len(unit))), {}, bound(space)
    for name, u in zip(varied(space), np.asarray(unit, dtype=float).T):
        hp = space[name]
        if name in needed:
            place = hp.to_vector(_to_value(hp, u)) if is_number(hp) else _place(hp, u)
            vectors[space.index_of[name]] = place
    for name in space:  # parents first
        on[name] = np.ones(len(unit), bool)
        for condition in space.parent_conditions_of[name]:
            on[name] &= condition.satisfied_by_vector_array(vectors)
            if not isinstance(condition, OrConjunction):
                on[name] &= np.all([on[parent.name] for parent in space.parents_of[name]], axis=0)
        vectors[space.index_of[name], ~on[name]] = np.nan
    return vectors, on


def sobol(d: int, n: int, seed: int = 0) -> np.ndarray:
    """Scrambled Sobol' points in the unit cube: the sampling distribution, spread evenly.

    Parameters
    ----------
    d, n : int
        Dimension and number of points; powers of two are balanced best.
    seed : int
        Of the scrambling.

    Returns
    -------
    ndarray, shape (n, d)
    """
    from scipy.stats import qmc

    return qmc.Sobol(d, seed=seed).random_base2(int(np.ceil(np.log2(n))))[:n]


def spread(space: ConfigurationSpace, n: int, seed=0) -> np.ndarray:
    """Scrambled Sobol' points of the sampling distribution, at coordinates that configurations have."""
    drawn, unit = n, np.empty((0, len(varied(space))))
    for _ in range(10):
        unit = sobol(len(varied(space)), drawn, seed)
        unit = unit[legal(space, unit)]
        if len(unit) >= n:
            return to_unit(space, from_unit(space, unit[:n]))
        drawn *= 2
    raise ValueError(f"The forbidden clauses of the space {space.name!r} leave next to nothing to draw.")


def reduced(
    space: ConfigurationSpace,
    freeze: Mapping[str, object] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> ConfigurationSpace:
    """A smaller space: some hyperparameters constant, some in a narrower range.

    Parameters
    ----------
    freeze : mapping of name to value
    ranges : mapping of name to (lower, upper)

    Returns
    -------
    ConfigurationSpace
        With the same hyperparameters, in the same order, and the same
        conditions and forbidden clauses.

    Raises
    ------
    ValueError
        For a name that is `bound`, or a value outside its range.
    """
    freeze, ranges = dict(freeze or {}), dict(ranges or {})
    for name in [*freeze, *ranges]:
        if name in bound(space):
            raise ValueError(f"{name} stands in a condition or a forbidden clause: it stays as it is.")
    smaller = ConfigurationSpace(name=space.name)
    for name in names(space):
        hp = space[name]
        if name in freeze:
            if not hp.legal_value(freeze[name]):
                raise _outside(hp, freeze[name])
            hp = Constant(name, freeze[name], meta=hp.meta)
        elif name in ranges:
            low, high = map(float, ranges[name])
            # ConfigSpace keeps 13 decimals of a bound.
            if not (hp.lower <= low and low + 1e-12 < high <= hp.upper):
                raise ValueError(
                    f"{name}: the range {low:g} to {high:g} does not lie within {hp.lower:g} to {hp.upper:g}."
                )
            low, high = (round(low), round(high)) if isinstance(hp, IntegerHyperparameter) else (low, high)
            hp = type(hp)(name, low, high, log=hp.log, meta=hp.meta)
        smaller.add(hp)
    whole = plain(space)
    return from_plain({**plain(smaller), **{key: whole[key] for key in ("conditions", "forbiddens")}})


def plain(space: ConfigurationSpace) -> dict:
    """A space as plain values, for JSON; `from_plain` makes it again."""
    serialized = space.to_serialized_dict()
    # Without the versions of the library and its format, which change what a hash sees.
    return {key: serialized[key] for key in ("name", "hyperparameters", "conditions", "forbiddens")}


def from_plain(plain: Mapping) -> ConfigurationSpace:
    """The space that `plain` wrote.

    Raises
    ------
    ValueError
        For anything else.
    """
    try:
        # A copy: ConfigSpace takes apart what it reads.
        return ConfigurationSpace.from_serialized_dict(copy.deepcopy(dict(plain)))
    except Exception as error:  # whatever the library stumbles over
        raise ValueError(f"This describes no space of hyperparameters ({error!r:.200}).") from error


def describe(space: ConfigurationSpace) -> pd.Series:
    """One readable line a hyperparameter: its range, its choices, or the constant."""

    def line(hp):
        conditions = space.parent_conditions_of[hp.name]
        when = ", if " + " and ".join(str(c).split(" | ", 1)[1] for c in conditions) if conditions else ""
        if isinstance(hp, Constant):
            return (f"= {hp.value:.3g}" if isinstance(hp.value, float) else f"= {hp.value}") + when
        if is_number(hp):
            return f"[{hp.lower:.4g}, {hp.upper:.4g}]" + (" log" if hp.log else "") + when
        return "{" + ", ".join(map(str, choices(hp))) + "}" + when

    return pd.Series({name: line(space[name]) for name in names(space)}, name="range")


def _outside(hp, value) -> ValueError:
    return ValueError(f"{hp.name} = {files.line(value)} lies outside its space: {files.line(hp, 150)}.")


def is_number(hp) -> bool:
    """Whether a hyperparameter of ConfigSpace has a range of numbers rather than choices."""
    return isinstance(hp, NumericalHyperparameter)


def choices(hp) -> list | None:
    """The choices of a hyperparameter of ConfigSpace, one for a constant; None for a range."""
    if is_number(hp):
        return None
    return [hp.value] if isinstance(hp, Constant) else list(getattr(hp, "sequence", None) or hp.choices)


def _edges(hp) -> np.ndarray:
    """Where the shares of the choices end, and 0 before the first."""
    shares, n = getattr(hp, "probabilities", None), len(choices(hp))
    shares = np.full(n, 1 / n) if shares is None else np.asarray(shares)
    return np.concatenate([[0], np.cumsum(shares)])


def _place(hp, unit: np.ndarray) -> np.ndarray:
    """Which choice owns each unit-cube coordinate."""
    inner = _edges(hp)[1:-1]
    return np.searchsorted(inner, unit, side="right")


def _bounds(hp) -> tuple[float, float]:
    if not isinstance(hp, (UniformFloatHyperparameter, UniformIntegerHyperparameter)):
        raise ValueError(f"{hp.name} is neither uniform nor a choice, which is not supported: {hp}.")
    # An integer stands for the interval around it, so that all are drawn equally often.
    half = 0.5 if isinstance(hp, IntegerHyperparameter) else 0.0
    bounds = np.array([hp.lower - half, hp.upper + half], dtype=float)
    return tuple(np.log(bounds) if hp.log else bounds)


def coordinate(hp, values) -> np.ndarray:
    """Unit-cube coordinate of legal values of one hyperparameter of ConfigSpace."""
    if not is_number(hp):
        known, edges = choices(hp), _edges(hp)
        places = np.array([known.index(value) for value in values], dtype=int)
        return (edges[places] + edges[places + 1]) / 2
    low, high = _bounds(hp)
    values = np.asarray(values, dtype=float)
    return ((np.log(values) if hp.log else values) - low) / (high - low)


def values(space: ConfigurationSpace, name: str, unit: np.ndarray) -> np.ndarray:
    """Values of one hyperparameter at coordinates in [0, 1], where it is active."""
    # The last share ends below 1.
    return _to_value(space[name], np.minimum(unit, np.nextafter(1, 0)))


def snapped(space: ConfigurationSpace, name: str, unit: np.ndarray) -> np.ndarray:
    """The nearest coordinates of one hyperparameter that configurations have."""
    return coordinate(space[name], values(space, name, unit))


def _to_value(hp, unit: np.ndarray) -> np.ndarray:
    if not is_number(hp):
        return np.array(choices(hp), dtype=object)[_place(hp, unit)]
    low, high = _bounds(hp)
    values = low + unit * (high - low)
    values = np.exp(values) if hp.log else values
    values = np.rint(values).astype(int) if isinstance(hp, IntegerHyperparameter) else values
    return np.clip(values, hp.lower, hp.upper)
