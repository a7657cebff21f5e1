"""Explains the notation of the formats in a table, as far as the table uses it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chop.record.summary import SearchSummary
from chop.report.format_texts import FIXED_POINT, describe_formats

_MEANINGS = (
    (r"\db/-?\d+f", "8b/4f: 8 bits, 4 of them after the point"),
    (r"\db/auto", "8b/auto: the position of the point is measured, for each operand"),
    (r"([\d.]+)b/learned", r"\1b/learned: widths are learned, \1 bits on average"),
)
"""Signs that a text of fixed-point formats may hold, and their meaning."""

_LETTERS = ((r"\df\b", "f: after the point"), (r"\de\b", "e: of the exponent"), (r"\dm\b", "m: of the mantissa"))
_OPERANDS = ((r"\bact ", "act is a layer's input"), (r"\bw ", "w its weight"))


def notation(names: Sequence[str], summary: SearchSummary) -> str:
    """One line that explains the column of formats; `names` are those of the formats."""
    texts = [describe_formats(row.sampled_config, True, row.frac_widths) for row in summary.best]
    shown = "; ".join(texts)
    is_fixed = set(names) <= set(FIXED_POINT)
    meanings = _found(_MEANINGS if is_fixed else _MEANINGS[1:], shown) or ["8b: 8 bits"]
    if any(row.frac_widths for row in summary.best):
        meanings.append("the position of the point follows from the measured range of each operand")
    letters = [] if is_fixed else _found(_LETTERS, shown)
    parts = [*meanings, ", ".join(letters), ", ".join(_found(_OPERANDS, shown)), "the rest in float32"]
    return f"Formats: {', '.join(names)}; {'; '.join(filter(None, parts))}."


def _found(meanings: Sequence[tuple[str, str]], shown: str) -> list[str]:
    """The meanings of what the text holds, with the groups of the first place where a pattern is."""
    return [found.expand(meaning) for pattern, meaning in meanings if (found := re.search(pattern, shown))]
