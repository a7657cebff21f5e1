"""The operations of stages, for one configuration or batched over many.

Every operation has `one` (a choice on some configurations); some know a quicker way for `every` choice on all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from chop.evaluation.kept import Kept
from chop.evaluation.values import Each, Planes, Rows, Same, Value, as_planes, as_rows, count_of, each, join
from chop.formats import Format
from chop.nn.masks import MaskRule, rounded
from chop.nn.own_tensors import with_tensors

if TYPE_CHECKING:
    from chop.evaluation.norm_call import NormCall

CLOSE = 1e-5
"""Largest difference, relative to the greatest value, that another order of a float sum may make."""
WEIGHT_BYTES = 2**24
"""What an operation keeps of its weights in formats and stacks of them, each."""

PROBED = 2
"""Configurations on which folding is tried once, against one call for each."""

LARGEST_FOLDED = 2**15
"""Values of one configuration's result, beyond which a call of its own costs little more than its share of a joint one.

Counted and not timed: joining may move the last bit of a float sum, so every process, and every run, must decide alike.
"""


@dataclass(frozen=True)
class Slot:
    """Stands for input number `index` of a stage in the arguments of a call."""

    index: int


class Operation(ABC):
    """A function of input values and a choice."""

    is_fresh = False
    """Whether the result is always memory of its own, so that what reads it last may write on it."""

    def on_last_reading(self, choice: Any, inputs: Sequence[Value]) -> Value:
        """`one`, for inputs that nothing else reads."""
        return self.one(choice, inputs)

    @abstractmethod
    def one(self, choice: Any, inputs: Sequence[Value]) -> Value:
        """The result of `choice` for all configurations of the inputs, which stand in the same order in each."""

    def every(self, choices: Sequence[Any], inputs: Sequence[Value]) -> Value:
        """The results of each choice for all configurations, the first choice's first."""
        return join([self.one(choice, inputs) for choice in choices])


class AllAtOnce(Operation):
    """An operation that computes all choices in one step."""

    is_fresh = True

    def one(self, choice: Any, inputs: Sequence[Value]) -> Value:
        return self.every((choice,), inputs)

    @abstractmethod
    def every(self, choices: Sequence[Any], inputs: Sequence[Value]) -> Value: ...


@dataclass
class Quantise(Operation):
    """Rounds to a format (None: no rounding); masked places keep their values."""

    masks: MaskRule | None = None

    def one(self, choice: Format | None, inputs: Sequence[Value]) -> Value:
        (value,) = inputs
        if choice is None:
            return value
        is_anywhere = choice.is_elementwise and (self.masks is None or self.masks.dim is None)
        if isinstance(value, Planes) and is_anywhere:
            return Planes(rounded(value.tensor, choice, self.masks))
        rows = value.tensor if isinstance(value, Rows) else as_rows(value) if isinstance(value, Planes) else None
        if self.masks is None and rows is not None and rows.is_floating_point() and rows.ndim > 1:
            if choice.is_elementwise:
                return Rows(choice.quantize(rows))
            if choice.batchable:
                return Rows(choice.quantize(rows.flatten(0, 1)).view_as(rows))
        return Each([rounded(v, choice, self.masks) if _is_floating(v) else v for v in each(value)])

    def every(self, choices: Sequence[Format | None], inputs: Sequence[Value]) -> Value:
        (value,) = inputs
        is_quick = self.masks is None and all(choice and choice.is_elementwise for choice in choices)
        if not isinstance(value, Planes) or not is_quick:
            return super().every(choices, inputs)
        features, configurations, rows = value.tensor.shape
        out = value.tensor.new_empty(features, len(choices), configurations, rows)
        for place, choice in enumerate(choices):
            assert choice is not None
            choice.round_into_(out[:, place], value.tensor)
        return Planes(out.flatten(1, 2))


