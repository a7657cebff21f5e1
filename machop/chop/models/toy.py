"""A toy network with a residual connection and functional calls."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.models.info import MODELS, BuiltinModel, ModelInfo

HIDDEN = 16


class Toy(nn.Module):
    """`(samples, features)` to `(samples, classes)` through one residual block."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.fc_in = nn.Linear(features, HIDDEN)
        self.fc_hidden = nn.Linear(HIDDEN, HIDDEN)
        self.fc_out = nn.Linear(HIDDEN, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores `(rows, classes)`."""
        hidden = F.relu(self.fc_in(x))
        hidden = F.relu(torch.add(self.fc_hidden(hidden), hidden))
        scores: Tensor = self.fc_out(hidden)
        return scores


MODELS.register("toy")(
    BuiltinModel(
        ModelInfo(
            "toy",
            "4-16-16-2 with a residual connection",
            trained_on="toy_tiny",
            num_features=4,
            num_classes=2,
        ),
        Toy,
    )
)
