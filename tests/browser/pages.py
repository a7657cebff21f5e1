"""A headless Chromium for tests of pages; tests are skipped, and say why, where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import pytest

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")
DRIVER = which("chromedriver")


def browser_problem() -> str | None:
    """Why there is no browser to test with; None where there is one."""
    if CHROMIUM is None or DRIVER is None:
        return "no browser: install chromium and chromium-driver"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "no browser: pip install selenium"
    return None


needs_browser = pytest.mark.skipif(browser_problem() is not None, reason=str(browser_problem()))


@contextmanager
def browser(width: int = 1440, height: int = 1400) -> Iterator[Any]:
    """A browser window; its requests and its console are logged."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},{height}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield window
    finally:
        window.quit()


def opened(window: Any, page: Path) -> None:
    """Open a page from disk, and wait until it is drawn at its size."""
    window.get(page.resolve().as_uri())
    window.execute_async_script("const done = arguments[0]; setTimeout(() => requestAnimationFrame(() => done()), 300)")


def console(window: Any) -> list[str]:
    """What scripts and policy complain of."""
    return [entry["message"] for entry in window.get_log("browser")]


def requests(window: Any) -> list[str]:
    """The addresses that were asked for since the last call, without the browser's own pages."""
    import json

    found = []
    for entry in window.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
    return [address for address in found if not address.startswith(("data:", "chrome"))]
