"""Defines what a weight transform is: keys, a pure function of the weights, and the storage that is left."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor

from chop.formats.base import Format, count
from chop.formats.keyed import Keyed
from chop.registry import Registry, subclass_problem
from chop.weight_transforms.layer_inputs import LayerInputs

Rounding = Callable[[Tensor], Tensor]
"""Rounds float weights to a format: same shape and type, gradients straight through."""


@dataclass(frozen=True)
class Storage:
    """The storage of a tensor of `shape`: `values` values, and `index_bits` bits that locate them."""

    shape: tuple[int, ...]
    values: int
    index_bits: int = 0

    @classmethod
    def dense(cls, shape: Sequence[int]) -> Storage:
        """All values of a tensor, which need no index."""
        return cls(tuple(shape), count(shape))

    def with_values(self, values: int, index_bits: int) -> Storage:
        """Fewer values of the same tensor, and more index."""
        return replace(self, values=min(values, self.values), index_bits=self.index_bits + index_bits)


@dataclass(frozen=True)
class Unrounded:
    """A layer's weights when all of a chain is measured but its method of rounding.

    `weights` `(*shape)` are those of the float layer, `start` what the transforms leave of them; `dropped` says which
    of these are zero whatever the format. `then` is the format (None: float), with everything measured.
    """

    weights: Tensor
    start: Tensor
    dropped: Tensor
    then: Format | None
    inputs: LayerInputs

    def rounded(self, values: Tensor) -> Tensor:
        """Values `(*shape)` in the format, where they are not dropped."""
        found = values if self.then is None else self.then.quantize(values)
        return torch.where(self.dropped, torch.zeros_like(found), found)


@dataclass(frozen=True)
class WeightTransform(Keyed, ABC):
    """Changes a layer's weights before they are rounded, in the same way for every number format.

    Its dataclass fields are its keys in a TOML file, after `weight_`. A key is the registered name, or begins with that
    name and an underscore (`sparsity`, `sparsity_pattern`). `context_fields` may name what the operation decides:
    `channel_axis` (the dimension of output channels; None where each weight is a channel, as in a norm), `inputs_axis`
    (the dimension that a product sums over; None where there is none), `channel_groups` (of a transposed
    convolution) and `sums` (whether a result is a sum of products with weights; false for norms and embeddings). It
    may also name what is measured, which no user sets.

    A subclass writes `apply` for the weights of one layer and one configuration; caching and batching are done
    elsewhere. Equal transforms must change all weights alike, since one may be used in place of the other.
    """

    @abstractmethod
    def apply(self, weights: Tensor) -> Tensor:
        """The float weights `(*shape)` that are rounded, same shape and type; gradients pass. `weights` stay as are."""

    def round(self, weights: Tensor, rounding: Rounding) -> Tensor:
        """Round what `apply` returned; a method of rounding calls `rounding` as it sees fit, the others once."""
        return rounding(weights)

    @property
    def is_identity(self) -> bool:
        """Whether nothing is changed, so that the transform is as good as absent."""
        return False

    @property
    def drops(self) -> bool:
        """Whether zeros that `apply` returns are dropped: not stored, in no range, and zero in every format."""
        return False

    @property
    def needs_format(self) -> bool:
        """Whether the transform changes nothing where weights stay in float: a method of rounding."""
        return False

    @property
    def is_measured(self) -> bool:
        """Whether parameters are still to be measured, by `calibrated` or `fitted`."""
        return False

    @property
    def needs_inputs(self) -> bool:
        """Whether `calibrated`, or `fitted`, needs the activations that the layer reads, besides its weights."""
        return False

    def calibrated(self, weights: Tensor, inputs: LayerInputs) -> Self:
        """The transform with what it measures frozen.

        `inputs` are the layer's activations in the float model on the calibration samples, by operand
        (`data_in` `(samples, …)`), empty where `needs_inputs` is false; `inputs.summands` are their second moments.
        """
        return self

    def fitted(self, unrounded: Unrounded) -> Self:
        """A method of rounding, with what `round` needs frozen.

        Called last, when the format and its range are known, if `calibrated` left some of it open.
        """
        return self

    def storage(self, stored: Storage) -> Storage:
        """The part of a tensor that is left to be stored, if `stored` was left so far."""
        return stored

    @classmethod
    def meant(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a combination of values out of several lists means, where `from_keys` alone would refuse it."""
        return values

    @classmethod
    def idle(cls, values: Mapping[str, Any]) -> Mapping[str, str]:
        """The keys of `values` that have no effect beside the others, each with the reason."""
        return {}


WEIGHT_TRANSFORMS: Registry[type[WeightTransform]] = Registry(
    "chop.weight_transforms",
    "weight transform",
    ("chop.weight_transforms.rounding", "chop.weight_transforms.sparsity"),
    subclass_problem(WeightTransform),
)


def transform_name(cls: type[WeightTransform]) -> str:
    """The name under which a transform is registered."""
    return WEIGHT_TRANSFORMS.name_of(cls)


def transform_of_key(key: str) -> str | None:
    """The name of the transform that a key (without `weight_`) belongs to; no package is loaded to tell.

    >>> transform_of_key("sparsity_pattern"), transform_of_key("width")
    ('sparsity', None)
    """
    name = key
    while name not in WEIGHT_TRANSFORMS:
        if "_" not in name:
            return None
        name = name.rpartition("_")[0]
    return WEIGHT_TRANSFORMS.canonical(name)


def all_transform_keys() -> list[str]:
    """The keys of all transforms, without `weight_`; those of packages that cannot be loaded are left out."""
    return list(chain.from_iterable(cls.keys() for cls in WEIGHT_TRANSFORMS.working().values()))
