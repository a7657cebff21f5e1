"""The outputs of the float network, which trainings imitate."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from chop.dataset.rows import cut, take
from chop.ir import MaseGraph
from chop.ir.graph.inputs import to_device
from chop.scoring.outputs import with_samples
from chop.tools.get_input import call_model
from chop.tools.model_outputs import OutputName
from chop.training.batches import Samples

MOST_BYTES = 2**28
"""Bytes of outputs that are computed once and kept; of more, each batch's are computed when it comes."""

SAMPLES_AT_A_TIME = 1024


class Teacher:
    """The outputs of `graph` as it is now, in float and in eval mode, on the training samples `parts`."""

    def __init__(self, graph: MaseGraph, parts: Sequence[Samples], output: OutputName, device: str) -> None:
        self.output = output
        self.device = device
        self.model = copy.deepcopy(graph.model).eval()
        few = [(cut(x, 0, 2), len(y)) for x, y in parts]
        total = sum(self._of(to_device(x, device)).nbytes * samples // 2 for x, samples in few)
        self._kept = [self._all(x, y) for x, y in parts] if total <= MOST_BYTES else None

    @torch.no_grad()
    def outputs(self, place: int, rows: Tensor, x: Any) -> Tensor:
        """The outputs for the samples `rows` of the form at `place`, whose input is `x`."""
        return self._kept[place][rows].to(self.device) if self._kept else self._of(x)

    @torch.no_grad()
    def _of(self, x: Any) -> Tensor:
        return call_model(self.model, x, self.output).detach()

    def _all(self, x: Any, y: Tensor) -> Tensor:
        parts = torch.split(torch.arange(len(y)), SAMPLES_AT_A_TIME)
        inputs = (to_device(take(x, rows), self.device) for rows in parts)
        return torch.cat(
            [with_samples(self._of(own), len(rows)).cpu() for own, rows in zip(inputs, parts, strict=True)]
        )
