"""Scale: what a configuration costs among few and among many, and what Dask adds to a chunk."""

import itertools
import statistics
import time
import tracemalloc

import pytest
from ConfigSpace import ConfigurationSpace, Float

from ubalkit import workers
from ubalkit.experiment import Experiment, run
from ubalkit.paper import protocols

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


def test_dask_adds_less_than_a_hundredth_to_a_chunk(benchmark):
    distributed = pytest.importorskip("distributed")
    protocol = protocols.get("digits").protocol
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
        with distributed.Client(cluster, set_as_default=False) as client:
            nothing = itertools.repeat([0], 300)
            client.submit(len, "warm").result()
            start = time.perf_counter()
            done = benchmark.pedantic(lambda: list(workers.on_cluster(len, nothing, client)))
            overhead = (time.perf_counter() - start) / len(done)
    chunks = []
    for k in range(3):
        start = time.perf_counter()
        protocol.evaluate(range(k * protocol.chunk, (k + 1) * protocol.chunk))
        chunks.append(time.perf_counter() - start)
    share = overhead / statistics.median(chunks)
    print(f"\nDask adds {1000 * overhead:.1f} ms to a chunk, {share:.2%} of a chunk of {protocol.name}")
    assert share < 0.01
