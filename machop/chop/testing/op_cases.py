"""Sample calls of every op in the table, in each of its spellings, to run all formats on all ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.nn.ops import OPS, Op
from chop.nn.quantized import TensorMethod


@dataclass(frozen=True)
class OpCase:
    """One way to call an op: what is called, and its arguments."""

    op: Op
    inner: nn.Module | Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The op and what spells it."""
        spelled = type(self.inner).__name__ if isinstance(self.inner, nn.Module) else self.inner.__name__
        return f"{self.op.name}-{spelled}"


def op_cases(name: str) -> list[OpCase]:
    """Calls of the op `name`: as modules, as functions, as methods, with random values."""
    op = next(op for op in OPS if op.name == name)
    calls = CALLS[name]()
    methods = [(TensorMethod(method), calls[-1][1], calls[-1][2]) for method in op.methods if not method.endswith("_")]
    return [OpCase(op, inner, args, kwargs) for inner, args, kwargs in [*calls, *methods]]


Call = tuple[nn.Module | Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]


def _weighted(module: nn.Module, function: Callable[..., Any], *shape: int) -> list[Call]:
    x = torch.randn(*shape)
    return [(module, (x,), {}), (function, (x, module.weight, module.bias), {})]


def _unary(module: nn.Module, function: Callable[..., Any], *shape: int, **kwargs: Any) -> list[Call]:
    x = torch.randn(*(shape or (3, 8)))
    return [(module, (x,), {}), (function, (x,), kwargs)]


def _two(*functions: Callable[..., Any]) -> list[Call]:
    return [(function, (torch.randn(3, 8), torch.randn(3, 8)), {}) for function in functions]


def _matrices(*functions: Callable[..., Any]) -> list[Call]:
    return [(function, (torch.randn(2, 4, 8), torch.randn(2, 8, 5)), {}) for function in functions]


def _trained(norm: nn.Module) -> Any:
    """A normalisation with weights and statistics that are not those of a new one."""
    for tensor in (*norm.parameters(), *norm.buffers()):
        if tensor.is_floating_point():
            tensor.data = torch.rand_like(tensor) + 0.5
    return norm.eval()


def _batch_norm(module: Any, *shape: int) -> list[Call]:
    norm, x = _trained(module), torch.randn(*shape)
    return [(norm, (x,), {}), (F.batch_norm, (x, norm.running_mean, norm.running_var, norm.weight, norm.bias), {})]


def _norm(module: Any, function: Callable[..., Any], what: Any, *shape: int) -> list[Call]:
    norm, x = _trained(module), torch.randn(*shape)
    bias = () if getattr(norm, "bias", None) is None else (norm.bias,)
    return [(norm, (x,), {}), (function, (x, what, norm.weight, *bias), {})]


def _instance_norm() -> list[Call]:
    norm, x = _trained(nn.InstanceNorm1d(4, affine=True)), torch.randn(2, 4, 6)
    return [(norm, (x,), {}), (F.instance_norm, (x, None, None, norm.weight, norm.bias), {})]


def _embedding() -> list[Call]:
    layer, x = nn.Embedding(10, 8), torch.randint(10, (3, 5))
    return [(layer, (x,), {}), (F.embedding, (x, layer.weight), {})]


def _attention() -> list[Call]:
    query, key, value = (torch.randn(2, 2, 5, 8) for _ in range(3))
    return [(F.scaled_dot_product_attention, (query, key, value), {"is_causal": True})]


