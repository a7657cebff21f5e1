"""Describes a model without building it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from chop.registry import Registry


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a model: name, description, and the data that its bundled weights were trained on.

    `image_size`: height and width of the images that it takes, in pixels; None: it takes no images.
    """

    name: str
    description: str
    tasks: tuple[str, ...] = ("cls",)
    trained_on: str | None = None
    num_features: int | None = None
    num_classes: int | None = None
    model_source: str = "chop"
    image_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class BuiltinModel:
    """A model that ships with the package: its facts, and how to build it for given features and classes."""

    info: ModelInfo
    build: Callable[[int, int], nn.Module]


MODELS: Registry[BuiltinModel] = Registry(
    "chop.models",
    "model",
    ("chop.models.jets", "chop.models.reviews", "chop.models.shapes", "chop.models.toy"),
    lambda item: None if isinstance(item, BuiltinModel) else "is no BuiltinModel(info, build)",
)
