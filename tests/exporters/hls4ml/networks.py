"""Small networks with the operations that hls4ml has layers for, and with its traps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from tests.circuits.networks import LAYER, drawn, quantised
from tests.exporters.networks import of_graph
from torch import Tensor, nn

from chop.exporters import ExportNetwork
from chop.formats.integer import Integer
from chop.ir import MaseGraph
from chop.passes.graph import absorb_batch_norm_transform_pass

NO_BIAS = {operand: own for operand, own in LAYER.items() if operand != "bias"}


class Images(nn.Module):
    """A norm made a product, stride, uneven padding, padded pooling of what is never negative, groups with dilation."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.first = nn.Conv2d(2, 4, 3, stride=2, padding=(1, 0), bias=False)
        self.second = nn.Conv2d(4, 6, 3, padding="same", groups=2, dilation=2)
        self.last = nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.max_pool2d(F.relu(self.first(self.norm(x))), 3, 2, 1)
        hidden = F.avg_pool2d(F.relu(self.second(hidden)), (1, 2))
        return self.last(hidden.flatten(1))  # type: ignore[no-any-return]


class Sequences(nn.Module):
    """One dimension; a difference, and a join of two layouts of which one is permuted."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(2, 4, 3, padding=1), nn.Conv1d(4, 4, 3, 1, 2, dilation=2, groups=2)
        self.last = nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.first(x))
        other = F.max_pool1d(F.relu(self.second(hidden) - hidden), 2)
        joined = torch.cat([other.permute(0, 2, 1).flatten(1), hidden.flatten(1)], 1)
        return self.last(joined)  # type: ignore[no-any-return]


def images() -> ExportNetwork:
    """Images, with their norm absorbed."""
    torch.manual_seed(2)
    x, model = drawn(50, 2, 9, 10), Images().eval()
    assert model.norm.running_mean is not None and model.norm.running_var is not None
    model.norm.running_mean[:] = torch.tensor([0.3, -0.2])
    model.norm.running_var[:] = torch.tensor([0.5, 2.0])
    graph = MaseGraph(model, example_inputs=x)
    absorb_batch_norm_transform_pass(graph, {"show": False})
    formats = {"norm": LAYER, "first": NO_BIAS, "second": LAYER, "last": LAYER}
    return of_graph(quantised(graph.model, formats, x), x)


def sequences() -> ExportNetwork:
    """Sequences."""
    torch.manual_seed(2)
    x = drawn(50, 2, 8)
    return of_graph(quantised(Sequences(), dict.fromkeys(("first", "second", "last"), LAYER), x), x)


def averages() -> ExportNetwork:
    """Averages over 4 values, of positive values and of such with a sign; their sums are 4 times as large."""
    torch.manual_seed(2)
    x = drawn(100, 2, 8, 8)
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 1), nn.AvgPool2d(2)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 3))
    coarse = {"data_in": Integer(4, 1), "weight": Integer(4, 2), "bias": Integer(4, 2)}
    formats = {"_0": coarse, "_2": {"data_in": Integer(4, 1)}, "_3": coarse, "_6": coarse}
    return of_graph(quantised(model, formats, x), x)
