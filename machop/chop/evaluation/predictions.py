"""Computes the outputs of a model, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from chop.ir.graph.inputs import to_device
from chop.scoring.accumulator import Accumulator
from chop.scoring.outputs import with_samples
from chop.tools.get_input import call_model
from chop.tools.model_outputs import OutputName

Batches = Iterable[tuple[Any, Tensor]]


@torch.no_grad()
def stream(
    model: nn.Module, batches: Batches, device: str = "cpu", output: OutputName = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The model's outputs `(samples, *output)` and the targets, batch by batch.

    `output` names the one that is scored where the model returns several.
    """
    for x, y in batches:
        yield with_samples(call_model(model, to_device(x, device), output), len(y)), y.to(device)


def accumulated(accumulator: Accumulator, batches: Iterable[tuple[Tensor, Tensor]]) -> Accumulator:
    """The accumulator, once it has taken all outputs and targets."""
    for outputs, targets in batches:
        accumulator.update(outputs, targets)
    return accumulator
