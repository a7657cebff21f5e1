"""The zoo's data: one function for each kind of input, as a user's file has it (`FILE.py:FUNCTION`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

SAMPLES = {"train": 96, "val": 72, "test": 80}
BATCH = 24
CLASSES = 3
VOCABULARY = 20
LENGTH = 6


class Samples(Dataset[Any]):
    """Inputs (a tensor, a tuple or a dictionary of tensors) and targets in memory."""

    def __init__(self, x: Any, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        return _taken(self.x, index), self.y[index]


def _taken(x: Any, index: int) -> Any:
    if isinstance(x, dict):
        return {key: value[index] for key, value in x.items()}
    return tuple(value[index] for value in x) if isinstance(x, tuple) else x[index]


def _parts(inputs: Callable[[int, torch.Generator], Any], **more: Any) -> dict[str, Any]:
    """Loaders of three parts; the targets are classes drawn at random, so that no score is right by being trivial."""
    loaders: dict[str, Any] = {}
    for seed, (part, samples) in enumerate(SAMPLES.items()):
        generator = torch.Generator().manual_seed(seed)
        x = inputs(samples, generator)
        y = more.get("targets", _classes)(samples, generator)
        loaders[part] = DataLoader(Samples(x, y), batch_size=BATCH)
    return loaders | {key: value for key, value in more.items() if key != "targets"}


def _classes(samples: int, generator: torch.Generator) -> Tensor:
    return torch.arange(samples) % CLASSES


def _normal(*shape: int) -> Callable[[int, torch.Generator], Tensor]:
    return lambda samples, generator: torch.randn(samples, *shape, generator=generator)


def vectors() -> dict[str, Any]:
    """`(samples, 8)`."""
    return _parts(_normal(8))


def images() -> dict[str, Any]:
    """`(samples, 3, 8, 8)`."""
    return _parts(_normal(3, 8, 8))


def signals() -> dict[str, Any]:
    """`(samples, 3, 16)`."""
    return _parts(_normal(3, 16))


def volumes() -> dict[str, Any]:
    """`(samples, 2, 4, 4, 4)`."""
    return _parts(_normal(2, 4, 4, 4))


def sequences() -> dict[str, Any]:
    """`(samples, 6, 8)`."""
    return _parts(_normal(LENGTH, 8))


def tokens() -> dict[str, Any]:
    """`(samples, 6)`, whole numbers below 20."""
    return _parts(lambda samples, g: torch.randint(VOCABULARY, (samples, LENGTH), generator=g))


def padded() -> dict[str, Any]:
    """`{"x": (samples, 6, 8), "keep": (samples, 6)}`: sequences of different lengths, and which places are filled."""

    def inputs(samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        lengths = torch.randint(2, LENGTH + 1, (samples, 1), generator=generator)
        return {
            "x": torch.randn(samples, LENGTH, 8, generator=generator),
            "keep": torch.arange(LENGTH) < lengths,
        }

    return _parts(inputs)


def padded_tokens() -> dict[str, Any]:
    """`{"input_ids": (samples, 6), "attention_mask": (samples, 6)}`, as tokenizers return it."""

    def inputs(samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        lengths = torch.randint(2, LENGTH + 1, (samples, 1), generator=generator)
        return {
            "input_ids": torch.randint(VOCABULARY, (samples, LENGTH), generator=generator),
            "attention_mask": (torch.arange(LENGTH) < lengths).long(),
        }

    return _parts(inputs)


def pairs() -> dict[str, Any]:
    """Two vectors a sample, as a tuple."""
    return _parts(lambda samples, g: (torch.randn(samples, 8, generator=g), torch.randn(samples, 8, generator=g)))


def squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """The squared error of each sample."""
    return (predictions - targets) ** 2


def regression() -> dict[str, Any]:
    """`(samples, 8)` with one number as target, `(samples,)`."""
    return _parts(_normal(8), targets=lambda samples, g: torch.randn(samples, generator=g), loss=squared_error)


def longer_test_sequences() -> dict[str, Any]:
    """`(samples, 5, 8)`, in the test set `(samples, 9, 8)`."""
    parts = _parts(_normal(5, 8))
    x = torch.randn(SAMPLES["test"], 9, 8, generator=torch.Generator().manual_seed(2))
    return parts | {"test": DataLoader(Samples(x, _classes(len(x), torch.Generator())), batch_size=BATCH)}
