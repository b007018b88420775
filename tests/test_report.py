"""The report: that a browser computes what Python does, and that anyone can read it."""

import shutil
import warnings

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest
from helpers import trials

from ubalkit import effects, explain, report
from ubalkit import space as spaces

QUICK = {"n_members": 3, "n_folds": 2, "architectures": ((2, 8),), "weight_decays": (1e-3,), "steps": 150}
MARKUP = '"><script>window.harmed = 1</script><img src=x onerror="window.harmed = 1">'


def every_kind():
    """A space with numbers and choices of each kind, conditions on one and on two parents, and clauses."""
    space = cs.ConfigurationSpace()
    space.add(
        cs.Float("momentum", (-0.5, 0.9)),
        cs.Float("rate", (1e-4, 0.3), log=True),
        cs.Integer("layers", (1, 6)),
        cs.Categorical("kernel", ["rbf", "poly", MARKUP]),
        cs.Categorical("size", ["small", "medium", "large"], ordered=True),
        cs.Float("low", (0.0, 1.0)),
        cs.Constant("epochs", 30),
    )
    deep = cs.GreaterThanCondition(space["momentum"], space["layers"], 2)
    rbf = cs.EqualsCondition(space["momentum"], space["kernel"], "rbf")
    space.add(cs.OrConjunction(deep, rbf), cs.EqualsCondition(space["low"], space["kernel"], "poly"))
    large = cs.ForbiddenEqualsClause(space["size"], "large")
    with_rbf = cs.ForbiddenEqualsClause(space["kernel"], "rbf")
    space.add(cs.ForbiddenGreaterThanRelation(space["rate"], space["layers"]))
    space.add(cs.ForbiddenAndConjunction(large, with_rbf))
    return space


def explained_in(space, n, loss, direction="minimize", **how):
    unit = spaces.spread(space, n)
    table = spaces.from_unit(space, unit).assign(loss=loss(unit))
    return explain(trials(table, space, loss=direction), **QUICK | how)


@pytest.fixture(scope="module")
def explained():
    return explained_in(every_kind(), 120, lambda u: u[:, 0] + u[:, 1] * u[:, 2] + (u[:, 0] > 0.5) * u[:, 3])


def many(n):
    """More hyperparameters than all sets of which are decomposed."""
    return cs.ConfigurationSpace({f"h{k:02}": (0.0, 1.0) for k in range(n)})


def rippled(u):
    return u[:, 0] * u[:, 1] * np.sin(6 * u[:, 2]) + u[:, 3]


@pytest.fixture(scope="module")
def wide():
    return explained_in(many(14), 100, lambda u: u[:, 0] * u[:, 1] * u[:, 2] + u[:, 3], kinds=["MLP"])


@pytest.fixture(scope="module")
def process():
    """Gaussian processes, with a choice and a clause."""
    space = cs.ConfigurationSpace({"a": (0.0, 1.0), "b": ["x", "y", "z"], "c": (1, 9), "d": (0.0, 1.0)})
    space.add(cs.ForbiddenEqualsClause(space["c"], 3))
    return explained_in(space, 60, rippled, kinds=["GP"], n_members=4)


@pytest.fixture(scope="module")
def wide_process():
    return explained_in(many(14), 60, rippled, kinds=["GP"])


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def read(browser, tmp_path):
    """A function that opens a page and waits until it has drawn itself, and its complaints."""

    def opened(html, width=1200, scheme="light"):
        (tmp_path / "report.html").write_text(html, encoding="utf-8")
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.complaints = []
        page.on("console", lambda said: page.complaints.append(said.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda r: r.url.startswith("http") and page.complaints.append(r.url))
        page.goto((tmp_path / "report.html").as_uri())
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        return page

    return opened


def stops_of(page, n):
    """Settings of all sliders at random, and the configurations that these are, in the unit cube."""
    units = [knob["unit"] for knob in page.evaluate("window.study.hyperparameters")]
    rng = np.random.default_rng(0)
    stops = np.column_stack([rng.integers(len(unit), size=n) for unit in units])
    return stops.tolist(), np.column_stack([np.array(u)[s] for u, s in zip(units, stops.T)])


def ask(page, function, stops):
    return np.array(page.evaluate(f"(all) => all.map((stops) => {function})", stops))


@pytest.mark.parametrize("given", ["explained", "process"])
def test_a_browser_predicts_what_python_does_at_a_thousand_configurations(given, read, request):
    explained = request.getfixturevalue(given)
    page = read(report.page(explained))
    stops, unit = stops_of(page, 1000)
    space, predicted = explained.ensemble.space, ask(page, "window.study.predict(stops)", stops)
    np.testing.assert_allclose(predicted.T, explained.ensemble.predict_unit(unit), rtol=0, atol=1e-6)
    assert (ask(page, "window.study.forbidden(stops)", stops) == ~spaces.legal(space, unit)).all()
    assert (ask(page, "window.study.active(stops)", stops) == spaces.active(space, unit)).all()
    low, high = ask(page, "window.study.interval([1, 2, 4])", stops[:1])[0][1:]
    # Student's quantile of two degrees of freedom, 2.92, and the calibration, 1.25.
    if given == "explained":
        assert high - low == pytest.approx(2 * 1.25 * 2.92 * np.std([1, 2, 4]) * (4 / 3) ** 0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("given", "n"), [("explained", 60), ("wide", 3), ("process", 60), ("wide_process", 3)]
)
def test_a_browser_takes_predictions_apart_as_python_does(given, n, read, request):
    explained = request.getfixturevalue(given)
    page = read(report.page(explained))
    stops, unit = stops_of(page, n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a poor ensemble
        found = effects.decompose(explained.ensemble, spaces.from_unit(explained.ensemble.space, unit))
    for k, shares in enumerate(found.member_shares):
        shown = ask(page, f"window.study.contributions({k}, stops)", stops)
        np.testing.assert_allclose(shown, shares, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1200, "light")])
