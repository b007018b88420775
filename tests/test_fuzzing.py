"""Tables and files of any content: read right, or refused by a sentence of ours."""

# ruff: noqa: PD009 - iloc would take a list for a row of cells

import csv
import functools
import hashlib
import io
import json
import math
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace
from fuzzing import as_file, damaged, fuzz, odd, refusals, words
from hypothesis import strategies as st

from ubalkit import observations, profiles, search, trials
from ubalkit import space as spaces
from ubalkit.experiment import Experiment

# Tables ------------------------------------------------------------------------------------------


def spelt(text):
    """The number that a text is, by a rule of this test's own; None for other texts."""
    text = text.strip()
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text):
        return float(text)
    return None


def same(cell, made):
    """Whether what a table of trials holds is what the cell of the source held."""
    text = "" if cell is None or cell is pd.NA or cell is pd.NaT else str(cell).strip()
    if made is None or made != made:
        return text.lower() in ("", "nan", "none", "<na>")
    if isinstance(made, (int, float, np.number)) and not isinstance(made, (bool, np.bool_)):
        if type(cell) is type(made) is int:
            return cell == made
        number = spelt(text) if isinstance(cell, str) else float(cell)
        return number is not None and math.isclose(number, made, rel_tol=1e-8, abs_tol=1e-12)
    named = getattr(cell, "__name__", text)
    return " ".join(str(made).split()).lower() == " ".join(named.split()).lower()


def assert_faithful(found, columns, metric):
    """Trials hold the rows of the source, each as it was, and the report accounts for all of them."""
    n = len(next(iter(columns.values())))
    counts = found.report["n"]
    lost = [
        counts.get(k, 0) for k in ("pruned", "not finished", "failed", "metric is not a number", "copies")
    ]
    assert counts["trials read"] == n == counts["used"] + sum(lost)
    ok = found.table["status"] == "ok"
    assert ok.sum() == counts["used"] and found.table.index.is_unique
    numbered = (
        dict(zip(map(int, columns["index"]), range(n))) if "index" in columns else dict(enumerate(range(n)))
    )
    for number, row in found.table.iterrows():
        for name in [*spaces.names(found.space), *([metric] if row["status"] == "ok" else [])]:
            assert same(columns[name][numbered[number]], row[name]), (name, columns[name], row[name])
    for name in spaces.names(found.space):
        values = [v for v in found.table.loc[ok, name] if v == v]
        assert all(found.space[name].legal_value(v) for v in values)
    unit = spaces.to_unit(found.space, found.table[ok])
    assert np.isfinite(unit).all() and ((unit >= 0) & (unit <= 1)).all()


SOUND = ["lr", "a", "b", "=a", "n"]
column_names = st.sampled_from(["y", "lr", "a", "b", "status", "index", "name", "y", "lr"]) | words
column_kinds = [
    st.floats(0, 1),
    st.floats(0, 1e-10),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-5, 5),
    st.integers(),
    st.sampled_from(["adam", "sgd"]),
    st.booleans(),
    st.just(1),
    st.sampled_from([0.1, 0.2, None]),
    st.sampled_from([1e-3, 1e-2, "0.1", " 1e0"]),
    st.sampled_from(["+1", "1.0", "x", "=1+1"]),
    st.sampled_from(["ok", "COMPLETE", "PRUNED", "FAIL", "RUNNING"]),
    words,
    odd,
]
TYPES = ["category", "Int64", "Float64", "boolean", "string", "datetime64[ns]", "float32", "int8", "complex"]


@st.composite
def columns(draw):
    """Names, and as many lists of cells: a table that makes sense but for a few things, or need not."""
    sound = draw(st.integers(0, 3)) > 0
    n = draw(st.integers(5, 12) if sound else st.integers(0, 6))
    if sound:
        names = ["y", *draw(st.lists(st.sampled_from(SOUND) | words, min_size=1, max_size=3, unique=True))]
        kinds = [
            st.floats(-10, 10),
            *draw(st.lists(st.sampled_from(column_kinds[:9]), min_size=3, max_size=3)),
        ]
    else:
        names = draw(st.lists(column_names, min_size=1, max_size=5))
        kinds = draw(st.lists(st.sampled_from(column_kinds), min_size=5, max_size=5))
    cells = [draw(st.lists(kind, min_size=n, max_size=n)) for _, kind in zip(names, kinds)]
    if n and draw(st.booleans()):
        cells[draw(st.integers(0, len(names) - 1))][draw(st.integers(0, n - 1))] = draw(odd)
    return names, cells


@st.composite
def frames(draw):
    names, cells = draw(columns())
    series = []
    for values in cells:
        made = pd.Series([None] * len(values), dtype=object)
        for k, value in enumerate(values):
            made.iat[k] = value
        try:
            made = made.astype(draw(st.sampled_from([object] * 8 + TYPES)))
        except Exception:
            pass  # not every column is of every type
        series.append(made)
    frame = pd.concat(series, axis=1)
    frame.columns = names
    if draw(st.integers(0, 30)) == 30:
        frame.columns = pd.MultiIndex.from_tuples([(n, "x") for n in names])
    if draw(st.integers(0, 5)) == 5:
        frame.index = pd.Index(draw(st.permutations(range(len(frame)))), name="index", dtype=object)
    return frame


