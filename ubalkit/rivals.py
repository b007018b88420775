"""Importance: how much each hyperparameter matters overall, by every method in use, in one table.

All methods see the same observations, in unit-cube coordinates, so that
importance is measured under the distribution that random search draws from. In
raw units a forest's fANOVA would count a log-scaled hyperparameter by its
largest values alone. A choice is ordered, at its coordinate.

The methods measure different things, which is often why they disagree. fANOVA
counts own effects only; MDI, permutation, TreeSHAP and N-RReliefF count
interactions too; PED-ANOVA asks what sets the best configurations apart.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from ubalkit import extra, metamodel
from ubalkit import space as spaces
from ubalkit.observations import Trials

#: Observations that `compare` looks at.
MOST = 2000


def fanova(trials: Trials, metric: str | None = None, *, n_trees: int = 24, seed: int = 0) -> pd.Series:
    """Functional ANOVA of a random forest (Hutter et al., 2014), as Optuna computes it.

    Parameters
    ----------
    trials : Trials
        The observations.
    metric : str, optional
        What to explain; the trials' first metric by default.
    n_trees : int
        Number of trees; Optuna's default is 64. The time, the longest of all
        methods here, grows with it, and faster than the rows: half a second a
        tree for 1000 rows.
    seed : int
        Seed of the forest.

    Returns
    -------
    Series, shape (d,)
        By hyperparameter, in the space's order: the share of the forest's
        variance that its own effect explains, between 0 and 1. The rest of the
        variance is interaction.

    Raises
    ------
    ValueError
        For an unknown or constant metric, or fewer usable rows than twice the
        number of hyperparameters; as do all methods here.

    Examples
    --------
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> unit = {"x": (0.0, 1.0), "y": (0.0, 1.0)}
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + y}), "score", space=unit)
    >>> fanova(trials, n_trees=4).round(1).to_dict()
    {'x': 0.8, 'y': 0.1}
    """
    return _by_optuna("fANOVA", "FanovaImportanceEvaluator", trials, metric, n_trees=n_trees, seed=seed)


def ped_anova(trials: Trials, metric: str | None = None, *, seed: int = 0) -> pd.Series:
    """PED-ANOVA (Watanabe et al., 2023), as Optuna computes it.

    It asks how far the density of each hyperparameter's values among the best
    tenth of the rows is from that among all rows. What the best have in common
    need not be what the worst have: the negated metric has other importances.

    Parameters
    ----------
    trials : Trials
        The observations.
    metric : str, optional
        What to explain; the trials' first metric by default.
    seed : int
        Not used, as nothing is random; all methods take it.

    Returns
    -------
    Series, shape (d,)
        By hyperparameter: the Pearson divergence of the two densities, times
        the squared share of the rows that are the best; not negative.

    Examples
    --------
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + y}), "score")
    >>> ped_anova(trials).idxmax()
    'x'
    """
    return _by_optuna("PED-ANOVA", "PedAnovaImportanceEvaluator", trials, metric)


def mdi(trials: Trials, metric: str | None = None, *, seed: int = 0) -> pd.Series:
    """Mean decrease of impurity (Breiman, 2001), as Optuna computes it.

    Parameters
    ----------
    trials : Trials
        The observations.
    metric : str, optional
        What to explain; the trials' first metric by default.
    seed : int
        Seed of the forest.

    Returns
    -------
    Series, shape (d,)
        By hyperparameter, between 0 and 1: the share of the fall of the
        squared error that comes at splits on it, in a forest of 64 trees. They
        are grown down to single rows, and so fitted to noise too: no share is
        quite zero.

    Examples
    --------
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + y}), "score")
    >>> mdi(trials).round(1).to_dict()
    {'x': 0.8, 'y': 0.2}
    """
    return _by_optuna("MDI", "MeanDecreaseImpurityImportanceEvaluator", trials, metric, seed=seed)


def n_rrelieff(
    trials: Trials,
    metric: str | None = None,
    *,
    n_neighbors: int = 70,
    sigma: float | None = 20.0,
    signed: bool = False,
    seed: int = 0,
) -> pd.Series:
    """RReliefF (Robnik-Šikonja and Kononenko, 2003), which N-RReliefF (Sun et al., 2019) normalises.

    A hyperparameter matters if near configurations that differ in it differ
    in the metric too. With d_A = |u_A - u'_A| and d_C = |y - y'| / range(y),
    averaged over every row (none is drawn) and its nearest neighbours in
    Σ_A d_A (the earlier row if equally near), the weight is
    W_A = E[d_C d_A] / E[d_C] - E[(1 - d_C) d_A] / E[1 - d_C]. It is `compare`
    that normalises.

    Parameters
    ----------
    trials : Trials
        The observations.
    metric : str, optional
        What to explain; the trials' first metric by default.
    n_neighbors : int
        Number of neighbours; all other rows if there are fewer. This default
        and that of `sigma` are those of CORElearn, Robnik-Šikonja's own
        software.
    sigma : float or None
        The neighbour of rank r counts exp(-(r / sigma)²); all count alike if
        it is None.
    signed : bool
        Whether to keep weights below zero rather than make them zero.
        Hyperparameters have them that vary most where the metric does not, as
        unimportant ones do.
    seed : int
        Not used, as nothing is random; all methods take it.

    Returns
    -------
    Series, shape (d,)
        By hyperparameter, between 0 and 1; signed, between -1 and 1.

    Examples
    --------
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> unit = {"x": (0.0, 1.0), "y": (0.0, 1.0)}
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + y}), "score", space=unit)
    >>> n_rrelieff(trials).round(2).to_dict()
    {'x': 0.11, 'y': 0.02}
    """
    from scipy.spatial.distance import cdist

    names, unit, y = _observed(trials, metric)
    distance = cdist(unit, unit, "cityblock")
    np.fill_diagonal(distance, np.inf)
    near = distance.argsort(axis=1, kind="stable")[:, : min(n_neighbors, len(y) - 1)]
    rank = np.arange(1, near.shape[1] + 1)
    influence = np.exp(-((rank / (sigma or np.inf)) ** 2))
    d_c = np.abs(y[near] - y[:, None]) / np.ptp(y)
    d_a = np.abs(unit[near] - unit[:, None])

    def difference(weights):
        # Where neighbours all agree, or all differ entirely, one of the means is of nothing.
        return np.einsum("ik,ika->a", weights, d_a) / max(weights.sum(), np.finfo(float).eps)

    weights = difference(influence * d_c) - difference(influence * (1 - d_c))
    return _series(weights if signed else np.maximum(weights, 0), names, "N-RReliefF")


def permutation(trials: Trials, metric: str | None = None, *, seed: int = 0) -> pd.Series:
    """Permutation importance of random forests (Breiman, 2001).

    Each fifth of the rows is predicted by a forest that was grown on the
    others: 100 trees with leaves of at least three rows. Then each column is
    permuted, five times.

    Parameters
    ----------
    trials : Trials
        The observations.
    metric : str, optional
        What to explain; the trials' first metric by default.
    seed : int
        Seed of the fifths, the forests and the permutations.

    Returns
    -------
    Series, shape (d,)
        By hyperparameter: how much the squared error of these predictions
        grows when its column is permuted, in squared units of the metric; zero
        where it falls.

    Examples
    --------
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + y}), "score")
    >>> permutation(trials).round(1).to_dict()
    {'x': 0.7, 'y': 0.1}
    """
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    names, unit, y = _observed(trials, metric)
    growth = np.zeros(len(names))
    settings = {"scoring": "neg_mean_squared_error", "n_repeats": 5, "random_state": seed}
    for seen, unseen in KFold(min(5, len(y)), shuffle=True, random_state=seed).split(unit):
        forest = _forest(unit[seen], y[seen], seed)
        result = permutation_importance(forest, unit[unseen], y[unseen], **settings)
        growth += result.importances_mean * len(unseen) / len(y)
    return _series(np.maximum(growth, 0), names, "permutation")


def tree_shap(trials: Trials, metric: str | None = None, *, seed: int = 0) -> pd.Series:
    """TreeSHAP (Lundberg et al., 2020) of a random forest.

    Parameters
    ----------
    trials : Trials
        The observations.
    metric : str, optional
        What to explain; the trials' first metric by default.
    seed : int
        Seed of the forest.

    Returns
    -------
    Series, shape (d,)
        By hyperparameter: the mean |SHAP| over the rows, in units of the
        metric, of a forest that was grown on them. It has 100 trees with
        leaves of at least three rows.

    Examples
    --------
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + y}), "score")
    >>> tree_shap(trials).round(1).to_dict()
    {'x': 0.5, 'y': 0.2}
    """
    shap = extra("shap")

    names, unit, y = _observed(trials, metric)
    values = shap.TreeExplainer(_forest(unit, y, seed)).shap_values(unit)
    return _series(np.abs(values).mean(0), names, "TreeSHAP")


#: The methods that `compare` adds, in the order of its columns.
METHODS: Mapping[str, Callable[..., pd.Series]] = {
    "fANOVA": fanova,
    "PED-ANOVA": ped_anova,
    "MDI": mdi,
    "N-RReliefF": n_rrelieff,
    "permutation": permutation,
    "TreeSHAP": tree_shap,
}


def compare(
    trials: Trials,
    metric: str | None = None,
    *,
    ours: Mapping[str, pd.Series] | None = None,
    methods: Mapping[str, Callable[..., pd.Series]] = METHODS,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every method's shares of importance, on the same observations.

    Of more than `MOST` observations these are so many at random, the same for
    all methods: the time and memory of some grow with the square of the rows.

    Parameters
    ----------
    trials : Trials
        The observations.
    metric : str, optional
        What to explain; the trials' first metric by default.
    ours : mapping of name to Series, optional
        Importances by hyperparameter from elsewhere; they become the first
        columns.
    methods : mapping of name to function
        The methods to add. Each is called as ``method(trials, metric,
        seed=seed)``.
    seed : int
        Seed of the forests.

    Returns
    -------
    DataFrame
        A row for each hyperparameter, the first column's largest share first.
        A column for each method, adding up to one: importances below zero
        count as zero, and the column is NaN where none is above.

    Raises
    ------
    ValueError
        As `fanova`.

    Examples
    --------
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + y}), "score")
    >>> compare(trials, methods={"MDI": mdi, "TreeSHAP": tree_shap}).round(1).to_dict()
    {'MDI': {'x': 0.8, 'y': 0.2}, 'TreeSHAP': {'x': 0.7, 'y': 0.3}}
    """
    columns, rows = dict(ours or {}), trials.usable
    if len(rows) > MOST:
        trials = replace(trials, table=rows.sample(MOST, random_state=seed).sort_index())
    columns |= {name: method(trials, metric, seed=seed) for name, method in methods.items()}
    index = pd.Index(spaces.varied(trials.space), name="hyperparameter")
    frame = pd.DataFrame({name: weights.reindex(index) for name, weights in columns.items()}).clip(lower=0)
    shares = frame / frame.sum().replace(0, np.nan)
    return shares.sort_values(shares.columns[0], ascending=False, kind="stable")


