"""How tensors of codes lie in the ports of a circuit, and in files of hexadecimal words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chop.circuits.values import Integers, Range, Values

SAMPLES = 256
"""Samples that are turned into bits together."""


@dataclass(frozen=True)
class Word:
    """A port that holds a tensor: element i, flattened with the last axis fastest, in bits [i · bits, (i + 1) · bits).

    An element is a whole number (two's complement where `is_signed`) times 2^-frac. `node` is the stage of the integer
    network that it belongs to.
    """

    name: str
    node: str
    shape: tuple[int, ...]
    bits: int
    frac: int
    is_signed: bool

    @classmethod
    def of(cls, name: str, node: str, own: Range) -> Word:
        """The port of a tensor whose elements have these ranges."""
        return cls(name, node, own.shape, max(own.widest, 1), own.frac, bool(own.is_signed.any()))

    @property
    def elements(self) -> int:
        """Elements of one sample."""
        return math.prod(self.shape)

    @property
    def width(self) -> int:
        """Bits of the port."""
        return self.elements * self.bits

    def codes(self, values: Values) -> Integers:
        """The codes `(samples, elements)` of values, in steps of this port."""
        return values.at(self.frac).reshape(len(values.codes), self.elements)


def hex_lines(words: Sequence[Word], codes: Sequence[Integers]) -> str:
    """A line for each sample: the ports joined, the first in the lowest bits, as hexadecimal digits.

    >>> word = Word("x", "x", (2,), 3, 0, True)
    >>> hex_lines([word], [np.array([[1, -1], [-4, 0]])])
    '39\\n04\\n'
    """
    digits = -(-sum(word.width for word in words) // 4)
    lines = []
    for start in range(0, len(codes[0]), SAMPLES):
        parts = [_bits(own[start : start + SAMPLES], word.bits) for word, own in zip(words, codes, strict=True)]
        joined = np.concatenate(parts, axis=1)
        padded = np.pad(joined, ((0, 0), (0, -joined.shape[1] % 8)))
        packed = np.packbits(padded, axis=1, bitorder="little")[:, ::-1]
        lines += [row.tobytes().hex()[-digits:] for row in packed]
    return "".join(f"{line}\n" for line in lines)


def _bits(codes: Integers, bits: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The lowest bits of codes `(samples, elements)`, lowest first: `(samples, elements · bits)`."""
    found = (codes[:, :, None] >> np.arange(bits)) & 1
    return found.astype(np.uint8).reshape(len(codes), -1)
