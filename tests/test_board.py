"""The board: its answers are right, it tells good methods from bad, and what it keeps comes out again."""

import board
import known
import numpy as np
import pandas as pd
import pytest
import texts
from board import Cell

KEPT = pd.read_csv(board.TABLE)


def test_sobol_indices_are_those_of_the_books():
    own = 1 / (3 * (1 + np.array(known.A)) ** 2)
    g, whole = known.truth("g-function 7"), np.prod(1 + own)
    np.testing.assert_allclose(g["first"], own, rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(g["total"], own / (1 + own) * whole, rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(g["shared"].sum(), whole - 1, rtol=0.02)
    # Ishigami and Homma (1990), with a = 7 and b = 0.1.
    a, b = 7, 0.1 * np.pi**4
    first = [(1 + b / 5) ** 2 / 2, a**2 / 8, 0]
    together = 8 * b**2 / 225
    ishigami = known.truth("Ishigami 3")
    np.testing.assert_allclose(ishigami["first"], first, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(ishigami["total"], np.add(first, [together, 0, together]), rtol=0.02)


def test_mean_absolute_shap_values_are_those_of_the_formulas():
    u = (np.arange(10_000) + 0.5) / 10_000
    additive = [np.abs(f(u) - f(u).mean()).mean() for _, f in known.FUNCTIONS["additive 6"].terms]
    np.testing.assert_allclose(known.truth("additive 6")["SHAP"], [*additive, 0], atol=2e-3)
    # A product of three, each 1/4 away from its mean of 0 on average, is shared by three.
    np.testing.assert_allclose(known.truth("three at once 5")["SHAP"], [*[1 / 24] * 3, 1 / 4, 0], atol=2e-3)


def test_the_games_of_products_have_the_shapley_values_of_all_their_sets():
    k, z = np.random.default_rng(0).random((2, 1, 5))
    game = {s: np.where(np.isin(np.arange(5), s), k, z).prod(1) for s in known.subsets(range(5))}
    parts = known.parts(game)
    expected = [sum(part / len(s) for s, part in parts.items() if i in s)[0] for i in range(5)]
    np.testing.assert_allclose(board.of_product(k, z)[0], expected)


@pytest.mark.parametrize("name", [name for name in known.FUNCTIONS if not name.startswith("noise")])
def test_a_method_that_is_right_has_no_error_and_a_shuffled_one_has_some(name):
    truth = known.truth(name)
    right = board.judged(board.Found(truth["SHAP"]), truth, "SHAP")
    assert right["error"] < 1e-9 and right["order"] == 1
    shuffled = pd.Series(np.roll(truth["SHAP"], 1), truth.index)
    wrong = board.judged(board.Found(shuffled, shuffled, shuffled), truth, "SHAP")
    assert wrong["error"] > 0.3 and wrong["order"] < 0.9 and wrong["held"] < 1


@pytest.mark.parametrize("function", ["ridge 4", "conditional 5"])
def test_a_longer_search_begins_as_a_shorter_one(function):
    tables = [board.trials(Cell(function, "TPE", n, 0)).table for n in (60, 30)]
    pd.testing.assert_frame_equal(tables[0].head(30), tables[1])


def test_a_kept_cell_comes_out_again():
    found = board.check(Cell("ridge 4", "random", 50, 0), KEPT)
    kept, new = (found.xs(which, axis=1, level=1) for which in ("kept", "new"))
    new = new.dropna(subset="error").astype(float)  # HyperSHAP need not be installed
    assert len(new) >= len(board.METHODS) - 1
    np.testing.assert_allclose(new, kept.loc[new.index].astype(float), atol=0.03)


def test_every_cell_is_kept_once_with_all_methods_and_the_page_quotes_it():
    assert set(KEPT[[*Cell._fields]].itertuples(index=False, name=None)) <= set(board.plan())
    assert not KEPT.duplicated([*Cell._fields, "method"]).any()
    assert set(KEPT["method"]) == set(board.METHODS)
    published = {name: text for name, text in texts.load().items() if name.startswith("board.")}
    assert {f"board.{name}": str(one) for name, one in board.summary(KEPT).items()} == {
        name: str(one) for name, one in published.items()
    }
