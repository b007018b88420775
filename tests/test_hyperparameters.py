"""UBAL's own hyperparameters: their space, values near one, what a recorded row was drawn from, networks."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from ubalkit import UBAL
from ubalkit import space as spaces
from ubalkit.ubal import hyperparameters
from ubalkit.ubal.hyperparameters import symbol, without_complements

SEVEN = ["beta_1", "beta_2", "beta_3", "gammaF_1", "gammaF_2", "gammaB_1", "gammaB_2"]


def test_a_ubal_has_the_hyperparameters_of_its_depth_in_the_order_of_the_paper():
    space = hyperparameters.space()
    assert spaces.names(space) == spaces.varied(space) == list(spaces.sample(space, 0, [0])) == SEVEN
    assert {(space[name].lower, space[name].upper) for name in SEVEN} == {(0, 1)}
    names = spaces.names(hyperparameters.space(12))
    assert names[:12] == [f"beta_{k}" for k in range(1, 13)]
    assert names[12:] == [f"{g}_{k}" for g in ("gammaF", "gammaB") for k in range(1, 12)]


def test_values_near_one_are_drawn_from_the_logarithm_of_their_complement():
    space = hyperparameters.space(near_one=("beta_2", "gammaF_1"))
    replaced = {"beta_2": "one_minus_beta_2", "gammaF_1": "one_minus_gammaF_1"}
    assert spaces.names(space) == [replaced.get(name, name) for name in SEVEN]
    table = spaces.sample(space, 0, range(2000))
    share = -np.log10(table["one_minus_beta_2"]) / 4  # of four decades, from 1 down to 1e-4
    assert stats.kstest(share, "uniform").pvalue > 0.01
    plain = without_complements(table)
    assert list(plain) == SEVEN
    np.testing.assert_array_equal(plain["beta_2"], 1 - table["one_minus_beta_2"])
    pd.testing.assert_series_equal(plain["beta_1"], table["beta_1"])
    # The complements go through JSON, into smaller spaces and back, as any hyperparameter does.
    smaller = spaces.reduced(space, {"one_minus_gammaF_1": 0.01}, {"one_minus_beta_2": (0.001, 0.1)})
    again = spaces.sample(spaces.from_plain(spaces.plain(smaller)), 0, range(50))
    assert without_complements(again)["beta_2"].between(0.9, 0.999).all()
    assert set(again["one_minus_gammaF_1"]) == {0.01}


@pytest.mark.parametrize(
    "columns", [{"one_minus_beta_2": v} for v in ([0.5, 1.2], [-0.1, 0.2], [np.nan, 0.2])]
)
def test_a_complement_outside_its_range_is_refused(columns):
    with pytest.raises(ValueError, match=r"one_minus_beta_2 must lie in \[0, 1\]"):
        without_complements(pd.DataFrame(columns))
    with pytest.raises(ValueError, match="must not have beta_2 beside it"):
        without_complements(pd.DataFrame({"one_minus_beta_2": [0.1], "beta_2": [0.9]}))


def test_networks_are_made_of_rows_in_any_order_of_columns():
    table = spaces.sample(hyperparameters.space(near_one=("beta_2",)), 0, range(3))
    nets = hyperparameters.networks((4, 3, 2), table[list(table)[::-1]], seed=[5, 6, 9], learning_rate=0.3)
    values = without_complements(table).to_numpy()
    given = UBAL((4, 3, 2), values[:, :3], values[:, 3:5], values[:, 5:], seed=[5, 6, 9])
    for name in ("beta", "gamma_f", "gamma_b"):
        assert torch.equal(getattr(nets, name), getattr(given, name))
    assert (nets.seeds, nets.learning_rate) == ((5, 6, 9), 0.3)


def test_symbols_are_the_paper_s():
    symbols = r"$\beta_1^F$ $\beta_2^F$ $\beta_3^F$ $\gamma_1^F$ $\gamma_2^F$ $\gamma_1^B$ $\gamma_2^B$"
    assert list(map(symbol, SEVEN)) == symbols.split()
    assert symbol("one_minus_beta_2") == r"$1 - \beta_2^F$"
    assert symbol("one_minus_gammaF_1") == r"$1 - \gamma_1^F$"
    assert symbol("learning_rate") == "learning_rate"
