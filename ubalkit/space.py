"""Hyperparameter spaces, on ConfigSpace, and their unit-cube coordinates.

A space is a `ConfigSpace.ConfigurationSpace`. Everything that measures
importance works in unit-cube coordinates u in [0, 1]^d, one for each
hyperparameter that varies. Random search is uniform in them: a log-scaled
hyperparameter is spread by its logarithm, and each integer or choice owns an
interval as long as it is probable. Constants have no coordinate.

A hyperparameter that a condition switches off is missing (NaN or None) in a
table. In the unit cube it stands at its default, so that no prediction depends
on it where it is not in force.
"""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace, Constant
from ConfigSpace.conditions import OrConjunction
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    IntegerHyperparameter,
    NumericalHyperparameter,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)

from ubalkit import files

# Draws of one configuration before forbidden clauses are said to leave nothing.
_PATIENCE = 1000


def names(space: ConfigurationSpace) -> list[str]:
    """Names of all hyperparameters, in the order of the table's columns.

    ConfigSpace itself sorts by name; a hyperparameter whose ``meta`` has a
    ``position`` stands there instead.

    Examples
    --------
    >>> names(ConfigurationSpace({"units": (16, 512), "rate": (0.0, 1.0), "layers": 3}))
    ['layers', 'rate', 'units']
    """
    return sorted(space, key=lambda name: (space[name].meta or {}).get("position", len(space)))


def varied(space: ConfigurationSpace) -> list[str]:
    """Names of the hyperparameters that are not constants: the axes of the unit cube, in their order.

    Examples
    --------
    >>> varied(ConfigurationSpace({"units": (16, 512), "rate": (0.0, 1.0), "layers": 3}))
    ['rate', 'units']
    """
    return [name for name in names(space) if not isinstance(space[name], Constant)]


