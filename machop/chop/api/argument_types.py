"""Checks the plain arguments of `chop.search` and of calls that share them: numbers, names, switches and paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge

from chop.config.run_config import option_types
from chop.config.typed import check_value, shown
from chop.dataset.data import Part

Device = Literal["auto", "cpu", "gpu", "cuda", "mps"]

OPTIONS = ("batch_size", "max_token_len", "seed")
"""Arguments that are the option of the same name."""

TYPES: Mapping[str, Any] = {
    "device": Device,
    "part": Part,
    "num_samples": Annotated[int, Ge(1)] | None,
    "progress": bool | None,
    **dict.fromkeys(("pretrained", "eval_mode", "resume", "verbose"), bool),
}


def argument_problems(given: Mapping[str, Any]) -> list[str]:
    """The problems of plain arguments, `name: message`; other arguments are ignored.

    >>> argument_problems({"seed": -1, "resume": False, "weights": {"fc.weight": 1.0}})  # doctest: +ELLIPSIS
    ['seed: expected greater than or equal to 0, got -1', 'weights: expected the path of a file, got a dict: ...']
    """
    types = {**{name: option_types()[name] for name in OPTIONS}, **TYPES}
    wrong = {name: check_value(kind, given[name]) for name, kind in types.items() if name in given}
    wrong |= {name: check(given[name]) for name, check in PATHS.items() if name in given}
    return [f"{name}: {message}" for name, message in wrong.items() if message]


def _folder_problem(value: Any) -> str | None:
    """The problem of an argument that is the path of a folder or None."""
    is_path = value is None or isinstance(value, str | os.PathLike)
    return None if is_path else f"expected the path of a folder, got {shown(value)}"


def _weights_problem(value: Any) -> str | None:
    """The problem of an argument that is the path of a file of weights or None; its cure for weights themselves."""
    if value is None or isinstance(value, str | os.PathLike):
        return None
    expected = f"expected the path of a file, got a {type(value).__name__}"
    if isinstance(value, Mapping):
        return f"{expected}: put weights into the model first, model.load_state_dict(weights)"
    if hasattr(value, "model") and hasattr(value, "save"):
        return f"{expected}: search its .model, or give the file that its .save(path) writes"
    return f"expected the path of a file, got {shown(value)}"


PATHS = {"folder": _folder_problem, "weights": _weights_problem}
"""The checks of arguments that are paths."""
