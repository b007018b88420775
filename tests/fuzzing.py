"""What the tests with random input share: properties in two sizes, what a refusal is, odd values.

`fuzz` makes two tests of a property: ``quick`` with a few examples, and ``slow``, marked so, with many,
which it counts. `refusals` says what may come of input that makes no sense.
"""

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
    """Two tests of a property; it may take a ``folder`` of its own beside what the strategies draw."""

    def decorate(body):
        @pytest.mark.parametrize("size", ["quick", pytest.param("slow", marks=pytest.mark.slow)])
        @functools.wraps(body)
        def test(size, tmp_path):
            global _passed
            wanted, made = {"quick": quick, "slow": slow}[size], 0
            _passed = 0

            @functools.wraps(body)
            def counted(**drawn):
                nonlocal made
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    body(**drawn)
                made += 1

            own = {"folder": st.just(tmp_path)} if "folder" in inspect.signature(body).parameters else {}
            given = hypothesis.given(**own, **strategies)(counted)
            hypothesis.settings(max_examples=wanted)(given)()
            assert made >= wanted
            if size == "slow":
                print(f"\n{body.__name__}: {made} examples, {_passed} not refused")
                assert _passed

        del test.__wrapped__  # its parameters are those of the property, which pytest would look for
        return test

    return decorate


@contextlib.contextmanager
def refusals(*also):
    """What is inside is right, or is refused clearly.

    A clear refusal is a ValueError (or one of `also`) that the package raised, whose message is one line
    of at most 400 characters. Warnings are not looked at. Anything else, an assertion that fails among
    it, comes out.
    """
    global _passed
    try:
        yield
        _passed += 1
    except (ValueError, *also) as error:
        last, text = traceback.extract_tb(error.__traceback__)[-1], str(error)
        clear = 0 < len(text) <= 400 and len(text.splitlines()) == 1
        if not (clear and PACKAGE in Path(last.filename).parents):
            raise


WORDS = [
    "",
    " ",
    "nan",
    "NaN",
    "None",
    "inf",
    "-inf",
    "1e999",
    "1_000",
    "0x10",
    "1,5",
    "TRUE",
    "false",
    "-0.0",
]
WORDS += ["line\nbreak", "tab\t", "\ufeff", "é", "\u202e", "名", "x" * 500, "1e-320", "=1+1", "@SUM(A1:A9)"]
WORDS += ["../../x", "/etc/passwd", "{0.__class__}", "<script>alert(1)</script>", "$\\frac{1}{0}$", "$x"]
words = st.sampled_from(WORDS) | st.text(max_size=12)
plain = st.none() | st.booleans() | st.floats() | st.integers(-(2**70), 2**70) | words
#: Whatever a cell may hold.
odd = plain | st.sampled_from(
    [pd.NA, pd.NaT, pd.Timestamp("2024-02-03"), Decimal("0.1"), np.float32(0.1), len]
)
json_values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def _places(document, here=()):
    yield here
    if isinstance(document, (dict, list)):
        keys = document if isinstance(document, dict) else range(min(len(document), 4))
        for key in keys:
            yield from _places(document[key], (*here, key))


@st.composite
def changed(draw, document):
    """Plain values with one or two of them replaced, removed or added."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from([*_places(document)]))
        if not place:
            if draw(st.integers(0, 9)) == 0:
                return draw(json_values)
            continue
        *above, key = place
        holder = functools.reduce(lambda inner, k: inner[k], above, document)
        what = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if what == "remove":
            del holder[key]
        elif what == "replace":
            holder[key] = draw(json_values)
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=5))] = draw(json_values)
        else:
            holder.append(draw(json_values))
    return document


@st.composite
def damaged(draw, text):
    """The bytes of a text, cut, turned, or with something put between."""
    data = bytearray(text.encode())
    for _ in range(draw(st.integers(1, 3))):
        k = draw(st.integers(0, max(len(data) - 1, 0)))
        what = draw(st.sampled_from(["cut", "flip", "insert", "drop"]))
        if what == "cut":
            del data[k:]
        elif what == "drop":
            del data[k : k + draw(st.integers(1, 30))]
        elif what == "insert":
            data[k:k] = draw(st.sampled_from([b"\0", b"\xff", b'"', b"[", b"NaN", b"99999", b"\n"]))
        elif data:
            data[k] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


def as_file(document, check=None):
    """Bytes of a JSON file: of plain values changed somewhere, or damaged as a text."""
    dumped = json.dumps(document)
    whole = changed(document).map(lambda made: json.dumps(check(made) if check else made).encode())
    return whole | damaged(dumped) | st.sampled_from([b"", b"null", b"[]", b"1"])
