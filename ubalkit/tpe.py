"""The field's usual sequential search, Optuna's TPE, over the same networks, for comparison."""

import numpy as np
import pandas as pd

from ubalkit import importance, observations, search
from ubalkit import space as spaces
from ubalkit.profiles import Profile

__all__ = ["run"]


def run(
    profile: Profile,
    metric: str,
    *,
    n_trials: int = 50,
    n_studies: int = 8,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Several TPE studies of a profile's space, their networks trained side by side.

    Every study proposes one configuration from its own results alone; the
    proposals of all studies are then trained together, as one chunk.

    Parameters
    ----------
    metric : str
        What to maximise.
    n_trials : int
        Networks of each study, one after another.
    n_studies : int
        Independent repeats.
    seed : int
        Of the samplers and the networks.
    progress : bool
        Whether to show a bar over the trials.

    Returns
    -------
    DataFrame
        Observations with ``study`` and ``trial`` before the hyperparameters.

    Raises
    ------
    ValueError
        For an unknown metric.
    """
    import optuna

    if metric not in observations.METRICS:
        raise ValueError(f"Unknown metric {metric!r:.60}; there are {', '.join(observations.METRICS)}.")
    names = spaces.varied(profile.space)
    # Unit-cube coordinates: TPE then sees the same space as every other method here.
    axes = {name: optuna.distributions.FloatDistribution(0, 1) for name in names}
    samplers = [optuna.samplers.TPESampler(seed=seed + k) for k in range(n_studies)]
    rows = []
    with importance.quiet():
        studies = [optuna.create_study(direction="maximize", sampler=sampler) for sampler in samplers]
    with search.one_thread(), search.bar(n_trials * n_studies, 0, progress) as advance:
        for step in range(n_trials):
            trials = [study.ask(axes) for study in studies]
            unit = np.array([[trial.params[name] for name in names] for trial in trials])
            proposed = spaces.from_unit(profile.space, np.minimum(unit, np.nextafter(1, 0)))
            proposed.index = pd.RangeIndex(step * n_studies, (step + 1) * n_studies, name="index")
            seeds = [search.network_seed(seed, i, 2) for i in proposed.index]
            measured = search.measure(profile, proposed, seeds=seeds)
            for study, trial, value in zip(studies, trials, measured[metric]):
                # A trial without a finite value is told to have failed.
                state = None if np.isfinite(value) else optuna.trial.TrialState.FAIL
                study.tell(trial, value if state is None else None, state=state)
            measured.insert(0, "study", range(n_studies))
            measured.insert(1, "trial", step)
            rows.append(measured)
            advance(n_studies)
    return pd.concat(rows)
