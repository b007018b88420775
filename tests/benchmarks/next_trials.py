"""Which trials next? Rules that propose a second batch of trials, against as many random ones.

``PYTHONPATH=notebooks python tests/benchmarks/next_trials.py`` begins with 60 trials, random ones or TPE's,
of six known functions and of networks trained on digits, lets each rule add more, and looks at how sure and
how right the importances are then, by the package's ensembles and by a meta-model whose uncertainty is
exact. What its table holds is not computed again; all of it is about an hour of one core. With ``--publish``
it writes what the documentation quotes, and trains nothing.
"""

import argparse
import contextlib
import functools
import itertools
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import known
import numpy as np
import pandas as pd
import torch
from known import Known, bowl, each, line, plain, wave
from scipy.stats import multivariate_normal

from ubalkit import advice, effects, files, metamodel, observations, uncertainty
from ubalkit import space as spaces
from ubalkit.experiment import Experiment
from ubalkit.observations import Trials
from ubalkit.paper import protocols, results

TABLE = files.home() / "tests" / "benchmarks" / "next_trials.csv"
START, METRIC = 60, "test_accuracy"
#: One architecture and less work than `explain`: what is compared is trials, by the same means.
FIT = {"architectures": [(2, 32)], "weight_decays": [3e-3], "n_folds": 2, "steps": 400}


def _rise(z):
    return 1 / (1 + np.exp(-12 * z))


#: Known functions with neighbours in the order that are hard to tell apart.
FUNCTIONS = {
    "sum": Known(plain(5), each([1, 0.9, 0.5, 0.45], line)),
    "waves": Known(plain(4), [*each([1, 0.9, 0.4], wave), ((3,), lambda u: u / 2)]),
    "bowls": Known(plain(6), each([1, 0.8, 0.7, 0.3, 0.2], bowl)),
    "hill": known.FUNCTIONS["hill 4"],
    "products": Known(
        plain(6),
        [((0, 1), lambda x, y: x * y), ((2, 3), lambda x, y: x * (1 - y)), ((4,), lambda u: 0.3 * u)],
    ),
    "rule": Known(
        plain(7),
        [
            *each([0, 0, 0, 0, 0.3, 0.1], line),
            ((0, 1, 2, 3), lambda *u: _rise(u[0] - u[1]) * _rise(u[2] - u[3])),
        ],
    ),
}


class Seen(NamedTuple):
    """What a meta-model says after some trials.

    `value` are the importances, (d,), `replicates` what else they may be, (n_draws, d), and `width` says how
    unsure they are. Of polynomials `predict` gives the draws' predictions, (n_draws, n), of unit-cube points,
    and `noise` is the variance that is left.
    """

    value: np.ndarray
    replicates: np.ndarray
    width: float
    predict: Callable | None = None
    noise: float = np.nan


def networks(trials: Trials, seed: int) -> Seen:
    """The package's own: an ensemble, and SHAP values at points spread evenly."""
    ensemble = metamodel.fit(trials, seed=seed, **FIT)
    shap = effects.decompose(ensemble, n_points=128, n_background=16, seed=seed).shap()
    found = shap.importance_estimate()
    return Seen(found.value, found.replicates, (found.high - found.low).mean())


def _basis(unit: np.ndarray):
    """Orthonormal polynomials of one and of two hyperparameters, (n, k), whose each is, and prior variances.

    The powers of one go to 4, of two to 2 each; their variance falls with the cube of what they bend.
    """
    x, d, legendre = 2 * unit - 1, unit.shape[1], np.polynomial.legendre.legval
    powers = [legendre(x, np.eye(5)[k]) * (2 * k + 1) ** 0.5 for k in (1, 2, 3, 4)]
    own = [((i,), powers[k][:, i], (k + 1) ** -3) for i in range(d) for k in range(4)]
    pairs = [
        ((i, j), powers[k][:, i] * powers[m][:, j], 0.3 * ((k + 1) * (m + 1)) ** -3)
        for i, j in itertools.combinations(range(d), 2)
        for k, m in itertools.product(range(2), repeat=2)
    ]
    whose, columns, variances = zip(((), np.ones(len(unit)), 10), *own, *pairs)
    shares = np.array([[(i in w) / max(len(w), 1) for w in whose] for i in range(d)])
    return np.stack(columns, 1), shares, np.array(variances)


