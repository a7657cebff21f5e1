"""Draws docs/pictures/report.png: the page of a search in a browser (Chromium and its driver must be installed)."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import tempfile
from pathlib import Path
from shutil import which

import chop

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "report.png"


def main() -> None:
    """Search, open the page, and save what the browser shows."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--folder", type=Path, help="Write pictures in light and dark, wide and narrow, there too.")
    given = arguments.parse_args().folder
    folder = given.resolve() if given else None
    if which("chromium") is None or which("chromedriver") is None:
        sys.exit("error: install chromium and chromium-driver")
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):  # so that the page names short paths
        page = searched(Path("mase_output"))
        shoot(page, PICTURE, 1440, 1300, dark=False)
        if folder is not None:
            for dark, width in itertools.product((False, True), (390, 1440)):
                shoot(page, folder / f"report_{width}_{'dark' if dark else 'light'}.png", width, 2600, dark)


def searched(folder: Path) -> Path:
    """A search on the jets, and its page."""
    study = chop.search(
        chop.get_model("jsc-mlp", pretrained=True),
        "jsc",
        formats=["integer"],
        widths=[3, 4, 5, 6, 8],
        objectives=["accuracy", "bitops"],
        strategy="surrogate",
        n_trials=400,
        num_samples=2000,
        folder=folder / "jsc-mlp" / "software" / "search_ckpts",
    )
    return study.report(folder / "report.html")


def shoot(page: Path, picture: Path, width: int, height: int, dark: bool) -> None:
    """Save a picture of a page in a window of this size."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    window = webdriver.Chrome(options=options, service=Service(str(which("chromedriver"))))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        window.get(page.resolve().as_uri())
        window.execute_script(
            "document.documentElement.dataset.theme = arguments[0]; tell('theme')", "dark" if dark else "light"
        )
        picture.parent.mkdir(parents=True, exist_ok=True)
        window.save_screenshot(str(picture))
        print(f"{picture.name} is drawn")
    finally:
        window.quit()


if __name__ == "__main__":
    main()
