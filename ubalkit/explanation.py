"""From trials to what they say, in one call: `explain` does what notebooks 2 to 4 do step by step."""

import json
import math
import sys
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace
from scipy.stats import ks_2samp

from ubalkit import advice, effects, figures, files, metamodel, rivals, rules, uncertainty, workers
from ubalkit import space as spaces
from ubalkit.advice import Recommendation
from ubalkit.effects import Decomposition
from ubalkit.metamodel import Ensemble, Trust
from ubalkit.observations import Trials
from ubalkit.report import page
from ubalkit.shapley import LEAST_SUPPORT, Attribution

#: Advice is given on what at least this share of the resamples agree in.
SURE = 0.9


@dataclass(frozen=True, repr=False)
class Explanation:
    """What trials say about one metric; `explain` makes it.

    Importances, effects and advice are over points spread evenly over the
    space, wherever the trials lie in it; the figures' points are the trials.

    Attributes
    ----------
    trials : Trials
        What is explained.
    ensemble : Ensemble
        The meta-model.
    decomposition : Decomposition
        Its predictions at points of the space as effects, exactly.
    shap : Attribution
        SHAP values at these points.
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

    def __repr__(self):
        first = ", ".join(self.table.index[:3])
        return f"<Explanation of {len(self.trials.usable)} trials; {self.trust}; most important: {first}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: how far to believe it, what to do, Fig. 3."""
        drawn = figures.inline(self.figure(), f"SHAP values of {self.trust.metric} along each hyperparameter")
        shown = self.table[["importance", "low", "high", "action", "where"]]
        return f"<p><b>{escape(str(self.trust))}</b></p>{shown.to_html(float_format='{:.3g}'.format)}{drawn}"

    def html(self, *, made: str = "") -> str:
        """The report, one page for a browser that can be asked; see `ubalkit.report.page`."""
        return page(self, made=made)

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

    @cached_property
    def at_trials(self) -> Decomposition:
        """The predictions at the trials as effects; at `effects.affordable` many, drawn at random."""
        rows, most = self.trials.usable, effects.affordable(len(self.shap.names))
        rows = rows.sample(min(len(rows), most), random_state=0).sort_index()
        return effects.decompose(self.ensemble, rows)

    @cached_property
    def rules(self) -> list[rules.Rule]:
        """How two hyperparameters act together, where that is a relation that holds on trials left out."""
        return rules.find(self.ensemble, self.trials)

    @property
    def crowding(self) -> pd.Series:
        """How far the trials are from an even spread along each hyperparameter, 0 to 1, the farthest first.

        It is the Kolmogorov-Smirnov distance of their unit-cube coordinates
        from a uniform distribution; of choices, from equal shares.
        """
        space, found = self.ensemble.space, {}
        active = spaces.active(space, self.ensemble.unit)
        for name, unit, on in zip(self.shap.names, self.ensemble.unit.T, active.T):
            both = (unit[on], spaces.snapped(space, name, (np.arange(1000) + 0.5) / 1000))
            if spaces.is_number(space[name]):
                found[name] = ks_2samp(*both).statistic
            else:
                choices = spaces.grid(space, name)[:, None]
                shares = [np.isclose(choices, points).mean(1) for points in both]
                found[name] = np.abs(np.subtract(*shares)).sum() / 2
        return pd.Series(found).sort_values(ascending=False)

    @property
    def report(self) -> list[str]:
        """What was found, in sentences: how far to believe it, what matters, what to do."""
        rec, table = self.recommendation, self.table
        crowded = [f"{name} {by:.2f}" for name, by in self.crowding.items() if by > 0.25]
        spread = "The trials are spread over the whole space."
        if crowded:
            spread = (
                f"The trials crowd in a part of the space (distance from an even spread: {_all(crowded)}); "
                "importances are over the whole space, not over the trials."
            )
        goal = f"{'Large' if self.ensemble.maximize else 'Small'} values are taken to be the good ones."
        hint = _hint(self.trials.usable[self.ensemble.metric])
        sentences = [f"{self.trust}.", goal, *[hint] * bool(hint), spread, *(f"{o}." for o in self.order)]
        if len(self.order) > 1:
            sentences.append("More trials may tell them apart: explained.next(20) proposes some.")
        sentences += _withheld(table) + _advised(table) + self._at_ends() + self._together()
        sentences += [rule.sentence for rule in self.rules]
        sentences.append(f"{rec.lost} of the best {rec.n_best} trials lie outside the space proposed.")
        if not spaces.varied(rec.space):
            sentences.append("Nothing is left to search: the space proposed is one configuration.")
        if rec.loss["low"] > 0:
            sentences.append(f"The best predicted {rec.metric} there is {rec.loss['loss']:.2g} worse.")
        if failed := len(self.trials) - len(self.trials.usable):
            # Of fewer there is nothing to learn which do.
            which = "; explain(trials.failing) looks for which do" if failed >= 10 else ""
            sentences.append(f"{failed} trials failed{which}.")
        return sentences

    def _at_ends(self) -> list[str]:
        """Which hyperparameters are best at an end of their range, so that there may be better beyond it."""
        said = []
        for name in self.table.index[self.table["action"] != "freeze"]:
            hp = self.ensemble.space[name]
            if spaces.is_number(hp):
                place = (self.ensemble.sign * self.shap.running(name).replicates[:, 0]).argmax(1)
                seen = self.shap.support(name) >= LEAST_SUPPORT
                ends = ((hp.lower, 0, place <= 1), (hp.upper, -1, place >= len(seen) - 2))
                said += [f"{name} at {v:.4g}" for v, k, there in ends if seen[k] and there.mean() >= SURE]
        return [f"Best at an end of the range: {_all(said)}. Look beyond it if you can."] if said else []

    def _together(self) -> list[str]:
        """Which hyperparameters move together in the trials, as their reader has seen."""
        read = self.trials.report
        done = () if read is None else read["done"].items()
        return [
            f"{name} {what.split(':')[0]}: what one does may be the other's."
            for name, what in done
            if what.startswith("follows ")
        ]

    def next(self, n: int, seed: int = 0) -> pd.DataFrame:
        """Configurations of the space searched to try next, where trials are missing; see `advice.gaps`."""
        return advice.gaps(self.trials, n, seed)

    def methods(self, *, seed: int = 0) -> pd.DataFrame:
        """Shares of importance by every method, ours first.

        Others differ where trials crowd, for theirs are importances among the
        trials and not in the space, and where they measure a share of the
        variance, which squares what SHAP values measure.

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
        metric = self.ensemble.metric
        points = figures.fig3_frame({metric: self.at_trials.shap()})[0]
        curves = figures.fig3_frame({metric: self.shap})[1]
        return figures.fig3(points, curves, self.ensemble.space, {metric: self.trust})

    def explained(self):
        """Draw the same with its scatter split into own effects and interactions that have a name."""
        return figures.explained(self.at_trials)

    def save(self, folder: Path | str, *, made: str = "") -> Path:
        """Write what was found to files, which other programs read.

        Parameters
        ----------
        folder : Path or str
            Where to: the report goes to ``report.html``, the importances to
            ``importance.csv``, the space to search next, as ConfigSpace reads
            it, to ``space.json``, twenty configurations to try next to
            ``next.csv``, and both figures to the folder ``figures`` in it.
        made : str
            The command or the call that made it, shown in the report.

        Returns
        -------
        Path
            The folder.
        """
        folder = Path(folder)
        drawn = files.writable(folder / "figures")
        (folder / "report.html").write_text(self.html(made=made), encoding="utf-8")
        self.table.to_csv(folder / "importance.csv")
        text = json.dumps(spaces.plain(self.space), indent=1, default=str)
        (folder / "space.json").write_text(text + "\n", encoding="utf-8")
        self.next(20).to_csv(folder / "next.csv", index=False)
        figures.save(self.figure(), drawn, "fig3", close=True)
        figures.save(self.explained(), drawn, "explained", close=True)
        return folder


def explain(
    trials,
    metric: str | None = None,
    *,
    scale: str = "",
    seed: int = 0,
    progress: bool | None = None,
    **fit,
) -> Explanation:
    """Fit an ensemble to trials, decompose it, and recommend where to search next.

    Parameters
    ----------
    trials : Trials, DataFrame, str, Path, Optuna study, ...
        What `observations.read` or `experiment.run` gives, or anything that
        `readers.read` takes: a table, a study, the path of a file.
    metric : str, optional
        What to explain; the trials' first metric by default.
    scale : "log" or "rank", optional
        Explain the metric on this scale; see `Trials.on_scale`. The table says
        then, too, what an importance is in the metric's own units.
    seed : int
        Seed of the meta-models and of the points they are explained against.
    progress : bool, optional
        Whether to show a bar over the networks to train and to take apart; by
        default where someone looks on, at a terminal.
    **fit
        Further settings for `metamodel.fit`. Of MLPs and Gaussian processes
        those are kept that predict held-out trials better, unless ``kinds``
        says otherwise.

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
    if not isinstance(trials, Trials):
        from ubalkit import readers

        # Its reader names the metric as the trials have it.
        trials, metric = readers.read(trials, metric or ""), None
    own = trials.named(metric)
    trials = trials.on_scale(scale, own) if scale else trials
    metric = trials.metric if scale else own
    progress = sys.stderr.isatty() if progress is None else progress
    fit = {"kinds": metamodel.KINDS} | fit
    total = len(fit.get("architectures", metamodel.ARCHITECTURES)) + 2 + fit.get("n_members", 10)
    with workers.bar(total, 0, progress, unit="step") as advance:
        ensemble = metamodel.fit(trials, metric, seed=seed, advance=advance, **fit)
        ensemble.trust.check(_hint(trials.usable[metric]))
        whole = effects.decompose(ensemble, seed=seed, advance=advance)
    shap = whole.shap()
    found = advice.recommend(shap, trials.usable, sure=SURE, keep=10)
    if scale:
        found.table.insert(1, f"in {own}", _in_units(found.table["importance"], scale, trials.usable[own]))
    return Explanation(trials, ensemble, whole, shap, found)


