"""Keeps what formats measure, and the running statistics of batch norms, in step with weights that change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from chop.dataset.data import Data
from chop.ir import MaseGraph
from chop.ir.graph.inputs import placeholder_keywords, to_device
from chop.passes.graph.analysis.calibrate import seen_activations
from chop.passes.graph.samples import first_batches
from chop.training.batches import by_form
from chop.training.norms import Moments, running_statistics
from chop.training.plan_network import PlanNetwork, Weighted

NORM_ROWS = 1024
"""Training samples on which batch norms are measured where the space measures nothing on samples."""

MOST_NORM_ROWS, NORM_BATCH = 2**15, 512
"""The most training samples that running statistics are measured on before networks are scored; samples of a batch."""


class Ranges:
    """Measures ranges of a graph, which stays in float, on the first training samples, as a search does.

    `rows` is their number; None where no format of the space is measured on activations.
    """

    def __init__(self, graph: MaseGraph, network: PlanNetwork, data: Data, rows: int | None, device: str) -> None:
        self.graph = graph
        self.network = network
        self.data = data
        self.rows = rows
        self.device = device
        batches = data.batches("train", rows or NORM_ROWS)
        self._batches = [(to_device(x, device), y) for x, y in by_form(batches)]
        largest, _ = max(self._batches, key=lambda batch: len(batch[1]))
        self.norm_inputs: Sequence[Any] = network.inputs(largest)
        """The placeholders' values for the samples on which batch norms are measured."""

    def refresh(self) -> None:
        """Measure everything anew for the weights as they are, running statistics of batch norms too."""
        self._refresh([(self.norm_inputs, 1)])

    def refresh_for_search(self) -> None:
        """The same before networks are scored: running statistics are measured on up to `MOST_NORM_ROWS` samples.

        Until the next refresh, statistics under a plan are corrected by them, as in a search.
        """
        self._refresh(self._many())
        if self.network.has_norms:
            self.network.refer_to_float(self.norm_inputs)

    def _many(self) -> Iterator[Weighted]:
        for x, y in self.data.batches("train", MOST_NORM_ROWS, NORM_BATCH):
            if len(y) > 1:
                yield self.network.inputs(to_device(x, self.device)), len(y)

    @torch.no_grad()
    def _refresh(self, batches: Iterable[Weighted]) -> None:
        was_training = self.graph.model.training
        self.graph.model.eval()
        if self.network.has_norms:
            self._write_running_statistics(self.network.measure_in_float(batches))
        if self.rows is None:
            self.graph.forget_calibration()
        else:
            seen = [placeholder_keywords(self.graph, x) for x, _ in self._batches]
            activations, inputs = seen_activations(self.graph, first_batches(self.graph, seen, self.rows))
            self.graph.calibrate(activations, inputs)
        self.graph.model.train(was_training)

    def _write_running_statistics(self, found: Mapping[str, Moments]) -> None:
        """Write those of the float network, which training leaves alone."""
        for name, moments in found.items():
            running = running_statistics(self.graph, self.graph.node(name))
            if running is not None:
                for own, value in zip(running, moments, strict=True):
                    own.copy_(value)
