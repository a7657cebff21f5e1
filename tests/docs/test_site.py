"""The documentation site builds without a warning, and a reader of it ends nowhere."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.docs.pages import ROOT

LOADED = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}
"""What a browser fetches by itself when it opens a page."""


@dataclass
class BuiltPage(HTMLParser):
    """The anchors, the links and what is loaded of one page."""

    path: Path
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if values.get(LOADED.get(tag, ""), ""):
            self.loaded.append(values[LOADED[tag]])


def test_the_site_builds_without_a_warning_and_leads_nowhere_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", tmp_path / "cache"]
    result = subprocess.run(
        [*command, ROOT / "docs", tmp_path / "site"], text=True, capture_output=True, check=False, encoding="utf-8"
    )
    assert result.returncode == 0, result.stderr
    site = tmp_path / "site"
    pages = {path: BuiltPage(path) for path in sorted(site.rglob("*.html"))}
    assert len(pages) > 60
    assert [problem for page in pages.values() for problem in problems(page, pages)] == []
    assert "0001-a-repeated-point-is-a-trial" in (site / "searchindex.js").read_text(encoding="utf-8")
    for style in site.rglob("*.css"):
        assert "url(http" not in style.read_text(encoding="utf-8").replace('"', "").replace("'", ""), style
    assert_reference_is_whole(site / "reference")


def problems(page: BuiltPage, pages: dict[Path, BuiltPage]) -> list[str]:
    """What a page loads from outside or does not find, and the links of it that lead nowhere."""
    found = [f"{page.path.name} loads {uri}" for uri in page.loaded if urlsplit(uri).netloc]
    for uri in [*page.links, *page.loaded]:
        parts = urlsplit(uri)
        if parts.scheme or parts.netloc:
            continue
        target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
        if not target.exists():
            found.append(f"{page.path.name}: no {uri}")
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
            found.append(f"{page.path.name}: no anchor {uri}")
    return found


def assert_reference_is_whole(folder: Path) -> None:
    """What is made of the code is there."""
    expected = {
        "python": ("chop.search", "chop.Study.best"),
        "testing": ("chop.testing.FormatConformance",),
        "plug_ins": ("chop.formats.Format.bits", "chop.exporters.Exporter"),
        "command_line": ("ch-search", "ch-config-new"),
        "names": ("number-formats-ch-info-format", "runners-ch-info-runner"),
        "toml_keys": ("search-finish", "train-for-space"),
    }
    for name, anchors in expected.items():
        missing = set(anchors) - BuiltPage(folder / f"{name}.html").anchors
        assert not missing, f"{name}: {missing}"
