"""The live page in two browsers at once: it follows the log, and keeps what the user has chosen."""

from __future__ import annotations

import time
from pathlib import Path
from shutil import copy
from typing import Any

from chop.report.html.live import LiveServer
from tests.browser.pages import browser, console, needs_browser
from tests.report.html.searches import small_search

pytestmark = needs_browser


def trials_shown(window: Any) -> int:
    """How many networks the page in sight has; 0 before there is one."""
    script = """
        const frame = document.querySelector('iframe:not(.behind)');
        return frame?.contentDocument?.querySelector('#count')?.textContent ?? '';
    """
    text = str(window.execute_script(script))
    return int(text.split(maxsplit=1)[0]) if text else 0


def waits(check: Any, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.2)
    return False


def test_two_browsers_follow_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    folder.mkdir()
    lines = (small_search().path / "trials.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "trials.jsonl").write_text("".join(lines[:9]), encoding="utf-8")
    server = LiveServer(folder)
    server.start()
    with browser() as first, browser() as second:
        try:
            for window in (first, second):
                window.get(server.address)
                assert waits(lambda window=window: trials_shown(window) == 8)
            first.execute_script("document.querySelector('iframe').contentDocument.getElementById('log-x').click()")
            (folder / "trials.jsonl").write_text("".join(lines[:21]), encoding="utf-8")
            for window in (first, second):
                assert waits(lambda window=window: trials_shown(window) == 20)
            script = "return document.querySelector('iframe').contentDocument.getElementById('log-x').checked"
            assert [window.execute_script(script) for window in (first, second)] == [True, False]
            assert console(first) == []
        finally:
            server.close()


def test_a_newer_page_waits_for_the_mouse_and_keeps_focus_text_and_open_parts(tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    folder = tmp_path / "search"
    folder.mkdir()
    lines = (small_search().path / "trials.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "trials.jsonl").write_text("".join(lines[:9]), encoding="utf-8")
    copy(small_search().path / "resolved.toml", folder)
    server = LiveServer(folder)
    server.start()
    with browser() as window:
        try:
            window.get(server.address)
            assert waits(lambda: trials_shown(window) == 8)
            inner = "const own = document.querySelector('iframe').contentDocument;"
            plot = window.execute_script(
                f"{inner} return own.getElementById('front-plot').getBoundingClientRect().toJSON()"
            )
            held = ActionChains(window).move_by_offset(int(plot["x"]) + 150, int(plot["y"]) + 120).click_and_hold()
            held.move_by_offset(150, 90).perform()
            (folder / "trials.jsonl").write_text("".join(lines[:21]), encoding="utf-8")
            assert not waits(lambda: trials_shown(window) == 20, 5)
            ActionChains(window).release().perform()
            script = (
                f"{inner} own.getElementById('toml-box').open = true; const limit = own.querySelector('.limits input');"
            )
            window.execute_script(f"{script} limit.focus(); limit.value = '0.12'")
            chips = f"{inner} return own.getElementById('chips').children.length"
            assert window.execute_script(chips) == 3
            pages = "return document.querySelectorAll('iframe').length === 1 && document.querySelector('iframe').src"
            first = window.execute_script(pages)
            assert waits(lambda: window.execute_script(pages) not in (False, first))
            kept = f"{inner} return [own.activeElement.value, own.getElementById('toml-box').open]"
            assert window.execute_script(kept) == ["0.12", True]
            assert window.execute_script(chips) == 3
        finally:
            server.close()
