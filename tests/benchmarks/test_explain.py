"""Time and memory of `explain`: `make benchmark`, never part of the tests. Ratios within one run."""

import multiprocessing
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, pandas as pd, torch
from ubalkit import explain, readers
n, d, threads = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
frame = pd.DataFrame(rng.random((n, d)), columns=[f"h{j}" for j in range(d)])
frame["score"] = 2 * frame.h0 + frame.h1 * frame.h2 + rng.normal(0, 0.2, n)
space = {name: (0.0, 1.0) for name in list(frame)[:d]}
trials = readers.from_frame(frame, "score", direction="maximize", space=space)
if threads:
    torch.set_num_threads(threads)
start = time.perf_counter()
explain(trials)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def explained(n, d, threads=0):
    """Seconds and the largest memory, in GiB, of a process of its own; 0 threads: as a user calls it."""
    command = [sys.executable, "-c", SCRIPT, *map(str, (n, d, threads))]
    return [float(part) for part in subprocess.check_output(command, text=True).split()]


def _busy():
    while True:
        sum(range(10**6))


def threads(busy):
    """How many times as fast a user's call is as one with one thread, beside busy processes."""
    others = [multiprocessing.Process(target=_busy, daemon=True) for _ in range(busy)]
    for other in others:
        other.start()
    try:
        return {n: explained(n, 7, threads=1)[0] / explained(n, 7)[0] for n in (150, 1000)}
    finally:
        for other in others:
            other.kill()


def sizes():
    """Times as long as 1 000 x 7, and the memory in GiB."""
    small, memory = explained(1000, 7)
    found = {"1000 x 7": (1.0, memory)}
    for n, d in ((10_000, 7), (300, 12), (400, 60)):
        seconds, memory = explained(n, d)
        found[f"{n} x {d}"] = (seconds / small, memory)
    return found


@pytest.mark.parametrize("busy", [0, 2])
def test_threads_of_a_user_against_one_thread(benchmark, busy):
    for n, times in benchmark.pedantic(threads, (busy,), rounds=1).items():
        print(f"\n{n} x 7 beside {busy} busy processes: {times:.2f} times as fast as with one thread")


def test_many_trials_and_many_hyperparameters(benchmark):
    for size, (times, memory) in benchmark.pedantic(sizes, rounds=1).items():
        print(f"\n{size}: {times:.1f} times 1 000 x 7, {memory:.2f} GiB")
