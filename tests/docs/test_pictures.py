"""Pictures of docs/concepts can be seen on any page, and the tables there hold what `make pictures` computes."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SLOW = ("shared_prefixes", "accuracy_and_loss", "optimism")
QUICK = ("value_sets", "rounding_steps", "format_errors")
MOST_BYTES = 120_000


@pytest.fixture(name="pictures")
def _pictures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("pictures.parts")


def differing(pictures: ModuleType, name: str) -> list[str]:
    """The tables of a part that its page does not hold as they are computed."""
    pages = importlib.import_module("pictures.pages")
    module = pictures.part(name)
    text = (ROOT / "docs" / module.PAGE).read_text(encoding="utf-8")
    return [table for table, rows_of in module.TABLES.items() if pages.table_in(text, table) != rows_of()]


def test_every_part_is_tested(pictures: ModuleType) -> None:
    assert {*SLOW, *QUICK} == {*pictures.PARTS}


@pytest.mark.parametrize("name", QUICK)
def test_the_page_holds_the_numbers_of_the_formats(pictures: ModuleType, name: str) -> None:
    assert differing(pictures, name) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_the_page_holds_the_numbers_of_whole_spaces(pictures: ModuleType, name: str) -> None:
    assert differing(pictures, name) == []


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_every_picture_is_small_shown_by_its_page_and_has_colours_for_a_dark_one(
    pictures: ModuleType, name: str
) -> None:
    module = pictures.part(name)
    page = (ROOT / "docs" / module.PAGE).read_text(encoding="utf-8")
    for picture in module.PICTURES:
        path = ROOT / "docs" / "pictures" / f"{picture}.svg"
        text = path.read_text(encoding="utf-8")
        assert f"(../pictures/{picture}.svg)" in page
        assert len(text) < MOST_BYTES
        assert "prefers-color-scheme:dark" in text
        assert text.count("<text") > 5  # text as text, which a reader can search


def test_a_drawn_picture_is_the_one_that_is_stored(pictures: ModuleType, tmp_path: Path) -> None:
    style = importlib.import_module("pictures.style")
    drawn = pictures.part("value_sets").PICTURES["formats_values"]()
    style.save(drawn, tmp_path / "again.svg")
    stored = ROOT / "docs" / "pictures" / "formats_values.svg"
    assert (tmp_path / "again.svg").read_text(encoding="utf-8").count("<use") == stored.read_text(
        encoding="utf-8"
    ).count("<use")
