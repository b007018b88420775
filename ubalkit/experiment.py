"""Experiments: what can be searched, and the search itself.

Configuration *i* of an experiment, its seed and so its outcome follow from
the experiment and *i* alone. So a search is a set of indices: pieces of it
run anywhere, in any order, and one that was stopped computes what is missing.
"""

import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import IntegerHyperparameter

import ubalkit
from ubalkit import files, observations, workers
from ubalkit import space as spaces
from ubalkit.observations import Trials

# Characters of a reason: a table is no place for a dump, and a CSV field has a limit.
_LONGEST = 500
# A machine that has no memory, files or disk left.
_FULL = {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Experiment:
    """A search over an objective.

    Attributes
    ----------
    name : str
        Also the folder of its files.
    objective : callable
        ``objective(configuration, seed)``: from a dict of the active
        hyperparameters and an int to the metrics, a dict, or a number where
        there is one metric. An exception or a value that is not finite is a
        configuration that failed; but want of memory, disk or files is the
        machine's failure, and the configuration is lost, to be tried again.
        Any other set of metrics stops the search.
    space : ConfigurationSpace
        Where configurations are drawn from.
    directions : mapping of str to str
        Names of the metrics, and for each whether to ``maximize`` or to
        ``minimize`` it.
    n_configurations : int
        How many a search evaluates that is not told otherwise.
    seed : int
        Seed of the whole experiment.
    chunk : int
        Configurations a file; a search that is stopped loses the chunks in
        flight.
    version : str
        Change it when the objective changes: rows of another version are not
        taken for rows of this one.

    Examples
    --------
    >>> from ConfigSpace import ConfigurationSpace
    >>> space = ConfigurationSpace({"x": (-1.0, 1.0)})
    >>> square = Experiment("square", lambda at, seed: at["x"] ** 2, space, {"loss": "minimize"})
    >>> square.evaluate([0, 1])["loss"].round(2).tolist()
    [0.08, 0.61]
    """

    name: str
    objective: Callable[[dict, int], float | Mapping[str, float]] = field(compare=False, repr=False)
    space: ConfigurationSpace = field(compare=False, repr=False)
    directions: Mapping[str, str]
    n_configurations: int = 100
    seed: int = 0
    chunk: int = 1
    version: str = "1"

    def __post_init__(self):
        if not self.directions or set(self.directions.values()) - {"maximize", "minimize"}:
            raise ValueError(f"directions = {self.directions}; each metric is to maximize or minimize.")
        if taken := {*self.directions} & {*self.space, "status", "why", "index"}:
            raise ValueError(f"{taken.pop()!r:.60} cannot name a metric: it names another column.")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return tuple(self.directions)

    def identity(self) -> dict:
        """What decides what a row holds, as plain values."""
        plain = {"name": self.name, "directions": dict(self.directions), "seed": int(self.seed)}
        return plain | {"version": self.version, "space": spaces.plain(self.space)}

    @property
    def fingerprint(self) -> str:
        """Hash of the identity: equal rows need equal fingerprints."""
        return hashlib.sha256(json.dumps(self.identity()).encode()).hexdigest()[:16]

    def settings(self) -> dict:
        """The identity and its fingerprint, for files that say what made them."""
        return {**self.identity(), "fingerprint": self.fingerprint}

    def configurations(self, indices: Sequence[int]) -> pd.DataFrame:
        """What is set in some configurations, a row an index; see `space.sample`."""
        return spaces.sample(self.space, self.seed, indices)

    def seeds(self, indices: Sequence[int], stream: int = 1) -> list[int]:
        """Seed of each configuration: of the search (stream 1), or of other looks at it (2 and up).

        The hyperparameters come from ``[seed, index]``, another stream than all of these.
        """
        return [int(np.random.default_rng([self.seed, int(i), stream]).integers(2**32)) for i in indices]

    def evaluate(self, indices: Sequence[int], *, device="cpu") -> pd.DataFrame:
        """Observations of some configurations: a table as `ubalkit.observations` describes."""
        return self.measure(self.configurations(indices), self.seeds(indices), device=device)

    def again(self, table: pd.DataFrame, seeds: Sequence[int], *, device="cpu") -> pd.DataFrame:
        """Observations of rows of hyperparameters from given seeds, in pieces of `side_by_side`."""
        size, names = self.side_by_side(device), spaces.names(self.space)
        parts = [slice(k, k + size) for k in range(0, len(table), size)]
        with workers.one_thread():
            return pd.concat([self.measure(table.iloc[p][names], seeds[p], device=device) for p in parts])

    def repeats(self, n: int = 40, n_seeds: int = 4, *, device="cpu") -> pd.DataFrame:
        """Some configurations from several seeds each: what chance alone does to a metric.

        Parameters
        ----------
        n : int
            How many: the configurations 0 … n - 1.
        n_seeds : int
            Seeds of each, none of them the search's.
        device : str
            Device of torch.

        Returns
        -------
        DataFrame
            Observations; every index stands `n_seeds` times.
        """
        rows = [(i, stream) for i in range(n) for stream in range(3, 3 + n_seeds)]
        seeds = [self.seeds([i], stream)[0] for i, stream in rows]
        return self.again(self.configurations([i for i, _ in rows]), seeds, device=device)

    def side_by_side(self, device="cpu") -> int:
        """How many configurations to evaluate as one piece on a device."""
        return self.chunk

    def measure(self, table: pd.DataFrame, seeds: Sequence[int], *, device="cpu") -> pd.DataFrame:
        """Observations of rows of hyperparameters, each from its seed, one after another.

        Returns
        -------
        DataFrame
            The rows with the metrics, ``status`` (``lost`` where the machine
            failed) and ``why`` one failed.

        Raises
        ------
        ValueError
            If the objective returns other metrics than `directions` names, or
            a device is asked for, which is the objective's to choose.
        """
        if str(device) != "cpu":
            raise ValueError(f"device = {str(device)!r}: an objective of one's own chooses its device.")
        outcomes = []
        for index, row, seed in zip(table.index, table.astype(object).to_dict("records"), seeds):
            # Beside missing values a table holds integers as floats.
            whole = {k for k in row if isinstance(self.space[k], IntegerHyperparameter)}
            active = {k: int(v) if k in whole else v for k, v in row.items() if v is None or v == v}
            outcomes.append(self._outcome(index, active, seed))
        outcomes = pd.DataFrame(outcomes, index=table.index)
        return pd.concat([table, outcomes], axis=1)

    def _outcome(self, index: int, configuration: dict, seed: int) -> dict:
        nothing = {**dict.fromkeys(self.metrics, math.nan), "status": "failed"}
        try:
            found = self.objective(configuration, seed)
            found = dict(found) if isinstance(found, Mapping) else {self.metrics[0]: found}
            values = {metric: float(found[metric]) for metric in self.metrics if metric in found}
        except (Exception, SystemExit) as error:
            lost = isinstance(error, MemoryError) or getattr(error, "errno", None) in _FULL
            why = files.line(f"{type(error).__name__}: {error}", _LONGEST)
            return {**nothing, "status": "lost" if lost else "failed", "why": why}
        if set(found) != set(self.metrics):
            raise ValueError(
                f"The objective returned the metrics {', '.join(map(str, found)):.200} for configuration "
                f"{index}; {', '.join(self.metrics):.100} are wanted. What is finished is kept."
            )
        wrong = [f"{metric} = {value}" for metric, value in values.items() if not math.isfinite(value)]
        return {**nothing, "why": wrong[0]} if wrong else {**values, "status": "ok", "why": ""}


def run(
    experiment: Experiment,
    n: int | None = None,
    *,
    indices: Sequence[int] | None = None,
    folder: Path | None = None,
    n_jobs: int | None = None,
    client=None,
    chunk: int | None = None,
    device="cpu",
    precision: str = "float32",
    progress: bool = True,
) -> Trials:
    """Search: evaluate configurations of an experiment; what is on disk is not computed again.

    Each finished chunk is written at once, whole, so that an interrupted
    search loses the chunks in flight and nothing else.

    Parameters
    ----------
    experiment : Experiment
        What to search.
    n : int, optional
        The configurations 0 … n - 1; the experiment's own number by default.
    indices : sequence of int, optional
        These configurations rather than the first `n`.
    folder : Path, optional
        Where the chunks lie; ``chunks`` in the experiment's runs by default.
    n_jobs : int, optional
        Processes, each with one thread; one a core by default. On a CUDA
        device always one.
    client : distributed.Client, optional
        Evaluates on its Dask cluster rather than here; each worker needs this
        package in the same version, and the data set. With a CUDA device each
        worker needs a GPU of its own; see `workers.on_cluster`.
    chunk : int, optional
        Configurations evaluated as one piece; `Experiment.side_by_side` by
        default.
    device : str
        Device of torch.
    precision : {"float32", "tf32"}
        Precision of torch's matrix products; tf32 on a CUDA device only.
    progress : bool
        Whether to show a bar with rate and time left.

    Returns
    -------
    Trials
        Those wanted, in their order, checked.

    Raises
    ------
    ValueError
        If the folder cannot be written to, holds chunks of other settings or
        is written to by another search, or the device is not to be had.
    workers.Lost
        If a process of the search, the cluster, or what one of them had
        finished is gone. All other chunks are kept then, as they are when the
        search is interrupted.

    Examples
    --------
    >>> from ConfigSpace import ConfigurationSpace
    >>> space = ConfigurationSpace({"x": (-1.0, 1.0)})
    >>> square = Experiment("square", lambda at, seed: at["x"] ** 2, space, {"loss": "minimize"})
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trials = run(square, 20, folder=Path(folder), n_jobs=1, progress=False)
    >>> len(trials), trials.metric
    (20, 'loss')
    """
    import torch

    if client is None and str(device) != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device = {str(device)!r}: torch finds no such device here; cpu is allowed.")
    wanted = list(range(experiment.n_configurations if n is None else n) if indices is None else indices)
    size = experiment.side_by_side(device) if chunk is None else chunk
    if not wanted or size < 1 or min(wanted) < 0 or len(set(wanted)) < len(wanted):
        raise ValueError("Give at least one index, each once and none negative, and a chunk of at least 1.")
    folder = files.writable(Path(folder or files.runs(experiment.name) / "chunks").absolute())
    with files.held(folder, ".*.chunk.json.*"):
        done = observations.read_chunks(folder, experiment)
        missing = [i for i in wanted if i not in done.index]
        pieces = [missing[k : k + size] for k in range(0, len(missing), size)]
        work = functools.partial(_piece, experiment, str(device), precision, files.code())
        why = ""
        try:
            finished, n_done = _evaluated(work, pieces, n_jobs, client, device), len(wanted) - len(missing)
            with contextlib.closing(finished), workers.bar(len(wanted), n_done, progress) as advance:
                for rows in finished:
                    lost = rows[rows["status"] == "lost"]
                    why = f" ({lost['why'].iloc[0]})" if len(lost) else why
                    if len(kept := rows.drop(index=lost.index)):
                        observations.write_chunk(kept, folder, experiment)
                    advance(len(kept))
            # Once more from the disk, where something else may have befallen them.
            done = observations.read_chunks(folder, experiment) if missing else done
            if gone := [i for i in wanted if i not in done.index]:
                raise workers.Lost(f"Configurations {observations.ranges(gone)} are lost{why}.")
        except (workers.Lost, KeyboardInterrupt) as error:
            n_done = len(observations.read_chunks(folder, experiment).index.intersection(wanted))
            raise type(error)(
                f"{str(error) or 'Stopped.'} {n_done} of {len(wanted)} configurations are finished, "
                f"in {folder}; the same search run again goes on from there."
            ) from None
    table = observations.checked(done.loc[wanted], experiment.space, experiment.seed, experiment.metrics)
    return Trials(table, experiment.space, experiment.directions, about=provenance(experiment, device))


def _evaluated(work, pieces: list, n_jobs: int | None, client, device) -> Iterator[pd.DataFrame]:
    """The finished pieces, as they come, from wherever they are evaluated."""
    if client:
        return workers.on_cluster(work, pieces, client, gpu=str(device) != "cpu")
    n = min(n_jobs or os.cpu_count() or 1, len(pieces)) if str(device) == "cpu" else 1
    return workers.in_processes(work, pieces, n) if n > 1 else (work(piece) for piece in pieces)


def _piece(
    experiment: Experiment, device: str, precision: str, code: str, indices: Sequence[int]
) -> pd.DataFrame:
    if code != files.code():  # of a worker that came too late to be asked, or of a file changed meanwhile
        raise ValueError(f"A worker has {files.code()}, the search {code}.")
    with workers.torch_set(device, precision):
        return experiment.evaluate(indices, device=device)


def verify(
    experiment: Experiment,
    trials: Trials,
    n_rows: int = 3,
    *,
    tolerance: Mapping[str, float] | None = None,
    seed: int = 0,
    device="cpu",
) -> pd.DataFrame:
    """Evaluate some trials once more, alone, and compare.

    Parameters
    ----------
    experiment : Experiment
        What made the trials.
    trials : Trials
        What was recorded.
    n_rows : int
        How many, picked at random.
    tolerance : mapping of metric to float, optional
        How far a metric may be off; 1e-6 by default.
    seed : int
        Seed of the picking.
    device : str
        Device of torch.

    Returns
    -------
    DataFrame
        A row a configuration and metric: ``recorded``, ``again``,
        ``difference`` and whether it ``holds`` within the tolerance.

    Examples
    --------
    >>> from ConfigSpace import ConfigurationSpace
    >>> space = ConfigurationSpace({"x": (-1.0, 1.0)})
    >>> square = Experiment("square", lambda at, seed: at["x"] ** 2, space, {"loss": "minimize"})
    >>> trials = Trials(square.evaluate(range(9)), space, square.directions)
    >>> verify(square, trials, 2)["holds"].tolist()
    [True, True]
    """
    table, metrics = trials.table, list(trials.metrics)
    picked = np.random.default_rng(seed).choice(table.index, min(n_rows, len(table)), replace=False)
    with workers.torch_set("cpu"):
        again = pd.concat([experiment.evaluate([int(i)], device=device) for i in picked])
    both = {"recorded": table.loc[picked], "again": again}
    frame = pd.concat({k: t[metrics].stack() for k, t in both.items()}, axis=1)
    frame.index.names = ["index", "metric"]
    frame["difference"] = frame["again"] - frame["recorded"]
    allowed = [(tolerance or {}).get(metric, 1e-6) for metric in frame.index.get_level_values("metric")]
    frame["holds"] = (frame["difference"].abs() <= allowed) | frame[["recorded", "again"]].isna().all(axis=1)
    return frame


def provenance(experiment: Experiment, device="cpu", **further) -> dict:
    """What trials are made with: settings, versions, device, date."""
    import torch

    versions = {m.__name__: m.__version__ for m in (torch, np, pd)}
    here = torch.device(device).type != "cpu" and torch.cuda.is_available()
    return {
        **experiment.settings(),
        "ubalkit": ubalkit.__version__,
        "python": sys.version.split()[0],
        "versions": {**versions, "torch": str(torch.__version__).split("+")[0]},
        "device": torch.cuda.get_device_name(device) if here else str(device),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        **further,
    }
