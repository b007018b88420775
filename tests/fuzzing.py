"""What the tests with random input share: properties in two sizes, what a refusal is, odd values."""

import contextlib
import copy
import functools
import inspect
import json
import traceback
import warnings
from decimal import Decimal
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

import ubalkit

PACKAGE = Path(ubalkit.__file__).parent

# How many examples `refusals` let pass: a property of which all are refused says nothing.
_passed = 0


def fuzz(quick=30, slow=1000, **strategies):
    """A property in two sizes, ``quick`` and ``slow``, marked so; it may take a ``folder`` of its own."""

    def decorate(body):
        @pytest.mark.parametrize("size", [quick, pytest.param(slow, marks=pytest.mark.slow)])
        @functools.wraps(body)
        def test(size, tmp_path):
            global _passed
            _passed = 0

            @functools.wraps(body)
            def quiet(**drawn):
                with warnings.catch_warnings(action="ignore"):
                    body(**drawn)

            own = {"folder": st.just(tmp_path)} if "folder" in inspect.signature(body).parameters else {}
            hypothesis.settings(max_examples=size)(hypothesis.given(**own, **strategies)(quiet))()
            assert _passed or size == quick

        del test.__wrapped__  # its parameters are those of the property, which pytest would look for
        return test

    return decorate


@contextlib.contextmanager
def refusals():
    """What is inside is right, or is refused clearly.

    A clear refusal is a ValueError that the package raised, whose message is one line of at most 400
    characters. Anything else, an assertion that fails among it, comes out.
    """
    global _passed
    try:
        yield
        _passed += 1
    except ValueError as error:
        last, text = traceback.extract_tb(error.__traceback__)[-1], str(error)
        clear = 0 < len(text) <= 400 and len(text.splitlines()) == 1
        if not (clear and PACKAGE in Path(last.filename).parents):
            raise


WORDS = "nan NaN None inf -inf 1e999 1_000 0x10 1,5 TRUE false -0.0 1e-320 =1+1 é 名 $x ../../x {0.__class__}"
WORDS = [*WORDS.split(), "", " ", "line\nbreak", "tab\t", "\ufeff", "\u202e"]
WORDS += ["x" * 500, "<script>a(1)</script>"]
words = st.sampled_from(WORDS) | st.text(max_size=12)
floats = st.floats(-1e99, 1e99) | st.sampled_from([np.nan, np.inf, -np.inf])
plain = st.none() | st.booleans() | floats | st.integers(-(2**70), 2**70) | words
STRANGE = [pd.NA, pd.NaT, pd.Timestamp("2024-02-03"), Decimal("0.1"), np.float32(0.1), len]
#: Whatever a cell may hold.
odd = plain | st.sampled_from(STRANGE)
json_values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def _places(document, here=()):
    if isinstance(document, (dict, list)):
        for key in document if isinstance(document, dict) else range(min(len(document), 4)):
            yield (*here, key)
            yield from _places(document[key], (*here, key))


@st.composite
def changed(draw, document):
    """Plain values with one or two of them replaced, removed or added."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 2))):
        *above, key = draw(st.sampled_from([*_places(document)]))
        holder = functools.reduce(lambda inner, k: inner[k], above, document)
        what = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if what == "remove":
            del holder[key]
        elif what == "add" and isinstance(holder, dict):
            holder[draw(st.text(max_size=5))] = draw(json_values)
        else:
            holder[key] = draw(json_values)
    return document


@st.composite
def damaged(draw, text):
    """The bytes of a text, cut, or with something else in some places."""
    data = bytearray(text.encode())
    for _ in range(draw(st.integers(1, 3))):
        k, n = draw(st.integers(0, len(data))), draw(st.sampled_from([0, 1, 30, len(data)]))
        data[k : k + n] = draw(st.sampled_from([b"", b"\0", b"\xff", b'"', b"[", b"NaN", b"99999", b"\n"]))
    return bytes(data)


def as_file(document):
    """Bytes of a JSON file: of plain values changed somewhere, or damaged as a text."""
    whole = changed(document).map(lambda made: json.dumps(made).encode())
    return whole | damaged(json.dumps(document)) | st.sampled_from([b"", b"null", b"[]", b"1"])