@fuzz(quick=60, slow=5000, frame=frames())
def test_a_frame_is_read_as_it_is_or_refused(frame):
    with refusals():
        found = trials.from_frame(frame, "y")
        cells = {name: list(frame.iloc[:, k]) for k, name in enumerate(map(str, frame))}
        if frame.index.name == "index":
            cells["index"] = list(frame.index)
        assert_faithful(found, cells, "y")


@fuzz(
    quick=40,
    slow=4000,
    table=columns(),
    how=st.tuples(st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]), st.integers(0, 2)),
)
def test_a_csv_file_is_read_as_it_is_or_refused(folder, table, how):
    names, cells = table
    cells = [["" if v is None else str(v) for v in column] for column in cells]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=how[0], lineterminator=how[1], quoting=how[2])
    writer.writerows([names, *zip(*cells)])
    path = folder / "trials.csv"
    path.write_bytes(text.getvalue().encode())
    with refusals():
        found = trials.from_csv(path, "y")
        assert_faithful(found, dict(zip([n.strip() for n in names], cells)), "y")


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
        found = trials.from_csv(path, "y")
        text = data.decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text), strict=True) if any(row)]
        assert found.report.loc["trials read", "n"] == len(rows) - 1


# Files of observations -----------------------------------------------------------------------------

PROFILE = profiles.get("ci")


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def measured():
    table = search.configurations(PROFILE, range(6))
    table["test_accuracy"] = [0.1 + 0.2, 1 / 3, 0.9, 5e-324, 0.0, np.nan]
    table["backprojection_accuracy"] = [1.0, 0.1, 0.7, 0.3, 0.9, np.nan]
    return table.assign(status=["ok"] * 5 + ["failed"])


OBSERVED = measured()
CSV = OBSERVED.to_csv(lineterminator="\n")
ABOUT = {"rows": 6, "sha256": sha256(CSV), **PROFILE.settings()}


def signed(document):
    """The same with the right SHA-256, as one would write who means harm."""
    if isinstance(document, dict) and isinstance(document.get("csv"), str):
        document["sha256"] = sha256(document["csv"])
    return document


def assert_observed(table):
    pd.testing.assert_frame_equal(table, OBSERVED, check_exact=True, check_dtype=False)


@fuzz(quick=40, slow=1500, about=as_file(ABOUT), text=st.just(CSV.encode()) | damaged(CSV))
def test_a_recorded_table_that_was_changed_is_refused_or_the_same(folder, about, text):
    path = folder / "observations.csv"
    path.write_bytes(text)
    path.with_suffix(".json").write_bytes(about)
    with refusals():
        assert_observed(observations.read(path, PROFILE))


SPACE = ConfigurationSpace({"rate": (1e-3, 1.0), "kind": ["x", "=1+1", "<b>"]})
EXPERIMENT = Experiment("x", lambda c, seed: c["rate"] + seed / 2**33, SPACE, {"m": "maximize"}, 4, chunk=4)


def searched(folder):
    return search.run(EXPERIMENT, folder=folder, workers=1, progress=False)


@functools.cache
def whole_search():
    with tempfile.TemporaryDirectory() as folder:
        table = searched(Path(folder))
        (chunk,) = Path(folder).glob("*.chunk.json")
        return table, json.loads(chunk.read_text())


@fuzz(quick=30, slow=1000, data=st.data(), sign=st.booleans())
def test_a_search_goes_on_from_any_chunk_file_to_the_same_table_or_refuses(folder, data, sign):
    expected, chunk = whole_search()
    for old in folder.iterdir():
        old.unlink()
    (folder / "000000-000003.chunk.json").write_bytes(data.draw(as_file(chunk, signed if sign else None)))
    with refusals():
        table = searched(folder)
        if sign:  # who signs his lies is believed the metric, not the configurations
            table, expected = (t[spaces.names(SPACE)] for t in (table, expected))
        pd.testing.assert_frame_equal(table, expected, check_dtype=False)


@st.composite
def tables(draw):
    """The table of observations with cells, columns or the index changed."""
    table = OBSERVED.astype(object)
    for _ in range(draw(st.integers(1, 3))):
        what = draw(st.sampled_from(["cell", "column", "index", "drop", "name", "rows"]))
        k = draw(st.integers(0, table.shape[1] - 1)) if table.shape[1] else 0
        if what == "cell" and table.size:
            table = table.astype(object)
            table.iat[draw(st.integers(0, len(table) - 1)), k] = draw(plain_cells)
        elif what == "column":
            table = table.assign(**{table.columns[k]: draw(plain_cells)})
        elif what == "index":
            table.index = pd.Index([draw(plain_cells), *table.index[1:]], dtype=object)
        elif what == "drop" and table.shape[1] > 1:
            table = table.drop(columns=table.columns[k])
        elif what == "name":
            table.columns = [draw(words) if j == k else n for j, n in enumerate(table)]
        elif what == "rows":
            table = table.iloc[: draw(st.integers(1, 6))]
    return table


plain_cells = st.none() | st.booleans() | st.floats() | words


@fuzz(quick=30, slow=1500, table=tables())
def test_a_table_passes_the_check_if_its_rows_are_the_profiles(table):
    with refusals():
        assert observations.check(table, PROFILE) is table
        drawn = search.configurations(PROFILE, table.index)
        np.testing.assert_allclose(table[list(drawn)].astype(float), drawn, rtol=1e-9, atol=1e-9)
