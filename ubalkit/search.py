"""The search: configurations of a profile, each trained as a UBAL network and measured.

Configuration *i*, its initial weights and the order of its training data
follow from the profile and *i* alone. So a search is a set of indices: chunks
of it run anywhere, in any order, and a search that was stopped computes what
is missing.

``python -m ubalkit.search --profile digits --count 1000`` runs one from the
command line; it needs torch, numpy, pandas and ConfigSpace only (and
scikit-learn for digits). ``--profile`` also takes a JSON file of settings, as
stands beside every table.
"""

import contextlib
import functools
import os
import pickle
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import ubalkit
from ubalkit import chunks, datasets, executors, observations, paths
from ubalkit import space as spaces
from ubalkit.executors import one_thread
from ubalkit.experiment import Experiment
from ubalkit.profiles import Profile
from ubalkit.ubal import UBAL

__all__ = [
    "configurations",
    "networks",
    "network_seed",
    "measure",
    "evaluate",
    "repeats",
    "run",
    "side_by_side",
    "verify",
    "provenance",
    "PRECISIONS",
    "TOLERANCE",
]

#: Of the matrix products on a CUDA device, and torch's names for them; weights
#: and everything else are float32 always.
PRECISIONS = {"float32": "highest", "tf32": "high"}

#: Networks side by side on a CUDA device: on an H200, 64 of `paper` train 1.1 times as fast as 32, 128 only
#: 1.07 times as fast as 64. Each takes 24 MB.
MOST = 64

#: How far a row trained again on another kind of processor may lie from the
#: recorded one; on one machine rows are the same to the last bit. Rounding
#: differs there, and training amplifies it. Of 150 rows of digits and 60 of
#: compact, trained once more with other vector instructions, half came out
#: within 0.013 and 0.028 of the recorded testing accuracy and nine in ten
#: within these bounds; single ones strayed by 0.4 (testing) and 0.7 (back-projection).
TOLERANCE = {"test_accuracy": 0.15, "backprojection_accuracy": 0.41}


def configurations(profile: Profile, indices: Sequence[int]) -> pd.DataFrame:
    """Hyperparameters of the given configurations of a profile; see `space.sample`."""
    return spaces.sample(profile.space, profile.seed, indices)


def networks(
    profile: Profile, table: pd.DataFrame, *, seeds: Sequence[int] | None = None, device="cpu"
) -> UBAL:
    """Untrained networks, side by side, for configurations.

    Parameters
    ----------
    table : DataFrame
        A row a network: its index is the index of the configuration. A
        complement such as ``one_minus_beta_2`` stands for its hyperparameter.
    seeds : sequence of int, optional
        By default each row's own, from the profile's seed and its index.

    Returns
    -------
    UBAL
    """
    data = _dataset(profile.dataset, profile.n_train, str(device))
    layers = _layers(profile, data)
    if seeds is None:
        seeds = [network_seed(profile.seed, i, 1) for i in table.index]
    needed, table = spaces.names(spaces.ubal(len(layers))), spaces.without_complements(table)
    if missing := [name for name in needed if name not in table]:
        raise ValueError(f"Networks {layers} need {', '.join(needed)}; {', '.join(missing)} is missing.")
    values = table[needed].to_numpy(float)
    beta, gamma_f, gamma_b = np.split(values, [len(layers), 2 * len(layers) - 1], axis=1)
    return UBAL(
        layers,
        beta,
        gamma_f,
        gamma_b,
        learning_rate=profile.learning_rate,
        init_std=profile.init_std,
        seed=seeds,
        device=device,
    )


def network_seed(seed: int, index: int, stream: int) -> int:
    """Seed of a network: of configuration `index` in the search (stream 1), TPE (2) or repeats (3 and up).

    The hyperparameters come from ``[seed, index]``, another stream than all of these.
    """
    return int(np.random.default_rng([seed, index, stream]).integers(2**32))


def _layers(profile: Profile, data: datasets.Dataset) -> list[int]:
    return [data.x_train.shape[1], *profile.hidden, data.n_classes]


def evaluate(profile: Profile | Experiment, indices: Sequence[int], *, device="cpu") -> pd.DataFrame:
    """Train and measure some configurations of a profile, side by side, or evaluate some of an experiment.

    Parameters
    ----------
    indices : sequence of int
    device : str
        Of torch.

    Returns
    -------
    DataFrame
        Observations, one row an index; see `ubalkit.observations`.
    """
    if isinstance(profile, Experiment):
        return profile.evaluate(indices)
    return measure(profile, configurations(profile, indices), device=device)


def measure(
    profile: Profile, table: pd.DataFrame, *, seeds: Sequence[int] | None = None, device="cpu"
) -> pd.DataFrame:
    """Train and measure a network for each row of hyperparameters; see `networks` and `evaluate`."""
    data = _dataset(profile.dataset, profile.n_train, str(device))
    net = networks(profile, table, seeds=seeds, device=device)
    table = table.copy()
    net.fit(data, epochs=profile.epochs, batch_size=profile.batch_size)
    table["test_accuracy"] = net.test_accuracy(data.x_test, data.y_test).cpu().numpy()
    table["backprojection_accuracy"] = net.backprojection_accuracy().cpu().numpy()
    table["status"] = np.where(net.finite().cpu().numpy(), "ok", "failed")
    return table