def polynomials(trials: Trials, seed: int) -> Seen:
    """Bayesian regression on polynomials, whose 200 draws are exact and cost nothing."""
    unit, y = metamodel.observed(trials, trials.metric)
    x, _, variances = _basis(unit)
    scaled = (y - y.mean()) / y.std()

    def evidence(noise):
        return multivariate_normal.logpdf(scaled, cov=x * variances @ x.T + noise * np.eye(len(y)))

    noise = max((0.003, 0.01, 0.03, 0.1, 0.3), key=evidence)
    covariance = np.linalg.inv(x.T @ x / noise + np.diag(1 / variances))
    mean = covariance @ x.T @ scaled / noise
    draws = y.std() * np.random.default_rng(seed).multivariate_normal(mean, covariance, 200)
    points, shares, _ = _basis(spaces.sobol(unit.shape[1], 256, 9))

    def sizes(weights):
        return np.abs((weights[:, None] * shares) @ points.T).mean(2)

    found, value = sizes(draws), sizes(y.std() * mean[None])[0]
    width = np.ptp(uncertainty.bounds(found), axis=0).mean()
    return Seen(value, found, width, lambda u: draws @ _basis(u)[0].T, noise * y.var())


MODELS = {"networks": networks, "polynomials": polynomials}


def random(trials, n, seed):
    """The next of a random search."""
    return spaces.sample(trials.space, 1000 + seed, range(n))


def even(trials, n, seed):
    """Spread evenly, wherever trials lie."""
    return spaces.from_unit(trials.space, spaces.spread(trials.space, n, 1000 + seed))


def missing(trials, n, seed):
    """Where trials are missing: what `explained.next` does."""
    return advice.gaps(trials, n, 1000 + seed)


def disagreement(trials, n, seed, wanted_of=None):
    """Where draws of polynomials disagree most, or about what is wanted, given the points chosen before.

    With the draws as a Gaussian, a trial at x with noise s² takes
    Cov(T, f(x))² / (Var f(x) + s²) off the variance of a quantity T. After each
    choice the draws are moved as a Kalman filter's are (Whitaker and Hamill, 2002).
    """
    seen = polynomials(trials, 2000 + seed)
    pool = spaces.spread(trials.space, 1024, 1000 + seed)
    f = seen.predict(pool)
    wanted, chosen = wanted_of(seen.replicates) if wanted_of else f, []
    wanted, f = wanted - wanted.mean(0), f - f.mean(0)
    for _ in range(n):
        variance = f.var(0) + seen.noise
        gain = ((wanted.T @ f / len(f)) ** 2).sum(0) / variance if wanted_of else variance
        gain[chosen] = -1
        chosen.append(best := int(gain.argmax()))
        part = f[:, [best]] / (1 + (seen.noise / variance[best]) ** 0.5) / variance[best]
        wanted, f = (values - part * (f[:, best] @ values / len(f)) for values in (wanted, f))
    return spaces.from_unit(trials.space, pool[chosen])


def ties(trials, n, seed):
    """What narrows the differences of neighbours in the order most."""

    def differences(sizes):
        gaps = np.diff(sizes[:, np.argsort(sizes.mean(0))])
        return gaps / gaps.std(0)

    return disagreement(trials, n, seed, differences)


RULES = {"random": random, "next": missing, "even": even, "disagreement": disagreement, "ties": ties}


def measured(trials: Trials, seed: int, model: str, expected: np.ndarray) -> dict:
    """The best trial; how sure and how right importances are, in shares of the sum of the true ones."""
    found, whole = {"best": trials.usable[trials.metric].max()}, expected.sum()
    with contextlib.suppress(metamodel.UntrustworthyError):
        seen = MODELS[model](trials, seed)
        gaps = np.diff(seen.replicates[:, np.argsort(seen.value)]).std(0).mean()
        error = np.abs(seen.value - expected).sum()
        found |= {"error": error / whole, "width": seen.width / whole, "gap": gaps / whole}
    return found


@functools.cache
def function(name: str, seed: int):
    """The space, the first trials, how others are tried, and the true importances of a known function."""
    f = FUNCTIONS[name]
    d = len(f.space)
    noise = 0.2 * f(spaces.sobol(d, 512)).std()

    def tried(table, rng):
        return table.assign(y=f(table.to_numpy(float)) + noise * rng.normal(size=len(table)), status="ok")

    first = tried(spaces.sample(f.space, seed, range(START)), np.random.default_rng([seed, 0]))
    return f.space, {"y": "maximize"}, first, tried, known.mean_shap(known.effects(f, 256), d)


@functools.cache
def digits(name: str, seed: int):
    """The same of networks; what a thousand of them say stands for the truth."""
    protocol = protocols.get("digits").protocol
    recorded = observations.read(files.data("digits") / "observations.csv", protocol)

    def tried(table, rng):
        return protocol.again(table, [int(s) for s in rng.integers(2**32, size=len(table))])

    first, metrics = recorded.table.iloc[240 * seed :][:START], {METRIC: "maximize"}
    expected = networks(Trials(recorded.table, protocol.space, metrics), seed=0).value
    return protocol.space, metrics, first, tried, expected


def problem(name: str, seed: int):
    return (digits if name == "digits" else function)(name, seed)


