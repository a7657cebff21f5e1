"""Trains one set of weights for all networks of a search space."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from chop.ir.choice_ranges import ChoiceRanges
from chop.ir.graph.inputs import to_device
from chop.training.batches import WHOLE, by_form, epoch_rows
from chop.training.gradients import add_gradients
from chop.training.plan_network import Formats, PlanNetwork, has_shifts
from chop.training.probes import Probes, ProbeScores
from chop.training.ranges import Ranges
from chop.training.space_plans import PlanSpace, drawn_plan, probe_plans, widest_plan
from chop.training.teacher import Teacher
from chop.training.trained_offsets import TrainedOffsets
from chop.training.trained_ranges import PLANS_PER_RANGE, TrainedRanges

OPTIMIZER = "optimizer."
"""Prefix of the optimiser's tensors among those of a state."""

MOST_RANGE_SAMPLES, FEWEST_RANGE_SAMPLES = 2048, 512
"""Training samples on which up to `FEW_PLANS` plans choose ranges: a part of all, and not more than there are."""

RANGE_PART = 32
"""The training samples that there are for each on which ranges are chosen."""

FEW_PLANS = 4
"""More plans than these choose ranges on fewer samples each: on as many in total, up to `PLANS_PER_RANGE`."""

RANGE_PLANS = 48
"""Random plans among which are those by whose loss a range is chosen."""


