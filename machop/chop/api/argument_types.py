"""Checks the plain arguments of `chop.search` and of calls that share them: numbers, names, switches and paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge

from chop.config.run_config import option_types
from chop.config.typed import check_value, shown
from chop.dataset.data import Part

Check = Callable[[Any], str | None]
"""Returns the problem of a value, or None."""

Device = Literal["auto", "cpu", "gpu", "cuda", "mps"]

_BOUNDS = '{"min": …, "max": …, "max_drop": …}'

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
    wrong |= {name: check(given[name]) for name, check in CHECKS.items() if name in given}
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


def _table_of(values: str) -> Check:
    """The check of an argument that is a dictionary from names to `values`, or None."""

    def problem(value: Any) -> str | None:
        is_table = value is None or (isinstance(value, Mapping) and all(isinstance(name, str) for name in value))
        return None if is_table else f"expected a dictionary {{name: {values}}}, got {shown(value)}"

    return problem


def _constraints_problem(value: Any) -> str | None:
    """The problem of constraints: a dictionary of bounds for each name of a metric, or None."""
    if problem := _table_of(_BOUNDS)(value):
        return problem
    wrong = {name: bounds for name, bounds in (value or {}).items() if not isinstance(bounds, Mapping)}
    return "; ".join(f"expected {_BOUNDS} for '{name}', got {shown(bounds)}" for name, bounds in wrong.items()) or None


def _several(items: str) -> Check:
    """The check of an argument that holds several `items`, is a single function, or None."""

    def problem(value: Any) -> str | None:
        is_one = value is None or callable(value) or isinstance(value, Iterable)
        return None if is_one else f"expected {items}, got {shown(value)}"

    return problem


CHECKS: Mapping[str, Check] = {
    "folder": _folder_problem,
    "weights": _weights_problem,
    "constraints": _constraints_problem,
    "strategy_options": _table_of("value"),
    "metrics": _table_of("(function, 'maximize' or 'minimize')"),
    "objectives": _several("names of metrics, or (function, 'maximize' or 'minimize')"),
    "early_stopping": _several("numbers of samples"),
}
"""The checks of arguments of which no type says what they may be."""
