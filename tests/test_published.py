"""What is published is what the recorded tables say: the results that need no meta-model, computed anew."""

import numpy as np
import pandas as pd
import pytest
import texts

from ubalkit import files, observations
from ubalkit.paper import claims, comparisons, protocols

PAPER = protocols.get("paper").protocol
ARMS = ("full", "paper", "ours", "joint", "rule")
TEST, BACK = protocols.METRICS


def recorded(name):
    return observations.read(files.data("paper") / f"{name}.csv")


@pytest.fixture(scope="module")
def tables():
    return {
        name: recorded(name).table for name in ("observations", "cpu", *(f"constrained_{a}" for a in ARMS))
    }


def found_in(tables):
    """Means by the rule and of each arm, agreement with the CPU's networks, and with their own curves."""
    table, found = tables["observations"], {}
    for (metric, layers), row in claims.coupling(table).iterrows():
        found[f"paper.rule_{layers}_{metric.removesuffix('_accuracy')}"] = row["mean"]
    for arm in ARMS[1:]:
        found[f"paper.arm_{arm}"] = tables[f"constrained_{arm}"][TEST].mean()
    for metric in (TEST, BACK):
        agreed = comparisons.agreement(tables["cpu"], table, metric)["value"]
        name = f"paper.cpu_rank_correlation_{metric.removesuffix('_accuracy')}"
        found[name] = agreed["rank correlation"]
    return found


def wrong(tables):
    """The names of the published results that the tables do not bear, to a thousandth."""
    published = texts.load()
    return [name for name, value in found_in(tables).items() if abs(published[name].value - value) > 1e-3]


def test_published_results_come_out_of_the_recorded_tables(tables):
    assert wrong(tables) == []


def swapped(tables):
    """What came out of a tenth of the networks, exchanged among these."""
    table, rng = tables["observations"].copy(), np.random.default_rng(0)
    rows = rng.choice(table.index, len(table) // 10, replace=False)
    table.loc[rows, [TEST, BACK]] = table.loc[rng.permutation(rows), [TEST, BACK]].to_numpy()
    return {**tables, "observations": table}


def shifted(tables):
    """One metric, two hundredths higher."""
    table = tables["observations"]
    return {**tables, "observations": table.assign(test_accuracy=table[TEST] + 0.02)}


def exchanged(tables):
    """One arm in place of another."""
    return {**tables, "constrained_joint": tables["constrained_rule"]}


@pytest.mark.parametrize("damage", [swapped, shifted, exchanged])
def test_damaged_tables_are_noticed(tables, damage):
    assert wrong(damage(tables))


def test_each_arm_holds_what_its_name_says(tables):
    searched = {recorded(f"constrained_{arm}").about["fingerprint"] for arm in ARMS}
    assert len(searched) == len(ARMS) - 1  # rule is drawn in the full space
    assert tables["constrained_full"].index.tolist() == list(range(1472, 1572))
    rule = tables["constrained_rule"]
    assert ((rule["gammaF_1"] > rule["beta_2"]) & (rule["gammaF_2"] > rule["beta_3"])).all()
    for arm in ("full", "rule"):
        observations.checked(tables[f"constrained_{arm}"], PAPER.space, PAPER.seed, PAPER.metrics)


def test_learning_curves_end_where_the_observations_are(tables):
    table = tables["observations"]
    curves = pd.read_csv(files.data("paper") / "curves.csv", index_col="index")
    assert curves.index.equals(table.index)
    np.testing.assert_allclose(curves["test_30"], table[TEST], atol=1e-12)
    np.testing.assert_allclose(curves["backprojection_30"], table[BACK], atol=1e-12)


def test_deep_shap_and_exact_values_agree_on_all_verdicts_but_the_one_that_the_readme_names():
    verdicts = {n: r.value for n, r in texts.load().items() if r.unit == "verdict" and ".claim_" in n}
    deep = {n.removesuffix("_deep"): v for n, v in verdicts.items() if n.endswith("_deep")}
    assert len(deep) == 21
    apart = [name for name, verdict in deep.items() if verdicts[f"{name}_exact"] != verdict]
    assert apart == ["paper.claim_4_beta_2_above"]
