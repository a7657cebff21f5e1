"""Fixed-point inference that shares nothing with chop: the model itself, with the operands of its calls rounded.

A `TorchFunctionMode` sees every call that the model makes. It knows the operations by the names of torch's functions,
and rounds their operands in float64. So it has no graph, no wrapper, no plan and no format of chop's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Fixed:
    """Two's complement, or unsigned, of `width` bits of which `fraction` stand behind the point; half to even."""

    width: int
    fraction: int
    signed: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        low, high = (-(2 ** (self.width - 1)), 2 ** (self.width - 1) - 1) if self.signed else (0, 2**self.width - 1)
        scaled = torch.round(x.detach().double() * 2.0**self.fraction)
        return (scaled.clamp(low, high) / 2.0**self.fraction).to(x.dtype)


Settings = dict[str, tuple[int, int | str]]
"""By operand: width, and fraction width or "auto"."""

FACTORS = ("matmul", "bmm", "mm", "addmm")
"""Products whose second factor is pruned where it is a parameter as it stands."""

Ranges = dict[tuple[int, str], tuple[float, float]]
"""By number of the call and operand (the terms of a sum share it): the range of the values that are not masked."""

MASKED = -1e4
"""Scores below this are masked: they stay as they are, and belong to no range."""
MAY_BE_MASKED = ("softmax", "add", "sub")
FOLLOW_INPUT = ("other", "key", "value")
"""Operands that have the widths of `data_in`, and a range of their own."""


_WEIGHTED = (("data_in", 0, "input"), ("weight", 1, "weight"), ("bias", 2, "bias"))
_ONE = (("data_in", 0, "input"),)
_TERMS = (("data_in", 0, "input"), ("data_in", 1, "other"))
_FACTORS = (("data_in", 0, "input"), ("weight", 1, "other"))
_NORM = (("data_in", 0, "input"), ("weight", 3, "weight"), ("bias", 4, "bias"))
_LAYER_NORM = (("data_in", 0, "input"), ("weight", 2, "weight"), ("bias", 3, "bias"))
CALLS: dict[str, tuple[tuple[str, int, str], ...]] = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d"), _WEIGHTED),
    **dict.fromkeys(("matmul", "bmm", "mm"), _FACTORS),
    "addmm": (("bias", 0, "input"), ("data_in", 1, "mat1"), ("weight", 2, "mat2")),
    **dict.fromkeys(("add", "sub", "rsub", "subtract"), _TERMS),
    **dict.fromkeys(("mul", "multiply"), (("data_in", 0, "input"), ("other", 1, "other"))),
    **dict.fromkeys(("relu", "relu6", "gelu", "silu", "tanh", "sigmoid"), _ONE),
    **dict.fromkeys(("selu", "softplus", "softsign", "softmax"), _ONE),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"), _ONE),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool2d_with_indices"), _ONE),
    **dict.fromkeys(("layer_norm", "group_norm", "rms_norm"), _LAYER_NORM),
    **dict.fromkeys(("batch_norm", "instance_norm"), _NORM),
    "embedding": (("weight", 1, "weight"),),
    "scaled_dot_product_attention": (("data_in", 0, "query"), ("key", 1, "key"), ("value", 2, "value")),
}  # fmt: skip
UNSIGNED = {"relu", "relu6"}
IN_PLACE = {"relu_": "relu", "add_": "add", "sub_": "sub", "mul_": "mul", "iadd": "add", "isub": "sub", "imul": "mul"}
WHOLE = (nn.Bilinear, nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.RNNBase, ParametrizationList)
"""Modules that stay in float as a whole, and what makes weights: the weight that they make is rounded."""