def sample(space: ConfigurationSpace, seed: int, indices: Sequence[int]) -> pd.DataFrame:
    """Draw configurations by their index: each depends on the space, the seed and its index alone.

    Parameters
    ----------
    space : ConfigurationSpace
        Where to draw from. What a forbidden clause forbids is drawn again.
    seed : int
        Seed of the whole sequence of configurations, not negative.
    indices : sequence of int
        Which configurations of the sequence to draw; none is negative.

    Returns
    -------
    DataFrame
        A row for each index, a column for each hyperparameter.

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
    """Turn unit-cube coordinates into configurations.

    Parameters
    ----------
    space : ConfigurationSpace
        Where the configurations lie.
    unit : ndarray, shape (n, d)
        Coordinates in [0, 1), columns in the order of `varied`.

    Returns
    -------
    DataFrame
        A row for each point, a column for each hyperparameter.

    Examples
    --------
    >>> space = ConfigurationSpace({"kind": ["a", "b"], "units": (1, 10)})
    >>> from_unit(space, np.array([[0.2, 0.0], [0.9, 0.99]])).to_dict("list")
    {'kind': ['a', 'b'], 'units': [1, 10]}
    """
    coordinates = dict(zip(varied(space), np.asarray(unit, dtype=float).T))
    columns = {
        name: _to_value(space[name], coordinates[name]) if name in coordinates else space[name].value
        for name in names(space)
    }
    table = pd.DataFrame(columns, range(len(unit)))
    on = _vectors(space, unit)[1] if space.conditions else {}
    for name in on:
        if space.parent_conditions_of[name]:
            # NaN has no integer type.
            values = table[name].astype(object).where(on[name])
            table[name] = values.astype(float) if is_number(space[name]) else values
    return table


def to_unit(space: ConfigurationSpace, table: pd.DataFrame) -> np.ndarray:
    """Turn configurations into unit-cube coordinates.

    Parameters
    ----------
    space : ConfigurationSpace
        Where the configurations lie.
    table : DataFrame
        A row for each configuration; columns beside the hyperparameters are
        not looked at.

    Returns
    -------
    ndarray, shape (n, d)
        Columns in the order of `varied`. A choice stands in the middle of its
        share, a hyperparameter that is not active at its default.

    Raises
    ------
    ValueError
        If a column is missing, a value lies outside the space, or a
        hyperparameter that is active has no value.

    Examples
    --------
    >>> space = ConfigurationSpace({"kind": ["a", "b"], "units": (1, 10)})
    >>> to_unit(space, pd.DataFrame({"units": [1, 10], "kind": ["a", "b"]})).round(2).tolist()
    [[0.25, 0.05], [0.75, 0.95]]
    """
    unit = np.empty((len(table), len(varied(space))))
    absent = np.zeros(unit.shape, bool)
    for k, name in enumerate(varied(space)):
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
        unit[:, k], absent[:, k] = coordinate(hp, values), missing
    if absent.any() and (wrong := absent & active(space, unit)).any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(f"Row {table.index[row]} has no {varied(space)[column]}, which is active there.")
    return settled(space, unit)


def active(space: ConfigurationSpace, unit: np.ndarray) -> np.ndarray:
    """Tell where the conditions leave each hyperparameter in force.

    Parameters
    ----------
    space : ConfigurationSpace
        Where the configurations lie.
    unit : ndarray, shape (n, d)
        Their unit-cube coordinates.

    Returns
    -------
    ndarray of bool, shape (n, d)

    Examples
    --------
    >>> from ConfigSpace import EqualsCondition
    >>> space = ConfigurationSpace({"kind": ["adam", "sgd"], "momentum": (0.0, 1.0)})
    >>> space.add(EqualsCondition(space["momentum"], space["kind"], "sgd"))
    >>> active(space, np.array([[0.1, 0.3], [0.9, 0.3]])).tolist()
    [[True, False], [True, True]]
    """
    on = _vectors(space, unit)[1]
    return np.column_stack([on[name] for name in varied(space)])


def settled(space: ConfigurationSpace, unit: np.ndarray) -> np.ndarray:
    """Move what is not active to its default, in unit-cube coordinates of shape (n, d).

    Examples
    --------
    >>> from ConfigSpace import EqualsCondition
    >>> space = ConfigurationSpace({"kind": ["adam", "sgd"], "momentum": (0.0, 1.0)})
    >>> space.add(EqualsCondition(space["momentum"], space["kind"], "sgd"))
    >>> settled(space, np.array([[0.1, 0.3], [0.9, 0.3]])).tolist()
    [[0.1, 0.5], [0.9, 0.3]]
    """
    return np.where(active(space, unit), unit, default(space)) if space.conditions else unit


def default(space: ConfigurationSpace) -> np.ndarray:
    """The unit-cube coordinates of the default configuration, of shape (1, d).

    Examples
    --------
    >>> default(ConfigurationSpace({"rate": (0.0, 1.0)})).tolist()
    [[0.5]]
    """
    return np.array([[coordinate(space[n], [space[n].default_value])[0] for n in varied(space)]])


def encoded(space: ConfigurationSpace, unit: np.ndarray, *, settle: bool = True) -> np.ndarray:
    """What a meta-model takes in: coordinates, but of an unordered choice a column for each of its values.

    Together these columns vary as much as one coordinate does. What is not
    active stands at its default, so that it makes no difference.

    Parameters
    ----------
    space : ConfigurationSpace
        Where the configurations lie.
    unit : ndarray, shape (n, d)
        Their unit-cube coordinates.
    settle : bool
        Whether to move there what is not active.

    Returns
    -------
    ndarray, shape (n, n_inputs)
        The columns of a hyperparameter stand together; see `inputs`.

    Examples
    --------
    >>> space = ConfigurationSpace({"kind": ["a", "b", "c"], "rate": (0.0, 1.0)})
    >>> encoded(space, np.array([[0.1, 0.3], [0.9, 0.3]])).round(2).tolist()
    [[0.74, 0.38, 0.38, 0.3], [0.38, 0.38, 0.74, 0.3]]
    """
    coordinates = zip(varied(space), (settled(space, unit) if settle else unit).T)
    return np.concatenate([columns(space[name], u) for name, u in coordinates], axis=1)


def columns(hp, unit: np.ndarray) -> np.ndarray:
    """The columns of one hyperparameter in `encoded`, of shape (n, 1) or (n, n_choices).

    Examples
    --------
    >>> columns(ConfigurationSpace({"rate": (0.0, 1.0)})["rate"], np.array([0.1, 0.9])).tolist()
    [[0.1], [0.9]]
    """
    n = _width(hp)
    if n == 1:
        return unit[:, None]
    is_value = _place(hp, unit)[:, None] == np.arange(n)
    return 0.5 + (is_value - 1 / n) * (n / (n - 1) / 12) ** 0.5


def inputs(space: ConfigurationSpace) -> np.ndarray:
    """Whose each column of `encoded` is: positions in `varied`.

    Examples
    --------
    >>> inputs(ConfigurationSpace({"kind": ["a", "b", "c"], "rate": (0.0, 1.0)})).tolist()
    [0, 0, 0, 1]
    """
    return np.repeat(np.arange(len(varied(space))), [_width(space[name]) for name in varied(space)])


def _width(hp) -> int:
    # Two values lie on a line whatever they are, and ordered ones do.
    many = isinstance(hp, CategoricalHyperparameter) and len(hp.choices) > 2
    return len(hp.choices) if many else 1


def legal(space: ConfigurationSpace, unit: np.ndarray) -> np.ndarray:
    """Tell which configurations, given by unit-cube coordinates, no forbidden clause forbids.

    Examples
    --------
    >>> from ConfigSpace import ForbiddenEqualsClause
    >>> space = ConfigurationSpace({"kind": ["adam", "sgd"]})
    >>> space.add(ForbiddenEqualsClause(space["kind"], "sgd"))
    >>> legal(space, np.array([[0.1], [0.9]])).tolist()
    [True, False]
    """
    if not space.forbidden_clauses:
        return np.ones(len(unit), bool)
    vectors = _vectors(space, unit)[0]
    return ~np.any([c.is_forbidden_vector_array(vectors) for c in space.forbidden_clauses], axis=0)


def bound(space: ConfigurationSpace) -> set[str]:
    """Names of the hyperparameters that a condition or a forbidden clause speaks of.

    What they may be decides about others, so their ranges cannot be narrowed.

    Examples
    --------
    >>> from ConfigSpace import EqualsCondition
    >>> space = ConfigurationSpace({"kind": ["adam", "sgd"], "momentum": (0.0, 1.0)})
    >>> space.add(EqualsCondition(space["momentum"], space["kind"], "sgd"))
    >>> bound(space)
    {'kind'}
    """
    parents = {parent.name for name in space for parent in space.parents_of[name]}
    clauses = [c for f in space.forbidden_clauses for c in getattr(f, "dlcs", [f])]
    sides = [getattr(c, side, None) for c in clauses for side in ("hyperparameter", "left", "right")]
    return parents | {side.name for side in sides if side is not None}


def holds(space: ConfigurationSpace, clause, unit: np.ndarray) -> np.ndarray:
    """Tell where a condition, or a forbidden clause, would be met if all were active, (n,).

    Examples
    --------
    >>> from ConfigSpace import ForbiddenEqualsClause
    >>> space = ConfigurationSpace({"kind": ["adam", "sgd"]})
    >>> space.add(ForbiddenEqualsClause(space["kind"], "sgd"))
    >>> holds(space, space.forbidden_clauses[0], np.array([[0.1], [0.9]])).tolist()
    [False, True]
    """
    meets = getattr(clause, "satisfied_by_vector_array", None) or clause.is_forbidden_vector_array
    return meets(_filled(space, unit))


def _filled(space: ConfigurationSpace, unit: np.ndarray) -> np.ndarray:
    """Configurations as ConfigSpace's own vectors, (n_hyperparameters, n), as if all were active.

    Only what conditions or forbidden clauses ask for is filled in.
    """
    vectors, needed = np.zeros((len(space), len(unit))), bound(space)
    for name, u in zip(varied(space), np.asarray(unit, dtype=float).T):
        hp = space[name]
        if name in needed:
            place = hp.to_vector(_to_value(hp, u)) if is_number(hp) else _place(hp, u)
            vectors[space.index_of[name]] = place
    return vectors


def _vectors(space: ConfigurationSpace, unit: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The same with NaN for what is not active, and where each name is active."""
    vectors, on = _filled(space, unit), {}
    for name in space:  # parents first
        on[name] = np.ones(len(unit), bool)
        for condition in space.parent_conditions_of[name]:
            on[name] &= condition.satisfied_by_vector_array(vectors)
            if not isinstance(condition, OrConjunction):
                on[name] &= np.all([on[parent.name] for parent in space.parents_of[name]], axis=0)
        vectors[space.index_of[name], ~on[name]] = np.nan
    return vectors, on


