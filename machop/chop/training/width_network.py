"""A traced network as it is trained with learned widths: which layers learn, how it runs, what it costs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from chop.dataset.rows import cut, take
from chop.errors import GraphError
from chop.ir import MaseGraph, QuantPlan
from chop.ir.calibration import Slot
from chop.tools.get_input import call_model
from chop.training.soft_targets import ROWS, Samples
from chop.training.width_layers import LearnedLayer

LEARNED = (nn.Linear, nn.Conv1d, nn.Conv2d)
FLAT = (nn.Linear, nn.ReLU, nn.Identity, nn.Dropout)
RELU = (nn.ReLU, F.relu, torch.relu)


class Widths(NamedTuple):
    """Width (its sign bit counted) and fraction width of each value of an operand, int8; whether values are signed.

    A width of zero is an exact zero. The shapes broadcast to a parameter, or to a sample of an activation.
    """

    width: Tensor
    frac_width: Tensor
    is_signed: bool


class Network:
    """The network of `graph` with a `LearnedLayer` in place of each linear and convolutional layer.

    All else stays in float as it is in eval mode. Networks of linear layers and ReLUs alone run in planes.
    """

    def __init__(self, graph: MaseGraph, x: Any, granularities: tuple[str, str], start: tuple[float, float]) -> None:
        pristine = copy.deepcopy(graph)
        pristine.apply_plan(QuantPlan())
        self.float_model = pristine.model.eval().requires_grad_(False)
        twin = copy.deepcopy(pristine)
        self.model: fx.GraphModule = twin.model.eval()
        shapes = _shapes(twin, cut(x, 0, 2))
        self.planes = _is_flat(twin, x)
        self.layers: dict[str, LearnedLayer] = {}
        self.paths: dict[str, str] = {}
        for name, (path, own, result) in shapes.items():
            behind = _drop_relu(twin, twin.node(name), shapes)
            inner = self.model.get_submodule(path)
            layer = LearnedLayer(inner, own, granularities, start, behind, self.planes)
            layer.positions = int(torch.Size(result[1:]).numel()) if isinstance(inner, (nn.Conv1d, nn.Conv2d)) else 1
            self.model.set_submodule(path, layer)
            self.layers[name], self.paths[name] = layer, path
        if not self.layers:
            raise GraphError("no layer's widths can be trained: there is no linear or convolutional layer called once")
        self.model.recompile()

    def parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The weights, and the widths."""
        named = list(self.model.named_parameters())
        widths = [own for name, own in named if name.endswith("_fraction")]
        return [own for name, own in named if not name.endswith("_fraction")], widths

    def teacher(self, x: Any) -> Tensor:
        """The outputs of the float network."""
        found: Tensor = call_model(self.float_model, x, None)
        return found

    def __call__(self, x: Any) -> Tensor:
        """Outputs; in planes `(outputs, samples)`."""
        if self.planes:
            found: Tensor = self.model(x.t().contiguous())
            return found
        outputs: Tensor = call_model(self.model, x, None)
        return outputs

    def backward(self, samples: Samples, rows: Tensor) -> None:
        """Add the gradients of the mean loss of some samples."""
        for layer in self.layers.values():
            layer.training = True
        outputs = self(take(samples.x, rows))
        if samples.shares is not None:
            wanted = samples.shares[rows]
            loss = -(F.log_softmax(outputs, 0 if self.planes else 1) * (wanted.t() if self.planes else wanted)).sum()
            loss = loss / len(rows)
        else:
            own = samples.task.loss(outputs.t() if self.planes else outputs, samples.y[rows])
            assert own is not None
            loss = own
        loss.backward()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def predictions(self, samples: Samples) -> Tensor:
        """The outputs `(samples, …)` under the ranges as they are."""
        for layer in self.layers.values():
            layer.training = False
        parts = [self(cut(samples.x, row, row + ROWS)) for row in range(0, len(samples), ROWS)]
        return torch.cat([part.t() if self.planes else part for part in parts])

    def loss(self, samples: Samples) -> float:
        """The loss on the targets themselves."""
        found = samples.task.loss(self.predictions(samples).requires_grad_(), samples.y)
        assert found is not None
        return float(found.detach())

    def forget_ranges(self) -> None:
        """Start all ranges anew."""
        for layer in self.layers.values():
            layer.forget_range()

    @torch.no_grad()
    def measure_ranges(self, samples: Samples) -> None:
        """Measure the ranges on all samples."""
        self.forget_ranges()
        for layer in self.layers.values():
            layer.training = True
        for row in range(0, len(samples), ROWS):
            self(cut(samples.x, row, row + ROWS))

    def add_cost_gradients(self, factor: float, cost: str) -> None:
        """Add `factor` times the gradient of the cost to the widths'."""
        elements = sum(layer.weight.numel() + layer.bias.numel() for layer in self.layers.values())
        for layer in self.layers.values():
            layer.add_cost_gradient(factor, cost, elements)

    def cost(self, cost: str) -> float:
        """The cost of the network as it stands, under the ranges as they are."""
        if cost == "ebops":
            return sum(layer.ebops() for layer in self.layers.values())
        widths = self.widths()
        bits = sum(float(own.width.sum()) for (_, operand), own in widths.items() if operand != "data_in")
        return bits / sum(layer.weight.numel() + layer.bias.numel() for layer in self.layers.values())

    def weights(self) -> dict[str, Tensor]:
        """The state dict of the float graph's model with the weights as trained."""
        state = {name: own.detach().clone() for name, own in self.float_model.state_dict().items()}
        trained = self.model.state_dict()
        return {name: trained[name].clone() if name in trained else own for name, own in state.items()}

    @torch.no_grad()
    def widths(self) -> dict[Slot, Widths]:
        """The widths of each operand of each layer that learns."""
        found: dict[Slot, Widths] = {}
        for name, layer in self.layers.items():
            bits, sign = layer.input_bits()
            found[name, "data_in"] = _widths(bits, layer.input_fraction, sign)
            found[name, "weight"] = _widths(layer.weight_bits(), layer.weight_fraction)
            if layer.has_bias:
                found[name, "bias"] = _widths(layer.bias_bits(), layer.bias_fraction)
        return found

    def state(self) -> dict[str, Tensor]:
        """All parameters as they are, for a resume."""
        return {name: own.detach().clone() for name, own in self.model.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        self.model.load_state_dict(dict(state))


def _widths(bits: Tensor, fraction: Tensor, sign: Tensor | None = None) -> Widths:
    sign = (bits > 0).to(bits.dtype) if sign is None else sign
    width, fractions = (own.expand(bits.shape).to(torch.int8).clone() for own in (bits + sign, fraction.round()))
    return Widths(width, fractions, bool(sign.any()))


def _shapes(graph: MaseGraph, x: Any) -> dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """For each node whose layer can learn: its path, and the shapes of a sample of its input and of its result."""
    calls: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.op == "call_module" and _can_learn(graph.model.get_submodule(str(node.target))):
            calls.setdefault(str(node.target), []).append(node.name)
    found: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {}
    handles = []
    for path, names in calls.items():
        if len(names) == 1:

            def note(module: nn.Module, args: Any, result: Tensor, path: str = path, name: str = names[0]) -> None:
                dims = module.weight.ndim - 1  # type: ignore[operator]
                found[name] = (path, tuple(args[0].shape[-dims:]), tuple(result.shape[-dims:]))

            handles.append(graph.model.get_submodule(path).register_forward_hook(note))
    with torch.no_grad():
        call_model(graph.model, x, None)
    for handle in handles:
        handle.remove()
    return found


def _can_learn(module: nn.Module) -> bool:
    return type(module) in LEARNED and getattr(module, "padding_mode", "zeros") == "zeros"


def _is_flat(graph: MaseGraph, x: Any) -> bool:
    """Whether a graph is of linear layers and ReLUs alone, on vectors."""
    if not isinstance(x, Tensor) or x.ndim != 2:
        return False
    calls = [node for node in graph.nodes if node.op not in ("placeholder", "output")]
    return all(
        isinstance(graph.model.get_submodule(str(node.target)), FLAT)
        if node.op == "call_module"
        else node.target in RELU
        for node in calls
    )


def _drop_relu(graph: MaseGraph, node: fx.Node, learned: Mapping[str, Any]) -> bool:
    """Take out the ReLU before a layer where nothing else reads it; whether there was one."""
    before = node.args[0] if node.args else None
    if not isinstance(before, fx.Node) or not _is_relu(graph, before):
        return False
    if set(before.users) == {node}:
        node.replace_input_with(before, before.all_input_nodes[0])
        graph.fx_graph.erase_node(before)
        return True
    return False


def _is_relu(graph: MaseGraph, node: fx.Node) -> bool:
    if node.op == "call_module":
        return type(graph.model.get_submodule(str(node.target))) is nn.ReLU
    return node.op == "call_function" and node.target in RELU
