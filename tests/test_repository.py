"""The repository itself: exact pins, one environment, small modules, no large files."""

import ast
import io
import os
import re
import subprocess
import tokenize
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ubalkit import paths

HOME = paths.home()
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
DIRECT = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]


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


def test_the_lock_pins_torch_and_the_torchvision_that_belongs_to_it():
    assert (pinned()["torch"], pinned()["torchvision"]) == ("2.13.0", "0.28.0")


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


def lines_of_code(path):
    """Lines with code on them: no blank ones, no comments, no docstrings."""
    source = path.read_text()
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent | {tokenize.ENDMARKER}:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_modules_are_short_enough_to_read():
    modules = {path.name: lines_of_code(path) for path in (HOME / "ubalkit").glob("**/*.py")}
    assert {name: length for name, length in modules.items() if length > 290} == {}
    # Of these about a quarter serve models other than UBAL: trials, inference, experiments, the explorer.
    assert 0 < sum(modules.values()) <= 4477


def test_no_large_file_is_tracked():
    listed = subprocess.run(["git", "-C", HOME, "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [HOME / name for name in listed.stdout.split("\0") if name]
    assert files
    assert [path for path in files if path.is_file() and path.stat().st_size > 2_000_000] == []


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
    assert re.search(r"\bmake test\b", (HOME / "README.md").read_text())
    assert re.search(r"^test:", (HOME / "Makefile").read_text(), re.MULTILINE)


def test_the_versions_agree():
    import ubalkit

    assert ubalkit.__version__ == PROJECT["version"]
