"""Decomposition: an ensemble's predictions as main effects and interactions, exactly.

This is the functional ANOVA of a prediction under the distribution that random
search draws from (Hutter et al., 2014, use that of a forest). A prediction is a
sum f(x) = Σ_S m_S(x_S) over all sets S of hyperparameters, in which m_S is what
S does jointly beyond what its parts do. With the game v(S) = mean over
background points b of f(x on S, b elsewhere), the m_S are its Möbius transform
(Grabisch and Roubens, 1999). All else follows from them: SHAP values
φ_i = Σ_{S∋i} m_S / |S|, and Sobol' indices.

The own effect m_i depends on x_i alone. So where SHAP values are drawn along a
hyperparameter, all vertical scatter is interaction; here it gets its name.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from ConfigSpace import ConfigurationSpace
from torch import Tensor, nn

from ubalkit import space as spaces
from ubalkit import uncertainty, workers
from ubalkit.metamodel import Ensemble, Process
from ubalkit.shapley import Attribution

#: Up to so many hyperparameters all 2^d effects are computed, beyond it those
#: of one and two hyperparameters, and the rest as one remainder.
MOST = 12

#: Random orders of the hyperparameters behind the Shapley values of what is left out.
N_ORDERS = 32


@dataclass(frozen=True)
class Decomposition:
    """Effects of all sets of hyperparameters, at configurations; `decompose` makes it.

    Attributes
    ----------
    ensemble : Ensemble
        What is decomposed.
    table : DataFrame
        The n configurations.
    names : list of str
        The d hyperparameters.
    unit : ndarray, shape (n, d)
        Unit-cube coordinates of the configurations.
    subsets : list of tuple of str
        The sets S, smaller ones first: all but the empty one, or those of at
        most two hyperparameters.
    member_components : ndarray, shape (n_members, n, n_subsets)
        The effect m_S of each set, for each member, in units of the metric.
    base_values : ndarray, shape (n_members,)
        The mean prediction of each member over its background, m_∅.
    predictions : ndarray, shape (n_members, n)
        What each member predicts for the configurations.
    higher : ndarray, shape (n_members, n, d)
        Each hyperparameter's Shapley share of the larger sets that `subsets`
        lacks, estimated; zero where it lacks none, or an order was given.
    random : bool
        Whether the configurations are a random sample, whose choice adds to
        the uncertainty, rather than spread evenly.

    Examples
    --------
    >>> from ubalkit import metamodel, readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": x + x * y}), "score")
    >>> ensemble = metamodel.fit(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3])
    >>> found = decompose(ensemble)
    >>> found.variance()["share"].round(1).to_dict()
    {'x': 0.9, 'y': 0.1, 'x × y': 0.0}
    >>> found.sobol()[["first", "total"]].round(1).loc["x"].to_dict()
    {'first': 0.9, 'total': 0.9}
    """

    ensemble: Ensemble
    table: pd.DataFrame
    names: list[str]
    unit: np.ndarray
    subsets: list[tuple[str, ...]]
    member_components: np.ndarray
    base_values: np.ndarray
    predictions: np.ndarray
    higher: np.ndarray
    random: bool = True

    @cached_property
    def components(self) -> dict[tuple[str, ...], np.ndarray]:
        """The effects m_S of the ensemble, an array of shape (n,) for each tuple of names."""
        return dict(zip(self.subsets, self.member_components.mean(0).T))

    @property
    def remainder(self) -> np.ndarray:
        """What the effects leave of each prediction, (n_members, n): zero where all sets are there."""
        return self.predictions - self.base_values[:, None] - self.member_components.sum(2)

    @cached_property
    def _contains(self) -> np.ndarray:
        return np.array([[name in s for name in self.names] for s in self.subsets], dtype=float)

    @cached_property
    def _sizes(self) -> np.ndarray:
        return np.array([len(s) for s in self.subsets])

    @property
    def member_shares(self) -> np.ndarray:
        """SHAP values, (n_members, n, d): each effect is shared equally by its hyperparameters."""
        return self.member_components @ (self._contains / self._sizes[:, None]) + self.higher

    def shap(self) -> Attribution:
        """SHAP values of the exact game, where `shapley.deep_shap` approximates them.

        Where sets of more than two hyperparameters were left out, these sets'
        part is estimated; each member's estimate has an error of its own, so
        that the intervals hold it.

        Returns
        -------
        Attribution
        """
        whole = (self.ensemble, self.table, self.names, self.unit)
        return Attribution(*whole, self.member_shares, self.base_values, self.random)

    def _shares(self, parts: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Share of the variance of f that each component explains, (n_subsets,): Cov(m_S, f) / Var f.

        Effects of different sets are uncorrelated, so that this is the
        Sobol' index; unlike the mean square it does not grow with the error
        of a finite background, and the shares add up to one, the remainder's
        (the last of the parts) included.
        """
        f = parts.sum(1)
        f = f - weights @ f
        return (weights * f) @ parts[:, :-1] / (weights @ f**2)

    def _settings(self, n_resamples: int, seed: int) -> dict:
        how = {"resample_rows": self.random, "kind": self.ensemble.kind}
        return how | {"n_resamples": n_resamples, "seed": seed}

    def _estimate(self, statistic, n_resamples: int, seed: int) -> uncertainty.Estimate:
        """A statistic of the components and, last among the parts, the remainder."""
        parts = np.concatenate([self.member_components, self.remainder[:, :, None]], axis=2)
        return uncertainty.estimate(statistic, parts, **self._settings(n_resamples, seed))

    def variance(self, *, n_resamples: int = 500, seed: int = 0) -> pd.DataFrame:
        """The sets by the share of the variance of the predictions that each explains.

        Parameters
        ----------
        n_resamples, seed : int
            Number of replicates behind the intervals (NaN with 0), and their seed.

        Returns
        -------
        DataFrame
            A row for each set, its names joined by ``×``, the largest share
            first. ``order`` is the number of its hyperparameters; ``low`` and
            ``high`` bound the 90 % interval of its ``share`` (see
            `ubalkit.uncertainty`).
        """
        estimate = self._estimate(self._shares, n_resamples, seed)
        index = pd.Index([" × ".join(s) for s in self.subsets], name="subset")
        frame = pd.DataFrame({"order": self._sizes, **estimate.columns("share")}, index=index)
        return frame.sort_values("share", ascending=False)

    def sobol(self, *, n_resamples: int = 500, seed: int = 0) -> pd.DataFrame:
        """First-order and total Sobol' indices of each hyperparameter, at these configurations.

        Parameters
        ----------
        n_resamples, seed : int
            Number of replicates behind the intervals (NaN with 0), and their seed.

        Returns
        -------
        DataFrame
            A row for each hyperparameter, the largest total first. ``first``
            is the share of its own effect, ``total`` that of all effects that
            it is part of. The columns that end in ``_low`` and ``_high`` bound
            their 90 % intervals.
        """
        d = len(self.names)

        def indices(parts, weights):
            shares = self._shares(parts, weights)
            return np.stack([shares[:d], shares @ self._contains])

        columns = self._estimate(indices, n_resamples, seed).columns_of(["first", "total"])
        frame = pd.DataFrame(columns, index=pd.Index(self.names, name="hyperparameter"))
        return frame.sort_values("total", ascending=False)

    def orders(self, *, n_resamples: int = 500, seed: int = 0) -> pd.DataFrame:
        """Share of the variance that the effects of each order explain together.

        Parameters
        ----------
        n_resamples, seed : int
            Number of replicates behind the intervals (NaN with 0), and their seed.

        Returns
        -------
        DataFrame
            A row for each order: ``1``, ``2``, and ``3+``, which is what these
            leave of the whole. ``low`` and ``high`` bound the 90 % interval of
            the ``share``.
        """

        def by_order(parts, weights):
            shares = self._shares(parts, weights)
            own, pairs = (shares[self._sizes == size].sum() for size in (1, 2))
            return np.array([own, pairs, 1 - own - pairs])

        columns = self._estimate(by_order, n_resamples, seed).columns("share")
        return pd.DataFrame(columns, index=pd.Index(["1", "2", "3+"], name="order"))

    def scatter(
        self, rows: np.ndarray | None = None, *, n_resamples: int = 500, seed: int = 0
    ) -> pd.DataFrame:
        """Tell where the scatter of SHAP values along each hyperparameter comes from.

        The SHAP value of a hyperparameter less its own effect is the sum of
        its parts in interactions. Each partner's share of that sum's variance
        is what its pair explains of it.

        Parameters
        ----------
        rows : ndarray of bool, shape (n,), optional
            The configurations to look at; all by default.
        n_resamples, seed : int
            Number of replicates behind the intervals (NaN with 0), and their seed.

        Returns
        -------
        DataFrame
            By hyperparameter and part. The ``value`` of ``own`` is the
            standard deviation of its own effect, that of ``scatter`` the one
            of the rest, both in units of the metric. Then come its partners
            and ``order 3+``; their values are shares of the scatter, which add
            up to one. ``low`` and
            ``high`` bound the 90 % interval of the value.
        """
        rows = np.ones(len(self.unit), bool) if rows is None else np.asarray(rows)
        halves, whole = self.member_components[:, rows] / self._sizes, self.member_shares[:, rows]
        # Below this all is rounding.
        least = 1e-20 * max(self.predictions.var(), np.finfo(float).tiny)
        settings = self._settings(n_resamples, seed)

        def deviations(both, weights):
            return np.sqrt(weights @ (both - weights @ both) ** 2)

        def shares(values, weights):
            whole = values.sum(1)
            whole = whole - weights @ whole
            return (weights * whole) @ values / max(weights @ whole**2, least)

        frames = {}
        for i, name in enumerate(self.names):
            partners = [n for n in self.names if n != name]
            pairs = halves[:, :, (self._contains[:, i] > 0) & (self._sizes == 2)]
            own, third = halves[:, :, i], whole[:, :, i] - halves[:, :, i] - pairs.sum(2)
            values = np.concatenate([pairs, third[:, :, None]], axis=2)
            both = np.stack([own, whole[:, :, i] - own], axis=2)
            sizes = uncertainty.estimate(deviations, both, nonnegative=True, **settings)
            causes = uncertainty.estimate(shares, values, **settings)
            index = pd.Index(["own", "scatter", *partners, "order 3+"], name="part")
            both = [pd.DataFrame(found.columns("value")) for found in (sizes, causes)]
            frames[name] = pd.concat(both).set_axis(index)
        return pd.concat(frames, names=["hyperparameter"])


