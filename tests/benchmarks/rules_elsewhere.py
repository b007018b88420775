"""What rules are found in searches of other models, are they found again, and do they hold when tried?

``python tests/benchmarks/rules_elsewhere.py`` searches three models at 200 random configurations each, from
several seeds, and tries what is proposed for each pair of hyperparameters, said or not, on new ones: a
quarter of an hour of a core. With ``--publish`` it only writes what the pages quote.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ConfigSpace import ConfigurationSpace, Float, Integer
from sklearn import datasets, ensemble, metrics, neural_network
from sklearn.model_selection import train_test_split

from ubalkit import explain, files, rules, uncertainty
from ubalkit.experiment import Experiment
from ubalkit.observations import Trials
from ubalkit.paper import results

KEPT, SEEDS = Path(__file__).with_suffix(".csv"), range(3)


def boosting(at, seed):
    """Logarithm of the error of boosted trees for rows left out."""
    table = datasets.make_friedman1(600, noise=1.0, random_state=seed)
    x, x_test, y, y_test = train_test_split(*table, random_state=seed)
    model = ensemble.GradientBoostingRegressor(**at, random_state=seed).fit(x, y)
    return np.log10(metrics.root_mean_squared_error(y_test, model.predict(x_test)))


def network(at, seed):
    """Accuracy of a network for digits left out, after ten epochs of stochastic gradient descent."""
    table = datasets.load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(*table, train_size=0.4, random_state=seed)
    model = neural_network.MLPClassifier(**at, solver="sgd", max_iter=10, random_state=seed)
    return model.fit(x, y).score(x_test, y_test)


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


# Ranges of the hyperparameters, logarithmic where they are wide.
TREES = {"learning_rate": (0.003, 1.0), "n_estimators": (5, 500), "max_depth": (1, 6)}
TREES |= {"subsample": (0.3, 1.0), "min_samples_leaf": (1, 50)}
DESCENT = {"learning_rate_init": (1e-4, 1.0), "batch_size": (8, 512), "momentum": (0.0, 0.99)}
DESCENT |= {"alpha": (1e-6, 0.1), "hidden_layer_sizes": (8, 128)}
GRID = {"cells": (5, 100), "steps": (5, 2000), "implicit": (0.0, 1.0), "conductivity": (0.3, 3.0)}
MODELS = {boosting: (TREES, "minimize"), network: (DESCENT, "maximize"), heat: (GRID, "minimize")}


def searched(model, seed):
    """A row for each rule proposed, and how it was tried: by what it adds, and by the metric as it is."""
    ranges, direction = MODELS[model]
    space = ConfigurationSpace()
    for name, (low, high) in ranges.items():
        space.add((Integer if isinstance(low, int) else Float)(name, (low, high), log=0 < 9 * low < high))
    experiment = Experiment(model.__name__, model, space, {"metric": direction}, seed=seed)
    trials = Trials(experiment.evaluate(range(200)), space, experiment.directions)
    explained = explain(trials, seed=seed)
    for rule in rules.find(explained.ensemble, trials, least=1.0):
        probes = rule.probes(40, seed=seed)
        values = experiment.measure(probes, experiment.seeds(range(80), stream=2))["metric"].to_numpy()
        row = {"model": model.__name__, "seed": seed, "members": explained.ensemble.kind}
        form = getattr(rule.region, "form", "corner")
        row |= {"r2": explained.trust.r2, "about": f"{form} of {' and '.join(rule.pair)}", "rule": str(rule)}
        row |= {**rule.found[["surprise", "share"]], **rule.tried(explained.ensemble, probes, values)}
        better = explained.ensemble.sign * (values[:40] - values[40:])
        whole = uncertainty.bootstrap(lambda v: v.mean(-1), better)
        yield row | dict(zip(("better", "better_low", "better_high"), whole))


def publish():
    """Write what was found where the pages' numbers come from; what was found again comes first."""
    kept = pd.read_csv(KEPT)
    kept = kept.assign(held=kept["low"] > 0, good=kept["better_low"] > 0)
    said = kept[kept["surprise"] <= rules.SURPRISE]
    again = said.groupby(["model", "about"])["seed"].transform("size") > 1
    groups = {"said": said, "again": said[again], "once": said[~again]}
    found, counts = {}, {"seeds": len(SEEDS), "searches": len(SEEDS) * len(MODELS)}
    for name, rows in groups.items():
        counts |= {name: len(rows)} | {f"{name}_{how}": rows[how].sum() for how in ("held", "good")}
    for (model, _), rows in said[again].groupby(["model", "about"], sort=False):
        first, name = rows.iloc[0], f"{model}_{sum(key.startswith(f'{model}_') for key in found) // 2}"
        counts |= {f"{name}_rule": first["rule"], f"{name}_found": len(rows)}
        counts |= {f"{name}_{how}": rows[how].sum() for how in ("held", "good")}
        found[f"{name}_gain"] = results.Result(*first[["gain", "low", "high"]])
        found[f"{name}_better"] = results.Result(*first[["better", "better_low", "better_high"]])
    found |= {name: results.Result(value, unit="units") for name, value in counts.items()}
    with tempfile.TemporaryDirectory() as folder:
        results.save(found, Path(folder), "rules_elsewhere")
        results.publish(Path(folder), files.data("results") / "rules_elsewhere.csv")


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if "--publish" not in sys.argv:
        kept = pd.DataFrame([one for seed in SEEDS for model in MODELS for one in searched(model, seed)])
        kept.to_csv(KEPT, index=False, float_format="%.4g")
    publish()
