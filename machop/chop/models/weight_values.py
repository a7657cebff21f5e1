"""Checks and converts types and values of tensors before they become a model's weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def as_weights(model: nn.Module, tensors: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """The tensors in the types of the model; what is wrong with them; what was converted, one line each.

    `tensors` are named and shaped as in the model's state dict.
    """
    own = model.state_dict()
    converted: dict[str, Any] = {}
    problems: list[str] = []
    for name, found in tensors.items():
        wrong = _cannot_be(found, own[name])
        converted[name] = found.to(own[name].dtype) if wrong is None and isinstance(own[name], Tensor) else found
        wrong = wrong or _wrong_values(name, converted[name], found, own[name])
        problems += [f"{name} {wrong}"] if wrong else []
    problems += [] if problems else _untied(own, converted)
    changed = Counter((found.dtype, converted[name].dtype) for name, found in tensors.items() if torch.is_tensor(found))
    remarks = [
        f"{count} {'tensor is' if count == 1 else 'tensors are'} converted from {_text(before)} to {_text(after)}"
        for (before, after), count in changed.items()
        if before != after
    ]
    return converted, problems, remarks


def _cannot_be(found: Any, own: Any) -> str | None:
    """Why a tensor cannot stand for the model's own, whatever its values; None where it can."""
    if not isinstance(own, Tensor):
        return None
    if not isinstance(found, Tensor):
        return f"is {type(found).__name__}, not a tensor"
    reasons = {
        f"is quantised ({_text(found.dtype)}): give the weights of the float model": found.is_quantized,
        f"is sparse ({_text(found.layout)}): save it with .to_dense()": found.layout is not torch.strided,
        "has no values (device meta)": found.is_meta,
        f"holds {_text(found.dtype)}, and the model's is {_text(own.dtype)}": not _may_become(found, own),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _may_become(found: Tensor, own: Tensor) -> bool:
    """Whether a tensor's type can be converted to the model's: a float to a float, and to a counter if values allow."""
    is_count = not own.is_floating_point() and not own.is_complex()
    same_kind = (found.is_floating_point(), found.is_complex()) == (own.is_floating_point(), own.is_complex())
    return same_kind or (is_count and found.is_floating_point())


def _wrong_values(name: str, value: Any, found: Any, own: Any) -> str | None:
    """What of a tensor's values no training leaves behind, or the model's type cannot hold."""
    if not isinstance(value, Tensor) or not isinstance(own, Tensor):
        return None
    if not value.is_floating_point() and not value.is_complex():
        is_exact = torch.equal(value.to(found.dtype), found)
        negative = name.endswith("num_batches_tracked") and bool((value < 0).any())
        return "counts less than nothing" if negative else None if is_exact else f"does not fit {_text(own.dtype)}"
    infinite = ~torch.isfinite(value)
    if bool(infinite.any()) and not _is_mask(infinite, own):
        return "holds NaN or infinity" + ("" if value.dtype == found.dtype else f" as {_text(own.dtype)}")
    if name.rpartition(".")[2] == "running_var" and bool((value < 0).any()):
        return "is a variance below zero"
    return None


def _is_mask(infinite: Tensor, own: Tensor) -> bool:
    """Whether the model's own buffer is infinite in the same places, as masks of attention are."""
    if isinstance(own, nn.Parameter) or nn.parameter.is_lazy(own) or own.is_meta:
        return False
    return torch.equal(infinite.cpu(), ~torch.isfinite(own).cpu())


def _untied(own: Mapping[str, Any], converted: Mapping[str, Any]) -> list[str]:
    """Names whose tensors are one in the model, and differ in the file."""
    first: dict[Any, str] = {}
    problems = []
    for name in converted:
        if not isinstance(own[name], Tensor) or nn.parameter.is_lazy(own[name]) or not own[name].numel():
            continue
        other = first.setdefault((own[name].data_ptr(), own[name].shape, own[name].stride()), name)
        if not own[name].is_meta and other != name and not torch.equal(converted[name], converted[other]):
            problems.append(f"{name} differs from {other}, and the model has one tensor for both")
    return problems


def _text(kind: torch.dtype | torch.layout) -> str:
    return str(kind).removeprefix("torch.")
