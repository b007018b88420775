"""The explorer: what its controls set, what it shows of it, and that a browser shows the same."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import ipywidgets as widgets
import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    ForbiddenGreaterThanRelation,
    Integer,
)
from helpers import trials, until
from matplotlib.colors import to_hex
from torch import nn

import ubalkit
from ubalkit import effects, explorer, figures, metamodel, uncertainty
from ubalkit import space as spaces
from ubalkit.metamodel import Ensemble
from ubalkit.paper.figures import UBAL
from ubalkit.ubal import hyperparameters

KERNELS = ["rbf", "poly & <b>co</b>", "linear"]


def every_kind():
    space = ConfigurationSpace()
    space.add(
        [
            Float("momentum", (-0.5, 0.9), meta={"position": 0}),
            Float("rate", (1e-4, 0.3), log=True, meta={"position": 1}),
            Integer("layers", (1, 6), meta={"position": 2}),
            Integer("units", (8, 500), log=True, meta={"position": 3}),
            Categorical("kernel", KERNELS, meta={"position": 4}),
            Categorical("size", ["small", "medium", "large"], ordered=True, meta={"position": 5}),
            Constant("epochs", 30, meta={"position": 6}),
        ]
    )
    return space


def loss(u):
    # Between 0.5 and 1.5 wide, so that two digits are shown whatever the ensemble.
    return ((u[:, 0] - 0.3) * (1 + u[:, 1]) + u[:, 2] + (u[:, 3] - u[:, 5]) / 2 + u[:, 4] * u[:, 0]) / 3


@pytest.fixture(scope="module")
def table():
    table = spaces.sample(every_kind(), 0, range(150))
    return table.assign(loss=loss(spaces.to_unit(every_kind(), table)))


@pytest.fixture(scope="module")
def ensemble(table):
    few = {"n_members": 4, "architectures": ((1, 16),), "weight_decays": (1e-3,), "steps": 150}
    return metamodel.fit(trials(table, every_kind(), loss="maximize"), **few)


def ensemble_of(members, space):
    quality = pd.DataFrame({"r2": 1.0, "low": 1.0, "high": 1.0}, index=["ensemble"])
    return Ensemble("metric", space, members, quality, np.empty(0), pd.DataFrame(), np.empty((0, 1)), 0)


def mlp(d, hidden=(8,), seed=0):
    torch.manual_seed(seed)
    widths = [d, *hidden, 1]
    modules = [[nn.Linear(a, b, dtype=torch.float64), nn.Tanh()] for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*list(itertools.chain(*modules))[:-1]).requires_grad_(False)


def cube(d):
    space = ConfigurationSpace()
    space.add([Float(f"h{k:02}", (0.0, 1.0), meta={"position": k}) for k in range(d)])
    return space


def words(widget):
    """What a reader sees of a widget: without tags, with the entities read."""
    return "".join(ElementTree.fromstring(f"<p>{widget.value}</p>").itertext()).replace("−", "-")


def texts(chart):
    """The texts in a chart, which is SVG."""
    assert chart.format == "svg+xml"
    found = ElementTree.fromstring(chart.value).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(text.itertext()).strip().replace("−", "-") for text in found]


def everything(widget):
    parts = [everything(child) for child in getattr(widget, "children", ())]
    return [widget, *itertools.chain(*parts)]


MOVES = {"momentum": 0.7, "rate": 0.02, "layers": 6, "units": 500, "kernel": "linear", "size": "large"}


# Controls


def test_each_kind_of_hyperparameter_has_its_control_and_a_constant_is_text(ensemble):
    shown = explorer.explore(ensemble)
    controls, parts = shown.controls, everything(shown)
    assert {name: type(control) for name, control in controls.items()} == {
        "momentum": widgets.FloatSlider,
        "rate": widgets.FloatLogSlider,
        "layers": widgets.IntSlider,
        "units": widgets.SelectionSlider,
        "kernel": widgets.Dropdown,
        "size": widgets.SelectionSlider,
    }
    assert (controls["momentum"].min, controls["momentum"].max) == (-0.5, 0.9)
    assert (controls["layers"].min, controls["layers"].max) == (1, 6)
    assert (10 ** controls["rate"].min, 10 ** controls["rate"].max) == pytest.approx((1e-4, 0.3))
    units = [value for _, value in controls["units"].options]
    assert (units[0], units[-1]) == (8, 500)
    assert len(set(units)) == len(units) > 40
    assert [value for _, value in controls["size"].options] == ["small", "medium", "large"]
    assert "epochs = 30, constant" in [part.value for part in parts if isinstance(part, widgets.HTML)]
    assert shown.configuration["epochs"] == 30
    charts = [shown.across, shown.up, shown.prediction, shown.waterfall, shown.heat_map]
    assert all(part in parts for part in [*controls.values(), *charts])


def test_it_starts_at_the_default_or_where_it_is_told_but_not_where_nothing_is(ensemble, table):
    default = {name: hp.default_value for name, hp in ensemble.space.items()}
    assert explorer.explore(ensemble).configuration == default
    assert explorer.explore(ensemble, at=MOVES).configuration == default | MOVES
    row = table.iloc[3]
    shown = explorer.explore(ensemble, at=row)
    assert shown.configuration == row[spaces.names(ensemble.space)].to_dict()
    assert shown.value == pytest.approx(ensemble.predict(table.iloc[[3]])[0])
    whole = explorer.explore(ensemble, at=pd.Series({"layers": 3.0, "units": 64.0})).configuration
    assert (whole["layers"], whole["units"]) == (3, 64)
    assert all(isinstance(whole[name], int) for name in ("layers", "units"))
    assert {name: c.value for name, c in shown.controls.items()} == row[list(shown.controls)].to_dict()
    for name, value in (("momentum", 2.0), ("kernel", "cubic")):
        with pytest.raises(ValueError, match=f"{name} = {value} lies outside"):
            explorer.explore(ensemble, at={name: value})


def test_the_ends_of_a_logarithmic_slider_lie_in_the_space():
    # Ten to the power of log10 of these bounds lies outside of them by a rounding error.
    low, high = 0.0005, 0.2
    assert 10 ** np.log10(low) < low and 10 ** np.log10(high) > high
    space = ConfigurationSpace({"a": Float("a", (low, high), log=True), "b": (0.0, 1.0)})
    shown = explorer.explore(ensemble_of([mlp(2)] * 2, space))
    for end, bound in (("min", low), ("max", high)):
        shown.controls["a"].value = 10 ** getattr(shown.controls["a"], end)
        assert shown.configuration["a"] == pytest.approx(bound)
        spaces.to_unit(space, pd.DataFrame([shown.configuration]))


# The prediction and what contributes to it


def test_a_moved_control_shows_prediction_interval_and_exact_shap_values_anew(ensemble):
    shown = explorer.explore(ensemble, n_background=16, seed=3)
    for name, value in MOVES.items():
        before = shown.prediction.value, shown.waterfall.value
        shown.controls[name].value = value
        assert shown.configuration[name] == value
        assert shown.prediction.value != before[0] and shown.waterfall.value != before[1]
        row = pd.DataFrame([shown.configuration])
        members = ensemble.predict_unit(spaces.to_unit(ensemble.space, row))[:, 0]
        low, high = uncertainty.interval(members.mean(), members, n_members=len(members))
        assert (shown.value, shown.low, shown.high) == pytest.approx((members.mean(), low, high), abs=1e-12)
        said = f"predicted loss {members.mean():.2f}, 90 % interval {low:.2f} to {high:.2f}"
        assert said in words(shown.prediction)
        shap = effects.decompose(ensemble, row, n_background=16, seed=3).shap()
        found = shown.contributions["contribution"]
        assert list(found.index) == shap.names
        assert found.to_numpy() == pytest.approx(shap.values[0], abs=1e-12)
        assert found.sum() == pytest.approx(shown.value - shown.base, abs=1e-12)
    assert (shown.contributions["low"] <= found).all() and (found <= shown.contributions["high"]).all()


def test_the_waterfall_says_every_contribution_and_leads_from_the_mean_to_the_prediction(ensemble):
    shown = explorer.explore(ensemble, at=MOVES)
    said = texts(shown.waterfall)
    assert [t for t in said if " = " in t] == [f"{name} = {value}" for name, value in MOVES.items()]
    signed = [float(t) for t in said if re.fullmatch(r"[+-]\d\.\d\d", t)]
    assert signed == pytest.approx(shown.contributions["contribution"].to_list(), abs=0.0051)
    assert f"from the mean {shown.base:.2f} to {shown.value:.2f}" in said
    (ax,) = shown._waterfall().axes
    drawn = np.array([[bar.get_x(), bar.get_x() + bar.get_width()] for bar in ax.patches])
    ends = shown.base + shown.contributions["contribution"].cumsum().to_numpy()
    np.testing.assert_allclose(drawn[:, 1], ends)
    np.testing.assert_allclose(drawn[:, 0], [shown.base, *ends[:-1]])
    assert ends[-1] == pytest.approx(shown.value)
    colors = [to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    assert colors == [explorer.RAISES if a < b else explorer.LOWERS for a, b in drawn]
    assert len(set(colors)) == 2


def test_names_and_categories_cannot_break_the_page(ensemble):
    shown = explorer.explore(ensemble, at={"kernel": KERNELS[1]})
    shown.up.value = "kernel"
    assert "kernel = poly…>co</b>" in texts(shown.waterfall) and KERNELS[1] in texts(shown.heat_map)


@pytest.fixture
def paper_symbols():
    figures.use(UBAL)
    yield
    figures.use()


@pytest.mark.usefixtures("paper_symbols")
def test_the_papers_hyperparameters_have_the_papers_symbols_in_the_charts():
    shown = explorer.explore(ensemble_of([mlp(7)] * 2, hyperparameters.space(near_one=("beta_2",))))
    assert list(shown.controls)[:2] == ["beta_1", "one_minus_beta_2"]
    labels = [label.get_text() for label in shown._waterfall().axes[0].get_yticklabels()]
    assert labels[1].startswith(r"$1 - \beta_2^F$ = ")
    space = ConfigurationSpace({"momentum": (0.8, 0.99), "beta_of_adam": (0.9, 0.9999)})
    assert "momentum" in texts(explorer.explore(ensemble_of([mlp(2)] * 2, space)).heat_map)


LONG = [
    "trainer.optimizer.param_groups.weight_decay",
    "trainer.optimizer.param_groups.learning_rate",
    "学习率" * 9,
]


def test_long_names_and_choices_are_shortened_and_told_apart():
    space = ConfigurationSpace({LONG[0]: (0.0, 1.0), LONG[1]: (0.0, 1.0), LONG[2]: ["x" * 80, "y" * 80]})
    shown = explorer.explore(ensemble_of([mlp(3)] * 2, space))
    assert {c.tooltip for c in shown.controls.values()} == set(LONG)
    assert max(len(c.description) for c in shown.controls.values()) <= 24
    said = [t for t in texts(shown.waterfall) if " = " in t]
    assert len(set(said)) == 3 and max(map(len, said)) < 40


# The slice


def test_the_slice_is_the_prediction_over_two_with_the_others_as_set(ensemble):
    shown = explorer.explore(ensemble, at=MOVES)
    shown.across.value, shown.up.value = "layers", "kernel"
    cells = [shown.configuration | {"layers": n, "kernel": k} for k in KERNELS for n in range(1, 7)]
    assert shown.slice.ravel() == pytest.approx(ensemble.predict(pd.DataFrame(cells)), abs=1e-12)
    shown.across.value = "momentum"
    middle = -0.5 + 1.4 * 16.5 / 33
    held = pd.DataFrame([shown.configuration | {"momentum": middle, "kernel": KERNELS[1]}])
    assert shown.slice.shape == (3, 33)
    assert shown.slice[1, 16] == pytest.approx(ensemble.predict(held)[0], abs=1e-12)
    # The axes are labelled in values.
    for name, labels in (("rate", {"0.01", "0.1"}), ("layers", set("123456"))):
        shown.across.value = name
        assert {*texts(shown.heat_map)} >= {name, "kernel", "predicted loss", "rbf", "linear"} | labels


def test_the_slice_follows_the_others_and_the_ring_its_own(ensemble):
    shown = explorer.explore(ensemble)
    shown.across.value, shown.up.value = "momentum", "rate"

    def ring():
        return shown._heat_map().axes[0].lines[-1].get_xydata()[0]

    before, (x, y) = shown.slice, ring()
    shown.controls["momentum"].value = 0.9
    assert np.array_equal(shown.slice, before)
    assert ring() == pytest.approx([x + 0.5, y])
    shown.controls["rate"].value = 0.3
    assert np.array_equal(shown.slice, before)
    assert ring() == pytest.approx([x + 0.5, 1])
    shown.controls["layers"].value = 1
    assert not np.allclose(shown.slice, before, atol=0.05)
    # A hyperparameter chosen twice changes places.
    before, shown.up.value = shown.slice, "momentum"
    assert (shown.across.value, shown.up.value) == ("rate", "momentum")
    assert shown.slice == pytest.approx(before.T)
    shown.across.value = "momentum"
    assert (shown.across.value, shown.up.value) == ("momentum", "rate")


# Ensembles out of the ordinary


def test_a_poor_ensemble_is_named_so_on_its_face_and_one_that_predicts_nothing_refused(ensemble):
    poor = replace(ensemble, quality=ensemble.quality.assign(r2=0.3, low=0.1, high=0.5))
    with pytest.warns(UserWarning, match="read the explanation as a hint"):
        shown = explorer.explore(poor)
    assert "A hint only: loss: held-out R² 0.30 (0.10 to 0.50), poor" in words(shown.prediction)
    with warnings.catch_warnings():
        # Once is enough: not again with every move.
        warnings.simplefilter("error")
        shown.controls["layers"].value = 2
    assert "A hint only" in words(shown.prediction)
    assert "A hint only" not in words(explorer.explore(ensemble).prediction)
    useless = replace(ensemble, quality=ensemble.quality.assign(r2=0.0, low=-0.1, high=0.1))
    with pytest.raises(metamodel.UntrustworthyError, match="nothing to explain"):
        explorer.explore(useless)


def test_one_member_has_no_interval_and_one_hyperparameter_no_slice_and_many_still_add_up():
    shown = explorer.explore(ensemble_of([mlp(3)], cube(3)))
    assert "one member has no interval" in words(shown.prediction) and np.isnan(shown.low)
    assert "nan" not in " ".join([shown.prediction.value, *texts(shown.waterfall), *texts(shown.heat_map)])
    shown = explorer.explore(ensemble_of([mlp(1), mlp(1, seed=1)], cube(1)))
    assert shown.heat_map not in everything(shown)
    assert shown.contributions["contribution"].sum() == pytest.approx(shown.value - shown.base)
    d = effects.MOST + 1
    shown = explorer.explore(ensemble_of([mlp(d), mlp(d, seed=1)], cube(d)), n_background=8)
    shown.controls["h03"].value = 0.9
    assert list(shown.contributions.index) == list(shown.controls)
    assert shown.contributions["contribution"].sum() == pytest.approx(shown.value - shown.base)


def test_a_forbidden_configuration_is_called_so_and_its_cells_are_blank():
    space = ConfigurationSpace({"a": (0.0, 1.0), "b": (0.0, 1.0), "c": (0.0, 1.0)})
    space.add(ForbiddenGreaterThanRelation(space["a"], space["b"]))
    shown = explorer.explore(ensemble_of([mlp(3)] * 2, space), at={"a": 0.2, "b": 0.6})
    assert not shown.forbidden and "forbidden" not in words(shown.prediction)
    shown.across.value, shown.up.value = "a", "b"
    across, up = np.meshgrid(*[(np.arange(33) + 0.5) / 33] * 2)
    np.testing.assert_array_equal(np.isnan(shown.slice), across > up)
    shown.controls["a"].value = 0.9
    assert shown.forbidden and words(shown.prediction).startswith("forbidden: the space excludes")
    assert f"{shown.value:.2f}" not in words(shown.prediction)
    shown.controls["b"].value = 0.95
    assert not shown.forbidden and "predicted metric" in words(shown.prediction)


def test_a_move_is_answered_within_half_a_second():
    members = [mlp(7, hidden=(32, 32), seed=k) for k in range(10)]
    shown = explorer.explore(ensemble_of(members, cube(7)))
    times = []
    for value in np.linspace(0, 1, 15):
        # Of the processor: others may compute on the same cores.
        start = time.process_time()
        shown.controls["h01"].value = value
        times.append(time.process_time() - start)
    assert np.median(times) < 0.5


def test_what_a_condition_switches_off_cannot_be_moved():
    space = ConfigurationSpace()
    kind, depth = Categorical("kind", ["a", "b"], default="a"), Integer("depth", (1, 4), default=2)
    space.add([kind, depth, Float("rate", (0.0, 1.0))])
    space.add(EqualsCondition(depth, kind, "b"))
    table = spaces.sample(space, 0, range(120))
    measured = trials(table.assign(loss=table["rate"] + table["depth"].fillna(0)), space, loss="minimize")
    fitted = metamodel.fit(measured, n_members=3, architectures=((1, 16),), steps=150)
    shown = explorer.explore(fitted)
    assert shown.controls["depth"].disabled and not shown.controls["rate"].disabled
    shown.across.value, shown.up.value = "depth", "kind"
    # Without effect where it is off, with one where it is on.
    off, on = shown.slice
    assert np.ptp(off) == 0 and np.ptp(on) > 1
    shown.controls["kind"].value = "b"
    assert not shown.controls["depth"].disabled


# In a browser

CELL = """\
from pathlib import Path
from ubalkit import explorer, metamodel
explorer.explore(metamodel.load(Path("ensemble.json")))"""

MODULES = {"LabApp": "jupyterlab", "JupyterNotebookApp": "notebook"}

#: Waits for the kernel, which a key pressed too early would not.
RUN = """async () => {
    const app = window.jupyterapp;
    await app.shell.currentWidget.sessionContext.ready;
    await app.commands.execute("notebook:run-all-cells");
}"""


@contextmanager
def served(application, root):
    """The address of a Jupyter server, which ends with all that it started."""
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "IPYTHONDIR": "ipython"}
    folders |= {"JUPYTER_RUNTIME_DIR": "runtime"}
    runtime = root / ".jupyter" / "runtime"
    environment = {**os.environ, "PYTHONPATH": str(Path(ubalkit.__file__).parents[1])}
    environment |= {variable: str(root / ".jupyter" / folder) for variable, folder in folders.items()}
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--IdentityProvider.token="]
    options += [f"--ServerApp.root_dir={root}", f"--{application}.expose_app_in_browser=True"]
    command = [sys.executable, "-m", MODULES[application], *options]
    with (root / "server.log").open("w") as log:
        server = psutil.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def address():
        assert server.poll() is None, (root / "server.log").read_text()
        # The server says there which of the free ports it took.
        for file in runtime.glob("jpserver-*.json"):
            try:
                url = json.loads(file.read_text())["url"]
                urllib.request.urlopen(f"{url}api/status", timeout=5).close()
            except (OSError, ValueError):
                continue
            return url
        return None

    try:
        yield until(address)
    finally:
        family = [server, *server.children(recursive=True)] if server.is_running() else [server]
        server.terminate()
        _, alive = psutil.wait_procs(family, timeout=30)
        for process in alive:
            process.kill()


@pytest.mark.parametrize("application", MODULES)
def test_a_slider_moved_in_a_browser_changes_the_page(application, ensemble, tmp_path):
    browser_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip(MODULES[application])
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("Chromium is not installed")
    ensemble.save(tmp_path / "ensemble.json")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "explorer.ipynb")
    page_of = {"LabApp": "lab/tree", "JupyterNotebookApp": "notebooks"}[application]
    with served(application, tmp_path) as url, browser_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        # A page that is still being put together loses a key or a message now
        # and then, on a busy machine; a broken explorer loses them each time.
        for attempts_left in (2, 1, 0):
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            try:
                page.goto(f"{url}{page_of}/explorer.ipynb", timeout=60_000)
                move_sliders(page, explorer.explore(ensemble), browser_api.expect)
                break
            except (AssertionError, browser_api.Error):
                if not attempts_left:
                    raise
            page.close()
        browser.close()


def move_sliders(page, here, expect):
    """Moves two sliders of the page, and of the explorer here, and compares what they show."""
    page.set_default_timeout(60_000)
    expect.set_options(timeout=30_000)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.evaluate(RUN)
    output = page.locator(".jp-OutputArea-output")
    prediction, charts = output.locator("b").first, output.locator("img")
    expect(prediction).to_have_text(number(here))
    expect(charts).to_have_count(2)
    before = [charts.nth(k).get_attribute("src") for k in range(2)]
    sliders = output.get_by_role("slider")
    expect(sliders).to_have_count(5)
    for slider, name in ((0, "momentum"), (2, "layers")):
        sliders.nth(slider).press("End")
        here.controls[name].value = here.controls[name].max
        expect(prediction).to_have_text(number(here))
    for k, source in enumerate(before):
        expect(charts.nth(k)).not_to_have_attribute("src", source)
        expect(charts.nth(k)).to_have_js_property("complete", True)
    expect(output.get_by_text("Error")).to_have_count(0)


def number(shown):
    return f"{shown.value:.2f}".replace("-", "−")
