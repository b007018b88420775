"""The house: how large the package is, what its rooms may know of each other, what loading it costs."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from functools import cache

import pytest

from ubalkit import files

HOME = files.home()
PACKAGE = HOME / "ubalkit"
#: What everything else stands on: the method's core, and the network.
CORE = ["space", "experiment", "observations", "metamodel", "uncertainty", "effects", "shapley"]
CORE += ["ubal.network", "ubal.memory"]


def name(path):
    """Of a module, from the package on: ``paper.tasks``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "ubalkit"


MODULES = {name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree(module):
    return ast.parse(MODULES[module].read_text())


@cache
def lines_of_code(module):
    """Lines with code on them: no blank ones, no comments, no docstrings."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(MODULES[module].read_text()).readline):
        if token.type not in silent | {tokenize.ENDMARKER}:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree(module)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


@cache
def imported(module):
    """Modules of the package that a module imports, wherever it does."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {known for known in MODULES if known != module and f"ubalkit.{known}" in found}


def reached(module):
    """All modules that a module leads to, through any number of imports."""
    seen, ahead = set(), set(imported(module))
    while ahead:
        here = ahead.pop()
        seen.add(here)
        ahead |= imported(here) - seen
    return seen


def test_a_newcomer_meets_at_most_twenty_files_and_two_folders():
    assert sorted(p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py"))) == [
        "paper",
        "ubal",
    ]
    assert len(list(PACKAGE.glob("*.py"))) <= 20


def test_the_package_is_small():
    assert 0 < sum(map(lines_of_code, MODULES)) <= 4830
    assert 0 < sum(map(lines_of_code, CORE)) <= 1700


def test_what_comes_from_outside_is_refused_at_few_doors():
    raised = [node for m in MODULES for node in ast.walk(tree(m)) if isinstance(node, ast.Raise) and node.exc]
    assert len(raised) <= 2 * sum(map(lines_of_code, MODULES)) / 100


def test_tests_are_not_much_longer_than_what_they_test():
    package, tests = (
        sum(len(path.read_text().splitlines()) for path in folder.rglob("*.py"))
        for folder in (PACKAGE, HOME / "tests")
    )
    assert tests <= 1.2 * package


def test_no_modules_import_each_other_in_a_circle():
    assert [module for module in MODULES if module in reached(module)] == []


def test_the_method_knows_neither_ubal_nor_the_paper():
    doors = {"ubalkit", "__main__"}  # the command line is not the method
    method = [m for m in MODULES if m not in doors and not m.startswith(("ubal", "paper"))]
    assert len(method) > 10
    assert {
        m: known for m in method if (known := [k for k in imported(m) if k.startswith(("ubal", "paper"))])
    } == {}


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("ubalkit", ("torch", "matplotlib", "pandas")),
        ("ubalkit.readers", ("torch", "matplotlib", "optuna")),
        ("ubalkit.metamodel", ("matplotlib", "optuna", "ubalkit.readers", "ubalkit.experiment")),
        ("ubalkit.ubal.weights", ("matplotlib", "optuna", "ubalkit.readers", "ubalkit.experiment")),
        ("ubalkit.ubal.classifier", ("matplotlib", "optuna", "ubalkit.readers", "ubalkit.experiment")),
    ],
)
def test_a_room_loads_only_what_it_needs(module, never):
    script = f"import sys, {module}; print([name for name in {never!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_the_page_of_the_rooms_names_every_module():
    page = (PACKAGE / "README.md").read_text()
    assert len(page.splitlines()) <= 60
    rooms = {module.split(".")[-1] for module in MODULES} - {"ubalkit", "ubal", "paper"}
    named = set(re.findall(r"`(\w+)`", page))
    assert rooms - named == set()
    # And no row of its tables speaks of a room that there is not.
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert {room for row in rows for room in re.findall(r"`(\w+)`", row)} - rooms == set()
