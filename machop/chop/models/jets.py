"""Networks for jets, from five neurons to the one of the papers: `(samples, 16)` to `(samples, 5)`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from chop.models.info import MODELS, BuiltinModel, ModelInfo


class Blocks(nn.Module):
    """Layers in a row under `seq_blocks`, so that their nodes are called `seq_blocks_0`, `seq_blocks_1` …"""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.seq_blocks = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores `(rows, classes)` of `x` `(rows, features)`."""
        scores: Tensor = self.seq_blocks(x)
        return scores


def batch_norm_network(widths: Sequence[int], last_norm: bool = True) -> Blocks:
    """BN-ReLU, then Linear-BN-ReLU for each further width; the last batch norm may be left out."""
    layers: list[nn.Module] = [nn.BatchNorm1d(widths[0]), nn.ReLU()]
    for number, (inputs, outputs) in enumerate(pairwise(widths), start=2):
        norm = [nn.BatchNorm1d(outputs)] if last_norm or number < len(widths) else []
        layers += [nn.Linear(inputs, outputs), *norm, nn.ReLU()]
    return Blocks(layers)


def plain_network(widths: Sequence[int]) -> Blocks:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return Blocks(layers[:-1])


def _info(name: str, description: str) -> ModelInfo:
    return ModelInfo(name, description, trained_on="jsc-sim", num_features=16, num_classes=5)


MODELS.register("jsc-tiny")(
    BuiltinModel(
        _info("jsc-tiny", "BN, ReLU, Linear 16-5, ReLU"),
        lambda features, classes: batch_norm_network([features, classes], last_norm=False),
    )
)
MODELS.register("jsc-toy")(
    BuiltinModel(
        _info("jsc-toy", "16-8-8-5 with batch norm and ReLU"),
        lambda features, classes: batch_norm_network([features, 8, 8, classes]),
    )
)
MODELS.register("jsc-s")(
    BuiltinModel(
        _info("jsc-s", "16-64-32-32-32-5 with batch norm and ReLU"),
        lambda features, classes: batch_norm_network([features, 64, 32, 32, 32, classes]),
    )
)
MODELS.register("jsc-mlp")(
    BuiltinModel(
        _info("jsc-mlp", "16-64-32-32-5 with ReLU: the network of the hls4ml, AutoQKeras and HGQ papers"),
        lambda features, classes: plain_network([features, 64, 32, 32, classes]),
    )
)