def sobol(d: int, n: int, seed: int = 0) -> np.ndarray:
    """Scrambled Sobol' points: uniform in the unit cube as random ones are, but spread evenly.

    Parameters
    ----------
    d : int
        Dimension of the cube.
    n : int
        Number of points; powers of two are balanced best.
    seed : int or Generator
        What scrambles them.

    Returns
    -------
    ndarray, shape (n, d)

    Examples
    --------
    >>> np.sort(np.floor(4 * sobol(2, 4)), axis=0).tolist()  # one in each quarter, along both axes
    [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    """
    from scipy.stats import qmc

    return qmc.Sobol(d, seed=seed).random_base2(int(np.ceil(np.log2(n))))[:n]


def spread(space: ConfigurationSpace, n: int, seed=0) -> np.ndarray:
    """Configurations spread evenly over the space, as unit-cube coordinates.

    Parameters
    ----------
    space : ConfigurationSpace
        Where the configurations lie.
    n : int
        Number of points; powers of two are balanced best.
    seed : int or Generator
        What scrambles the Sobol' points that the configurations stand nearest to.

    Returns
    -------
    ndarray, shape (n, d)
        All legal, and settled where conditions switch something off.

    Raises
    ------
    ValueError
        If the forbidden clauses leave next to nothing.

    Examples
    --------
    >>> np.sort(spread(ConfigurationSpace({"kind": ["a", "b"]}), 4).ravel()).tolist()
    [0.25, 0.25, 0.75, 0.75]
    """
    for doublings in range(10):
        unit = sobol(len(varied(space)), n * 2**doublings, seed)
        unit = unit[legal(space, unit)]
        if len(unit) >= n:
            return to_unit(space, from_unit(space, unit[:n]))
    raise ValueError(f"The forbidden clauses of the space {space.name!r} leave next to nothing to draw.")


