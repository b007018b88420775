"""Runs the notebooks through papermill, in order, strictly.

``python -m ubalkit.pipeline --profile digits`` writes everything into the
runs of the profile; with ``--publish`` the figures are copied into
``figures/``.
"""

import argparse
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ubalkit import paths, profiles

__all__ = ["NOTEBOOKS", "run", "publish"]

NOTEBOOKS = ("01_search", "02_metamodel", "03_shap", "04_constrained_search", "06_how_good")

#: Tables behind the figures that are published beside them.
FRAMES = ("fig3_curves", "importance", "effects", "coupling", "methods", "convergence")


def run(
    profile: str,
    notebooks: Sequence[str] = NOTEBOOKS,
    parameters: Mapping[str, Mapping] | None = None,
    *,
    progress: bool = False,
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
    progress : bool
        Whether papermill shows a bar over the cells.

    Returns
    -------
    list of Path
        Of the executed notebooks.

    Raises
    ------
    ValueError
        For an unknown profile or notebook, or a parameter that a notebook
        does not have.
    papermill.PapermillExecutionError
        If a cell raises.
    """
    import papermill

    profiles.get(profile)
    parameters = dict(parameters or {})
    unknown = [name for name in notebooks if name not in NOTEBOOKS]
    unknown += [name for name in parameters if name not in notebooks]
    if unknown:
        raise ValueError(f"Unknown notebook {unknown[0]!r}; there are {', '.join(NOTEBOOKS)}.")
    plan = []
    for name in notebooks:
        source = paths.notebooks() / f"{name}.ipynb"
        given = {"profile_name": profile, **parameters.get(name, {})}
        # papermill itself only warns of a parameter that a notebook lacks.
        known = papermill.inspect_notebook(str(source))
        for parameter in given:
            if parameter not in known:
                raise ValueError(
                    f"The notebook {name} has no parameter {parameter!r}; it has {', '.join(known)}."
                )
        plan.append((source, given))
    folder = paths.writable(paths.runs(profile) / "notebooks")
    executed = []
    for source, given in plan:
        start = time.perf_counter()
        target = folder / source.name
        papermill.execute_notebook(
            str(source), str(target), given, cwd=str(paths.notebooks()), progress_bar=progress
        )
        print(f"{source.stem}: {time.perf_counter() - start:.0f} s", flush=True)
        executed.append(target)
    return executed


def publish(profile: str) -> list[Path]:
    """Copy what a profile's runs show: figures and their frames into ``figures/``, claims into ``data/``."""
    folder, runs = paths.writable(paths.figures()), paths.runs(profile)
    frames = [runs / f"{name}.csv" for name in FRAMES]
    made = [*sorted((runs / "figures").glob("*.p[nd][gf]")), *frames]
    copies = [Path(shutil.copy(path, folder / f"{path.stem}_{profile}{path.suffix}")) for path in made]
    data = paths.writable(paths.data(profile))
    return [*copies, Path(shutil.copy(runs / "claims.csv", data / "claims.csv"))]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ubalkit.pipeline", description="Run the notebooks in order."
    )
    parser.add_argument("--profile", help=f"one of {', '.join(profiles.NAMES)}; the best recorded by default")
    parser.add_argument("--publish", action="store_true", help="copy the figures into figures/")
    given = parser.parse_args(arguments)
    try:
        profile = given.profile or profiles.default()
        run(profile, progress=True)
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    if given.publish:
        for path in publish(profile):
            print(path)


if __name__ == "__main__":
    main()
