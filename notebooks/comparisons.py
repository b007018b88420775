"""Comparing searches of equal budgets; two protocols, and two attributions, on the same configurations."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ubalkit import uncertainty
from ubalkit.shapley import Attribution

#: Sizes of searches whose expected best is compared.
SIZES = (10, 50)


def expected_best(values: np.ndarray, n) -> np.ndarray:
    """Expected best of n draws from an empirical distribution, exactly.

    Parameters
    ----------
    values : ndarray, shape (..., n_values)
        What was observed; several samples at once along the first axes.
    n : int or array of int, shape (n_sizes,)
        How many are drawn, with replacement.

    Returns
    -------
    ndarray, shape (..., n_sizes)

    Examples
    --------
    >>> expected_best(np.array([0.0, 1.0]), [1, 2])
    array([0.5 , 0.75])
    """
    values = np.sort(values, axis=-1)
    below = np.arange(values.shape[-1] + 1) / values.shape[-1]
    # The best of n is the k-th smallest value if all draws are at most it and not all below.
    weights = np.diff(below ** np.atleast_1d(n)[:, None])
    return values @ weights.T


def best_of(
    tables: Mapping[str, pd.DataFrame], metric: str, *, n_resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Expected best accuracy after n networks of each arm, with bootstrap intervals.

    Parameters
    ----------
    tables : mapping of arm to DataFrame
        Observations.
    metric : str
        The column that holds the accuracy.
    n_resamples : int
        Bootstrap resamples of an arm's networks.
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        ``arm``, ``n``, ``best``; ``low`` and ``high``, the 5 % and 95 % quantiles.
        Of an arm of sequential studies (a column ``study``) the best so far is
        averaged over the studies, which are what is resampled.

    Examples
    --------
    >>> curve = best_of({"whole": pd.DataFrame({"accuracy": [0.2, 0.6]})}, "accuracy")
    >>> curve[["n", "best"]].round(2).to_numpy().tolist()
    [[1.0, 0.4], [2.0, 0.5]]
    """
    rng = np.random.default_rng(seed)
    frames = []
    for arm, table in tables.items():
        if "study" in table:
            # A row a study, in the order of its trials; failed ones as the worst.
            values = table.pivot_table(index="study", columns="trial", values=metric).fillna(0).to_numpy()
            best_so_far = np.maximum.accumulate(values, axis=1)
            sizes, best = np.arange(1, values.shape[1] + 1), best_so_far.mean(0)
            curves = rng.choice(best_so_far, (n_resamples, len(values))).mean(1)
        else:
            values = table[metric].dropna().to_numpy()
            sizes = np.unique([*np.geomspace(1, len(values), 40).round().astype(int), *SIZES])
            sizes = sizes[sizes <= len(values)]
            best = expected_best(values, sizes)
            curves = expected_best(rng.choice(values, (n_resamples, len(values))), sizes)
        low, high = uncertainty.bounds(curves)
        frames.append(pd.DataFrame({"arm": arm, "n": sizes, "best": best, "low": low, "high": high}))
    return pd.concat(frames, ignore_index=True)


def trials_to_reach(curves: pd.DataFrame, accuracy: float) -> pd.DataFrame:
    """How many networks each arm needs until its expected best reaches an accuracy.

    Parameters
    ----------
    curves : DataFrame
        From `best_of`.
    accuracy : float
        The goal.

    Returns
    -------
    DataFrame
        Index: arm; ``n``, and ``low`` and ``high``, where the bounds of the
        band reach it: NaN where the arm's budget does not.

    Examples
    --------
    >>> curve = {"n": [1, 2, 4], "best": [0.2, 0.5, 0.8], "low": [0.1, 0.3, 0.6], "high": [0.5, 0.7, 0.9]}
    >>> curves = pd.DataFrame(curve).assign(arm="whole")
    >>> [trials_to_reach(curves, goal).loc["whole"].tolist() for goal in (0.5, 0.85)]
    [[2.0, 1.0, 4.0], [nan, 4.0, nan]]
    """
    # The upper bound of the band is the first to get there.
    columns = {"n": "best", "low": "high", "high": "low"}
    reached = {n: curves["n"].where(curves[column] >= accuracy) for n, column in columns.items()}
    return pd.DataFrame(reached, dtype=float).groupby(curves["arm"], sort=False).min()