def _hint(values: pd.Series) -> str:
    """What may hide the rest, where a few values of the metric hold nearly all of its variance."""
    low, middle, high = values.quantile([0.25, 0.5, 0.75])
    apart = ((values - middle) ** 2).sort_values()
    farthest = apart.tail(math.ceil(len(values) / 20))
    held, most = farthest.sum() / max(apart.sum(), 1e-300), values[apart.index[-1]]
    far = held > 0.8 or abs(most - middle) > 20 * max(high - low, 1e-12 * abs(middle))
    if not far or values.nunique() == 2:  # two are no scale: failed or not
        return ""
    return (
        f"The farthest {len(farthest)} of {len(values)} values, up to {most:.3g} where half are between "
        f"{low:.3g} and {high:.3g}, hold {held:.0%} of the variance and hide the others: "
        "explain with scale='log' or scale='rank'."
    )


def _in_units(sizes: pd.Series, scale: str, own: pd.Series) -> np.ndarray:
    """How much of a metric a step of each size on a scale of it is, around its median."""
    places = own.rank(pct=True) if scale == "rank" else np.log10(own)
    ends = [places.median() + side * sizes / 2 for side in (1, -1)]
    ends = [np.interp(end, np.sort(places), np.sort(own)) if scale == "rank" else 10**end for end in ends]
    return ends[0] - ends[1]


def _all(parts) -> str:
    return ", ".join(map(str, parts))


def _withheld(table: pd.DataFrame) -> list[str]:
    """Where there are too few trials to say anything."""
    bare = table[table["covered"] < 0.5]
    said = [f"{name} ({1 - row['covered']:.0%} of its range)" for name, row in bare.iterrows()]
    return [f"Hardly any trials in much of {_all(said)}: no freezing there."] if said else []


def _advised(table: pd.DataFrame) -> list[str]:
    """What to do with the hyperparameters."""
    sentences = []
    for action, words in (("freeze", "Freeze, for it matters little"), ("set", "Set, for one value is good")):
        of_action = table[table["action"] == action]
        if len(of_action):
            values = [f"{name} {row['where']}" for name, row in of_action.iterrows()]
            sentences.append(f"{words}: {_all(values)}.")
    return sentences
