"""A small convolutional network for images of shapes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.models.info import MODELS, BuiltinModel, ModelInfo

SIZE = 12
"""Pixels of a side."""


class ShapesCNN(nn.Module):
    """Images `(samples, channels, 12, 12)` to `(samples, classes)`: two convolutions with pooling, two linear ones."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1)
        self.fc1 = nn.Linear(12 * (SIZE // 4) ** 2, 24)
        self.fc2 = nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores `(rows, classes)`."""
        hidden = F.max_pool2d(F.relu(self.conv1(x)), 2)
        hidden = F.max_pool2d(F.relu(self.conv2(hidden)), 2)
        hidden = F.relu(self.fc1(torch.flatten(hidden, 1)))
        scores: Tensor = self.fc2(hidden)
        return scores


MODELS.register("shapes-cnn")(
    BuiltinModel(
        ModelInfo(
            "shapes-cnn",
            "two 3 x 3 convolutions of 8 and 12 channels with pooling, then 108-24-5",
            trained_on="shapes",
            num_features=1,
            num_classes=5,
            image_size=(SIZE, SIZE),
        ),
        ShapesCNN,
    )
)
