"""Observations: what was set, what came out, a row a trial; in memory `Trials`, on disk tables and chunks.

A table has the hyperparameters in their order, the metrics, and ``status``
(``ok``, or ``failed``, where a network diverged for example). Its index,
named ``index``, says which configuration of the experiment a row is.

A recorded table is ``observations.csv`` with ``observations.json`` beside it,
which says what made it and holds the SHA-256 of the table. While a search is
under way each finished piece of it is a chunk, a sealed file of its own. All
that is read is checked here, and trusted everywhere else.
"""

import contextlib
import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace

from ubalkit import files
from ubalkit import space as spaces


@dataclass(frozen=True)
class Trials:
    """Finished trials of a search: the table, the space they were drawn from, and what is to be explained.

    Readers make them (`ubalkit.readers`), `read` does, and `experiment.run`;
    what takes them trusts them.

    Attributes
    ----------
    table : DataFrame
        A row a trial, by its number: the hyperparameters in the order of the
        space, NaN where a condition switches one off; the metrics, NaN where a
        trial failed; and ``status``, ``ok`` or ``failed``.
    space : ConfigurationSpace
        What the trials were drawn from.
    metrics : dict of name to "maximize" or "minimize"
        What was measured; the first one is explained where none is named.
    report : DataFrame
        What a reader found and did: ``n`` of what, and what was ``done``.
    about : dict
        What made the trials: settings, versions, date.

    Examples
    --------
    >>> space = ConfigurationSpace({"rate": (0.0, 1.0)})
    >>> table = pd.DataFrame({"rate": [0.1, 0.9], "loss": [0.5, np.nan], "status": ["ok", "failed"]})
    >>> trials = Trials(table, space, {"loss": "minimize"})
    >>> len(trials), len(trials.usable), trials.metric
    (2, 1, 'loss')
    """

    table: pd.DataFrame
    space: ConfigurationSpace
    metrics: Mapping[str, str]
    report: pd.DataFrame | None = field(default=None, repr=False)
    about: dict = field(default_factory=dict, repr=False)

    def __len__(self):
        return len(self.table)

    @property
    def metric(self) -> str:
        """Name of the first metric."""
        return next(iter(self.metrics))

    @cached_property
    def usable(self) -> pd.DataFrame:
        """The rows of the trials that did not fail."""
        return self.table[self.table["status"] == "ok"]

    @property
    def failing(self) -> "Trials":
        """The trials with one metric, ``failed``: 1 where a trial failed, else 0."""
        failed = (self.table["status"] == "failed").astype(float)
        table = self.table[spaces.names(self.space)].assign(failed=failed, status="ok")
        return Trials(table, self.space, {"failed": "minimize"}, self.report, self.about)

    def on_scale(self, scale: str, metric: str | None = None) -> "Trials":
        """The trials with a metric on another scale, before the others.

        Parameters
        ----------
        scale : "log" or "rank"
            Its logarithm to base 10, or its rank as a share of the trials: for
            a metric of which a few values hold nearly all the variance.
        metric : str, optional
            Which metric; the first one by default.

        Raises
        ------
        ValueError
            For the logarithm of a metric that is not positive.
        """
        name, values = self.named(metric), self.usable[self.named(metric)]
        if scale == "log" and values.min() <= 0:
            raise ValueError(f"{name} goes down to {values.min():g}, which has no logarithm: take its rank.")
        new, scaled = {
            "log": (f"log10 {name}", lambda: np.log10(values)),
            "rank": (f"rank of {name}", lambda: values.rank(pct=True)),
        }[scale]
        metrics = {new: self.metrics[name], **self.metrics}
        return Trials(self.table.assign(**{new: scaled()}), self.space, metrics, self.report, self.about)

    def named(self, metric: str | None) -> str:
        """A metric's name, of the first one by default.

        Raises
        ------
        ValueError
            For a metric that the trials do not have.
        """
        if metric is None:
            return self.metric
        if metric not in self.metrics:
            raise ValueError(
                f"Unknown metric {metric!r:.60}; the trials have {', '.join(self.metrics):.200}."
            )
        return metric


