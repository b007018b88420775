"""From trials to what they say, in one call: `explain` does what notebooks 2 to 4 do step by step."""

import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from ConfigSpace import ConfigurationSpace

from ubalkit import (
    attribution,
    constraints,
    decomposition,
    figures,
    figures_explained,
    importance,
    metamodel,
    paths,
    uncertainty,
)
from ubalkit import space as spaces
from ubalkit.attribution import Attribution
from ubalkit.constraints import Recommendation
from ubalkit.decomposition import Decomposition
from ubalkit.metamodel import Ensemble
from ubalkit.trust import Trust

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True)
class Explanation:
    """What trials say about one metric.

    Attributes
    ----------
    ensemble : Ensemble
        The meta-model.
    decomposition : Decomposition
        Its predictions at the trials, exactly.
    shap : Attribution
        SHAP values: exact, or Deep SHAP's where there are too many
        hyperparameters for these.
    recommendation : Recommendation
        What to freeze and where to search next.
    """

    ensemble: Ensemble
    decomposition: Decomposition
    shap: Attribution
    recommendation: Recommendation

    @property
    def trust(self) -> Trust:
        """How far to believe any of it."""
        return self.ensemble.trust

    @property
    def table(self) -> pd.DataFrame:
        """Importance of each hyperparameter with its interval, and what to do with it."""
        return self.recommendation.table

    @property
    def space(self) -> ConfigurationSpace:
        """The space to search next."""
        return self.recommendation.space

    @property
    def order(self) -> list[str]:
        """How sure the order of importances is, in sentences."""
        return uncertainty.order(self.shap.importance_estimate(), self.shap.names)

    def methods(self, *, seed: int = 0) -> pd.DataFrame:
        """Shares of importance by every method; see `importance.compare`."""
        ours = {"SHAP": self.shap.importance()["importance"]}
        ensemble = self.ensemble
        return importance.compare(
            self.shap.table, ensemble.metric, ensemble.space, ours=ours, maximize=ensemble.maximize, seed=seed
        )

    def figure(self):
        """Fig. 3 for this model: SHAP values of each hyperparameter along its value."""
        metric = self.ensemble.metric
        frames = figures.fig3_frame({metric: self.shap})
        return figures.fig3(*frames, {metric: self.trust}, self.ensemble.space)

    def explained(self):
        """The same, its scatter split into own effects and named interactions."""
        return figures_explained.explained(self.decomposition)

    def save(self, folder: Path | str) -> Path:
        """Write the importances (CSV), the space (JSON of ConfigSpace) and, in ``figures``, both figures."""
        folder = Path(folder)
        drawn = paths.writable(folder / "figures")
        self.table.to_csv(folder / "importance.csv")
        text = json.dumps(spaces.plain(self.space), indent=1, default=str)
        (folder / "space.json").write_text(text + "\n", encoding="utf-8")
        shown = {"fig3": self.figure} | ({"explained": self.explained} if self.decomposition.complete else {})
        for name, draw in shown.items():
            figure = draw()
            figures.save(figure, drawn, name)
            plt.close(figure)  # saved, not shown
        return folder


def explain(
    trials,
    metric: str | None = None,
    space: ConfigurationSpace | None = None,
    *,
    maximize: bool | None = None,
    seed: int = 0,
    **fit,
) -> Explanation:
    """Fit an ensemble to trials, decompose it, and recommend where to search next.

    Parameters
    ----------
    trials : Trials or DataFrame
        From `observations.from_optuna` and its like; or a table of
        observations, of `search.run` for example.
    metric : str, optional
        A column of the table; the trials' first metric by default.
    space : ConfigurationSpace, optional
        The trials' by default, or UBAL's seven hyperparameters.
    maximize : bool, optional
        Whether large values are the good ones; what the trials say by
        default, else True.
    seed : int
    **fit
        For `metamodel.fit`.

    Returns
    -------
    Explanation

    Raises
    ------
    ValueError
        If there are too few trials, the metric is unknown or constant, or the
        ensemble predicts no better than the mean: then there is nothing to
        explain.
    """
    table = getattr(trials, "table", trials)
    space = space or getattr(trials, "space", None)
    metric = metric or getattr(trials, "metric", None)
    if maximize is None:
        maximize = getattr(trials, "metrics", {}).get(metric) != "minimize"
    ensemble = metamodel.fit(table, metric, space, maximize=maximize, seed=seed, **fit)
    whole = decomposition.decompose(ensemble, table, seed=seed)
    shap = whole.shap() if whole.complete else attribution.deep_shap(ensemble, table, seed=seed)
    return Explanation(ensemble, whole, shap, constraints.recommend(shap))
