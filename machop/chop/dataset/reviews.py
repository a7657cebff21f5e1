"""Sentences of made-up reviews, drawn from a fixed seed: words that praise or blame, turned by the words before them.

A class is told by words together: "not" turns the next opinion around, "very" doubles it, and all that follows "but"
counts twice.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from chop.dataset.info import DATASETS, BuiltinDataset, DatasetInfo, Parts
from chop.dataset.rows import TensorRows

ROWS = 48_000
TRAIN, VAL = 40_000, 4_000
"""Rows of the first two parts; the rest is for testing."""

LENGTH = 12
"""Words of a sentence."""

SEED = 20_262

NOT, VERY, BUT = 0, 1, 2
OPINIONS = torch.tensor([1, 1, 1, 1, 2, 2, 2, 3, -1, -1, -1, -1, -2, -2, -2, -3])
"""The values of the opinion words, which are tokens 3 to 18."""

FIRST_OPINION, FIRST_NEUTRAL = 3, 3 + len(OPINIONS)
VOCABULARY = 48
"""Tokens; those after the opinion words say nothing."""

SHARES = torch.tensor([0.16, 0.07, 0.02, 0.45, 0.3])
"""How often a word is "not", "very", "but", an opinion, or neutral."""

CLASSES = ("negative", "positive")

INFO = DatasetInfo(
    name="reviews",
    num_features=LENGTH,
    num_classes=len(CLASSES),
    rows=ROWS,
    sha256=hashlib.sha256(f"reviews {SEED} {ROWS}".encode()).hexdigest(),
    provenance=f"reviews: {ROWS:,} generated sentences of {LENGTH} words, praise or blame (seed {SEED})",
)


def load_reviews() -> Parts:
    """40,000 / 4,000 / 4,000 sentences; x int64 `(samples, 12)`, y int64. Classes alternate: balanced."""
    generator = torch.Generator().manual_seed(SEED)
    words = draw(2 * ROWS, generator)
    total = opinion(words)
    order = [words[total < 0][: ROWS // 2], words[total > 0][: ROWS // 2]]
    x = torch.stack(order, 1).flatten(0, 1)
    y = torch.arange(ROWS) % len(CLASSES)
    bounds = [slice(0, TRAIN), slice(TRAIN, TRAIN + VAL), slice(TRAIN + VAL, ROWS)]
    return Parts(*(TensorRows(x[part], y[part]) for part in bounds))


def draw(sentences: int, generator: torch.Generator) -> Tensor:
    """Words `(sentences, 12)`, each drawn by itself."""
    size = (sentences, LENGTH)
    kinds = torch.multinomial(SHARES, sentences * LENGTH, replacement=True, generator=generator).view(size)
    opinions = torch.randint(FIRST_OPINION, FIRST_NEUTRAL, size, generator=generator)
    neutral = torch.randint(FIRST_NEUTRAL, VOCABULARY, size, generator=generator)
    return torch.where(kinds < FIRST_OPINION, kinds, torch.where(kinds == FIRST_OPINION, opinions, neutral))


def opinion(words: Tensor) -> Tensor:
    """The opinion of each sentence `(sentences,)`: above 0 it praises, below 0 it blames."""
    values = torch.zeros(FIRST_NEUTRAL).index_copy(0, torch.arange(FIRST_OPINION, FIRST_NEUTRAL), OPINIONS.float())
    total, factor, weight = torch.zeros(len(words)), torch.ones(len(words)), torch.ones(len(words))
    for word in words.T:
        said = torch.where(word < FIRST_NEUTRAL, values[word.clamp(max=FIRST_NEUTRAL - 1)], 0.0)
        total += weight * factor * said
        weight = torch.where(word == BUT, 2.0, weight)
        factor = torch.where(said != 0, 1.0, factor)
        factor = torch.where(word == NOT, -factor, torch.where(word == VERY, 2 * factor, factor))
    return total


DATASETS.register("reviews")(BuiltinDataset(INFO, load_reviews))