def reduced(
    space: ConfigurationSpace,
    freeze: Mapping[str, object] | None = None,
    ranges: Mapping[str, Sequence] | None = None,
) -> ConfigurationSpace:
    """Make a space smaller: some hyperparameters become constants, some get a narrower range.

    Parameters
    ----------
    space : ConfigurationSpace
        The space to begin with; it stays as it is.
    freeze : mapping of name to value, optional
        Which hyperparameters become constants, and at what.
    ranges : mapping of name to (lower, upper) or to choices, optional
        Which hyperparameters get a narrower range, or fewer choices.

    Returns
    -------
    ConfigurationSpace
        With the same hyperparameters, in the same order, and the same
        conditions and forbidden clauses.

    Raises
    ------
    ValueError
        For a name that is `bound`, or a value outside its range.

    Examples
    --------
    >>> space = ConfigurationSpace({"rate": (0.0, 1.0), "units": (1, 10)})
    >>> describe(reduced(space, {"units": 4}, {"rate": (0.1, 0.5)})).to_dict()
    {'rate': '[0.1, 0.5]', 'units': '= 4'}
    """
    freeze, ranges = dict(freeze or {}), dict(ranges or {})
    for name in [*freeze, *ranges]:
        if name not in space or name in bound(space):
            why = "stands in a condition or a forbidden clause" if name in space else "is not in the space"
            raise ValueError(f"{name} {why}: it stays as it is.")
    smaller = ConfigurationSpace(name=space.name)
    for name in names(space):
        hp = space[name]
        if name in freeze:
            if not hp.legal_value(freeze[name]):
                raise _outside(hp, freeze[name])
            hp = Constant(name, freeze[name], meta=hp.meta)
        elif name in ranges and not is_number(hp):
            kept = [choice for choice in choices(hp) if choice in ranges[name]]
            ordered = isinstance(hp, OrdinalHyperparameter)
            kind = OrdinalHyperparameter if ordered else CategoricalHyperparameter
            hp = kind(name, kept, meta=hp.meta) if len(kept) > 1 else Constant(name, *kept, meta=hp.meta)
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
    return from_plain(plain(space) | {"hyperparameters": plain(smaller)["hyperparameters"]})


