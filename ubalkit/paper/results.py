"""Results by name: what the notebooks found, for the texts, which take their numbers from there."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ubalkit import files

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|nan")
AS_TEXT = {"dtype": str, "keep_default_na": False}

#: Of these units whole numbers are shown, of all others two decimals.
WHOLE = ("%", "networks", "epochs", "intervals", "statements", "trials", "units")


class Result(NamedTuple):
    """A number with its 90 % interval and its unit, or a word; as text it is what a sentence quotes.

    Examples
    --------
    >>> print(Result(0.834, 0.82, 0.85))
    0.83 (0.82 to 0.85)
    >>> print(Result(1472, unit="networks"))
    1 472
    """

    value: float | str
    low: float = np.nan
    high: float = np.nan
    unit: str = ""

    def part(self, name: str) -> str:
        """The ``value``, or the ``low`` or ``high`` bound of the interval, as text."""
        number = getattr(self, name)
        if isinstance(number, str):
            return number
        digits = 0 if self.unit in WHOLE else 2
        return f"{round(number, digits) + 0.0:,.{digits}f}".replace(",", " ")

    def __str__(self):
        value = self.part("value") + (" %" if self.unit == "%" else "")
        return value if np.isnan(self.low) else f"{value} ({self.part('low')} to {self.part('high')})"


def save(found: Mapping[str, Result], folder: Path, notebook: str) -> None:
    """Write what a notebook found into the folder ``results`` of its runs."""
    rows = [(name, *result, notebook) for name, result in found.items()]
    frame = pd.DataFrame(rows, columns=["name", *Result._fields, "notebook"])
    frame = frame.map(lambda v: f"{v:.6g}" if isinstance(v, float) and v == v else v)
    frame.to_csv(files.writable(folder / "results") / f"{notebook}.csv", index=False)


def settled(text: str, reference: str) -> str:
    """A text that has, for its decimal fractions, those of a reference that they are close to.

    What is measured differs in its last digits between processors: a number
    with a point is close within 0.01 and a twentieth of the reference's. Words
    stay as they are, and so do whole numbers, which are counted.

    Examples
    --------
    >>> settled("R² 0.827 of 12 trials, good", "R² 0.83 of 11 trials, poor")
    'R² 0.83 of 12 trials, good'
    """
    new, old = _NUMBER.findall(text), _NUMBER.findall(reference)
    if len(new) == len(old):
        pairs = ((a, b, float(a), float(b), re.search("[.e]", a + b)) for a, b in zip(new, old))
        new = [b if measured and abs(x - y) <= 0.01 + 0.05 * abs(y) else a for a, b, x, y, measured in pairs]
    return "".join(word + number for word, number in zip(_NUMBER.split(text), [*new, ""]))


def put(text: str, path: Path) -> list[Path]:
    """Write a table, unless the one there says the same but for what is `settled`; what was written."""
    if path.is_file() and settled(text, old := path.read_text(encoding="utf-8")) == old:
        return []
    files.writable(path.parent)
    path.write_text(text, encoding="utf-8")
    return [path]


def publish(folder: Path, path: Path) -> list[Path]:
    """Put what the notebooks of a folder of runs found into a published table; what was written.

    Rows of notebooks that did not run stay: a part of the notebooks does not
    undo the rest.
    """
    parts = [pd.read_csv(file, **AS_TEXT) for file in sorted((folder / "results").glob("*.csv"))]
    if path.is_file():
        old = pd.read_csv(path, **AS_TEXT)
        parts.append(old[~old["notebook"].isin(pd.concat(parts)["notebook"])])
    frame = pd.concat(parts).sort_values("notebook", kind="stable")
    return put(frame.to_csv(index=False), path)
