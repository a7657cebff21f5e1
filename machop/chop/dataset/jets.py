"""The data set `jsc-sim`: simulated jets for jet substructure classification, five classes, sixteen features.

A sample of its own, made with Pythia 8.317 (arXiv:2203.11601) and FastJet 3.5.2 (arXiv:1111.6097) to resemble the
published ones (arXiv:1709.08705, arXiv:1804.06913). It is none of them: figures on it compare with each other only.
"""

from __future__ import annotations

import hashlib
import io
from functools import cache
from importlib.resources import files

import numpy as np
import torch

from chop.dataset.info import DATASETS, BuiltinDataset, DatasetInfo, Parts
from chop.dataset.rows import TensorRows
from chop.errors import DatasetError

ROWS = 97_630
FEATURES = 16
SHA256 = "0a971997a909b6ed74f14fa251aa3f761650b4f7de13af82f46c38ca5f143a74"
TRAIN, VAL = 78_104, 9_763
"""Rows of the first two parts (80 % and 10 %); the rest is for testing. The rows of the file are shuffled."""

REPEATED_FEATURE, REPEATS = "j_d2_a1_b1_mmdt", "j_d2_b1_mmdt"
"""By definition equal, and stored once."""

INFO = DatasetInfo(
    name="jsc-sim",
    num_features=FEATURES,
    num_classes=5,
    rows=ROWS,
    sha256=SHA256,
    provenance=(
        f"jsc-sim: {ROWS:,} simulated jets (Pythia 8 and FastJet; not one of the published JSC samples), "
        f"sha256 {SHA256[:16]}…"
    ),
)


def load_jets() -> Parts:
    """The three sets, standardised by the training samples; x float32 `(samples, 16)`, y int64.

    Raises DatasetError where the file is not the one that this version knows.
    """
    x, y = decoded_jets()
    train = slice(0, TRAIN)
    mean = x[train].mean(axis=0, dtype=np.float64)
    deviation = x[train].std(axis=0, dtype=np.float64)
    scaled = torch.from_numpy(((x - mean) / deviation).astype(np.float32))
    labels = torch.from_numpy(y.astype(np.int64))
    bounds = [train, slice(TRAIN, TRAIN + VAL), slice(TRAIN + VAL, ROWS)]
    return Parts(*(TensorRows(scaled[part], labels[part]) for part in bounds))


@cache
def decoded_jets() -> tuple[np.ndarray, np.ndarray]:
    """All jets in physical units: features `(97630, 16)` float32 in the file's order, classes `(97630,)`."""
    content = files("chop.dataset").joinpath("data/jets_u16_97k.npz").read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DatasetError("the file of jsc-sim is damaged (its sha256 is another); install the package again")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        codes = arrays["hi"].astype(np.uint16) << 8 | arrays["lo"]
        names = [str(name) for name in arrays["features"]]
        stored = [name for name in names if name != REPEATED_FEATURE]
        columns = [stored.index(REPEATS if name == REPEATED_FEATURE else name) for name in names]
        x = codes[columns].T.astype(np.float32) * arrays["step"] + arrays["offset"]
        return x, arrays["y"]


DATASETS.register("jsc-sim", aliases=("jsc",))(BuiltinDataset(INFO, load_jets))