def plain(space: ConfigurationSpace) -> dict:
    """A space as plain values, for JSON; `from_plain` makes it again.

    Examples
    --------
    >>> plain(ConfigurationSpace({"rate": (0.0, 1.0)}))["hyperparameters"][0]["upper"]
    1.0
    """
    serialized = space.to_serialized_dict()
    # Without the versions of the library and its format, which change what a hash sees.
    return {key: serialized[key] for key in ("name", "hyperparameters", "conditions", "forbiddens")}


def from_plain(plain: Mapping) -> ConfigurationSpace:
    """The space that `plain` wrote.

    Raises
    ------
    ValueError
        If the values describe no space.

    Examples
    --------
    >>> space = ConfigurationSpace({"rate": (0.0, 1.0)})
    >>> from_plain(plain(space)) == space
    True
    """
    try:
        # A copy: ConfigSpace takes apart what it reads.
        return ConfigurationSpace.from_serialized_dict(copy.deepcopy(dict(plain)))
    except Exception as error:  # whatever the library stumbles over
        raise ValueError(f"This describes no space of hyperparameters ({error!r:.200}).") from error


def from_words(said: Mapping) -> ConfigurationSpace | dict:
    """A space as a person writes it in JSON: ConfigSpace's own form, or ranges and choices by name.

    Examples
    --------
    >>> from_words({"rate": [1e-5, 1, "log"], "kind": {"choices": ["a", "b"]}})
    {'rate': (1e-05, 1, 'log'), 'kind': ['a', 'b']}
    """
    if "hyperparameters" in said:
        return from_plain(said)
    return {
        name: what["choices"] if isinstance(what, Mapping) else tuple(what) for name, what in said.items()
    }


def describe(space: ConfigurationSpace) -> pd.Series:
    """Describe each hyperparameter in a line: its range, its choices, or the constant.

    Examples
    --------
    >>> describe(ConfigurationSpace({"kind": ["a", "b"], "units": (1, 10)})).to_dict()
    {'kind': '{a, b}', 'units': '[1, 10]'}
    """

    def line(hp):
        conditions = space.parent_conditions_of[hp.name]
        when = ", if " + " and ".join(map(_words, conditions)) if conditions else ""
        if isinstance(hp, Constant):
            return (f"= {hp.value:.3g}" if isinstance(hp.value, float) else f"= {hp.value}") + when
        if is_number(hp):
            return f"[{hp.lower:.4g}, {hp.upper:.4g}]" + (" log" if hp.log else "") + when
        return "{" + ", ".join(map(str, choices(hp))) + "}" + when

    return pd.Series({name: line(space[name]) for name in names(space)}, name="range")


def _words(condition) -> str:
    parts = getattr(condition, "dlcs", [condition])
    word = " or " if isinstance(condition, OrConjunction) else " and "
    return word.join(str(part).split(" | ", 1)[1] for part in parts)


def _outside(hp, value) -> ValueError:
    return ValueError(f"{hp.name} = {files.line(value)} lies outside its space: {files.line(hp, 150)}.")


