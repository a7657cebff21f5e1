"""Batches as keyword arguments of a model's `forward`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch import Tensor

from chop.errors import ChopError, did_you_mean
from chop.tools.model_outputs import OutputName, predictions_of

INPUT_NAME = "x"
LOADERS = ("train", "val", "test")


class InputGenerator:
    """Yields `{"x": batch}` from a part of a data module; each `iter` starts from the first batch.

    `which_dataloader` is train, val or test; `max_batches` ends it early.
    """

    def __init__(
        self,
        data_module: Any,
        model_info: Any,
        task: str,
        which_dataloader: str,
        max_batches: int | None = None,
    ) -> None:
        part = which_dataloader.removesuffix("_dataloader")
        if part not in LOADERS:
            hint = did_you_mean(part, LOADERS)
            raise ChopError(f"which_dataloader: expected one of {', '.join(LOADERS)}, got '{which_dataloader}'{hint}")
        self.model_info = model_info
        self.task = task
        self.max_batches = max_batches
        self._new_loader = getattr(data_module, f"{part}_dataloader")
        self._stream: Iterator[dict[str, Any]] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._inputs()

    def __next__(self) -> dict[str, Any]:
        if self._stream is None:
            self._stream = self._inputs()
        return next(self._stream)

    def _inputs(self) -> Iterator[dict[str, Any]]:
        for x, *_ in islice(iter(self._new_loader()), self.max_batches):
            yield as_keywords(x)


def as_keywords(x: Any) -> dict[str, Any]:
    """An input as keyword arguments: a dictionary as it is, a tensor under `x`."""
    if isinstance(x, dict):
        return x
    if isinstance(x, Tensor):
        return {INPUT_NAME: x}
    raise ChopError("an input that is a tuple has no keyword names; let the data give a dictionary {argument: tensor}")


def call_model(model: Any, x: Any, output: OutputName = None) -> Tensor:
    """The predictions of `model` for an input: a tensor, a tuple of positional or a dictionary of keyword arguments.

    `output` names the one that is scored where the model returns several.
    """
    if isinstance(x, dict):
        return predictions_of(model(**x), output)
    return predictions_of(model(x) if isinstance(x, Tensor) else model(*x), output)
