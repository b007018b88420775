"""Hyperparameter spaces, on ConfigSpace, and their unit-cube coordinates.

A space is a `ConfigSpace.ConfigurationSpace`. Everything that measures
importance does so in unit-cube coordinates u in [0, 1]^d, in which the
sampling distribution is uniform: a log-scaled hyperparameter is uniform in
its logarithm there. Constants have no coordinate.
"""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace, Constant, Float
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    IntegerHyperparameter,
    OrdinalHyperparameter,
)

__all__ = [
    "ubal",
    "names",
    "varied",
    "sample",
    "to_unit",
    "from_unit",
    "coordinate",
    "sobol",
    "spread",
    "reduced",
    "plain",
    "from_plain",
    "describe",
]


def ubal(n_layers: int = 3) -> ConfigurationSpace:
    """UBAL's own hyperparameters, each uniform in [0, 1] (paper, Section 4).

    Parameters
    ----------
    n_layers : int
        Number of layers, input included; three give the paper's seven.

    Returns
    -------
    ConfigurationSpace
        ``beta_1 …`` (β^F of each layer), ``gammaF_1 …`` and ``gammaB_1 …``
        (γ^F and γ^B of each weight matrix W and M).
    """
    order = [f"beta_{k}" for k in range(1, n_layers + 1)]
    order += [f"{g}_{k}" for g in ("gammaF", "gammaB") for k in range(1, n_layers)]
    # ConfigSpace sorts by name; the paper's order is kept beside each name.
    space = ConfigurationSpace(name="ubal")
    space.add([Float(name, (0.0, 1.0), meta={"position": k}) for k, name in enumerate(order)])
    return space


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
        Without conditions or forbidden clauses.
    seed : int
        Not negative.
    indices : sequence of int
        Not negative.

    Returns
    -------
    DataFrame
        Columns: the hyperparameters. Index: `indices`, named ``index``.
    """
    if space.conditions or space.forbidden_clauses:
        raise ValueError(
            f"The space {space.name!r} has conditions or forbidden clauses, which are not supported."
        )
    d = len(varied(space))
    unit = np.array([np.random.default_rng([seed, i]).random(d) for i in indices]).reshape(len(indices), d)
    return from_unit(space, unit).set_index(pd.Index(indices, name="index", dtype="int64"))


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
    return pd.DataFrame(columns)


def to_unit(space: ConfigurationSpace, table: pd.DataFrame) -> np.ndarray:
    """Unit-cube coordinates of configurations; a category's is the middle of its share.

    Returns
    -------
    ndarray, shape (n, d)
        Columns in the order of `varied`.

    Raises
    ------
    ValueError
        If a column is missing or a value lies outside the space.
    """
    columns = []
    for name in varied(space):
        if name not in table:
            raise ValueError(f"The table has no column {name!r}; it has {', '.join(map(str, table))}.")
        hp, values = space[name], table[name].to_numpy()
        if _is_discrete(hp):
            wrong = [v for v in values if v not in _choices(hp)]
        else:
            wrong = values[~((values >= hp.lower) & (values <= hp.upper))]
        if len(wrong):
            raise ValueError(f"{name} = {wrong[0]} lies outside its space: {hp}.")
        columns.append(coordinate(hp, values))
    return np.column_stack(columns).astype(float) if columns else np.empty((len(table), 0))


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
    return to_unit(space, from_unit(space, sobol(len(varied(space)), n, seed)))


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
        With the same hyperparameters, in the same order.

    Raises
    ------
    ValueError
        For a name that the space lacks or a value outside its range.
    """
    freeze, ranges = dict(freeze or {}), dict(ranges or {})
    for name in [*freeze, *ranges]:
        if name not in space:
            raise ValueError(f"The space has no hyperparameter {name!r}; it has {', '.join(names(space))}.")
    smaller = ConfigurationSpace(name=space.name)
    for name in names(space):
        hp = space[name]
        if name in freeze:
            if not hp.legal_value(freeze[name]):
                raise ValueError(f"{name} = {freeze[name]} lies outside its space: {hp}.")
            hp = Constant(name, freeze[name], meta=hp.meta)
        elif name in ranges:
            low, high = (float(bound) for bound in ranges[name])
            if _is_discrete(hp) or isinstance(hp, Constant):
                raise ValueError(f"{name} has no range to narrow: {hp}.")
            if not hp.lower <= low < high <= hp.upper:
                raise ValueError(
                    f"{name}: the range {low:g} to {high:g} does not lie within {hp.lower:g} to {hp.upper:g}."
                )
            low, high = (round(low), round(high)) if isinstance(hp, IntegerHyperparameter) else (low, high)
            hp = type(hp)(name, low, high, log=hp.log, meta=hp.meta)
        smaller.add(hp)
    return smaller


def plain(space: ConfigurationSpace) -> dict:
    """A space as plain values, for JSON; `from_plain` makes it again."""
    serialized = space.to_serialized_dict()
    # Without the versions of the library and its format, which change what a hash sees.
    return {key: serialized[key] for key in ("name", "hyperparameters", "conditions", "forbiddens")}


def from_plain(plain: Mapping) -> ConfigurationSpace:
    """The space that `plain` wrote."""
    # A copy: ConfigSpace takes apart what it reads.
    return ConfigurationSpace.from_serialized_dict(copy.deepcopy(dict(plain)))


def describe(space: ConfigurationSpace) -> pd.Series:
    """One readable line a hyperparameter: its range, its choices, or the constant."""

    def line(hp):
        if isinstance(hp, Constant):
            return f"= {hp.value:.3g}" if isinstance(hp.value, float) else f"= {hp.value}"
        if _is_discrete(hp):
            return "{" + ", ".join(map(str, _choices(hp))) + "}"
        return f"[{hp.lower:.3g}, {hp.upper:.3g}]" + (" log" if hp.log else "")

    return pd.Series({name: line(space[name]) for name in names(space)}, name="range")


def _is_discrete(hp) -> bool:
    return isinstance(hp, (CategoricalHyperparameter, OrdinalHyperparameter))


def _choices(hp) -> np.ndarray:
    return np.array(hp.sequence if isinstance(hp, OrdinalHyperparameter) else hp.choices, dtype=object)


def _bounds(hp) -> tuple[float, float]:
    # An integer stands for the interval around it, so that all are drawn equally often.
    half = 0.5 if isinstance(hp, IntegerHyperparameter) else 0.0
    bounds = np.array([hp.lower - half, hp.upper + half], dtype=float)
    return tuple(np.log(bounds) if hp.log else bounds)


def coordinate(hp, values) -> np.ndarray:
    """Unit-cube coordinate of legal values of one hyperparameter of ConfigSpace."""
    if _is_discrete(hp):
        choices = list(_choices(hp))
        return np.array([(choices.index(value) + 0.5) / len(choices) for value in values])
    low, high = _bounds(hp)
    values = np.asarray(values, dtype=float)
    return ((np.log(values) if hp.log else values) - low) / (high - low)


def _to_value(hp, unit: np.ndarray) -> np.ndarray:
    if _is_discrete(hp):
        choices = _choices(hp)
        return choices[np.minimum((unit * len(choices)).astype(int), len(choices) - 1)]
    low, high = _bounds(hp)
    values = low + unit * (high - low)
    values = np.exp(values) if hp.log else values
    values = np.rint(values).astype(int) if isinstance(hp, IntegerHyperparameter) else values
    return np.clip(values, hp.lower, hp.upper)
