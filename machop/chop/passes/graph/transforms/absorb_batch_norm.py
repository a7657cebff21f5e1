"""The pass that moves the statistics of batch norms into their weights and biases."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from chop.errors import PassError
from chop.ir import MaseGraph, QuantPlan
from chop.passes.graph.analysis.metadata import Info, PassArgs, check_args
from chop.passes.graph.registry import register_pass
from chop.passes.graph.transforms.fold_conditions import NORMS
from chop.tools.terminal import table_of, terminal


@register_pass("absorb_batch_norm", inputs={}, keeps_float=True)
def absorb_batch_norm_transform_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Make each batch norm a product with its weight and a sum with its bias: mean 0 and variance 1 are left.

    So a format for the weight and one for the bias say all that a circuit needs. In eval mode the outputs stay the same
    to 1e-5. Run `fold_batch_norm` before: what it folds costs nothing. `show = false` prints nothing.
    The info is {"absorbed": [norm], "left": {norm: why}}.
    Raises PassError where a norm's weight or bias has a format: its range would be that of other values.
    """
    args = check_args("absorb_batch_norm", pass_args, ("show",))
    chosen = [name for name, op in graph.quantizable_nodes().items() if op.has_statistics and _is_rounded(graph, name)]
    if chosen:
        raise PassError(f"formats are chosen for weight or bias of {', '.join(chosen)}; absorb first, then quantise")
    graph.settle_statistics()
    requested = graph.requested_plan
    graph.apply_plan(QuantPlan())
    absorbed, left = [], {}
    for name, module in graph.model.named_modules():
        if isinstance(module, NORMS):
            reason = _why_left(module)
            if reason is None:
                _absorb(module)
                absorbed.append(name)
            else:
                left[name] = reason
    graph.keep_activations({})
    graph.apply_plan(requested)
    if args.get("show", True) and (absorbed or left):
        rows = [*((name, "absorbed") for name in absorbed), *((name, f"left: {why}") for name, why in left.items())]
        terminal().print(table_of(("batch norm", "statistics"), rows, header_style="bold"))
    return graph, {"absorbed": absorbed, "left": left}


def _is_rounded(graph: MaseGraph, norm: str) -> bool:
    formats = graph.plan[norm]
    return "weight" in formats or "bias" in formats


def _why_left(norm: Any) -> str | None:
    if norm.running_mean is None:
        return "it has no running statistics"
    return None if isinstance(norm.weight, Tensor) else "it has no weight and bias"


@torch.no_grad()
def _absorb(norm: nn.Module) -> None:
    """y = (x - mean) · gain + bias as x · gain + shift, computed in float64."""
    mean, variance, weight, bias = (
        getattr(norm, name).double() for name in ("running_mean", "running_var", "weight", "bias")
    )
    eps = torch.tensor(float(norm.eps))  # type: ignore[arg-type]
    gain = (variance + float(norm.eps)).rsqrt() * weight  # type: ignore[arg-type]
    for name, value in (("weight", gain), ("bias", bias - mean * gain), ("running_mean", torch.zeros_like(mean))):
        tensor: Tensor = getattr(norm, name)
        tensor.data = value.to(tensor.dtype)
    running: Tensor = norm.running_var  # type: ignore[assignment]
    running.fill_(float(1 - eps))  # eps is of the model and not of its weights: what a saved graph loads has it again


def has_unit_variance(norm: nn.Module) -> bool:
    """Whether a norm's factor is 1 for every channel, in the arithmetic that it computes in."""
    running: Tensor = norm.running_var  # type: ignore[assignment]
    return bool(((running + float(norm.eps)).rsqrt() == 1).all())  # type: ignore[arg-type]
