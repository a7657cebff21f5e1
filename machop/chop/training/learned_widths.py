"""Trains the fraction width of each weight and each value of the activations, together with the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from chop.config.typed import value_problems
from chop.dataset.data import Data
from chop.errors import ConfigError, GraphError
from chop.formats import Format, Integer, IntegerFloor, MeasuredTensor
from chop.formats.learned import LearnedGranularity
from chop.ir import MaseGraph, QuantPlan
from chop.ir.calibration import Slot
from chop.training.chain_network import ChainNetwork
from chop.training.code_costs import DescentCost
from chop.training.descent_reach import DescentReach
from chop.training.width_engine import Widths
from chop.training.width_engines import engine_of
from chop.training.width_samples import all_samples

SETTLING = 0.1
"""The learning rates at which snapshots are settled, as a share of those of the run."""


@dataclass(frozen=True)
class WidthTraining:
    """Options of a training of widths.

    The loss is that of the labels, mixed with a teacher's outputs (`teacher_share`), plus a factor times the cost:
    EBOPs (bits of each input times bits of each weight that reads it), or the average width of a value. The teacher is
    the float network itself, or the mean of `teachers`, checkpoints of the same network in float. The factor grows from
    `first_factor` to `last_factor`, so that one run passes through networks of falling cost: its logarithm by the share
    of the run that is done to the power of `pace` (1: evenly; 0.5: quickly at first, while the network is still large).
    The learning rate falls as a cosine in each of `cycles` equal parts of the run.

    With classes the loss is the cross entropy, and `error_share` of it the expected error in its place (`SoftLoss`):
    networks of few bits then sort more samples correctly, and their outputs are too sure of it.

    `activation_rounding = "half_up"` cuts bits off (format `integer_floor`) and keeps half a step in the bias before:
    no logic for rounding in a circuit. For chains of linear layers with biases. In such chains a feature that nothing
    has used for `removal_patience` epochs is taken out for good, which saves time; let it be more than a cycle.

    With `descent_tries` each snapshot is settled aside: in `descent_rounds` rounds, each of `descent_epochs` epochs at
    a tenth of the learning rates and at the snapshot's factor, then a descent on its codes. That tries so many changes
    of one weight, bias, fraction width or range of an input, and keeps those that lower the loss of the training
    samples plus the factor times the cost; the round in which that sum is least is the snapshot. The run itself goes on
    as if there had been none. For chains of linear layers and EBOPs; networks that cost more than `descent_below` are
    spared, because each change takes longer there, and there are more of them. `descent_cost` is what descents and the
    training at low rates count: EBOPs, or an estimate of LUTs (`CodeCosts`).
    """

    epochs: Annotated[int, Ge(1)] = 200
    batch_size: Annotated[int, Gt(0)] = 1024
    learning_rate: Annotated[float, Ge(0), Le(10)] = 3e-3
    width_learning_rate: Annotated[float, Gt(0), Le(10)] = 3e-3
    cost: Literal["ebops", "average_bitwidth"] = "ebops"
    first_factor: Annotated[float, Ge(0)] = 1e-6
    last_factor: Annotated[float, Ge(0)] = 1e-4
    pace: Annotated[float, Gt(0), Le(10)] = 0.5
    weight_granularity: LearnedGranularity = "element"
    activation_granularity: LearnedGranularity = "element"
    weight_fraction: float = 5.0
    activation_fraction: float = 5.0
    activation_rounding: Literal["half_even", "half_up"] = "half_even"
    removal_patience: Annotated[int, Ge(1)] = 150
    teacher_share: Annotated[float, Ge(0), Le(1)] = 0.5
    teachers: Sequence[str | Path] | None = None
    error_share: Annotated[float, Ge(0), Le(1)] = 0.0
    cycles: Annotated[int, Ge(1)] = 10
    descent_tries: Annotated[int, Ge(0)] = 0
    descent_rounds: Annotated[int, Ge(1)] = 4
    descent_epochs: Annotated[int, Ge(0)] = 25
    descent_below: Annotated[float, Gt(0)] = 4000.0
    descent_cost: DescentCost = "ebops"
    snapshots: Annotated[int, Ge(1)] = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError with all values that cannot be."""
        problems = value_problems(self)
        if not problems and self.first_factor > self.last_factor:
            problems.append(
                f"first_factor: must not be above last_factor ({self.last_factor:g}), got {self.first_factor:g}: the "
                "factor grows along the run; exchange them"
            )
        if not problems and self.epochs < self.snapshots:
            problems.append(
                f"snapshots: {self.snapshots} need as many epochs, and there are {self.epochs}: raise epochs, or lower "
                "snapshots"
            )
        if not problems and self.teachers is not None and not (self.teachers and self.teacher_share):
            why = (
                "have no effect with teacher_share = 0" if self.teachers else "are none: name checkpoints, or give None"
            )
            problems.append(f"teachers: {why}")
        if not problems and self.descent_tries and self.cost != "ebops":
            problems.append(
                f'cost: must be "ebops" where descent_tries is set, got "{self.cost}": the descent counts EBOPs; set '
                "descent_tries = 0 for other costs"
            )
        if problems:
            raise ConfigError(problems)

    @property
    def descends(self) -> bool:
        """Whether networks of the run are descended from."""
        return self.descent_tries > 0

    def factor(self, share: float) -> float:
        """The factor of the cost after a share of the run.

        >>> WidthTraining(first_factor=1e-6, last_factor=1e-4, pace=0.5).factor(0.25)
        1e-05
        """
        share = share**self.pace
        if self.first_factor == 0 or self.last_factor == 0:
            return self.first_factor + (self.last_factor - self.first_factor) * share
        low, high = math.log(self.first_factor), math.log(self.last_factor)
        return float(f"{math.exp(low + (high - low) * share):.12g}")

    def rate(self, share: float) -> float:
        """The factor of the learning rates after a share of the run.

        >>> [round(WidthTraining(cycles=2).rate(share), 3) for share in (0.0, 0.25, 0.4999, 0.5)]
        [1.0, 0.505, 0.01, 1.0]
        """
        return _cosine((share * self.cycles) % 1.0)


