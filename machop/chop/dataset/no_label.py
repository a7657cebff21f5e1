"""The target that means "no label" in a user's data, if it is not -100."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from chop.errors import DatasetError
from chop.scoring.labels import UNLABELLED


class OnOwnLabels:
    """A loss or metric of the user that gets the data's own `label` for "no label"."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any], label: int) -> None:
        self.__wrapped__ = function
        self.label = label

    def __call__(self, predictions: Tensor, targets: Tensor) -> Any:
        """What the function returns for predictions and targets, classes of which have the data's own label."""
        if not targets.is_floating_point():
            targets = targets.masked_fill(targets == UNLABELLED, self.label)
        return self.__wrapped__(predictions, targets)


def label_of_none(loss: Any, stated: int | None) -> int:
    """The target that means "no label": as the data state, else the `ignore_index` of their loss, else -100.

    Raises DatasetError where the two differ.
    """
    own = ignored_label(loss)
    if stated is not None and own not in (None, UNLABELLED, stated):
        raise DatasetError(
            f"build_data returned ignore_index = {stated}, but its loss ignores {own}; make the two agree"
        )
    return next(label for label in (stated, own, UNLABELLED) if label is not None)


def ignored_label(loss: Any) -> int | None:
    """The `ignore_index` of a loss: of a module, of those within it, or among the arguments of a function.

    None where it has none, or several.
    """
    if isinstance(loss, functools.partial):
        found = loss.keywords.get("ignore_index")
        return found if _is_label(found) else ignored_label(loss.func)
    if isinstance(loss, nn.Module):
        labels = {getattr(own, "ignore_index", None) for own in loss.modules()}
    else:
        labels = {getattr(loss, "ignore_index", None), _default(loss)}
        if inspect.ismethod(loss):
            return ignored_label(loss.__self__)
    found = [label for label in labels if _is_label(label)]
    return found[0] if len(found) == 1 else None


def _default(function: Any) -> Any:
    """The default of a function's argument `ignore_index`."""
    try:
        return inspect.signature(function).parameters["ignore_index"].default
    except (KeyError, TypeError, ValueError):
        return None


def _is_label(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
