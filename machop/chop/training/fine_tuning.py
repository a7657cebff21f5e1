"""Fine-tunes a quantised network: a short deterministic training with straight-through gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from chop.dataset.data import Data
from chop.ir.graph.inputs import to_device
from chop.tools.get_input import call_model
from chop.tools.logger import get_logger
from chop.training.batches import WHOLE, batch_at, by_form, epoch_rows

logger = get_logger(__name__)

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


@dataclass(frozen=True)
class FineTuning:
    """Options of a fine-tuning: length, optimiser, and the first `num_samples` training samples (None: all).

    `seed` draws the order of the batches, and dropout.
    """

    num_samples: Annotated[int, Gt(0)] | None = None
    max_epochs: Annotated[int, Ge(1)] = 1
    batch_size: Annotated[int, Gt(0)] = 256
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Gt(0), Le(1000)] = 1e-3
    weight_decay: Annotated[float, Ge(0)] = 0.0
    lr_scheduler: Literal["constant", "linear", "cosine"] = "constant"
    num_warmup_steps: Annotated[int, Ge(0)] = 0
    gradient_accumulation_steps: Annotated[int, Ge(1)] = 1
    seed: Annotated[int, Ge(0)] = 0

    def as_json(self) -> dict[str, Any]:
        """The options as records hold them; those of a chop without `seed` are those of seed 0."""
        return {key: value for key, value in asdict(self).items() if key != "seed" or value}

    def factor(self, step: int, steps: int) -> float:
        """The factor of the learning rate at a step: a linear warm-up, then the schedule `lr_scheduler`.

        >>> tuning = FineTuning(lr_scheduler="linear", num_warmup_steps=2)
        >>> [tuning.factor(step, 6) for step in (0, 1, 2, 4)]
        [0.5, 1.0, 1.0, 0.5]
        """
        if step < self.num_warmup_steps:
            return (step + 1) / self.num_warmup_steps
        if self.lr_scheduler == "constant":
            return 1.0
        done = (step - self.num_warmup_steps) / max(steps - self.num_warmup_steps, 1)
        return 1.0 - done if self.lr_scheduler == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def fine_tune(model: nn.Module, data_module: Data, tuning: FineTuning, device: str = "cpu") -> int:
    """Train `model` in place and leave it in the mode that it was in; returns the number of optimiser steps."""
    was_training = model.training
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(tuning.seed)
        steps = _train(model, data_module, tuning, device)
    model.train(was_training)
    model.zero_grad(set_to_none=True)
    return steps


def _train(model: nn.Module, data_module: Data, tuning: FineTuning, device: str) -> int:
    batches = list(_batches(data_module, tuning))
    every = tuning.gradient_accumulation_steps
    steps = math.ceil(len(batches) / every)
    if tuning.num_warmup_steps >= steps:
        logger.warning(
            "num_warmup_steps = %d, but the training has %d steps: it ends before its learning rate is reached; "
            "lower num_warmup_steps, or raise max_epochs",
            tuning.num_warmup_steps,
            steps,
        )
    optimizer = OPTIMIZERS[tuning.optimizer](
        model.parameters(),
        lr=tuning.learning_rate,  # type: ignore[call-arg]
        weight_decay=tuning.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: tuning.factor(step, steps))
    for number, (x, y) in enumerate(batches, start=1):
        predictions = call_model(model, to_device(x, device), data_module.output)
        loss = data_module.task.loss(predictions, y.to(device))
        if loss is not None:
            (loss / every).backward()  # type: ignore[no-untyped-call]
        if number % every == 0 or number == len(batches):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
    return steps


def _batches(data_module: Data, tuning: FineTuning) -> Iterator[tuple[Any, Tensor]]:
    """The batches of every epoch, in an order that depends only on the seed."""
    parts = by_form(data_module.batches("train", tuning.num_samples, WHOLE))
    generator = torch.Generator().manual_seed(tuning.seed)
    for _ in range(tuning.max_epochs):
        for place, rows in epoch_rows([len(y) for _, y in parts], tuning.batch_size, generator):
            yield batch_at(parts, place, rows)
