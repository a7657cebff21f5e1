"""The points of a product space whose layers all have the same formats, as far as their choices allow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TypeVar

import numpy as np

from chop.actions.search.search_space.codes import Axis
from chop.actions.search.strategies.product.choice_levels import FLOAT_BITS, Array, axis_bits, bits_per_value
from chop.formats import Format

MOST_UNIFORM = 1000

_Value = TypeVar("_Value")

_Formats = dict[str, Format]
"""The format of each operand of a layer."""

_Widths = tuple[tuple[str, str, float], ...]
"""Of each operand its name, the kind of its format, and its bits."""

_Wanted = tuple[tuple[tuple[str, Format], ...], tuple[tuple[str, int], ...]]
"""Of each operand its format, and the place of that among the formats with these widths."""


def uniform_codes(axes: Sequence[Axis], every: bool = False) -> Array:
    """Points whose nodes all have the same formats, as far as their lists allow, `(points, axes)`, most bits first.

    For each choice that any node has, every node takes the alternative that is most like it. Of choices that differ in
    neither kind nor bits (but in the width of the exponent, say) the first one counts; with `every`, each of them.
    """
    choices = [_Choices(axis) for axis in axes]
    codes = _distinct(_every_code(choices) if every else _codes_of_widths(choices))
    found = np.array(list(islice(codes, MOST_UNIFORM)), dtype=np.int64).reshape(-1, len(axes))
    bits = sum((axis_bits(axis)[found[:, number]] for number, axis in enumerate(axes)), np.zeros(len(found)))
    return np.asarray(found[np.argsort(-bits, kind="stable")])


class _Choices:
    """The choices of an axis, by the kinds and bits of their formats."""

    def __init__(self, axis: Axis) -> None:
        nodes = _deciding(axis)
        self.formats: list[_Formats] = [
            {operand: chosen for node, own in choice.items() if node in nodes for operand, chosen in own.items()}
            for choice in axis
        ]
        self.by_widths: dict[_Widths, list[int]] = {}
        for number, formats in enumerate(self.formats):
            self.by_widths.setdefault(_widths(formats), []).append(number)
        self._places: dict[_Widths, list[dict[str, int]]] = {}

    def nearest(self, wanted: _Widths) -> _Widths:
        """The widths that are most like others."""
        if wanted in self.by_widths:
            return wanted
        return min(self.by_widths, key=lambda own: _difference(wanted, own))

    def places(self, widths: _Widths) -> list[dict[str, int]]:
        """For each choice with these widths: at what place each of its formats is among theirs."""
        if widths not in self._places:
            formats = [self.formats[number] for number in self.by_widths[widths]]
            order = {operand: list(dict.fromkeys(own[operand] for own in formats)) for operand, _, _ in widths}
            self._places[widths] = [{key: order[key].index(own[key]) for key in order} for own in formats]
        return self._places[widths]

    def wanted(self, widths: _Widths) -> Iterator[_Wanted]:
        """The formats of each choice with these widths, and their places."""
        for number, places in zip(self.by_widths[widths], self.places(widths), strict=True):
            yield tuple(self.formats[number].items()), tuple(places.items())

    def most_alike(self, widths: _Widths, formats: _Formats, places: dict[str, int]) -> int:
        """Of the choices with these widths the one with those formats, or else with the nearest places."""
        here = self.by_widths[widths]
        equal = [number for number in here if self.formats[number] == formats]
        if equal:
            return equal[0]
        apart = [sum(abs(place - places.get(key, 0)) for key, place in own.items()) for own in self.places(widths)]
        return here[apart.index(min(apart))]


def _codes_of_widths(choices: Sequence[_Choices]) -> Iterator[tuple[int, ...]]:
    for widths in _all_widths(choices):
        yield tuple(own.by_widths[own.nearest(widths)][0] for own in choices)


def _every_code(choices: Sequence[_Choices]) -> Iterator[tuple[int, ...]]:
    for widths in _all_widths(choices):
        nearest = [own.nearest(widths) for own in choices]
        given = chain.from_iterable(own.wanted(widths) for own in choices if widths in own.by_widths)
        for formats, places in _distinct(given):
            alike = zip(choices, nearest, strict=True)
            yield tuple(own.most_alike(near, dict(formats), dict(places)) for own, near in alike)


def _distinct(values: Iterable[_Value]) -> Iterator[_Value]:
    """Each value once, in order, as they come."""
    seen: set[_Value] = set()
    for value in values:
        if value not in seen:
            seen.add(value)
            yield value


def _all_widths(choices: Sequence[_Choices]) -> list[_Widths]:
    return list(dict.fromkeys(widths for own in choices for widths in own.by_widths))


def _deciding(axis: Axis) -> set[str]:
    """The nodes whose formats an axis decides, without those tied to them."""
    return {node for own in axis for node in own if any(other.get(node) != axis[0].get(node) for other in axis)}


def _widths(formats: _Formats) -> _Widths:
    return tuple((operand, chosen.kind, bits_per_value(chosen)) for operand, chosen in sorted(formats.items()))


def _difference(one: _Widths, other: _Widths) -> float:
    """The distance of two choices: bits over all operands, and a little for another kind of format."""
    first, second = ({operand: (kind, bits) for operand, kind, bits in widths} for widths in (one, other))
    absent = ("", FLOAT_BITS)
    pairs = [(first.get(operand, absent), second.get(operand, absent)) for operand in {**first, **second}]
    return sum(abs(a[1] - b[1]) + 0.01 * (a[0] != b[0]) for a, b in pairs)
