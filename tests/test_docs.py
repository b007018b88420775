"""README, the pages of docs/, and what a reader follows from there: short, built, without a dead end."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

import doors
import pytest
import yaml

import ubalkit
from ubalkit.files import home

HOME = home()
README = (HOME / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]


def test_the_readme_is_read_in_a_minute_or_three():
    assert 300 < len(re.sub(r"<!--.*?-->", "", README, flags=re.DOTALL).split()) <= 700


def test_every_link_of_the_readme_leads_somewhere():
    links = set(re.findall(r"\]\(([^)#]+)", README))
    assert len(links) > 10
    assert [link for link in links if "://" in link or not (HOME / link).is_file()] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: it would hide the warnings from --strict, too.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=HOME, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_pages_are_built_without_a_warning(site):
    pages = {str(page.relative_to(site)) for page in site.rglob("*.html")}
    named = {
        str(page.relative_to(HOME / "docs").with_suffix(".html")) for page in (HOME / "docs").rglob("*.md")
    }
    assert pages == named | {"404.html"}


def test_the_pages_load_nothing_from_the_network(site):
    loads = re.compile(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="?(?:https?:)?//[^>]*')
    text = {page.name: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert {name: found for name, page in text.items() if (found := loads.findall(page))} == {}
    style = (site / "style.css").read_text()
    assert "url(" not in style and "@import" not in style


def test_the_pages_show_results_without_their_marks_and_figures_that_are_there(site):
    page = (site / "results.html").read_text(encoding="utf-8")
    assert "<!--paper." not in page and "1 472" in page and "γ<sup>F</sup>" in page
    for name in re.findall(r'src="(figures/[^"]+)"', page):
        assert (site / name).stat().st_size > 10_000


def test_the_reference_names_every_module_of_the_method_and_the_model():
    listed = set(re.findall(r"^::: ubalkit\.(.*)$", _reference(), re.MULTILINE))
    folder = HOME / "ubalkit"
    rooms = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    rooms |= {f"ubal.{path.stem}" for path in (folder / "ubal").glob("*.py")} - {"ubal.__init__"}
    assert rooms - listed == set()
    assert [name for name in listed if not (folder / f"{name.replace('.', '/')}.py").is_file()] == []


def _reference():
    return "".join(page.read_text() for page in (HOME / "docs" / "api").glob("*.md"))


def test_the_changelog_begins_with_this_version():
    versions = re.findall(r"^## (\S+)", (HOME / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == PROJECT["version"] and versions[-1] == "0.1.0"


def test_the_manifest_of_a_reproduction_names_files_that_are_there():
    manifest = yaml.safe_load((HOME / "codecheck.yml").read_text())["manifest"]
    assert [entry["file"] for entry in manifest if not (HOME / entry["file"]).is_file()] == []
    assert json.loads((HOME / ".devcontainer" / "devcontainer.json").read_text())["name"] == "ubalkit"


@pytest.mark.parametrize("package", sorted(ubalkit._EXTRAS))
def test_a_missing_package_is_named_with_the_extra_that_brings_it(package, monkeypatch):
    extra = ubalkit._EXTRAS[package]
    assert package in {re.split(r"[>\[]", need)[0] for need in PROJECT["optional-dependencies"][extra]}
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf'{package} is missing: .*"ubalkit\[{extra}\]" brings it'):
        ubalkit.extra(package)


def test_from_a_clone_to_fig_3_with_the_readmes_command(tmp_path):
    if not (HOME / ".git").exists() or not shutil.which("make"):
        pytest.skip("Nothing here can be cloned and made.")
    doors.paper(tmp_path, fresh=False)


def test_from_images_of_ones_own_to_fig_3(tmp_path):
    doors.data(tmp_path, n_configurations=80)


def test_from_an_installed_wheel_to_a_report_that_a_browser_reads(tmp_path):
    pytest.importorskip("playwright", reason="playwright is not installed")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("Chromium is not installed")
    doors.study(tmp_path, fresh=False)
