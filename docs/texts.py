"""Texts: the numbers in README, the pages and the notebooks' texts, taken from the published results.

A number in a text stands between two comments that no page shows. The first
names it: ``<!--paper.r2_test-->0.83 (0.82 to 0.85)<!---->``, or one part of
it: ``<!--paper.r2_test:value-->0.83<!---->``. ``make texts`` writes what was
found into all of them.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pandas as pd

from ubalkit import files
from ubalkit.paper.results import AS_TEXT, Result

_MARKED = re.compile(r"(<!--([\w.]+)(?::(value|low|high))?-->).*?<!---->", re.DOTALL)
_NUMBER = re.compile(r"-?\d[\d.]*(e[+-]\d+)?|nan")


def load() -> dict[str, Result]:
    """All published results, ``data/results``: the name of each file, a dot, and the name of the result."""
    found = {}
    for path in sorted(files.data("results").glob("*.csv")):
        frame = pd.read_csv(path, **AS_TEXT)
        bounds = frame[["low", "high"]].replace("", "nan").astype(float)
        values = [float(v) if _NUMBER.fullmatch(v) else v for v in frame["value"]]
        rows = zip(values, bounds["low"], bounds["high"], frame["unit"])
        found |= {f"{path.stem}.{name}": Result(*row) for name, row in zip(frame["name"], rows)}
    return found


def fill(text: str, found: Mapping[str, Result]) -> str:
    """A text with what was found between its marks.

    Raises
    ------
    ValueError
        For a mark whose result there is not.

    Examples
    --------
    >>> fill("An accuracy of <!--a.best-->?<!---->.", {"a.best": Result(0.94)})
    'An accuracy of <!--a.best-->0.94<!---->.'
    """

    def written(match: re.Match) -> str:
        mark, name, part = match.groups()
        if name not in found:
            raise ValueError(f"There is no result {name!r}; the notebooks write them into data/results.")
        return f"{mark}{found[name].part(part) if part else found[name]}<!---->"

    return _MARKED.sub(written, text)


def pages() -> list[Path]:
    """The files whose texts hold results."""
    found = [folder / "README.md" for folder in (files.home(), files.data())]
    found += sorted((files.home() / "docs").rglob("*.md"))
    return [*found, *sorted(files.notebooks().glob("[01]*.ipynb"))]


def write() -> None:
    """Write the published results into all texts."""
    found = load()
    for path in pages():
        if path.suffix == ".md":
            path.write_text(fill(path.read_text(encoding="utf-8"), found), encoding="utf-8")
            continue
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = fill(cell.source, found)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    write()
