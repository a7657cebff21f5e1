"""The batched evaluator: measures many configurations of one graph in one call."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chop.dataset.rows import cut
from chop.errors import ChopError, GraphError, first_line
from chop.evaluation.calibration_rows import CalibrationRows, fixed_values
from chop.evaluation.measures import Measure, RowChunk, Scores, WholePredictions
from chop.evaluation.operations import CLOSE
from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.prefix_statistics import PrefixStatistics
from chop.evaluation.program import Axis, Program, build_program
from chop.evaluation.values import Each, Same, Value, each
from chop.evaluation.walk import Codes, Walk
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.inputs import placeholder_values, to_device
from chop.scoring.outputs import with_samples
from chop.tools.model_outputs import OutputName

ROWS_AT_A_TIME = 384
"""Rows of vectors that go through the network together, so that what many configurations make of them fits a cache."""

ROWS_OF_A_VECTOR = 32
"""Rows that vector instructions take in whole steps. Rows that are left over take up to a seventh of the time of
kernels that work channel by channel, as batch norm does."""

LITTLE = 2**14
"""Rows of all configurations together that are not worth sorting: fewer and longer calls are quicker."""

CHECKED, CHECKED_ROWS = 4, 32
"""Configurations, and rows of each, that an evaluator compares with the reference before anything rests on it."""

ROWS_OF_A_CLASS = 64
"""Rows that each class must have on average, for the classes to be taken one after the other."""


@dataclass(frozen=True)
class _Part:
    """Rows, and the values on them of all stages before any choice that later ones read."""

    chunk: RowChunk
    fixed: dict[int, Value]


class Evaluator:
    """Computes metrics of `graph` under any configurations of `axes`, on fixed batches `[(x, y), …]`.

    `memory`, in bytes, is for the values of the configurations under way. Raises GraphError for a model that writes on
    values which are still needed, or that fails on so many rows: such a one is run plan by plan (`PlanRunner`).
    """

    def __init__(
        self,
        graph: MaseGraph,
        axes: Sequence[Axis],
        batches: Iterable[tuple[Any, Any]],
        device: str = "cpu",
        memory: int = 2**28,
        output: OutputName = None,
    ) -> None:
        graph.model.to(device)
        self.output = output
        moved = [(to_device(x, device), y.to(device)) for x, y in batches]
        try:
            self._prepare(graph, axes, moved, memory)
        except ChopError:
            raise
        except Exception as error:  # of the model's own code
            rows = len(moved[0][1])
            raise GraphError(f"the model does not run on {rows} samples at once ({first_line(error)})") from error

    def _prepare(self, graph: MaseGraph, axes: Sequence[Axis], moved: list[tuple[Any, Tensor]], memory: int) -> None:
        self.program = build_program(graph, axes, moved[0][0], self.output)
        self.targets = torch.cat([y for _, y in moved])
        self.calibration = CalibrationRows.of(self.program, graph, str(self.targets.device), memory)
        self.whole = self._parts_of(graph, moved)
        self.parts = _small_parts(self.whole, by_class=True) if self._may_sort else self.whole
        self.walk = Walk(self.program, memory)
        self._require_agreement(graph, axes, moved[0])
        self.walk = Walk(self.program, memory)  # one that has not learned the sizes of pieces from a few rows
        self.calibration = self.calibration and self.calibration.unlearned()

    def _parts_of(self, graph: MaseGraph, batches: Sequence[tuple[Any, Tensor]]) -> list[_Part]:
        return _parts(self.program, graph, batches, self.calibration.settled if self.calibration else {})

    @cached_property
    def _ordered_parts(self) -> list[_Part]:
        """Parts that hold the rows in the order in which they are stored."""
        has_classes = any(part.chunk.target is not None for part in self.parts)
        return _small_parts(self.whole, by_class=False) if has_classes else self.parts

    @property
    def _may_sort(self) -> bool:
        """Whether rows may be taken in any order."""
        return self.program.is_planar and self.whole[0].chunk.targets.ndim == 1

    @torch.no_grad()
    def _require_agreement(self, graph: MaseGraph, axes: Sequence[Axis], batch: tuple[Any, Tensor]) -> None:
        """Raise GraphError if a few configurations get other results than plan by plan."""
        drawn = np.random.default_rng(0).integers(0, [len(axis) for axis in axes], (CHECKED, len(axes)))
        codes = np.unique(drawn, axis=0)
        few = cut(batch[0], 0, CHECKED_ROWS), batch[1][:CHECKED_ROWS]
        try:
            own, wanted = self._both_ways(graph, axes, codes, few)
        except GraphError:
            raise
        except Exception:  # of a model that takes batches of one size alone
            own, wanted = self._both_ways(graph, axes, codes, batch)
        is_finite = wanted.isfinite()
        difference = (own - wanted)[is_finite].abs()
        largest = wanted[is_finite].abs().amax() if is_finite.any() else 0.0
        if not torch.equal(own.isfinite(), is_finite) or not bool((difference <= CLOSE * largest).all()):
            raise GraphError("many configurations at once give other results than each on its own")

    def _both_ways(
        self, graph: MaseGraph, axes: Sequence[Axis], codes: Codes, batch: tuple[Any, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The outputs of configurations, `(configurations, rows, …)`: at once, and plan by plan."""
        measure = WholePredictions(batch[1], lambda predictions, targets: {}, self.program.example, ())
        measure.start(len(codes))
        known = self.calibration.measured(codes) if self.calibration else None
        for part in self._parts_of(graph, [batch]):
            self._run_part(part, codes, [measure], 0, known)
        runner = PlanRunner(graph, [batch], str(self.targets.device), self.output)
        plans = [
            QuantPlan.of({n: f for axis, number in zip(axes, code, strict=True) for n, f in axis[number].items()})
            for code in codes
        ]
        return measure.predictions, torch.stack([runner.predictions(plan) for plan in plans])

    def run(self, codes: Codes, measures: Sequence[Measure]) -> list[Scores]:
        """The metrics of each configuration in `codes`, `(configurations, axes)`, in any order."""
        distinct, own = np.unique(codes, axis=0, return_inverse=True)
        own = own.reshape(-1)
        return [{name: found[own] for name, found in scores.items()} for scores in self.run_sorted(distinct, measures)]

    @torch.no_grad()
    def run_sorted(self, codes: Codes, measures: Sequence[Measure]) -> list[Scores]:
        """`run` for configurations that are sorted, and each there once."""
        for measure in measures:
            measure.start(len(codes))
        is_little = len(codes) * len(self.targets) <= LITTLE
        parts = self._ordered_parts if any(measure.needs_order for measure in measures) else self.parts
        for begin, own in self._spans(codes):
            known = self.calibration.measured(own) if self.calibration else None
            for part in self.whole if is_little else parts:
                self._run_part(part, own, measures, begin, known)
        return [measure.finish() for measure in measures]

    def _spans(self, codes: Codes) -> list[tuple[int, Codes]]:
        """The configurations, so many at a time that their measured statistics fit a part of the memory."""
        most = self.calibration.at_a_time(self.walk.memory) if self.calibration else max(len(codes), 1)
        return [(begin, codes[begin : begin + most]) for begin in range(0, len(codes), most)]

    def _run_part(
        self, part: _Part, codes: Codes, measures: Sequence[Measure], begin: int, known: PrefixStatistics | None
    ) -> None:
        """Measure some rows of the configurations from `begin` on."""

        def add(first: int, last: int, value: Value, numbers: np.ndarray[Any, Any]) -> None:
            if len(part.chunk.targets) == 1:
                value = Each([with_samples(one, 1) for one in each(value)])
            for measure in measures:
                measure.add(part.chunk, begin + first, begin + last, value, numbers)

        self.walk.run(codes, part.fixed, add, len(part.chunk.targets), known)


