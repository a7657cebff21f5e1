"""Try what must never give a wrong number without a word, and count what became of it.

    make guard
    python scripts/guard.py [PART …]

The parts are `zoo`, `checkpoints`, `records` and `starts`. Each row says how many were tried, and how many of them were
right, refused and wrong; a traceback is wrong. The exit status says whether anything is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

Row = tuple[str, int, int, int, int]
"""What was tried, how often, and how often it was right, refused and wrong."""

HEADINGS = ("", "tried", "right", "refused", "wrong")


def zoo() -> list[Row]:
    """Small models against an independent fixed-point forward and an independent count; prints a line for each."""
    from tests.zoo.table import print_table

    return [print_table()]


def checkpoints() -> list[Row]:
    """Files of weights with one bit flipped."""
    from tests.models.flipped_bits import count_flipped_bits

    return count_flipped_bits()


def records() -> list[Row]:
    """Edited and damaged files of searches and comparisons, each followed by the commands that read it."""
    from tests.record.damages import count_damages

    rows, wrong = count_damages()
    print("\n".join(wrong), end="\n" if wrong else "")
    return rows


def starts() -> list[Row]:
    """Commands that are started at once in one folder."""
    from tests.actions.starts import count_starts

    return [(f"{row[0]} at once", *row[1:]) for row in count_starts()]


PARTS: dict[str, Callable[[], list[Row]]] = {
    "zoo": zoo,
    "checkpoints": checkpoints,
    "records": records,
    "starts": starts,
}


def main(names: list[str]) -> int:
    """Run the parts and print their counts; 1 where anything is wrong."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"unknown data set '{unknown[0]}' (known: {', '.join(PARTS)})", file=sys.stderr)
        return 2
    counted: list[tuple[str, Row]] = []
    for name in names or PARTS:
        started = time.perf_counter()
        counted += [(name, row) for row in PARTS[name]()]
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    for part, row in [("part", HEADINGS), *counted]:
        print(f"{part:12}{row[0]:28}" + "".join(f"{cell:>9}" for cell in row[1:]))
    return int(any(row[-1] for _, row in counted))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
