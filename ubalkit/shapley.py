"""Attribution: how much each hyperparameter moves a meta-model's prediction.

Deep SHAP (Lundberg and Lee, 2017) is computed for each member of an ensemble,
as in Section 3 of the paper. SHAP values are linear in the output, so the mean
of the members' values is the attribution of the ensemble, and their spread
says how sure it is.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ubalkit import extra, uncertainty
from ubalkit import space as spaces
from ubalkit.metamodel import Ensemble

#: Where fewer observations lie than this share of what an even spread would
#: bring, an ensemble is not relied on.
LEAST_SUPPORT = 0.2


@dataclass(frozen=True)
class Attribution:
    """SHAP values of an ensemble at configurations, in units of the metric.

    `deep_shap` makes it, and `effects.Decomposition.shap`.

    Attributes
    ----------
    ensemble : Ensemble
        What is explained; its `trust` says how far to believe it.
    table : DataFrame
        The n configurations explained.
    names : list of str
        The d hyperparameters.
    unit : ndarray, shape (n, d)
        Unit-cube coordinates of the configurations.
    member_values : ndarray, shape (n_members, n, d)
        The SHAP values of each member.
    base_values : ndarray, shape (n_members,)
        The mean prediction of each member over its background. A prediction is
        this and the SHAP values together.
    random : bool
        Whether the configurations are a random sample, whose choice adds to
        the uncertainty, rather than spread evenly.

    Examples
    --------
    >>> from ubalkit import metamodel, readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + y}), "score")
    >>> ensemble = metamodel.fit(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3])
    >>> found = deep_shap(ensemble, trials.usable)
    >>> found.importance()["importance"].round(1).to_dict()
    {'x': 0.5, 'y': 0.3}
    >>> found.curves().groupby("hyperparameter")["size"].max().round(1).to_dict()
    {'x': 0.9, 'y': 0.5}
    """

    ensemble: Ensemble
    table: pd.DataFrame
    names: list[str]
    unit: np.ndarray
    member_values: np.ndarray
    base_values: np.ndarray
    random: bool = True

    @property
    def metric(self) -> str:
        """What the ensemble predicts."""
        return self.ensemble.metric

    @property
    def values(self) -> np.ndarray:
        """SHAP values of the ensemble, (n, d)."""
        return self.member_values.mean(0)

    def importance_estimate(self, *, n_resamples: int = 500, seed: int = 0) -> uncertainty.Estimate:
        """Mean absolute SHAP values in the order of `names`, with their intervals and replicates.

        Parameters
        ----------
        n_resamples : int
            Number of replicates; with 0 there are no intervals.
        seed : int
            Seed of the replicates.

        Returns
        -------
        Estimate
            Of shape (d,).
        """

        def sizes(values, weights):
            return weights @ np.abs(values)

        settings = {"resample_rows": self.random, "kind": self.ensemble.kind, "seed": seed}
        settings |= {"nonnegative": True, "n_resamples": n_resamples}
        return uncertainty.estimate(sizes, self.member_values, **settings)

    def importance(self) -> pd.DataFrame:
        """The hyperparameters by their mean absolute SHAP value, most important first.

        Returns
        -------
        DataFrame
            ``importance``, with ``low`` and ``high``, the bounds of its 90 %
            interval (see `ubalkit.uncertainty`); ``peak``, the largest running
            mean of the absolute SHAP values; and ``rank``.
        """
        columns = self.importance_estimate().columns("importance")
        frame = pd.DataFrame(columns, index=pd.Index(self.names, name="hyperparameter"))
        frame["peak"] = self.curves().groupby("hyperparameter")["size"].max()
        frame = frame.sort_values("importance", ascending=False)
        frame["rank"] = range(1, len(frame) + 1)
        return frame

    def running(self, name: str, n_grid: int = 41, bandwidth: float = 0.05) -> uncertainty.Estimate:
        """Running means along a hyperparameter, of its SHAP values and of their absolute values.

        Parameters
        ----------
        name : str
            Which hyperparameter; only configurations in which it is active
            count.
        n_grid : int
            Number of points along a range. Of choices it is one each, without
            a window around it.
        bandwidth : float
            Standard deviation of the Gaussian window, as a share of the range.

        Returns
        -------
        Estimate
            Of shape (2, n_grid): the SHAP values first.
        """
        j, space = self.names.index(name), self.ensemble.space
        window = _windows(space, name, self.unit[:, j], n_grid, bandwidth)
        window = window * spaces.active(space, self.unit)[:, j]

        def means(values, weights):
            # Where nothing is seen, of what is never active, say, the effect is zero.
            seen = np.maximum(window @ weights, np.finfo(float).tiny)
            return np.stack([weights * values, weights * np.abs(values)]) @ window.T / seen

        members = self.member_values[:, :, j]
        return uncertainty.estimate(
            means, members, resample_rows=self.random, kind=self.ensemble.kind, n_resamples=200
        )

    def support(self, name: str, n_grid: int = 41, bandwidth: float = 0.05) -> np.ndarray:
        """How many observations lie around each point of `running`, over what an even spread would bring.

        Parameters
        ----------
        name : str
            Which hyperparameter.
        n_grid, bandwidth
            As for `running`.

        Returns
        -------
        ndarray, shape (n_grid,)
            Below `LEAST_SUPPORT` what the ensemble says there is a guess.
        """
        space, observed = self.ensemble.space, self.ensemble.unit
        if not len(observed):
            return np.ones(len(spaces.grid(space, name, n_grid)))
        even = spaces.snapped(space, name, (np.arange(1000) + 0.5) / 1000)
        j = spaces.varied(space).index(name)
        both = (observed[spaces.active(space, observed)[:, j], j], even)
        found, expected = (_windows(space, name, unit, n_grid, bandwidth).mean(1) for unit in both)
        return found / expected

    def curves(self, n_grid: int = 41, bandwidth: float = 0.05) -> pd.DataFrame:
        """The running means along the range of every hyperparameter; see `running`.

        Parameters
        ----------
        n_grid : int
            Number of points along each range.
        bandwidth : float
            Standard deviation of the Gaussian window, as a share of the range.

        Returns
        -------
        DataFrame
            A row for each point: ``hyperparameter``, ``unit`` and ``value``
            say where it is; ``mean`` is that of the SHAP values, with the
            bounds of its 90 % interval, ``low`` and ``high``; ``size`` is the
            running mean of their absolute values; ``support`` is that of
            `support`.
        """
        frames = []
        for name in self.names:
            grid = spaces.grid(self.ensemble.space, name, n_grid)
            values = spaces.values(self.ensemble.space, name, grid)
            running = self.running(name, n_grid, bandwidth)
            frame = pd.DataFrame({"hyperparameter": name, "unit": grid, "value": values})
            means = {column: numbers[0] for column, numbers in running.columns("mean").items()}
            support = self.support(name, n_grid, bandwidth)
            frames.append(frame.assign(**means, size=running.value[1], support=support))
        return pd.concat(frames, ignore_index=True)

    def explanation(self):
        """The values as a `shap.Explanation`, for the plots of shap.

        Returns
        -------
        shap.Explanation
            Its data are unit-cube coordinates; what is displayed are the
            values of the hyperparameters.
        """
        shap = extra("shap")
        base = np.full(len(self.unit), self.base_values.mean())
        shown = self.table[self.names].to_numpy()
        return shap.Explanation(self.values, base, self.unit, display_data=shown, feature_names=self.names)

    def save(self, path: Path) -> None:
        """Write a NumPy archive of ``member_values``, ``base_values``, ``unit`` and the table's ``index``."""
        arrays = {"member_values": self.member_values, "base_values": self.base_values, "unit": self.unit}
        np.savez_compressed(path, index=self.table.index, **arrays)


