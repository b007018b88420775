"""From trials to what they say, in one call: `explain` does what notebooks 2 to 4 do step by step."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from ConfigSpace import ConfigurationSpace

from ubalkit import advice, effects, figures, files, metamodel, rivals, shapley, uncertainty
from ubalkit import space as spaces
from ubalkit.advice import Recommendation
from ubalkit.effects import Decomposition
from ubalkit.metamodel import Ensemble, Trust
from ubalkit.observations import Trials
from ubalkit.shapley import Attribution


@dataclass(frozen=True)
class Explanation:
    """What trials say about one metric; `explain` makes it.

    Attributes
    ----------
    trials : Trials
        What is explained.
    ensemble : Ensemble
        The meta-model.
    decomposition : Decomposition
        Its predictions at the trials as effects, exactly.
    shap : Attribution
        SHAP values: exact ones, or Deep SHAP's where there are too many
        hyperparameters for these.
    recommendation : Recommendation
        What to freeze and where to search next.

    Examples
    --------
    >>> import numpy as np
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + 0.1 * y}), "score")
    >>> explained = explain(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3])
    >>> explained.order
    ['x is first in 100% of the resamples']
    >>> explained.table["action"].to_dict()
    {'x': 'search', 'y': 'freeze'}
    """

    trials: Trials
    ensemble: Ensemble
    decomposition: Decomposition
    shap: Attribution
    recommendation: Recommendation

    @property
    def trust(self) -> Trust:
        """How far any of it can be believed."""
        return self.ensemble.trust

    @property
    def table(self) -> pd.DataFrame:
        """The importance of each hyperparameter with its interval, and what to do with it."""
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
        """Shares of importance by every method, ours first.

        Parameters
        ----------
        seed : int
            Seed of the other methods' forests.

        Returns
        -------
        DataFrame
            A column for each method; see `rivals.compare`.
        """
        ours = {"SHAP": self.shap.importance()["importance"]}
        return rivals.compare(self.trials, self.ensemble.metric, ours=ours, seed=seed)

    def figure(self):
        """Draw the SHAP values of each hyperparameter along its value, as Fig. 3 of the paper does."""
        frames = figures.fig3_frame({self.ensemble.metric: self.shap})
        return figures.fig3(*frames, self.ensemble.space, {self.ensemble.metric: self.trust})

    def explained(self):
        """Draw the same with its scatter split into own effects and interactions that have a name."""
        return figures.explained(self.decomposition)

    def save(self, folder: Path | str) -> Path:
        """Write what was found to files, which other programs read.

        Parameters
        ----------
        folder : Path or str
            Where to: the importances go to ``importance.csv``, the space to
            search next, as ConfigSpace reads it, to ``space.json``, and both
            figures to the folder ``figures`` in it.

        Returns
        -------
        Path
            The folder.
        """
        folder = Path(folder)
        drawn = files.writable(folder / "figures")
        self.table.to_csv(folder / "importance.csv")
        text = json.dumps(spaces.plain(self.space), indent=1, default=str)
        (folder / "space.json").write_text(text + "\n", encoding="utf-8")
        figures.save(self.figure(), drawn, "fig3", close=True)
        if self.decomposition.complete:
            figures.save(self.explained(), drawn, "explained", close=True)
        return folder


def explain(trials: Trials, metric: str | None = None, *, seed: int = 0, **fit) -> Explanation:
    """Fit an ensemble to trials, decompose it, and recommend where to search next.

    Parameters
    ----------
    trials : Trials
        What a reader of `ubalkit.readers`, `observations.read` or
        `experiment.run` gives.
    metric : str, optional
        What to explain; the trials' first metric by default.
    seed : int
        Seed of the meta-models and of the points they are explained against.
    **fit
        Further settings for `metamodel.fit`.

    Returns
    -------
    Explanation

    Raises
    ------
    ValueError
        If there are too few trials, the metric is unknown or constant, or the
        ensemble predicts no better than the mean: then there is nothing to
        explain.

    Examples
    --------
    >>> import numpy as np
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + 0.1 * y}), "score")
    >>> explained = explain(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3])
    >>> explained.trust.verdict, explained.table.index[0]
    ('good', 'x')
    """
    ensemble = metamodel.fit(trials, metric, seed=seed, **fit)
    whole = effects.decompose(ensemble, trials.usable, seed=seed)
    shap = whole.shap() if whole.complete else shapley.deep_shap(ensemble, trials.usable, seed=seed)
    return Explanation(trials, ensemble, whole, shap, advice.recommend(shap))
