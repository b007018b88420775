"""Tables and files of any content: read right, or refused by a sentence of ours."""

import contextlib
import csv
import io
import math
import re

import numpy as np
import pandas as pd
from fuzzing import as_file, damaged, fuzz, odd, refusals, words
from hypothesis import strategies as st

from ubalkit import files, observations, readers
from ubalkit import space as spaces
from ubalkit.observations import Trials
from ubalkit.paper import protocols


def same(cell, made):
    """Whether what a table of trials holds is what the cell of the source held."""
    text = "" if cell is pd.NA or cell is pd.NaT else str(cell).strip()
    if made is None or made != made:
        return text.lower() in ("", "nan", "none")
    if isinstance(made, (int, float)) and not isinstance(made, bool):
        # A text is a number by a rule of this test's own.
        spelt = not isinstance(cell, str) or re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text)
        return bool(spelt) and math.isclose(float(cell), made, rel_tol=1e-8, abs_tol=1e-12)
    return str(made).split() == text.split() or str(made).lower() == getattr(cell, "__name__", text).lower()


def assert_accounted(found):
    """The report accounts for all rows, and what is left lies in the space."""
    counts = found.report["n"]
    lost = ["pruned", "not finished", "failed", "metric is not a number", "copies", "earlier reports"]
    lost = counts[counts.index.isin(lost) | counts.index.str.startswith("without ")]
    assert counts["trials read"] == counts["used"] + lost.sum()
    assert len(found.usable) == counts["used"] and found.table.index.is_unique
    unit = spaces.to_unit(found.space, found.usable)
    assert np.isfinite(unit).all() and ((unit >= 0) & (unit <= 1)).all()


def assert_faithful(found, columns, metric):
    """Trials hold the rows of the source, each as it was, and the report accounts for all of them."""
    n = len(next(iter(columns.values())))
    assert_accounted(found)
    assert found.report.loc["trials read", "n"] == n
    # Whole numbers of their own number the trials; anything else does not.
    given = pd.Series([*columns.get("index", [])], dtype=object)
    given = pd.to_numeric(given.where(~given.map(lambda cell: isinstance(cell, bool))), errors="coerce")
    own = len(given) and (given % 1 == 0).all() and (given.abs() < 2**62).all() and given.is_unique
    numbered = {int(number): k for k, number in enumerate(given if own else range(n))}
    for number, row in found.table.iterrows():
        for name in [*spaces.names(found.space), *([metric] if row["status"] == "ok" else [])]:
            assert same(columns[name][numbered[number]], row[name]), (name, columns[name], row[name])
    for name in spaces.names(found.space):
        values = [v for v in found.usable[name] if v == v]
        assert all(found.space[name].legal_value(v) for v in values)


SOUND = ["lr", "a", "b", "=a", "n"]
column_names = st.sampled_from(["y", "lr", "a", "b", "status", "index", "name", "y", "lr"]) | words
KINDS = [st.floats(0, 1), st.floats(0, 1e-10), st.floats(-1e99, 1e99)]
KINDS += [st.integers(-5, 5), st.integers(-(2**60), 2**60), st.booleans(), st.just(1)]
KINDS += [st.sampled_from(["adam", "sgd"]), st.sampled_from([0.1, 0.2, None])]
KINDS += [st.sampled_from([1e-3, 1e-2, "0.1", " 1e0"]), st.sampled_from(["+1", "1.0", "x", "=1+1"])]
KINDS += [st.sampled_from(["ok", "COMPLETE", "PRUNED", "FAIL", "RUNNING"]), words, odd]
TYPES = ["category", "Int64", "Float64", "boolean", "string", "datetime64[ns]", "float32", "int8"]


