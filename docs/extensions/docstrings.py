"""Docstrings are plain text with single backticks and lists; this makes of them what Sphinx reads."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

CODE = re.compile(r"`+([^`]+)`+")
SPECIAL = re.compile(r"([*|\\])|(_)(?!\w)")


def as_markup(text: str) -> str:
    """One line of a docstring: code in backticks, and no sign that means anything else.

    >>> as_markup("`x` times *y*")
    '``x`` times \\\\*y\\\\*'
    """
    parts = CODE.split(text)
    return "".join(f"``{part}``" if place % 2 else SPECIAL.sub(r"\\\g<0>", part) for place, part in enumerate(parts))


def convert(app: Sphinx, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Change the lines of one docstring in place; examples stay as they are."""
    text: list[str] = []
    in_example = in_block = False
    for place, line in enumerate(lines):
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        after_blank = place > 0 and not lines[place - 1].strip()
        if in_block and line.strip() and not line.startswith("    "):
            in_block = False
        if line.startswith("    ") and after_blank and not in_block and not in_list(lines, place):
            in_block = True
            text += ["::", ""]
        text.append(line if in_example or in_block else as_markup(line))
    lines[:] = text


def in_list(lines: list[str], place: int) -> bool:
    """Whether an indented line goes on an item of a list."""
    before = next((line for line in reversed(lines[:place]) if line.strip() and not line.startswith("    ")), "")
    return before.lstrip().startswith(("- ", "* "))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the conversion with Sphinx."""
    app.connect("autodoc-process-docstring", convert)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
