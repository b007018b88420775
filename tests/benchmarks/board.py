"""The board: how near importance methods come to known answers, and which refuse where there is none.

``python tests/benchmarks/board.py`` fills the table beside it, a cell after
another, and goes on where it was stopped. A cell is a known function, a design,
a number of trials and a seed; each method is a row of it. ``--check FUNCTION
DESIGN N SEED`` computes one cell anew and shows it beside the kept one.
``--publish`` writes the page's numbers and its figure, and runs nothing.
"""

import argparse
import functools
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import known
import matplotlib.pyplot as plt
import numpy as np
import optuna
import pandas as pd
import torch
from matplotlib.ticker import NullFormatter, PercentFormatter
from optuna import samplers

from ubalkit import effects, figures, files, metamodel, rivals, shapley
from ubalkit import space as spaces
from ubalkit.observations import Trials
from ubalkit.paper import results

TABLE = Path(__file__).with_suffix(".csv")
COLUMNS = ["function", "design", "n", "seed", "method", "error", "order", "held", "width", "r2", "refused"]
SIZES = (50, 100, 200, 500, 1000)
MLP = ("MLP",)
DESIGNS = {"random": samplers.RandomSampler, "TPE": samplers.TPESampler, "GP": samplers.GPSampler}


class Cell(NamedTuple):
    """What is explained: a known function, how trials were chosen, how many, and the seed of all chance."""

    function: str
    design: str
    n: int
    seed: int


class Found(NamedTuple):
    """Importances by hyperparameter, bounds of their intervals, and held-out R² of what they come from."""

    importance: pd.Series
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    r2: float = np.nan


# The trials


@functools.cache
def _study(function: str, design: str, seed: int) -> optuna.Study:
    # A longer search begins as a shorter one of the same seed.
    return optuna.create_study(direction="maximize", sampler=DESIGNS[design](seed=seed))


@functools.cache
def trials(cell: Cell) -> Trials:
    """The trials of a cell, a search by Optuna; noise hangs on the seed and the trial's number alone."""
    f = known.FUNCTIONS[cell.function]
    space, scale = f.space, f(spaces.spread(f.space, 1024)).std() if f.terms else 1.0

    def objective(trial):
        rng = np.random.default_rng([cell.seed, trial.number])
        noise = rng.standard_t(2) if f.heavy else rng.normal()
        row = pd.DataFrame([_suggested(trial, space)]).reindex(columns=list(space))
        return float(f(spaces.to_unit(space, row))[0] + f.noise * scale * noise)

    study = _study(cell.function, cell.design, cell.seed)
    study.optimize(objective, n_trials=max(cell.n - len(study.trials), 0))
    first = study.trials[: cell.n]
    table = pd.DataFrame([trial.params for trial in first]).reindex(columns=list(space))
    return Trials(table.assign(score=[t.value for t in first], status="ok"), space, {"score": "maximize"})


def _suggested(trial: optuna.Trial, space) -> dict:
    row = {}
    for name, hp in space.items():
        if all(row.get(c.parent.name) == c.value for c in space.parent_conditions_of[name]):
            if options := spaces.choices(hp):
                row[name] = trial.suggest_categorical(name, [str(option) for option in options])
            else:
                row[name] = trial.suggest_float(name, hp.lower, hp.upper, log=hp.log)
    return row


# The methods: each takes a cell and gives importances, or says with an error that it cannot or will not.


class UnableError(Exception):
    """This method is not made for such a space, or would take hours in it."""


@functools.lru_cache(maxsize=4)
def _ensemble(cell: Cell, kinds: tuple[str, ...] = MLP) -> metamodel.Ensemble:
    # Of both kinds `metamodel.fit` would do the same, and fit the MLPs once more.
    if len(kinds) > 1:
        return max((_ensemble(cell, (kind,)) for kind in kinds), key=lambda ensemble: ensemble.r2)
    return metamodel.fit(trials(cell), seed=cell.seed, kinds=kinds)


