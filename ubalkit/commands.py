"""The command line of the search: search, verify what is recorded, merge what several searches found."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from ubalkit import chunks, examples, executors, inputs, observations, paths, profiles, search
from ubalkit.experiment import Experiment
from ubalkit.profiles import Profile

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: search, then write the table of all that the folder holds; or merge, or verify."""
    parser = argparse.ArgumentParser(
        prog="python -m ubalkit.search",
        description="Search a range of configurations, or merge what several searches found.",
    )
    parser.add_argument(
        "merge",
        nargs="*",
        metavar="merge FOLDER",
        help="join the chunks in these folders, and in the folders within them, rather than search",
    )
    parser.add_argument(
        "--profile",
        required=True,
        help=f"one of {', '.join(profiles.NAMES)}, an example ({', '.join(examples.ALL)}), or a JSON file of "
        "settings",
    )
    parser.add_argument("--first", type=int, default=0, help="index of the first configuration")
    parser.add_argument("--count", type=int, help="how many; the profile's number by default")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", default="float32", help="of matrix products: float32, or tf32 on cuda")
    parser.add_argument("--workers", type=int, help="processes on the CPU; one a core by default")
    parser.add_argument(
        "--dask", default="", metavar="ADDRESS", help="of a Dask scheduler whose workers search"
    )
    parser.add_argument("--chunk", type=int, help="networks side by side")
    parser.add_argument("--out", type=Path, help="folder of the chunks and the table")
    parser.add_argument(
        "--verify", type=int, metavar="N", help="train N recorded rows again, compare, and search nothing"
    )
    given = parser.parse_args(arguments)
    if given.merge[:1] not in ([], ["merge"]) or len(given.merge) == 1:
        parser.error("merge takes the folders to merge: merge FOLDER …")
    try:
        example = examples.ALL.get(given.profile)
        profile = example() if example else profiles.find(given.profile)
        if given.merge:
            parser.exit(_merge(profile, [Path(f) for f in given.merge[1:]], given))
        if given.verify is not None:
            parser.exit(_verify(profile, given))
        _search(profile, given)
    except KeyboardInterrupt as stopped:
        parser.exit(130, f"{stopped}\n")
    except (ValueError, FileNotFoundError, executors.Lost) as error:
        parser.exit(2, f"{error}\n")


def _search(profile: Profile | Experiment, given: argparse.Namespace) -> None:
    out = given.out or paths.runs(profile.name)
    folder, recorded = paths.writable(out / "chunks"), out / "observations.csv"
    if recorded.is_file() and not any(folder.glob("*.chunk.json")):
        # A table that came without its chunks, as the recorded ones do, is extended.
        chunks.write(observations.read(recorded, profile), folder, profile)
    made = [inputs.mapping(path) for path in out.glob("observations.json")]
    start = time.perf_counter()
    how = {name: getattr(given, name) for name in ("first", "workers", "chunk", "device", "precision")}
    with executors.connected(given.dask) as client:
        search.run(profile, given.count, folder=folder, client=client, **how)
    seconds = round(time.perf_counter() - start, 1)
    about = search.provenance(profile, given.device, precision=given.precision, seconds=seconds)
    table = chunks.read(folder, profile)
    observations.write(table, recorded, **about | _history([*made, about]))
    print(f"{len(table)} configurations in {recorded}; this piece took {seconds} s.")


def _verify(profile: Profile, given: argparse.Namespace) -> int:
    table = observations.read((given.out or paths.data(profile.name)) / "observations.csv", profile)
    compared = search.verify(profile, table, given.verify, seed=int(time.time()), device=given.device)
    print(compared.to_string())
    # One in ten may stray; see TOLERANCE.
    return 0 if compared["holds"].mean() >= 2 / 3 else 1


def _merge(profile: Profile | Experiment, folders: Sequence[Path], given: argparse.Namespace) -> int:
    merged = chunks.merge(folders, profile)
    if merged.table.empty:
        raise ValueError(f"No chunk files in {', '.join(map(str, folders))}.")
    table = observations.check(merged.table, profile)
    made = [inputs.mapping(p) for f in folders for p in sorted(f.rglob("observations.json"))]
    about = search.provenance(profile, **_history(made))
    out = paths.writable(given.out or paths.runs(profile.name)) / "observations.csv"
    observations.write(table, out, **about)
    missing = merged.missing(given.count or profile.n_configurations)
    print(f"{len(table)} configurations in {out}.")
    for name, found in (("missing", missing), ("twice", merged.twice), ("in conflict", merged.conflicts)):
        if found:
            print(f"{name}: {len(found)} ({chunks.ranges(found)})")
    return 1 if missing or merged.conflicts else 0


def _history(made: Sequence[dict]) -> dict:
    """What made some tables, each once, and the seconds of all."""
    parts = []
    for about in made:
        own = {key: about.get(key) for key in ("ubalkit", "python", "versions", "device", "precision")}
        parts += [part for part in about.get("made_by", [own]) if part not in parts]
    seconds = sum(inputs.real(about.get("seconds", 0)) for about in made)
    return {"made_by": parts, "seconds": round(seconds, 1)}
