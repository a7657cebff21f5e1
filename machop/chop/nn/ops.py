"""The op table: each op once, with all its spellings and the tensors that can be quantised."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from chop.formats.layout import Layout
from chop.nn.masks import MaskRule
from chop.registry import Registry
from chop.tools.logger import get_logger

logger = get_logger(__name__)

OPERANDS = ("data_in", "other", "weight", "key", "value", "bias", "data_out")
"""Operand names, as they prefix the keys of a TOML file."""

STATISTICS = "statistics"
"""Where a plan holds the statistics of a batch norm; no key of a file begins with it."""

Shape = tuple[int, ...]
Function = Callable[..., Any]
Modules = tuple[type[nn.Module], ...]


@dataclass(frozen=True)
class Arg:
    """An argument of a call: its position, the keywords that it may be passed by, which of its values are masked."""

    index: int
    keywords: tuple[str, ...] = ()
    masks: MaskRule | None = None

    def of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The argument's value in a call, None where it is absent."""
        if self.index < len(args):
            return args[self.index]
        return next((kwargs[key] for key in self.keywords if key in kwargs), None)


@dataclass(frozen=True)
class Op:
    """One operation.

    `args` says which arguments make up an operand; `params` are tensors that a module of this op owns and a function
    takes as the arguments in `function_params`. `unsigned` operands hold no negative value that matters.
    `absent` names parameters that one particular call lacks, `owned` those of its arguments that are parameters of the
    model (the second factor of `x @ self.weight`), `groups` are those of its transposed convolution, and
    `layouts` say where samples and channels lie in its operands, as far as that is known. `multiplies` is true where
    matrices are multiplied. An operand without keys of its own has those of the operand that it `follows`, and still a
    range of its own. `result_masks` says which values of the result are masked. `statistics` are the tensors that a
    batch norm in eval mode takes its mean and its variance from.
    """

    name: str
    modules: tuple[type[nn.Module], ...] = ()
    functions: tuple[Callable[..., Any], ...] = ()
    methods: tuple[str, ...] = ()
    args: Mapping[str, tuple[Arg, ...]] = field(default_factory=dict)
    params: Mapping[str, Arg] = field(default_factory=dict)
    unsigned: frozenset[str] = frozenset()
    quantizable: bool = True
    multiplies: bool = False
    is_python_builtin: bool = False
    absent: frozenset[str] = frozenset()
    owned: frozenset[str] = frozenset()
    groups: int = 1
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    follows: Mapping[str, str] = field(default_factory=dict)
    result_masks: MaskRule | None = None
    statistics: Mapping[str, Arg] = field(default_factory=dict)

    @property
    def has_statistics(self) -> bool:
        """Whether this call is a batch norm with statistics of its own, which may be measured under a plan."""
        return bool(self.statistics) and STATISTICS not in self.absent

    @property
    def is_image(self) -> bool:
        """Whether activations are `(batch, channels, …)`; else their channels are the last dimension."""
        return self.name.startswith(("conv", "batch_norm", "group_norm", "instance_norm")) or "pool" in self.name

    @property
    def possible_operands(self) -> tuple[str, ...]:
        """The operands that a format may be chosen for, in the order of `OPERANDS`."""
        if not self.quantizable:
            return ()
        return tuple(name for name in OPERANDS if name in self.args or name in self.params or name == "data_out")

    @property
    def operands(self) -> tuple[str, ...]:
        """The operands of this call, out of `possible_operands`: a linear layer may have no bias."""
        return tuple(name for name in self.possible_operands if name not in self.absent)


_INPUT = {"data_in": (Arg(0, ("input", "x", "self")),)}
_TWO_INPUTS = {"data_in": (Arg(0, ("input", "self")), Arg(1, ("other",)))}
_MATRICES = {"data_in": (Arg(0, ("input", "self")),), "weight": (Arg(1, ("other", "mat2")),)}
_FACTORS = {"data_in": (Arg(0, ("input", "self")),), "other": (Arg(1, ("other",)),)}
_ATTENTION = {"data_in": (Arg(0, ("query",)),), "key": (Arg(1, ("key",)),), "value": (Arg(2, ("value",)),)}
_UNSIGNED_INPUT = frozenset({"data_in"})


