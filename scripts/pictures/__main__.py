"""Draw the pictures of docs/concepts, and write the tables of those pages: `make pictures [PART=value_sets]`.

All figures come from the code of chop on data and weights that ship. It takes about three minutes of one core.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pictures.parts import PARTS, make

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all if none is named")
    make(parser.parse_args().parts)
