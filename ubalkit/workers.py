"""Workers: where pieces of a search are evaluated: in this process, one process a core, or a Dask cluster.

Each way gives finished pieces as they come, in any order, and keeps no more
of them waiting than it needs to be busy. A lost worker of a cluster costs
nothing but time: Dask evaluates its pieces again elsewhere.
"""

import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import pandas as pd

#: Of the matrix products on a CUDA device, and torch's names for them; weights
#: and everything else are float32 always.
PRECISIONS = {"float32": "highest", "tf32": "high"}

Work = Callable[[Sequence[int]], pd.DataFrame]


class Lost(RuntimeError):
    """What evaluates the pieces is gone; those that it finished are not."""


def check_device(device) -> None:
    """See that a device of torch is to be had on this machine.

    Raises
    ------
    ValueError
        If it is not.
    """
    if str(device) != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise ValueError(f"device = {str(device)!r}: torch finds no such device here; cpu is allowed.")


@contextlib.contextmanager
def torch_set(device="cpu", precision: str = "float32"):
    """Let torch compute inside on one thread, or on a CUDA device in a precision of `PRECISIONS`.

    On one thread, so that no thread count decides how a sum is rounded.
    """
    import torch

    threads, before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    if str(device) == "cpu":
        torch.set_num_threads(1)
    else:
        torch.set_float32_matmul_precision(PRECISIONS[precision])
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(before)


#: Inside, torch computes on one thread.
one_thread = torch_set


@contextlib.contextmanager
def bar(total: int, done: int, show: bool):
    """A progress bar over trials with rate and time left; gives the function that advances it."""
    try:
        from tqdm.auto import tqdm
    except ImportError:  # a bare machine
        show = False
    if not show:
        yield lambda rows: None
        return
    with tqdm(total=total, initial=done, unit="trial", smoothing=0.1) as bar:
        yield bar.update


def here(work: Work, pieces: Iterable[Sequence[int]]) -> Iterator[pd.DataFrame]:
    """Evaluate pieces one after another in this process.

    >>> list(here(sum, [[1, 2], [3]]))
    [3, 3]
    """
    yield from map(work, pieces)


def in_processes(work: Work, pieces: Iterable[Sequence[int]], n: int) -> Iterator[pd.DataFrame]:
    """Evaluate pieces in processes of their own, each with one torch thread.

    Processes rather than threads: threads that share one small network wait
    for each other far longer than they compute. Fresh ones rather than forks,
    which copy torch's thread pools in any state.

    Raises
    ------
    Lost
        If one of the processes is killed.
    """
    context = multiprocessing.get_context("spawn")
    # Nobody writes to the pipe. It closes when this process has done with its
    # workers or is gone, killed for example; then they go, too.
    ours, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(n, mp_context=context, initializer=_start_worker, initargs=(ours,))
    pieces, running = iter(pieces), set()
    try:
        running |= {pool.submit(work, piece) for piece in itertools.islice(pieces, 2 * n)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(work, piece) for piece in itertools.islice(pieces, len(finished))}
            for future in finished:
                yield future.result()
    except BrokenProcessPool:
        raise Lost("A process of the search died: killed, or out of memory.") from None
    finally:
        if running:  # stopped: what is in flight is not wanted any more
            held.close()
        pool.shutdown(cancel_futures=True)
        held.close()
        ours.close()


def _start_worker(pipe: multiprocessing.connection.Connection) -> None:
    _one_thread_for_good()
    # A notebook's interrupt goes to its kernel's children, too; what to stop is for the search to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        multiprocessing.connection.wait([pipe])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def connected(address: str):
    """A client of the Dask scheduler at an address; None for no address, which means this machine.

    Raises
    ------
    ValueError
        If no scheduler answers there.
    """
    if not address:
        yield None
        return
    from distributed import Client

    client = Client.__new__(Client)
    try:
        client.__init__(address, timeout=5, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        # Left half made, it would close itself when it is collected: at any time,
        # even while the next one starts, which holds the lock that closing needs.
        with contextlib.suppress(AttributeError):
            client.close()
        raise ValueError(f"No Dask scheduler answers at {address!r} ({error}).") from error
    with client:
        yield client


def on_cluster(
    work: Work, pieces: Iterable[Sequence[int]], client, *, gpu: bool = False
) -> Iterator[pd.DataFrame]:
    """Evaluate pieces on a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster.
    gpu : bool
        Whether a piece needs a GPU: it goes to workers that were started with
        ``--resources GPU=1``, and one at a time to each.

    Raises
    ------
    Lost
        If the scheduler is gone, or more workers in turn die of one piece than
        Dask allows (``distributed.scheduler.allowed-failures``, 3 by default).
    ValueError
        If a GPU is needed and no worker offers one.
    """
    from distributed import KilledWorker, as_completed

    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if gpu and workers and not any("GPU" in worker["resources"] for worker in workers):
        raise ValueError("No worker of the cluster offers a GPU; start them with --resources GPU=1.")

    def submit(piece):
        return client.submit(_on_worker, work, piece, pure=False, resources={"GPU": 1} if gpu else None)

    pieces = iter(pieces)
    # Two for each thread, so that none waits for the next; of a cluster that is still growing, some.
    ahead = 2 * max(8, sum(worker["nthreads"] for worker in workers))
    running = {submit(piece) for piece in itertools.islice(pieces, ahead)}
    try:
        completed = as_completed(running, loop=client.loop)
        for future in completed:
            yield future.result()
            running.discard(future)
            further = {submit(piece) for piece in itertools.islice(pieces, 1)}
            running |= further
            completed.update(further)
    except (KilledWorker, CancelledError) as error:
        died = isinstance(error, KilledWorker)
        what = "workers die of a piece, out of memory perhaps" if died else "the scheduler is gone"
        raise Lost(f"The Dask cluster is lost: {what} ({' '.join(str(error).split())}).") from None
    finally:
        with contextlib.suppress(Exception):  # Of a scheduler that is gone.
            client.cancel(list(running))


def _on_worker(work: Work, piece: Sequence[int]) -> pd.DataFrame:
    # For good: another thread of the worker may be in the middle of a piece.
    _one_thread_for_good()
    return work(piece)


def _one_thread_for_good() -> None:
    import torch

    torch.set_num_threads(1)
