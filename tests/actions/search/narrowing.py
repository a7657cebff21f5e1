"""A training of a third party: steps of momentum, and one bit less in each snapshot; and a strategy that needs it."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from chop.actions.search.search_space.base import Point
from chop.actions.search.strategies.base import STRATEGIES, SearchStrategyBase, Training
from chop.formats import Integer
from chop.ir import MaseGraph, QuantPlan
from chop.training.snapshots import TRAININGS, OnStep, SnapshotTraining, TrainedNetwork

STEPS = 3
DIE_AT = -1
"""The process ends before it trains this snapshot, as if it was killed."""


@dataclass(frozen=True)
class NarrowingOptions:
    """How many snapshots, and the rate of the steps."""

    snapshots: int = 5
    rate: float = 0.1


class Narrowing(SnapshotTraining):
    """Trains linear layers, and yields them with a width of 8, 7, 6 … bits, two of them above the point."""

    Options = NarrowingOptions
    purpose = "tests"

    def networks(self, state: Mapping[str, Tensor] | None, on_step: OnStep) -> Iterator[TrainedNetwork]:
        graph = copy.deepcopy(self.graph)
        graph.apply_plan(QuantPlan())
        generator = torch.Generator().manual_seed(self.seed)
        weights = dict(graph.model.named_parameters())
        momentum = {name: torch.zeros_like(own) for name, own in weights.items()}
        first = 0
        if state is not None:
            first = int(state["done"])
            generator.set_state(state["generator"])
            momentum = {name: state[f"momentum.{name}"].clone() for name in momentum}
            graph.model.load_state_dict({name: state[f"weights.{name}"] for name in graph.model.state_dict()})
        x, y = next(iter(self.data.batches("train", 512, 512)))
        for number in range(first, self.options.snapshots):
            if number == DIE_AT:
                os._exit(1)
            for _ in range(STEPS):
                self._step(graph, momentum, (x, y), torch.randint(0, len(y), (64,), generator=generator))
            on_step(number + 1, self.options.snapshots)
            kept = {f"momentum.{name}": own.clone() for name, own in momentum.items()}
            kept |= {f"weights.{name}": own.clone() for name, own in graph.model.state_dict().items()}
            kept |= {"generator": generator.get_state(), "done": torch.tensor(number + 1)}
            yield TrainedNetwork(_narrowed(graph, 8 - number), kept, {"step": STEPS * (number + 1)})

    def _step(self, graph: MaseGraph, momentum: dict[str, Tensor], batch: tuple[Any, Tensor], rows: Tensor) -> None:
        x, y = batch
        weights = dict(graph.model.named_parameters())
        with torch.enable_grad():
            loss = self.data.task.loss(graph.model(x[rows]), y[rows])
            assert loss is not None
            gradients = torch.autograd.grad(loss, list(weights.values()))
        with torch.no_grad():
            for (name, own), gradient in zip(weights.items(), gradients, strict=True):
                momentum[name] = 0.9 * momentum[name] + gradient
                own.sub_(self.options.rate * momentum[name])


def _narrowed(graph: MaseGraph, width: int) -> MaseGraph:
    twin = copy.deepcopy(graph)
    chosen = Integer(width, width - 2)
    linear = [name for name, op in graph.quantizable_nodes().items() if op.name == "linear"]
    twin.apply_plan(QuantPlan.of({name: dict.fromkeys(("data_in", "weight", "bias"), chosen) for name in linear}))
    return twin


class NarrowingNetworks(SearchStrategyBase):
    """Each snapshot of the training is a trial."""

    Options = NarrowingOptions
    needs_budget = False
    purpose = "tests"

    @classmethod
    def training(cls, options: NarrowingOptions) -> Training:
        return Training("narrowing", asdict(options), options.snapshots, own_networks=True)

    def ask(self, n: int) -> list[Point]:
        assert self.context.trainer is not None
        first = getattr(self, "_asked", 0)
        numbers = [number for number in range(first, first + n) if self.context.trainer.plan(number) is not None]
        self._asked = first + len(numbers)
        return [self.space.point(number) for number in numbers]


@pytest.fixture(scope="module", autouse=True)
def narrowing_registered() -> Iterator[None]:
    """Both by their names, for the tests of a module that imports this fixture."""
    with TRAININGS.restored(), STRATEGIES.restored():
        TRAININGS.register("narrowing")(Narrowing)
        STRATEGIES.register("narrowing_networks")(NarrowingNetworks)
        yield
