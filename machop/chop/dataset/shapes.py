"""The data set `shapes`: small images of five shapes, generated from a fixed seed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import torch
from torch import Tensor

from chop.dataset.info import DATASETS, BuiltinDataset, DatasetInfo, Parts
from chop.dataset.rows import TensorRows

ROWS = 12_000
TRAIN, VAL = 8_000, 2_000
"""Rows of the first two parts; the rest is for testing."""

SIZE = 12
"""Pixels of a side."""

SEED = 20_261
NOISE = 0.25
"""Standard deviation of a pixel's noise; the ink of a shape is between 0.8 and 2."""

Distance = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Distance in pixels from the lines of a shape of radius `r`, at `(u, v)` from its middle."""


def circle(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    """The rim only."""
    return (torch.hypot(u, v) - r).abs()


def square(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    """The frame only, its sides a little nearer than `r`."""
    return (torch.maximum(u.abs(), v.abs()) - 0.9 * r).abs()


def triangle(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    """The frame only, with corners at 1.2 `r`."""
    slanted = math.sqrt(0.75) * u.abs() - 0.5 * v
    return (torch.maximum(v, slanted) - 0.6 * r).abs()


def cross(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    """Two lines at right angles."""
    return torch.minimum(line(u, v, r), line(v, u, r))


def line(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    """One line of length 2 `r`."""
    return torch.maximum(u.abs(), v.abs() - r)


SHAPES: tuple[Distance, ...] = (circle, square, triangle, cross, line)
"""In the order of the classes."""

INFO = DatasetInfo(
    name="shapes",
    num_features=1,
    num_classes=len(SHAPES),
    rows=ROWS,
    sha256=hashlib.sha256(f"shapes {SEED} {ROWS}".encode()).hexdigest(),
    provenance=f"shapes: {ROWS:,} generated images, five shapes of {SIZE} x {SIZE} noisy pixels (seed {SEED})",
    image_size=(SIZE, SIZE),
)


def load_shapes() -> Parts:
    """8,000 / 2,000 / 2,000 images."""
    x, y = noisy_images(ROWS, SEED)
    bounds = [slice(0, TRAIN), slice(TRAIN, TRAIN + VAL), slice(TRAIN + VAL, ROWS)]
    return Parts(*(TensorRows(x[part], y[part]) for part in bounds))


def noisy_images(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random shapes with noise, from a seed: x float32 `(rows, 1, 12, 12)`, y int64. Classes alternate: balanced."""
    generator = torch.Generator().manual_seed(seed)
    ink = clean_images(torch.rand(6, rows, generator=generator))
    x = (ink + NOISE * torch.randn(rows, SIZE, SIZE, generator=generator)).unsqueeze(1)
    return x, torch.arange(rows) % len(SHAPES)


def clean_images(uniform: Tensor) -> Tensor:
    """Images `(samples, 12, 12)` without noise, shapes in turn, from six uniform numbers each, `(6, samples)`."""
    right, down, turn, radius, thickness, contrast = uniform[:, :, None, None]
    place = torch.arange(SIZE) - (SIZE - 1) / 2
    dx, dy = place - 4 * (right - 0.5), place[:, None] - 4 * (down - 0.5)
    cos, sin = torch.cos(2 * math.pi * turn), torch.sin(2 * math.pi * turn)
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    r, half_width = 2.5 + 2 * radius, 0.3 + 0.5 * thickness
    ink = torch.empty(u.shape)
    for number, distance in enumerate(SHAPES):
        own = slice(number, None, len(SHAPES))
        away = distance(u[own], v[own], r[own])
        ink[own] = (half_width[own] + 0.5 - away).clamp(0, 1)
    return ink.mul(0.8 + 1.2 * contrast)


DATASETS.register("shapes")(BuiltinDataset(INFO, load_shapes))
