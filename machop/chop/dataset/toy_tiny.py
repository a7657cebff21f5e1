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
    """1,600 / 200 / 200 samples."""
    x, y = drawn(ROWS, SEED)
    bounds = [slice(0, 1_600), slice(1_600, 1_800), slice(1_800, ROWS)]
    return Parts(*(TensorRows(x[part], y[part]) for part in bounds))


def drawn(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Samples from a seed: x float32 `(rows, 4)`, y int64, which of two products of normal variables is greater."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, FEATURES, generator=generator)
    noise = 0.1 * torch.randn(rows, generator=generator)
    return x, (x[:, 0] * x[:, 1] + noise > x[:, 2] * x[:, 3]).long()


DATASETS.register("toy_tiny")(BuiltinDataset(INFO, load_toy_tiny))
