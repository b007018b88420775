"""The notebooks: how each of them starts, and how they run through papermill, in order, strictly."""

import ast
import multiprocessing
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from ubalkit import files
from ubalkit.paper import protocols, results

#: Meets the model on a data set, not in a profile.
FIRST = "00_ubal"

NOTEBOOKS = ("01_search", "02_metamodel", "03_shap", "04_constrained_search", "06_how_good")
NOTEBOOKS += ("07_when", "08_why", "09_loop", "10_rules")

#: What a notebook reads in ``data`` beside the observations of a profile where it trains nothing itself.
_RECORDED = {"04_constrained_search": "{}/constrained_full.csv", "06_how_good": "{}/best.csv"}
_RECORDED |= {"07_when": "{}/curves.csv", "08_why": "why/averaged.csv", "09_loop": "loop/round_1.csv"}
_RECORDED |= {"10_rules": "svm/observations.csv"}

#: Runs for trials of one's own, not for a profile.
OWN = "05_your_own_model"

#: What it leaves in its folder: patterns of files.
_LEFT = ("report.html", "importance.csv", "space*.json", "methods.csv", "figures/*.p[nd][gf]", "results/05*")

#: Tables behind the figures that are published beside them.
FRAMES = ("fig3_curves", "importance", "effects", "coupling", "methods", "convergence")


def start(name: str, *, ubal: bool = True) -> Path:
    """What every notebook begins with: the style of its figures, one thread, and the folder of its files.

    Parameters
    ----------
    name : str
        Name of the runs.
    ubal : bool
        Whether hyperparameters and metrics are called as in the paper.

    Returns
    -------
    Path
        The folder of the runs, with a folder ``figures`` in it.
    """
    import matplotlib.pyplot as plt
    import numpy as np
    import pandas as pd
    import torch

    from ubalkit import figures
    from ubalkit.paper.figures import UBAL

    # Several processes share the cores; one small network gains nothing from a second thread.
    torch.set_num_threads(1)
    plt.style.use(figures.STYLE)
    figures.use(UBAL if ubal else figures.Labels())
    print(f"torch {torch.__version__}, numpy {np.__version__}, pandas {pd.__version__}")
    return files.writable(files.runs(name) / "figures").parent


def possible(profile: str) -> tuple[str, ...]:
    """The notebooks that a profile has the networks for, in their order.

    All of them where they train (``live``). Where they read recorded networks,
    as many as are recorded: of a new table those that explain it.
    """
    needed = {name: files.data() / file.format(profile) for name, file in _RECORDED.items()}
    live = protocols.get(profile).live
    return tuple(n for n in NOTEBOOKS if live or n not in needed or needed[n].is_file())


def run(
    profile: str, notebooks: Sequence[str] = NOTEBOOKS, parameters: Mapping[str, Mapping] | None = None
) -> list[Path]:
    """Execute notebooks for a profile; the executed copies lie in its runs.

    Parameters
    ----------
    profile : str
        Name of a profile.
    notebooks : sequence of str
        Names, in the order in which they shall run.
    parameters : mapping of notebook to mapping, optional
        Further parameters of single notebooks.

    Returns
    -------
    list of Path
        Of the executed notebooks.

    Raises
    ------
    ValueError
        For an unknown profile, or a parameter that a notebook does not have,
        or of another type than its default.
    NotebookError
        If a cell raises, or the kernel dies.
    """
    protocols.get(profile)
    parameters = parameters or {}
    plan = [_checked(name, {"profile_name": profile, **parameters.get(name, {})}) for name in notebooks]
    folder = files.writable(files.runs(profile) / "notebooks")
    return [_execute(source, given, folder) for source, given in plan]


def meet(**parameters) -> Path:
    """Execute the first chapter, notebook 0; the executed copy, in the runs of ``ubal``.

    Parameters
    ----------
    **parameters
        Of the notebook: ``dataset``, ``n_seeds`` and so on.

    Raises
    ------
    ValueError
        For a parameter that the notebook does not have, or of another type
        than its default.
    """
    source, given = _checked(FIRST, parameters)
    return _execute(source, given, files.writable(files.runs("ubal") / "notebooks"))