def _windows(space, name: str, unit: np.ndarray, n_grid: int, bandwidth: float) -> np.ndarray:
    """The windows along one hyperparameter: of choices each point counts at its own."""
    if spaces.is_number(space[name]):
        return windows(unit, n_grid, bandwidth)
    return np.isclose(spaces.grid(space, name)[:, None], spaces.snapped(space, name, unit)).astype(float)


def windows(unit: np.ndarray, n_grid: int = 41, bandwidth: float = 0.05) -> np.ndarray:
    """The Gaussian windows of running means: how much each point counts at each place of a grid.

    Parameters
    ----------
    unit : ndarray, shape (n,)
        Where the points are, in [0, 1].
    n_grid : int
        Places, evenly from 0 to 1.
    bandwidth : float
        Standard deviation of the windows.

    Returns
    -------
    ndarray, shape (n_grid, n)

    Examples
    --------
    >>> windows(np.array([0.0, 0.5]), n_grid=3, bandwidth=0.5).round(2).tolist()
    [[1.0, 0.61], [0.61, 1.0], [0.14, 0.61]]
    """
    return np.exp(-0.5 * ((np.linspace(0, 1, n_grid)[:, None] - unit) / bandwidth) ** 2)


def deep_shap(
    ensemble: Ensemble, table: pd.DataFrame, *, n_background: int = 32, seed: int = 0, tolerance: float = 1e-6
) -> Attribution:
    """Deep SHAP of every member, for every configuration of a table.

    Parameters
    ----------
    ensemble : Ensemble
        What to explain.
    table : DataFrame
        The configurations, `Trials.usable` for example.
    n_background : int
        Number of points that predictions are compared with. They are scrambled
        Sobol' points of the space, not training rows; each member has its own,
        so that its spread holds their error too.
    seed : int
        Seed of these points.
    tolerance : float
        Largest error of additivity allowed, as a share of the standard
        deviation of the predictions.

    Returns
    -------
    Attribution

    Raises
    ------
    ValueError
        If the ensemble predicts no better than the mean (see
        `metamodel.Ensemble.trust`), is of Gaussian processes, or the space has
        conditions.
    ArithmeticError
        If base value and SHAP values do not add up to a prediction.

    Examples
    --------
    >>> from ubalkit import metamodel, readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + y}), "score")
    >>> ensemble = metamodel.fit(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3])
    >>> found = deep_shap(ensemble, trials.usable.head(4))
    >>> added = found.base_values.mean() + found.values.sum(1)
    >>> bool(np.allclose(added, ensemble.predict(found.table)))
    True
    """
    shap = extra("shap")  # takes seconds to import, and only this needs it

    if ensemble.space.conditions or ensemble.kind != "MLP":
        raise ValueError(
            "Deep SHAP follows networks, but neither Gaussian processes nor conditions between "
            "hyperparameters; effects.decompose(…).shap() is exact and can."
        )
    ensemble.trust.check()
    unit = spaces.to_unit(ensemble.space, table)
    inputs = torch.as_tensor(spaces.encoded(ensemble.space, unit))
    starts = np.unique(spaces.inputs(ensemble.space), return_index=True)[1]
    values, base = [], []
    for member, points in zip(ensemble.members, uncertainty.backgrounds(ensemble, n_background, seed)):
        background = torch.as_tensor(spaces.encoded(ensemble.space, points))
        with warnings.catch_warnings():
            # shap's hooks meet tensors that need no gradient, as they should.
            warnings.simplefilter("ignore", UserWarning)
            explainer = shap.DeepExplainer(member, background)
            found = explainer.shap_values(inputs, check_additivity=False)[:, :, 0]
        # A hyperparameter's columns together.
        values.append(np.add.reduceat(found, starts, axis=1))
        base.append(member(background).mean().item())
    values, base = np.array(values), np.array(base)
    # shap's own check is absolute (0.01): blind for accuracies.
    predicted = ensemble.predict_unit(unit)
    error = np.abs(base[:, None] + values.sum(2) - predicted).max() / max(predicted.std(), 1e-12)
    if not error <= tolerance:
        raise ArithmeticError(
            f"Deep SHAP is not additive: base and SHAP values miss a prediction by {error:.1e} of the "
            f"predictions' standard deviation; {tolerance:.1e} is allowed."
        )
    return Attribution(ensemble, table, spaces.varied(ensemble.space), unit, values, base)
