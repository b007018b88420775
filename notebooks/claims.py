"""The statements of the paper's Section 4 about its Fig. 3, each as a test.

Every statement becomes an effect, a number that the statement says is
positive; its 90 % interval (see `ubalkit.uncertainty`); and a verdict that the
interval bears.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ubalkit import advice, shapley, uncertainty
from ubalkit.advice import LOW, Recommendation
from ubalkit.shapley import Attribution

#: What the paper leaves out of the next search, and where it keeps the rest (end of Section 4).
EXCLUDED = ("beta_1", "gammaB_1", "gammaB_2")
RANGES = {"beta_2": (0, 0.4), "beta_3": (0, 0.4), "gammaF_1": (0.6, 1), "gammaF_2": (0.6, 1)}

TEST, BACK = "test_accuracy", "backprojection_accuracy"


@dataclass(frozen=True)
class _Sample:
    """One bootstrap resample: SHAP values of both ensembles, and how often each row was drawn."""

    values: dict[str, np.ndarray]  # metric -> (n, d)
    table: pd.DataFrame
    names: list[str]
    weights: np.ndarray  # (n,)
    windows: dict[str, np.ndarray]  # hyperparameter -> (n_grid, n)

    def shap(self, metric: str, name: str) -> np.ndarray:
        """SHAP values of a hyperparameter, (n,)."""
        return self.values[metric][:, self.names.index(name)]

    def within(self, name: str, low: float, high: float) -> np.ndarray:
        """The weights of the rows where a hyperparameter's value is within a range, zero elsewhere; (n,)."""
        return self.weights * self.table[name].between(low, high).to_numpy()

    def mean(self, metric: str, name: str, low: float, high: float) -> float:
        """Mean SHAP value of a hyperparameter where its value is within a range."""
        weights = self.within(name, low, high)
        return weights @ self.shap(metric, name) / weights.sum()

    def running(self, name: str, values: np.ndarray) -> np.ndarray:
        """Running mean along a hyperparameter's range."""
        windows = self.windows[name] * self.weights
        return windows @ values / windows.sum(1)

    def scatter(self, metric: str, name: str, low: float, high: float) -> float:
        """Standard deviation of the SHAP values around their running mean, within a range."""
        values, grid = self.shap(metric, name), np.linspace(0, 1, len(self.windows[name]))
        curve = np.interp(self.table[name], grid, self.running(name, values))
        weights = self.within(name, low, high)
        return float(np.sqrt(weights @ (values - curve) ** 2 / weights.sum()))


def _most_impact(s: _Sample, metric: str) -> float:
    importance, j = s.weights @ np.abs(s.values[metric]), s.names.index("beta_2")
    return importance[j] - np.delete(importance, j).max()


def _varies(s: _Sample, metric: str) -> float:
    others = [s.scatter(metric, name, 0, 1) for name in s.names]
    return s.scatter(metric, "beta_2", 0, 0.4) - float(np.mean(others))


def _mean(name: str, low: float, high: float) -> Callable[[_Sample, str], float]:
    return lambda s, metric: s.mean(metric, name, low, high)


def _matters_little(name: str) -> Callable[[_Sample, str], float]:
    def margin(s, metric):
        peaks = [s.running(n, np.abs(v)).max() for n, v in zip(s.names, s.values[metric].T)]
        return LOW - peaks[s.names.index(name)] / max(peaks)

    return margin


def _lies_above(s: _Sample, _: str) -> float:
    return s.mean(TEST, "beta_2", 0.4, 1) - s.mean(BACK, "beta_2", 0.4, 1)


def _departs(s: _Sample, _: str) -> float:
    """Slope of the difference of the two SHAP values along beta_2 above 0.4."""
    x, weights = s.table["beta_2"].to_numpy(), s.within("beta_2", 0.4, 1)
    centred = x - weights @ x / weights.sum()
    difference = s.shap(TEST, "beta_2") - s.shap(BACK, "beta_2")
    return weights * centred @ difference / (weights @ centred**2)


_PEAK = f"{LOW} less its share of the largest peak"

