"""Keeps what formats measure, and the running statistics of batch norms, in step with weights that change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from chop.dataset.data import Data
from chop.ir import MaseGraph
from chop.ir.graph.inputs import placeholder_keywords, to_device
from chop.passes.graph.analysis.calibrate import seen_activations
from chop.training.batches import by_form
from chop.training.norms import running_statistics
from chop.training.plan_network import PlanNetwork

NORM_ROWS = 1024
"""Training samples on which batch norms are measured where the space measures nothing on samples."""


class Ranges:
    """Measures ranges of a graph, which stays in float, on the first training samples, as a search does.

    `rows` is their number; None where no format of the space is measured on activations.
    """

    def __init__(self, graph: MaseGraph, network: PlanNetwork, data: Data, rows: int | None, device: str) -> None:
        self.graph = graph
        self.network = network
        self.rows = rows
        batches = data.batches("train", rows or NORM_ROWS)
        self._batches = [(to_device(x, device), y) for x, y in by_form(batches)]
        largest, _ = max(self._batches, key=lambda batch: len(batch[1]))
        self.norm_inputs: Sequence[Any] = network.inputs(largest)
        """The placeholders' values for the samples on which batch norms are measured."""

    @torch.no_grad()
    def refresh(self) -> None:
        """Measure everything anew for the weights as they are."""
        was_training = self.graph.model.training
        if self.network.has_norms:
            self._renew_running_statistics()
        if self.rows is None:
            self.graph.forget_calibration()
        else:
            batches = [placeholder_keywords(self.graph, x) for x, _ in self._batches]
            _, activations, inputs = seen_activations(self.graph, batches, self.rows)
            self.graph.calibrate(activations, inputs)
        self.graph.model.train(was_training)

    def _renew_running_statistics(self) -> None:
        """Measure the running statistics of the float network, which training leaves alone."""
        self.network.measure_under_plan(self.norm_inputs, {})
        for name, (mean, variance) in self.network.statistics.kept.items():
            running = running_statistics(self.graph, self.graph.node(name))
            if running is not None:
                running[0].copy_(mean)
                running[1].copy_(variance)
        self.network.statistics.batch()