def repeats(profile: Profile, n: int = 40, n_seeds: int = 4, *, device="cpu") -> pd.DataFrame:
    """Some configurations trained from several seeds each: what chance alone does to a metric.

    Parameters
    ----------
    n : int
        The configurations 0 … n - 1.
    n_seeds : int
        Initial weights and data orders of each, none of them the search's.

    Returns
    -------
    DataFrame
        Observations; every index stands `n_seeds` times.
    """
    if n < 1 or n_seeds < 1:
        raise ValueError(f"n = {n}, n_seeds = {n_seeds}; at least 1 of each is needed.")
    table = configurations(profile, np.repeat(range(n), n_seeds))
    seeds = [network_seed(profile.seed, i, 3 + k % n_seeds) for k, i in enumerate(table.index)]
    chunk = side_by_side(profile, device)
    with one_thread():
        return pd.concat(
            measure(profile, table.iloc[k : k + chunk], seeds=seeds[k : k + chunk], device=device)
            for k in range(0, len(table), chunk)
        )


def run(
    profile: Profile | Experiment,
    n: int | None = None,
    *,
    first: int = 0,
    indices: Sequence[int] | None = None,
    folder: Path | None = None,
    workers: int | None = None,
    client=None,
    chunk: int | None = None,
    device="cpu",
    precision: str = "float32",
    progress: bool = True,
) -> pd.DataFrame:
    """Observations of a range of configurations; what is on disk is not computed again.

    Each finished chunk is written at once, whole, so that an interrupted
    search loses the chunks in flight and nothing else.

    Parameters
    ----------
    profile : Profile or Experiment
        UBAL networks, or an objective of one's own.
    n : int, optional
        How many; the profile's own number by default.
    first : int
        Index of the first.
    indices : sequence of int, optional
        These configurations rather than the `n` from `first` on.
    folder : Path, optional
        Of the chunk files; ``chunks`` in the profile's runs by default.
    workers : int, optional
        Processes, each with one thread; one a core by default. On a CUDA
        device always one.
    client : distributed.Client, optional
        Evaluates on its Dask cluster rather than here; each worker needs this
        package in the same version, and the data set. With a CUDA device each
        worker needs a GPU of its own; see `executors.on_cluster`.
    chunk : int, optional
        Networks side by side and rows a file; `side_by_side` by default.
    device : str
        Of torch.
    precision : {"float32", "tf32"}
        Of the matrix products; tf32 on a CUDA device only.
    progress : bool
        Whether to show a bar with rate and time left.

    Returns
    -------
    DataFrame
        The rows wanted, in their order, checked.

    Raises
    ------
    ValueError
        If the folder cannot be written to, holds chunks of other settings or
        is written to by another search, or the device or its precision is not
        to be had.
    executors.Lost
        If a process of the search or the cluster is gone. Finished chunks are
        kept then, as they are when the search is interrupted.
    """
    on_cpu = torch.device(device).type == "cpu"
    if isinstance(profile, Experiment) and not on_cpu:
        raise ValueError(f"device = {str(device)!r}: the objective of an experiment chooses its own device.")
    if isinstance(profile, Experiment) and client and profile.time_limit:
        raise ValueError("time_limit: not on a cluster, whose workers evaluate in threads.")
    if not on_cpu and not client and not torch.cuda.is_available():
        raise ValueError(f"device = {str(device)!r}: torch finds no such device here; cpu is allowed.")
    if precision not in PRECISIONS or (on_cpu and precision != "float32"):
        raise ValueError(f"precision = {precision!r}: float32 and, on a CUDA device, tf32 are allowed.")
    chunk = side_by_side(profile, device) if chunk is None else chunk
    n = profile.n_configurations if n is None else n
    wanted = range(first, first + n) if indices is None else [int(i) for i in indices]
    if n < 1 or first < 0 or chunk < 1:
        raise ValueError(f"first = {first}, n = {n}, chunk = {chunk}: at least 0, 1 and 1 are needed.")
    if not wanted or min(wanted) < 0 or len(set(wanted)) < len(wanted):
        raise ValueError("indices must be at least one, different, and not negative.")
    folder = paths.writable(Path(folder or paths.runs(profile.name) / "chunks"))
    with chunks.held(folder):
        done = chunks.read(folder, profile)
        missing = [i for i in wanted if i not in done.index]
        pieces = [missing[k : k + chunk] for k in range(0, len(missing), chunk)]
        workers = min(workers or os.cpu_count() or 1, len(pieces)) if on_cpu else 1
        settings = (str(device), precision)
        if client:
            finished = executors.on_cluster(_packed(profile, *settings), pieces, client, gpu=not on_cpu)
        elif workers > 1:
            finished = executors.in_processes(_packed(profile, *settings), pieces, workers)
        else:
            finished = executors.here(functools.partial(_piece, profile, *settings), pieces)
        n_done = len(wanted) - len(missing)
        try:
            with contextlib.closing(finished), bar(len(wanted), n_done, progress) as advance:
                for rows in finished:
                    chunks.write(rows, folder, profile)
                    n_done += len(rows)
                    advance(len(rows))
        except (executors.Lost, KeyboardInterrupt) as error:
            raise type(error)(
                f"{str(error) or 'Stopped.'} {n_done} of {len(wanted)} configurations are finished, "
                f"in {folder}; the same search run again goes on from there."
            ) from None
        done = chunks.read(folder, profile) if missing else done
    return observations.check(done.loc[list(wanted)], profile)


