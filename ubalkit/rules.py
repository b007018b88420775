"""Rules: how two hyperparameters act together, as a relation that was tried on trials left out.

A chart of an interaction says that two hyperparameters act together. A rule
says how: ``gammaF_1 > beta_2``, or ``rate · batch < 3``. Looked for are
interactions of a few forms, functions g of two unit-cube coordinates a and b:

==========  ====================================================
difference  g(a - b), and the same in own units
sum         g(a + b), and the same in own units: a product of two
            hyperparameters on logarithmic scales
extreme     g(min(a, b)); a maximum interacts as a minimum does
corner      one value where a and b each pass a threshold, another
            elsewhere
==========  ====================================================

Any two hyperparameters can interact as a plain product of their coordinates,
which is no relation. So this part is taken off first, from forms, interaction
and trials alike. Each form is fitted to the exact interaction of the members
that have not seen a part of the trials, and must then foretell what these
trials add to the rest of the prediction: better than the best form of any pair
does when they are shuffled (a max-T test, Westfall and Young, 1993).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from ConfigSpace import (
    ConfigurationSpace,
    ForbiddenAndConjunction,
    ForbiddenGreaterThanClause,
    ForbiddenLessThanClause,
    ForbiddenLessThanRelation,
)
from ConfigSpace.hyperparameters import IntegerHyperparameter

from ubalkit import space as spaces
from ubalkit import uncertainty
from ubalkit.advice import readable
from ubalkit.effects import Decomposition, affordable, decompose
from ubalkit.metamodel import Ensemble
from ubalkit.observations import Trials

#: A rule is said if at most this share of the shuffles have one as strong.
SURPRISE = 0.05

# Knots of a curve g, places for a boundary, and thresholds of a corner.
_KNOTS, _CUTS, _THRESHOLDS = np.linspace(0, 1, 16), np.linspace(0, 1, 21)[1:-1], np.arange(1, 10) / 10
_HALF = (0.5, 0.5)
# How far apart along each axis two points on either side of a boundary may be.
_REACH = 0.3
# Pairs that are looked at, and points or trials below which nothing is said of one.
_PAIRS, _LEAST = 64, 30


@dataclass(frozen=True)
class Line:
    """What lies between two parallels, or beyond one, in the square of two unit-cube coordinates.

    Attributes
    ----------
    form : str
        ``difference`` or ``sum``.
    by : tuple of two float
        What multiplies the coordinates; they add up to one.
    low, high : float
        Bounds of ``by[0] * a + by[1] * b``, or of the same with 1 - b for a
        difference; infinity where there is none.
    within : bool
        Whether it is what lies between the bounds, or the rest.

    Examples
    --------
    >>> space = ConfigurationSpace({"rate": (0.01, 1.0), "batch": (8, 512)})
    >>> Line("sum", (0.5, 0.5), low=0.8, high=np.inf).words(space, ("rate", "batch"))
    'rate + 0.002 · batch > 1.6'
    """

    form: str
    by: tuple[float, float] = _HALF
    low: float = 0.5
    high: float = np.inf
    within: bool = True

    @property
    def complexity(self) -> float:
        """What is taken off for it when the best is chosen: two bounds must explain more than one."""
        return 0.2 if self.high < np.inf else 0.05 * (abs(self.low - 0.5) > 1e-6)

    def holds(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Tell where two coordinates lie in it."""
        index = _index(self.form, self.by, a, b)
        return ((index > self.low) & (index < self.high)) == self.within

    def words(self, space: ConfigurationSpace, pair: Sequence[str], labels: Sequence[str] = ()) -> str:
        """The relation in the hyperparameters' own units, which may be called by other labels."""
        slope, low, high = self._in_units(space, pair)
        logs = [space[name].log for name in pair]
        a, b = (n if all(logs) or not log else f"log10({n})" for n, log in zip(labels or pair, logs))
        if self._compares(slope, low):
            return f"{a} > {b}" if self.within else f"{b} > {a}"
        size = "" if abs(abs(slope) - 1) < 0.005 else f"{abs(slope):.2g}"
        if all(logs):
            joined = f"{a} {'·' if slope > 0 else '/'} {b}{size and '^' + size}"
        else:
            joined = f"{a} {'+' if slope > 0 else '−'} {size and size + ' · '}{b}"
        low, high = (_number(10**bound if all(logs) else bound) for bound in (low, high))
        if self.high == np.inf:
            return f"{joined} {'>' if self.within else '<'} {low}"
        return f"{'' if self.within else 'not '}{low} < {joined} < {high}"

    def clauses(self, space: ConfigurationSpace, pair: Sequence[str], of: Sequence) -> list:
        """What forbids the rest between the two of another space; ConfigSpace knows no line but this."""
        slope, low, _ = self._in_units(space, pair)
        said = self._compares(slope, low) and space[pair[0]].log == space[pair[1]].log
        return [ForbiddenLessThanRelation(*(of if self.within else reversed(of)))] if said else []

    def _compares(self, slope: float, low: float) -> bool:
        return self.high == np.inf and abs(slope + 1) < 0.005 and abs(low) < 1e-6

    def _in_units(self, space: ConfigurationSpace, pair: Sequence[str]) -> tuple[float, float, float]:
        """κ, and the bounds of S_a + κ S_b, where S is a hyperparameter or its decimal logarithm."""
        (start_a, length_a), (start_b, length_b) = (_scale(space[name]) for name in pair)
        sign, shift = (-1, self.by[1]) if self.form == "difference" else (1, 0)
        per_a, per_b = self.by[0] / length_a, sign * self.by[1] / length_b
        bounds = ((z - shift + per_a * start_a + per_b * start_b) / per_a for z in (self.low, self.high))
        return per_b / per_a, *bounds


