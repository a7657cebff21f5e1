"""Measures all points of a space in blocks, in several processes, for exhaustive searches and comparisons."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from chop.actions.search.measuring.batched import BatchedMeasurement
from chop.evaluation.memory import keep_freed_memory, resident
from chop.executors import Jobs
from chop.executors.patient import PatientExecutor
from chop.record.block_totals import ExhaustiveTotals
from chop.record.blocks import Block, BlockLog
from chop.record.front import Front
from chop.record.goals import Goals
from chop.record.histogram import Histogram
from chop.record.landscape import (
    Scores,
    bytes_checksum,
    part_as_bytes,
    part_checksum,
    part_path,
    read_part,
    write_part_bytes,
)
from chop.tools.logger import get_logger

logger = get_logger(__name__)

BLOCK_BYTES = 2**26
"""What a process needs for the metrics of a block and to write them."""

LEAST_BYTES = 2**25
"""What the values under way get at the least, however little the user gives."""

_WITHOUT_DATA = resident()
"""What this process takes before it has a model or data: about what a worker takes, which is sent the task alone."""


@dataclass(frozen=True)
class BlockTask:
    """The work of a worker: how to measure points, their goals, and where the exhaustive table goes (None: nowhere)."""

    batched: BatchedMeasurement
    goals: Goals
    block_size: int
    points: int
    parts: Path | None

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return -(-self.points // self.block_size)

    def bounds(self, number: int) -> tuple[int, int]:
        """The first point of a block, and the one after its last."""
        return number * self.block_size, min(self.points, (number + 1) * self.block_size)

    def holds(self, block: Block) -> bool:
        """Whether a logged block is a whole block of this task, with its metrics unchanged in the exhaustive table.

        The last block of a search with fewer points is cut short.
        """
        if (block.first, block.stop) != self.bounds(block.number):
            return False
        if self.parts is None:
            return True
        part = part_path(self.parts, block.number)
        if isinstance(block.checksum, str):
            return part_checksum(part) == block.checksum
        scores = read_part(part)
        return scores is not None and _checksum(scores) == block.checksum

    def measure(self, number: int) -> tuple[Block, bytes]:
        """Measure block `number`; returns its front, and all metrics as file content (empty if they go nowhere)."""
        started = time.monotonic()
        first, stop = self.bounds(number)
        scores = self.batched.scores_of_range(first, stop)
        finite = np.logical_and.reduce([np.isfinite(values) for values in scores.values()])
        excess = np.where(finite, self.goals.excess(scores), np.inf)
        least = float(excess.min())
        kept = np.flatnonzero(finite & (excess == least))[: None if least == 0 else 1]
        front = Front.of(self.goals.costs(scores)[kept], first + kept)
        part = b"" if self.parts is None else part_as_bytes(first, scores)
        block = Block(
            number,
            first,
            stop,
            failed=int((~finite).sum()),
            excess=least,
            front=front,
            metrics={name: values[front.index - first].tolist() for name, values in scores.items()},
            histograms={name: Histogram.of(values) for name, values in scores.items()},
            checksum=bytes_checksum(part) if part else "",
            seconds=time.monotonic() - started,
        )
        return block, part


def measured_blocks(task: BlockTask, numbers: Iterable[int], count: int, jobs: Jobs) -> Iterator[Block]:
    """Measure blocks `numbers` and yield them as they finish, with their metrics written to files.

    If a process dies, another one measures its block.
    """
    _share_memory(task.batched, jobs.count if count > 1 else 1)
    keep_freed_memory()
    with PatientExecutor(jobs, patience=0) as executor:
        for _, (block, part) in executor.map(task.measure, numbers):
            if task.parts is not None:
                write_part_bytes(part_path(task.parts, block.number), part)
            yield block


def _share_memory(batched: BatchedMeasurement, n_jobs: int) -> None:
    """Divide among the workers the memory that the processes themselves leave."""
    workers = n_jobs * _WITHOUT_DATA if n_jobs > 1 else 0
    fixed = resident() + workers + n_jobs * BLOCK_BYTES
    least = fixed + n_jobs * LEAST_BYTES
    if batched.memory < least:
        logger.warning(
            "memory_mib = %d is less than %d process(es) need, about %d MiB; take fewer n_jobs or raise memory_mib",
            batched.memory >> 20,
            n_jobs,
            least >> 20,
        )
    batched.limit(max(batched.memory, least) // n_jobs - fixed // n_jobs)


def _checksum(scores: Scores) -> int:
    found = 0
    for name in sorted(scores):
        found = zlib.crc32(np.ascontiguousarray(scores[name]).tobytes(), found)
    return found


def taken_over(task: BlockTask, log: BlockLog) -> ExhaustiveTotals:
    """The logged blocks that `task` can use, each once."""
    found = ExhaustiveTotals()
    for block in log.blocks():
        if block.number not in found.done and task.holds(block):
            found.add(block)
    return found


def measure_all_points(
    task: BlockTask,
    found: ExhaustiveTotals,
    log: BlockLog,
    jobs: Jobs,
    is_over: Callable[[], bool],
    show: Callable[[int, int], None],
    code_of: Callable[[int], Sequence[int]] | None = None,
) -> None:
    """Measure all blocks that `found` does not hold, and add them to `found` and to `log`.

    `show` gets the numbers of finished points and of points on the front; `is_over` may end the search early.
    `code_of` returns the choices of a point, for the log.

    On Ctrl-C all blocks that are done are in `found` and `log`, and KeyboardInterrupt goes on. `seconds` of a block are
    those since the block before it was done.
    """
    done = frozenset(found.done)
    is_told = bool(done)
    left = (number for number in range(task.blocks) if number not in done)
    last = time.monotonic()
    for block in measured_blocks(task, left, task.blocks - len(done), jobs):
        now = time.monotonic()
        codes = None if code_of is None else [list(code_of(index)) for index in block.front.index.tolist()]
        block_now = replace(block, seconds=now - last, codes=codes)
        last = now
        log.append(block_now)
        found.add(block_now)
        if found.failed == found.points and not is_told:
            is_told = True
            said = (f"{found.points:,}", found.never_finite() or "some metric")
            logger.warning("none of the first %s points counts: %s is no finite number", *said)
        show(found.points, 0 if found.front is None else len(found.front.index))
        if is_over():
            break
