"""The field's usual sequential search, Optuna's TPE, over the same networks, for comparison."""

import numpy as np
import pandas as pd

from ubalkit import rivals, workers
from ubalkit import space as spaces
from ubalkit.experiment import Experiment
from ubalkit.observations import Trials


def run(
    experiment: Experiment,
    metric: str,
    *,
    n_trials: int = 50,
    n_studies: int = 8,
    device: str = "cpu",
    progress: bool = False,
) -> Trials:
    """Several TPE studies of an experiment's space, their configurations evaluated side by side.

    Every study proposes one configuration from its own results alone; the
    proposals of all studies are then trained together, as one chunk.

    Parameters
    ----------
    experiment : Experiment
        Its seed is that of samplers and networks.
    metric : str
        What to maximise.
    n_trials : int
        Networks of each study, one after another.
    n_studies : int
        Independent repeats, each with a seed of its own.
    device : str
        Device of torch.
    progress : bool
        Whether to show a bar over the trials.

    Returns
    -------
    Trials
        Their table has ``study`` and ``trial`` before the hyperparameters.

    Examples
    --------
    >>> from ubalkit.paper import tasks
    >>> task = tasks.heteroassociation(3, size=4, hidden=5, epochs=2)
    >>> run(task, "bits", n_trials=2, n_studies=2).table[["study", "trial"]].to_numpy().tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    import optuna

    names = spaces.varied(experiment.space)
    # Unit-cube coordinates: TPE then sees the same space as every other method here.
    axes = {name: optuna.distributions.FloatDistribution(0, 1) for name in names}
    samplers = [optuna.samplers.TPESampler(seed=experiment.seed + k) for k in range(n_studies)]
    rows = []
    with rivals.quiet():
        studies = [optuna.create_study(direction="maximize", sampler=sampler) for sampler in samplers]
    with workers.one_thread(), workers.bar(n_trials * n_studies, 0, progress) as advance:
        for step in range(n_trials):
            trials = [study.ask(axes) for study in studies]
            unit = np.array([[trial.params[name] for name in names] for trial in trials])
            proposed = spaces.from_unit(experiment.space, np.minimum(unit, np.nextafter(1, 0)))
            proposed.index = pd.RangeIndex(step * n_studies, (step + 1) * n_studies, name="index")
            measured = experiment.measure(proposed, experiment.seeds(proposed.index, stream=2), device=device)
            for study, trial, value in zip(studies, trials, measured[metric]):
                # A trial without a finite value is told to have failed.
                outcome = {"values": value} if np.isfinite(value) else {"state": optuna.trial.TrialState.FAIL}
                study.tell(trial, **outcome)
            measured.insert(0, "study", range(n_studies))
            measured.insert(1, "trial", step)
            rows.append(measured)
            advance(n_studies)
    return Trials(pd.concat(rows), experiment.space, experiment.directions)
