"""Workers: where pieces of a search are evaluated: one process a core, or a Dask cluster.

Each way gives finished pieces as they come, in any order, and keeps no more
of them waiting than it needs to be busy. A lost worker of a cluster costs
nothing but time: Dask evaluates its pieces again elsewhere.
"""

import asyncio
import contextlib
import itertools
import multiprocessing.util
import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pandas as pd

from ubalkit import extra, files

#: Of the matrix products on a CUDA device, and torch's names for them; weights
#: and everything else are float32 always.
PRECISIONS = {"float32": "highest", "tf32": "high"}

#: Seconds within which a worker must answer, or it is left out.
LIMIT = 9


class Lost(RuntimeError):
    """What evaluates the pieces is gone; those that it finished are not."""


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


def in_threads(work: Callable, items: Iterable) -> list:
    """What `work` gives for each item, in as many threads as torch may use, each with one of torch's.

    >>> in_threads(abs, [-1, 2])
    [1, 2]
    """
    import torch

    pool = ThreadPoolExecutor(torch.get_num_threads())
    try:
        with one_thread():
            return list(pool.map(work, items))
    finally:
        # Who interrupts does not wait for what is in work.
        pool.shutdown(wait=False, cancel_futures=True)


def nothing(n: int) -> None:
    """What advances no progress bar."""


@contextlib.contextmanager
def bar(total: int, done: int, show: bool, unit: str = "trial"):
    """A progress bar with rate and time left; gives the function that advances it."""
    try:
        from tqdm.auto import tqdm
    except ImportError:  # a bare machine
        show = False
    if not show:
        yield nothing
        return
    with tqdm(total=total, initial=done, unit=unit, smoothing=0.1) as bar:
        yield bar.update


def in_processes(work: Callable, pieces: Iterable[Sequence[int]], n: int) -> Iterator[pd.DataFrame]:
    """Evaluate pieces in processes of their own, each with one torch thread.

    Processes rather than threads: threads that share one small network wait
    for each other far longer than they compute.

    Raises
    ------
    Lost
        If one of the processes is killed.
    ValueError
        If what is to be done cannot be pickled.
    """
    from joblib import Parallel, delayed

    how = {"return_as": "generator_unordered", "batch_size": 1, "inner_max_num_threads": 1}
    parallel = Parallel(n, backend="loky", initializer=_start_worker, initargs=(os.getpid(),), **how)
    try:
        with warnings.catch_warnings():
            # That what is in flight is given up where a search is stopped.
            warnings.filterwarnings("ignore", ".*tasks which were still being processed")
            yield from parallel(delayed(work)(piece) for piece in pieces)
    except BrokenProcessPool:
        raise Lost("A process of the search died: killed, or out of memory.") from None
    except pickle.PicklingError as error:
        # The last line is the reason, the others are the other thread's traceback.
        why = str(error.__cause__ or error).strip().strip('"').splitlines()[-1].strip()
        raise ValueError(
            f"The objective cannot go to another process, {why}; n_jobs=1 keeps it here."
        ) from None
    except UnboundLocalError as error:  # loky's own, where no file can be opened to start a process
        raise (error.__context__ or error) from None


def _start_worker(search: int) -> None:
    # A notebook's interrupt goes to its kernel's children, too; what to stop is for the search to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Nor does it wait at its end for threads that an objective has left running.
    multiprocessing.util.Finalize(None, os._exit, args=(0,), exitpriority=0)
    threading.Thread(target=_follow, args=(search,), daemon=True).start()


def _follow(search: int) -> None:
    """End this process soon after the search's own, which may have been killed."""
    while os.getppid() == search:
        time.sleep(0.5)
    os._exit(1)


def _able(client) -> list[str] | None:
    """Addresses of the workers that have the code of the search; None where all have it."""

    async def ask():
        asked = [
            asyncio.ensure_future(client.run(files.code, workers=[at], on_error="return")) for at in there
        ]
        finished, _ = await asyncio.wait(asked, timeout=LIMIT)
        return {at: answer for task in finished for at, answer in task.result().items()}

    with contextlib.suppress(TimeoutError):
        client.wait_for_workers(1, 5)
    there = [*client.scheduler_info(n_workers=-1)["workers"]]
    said = dict.fromkeys(there, "no answer") | (client.sync(ask) if there else {})
    able = [at for at in there if said[at] == files.code()]
    others = "; ".join(f"{at} has {files.line(said[at], 150)}" for at in there if at not in able)
    if not able:
        raise Lost(f"The Dask cluster has no worker with {files.code()}{others and ': '}{others:.900}.")
    if others:
        warnings.warn(f"Workers without {files.code()} are left out: {others:.900}.", stacklevel=3)
        return able


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
    Client = extra("distributed").Client

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
    work: Callable, pieces: Iterable[Sequence[int]], client, *, gpu: bool = False
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
        If no worker has the code of the search, the scheduler or all workers
        are gone, or more workers in turn die of one piece than Dask allows
        (``distributed.scheduler.allowed-failures``, 3 by default).
    ValueError
        If a GPU is needed and no worker offers one.
    """
    from distributed import KilledWorker, wait
    from distributed.comm import CommClosedError

    able = _able(client)

    def workers() -> list[dict]:
        """Those that may be given a piece."""
        there = client.scheduler_info(n_workers=-1)["workers"]
        return [worker for address, worker in there.items() if address in (able or there)]

    if gpu and not any("GPU" in worker["resources"] for worker in workers()):
        raise ValueError("No worker of the cluster offers a GPU; start them with --resources GPU=1.")
    how = {"pure": False, "workers": able, "resources": {"GPU": 1} if gpu else None}
    submitted = (client.submit(_on_worker, work, piece, **how) for piece in pieces)
    # Two for each thread, so that none waits for the next; of a cluster that is still growing, some.
    running = {*itertools.islice(submitted, 2 * max(8, sum(worker["nthreads"] for worker in workers())))}
    try:
        while running:
            finished = set()
            with client.as_current(), contextlib.suppress(TimeoutError):
                finished = wait(running, LIMIT, "FIRST_COMPLETED").done
            if not finished and not workers():
                raise Lost("The Dask cluster is lost: no worker is left.")
            for future in finished:
                yield future.result()
            running = {*(running - finished), *itertools.islice(submitted, len(finished))}
    except (KilledWorker, CancelledError, CommClosedError) as error:
        died = isinstance(error, KilledWorker)
        what = "workers die of a piece, out of memory perhaps" if died else "the scheduler is gone"
        raise Lost(f"The Dask cluster is lost: {what} ({' '.join(str(error).split())}).") from None
    finally:
        with contextlib.suppress(Exception):  # Of a scheduler that is gone.
            client.cancel([*running])


def _on_worker(work: Callable, piece: Sequence[int]) -> pd.DataFrame:
    import torch

    # For good: another thread of the worker may be in the middle of a piece.
    torch.set_num_threads(1)
    return work(piece)
