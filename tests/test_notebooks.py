"""The notebooks as committed: their form, and that they hold the outputs that nbval compares with."""

import ast
import importlib.util
import re

import nbformat
import pytest

from ubalkit import files
from ubalkit.paper import notebooks, protocols


def cells_of(name):
    return nbformat.read(files.notebooks() / f"{name}.ipynb", as_version=4).cells


def tagged(cells, tag):
    return [c for c in cells if tag in c.metadata.get("tags", [])]


def code_of(cells):
    return [c for c in cells if c.cell_type == "code"]


ALL = sorted([notebooks.FIRST, *notebooks.NOTEBOOKS, notebooks.OWN])
every_notebook = pytest.mark.parametrize("name", ALL)


def test_the_pipeline_runs_every_notebook_there_is():
    assert sorted(p.stem for p in files.notebooks().glob("*.ipynb")) == ALL


@every_notebook
def test_it_is_short_and_says_what_it_is_about(name):
    cells = cells_of(name)
    assert 12 <= len(cells) <= 36
    first = cells[0]
    assert first.cell_type == "markdown"
    assert re.match(rf"# {int(name[:2])} · \w", first.source)
    assert re.search(r"\*Paper, .*Section \d", first.source)
    assert re.search(r"\| reads \| writes \| takes \|\n\|---\|---\|---\|\n\| .+ \| .+ \| .+ \|", first.source)


@every_notebook
def test_it_ends_with_what_differs_from_the_paper_and_then_what_is_for_the_record_alone(name):
    cells = cells_of(name)
    differs, record = [c for c in cells if c.cell_type == "markdown"][-2:]
    assert differs.source.startswith("## What differs from the paper\n") and len(differs.source) > 100
    assert record.source.startswith("## For the record\n")
    saving = [k for k, c in enumerate(cells) if "figures.save(" in c.source or "results.save(" in c.source]
    assert min(saving) > cells.index(record) == cells.index(differs) + 1


@every_notebook
def test_its_cells_are_short_and_say_numbers_where_numbers_are_wanted(name):
    code = code_of(cells_of(name))
    assert max(len(c.source.splitlines()) for c in code) <= 26
    told = "\n".join(o.get("text", "") for c in code for o in c.outputs)
    assert not re.search(r"\b(True|False|None)\b", told)


@every_notebook
def test_the_second_cell_holds_the_imports_and_nothing_else_does(name):
    cells = cells_of(name)
    imports = (ast.Import, ast.ImportFrom)
    assert all(isinstance(node, imports) for node in ast.parse(cells[1].source).body)
    for cell in code_of(cells[2:]):
        assert not [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, imports)]


@every_notebook
def test_parameters_are_literals_each_with_its_meaning(name):
    cells = cells_of(name)
    (cell,) = tagged(cells, "parameters")
    assert cell is cells[2]
    for line in cell.source.splitlines():
        (statement,) = ast.parse(line).body
        assert isinstance(statement, ast.Assign)
        assert isinstance(statement.value, ast.Constant), f"{line}: an expression, not a literal"
        assert re.search(r"\S  # \S.{8,}", line), f"{line}: no comment that gives the meaning"
    starts = {notebooks.FIRST: 'dataset = "digits"', notebooks.OWN: 'source = ""'}
    assert cell.source.startswith(starts.get(name, f'profile_name = "{protocols.default()}"'))


@every_notebook
def test_it_starts_as_all_do_and_no_output_but_the_versions_is_ignored(name):
    cells = cells_of(name)
    versions, *quotes = tagged(cells, "nbval-ignore-output")
    assert versions is cells[3]
    assert "folder = notebooks.start(" in versions.source
    # Of a page that anyone's trials go through, the report in words may stand at the end.
    assert len(quotes) == (name == notebooks.OWN)
    for cell in quotes:
        assert cell.source.startswith("# To quote:")
        assert cell is code_of(cells)[-1]
    # Nothing else switches the comparison off.
    assert {t for c in cells for t in c.metadata.get("tags", [])} == {"parameters", "nbval-ignore-output"}
    assert not [c for c in cells if re.search(r"NBVAL|PYTEST_VALIDATE", c.source)]


