"""Thirty known functions, searched by random, TPE and Gaussian-process samplers: are importances right?

``python tests/benchmarks/samplers.py --out table.csv`` explains each study and
compares its importances with those of the function itself, over the space. It
takes hours of one core; ``--functions``, ``--sizes`` and ``--samplers`` cut it.
With ``--publish table.csv …`` it writes what README quotes, and trains nothing.
"""

import argparse
import itertools
import math
import tempfile
import warnings
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import torch

from ubalkit import explain, files, metamodel, readers
from ubalkit import space as spaces
from ubalkit.paper import results


def _functions():
    """Thirty functions of points of the unit cube, (n, d), with d from 3 to 6."""
    shapes = {
        "rising": lambda u: u,
        "bowl": lambda u: -4 * (u - 0.7) ** 2,
        "kink": lambda u: np.maximum(u - 0.4, 0),
        "step": lambda u: 1.0 * (u > 0.6),
        "wave": lambda u: np.sin(2 * np.pi * u) / 2,
        "steep": lambda u: np.exp(3 * u) / 12,
    }
    weights = {3: [1, 0.4, 0.1], 4: [1, 0.7, 0.3, 0], 5: [1, 1, 0.5, 0.2, 0], 6: [1, 0.6, 0.4, 0.2, 0, 0]}
    found = {}
    for (name, shape), d in itertools.product(shapes.items(), (3, 4)):
        w = np.array(weights[d])
        found[f"{name} {d}"] = (d, lambda u, shape=shape, w=w: shape(u) @ w)
    for name, shape in shapes.items():
        w = np.array(weights[5])
        found[f"{name} with a pair"] = (
            5,
            lambda u, shape=shape, w=w: shape(u) @ w + 1.5 * (u[:, 0] - 0.5) * (u[:, 1] - 0.5),
        )
    for name, shape in shapes.items():
        w = np.array(weights[6])
        found[f"{name} in a product"] = (
            6,
            lambda u, shape=shape, w=w: shape(u) @ w + u[:, 0] * shape(u[:, 2]),
        )
    mixed, a = list(shapes.values()), np.array([0, 0.5, 3, 9, 99])
    found |= {
        "mixed 6": (6, lambda u: sum(w * f(x) for w, f, x in zip((1, 0.8, 0.6, 0.4, 0.2, 0), mixed, u.T))),
        "ridge": (4, lambda u: -np.abs(u[:, 0] - u[:, 1]) + 0.3 * u[:, 2]),
        "hill": (4, lambda u: np.exp(-3 * ((u[:, :3] - [0.7, 0.3, 0.5]) ** 2 * [2, 1, 0.5]).sum(1))),
        "g-function": (
            5,
            lambda u: np.prod((np.abs(4 * u - 2) + a) / (1 + a), axis=1),
        ),
        "three at once": (5, lambda u: 8 * np.prod(u[:, :3] - 0.5, 1) + u[:, 3]),
        "switch": (4, lambda u: np.where(u[:, 0] > 0.5, u[:, 1], 0.3 * u[:, 2])),
    }
    return found


FUNCTIONS = _functions()
SAMPLERS = {
    "random": optuna.samplers.RandomSampler,
    "TPE": optuna.samplers.TPESampler,
    "GP": optuna.samplers.GPSampler,
}


def truth(name: str, n: int = 512) -> np.ndarray:
    """Mean absolute SHAP value of each hyperparameter of a function, over the space."""
    d, f = FUNCTIONS[name]
    x, b = spaces.sobol(d, n, 0), spaces.sobol(d, n, 1)
    game = {}
    for held in itertools.product([False, True], repeat=d):
        rows = np.where(held, x[:, None], b)
        game[held] = f(rows.reshape(-1, d)).reshape(n, n).mean(1)
    values = np.zeros((n, d))
    for held, i in itertools.product(game, range(d)):
        if not held[i]:
            joined = tuple(h or j == i for j, h in enumerate(held))
            k = sum(held)
            weight = math.factorial(k) * math.factorial(d - k - 1) / math.factorial(d)
            values[:, i] += weight * (game[joined] - game[held])
    return np.abs(values).mean(0)


def study(name: str, sampler: str, n: int, seed: int) -> optuna.Study:
    """A search that maximises a function with noise of a tenth of its spread."""
    d, f = FUNCTIONS[name]
    noise = 0.1 * f(spaces.sobol(d, 256)).std()
    rng = np.random.default_rng(seed)

    def objective(trial):
        u = np.array([[trial.suggest_float(f"h{j}", 0, 1) for j in range(d)]])
        return float(f(u)[0] + noise * rng.normal())

    made = optuna.create_study(direction="maximize", sampler=SAMPLERS[sampler](seed=seed))
    made.optimize(objective, n_trials=n)
    return made


def one(name: str, sampler: str, n: int, seed: int = 0) -> dict:
    """How far the importances are from the true ones, in shares, and how many intervals hold these."""
    d, expected = FUNCTIONS[name][0], truth(name)
    trials = readers.from_optuna(study(name, sampler, n, seed))
    row = {"function": name, "sampler": sampler, "n": n, "seed": seed}
    try:
        explained = explain(trials, seed=seed)
    except metamodel.UntrustworthyError as error:
        return row | {"refused": 1, "why": str(error)[:60]}
    table = explained.table.loc[[f"h{j}" for j in range(d)]]
    inside = (table["low"] <= expected + 1e-9) & (expected - 1e-9 <= table["high"])
    share = table["importance"] / table["importance"].sum()
    return row | {
        "refused": 0,
        "r2": explained.trust.r2,
        "error": np.abs(share - expected / expected.sum()).sum(),
        "held": inside.mean(),
        "width": ((table["high"] - table["low"]) / expected.sum()).mean(),
    }


def publish(paths) -> None:
    """Write the medians and means by sampler and size where README's numbers come from."""
    table = pd.concat(map(pd.read_csv, paths)).round(6)
    table.to_csv(files.home() / "tests" / "benchmarks" / "samplers.csv", index=False)
    found = {"n": results.Result(table["function"].nunique(), unit="units")}
    for (sampler, n), rows in table.groupby(["sampler", "n"]):
        key = f"{sampler.lower()}_{n}"
        found[f"{key}_error"] = results.Result(100 * rows["error"].median(), unit="%")
        found[f"{key}_held"] = results.Result(100 * rows["held"].mean(), unit="%")
        found[f"{key}_refused"] = results.Result(int(rows["refused"].sum()), unit="units")
    with tempfile.TemporaryDirectory() as folder:
        results.save(found, Path(folder), "samplers")
        results.publish(Path(folder), files.data("results") / "samplers.csv")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--functions", nargs="*", default=[*FUNCTIONS])
    parser.add_argument("--samplers", nargs="*", default=[*SAMPLERS])
    parser.add_argument("--sizes", nargs="*", type=int, default=[50, 100, 300])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("samplers.csv"))
    parser.add_argument("--publish", nargs="*", help="tables to write README's numbers from")
    given = parser.parse_args()
    if given.publish:
        return publish(given.publish)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    rows = []
    for n, name, sampler in itertools.product(given.sizes, given.functions, given.samplers):
        rows.append(one(name, sampler, n, given.seed))
        pd.DataFrame(rows).to_csv(given.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
