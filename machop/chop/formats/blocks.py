"""Blocks: parts of a tensor whose elements share an exponent or a scale."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from chop.errors import FormatError
from chop.formats.base import Format, OneByOne, require_bool
from chop.formats.layout import Layout
from chop.formats.rounding import HIGHEST_EXPONENT, LOWEST_EXPONENT


@dataclass(frozen=True, kw_only=True)
class BlockFormat(Format):
    """Elements in blocks of `block_size`, each with something shared.

    `block_size` is right-aligned to the tensor's shape; a missing leading dimension, -1 or a size above the dimension
    means the whole dimension. Ragged ends are padded with zeros, which count for storage. The dimensions of activations
    that grow with the batch are never part of a block, so that a sample's result does not depend on its neighbours:
    `samples` (counted from the end), or dimension 0. Weights are treated like that with `skip_first_dim`.

    Infinities have no part in what a block shares, and stay as they are.
    """

    context_fields: ClassVar[frozenset[str]] = frozenset({"is_activation", "samples"})

    block_size: tuple[int, ...]
    skip_first_dim: bool = False
    is_activation: bool = False
    samples: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        size: Any = self.block_size
        if isinstance(size, list):
            size = tuple(size)
            object.__setattr__(self, "block_size", size)
        if not isinstance(size, tuple) or not size or not all(_is_size(item) for item in size):
            raise FormatError(
                "block_size must be a list of whole numbers such as [1, 16] (as a choice: [[1, 16]]), "
                f"got {_shown(size)}"
            )
        require_bool("skip_first_dim", self.skip_first_dim)

    @property
    def batchable(self) -> bool:
        return self.skip_first_dim or (self.is_activation and self.samples is None)

    @property
    def needs_layout(self) -> bool:
        return self.is_activation

    def placed(self, layout: Layout) -> Self:
        """The format with the dimensions of the samples outside its blocks."""
        if not self.is_activation:
            return self
        if layout.samples is None:
            raise FormatError(
                f"'{self}': the dimension of the samples is unknown, and a block must not span two samples; "
                " choose a format without blocks, or write the model so that it takes batches of any size"
            )
        return replace(self, samples=None if layout.has_samples_first else layout.samples)

    def _kept_apart(self, ndim: int) -> list[int]:
        """The dimensions of a tensor that no block reaches along."""
        known = [ndim + dim for dim in self.samples or () if ndim + dim >= 0] if self.is_activation else []
        is_first_apart = self.skip_first_dim or (self.is_activation and not known)
        return known + [0] * (is_first_apart and ndim > 1)

    def bits(self, shape: Sequence[int]) -> int:
        return self._blocks(shape) * (prod(self.sizes(shape)) * self._element_bits + self._shared_bits)

    def shared_bits(self, shape: Sequence[int]) -> int:
        return self._blocks(shape) * self._shared_bits

    def block_elements(self, shape: Sequence[int]) -> int:
        return prod(self.sizes(shape))

    def _blocks(self, shape: Sequence[int]) -> int:
        """How many blocks a tensor has, those that its ends do not fill counted in."""
        parts = zip(shape or (1,), self.sizes(shape), strict=True)
        return prod(ceil(length / size) for length, size in parts) if prod(shape) else 0

    @property
    @abstractmethod
    def _element_bits(self) -> int:
        """Bits of one element."""

    @property
    @abstractmethod
    def _shared_bits(self) -> int:
        """Bits that each block has in common."""

    @abstractmethod
    def _round_blocks(self, blocks: Tensor, largest: Tensor) -> Tensor:
        """Round `blocks` (new memory); `largest` is each block's greatest magnitude, of a shape that broadcasts."""

    def sizes(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The block's length along each dimension of `shape`.

        >>> from chop.formats import MXInt
        >>> MXInt(block_size=(-1, 16), element_bits=8).sizes((4, 6, 40))
        (4, 6, 16)
        """
        shape = tuple(shape) or (1,)
        given = self.block_size[-len(shape) :]
        padded = (-1,) * (len(shape) - len(given)) + given
        sizes = [length if size == -1 else min(size, length) for size, length in zip(padded, shape, strict=True)]
        for dim in self._kept_apart(len(shape)):
            sizes[dim] = 1
        return tuple(max(size, 1) for size in sizes)

    def one_by_one(self, x: Tensor) -> OneByOne:
        if x.numel() == 0:
            return OneByOne(torch.clone)
        blocks, inner = self._in_blocks(x)
        largest = largest_magnitude(blocks, inner).expand(blocks.shape)
        shape = tuple(x.shape) or (1,)
        own = largest.reshape(self._padded_shape(shape))[tuple(slice(length) for length in shape)].reshape(x.shape)
        return OneByOne(self._round_blocks, (own,))

    def _padded_shape(self, shape: tuple[int, ...]) -> list[int]:
        return [length + -length % size for length, size in zip(shape, self.sizes(shape), strict=True)]

    def _in_blocks(self, x: Tensor) -> tuple[Tensor, list[int]]:
        """`x` with two dimensions for each of its own (which block, and where in it), and those within a block."""
        shape = tuple(x.shape) or (1,)
        sizes = self.sizes(shape)
        padded = _padded(x.reshape(shape), sizes)
        blocks = padded.reshape([part for n, b in zip(padded.shape, sizes, strict=True) for part in (n // b, b)])
        return blocks, [2 * axis + 1 for axis, size in enumerate(sizes) if size > 1]

    def _round(self, x: Tensor) -> Tensor:
        if x.numel() == 0:
            return x.clone()
        shape = tuple(x.shape) or (1,)
        blocks, inner = self._in_blocks(x)
        largest = largest_magnitude(blocks, inner)
        if largest.isinf().any():
            rounded = self._round_beside_infinities(blocks, inner)
        else:
            rounded = self._round_blocks(blocks, largest)
        return rounded.reshape(self._padded_shape(shape))[tuple(slice(length) for length in shape)].reshape(x.shape)

    def _round_beside_infinities(self, blocks: Tensor, inner: list[int]) -> Tensor:
        is_infinite = blocks.isinf()
        finite = blocks.masked_fill(is_infinite, 0.0)
        return torch.where(is_infinite, blocks, self._round_blocks(finite, largest_magnitude(finite, inner)))


def largest_magnitude(blocks: Tensor, dims: list[int]) -> Tensor:
    """The greatest |x| over `dims`, which are kept with length 1."""
    if not dims:
        return blocks.abs()
    return torch.maximum(blocks.amax(dims, keepdim=True), -blocks.amin(dims, keepdim=True))


def clamped_exponent(exponent: Tensor, low: int, high: int) -> Tensor:
    """Shared exponents within what is stored, and within what float32 can simulate."""
    return exponent.clamp(max(low, LOWEST_EXPONENT), min(high, HIGHEST_EXPONENT))


def block_size_text(size: tuple[int, ...]) -> str:
    """`1x16`, with * for a whole dimension."""
    return "x".join("*" if length == -1 else str(length) for length in size)


def _padded(x: Tensor, sizes: Sequence[int]) -> Tensor:
    missing = [-length % size for length, size in zip(x.shape, sizes, strict=True)]
    if not any(missing):
        return x
    return F.pad(x, [amount for length in reversed(missing) for amount in (0, length)])


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and (value >= 1 or value == -1)


def _shown(size: Any) -> str:
    return str(list(size)) if isinstance(size, tuple) else repr(size)
