"""Trains one set of weights for all networks of a search space."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chop.config.space_training import SpaceTrainingOptions
from chop.dataset.data import Data
from chop.dataset.rows import take
from chop.errors import ChopError
from chop.ir import MaseGraph, QuantPlan
from chop.ir.choice_offsets import ChoiceOffsets
from chop.ir.graph.inputs import to_device
from chop.training.batches import WHOLE, by_form, epoch_rows
from chop.training.gradients import add_gradients
from chop.training.plan_network import PlanNetwork, has_shifts
from chop.training.probes import Probes, ProbeScores
from chop.training.ranges import Ranges
from chop.training.space_plans import PlanSpace, drawn_plan, probe_plans, widest_plan
from chop.training.teacher import Teacher
from chop.training.trained_offsets import TrainedOffsets

OPTIMIZER = "optimizer."
"""Prefix of the optimiser's tensors among those of a state."""


@dataclass(frozen=True)
class _Term:
    """A plan of a step, and how much its loss counts."""

    plan: QuantPlan
    weight: float


class SpaceTraining:
    """One training for all networks of `space`, epoch by epoch; it changes the weights of `space.graph`.

    Each step adds the gradients of the widest plan and of a few random ones, straight through the rounding, of a loss
    on labels and on the outputs of the float network (Yu and Huang's sandwich, arXiv:1903.05134, with widths of bits
    in place of widths of layers). Gradients of several plans are balanced. Batch norms normalise by each batch's own
    statistics. An epoch depends on the weights, on the optimiser's state, on `seed` and on its number alone, so that a
    training goes on to the bit.
    """

    def __init__(
        self, space: PlanSpace, data: Data, options: SpaceTrainingOptions, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.space, self.options, self.seed, self.device = space, options, seed, device
        self.graph: MaseGraph = space.graph
        self.graph.model.to(device)
        self.task = data.task
        self._parts = by_form(data.batches("train", None, WHOLE))
        self._batch_size = options.batch_of(sum(len(y) for _, y in self._parts))
        self.network = PlanNetwork(self.graph, data.output)
        self._ranges = Ranges(self.graph, self.network, data, space.calibration_rows, device)
        self._teacher = Teacher(self.graph, self._parts, data.output, device) if options.teacher_share else None
        self._widest = widest_plan(space)
        self._offsets = TrainedOffsets(self.graph, space.possible_formats(), self._widest, device)
        plans = probe_plans(space, options.probes, seed)
        self._probes = Probes(self.network, plans, data, options.probe_samples, device)
        shared = [own for own in self.graph.model.parameters() if own.requires_grad]
        if not shared:
            raise ChopError("the model has no weights to train")
        self._parameters = [*shared, *self._offsets.parameters.values()]
        self._optimizer = self._new_optimizer()
        self.steps_of_epoch = sum(1 for _ in self._epoch(0))

    def probe(self) -> tuple[ProbeScores, dict[str, Tensor]]:
        """The scores of the probes, and the weights with which they have them: what the training has reached."""
        self._offsets.settle()
        return self._probes.score(self._ranges), self.weights()

    def train_epoch(self, number: int, on_step: Callable[[int], None] = lambda step: None) -> None:
        """Train epoch `number`, counted from 0; `on_step` is called with the number of each step."""
        self.graph.model.train()
        rng = random.Random(f"{self.seed} {number}")
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(rng.getrandbits(48))
            for step, (place, rows) in enumerate(self._epoch(number)):
                if step % self.options.refresh_every == 0:
                    self._offsets.settle()
                    self._ranges.refresh()
                self._step(place, rows, number * self.steps_of_epoch + step, rng)
                on_step(step)
        self.graph.model.eval()

    def state(self) -> dict[str, Tensor]:
        """All tensors that the next epoch depends on."""
        return {**self.weights(), **self._optimizer_tensors()}

    def weights(self) -> dict[str, Tensor]:
        """The tensors of the model and the offsets of its parameters, copies of them."""
        own = {name: tensor.detach().clone() for name, tensor in self.graph.model.state_dict().items()}
        return {**own, **self._offsets.tensors()}

    def offsets_in(self, tensors: Mapping[str, Tensor]) -> ChoiceOffsets:
        """The offsets among what `weights` returned."""
        return self._offsets.among(tensors)

    def load_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Put weights in their place; raises KeyError where one is missing."""
        own = {name: tensors[name] for name in self.graph.model.state_dict()}
        self.graph.model.load_state_dict(own)
        self._offsets.load(tensors)

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `state` returned; raises KeyError where a tensor is missing."""
        self.load_weights(tensors)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(OPTIMIZER):
                place, _, key = name.removeprefix(OPTIMIZER).partition(".")
                state.setdefault(int(place), {})[key] = tensor.clone()
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self._parameters, self.options.learning_rate, weight_decay=self.options.weight_decay)

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        state: dict[int, dict[str, Any]] = self._optimizer.state_dict()["state"]
        return {
            f"{OPTIMIZER}{place}.{key}": torch.as_tensor(value).clone()
            for place, own in state.items()
            for key, value in own.items()
        }

    def _epoch(self, number: int) -> Any:
        generator = torch.Generator().manual_seed(random.Random(f"order {self.seed} {number}").getrandbits(48))
        return epoch_rows([len(y) for _, y in self._parts], self._batch_size, generator)

    def _step(self, place: int, rows: Tensor, step: int, rng: random.Random) -> None:
        rate = self.options.rate(step, self.options.max_epochs * self.steps_of_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        x, y = self._parts[place]
        batch, targets = to_device(take(x, rows), self.device), y[rows].to(self.device)
        taught = None if self._teacher is None else self._teacher.outputs(place, rows, batch)
        inputs = self.network.inputs(batch)
        self._optimizer.zero_grad(set_to_none=True)
        terms = [(self._offsets.surrogates(term.plan), term.weight) for term in self._terms(rng)]
        if any(has_shifts(formats) for formats, _ in terms):
            self.network.restore_means_of(inputs)
        for formats, weight in terms:
            loss = self._loss(self.network(inputs, formats), targets, taught)
            if loss is not None:
                add_gradients(loss, self._parameters, weight, balanced=len(terms) > 1)
        self._optimizer.step()

    def _terms(self, rng: random.Random) -> list[_Term]:
        drawn = [_Term(drawn_plan(self.space, rng), 1.0) for _ in range(self.options.plans_per_step)]
        weight = self.options.widest_weight
        return [_Term(self._widest, weight), *drawn] if weight else drawn

    def _loss(self, outputs: Tensor, targets: Tensor, taught: Tensor | None) -> Tensor | None:
        share = self.options.teacher_share
        on_labels = self.task.loss(outputs, targets) if share < 1 else None
        on_teacher = None if taught is None else self.task.imitation_loss(outputs, taught, targets)
        if on_labels is None or on_teacher is None:
            return on_teacher if on_labels is None else on_labels
        return (1 - share) * on_labels + share * on_teacher