def differences(
    tables: Mapping[str, pd.DataFrame],
    metric: str,
    *,
    against: str,
    sizes: Sequence[int] = SIZES,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """How much better each arm is than one of them, with 90 % bootstrap intervals.

    Parameters
    ----------
    tables : mapping of arm to DataFrame
        Observations.
    metric : str
        The column that is compared.
    against : str
        The arm that the others are compared with.
    sizes : sequence of int
        Sizes of searches whose expected best is compared. The best of all is
        not: the bootstrap of a maximum is not consistent.
    n_resamples : int
        Bootstrap resamples of each arm's networks.
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        Index: arm and measure (``mean``, ``best of n``); columns
        ``difference``, ``low``, ``high``.

    Examples
    --------
    >>> whole, half = (pd.DataFrame({"accuracy": values}) for values in ([0.2, 0.3, 0.4], [0.5, 0.7, 0.9]))
    >>> found = differences({"whole": whole, "half": half}, "accuracy", against="whole", sizes=[2])
    >>> found["difference"].round(2).to_dict()
    {('half', 'mean'): 0.4, ('half', 'best of 2'): 0.44}
    >>> verdict(found, "half", "whole")
    'half against whole: mean: better; best of 2: better.'
    """
    rng = np.random.default_rng(seed)
    values = {arm: table[metric].dropna().to_numpy() for arm, table in tables.items()}

    def measures(x):
        return {"mean": x.mean(-1)} | {f"best of {n}": expected_best(x, n)[..., 0] for n in sizes}

    observed = {arm: measures(v) for arm, v in values.items()}
    resampled = {arm: measures(rng.choice(v, (n_resamples, len(v)))) for arm, v in values.items()}
    found, others = {}, [arm for arm in tables if arm != against]
    for arm, measure in itertools.product(others, observed[against]):
        low, high = uncertainty.bounds(resampled[arm][measure] - resampled[against][measure])
        found[arm, measure] = observed[arm][measure] - observed[against][measure], low, high
    return pd.DataFrame(found, ["difference", "low", "high"]).T.rename_axis(["arm", "measure"])


def verdict(differences: pd.DataFrame, arm: str, against: str) -> str:
    """The `differences` of an arm in one sentence; only what the intervals bear is called better or worse."""
    words = []
    for measure, row in differences.loc[arm].iterrows():
        word = "better" if row["low"] > 0 else "worse" if row["high"] < 0 else "not distinguishable"
        words.append(f"{measure}: {word}")
    return f"{arm} against {against}: " + "; ".join(words) + "."


def agreement(
    table: pd.DataFrame,
    reference: pd.DataFrame,
    metric: str,
    names: Sequence[str] = (),
    *,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether a cheap protocol tells what a costly one would: the same configurations, trained by both.

    Parameters
    ----------
    table, reference : DataFrame
        Observations by the cheap and by the costly protocol; rows of one
        index are of one configuration.
    metric : str
        The column that is compared.
    names : sequence of str
        Hyperparameters whose pull is compared.
    n_resamples : int
        Bootstrap resamples of the configurations that both have.
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        Index: measure, which is ``rank correlation`` (Spearman's, of the
        metric by one protocol with that by the other), ``mean difference``
        (reference less table), and for each hyperparameter ``pull of`` it:
        its rank correlation with the metric in the reference, less that in
        the table. Columns ``value``, and ``low`` and ``high``, the bounds of
        its 90 % interval.

    Examples
    --------
    >>> cheap = pd.DataFrame({"rate": [0.1, 0.5, 0.9], "accuracy": [0.2, 0.4, 0.6]})
    >>> costly = cheap.assign(accuracy=cheap["accuracy"] + 0.1)
    >>> agreement(cheap, costly, "accuracy", ["rate"])["value"].round(1).to_dict()
    {'rank correlation': 1.0, 'mean difference': 0.1, 'pull of rate': 0.0}
    """
    table, reference = table.dropna(subset=[metric]), reference.dropna(subset=[metric])
    rows = table.index.intersection(reference.index)
    a, b = (t.loc[rows, metric].to_numpy() for t in (table, reference))
    x, x_reference = (t.loc[rows, list(names)].to_numpy(float).T for t in (table, reference))
    assert np.allclose(x, x_reference, equal_nan=True), "different configurations under the same index"

    def measures(a, b, x):
        pulls = rank_correlation(x, b) - rank_correlation(x, a)
        return np.array([rank_correlation(a, b), (b - a).mean(-1), *pulls])

    draws = np.random.default_rng(seed).integers(len(rows), size=(n_resamples, len(rows)))
    low, high = uncertainty.bounds(measures(a[draws], b[draws], x[:, draws]).T)
    rows = ["rank correlation", "mean difference", *(f"pull of {n}" for n in names)]
    columns = {"value": measures(a, b, x), "low": low, "high": high}
    return pd.DataFrame(columns, pd.Index(rows, name="measure"))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's, along the last axis; NaN where one of the two does not vary.

    Examples
    --------
    >>> rank_correlation(np.array([1, 2, 3]), np.array([[1, 5, 9], [3, 2, 1]]))
    array([ 1., -1.])
    """
    a, b = (r - r.mean(-1, keepdims=True) for r in (rankdata(v, axis=-1) for v in (a, b)))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))