def checked(
    table: pd.DataFrame, space: ConfigurationSpace, seed: int, metrics: Sequence[str]
) -> pd.DataFrame:
    """The table itself, where each row is the configuration of its index, and has its metrics or failed.

    Parameters
    ----------
    table : DataFrame
        What was read or has come out of a search.
    space : ConfigurationSpace
        What the configurations must have been drawn from.
    seed : int
        Seed of the experiment; row *i* must be what `space.sample` draws for it.
    metrics : sequence of str
        Columns that must hold a number where the status is ok.

    Raises
    ------
    ValueError
        For missing columns, missing values in rows that did not fail, or rows
        of another configuration.
    """
    names = spaces.names(space)
    if missing := [c for c in [*names, *metrics, "status"] if c not in table]:
        raise ValueError(f"The table of observations lacks the columns {', '.join(missing)}.")
    found = table.loc[table["status"] == "ok", list(metrics)].apply(pd.to_numeric, errors="coerce")
    if found.isna().any(axis=None):
        row = found.index[found.isna().any(axis=1)][0]
        raise ValueError(f"Row {row} has no number for each metric though its status is ok.")
    drawn = spaces.sample(space, seed, table.index)
    same = np.column_stack([_same(table[name], drawn[name]) for name in names]).all(axis=1)
    if not same.all():
        row = table.index[~same][0]
        raise ValueError(f"Row {row} is not configuration {row}; the table was made with other settings.")
    return table


def _same(read: pd.Series, drawn: pd.Series) -> np.ndarray:
    numbers = (pd.to_numeric(values, errors="coerce").to_numpy(float) for values in (read, drawn))
    same = np.isclose(*numbers, rtol=1e-9, atol=1e-9) | (read.isna() & drawn.isna()).to_numpy()
    return same if same.all() else same | [str(a) == str(b) for a, b in zip(read, drawn)]


def write(trials: Trials, path: str | Path, **about) -> None:
    """Write trials as CSV and, beside it, JSON that says what made them.

    Parameters
    ----------
    trials : Trials
        What to write.
    path : str or Path
        Ends in ``.csv``; the JSON has the same name.
    **about
        Further plain values that say what made them.

    Examples
    --------
    >>> import tempfile
    >>> from ubalkit import experiment
    >>> space = ConfigurationSpace({"x": (-1.0, 1.0)})
    >>> square = experiment.Experiment("square", lambda at, seed: at["x"] ** 2, space, {"loss": "minimize"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(experiment.run(square, 5, folder=Path(folder), progress=False, n_jobs=1), f"{folder}/a.csv")
    ...     again = read(f"{folder}/a.csv", square)
    >>> len(again), dict(again.metrics)
    (5, {'loss': 'minimize'})
    """
    files.write_table(trials.table, Path(path), **{"directions": {**trials.metrics}, **trials.about, **about})


def read(path: str | Path, experiment=None) -> Trials:
    """Read a table that `write` wrote; check its SHA-256 and its rows.

    Parameters
    ----------
    path : str or Path
        Ends in ``.csv``.
    experiment : Experiment, optional
        What must have made it.

    Returns
    -------
    Trials

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file was changed since it was written, was made with other
        settings than the experiment's, or `checked` fails.
    """
    table, about = files.read_table(Path(path))
    if experiment is not None:
        _made_by(experiment, path, about)
    space, columns = spaces.from_plain(about["space"]), list(table)
    # Tables that do not say so hold accuracies, between the hyperparameters and the status.
    metrics = columns[columns.index(spaces.names(space)[-1]) + 1 : columns.index("status")]
    directions = about.get("directions") or dict.fromkeys(metrics, "maximize")
    if about.get("sampler", "random") == "random":
        checked(table, space, about["seed"], list(directions))
    return Trials(table, space, directions, about=about)