@dataclass
class Linear(AllAtOnce):
    """`x Wᵀ` for vectors; a choice is the format of `weight` `(outputs, inputs)`.

    The weights of all choices make one matrix, so that all are one product.
    """

    weight: Tensor
    _quantised: Kept[Tensor] = field(default_factory=lambda: Kept(WEIGHT_BYTES))
    _stacks: Kept[Tensor] = field(default_factory=lambda: Kept(WEIGHT_BYTES))

    def every(self, choices: Sequence[Format | None], inputs: Sequence[Value]) -> Value:
        x = as_planes(inputs[0])
        features, configurations, rows = x.shape
        weights = self._stacked(tuple(choices))
        found = weights @ x.reshape(features, -1)
        return Planes(found.view(-1, len(choices) * configurations, rows))

    def _stacked(self, choices: tuple[Format | None, ...]) -> Tensor:
        """`(outputs · choices, inputs)`: of an output all choices stand together."""
        if (known := self._stacks.get(choices)) is None:
            variants = [_in_format(self.weight, choice, self._quantised) for choice in choices]
            made = torch.stack(variants, 1).flatten(0, 1).contiguous()
            known = self._stacks.put(choices, made, made.nbytes)
        return known


@dataclass
class AddBias(AllAtOnce):
    """Adds a bias `(outputs)` to vectors; a choice is its format."""

    bias: Tensor
    _quantised: Kept[Tensor] = field(default_factory=lambda: Kept(WEIGHT_BYTES))
    _stacks: Kept[Tensor] = field(default_factory=lambda: Kept(WEIGHT_BYTES))

    def every(self, choices: Sequence[Format | None], inputs: Sequence[Value]) -> Value:
        x = as_planes(inputs[0])
        found = x.unsqueeze(1) + self._spread(tuple(choices))
        return Planes(found.flatten(1, 2))

    def on_last_reading(self, choice: Format | None, inputs: Sequence[Value]) -> Value:
        if isinstance(inputs[0], Planes):
            return Planes(inputs[0].tensor.add_(self._spread((choice,)).squeeze(1)))
        return self.one(choice, inputs)

    def _spread(self, choices: tuple[Format | None, ...]) -> Tensor:
        if (known := self._stacks.get(choices)) is None:
            variants = [_in_format(self.bias, choice, self._quantised) for choice in choices]
            made = torch.stack(variants, 1)[:, :, None, None]
            known = self._stacks.put(choices, made, made.nbytes)
        return known


@dataclass
class BatchNorm(Operation):
    """Batch norm of vectors by the statistics of the float network; a choice is the formats of weight and bias."""

    norm: NormCall
    is_fresh = True
    _weights: Kept[Tensor] = field(default_factory=lambda: Kept(WEIGHT_BYTES))
    _biases: Kept[Tensor] = field(default_factory=lambda: Kept(WEIGHT_BYTES))

    def one(self, choice: tuple[Format | None, Format | None], inputs: Sequence[Value]) -> Value:
        return self._normalised(choice, inputs[0], may_overwrite=False)

    def on_last_reading(self, choice: tuple[Format | None, Format | None], inputs: Sequence[Value]) -> Value:
        return self._normalised(choice, inputs[0], may_overwrite=True)

    def _normalised(self, choice: tuple[Format | None, Format | None], value: Value, may_overwrite: bool) -> Value:
        x = as_planes(value)
        norm = self.norm
        weight = None if norm.weight is None else _in_format(norm.weight, choice[0], self._weights)
        bias = None if norm.bias is None else _in_format(norm.bias, choice[1], self._biases)
        flat = x.reshape(1, x.shape[0], -1)
        return Planes(batch_norm(flat, norm.mean, norm.variance, weight, bias, norm.eps, may_overwrite).view_as(x))


@dataclass
class Elementwise(Operation):
    """A function of vectors that treats each element alike, called on the planes as it stands."""

    function: Any
    args: Any
    kwargs: Mapping[str, Any]
    is_relu: bool = False

    def one(self, choice: Hashable, inputs: Sequence[Value]) -> Value:
        tensors = [as_planes(value) for value in inputs]
        args, kwargs = fill((self.args, self.kwargs), tensors)
        return Planes(self.function(*args, **kwargs))

    def on_last_reading(self, choice: Hashable, inputs: Sequence[Value]) -> Value:
        if self.is_relu and isinstance(inputs[0], Planes):
            return Planes(inputs[0].tensor.relu_())
        return self.one(choice, inputs)


