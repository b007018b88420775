"""Hyperparameter spaces, on ConfigSpace, and their unit-cube coordinates.

A space is a `ConfigSpace.ConfigurationSpace`. Everything that measures
importance does so in unit-cube coordinates u in [0, 1]^d, in which the
sampling distribution is uniform: a log-scaled hyperparameter is uniform in
its logarithm there. Constants have no coordinate.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace, Constant, Float
from ConfigSpace.hyperparameters import CategoricalHyperparameter, OrdinalHyperparameter

__all__ = [
    "ubal",
    "names",
    "varied",
    "sample",
    "to_unit",
    "from_unit",
    "sobol",
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
    unit = np.array([np.random.default_rng([seed, i]).random(d) for i in indices]).reshape(-1, d)
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
        columns[name] = (
            _choices(space[name])[_bin(u, space[name])]
            if _is_discrete(space[name])
            else space[name].to_value(u)
        )
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
            position = {value: k for k, value in enumerate(_choices(hp))}
            wrong = [v for v in values if v not in position]
            unit = np.array([(position.get(v, 0) + 0.5) / len(position) for v in values])
        else:
            wrong = values[~((values >= hp.lower) & (values <= hp.upper))]
            unit = hp.to_vector(values.astype(float)) if not len(wrong) else values
        if len(wrong):
            raise ValueError(f"{name} = {wrong[0]} lies outside its space: {hp}.")
        columns.append(unit)
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
            if not hp.lower <= low < high <= hp.upper:
                raise ValueError(
                    f"{name}: the range {low:g} to {high:g} does not lie within {hp.lower:g} to {hp.upper:g}."
                )
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
    return ConfigurationSpace.from_serialized_dict(plain)


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


def _bin(u: np.ndarray, hp) -> np.ndarray:
    return np.minimum((u * len(_choices(hp))).astype(int), len(_choices(hp)) - 1)