def _parameters(first: int, *names: str) -> dict[str, Arg]:
    """Parameters that a function takes one after the other from position `first`."""
    return {name: Arg(first + offset, (name,)) for offset, name in enumerate(names)}


def _weighted(name: str, module: type[nn.Module], function: Function) -> Op:
    weights = _parameters(1, "weight", "bias")
    return Op(name, modules=(module,), functions=(function,), args=_INPUT, params=weights, multiplies=True)


def _elementwise(name: str, *functions: Function, methods: tuple[str, ...]) -> Op:
    return Op(name, functions=functions, methods=methods, args=_TWO_INPUTS, is_python_builtin=True)


def _unary(name: str, modules: Modules, *functions: Function, methods: tuple[str, ...] = ()) -> Op:
    return Op(name, modules=modules, functions=functions, methods=methods, args=_INPUT)


def _rectifier(name: str, module: type[nn.Module], *functions: Function, methods: tuple[str, ...] = ()) -> Op:
    """An op that lets nothing negative through: its input may be unsigned."""
    return Op(name, (module,), functions, methods, args=_INPUT, unsigned=_UNSIGNED_INPUT)


def _norm(name: str, modules: Modules, functions: tuple[Function, ...], first: int, *parameters: str) -> Op:
    return Op(name, modules, functions, args=_INPUT, params=_parameters(first, *parameters))


def _batch_norm(name: str, module: type[nn.Module], *functions: Function) -> Op:
    statistics = _parameters(1, "running_mean", "running_var")
    return replace(_norm(name, (module,), functions, 3, "weight", "bias"), statistics=statistics)


def _product(name: str, *functions: Function, methods: tuple[str, ...]) -> Op:
    return Op(name, (), functions, methods, args=_MATRICES, multiplies=True, is_python_builtin=True)