def range_samples(samples: int, plans: int) -> int:
    """On how many of all training samples each of some plans has a loss when they choose ranges.

    >>> [range_samples(3_000, plans) for plans in (1, 4, 8, 49)]
    [512, 512, 256, 170]
    >>> range_samples(100_000, 49)
    682
    """
    of_few = min(MOST_RANGE_SAMPLES, max(FEWEST_RANGE_SAMPLES, samples // RANGE_PART))
    return of_few * FEW_PLANS // max(FEW_PLANS, min(plans, PLANS_PER_RANGE))


@dataclass(frozen=True)
class _Term:
    """A plan of a step, and how much its loss counts."""

    plan: QuantPlan
    weight: float


@dataclass(frozen=True)
class _Batch:
    """Samples as the values of the graph's placeholders, their targets, and the float network's outputs."""

    inputs: list[Any]
    targets: Tensor
    taught: Tensor | None


class SpaceTraining:
    """One training for all networks of `space`, epoch by epoch; it changes the weights of `space.graph`.

    Each step adds the gradients of the widest plan and of a few random ones, straight through the rounding, of a loss
    on labels and on the outputs of the float network (Yu and Huang's sandwich, arXiv:1903.05134, with widths of bits
    in place of widths of layers). Gradients of several plans are balanced. Batch norms normalise by each batch's own
    statistics. Ranges of activations in fixed point are chosen by the loss, at the start of each epoch of the first
    half but the very first. An epoch depends on the weights, on these ranges, on the optimiser's state, on `seed` and
    on its number alone, so that a training goes on to the bit.
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
        formats = space.possible_formats()
        self._offsets = TrainedOffsets(self.graph, formats, self._widest, device)
        self._chosen_ranges = TrainedRanges(self.graph, formats)
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
        rng = random.Random(f"{self.seed} {number}")
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(rng.getrandbits(48))
            if 0 < number <= self.options.max_epochs // 2:
                self._choose_ranges(rng)
            self.graph.model.train()
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
        """The tensors of the model, the offsets of its parameters and the ranges that are chosen, copies of them."""
        own = {name: tensor.detach().clone() for name, tensor in self.graph.model.state_dict().items()}
        return {**own, **self._offsets.tensors(), **self._chosen_ranges.tensors()}

    def offsets_in(self, tensors: Mapping[str, Tensor]) -> ChoiceOffsets:
        """The offsets among what `weights` returned."""
        return self._offsets.among(tensors)

    def ranges_in(self, tensors: Mapping[str, Tensor]) -> ChoiceRanges:
        """The ranges among what `weights` returned."""
        return self._chosen_ranges.among(tensors)

    def load_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Put weights in their place; raises KeyError where one is missing."""
        own = {name: tensors[name] for name in self.graph.model.state_dict()}
        self.graph.model.load_state_dict(own)
        self._offsets.load(tensors)
        self._chosen_ranges.load(tensors)

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
        rate = self.options.highest_rate(self._batch_size)
        return torch.optim.AdamW(self._parameters, rate, weight_decay=self.options.weight_decay)

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

    def _choose_ranges(self, rng: random.Random) -> None:
        """Choose ranges of activations by the loss of some plans on training samples that are drawn."""
        self._offsets.settle()
        self._ranges.refresh()
        plans = dict.fromkeys([self._widest, *(drawn_plan(self.space, rng) for _ in range(RANGE_PLANS))])
        batches = [self._batch(place, rows) for place, rows in self._range_rows(len(plans))]

        def loss_of(plan: QuantPlan) -> float:
            formats = self._offsets.surrogates(plan)
            return sum(self._loss_on(batch, formats) for batch in batches)

        self._chosen_ranges.choose(list(plans), loss_of, rng)

    def _range_rows(self, plans: int) -> Iterator[tuple[int, Tensor]]:
        """Batches of training samples on which plans choose ranges, drawn from those of the most frequent form."""
        place = max(range(len(self._parts)), key=lambda place: len(self._parts[place][1]))
        samples = len(self._parts[place][1])
        drawn = torch.randperm(samples)[: range_samples(samples, plans)]
        for rows in torch.split(drawn, max(self._batch_size, FEWEST_RANGE_SAMPLES)):
            if len(rows) > 1 or samples == 1:
                yield place, rows

    def _loss_on(self, batch: _Batch, formats: Formats) -> float:
        self._prepare(batch, [formats])
        with torch.no_grad():
            outputs = self.network(batch.inputs, formats)
        loss = self._loss(outputs.requires_grad_(), batch)  # a task refuses a loss that nothing can be trained on
        return 0.0 if loss is None else float(loss.detach()) * len(batch.targets)

    def _step(self, place: int, rows: Tensor, step: int, rng: random.Random) -> None:
        rate = self.options.rate(step, self.options.max_epochs * self.steps_of_epoch, self._batch_size)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        batch = self._batch(place, rows)
        self._optimizer.zero_grad(set_to_none=True)
        terms = [(self._offsets.surrogates(term.plan), term.weight) for term in self._terms(rng)]
        self._prepare(batch, [formats for formats, _ in terms])
        for formats, weight in terms:
            loss = self._loss(self.network(batch.inputs, formats), batch)
            if loss is not None:
                add_gradients(loss, self._parameters, weight, balanced=len(terms) > 1)
        self._optimizer.step()

    def _batch(self, place: int, rows: Tensor) -> _Batch:
        x, y = self._parts[place]
        samples = to_device(take(x, rows), self.device)
        taught = None if self._teacher is None else self._teacher.outputs(place, rows, samples)
        return _Batch(self.network.inputs(samples), y[rows].to(self.device), taught)

    def _prepare(self, batch: _Batch, plans: Sequence[Formats]) -> None:
        if any(has_shifts(formats) for formats in plans):
            self.network.restore_means_of(batch.inputs)

    def _terms(self, rng: random.Random) -> list[_Term]:
        drawn = [_Term(drawn_plan(self.space, rng), 1.0) for _ in range(self.options.plans_per_step)]
        weight = self.options.widest_weight
        return [_Term(self._widest, weight), *drawn] if weight else drawn

    def _loss(self, outputs: Tensor, batch: _Batch) -> Tensor | None:
        share, taught = self.options.teacher_share, batch.taught
        on_labels = self.task.loss(outputs, batch.targets) if share < 1 else None
        on_teacher = None if taught is None else self.task.imitation_loss(outputs, taught, batch.targets)
        if on_labels is None or on_teacher is None:
            return on_teacher if on_labels is None else on_labels
        return (1 - share) * on_labels + share * on_teacher
