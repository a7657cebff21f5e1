"""The pass that migrates scales from activations to the weights that read them, as SmoothQuant does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from chop.ir import MaseGraph
from chop.passes.graph.analysis.metadata import Info, PassArgs, check_args, evaluating
from chop.passes.graph.registry import register_pass
from chop.passes.graph.samples import Batch, require_finite, running, samples_argument, samples_of
from chop.passes.graph.transforms.scales.groups import Group
from chop.passes.graph.transforms.scales.move import USUAL_ALPHA, Moving, consumers_range, move_scales, require_alpha


@register_pass("migrate_scales", inputs={"dummy_in": "two_samples", "input_generator": "batches"}, keeps_float=True)
def migrate_scales_transform_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Divide activations by a scale for each channel, and multiply the weights that read them, so that both are easier.

    The scale is max|x|^alpha / max|w|^(1 - alpha), with the greatest activation of the channel on `num_samples` samples
    and the greatest weight that reads it: `alpha` = 0.5 makes both equal, more moves more into the weights (Xiao et
    al., arXiv:2211.10438, equation 4). The norm or layer that makes the activations takes the division in its weights,
    so nothing more is computed. `dummy_in`, {argument: a few samples}, is run before and after: the outputs in float
    stay the same to 1e-5 of the largest, or the layer is left as it is. `show = false` prints nothing.
    The info is {"moved": {layer: {"into": [layers], "scales": [least, greatest]}}, "left": {layer: why not}}.
    Raises PassError where formats are chosen already.
    """
    args = check_args("migrate_scales", pass_args, ("dummy_in", "input_generator", "num_samples", "alpha", "show"))
    alpha = require_alpha("migrate_scales", args.get("alpha", USUAL_ALPHA))
    largest = _largest(graph, samples_of("migrate_scales", graph, args))

    def ranges(graph: MaseGraph, group: Group) -> tuple[Tensor, Tensor]:
        sizes = [own.reshape(group.channels(graph.model), -1).amax(1) for own in _read(graph, group, largest)]
        return torch.stack(sizes).amax(0), consumers_range(graph, group)

    return graph, move_scales(
        graph, Moving("migrate_scales", ranges, alpha, 1), args.get("dummy_in"), args.get("show", True)
    )


def _read(graph: MaseGraph, group: Group, largest: Mapping[str, Tensor]) -> list[Tensor]:
    return [largest[consumer.node] for consumer in group.consumers]


@torch.no_grad()
def _largest(graph: MaseGraph, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """The greatest magnitude of each input channel of each layer on some samples."""
    found: dict[str, Tensor] = {}
    with evaluating(graph), running(samples_argument("migrate_scales")):
        for batch in batches:
            _Largest(graph, found).run(*batch.inputs)
    return found


class _Largest(fx.Interpreter):
    """Keeps the greatest magnitude of each channel that layers read."""

    def __init__(self, graph: MaseGraph, found: dict[str, Tensor]) -> None:
        super().__init__(graph.model)
        self.ops = {
            name: op for name, op in graph.quantizable_nodes().items() if op.multiplies and "data_in" in op.args
        }
        self.found = found

    def run_node(self, n: fx.Node) -> Any:
        if n.name in self.ops:
            op = self.ops[n.name]
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            x = op.args["data_in"][0].of(args, kwargs)
            require_finite(samples_argument("migrate_scales"), n, x)
            own = x.abs().movedim(1 if op.is_image else -1, 0).flatten(1).amax(1)
            before = self.found.get(n.name)
            self.found[n.name] = own if before is None else torch.maximum(before, own)
        return super().run_node(n)
