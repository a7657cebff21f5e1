"""The op table: each operation once, with all of its spellings and the tensors that can be quantised."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

OPERANDS = ("data_in", "weight", "bias", "data_out")
"""Operand names, as they prefix the keys of a TOML file."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Arg:
    """An argument of a call: its position and the keywords that it may be passed by."""

    index: int
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Op:
    """One operation.

    `args` says which arguments make up an operand; `params` are tensors that a module of this op owns and a function
    takes as the arguments in `function_params`. `unsigned` operands hold no negative value that matters.
    `absent` names parameters that one particular call lacks.
    `contraction` gives the multiply-accumulates per output element from the operands' shapes (without the batch).
    """

    name: str
    modules: tuple[type[nn.Module], ...] = ()
    functions: tuple[Callable[..., Any], ...] = ()
    methods: tuple[str, ...] = ()
    args: Mapping[str, tuple[Arg, ...]] = field(default_factory=dict)
    params: Mapping[str, Arg] = field(default_factory=dict)
    unsigned: frozenset[str] = frozenset()
    quantizable: bool = True
    contraction: Callable[[Mapping[str, Shape]], int] | None = None
    is_python_builtin: bool = False
    absent: frozenset[str] = frozenset()

    @property
    def possible_operands(self) -> tuple[str, ...]:
        """The operands that a format may be chosen for, in the order of `OPERANDS`."""
        if not self.quantizable:
            return ()
        return tuple(name for name in OPERANDS if name in self.args or name in self.params or name == "data_out")

    @property
    def operands(self) -> tuple[str, ...]:
        """Those of `possible_operands` that this call has: a linear layer may have no bias."""
        return tuple(name for name in self.possible_operands if name not in self.absent)


_INPUT = {"data_in": (Arg(0, ("input", "x", "self")),)}
_TWO_INPUTS = {"data_in": (Arg(0, ("input", "self")), Arg(1, ("other",)))}
_MATRICES = {"data_in": (Arg(0, ("input", "self")),), "weight": (Arg(1, ("other", "mat2")),)}
_WEIGHT_BIAS = {"weight": Arg(1, ("weight",)), "bias": Arg(2, ("bias",))}


def _per_output_of_weight(shapes: Mapping[str, Shape]) -> int:
    return prod(shapes["weight"][1:])


def _per_output_of_matrices(shapes: Mapping[str, Shape]) -> int:
    return shapes["data_in"][-1]


def _weighted(name: str, module: type[nn.Module], function: Callable[..., Any]) -> Op:
    return Op(
        name,
        modules=(module,),
        functions=(function,),
        args=_INPUT,
        params=_WEIGHT_BIAS,
        contraction=_per_output_of_weight,
    )


def _elementwise(name: str, *functions: Callable[..., Any], methods: tuple[str, ...]) -> Op:
    return Op(name, functions=functions, methods=methods, args=_TWO_INPUTS, is_python_builtin=True)


def _float_only(name: str, *modules: type[nn.Module], functions: tuple[Callable[..., Any], ...] = ()) -> Op:
    return Op(name, modules=modules, functions=functions, args=_INPUT, quantizable=False)


OPS: tuple[Op, ...] = (
    _weighted("linear", nn.Linear, F.linear),
    _weighted("conv1d", nn.Conv1d, F.conv1d),
    _weighted("conv2d", nn.Conv2d, F.conv2d),
    Op(
        "relu",
        modules=(nn.ReLU,),
        functions=(F.relu, torch.relu),
        methods=("relu", "relu_"),
        args=_INPUT,
        unsigned=frozenset({"data_in"}),
    ),
    _elementwise("add", torch.add, operator.add, operator.iadd, methods=("add", "add_")),
    _elementwise("sub", torch.sub, operator.sub, operator.isub, methods=("sub", "sub_")),
    _elementwise("mul", torch.mul, operator.mul, operator.imul, methods=("mul", "mul_")),
    Op(
        "matmul",
        functions=(torch.matmul, operator.matmul),
        methods=("matmul",),
        args=_MATRICES,
        contraction=_per_output_of_matrices,
        is_python_builtin=True,
    ),
    Op(
        "bmm",
        functions=(torch.bmm,),
        methods=("bmm",),
        args=_MATRICES,
        contraction=_per_output_of_matrices,
        is_python_builtin=True,
    ),
    _float_only("batch_norm1d", nn.BatchNorm1d),
    _float_only("batch_norm2d", nn.BatchNorm2d),
    _float_only("layer_norm", nn.LayerNorm, functions=(F.layer_norm,)),
    _float_only("dropout", nn.Dropout, functions=(F.dropout,)),
    _float_only("gelu", nn.GELU, functions=(F.gelu,)),
    _float_only("sigmoid", nn.Sigmoid, functions=(torch.sigmoid, F.sigmoid)),
    _float_only("tanh", nn.Tanh, functions=(torch.tanh, F.tanh)),
    _float_only("softmax", nn.Softmax, functions=(F.softmax, torch.softmax)),
    _float_only("max_pool2d", nn.MaxPool2d, functions=(F.max_pool2d,)),
    _float_only("avg_pool2d", nn.AvgPool2d, functions=(F.avg_pool2d,)),
    _float_only("embedding", nn.Embedding),
)

QUANTIZABLE_OPS = tuple(op.name for op in OPS if op.quantizable)

_BY_MODULE = {module: op for op in OPS for module in op.modules}
_BY_FUNCTION = {function: op for op in OPS for function in op.functions}
_BY_METHOD = {method: op for op in OPS for method in op.methods}


def op_of_module(module: nn.Module) -> Op | None:
    """The table's row for a module, or None where the table has none."""
    return next((_BY_MODULE[cls] for cls in type(module).__mro__ if cls in _BY_MODULE), None)


def op_of_function(function: Callable[..., Any]) -> Op | None:
    """The table's row for a function, or None where the table has none."""
    return _BY_FUNCTION.get(function)


def op_of_method(name: str) -> Op | None:
    """The table's row for a tensor method, or None where the table has none."""
    return _BY_METHOD.get(name)
