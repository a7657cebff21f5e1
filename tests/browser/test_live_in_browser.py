"""The live page in two browsers at once: it follows the log, and keeps what the user has chosen."""

from __future__ import annotations

import time
from pathlib import Path
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
