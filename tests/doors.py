"""Three new users with a stopwatch: ``python tests/doors.py [paper] [study] [data]``, or ``make doors``.

The reviewer goes from a fresh clone to Fig. 3; the engineer from an installed wheel, far from the repository,
to the report of a study that a browser reads; the researcher from images of their own to Fig. 3.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HOME = Path(__file__).resolve().parents[1]
STUDY = """
import optuna

def objective(trial):
    rate, layers = trial.suggest_float("rate", 1e-4, 1, log=True), trial.suggest_int("layers", 1, 6)
    return (rate - 0.1) ** 2 + layers * rate / 10 + trial.suggest_float("momentum", 0, 1) / 20

sampler = optuna.samplers.RandomSampler(seed=0)
optuna.create_study(storage="sqlite:///study.db", study_name="mine", sampler=sampler).optimize(objective, 80)
"""


@contextlib.contextmanager
def clock(what):
    start = time.perf_counter()
    yield
    print(f"{time.perf_counter() - start:6.0f} s  {what}", flush=True)


def call(*command, cwd, **environment):
    """What a command writes, run without what this process has set for its own Python."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    own |= {name: str(value) for name, value in environment.items()}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=own, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def paper(folder, *, fresh=True):
    """The reviewer; without ``fresh`` beside what is installed, for the smallest profile, to Fig. 3 alone."""
    clone = folder / "clone"
    call("git", "clone", "--quiet", HOME, clone, cwd=folder)
    if not fresh:
        shorten(clone / "notebooks")
        told = ["PROFILE=ci", f"VENV={sys.prefix}", f"--assume-old={sys.prefix}/ready"]
        call("make", "reproduce", *told, cwd=clone, PYTHONPATH=clone)
        assert (clone / "figures" / "fig3_ci.png").stat().st_size > 10_000
        return
    for figure in (fig3 := clone / "figures" / "fig3_paper.png"), fig3.with_suffix(".pdf"):
        figure.unlink()
    with clock("make reproduce: every figure"):
        with clock("make reproduce: Fig. 3"):
            running = subprocess.Popen(["make", "reproduce"], cwd=clone, stdout=subprocess.DEVNULL)
            while not fig3.is_file():
                assert running.poll() is None, "make reproduce ended without Fig. 3"
                time.sleep(1)
        assert running.wait() == 0


def shorten(folder):
    """Leave of notebook 3 what draws Fig. 3, and nothing of those that come after or do not lead there."""
    for path in folder.glob("*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = notebook["cells"]
        if path.stem == "03_shap":
            last = next(k for k, cell in enumerate(cells) if "figures.fig3(" in "".join(cell["source"]))
            cells[last]["source"] += ['\nfigures.save(fig, folder / "figures", "fig3")']
            notebook["cells"] = cells[: last + 1]
        elif path.stem not in ("01_search", "02_metamodel"):
            notebook["cells"] = cells[2:3]  # the parameters
        path.write_text(json.dumps(notebook), encoding="utf-8")


def wheel(folder):
    """The package as it would be published, from the files of this working tree."""
    source = shutil.copytree(HOME / "ubalkit", folder / "source" / "ubalkit").parent
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(HOME / name, source)
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    call(sys.executable, "-m", *build, source, cwd=folder)
    return next(folder.glob("*.whl"))


def study(folder, *, fresh=True):
    """The engineer; without ``fresh`` only the package itself is installed anew, beside what is there."""
    python, environment, elsewhere = Path(sys.executable), {}, folder / "elsewhere"
    elsewhere.mkdir()
    with clock(f"the wheel is built and installed{' in a fresh environment' * fresh}"):
        built = wheel(folder)
        if fresh:
            call(python, "-m", "venv", folder / "venv", cwd=folder)
            python = folder / "venv" / "bin" / "python"
            pinned = ["--constraint", HOME / "requirements.lock"]
            call(python, "-m", "pip", "install", "--quiet", *pinned, f"{built}[optuna]", cwd=folder)
        else:
            where = ["--no-deps", "--target", folder / "installed"]
            call(python, "-m", "pip", "install", "--quiet", *where, built, cwd=folder)
            environment["PYTHONPATH"] = str(folder / "installed")
    script = [python.with_name("ubalkit")] if fresh else [python, "-m", "ubalkit"]
    call(python, "-c", STUDY, cwd=elsewhere)
    where = call(python, "-c", "import ubalkit; print(ubalkit.__file__)", cwd=elsewhere, **environment)
    assert str(folder) in where and "explain" in call(*script, "--help", cwd=elsewhere, **environment)
    with clock("ubalkit explain study.db --out report.html"):
        call(*script, "explain", "study.db", "--out", "report.html", cwd=elsewhere, **environment)
    assert sorted(path.name for path in elsewhere.iterdir()) == ["report.html", "study.db"]
    with clock("a browser reads the report at two widths, in the dark, and moves a slider"):
        read(elsewhere / "report.html")


def read(report):
    """Open a report in a browser as its readers do; nothing may be missing, asked for or too wide."""
    from playwright.sync_api import expect, sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, scheme in ((360, "light"), (1200, "dark")):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            wrong, asked = [], []
            page.on("console", lambda m, wrong=wrong: wrong.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
            page.on("request", lambda request, asked=asked: asked.append(request.url[:80]))
            page.goto(report.as_uri())
            slider, prediction = page.locator("input[type=range]").first, page.locator("#prediction")
            before = prediction.inner_text()
            slider.press("End" if slider.input_value() == "0" else "Home")
            expect(prediction).not_to_have_text(before)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert not wrong and not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
        browser.close()


def data(folder, **fewer):
    """The researcher: ten by ten pixels, three kinds of stripes; ``fewer`` are settings of the search."""
    rng = np.random.default_rng(0)
    y = np.arange(700) % 3
    stripes = np.indices((10, 10)).sum(0) // 2 % 2, np.eye(10) > 0, np.indices((10, 10))[0] % 2
    x = np.clip(np.array(stripes)[y] * 0.8 + rng.random((700, 10, 10)), 0, 1)
    np.savez(folder / "mine.npz", x_train=x[:500], y_train=y[:500], x_test=x[500:], y_test=y[500:])
    settings = {"base": "ci", "data": "mine.npz", "hidden": [20], **fewer}
    (folder / "mine.json").write_text(json.dumps(settings))
    ubalkit, how = [sys.executable, "-m", "ubalkit"], {"cwd": folder, "PYTHONPATH": HOME}
    with clock("ubalkit search --profile mine.json"):
        call(*ubalkit, "search", "--profile", "mine.json", **how, UBALKIT_RUNS=folder / "runs")
    with clock("ubalkit explain observations.csv: Fig. 3"):
        table = folder / "runs" / "mine" / "observations.csv"
        call(*ubalkit, "explain", table, "--metric", "test_accuracy", "--out", "mine", **how)
    made = {path.name for path in (folder / "mine").iterdir()}
    assert made >= {"report.html", "importance.csv", "space.json"}
    assert (folder / "mine" / "figures" / "fig3.png").stat().st_size > 10_000


if __name__ == "__main__":
    for door in sys.argv[1:] or ("study", "data", "paper"):
        print(f"{door}: {globals()[door].__doc__.split(';')[0].split(':')[0].rstrip('.').lower()}")
        with tempfile.TemporaryDirectory() as name:
            globals()[door](Path(name))
