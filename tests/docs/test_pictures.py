"""Pictures of docs/concepts can be seen on any page, and the tables there hold what `make pictures` computes."""

from __future__ import annotations

import importlib
import re
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


def numbers_in(rows: list[str]) -> list[float]:
    return [float(found.replace(",", "")) for row in rows for found in re.findall(r"[-+]?\d[\d,]*\.?\d*", row)]


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
    pages = importlib.import_module("pictures.pages")
    module = pictures.part(name)
    text = (ROOT / "docs" / module.PAGE).read_text(encoding="utf-8")
    for table, rows_of in module.TABLES.items():  # the order of float sums may turn a few samples on other machines
        held, found = numbers_in(pages.table_in(text, table)), numbers_in(rows_of())
        assert held == pytest.approx(found, rel=0.05, abs=0.05), table


def test_a_table_replaces_the_earlier_one_and_leaves_the_rest(pictures: ModuleType) -> None:
    pages = importlib.import_module("pictures.pages")
    page = "before\n<!-- table sizes: by a command -->\nold\n<!-- end -->\nbehind"
    rows = pages.table(["bits", "values"], [[4, 16]])
    again = pages.with_table(pages.with_table(page, "sizes", rows), "sizes", rows)
    assert pages.table_in(again, "sizes") == ["| bits | values |", "|---|---|", "| 4 | 16 |"]
    assert again.startswith("before\n<!-- table sizes: by a command -->\n")
    assert again.endswith("<!-- end -->\nbehind")
    assert "old" not in again


def test_a_page_without_a_place_for_a_table_is_an_error(pictures: ModuleType) -> None:
    pages = importlib.import_module("pictures.pages")
    with pytest.raises(SystemExit, match="no place for the table 'sizes'"):
        pages.with_table("<!-- table other -->\n<!-- end -->", "sizes", [])


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


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "pictures").glob("*.svg")), ids=lambda path: path.stem)
def test_every_picture_has_colours_for_a_dark_page(path: Path) -> None:
    assert "prefers-color-scheme:dark" in re.sub(r"\s", "", path.read_text(encoding="utf-8"))


def test_dark_colours_are_added_once_and_for_what_is_drawn(pictures: ModuleType) -> None:
    dark = importlib.import_module("pictures.dark")
    drawn = '<svg width="9">\n <path style="fill: #ffffff; stroke: #e6e6e6"/>\n</svg>'
    once = dark.with_dark_colours(drawn)
    assert '[style*="fill: #ffffff"]{fill:#12171e!important}' in once
    assert '[style*="stroke: #e6e6e6"]{stroke:#303a45!important}' in once
    assert "#d62728" not in once
    assert dark.with_dark_colours(once) == once


@pytest.mark.parametrize("name", ["scaling", "synthesis"])
def test_pictures_of_several_panels_are_as_narrow_as_a_phone_needs(pictures: ModuleType, name: str) -> None:
    style = importlib.import_module("pictures.style")
    text = (ROOT / "docs" / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    (width,) = re.findall(r'<svg [^>]*width="([\d.]+)pt"', text)
    assert float(width) <= 72 * style.WIDTH + 1
