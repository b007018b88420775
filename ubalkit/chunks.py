"""Chunk files: the finished rows of a search, a file each, written whole or not at all.

Every file carries a SHA-256 and the fingerprint of its settings, so a file
that is cut, changed or of another search is never taken for rows. Files of
several searches, from several machines, are merged by reading them together.
"""

import contextlib
import itertools
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from ubalkit import observations
from ubalkit.experiment import Experiment
from ubalkit.observations import from_text, sha256, to_text, write_atomically
from ubalkit.profiles import Profile

__all__ = ["Merged", "held", "merge", "ranges", "read", "write"]


@dataclass(frozen=True)
class Merged:
    """Rows of several chunk files together.

    Attributes
    ----------
    table : DataFrame
        Every configuration once, in the order of the indices; of rows in
        conflict the one that was read first.
    twice : list of int
        Indices that stand in several files, with the same numbers.
    conflicts : list of int
        Indices that stand in several files, with different numbers.
    """

    table: pd.DataFrame
    twice: list[int]
    conflicts: list[int]

    def missing(self, n: int) -> list[int]:
        """Which of the configurations 0 … n - 1 are not there."""
        return sorted(set(range(n)) - set(self.table.index))


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep every other search out of a folder; the system lets go when this process ends, however it ends.

    Raises
    ------
    ValueError
        If another search writes to the folder.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"Another search is writing to {folder}; wait for it, or search in another folder and merge."
        ) from None
    try:
        # What a search that was killed had begun to write.
        for draft in folder.glob(".*.chunk.json.*"):
            draft.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def write(table: pd.DataFrame, folder: Path, profile: Profile | Experiment) -> Path:
    """Write the rows of one finished chunk, whole or not at all."""
    text = to_text(table)
    whole = {"fingerprint": profile.fingerprint, "sha256": sha256(text), "csv": text}
    path = folder / f"{table.index[0]:06d}-{table.index[-1]:06d}.chunk.json"
    write_atomically(path, json.dumps(whole) + "\n")
    return path


def read(folder: Path, profile: Profile | Experiment) -> pd.DataFrame:
    """All rows in the chunk files of a folder; see `merge`. Rows in conflict are warned of."""
    merged = _joined(_all(folder, profile))
    if merged.conflicts:
        warnings.warn(
            f"{folder} holds different numbers for {ranges(merged.conflicts)}; the first are kept.",
            stacklevel=2,
        )
    return merged.table


def merge(folders: Sequence[Path], profile: Profile | Experiment) -> Merged:
    """The chunk files in folders, and in the folders within them, as one table.

    Of a folder without chunk files it is its table, ``observations.csv``, as
    the recorded ones come. A damaged file is reported in a warning, renamed
    and left out, so that its rows are computed again.

    Raises
    ------
    ValueError
        If a chunk or a table was made with other settings than the profile's.
    """
    parts = []
    for folder in map(Path, folders):
        found, recorded = _all(folder, profile), folder / "observations.csv"
        parts += found or ([observations.read(recorded, profile)] if recorded.is_file() else [])
    return _joined(parts)


def _all(folder: Path, profile: Profile | Experiment) -> list[pd.DataFrame]:
    files = sorted(folder.rglob("*.chunk.json"))
    return [rows for path in files if (rows := _rows(path, profile)) is not None]


def _joined(parts: Sequence[pd.DataFrame]) -> Merged:
    if not parts:
        return Merged(pd.DataFrame(), [], [])
    table = pd.concat(parts)
    again = table.index.duplicated()
    first, others = table[~again], table[again]
    known = first.loc[others.index]
    same = ((others == known) | (others.isna() & known.isna())).all(axis=1)
    conflicts = sorted(set(others.index[~same]))
    return Merged(first.sort_index(), sorted(set(others.index) - set(conflicts)), conflicts)


def _rows(path: Path, profile: Profile | Experiment) -> pd.DataFrame | None:
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        if whole["sha256"] != sha256(whole["csv"]):
            raise ValueError("SHA-256")
        rows = from_text(whole["csv"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        with contextlib.suppress(OSError):  # in a folder that can only be read
            path.replace(path.with_suffix(".damaged"))
        warnings.warn(f"{path} is damaged; its configurations are computed again.", stacklevel=4)
        return None
    if whole.get("fingerprint") != profile.fingerprint:
        raise ValueError(
            f"{path} was made with other settings than the profile {profile.name!r} has; "
            "search in another folder or delete it."
        )
    return rows


def ranges(indices: Sequence[int]) -> str:
    """Indices in words: ``0-3, 7, 9-10``."""
    groups = itertools.groupby(enumerate(sorted(indices)), key=lambda pair: pair[1] - pair[0])
    runs = [[index for _, index in group] for _, group in groups]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