def write_chunk(table: pd.DataFrame, folder: Path, experiment) -> None:
    """Write the finished rows of one piece of a search, whole or not at all."""
    path = folder / f"{table.index[0]:06d}-{table.index[-1]:06d}.chunk.json"
    files.write_sealed(path, {"fingerprint": experiment.fingerprint, "csv": files.to_csv(table)})


def read_chunks(folder: Path, experiment) -> pd.DataFrame:
    """All rows in the chunks of a folder; see `merge`. Rows in conflict are warned of."""
    table, _, conflicts = merge([folder], experiment)
    if conflicts:
        what = f"{folder} holds different numbers for {ranges(conflicts)}; the first are kept."
        warnings.warn(what, stacklevel=2)
    return table


def merge(folders: Sequence[Path], experiment) -> tuple[pd.DataFrame, list[int], list[int]]:
    """The chunks in folders, and in the folders within them, as one table.

    With them come the rows that stand in the folder's own table alone,
    ``observations.csv``: all of them where it came without its chunks, as the
    recorded ones do. A damaged chunk is reported in a warning, renamed and
    left out, so that its rows are computed again; a damaged table is refused,
    or left out where there are chunks.

    Parameters
    ----------
    folders : sequence of Path
        Where the chunks lie.
    experiment : Experiment
        What must have made them.

    Returns
    -------
    table : DataFrame
        Every configuration once, in the order of the indices; of rows in
        conflict the one that was read first.
    twice, conflicts : list of int
        Indices that stand in several files, with the same numbers and with
        different ones.

    Raises
    ------
    ValueError
        If a chunk or a table was made with other settings than the
        experiment's.
    """
    parts = []
    for folder in map(Path, folders):
        chunks, recorded = sorted(folder.rglob("*.chunk.json")), folder / "observations.csv"
        own = [rows for path in chunks if (rows := _rows(path, experiment)) is not None]
        parts += own + rest(recorded, [i for rows in own for i in rows.index], experiment)
    table = pd.concat(parts) if parts else pd.DataFrame()
    again = table.index.duplicated()
    first, others = table[~again], table[again]
    known = first.loc[others.index]
    same = ((others == known) | (others.isna() & known.isna())).all(axis=1)
    conflicts = sorted(set(others.index[~same]))
    return first.sort_index(), sorted(set(others.index) - set(conflicts)), conflicts


def rest(path: Path, known: Sequence[int], experiment) -> list[pd.DataFrame]:
    """The rows of a table that chunks, whose rows are known, lack; none or one frame of them. See `merge`."""
    try:
        table = read(path, experiment).table if path.is_file() else pd.DataFrame()
    except (ValueError, OSError) as error:
        if not len(known):
            raise
        warnings.warn(f"{files.line(error, 500)} Its chunks are read alone.", stacklevel=3)
        table = pd.DataFrame()
    return [rows] if len(rows := table.drop(index=known, errors="ignore")) else []


def _rows(path: Path, experiment) -> pd.DataFrame | None:
    try:
        chunk = files.read_sealed(path) if path.is_file() else {}
        rows = files.from_csv(chunk["csv"])
        damaged = not pd.api.types.is_integer_dtype(rows.index)
    except (OSError, ValueError, KeyError, TypeError):
        damaged = True
    if damaged:
        with contextlib.suppress(OSError):  # in a folder that can only be read
            path.replace(path.with_suffix(".damaged"))
        warnings.warn(f"{path} is damaged; its configurations are computed again.", stacklevel=4)
        return None
    _made_by(experiment, path, chunk)
    return rows


def _made_by(experiment, path: Path, about: Mapping) -> None:
    if about.get("fingerprint") != experiment.fingerprint:
        what = f"{path} was made with other settings than {experiment.name!r} has"
        raise ValueError(f"{what}; take another folder or delete it.")


def ranges(indices: Sequence[int]) -> str:
    """Indices in words.

    >>> ranges([0, 1, 2, 3, 7, 9, 10])
    '0-3, 7, 9-10'
    """
    groups = itertools.groupby(enumerate(sorted(indices)), key=lambda pair: pair[1] - pair[0])
    runs = [[index for _, index in group] for _, group in groups]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
