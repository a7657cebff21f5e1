"""Chains: weight transforms followed by a number format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import torch
from torch import Tensor

from chop.errors import FormatError
from chop.formats import FLOAT_BITS, Format
from chop.formats.base import count
from chop.formats.layout import Layout
from chop.weight_transforms.base import Rounding, Storage, Unrounded, WeightTransform
from chop.weight_transforms.layer_inputs import LayerInputs


@dataclass(frozen=True)
class Chain(Format):
    """The format of weights that are transformed and then rounded to `then` (None: not rounded).

    A plan holds it in place of a plain format, and whatever handles formats handles it: the transforms, in their order,
    come first; ranges of `then` are measured on what they leave; weights that they drop are exactly zero afterwards,
    also in a format that has no zero.
    """

    transforms: tuple[WeightTransform, ...] = ()
    then: Format | None = None

    def __post_init__(self) -> None:
        if isinstance(self.then, Chain):
            raise FormatError("a chain ends in a number format, not in another chain")

    def __str__(self) -> str:
        methods = [own for own in self.transforms if own.needs_format]
        first = [str(own) for own in self.transforms if not own.needs_format]
        return " by ".join([" then ".join([*first, str(self.then or "float")]), *map(str, methods)])

    @property
    def kind(self) -> str:
        return ", ".join([*map(str, self.transforms), self.then.kind if self.then else "float"])

    @property
    def batchable(self) -> bool:
        return False

    @property
    def needs_layout(self) -> bool:
        return self.then is not None and self.then.needs_layout

    def placed(self, layout: Layout) -> Self:
        return replace(self, then=self.then.placed(layout)) if self.then else self

    @property
    def is_measured(self) -> bool:
        return any(own.is_measured for own in self.transforms) or (self.then is not None and self.then.is_measured)

    @property
    def needs_inputs(self) -> bool:
        """Whether a transform is still to be measured on the activations that the layer reads."""
        return any(own.is_measured and own.needs_inputs for own in self.transforms)

    def calibrated(self, x: Tensor, inputs: LayerInputs | None = None) -> Self:
        """The chain with everything measured: each part on what the parts before it leave of the weights `x`.

        Raises FormatError where a transform needs `inputs`, and there are none.
        """
        if self.needs_inputs and not inputs:
            raise FormatError(f"'{self}' is measured on what the layer reads; calibrate the graph first")
        weights, seen, measured = x, inputs or LayerInputs({}), []
        for own in self.transforms:
            measured.append(own.calibrated(x, seen) if own.is_measured else own)
            x = measured[-1].apply(x)
        then, dropped = self.then, (x == 0) & self._drops
        if then is not None and then.is_measured:
            then = then.calibrated(x.masked_fill(dropped, -torch.inf))
        unrounded = Unrounded(weights, x, dropped, then, seen)
        fitted = tuple(own.fitted(unrounded) if own.is_measured else own for own in measured)
        return replace(self, transforms=fitted, then=then)

    def quantize(self, x: Tensor) -> Tensor:
        """Transform and round the weights `x` (`(*shape)`, any floating type); no gradient for those dropped."""
        chosen = self.calibrated(x.detach()) if self.is_measured else self
        for own in chosen.transforms:
            x = own.apply(x)
        rounding: Rounding = chosen.then.quantize if chosen.then is not None else torch.clone
        for own in reversed(chosen.transforms):
            rounding = partial(own.round, rounding=rounding)
        rounded = rounding(x)
        return torch.where(x == 0, torch.zeros_like(rounded), rounded) if self._drops else rounded

    @property
    def _drops(self) -> bool:
        return any(own.drops for own in self.transforms)

    def _round(self, x: Tensor) -> Tensor:
        return self.quantize(x)

    def storage(self, shape: Sequence[int]) -> Storage:
        """The part of a tensor of `shape` that is stored."""
        stored = Storage.dense(shape)
        for own in self.transforms:
            stored = own.storage(stored)
        return stored

    def bits(self, shape: Sequence[int]) -> int:
        """Bits of the values that are stored, of what they share (exponents, scales), and of the index."""
        stored = self.storage(shape)
        if not (total := count(stored.shape)):
            return stored.index_bits
        shared = self.then.shared_bits(stored.shape) if self.then else 0
        values = self.then.bits(stored.shape) - shared if self.then else FLOAT_BITS * total
        return -(-values * stored.values // total) + shared + stored.index_bits


def chained(transforms: Sequence[WeightTransform], then: Format | None) -> Format | None:
    """A chain; the plain format if no transform changes anything, None if there is no format either.

    Methods of rounding are left out where nothing is rounded.

    >>> from chop.formats import Integer
    >>> from chop.weight_transforms import Sparsity
    >>> str(chained([Sparsity(0.5)], Integer(8))), str(chained([Sparsity(0.0)], Integer(8)))
    ('50% sparse then integer 8b/4f', 'integer 8b/4f')
    """
    acting = tuple(own for own in transforms if not own.is_identity and not (own.needs_format and then is None))
    return Chain(acting, then) if acting else then


def format_of(chosen: Format | None) -> Format | None:
    """The format that rounds, without any transforms; None for float."""
    return chosen.then if isinstance(chosen, Chain) else chosen


def transforms_of(chosen: Format | None) -> tuple[WeightTransform, ...]:
    """The transforms that come before the rounding."""
    return chosen.transforms if isinstance(chosen, Chain) else ()


def kept_share(chosen: Format | None, shape: Sequence[int]) -> float:
    """The share of a tensor's values that a choice stores; 1 for all, and for an empty tensor."""
    return chosen.storage(shape).values / count(shape) if isinstance(chosen, Chain) and count(shape) else 1.0