def deviation(approximate: Attribution, exact: Attribution) -> pd.DataFrame:
    """Tell how far one attribution is from another of the same configurations.

    Parameters
    ----------
    approximate : Attribution
        What is judged.
    exact : Attribution
        What it is compared with.

    Returns
    -------
    DataFrame
        A row for each hyperparameter, in the exact order of importance, and
        one for ``all``. ``error`` is the mean absolute difference over the
        mean absolute exact value; ``ratio`` is the mean absolute value over
        that of the exact ones; ``signs`` is the share of the points of the
        running mean at which both have the same sign. Each of these has a 90 %
        interval, in columns that end in ``_low`` and ``_high``. ``rank`` and
        ``exact_rank`` are those of the importance.

    Examples
    --------
    >>> from ubalkit import effects, metamodel, readers, shapley
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + y}), "score")
    >>> ensemble = metamodel.fit(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3])
    >>> exact = effects.decompose(ensemble, trials.usable).shap()
    >>> off = deviation(shapley.deep_shap(ensemble, trials.usable), exact)
    >>> off.loc["all", ["ratio", "signs"]].round(1).tolist()
    [1.0, 1.0]
    """
    assert np.array_equal(approximate.unit, exact.unit), "two attributions of different configurations"

    def sizes(both, weights):
        first, second = both[:, 0], both[:, 1]
        means = [weights @ np.abs(values) for values in (first - second, first, second)]
        error, size, exact_size = (np.append(m, m.sum()) for m in means)
        # Of a hyperparameter that does nothing there is no relative error.
        return np.stack([error, size]) / np.where(exact_size > 0, exact_size, np.nan)

    def signs(attribution):
        return [np.sign(attribution.running(name).draws[:, 0]) for name in exact.names]

    # Member by member: both were drawn from the same observations.
    both = np.stack([approximate.member_values, exact.member_values], axis=2)
    found = uncertainty.estimate(sizes, both, nonnegative=True, resample_rows=exact.random)
    # Replicate k of both running means is of the same member and rows.
    alike = np.array([(a == b).mean(1) for a, b in zip(signs(approximate), signs(exact))])
    alike = np.vstack([alike, alike.mean(0)]).T
    low, high = uncertainty.interval(alike[0], alike[1:], n_members=len(exact.member_values))
    columns = found.columns_of(["error", "ratio"]) | {"signs": alike[0]}
    columns |= {"signs_low": np.maximum(low, 0), "signs_high": np.minimum(high, 1)}
    frame = pd.DataFrame(columns, index=pd.Index([*exact.names, "all"], name="hyperparameter"))
    frame["rank"], frame["exact_rank"] = (a.importance()["rank"] for a in (approximate, exact))
    return frame.loc[[*exact.importance().index, "all"]]
