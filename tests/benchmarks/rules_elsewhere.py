"""What rules are found in searches of other models, are they found again, and do they hold when tried?

``python tests/benchmarks/rules_elsewhere.py`` searches three models at 200 random configurations each, from
several seeds, explains each search, and tries what was proposed for each pair of hyperparameters, said or not,
on new configurations. It takes a quarter of an hour of a core; ``--publish`` writes what the pages quote.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ConfigSpace import ConfigurationSpace, Float, Integer
from sklearn import datasets, ensemble, model_selection, neural_network

from ubalkit import explain, files, rules, run
from ubalkit.experiment import Experiment
from ubalkit.paper import results

KEPT, SEEDS = Path(__file__).with_suffix(".csv"), range(3)


def scored(model, x, y, seed):
    x, x_test, y, y_test = model_selection.train_test_split(x, y, train_size=0.4, random_state=seed)
    return model.fit(x, y).score(x_test, y_test)


def boosting(at, seed):
    """R² of boosted trees for patients left out."""
    model = ensemble.GradientBoostingRegressor(**at, random_state=seed)
    return scored(model, *datasets.load_diabetes(return_X_y=True), seed)


def network(at, seed):
    """Accuracy of a network for digits left out, after ten epochs of stochastic gradient descent."""
    model = neural_network.MLPClassifier(**at, solver="sgd", max_iter=10, random_state=seed)
    return scored(model, *datasets.load_digits(return_X_y=True), seed)


def heat(at, seed):
    """Logarithm of the error, of at most all, of a scheme for heat in a rod; it is stable or it is not."""
    n, flow, k = at["cells"], 0.1 * at["conductivity"], np.pi * np.arange(1, 200, 2)[:, None]
    x, one, implicit = np.arange(1, n) / n, np.eye(n - 1), at["implicit"]
    exact = (8 / k**3 * np.exp(-flow * k**2) * np.sin(k * x)).sum(0)
    bend = (2 * one - np.eye(n - 1, k=1) - np.eye(n - 1, k=-1)) * n**2 * flow / at["steps"]
    step, u = np.linalg.solve(one + implicit * bend, one - (1 - implicit) * bend), x * (1 - x)
    for _ in range(at["steps"]):
        u = np.clip(step @ u, -1e9, 1e9)
    return np.log10(min(np.linalg.norm(u - exact) / np.linalg.norm(exact), 1))


# Names and ranges of the hyperparameters; wide ranges are logarithmic.
TREES = {"learning_rate": (0.003, 1.0), "n_estimators": (5, 500), "max_depth": (1, 6)}
TREES |= {"subsample": (0.3, 1.0), "min_samples_leaf": (1, 50)}
DESCENT = {"learning_rate_init": (1e-4, 1.0), "batch_size": (8, 512), "momentum": (0.0, 0.99)}
DESCENT |= {"alpha": (1e-6, 0.1), "hidden_layer_sizes": (8, 128)}
GRID = {"cells": (5, 100), "steps": (5, 2000), "implicit": (0.0, 1.0), "conductivity": (0.3, 3.0)}
MODELS = {
    "boosting": (boosting, "maximize", TREES),
    "network": (network, "maximize", DESCENT),
    "heat": (heat, "minimize", GRID),
}


def searched(name, seed):
    """A row for each pair of hyperparameters about which something was proposed: what, and how it was tried."""
    objective, direction, ranges = MODELS[name]
    space = ConfigurationSpace()
    for called, (low, high) in ranges.items():
        kind = Integer if isinstance(low, int) else Float
        space.add(kind(called, (low, high), log=0 < 9 * low < high))
    experiment = Experiment(name, objective, space, {"metric": direction}, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        trials = run(experiment, 200, folder=Path(folder), n_jobs=1, chunk=50, progress=False)
    explained = explain(trials, seed=seed)
    for rule in rules.find(explained.ensemble, trials, least=1.0):
        probes = rule.probes(40, seed=seed)
        values = experiment.measure(probes, experiment.seeds(range(80), stream=2))["metric"]
        row = {"model": name, "seed": seed, "members": explained.ensemble.kind, "r2": explained.trust.r2}
        row |= {"pair": " ".join(rule.pair), "rule": str(rule), "surprise": rule.found["surprise"]}
        yield row | {"share": rule.found["share"], **rule.tried(explained.ensemble, probes, values)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kept = [one for seed in SEEDS for name in MODELS for one in searched(name, seed)]
    pd.DataFrame(kept).to_csv(KEPT, index=False, float_format="%.4g")
