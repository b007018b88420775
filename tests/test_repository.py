"""The repository itself: exact pins, one environment, no large files."""

import importlib.metadata
import itertools
import os
import re
import shlex
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ubalkit.files import home

HOME = home()
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
#: Bytes of a file.
LARGEST = 2_000_000
EXTRAS = PROJECT["optional-dependencies"]
#: Extras of this package that others bring along are no packages of their own.
DIRECT = {*PROJECT["dependencies"], *itertools.chain(*EXTRAS.values())}
DIRECT = sorted(dependency for dependency in DIRECT if not dependency.startswith("ubalkit["))


def lock_lines():
    lines = (HOME / "requirements.lock").read_text().splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def pinned():
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lock_lines())}


def test_the_lock_pins_every_package_exactly():
    # A name and a plain version: no URL, path, index, marker or local build such as "+cpu".
    exact = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==\d[A-Za-z0-9.!]*")
    assert [line for line in lock_lines() if not exact.fullmatch(line)] == []
    assert len(pinned()) == len(lock_lines())


def test_every_pin_installs_on_the_oldest_python_that_is_promised():
    # Of 3.11 that is 3.11.0: Debian 12 has 3.11.2, and a pin that asks for 3.11.5 fails there.
    oldest = re.search(r"\d+\.\d+", PROJECT["requires-python"])[0] + ".0"
    installed = {canonicalize_name(d.name): d for d in importlib.metadata.distributions()}
    asked = {
        name: SpecifierSet(installed[name].metadata.get("Requires-Python") or "")
        for name, version in pinned().items()
        if name in installed and installed[name].version == version
    }
    assert len(asked) > 100
    assert [name for name, pythons in asked.items() if oldest not in pythons] == []


def test_the_lock_does_not_hold_the_package_itself():
    assert "ubalkit" not in pinned()


@pytest.mark.parametrize("dependency", DIRECT)
def test_the_lock_covers_every_direct_dependency(dependency):
    requirement = Requirement(dependency)
    version = pinned().get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in requirements.lock."
    assert requirement.specifier.contains(version)


def test_conda_installs_the_lock_and_the_package_and_pins_nothing_else():
    dependencies = yaml.safe_load((HOME / "environment.yml").read_text())["dependencies"]
    python, *others = dependencies
    assert others == ["pip", {"pip": ["-r requirements.lock", "-e ."]}]
    name, version = python.split("=")
    assert name == "python"
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(version)


def test_no_large_file_is_tracked():
    listed = subprocess.run(["git", "-C", HOME, "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [HOME / name for name in listed.stdout.split("\0") if name]
    assert files
    assert [path for path in files if path.is_file() and path.stat().st_size > LARGEST] == []


def test_the_citation_file_names_the_paper():
    citation = yaml.safe_load((HOME / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    paper = citation["preferred-citation"]
    assert paper["title"] == "Hyperparameter space analysis via interpretable meta-modeling"
    assert [author["family-names"] for author in paper["authors"]] == ["Cibula", "Malinovská", "Farkaš"]
    assert str(citation["version"]) == PROJECT["version"]


def test_continuous_integration_runs_the_test_command_of_the_readme():
    run = HOME / ".ci" / "run"
    assert os.access(run, os.X_OK)
    assert run.read_text().splitlines()[-1] == "make test"
    assert re.search(r"^test:", (HOME / "Makefile").read_text(), re.MULTILINE)


WORKFLOW = yaml.safe_load((HOME / ".github" / "workflows" / "checks.yml").read_text())


def test_the_workflow_runs_the_two_commands_of_the_readme_on_linux_and_macos():
    section = re.search(r"## Two commands\n.*?```\n(.*?)```", (HOME / "README.md").read_text(), re.DOTALL)
    documented = [line.split("#")[0].strip() for line in section[1].splitlines()]
    locked = WORKFLOW["jobs"]["locked"]
    assert set(documented) == {"make reproduce", "make test"}
    assert set(documented) <= {step.get("run") for step in locked["steps"]}
    matrix = locked["strategy"]["matrix"]
    assert [*matrix["os"], *(more["os"] for more in matrix["include"])] == ["ubuntu-latest", "macos-latest"]
    for python in [*matrix["python"], *(more["python"] for more in matrix["include"])]:
        assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)


def test_the_workflow_may_only_read():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not [job for job in WORKFLOW["jobs"].values() if "permissions" in job]


def test_pre_commit_strips_notebooks_as_make_refresh_does():
    recipe = (HOME / "Makefile").read_text().replace("\\\n", "").replace("$(BIN)", ".venv/bin")
    (line,) = re.findall(r"^\t(\S+/nbstripout .*)$", recipe, re.MULTILINE)
    *flags, notebooks = [word.split() for word in shlex.split(line)]
    assert notebooks == ["notebooks/*.ipynb"]
    (local,) = yaml.safe_load((HOME / ".pre-commit-config.yaml").read_text())["repos"]
    (hook,) = [hook for hook in local["hooks"] if hook["id"] == "nbstripout"]
    assert [word.split() for word in shlex.split(hook["entry"])] == flags


def test_the_versions_agree():
    import ubalkit

    assert ubalkit.__version__ == PROJECT["version"]