def _parts(
    program: Program, graph: MaseGraph, batches: Sequence[tuple[Any, Tensor]], settled: Mapping[int, Any]
) -> list[_Part]:
    parts = []
    first = 0
    for x, y in batches:
        rows = torch.arange(first, first + len(y), device=y.device)
        values = fixed_values(program, placeholder_values(graph, x), settled)
        parts.append(_Part(RowChunk(rows, y), {n: Same(values[n]) for n in program.boundary}))
        first += len(y)
    return parts


def _small_parts(parts: Sequence[_Part], by_class: bool) -> list[_Part]:
    """The same rows, so many at a time; with `by_class` those of each class together where classes have many.

    The values must be `(rows, …)` and each row's own.
    """
    targets = torch.cat([part.chunk.targets for part in parts])
    rows = torch.cat([part.chunk.rows for part in parts])
    values = {number: torch.cat([each(part.fixed[number])[0] for part in parts]) for number in parts[0].fixed}
    groups = [torch.arange(len(targets), device=targets.device)]
    by_class = by_class and targets.ndim == 1 and not targets.is_floating_point()
    if by_class:
        classes = sorted(set(targets.tolist()))
        by_class = len(targets) >= ROWS_OF_A_CLASS * len(classes)
        groups = [(targets == c).nonzero().flatten() for c in classes] if by_class else groups
    return [
        _Part(
            RowChunk(rows[chosen], targets[chosen], int(targets[chosen[0]]) if by_class else None),
            {n: Same(value[chosen]) for n, value in values.items()},
        )
        for group in groups
        for chosen in torch.split(group, _rows_at_a_time(len(group)))
    ]


def _rows_at_a_time(count: int) -> int:
    """The size of the pieces that `count` rows are cut into: about equal, all but the last of whole vectors."""
    even = count / max(1, math.ceil(count / ROWS_AT_A_TIME))
    return max(1, math.ceil(even / ROWS_OF_A_VECTOR)) * ROWS_OF_A_VECTOR