@dataclass
class FixedPointCalls(TorchFunctionMode):
    """Rounds the operands of the calls it sees: call number i by `settings[i]`; a call without settings is float.

    `calls` lists, for each call of an operation of the table, its name; `seen` the range of each operand before it was
    rounded. A fraction width "auto" leaves just the bits behind the point that the range in `ranges` does not need.
    """

    settings: Sequence[Settings] = ()
    ranges: Ranges = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    seen: Ranges = field(default_factory=dict)
    pruned: float = 0.0
    """The share of each layer's weights that is zero before they are rounded: the least, of equal ones the last."""
    depth: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name, in_place = _name(func, args, kwargs)
        if (
            self.depth
            or name not in CALLS
            or not any(_is_value(value) for _, _, value in _operands(name, args, kwargs))
        ):
            return func(*args, **kwargs)
        if name == "embedding":
            args, kwargs = _with_scaled_rows(args, kwargs)
        call_args, call_kwargs = self._rounded(name, args, kwargs)
        self.calls.append(name)
        if not in_place:
            return func(*call_args, **call_kwargs)
        target = args[0]
        target.copy_(func(call_args[0].clone(), *call_args[1:], **call_kwargs))
        return target

    def _rounded(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        number, call_args, call_kwargs = len(self.calls), list(args), dict(kwargs)
        settings = self.settings[number] if number < len(self.settings) else {}
        for operand, place, value in _operands(name, args, kwargs):
            if not _is_value(value):
                continue
            is_masked = value < MASKED if name in MAY_BE_MASKED else torch.zeros_like(value, dtype=torch.bool)
            plain_values = value[~is_masked].double()
            low, high = self.seen.get((number, operand), (math.inf, -math.inf))
            self.seen[number, operand] = min(low, float(plain_values.min())), max(high, float(plain_values.max()))
            chosen = settings.get(operand, settings.get("data_in") if operand in FOLLOW_INPUT else None)
            is_weight = operand == "weight" and (name not in FACTORS or isinstance(value, nn.Parameter))
            own = self._pruned(value) if is_weight else value
            if chosen is not None:
                signed = not (name in UNSIGNED and operand == "data_in")
                width, fraction = chosen
                if not isinstance(fraction, int):
                    fraction = width - signed - _bits_before_point(*self.ranges[number, operand], signed)
                found = torch.where(is_masked, value, Fixed(width, fraction, signed)(own))
                (call_args if isinstance(place, int) else call_kwargs)[place] = found  # type: ignore[index]
        return call_args, call_kwargs

    def _pruned(self, weights: Tensor) -> Tensor:
        return torch.where(_greatest(weights, self.pruned), weights, 0.0) if self.pruned else weights


def _greatest(weights: Tensor, share: float) -> Tensor:
    order = weights.detach().abs().flatten().argsort(descending=True, stable=True)
    kept = torch.zeros(weights.numel(), dtype=torch.bool)
    kept[order[: weights.numel() - min(round(share * weights.numel()), weights.numel() - 1)]] = True
    return kept.view_as(weights)


def _bits_before_point(low: float, high: float, signed: bool) -> int:
    """The bits before the point that the range needs: 3 for 4.0 up to 7.9."""
    reach = max(high, -low if signed else 0.0, 0.0)
    return math.frexp(reach)[1] if reach else 0


def _with_scaled_rows(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of an embedding with the rows scaled down that `max_norm` scales, and without `max_norm`."""
    most = kwargs.get("max_norm", args[3] if len(args) > 3 else None)
    if most is None:
        return args, kwargs
    norms = args[1].norm(dim=1, keepdim=True)
    weight = torch.where(norms > most, args[1] * (most / (norms + 1e-7)), args[1])
    return (args[0], weight), {"padding_idx": kwargs.get("padding_idx", args[2] if len(args) > 2 else None)}


def _is_value(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _name(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, bool]:
    """The operation that a function of torch's stands for, and whether it writes on its first argument."""
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        name = name.strip("_")
    name = {"radd": "add", "rmul": "mul", "_max_pool2d": "max_pool2d"}.get(name, name)
    if name == "hardtanh" and (*args[1:3], kwargs.get("min_val"), kwargs.get("max_val"))[:2] == (0.0, 6.0):
        name = "relu6"  # what nn.ReLU6 calls
    return IN_PLACE.get(name, name), name in IN_PLACE or bool(kwargs.get("inplace"))


def _operands(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, int | str, Any]]:
    found: list[tuple[str, int | str, Any]] = []
    for operand, index, keyword in CALLS[name]:
        if index < len(args):
            found.append((operand, index, args[index]))
        elif keyword in kwargs:
            found.append((operand, keyword, kwargs[keyword]))
    return found


def plain(model: nn.Module) -> nn.Module:
    """The model without what only wraps it."""
    model = getattr(model, "_orig_mod", model)
    return model.module if isinstance(model, nn.DataParallel) else model


@torch.no_grad()
def run(model: nn.Module, x: Any, mode: FixedPointCalls) -> Any:
    """What the model returns for `x` under `mode`."""
    own = plain(model)
    hooks = [hook for module in own.modules() for hook in _uncounted(module, mode)]
    try:
        with mode:
            return own(**x) if isinstance(x, dict) else own(*x) if isinstance(x, tuple | list) else own(x)
    finally:
        for hook in hooks:
            hook.remove()


def _uncounted(module: nn.Module, mode: FixedPointCalls) -> list[Any]:
    """Let the calls within a module that stays in float32 alone, and those of hooks that make a layer's weight."""
    before = module.register_forward_pre_hook(lambda *_: _deeper(mode, 1), prepend=True)
    if isinstance(module, WHOLE):
        return [before, module.register_forward_hook(lambda *_: _deeper(mode, -1))]
    return [before, module.register_forward_pre_hook(lambda *_: _deeper(mode, -1))]


def _deeper(mode: FixedPointCalls, step: int) -> None:
    mode.depth += step


def predictions(
    model: nn.Module,
    batches: Sequence[tuple[Any, Tensor]],
    settings: Sequence[Settings],
    ranges: Ranges | None = None,
    pruned: float = 0.0,
) -> Tensor:
    """The model's scores for all samples with its weights pruned and the operands of its calls rounded."""
    modes = (FixedPointCalls(settings, ranges or {}, pruned=pruned) for _ in batches)
    return torch.cat([scores(run(model, _copied(x), mode)) for (x, _), mode in zip(batches, modes, strict=True)])


def ranges_of(model: nn.Module, x: Any) -> Ranges:
    """The range of each operand of each call in float32, over the samples of one batch."""
    mode = FixedPointCalls()
    run(model, _copied(x), mode)
    return mode.seen


def scores(output: Any) -> Tensor:
    """The tensor that counts as the prediction: the output itself, or its logits."""
    if isinstance(output, Tensor):
        return output
    named = output if isinstance(output, dict) else dict(enumerate(output))
    return named["logits"] if "logits" in named else next(iter(named.values()))


def _copied(x: Any) -> Any:
    if isinstance(x, dict):
        return {key: value.clone() for key, value in x.items()}
    return tuple(value.clone() for value in x) if isinstance(x, tuple | list) else x.clone()
