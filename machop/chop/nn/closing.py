"""Measures what follows from the formats of everything before a node: done on a call under the whole plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from chop.formats import BatchNormStatistics, Format, OutputShift
from chop.nn.channel_statistics import channel_statistics
from chop.nn.ops import STATISTICS, Op
from chop.nn.quantized import call_quantized


def is_open(formats: Mapping[str, Format]) -> bool:
    """Whether a node has something that is still to be measured under the plan."""
    return any(chosen.is_open for chosen in formats.values())


def reopened(formats: Mapping[str, Format]) -> dict[str, Format]:
    """The formats of a node with what was measured under the plan to be measured again."""
    return {operand: own.reopened() for operand, own in formats.items()}


def closed(
    inner: nn.Module | Callable[..., Any],
    op: Op,
    formats: Mapping[str, Format],
    args: list[Any],
    kwargs: Mapping[str, Any],
) -> dict[str, Format]:
    """The formats of a node with what is open measured on a call of it on the calibration samples, under the plan.

    `args` and `kwargs` are those of the call, not yet rounded.
    """
    found = dict(formats)
    chosen = found.get(STATISTICS)
    if isinstance(chosen, BatchNormStatistics) and chosen.is_open:
        found[STATISTICS] = chosen.closed(channel_statistics(read_by_norm(op, formats, args, kwargs)))
    shift = found.get("data_out")
    if isinstance(shift, OutputShift) and shift.is_open:
        others = {operand: own for operand, own in found.items() if operand != "data_out"}
        result = call_quantized(inner, op, others, tuple(args), kwargs)
        found["data_out"] = shift.closed(channel_statistics(result, -1 if shift.last else 1))
    return found


def read_by_norm(op: Op, formats: Mapping[str, Format], args: list[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """The input of a batch norm in its format, `(samples, channels, …)`."""
    (place,) = op.args["data_in"]
    x: Tensor = place.of(args, kwargs)
    return formats["data_in"].quantize(x) if "data_in" in formats else x
