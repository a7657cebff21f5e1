"""The choices of each axis as numbers: the bits of each operand, and an index among formats of equal width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chop.actions.search.search_space.codes import Alternative, Axis
from chop.formats import Format

Array = np.ndarray[Any, Any]
FLOAT_BITS = 32.0
_PROBE = (64, 64)
"""The shape of a tensor that tells the bits of a value, shared exponents counted in."""

MOST_UNIFORM = 1000


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


def uniform_codes(axes: Sequence[Axis]) -> Array:
    """Points whose nodes all have the same formats, as far as their lists allow, `(points, axes)`, most bits first.

    For each choice that any node has, every node takes the alternative that is most like it.
    """
    profiles = []
    for axis in axes:
        deciding = _deciding(axis)
        profiles.append([_profile(alternative, deciding) for alternative in axis])
    wanted = list(dict.fromkeys(_key(profile) for axis in profiles for profile in axis))
    distinct = [{key: number for number, key in reversed(list(enumerate(map(_key, axis))))} for axis in profiles]
    codes = [[_most_alike(key, own) for own in distinct] for key in wanted[:MOST_UNIFORM]]
    found = np.array(list(dict.fromkeys(map(tuple, codes))), dtype=np.int64).reshape(-1, len(axes))
    bits = sum((axis_bits(axis)[found[:, number]] for number, axis in enumerate(axes)), np.zeros(len(found)))
    return np.asarray(found[np.argsort(-bits, kind="stable")])


_Key = tuple[tuple[str, str, float], ...]


def _deciding(axis: Axis) -> set[str]:
    """The nodes whose formats an axis decides, without those tied to them."""
    return {node for own in axis for node in own if any(other.get(node) != axis[0].get(node) for other in axis)}


def _profile(alternative: Alternative, nodes: set[str]) -> dict[str, tuple[str, float]]:
    """For each operand of `nodes` the kind of its format and its bits; of several nodes the last one's."""
    formats = [slot for node, own in alternative.items() if node in nodes for slot in own.items()]
    return {operand: (chosen.kind, bits_per_value(chosen)) for operand, chosen in formats}


def _key(profile: dict[str, tuple[str, float]]) -> _Key:
    return tuple((operand, kind, bits) for operand, (kind, bits) in sorted(profile.items()))


def _most_alike(wanted: _Key, known: dict[_Key, int]) -> int:
    if wanted in known:
        return known[wanted]
    return known[min(known, key=lambda own: (_difference(wanted, own), known[own]))]


def _difference(one: _Key, other: _Key) -> float:
    """The distance of two choices: bits over all operands, and a little for another kind of format."""
    first, second = ({operand: (kind, bits) for operand, kind, bits in key} for key in (one, other))
    absent = ("", FLOAT_BITS)
    pairs = [(first.get(operand, absent), second.get(operand, absent)) for operand in {*first, *second}]
    return sum(abs(a[1] - b[1]) + 0.01 * (a[0] != b[0]) for a, b in pairs)
