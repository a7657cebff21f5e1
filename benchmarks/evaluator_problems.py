"""What the evaluator is measured on: networks with choices of widths, and a careful loop over them in plain torch."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.actions.search.search_space.codes import codes_of_range
from chop.dataset import MaseDataModule
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.measures import Classification
from chop.formats import Integer
from chop.ir import MaseGraph
from chop.models import get_model

WIDTHS = [4, 8], [2, 4, 8], [2, 4, 8]
MORE_WIDTHS = [4, 6, 8], [2, 4, 6, 8], [4, 8]
CLASSES = 5


class PlainLayer(nn.Module):
    """A linear or convolutional layer that rounds its input, weight and bias to fixed point, written down by hand."""

    def __init__(self, inner: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.inner = inner
        self.widths: tuple[int, int, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.widths is None:
            return self.inner(x)
        inner = self.inner
        assert inner.bias is not None
        operands = zip((x, inner.weight, inner.bias), self.widths, strict=True)
        x, weight, bias = (fixed(operand, width) for operand, width in operands)
        if isinstance(inner, nn.Linear):
            return F.linear(x, weight, bias)
        return F.conv2d(x, weight, bias, inner.stride, inner.padding)


def fixed(x: Tensor, width: int) -> Tensor:
    """Fixed point with half of its bits behind the point."""
    scale = 2.0 ** (width // 2)
    return (x * scale).round_().clamp_(-(2 ** (width - 1)), 2 ** (width - 1) - 1).mul_(1 / scale)


class Problem:
    """A model whose layers have choices of widths, rows to measure on, and both ways to do it."""

    def __init__(self, model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], widths: Any, layers: int) -> None:
        model.eval()
        self.batches = list(batches)
        self.graph = MaseGraph(model)
        ops = self.graph.quantizable_nodes()
        self.nodes = [name for name, op in ops.items() if op.name in ("linear", "conv2d")][:layers]
        self.choices = list(itertools.product(*widths))
        self.axes = [[{node: self.formats(choice)} for choice in self.choices] for node in self.nodes]
        self.plain, self.plain_layers = self._plain(model)
        self.targets = torch.cat([y for _, y in self.batches])
        self.counts = torch.bincount(self.targets, minlength=CLASSES)

    @staticmethod
    def formats(choice: tuple[int, int, int]) -> dict[str, Integer]:
        return dict(zip(("data_in", "weight", "bias"), map(Integer, choice), strict=True))

    def _plain(self, model: nn.Module) -> tuple[nn.Module, list[PlainLayer]]:
        plain = copy.deepcopy(model)
        paths = [str(self.graph.node(node).target) for node in self.nodes]
        layers = []
        for path in paths:
            inner = plain.get_submodule(path)
            assert isinstance(inner, nn.Linear | nn.Conv2d)
            layers.append(PlainLayer(inner))
            plain.set_submodule(path, layers[-1])
        return plain, layers

    @torch.no_grad()
    def loop(self, codes: np.ndarray) -> list[tuple[float, float]]:
        """Loss and accuracy of each configuration, one after the other."""
        found = []
        for code in codes:
            for layer, number in zip(self.plain_layers, code, strict=True):
                layer.widths = self.choices[number]
            scores = torch.cat([self.plain(x) for x, _ in self.batches])
            hits = torch.bincount(self.targets[scores.argmax(1) == self.targets], minlength=CLASSES)
            found.append((float(F.cross_entropy(scores, self.targets)), float((hits / self.counts).mean())))
        return found

    def evaluator(self) -> tuple[Evaluator, Classification]:
        evaluator = Evaluator(self.graph, self.axes, self.batches)
        return evaluator, Classification(evaluator.targets, CLASSES)

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in self.axes)


def jets(rows: int, part: str = "val") -> list[tuple[Tensor, Tensor]]:
    """The first rows of a part, in batches of 4,096 at the most."""
    data = MaseDataModule("jsc", batch_size=512)
    data.prepare_data()
    data.setup()
    return data.batches(part, rows)


def jsc_s(rows: int, part: str = "val") -> Problem:
    """16-64-32-32-32-5 with 18 choices for each of five layers."""
    return Problem(get_model("jsc-s", pretrained=True), jets(rows, part), WIDTHS, 5)


class SmallConvolution(nn.Module):
    """Two convolutions and two linear layers on 12 × 12 images."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3)
        self.hidden, self.head = nn.Linear(32, 16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.first(x)), 2)
        x = torch.relu(self.second(x))[:, :, :2, :2]
        return self.head(torch.relu(self.hidden(torch.flatten(x, 1))))


class Layer(nn.Module):
    """A transformer's encoder layer with one head, written out so that it can be traced."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.out, self.up, self.down = nn.Linear(width, width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = F.scaled_dot_product_attention(self.query(y), self.key(y), self.value(y))
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.second(x))))


class Transformer(nn.Module):
    """Twelve layers on 32 tokens of 128 features."""

    def __init__(self, layers: int = 12, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Layer(width) for _ in range(layers)))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x).mean(1))


def balanced(rows: int, *shape: int) -> list[tuple[Tensor, Tensor]]:
    """Random inputs with targets of every class."""
    torch.manual_seed(0)
    return [(torch.randn(rows, *shape), torch.arange(rows) % CLASSES)]


def convolution() -> Problem:
    """The small convolutional network, with more widths a layer."""
    torch.manual_seed(0)
    return Problem(SmallConvolution(), balanced(256, 1, 12, 12), MORE_WIDTHS, 4)


def of_product(layers: int, choices: int, points: int) -> np.ndarray:
    """Points in a row from the middle of a product."""
    middle = choices**layers // 2
    return codes_of_range(middle, middle + points, (choices,) * layers)


def deep(rows: int = 16) -> Problem:
    """The transformer, four choices for each of its 72 layers."""
    torch.manual_seed(0)
    return Problem(Transformer(), balanced(rows, 32, 128), ([4, 8], [4, 8], [8]), 72)


class InPlace(nn.Module):
    """Layers with activations that write on their inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(4))
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu_(layer(x))
        return self.head(x)


class LargeConvolution(nn.Module):
    """Six convolutions with up to 64 channels on 32 × 32 images."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 32, 32, 64, 64, 64, 64]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths))
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x.mean((2, 3)))
