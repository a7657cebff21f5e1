"""Selects the output of a model that is scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from chop.errors import ChopError

Key = str | int
Path = tuple[Key, ...]
OutputName = Key | Path | None
"""The name or the position of an output, or a path of these into nested outputs; None: the data do not say."""

LOGITS = "logits"
"""The output that is scored where several have names: the convention of Hugging Face."""


def predictions_of(output: Any, wanted: OutputName = None) -> Tensor:
    """The scored output: the one that `wanted` names, else the one called `logits`, else the only one.

    A model that returns a tensor has no other output, whatever `wanted` says. Scalars (a loss beside the scores) and
    None do not count. Raises ChopError where several outputs are left, or none.

    >>> import torch
    >>> predictions_of({"features": torch.zeros(4, 16), "scores": torch.zeros(4, 3)}, "scores").shape
    torch.Size([4, 3])
    """
    if isinstance(output, Tensor):
        return output
    if wanted is not None:
        return _only(_at(output, (wanted,) if isinstance(wanted, (str, int)) else wanted))
    logits = _entries(output).get(LOGITS)
    return logits if isinstance(logits, Tensor) else _only(output)


def _entries(output: Any) -> dict[Key, Any]:
    """The parts of an output by name or position; none of what has no parts."""
    if isinstance(output, Mapping):
        return dict(output)
    if is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return dict(zip(output._fields, output, strict=True))
    return dict(enumerate(output)) if isinstance(output, (tuple, list)) else {}


def _tensors(output: Any, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """All tensors of an output with their paths."""
    if isinstance(output, Tensor):
        yield path, output
    for key, value in _entries(output).items():
        yield from _tensors(value, (*path, key))


def _at(output: Any, path: Path) -> Any:
    """The part of an output at a path; a position counts the parts that have names, too."""
    found = output
    for key in path:
        entries = _entries(found)
        if isinstance(key, int) and -len(entries) <= key < len(entries):
            found = list(entries.values())[key]
        elif key in entries:
            found = entries[key]
        else:
            raise ChopError(
                f"the model has no output {_written(path)}, which the data name; it returns {_list(output)}"
            )
    return found


def _only(output: Any) -> Tensor:
    """The only tensor of an output that is no scalar, or the only scalar."""
    tensors = list(_tensors(output))
    several = [(path, tensor) for path, tensor in tensors if tensor.ndim] or tensors
    if not several:
        raise ChopError(f"the model returns {type(output).__name__}, which holds no tensor to score")
    if len(several) > 1:
        raise ChopError(
            f"the model returns several outputs: {_list(output)}; name the one that is scored in what build_data "
            f"returns, for example output = {_written(several[-1][0])}"
        )
    return several[0][1]


def _list(output: Any) -> str:
    return ", ".join(f"{_written(path)} {tuple(tensor.shape)}" for path, tensor in _tensors(output)) or "no tensor"


def _written(path: Path) -> str:
    return repr(path[0] if len(path) == 1 else path)
