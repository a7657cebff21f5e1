"""Fits the formats of a plan to the layouts of their operands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chop.errors import FormatError, GraphError
from chop.formats import Format
from chop.formats.layout import Layout
from chop.formats.learned import LEARNED
from chop.ir.calibration import Slot
from chop.ir.plan import QuantPlan


def fitted(plan: QuantPlan, layouts: Mapping[str, Mapping[str, Layout]]) -> QuantPlan:
    """The plan with each format placed in its operand's layout; nodes that compute with no values are left out.

    Raises GraphError for a format that needs to know what the layout cannot tell.
    """
    if not any(_changes(formats, layouts.get(name, {})) for name, formats in plan.choices):
        return plan
    return QuantPlan.of(
        {
            name: {operand: _placed((name, operand), chosen, layouts[name]) for operand, chosen in formats}
            for name, formats in plan.choices
            if has_values(layouts.get(name, {}))
        }
    )


def has_values(layouts: Mapping[str, Layout]) -> bool:
    """Whether a node with operands of these layouts results in floating-point values."""
    return "data_out" in layouts and layouts["data_out"].is_floating


def _changes(formats: Iterable[tuple[str, Format]], layouts: Mapping[str, Layout]) -> bool:
    """Whether a node's formats depend on the layouts of its operands, or it computes with no values."""
    return any(chosen.needs_layout for _, chosen in formats) or not has_values(layouts)


def _placed(slot: Slot, chosen: Format, layouts: Mapping[str, Layout]) -> Format:
    node, operand = slot
    if operand not in layouts:
        return chosen
    try:
        return chosen.placed(layouts[operand])
    except FormatError as error:
        key = "activation" if getattr(chosen, "frac_width", None) == LEARNED else operand
        raise GraphError(f"node '{node}', {operand}: {error} (keys start with '{key}_')") from error
