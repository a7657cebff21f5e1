"""Pages of a million points, of ten thousand trials, and of broken records, in a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from chop.record.folder import SearchFolder
from chop.record.trial import Trial
from chop.report.html.pages import page_of
from chop.report.html.search_page import running_page, search_page
from tests.browser.pages import browser, console, needs_browser, opened, requests
from tests.report.html.searches import exhaustive_search, million_points, small_search

pytestmark = needs_browser

MOST_SECONDS = 3.0
"""What an answer to a click may take: the quickest of some, on a machine that does other things too."""


INKED = """
const canvas = document.querySelector("#front-plot canvas");
const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
return pixels.filter((value, place) => place % 4 === 3 && value > 0).length / (canvas.width * canvas.height);
"""
"""The share of the picture that is not empty."""


@pytest.fixture(scope="module")
def window() -> Iterator[Any]:
    with browser() as found:
        yield found


def show(window: Any, page: str, folder: Path) -> None:
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    opened(window, file)


def seconds_of(act: Callable[[], object]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


def text(window: Any, css: str) -> str:
    return str(window.find_element("css selector", css).text)


def click_on_front(window: Any, place: int) -> float:
    """Click on a network of the front, which is selected then; returns the seconds until it is."""
    from selenium.webdriver.common.action_chains import ActionChains

    circle = window.find_elements("css selector", "#front-plot circle[r='4.2']")[place]
    window.execute_script("arguments[0].scrollIntoView({block:'center'})", circle)
    where = [circle.get_attribute(name) for name in ("cx", "cy")]
    click = ActionChains(window, duration=0).move_to_element(circle).click()
    seconds = seconds_of(lambda: (click.perform(), window.find_element("id", "chosen")))
    chosen = window.find_element("id", "chosen")
    assert [chosen.get_attribute(name) for name in ("cx", "cy")] == where
    return seconds


def test_a_million_points_are_a_front_and_a_density(window: Any, tmp_path: Path) -> None:
    files = million_points()
    page = search_page(files)
    assert len(page) < 1_000_000
    show(window, page, tmp_path)
    assert "1,200,000" in text(window, "#title")
    assert "exact front" in text(window, "#front-legend")
    assert window.execute_script("return DATA.density[0].cells.reduce((sum, own) => sum + own[1], 0)") == 1_200_000
    assert window.execute_script(INKED) > 0.05
    assert {row.trial.number for row in files.best()} == set(
        window.execute_script("return DATA.exact.map((own) => own.point)")
    )
    assert min(click_on_front(window, place) for place in (0, -1, 0, -1)) < MOST_SECONDS
    assert "(on the front)" in text(window, "#selected-title")
    assert console(window) == []
    assert not [address for address in requests(window) if not address.startswith("file:")]


def test_ten_thousand_trials_answer_at_once(window: Any, tmp_path: Path) -> None:
    known = small_search()
    files = SearchFolder(tmp_path / "run")
    rng = np.random.default_rng(0)
    choices = known.header.values["choices"]
    with files.begin_trials(known.fingerprint, {k: known.header.values[k] for k in ("choices", "goals")}) as log:
        for number in range(10_000):
            point = {key: int(rng.integers(len(own))) for key, own in choices.items()}
            bits = 2 + 6 * sum(point.values()) / sum(len(own) - 1 for own in choices.values())
            accuracy = 0.7 - 0.5 / bits - 0.02 * rng.random()
            log.append(Trial(number, point, {"accuracy": accuracy}, {"average_bitwidth": bits}, {}))
    show(window, running_page(files), tmp_path)
    assert text(window, "#count").startswith("10,000 ")
    assert min(click_on_front(window, place) for place in (0, -1, 0)) < MOST_SECONDS
    heading = window.find_element("css selector", '#table th[data-column="accuracy"]')
    for script in ("arguments[0].click()", "brush({ accuracy: [0.5, 0.6] })"):
        act = partial(window.execute_script, script, heading)
        assert min(seconds_of(act) for _ in range(3)) < MOST_SECONDS
    assert 0 < int(text(window, "#count").split(maxsplit=1)[0].replace(",", "")) < 10_000
    assert console(window) == []


def without(file: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).unlink()


def cut(file: str) -> Callable[[Path], object]:
    """Lose the second half of a file."""
    return lambda folder: (folder / file).write_bytes(
        (folder / file).read_bytes()[: (folder / file).stat().st_size // 2]
    )


def one_line_damaged(folder: Path) -> None:
    log = folder / "trials.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    lines[21] = lines[21].replace(b"accuracy", b"accurrcy")
    log.write_bytes(b"".join(lines))


def last_line_cut(folder: Path) -> None:
    log = folder / "trials.jsonl"
    log.write_bytes(log.read_bytes()[:-9])


BROKEN: dict[str, tuple[Callable[[], SearchFolder], Callable[[Path], object], str, int]] = {
    "a damaged line": (small_search, one_line_damaged, "line 22 is damaged", 20),
    "a line cut off": (small_search, last_line_cut, "its last line is cut off", 39),
    "no summary": (small_search, without("summary.json"), "summary.json does not exist", 40),
    "half a summary": (small_search, cut("summary.json"), "summary.json", 40),
    "no front": (small_search, without("best.json"), "best.json does not exist", 40),
    "half a table": (exhaustive_search, cut("landscape.parquet"), "landscape.parquet", 25),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_is_named_and_what_is_sound_is_shown(name: str, window: Any, tmp_path: Path) -> None:
    search, damage, told, sound = BROKEN[name]
    copytree(search().path, tmp_path / "run")
    damage(tmp_path / "run")
    show(window, page_of(tmp_path / "run"), tmp_path)
    assert told in text(window, "#banner")
    trials = SearchFolder(tmp_path / "run").trials()[:sound]
    networks = [trial for trial in trials if trial.repeats is None]
    assert text(window, "#count") == f"{len(networks)} networks"
    click_on_front(window, 0)
    assert text(window, "#selected-title").split()[1] in {str(trial.number) for trial in networks}
    assert text(window, "#heat")
    assert console(window) == []
