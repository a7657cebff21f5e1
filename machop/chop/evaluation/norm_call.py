"""A call of batch norm, as a module or as a function: its tensors and its epsilon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from chop.errors import GraphError
from chop.evaluation.float_values import is_attribute
from chop.evaluation.operations import is_hooked
from chop.nn.ops import Arg, Op

EPS = Arg(7, ("eps",))
"""Where torch's functions of batch norm take epsilon."""
USUAL_EPS = 1e-5


@dataclass(frozen=True)
class NormCall:
    """Mean and variance `(channels)` of the float network, gain and shift, and what is added to the variance."""

    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float


def norm_call(node: fx.Node, op: Op, inner: Any, seen: Mapping[fx.Node, Any]) -> NormCall:
    """The tensors of a call; `seen` are the values of all nodes in float.

    Raises GraphError for a module with hooks, and for tensors that are computed in forward.
    """
    if isinstance(inner, nn.Module):
        if is_hooked(inner):
            raise GraphError(f"node '{node.name}' has hooks: its statistics are measured plan by plan")
        tensors: list[Any] = [getattr(inner, name) for name in (*op.statistics, "weight", "bias")]
        mean, variance, weight, bias = tensors
        eps: Any = inner.eps
        return NormCall(mean.detach(), variance.detach(), _detached(weight), _detached(bias), float(eps))
    given = [
        arg.of(node.args, node.kwargs) for arg in (*op.statistics.values(), op.params["weight"], op.params["bias"])
    ]
    if not all(own is None or is_attribute(own) for own in given):
        raise GraphError(f"node '{node.name}' takes tensors that are computed in forward")
    eps = EPS.of(node.args, node.kwargs)
    mean, variance, weight, bias = [None if own is None else seen[own] for own in given]
    assert mean is not None and variance is not None
    return NormCall(mean, variance, weight, bias, USUAL_EPS if eps is None else float(eps))


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()
