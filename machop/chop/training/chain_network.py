"""Trains graphs that are chains of linear layers and ReLUs on vectors, by the steps of `width_chain`."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn

from chop.errors import GraphError
from chop.formats import MeasuredTensor
from chop.ir import MaseGraph, QuantPlan
from chop.ir.calibration import Slot
from chop.ir.learned import LearnedFormats, learned_in
from chop.training.code_costs import DESCENT_COSTS, EBOPS
from chop.training.code_descent import CodeDescent
from chop.training.soft_loss import SoftLoss
from chop.training.width_chain import Chain
from chop.training.width_engine import WidthEngine, Widths
from chop.training.width_network import (
    WidthOptions,
    average_width,
    is_identity,
    is_relu,
    learnable_layers,
    widths_of,
)
from chop.training.width_samples import Samples


def chain_of(graph: MaseGraph) -> list[str] | None:
    """The names of the linear layers of a graph that is a chain of them with ReLUs between; None for any other."""
    return None if chain_obstacle(graph) is not None else [node.name for node in graph.nodes if _is_linear(graph, node)]


def chain_obstacle(graph: MaseGraph) -> fx.Node | None:
    """The first node that keeps a graph from being such a chain; None for a chain.

    What changes nothing in eval mode (dropout, `nn.Identity`) may stand anywhere; a layer is called once.
    """
    expects_layer, called_once = True, learnable_layers(graph)
    for node in graph.nodes:
        if node.op == "placeholder":
            if node is not graph.nodes[0]:
                return node
            continue
        if len(node.users) > 1 or [*node.all_input_nodes] != [node.prev]:
            return node
        if node.op == "output":
            return None if not expects_layer and node.args[0] is node.prev else node
        if is_identity(graph, node):
            continue
        is_layer = node.name in called_once and _is_linear(graph, node)
        if not (is_layer if expects_layer else is_relu(graph, node)):
            return node
        expects_layer = not expects_layer
    return graph.nodes[-1]


def _is_linear(graph: MaseGraph, node: fx.Node) -> bool:
    return node.op == "call_module" and type(graph.model.get_submodule(str(node.target))) is nn.Linear


class ChainNetwork(WidthEngine):
    """The chain of linear layers `names` of a graph; `train` has soft targets."""

    def __init__(self, graph: MaseGraph, train: Samples, options: WidthOptions, names: list[str]) -> None:
        self.train, self.cost_name, self.names = train, options.cost, names
        self.paths = [str(graph.node(name).target) for name in names]
        self.float_state = {name: own.detach().clone() for name, own in graph.model.state_dict().items()}
        weights = [self.float_state[f"{path}.weight"] for path in self.paths]
        self.has_bias = [f"{path}.bias" in self.float_state for path in self.paths]
        biases = [
            self.float_state.get(f"{path}.bias", w.new_zeros(len(w)))
            for path, w in zip(self.paths, weights, strict=True)
        ]
        self.chain = Chain(
            weights,
            biases,
            self.has_bias,
            (options.weight_fraction, options.activation_fraction),
            options.cost,
            half_up=options.activation_rounding == "half_up",
            loss=SoftLoss(options.error_share),
        )
        self.patience, self.descent_costs = options.removal_patience, DESCENT_COSTS[options.descent_cost]
        assert train.shares is not None
        self.x, self.shares = train.x.t().contiguous(), train.shares.t().contiguous()
        self.epoch_x, self.epoch_shares = self.x, self.shares

    def start_epoch(self, order: Tensor) -> None:
        self.chain.next_epoch()
        self.epoch_x = self.x[self.chain.kept[0]].index_select(1, order)
        self.epoch_shares = self.shares.index_select(1, order)

    def step(self, first: int, last: int, factor: float, rates: tuple[float, float]) -> None:
        self.chain.step(self.epoch_x[:, first:last], self.epoch_shares[:, first:last], factor, rates)

    def end_epoch(self) -> None:
        self.chain.drop_unused(self.patience)

    def measure_ranges(self) -> None:
        self.chain.measure_ranges(self.x[self.chain.kept[0]])

    def loss(self, samples: Samples) -> float:
        outputs = self.chain.outputs(samples.x.t()[self.chain.kept[0]].contiguous())
        return self.chain.loss.of_classes(outputs.t(), samples.y)

    def cost(self) -> float:
        return self.chain.ebops() if self.cost_name == "ebops" else average_width(self.widths())

    def weights(self) -> dict[str, Tensor]:
        found = {name: own.clone() for name, own in self.float_state.items()}
        for path, own, has_bias in zip(self.paths, self.chain.tensors(), self.has_bias, strict=True):
            found[f"{path}.weight"] = own["weight_value"]
            if has_bias:
                found[f"{path}.bias"] = own["bias_value"]
        return found

    def widths(self) -> dict[Slot, Widths]:
        found: dict[Slot, Widths] = {}
        for name, own, has_bias in zip(self.names, self.chain.tensors(), self.has_bias, strict=True):
            operands = {
                "data_in": widths_of(own["input_bits"], own["input_fraction"], own["input_sign"]),
                "weight": widths_of(own["weight_bits"], own["weight_fraction"]),
            }
            if has_bias:
                operands["bias"] = widths_of(own["bias_bits"], own["bias_fraction"])
            rounds_down = self.chain.half_up and name != self.names[0]
            found |= {(name, operand): it._replace(rounds_down=rounds_down) for operand, it in operands.items()}
        return found

    def load_network(self, network: MaseGraph) -> None:
        """Take the weights and widths of a network of this graph that was trained before.

        Nothing may have been taken out before. Raises GraphError where an operand has no learned widths.
        """
        formats, pristine = learned_in(network.plan), copy.deepcopy(network)
        pristine.apply_plan(QuantPlan())
        weights, layers = pristine.model.state_dict(), []
        for name, path, (rows, columns), has_bias in zip(
            self.names, self.paths, self.chain.full, self.has_bias, strict=True
        ):
            layer = {"bias_value": torch.zeros(rows), "bias_fraction": torch.zeros(rows)}
            shapes = {"weight": (rows, columns), "bias": (rows,), "data_in": (columns,)}
            for operand in ("weight", "bias", "data_in") if has_bias else ("weight", "data_in"):
                bits, fraction, is_signed = _widths_in(formats, (name, operand))
                part = operand.removeprefix("data_").replace("in", "input")
                layer[f"{part}_fraction"] = fraction.expand(shapes[operand]).float()
                layer[f"{part}_bits"] = bits.expand(shapes[operand]).float()
                if operand == "data_in":
                    layer["input_sign"] = float(is_signed) * torch.ones(columns)
                else:
                    layer[f"{operand}_value"] = weights[f"{path}.{operand}"]
            layers.append(layer)
        self.chain.load_tensors(layers)
        self.measure_ranges()
        self.chain.free_inputs()

    def settle(self, begins: bool) -> None:
        """From now on train the tops of inputs too, and count what descents count; or no longer."""
        self.chain.learn_tops(begins)
        self.chain.costs = self.descent_costs if begins else EBOPS

    def descend(self, factor: float, tries: int, seed: int) -> float:
        """Go on by changes of single codes, which stay where the loss of all training samples plus the cost falls.

        Returns that sum, the cost times `factor`.
        """
        layers, left = self.chain.coded()
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))
        x, shares = self.x[self.chain.kept[0][left[0]]], self.shares
        descent = CodeDescent(
            layers, x[:, order].numpy(), shares[:, order].numpy(), factor, self.chain.loss, self.descent_costs
        )
        descent.descend(tries, abs(seed))
        self.chain.take(layers, left)
        return descent.loss + factor * descent.cost

    def state(self) -> dict[str, Tensor]:
        return self.chain.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.chain.load_state(state)


def _widths_in(formats: LearnedFormats, slot: Slot) -> tuple[Tensor, Tensor, bool]:
    """The widths and the fraction widths of an operand, and whether it is signed."""
    own = formats.get(slot)
    if own is None or own.element_width is None or not isinstance(own.frac_width, MeasuredTensor):
        raise GraphError(f"{slot[0]} ({slot[1]}) has no learned widths: give a network that train_widths has found")
    return own.element_width.values, own.frac_width.values, own.is_signed