@dataclass(frozen=True)
class Corner:
    """What lies beyond two thresholds in the square of two unit-cube coordinates, or the rest of it.

    Attributes
    ----------
    thresholds : tuple of two float
        In unit-cube coordinates.
    above : tuple of two bool
        Whether the corner lies above each.
    within : bool
        Whether it is the corner or the rest.

    Examples
    --------
    >>> space = ConfigurationSpace({"depth": (1, 10), "dropout": (0.0, 0.5)})
    >>> Corner((0.3, 0.4), (True, False), within=False).words(space, ("depth", "dropout"))
    'depth ≤ 3 or dropout > 0.2'
    """

    thresholds: tuple[float, float]
    above: tuple[bool, bool]
    within: bool = True
    complexity = 0.0

    def holds(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Tell where two coordinates lie in it."""
        beyond = [(u > s) == above for u, s, above in zip((a, b), self.thresholds, self.above)]
        return (beyond[0] & beyond[1]) == self.within

    def words(self, space: ConfigurationSpace, pair: Sequence[str], labels: Sequence[str] = ()) -> str:
        """The relation in the hyperparameters' own units, which may be called by other labels."""
        parts = [
            f"{name} {'>' if above == self.within else '≤'} {value}"
            for name, value, above in zip(labels or pair, self._values(space, pair), self.above)
        ]
        return (" and " if self.within else " or ").join(parts)

    def clauses(self, space: ConfigurationSpace, pair: Sequence[str], of: Sequence) -> list:
        """What forbids the rest between the two of another space; none if a threshold lies outside of it."""
        ends = [*zip(of, self._values(space, pair), self.above)]
        if not all(hp.legal_value(value) for hp, value, _ in ends):
            return []
        parts = [
            ForbiddenGreaterThanClause(hp, value)
            if above != self.within
            # ConfigSpace 1.2 tells arrays wrongly what is equal or less: of integers, less than the next.
            else ForbiddenLessThanClause(hp, value + isinstance(hp, IntegerHyperparameter))
            for hp, value, above in ends
        ]
        return parts if self.within else [ForbiddenAndConjunction(*parts)]

    def _values(self, space: ConfigurationSpace, pair: Sequence[str]) -> list:
        # The largest values that are not above: a threshold may lie between two integers.
        below = [spaces.values(space, n, np.array([s - 1e-9]))[0] for n, s in zip(pair, self.thresholds)]
        return [readable(value, space[name]) for name, value in zip(pair, below)]


@dataclass(frozen=True)
class Rule:
    """Where two hyperparameters are good together; `find` makes it.

    Attributes
    ----------
    space : ConfigurationSpace
        Where the configurations lie.
    pair : tuple of two str
        The hyperparameters.
    form : str
        Of what form their interaction is.
    region : Line or Corner
        Where the metric is better.
    found : Series
        What speaks for it. ``t``: how many standard errors what the form
        foretells of trials left out is from nothing. ``surprise``: the share
        of shuffles in which a form of any pair does as well. ``step``: what the
        form adds on the way into the region, across its boundary. ``of_pair``:
        the share of the pair's interaction that has this form; ``share``: that
        of the variance of all predictions; ``gain``: how much better the metric
        is in the region than out of it, by what the two do. The columns that
        end in ``_low`` and ``_high`` bound 90 % intervals.
    """

    space: ConfigurationSpace
    pair: tuple[str, str]
    form: str
    region: Line | Corner
    found: pd.Series

    def __str__(self):
        return self.region.words(self.space, self.pair)

    @property
    def matters(self) -> bool:
        """Whether its form explains a thousandth of the variance, rises at its boundary, and does good."""
        return self.found["share"] >= 1e-3 and (self.found[["step", "gain_low"]] > 0).all()

    @property
    def sentence(self) -> str:
        """The rule and what speaks for it."""
        gain, low, high, luck = self.found[["gain", "gain_low", "gain_high", "surprise"]]
        by = f"where it holds the metric is {gain:.2g} better ({low:.2g} to {high:.2g})"
        return f"Rule: {self}; {by}; as strong a one is in {luck:.1%} of shuffled trials."

    def holds(self, table: pd.DataFrame) -> np.ndarray:
        """Tell which configurations of a table keep it, (n,); those do in which one is not active."""
        unit, places = spaces.to_unit(self.space, table), self._places
        active = spaces.active(self.space, unit)[:, places].all(1)
        return self.region.holds(*unit[:, places].T) | ~active

    @property
    def _places(self) -> list[int]:
        return [spaces.varied(self.space).index(name) for name in self.pair]

    def forbid(self, space: ConfigurationSpace) -> ConfigurationSpace:
        """A copy of a space, the one searched or a part of it, that forbids what breaks the rule.

        Raises
        ------
        ValueError
            If ConfigSpace has no clause for it, as for a sum; `holds` still
            tells which configurations drawn keep it.
        """
        smaller = spaces.reduced(space)
        both = [smaller[name] for name in self.pair]
        searched = all(map(spaces.is_number, both))
        if not (clauses := self.region.clauses(self.space, self.pair, both) if searched else []):
            raise ValueError(f"ConfigSpace cannot forbid what breaks {self}: draw, and keep where it holds.")
        smaller.add(clauses)
        return smaller

    def probes(self, n: int, *, reach: float = _REACH, seed: int = 0) -> pd.DataFrame:
        """Configurations on both sides of the boundary, the cheapest that can refute the rule.

        Parameters
        ----------
        n : int
            Number of pairs, which differ in the rule's hyperparameters alone.
        reach : float
            How far apart the two of a pair may be along each axis of the unit cube.
        seed : int
            Seed of the drawing.

        Returns
        -------
        DataFrame, of 2 n rows
            First those where the rule holds, then their partners in the same order.
        """
        rng, places, d = np.random.default_rng(seed), self._places, len(spaces.varied(self.space))
        sides = np.zeros((2, 0, d))
        while sides.shape[1] < n:
            both = np.tile(rng.random((n, d)), (2, 1, 1))
            both[1][:, places] += rng.uniform(-reach, reach, (n, 2))
            both = both[:, ((both >= 0) & (both < 1)).all((0, 2))]
            # As they will be tried: integers and choices lie on their places.
            both = np.array([spaces.to_unit(self.space, spaces.from_unit(self.space, side)) for side in both])
            kept, broken = (self.region.holds(*side[:, places].T) for side in both)
            fit = [spaces.legal(self.space, u) & spaces.active(self.space, u)[:, places].all(1) for u in both]
            sides = np.concatenate([sides, both[:, kept & ~broken & fit[0] & fit[1]]], axis=1)
        return spaces.from_unit(self.space, sides[:, :n].reshape(2 * n, d))

    def tried(self, ensemble: Ensemble, probes: pd.DataFrame, values: Sequence[float]) -> pd.Series:
        """What the metric of `probes` adds, across the boundary, to all that else is predicted there.

        Parameters
        ----------
        ensemble : Ensemble
            In whose predictions the rule was found.
        probes : DataFrame
            The configurations.
        values : sequence of float
            Their metric, measured.

        Returns
        -------
        Series
            ``gain``, the mean over the pairs, in the direction that is wanted,
            with ``low`` and ``high``, its 90 % interval: the rule is refuted
            where this does not lie above zero. ``foretold`` is what the rule's
            interaction says.
        """
        at = decompose(ensemble, probes, order=2)
        acts = at.components[self.pair]
        rest = np.asarray(values, dtype=float) - (at.predictions.mean(0) - acts)
        across = [ensemble.sign * (v[: len(v) // 2] - v[len(v) // 2 :]) for v in (rest, acts)]
        gain, low, high = uncertainty.bootstrap(lambda v: v.mean(-1), across[0])
        return pd.Series({"gain": gain, "low": low, "high": high, "foretold": across[1].mean()})


def find(
    ensemble: Ensemble, trials: Trials, *, least: float = SURPRISE, n_shuffles: int = 999, seed: int = 0
) -> list[Rule]:
    """Look for rules between two hyperparameters that are numbers, among the 64 pairs that interact most.

    Parameters
    ----------
    ensemble : Ensemble
        Whose members' interactions are looked at.
    trials : Trials
        What it was fitted to.
    least : float
        The share of shuffles below which a rule must stay: with 1, what was
        proposed for each pair comes, tested or not, if it `matters <Rule.matters>`.
    n_shuffles : int
        How often what the trials add is shuffled, by random signs.
    seed : int
        Seed of the shuffles, and of the points that the forms are fitted to.

    Returns
    -------
    list of Rule
        At most one for each pair, the surest first.

    Examples
    --------
    >>> from ubalkit import metamodel, readers
    >>> x, y, z = np.random.default_rng(0).random((3, 120))
    >>> frame = pd.DataFrame({"x": x, "y": y, "z": z, "score": np.tanh(8 * (x - y)) + z})
    >>> trials = readers.from_frame(frame, "score", space=dict.fromkeys("xyz", (0.0, 1.0)))
    >>> ensemble = metamodel.fit(trials, n_members=5, n_folds=2, steps=300, weight_decays=[1e-3])
    >>> [str(rule) for rule in find(ensemble, trials)]
    ['x > y']
    """
    space, rows = ensemble.space, trials.usable
    whole = decompose(ensemble, order=2, seed=seed)
    n = min(len(rows), 2 * affordable(len(whole.names), 2))
    at = decompose(ensemble, rows.sample(n, random_state=seed), order=2, seed=seed)
    numbers = [name for name in whole.names if spaces.is_number(space[name])]
    pairs = sorted(itertools.combinations(numbers, 2), key=lambda pair: -whole.components[pair].var())
    looked_at = [_Pair(whole, at, trials, names) for names in pairs[:_PAIRS]]
    tried = [(pair, *form) for pair in looked_at if pair.enough for form in _forms(space, pair.names)]
    if not tried:
        return []
    both = np.array([_foretold(*one) for one in tried])
    # Repetitions of a configuration count together.
    configuration = np.unique(at.unit, axis=0, return_inverse=True)[1].ravel()
    added = np.array([np.bincount(configuration, one) for one in both.prod(1)])
    scale = np.sqrt((added**2).sum(1)) + np.finfo(float).tiny
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (added.shape[1], n_shuffles))
    t, by_luck = added.sum(1) / scale, (added @ signs / scale[:, None]).max(0)
    surprise = (1 + (by_luck >= t[:, None]).sum(1)) / (1 + n_shuffles)
    # Of several forms of a pair the one whose error is least.
    error, best = ((both[:, 0] - both[:, 1]) ** 2 - both[:, 1] ** 2).sum(1), {}
    for k in error.argsort():
        best.setdefault(tried[k][0].names, (*tried[k], t[k], surprise[k]))
    # What explains next to nothing of the metric is true, or chance, and no use; nor is a region that may be
    # no better. And where the interaction falls on the way into it, own effects drew the boundary: new trials
    # there would refute it.
    found = [rule for how in best.values() if how[-1] <= least and (rule := _rule(whole, *how)).matters]
    return sorted(found, key=lambda rule: -rule.found["t"])


class _Pair:
    """Two hyperparameters where both are active: their effects at points of the space, and trials."""

    def __init__(self, whole: Decomposition, at: Decomposition, trials: Trials, names: tuple[str, str]):
        self.names, space, usable = names, whole.ensemble.space, trials.usable
        places = [whole.names.index(name) for name in names]
        sets = [whole.subsets.index(s) for s in ((names[0],), (names[1],), names)]
        rows = usable.index.get_indexer(at.table.index)
        unseen = whole.ensemble.unseen[:, rows]
        active = [spaces.active(space, dec.unit)[:, places].all(1) for dec in (whole, at)]
        #: Which points and which trials these are.
        self.points, self.rows = active[0], active[1] & unseen.any(0)
        self.at_points, self.at_trials = whole.unit[self.points][:, places].T, at.unit[self.rows][:, places].T
        #: (n_members, n_points, 3): the effects of the first, of the second, and of both.
        self.effects, self.unseen = whole.member_components[:, self.points][:, :, sets], unseen[:, self.rows]
        votes = self.unseen / self.unseen.sum(0)
        y, said = usable[whole.ensemble.metric].to_numpy(float)[rows], at.predictions
        of_pair = [at.member_components[:, :, k] for k in sets]
        #: What the trials add to all predicted but the interaction, and but all three effects.
        self.beyond = y[self.rows] - (votes * (said - of_pair[2])[:, self.rows]).sum(0)
        self.jointly = self.beyond + (votes * (of_pair[0] + of_pair[1])[:, self.rows]).sum(0)

    @property
    def enough(self) -> bool:
        return min(self.points.sum(), self.rows.sum()) >= _LEAST


def _forms(space: ConfigurationSpace, pair: tuple[str, str]) -> list[tuple[str, tuple[float, float]]]:
    """The forms to try, with what multiplies the two coordinates."""
    a, b = (space[name] for name in pair)
    weights = {_HALF}
    if a.log == b.log:
        lengths = [_scale(hp)[1] for hp in (a, b)]
        share = round(lengths[0] / sum(lengths), 3)
        # A range of less than a ninth of the other hardly counts.
        weights |= {(share, 1 - share)} if 0.1 < share < 0.9 else set()
    lines = itertools.product(("difference", "sum"), sorted(weights))
    return [*lines, ("extreme", _HALF), ("corner", _HALF)]


def _number(value: float) -> str:
    return f"{value:.2g}".replace("-", "−") if abs(value) > 1e-9 else "0"


def _scale(hp) -> tuple[float, float]:
    """Start and length of the unit interval on a hyperparameter's own scale, or that of its logarithm."""
    ends = np.array([hp.lower, hp.upper], dtype=float)
    unit, own = spaces.coordinate(hp, ends), np.log10(ends) if hp.log else ends
    length = np.ptp(own) / np.ptp(unit)
    return own[0] - unit[0] * length, length


def _index(form: str, by: tuple[float, float], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if form == "extreme":
        return np.minimum(a, b)
    return by[0] * a + by[1] * (1 - b if form == "difference" else b)


def _columns(form: str, by: tuple[float, float], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What a form is a sum of, (n, n_columns), less what is one hyperparameter's own."""
    if form == "corner":
        beyond_a, beyond_b = ((u[:, None] > _THRESHOLDS) - (1 - _THRESHOLDS) for u in (a, b))
        return (beyond_a[:, :, None] * beyond_b[:, None]).reshape(len(a), -1)

    def hats(a, b):
        distance = np.abs(_index(form, by, a, b)[..., None] - _KNOTS)
        return np.maximum(1 - distance / _KNOTS[1], 0)

    grid = (np.arange(32) + 0.5) / 32
    own = hats(a[:, None], grid).mean(1) + hats(grid, b[:, None]).mean(1)
    return hats(a, b) - own + hats(grid[:, None], grid).mean((0, 1))


def _fitted(form: str, columns: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """Coefficients of a form, (n_columns,): of one corner, or of a curve by ridge regression."""
    if form == "corner":
        products, squares = columns.T @ effect, (columns**2).sum(0) + 1e-12
        best = (products**2 / squares).argmax()
        return np.where(np.arange(len(squares)) == best, products / squares, 0)
    gram = columns.T @ columns
    return np.linalg.solve(gram + 1e-3 * gram.trace() / len(gram) * np.eye(len(gram)), columns.T @ effect)


def _foretold(pair: _Pair, form: str, by) -> np.ndarray:
    """What a form foretells of trials left out, and what they add to the rest of the prediction, (2, n)."""
    here, there = (_columns(form, by, *of) for of in (pair.at_points, pair.at_trials))
    plain, plain_there = (_plain(*of) for of in (pair.at_points, pair.at_trials))
    product = np.linalg.lstsq(plain, here)[0]
    here, there = here - plain @ product, there - plain_there @ product
    both = np.stack([np.zeros_like(pair.beyond), pair.beyond], axis=1)
    for part in np.unique(pair.unseen, axis=0):
        members = (pair.unseen == part).all(1)
        both[part, 0] = there[part] @ _fitted(form, here, pair.effects[members, :, 2].mean(0))
    found = np.zeros((2, len(pair.rows)))
    found[:, pair.rows] = (both - plain_there @ np.linalg.lstsq(plain_there, both)[0]).T
    return found


def _plain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What is no relation, (n, 4): lines of each alone, and their product."""
    return np.stack([np.ones(len(a)), a, b, a * b], axis=1)


def _rule(whole: Decomposition, pair: _Pair, form: str, by, t: float, surprise: float) -> Rule:
    """Make the relation of an interaction that has a form."""
    sign = whole.ensemble.sign
    region = _best(form, by, *pair.at_trials, sign * (pair.jointly - pair.jointly.mean()))
    columns, inside = _columns(form, by, *pair.at_points), region.holds(*pair.at_points)

    def sizes(values, weights):
        of_form, of_pair, joint, whole = (values - weights @ values).T
        shares = weights @ of_form**2 / [weights @ of_pair**2, weights @ whole**2]
        means = [weights[side] @ joint[side] / weights[side].sum() for side in (inside, ~inside)]
        return np.array([*shares, sign * (means[0] - means[1])])

    effects = pair.effects[:, :, 2]
    fitted = np.array([_fitted(form, columns, effect) for effect in effects])
    parts = [fitted @ columns.T, effects, pair.effects.sum(2), whole.predictions[:, pair.points]]
    # Whatever the members are, by the wider interval: of many regions this one looked best.
    found = uncertainty.estimate(sizes, np.stack(parts, axis=2), resample_rows=whole.random)
    step = sign * _across(region, lambda a, b: _columns(form, by, a, b) @ fitted.mean(0))
    of = {"t": t, "surprise": surprise, "step": step} | found.columns_of(["of_pair", "share", "gain"])
    return Rule(whole.ensemble.space, pair.names, form, region, pd.Series(of))


def _across(region: Line | Corner, acts) -> float:
    """How much what two do grows on average from a point outside of a region to one inside nearby."""
    unit = spaces.sobol(4, 1024)
    inside, outside = unit[:, :2], unit[:, :2] + _REACH * (2 * unit[:, 2:] - 1)
    pairs = region.holds(*inside.T) & ~region.holds(*outside.T) & ((outside >= 0) & (outside <= 1)).all(1)
    return np.mean(acts(*inside[pairs].T) - acts(*outside[pairs].T))


def _best(form: str, by, a: np.ndarray, b: np.ndarray, good: np.ndarray) -> Line | Corner:
    """The region that tells good from bad; of those that do so about as well as the best, the simplest."""
    if form in ("difference", "sum"):
        ends = [*((cut, np.inf) for cut in _CUTS), *itertools.combinations(_CUTS, 2)]
        regions = [Line(form, by, *of) for of in ends]
    else:
        sides, thresholds = ([*itertools.product(of, repeat=2)] for of in ((True, False), _THRESHOLDS))
        regions = [Corner(*of) for of in itertools.product(thresholds, sides)]
    inside = np.array([region.holds(a, b) for region in regions])
    shares = inside.mean(1)
    # A region of hardly any trials tells nothing.
    told = (inside @ good / len(good)) ** 2 / np.where(
        np.abs(shares - 0.5) < 0.45, shares * (1 - shares), np.inf
    )
    told *= [1 - region.complexity for region in regions]
    k = told.argmax()
    return replace(regions[k], within=bool(good[inside[k]].mean() > 0))
