"""Networks to export, with data to verify them on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from chop.exporters import ExportNetwork
from chop.ir import MaseGraph
from tests.circuits.networks import OWN, bundled, quantised


@dataclass(frozen=True)
class Samples:
    """The same samples in every set, in batches of which the last is smaller."""

    x: Tensor
    output: None = None

    def batches(self, part: str, samples: int | None = None, size: int | None = 32) -> Iterator[tuple[Tensor, Tensor]]:
        x = self.x[:samples]
        for own in x.split(size or len(x)):
            yield own, torch.zeros(len(own))


def of_graph(graph: MaseGraph, x: Tensor) -> ExportNetwork:
    """A graph and the samples that it is verified on."""
    graph.model.eval()
    return ExportNetwork(graph, Samples(x), {"model": "own"})  # type: ignore[arg-type]


def bundled_network(name: str) -> ExportNetwork:
    """A bundled network with other widths in each layer, its biases quantised, norms folded or absorbed."""
    graph, data = bundled(name)
    graph.model.eval()
    return ExportNetwork(graph, data, {"model": name, "dataset": data.dataset_info.name})


def own_network(name: str) -> ExportNetwork:
    """A small network with operations that no bundled one has."""
    made, x, formats = OWN[name]
    torch.manual_seed(2)
    return of_graph(quantised(made(), formats, x), x)
