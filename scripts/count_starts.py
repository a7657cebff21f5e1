"""Start searches, comparisons and trainings at once in one folder, and count how many were right, refused or wrong.

    python scripts/count_starts.py [TRIES]

`wrong` (files of two commands in one folder, or an end without a word) must be 0; the exit status says whether it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

HEADINGS = ("command", "tried", "right", "refused", "wrong")


def count_starts(tries: int = 3) -> list[tuple[str, int, int, int, int]]:
    """The counts by command, under `HEADINGS`: in each try three processes, of which one must be right."""
    from tests.actions.starts import count_starts as count

    return count(tries)


def main() -> int:
    """Print the table; 1 where anything is wrong."""
    rows = count_starts(*map(int, sys.argv[1:2]))
    for row in (HEADINGS, *rows):
        print(f"{row[0]:12}" + "".join(f"{cell:>10}" for cell in row[1:]))
    return int(any(row[-1] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
