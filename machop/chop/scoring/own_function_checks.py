"""Checks on a few samples that the user's loss and metrics pair each sample with its own target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from chop.errors import ChopError
from chop.scoring.labels import LABELS_OF_BYTES, UNLABELLED
from chop.scoring.own_functions import as_function, common_shape, quiet, writes_on_arguments

COUNTS = (7, 11, 13, 17, 19, 23)
"""Numbers of samples of which one is no other dimension of the outputs."""
ORDERS = 3
"""Orders of the targets that are tried."""


def check_own_functions(
    loss: Any, metrics: Mapping[str, tuple[Any, Any]] | None, predictions: Tensor, targets: Tensor
) -> None:
    """Raise ChopError for a loss or metric that silently computes wrong values.

    It pairs all outputs with all targets, writes on its arguments, or leaves out targets.

    `predictions` are those of the first samples, some dozens at least where there are so many; `targets` those of all.
    A function that fails on a few samples is not judged here: the call on all of them says why.
    """
    own = {f"metric '{name}'": as_function(function) for name, (function, _) in (metrics or {}).items()}
    if loss is not None:
        own = {"loss": loss, **own}
    with torch.random.fork_rng(), quiet():
        for name, function in own.items():
            _require_no_writing(function, name, predictions.detach(), targets)
            _require_no_pairs(function, name, predictions.detach(), targets)
        if loss is not None:
            _require_known_labels(loss, predictions.detach(), targets)


def _require_no_writing(function: Any, name: str, predictions: Tensor, targets: Tensor) -> None:
    """Raise ChopError where a function writes on its arguments through NumPy or `.data`, which torch does not count."""
    samples = min(COUNTS[-1], len(predictions))
    before = predictions[:samples], targets[:samples]
    given = [tensor.clone() for tensor in before]
    try:
        with torch.no_grad():
            function(*given)
    except Exception:
        return
    if not all(torch.equal(one.nan_to_num(), own.nan_to_num()) for one, own in zip(before, given, strict=True)):
        raise ChopError(writes_on_arguments(name))


def _require_no_pairs(function: Any, name: str, predictions: Tensor, targets: Tensor) -> None:
    samples = next(count for count in COUNTS if count not in predictions.shape[1:])
    p, y = predictions[:samples], targets[:samples]
    other = _turned(y)
    if len(p) < samples or p.ndim < 2 or other is None or common_shape(p, y) is not None:
        return
    if (
        _Pairing.is_in(function, p, y, both=True)
        or (_Pairing.is_in(function, p, y) and _Pairing.is_in(function, p, other) is False)
        or (_is_of_any_order(function, p, y) and _is_of_any_order(function, p, other) is False)
    ):
        raise ChopError(
            f"the {name} of the data takes each output with the target of each sample (broadcasting: a column "
            f"{(len(y), 1)} of the outputs {tuple(p.shape)} with targets {tuple(y.shape)}); let it bring both to one "
            "shape, for example with predictions[:, 0] or targets.unsqueeze(1)"
        )


def _turned(targets: Tensor) -> Tensor | None:
    """Targets `(samples,)` as a column and the other way round; None for any other shape."""
    if targets.ndim == 1:
        return targets.unsqueeze(1)
    return targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else None


def _is_of_any_order(function: Any, predictions: Tensor, targets: Tensor) -> bool | None:
    """Whether the result stays the same when the targets change places, also in NumPy, where no mode sees pairs.

    None where the function fails or returns no numbers.
    """
    generator = torch.Generator().manual_seed(0)
    orders = [torch.arange(len(targets)), *(torch.randperm(len(targets), generator=generator) for _ in range(ORDERS))]
    try:
        with torch.no_grad():
            first, *others = [
                torch.as_tensor(function(predictions.clone(), targets[order].clone())).double() for order in orders
            ]
        return all(torch.allclose(first, other, rtol=1e-5, atol=0, equal_nan=True) for other in others)
    except Exception:
        return None


class _Pairing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees whether an operation makes two dimensions of the samples of arguments that have one each.

    `both`: only where one of them is part of the outputs and another one of the targets.
    """

    def __init__(self, predictions: Tensor, targets: Tensor, both: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.samples = len(targets)
        self.storages = [_storage(predictions), _storage(targets)]
        self.both = both
        self.is_there = False

    @classmethod
    def is_in(cls, function: Any, predictions: Tensor, targets: Tensor, both: bool = False) -> bool | None:
        """Whether a call of the function does that; None where it fails."""
        p, y = predictions.clone(), targets.clone()
        try:
            with torch.no_grad(), cls(p, y, both) as seen:
                function(p, y)
        except Exception:
            return None
        return bool(seen.is_there)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        given = [arg for arg in args if isinstance(arg, Tensor)]
        is_pair = len(given) > 1 or "expand" in str(func)
        if isinstance(found, Tensor) and is_pair and self._of_samples(found) > 1 and "mm" not in str(func):
            known = {_storage(arg) for arg in given}
            is_one_each = all(self._of_samples(arg) <= 1 for arg in given)
            self.is_there |= is_one_each and (not self.both or known.issuperset(self.storages))
        return found

    def _of_samples(self, tensor: Tensor) -> int:
        return sum(size == self.samples for size in tensor.shape)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _require_known_labels(loss: Any, predictions: Tensor, targets: Tensor) -> None:
    """Raise ChopError where a loss for each target is 0 for all that have one special value, whatever the outputs."""
    if targets.is_floating_point() or targets.dtype is torch.bool:
        return
    for label in _special(targets):
        if _is_ignored(loss, label, predictions, targets):
            raise ChopError(
                f"the loss of the data is 0 wherever the target is {label}, as if it meant no label, and the mean "
                f"would count these all the same: let build_data return ignore_index = {label}, so that they are left "
                "out, or let the loss return one number"
            )


def _special(targets: Tensor) -> list[int]:
    """The values of targets that may mean "no label"."""
    values = torch.unique(targets).tolist()
    return [value for value in values if (value < 0 or value in LABELS_OF_BYTES) and value != UNLABELLED]


def _is_ignored(loss: Any, label: int, predictions: Tensor, targets: Tensor) -> bool:
    """Whether the losses of these targets are 0 for outputs that are noise, and others are not."""
    here = targets == label
    rows = torch.cat([torch.nonzero(own.reshape(len(targets), -1).any(1))[:8, 0] for own in (here, ~here)])
    noise = 3 * torch.randn(len(rows), *predictions.shape[1:], generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            values = loss(noise.to(predictions), targets[rows].clone())
    except Exception:  # it may not do with a few samples, or noise
        return False
    if not isinstance(values, Tensor) or values.shape != targets[rows].shape:
        return False
    return not bool(values[here[rows]].any()) and bool(values[~here[rows]].any())
