"""Calls the user's loss and metrics, which may be written for other shapes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from chop.errors import ChopError, MetricError
from chop.tools.user_code import place_in


def call_loss(loss: Callable[[Tensor, Tensor], Any], predictions: Tensor, targets: Tensor) -> Tensor:
    """The result of the user's loss, one number or one per sample; raises ChopError for anything else."""
    found = called(loss, "loss", predictions, targets)
    if isinstance(found, (int, float)):
        found = torch.tensor(float(found))
    if not isinstance(found, Tensor):
        raise ChopError(
            f"the loss of the data returns a {type(found).__name__}; it must return one number or one for each sample"
        )
    if found.ndim and len(found) != len(targets):
        raise ChopError(
            f"the loss of the data returns {tuple(found.shape)} for {len(targets)} samples; it must return one number, "
            "or one for each sample (not for each class)"
        )
    return found if found.is_floating_point() else found.float()


def call_metric(metric: Callable[[Tensor, Tensor], Any], name: str, predictions: Tensor, targets: Tensor) -> float:
    """The result of the user's metric, one number; raises MetricError if it fails or returns anything else."""
    return as_one_number(called(metric, f"metric '{name}'", predictions, targets, MetricError), name)


def as_one_number(found: Any, name: str) -> float:
    """The result of the user's metric as a float; raises MetricError for anything but one number."""
    try:
        if isinstance(found, str):
            raise TypeError
        return float(found)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        what = tuple(found.shape) if isinstance(found, Tensor) else repr(found)
        raise MetricError(f"the metric '{name}' must return one number for all samples, not {what}") from None


def streams(metric: Any) -> bool:
    """Whether a metric of the data takes outputs batch by batch: a class with `update` and `result`."""
    own = getattr(metric, "__wrapped__", metric)
    return isinstance(own, type) and callable(getattr(own, "update", None)) and callable(getattr(own, "result", None))


def as_function(metric: Any) -> Any:
    """A metric of the data as a function of outputs and targets, also one that streams."""

    def of_one_batch(predictions: Tensor, targets: Tensor) -> Any:
        made = metric()
        made.update(predictions, targets)
        return made.result()

    return of_one_batch if streams(metric) else metric


def called(function: Any, name: str, predictions: Tensor, targets: Tensor, failure: type[ChopError] = ChopError) -> Any:
    """The result of a user's function; raises ChopError if it writes on its arguments, `failure` if it fails."""
    before = _versions(predictions, targets)
    try:
        found = on_one_shape(function, name, predictions, targets)
    except ChopError:
        raise
    except Exception as error:
        where = place_in(function, error)
        told = f"the {name} of the data failed{where}: {type(error).__name__}: {error}{_on_types(error, targets)}"
        raise failure(told) from error
    if _versions(predictions, targets) != before:
        raise ChopError(writes_on_arguments(name))
    return found


def _on_types(error: Exception, targets: Tensor) -> str:
    """The cure where a function wants targets of a floating-point type; empty for any other failure."""
    is_of_types = not targets.is_floating_point() and any(word in str(error) for word in ("Long", "bool", "Bool"))
    return f"; the targets are {targets.dtype}: let the data set return y.float()" if is_of_types else ""


def on_one_shape(function: Any, name: str, predictions: Tensor, targets: Tensor) -> Any:
    """The function's result; of `(samples, 1)` and `(samples,)` it gets two of one shape where it would pair samples.

    A function that picks its column itself (`predictions[:, 0] - targets`) gets them as they are.
    """
    shape = common_shape(predictions, targets)
    if shape is None:
        return function(predictions, targets)
    failure: Exception | None = None
    try:
        with quiet(), _Broadcasting(predictions, targets) as seen, _Leaving() as left:
            found = function(predictions, targets)
        if not (seen.is_there or left.is_there):
            return found
    except Exception as error:  # written for one shape: it may do with that
        failure = error
    try:
        with _Broadcasting(predictions, targets) as again:
            result = function(predictions.reshape(shape), targets.reshape(shape))
    except Exception as error:
        if failure is None and not seen.is_there:
            return found
        raise failure or ChopError(_paired(name, predictions, targets)) from error
    is_right = failure is not None or (seen.is_there and not again.is_there) or _are_equal(found, result)
    if not is_right:
        raise ChopError(_paired(name, predictions, targets))
    return result


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress torch's warning of targets that are broadcast, which is checked elsewhere."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using a target size", UserWarning)
        yield


def common_shape(predictions: Tensor, targets: Tensor) -> tuple[int, ...] | None:
    """The shape of the smaller where the two differ in dimensions of size 1 alone and are broadcast; else None."""
    short, long = sorted((tuple(predictions.shape), tuple(targets.shape)), key=len)
    if short == long or not len(predictions) == len(targets) > 1:
        return None
    is_near = [size for size in short[1:] if size != 1] == [size for size in long[1:] if size != 1]
    return short if is_near else None


def _paired(name: str, predictions: Tensor, targets: Tensor) -> str:
    return (
        f"the {name} of the data takes each of the outputs {tuple(predictions.shape)} with each of the targets "
        f"{tuple(targets.shape)} (broadcasting): let it bring both to one shape, for example with predictions[:, 0]"
    )


def _are_equal(one: Any, other: Any) -> bool:
    try:
        return bool(torch.allclose(torch.as_tensor(one).double(), torch.as_tensor(other).double()))
    except (TypeError, ValueError, RuntimeError):
        return False


class _Broadcasting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees whether outputs and targets meet in one operation, or are expanded, to something larger than both."""

    def __init__(self, predictions: Tensor, targets: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes = {tuple(predictions.shape), tuple(targets.shape)}
        self.largest = max(predictions.numel(), targets.numel())
        self.is_there = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and found.numel() > self.largest:
            shapes = {tuple(arg.shape) for arg in args if isinstance(arg, Tensor)}
            self.is_there |= shapes == self.shapes or ("expand" in str(func) and shapes <= self.shapes)
        return found


class _Leaving(TorchFunctionMode):
    """Sees whether a function goes on in NumPy or plain Python, where nothing sees its broadcasting."""

    is_there = False

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.is_there |= func in (Tensor.numpy, Tensor.__array__, Tensor.tolist)
        return func(*args, **(kwargs or {}))


def writes_on_arguments(name: str) -> str:
    """The error message for a function that writes on its arguments."""
    return f"the {name} of the data writes on its arguments (clamp_, +=, …): let it work on copies, x.clone()"


def _versions(*tensors: Tensor) -> list[int]:
    """How often each was written on, as far as torch counts it."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]