def _attributed(attribution: shapley.Attribution) -> Found:
    estimate = attribution.importance_estimate()
    importance = pd.Series(estimate.value, attribution.names)
    return Found(importance, estimate.low, estimate.high, attribution.ensemble.r2)


def exact(cell: Cell, kinds: tuple[str, ...] = metamodel.KINDS) -> Found:
    """What `ubalkit.explain` finds, without its advice and at fewer points."""
    return _attributed(effects.decompose(_ensemble(cell, kinds), n_points=128, seed=cell.seed).shap())


def networks(cell: Cell) -> Found:
    """The same by MLPs alone, the paper's meta-model."""
    return exact(cell, MLP)


def deep(cell: Cell) -> Found:
    """Deep SHAP of these, at 128 points of the space."""
    ensemble = _ensemble(cell)
    if ensemble.space.conditions:
        raise UnableError("It cannot follow conditions.")
    points = spaces.from_unit(ensemble.space, spaces.spread(ensemble.space, 128))
    return _attributed(shapley.deep_shap(ensemble, points, seed=cell.seed))


def gaussian(cell: Cell, most: int = 300) -> Found:
    """A Gaussian process of scikit-learn with a length a hyperparameter, and its exact SHAP values.

    A squared-exponential kernel is a product over hyperparameters, and so is
    the game of each observation. The lengths are learnt from at most so many
    rows.
    """
    from sklearn.gaussian_process import GaussianProcessRegressor, kernels

    space = trials(cell).space
    if space.conditions:
        raise UnableError("What conditions switch off depends on others; the kernel is no product then.")
    unit, y = metamodel.observed(trials(cell), "score")
    x, owner = spaces.encoded(space, unit), spaces.inputs(space)
    rows = np.random.default_rng(cell.seed).permutation(len(y))[:most]
    y = (y - y.mean()) / y.std()
    kernel = kernels.ConstantKernel() * kernels.RBF(np.ones(x.shape[1]), (0.05, 100))
    kernel += kernels.WhiteKernel(0.1, (1e-4, 10))
    learnt = GaussianProcessRegressor(kernel).fit(x[rows], y[rows]).kernel_
    weights, lengths = np.linalg.solve(learnt(x), y), learnt.k1.k2.length_scale
    starts = np.unique(owner, return_index=True)[1]

    def near(points):
        apart = ((spaces.encoded(space, points)[:, None] - x) / lengths) ** 2 / 2
        return np.exp(-np.add.reduceat(apart, starts, axis=2))

    elsewhere = near(spaces.spread(space, 256, 1)).mean(0)
    games = (of_product(near(point[None])[0], elsewhere) for point in spaces.spread(space, 256))
    values = np.array([weights @ game for game in games])
    importance = learnt.k1.k1.constant_value * np.abs(values).mean(0)
    return Found(pd.Series(importance, spaces.varied(space)))


