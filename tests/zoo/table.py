"""The zoo's table: a line for each model as it is examined."""

from __future__ import annotations

import logging
import warnings

import torch

from tests.zoo.checks import Verdict, examine
from tests.zoo.specimens import SPECIMENS


def print_table() -> tuple[str, int, int, int, int]:
    """Examine all models and print a line for each.

    Returns how many were tried, right, refused and wrong. Wrong is also one that is refused and should not be, and the
    other way round.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    print(f"{'model':18} {'verdict':8} {'traced by':9} {'nodes':>5} {'difference':>10} {'MACs':>7}  structure")
    verdicts = []
    for specimen in SPECIMENS:
        verdicts.append(examine(specimen))
        print(_line(verdicts[-1]), flush=True)
    logging.disable(logging.NOTSET)
    sound = [one.verdict for one in verdicts if one.is_as_it_must_be]
    return "models", len(verdicts), sound.count("right"), sound.count("refused"), len(verdicts) - len(sound)


def _line(own: Verdict) -> str:
    why = "" if own.verdict == "right" else f": {' '.join(own.why.split())[:300]}"
    mark = "" if own.is_as_it_must_be else "  <- must not be"
    difference = f"{own.difference:.0e}" if own.nodes else ""
    figures = f"{own.traced_by:9} {own.nodes or '':>5} {difference:>10} {own.macs or '':>7}"
    return f"{own.specimen.name:18} {own.verdict:8} {figures}  {own.specimen.structure}{why}{mark}"