CALLS: dict[str, Callable[[], list[Call]]] = {
    "linear": lambda: _weighted(nn.Linear(8, 6), F.linear, 3, 8),
    "conv1d": lambda: _weighted(nn.Conv1d(4, 6, 3), F.conv1d, 2, 4, 9),
    "conv2d": lambda: _weighted(nn.Conv2d(4, 6, 3), F.conv2d, 2, 4, 7, 7),
    "conv3d": lambda: _weighted(nn.Conv3d(2, 3, 2), F.conv3d, 2, 2, 4, 4, 4),
    "conv_transpose1d": lambda: _weighted(nn.ConvTranspose1d(4, 6, 3), F.conv_transpose1d, 2, 4, 9),
    "conv_transpose2d": lambda: _weighted(nn.ConvTranspose2d(4, 6, 3), F.conv_transpose2d, 2, 4, 5, 5),
    "matmul": lambda: _matrices(torch.matmul, Tensor.__matmul__),
    "bmm": lambda: _matrices(torch.bmm),
    "addmm": lambda: [(torch.addmm, (torch.randn(5), torch.randn(4, 8), torch.randn(8, 5)), {})],
    "add": lambda: _two(torch.add),
    "sub": lambda: _two(torch.sub),
    "mul": lambda: _two(torch.mul),
    "relu": lambda: _unary(nn.ReLU(), F.relu),
    "relu6": lambda: _unary(nn.ReLU6(), F.relu6),
    "gelu": lambda: _unary(nn.GELU(), F.gelu),
    "silu": lambda: _unary(nn.SiLU(), F.silu),
    "tanh": lambda: _unary(nn.Tanh(), torch.tanh),
    "sigmoid": lambda: _unary(nn.Sigmoid(), torch.sigmoid),
    "selu": lambda: _unary(nn.SELU(), F.selu),
    "softplus": lambda: _unary(nn.Softplus(), F.softplus),
    "softsign": lambda: _unary(nn.Softsign(), F.softsign),
    "softmax": lambda: [
        (nn.Softmax(-1), (torch.randn(3, 8),), {}),
        (F.softmax, (torch.randn(3, 8),), {"dim": -1}),
    ],
    "batch_norm1d": lambda: _batch_norm(nn.BatchNorm1d(8), 5, 8),
    "batch_norm2d": lambda: _batch_norm(nn.BatchNorm2d(4), 2, 4, 5, 5)[:1],
    "batch_norm3d": lambda: _batch_norm(nn.BatchNorm3d(4), 2, 4, 3, 3, 3)[:1],
    "layer_norm": lambda: _norm(nn.LayerNorm(8), F.layer_norm, (8,), 3, 8),
    "group_norm": lambda: _norm(nn.GroupNorm(2, 4), F.group_norm, 2, 2, 4, 6),
    "instance_norm": _instance_norm,
    "rms_norm": lambda: _norm(nn.RMSNorm(8), F.rms_norm, (8,), 3, 8),
    "embedding": _embedding,
    "avg_pool1d": lambda: _unary(nn.AvgPool1d(2), F.avg_pool1d, 2, 3, 8, kernel_size=2),
    "avg_pool2d": lambda: _unary(nn.AvgPool2d(2), F.avg_pool2d, 2, 3, 6, 6, kernel_size=2),
    "adaptive_avg_pool1d": lambda: _unary(nn.AdaptiveAvgPool1d(2), F.adaptive_avg_pool1d, 2, 3, 8, output_size=2),
    "adaptive_avg_pool2d": lambda: _unary(nn.AdaptiveAvgPool2d(2), F.adaptive_avg_pool2d, 2, 3, 6, 6, output_size=2),
    "max_pool1d": lambda: _unary(nn.MaxPool1d(2), F.max_pool1d, 2, 3, 8, kernel_size=2),
    "max_pool2d": lambda: _unary(nn.MaxPool2d(2), F.max_pool2d, 2, 3, 6, 6, kernel_size=2),
    "scaled_dot_product_attention": _attention,
}

FORMAT_KEYS: dict[str, dict[str, Any]] = {
    "integer": {"width": 8, "frac_width": 5},
    "integer_floor": {"width": 8, "frac_width": 5},
    "minifloat_ieee": {"width": 8, "exponent_width": 4},
    "minifloat_denorm": {"width": 8, "exponent_width": 4},
    "log": {"width": 8},
    "block_fp": {"width": 8, "exponent_width": 8, "block_size": [1, 16]},
    "block_minifloat": {"width": 8, "exponent_width": 4, "exponent_bias_width": 8, "block_size": [1, 16]},
    "block_log": {"width": 8, "exponent_bias_width": 8, "block_size": [1, 16]},
    "mxint": {"element_bits": 8, "block_size": [1, 16]},
    "mxfp": {"element_exp_bits": 4, "element_frac_bits": 3, "block_size": [1, 16]},
    "binary": {"scaled": True},
    "ternary": {"scaling_factor": True},
    "scale_integer": {"width": 8},
}
"""Keys of a usual eight-bit choice of each format (one or two bits where there are no more)."""


def node_config(name: str) -> dict[str, Any]:
    """The config that gives a common choice of the format `name` to every operand but the result."""
    keys = FORMAT_KEYS[name]
    operands = ("data_in", "weight", "bias")
    return {"name": name, **{f"{operand}_{key}": value for operand in operands for key, value in keys.items()}}
