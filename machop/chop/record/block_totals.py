"""Adds up the finished blocks of an exhaustive search: its front so far, histograms, counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from chop.record.blocks import Block
from chop.record.front import Front
from chop.record.histogram import Histogram


@dataclass
class ExhaustiveTotals:
    """The totals of all finished blocks: front, histograms, counts."""

    front: Front | None = None
    metrics: dict[int, dict[str, float]] | None = None
    histograms: dict[str, Histogram] | None = None
    points: int = 0
    failed: int = 0
    excess: float = 0.0
    done: set[int] = field(default_factory=set)
    """The numbers of the blocks."""

    seconds: float = 0.0
    codes: dict[int, list[int]] = field(default_factory=dict)
    """The choices of the points of the front, where the blocks have them."""

    def add(self, block: Block) -> None:
        """Add a block; the order of blocks does not matter."""
        front = self.front = self._front_with(block)
        rows = [dict(zip(block.metrics, row, strict=True)) for row in zip(*block.metrics.values(), strict=True)]
        known = (self.metrics or {}) | dict(zip(block.front.index.tolist(), rows, strict=True))
        self.metrics = {index: known[index] for index in front.index.tolist()}
        codes = self.codes | dict(zip(block.front.index.tolist(), block.codes or (), strict=False))
        self.codes = {index: codes[index] for index in front.index.tolist() if index in codes}
        spread = self.histograms or {}
        self.histograms = {
            name: spread[name].joined(own) if name in spread else own for name, own in block.histograms.items()
        }
        self.points += block.stop - block.first
        self.failed += block.failed
        self.done.add(block.number)
        self.seconds += block.seconds

    def _front_with(self, block: Block) -> Front:
        """The joined front; if no point satisfies the constraints, the point with the smallest violation."""
        if self.front is not None and block.excess == self.excess == 0:
            return self.front.joined(block.front)
        if self.front is not None and (self.excess, self.front.index.tolist()) <= (
            block.excess,
            block.front.index.tolist(),
        ):
            return self.front
        self.excess = block.excess
        return block.front

    def never_finite(self) -> str:
        """The metrics that were finite for no point, so that all points failed."""
        return ", ".join(name for name, spread in (self.histograms or {}).items() if not spread.counts)

    def rows(self) -> Iterator[tuple[int, int, dict[str, float]]]:
        """The front by number: a point, how many points have the same costs, its metrics."""
        if self.front is None or self.metrics is None:
            return
        for index, count in sorted(zip(self.front.index.tolist(), self.front.count.tolist(), strict=True)):
            yield index, count, self.metrics[index]
