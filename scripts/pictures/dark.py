"""Colours for a dark page, for pictures of matplotlib that are not drawn in the style of style.py."""

from __future__ import annotations

import re
from pathlib import Path

INK, PAGE = "#e6edf3", "#12171e"
OF_DARK = {
    "#000000": INK,
    "#222222": INK,
    "#444444": "#b8c0c8",
    "#6b6b6b": "#a3adb8",
    "#ffffff": PAGE,
    "#cccccc": "#4a545f",
    "#cfcfcf": "#4a545f",
    "#b0b0b0": "#4a545f",
    **dict.fromkeys(("#dddddd", "#e0e0e0", "#e6e6e6"), "#303a45"),
    **dict.fromkeys(("#0072b2", "#005a9c", "#1f77b4"), "#4fa8e0"),
    "#9a4a00": "#e08a3c",
    "#d62728": "#f0605f",
    "#8c564b": "#b98a80",
    "#9467bd": "#b592d6",
}
"""What stands for a colour on a dark page; the others can be seen on both."""

STYLE = re.compile(r"\n <style>@media\(prefers-color-scheme:dark\).*?</style>")
FRAME = re.compile(r"(<svg [^>]*>)")


def with_dark_colours(text: str) -> str:
    """The text of an SVG with colours for a dark page in place of any that it has."""
    text = STYLE.sub("", text)
    rules = f"svg{{fill:{INK}}}"  # of what has no colour of its own: it is black
    for light, dark in OF_DARK.items():
        kinds = [kind for kind in ("fill", "stroke") if f"{kind}: {light}" in text]
        rules += "".join(f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}' for kind in kinds)
    style = f"\n <style>@media(prefers-color-scheme:dark){{{rules}}}</style>"
    return FRAME.sub(lambda found: found[1] + style, text, count=1)


def add_dark_colours(path: Path) -> None:
    """Add the colours to a file."""
    path.write_text(with_dark_colours(path.read_text(encoding="utf-8")), encoding="utf-8")