def _piece(
    profile: Profile | Experiment, device: str, precision: str, indices: Sequence[int]
) -> pd.DataFrame:
    on_cpu = torch.device(device).type == "cpu"
    with one_thread() if on_cpu else contextlib.nullcontext(), products(precision):
        return evaluate(profile, indices, device=device)


def _packed(profile: Profile | Experiment, *settings) -> executors.Work:
    pack = pickle.dumps
    if isinstance(profile, Experiment):
        # An objective may be defined in a notebook, where pickle does not find it.
        from cloudpickle import dumps as pack
    try:
        return functools.partial(_unpacked, ubalkit.__version__, pack(profile), *settings)
    except Exception as error:
        raise ValueError(
            f"The objective cannot be sent to other processes ({error}); use workers=1."
        ) from error


def _unpacked(version: str, packed: bytes, *settings) -> pd.DataFrame:
    if version != ubalkit.__version__:
        raise ValueError(f"A worker has ubalkit {ubalkit.__version__}, the search {version}.")
    return _piece(pickle.loads(packed), *settings)


def side_by_side(profile: Profile, device="cpu") -> int:
    """How many networks of a profile to train side by side on a device.

    On the CPU the profile's own number, chosen for its cache; on a CUDA
    device `MOST`.
    """
    return profile.chunk if torch.device(device).type == "cpu" else MOST


def verify(
    profile: Profile, table: pd.DataFrame, n_rows: int = 3, *, seed: int = 0, device="cpu"
) -> pd.DataFrame:
    """Train some rows of a table once more, alone, and compare.

    Parameters
    ----------
    table : DataFrame
        Observations of the profile.
    n_rows : int
        How many, picked at random.
    seed : int
        Of the picking.

    Returns
    -------
    DataFrame
        A row a configuration and metric: ``recorded``, ``again``,
        ``difference`` and whether it ``holds`` within `TOLERANCE`.
    """
    if n_rows < 1:
        raise ValueError(f"n_rows = {n_rows}; at least 1 is needed.")
    picked = np.random.default_rng(seed).choice(table.index, min(n_rows, len(table)), replace=False)
    with one_thread():
        again = pd.concat([evaluate(profile, [int(i)], device=device) for i in picked])
    both = {"recorded": table.loc[picked], "again": again}
    frame = pd.concat({k: t[list(profile.metrics)].stack() for k, t in both.items()}, axis=1)
    frame.index.names = ["index", "metric"]
    frame["difference"] = frame["again"] - frame["recorded"]
    allowed = [TOLERANCE.get(metric, 1e-6) for metric in frame.index.get_level_values("metric")]
    frame["holds"] = (frame["difference"].abs() <= allowed) | frame[["recorded", "again"]].isna().all(axis=1)
    return frame


@contextlib.contextmanager
def products(precision: str):
    """Compute matrix products on a CUDA device in a precision of `PRECISIONS` inside."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(PRECISIONS[precision])
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def bar(total: int, done: int, show: bool):
    """A progress bar over networks with rate and time left; gives the function that advances it."""
    try:
        from tqdm.auto import tqdm
    except ImportError:  # a bare machine
        show = False
    if not show:
        yield lambda rows: None
        return
    with tqdm(total=total, initial=done, unit="network", smoothing=0.1) as bar:
        yield bar.update


@functools.cache
def _dataset(name: str, n_train: int | None, device: str) -> datasets.Dataset:
    return datasets.load(name, n_train=n_train).to(device)


def provenance(profile: Profile | Experiment, device="cpu", **further) -> dict:
    """What a table is made with: settings, versions, device, date."""
    versions = {m.__name__: m.__version__ for m in (torch, np, pd)}
    here = torch.device(device).type != "cpu" and torch.cuda.is_available()
    return {
        **profile.settings(),
        "ubalkit": ubalkit.__version__,
        "python": sys.version.split()[0],
        "versions": {**versions, "torch": str(torch.__version__).split("+")[0]},
        "device": torch.cuda.get_device_name(device) if here else str(device),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        **further,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; see `ubalkit.commands`."""
    from ubalkit import commands  # which needs this module

    commands.main(arguments)


if __name__ == "__main__":
    main()
