"""Experiments: a search over any objective, as a profile is one over UBAL networks.

An objective is a function from a configuration and a seed to one or several
metrics. `search.run` treats both alike: configuration *i* and its seed follow
from the experiment and *i* alone, chunks are written as they finish, and what
is on disk is not computed again.
"""

import contextlib
import hashlib
import json
import math
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import IntegerHyperparameter

from ubalkit import inputs
from ubalkit import space as spaces

__all__ = ["Experiment", "from_settings"]

# Characters of a reason: a table is no place for a dump, and a CSV field has a limit.
_LONGEST = 500


@dataclass(frozen=True)
class Experiment:
    """A search over an objective of one's own.

    Attributes
    ----------
    name : str
        Also the folder of its files.
    objective : callable
        ``objective(configuration, seed)``: from a dict of the active
        hyperparameters and an int to the metrics, a dict, or a number where
        there is one metric. An exception, a value that is not finite, or one
        that takes too long is a configuration that failed; any other set of
        metrics stops the search.
    space : ConfigurationSpace
        Where configurations are drawn from.
    directions : mapping of str to str
        Names of the metrics, and for each whether to ``maximize`` or to
        ``minimize`` it.
    n_configurations : int
    seed : int
        Of the whole experiment.
    chunk : int
        Configurations a file; a search that is stopped loses the chunks in
        flight.
    time_limit : float, optional
        Seconds for one configuration, where the objective runs in the main
        thread of a process and in Python code: compiled code is not
        interrupted.
    version : str
        Change it when the objective changes: rows of another version are not
        taken for rows of this one.
    """

    name: str
    objective: Callable[[dict, int], float | Mapping[str, float]] = field(compare=False, repr=False)
    space: ConfigurationSpace = field(compare=False, repr=False)
    directions: Mapping[str, str]
    n_configurations: int = 100
    seed: int = 0
    chunk: int = 1
    time_limit: float | None = None
    version: str = "1"

    def __post_init__(self):
        if not self.directions or set(self.directions.values()) - {"maximize", "minimize"}:
            raise ValueError(f"directions = {self.directions}; each metric is to maximize or minimize.")
        if taken := {*self.directions} & {*self.space, "status", "why", "index"}:
            raise ValueError(f"{taken.pop()!r:.60} cannot name a metric: it names another column.")
        if self.time_limit is not None and not self.time_limit > 0:  # or every configuration would fail
            raise ValueError(f"time_limit = {self.time_limit}; it must be positive.")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return tuple(self.directions)

    def settings(self) -> dict:
        """What decides what a row holds, as plain values; see `from_settings`."""
        plain = {"name": self.name, "directions": dict(self.directions), "seed": int(self.seed)}
        plain |= {"version": self.version, "space": spaces.plain(self.space)}
        return {**plain, "fingerprint": hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]}

    @property
    def fingerprint(self) -> str:
        """Hash of the settings; equal rows need equal fingerprints."""
        return self.settings()["fingerprint"]

    def evaluate(self, indices: Sequence[int]) -> pd.DataFrame:
        """Observations of some configurations, one after another.

        Returns
        -------
        DataFrame
            The hyperparameters, the metrics, ``status`` and ``why`` one failed.

        Raises
        ------
        ValueError
            If the objective returns other metrics than `directions` names.
        """
        table = spaces.sample(self.space, self.seed, indices)
        outcomes = []
        for index, row in zip(table.index, table.astype(object).to_dict("records")):
            configuration = {k: self._native(k, v) for k, v in row.items() if not pd.isna(v)}
            seed = int(np.random.default_rng([self.seed, index, 1]).integers(2**32))
            outcomes.append(self._outcome(index, configuration, seed))
        return table.join(pd.DataFrame(outcomes, index=table.index))

    def _native(self, name: str, value):
        # Beside missing values a table holds integers as floats.
        value = int(value) if isinstance(self.space[name], IntegerHyperparameter) else value
        return value.item() if isinstance(value, np.generic) else value

    def _outcome(self, index: int, configuration: dict, seed: int) -> dict:
        nothing = dict.fromkeys(self.metrics, math.nan)
        try:
            with _limited(self.time_limit):
                found = self.objective(configuration, seed)
            found = dict(found) if isinstance(found, Mapping) else {self.metrics[0]: found}
            values = {metric: float(found[metric]) for metric in self.metrics if metric in found}
        except _OverTime:
            return {**nothing, "status": "failed", "why": f"took longer than {self.time_limit:g} s"}
        except Exception as error:
            why = inputs.line(f"{type(error).__name__}: {error}", _LONGEST)
            return {**nothing, "status": "failed", "why": why}
        if set(found) != set(self.metrics):
            raise ValueError(
                f"The objective returned the metrics {', '.join(map(str, found)):.200} for configuration "
                f"{index}; {', '.join(self.metrics):.100} are wanted. What is finished is kept."
            )
        wrong = [f"{metric} = {value}" for metric, value in values.items() if not math.isfinite(value)]
        if wrong:
            return {**nothing, "status": "failed", "why": wrong[0]}
        return {**values, "status": "ok", "why": ""}


def from_settings(settings: Mapping) -> Experiment:
    """The experiment that a file's settings describe, without its objective."""
    known = {key: settings[key] for key in ("name", "directions", "seed", "version")}
    return Experiment(objective=None, space=spaces.from_plain(settings["space"]), **known)


class _OverTime(BaseException):
    """Not an Exception, so that an objective that catches these does not catch it."""


@contextlib.contextmanager
def _limited(seconds: float | None):
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        raise _OverTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
