"""The page of a comparison in a real browser: curves, fronts, strategies that are hidden."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from chop.record.comparison_folder import ComparisonFolder
from chop.report import compare_report
from chop.report.html.comparison_page import comparison_page
from chop.report.line_styles import line_styles
from tests.browser.pages import browser, console, needs_browser, opened, requests
from tests.conftest import Command

TINY = "machop/configs/examples/jsc_tiny_brute_force.toml"


@pytest.fixture
def compared(ch: Command, tmp_path: Path) -> ComparisonFolder:
    words = ["--pretrained", "--seeds", "2", "--budget", "10", "--strategies", "random,tpe"]
    ch(
        "compare",
        "--config",
        str(Path(__file__).parents[2] / TINY),
        *words,
        "--project-dir",
        str(tmp_path),
        "--project",
        "own",
    )
    return ComparisonFolder(tmp_path / "own" / "software" / "compare")


def test_page_has_the_curves_of_the_summary(compared: ComparisonFolder) -> None:
    summary = compared.summary
    data = json.loads(re.search(r'id="data">(.*?)</script>', comparison_page(compared), re.DOTALL)[1])  # type: ignore[index]
    assert [own["name"] for own in data["strategies"]] == [one.name for one in summary.strategies]
    for own, one in zip(data["strategies"], summary.strategies, strict=True):
        assert own["curve"]["y"] == pytest.approx(one.hypervolume.median.tolist(), rel=1e-5)
        assert own["front"]["accuracy"] == pytest.approx(list(one.front["accuracy"]), rel=1e-5)


@needs_browser
def test_strategies_can_be_hidden(compared: ComparisonFolder, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(comparison_page(compared), encoding="utf-8")
    with browser() as window:
        opened(window, file)
        cells = [own.text for own in window.find_elements("css selector", "#strategies tbody tr:first-child td")]
        in_report = compare_report.report_text(compared.summary, []).splitlines()[4].split(" | ")
        assert cells[1:5] == in_report[1:5]
        lines = window.find_elements("css selector", "#curves section:first-child path[stroke]")
        assert len(lines) == 2
        window.find_element("css selector", "#strategies button").click()
        assert len(window.find_elements("css selector", "#curves section:first-child path[stroke]")) == 1
        assert console(window) == []
        assert not [address for address in requests(window) if not address.startswith("file:")]


@needs_browser
def test_a_strategy_stands_out_and_its_button_keeps_the_focus(compared: ComparisonFolder, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(comparison_page(compared), encoding="utf-8")
    with browser() as window:
        opened(window, file)
        first, second = window.find_elements("css selector", "#strategies button")
        assert len(window.find_elements("css selector", "#fronts g[data-series]")) == 2  # a panel for each
        window.execute_script("arguments[0].focus()", second)
        classes = "return [...document.querySelectorAll('#curves g[data-series]')].map(own => own.className.baseVal)"
        assert set(window.execute_script(classes)) == {"dim", "lit"}
        second.click()
        assert window.execute_script("return document.activeElement.textContent") == second.text
        assert second.get_attribute("aria-pressed") == "false"
        assert first.get_attribute("aria-pressed") == "true"
        window.find_element("id", "all").click()
        assert second.get_attribute("aria-pressed") == "true"


def test_page_and_pictures_have_the_same_style_for_a_strategy(compared: ComparisonFolder) -> None:
    styles = line_styles(["random", "tpe"])
    data = json.loads(re.search(r'id="data">(.*?)</script>', comparison_page(compared), re.DOTALL)[1])  # type: ignore[index]
    assert [own["colour"] for own in data["strategies"]] == [styles[own["name"]]["color"] for own in data["strategies"]]
    assert [bool(own["dashes"]) for own in data["strategies"]] == [False, False]