OPS: tuple[Op, ...] = (
    _weighted("linear", nn.Linear, F.linear),
    _weighted("conv1d", nn.Conv1d, F.conv1d),
    _weighted("conv2d", nn.Conv2d, F.conv2d),
    _weighted("conv3d", nn.Conv3d, F.conv3d),
    _weighted("conv_transpose1d", nn.ConvTranspose1d, F.conv_transpose1d),
    _weighted("conv_transpose2d", nn.ConvTranspose2d, F.conv_transpose2d),
    _product("matmul", torch.matmul, operator.matmul, methods=("matmul",)),
    _product("bmm", torch.bmm, methods=("bmm",)),
    Op(
        "addmm",
        functions=(torch.addmm,),
        methods=("addmm",),
        args={"data_in": (Arg(1, ("mat1",)),), "weight": (Arg(2, ("mat2",)),)},
        params={"bias": Arg(0, ("input", "self"))},
        multiplies=True,
    ),
    _elementwise("add", torch.add, operator.add, operator.iadd, methods=("add", "add_")),
    _elementwise("sub", torch.sub, torch.subtract, operator.sub, operator.isub, methods=("sub", "sub_", "subtract")),
    Op(
        "mul",
        functions=(torch.mul, torch.multiply, operator.mul, operator.imul),
        methods=("mul", "mul_", "multiply"),
        args=_FACTORS,
        is_python_builtin=True,
        follows={"other": "data_in"},
    ),
    _rectifier("relu", nn.ReLU, F.relu, torch.relu, torch.relu_, methods=("relu", "relu_")),
    _rectifier("relu6", nn.ReLU6, F.relu6),
    _unary("gelu", (nn.GELU,), F.gelu),
    _unary("silu", (nn.SiLU,), F.silu),
    _unary("tanh", (nn.Tanh,), torch.tanh, F.tanh, methods=("tanh", "tanh_")),
    _unary("sigmoid", (nn.Sigmoid,), torch.sigmoid, F.sigmoid, methods=("sigmoid", "sigmoid_")),
    _unary("selu", (nn.SELU,), F.selu, torch.selu),
    _unary("softplus", (nn.Softplus,), F.softplus),
    _unary("softsign", (nn.Softsign,), F.softsign),
    _unary("softmax", (nn.Softmax,), F.softmax, torch.softmax, methods=("softmax",)),
    _batch_norm("batch_norm1d", nn.BatchNorm1d, F.batch_norm),
    _batch_norm("batch_norm2d", nn.BatchNorm2d),
    _batch_norm("batch_norm3d", nn.BatchNorm3d),
    _norm("layer_norm", (nn.LayerNorm,), (F.layer_norm, torch.layer_norm), 2, "weight", "bias"),
    _norm("group_norm", (nn.GroupNorm,), (F.group_norm, torch.group_norm), 2, "weight", "bias"),
    _norm(
        "instance_norm",
        (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
        (F.instance_norm,),
        3,
        "weight",
        "bias",
    ),
    _norm("rms_norm", (nn.RMSNorm,), (F.rms_norm, torch.rms_norm), 2, "weight"),
    Op("embedding", (nn.Embedding,), (F.embedding,), params=_parameters(1, "weight")),
    _unary("avg_pool1d", (nn.AvgPool1d,), F.avg_pool1d),
    _unary("avg_pool2d", (nn.AvgPool2d,), F.avg_pool2d),
    _unary("adaptive_avg_pool1d", (nn.AdaptiveAvgPool1d,), F.adaptive_avg_pool1d),
    _unary("adaptive_avg_pool2d", (nn.AdaptiveAvgPool2d,), F.adaptive_avg_pool2d),
    _unary(
        "max_pool1d",
        (nn.MaxPool1d,),
        F.max_pool1d,
        torch.max_pool1d,
        F.max_pool1d_with_indices,
        torch.max_pool1d_with_indices,
    ),
    _unary("max_pool2d", (nn.MaxPool2d,), F.max_pool2d, torch.max_pool2d, F.max_pool2d_with_indices),
    Op(
        "scaled_dot_product_attention",
        functions=(F.scaled_dot_product_attention,),
        args=_ATTENTION,
        follows={"key": "data_in", "value": "data_in"},
        multiplies=True,
    ),
    Op("dropout", (nn.Dropout,), (F.dropout, torch.dropout), args=_INPUT, quantizable=False),
)

QUANTIZABLE_OPS = tuple(op.name for op in OPS if op.quantizable)

_BY_MODULE = {module: op for op in OPS for module in op.modules}
_BY_FUNCTION = {function: op for op in OPS for function in op.functions}
_BY_METHOD = {method: op for op in OPS for method in op.methods}


def _exported() -> dict[str, Op]:
    """The exported operators (`torch.ops.aten.…`), by name, with their own places of arguments."""
    rows = {op.name: op for op in OPS}
    same = {
        "linear": "linear.default",
        "conv1d": "conv1d.default",
        "conv2d": "conv2d.default",
        "conv3d": "conv3d.default",
        "conv_transpose1d": "conv_transpose1d.default",
        "conv_transpose2d": "conv_transpose2d.input",
        "matmul": "matmul.default",
        "bmm": "bmm.default",
        "addmm": "addmm.default",
        "layer_norm": "layer_norm.default",
        "group_norm": "group_norm.default",
        "rms_norm": "rms_norm.default",
        "softmax": "softmax.int",
        "scaled_dot_product_attention": "scaled_dot_product_attention.default",
    }
    unary = ("relu", "relu6", "gelu", "silu", "tanh", "sigmoid", "selu", "softplus", "dropout")
    pools = [name for name in rows if "_pool" in name]
    found = {spelling: rows[name] for name, spelling in same.items()}
    found |= {f"{name}{place}.default": rows[name] for name in unary for place in ("", "_")}
    found |= {f"{name}{place}.Tensor": rows[name] for name in ("add", "sub", "mul") for place in ("", "_")}
    found |= {f"{name}{place}.Scalar": rows[name] for name in ("add", "sub", "mul") for place in ("", "_")}
    found |= {f"rsub.{kind}": rows["sub"] for kind in ("Tensor", "Scalar")}
    found |= {f"{name}.default": rows[name] for name in pools}
    found |= {f"{name}_with_indices.default": rows[name] for name in ("max_pool1d", "max_pool2d")}
    found["batch_norm.default"] = replace(
        rows["batch_norm1d"],
        params=_parameters(1, "weight", "bias"),
        statistics=_parameters(3, "running_mean", "running_var"),
    )
    found["instance_norm.default"] = replace(rows["instance_norm"], params=_parameters(1, "weight", "bias"))
    found["mm.default"] = rows["matmul"]
    found["embedding.default"] = replace(rows["embedding"], params=_parameters(0, "weight"))
    return found


_BY_EXPORTED_NAME = _exported()
_BY_FUNCTION |= {
    torch.batch_norm: _BY_EXPORTED_NAME["batch_norm.default"],
    torch.instance_norm: _BY_EXPORTED_NAME["instance_norm.default"],
    torch.embedding: _BY_EXPORTED_NAME["embedding.default"],
    torch.mm: _BY_FUNCTION[torch.matmul],  # of matrices alone
}
_BY_METHOD["mm"] = _BY_METHOD["matmul"]


def _problem(op: Any) -> str | None:
    """The problem of an op that is added to the table; None if there is none."""
    if not isinstance(op, Op):
        return "is no chop.nn.Op"
    if not op.modules and not op.functions and not op.methods:
        return "names no module, function or method that it is"
    unknown = [name for name in (*op.args, *op.params) if name not in OPERANDS]
    if unknown:
        return f"has an operand '{unknown[0]}'; operands are {', '.join(OPERANDS)}"
    spellings: dict[Any, Op] = {**_BY_MODULE, **_BY_FUNCTION, **_BY_METHOD}
    known = [own for own in (*op.modules, *op.functions, *op.methods) if spellings.get(own, op) is not op]
    return f"is {known[0]!r}, which is the op '{spellings[known[0]].name}' already" if known else None


OP_TABLE: Registry[Op] = Registry("chop.ops", "op", (), _problem)
"""All ops by name. A package adds one by the entry point `chop.ops`, a file by `OP_TABLE.register(name)(Op(name, …))`.
"""

_BUILTIN = frozenset(op.name for op in OPS)
for _op in OPS:
    OP_TABLE.register(_op.name)(_op)


@dataclass(frozen=True)
class _Added:
    """The ops that are not of this package, by their spellings."""

    modules: Mapping[type[nn.Module], Op]
    functions: Mapping[Function, Op]
    methods: Mapping[str, Op]


@lru_cache(maxsize=1)
def _added_at(changes: int) -> _Added:
    """The added ops as they are after so many changes of the table."""
    added = [op for name, op in OP_TABLE.working().items() if name not in _BUILTIN]
    for reason in OP_TABLE.broken().values():
        _tell_broken(reason)
    return _Added(
        {module: op for op in added for module in op.modules},
        {function: op for op in added for function in op.functions},
        {method: op for op in added for method in op.methods},
    )


@cache
def _tell_broken(reason: str) -> None:
    logger.warning("%s; its layers stay in float32", reason)


def _added() -> _Added:
    return _added_at(OP_TABLE.changes)


def quantizable_op_names() -> tuple[str, ...]:
    """The names of all ops that can be quantised."""
    return tuple(op.name for op in OP_TABLE.working().values() if op.quantizable)


def added_modules() -> tuple[type[nn.Module], ...]:
    """The module classes of ops added by packages, which a graph does not look into."""
    return tuple(_added().modules)


def added_functions() -> tuple[Function, ...]:
    """The Python functions of ops added by packages, which a graph does not look into."""
    return tuple(function for function in _added().functions if isinstance(function, FunctionType))


def op_of_module(module: nn.Module) -> Op | None:
    """The table's row for a module, or None where the table has none."""
    added = _added().modules
    found = (_BY_MODULE.get(cls) or added.get(cls) for cls in type(module).__mro__)
    return next((op for op in found if op is not None), None)


def op_of_function(function: Callable[..., Any]) -> Op | None:
    """The table's row for a function or an exported operator, or None where the table has none."""
    if isinstance(function, torch._ops.OpOverload) and function.namespace == "aten":
        return _BY_EXPORTED_NAME.get(str(function).removeprefix("aten."))
    return _BY_FUNCTION.get(function) or _added().functions.get(function)


def op_of_method(name: str) -> Op | None:
    """The table's row for a tensor method, or None where the table has none."""
    return _BY_METHOD.get(name) or _added().methods.get(name)