#: Number, statement, what the effect is, the effect (positive where the statement holds), metrics.
STATEMENTS: list[tuple[int, str, str, Callable[[_Sample, str], float], tuple[str, ...]]] = [
    (1, "beta_2 has the most impact", "importance less the largest other", _most_impact, (TEST, BACK)),
    (2, "beta_2 ≤ 0.4 contributes positively", "mean SHAP", _mean("beta_2", 0, 0.4), (TEST, BACK)),
    (3, "beta_2 ≳ 0.4 contributes negatively", "mean SHAP, negated",
     lambda s, m: -s.mean(m, "beta_2", 0.4, 1), (BACK,)),
    # "Diverges in a positive trend" can be read as a trend or as a level: both are tested.
    (4, "beta_2 ≳ 0.4: testing departs upwards", "slope of the SHAP difference", _departs, ("both",)),
    (4, "beta_2 ≳ 0.4: testing lies above", "difference of mean SHAP", _lies_above, ("both",)),
    (5, "beta_1 matters little throughout", _PEAK, _matters_little("beta_1"), (TEST, BACK)),
    (5, "gammaB_1 matters little throughout", _PEAK, _matters_little("gammaB_1"), (TEST, BACK)),
    (5, "gammaB_2 matters little throughout", _PEAK, _matters_little("gammaB_2"), (TEST, BACK)),
    (6, "beta_3 ≤ 0.4 contributes positively", "mean SHAP", _mean("beta_3", 0, 0.4), (TEST, BACK)),
    (7, "gammaF_1 ≳ 0.6 contributes positively", "mean SHAP", _mean("gammaF_1", 0.6, 1), (TEST, BACK)),
    (7, "gammaF_2 ≳ 0.6 contributes positively", "mean SHAP", _mean("gammaF_2", 0.6, 1), (TEST, BACK)),
    (8, "beta_2 ≲ 0.4 varies widely at equal value", "scatter less the mean of all", _varies, (TEST, BACK)),
]  # fmt: skip


def judge(attributions: Mapping[str, Attribution], *, n_resamples: int = 500, seed: int = 0) -> pd.DataFrame:
    """Test every statement of Section 4 about Fig. 3.

    Parameters
    ----------
    attributions : mapping of metric to Attribution
        Of both metrics, for the same configurations, with the paper's seven
        hyperparameters, of ensembles of equally many members.
    n_resamples : int
        Bootstrap resamples, of ensemble members and observations.
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        ``claim`` (number), ``statement``, ``metric``, ``measure`` (what the
        effect is), ``effect``; ``low`` and ``high``, the bounds of its 90 %
        interval; ``verdict``: holds (the interval lies above 0), does not
        hold (below 0), or undecided.

    Examples
    --------
    >>> from ubalkit import space as spaces
    >>> from ubalkit.ubal import hyperparameters
    >>> table = spaces.sample(hyperparameters.space(), 0, range(60))
    >>> falling = np.stack([0.49 - table, 0.5 - table])  # of two members, along every hyperparameter
    >>> shap = Attribution(None, table, list(table), table.to_numpy(), falling, np.zeros(2))
    >>> judged = judge({TEST: shap, BACK: shap}, n_resamples=50)
    >>> judged.loc[judged["claim"] == 7, "verdict"].unique().tolist()
    ['does not hold']
    """
    test, back = attributions[TEST], attributions[BACK]
    assert test.table.index.equals(back.table.index), "the attributions explain different rows"
    windows = {name: shapley.windows(test.table[name].to_numpy(), n_grid=21) for name in test.names}
    # Member k of both ensembles was trained on the same resample: they are drawn as one.
    members = np.stack([test.member_values, back.member_values], axis=2)

    def effects(values, weights):
        sample = _Sample({TEST: values[:, 0], BACK: values[:, 1]}, test.table, test.names, weights, windows)
        return np.array([effect(sample, metric) for *_, effect, metrics in STATEMENTS for metric in metrics])

    judged = uncertainty.estimate(effects, members, n_resamples=n_resamples, seed=seed)
    rows = [(claim, what, m, measure) for claim, what, measure, _, metrics in STATEMENTS for m in metrics]
    frame = pd.DataFrame(rows, columns=["claim", "statement", "metric", "measure"])
    frame = frame.assign(**judged.columns("effect"))
    # A share of the largest peak lies between 0 and 1.
    shares = frame["measure"] == _PEAK
    frame.loc[shares, ["low", "high"]] = frame.loc[shares, ["low", "high"]].clip(LOW - 1, LOW)
    beyond_zero = [frame["low"] > 0, frame["high"] < 0]
    frame["verdict"] = np.select(beyond_zero, ["holds", "does not hold"], "undecided")
    return frame