def is_number(hp) -> bool:
    """Whether a hyperparameter of ConfigSpace has a range of numbers rather than choices.

    Examples
    --------
    >>> space = ConfigurationSpace({"kind": ["a", "b"], "units": (1, 10)})
    >>> is_number(space["units"]), is_number(space["kind"])
    (True, False)
    """
    return isinstance(hp, NumericalHyperparameter)


def choices(hp) -> list | None:
    """The choices of a hyperparameter of ConfigSpace, one for a constant; None for a range of numbers.

    Examples
    --------
    >>> choices(ConfigurationSpace({"kind": ["a", "b"]})["kind"])
    ['a', 'b']
    """
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
    """Unit-cube coordinates of legal values of one hyperparameter of ConfigSpace.

    Examples
    --------
    >>> coordinate(ConfigurationSpace({"units": (1, 10)})["units"], [1, 10]).round(2).tolist()
    [0.05, 0.95]
    """
    if not is_number(hp):
        known, edges = choices(hp), _edges(hp)
        places = np.array([known.index(value) for value in values], dtype=int)
        return (edges[places] + edges[places + 1]) / 2
    low, high = _bounds(hp)
    values = np.asarray(values, dtype=float)
    return ((np.log(values) if hp.log else values) - low) / (high - low)


def on_step(hp, value: float, way=round) -> float:
    """The value next to a number, or above or below it, on the steps that a hyperparameter's ``meta`` has.

    Examples
    --------
    >>> space = ConfigurationSpace()
    >>> hp = space.add(UniformIntegerHyperparameter("units", 32, 256, meta={"step": 32, "origin": 32}))
    >>> on_step(space["units"], 100)
    96
    """
    step, origin = hp.meta["step"], hp.meta.get("origin", 0)
    # The steps' own values are on them, whatever their last digits.
    number = origin + step * way(round((value - origin) / step, 9))
    return number if isinstance(number, int) else round(number, 12)


def values(space: ConfigurationSpace, name: str, unit: np.ndarray) -> np.ndarray:
    """Values of one hyperparameter at coordinates in [0, 1], as if it were active.

    Examples
    --------
    >>> values(ConfigurationSpace({"units": (1, 10)}), "units", np.array([0, 0.5, 1])).tolist()
    [1, 6, 10]
    """
    # The last share ends below 1.
    return _to_value(space[name], np.minimum(unit, np.nextafter(1, 0)))


def grid(space: ConfigurationSpace, name: str, n: int = 41) -> np.ndarray:
    """Coordinates to look along one hyperparameter at: evenly from 0 to 1, or those of its choices.

    Examples
    --------
    >>> space = ConfigurationSpace({"kind": ["a", "b"], "rate": (0.0, 1.0)})
    >>> grid(space, "kind").tolist(), grid(space, "rate", 3).tolist()
    ([0.25, 0.75], [0.0, 0.5, 1.0])
    """
    hp = space[name]
    return np.linspace(0, 1, n) if is_number(hp) else coordinate(hp, choices(hp))


def snapped(space: ConfigurationSpace, name: str, unit: np.ndarray) -> np.ndarray:
    """The coordinates nearest to given ones at which one hyperparameter has a value.

    Examples
    --------
    >>> snapped(ConfigurationSpace({"kind": ["a", "b"]}), "kind", np.array([0.1, 0.4, 0.9])).tolist()
    [0.25, 0.25, 0.75]
    """
    return coordinate(space[name], values(space, name, unit))


def _to_value(hp, unit: np.ndarray) -> np.ndarray:
    if not is_number(hp):
        return np.array(choices(hp), dtype=object)[_place(hp, unit)]
    low, high = _bounds(hp)
    values = low + unit * (high - low)
    values = np.exp(values) if hp.log else values
    values = np.rint(values).astype(int) if isinstance(hp, IntegerHyperparameter) else values
    return np.clip(values, hp.lower, hp.upper)
