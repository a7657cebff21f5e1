"""A traced network as it is trained with learned widths: which layers learn, how it runs, what it costs."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from chop.dataset.rows import cut, take
from chop.ir import MaseGraph
from chop.ir.calibration import Slot
from chop.ir.graph.writes import DROPOUTS, IS_ITSELF
from chop.tools.get_input import call_model
from chop.training.code_costs import DescentCost
from chop.training.soft_loss import SoftLoss
from chop.training.width_engine import WidthEngine, Widths
from chop.training.width_layers import LearnedLayer, widest_of
from chop.training.width_samples import ROWS, Samples

EPSILON = 1e-7
LEARNED = (nn.Linear, nn.Conv1d, nn.Conv2d)
LEARNED_LAYERS = (
    "modules Linear, Conv1d and Conv2d that are called once (not for functional calls, modules called several times, "
    "and other layers)"
)
"""The layers whose widths can be learned, in words that follow "for"."""

RELU = (nn.ReLU, F.relu, torch.relu)
FUNCTIONAL_DROPOUTS = tuple(getattr(F, name) for name in DROPOUTS)
"""The functions of torch that are dropouts."""


class WidthOptions(Protocol):
    """What an engine reads of the options of a training."""

    @property
    def cost(self) -> str:
        """The cost in the loss: `ebops`, or the average width in bits."""

    @property
    def weight_granularity(self) -> str:
        """The values that share a width of weights: `tensor`, `channel` or `element`."""

    @property
    def activation_granularity(self) -> str:
        """The values that share a width of activations: `tensor`, `channel` or `element`."""

    @property
    def weight_fraction(self) -> float:
        """The fraction width of weights at the start, in bits."""

    @property
    def activation_fraction(self) -> float:
        """The fraction width of activations at the start, in bits."""

    @property
    def activation_rounding(self) -> str:
        """How activations are rounded: `half_even`, or `half_up` (lower bits are cut off)."""

    @property
    def descent_cost(self) -> DescentCost:
        """What descents count."""

    @property
    def removal_patience(self) -> int:
        """Epochs without use after which a feature is removed for good."""

    @property
    def error_share(self) -> float:
        """The share of the expected error in the loss, from 0 to 1 (`SoftLoss`)."""


class TracedNetwork(WidthEngine):
    """The network of `graph` with a `LearnedLayer` in place of each linear and convolutional layer in `learns`.

    All else stays in float as it is in eval mode.
    """

    def __init__(
        self, graph: MaseGraph, train: Samples, options: WidthOptions, learns: Mapping[str, frozenset[str]]
    ) -> None:
        self.train, self.cost_name, self.soft_loss = train, options.cost, SoftLoss(options.error_share)
        twin = copy.deepcopy(graph)
        self.model: fx.GraphModule = twin.model.eval()
        self.float_state = graph.model.state_dict()
        self.layers: dict[str, LearnedLayer] = {}
        granularities = options.weight_granularity, options.activation_granularity
        for name, (path, own, result) in learnable(twin, cut(train.x, 0, 2)).items():
            if not learns.get(name):
                continue
            behind = _drop_relu(twin, twin.node(name))
            inner = self.model.get_submodule(path)
            start = options.weight_fraction, options.activation_fraction
            layer = LearnedLayer(inner, own, granularities, start, behind, learns[name])
            layer.positions = 1 if isinstance(inner, nn.Linear) else math.prod(result[1:])
            self.model.set_submodule(path, layer)
            self.layers[name] = layer
        self.model.recompile()
        slow, quick = self.parameters()
        self.optimizer = torch.optim.Adam([{"params": slow}, {"params": quick}], eps=EPSILON, fused=True)
        self.order = torch.arange(len(train))

    def parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The weights, and the widths."""
        named = list(self.model.named_parameters())
        widths = [own for name, own in named if name.endswith("_fraction")]
        return [own for name, own in named if not name.endswith("_fraction")], widths

    def start_epoch(self, order: Tensor) -> None:
        self.order = order
        self._forget_ranges()
        self._set_training(True)

    def step(self, first: int, last: int, factor: float, rates: tuple[float, float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        self._backward(self.order[first:last])
        elements = self._elements()
        for layer in self.layers.values():
            layer.add_cost_gradient(factor, self.cost_name, elements)
        self.optimizer.step()

    def _backward(self, rows: Tensor) -> None:
        outputs, samples = self(take(self.train.x, rows)), self.train
        if samples.shares is not None:
            loss = self.soft_loss.of_samples(outputs, samples.shares[rows])
        else:
            own = samples.task.loss(outputs, samples.y[rows])
            assert own is not None
            loss = own
        loss.backward()  # type: ignore[no-untyped-call]

    def __call__(self, x: Any) -> Tensor:
        """The outputs."""
        outputs: Tensor = call_model(self.model, x, self.train.output)
        return outputs

    def _set_training(self, training: bool) -> None:
        for layer in self.layers.values():
            layer.training = training

    @torch.no_grad()
    def _predictions(self, samples: Samples) -> Tensor:
        self._set_training(False)
        parts = [self(cut(samples.x, row, row + ROWS)) for row in range(0, len(samples), ROWS)]
        self._set_training(True)
        return torch.cat(parts)

    def loss(self, samples: Samples) -> float:
        predictions = self._predictions(samples)
        if self.soft_loss.error_share:
            return self.soft_loss.of_classes(predictions, samples.y)
        return samples.loss(predictions)

    def _forget_ranges(self) -> None:
        for layer in self.layers.values():
            layer.forget_range()

    @torch.no_grad()
    def measure_ranges(self) -> None:
        self._forget_ranges()
        for row in range(0, len(self.train), ROWS):
            self(cut(self.train.x, row, row + ROWS))

    def _elements(self) -> int:
        return sum(layer.weight.numel() + layer.bias.numel() for layer in self.layers.values())

    def cost(self) -> float:
        if self.cost_name == "ebops":
            return sum(layer.ebops() for layer in self.layers.values())
        return average_width(self.widths())

    def weights(self) -> dict[str, Tensor]:
        trained = self.model.state_dict()
        return {name: trained.get(name, own).detach().clone() for name, own in self.float_state.items()}

    @torch.no_grad()
    def widths(self) -> dict[Slot, Widths]:
        found: dict[Slot, Widths] = {}
        for name, layer in self.layers.items():
            bits, sign = layer.input_bits()
            own = {
                "data_in": widths_of(bits, layer.input_fraction.detach(), sign),
                "weight": widths_of(layer.weight_bits(), layer.weight_fraction.detach()),
                "bias": widths_of(layer.bias_bits(), layer.bias_fraction.detach()),
            }
            found |= {(name, operand): own[operand] for operand in layer.fractions()}
        return found

    def state(self) -> dict[str, Tensor]:
        found = {f"model.{name}": own.detach().clone() for name, own in self.model.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"adam.{number}.{name}": own.clone() for name, own in moments.items()}
        return found

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        own = {name.removeprefix("model."): tensor for name, tensor in state.items() if name.startswith("model.")}
        self.model.load_state_dict(own)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith("adam."):
                _, number, key = name.split(".")
                moments.setdefault(int(number), {})[key] = tensor.clone()
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})


