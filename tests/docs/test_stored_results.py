"""Tables of pages are those of docs/results, and docs/results is what the commands compute."""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.pages import PAGES, ROOT

TABLES = [
    ("README.md", "instead"),
    ("docs/how_to/compare.md", "strategies"),
    *(("docs/tutorials/lab3.md", name) for name in ("metrics", "jsc_tiny", "jsc_toy")),
    *(
        ("docs/tutorials/exercises.md", name)
        for name in ("widths", "sparsity", "fractions", "formats", "accuracy_and_bits")
    ),
]
COMPARED = {
    "jsc_tiny": "docs/tutorials/lab3.md",
    "jsc_toy": "docs/tutorials/lab3.md",
    "strategies": "docs/how_to/compare.md",
}


@pytest.fixture(name="results")
def _results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("stored_results")


def differs(results: ModuleType, page: str, name: str, text: str) -> bool:
    """Whether a table of a page is another than that of the results."""
    rows = sys.modules["pictures.pages"].table_in(text, name)
    assert rows
    return bool(rows != results.TABLES[page][name]())


def test_every_table_of_results_is_tested(results: ModuleType) -> None:
    assert sorted(TABLES) == sorted((page, name) for page, own in results.TABLES.items() for name in own)


@pytest.mark.parametrize(("page", "name"), TABLES)
def test_the_page_holds_the_stored_results_and_a_changed_digit_is_found(
    results: ModuleType, page: str, name: str
) -> None:
    text = PAGES[page].read_text(encoding="utf-8")
    assert not differs(results, page, name, text)
    before, marker, behind = text.partition(f"<!-- table {name}:")
    changed = re.sub(r"([ .-])(\d)(\d* [|%]|\d*\n)", lambda d: f"{d[1]}{9 - int(d[2])}{d[3]}", behind, count=1)
    assert differs(results, page, name, before + marker + changed)


@pytest.mark.parametrize("name", COMPARED)
def test_the_page_shows_the_command_that_is_run_for_its_table(results: ModuleType, name: str) -> None:
    page = PAGES[COMPARED[name]].read_text(encoding="utf-8")
    assert f"$ machop/ch {results.COMPARED[name]}\n" in page


@pytest.mark.slow
def test_the_commands_of_the_lab_compute_the_stored_results(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    answers = importlib.import_module("lab3_answers")
    monkeypatch.setattr(answers, "PICTURES", tmp_path)
    assert answers.one_metric_or_two() + answers.more_metrics() == results.stored("metrics")["lines"]
    for name in results.COMPARED:
        assert answers.brute_force_against_tpe(name) == results.stored("comparisons")[name]


@pytest.mark.slow
def test_the_exercises_compute_the_stored_results(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    exercises = importlib.import_module("exercises")
    monkeypatch.setattr(exercises, "PICTURES", tmp_path)
    for name, run in exercises.EXERCISES.items():
        found, held = asdict(run(tmp_path)), results.stored("exercises")[name]
        assert [row[0] for row in found["rows"]] == [row[0] for row in held["rows"]]
        assert numbers(found["rows"]) == pytest.approx(numbers(held["rows"]), rel=0.05, abs=0.02), name


def numbers(rows: list[list[str]]) -> list[float]:
    return [float(found) for row in rows for cell in row for found in re.findall(r"\d+\.?\d*", cell)]
