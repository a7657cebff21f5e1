"""Carries calibration samples along the shared prefixes of a program, and measures statistics there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from chop.dataset.rows import count_rows
from chop.errors import GraphError
from chop.evaluation.measured_norm import Statistics
from chop.evaluation.prefix_statistics import PrefixStatistics
from chop.evaluation.program import FIXED, Program
from chop.evaluation.values import Same, Value, each
from chop.evaluation.walk import Codes, Walk
from chop.ir import MaseGraph
from chop.ir.graph.inputs import placeholder_values, to_device
from chop.ir.graph.plan_statistics import NOTHING_SEEN

BYTES = 4 + 8
"""Of a statistic of one channel, and of where it is found, at the most."""
SHARE = 4
"""The part of the memory that the statistics of configurations may take: one in so many."""
AT_ONCE = 8 * 2**20
"""Bytes of a stage that are computed in one step, more than a cache holds: statistics take many short calls."""


@dataclass(frozen=True)
class CalibrationRows:
    """The calibration samples of a program with measured statistics.

    `settled` are the statistics that depend on no choice, by stage; `fixed` are the values of the samples before any
    choice, `walk` runs them through all configurations (None where no choice matters).
    """

    settled: Mapping[int, Any]
    fixed: Mapping[int, Value]
    walk: Walk | None
    rows: int

    @classmethod
    @torch.no_grad()
    def of(cls, program: Program, graph: MaseGraph, device: str, memory: int) -> Self | None:
        """The samples that a graph was calibrated on; None for a program in which nothing is measured.

        Raises GraphError where the graph has no such samples.
        """
        if not program.statistics:
            return None
        x = graph.calibration.inputs
        if x is None:
            raise GraphError(f"batch norm {NOTHING_SEEN}")
        values = fixed_values(program, placeholder_values(graph, to_device(x, device)), {})
        settled = {number: values[number] for number in program.statistics if program.stages[number].level == FIXED}
        measuring = program.measuring
        fixed = {number: Same(values[number]) for number in measuring.boundary} if measuring else {}
        return cls(settled, fixed, Walk(measuring, memory, AT_ONCE) if measuring else None, count_rows(x))

    def unlearned(self) -> Self:
        """The same samples with a walk that has not learned the sizes of pieces from a few configurations."""
        return replace(self, walk=self.walk and Walk(self.walk.program, self.walk.memory, AT_ONCE))

    def measured(self, codes: Codes) -> PrefixStatistics | None:
        """The statistics of configurations that are sorted, and each there once."""
        return None if self.walk is None else self.walk.measured(codes, self.fixed, self.rows)

    def at_a_time(self, memory: int) -> int:
        """The number of configurations whose statistics may be held together."""
        held = 1
        stages = self.walk.program.stages if self.walk else []
        for stage in stages:
            held += stage.operation.own.numel() * BYTES if isinstance(stage.operation, Statistics) else 0
        return max(1, memory // SHARE // held)


@torch.no_grad()
def fixed_values(program: Program, inputs: Sequence[Any], settled: Mapping[int, Any]) -> dict[int, Any]:
    """The values of the stages without a choice for one batch; those in `settled` are known."""
    values: dict[int, Any] = {**dict(zip(program.placeholders, inputs, strict=True)), **program.constants, **settled}
    for number in program.at(FIXED):
        stage = program.stages[number]
        if number not in values:
            found = stage.operation.one(stage.choices[0], [Same(values[source]) for source in stage.inputs])
            values[number] = each(found)[0]
    return values