def _observed(trials: Trials, metric: str | None) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, unit-cube coordinates (n, d) and metric (n,) of the usable rows."""
    return spaces.varied(trials.space), *metamodel.observed(trials, trials.named(metric))


def _series(weights, names: list[str], method: str) -> pd.Series:
    return pd.Series(weights, pd.Index(names, name="hyperparameter"), dtype=float, name=method)


def _forest(unit: np.ndarray, y: np.ndarray, seed: int):
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(100, min_samples_leaf=3, random_state=seed).fit(unit, y)


def _by_optuna(method, evaluator, trials, metric, **settings) -> pd.Series:
    optuna = extra("optuna")

    names, unit, y = _observed(trials, metric)
    axes = {name: optuna.distributions.FloatDistribution(0, 1) for name in names}
    with quiet():
        study = optuna.create_study(direction=trials.metrics[trials.named(metric)])
        for u, value in zip(unit.tolist(), y.tolist()):
            params = dict(zip(names, u))
            study.add_trial(optuna.trial.create_trial(params=params, distributions=axes, value=value))
        judge = getattr(optuna.importance, evaluator)(**settings)
        weights = optuna.importance.get_param_importances(study, evaluator=judge, normalize=False)
    return _series([weights[name] for name in names], names, method)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from saying anything but what is wrong, in a ``with`` statement.

    Examples
    --------
    >>> import optuna
    >>> with quiet():
    ...     study = optuna.create_study()
    """
    optuna = extra("optuna")

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
