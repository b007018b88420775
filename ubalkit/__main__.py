"""The command line: ``ubalkit explain | search | verify | merge | notebooks``."""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ubalkit import experiment, extra, files, observations, workers
from ubalkit import space as spaces
from ubalkit.experiment import Experiment
from ubalkit.observations import Trials
from ubalkit.paper import examples, notebooks, protocols

#: Options of ``explain`` that `readers.read` takes by the same name.
READ = {
    "metric": "column to explain; by default the one that the source names",
    "direction": "maximize or minimize; by default as the source or the metric's name says",
    "hyperparameters": "columns that were set, with commas between; by default found out",
    "status": "column with a word a trial; by default found out",
    "study_name": "study in an Optuna storage of several",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one subcommand; what a user can mend ends in a sentence and the exit status 2."""
    parser = _parser()
    given = parser.parse_args(arguments)
    given.typed = sys.argv[1:] if arguments is None else arguments
    try:
        status = given.command(given) or 0
        parser.exit(sys.stdout.flush() or status)
    except KeyboardInterrupt as stopped:
        parser.exit(130, f"{str(stopped) or 'Stopped.'}\n")
    except (ValueError, OSError, ModuleNotFoundError, workers.Lost) as error:
        parser.exit(2, f"{error}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("ubalkit", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(command, text, *, experiment=False, device=False, **more):
        one = commands.add_parser(command.__name__.strip("_"), help=text, description=text, **more)
        one.set_defaults(command=command)
        if experiment:
            known = f"{', '.join(protocols.NAMES)}, an example ({', '.join(examples.ALL)})"
            one.add_argument("--profile", required=True, help=f"one of {known}, or a JSON file of settings")
            one.add_argument("--out", type=Path, help="folder of the table, and of its chunks")
        if device:
            one.add_argument("--device", default="cpu", help="cpu or cuda")
        return one

    one = add(_explain, "Explain a finished search, and write a report.", aliases=["own"])
    one.add_argument("source", help="a table, an Optuna storage, a folder of Ray's")
    for name, what in READ.items():
        one.add_argument(f"--{name.replace('_', '-')}", default="", help=what)
    one.add_argument(
        "--space", type=Path, help="JSON file: a space of ConfigSpace, or ranges and choices by name"
    )
    one.add_argument(
        "--scale", default="", choices=["", "log", "rank"], help="explain the log or rank of the metric"
    )
    out = "a page; or a folder, for the page, tables and figures"
    one.add_argument("--out", type=Path, default=Path("report.html"), help=out)
    one = add(_search, "Evaluate configurations, and write the table of all that the folder holds.",
              experiment=True, device=True)  # fmt: skip
    one.add_argument("--first", type=int, default=0, help="index of the first configuration")
    one.add_argument("--count", type=int, help="how many; the profile's number by default")
    how = "of matrix products: float32, or tf32 on cuda"
    one.add_argument("--precision", default="float32", choices=[*workers.PRECISIONS], help=how)
    one.add_argument("--workers", type=int, dest="n_jobs", help="processes on the CPU; one a core by default")
    one.add_argument("--dask", default="", metavar="ADDRESS", help="of a Dask scheduler whose workers search")
    one.add_argument("--chunk", type=int, help="networks side by side")
    one = add(_verify, "Train some recorded rows once more, and compare.", experiment=True, device=True)
    one.add_argument("--rows", type=int, default=3, help="how many, picked at random")
    one = add(_merge, "Join the chunks that several searches left in these folders.", experiment=True)
    one.add_argument("folders", type=Path, nargs="+", help="with all folders within them")
    one.add_argument("--count", type=int, help="how many there should be; the profile's number by default")
    one = add(_notebooks, "Run the notebooks in order.")
    one.add_argument("--profile", help=f"one of {', '.join(protocols.NAMES)}; the best recorded by default")
    one.add_argument("--publish", action="store_true", help="copy the figures into figures/")
    return parser


def _experiment(name: str) -> Experiment:
    return examples.ALL[name]() if name in examples.ALL else protocols.find(name)


def _search(given: argparse.Namespace) -> None:
    searched = _experiment(given.profile)
    out = (given.out or files.runs(searched.name)).absolute()
    folder, recorded = files.writable(out / "chunks"), out / "observations.csv"
    for rest in observations.rest(recorded, observations.read_chunks(folder, searched).index, searched):
        # A table that came without its chunks, as the recorded ones do, is extended.
        observations.write_chunk(rest, folder, searched)
    made = [files.read_json(path) for path in out.glob("observations.json")]
    start, count = time.perf_counter(), given.count or searched.n_configurations
    how = {name: getattr(given, name) for name in ("n_jobs", "chunk", "device", "precision")}
    with workers.connected(given.dask) as client:
        wanted = range(given.first, given.first + count)
        experiment.run(searched, indices=wanted, folder=folder, client=client, **how)
    seconds = round(time.perf_counter() - start, 1)
    about = experiment.provenance(searched, given.device, precision=given.precision, seconds=seconds)
    table = observations.read_chunks(folder, searched)
    trials = Trials(table, searched.space, searched.directions, about=about | _history([*made, about]))
    observations.write(trials, recorded)
    print(f"{len(table)} configurations in {recorded}; this piece took {seconds} s.")


def _verify(given: argparse.Namespace) -> int:
    searched = _experiment(given.profile)
    trials = observations.read((given.out or files.data(searched.name)) / "observations.csv", searched)
    how = {"seed": int(time.time()), "device": given.device, "tolerance": protocols.TOLERANCE}
    compared = experiment.verify(searched, trials, given.rows, **how)
    print(compared.to_string())
    # One in ten may stray; see TOLERANCE.
    return 0 if compared["holds"].mean() >= 2 / 3 else 1


def _merge(given: argparse.Namespace) -> int:
    searched = _experiment(given.profile)
    table, twice, conflicts = observations.merge(given.folders, searched)
    if table.empty:
        raise ValueError(f"No chunk files in {', '.join(map(str, given.folders))}.")
    observations.checked(table, searched.space, searched.seed, searched.metrics)
    made = [files.read_json(p) for f in given.folders for p in sorted(f.rglob("observations.json"))]
    about = experiment.provenance(searched, **_history(made))
    out = files.writable(given.out or files.runs(searched.name)) / "observations.csv"
    observations.write(Trials(table, searched.space, searched.directions, about=about), out)
    missing = sorted(set(range(given.count or searched.n_configurations)) - set(table.index))
    print(f"{len(table)} configurations in {out}.")
    for name, found in (("missing", missing), ("twice", twice), ("in conflict", conflicts)):
        if found:
            print(f"{name}: {len(found)} ({observations.ranges(found)})")
    return 1 if missing or conflicts else 0


def _history(made: Sequence[dict]) -> dict:
    """What made some tables, each once, and the seconds of all."""
    parts = []
    for about in made:
        own = {key: about.get(key) for key in ("ubalkit", "python", "versions", "device", "precision")}
        known = about.get("made_by")
        parts += [part for part in (known if isinstance(known, list) else [own]) if part not in parts]
    seconds = [s for about in made if isinstance(s := about.get("seconds"), (int, float))]
    return {"made_by": parts, "seconds": round(sum(seconds), 1)}


def _notebooks(given: argparse.Namespace) -> None:
    extra("papermill")  # before anything is trained
    notebooks.everything(protocols.get(given.profile or protocols.default()).name, published=given.publish)


def _explain(given: argparse.Namespace) -> int:
    from ubalkit import explanation, readers, report

    told = {name: getattr(given, name) for name in READ}
    told["hyperparameters"] = [name.strip() for name in given.hyperparameters.split(",") if name.strip()]
    if given.space:
        told["space"] = spaces.from_words(json.loads(given.space.read_text(encoding="utf-8")))
    trials = readers.read(given.source, **told)
    is_page, made = given.out.suffix == ".html", f"ubalkit {shlex.join(given.typed)}"
    path = given.out if is_page else files.writable(given.out) / "report.html"
    try:
        explained = explanation.explain(trials, scale=given.scale)
    except ValueError as refused:
        path.write_text(report.refusal(trials, trials.metric, str(refused), made=made), encoding="utf-8")
        print(f"{refused}\nThe trials are in {path}.")
        return 1
    if is_page:
        path.write_text(explained.html(made=made), encoding="utf-8")
    else:
        explained.save(given.out, made=made)
    print(*explained.report, f"Open {path}.", sep="\n")
    return 0


if __name__ == "__main__":
    main()
