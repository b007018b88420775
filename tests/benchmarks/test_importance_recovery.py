"""Recovery of known importances: `make benchmark`, never part of the tests.

The g-function's Sobol' indices are known. How far from them is a forest's
fANOVA (Hutter et al., 2014; Optuna's, with its own settings), how far the
decomposition of our ensemble, and how much do more observations help?
"""

import contextlib

import numpy as np
import pandas as pd
import pytest
from helpers import trials

from ubalkit import effects, metamodel, rivals
from ubalkit import space as spaces
from ubalkit.ubal import hyperparameters

SIZES = (50, 100, 300, 1000)
REPEATS = 5
A = np.array([0, 0.5, 1.5, 3, 6, 9, 99])
SPACE = hyperparameters.space()


def g_function(unit):
    return np.prod((np.abs(4 * unit - 2) + A) / (1 + A), axis=1)


def first_order():
    """Each hyperparameter's own share of the g-function's variance, which is a product."""
    own = 1 / (3 * (1 + A) ** 2)
    return pd.Series(own / (np.prod(1 + own) - 1), index=spaces.varied(SPACE))


def observed(n, seed):
    table = spaces.sample(SPACE, seed, range(n))
    return trials(table.assign(g=g_function(spaces.to_unit(SPACE, table))), SPACE, g="maximize")


def by_forest(given, seed):
    return rivals.fanova(given, n_trees=64, seed=seed)


def by_ensemble(given, seed):
    ensemble = metamodel.fit(given, seed=seed)
    return effects.decompose(ensemble, n_points=1024, seed=seed).sobol(n_resamples=0)["first"]


METHODS = {"forest's fANOVA": by_forest, "ensemble's decomposition": by_ensemble}


def errors(n):
    """L1 error of the seven indices, a row a method and a column a repeat; NaN where it was refused."""
    rows = {}
    for name, method in METHODS.items():
        rows[name] = np.full(REPEATS, np.nan)
        for k in range(REPEATS):
            # An ensemble that predicts nothing is not decomposed.
            with contextlib.suppress(metamodel.UntrustworthyError):
                rows[name][k] = (method(observed(n, k), k) - first_order()).abs().sum()
    return pd.DataFrame(rows).T


@pytest.mark.filterwarnings("ignore:g. held-out R²")
@pytest.mark.parametrize("n", SIZES)
def test_error_of_first_order_sobol_indices(benchmark, n):
    found = benchmark.pedantic(errors, (n,), rounds=1)
    table = pd.DataFrame(
        {"L1 error": found.mean(axis=1), "deviation": found.std(axis=1), "refused": found.isna().sum(axis=1)}
    )
    print(f"\n{n} observations, {REPEATS} repeats:\n{table.round(3).to_string()}")
    benchmark.extra_info |= table["L1 error"].round(3).to_dict()
