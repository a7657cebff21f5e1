"""The wrapper that quantises any op: first its operands, then the original call, then its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from chop.formats import Format
from chop.nn.masks import MaskRule, rounded
from chop.nn.ops import Arg, Op
from chop.nn.own_tensors import as_read, has_unknown_pre_hooks, twin_of
from chop.nn.under_plan import put_statistics, statistics_tensors

OperandFormats = Mapping[str, Format]
Slots = Sequence[tuple[str, Arg]]
INNER = "inner."


class TensorMethod:
    """A tensor's method as a function, so that `x.add(y)` is called like any other operation."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.__name__ = name

    def __call__(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        return getattr(tensor, self.name)(*args, **kwargs)


class Quantized(nn.Module):
    """Calls `inner` (a module or a function of row `op`) with the operands in `formats` quantised.

    The weights stay as they are: what is quantised is made anew in each call, so that formats can be replaced, the
    wrapper can be trained, and its state dict has the names of the original module.
    """

    def __init__(self, inner: nn.Module | Callable[..., Any], op: Op, formats: OperandFormats) -> None:
        super().__init__()
        self.inner = inner
        self.op = op
        self.formats = dict(formats)
        if isinstance(inner, nn.Module):
            self.train(inner.training)
            self.register_state_dict_post_hook(_drop_inner_prefix)  # type: ignore[no-untyped-call]
            self.register_load_state_dict_pre_hook(_add_inner_prefix)  # type: ignore[no-untyped-call]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Whatever `inner` takes and returns."""
        return call_quantized(self.inner, self.op, self.formats, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        """The inner module's tensors, and the modules that make them, under their own names.

        A graph may use a layer's weight somewhere else too.
        """
        inner = self.__dict__.get("_modules", {}).get("inner")
        known = {} if not isinstance(inner, nn.Module) else {**inner._parameters, **inner._buffers, **inner._modules}
        is_own = name in known or (isinstance(inner, nn.Module) and isinstance(vars(inner).get(name), Tensor))
        return getattr(inner, name) if is_own else super().__getattr__(name)

    def extra_repr(self) -> str:
        """The formats, for `print(model)`."""
        return ", ".join(f"{operand}={number_format}" for operand, number_format in self.formats.items())


def call_quantized(
    inner: nn.Module | Callable[..., Any],
    op: Op,
    formats: OperandFormats,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """The result of `inner(*args, **kwargs)` with every operand in `formats` quantised."""
    if isinstance(inner, nn.Module):
        result = _call_rounded(inner, op, formats, args, kwargs)
    else:
        call_args, call_kwargs = list(args), dict(kwargs)
        quantize_arguments(argument_slots(op, is_module=False), formats, call_args, call_kwargs)
        put_statistics(op, formats, call_args, call_kwargs)
        result = inner(*call_args, **call_kwargs)
    return quantized_result(result, op, formats)


def quantized_result(result: Any, op: Op, formats: OperandFormats) -> Any:
    """The result of a call in its format; indexes and masks stay as they are."""
    if "data_out" not in formats:
        return result
    return fx.node.map_aggregate(result, lambda value: _quantize_tensor(value, formats["data_out"], op.result_masks))


def _call_rounded(
    module: nn.Module, op: Op, formats: OperandFormats, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Call a module with its tensors and arguments rounded where its operation reads them: behind its pre-hooks."""
    read = as_read(module)
    twin = twin_of(read, copies=has_unknown_pre_hooks(read) and not read.training)

    def forward(*args: Any, **kwargs: Any) -> Any:
        call_args, call_kwargs = list(args), dict(kwargs)
        quantize_arguments(argument_slots(op, is_module=True), formats, call_args, call_kwargs)
        vars(twin).update(quantized_parameters(twin, op, formats))
        return type(twin).forward(twin, *call_args, **call_kwargs)

    vars(twin)["forward"] = forward
    try:
        return nn.Module.__call__(twin, *args, **kwargs)
    finally:
        del vars(twin)["forward"]  # a cycle, which would keep the tensors


def quantized_parameters(module: nn.Module, op: Op, formats: OperandFormats) -> dict[str, Tensor]:
    """The module's own tensors that `formats` quantises or replaces, by name; a bias that is absent stays absent."""
    tensors = {name: getattr(module, name, None) for name in op.params if name in formats}
    quantised = {name: formats[name].quantize(tensor) for name, tensor in tensors.items() if tensor is not None}
    return quantised | statistics_tensors(module, formats)


def argument_slots(op: Op, is_module: bool) -> Slots:
    """The arguments of a call that formats can be chosen for, each with its operand."""
    slots = [(operand, arg) for operand, args in op.args.items() for arg in args]
    return slots if is_module else slots + list(op.params.items())


def quantize_arguments(slots: Slots, formats: OperandFormats, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Quantise those of the arguments whose operand has a format, in place."""
    for operand, arg in slots:
        if operand in formats:
            _quantize_argument(arg, formats[operand], args, kwargs)


def _quantize_argument(arg: Arg, number_format: Format, args: list[Any], kwargs: dict[str, Any]) -> None:
    if arg.index < len(args):
        args[arg.index] = _quantize_tensor(args[arg.index], number_format, arg.masks)
        return
    for keyword in arg.keywords:
        if keyword in kwargs:
            kwargs[keyword] = _quantize_tensor(kwargs[keyword], number_format, arg.masks)


def _quantize_tensor(value: Any, number_format: Format, masks: MaskRule | None) -> Any:
    """Only floating tensors are quantised: an index, a mask or a Python constant stays as it is."""
    if isinstance(value, Tensor) and torch.is_floating_point(value):
        return rounded(value, number_format, masks)
    return value


def _drop_inner_prefix(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    for key in [key for key in state if key.startswith(prefix + INNER)]:
        state[prefix + key[len(prefix + INNER) :]] = state.pop(key)


def _add_inner_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        state[prefix + INNER + key[len(prefix) :]] = state.pop(key)