def test_it_can_be_read_on_any_screen_in_the_dark_and_by_a_screen_reader(explained, read, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    refused = report.refusal(explained.trials, "loss", "There is nothing to explain.")
    for html in (report.page(explained, made="ubalkit explain trials.csv"), refused):
        page = read(html, width, scheme)
        assert page.complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("window.harmed") is None
        page.close()


def test_a_slider_moved_with_the_keyboard_changes_what_is_predicted_and_why(explained, read):
    page = read(report.page(explained))
    said, steps = page.locator("#prediction"), page.locator("#contributions tbody")
    steps.locator("tr").first.wait_for()
    before = said.inner_text(), steps.inner_text()
    page.get_by_role("slider", name="rate").press("End")
    page.wait_for_function(
        "(old) => document.querySelector('#contributions tbody').innerText !== old", arg=before[1]
    )
    assert said.inner_text() != before[0] and "rate = 0.3" in steps.inner_text()
    # A condition switches a slider off, a clause forbids what is set.
    controls = page.locator("#controls")
    controls.get_by_label("kernel").select_option(label="rbf")
    assert controls.get_by_role("slider", name="low").is_disabled()
    controls.get_by_label("size").select_option(label="large")
    assert "forbidden" in said.inner_text()
    assert page.complaints == []


def test_a_table_is_sorted_by_the_column_that_is_pressed(explained, read):
    page = read(report.page(explained))
    table = page.locator("table.sortable").first
    numbers = lambda: [int(cell) for cell in table.locator("td:nth-child(6)").all_inner_texts()]  # noqa: E731
    table.get_by_role("button", name="trials there").click()
    assert numbers() == sorted(numbers(), reverse=True)
    table.get_by_role("button", name="trials there").press("Enter")
    assert numbers() == sorted(numbers())


@pytest.mark.parametrize(("direction", "end"), [("minimize", "low"), ("maximize", "high")])
def test_what_an_action_gains_is_in_the_direction_wanted_and_its_trials_are_counted(direction, end):
    space = cs.ConfigurationSpace({"rate": (0.0, 1.0), "noise": (0.0, 1.0)})
    found = explained_in(space, 100, lambda u: 2 * u[:, 1], direction)
    frozen, searched = sorted(report._actions(found), key=lambda a: a["do"])
    assert (frozen["name"], searched["name"]) == ("noise", "rate")
    low, high = found.recommendation.ranges["rate"]
    assert searched["trials"] == found.trials.usable["rate"].between(low, high).sum() < 70
    middle = found.trials.usable["rate"].between(low, high)
    gain = abs(found.trials.usable.loc[middle, "loss"].mean() - 1)
    assert searched["gain"][0] == pytest.approx(gain, abs=0.1) and searched["gain"][1] > 0
    assert abs(frozen["gain"][0]) < 0.1 and (low == 0) == (end == "low")


def test_a_refusal_says_why_and_shows_the_trials(explained):
    html = report.refusal(explained.trials, "loss", "All <b>are</b> chance.")
    assert "All &lt;b&gt;are&lt;/b&gt; chance." in html and "Do this" not in html
    assert "The best 10 trials" in html and 'id="history"' in html


def test_many_trials_stay_a_page_that_a_mail_takes():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((1000, 10)), columns=[f"h{k}" for k in range(10)])
    space = cs.ConfigurationSpace({name: (0.0, 1.0) for name in frame})
    table = frame.assign(loss=frame.sum(axis=1))
    found = explain(trials(table, space, loss="minimize"), **QUICK | {"n_members": 10, "steps": 50})
    assert len(report.page(found).encode()) < 3e6
