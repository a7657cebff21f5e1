"""Replaces `--project-dir` in an error by the option with which the running command names its output folder."""

from __future__ import annotations

import re
from collections.abc import Container

PROJECT_DIR, OUTPUT = "--project-dir", "--output"
_PLACES = re.compile(r"\b(an?|another) --project(?:-dir)?(?: or --project)?(?![-\w])")


def in_options(text: str, options: Container[str]) -> str:
    """An error with `--output`, or no option, where a command's `options` have no `--project-dir`.

    >>> in_options("no rights; choose a --project-dir that you may write to", ["--output"])
    'no rights; choose an --output that you may write to'
    >>> in_options("make room, or choose another --project-dir", [])
    'make room, or choose another place'
    """
    if PROJECT_DIR in options:
        return text
    place = OUTPUT if OUTPUT in options else "place"

    def named(found: re.Match[str]) -> str:
        article = found[1] if found[1] == "another" else "an" if place == OUTPUT else "a"
        return f"{article} {place}"

    return _PLACES.sub(named, text)
