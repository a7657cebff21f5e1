"""Trains the fraction width of each weight and each value of the activations, together with the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from chop.dataset.data import Data
from chop.formats import Format, Integer, MeasuredTensor, format_name
from chop.formats.learned import LEARNED
from chop.ir import MaseGraph, QuantPlan
from chop.ir.calibration import Slot
from chop.ir.learned import learned_in
from chop.training.soft_targets import Samples, all_samples
from chop.training.width_network import Network, Widths

Granularity = Literal["tensor", "channel", "element"]


@dataclass(frozen=True)
class WidthTraining:
    """Options of a training of widths.

    The loss is that of the labels, mixed with the float network's own outputs (`teacher_share`), plus a factor times
    the cost: EBOPs (bits of each input times bits of each weight that reads it), or the average width of a value. The
    factor grows from `first_factor` to `last_factor`, in equal steps of its logarithm, so that one run passes through
    networks of falling cost. The learning rate falls as a cosine in each of `cycles` equal parts of the run.
    """

    epochs: Annotated[int, Ge(1)] = 200
    batch_size: Annotated[int, Gt(0)] = 1024
    learning_rate: Annotated[float, Gt(0), Le(10)] = 3e-3
    width_learning_rate: Annotated[float, Gt(0), Le(10)] = 3e-3
    cost: Literal["ebops", "average_bitwidth"] = "ebops"
    first_factor: Annotated[float, Ge(0)] = 1e-6
    last_factor: Annotated[float, Ge(0)] = 1e-4
    weight_granularity: Granularity = "element"
    activation_granularity: Granularity = "element"
    weight_fraction: float = 5.0
    activation_fraction: float = 5.0
    teacher_share: Annotated[float, Ge(0), Le(1)] = 0.5
    cycles: Annotated[int, Ge(1)] = 10
    snapshots: Annotated[int, Ge(1)] = 20
    seed: int = 0

    def factor(self, share: float) -> float:
        """The factor of the cost after a share of the run.

        >>> WidthTraining(first_factor=1e-6, last_factor=1e-4).factor(0.5)
        1e-05
        """
        if self.first_factor == 0 or self.last_factor == 0:
            return self.first_factor + (self.last_factor - self.first_factor) * share
        low, high = math.log(self.first_factor), math.log(self.last_factor)
        return float(f"{math.exp(low + (high - low) * share):.12g}")

    def rate(self, share: float) -> float:
        """The factor of the learning rates after a share of the run.

        >>> [round(WidthTraining(cycles=2).rate(share), 3) for share in (0.0, 0.25, 0.4999, 0.5)]
        [1.0, 0.505, 0.01, 1.0]
        """
        place = (share * self.cycles) % 1.0
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * place))


@dataclass(frozen=True)
class Snapshot:
    """A network along the run.

    `weights` is the state dict of the float graph's model, `widths` has for each operand of each layer the width, the
    fraction width and the sign of each value, whole numbers. `cost` is exact: ranges of all training samples, bits of
    each weight from its highest to its lowest one that is set. `state` is what `train_widths` needs to go on.
    """

    step: int
    epoch: int
    factor: float
    cost: float
    validation_loss: float
    weights: Mapping[str, Tensor]
    widths: Mapping[Slot, Widths]
    state: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def train_widths(
    graph: MaseGraph, data: Data, options: WidthTraining, start: Snapshot | None = None
) -> Iterator[Snapshot]:
    """Train the widths of `graph`, which stays as it is, and yield networks of falling cost, `snapshots` in all.

    Each is the one of the least validation loss in its part of the run. With `start`, a snapshot of the same training,
    the run goes on behind it and yields what it would have yielded unbroken.

    Raises GraphError for a graph without a layer whose widths can be trained.
    """
    return _Run(graph, data, options).snapshots(start)


def snapshot_graph(graph: MaseGraph, snapshot: Snapshot) -> MaseGraph:
    """A copy of `graph` with the weights and the widths of a snapshot of its training, all other nodes in float."""
    twin = copy.deepcopy(graph)
    twin.apply_plan(QuantPlan())
    twin.model.load_state_dict(dict(snapshot.weights))
    twin.forget_calibration()
    plan: dict[str, dict[str, Format]] = {}
    for (node, operand), own in snapshot.widths.items():
        chosen = Integer(
            max(int(own.width.max()), 1),
            MeasuredTensor(own.frac_width),
            is_signed=own.is_signed,
            element_width=MeasuredTensor(own.width),
        )
        plan.setdefault(node, {})[operand] = chosen
    twin.apply_plan(QuantPlan.of(plan))
    return twin


def learned_config(graph: MaseGraph) -> dict[str, Any]:
    """The config, `by = "name"`, of a graph whose widths are learned: what a pass, or a search, would have given it."""
    config: dict[str, Any] = {"by": "name", "default": {"config": {"name": "NA"}}}
    for (node, operand), own in learned_in(graph.plan).items():
        entry = config.setdefault(node, {"config": {"name": format_name(type(own))}})
        entry["config"] |= {f"{operand}_width": own.width, f"{operand}_frac_width": LEARNED}
    return config


class _Run:
    def __init__(self, graph: MaseGraph, data: Data, options: WidthTraining) -> None:
        self.options = options
        self.train: Samples = all_samples(data, "train")
        self.validation: Samples = all_samples(data, "val")
        self.network = Network(
            graph,
            self.train.x,
            (options.weight_granularity, options.activation_granularity),
            (options.weight_fraction, options.activation_fraction),
        )
        if options.teacher_share:
            self.train = self.train.taught(self.network.teacher, options.teacher_share)
        slow, quick = self.network.parameters()
        self.optimizer = torch.optim.Adam(
            [
                {"params": slow, "lr": options.learning_rate},
                {"params": quick, "lr": options.width_learning_rate},
            ],
            fused=True,
        )
        self.rates = (options.learning_rate, options.width_learning_rate)
        self.step, self.first_epoch = 0, 0

    def snapshots(self, start: Snapshot | None) -> Iterator[Snapshot]:
        options = self.options
        if start is not None:
            self._go_on(start)
        best: Snapshot | None = None
        for epoch in range(self.first_epoch, options.epochs):
            factor = options.factor(epoch / max(options.epochs - 1, 1))
            self._epoch(epoch, factor)
            if best is None or self.network.loss(self.validation) < best.validation_loss:
                best = self._snapshot(epoch, factor)
            part = (epoch + 1) * options.snapshots // options.epochs
            if part > epoch * options.snapshots // options.epochs:
                yield Snapshot(**{**vars(best), "state": self._state(epoch)})
                best = None

    def _epoch(self, epoch: int, factor: float) -> None:
        options, network = self.options, self.network
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.train), generator=generator)
        batches = max(len(order) // options.batch_size, 1)
        network.forget_ranges()
        for batch in range(batches):
            share = (epoch + batch / batches) / options.epochs
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * options.rate(share)
            rows = order[batch * options.batch_size : (batch + 1) * options.batch_size]
            self.optimizer.zero_grad(set_to_none=True)
            network.backward(self.train, rows)
            network.add_cost_gradients(factor, options.cost)
            self.optimizer.step()
            self.step += 1

    def _snapshot(self, epoch: int, factor: float) -> Snapshot:
        """The network as it stands, its ranges those of all training samples."""
        network = self.network
        network.measure_ranges(self.train)
        cost, loss = network.cost(self.options.cost), network.loss(self.validation)
        return Snapshot(self.step, epoch, factor, cost, loss, network.weights(), network.widths())

    def _state(self, epoch: int) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "step": self.step,
            "network": self.network.state(),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
        }

    def _go_on(self, start: Snapshot) -> None:
        self.first_epoch, self.step = start.state["epoch"] + 1, start.state["step"]
        self.network.load_state(start.state["network"])
        self.optimizer.load_state_dict(copy.deepcopy(dict(start.state["optimizer"])))