@dataclass(frozen=True)
class Snapshot:
    """A network along the run.

    `weights` is the state dict of the float graph's model, `widths` has for each operand of each layer the width, the
    fraction width and the sign of each value, whole numbers. `cost` is exact: ranges of all training samples, bits of
    each weight from its highest to its lowest one that is set. `state` are tensors by name, all that `train_widths`
    needs to go on.
    """

    step: int
    epoch: int
    factor: float
    cost: float
    validation_loss: float
    weights: Mapping[str, Tensor]
    widths: Mapping[Slot, Widths]
    state: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)


def train_widths(
    graph: MaseGraph,
    data: Data,
    options: WidthTraining,
    start: Snapshot | None = None,
    *,
    slots: Collection[Slot] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[Snapshot]:
    """Train the widths of `graph`, which stays as it is, and yield networks of falling cost, `snapshots` in all.

    Each is the one of the least validation loss in its part of the run, or the last one, settled, with `descent_tries`.
    With `start`, a snapshot of the same training, the run goes on behind it and yields what it would have yielded
    unbroken. `slots` are the operands that learn, all others stay in float; without it, those of every linear and
    convolutional layer that is called once. `on_step` is called with the number of steps done and of all.

    Raises GraphError for a graph without a layer whose widths can be trained.
    """
    return WidthRun(graph, data, options, slots, on_step).snapshots(start)


def snapshot_graph(graph: MaseGraph, snapshot: Snapshot) -> MaseGraph:
    """A copy of `graph` with the weights and the widths of a snapshot of its training, all other nodes in float."""
    twin = copy.deepcopy(graph)
    twin.apply_plan(QuantPlan())
    twin.model.load_state_dict(dict(snapshot.weights))
    twin.forget_calibration()
    plan: dict[str, dict[str, Format]] = {}
    for (node, operand), own in snapshot.widths.items():
        chosen = (IntegerFloor if own.rounds_down else Integer)(
            max(int(own.width.max()), 1),
            MeasuredTensor(own.frac_width),
            is_signed=own.is_signed,
            element_width=MeasuredTensor(own.width),
        )
        plan.setdefault(node, {})[operand] = chosen
    twin.apply_plan(QuantPlan.of(plan))
    return twin


def descended(
    graph: MaseGraph,
    network: MaseGraph,
    data: Data,
    options: WidthTraining,
    factor: float,
    *,
    tries: int = 10_000,
    rounds: int = 0,
) -> MaseGraph:
    """A copy of `network`, which a training of `graph` has found, after a longer descent on its codes.

    So many changes of one number are tried, or fewer where a whole sweep finds none that lowers the loss of the
    training samples plus `factor` times the EBOPs. In each of `rounds` more the best network so far is trained for
    `descent_epochs` epochs at a tenth of the rates and descended again. `options` are those of the training.

    Raises GraphError for a network without learned widths for each operand, or that is no chain of linear layers.
    """
    run = WidthRun(graph, data, options)
    run.require_chain()
    run.descend(network, factor, tries, rounds, options.seed)
    return snapshot_graph(graph, run.snapshot(0, factor))


def _cosine(share: float) -> float:
    """From 1 down to a hundredth."""
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))


