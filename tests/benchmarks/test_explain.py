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
trials = readers.from_frame(frame, "score", space={name: (0.0, 1.0) for name in list(frame)[:d]})
torch.set_num_threads(threads or torch.get_num_threads())
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


@pytest.mark.parametrize("busy", [0, 2])
def test_threads_of_a_user_against_one_thread(benchmark, busy):
    others = [multiprocessing.Process(target=_busy, daemon=True) for _ in range(busy)]
    [other.start() for other in others]
    both = benchmark.pedantic(lambda: [explained(150, 7, n)[0] for n in (1, 0)], rounds=1)
    [other.kill() for other in others]
    print(f"\n150 x 7 beside {busy} busy processes: {both[0] / both[1]:.2f} times as fast as with one thread")


def test_many_trials_and_many_hyperparameters(benchmark):
    sizes = [(1000, 7), (10_000, 7), (300, 12), (400, 60)]
    found = benchmark.pedantic(lambda: [explained(*size) for size in sizes], rounds=1)
    for (n, d), (seconds, memory) in zip(sizes, found):
        print(f"\n{n} x {d}: {seconds / found[0][0]:.1f} times 1 000 x 7, {memory:.2f} GiB")
