"""Defines what a number format is: parameters, a pure `quantize`, its storage in bits, and the laws that it keeps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor

from chop.errors import FormatError, did_you_mean
from chop.formats.grid import Grid
from chop.formats.keyed import Keyed
from chop.formats.layout import Layout
from chop.registry import Registry, subclass_problem

FLOAT_BITS = 32
"""Bits of a value that no format was chosen for."""

Law = Literal["idempotent", "monotone", "odd", "nearest", "nearest_log"]
"""What may hold for every tensor: q(q(x)) = q(x); x <= y gives q(x) <= q(y); q(-x) = -q(x); q(x) is the value of the
format's set that is nearest, by difference or by ratio. Laws are about one block with one shared scale."""


Arithmetic = Literal["integer", "power_of_two", "float"]
"""What a multiplier handles of a value: a whole number, a sign with an exponent, or both."""


class OneByOne(NamedTuple):
    """Rounds values each by itself: `function(values, *parameters)`, where each value has parameters of its own.

    `parameters` (scales, the greatest magnitudes of blocks) have the shape of the tensor that they were taken from, or
    broadcast to it; so any part of it can be rounded, with the same part of them.
    """

    function: Callable[..., Tensor]
    parameters: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Format(Keyed, ABC):
    """A number format: the dataclass fields of a subclass are its parameters and so its keys in a TOML file.

    A subclass writes `_round` for one tensor, states `bits` and the `laws` that it keeps, and lists its `values`;
    gradients, data types and batching are done here.
    """

    arithmetic: ClassVar[Arithmetic] = "float"
    """What a multiplier handles of a value, for models of energy and of circuits; what elements share is apart."""

    @property
    def kind(self) -> str:
        """The kind of the format, without its width."""
        return type(self).__name__

    @property
    def laws(self) -> frozenset[Law]:
        """The laws that the format keeps; a law that it does not has a counter-example in the class's docstring."""
        return frozenset()

    @abstractmethod
    def _round(self, x: Tensor) -> Tensor:
        """The representable value for each element of `x` (`(*shape)`, float32 or float64), same shape, new memory."""

    @abstractmethod
    def bits(self, shape: Sequence[int]) -> int:
        """Bits that a tensor of `shape` takes in memory, anything that its elements share counted in."""

    def shared_bits(self, shape: Sequence[int]) -> int:
        """The part of `bits` that elements share: exponents and scales."""
        return 0

    def block_elements(self, shape: Sequence[int]) -> int:
        """The number of elements of a tensor of `shape` that share an exponent or a scale; 0 if one sum has one scale.

        Above 0, other elements in the same sum have another exponent or scale.
        """
        return 0

    def values(self, x: Tensor) -> Tensor | None:
        """All values that elements of `x`, one block, can take: sorted, float64; None where they are too many.

        Written down from the definition and not by rounding: tests compare the two.
        """
        return None

    def grid(self, x: Tensor) -> Grid | None:
        """The integer codes in which a circuit holds activations like `x` (`(samples, …)`, values play no part).

        None for a format whose values are no whole numbers times powers of two.
        """
        return None

    @property
    def batchable(self) -> bool:
        """Whether samples (the first dimension) are rounded independently, so that batches may be concatenated."""
        return True

    @property
    def is_elementwise(self) -> bool:
        """Whether each element is rounded independently and alike, in any layout."""
        return False

    @property
    def is_measured(self) -> bool:
        """Whether parameters must still be measured on a tensor, by `calibrated`."""
        return False

    @property
    def is_float(self) -> bool:
        """Whether values stay float32: a cost counts the operand as one that has no format."""
        return False

    @property
    def is_open(self) -> bool:
        """Whether parameters must still be measured by a run in which everything before has the formats of the plan."""
        return False

    def reopened(self) -> Format:
        """The same with what such a run has measured to be measured again."""
        return self

    @property
    def needs_layout(self) -> bool:
        """Whether the format depends on the dimensions of samples and channels."""
        return False

    def placed(self, layout: Layout) -> Self:
        """The format for an operand of this layout.

        Raises FormatError where the format needs to know what the layout cannot tell.
        """
        return self

    def calibrated(self, x: Tensor) -> Self:
        """The format with its range or scale measured on the finite values of `x`, and fixed."""
        return self

    def quantize(self, x: Tensor) -> Tensor:
        """Round `x` (`(*shape)`, any floating type); same shape and type, gradients straight through.

        A format whose parameters are still to be measured measures `x`.
        """
        chosen = self.calibrated(x.detach()) if self.is_measured else self
        if x.requires_grad and torch.is_grad_enabled():
            return _straight_through(x, chosen)
        return chosen._round_any(x)

    def one_by_one(self, x: Tensor) -> OneByOne:
        """The rounding of single values of a tensor like `x` (float32 or float64), what they share being that of `x`.

        For all of `x` it is `quantize(x)`. Raises FormatError for a format that does not define it.
        """
        chosen = self.calibrated(x.detach()) if self.is_measured else self
        if chosen.is_elementwise:
            return OneByOne(chosen._round_any)
        raise FormatError(
            f"'{self}' cannot round its values one by one; choose another format, or define `one_by_one` for it"
        )

    def round_into_(self, out: Tensor, x: Tensor) -> None:
        """Write `quantize(x)` (without gradients) to `out`, of the same shape and type."""
        out.copy_(self._round_any(x))

    def _round_any(self, x: Tensor) -> Tensor:
        if x.dtype in (torch.float32, torch.float64):
            return self._round(x)
        return self._round(x.float()).to(x.dtype)


FORMATS: Registry[type[Format]] = Registry(
    "chop.formats",
    "number format",
    tuple(
        f"chop.formats.{name}"
        for name in (
            "integer",
            "minifloat",
            "log",
            "block_fp",
            "block_minifloat",
            "block_log",
            "mxint",
            "mxfp",
            "binary",
            "ternary",
            "scale_integer",
        )
    ),
    subclass_problem(Format),
)


def format_name(cls: type[Format]) -> str:
    """The name under which a format is registered."""
    return FORMATS.name_of(cls)


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
        required = f"{name} must be {low}" if low == high else f"{low} <= {name} <= {high} must hold"
        raise FormatError(f"{required}, got {value}")


def require_bool(name: str, value: object) -> None:
    """Raise FormatError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise FormatError(f"{name} must be true or false, got {value!r}")


def require_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise FormatError unless `value` is one of `choices`."""
    if value not in choices:
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        raise FormatError(f"{name} must be one of {', '.join(choices)}, got {value!r}{hint}")


def require_share(name: str, value: object) -> None:
    """Raise FormatError unless `value` is a number above 0 and at most 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise FormatError(f"0 < {name} <= 1 must hold, got {value!r}")