@every_notebook
def test_it_was_run_from_top_to_bottom_and_kept_its_outputs(name):
    # A notebook without outputs would pass nbval without any comparison.
    code = code_of(cells_of(name))
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert sum(bool(c.outputs) for c in code) >= len(code) / 3
    assert not [o for c in code for o in c.outputs if o.output_type == "error"]
    for cell in code:
        shows = bool(re.search(r"(drawings\.show|print|display|notebooks\.start)\(", cell.source))
        shows |= isinstance(ast.parse(cell.source).body[-1], ast.Expr)
        assert bool(cell.outputs) == shows, f"{cell.source}\nhas outputs: {bool(cell.outputs)}"


@every_notebook
def test_its_outputs_can_be_compared(name):
    code = code_of(cells_of(name))
    compared = [c for c in code if c not in tagged(code, "nbval-ignore-output")]
    outputs = [o for c in compared for o in c.outputs]
    # nbval compares SVG byte by byte, and never twice the same.
    assert not [o for o in outputs if "image/svg+xml" in o.get("data", {})]
    assert not [o for o in outputs if o.get("name") == "stderr"]
    shown = [o.metadata["image/png"]["alt"] for o in outputs if "image/png" in o.get("data", {})]
    assert all(len(words) > 30 for words in shown)
    text = "\n".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs)
    assert not re.search(r"(?<![\w.])-0\.0+(?!\d)", text), "-0.0 may be 0.0 elsewhere"
    assert not re.search(r" at 0x[0-9a-f]+", text), "an address is another one every time"


def test_the_comparison_of_outputs_is_strict_on_words_and_counts_and_tolerant_in_fractions():
    spec = importlib.util.spec_from_file_location("of_nbval", files.notebooks() / "conftest.py")
    of_nbval = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(of_nbval)

    def passes(text, data=None):
        known = "12 networks, R²  0.83 (0.80 to 0.85), good; loss -0.01"
        new, old = ({"text": t, "data": {"text/html": t, "image/png": "1.5"}} for t in (text, known))
        new["data"]["text/html"] = data or known
        here, there = of_nbval.close([new], [old])
        return here[0]["text"] == there[0]["text"] and here[0]["data"] == there[0]["data"]

    assert passes("12 networks, R² 0.82 (0.81 to 0.87), good; loss 0.00")
    assert passes("12 networks, R² 0.87 (0.77 to 0.85), good; loss -0.02")
    known = "12 networks, R² 0.83 (0.80 to 0.85), good; loss -0.01"
    swaps = {"12": "13", "0.83": "0.89", "-0.01": "0.01", "good": "poor", " (0.80 to 0.85)": ""}
    for there, here in swaps.items():
        said = known.replace(there, here)
        assert not passes(said) and not passes(known, said)


# How one's own ends where it cannot go on


def own_of(cell, home, monkeypatch):
    """Run a notebook 5 of one cell, where an earlier search has left its results, for the folder after it."""
    (home / "notebooks").mkdir()
    parameters = nbformat.v4.new_code_cell('source = ""\nname = "own"', metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(cell)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, home / "notebooks" / f"{notebooks.OWN}.ipynb")
    monkeypatch.setenv("UBALKIT_HOME", str(home))
    monkeypatch.setenv("UBALKIT_RUNS", str(home / "runs"))
    for old in ("report.html", "importance.csv", "space_optuna.json", "figures/fig3.png", "chunks/kept.json"):
        (home / "runs" / "own" / old).parent.mkdir(parents=True, exist_ok=True)
        (home / "runs" / "own" / old).write_text("of an earlier search")
    with pytest.raises(notebooks.NotebookError) as ended:
        notebooks.own(source="trials.csv", name="own")
    return home / "runs" / "own", str(ended.value)


def test_a_killed_kernel_is_one_sentence_that_says_where_what_ran_is(tmp_path, monkeypatch):
    left, said = own_of("import os\nos.kill(os.getpid(), 9)", tmp_path, monkeypatch)
    executed = left / "notebooks" / f"{notebooks.OWN}.ipynb"
    assert said == f"The kernel died in notebook 5, out of memory perhaps; what ran is in {executed}."
    assert nbformat.read(executed, as_version=4).cells


def test_what_an_earlier_search_left_is_not_taken_for_results_of_one_that_is_refused(tmp_path, monkeypatch):
    left, said = own_of('raise ValueError("There is nothing to explain.")', tmp_path, monkeypatch)
    assert said == "There is nothing to explain."
    kept = {path.relative_to(left).as_posix() for path in left.rglob("*") if path.is_file()}
    assert kept == {f"notebooks/{notebooks.OWN}.ipynb", "chunks/kept.json"}