def of_product(k: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Shapley values, (n, d), of games in which a set S is worth the product of k over S and z elsewhere.

    The value of i is ∫ (k_i - z_i) Π (z_j + t (k_j - z_j)) dt over all other j,
    where t is how likely each of them is known (Owen, 1972).
    """
    nodes, shares = np.polynomial.legendre.leggauss(k.shape[1] // 2 + 1)
    both = z + ((nodes + 1) / 2)[:, None, None] * (k - z)
    return (k - z) * np.einsum("t,tnd->nd", shares / 2, both.prod(2, keepdims=True) / both)


def hyper_shap(cell: Cell) -> Found:
    """Tunability by the package hypershap, whose forest is its own, as is its search of 512 points."""
    from ConfigSpace import Configuration
    from hypershap import ExplanationTask, HyperSHAP

    given = trials(cell)
    space = given.space
    if len(space) > known.FEW or space.conditions:
        raise UnableError("It would take minutes.")
    rows = given.usable[list(space)].to_dict("records")
    data = [(Configuration(space, values=row), y) for row, y in zip(rows, given.usable["score"])]
    game = HyperSHAP(ExplanationTask.from_data(space, data))
    values = game.tunability(index="SV", order=1, n_samples=512, seed=cell.seed)
    return Found(pd.Series([values[(j,)] for j in range(len(space))], list(space)))


def _rival(method: Callable, **settings) -> Callable:
    return lambda cell: Found(method(trials(cell), seed=cell.seed, **settings))


#: What each method claims to measure, a column of `known.truth`, and the method.
METHODS = {
    "ubalkit": ("SHAP", exact),
    "MLPs alone": ("SHAP", networks),
    "Deep SHAP": ("SHAP", deep),
    "Gaussian process": ("SHAP", gaussian),
    "TreeSHAP": ("SHAP", _rival(rivals.tree_shap)),
    "fANOVA": ("first", _rival(rivals.fanova, n_trees=16)),
    "PED-ANOVA": ("apart", _rival(rivals.ped_anova)),
    "MDI": ("shared", _rival(rivals.mdi)),
    "permutation": ("total", _rival(rivals.permutation)),
    "N-RReliefF": ("SHAP", _rival(rivals.n_rrelieff)),
    "HyperSHAP": ("tunability", hyper_shap),
}


# The scores


def judged(found: Found, truth: pd.DataFrame, claim: str) -> dict:
    """How far importances are from the truth: see the page of the board."""
    importance = found.importance.reindex(truth.index).clip(lower=0)
    if not truth["SHAP"].any():
        return {"refused": 0, "r2": found.r2}
    shares, expected = importance / (importance.sum() or 1), truth[claim].clip(lower=0)
    scores = {"refused": 0, "error": (shares - expected / expected.sum()).abs().sum(), "r2": found.r2}
    size = truth["SHAP"]
    true, found_apart = (np.subtract.outer(v.to_numpy(), v.to_numpy()) for v in (size, importance))
    scores["order"] = (np.sign(found_apart)[true > 0.05 * size.max()] + 1).mean() / 2
    if found.low is not None:
        held = (found.low <= size + 1e-9) & (size - 1e-9 <= found.high)
        scores |= {"held": held.mean(), "width": (found.high - found.low).mean() / size.sum()}
    return scores


def rows(cell: Cell, methods=METHODS) -> list[dict]:
    """A cell's rows: each method that is there and can take it, and its scores."""
    made = []
    for name, (claim, method) in methods.items():
        try:
            scores = judged(method(cell), known.truth(cell.function), claim)
        except metamodel.UntrustworthyError:
            kinds = metamodel.KINDS if method is exact else MLP
            scores = {"refused": 1, "r2": _ensemble(cell, kinds).r2}
        except (UnableError, ModuleNotFoundError):
            continue
        made.append(cell._asdict() | {"method": name} | scores)
    return made


# The table


def plan() -> list[Cell]:
    """All cells, in the order in which a table that is not full says most."""
    both = ("random", "TPE")
    cells = [(f, design, n, 0) for n in (50, 200) for design in both for f in known.FIRST]
    cells += [(f, "GP", 50, 0) for f in known.FIRST]
    cells += [(f, design, 500, 0) for design in both for f in known.FIRST]
    cells += [(f, design, n, 0) for n in SIZES for design in both for f in known.FUNCTIONS]
    cells += [(f, "GP", n, 0) for n in (50, 200) for f in known.FUNCTIONS]
    cells += [(f, design, n, 1) for n in SIZES[:3] for design in both for f in known.FUNCTIONS]
    return [Cell(*cell) for cell in dict.fromkeys(cells)]


def fill(table: Path, minutes: float) -> None:
    """Append what a table lacks, a cell at a time."""
    end = time.monotonic() + 60 * minutes
    there = pd.read_csv(table) if table.is_file() else pd.DataFrame(columns=[*Cell._fields])
    done = set(there[[*Cell._fields]].itertuples(index=False, name=None))
    for cell in plan():
        if cell not in done and time.monotonic() < end:
            frame = pd.DataFrame(rows(cell), columns=COLUMNS)
            frame.to_csv(table, mode="a", header=not table.is_file(), index=False, float_format="%.4g")


# What the page says of it


#: Methods by what names of results call them.
SLUGS = {name: name.lower().replace(" ", "_").replace("-", "_") for name in METHODS}


def count(n: float) -> results.Result:
    return results.Result(n, unit="units") if n == n else results.Result("–")


def share(part: float) -> results.Result:
    return results.Result(100 * part, unit="%") if part == part else results.Result("–")


def compared(table: pd.DataFrame, score: str = "error") -> pd.DataFrame:
    """A score of each method, a row a cell in which there is an answer and ours gave one."""
    wide = table.pivot_table(score, [*Cell._fields], "method").reindex(columns=list(METHODS))
    return wide[wide["ubalkit"].notna()]


def summary(table: pd.DataFrame) -> dict[str, results.Result]:
    """The numbers of the page, by name; a dash where the table has no cells yet."""
    alone = table["function"].str.startswith("noise")
    errors, orders = compared(table), compared(table, "order")
    ours = table[table["method"] == "ubalkit"]
    counted = {"functions": known.FUNCTIONS, "later": known.LATER, "planned": plan(), "cells": ours}
    found = {name: count(len(what)) for name, what in counted.items()}
    all_sizes = pd.MultiIndex.from_product([DESIGNS, SIZES])
    for (design, n), row in errors.groupby(["design", "n"]).median().reindex(all_sizes).iterrows():
        found |= {f"{design.lower()}_{n}_{SLUGS[method]}": share(error) for method, error in row.items()}
    for design, row in orders.groupby("design").mean().reindex(list(DESIGNS)).iterrows():
        found |= {f"{design.lower()}_order_{SLUGS[method]}": share(order) for method, order in row.items()}
    for method, row in table.groupby("method")[["held", "width"]].mean().dropna().iterrows():
        found |= {f"{score}_{SLUGS[method]}": share(value) for score, value in row.items()}
    refused = table[alone].groupby("method")["refused"].mean()
    found |= {f"refused_{slug}": share(refused.get(method, np.nan)) for method, slug in SLUGS.items()}
    cells = ours[~alone[ours.index]].assign(answered=1 - ours["refused"]).groupby(["design", "n"])
    means = cells[["held", "width", "answered"]].mean().reindex(all_sizes)
    for (design, n), row in means.iterrows():
        found |= {f"{score}_{design.lower()}_{n}": share(value) for score, value in row.items()}
    for (design, n), size in cells.size().reindex(all_sizes).items():
        found[f"n_{design.lower()}_{n}"] = count(size)
    found["held_least"] = share(means["held"].min())
    return found | _later(errors, ours) | _beside(table, errors)


def _later(errors: pd.DataFrame, ours: pd.DataFrame) -> dict[str, results.Result]:
    """Of functions that came later: errors of ours, of the process and of the best other."""
    errors, ours = errors[errors.index.isin(known.LATER, 0)], ours[ours["function"].isin(known.LATER)]
    sizes, found = pd.MultiIndex.from_product([("random", "TPE"), (50, 100, 200)]), {}
    for (design, n), row in errors.groupby(["design", "n"]).median().reindex(sizes).iterrows():
        name, others = f"later_{design.lower()}_{n}", row.drop(["ubalkit", "MLPs alone", "Deep SHAP"])
        found |= {name: share(row["ubalkit"]), f"{name}_gp": share(row["Gaussian process"])}
        found[f"{name}_others"] = share(others.drop("Gaussian process").min())
    held = ours.groupby("design")["held"].mean().reindex(["random", "TPE"])
    return found | {f"later_held_{design.lower()}": share(value) for design, value in held.items()}


def _beside(table: pd.DataFrame, errors: pd.DataFrame) -> dict[str, results.Result]:
    """How often ours is the best, or its intervals reach to the best; its error over the runner-up's."""
    found, widths = {}, compared(table, "width")["ubalkit"]
    d = errors.index.get_level_values("function").map(lambda name: len(known.FUNCTIONS[name].space))
    for design, block in errors.groupby("design"):
        # Errors of several shares add as independent ones do.
        ours, reach = block["ubalkit"], (widths * np.sqrt(d) / 2).loc[block.index]
        others = block.drop(columns=["ubalkit", "MLPs alone", "Deep SHAP"])
        gaussian = others["Gaussian process"].dropna()
        found[f"nearer_gp_{design.lower()}"] = share((gaussian < ours[gaussian.index]).mean())
        large = block.index.get_level_values("n") >= 300
        for whom, rest in {"all": others, "rivals": others.drop(columns="Gaussian process")}.items():
            key, best = f"{whom}_{design.lower()}", rest.min(axis=1)
            found[f"best_{key}"] = share((ours <= best).mean())
            found[f"near_{key}"] = share((ours - reach <= best).mean())
            found[f"ratio_{key}"] = share(ours[large].median() / rest[large].median().min())
    return found


@figures.styled
def draw(table: pd.DataFrame):
    """Error of each method on the board by number of trials, 50 (pale) to 1000 (dark): less is better."""
    errors = compared(table)
    designs = [design for design in ("random", "TPE") if design in errors.index.unique("design")]
    middle = errors.groupby(["design", "n"]).median()
    order = middle.loc["random"].mean().sort_values(ascending=False).index
    figure, axes = plt.subplots(1, len(designs), figsize=(7.2, 3.1), sharex=True, sharey=True, squeeze=False)
    shades = dict(zip(SIZES, figures.AMOUNT(np.linspace(0, 1, len(SIZES)))))
    for ax, design in zip(axes[0], designs):
        block = middle.loc[design][order]
        for y, method in enumerate(order):
            ax.plot([block[method].min(), block[method].max()], [y, y], color="#bbbbbb", lw=1, zorder=1)
            for n, error in block[method][::-1].items():
                style = {"s": 14 + 9 * SIZES.index(n), "color": shades[n], "edgecolor": "white", "lw": 0.4}
                ax.scatter(error, y, label=n, **style)
        title = "random search" if design == "random" else design
        ax.set(title=title, xscale="log", xlabel="median error of the shares")
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1])
        ax.set_yticks(range(len(order)), order)
    dots, sizes = (part[::-1] for part in axes[0, 0].get_legend_handles_labels())
    handles = dict(zip(sizes, dots))
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), title="trials")
    return figure


def publish(table: pd.DataFrame) -> None:
    """Write the page's numbers and its figure."""
    numbers = files.data("results") / "board.csv"
    numbers.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        results.save(summary(table), Path(folder), "board")
        results.publish(Path(folder), numbers)
    figures.save(draw(table), files.figures(), "board", close=True)


def check(cell: Cell, table: pd.DataFrame) -> pd.DataFrame:
    """A cell computed anew, beside what the table keeps of it."""
    kept = table[(table[[*Cell._fields]] == [*cell]).all(axis=1)].set_index("method")
    new = pd.DataFrame(rows(cell), columns=COLUMNS).set_index("method")
    both = pd.concat({"kept": kept, "new": new}, axis=1).swaplevel(axis=1)
    return both[["error", "order", "held", "refused"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no cell after so many")
    parser.add_argument("--check", nargs=4, metavar=("FUNCTION", "DESIGN", "N", "SEED"))
    parser.add_argument("--publish", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    if given.check:
        function, design, n, seed = given.check
        print(check(Cell(function, design, int(n), int(seed)), pd.read_csv(given.table)).to_string())
    elif given.publish:
        publish(pd.read_csv(given.table))
    else:
        fill(given.table, given.minutes)


if __name__ == "__main__":
    main()
