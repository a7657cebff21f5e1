"""How weights are rounded: each to its nearest value, or together, from what the layer reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from chop.errors import FormatError
from chop.formats import MeasuredTensor, OneByOne
from chop.formats.base import require_choice
from chop.tools.threads import one_thread
from chop.weight_transforms.base import WEIGHT_TRANSFORMS, Rounding, Unrounded, WeightTransform
from chop.weight_transforms.layer_inputs import Summands
from chop.weight_transforms.second_order import compensated

NEAREST, GPTQ = "nearest", "gptq"
BY_ACTIVATION, AS_STORED = "activation", "stored"
USUAL_DAMPING = 0.01
MOST_DAMPING = 1e6
MOST_ROUNDINGS = 8
"""How often values are rounded again until a format leaves them as they are; none that ships needs more than two."""


@WEIGHT_TRANSFORMS.register("rounding")
@dataclass(frozen=True)
class WeightRounding(WeightTransform):
    """The method of rounding: `nearest` rounds each weight by itself, `gptq` (second-order) a layer's weights together.

    `gptq` makes the squared error of the layer's results on the calibration samples small: it rounds one input after
    the other, and later weights make up for the error (Frantar et al., arXiv:2210.17323). `rounding_order`:
    `activation` takes inputs with the greatest second moments first, `stored` takes them as they are stored.
    `rounding_damping` times the mean second moment is added to all of them: the more, the nearer to `nearest`.

    An output whose error would be greater than that of `nearest` is rounded to nearest. Ranges and what blocks share
    are measured before, and stay. The result is kept as an `offset` `(*shape)`, float64, that is added to the weights
    before they are rounded: in fine-tuning, weights move on from there. Layers that sum over no inputs (`sums` is
    false: norms, embeddings) are rounded to nearest.
    """

    context_fields: ClassVar[frozenset[str]] = frozenset({"sums", "offset"})

    rounding: str = NEAREST
    rounding_damping: float = USUAL_DAMPING
    rounding_order: str = BY_ACTIVATION
    sums: bool = True
    offset: MeasuredTensor | None = None

    def __post_init__(self) -> None:
        require_choice("rounding", self.rounding, (NEAREST, GPTQ))
        require_choice("rounding_order", self.rounding_order, (BY_ACTIVATION, AS_STORED))
        damping = self.rounding_damping
        if isinstance(damping, bool) or not isinstance(damping, (int, float)) or not 0 <= damping <= MOST_DAMPING:
            raise FormatError(f"0 <= rounding_damping <= {MOST_DAMPING:g} must hold, got {damping!r}")
        if self.is_identity:
            for name, value in (("rounding_damping", USUAL_DAMPING), ("rounding_order", BY_ACTIVATION)):
                object.__setattr__(self, name, value)

    @classmethod
    def idle(cls, values: Mapping[str, Any]) -> Mapping[str, str]:
        """The options of `gptq` beside another method, or beside none.

        >>> WeightRounding.idle({"rounding": "nearest", "rounding_damping": 0.1})
        {'rounding_damping': 'has no effect without rounding = "gptq"'}
        """
        if values.get("rounding") not in (NEAREST, None, "NA"):
            return {}
        options = ("rounding_damping", "rounding_order")
        return {
            key: f'has no effect without rounding = "{GPTQ}"' for key in options if values.get(key) not in (None, "NA")
        }

    def __str__(self) -> str:
        notes = [f"damping {self.rounding_damping:g}"] if self.rounding_damping != USUAL_DAMPING else []
        notes += ["in stored order"] if self.rounding_order != BY_ACTIVATION else []
        return f"{self.rounding} ({', '.join(notes)})" if notes else self.rounding

    @property
    def is_identity(self) -> bool:
        return self.rounding == NEAREST or not self.sums

    @property
    def needs_format(self) -> bool:
        return True

    @property
    def needs_inputs(self) -> bool:
        return not self.is_identity

    @property
    def is_measured(self) -> bool:
        return self.offset is None and not self.is_identity

    def apply(self, weights: Tensor) -> Tensor:
        return weights

    def round(self, weights: Tensor, rounding: Rounding) -> Tensor:
        if self.offset is None:
            return rounding(weights)
        offset = self.offset.on(weights)
        if offset.shape != weights.shape:
            raise FormatError(
                f"gptq has rounded weights of shape {tuple(offset.shape)}, not {tuple(weights.shape)}; calibrate anew"
            )
        return rounding((weights.double() + offset).to(weights.dtype))

    @torch.no_grad()
    def fitted(self, unrounded: Unrounded) -> Self:
        if self.is_identity or unrounded.then is None:
            return replace(self, offset=MeasuredTensor(torch.zeros_like(unrounded.start, dtype=torch.float64)))
        with one_thread():  # sums of floats depend on the number of threads
            found = self._fitted(unrounded, unrounded.inputs.summands)
        return replace(self, offset=MeasuredTensor(found.double() - unrounded.start.double()))

    def _fitted(self, unrounded: Unrounded, summands: Summands) -> Tensor:
        """Values `(*shape)` that the format rounds to what second-order rounding found."""
        start = unrounded.start if unrounded.start.dtype == torch.float64 else unrounded.start.float()
        split, then = summands.matrices.split, unrounded.then
        assert then is not None
        function, parameters = then.one_by_one(start)
        spread = tuple(split(own.expand(start.shape)) for own in parameters)
        wanted = torch.where(unrounded.dropped, unrounded.weights, unrounded.start)
        found = compensated(
            split(wanted.to(start.dtype)),
            split(unrounded.dropped),
            summands.gram,
            OneByOne(function, spread),
            self.rounding_damping,
            self.rounding_order == BY_ACTIVATION,
        )
        values, rounded = (summands.matrices.joined(own, start.shape) for own in (found.values, found.rounded))
        values = values.masked_fill(unrounded.dropped, 0.0)
        if not torch.equal(unrounded.rounded(values), rounded):
            values = _settled(unrounded, rounded)
        return _better(unrounded, summands, values, wanted)


def _settled(unrounded: Unrounded, values: Tensor) -> Tensor:
    """Values near those given that the format leaves as they are: its blocks may share something else by now."""
    for _ in range(MOST_ROUNDINGS):
        rounded = unrounded.rounded(values)
        if torch.equal(rounded, values):
            return values
        values = rounded
    raise FormatError(f"'{unrounded.then}' does not keep the values that gptq has rounded to; choose nearest for it")


def _better(unrounded: Unrounded, summands: Summands, values: Tensor, wanted: Tensor) -> Tensor:
    """The values, but what is rounded to nearest for outputs that are nearer to `wanted` then, if that is so."""
    start = unrounded.start.to(values.dtype)

    def errors(own: Tensor) -> Tensor:
        return summands.errors(unrounded.rounded(own).double() - wanted.double())

    nearest, second_order = errors(start), errors(values)
    is_worse = (second_order > nearest).unsqueeze(-1)
    if not is_worse.any():
        return values
    split, joined = summands.matrices.split, summands.matrices.joined
    mixed = joined(torch.where(is_worse, split(start), split(values)), start.shape)
    candidates = {float(nearest.sum()): start, float(second_order.sum()): values, float(errors(mixed).sum()): mixed}
    return candidates[min(candidates)]
