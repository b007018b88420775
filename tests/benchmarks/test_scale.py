"""Scale: what a configuration costs among few and among many."""

import time
import tracemalloc

from ConfigSpace import ConfigurationSpace, Float

from ubalkit.experiment import Experiment, run

SPACE = ConfigurationSpace(space={f"x{k}": Float(f"x{k}", (0.0, 1.0)) for k in range(7)})


def searched(n, folder):
    """Seconds and bytes of memory a configuration, of a search whose objective takes no time."""
    experiment = Experiment("stub", lambda c, s: c["x0"], SPACE, {"loss": "minimize"}, n, chunk=1000)
    start = time.perf_counter()
    run(experiment, folder=folder / "timed", n_jobs=1, progress=False)
    seconds = time.perf_counter() - start
    tracemalloc.start()
    run(experiment, folder=folder / "timed", n_jobs=1, progress=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return seconds / n, peak / n


def test_a_configuration_costs_the_same_among_many(tmp_path, benchmark):
    few = searched(4_000, tmp_path / "few")
    many = benchmark.pedantic(searched, (40_000, tmp_path / "many"))
    print(f"\n40 000 configurations to 4 000: time {many[0] / few[0]:.2f}, memory {many[1] / few[1]:.2f}")
    assert many[0] < 1.5 * few[0] and many[1] < 1.2 * few[1]
