"""The choices of each axis as numbers: the bits of each operand, and an index among formats of equal width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chop.actions.search.search_space.codes import Axis
from chop.formats import Format

Array = np.ndarray[Any, Any]
FLOAT_BITS = 32.0
_PROBE = (64, 64)
"""The shape of a tensor that tells the bits of a value, shared exponents counted in."""


def bits_per_value(chosen: Format | None) -> float:
    """Bits of a value in a format; None is float32."""
    return FLOAT_BITS if chosen is None else chosen.bits(_PROBE) / (_PROBE[0] * _PROBE[1])


def axis_bits(axis: Axis) -> Array:
    """For each choice of an axis the bits of a value, over all operands that any choice has a format for."""
    slots = sorted({(node, operand) for own in axis for node, chosen in own.items() for operand in chosen})
    return np.array([sum(bits_per_value(own.get(node, {}).get(operand)) for node, operand in slots) for own in axis])


@dataclass(frozen=True)
class AxisLevels:
    """An axis as columns, one for each operand (or kind of format) that varies: `values` `(choices, columns)`.

    Widths are ranks scaled to 0 … 1; a kind among formats of equal width is 0 or 1/2 in a column of its own.
    `names` says which operand a column is about.
    """

    values: Array
    names: tuple[str, ...]


def levels_of(axis: Axis) -> AxisLevels:
    """The columns of an axis; tied nodes, which vary alike, count once."""
    columns: dict[bytes, tuple[str, Array]] = {}
    for slot in sorted({(node, operand) for own in axis for node, chosen in own.items() for operand in chosen}):
        formats = [own.get(slot[0], {}).get(slot[1]) for own in axis]
        for name, column in _columns(slot[1], formats):
            columns.setdefault(column.tobytes(), (name, column))
    found = list(columns.values())
    values = np.stack([column for _, column in found], 1) if found else np.zeros((len(axis), 0))
    return AxisLevels(values, tuple(name for name, _ in found))


def _columns(operand: str, formats: Sequence[Format | None]) -> list[tuple[str, Array]]:
    bits = np.array([bits_per_value(chosen) for chosen in formats])
    widths, rank = np.unique(bits, return_inverse=True)
    found = [(operand, rank / (len(widths) - 1))] if len(widths) > 1 else []
    slots = list(zip(formats, bits.tolist(), strict=True))
    kinds = {width: list(dict.fromkeys(chosen for chosen, own in slots if own == width)) for width in widths.tolist()}
    number = np.array([kinds[width].index(chosen) for chosen, width in slots])
    if number.max() > 0:
        found += [(f"{operand} kind {kind}", (number == kind) / 2) for kind in range(number.max() + 1)]
    return found
