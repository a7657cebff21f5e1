"""What every number format is: parameters, a pure `quantize`, and its storage in bits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from chop.errors import FormatError, did_you_mean
from chop.registry import Registry

FLOAT_BITS = 32
"""Bits of a value that no format was chosen for."""


@dataclass(frozen=True)
class Format(ABC):
    """A number format: the dataclass fields of a subclass are its parameters and so its keys in a TOML file.

    A subclass writes `_round` for one tensor and states `bits`; gradients, data types and batching are done here.
    """

    context_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that the operation decides and no user sets (the sign of a ReLU's input, say)."""

    batchable: ClassVar[bool] = True
    """Whether each value is rounded on its own, so that tensors may be laid side by side in one call."""

    @abstractmethod
    def _round(self, x: Tensor) -> Tensor:
        """The representable value for each element of `x` (`(*shape)`, float32 or float64), same shape."""

    @abstractmethod
    def bits(self, shape: Sequence[int]) -> int:
        """Bits that a tensor of `shape` takes in memory, anything that its elements share counted in."""

    def quantize(self, x: Tensor) -> Tensor:
        """Round `x` (`(*shape)`, any floating type); same shape and type, gradients straight through."""
        if x.requires_grad and torch.is_grad_enabled():
            return _straight_through(x, self)
        return self._round_any(x)

    def _round_any(self, x: Tensor) -> Tensor:
        if x.dtype in (torch.float32, torch.float64):
            return self._round(x)
        return self._round(x.float()).to(x.dtype)

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """The parameters that a user sets, in the order of the definition."""
        return tuple(field.name for field in fields(cls) if field.name not in cls.context_fields)

    @classmethod
    def from_keys(cls, values: Mapping[str, Any], **context: Any) -> Self:
        """Build the format from TOML values (`"NA"` and None: use the default) and what the operation decides.

        Raises FormatError for an unknown key, a missing one or an impossible value.
        """
        known = cls.keys()
        for key in values:
            if key not in known:
                raise FormatError(f"unknown key '{key}'{did_you_mean(key, known)} (known: {', '.join(known)})")
        given = {key: value for key, value in values.items() if value not in (None, "NA")}
        context = {key: value for key, value in context.items() if key in cls.context_fields}
        try:
            return cls(**given, **context)
        except TypeError as error:
            missing = [key for key in cls._required_keys() if key not in given]
            raise FormatError(f"missing key {', '.join(missing)}") from error

    @classmethod
    def _required_keys(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.default is MISSING]


FORMATS: Registry[type[Format]] = Registry("chop.formats", "number format", ("chop.formats.integer",))


def format_name(cls: type[Format]) -> str:
    """The name under which a format is registered."""
    return next(name for name in FORMATS if FORMATS[name] is cls)


class _StraightThrough(torch.autograd.Function):
    """Rounds going forward; going back, the gradient passes unchanged (Bengio et al., arXiv:1308.3432)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, number_format: Format) -> Tensor:
        return number_format._round_any(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to keep: the gradient depends on neither input nor output."""

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None


def _straight_through(x: Tensor, number_format: Format) -> Tensor:
    result: Tensor = _StraightThrough.apply(x, number_format)  # type: ignore[no-untyped-call]
    return result


def count(shape: Sequence[int]) -> int:
    """Elements of a tensor of `shape`; 1 for a scalar.

    >>> count((4, 3))
    12
    """
    return math.prod(shape)


def require_int(name: str, value: object, low: int, high: int) -> None:
    """Raise FormatError unless `value` is an integer with `low <= value <= high`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise FormatError(f"{name} must be an integer, got {value!r}")
    if not low <= value <= high:
        raise FormatError(f"{low} <= {name} <= {high} must hold, got {value}")
