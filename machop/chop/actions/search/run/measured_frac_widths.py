"""Reads from a network where the points of its numbers are, where that follows from measured ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chop.formats import Format, OutputShift
from chop.formats.integer import AUTO, FixedPoint
from chop.ir import QuantPlan
from chop.record.trial import MeasuredFracWidths
from chop.weight_transforms import format_of


def measured_frac_widths(sampled_config: Mapping[str, Any], plan: QuantPlan) -> MeasuredFracWidths:
    """The bits after the point of each operand whose config says "auto"; `plan` is that of the built network.

    Of an operand with a range for each channel they are the least and the greatest.
    """
    found: dict[str, dict[str, int | list[int]]] = {}
    for node, formats in plan.choices:
        entry = sampled_config.get(node)
        config = entry.get("config", {}) if isinstance(entry, Mapping) else {}
        for operand, chosen in formats:
            if config.get(f"{operand}_frac_width") == AUTO and (fractions := _fractions(chosen)):
                least, greatest = min(fractions), max(fractions)
                found.setdefault(node, {})[operand] = least if least == greatest else [least, greatest]
    return found


def _fractions(chosen: Format) -> tuple[int, ...]:
    own = chosen.then if isinstance(chosen, OutputShift) else format_of(chosen)
    return own.fractions if isinstance(own, FixedPoint) and not own.is_measured else ()