def margins(table: pd.DataFrame) -> pd.DataFrame:
    """By how much each weight matrix keeps from learning its own activity, from UBAL's hyperparameters.

    In ΔW_l the forward prediction of the unit that learns has the factor
    β - γ^F, in ΔM_l its backward prediction has 1 - β - γ^B. Where such a
    factor is above zero, a unit's activity feeds back on itself.

    Returns
    -------
    DataFrame
        A column a matrix, ``W_1`` … (γ^F_l - β_{l+1}) and ``M_1`` …
        (γ^B_l + β_l - 1): these factors with the sign turned, from -1 to 1;
        above zero is good.

    Examples
    --------
    >>> margins(pd.DataFrame({"beta_1": [0.9], "beta_2": [0.2], "gammaF_1": [0.7], "gammaB_1": [0.6]}))
       W_1  M_1
    0  0.5  0.5
    """
    layers = range(1, 1 + sum(name.startswith("gammaF") for name in table))
    forward = {f"W_{l}": table[f"gammaF_{l}"] - table[f"beta_{l + 1}"] for l in layers}
    return pd.DataFrame(forward | {f"M_{l}": table[f"gammaB_{l}"] + table[f"beta_{l}"] - 1 for l in layers})


def coupling(
    table: pd.DataFrame, *, n_best: int = 20, n_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """What the strongest interactions come to: γ^F of a layer's estimate against β of its target.

    Of layer l the weights W learn from t_l - e^F_l = (β_l - γ^F_l) FP_l
    + (1 - β_l) BP_l - (1 - γ^F_l) BE_l (Fig. 1). Where γ^F_l < β_l, a unit's
    own activity feeds back on itself with a positive sign. In the paper's
    numbering: gammaF_1 against beta_2, gammaF_2 against beta_3, and so on.

    Parameters
    ----------
    table : DataFrame
        Observations of UBAL networks.
    n_best : int
        Best observations of each metric that are counted.
    n_resamples : int
        Bootstrap resamples of the observations.
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        Index: metric, and in how many layers γ^F_l > β_l; ``n`` observations;
        ``mean`` of the metric with its 90 % interval, ``low`` and ``high``;
        ``best``, how many of the best are among them.

    Examples
    --------
    >>> from ubalkit import files, observations
    >>> networks = observations.read(files.data("compact") / "observations.csv").table
    >>> coupling(networks)["mean"].unstack("layers").round(1).loc["test_accuracy"].tolist()
    [0.1, 0.3, 0.7]
    """
    layers = (margins(table).filter(like="W_") > 0).sum(axis=1)
    rng, rows = np.random.default_rng(seed), []
    for metric in (TEST, BACK):
        best = table[metric].nlargest(n_best).index
        for count, values in table[metric].dropna().groupby(layers):
            mean = uncertainty.bootstrap(lambda x: x.mean(-1), values, n_resamples=n_resamples, seed=rng)
            rows.append((metric, count, len(values), *mean, values.index.isin(best).sum()))
    columns = ["metric", "layers", "n", "mean", "low", "high", "best"]
    return pd.DataFrame(rows, columns=columns).set_index(["metric", "layers"])


def constraints(attribution: Attribution, *, n_best: int = 20) -> Recommendation:
    """The paper's own constraints (Section 4), as a recommendation.

    The paper does not say at which values the three hyperparameters that it
    leaves out are held; here at those with the highest mean SHAP value.

    Parameters
    ----------
    attribution : Attribution
        Of UBAL's seven hyperparameters.
    n_best : int
        Best configurations that the guard counts.

    Examples
    --------
    >>> from ubalkit import effects, files, metamodel, observations
    >>> trials = observations.read(files.data("compact") / "observations.csv")
    >>> ensemble = metamodel.fit(trials, TEST, n_members=2, n_folds=2, steps=50, weight_decays=[0.01])
    >>> papers = constraints(effects.decompose(ensemble, trials.table.head(50)).shap())
    >>> papers.ranges["gammaF_1"], list(papers.freeze)
    ((0.6, 1), ['beta_1', 'gammaB_1', 'gammaB_2'])
    """
    curves, space = attribution.curves().set_index("hyperparameter"), attribution.ensemble.space
    best = {name: curves.loc[name].set_index("value")["mean"].idxmax() for name in EXCLUDED}
    freeze = {name: advice.readable(value, space[name]) for name, value in best.items()}
    return advice.recommendation(attribution, freeze, dict(RANGES), n_best=n_best)
