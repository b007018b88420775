"""How often are rules found that are there, and how often ones that are not?

``python tests/benchmarks/rules.py --out table.csv`` makes tables of trials
without a relation (noise; effects that add up; a plain product of two
hyperparameters) and with one of five kinds, looks for rules in each, and takes
random samples of 200 of the paper's networks; by MLPs or, with ``--members GP``,
by Gaussian processes. A row a table; what is there already is not done again.
``--kinds`` and ``--tables`` cut what takes hours of one core. ``--publish``
writes what the pages quote.
"""

import argparse
import itertools
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ConfigSpace import ConfigurationSpace, Float

from ubalkit import files, metamodel, observations, readers, rules, uncertainty
from ubalkit import space as spaces
from ubalkit.paper import results

KEPT = Path(__file__).with_suffix(".csv")

# A hyperparameter's own effect, along its unit-cube coordinate.
SHAPES = [
    lambda u: u,
    lambda u: -4 * (u - 0.6) ** 2,
    lambda u: 2 * np.maximum(u - 0.4, 0),
    lambda u: 1.0 * (u > 0.6),
    lambda u: np.sin(2 * np.pi * u) / 2,
    lambda u: np.exp(3 * u) / 12,
    lambda u: _logistic(12 * (u - 0.4)),
]


def _logistic(z):
    return 1 / (1 + np.exp(-z))


def _ridge(a, b):
    # Of a rate between 1e-5 and 1e-1 and a batch between 16 and 512: their product is best near one value.
    return np.exp(-((4 * a + 1.5 * b - 2.6) ** 2) / (2 * 0.5**2))


LOGARITHMS = "product of logarithms"

#: What two coordinates do together, and the forms that are right for it.
RELATIONS = {
    "difference": (lambda a, b: _logistic(12 * (a - b)), {"difference"}),
    "sum": (lambda a, b: _logistic(12 * (a + b - 1.1)), {"sum"}),
    LOGARITHMS: (_ridge, {"sum"}),
    "extreme": (lambda a, b: _logistic(15 * (np.minimum(a, b) - 0.4)), {"extreme", "corner"}),
    "corner": (lambda a, b: 1.0 * ((a > 0.3) | (b < 0.5)), {"corner", "extreme"}),
}
NOTHING = {
    "noise": lambda a, b: 0 * a,
    "additive": lambda a, b: 0 * a,
    "product": lambda a, b: a * b,
}
KINDS = [*NOTHING, *RELATIONS, "paper"]


def table(kind: str, seed: int):
    """Trials in which two of three to seven hyperparameters act together as a kind says."""
    rng = np.random.default_rng([seed, sum(map(ord, kind))])
    d, n = int(rng.integers(3, 8)), 200
    if kind in NOTHING:
        n = int(rng.integers(50, 501))
    unit, weights = rng.random((n, d)), rng.dirichlet(np.ones(d))
    alone = sum(w * SHAPES[rng.integers(len(SHAPES))](u) for w, u in zip(weights, unit.T))
    act = (NOTHING | {name: f for name, (f, _) in RELATIONS.items()})[kind]
    jointly = act(*unit[:, :2].T)
    y = alone + rng.choice([-1, 1]) * rng.uniform(0.7, 1.5) * jointly * alone.std() / max(jointly.std(), 1e-9)
    y = y * (kind != "noise") + rng.uniform(0.1, 0.4) * y.std() * rng.standard_normal(n)
    space = ConfigurationSpace({f"h{j}": (0.0, 1.0) for j in range(2 * (kind == LOGARITHMS), d)})
    if kind == LOGARITHMS:
        space.add(Float("h0", (1e-5, 1e-1), log=True), Float("h1", (16, 512), log=True))
    return readers.from_frame(
        spaces.from_unit(space, unit).assign(y=y), "y", direction="maximize", space=space
    )


def networks(seed: int, n: int = 200):
    """A random sample of the paper's networks."""
    trials = observations.read(files.data("paper") / "observations.csv")
    return replace(trials, table=trials.usable.sample(n, random_state=seed).sort_index())


def one(members: str, kind: str, seed: int) -> dict:
    """Which rules are found in a table, the surest first, and whether they are right."""
    row = {"members": members, "kind": kind, "seed": seed}
    row |= {"refused": 0, "n_rules": 0, "first": "", "right": 0}
    try:
        trials = networks(seed) if kind == "paper" else table(kind, seed)
        ensemble = metamodel.fit(trials, seed=seed, kinds=[members])
        ensemble.trust.check()
    except metamodel.UntrustworthyError:
        return row | {"refused": 1}
    proposed = rules.find(ensemble, trials, least=1.0)
    found = [rule for rule in proposed if rule.found["surprise"] <= rules.SURPRISE]
    row |= {"n_rules": len(found), "first": "; ".join(map(str, proposed[:2]))}
    if kind == "paper":
        expected = {("beta_2", "gammaF_1"), ("beta_3", "gammaF_2")}
        both = [{r.pair for r in of if r.form == "difference"} >= expected for of in (proposed[:2], found)]
        return row | {"right": both[1], "proposed": both[0]}
    forms = RELATIONS.get(kind, (None, set()))[1]
    return row | {"right": int(any(r.pair == ("h0", "h1") and r.form in forms for r in found))}


def publish() -> None:
    """Write how many tables there were and what was found in them where the pages' numbers come from."""
    found = {}
    for members, kept in pd.read_csv(KEPT).groupby("members"):
        of = members.lower()
        for kind, rows in kept.groupby("kind"):
            name = f"{of}_{kind.replace(' ', '_')}"
            right = rows["n_rules"] > 0 if kind in NOTHING else rows["right"] > 0
            found[f"{name}_tables"] = results.Result(len(rows), unit="units")
            share, low, high = uncertainty.bootstrap(lambda v: v.mean(-1), right.to_numpy(float))
            found[f"{name}_found"] = results.Result(100 * share, 100 * low, 100 * high, unit="%")
        nothing, networks = kept[kept["kind"].isin(NOTHING)], kept[kept["kind"] == "paper"]
        counts = {"nothing_tables": len(nothing), "nothing_alarms": (nothing["n_rules"] > 0).sum()}
        counts |= {"paper_proposed": networks["proposed"].sum(), "paper_passed": networks["right"].sum()}
        found |= {f"{of}_{name}": results.Result(int(n), unit="units") for name, n in counts.items()}
    with tempfile.TemporaryDirectory() as folder:
        results.save(found, Path(folder), "rules")
        results.publish(Path(folder), files.data("results") / "rules.csv")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--members", default="MLP", choices=metamodel.KINDS)
    parser.add_argument("--tables", type=int, default=40)
    parser.add_argument("--out", type=Path, default=KEPT)
    parser.add_argument(
        "--publish", action="store_true", help="write the pages' numbers, and look for nothing"
    )
    given = parser.parse_args()
    if given.publish:
        return publish()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = pd.read_csv(given.out) if given.out.exists() else pd.DataFrame(columns=["members", "kind", "seed"])
    known = set(done[["members", "kind", "seed"]].itertuples(index=False, name=None))
    for seed, kind in itertools.product(range(given.tables), given.kinds):
        if (given.members, kind, seed) not in known:
            done = pd.concat([done, pd.DataFrame([one(given.members, kind, seed)])])
            done.to_csv(given.out, index=False)


if __name__ == "__main__":
    main()
