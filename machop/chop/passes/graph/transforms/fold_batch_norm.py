"""The pass that folds batch normalisation into the layer before it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from chop.errors import PassError
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.folded_norms import remove_folded_norms
from chop.nn.copying import copied_module
from chop.passes.graph.analysis.metadata import Info, PassArgs, check_args, evaluating
from chop.passes.graph.registry import register_pass
from chop.passes.graph.samples import placeholder_inputs, require_finite, running
from chop.passes.graph.transforms.fold_conditions import WITHOUT_SAMPLES, batch_norms, layer_before, why_left
from chop.tools.logger import get_logger
from chop.tools.terminal import table_of, terminal

logger = get_logger(__name__)

TOLERANCE = 1e-5
"""How far results may move, relative to the largest one."""


@register_pass("fold_batch_norm", inputs={"dummy_in": "two_samples"}, keeps_float=True)
def fold_batch_norm_transform_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Multiply batch norms that follow a linear or convolutional layer into that layer's weights, and remove them.

    With running statistics a norm is an affine map for each channel: in eval mode the outputs stay the same. Only what
    is equal in float is folded: `dummy_in`, {argument: a few samples}, is run before and after. Without it, a norm
    behind a linear layer is folded if the graph has seen samples (`MaseGraph(model, example_inputs=…)`) or the layers
    around it show that its input is vectors; a warning names the norms that are left because there are no samples.
    Layers with formats get them back, measured on the new weights: they predict something else then, and a warning says
    so. `show = false` prints nothing.
    The info is {"folded": {norm: layer}, "left": {norm: why it is not folded}}.
    Raises PassError where formats are chosen for a norm that would vanish.
    """
    args = check_args("fold_batch_norm", pass_args, ("dummy_in", "show"))
    graph.settle_statistics()
    plan, requested = graph.plan, graph.requested_plan
    graph.apply_plan(QuantPlan())
    folded, left = _sorted(graph, args.get("dummy_in"))
    if unsure := [norm for norm, why in left.items() if why == WITHOUT_SAMPLES]:
        logger.warning("fold_batch_norm: %s: not folded: %s", ", ".join(unsure), WITHOUT_SAMPLES)
    chosen = [norm for norm in folded if plan[norm]]
    if chosen:
        graph.apply_plan(requested)
        raise PassError(f"formats are chosen for {', '.join(chosen)}; fold first, then quantise")
    rounded = [layer for layer in folded.values() if plan[layer]]
    if rounded:
        logger.warning(
            "fold_batch_norm: %s have formats, and round other weights now: what was measured with these formats does "
            "not hold any more; fold first, then quantise",
            ", ".join(rounded),
        )
    _fold_all(graph, folded)
    graph.keep_activations(folded)
    graph.apply_plan(requested)
    if args.get("show", True) and (folded or left):
        _show(folded, left)
    return graph, {"folded": folded, "left": left}


def _sorted(graph: MaseGraph, dummy_in: Mapping[str, Any] | None) -> tuple[dict[str, str], dict[str, str]]:
    """The norms that can be folded with their layers, and the others with the reasons."""
    seen = {} if dummy_in is None else _seen(graph, dummy_in)
    folded, left = {}, {}
    for norm in batch_norms(graph):
        layer = layer_before(norm)
        reason = why_left(graph, norm, _axes(graph, norm, seen))
        if reason is None and layer.name in seen:
            reason = _difference(graph, layer, norm, seen)
        if reason is None:
            folded[norm.name] = layer.name
        else:
            left[norm.name] = reason
    if folded and dummy_in is not None and not _keeps_outputs(graph, folded, dummy_in):
        left |= dict.fromkeys(folded, "the outputs of the samples would change")
        folded = {}
    return folded, left


@torch.no_grad()
def _seen(graph: MaseGraph, dummy_in: Mapping[str, Any]) -> dict[str, Any]:
    """The result of every node for some samples."""
    what = "fold_batch_norm: dummy_in"
    recorder = fx.Interpreter(graph.model, garbage_collect_values=False)
    inputs = placeholder_inputs(graph, dummy_in, what)
    with evaluating(graph), running(what):
        for value in tree_leaves(recorder.run(*inputs)):
            require_finite(what, "output", value)
    return {node.name: value for node, value in recorder.env.items()}