@st.composite
def columns(draw):
    """Names, and as many lists of cells: a table that makes sense but for a few things, or need not."""
    sound = draw(st.integers(0, 3)) > 0
    n = draw(st.integers(5, 12) if sound else st.integers(0, 6))
    if sound:
        names = ["y", *draw(st.lists(st.sampled_from(SOUND) | words, min_size=1, max_size=3, unique=True))]
        kinds = [st.floats(-10, 10), *draw(st.lists(st.sampled_from(KINDS[:9]), min_size=3, max_size=3))]
    else:
        names = draw(st.lists(column_names, min_size=1, max_size=5))
        kinds = draw(st.lists(st.sampled_from(KINDS), min_size=5, max_size=5))
    cells = [draw(st.lists(kind, min_size=n, max_size=n)) for _, kind in zip(names, kinds)]
    if n and draw(st.booleans()):
        cells[draw(st.integers(0, len(names) - 1))][draw(st.integers(0, n - 1))] = draw(odd)
    return names, cells


@st.composite
def frames(draw):
    names, cells = draw(columns())
    frame = pd.DataFrame(dict(enumerate(cells)), dtype=object)
    for k in frame:
        with contextlib.suppress(Exception):  # not every column is of every type
            frame[k] = frame[k].astype(draw(st.sampled_from([object] * 8 + TYPES)))
    frame.columns = names
    if draw(st.integers(0, 5)) == 5:
        frame.index = pd.Index(draw(st.permutations(range(len(frame)))), name="index", dtype=object)
    return frame


@fuzz(quick=60, slow=5000, frame=frames())
def test_a_frame_is_read_as_it_is_or_refused(frame):
    with refusals():
        found = readers.from_frame(frame, "y")
        cells = {name: list(frame.iloc[:, k]) for k, name in enumerate(map(str, frame))}
        if frame.index.name == "index":
            cells["index"] = list(frame.index)
        assert_faithful(found, cells, "y")


@fuzz(quick=40, slow=4000, table=columns(), delimiter=st.sampled_from(",;\t"), quoting=st.integers(0, 2))
def test_a_csv_file_is_read_as_it_is_or_refused(folder, table, delimiter, quoting):
    names, cells = table
    cells = [["" if v is None else str(v) for v in column] for column in cells]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=quoting).writerows([names, *zip(*cells)])
    path = folder / "trials.csv"
    path.write_bytes(text.getvalue().encode())
    with refusals():
        found = readers.from_csv(path, "y")
        # Rows without a cell that holds anything are none, and short ones with a # are comments.
        rows = [row for row in zip(*cells) if any(cell.strip() for cell in row)]
        if not any(row[0].startswith("#") for row in rows):
            assert_faithful(found, dict(zip([n.strip() for n in names], zip(*rows))), "y")


TABLE = "lr,optimizer,y\n" + "".join(f"{k / 8},{'adam' if k % 3 else 'sgd'},{k * k}\n" for k in range(12))
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp037"])


@fuzz(
    quick=40,
    slow=3000,
    data=st.binary(max_size=200)
    | words.map(str.encode)
    | damaged(TABLE)
    | st.builds(lambda text, encoding: (TABLE + text).encode(encoding, "replace"), words, encodings),
)
def test_any_bytes_are_a_table_or_refused(folder, data):
    path = folder / "trials.csv"
    path.write_bytes(data)
    with refusals():
        assert_accounted(readers.from_csv(path, "y"))


CI = protocols.find("ci")


def measured():
    table = CI.configurations(range(6))
    table["test_accuracy"] = [0.1 + 0.2, 1 / 3, 0.9, 5e-324, 0.0, np.nan]
    table["backprojection_accuracy"] = [1.0, 0.1, 0.7, 0.3, 0.9, np.nan]
    return Trials(table.assign(status=["ok"] * 5 + ["failed"]), CI.space, CI.directions)


OBSERVED = measured()
CSV = files.to_csv(OBSERVED.table)
ABOUT = {"rows": 6, "sha256": files.sha256(CSV), **CI.settings()}


@fuzz(quick=40, slow=1500, about=as_file(ABOUT), text=st.just(CSV.encode()) | damaged(CSV))
def test_a_recorded_table_that_was_changed_is_refused_or_the_same(folder, about, text):
    path = folder / "observations.csv"
    path.write_bytes(text)
    path.with_suffix(".json").write_bytes(about)
    with refusals():
        found = observations.read(path, CI).table
        pd.testing.assert_frame_equal(found, OBSERVED.table, check_exact=True, check_dtype=False)
