"""What is published is what the recorded tables say: the results that need no meta-model, computed anew."""

import re

import claims
import comparisons
import convergence
import drawings
import numpy as np
import pandas as pd
import pytest
import texts
from matplotlib.colors import to_rgb
from PIL import Image
from test_recorded import exchanged, shifted, swapped

from ubalkit import figures, files, observations
from ubalkit.paper import protocols
from ubalkit.paper.figures import COLORS, UBAL

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
    studies = recorded("constrained_TPE").table.groupby("study")[TEST]
    found["paper.best_TPE_50"] = 100 * studies.max().mean()
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


@pytest.mark.parametrize("damage", [swapped, exchanged, shifted])
def test_damaged_tables_are_noticed(tables, damage):
    assert wrong({**tables, "observations": damage(tables["observations"])})


def test_an_arm_in_place_of_another_is_noticed(tables):
    assert wrong({**tables, "constrained_joint": tables["constrained_rule"]})


def test_each_arm_holds_what_its_name_says(tables):
    searched = {recorded(f"constrained_{arm}").about["fingerprint"] for arm in ARMS}
    assert len(searched) == len(ARMS) - 1  # rule is drawn in the full space
    assert tables["constrained_full"].index.tolist() == list(range(1472, 2468))
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


# Verdicts and figures


def verdicts(profile):
    return pd.read_csv(files.data(profile) / "claims.csv")


@pytest.mark.parametrize("profile", ["paper", "compact", "digits"])
def test_verdicts_follow_from_their_intervals_and_are_those_of_the_texts(profile):
    table, found = verdicts(profile), texts.load()
    beyond = [table["low"] > 0, table["high"] < 0]
    assert table["verdict"].tolist() == np.select(beyond, ["holds", "does not hold"], "undecided").tolist()
    for method, rows in table.groupby("method"):
        names = [
            n for n in found if re.fullmatch(rf"{profile}\.claim_.*_effect_{method.split()[0].lower()}", n)
        ]
        if names:  # in the order of the statements, too
            effects = np.array([found[n][:3] for n in names])
            np.testing.assert_allclose(effects, rows[["effect", "low", "high"]], atol=1e-5)
            assert rows["verdict"].tolist() == [found[n.replace("_effect_", "_")].value for n in names]
    assert profile != "paper" or names


def frames(name, profile):
    """What a figure was drawn from, by metric."""
    frame = pd.read_csv(files.figures() / f"{name}_{profile}.csv").set_index("hyperparameter")
    return {metric: rows.drop(columns="metric") for metric, rows in frame.groupby("metric", sort=False)}


def exact(profile):
    return verdicts(profile).query("method == 'exact'").drop(columns="method").reset_index(drop=True)


#: Figures that what is published draws again.
DRAWN = {
    "claims": lambda p: drawings.claims(exact(p)),
    "methods": lambda p: figures.methods(frames("methods", p)),
    "convergence": lambda p: convergence.draw(pd.read_csv(files.figures() / f"convergence_{p}.csv")),
}


def pixels(path, size=(160, 120)):
    """An image made small, so that how letters are set does not matter."""
    return np.asarray(Image.open(path).convert("RGB").resize(size), float)


def coloured(path):
    """How many pixels of an image have the colours of testing and of back-projection."""
    image = np.asarray(Image.open(path).convert("RGB"))
    return [(image == np.round(255 * np.array(to_rgb(COLORS[m])))).all(-1).sum() for m in (TEST, BACK)]


def test_published_figures_are_what_their_frames_draw(tmp_path, profile="paper"):
    figures.use(UBAL)
    try:
        drawn = {
            name: figures.save(draw(profile), tmp_path, name, close=True) for name, draw in DRAWN.items()
        }
    finally:
        figures.use()
    published = {name: files.figures() / f"{name}_{profile}.png" for name in [*DRAWN, "fig3", "importance"]}
    for name, path in drawn.items():
        apart = {other: np.abs(pixels(path) - pixels(image)).mean() for other, image in published.items()}
        assert apart.pop(name) < 2 < 10 < min(apart.values())
    np.testing.assert_allclose(coloured(drawn["claims"]), coloured(published["claims"]), rtol=0.1)
    assert (
        min(coloured(drawn["claims"]) + coloured(published["fig3"]) + coloured(published["importance"]))
        > 1000
    )


def test_every_figure_is_its_own_and_has_both_forms():
    pages = sorted(files.figures().glob("*.png"))
    assert len({page.read_bytes() for page in pages}) == len(pages) >= 40
    for page in pages:
        box = re.search(rb"/MediaBox ?\[ ?0 0 ([\d.]+) ([\d.]+)", page.with_suffix(".pdf").read_bytes())
        size = np.array(Image.open(page).size) / np.array(box.groups(), float)
        assert len(Image.open(page).info["Description"]) > 30
        np.testing.assert_allclose(size, 200 / 72, atol=0.01, err_msg=page.name)


def test_published_frames_agree_with_each_other_and_with_the_tables(profile="paper"):
    for metric, rows in frames("importance", profile).items():
        shares = frames("methods", profile)[metric]["exact"]
        share = (rows["importance"] / rows["importance"].sum()).loc[shares.index]
        np.testing.assert_allclose(shares, share, atol=1e-4)
    counted = claims.coupling(observations.read(files.data(profile) / "observations.csv").table).reset_index()
    published = pd.read_csv(files.figures() / f"coupling_{profile}.csv")
    pd.testing.assert_frame_equal(published, counted, check_dtype=False, atol=1e-5, rtol=0)
