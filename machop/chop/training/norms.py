"""Batch norms whose statistics follow from the batch, or from what was recorded, and are not the layer's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from chop.errors import ChopError
from chop.evaluation.float_values import attribute
from chop.formats import FloatStatistics, MeasuredTensor
from chop.ir import MaseGraph
from chop.nn.channel_statistics import channel_statistics

Moments = tuple[Tensor, Tensor]
"""Mean and variance of each channel, `(channels,)`."""

AFTER_WEIGHTS = (torch.batch_norm, torch.ops.aten.batch_norm.default)
"""Spellings of batch norm whose running statistics come after weight and bias."""


@dataclass
class NormStatistics:
    """The statistics that batch norms normalise by.

    `mode` is "batch" (those of each batch), "record" (the same, and they are kept), "use" (those that were kept), or
    "refer" (those that were kept, of the float network; those of the batch are noted beside them in `in_float`).

    While it records, the statistics of a batch are corrected by those of the norm in `in_float`, if it has any.
    """

    mode: Literal["batch", "record", "use", "refer"] = "batch"
    kept: dict[str, Moments] = field(default_factory=dict)
    in_float: dict[str, FloatStatistics] = field(default_factory=dict)

    def batch(self) -> None:
        """Normalise by the statistics of each batch from now on."""
        self.mode = "batch"

    def record(self) -> None:
        """Normalise by those of each batch, and keep them."""
        self.mode = "record"
        self.kept.clear()

    def use(self) -> None:
        """Normalise by those that were kept."""
        self.mode = "use"

    def refer(self) -> None:
        """Normalise by those of the float network, which were kept, and note those of the next batch in `in_float`."""
        self.mode = "refer"
        self.in_float.clear()

    def normalised(self, name: str, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        """`x` `(samples, channels, …)` normalised for the node `name`."""
        if self.mode == "batch":
            if x.numel() < 2 * x.shape[1]:
                raise ChopError(
                    f"batch norm '{name}': a batch with one value for each channel has no variance to train with; "
                    "raise batch_size (samples of a length of their own are a batch by themselves)"
                )
            return F.batch_norm(x, None, None, weight, bias, True, 0.0, eps)
        if self.mode == "refer":
            running, seen = MeasuredTensor(torch.stack(self.kept[name])), MeasuredTensor(channel_statistics(x))
            self.in_float[name] = FloatStatistics(running, seen, len(x))
        if self.mode == "record":
            found = channel_statistics(x)
            mean, variance = self.in_float[name].corrected(found) if name in self.in_float else found
            self.kept[name] = mean, variance
        mean, variance = self.kept[name]
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)


@dataclass
class PooledMoments:
    """Mean and variance of the channels of each norm, of several batches together."""

    weight: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, found: Mapping[str, Moments], weight: int) -> None:
        """Add the moments of a batch, each `(channels,)`, with a weight: its number of samples, say."""
        self.weight += weight
        for name, (mean, variance) in found.items():
            own = mean.double()
            powers = weight * torch.stack([own, variance + own.square()])
            self.sums[name] = self.sums[name] + powers if name in self.sums else powers

    def moments(self) -> dict[str, Moments]:
        """Mean and variance of each norm's channels, float32."""
        found = ((name, own / self.weight) for name, own in self.sums.items())
        return {name: (mean.float(), (square - mean.square()).float()) for name, (mean, square) in found}


class FreeNorm(nn.Module):
    """A batch norm with the parameters of `own`, normalising by `statistics`."""

    def __init__(self, own: _BatchNorm, name: str, statistics: NormStatistics) -> None:
        super().__init__()
        self.name, self.eps, self.statistics = name, own.eps, statistics
        self.weight, self.bias = own.weight, own.bias

    def forward(self, x: Tensor) -> Tensor:
        """The batch `(samples, channels, …)`, normalised."""
        return self.statistics.normalised(self.name, x, self.weight, self.bias, self.eps)


class FreeNormFunction:
    """The same for `torch.nn.functional.batch_norm` and its other spellings."""

    def __init__(self, after_weights: bool, name: str, statistics: NormStatistics) -> None:
        self.after_weights, self.name, self.statistics = after_weights, name, statistics

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The batch `(samples, channels, …)`, normalised."""
        given = _arguments(self.after_weights, args, kwargs)
        eps = given.get("eps", 1e-5)
        return self.statistics.normalised(self.name, x, given.get("weight"), given.get("bias"), eps)


def free_norm(inner: Any, name: str, statistics: NormStatistics) -> Any:
    """What a node calls; if it is a batch norm, one that normalises by `statistics`."""
    if _is_norm(inner):
        return FreeNorm(inner, name, statistics)
    if inner is F.batch_norm or inner in AFTER_WEIGHTS:
        return FreeNormFunction(inner in AFTER_WEIGHTS, name, statistics)
    return inner


def _is_norm(inner: Any) -> bool:
    """Whether a node calls a batch norm of torch, which does what its class says."""
    is_known = isinstance(inner, _BatchNorm) and type(inner).forward is _BatchNorm.forward
    return is_known and not inner._forward_pre_hooks and not is_parametrized(inner)


def running_statistics(graph: MaseGraph, node: fx.Node) -> Moments | None:
    """The running mean and variance of the batch norm at a node, which may be written; None where it keeps none."""
    inner = graph.inner(node)
    if _is_norm(inner):
        mean, variance = inner.running_mean, inner.running_var
    else:
        given = _arguments(inner in AFTER_WEIGHTS, node.args[1:], node.kwargs)
        mean, variance = (_attribute(graph, given.get(name)) for name in ("running_mean", "running_var"))
    return None if mean is None or variance is None else (mean, variance)


def _attribute(graph: MaseGraph, source: Any) -> Tensor | None:
    is_own = isinstance(source, fx.Node) and source.op == "get_attr"
    found = attribute(graph.model, str(source.target)) if is_own else None
    return found if isinstance(found, Tensor) else None


def _arguments(after_weights: bool, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of batch norm as a function, behind its input, by name."""
    running, weights = ("running_mean", "running_var"), ("weight", "bias")
    names = (*weights, *running) if after_weights else (*running, *weights)
    return {**dict(zip((*names, "training", "momentum", "eps"), args, strict=False)), **kwargs}