def decompose(
    ensemble: Ensemble,
    table: pd.DataFrame | None = None,
    *,
    order: int | None = None,
    n_points: int | None = None,
    n_background: int = 32,
    seed: int = 0,
    advance: Callable[[int], None] = workers.nothing,
) -> Decomposition:
    """Decompose the predictions of every member of an ensemble.

    Parameters
    ----------
    ensemble : Ensemble
        What to decompose.
    table : DataFrame, optional
        The configurations, `Trials.usable` for example; by default points
        spread evenly over the space.
    order : int, optional
        The largest sets whose effects are computed, and nothing is estimated
        of larger ones: by default see below.
    n_points : int, optional
        Number of these points, which are scrambled Sobol' points: by default
        as many as are `affordable`.
    n_background : int
        Number of scrambled Sobol' points for the mean over the other
        hyperparameters. Each member has its own, so that its spread holds
        their error too.
    seed : int
        Seed of both kinds of points.
    advance : callable
        Called with 1 after each member: a progress bar's.

    Returns
    -------
    Decomposition

    Notes
    -----
    Of up to `MOST` (12) hyperparameters that vary, the effects of all 2^d sets
    are computed. Of more, it is those of one and of two, d (d + 1) / 2 in all,
    each exactly as it would be among all sets; `Decomposition.remainder` holds
    what they leave of each prediction, and `Decomposition.higher` how the
    hyperparameters share it, estimated from random orders. Own effects, pairs,
    Sobol' indices of first order and shares of the orders are exact then; total
    indices lack the larger sets.

    A Gaussian process is averaged over each hyperparameter of the background
    alone, which is exact where no clause forbids a part of the space.

    Raises
    ------
    ValueError
        If the ensemble predicts no better than the mean; see
        `metamodel.Ensemble.trust`.

    Examples
    --------
    >>> from ubalkit import metamodel, readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": x + x * y}), "score")
    >>> ensemble = metamodel.fit(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3])
    >>> found = decompose(ensemble, trials.usable)
    >>> found.subsets
    [('x',), ('y',), ('x', 'y')]
    >>> added = found.base_values.mean() + sum(found.components.values())
    >>> bool(np.allclose(added, ensemble.predict(trials.usable)))
    True
    """
    names = spaces.varied(ensemble.space)
    d = len(names)
    ensemble.trust.check()
    largest = order or (d if d <= MOST else 2)
    sets = [s for size in range(largest + 1) for s in itertools.combinations(range(d), size)]
    random = table is not None
    n_orders = N_ORDERS if largest < d and order is None else 0
    if table is None:
        points = spaces.spread(ensemble.space, n_points or affordable(d, order), seed)
        table = spaces.from_unit(ensemble.space, points)
    unit = spaces.to_unit(ensemble.space, table)
    backgrounds = uncertainty.backgrounds(ensemble, n_background, seed)

    def of_member(k):
        orders = random_orders(d, n_orders, [seed, k])
        firsts = [tuple(order[:size]) for order in orders for size in range(d + 1)]
        game = _game(ensemble.space, ensemble.members[k], unit, backgrounds[k], [*sets, *firsts])
        effects = (game[:, : len(sets)] @ torch.as_tensor(_moebius(sets)).T).numpy()
        # What is known exactly is taken off before the rest is sampled.
        inside = (_held(sets, d).astype(float) @ ~_held(firsts, d).T) == 0
        advance(1)
        return effects, _shapley(game[:, len(sets) :].numpy() - effects @ inside, orders)

    effects, higher = map(np.array, zip(*workers.in_threads(of_member, range(len(ensemble.members)))))
    subsets, predictions = [tuple(names[i] for i in s) for s in sets[1:]], ensemble.predict_unit(unit)
    split = (effects[:, :, 1:], effects[:, 0, 0], predictions, higher)
    return Decomposition(ensemble, table, names, unit, subsets, *split, random)