@functools.cache
def by_tpe(name: str, seed: int, n: int) -> pd.DataFrame:
    """The trials of a study of Optuna's TPE, in their order."""
    import tpe  # lies beside the notebooks

    space, metrics, _, tried, _ = problem(name, seed)
    (metric,) = metrics

    def objective(at, seed):
        return tried(pd.DataFrame([at]), np.random.default_rng(seed))[metric].item()

    searched = Experiment(name, objective, space, metrics, seed=seed)
    return tpe.run(searched, metric, n_trials=n, n_studies=1).table[[*space, metric, "status"]]


def followed(model: str, name: str, seed: int, rule: str):
    """The rows of one rule on one problem, which all rules begin with the same trials."""
    name, _, crowded = name.partition(" after ")
    space, metrics, table, tried, expected = problem(name, seed)
    last = 240 if name == "digits" else 180 if rule == "random" else 120
    rng = np.random.default_rng([seed, 1])
    table = by_tpe(name, seed, 120).head(START) if crowded else table
    for n in range(START, last + 1, START):
        if rule == "TPE":
            table = by_tpe(name, seed, last).head(n)
        elif n > START:
            given = Trials(table, space, metrics)
            new = tried(RULES[rule](given, START, 100 * seed + n), rng)
            table = pd.concat([table, new], ignore_index=True)
        if rule in ("random", "TPE") or n > START:  # what all begin with is looked at once
            found = measured(Trials(table, space, metrics), seed, model, expected)
            begun = f"{name} after {crowded}" if crowded else name
            yield {"model": model, "problem": begun, "seed": seed, "rule": rule, "n": n, **found}


def publish() -> None:
    """Write what the documentation quotes and what notebook 4 shows."""
    table, found = pd.read_csv(TABLE), {}
    networks = table[table["problem"] == "digits"].drop(columns=["model", "problem"])
    networks.to_csv(files.data("digits") / "next.csv", index=False)
    after = table["problem"].str.contains(" after ").map({False: "", True: "_after_tpe"})
    for model, rows in table[table["problem"] != "digits"].groupby(table["model"] + after):
        rows = np.log(rows.set_index(["rule", "n", "problem", "seed"])[["error", "gap"]].sort_index())
        begun, by_random = rows.loc["random", START], rows.loc["random", 120]
        found[f"{model}_n"] = results.Result(len(begun), unit="units")
        for (rule, n), here in rows.groupby(level=["rule", "n"]):
            ratios = (here.droplevel(["rule", "n"]) - by_random).dropna()
            for measure, values in ratios.items():
                numbers = uncertainty.bootstrap(lambda x: x.mean(-1), values.to_numpy())
                name = f"{model}_{rule}_{n}_{measure}"
                found[name] = results.Result(*(100 * np.exp(numbers)), unit="%")
        # How many random trials leave as much: of 60 to 120 more the logarithm falls evenly.
        both = rows.loc["next", 120] - by_random, rows.loc["random", 180] - by_random
        for measure in rows:
            pairs = pd.concat([part[measure] for part in both], axis=1).dropna().to_numpy().T
            worth = uncertainty.bootstrap(lambda a, b: START * (1 + a.mean(-1) / b.mean(-1)), *pairs)
            found[f"{model}_worth_{measure}"] = results.Result(*worth, unit="trials")
    found["digits_n"] = results.Result(networks["seed"].nunique(), unit="units")
    for (rule, n), rows in networks.groupby(["rule", "n"]):
        for measure in ("best", "error", "width"):
            found[f"digits_{rule}_{n}_{measure}"] = results.Result(rows[measure].mean())
    with tempfile.TemporaryDirectory() as folder:
        results.save(found, Path(folder), "next_trials")
        results.publish(Path(folder), files.data("results") / "next_trials.csv")


#: Models, problems and rules. Networks take long, and explain what was trained on digits.
WANTED = [
    *itertools.product(["networks"], [*FUNCTIONS, "digits"], ["random", "next"]),
    ("networks", "digits", "TPE"),
    *itertools.product(["polynomials"], FUNCTIONS, RULES),
    # TPE goes on where it began, which crowds.
    *itertools.product(["polynomials"], [f"{name} after TPE" for name in FUNCTIONS], [*RULES, "TPE"]),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--publish", action="store_true", help="write what the table says, train nothing")
    given = parser.parse_args()
    if given.publish:
        return publish()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame()
    for seed, (model, name, rule) in itertools.product(range(given.seeds), WANTED):
        key = {"model": model, "problem": name, "seed": seed, "rule": rule}
        if len(done) and (done[[*key]] == [*key.values()]).all(axis=1).any():
            continue
        done = pd.concat([done, pd.DataFrame(followed(model, name, seed, rule))])
        done.to_csv(TABLE, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