@dataclass
class Call(Operation):
    """Calls any module or function, with all configurations along the batch if that is correct and faster.

    A choice is `{operand: format}`, as a tuple, for tensors that belong to the model: `owned` says how a function takes
    them (the place of each among `owned`), a module has them under their names. `has_rows` says of each input, and last
    of the result, whether it has a row for every row of the batch.

    Folding is tried once, on values made unlike each other, against one call for each.
    """

    function: Any
    args: Any
    kwargs: Mapping[str, Any]
    owned: Mapping[str, tuple[Slot, Tensor]] = field(default_factory=dict)
    has_rows: tuple[bool, ...] = (False,)
    _kept: Kept[tuple[Any, list[Tensor]]] = field(default_factory=lambda: Kept(WEIGHT_BYTES))
    _folds: bool | None = None

    def one(self, choice: Any, inputs: Sequence[Value]) -> Value:
        varying = [value for value in inputs if not isinstance(value, Same)]
        if not varying or (count := count_of(varying[0])) == 1:
            return Each([self._single(choice, [each(value)[0] for value in inputs])])
        if self._folds is None:
            self._folds = self._may_fold(choice, inputs)
        folded = self._folded_or_none(choice, inputs) if self._folds else None
        return Each(self._singles(choice, inputs, count)) if folded is None else Rows(folded)

    def _may_fold(self, choice: Any, inputs: Sequence[Value]) -> bool:
        """Whether configurations laid along the batch give what they give singly, in calls that are worth joining.

        Their values may be equal by chance, so it is tried on others: then a call that mixes rows does not agree.
        """
        probes = [
            value
            if isinstance(value, Same)
            else Each([_unlike(v, place) for place, v in enumerate(each(value)[:PROBED])])
            for value in inputs
        ]
        folded = self._folded_or_none(choice, probes)
        if folded is None or folded[0].numel() > LARGEST_FOLDED:
            return False
        try:
            return _agrees(folded, self._singles(choice, probes, PROBED))
        except Exception:  # of a model's own code, on values that are not its own
            return False

    def _folded_or_none(self, choice: Any, inputs: Sequence[Value]) -> Tensor | None:
        try:
            return self._folded(choice, inputs)
        except Exception:  # whatever a model's own code raises for a batch that is not its own
            return None

    def _singles(self, choice: Any, inputs: Sequence[Value], count: int) -> list[Any]:
        columns = [[value.value] * count if isinstance(value, Same) else each(value) for value in inputs]
        return [self._single(choice, row) for row in zip(*columns, strict=True)]

    def _single(self, choice: Any, values: Sequence[Any]) -> Any:
        function, owned = self._bound(choice)
        args, kwargs = fill((self.args, self.kwargs), [*values, *owned])
        return function(*args, **kwargs)

    def _bound(self, choice: Any) -> tuple[Any, list[Tensor]]:
        """The function with its own tensors in the formats of `choice`, and those that are passed as arguments."""
        if (known := self._kept.get(choice)) is not None:
            return known
        formats = dict(choice)
        if isinstance(self.function, nn.Module):
            named = {name: getattr(self.function, name, None) for name in formats}
            tensors = {n: formats[n].quantize(t) for n, t in named.items() if t is not None}
            bound = called(with_tensors(self.function, tensors)) if tensors else self.function
            return self._kept.put(choice, (bound, []), sum(tensor.nbytes for tensor in tensors.values()))
        owned = [
            formats[name].quantize(tensor) if name in formats else tensor
            for name, (_, tensor) in sorted(self.owned.items(), key=lambda item: item[1][0].index)
        ]
        return self._kept.put(choice, (self.function, owned), sum(tensor.nbytes for tensor in owned))

    def _folded(self, choice: Any, inputs: Sequence[Value]) -> Tensor | None:
        """The result of one call on all configurations, laid along the batch; None where that cannot be done."""
        *have_rows, gives_rows = self.has_rows
        known = list(zip(inputs, have_rows, strict=True))
        if not gives_rows or not all(has_rows for value, has_rows in known if not isinstance(value, Same)):
            return None
        tensors: list[Any] = [value.value if isinstance(value, Same) else as_rows(value) for value in inputs]
        varying = [tensor for value, tensor in zip(inputs, tensors, strict=True) if not isinstance(value, Same)]
        if any(tensor is None or tensor.ndim < 2 for tensor in varying):
            return None
        count, rows = varying[0].shape[:2]
        laid = [
            tensor.flatten(0, 1)
            if not isinstance(value, Same)
            else tensor.expand(count, *tensor.shape).flatten(0, 1)
            if has_rows
            else tensor
            for (value, has_rows), tensor in zip(known, tensors, strict=True)
        ]
        found = self._single(choice, laid)
        if not isinstance(found, Tensor) or found.ndim < 1 or found.shape[0] != count * rows:
            return None
        laid_out: Tensor = found.reshape(count, rows, *found.shape[1:])
        return laid_out


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    may_overwrite: bool,
) -> Tensor:
    """`F.batch_norm` of `x`, `(batch, channels, …)`, in evaluation mode.

    With `may_overwrite`, a CPU writes the result on `x`, by the same kernel and so with the same bits.
    """
    if may_overwrite and x.device.type == "cpu":  # elsewhere `F.batch_norm` may choose among kernels
        unused = x.new_empty(0)
        torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, eps, out=(x, unused, unused))
        return x
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)


