"""Exports: tables of finished searches as people keep them, each read without a word more than it needs.

Most were written by the tools themselves (scikit-learn, Optuna, Ray Tune, hyperopt), the others by hand in
the form of their exports. What is odd about each, and what must be read from it, stands in `read.json`.
"""

import json
from pathlib import Path

import pytest

from ubalkit import readers
from ubalkit import space as spaces

FOLDER = Path(__file__).parent / "exports"
EXPORTS = json.loads((FOLDER / "read.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export["file"])
def test_an_export_is_read_as_it_is(export):
    found = readers.read(FOLDER / export["file"], export["metric"])
    assert (dict(found.metrics), len(found.usable)) == (export["metrics"], export["usable"])
    assert spaces.describe(found.space).to_dict() == export["space"]
    spaces.to_unit(found.space, found.usable)