def widths_of(bits: Tensor, fraction: Tensor, sign: Tensor | None = None) -> Widths:
    """Widths from bits without a sign; without `sign`, that of parameters, each that is not zero has one.

    Values that share a fraction width share the width of the widest of them.
    """
    bits = widest_of(bits, fraction.shape)
    sign = (bits > 0).to(bits.dtype) if sign is None else sign
    width, fractions = (own.expand(bits.shape).to(torch.int8).clone() for own in (bits + sign, fraction.round()))
    return Widths(width, fractions, bool(sign.any()))


def average_width(widths: Mapping[Slot, Widths]) -> float:
    """The mean width of a weight or bias."""
    own = [found.width for (_, operand), found in widths.items() if operand != "data_in"]
    return sum(float(width.sum()) for width in own) / max(sum(width.numel() for width in own), 1)


def learnable(graph: MaseGraph, x: Any) -> dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """For each node whose layer can learn: its path, and the shapes of a sample of its input and of its result."""
    found: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {}
    handles = []
    for name, path in learnable_layers(graph).items():

        def note(module: nn.Module, args: Any, result: Tensor, path: str = path, name: str = name) -> None:
            dims = module.weight.ndim - 1  # type: ignore[operator]
            found[name] = (path, tuple(args[0].shape[-dims:]), tuple(result.shape[-dims:]))

        handles.append(graph.model.get_submodule(path).register_forward_hook(note))
    with torch.no_grad():
        call_model(graph.model, x, None)
    for handle in handles:
        handle.remove()
    return found


def learnable_layers(graph: MaseGraph) -> dict[str, str]:
    """For each node whose layer can learn, the path of the layer; `LEARNED_LAYERS` says which can."""
    calls: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.op == "call_module" and _can_learn(graph.inner(node)):
            calls.setdefault(str(node.target), []).append(node.name)
    return {names[0]: path for path, names in calls.items() if len(names) == 1}


def _can_learn(module: nn.Module) -> bool:
    return type(module) in LEARNED and getattr(module, "padding_mode", "zeros") == "zeros"


def _drop_relu(graph: MaseGraph, node: fx.Node) -> bool:
    """Take out the ReLU before a layer where nothing else reads it; whether there was one."""
    before = node.args[0] if node.args else None
    if not isinstance(before, fx.Node) or not is_relu(graph, before) or set(before.users) != {node}:
        return False
    node.replace_input_with(before, before.all_input_nodes[0])
    graph.fx_graph.erase_node(before)
    return True


def is_relu(graph: MaseGraph, node: fx.Node) -> bool:
    """Whether a node is a ReLU."""
    if node.op == "call_module":
        return type(graph.model.get_submodule(str(node.target))) is nn.ReLU
    return node.target in RELU if node.op == "call_function" else node.op == "call_method" and node.target == "relu"


def is_identity(graph: MaseGraph, node: fx.Node) -> bool:
    """Whether a node returns its input in eval mode: a dropout, or `nn.Identity`."""
    if node.op == "call_module":
        return type(graph.model.get_submodule(str(node.target))) in IS_ITSELF
    training = node.kwargs.get("training", node.args[2] if len(node.args) > 2 else True)
    return node.target in FUNCTIONAL_DROPOUTS and training is False
