"""Results by name, and the numbers in README, data/README.md, docs and the notebooks' texts."""

import re

import nbformat
import pytest
import texts

from ubalkit import files
from ubalkit.paper import results
from ubalkit.paper.results import Result

FOUND = {"a.rule": Result(0.693, 0.6661, 0.714), "a.n": Result(1472, unit="networks")}


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (Result(0.693, 0.6661, 0.714), "0.69 (0.67 to 0.71)"),
        (Result(0.5), "0.50"),
        (Result(-0.001, -0.02, 0.004), "0.00 (-0.02 to 0.00)"),
        (Result(60.8, 52.1, 71.4, "%"), "61 % (52 to 71)"),
        (Result(1472, unit="networks"), "1 472"),
        (Result("does not hold", unit="verdict"), "does not hold"),
    ],
)
def test_a_result_as_text_is_what_a_sentence_quotes(result, text):
    assert str(result) == text


def test_what_is_saved_is_read_again(tmp_path, monkeypatch):
    found = {
        "rule": Result(0.693147, 0.6661, 0.714),
        "share": Result(60.8, unit="%"),
        "small": Result(1.5e-07),
        "word": Result("holds", unit="verdict"),
        "sentence": Result('Go on: "beta_3", and more.', unit="sentence"),
    }
    results.save(found, tmp_path, "03_shap")
    results.publish(tmp_path, tmp_path / "data" / "results" / "paper.csv")
    monkeypatch.setenv("UBALKIT_HOME", str(tmp_path))
    read = texts.load()
    assert list(read) == [f"paper.{name}" for name in found]
    for name, result in found.items():
        assert str(read[f"paper.{name}"]) == str(result)
    assert read["paper.rule"].value == pytest.approx(0.693147, abs=1e-5)


def test_publishing_a_part_of_the_notebooks_keeps_the_rest(tmp_path):
    path = tmp_path / "data" / "paper.csv"
    for value in (1.0, 2.0):
        results.save({"a": Result(value), "b": Result("holds")}, tmp_path, "03_shap")
        if value == 1:
            results.save({"c": Result(7, unit="networks")}, tmp_path, "01_search")
        results.publish(tmp_path, path)
        (tmp_path / "results" / "01_search.csv").unlink(missing_ok=True)
    rows = [line.split(",")[:2] for line in path.read_text().splitlines()[1:]]
    assert rows == [["c", "7"], ["a", "2"], ["b", "holds"]]


def test_a_text_is_filled_between_its_marks_and_nowhere_else_and_a_mark_without_a_result_is_told():
    text = (
        "Of <!--a.n-->7<!----> networks <!--a.rule-->?<!---->, best <!--a.rule:high-->0.1<!---->, 0.99 not."
    )
    filled = texts.fill(text, FOUND)
    assert filled == (
        "Of <!--a.n-->1 472<!----> networks <!--a.rule-->0.69 (0.67 to 0.71)<!---->, "
        "best <!--a.rule:high-->0.71<!---->, 0.99 not."
    )
    assert texts.fill(filled, FOUND) == filled
    with pytest.raises(ValueError, match=r"no result 'a\.ruel'"):
        texts.fill("<!--a.ruel-->0.69<!---->", FOUND)


# What is published


def published():
    """Every text of the repository that quotes results, by where it stands."""
    for path in texts.pages():
        if path.suffix == ".md":
            yield str(path.relative_to(files.home())), path.read_text(encoding="utf-8")
            continue
        for k, cell in enumerate(nbformat.read(path, as_version=4).cells):
            if cell.cell_type == "markdown":
                yield f"{path.name}, cell {k}", cell.source


TEXTS = dict(published())


@pytest.mark.parametrize("where", [where for where, text in TEXTS.items() if "<!--" in text])
def test_every_number_of_a_text_is_the_one_found(where):
    assert texts.fill(TEXTS[where], texts.load()) == TEXTS[where]


def test_an_edited_number_is_noticed():
    text = TEXTS["README.md"]
    edited, n = re.subn(r"(<!--[\w.]+-->0\.\d)\d", r"\g<1>_", text, count=1)
    assert n == 1 and texts.fill(edited, texts.load()) == text


def unmarked(text):
    """Numbers with two decimals, as results have, that stand outside of marks, code and addresses."""
    asides = r"Python ≥ 3\.\d+|<!--[\w.:]+-->.*?<!---->|```.*?```|`[^`]*`|\]\([^)]*\)|\$[^$]*\$"
    text = re.sub(asides, "", text, flags=re.DOTALL)
    return re.findall(r"(?<![\w.])\d+\.\d\d+(?![\w.]*\d)", text)


def test_numbers_outside_of_marks_are_seen():
    text = "<!--a.rule-->0.69<!----> `0.12` [x](fig_0.34.png) $0.56$ 2.13.0 0.4, and 0.78, or 1.055."
    assert unmarked(text) == ["0.78", "1.055"]


@pytest.mark.parametrize("where", TEXTS)
def test_no_result_is_written_by_hand(where):
    assert unmarked(TEXTS[where]) == []