def affordable(d: int, order: int | None = None) -> int:
    """How many points of d hyperparameters are decomposed in about the same time, 128 to 1024.

    Examples
    --------
    >>> affordable(7), affordable(10), affordable(60), affordable(10, order=2)
    (1024, 256, 128, 1024)
    """
    largest = order or (d if d <= MOST else 2)
    n_sets = sum(math.comb(d, size) for size in range(largest + 1))
    n_sets += N_ORDERS * (d + 1) if largest < d and order is None else 0
    return min(max(2**18 >> (n_sets - 1).bit_length(), 128), 1024)


def random_orders(d: int, n: int, seed) -> np.ndarray:
    """Random orders of d hyperparameters, each with its reverse, for their errors partly cancel."""
    half = np.random.default_rng(seed).permuted(np.tile(np.arange(d), (n // 2, 1)), axis=1)
    return np.concatenate([half, half[:, ::-1]])


def _shapley(game: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Shapley values, (n, d), of a game that is known for all beginnings of some orders.

    What a hyperparameter adds to those before it, on average over random
    orders, estimates its value (Castro, Gómez and Tejada, 2009).
    """
    n_orders, d = orders.shape
    added = np.diff(game.reshape(len(game), n_orders, d + 1), axis=2)
    places = np.broadcast_to(np.argsort(orders, axis=1), added.shape)
    return np.take_along_axis(added, places, axis=2).sum(1) / max(n_orders, 1)


def surface(
    ensemble: Ensemble, pair: tuple[str, str], *, n_grid: int = 41, n_background: int = 256, seed: int = 0
) -> pd.DataFrame:
    """What two hyperparameters do together, on a grid over both.

    Parameters
    ----------
    ensemble : Ensemble
        Whose predictions to look at.
    pair : tuple of two str
        The hyperparameters.
    n_grid : int
        Number of points along each.
    n_background, seed : int
        Number of scrambled Sobol' points for the mean over the others, and their seed.

    Returns
    -------
    DataFrame
        A row for each point of the grid. Its two unit-cube coordinates are
        named as the hyperparameters; ``joint`` is the mean prediction there
        less that over all; ``interaction`` is the part of it that is neither's
        own.

    Examples
    --------
    >>> from ubalkit import metamodel, readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": x + x * y}), "score")
    >>> ensemble = metamodel.fit(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3])
    >>> surface(ensemble, ("x", "y"), n_grid=2).round(1).iloc[-1].to_dict()
    {'x': 1.0, 'y': 1.0, 'joint': 1.2, 'interaction': 0.2}
    """
    names = spaces.varied(ensemble.space)
    ensemble.trust.check()
    places, grid = [names.index(name) for name in pair], np.linspace(0, 1, n_grid)
    columns = dict(zip(pair, map(np.ravel, np.meshgrid(grid, grid, indexing="ij"))))
    unit = np.full((n_grid**2, len(names)), 0.5)
    for place, (name, u) in zip(places, columns.items()):
        # At coordinates that configurations have: between two choices there is none.
        unit[:, place] = spaces.snapped(ensemble.space, name, u)
    background = spaces.spread(ensemble.space, n_background, seed)
    sets = [(), (places[0],), (places[1],), tuple(sorted(places))]
    games = [_game(ensemble.space, member, unit, background, sets) for member in ensemble.members]
    v = torch.stack(games).mean(0).numpy()
    interaction = v[:, 3] - v[:, 1] - v[:, 2] + v[:, 0]
    return pd.DataFrame({**columns, "joint": v[:, 3] - v[:, 0], "interaction": interaction})


def _moebius(sets: Sequence[tuple[int, ...]]) -> np.ndarray:
    """The matrix of signs (-1)^(|S| - |T|) for T ⊆ S, rows S and columns T."""
    bits = np.array([sum(1 << i for i in s) for s in sets])
    sizes = np.array([len(s) for s in sets])
    inside = (bits[None] & ~bits[:, None]) == 0
    return np.where(inside, (-1.0) ** (sizes[:, None] - sizes[None]), 0.0)


def _held(sets: Sequence[tuple[int, ...]], d: int) -> np.ndarray:
    """Which hyperparameters each set holds, (n_sets, d)."""
    return np.array([[i in s for i in range(d)] for s in sets], dtype=bool).reshape(len(sets), d)


def _game(
    space: ConfigurationSpace,
    member: nn.Module,
    unit: np.ndarray,
    background: np.ndarray,
    sets: Sequence[tuple[int, ...]],
) -> Tensor:
    """v(S) of every point and set, (n, n_sets): the mean with x on S and the background elsewhere."""
    held = _held(sets, unit.shape[1])
    # What is active in a mixture of a point and the background, `_switched` tells.
    x, b = (torch.as_tensor(spaces.encoded(space, points, settle=False)) for points in (unit, background))
    taken = torch.as_tensor(held.take(spaces.inputs(space), axis=1))
    if isinstance(member, Process):
        return _game_of_process(member, x, b, held, spaces.inputs(space))
    values = torch.empty(len(x), len(sets), dtype=torch.float64)
    with torch.no_grad():
        if not _is_mlp(member):
            assert not space.conditions, "conditions are followed in the members that `fit` makes"
            for k, point in enumerate(x):
                rows = torch.where(taken, point, b[:, None])
                values[k] = member(rows.flatten(0, 1)).view(rows.shape[:2]).mean(0)
            return values
        (first, bias), *middle, (last, last_bias) = [(layer.weight, layer.bias) for layer in member[::2]]
        # The first layer is linear: its part of the background is computed once.
        of_background = torch.where(taken, 0, b[:, None]) @ first.T + bias
        kept, switched = torch.empty_like(of_background), _switched(space, unit, background, held)
        for k, point in enumerate(x):
            of_point = torch.where(taken, point, 0) @ first.T
            hidden = torch.add(of_point, of_background, out=kept)
            if space.conditions:
                off, change = switched(k, torch.where(taken, point, b[:, None]))
                hidden += change @ first[:, off].T
            hidden = _gelu_(hidden)
            for weights, bias in middle:
                hidden = _gelu_(nn.functional.linear(hidden, weights, bias))
            # And so is the last: the mean over the background comes before it.
            values[k] = (hidden.mean(0) @ last.T + last_bias).squeeze(1)
    return values


def _game_of_process(
    member: Process, x: Tensor, background: Tensor, held: np.ndarray, owner: np.ndarray
) -> Tensor:
    """The game of a process, whose bumps are products over hyperparameters: each has a mean of its own."""
    columns = nn.functional.one_hot(torch.as_tensor(owner)).double()
    inside, least = torch.as_tensor(held).double(), torch.finfo(torch.float64).tiny

    def logarithms(points: Tensor) -> Tensor:
        return ((points[:, None] - member.centres) * member.scales) ** 2 @ columns / -2

    elsewhere = logarithms(background).exp().mean(0).clamp(min=least).log()
    values = torch.empty(len(x), len(held), dtype=torch.float64)
    # One memory for all points: the system's would grow with each.
    bumps = torch.empty(len(held), len(elsewhere), dtype=torch.float64)
    for k, point in enumerate(x):
        beyond = logarithms(point[None])[0] - elsewhere
        torch.addmm(elsewhere.sum(1), inside, beyond.T, out=bumps)
        values[k] = bumps.exp_() @ member.heights + member.mean
    return values


def _switched(space: ConfigurationSpace, unit: np.ndarray, background: np.ndarray, held: np.ndarray):
    """A function that tells how far conditions move the columns that they can switch off, to the default.

    What is active in a mixture of a point and the background depends on where
    the parents come from.
    """
    names, owner = spaces.varied(space), spaces.inputs(space)
    parents = [name in spaces.bound(space) for name in names]
    kinds, kind = np.unique(held & parents, axis=0, return_inverse=True)
    off = np.flatnonzero([bool(space.parent_conditions_of[names[j]]) for j in owner])
    default = torch.as_tensor(spaces.encoded(space, spaces.default(space)))[0, off]

    def change(k: int, rows: Tensor) -> tuple[np.ndarray, Tensor]:
        mixtures = np.where(kinds[:, None], unit[k], background)
        on = spaces.active(space, mixtures.reshape(-1, unit.shape[1])).reshape(mixtures.shape)
        on = torch.as_tensor(on[:, :, owner[off]].swapaxes(0, 1)[:, kind])
        return off, torch.where(on, 0, default - rows[:, :, off])

    return change


def _is_mlp(member: nn.Module) -> bool:
    """Whether a member is made of linear layers with tanh-form GELUs between, as those of `fit` are."""
    kinds = [type(module) for module in member] if isinstance(member, nn.Sequential) else []
    alike = len(kinds) > 2 and kinds == [nn.Linear, nn.GELU] * (len(kinds) // 2) + [nn.Linear]
    return alike and all(module.approximate == "tanh" for module in member[1::2])


def _gelu_(z: Tensor) -> Tensor:
    """GELU in its tanh form, in place: z σ(c (z + 0.044715 z³)), c = √(8/π); twice as fast as torch's."""
    c = (8 / math.pi) ** 0.5
    return z.mul_((z * z).mul_(0.044715 * c).add_(c).mul_(z).sigmoid_())
