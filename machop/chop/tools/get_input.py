"""Makes batches the keyword arguments of a model's `forward`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from torch import Tensor

from chop.errors import ChopError, did_you_mean, first_line
from chop.tools.files import cure
from chop.tools.model_inputs import as_input
from chop.tools.model_outputs import OutputName, predictions_of
from chop.tools.option_names import option

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
        self._read = getattr(data_module, "as_batch", lambda batch: batch)
        self._new_loader = getattr(data_module, f"{part}_dataloader")
        self._stream: Iterator[dict[str, Any]] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._inputs()

    def __next__(self) -> dict[str, Any]:
        if self._stream is None:
            self._stream = self._inputs()
        return next(self._stream)

    def _inputs(self) -> Iterator[dict[str, Any]]:
        for batch in islice(iter(self._new_loader()), self.max_batches):
            x, _ = self._read(batch)
            yield as_keywords(as_input(x))


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
    found = model(**x) if isinstance(x, dict) else model(x) if isinstance(x, Tensor) else model(*x)
    return predictions_of(found, output)


@contextmanager
def failures_named(what: str) -> Iterator[None]:
    """Raise ChopError, with what was tried, for whatever fails within a model's own code."""
    try:
        yield
    except ChopError:
        raise
    except Exception as error:
        raise ChopError(f"{what}: {first_line(error)}{hint_on(error)} ({option('debug')} shows where)") from error


def hint_on(error: Exception) -> str:
    """The cure for a failure that data often cause; empty for any other."""
    if isinstance(error, OSError):
        return cure(error)
    text = str(error)
    if "dtype" in text and ("Double" in text or "double" in text):
        return "; inputs in float64 (NumPy's usual type) need x.float() in the data set"
    if "dtype" in text and ("Half" in text or "BFloat16" in text):
        return "; inputs and weights need one type: x.float() in the data set, and model.float()"
    if "dtype" in text and any(
        f"got {name} and Float" in text for name in ("Long", "Int", "Short", "Char", "Byte", "Bool")
    ):
        return (
            "; whole numbers are taken as they are (as tokens): give inputs that the model computes with as x.float()"
        )
    if "Expected more than 1 value per channel when training" in text:
        return "; batch norm cannot train on one sample: let the training set come in batches of two samples or more"
    return ""
