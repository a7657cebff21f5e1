"""Describes a data set without reading it: sizes, classes, provenance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chop.dataset.rows import TensorRows
from chop.registry import Registry


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a data set: size, features, classes and provenance.

    `provenance` is one line for logs and reports. `num_classes` is None where the targets are no classes. Of images
    `num_features` are the channels and `image_size` is height and width in pixels, None for all other data.
    """

    name: str
    num_features: int | None
    num_classes: int | None
    rows: int | None
    sha256: str
    provenance: str
    image_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Parts:
    """The disjoint training, validation and test set."""

    train: TensorRows
    val: TensorRows
    test: TensorRows


@dataclass(frozen=True)
class BuiltinDataset:
    """A bundled data set: its facts, and the function that reads it."""

    info: DatasetInfo
    load: Callable[[], Parts]
    example: str = field(default="")


DATASETS: Registry[BuiltinDataset] = Registry(
    "chop.datasets",
    "data set",
    ("chop.dataset.jets", "chop.dataset.reviews", "chop.dataset.shapes", "chop.dataset.toy_tiny"),
    lambda item: None if isinstance(item, BuiltinDataset) else "is no BuiltinDataset(info, load)",
)