def _axes(graph: MaseGraph, norm: fx.Node, seen: Mapping[str, Any]) -> int | None:
    """The number of axes of what a norm takes, where samples, those that the graph has seen, or the trace tell it."""
    before = layer_before(norm)
    value = seen.get(before.name, before.meta.get("val"))
    if isinstance(value, Tensor):
        return value.ndim
    layout = (graph.layouts or {}).get(norm.name, {}).get("data_in")
    return layout.ndim if layout is not None else None


@torch.no_grad()
def _difference(graph: MaseGraph, layer: fx.Node, norm: fx.Node, seen: Mapping[str, Any]) -> str | None:
    """How a folded layer would differ from the pair on the samples, computed in float64; None where they are equal."""
    own, after = graph.model.get_submodule(str(layer.target)), graph.model.get_submodule(str(norm.target))
    folded = copy.deepcopy(own)
    _fold(folded, after)
    x = seen[layer.all_input_nodes[0].name].double()
    want = copy.deepcopy(after).double()(copy.deepcopy(own).double()(x))
    return None if is_close(folded.double()(x), want) else "the folded layer's results would differ on the samples"


@torch.no_grad()
def _keeps_outputs(graph: MaseGraph, folded: Mapping[str, str], dummy_in: Mapping[str, Any]) -> bool:
    """Whether the outputs of the whole graph for some samples are the same with all of `folded`."""
    trial = copy.deepcopy(graph)
    _fold_all(trial, folded)
    inputs = placeholder_inputs(graph, dummy_in)
    return all(map(is_close, outputs_of(trial, inputs), outputs_of(graph, inputs)))


def outputs_of(graph: MaseGraph, inputs: list[Any]) -> list[Tensor]:
    """The tensors that a graph returns, computed in float64 where the model takes that."""
    try:
        return _outputs(graph, inputs, torch.float64)
    except Exception:  # a model that insists on its own type
        return _outputs(graph, inputs, None)


@torch.no_grad()
def _outputs(graph: MaseGraph, inputs: list[Any], dtype: torch.dtype | None) -> list[Tensor]:
    model = copied_module(graph.model).eval()
    model = model.to(dtype) if dtype else model
    moved = [
        value.to(dtype or value.dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for value in inputs
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [value for value in tree_leaves(model(*moved)) if isinstance(value, Tensor)]


def is_close(value: Tensor, want: Tensor) -> bool:
    """Whether a tensor is another one, but for `TOLERANCE` of the greatest value."""
    if value.shape != want.shape:
        return False
    if not want.is_floating_point() or not want.numel():
        return torch.equal(value, want)
    return bool((value - want).abs().max() <= TOLERANCE * want.abs().max())


def _fold_all(graph: MaseGraph, folded: Mapping[str, str]) -> None:
    for norm, layer in folded.items():
        modules = (graph.model.get_submodule(str(graph.node(name).target)) for name in (layer, norm))
        _fold(*modules)
    remove_folded_norms(graph, folded)


@torch.no_grad()
def _fold(layer: nn.Module, norm: nn.Module) -> None:
    """y = (w x + b - mean) · gain + shift as one layer, computed in float64."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    mean, variance = _double(norm.running_mean), _double(norm.running_var)
    gain = (variance + float(norm.eps)).rsqrt()  # type: ignore[arg-type]
    gain = gain * _double(norm.weight) if norm.weight is not None else gain
    shift = _double(norm.bias) if norm.bias is not None else torch.zeros_like(gain)
    old_bias = _double(bias) if bias is not None else torch.zeros_like(gain)
    folded = weight.double() * gain.reshape(-1, *[1] * (weight.ndim - 1))
    layer.weight = nn.Parameter(folded.to(weight.dtype), weight.requires_grad)
    layer.bias = nn.Parameter(((old_bias - mean) * gain + shift).to(weight.dtype), weight.requires_grad)


def _double(tensor: object) -> Tensor:
    assert isinstance(tensor, Tensor)
    return tensor.double()


def _show(folded: Mapping[str, str], left: Mapping[str, str]) -> None:
    rows = [*((norm, layer, "") for norm, layer in folded.items()), *((norm, "", why) for norm, why in left.items())]
    headings = ("batch norm", "folded into", "left alone, because")
    terminal().print(table_of(headings, rows, header_style="bold"))
