"""Damage the records of small searches and a comparison, and count what each command makes of it.

    python scripts/count_damages.py [NUMBER OF RANDOM DAMAGES]

`wrong` (another figure, and nothing said) and `traceback` must be 0; the exit status says whether they are.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

HEADINGS = ("file", "tried", "right", "refused", "wrong", "traceback")


def count_damages(number: int = 300) -> tuple[list[tuple[Any, ...]], list[str]]:
    """The counts by file, under `HEADINGS`, and a line on each that is not right."""
    from tests.record.damages import count_damages as count

    return count(number)


def main() -> int:
    """Print the table; 1 where anything is wrong."""
    rows, wrong = count_damages(*map(int, sys.argv[1:2]))
    total = ("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:]))
    for row in (HEADINGS, *rows, total):
        print(f"{row[0]:20}" + "".join(f"{cell:>10}" for cell in row[1:]))
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
