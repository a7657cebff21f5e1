"""Prints what trainings reach: one table a part, as Markdown.

make bench-training [PART=space]
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from parts import run_parts  # noqa: E402

if __name__ == "__main__":
    run_parts(FOLDER, "make bench-training")
