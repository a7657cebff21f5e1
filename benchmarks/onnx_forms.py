"""How fast each form of an ONNX file runs beside float, in ONNX Runtime, and how many outputs differ.

    make bench-onnx

Networks of several sizes with random weights; all layers that multiply have inputs of 8 or 6 bits, and weights of 8 or
4. Times are those of the exporter: batches of 64, one thread, interleaved, medians of the ratio to the float network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from chop.exporters import ExportNetwork
from chop.exporters.onnx.exporter import Onnx
from chop.exporters.onnx.rounding import FORMS
from chop.ir import MaseGraph
from chop.passes.graph import quantize_transform_pass

SAMPLES = 256
WIDTHS = ((8, 8), (6, 4))


class Block(nn.Module):
    """A transformer's block on `(samples, places, features)`: attention and two layers, each with a skip."""

    def __init__(self, features: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(features, features) for _ in range(4))
        self.up, self.down = nn.Linear(features, 4 * features), nn.Linear(4 * features, features)
        self.first, self.second = nn.LayerNorm(features), nn.LayerNorm(features)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (own(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for own in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.first(x + self.out(mixed))
        found: Tensor = self.second(x + self.down(F.gelu(self.up(x))))
        return found


class Classifier(nn.Module):
    """Blocks, the mean over the places, and a layer."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(features), Block(features))
        self.head = nn.Linear(features, 10)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.blocks(x).mean(1))
        return found


def perceptron(hidden: int) -> nn.Module:
    """Three layers."""
    return nn.Sequential(nn.Linear(32, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def convolutional(channels: int) -> nn.Module:
    """Three convolutions and a layer, on 16 x 16 pixels."""
    layers: list[nn.Module] = []
    for inputs in (3, channels, channels):
        layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * channels, 10))


NETWORKS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "3 layers of 32": (perceptron(32), (32,)),
    "3 layers of 128": (perceptron(128), (32,)),
    "3 layers of 512": (perceptron(512), (32,)),
    "3 convolutions of 16 channels": (convolutional(16), (3, 16, 16)),
    "3 convolutions of 64 channels": (convolutional(64), (3, 16, 16)),
    "2 blocks of attention of 128": (Classifier(128), (16, 128)),
}


@dataclass(frozen=True)
class Samples:
    """The same samples in every set."""

    x: Tensor
    output: None = None

    def batches(self, part: str, samples: int | None = None, size: int | None = 64) -> Iterator[tuple[Tensor, Tensor]]:
        """The samples in batches."""
        for own in torch.split(self.x[:samples], size or len(self.x)):
            yield own, torch.zeros(len(own))


def network(name: str, width: int, weight_width: int) -> ExportNetwork:
    """A network of the list in fixed point."""
    model, shape = NETWORKS[name]
    x = torch.randn(SAMPLES, *shape)
    config: dict[str, Any] = {"name": "integer", "data_in_width": width, "data_in_frac_width": width - 3}
    config |= {"weight_width": weight_width, "weight_frac_width": "auto", "bias_width": 8, "bias_frac_width": 8}
    plan = {"by": "type", **{op: {"config": config} for op in ("linear", "conv2d")}}
    graph, _ = quantize_transform_pass(MaseGraph(model.eval(), example_inputs=x[:2]), plan)
    graph.model.eval()
    return ExportNetwork(graph, Samples(x), {"model": name})  # type: ignore[arg-type]


def main() -> None:
    """Print the table of docs/how_to/export.md."""
    torch.manual_seed(0)
    console = Console(width=200)
    console.print("| network | inputs, weights | `uint8` | `vnni` | `smallest` | `arithmetic` | outputs that differ |")
    console.print("|---|---|---|---|---|---|---|")
    for name in NETWORKS:
        for width, weight_width in WIDTHS:
            found = Onnx().candidates(network(name, width, weight_width), tuple(FORMS))
            speeds = " | ".join("-" if own.failure else f"{own.speed:.2f}" for own in found)
            differing = max(own.differing for own in found)
            console.print(f"| {name} | {width}, {weight_width} bits | {speeds} | {differing} |")


if __name__ == "__main__":
    main()
