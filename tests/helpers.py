"""What several tests of searches need."""

import time

import pandas as pd

from ubalkit.observations import Trials


def assert_same(one, other):
    """The same rows, bit for bit."""
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def chunk_files(folder):
    return sorted(folder.glob("*.chunk.json"))


def until(condition, what="It took too long.", timeout=180):
    """The first true answer of a function that is asked again and again."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
    return answer


def trials(table, space, **metrics):
    """Trials from a plain table: its metrics by name, each to ``maximize`` or ``minimize``."""
    table = table if "status" in table else table.assign(status="ok")
    return Trials(table, space, metrics)