def own(**parameters) -> Path:
    """Execute notebook 5, by default for the recorded search of a support vector machine; the executed copy.

    Parameters
    ----------
    **parameters
        Of the notebook: ``source``, ``metric``, ``direction``, ``name`` and so on.

    Raises
    ------
    ValueError
        For a parameter that the notebook does not have, or of another type
        than its default.
    NotebookError
        If a cell raises; its last line says why.
    """
    source, given = _checked(OWN, parameters)
    runs = files.runs(given.get("name", "svm"))
    # Of an earlier search, which they would be taken for results of this one.
    for old in (path for pattern in _LEFT for path in runs.glob(pattern)):
        old.unlink()
    return _execute(source, given, files.writable(runs / "notebooks"))


class NotebookError(ValueError):
    """A cell of a notebook raised, what it said; or its kernel died."""


def _checked(name: str, given: Mapping) -> tuple[Path, Mapping]:
    import papermill

    source = files.notebooks() / f"{name}.ipynb"
    # papermill itself only warns of a parameter that a notebook lacks.
    known = papermill.inspect_notebook(str(source))
    for name, value in given.items():
        wanted = type(ast.literal_eval(known[name]["default"])) if name in known else None
        if type(value) is not wanted and (wanted, type(value)) != (float, int):
            has = ", ".join(f"{n} = {p['default']}" for n, p in known.items())
            raise ValueError(f"{source.stem} takes no parameter {name} = {files.line(value)}; it has {has}.")
    return source, given


def _execute(source: Path, given: Mapping, folder: Path) -> Path:
    import papermill
    from nbclient.exceptions import DeadKernelError

    start = time.perf_counter()
    target = folder / source.name
    # A kernel warns that it listens to this machine, and that it is told to end, as every kernel does.
    quiet = ["--IPKernelApp.log_level=50"]
    settings = {"cwd": str(files.notebooks()), "progress_bar": False, "extra_arguments": quiet}
    try:
        papermill.execute_notebook(str(source), str(target), given, **settings)
    except (papermill.PapermillExecutionError, DeadKernelError) as error:
        died = f"The kernel died in notebook {int(source.stem[:2])}, out of memory perhaps; what ran is in "
        raise NotebookError(getattr(error, "evalue", f"{died}{target}.")) from error
    print(f"{source.stem}: {time.perf_counter() - start:.0f} s", flush=True)
    return target


def everything(profile: str, *, published: bool = False) -> None:
    """Run all notebooks that a profile has the networks for, two at a time, and publish what they show.

    Notebooks 1 and 2 make what the others read; 0 and 5 need nothing of theirs.
    """
    notebooks, changed = possible(profile), []
    for name in (name for name in NOTEBOOKS if name not in notebooks):
        print(f"{name}: left out, its networks of the profile {profile} are not recorded", flush=True)
    print("Two notebooks at a time, minutes each; a line says when one is done.", flush=True)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(run, profile, notebooks[:2]): profile, pool.submit(meet): "ubal"}
        next(iter(running)).result()
        # Fig. 3 first.
        running |= {pool.submit(run, profile, [name]): profile for name in notebooks[2:]}
        running |= {pool.submit(own): "svm"}
        for finished in as_completed(running):
            finished.result()
            if published:
                changed += publish(running[finished]) or []
    print(f"Made: {files.runs(profile)}; open figures/fig3.png there first, then the notebooks.")
    if published:
        anew = ", ".join(sorted({path.name for path in changed}))
        print(f"Published in {files.figures()} and {files.data()}: {anew or 'nothing, it says the same'}.")


def publish(profile: str) -> list[Path]:
    """Copy what a profile's runs show: figures and their frames into ``figures/``, the rest into ``data/``.

    That is the verdicts on the paper's statements, and the results by name;
    see `ubalkit.paper.results`. A table that says the same as the published
    one, but for last digits, is left alone; so are the figures where all
    tables are. Of figures drawn in a new way remove the old files first.

    Returns
    -------
    list of Path
        What was written.
    """
    folder, runs, data = files.writable(files.figures()), files.runs(profile), files.data(profile)
    tables = {runs / f"{name}.csv": folder / f"{name}_{profile}.csv" for name in FRAMES}
    tables[runs / "claims.csv"] = data / "claims.csv"
    said = {old: new.read_text(encoding="utf-8") for new, old in tables.items() if new.is_file()}
    made = [path for old, text in said.items() for path in results.put(text, old)]
    if (runs / "results").is_dir():
        made += results.publish(runs, files.data("results") / f"{profile}.csv")
    figures = (runs / "figures").glob("*.p[nd][gf]")
    drawn = {new: folder / f"{new.stem}_{profile}{new.suffix}" for new in figures}
    return made + [Path(shutil.copy(a, b)) for a, b in sorted(drawn.items()) if made or not b.is_file()]
