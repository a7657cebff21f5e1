"""The data set `toy_tiny`: two classes, four features, generated from a fixed seed."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from chop.dataset.info import DATASETS, BuiltinDataset, DatasetInfo, Parts
from chop.dataset.rows import TensorRows

ROWS = 2_000
FEATURES = 4
SEED = 20_260

INFO = DatasetInfo(
    name="toy_tiny",
    num_features=FEATURES,
    num_classes=2,
    rows=ROWS,
    sha256=hashlib.sha256(f"toy_tiny {SEED} {ROWS}".encode()).hexdigest(),
    provenance=f"toy_tiny: {ROWS:,} generated samples, two noisy classes of four features (seed {SEED})",
)


def load_toy_tiny() -> Parts:
    """1,600 / 200 / 200 samples; the class tells which of two products of normal variables is greater."""
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randn(ROWS, FEATURES, generator=generator)
    noise = 0.1 * torch.randn(ROWS, generator=generator)
    y = (x[:, 0] * x[:, 1] + noise > x[:, 2] * x[:, 3]).long()
    return Parts(_rows(x, y, 0, 1_600), _rows(x, y, 1_600, 1_800), _rows(x, y, 1_800, ROWS))


def _rows(x: Tensor, y: Tensor, start: int, stop: int) -> TensorRows:
    return TensorRows(x[start:stop], y[start:stop])


DATASETS.register("toy_tiny")(BuiltinDataset(INFO, load_toy_tiny))
