"""Bias corrections that are measured under a plan, in a training: on each batch, or on what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from chop.formats import OutputShift
from chop.nn.channel_statistics import channel_statistics
from chop.nn.closing import closed
from chop.nn.ops import Op
from chop.training.gradients import Surrogate
from chop.training.norms import NormStatistics

Inner = nn.Module | Callable[..., Any]


def open_shift(formats: Mapping[str, Any]) -> OutputShift | None:
    """The bias correction of a node that is still to be measured under the plan."""
    found = formats.get("data_out")
    chosen = found.chosen if isinstance(found, Surrogate) else found
    return chosen if isinstance(chosen, OutputShift) and chosen.is_open else None


@dataclass
class PlanShifts:
    """Measures the bias corrections of a plan as `statistics` measures batch norms: by each batch, or recorded.

    `in_float` holds the results of the float network's nodes for the batch at hand, whose means are restored. Shifts
    are constants to the gradients: as rounding is passed straight through, the mean of what it does is, too.
    """

    statistics: NormStatistics
    in_float: dict[str, Tensor] = field(default_factory=dict)
    kept: dict[str, OutputShift] = field(default_factory=dict)

    @torch.no_grad()
    def closed(
        self, name: str, inner: Inner, op: Op, formats: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Mapping[str, Any]:
        """The formats of the node `name` with its shift measured on a call of it; others are returned as they are."""
        shift = open_shift(formats)
        if shift is None:
            return formats
        if self.statistics.mode == "use":
            return {**formats, "data_out": Surrogate(self.kept[name])}
        if self.statistics.mode == "batch" and name in self.in_float:
            shift = replace(shift, wanted=self._wanted(name, shift))
        found = closed(inner, op, {**formats, "data_out": shift}, list(args), kwargs)["data_out"]
        assert isinstance(found, OutputShift)
        if self.statistics.mode == "record":
            self.kept[name] = found
        return {**formats, "data_out": Surrogate(found)}

    def _wanted(self, name: str, shift: OutputShift) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and variance of each channel of the float network's result for this batch."""
        means, variances = channel_statistics(self.in_float[name], -1 if shift.last else 1).tolist()
        has_scale = shift.wanted is not None and bool(shift.wanted[1])
        return tuple(means), tuple(variances) if has_scale else ()