def called(inner: Any) -> Any:
    """The callable behind `inner`: the `forward` of a torch module without hooks."""
    if not isinstance(inner, nn.Module) or not type(inner).__module__.startswith("torch.nn.modules."):
        return inner
    return inner if is_hooked(inner) else inner.forward


def is_hooked(module: nn.Module) -> bool:
    """Whether calling a module does more than its `forward`."""
    return any(value for name, value in vars(module).items() if name.endswith("_hooks"))


def fill(template: Any, values: Sequence[Any]) -> Any:
    """`template`, nested tuples, lists and dictionaries, with every slot's value in its place."""
    return fx.node.map_aggregate(template, lambda a: values[a.index] if isinstance(a, Slot) else a)


def _in_format(tensor: Tensor, choice: Format | None, kept: Kept[Tensor]) -> Tensor:
    """A tensor of the model in a format (None: as it is), rounded once while it is kept."""
    if choice is None:
        return tensor
    if (known := kept.get(choice)) is None:
        known = kept.put(choice, choice.quantize(tensor), tensor.nbytes)
    return known


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _unlike(value: Any, place: int) -> Any:
    """A value like `value`, with other rows for each `place`.

    Whole numbers, which may be indexes, are those that it has; what is never negative stays so.
    """
    if not isinstance(value, Tensor) or not value.ndim:
        return value
    if not value.is_floating_point():
        return value.roll(place, 0)
    generator = torch.Generator().manual_seed(place)
    factor, shift = (torch.rand(value.shape, generator=generator).to(value) for _ in range(2))
    known = value.nan_to_num(0.0, 0.0, 0.0)
    size = float(known.abs().amax()) if known.numel() else 0.0
    low = 0.0 if bool((known >= 0).all()) else -0.5
    return known * (0.5 + factor) + 0.2 * (size or 1.0) * (shift + low)


def _agrees(folded: Tensor, singly: Sequence[Any]) -> bool:
    if not all(isinstance(v, Tensor) and v.shape == folded.shape[1:] and v.dtype == folded.dtype for v in singly):
        return False
    wanted = torch.stack(list(singly))
    if torch.equal(folded, wanted):
        return True
    scale = wanted.abs().amax() if wanted.is_floating_point() and wanted.numel() else None
    return scale is not None and bool(((folded - wanted).abs() <= CLOSE * scale).all())
