"""The observation table: one row a configuration, what was set and what came out.

Columns: the hyperparameters in their order, the metrics (of UBAL networks
``test_accuracy`` and ``backprojection_accuracy``) and ``status`` (``ok``, or
``failed``, where a network diverged for example). The index, named ``index``,
says which configuration of the profile a row is.

A recorded table is ``observations.csv`` with ``observations.json`` beside it,
which says what made it and holds a SHA-256 that reading checks; for the files
of a search that is under way see `ubalkit.chunks`.
"""

import contextlib
import hashlib
import io
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from ubalkit import experiment, inputs, profiles
from ubalkit import space as spaces
from ubalkit.experiment import Experiment
from ubalkit.profiles import METRICS, Profile
from ubalkit.trials import from_csv, from_frame, from_optuna, from_sklearn

__all__ = ["METRICS", "metric_values", "check", "usable", "write", "read"]
__all__ += ["to_text", "from_text", "sha256", "write_atomically"]
__all__ += ["from_frame", "from_csv", "from_optuna", "from_sklearn"]


def to_text(table: pd.DataFrame) -> str:
    """A table as CSV."""
    return table.to_csv(lineterminator="\n")


def from_text(text: str) -> pd.DataFrame:
    """A table from CSV, to the last bit as it was."""
    # Python's parser reads floats back to the last bit in every version of pandas.
    return pd.read_csv(io.StringIO(text), index_col="index", engine="python")


def sha256(text: str) -> str:
    """Of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    ValueError
        If it cannot be written: a full disk, a folder without permission.
    """
    # A reader, or a kill, sees the old file or the new one, nothing between.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise ValueError(f"{path} could not be written ({error.strerror}).") from error


def check(table: pd.DataFrame, profile: Profile | Experiment) -> pd.DataFrame:
    """See that a table holds observations of a profile or experiment, and nothing else.

    Returns
    -------
    DataFrame
        The table itself.

    Raises
    ------
    ValueError
        For missing columns, duplicated indices, missing values in rows that
        did not fail, or rows whose hyperparameters are not those of the
        profile's configuration of that index.
    """
    names = spaces.names(profile.space)
    missing = [c for c in [*names, *profile.metrics, "status"] if c not in table]
    if missing:
        raise ValueError(f"The table of observations lacks the columns {', '.join(missing)}.")
    twice = table.index[table.index.duplicated()]
    if len(twice):
        raise ValueError(f"The table of observations holds the index {twice[0]} more than once.")
    ok = table[table["status"] == "ok"]
    for column in profile.metrics:
        values = pd.Series(_numbers(ok[column]), ok.index)
        if values.isna().any():
            row = values.index[values.isna()][0]
            raise ValueError(f"Row {row} has no number for {column} though its status is ok.")
    drawn = spaces.sample(profile.space, profile.seed, table.index)
    same = np.column_stack([_same(table[name], drawn[name]) for name in names])
    if not same.all():
        row = table.index[~same.all(axis=1)][0]
        raise ValueError(
            f"Row {row} is not configuration {row} of the profile {profile.name!r}; "
            "the table was made with other settings."
        )
    return table


def _same(read: pd.Series, drawn: pd.Series) -> np.ndarray:
    same = np.isclose(_numbers(read), _numbers(drawn), rtol=1e-9, atol=1e-9)
    same |= (read.isna() & drawn.isna()).to_numpy()
    if not same.all():
        same |= [str(a) == str(b) for a, b in zip(read, drawn)]
    return same


def _numbers(values: pd.Series) -> np.ndarray:
    return pd.to_numeric(values, errors="coerce").to_numpy(float)


def metric_values(table: pd.DataFrame, metric: str) -> pd.Series:
    """One metric of a table.

    Raises
    ------
    ValueError
        For a metric that the table does not have.
    """
    if not isinstance(metric, str) or metric not in table:
        known = [c for c in table if c in METRICS] or list(table.select_dtypes("number")) or list(METRICS)
        raise ValueError(f"Unknown metric {metric!r:.60}; the table has {', '.join(map(str, known)):.200}.")
    return pd.Series(_numbers(table[metric]), table.index, name=metric)


def usable(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that did not fail; says how many it leaves out, in a warning.

    Raises
    ------
    ValueError
        If the table has no column ``status``.
    """
    if "status" not in table:
        raise ValueError(f"The table has no column 'status'; it has {', '.join(map(str, table)):.200}.")
    ok = np.array([str(word) == "ok" for word in table["status"]], dtype=bool)
    if not ok.all():
        warnings.warn(f"{(~ok).sum()} of {len(table)} configurations failed and are left out.", stacklevel=2)
    return table[ok]


def write(table: pd.DataFrame, path: str | Path, **provenance) -> None:
    """Write a table as CSV and, beside it, JSON that says what made it.

    Parameters
    ----------
    path : str or Path
        Ends in ``.csv``; the JSON has the same name.
    **provenance
        Plain values: settings, versions, dates.
    """
    path, text = Path(path), to_text(table)
    own = {"rows": len(table), "sha256": sha256(text)}
    about = {**own, **provenance, **own}  # also where they are those of a table that was read
    write_atomically(path, text)
    write_atomically(path.with_suffix(".json"), json.dumps(about, indent=1) + "\n")


def read(path: str | Path, profile: Profile | Experiment | None = None) -> pd.DataFrame:
    """Read a table; check its SHA-256, its rows and, with a profile, that it is the profile's.

    Returns
    -------
    DataFrame
        Its ``attrs["about"]`` holds the provenance.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file was changed since it was written, was made with other
        settings than the profile's, or `check` fails.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There are no observations at {path}; notebook 01_search makes them.")
    # What is not UTF-8 has another SHA-256 than what was written.
    text = path.read_text(encoding="utf-8", errors="replace")
    about_file = path.with_suffix(".json")
    if not about_file.is_file():
        raise ValueError(f"{about_file.name} is missing beside {path}: what made the table is unknown.")
    about = inputs.mapping(about_file)
    if about.get("sha256") != sha256(text):
        raise ValueError(f"{path} was changed after it was written: its SHA-256 is not the recorded one.")
    table = from_text(text)
    if profile is not None and about.get("fingerprint") != profile.fingerprint:
        raise ValueError(f"{path} was made with other settings than the profile {profile.name!r} has.")
    if "space" in about and about.get("sampler", "random") == "random":
        known = experiment if "directions" in about else profiles
        check(table, known.from_settings(about))
    table.attrs["about"] = about
    return table
