"""Importance: how much each hyperparameter matters overall, by every method in use, in one table.

All methods see the same observations, in unit-cube coordinates, so that
importance is measured under the sampling distribution: in raw units a forest's
fANOVA counts a log-scaled hyperparameter by its largest values alone. A
category is ordered, at its coordinate.

They measure different things, which is often why they disagree. fANOVA: own
effects. MDI, permutation, TreeSHAP and N-RReliefF: own effects and
interactions. PED-ANOVA: what sets the best configurations apart.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd

from ubalkit import metamodel
from ubalkit import space as spaces
from ubalkit.observations import Trials

__all__ = ["METHODS", "fanova", "ped_anova", "mdi", "n_rrelieff", "permutation", "tree_shap", "compare"]
__all__ += ["quiet"]


def fanova(trials: Trials, metric: str | None = None, *, n_trees: int = 24, seed: int = 0) -> pd.Series:
    """Functional ANOVA of a random forest (Hutter et al., 2014), Optuna's.

    Parameters
    ----------
    trials : Trials
        Observations.
    metric : str, optional
        What to explain; the trials' first metric by default.
    n_trees : int
        Optuna's default is 64. The time, the longest of all methods here,
        grows with it, and faster than the rows: half a second a tree for 1000.
    seed : int
        Of the forest.

    Returns
    -------
    Series, shape (d,)
        Index: hyperparameter, in the space's order. Share of the forest's
        variance that its own effect explains, in [0, 1]; the rest of the
        variance is interaction.

    Raises
    ------
    ValueError
        For an unknown, constant or not finite metric, or fewer usable rows
        than twice the number of hyperparameters; as do all methods here.
    """
    evaluator = "FanovaImportanceEvaluator"
    return _by_optuna("fANOVA", evaluator, trials, metric, n_trees=n_trees, seed=seed)


def ped_anova(trials: Trials, metric: str | None = None, *, seed: int = 0) -> pd.Series:
    """PED-ANOVA (Watanabe et al., 2023), Optuna's; parameters and errors as `fanova`'s.

    How far the density of each hyperparameter's values among the best tenth of
    the rows is from that among all rows. What the best have in common need not
    be what the worst have: the negated metric has other importances.

    Parameters
    ----------
    seed : int
        Not used: nothing is random.

    Returns
    -------
    Series, shape (d,)
        Pearson divergence of the two densities, times the squared share of
        the rows that are the best; not negative.
    """
    return _by_optuna("PED-ANOVA", "PedAnovaImportanceEvaluator", trials, metric)


def mdi(trials: Trials, metric: str | None = None, *, seed: int = 0) -> pd.Series:
    """Mean decrease of impurity (Breiman, 2001), Optuna's; parameters and errors as `fanova`'s.

    Returns
    -------
    Series, shape (d,)
        Share of the fall of the squared error at splits on the hyperparameter,
        in [0, 1], in a forest of 64 trees grown down to single rows: fitted to
        noise, and so never quite zero.
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
    W_A = E[d_C d_A] / E[d_C] - E[(1 - d_C) d_A] / E[1 - d_C]. `compare`
    normalises. Parameters and errors otherwise as `fanova`'s.

    Parameters
    ----------
    n_neighbors : int
        All other rows if there are fewer. It and `sigma` are the defaults of
        CORElearn, Robnik-Šikonja's own software.
    sigma : float or None
        The neighbour of rank r counts exp(-(r / sigma)²); all equally if None.
    signed : bool
        Whether to keep weights below zero, of hyperparameters that vary most
        where the metric does not, as unimportant ones do; else they are zero.
    seed : int
        Not used: nothing is random.

    Returns
    -------
    Series, shape (d,)
        In [0, 1]; signed in [-1, 1].
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
    differ, agree = influence * d_c, influence * (1 - d_c)
    # Where neighbours all agree, or all differ entirely, one of the means is of nothing.
    least = np.finfo(float).eps
    weights = np.einsum("ik,ika->a", differ, d_a) / max(differ.sum(), least)
    weights -= np.einsum("ik,ika->a", agree, d_a) / max(agree.sum(), least)
    return _series(weights if signed else np.maximum(weights, 0), names, "N-RReliefF")


def permutation(trials: Trials, metric: str | None = None, *, seed: int = 0) -> pd.Series:
    """Permutation importance of random forests (Breiman, 2001); parameters and errors as `fanova`'s.

    Each fifth of the rows is predicted by a forest grown on the others, of
    100 trees with leaves of at least three rows; five permutations of a column.

    Returns
    -------
    Series, shape (d,)
        How much the squared error of these predictions grows when the column
        is permuted, in squared units of the metric; zero where it falls.
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
    """TreeSHAP (Lundberg et al., 2020) of a random forest; parameters and errors as `fanova`'s.

    Returns
    -------
    Series, shape (d,)
        Mean |SHAP| over the rows, in units of the metric, of a forest grown on
        them, of 100 trees with leaves of at least three rows.
    """
    import shap

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
    """Shares of importance by every method, on the same observations.

    Parameters
    ----------
    trials, metric
        As for `fanova`.
    ours : mapping of name to Series, optional
        Importances by hyperparameter from elsewhere; the first columns.
    methods : mapping of name to function
        Called as ``function(trials, metric, seed=seed)``.
    seed : int
        Seed of the forests.

    Returns
    -------
    DataFrame
        Index: hyperparameter, the first column's largest share first. A column
        a method, adding up to one: importances below zero count as zero, and
        the column is NaN where none is above.

    Raises
    ------
    ValueError
        As `fanova`.
    """
    names, *_ = _observed(trials, metric)
    columns = dict(ours or {})
    columns |= {name: method(trials, metric, seed=seed) for name, method in methods.items()}
    index = pd.Index(names, name="hyperparameter")
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
    import optuna

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
    """Optuna says nothing inside but what is wrong."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
