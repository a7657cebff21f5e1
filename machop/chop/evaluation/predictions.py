"""The outputs of a model for all samples of a part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from chop.ir.graph.inputs import to_device
from chop.scoring.outputs import joined_outputs
from chop.tools.get_input import call_model
from chop.tools.model_outputs import OutputName


@torch.no_grad()
def predict(
    model: nn.Module, batches: Iterable[tuple[Any, Tensor]], device: str = "cpu", output: OutputName = None
) -> tuple[Tensor, Tensor]:
    """The model's outputs for all samples, `(samples, *output)`, and the targets.

    `output` names the one that is scored where the model returns several.
    """
    pairs = [(call_model(model, to_device(x, device), output), y.to(device)) for x, y in batches]
    targets = [y for _, y in pairs]
    return joined_outputs([found for found, _ in pairs], [*map(len, targets)]), torch.cat(targets)
