"""Checks what a runner returns: the metrics that it declares, one number each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from chop.errors import SearchError


def other_metrics(runner: str, found: Any, declared: Collection[str]) -> str:
    """What to say where a runner does not return the metrics that it declares."""
    said = ", ".join(sorted(declared))
    if not isinstance(found, Mapping):
        return f"runner {runner} returned a {type(found).__name__}; it must return {{metric: number}} for {said}"
    undeclared, missing = sorted(set(found) - set(declared), key=str), sorted(set(declared) - set(found))
    told = [f"returned {', '.join(map(repr, undeclared))}, which it does not declare"] if undeclared else []
    told += [f"did not return {', '.join(map(repr, missing))}, which it declares"] if missing else []
    return f"runner {runner} {' and '.join(told)}: its metrics_of names {said}; make the two agree"


def as_number(value: Any, metric: str, runner: str) -> float:
    """A metric as a float; raises SearchError for what is not one number."""
    is_one = isinstance(value, (int, float, np.number, np.bool_)) or (isinstance(value, Tensor) and value.numel() == 1)
    if not is_one or np.iscomplexobj(value):
        what = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise SearchError(f"runner {runner} returned {what} for '{metric}'; a metric is one number")
    try:
        return float(value)
    except OverflowError:
        raise SearchError(
            f"runner {runner} returned a whole number beyond 1.8e308 for '{metric}', the largest that a metric can be"
        ) from None