class WidthRun:
    """A run of a training of widths: its engine, which is the network as it stands, and its samples."""

    def __init__(
        self,
        graph: MaseGraph,
        data: Data,
        options: WidthTraining,
        slots: Collection[Slot] | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> None:
        self.options, self.on_step = options, on_step
        train = all_samples(data, "train")
        self.validation = all_samples(data, "val")
        self.engine = engine_of(graph, train, options, slots)
        self.count = len(train)
        self.batches = max(self.count // options.batch_size, 1)

    def snapshots(self, start: Snapshot | None) -> Iterator[Snapshot]:
        """Yield the networks of the run; behind `start` if it is given, a snapshot of the same run."""
        options = self.options
        first = 0
        if start is not None:
            first = int(start.state["epoch"]) + 1
            self.engine.load_state(start.state)
        best: Snapshot | None = None
        reach = DescentReach(options)
        for epoch in range(first, options.epochs):
            factor = options.factor(epoch / max(options.epochs - 1, 1))
            self._epoch(epoch, factor)
            part = (epoch + 1) * options.snapshots // options.epochs
            is_last = part > epoch * options.snapshots // options.epochs
            if options.descent_tries:
                best = self._settled(epoch, factor) if is_last else None
            elif best is None or self.engine.loss(self.validation) < best.validation_loss:
                best = self.snapshot(epoch, factor)
            if best is not None and is_last:
                reach.saw(best.cost, part)
                yield replace(best, state={**self.engine.state(), "epoch": torch.tensor(epoch)})
                best = None

    def _epoch(self, epoch: int, factor: float) -> None:
        options = self.options
        done = epoch * self.batches
        for batch in self._batches(options.seed * 1_000_003 + epoch):
            rate = options.rate((epoch + batch / self.batches) / options.epochs)
            self._step(batch, factor, rate)
            if self.on_step is not None:
                self.on_step(done + batch + 1, options.epochs * self.batches)
        self.engine.end_epoch()

    def _batches(self, seed: int) -> range:
        """Draw the order of an epoch; the numbers of its batches."""
        self.engine.start_epoch(torch.randperm(self.count, generator=torch.Generator().manual_seed(seed)))
        return range(self.batches)

    def _step(self, batch: int, factor: float, rate: float) -> None:
        options = self.options
        first = batch * options.batch_size
        rates = options.learning_rate * rate, options.width_learning_rate * rate
        self.engine.step(first, min(first + options.batch_size, self.count), factor, rates)

    def _settled(self, epoch: int, factor: float) -> Snapshot:
        """The best network of rounds at a low rate, each with a descent, if it is small enough; the run stays."""
        found, options = self.snapshot(epoch, factor), self.options
        if found.cost > options.descent_below:
            return found
        assert isinstance(self.engine, ChainNetwork)
        kept, least = self.engine.state(), math.inf
        for number in range(options.descent_rounds):
            turn = options.epochs + (epoch * options.descent_rounds + number) * (options.descent_epochs + 1)
            seed = options.seed * 1_000_003 + turn
            self.train_aside(factor, seed, options.descent_epochs)
            reached = self.engine.descend(factor, options.descent_tries, seed)
            if reached < least:
                found, least = self.snapshot(epoch, factor), reached
        self.engine.load_state(kept)
        return found

    def train_aside(self, factor: float, seed: int, epochs: int, rate: float = SETTLING) -> None:
        """Train for some epochs at a share of the rates, which falls, and where activations saturate too."""
        engine = self.require_chain()
        engine.settle(True)
        for number in range(epochs):
            for batch in self._batches(seed + number + 1):
                self._step(batch, factor, rate * _cosine((number + batch / self.batches) / epochs))
            self.engine.end_epoch()
        engine.settle(False)

    def require_chain(self) -> ChainNetwork:
        """The engine, if descents are possible; raises GraphError for a network that is no chain of linear layers."""
        if not isinstance(self.engine, ChainNetwork):
            raise GraphError(
                "a descent needs a chain of linear layers and ReLUs on vectors, widths by element for all inputs, "
                "weights and biases, and the cross entropy of classes"
            )
        return self.engine

    def descend(self, network: MaseGraph, factor: float, tries: int, rounds: int, seed: int) -> None:
        """Descend from a network, as `descended` does; the engine is what is reached then.

        No feature may have been taken out before.
        """
        engine = self.require_chain()
        engine.load_network(network)
        least, best = engine.descend(factor, tries, seed), engine.state()
        for number in range(rounds):
            turn = seed * 1_000_003 + number * (self.options.descent_epochs + 1)
            self.train_aside(factor, turn, self.options.descent_epochs)
            reached = engine.descend(factor, tries, turn)
            if reached < least:
                least, best = reached, engine.state()
            engine.load_state(best)

    def snapshot(self, epoch: int, factor: float) -> Snapshot:
        """The network as it stands, its ranges those of all training samples."""
        engine = self.engine
        engine.measure_ranges()
        step = (epoch + 1) * self.batches
        return Snapshot(
            step, epoch, factor, engine.cost(), engine.loss(self.validation), engine.weights(), engine.widths()
        )
