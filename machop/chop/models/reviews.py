"""A small transformer for sentences."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.models.info import MODELS, BuiltinModel, ModelInfo

VOCABULARY = 48
"""Words that there are."""

WIDTH, HIDDEN, HEADS = 32, 64, 2


class Block(nn.Module):
    """Attention and two linear layers, each on normalised values and added to them: `(samples, words, 32)`."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        hidden = self.norm1(x)
        query, key, value = (
            layer(hidden).unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        heads = F.scaled_dot_product_attention(query, key, value)
        x = x + self.out(heads.transpose(1, 2).flatten(-2))
        transformed: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return transformed


class ReviewsTransformer(nn.Module):
    """Words `(samples, words)` to `(samples, classes)`: two blocks, the mean over all words, a classifier."""

    def __init__(self, words: int, classes: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.randn(words, WIDTH))
        self.block1, self.block2 = Block(), Block()
        self.norm = nn.LayerNorm(WIDTH)
        self.classifier = nn.Linear(WIDTH, classes)

    def forward(self, words: Tensor) -> Tensor:
        """Class scores `(samples, classes)`."""
        hidden = self.block2(self.block1(self.embed(words) + self.positions))
        scores: Tensor = self.classifier(self.norm(hidden).mean(1))
        return scores


MODELS.register("reviews-transformer")(
    BuiltinModel(
        ModelInfo(
            "reviews-transformer",
            "a transformer for sentences: 48 words, two blocks of width 32 with two heads and 32-64-32",
            trained_on="reviews",
            num_features=12,
            num_classes=2,
        ),
        ReviewsTransformer,
    )
)
