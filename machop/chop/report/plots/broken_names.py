"""Breaks long names of layers, keys and metrics into lines, for the axes of pictures."""

from __future__ import annotations

import re


def broken(name: str, letters: int) -> str:
    """A name in lines of at most so many letters where its spaces, underscores, dots and slashes allow it.

    >>> broken("layers_0_dense projection", 10)
    'layers_0_\\ndense\\nprojection'
    """
    lines = [""]
    for part in re.findall(r"[^_ /.]*[_ /.]?", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)
