"""Every point of a space, measured block by block; what is kept is the front, histograms and, if asked, all metrics."""

from __future__ import annotations

import fcntl
import json
import pickle
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from chop.actions.search.folded import FoldedMeasurement
from chop.actions.search.landscape import part_path, write_part
from chop.errors import SearchError
from chop.evaluation.measures import Scores
from chop.evaluation.memory import keep_freed_memory, let_children_use_huge_pages, resident
from chop.ir.front import Front
from chop.ir.histogram import Histogram
from chop.ir.trial import Direction, Objective
from chop.tools.logger import get_logger

logger = get_logger(__name__)

BLOCKS_FILE = "blocks.jsonl"
BLOCK_BYTES = 2**26
"""What a process needs for the metrics of a block and to write them."""
LEAST_BYTES = 2**25
"""What the values under way get at the least, however little the user gives."""
MOST_DEATHS = 5
"""Workers that may die, one after the other, without a block being finished in between."""


@dataclass(frozen=True)
class Block:
    """Points `first` to `stop - 1`: their front with all metrics of its points, and how all values are spread."""

    number: int
    first: int
    stop: int
    failed: int
    front: Front
    metrics: dict[str, list[float]]
    histograms: dict[str, Histogram]
    checksum: int
    seconds: float

    def as_row(self) -> dict[str, Any]:
        """The block as a line of the log."""
        return {
            "block": self.number,
            "first": self.first,
            "stop": self.stop,
            "failed": self.failed,
            "index": self.front.index.tolist(),
            "count": self.front.count.tolist(),
            "costs": self.front.costs.tolist(),
            "metrics": self.metrics,
            "histograms": {name: [h.exponent, *map(list, h.counts.items())] for name, h in self.histograms.items()},
            "checksum": self.checksum,
            "seconds": round(self.seconds, 6),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Block:
        """A line of the log as a block."""
        objectives = len(row["costs"][0]) if row["costs"] else 1
        front = Front(
            np.array(row["costs"], dtype=np.float64).reshape(-1, objectives),
            np.array(row["index"], dtype=np.int64),
            np.array(row["count"], dtype=np.int64),
        )
        spread = {name: Histogram(h[0], dict(h[1:])) for name, h in row["histograms"].items()}
        names = ("block", "first", "stop", "failed", "metrics", "checksum", "seconds")
        number, first, stop, failed, metrics, checksum, seconds = (row[name] for name in names)
        return cls(number, first, stop, failed, front, metrics, spread, checksum, seconds)


@dataclass(frozen=True)
class Task:
    """What a worker must know: how to measure points, what they cost, and where all metrics go (None: nowhere)."""

    folded: FoldedMeasurement
    objectives: tuple[Objective, ...]
    sum_direction: Direction | None
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
        """Whether a block is one of this task's: the last one of a search with fewer points is cut short."""
        return (block.first, block.stop) == self.bounds(block.number)

    def measure(self, number: int) -> Block:
        """Measure block `number`."""
        started = time.monotonic()
        first, stop = self.bounds(number)
        scores = self.folded.scores_of_range(first, stop)
        finite = np.logical_and.reduce([np.isfinite(values) for values in scores.values()])
        index = np.arange(first, stop)[finite]
        front = Front.of(self._costs(scores)[finite], index)
        if self.parts is not None:
            write_part(part_path(self.parts, number), first, scores)
        return Block(
            number,
            first,
            stop,
            failed=int((~finite).sum()),
            front=front,
            metrics={name: values[front.index - first].tolist() for name, values in scores.items()},
            histograms={name: Histogram.of(values) for name, values in scores.items()},
            checksum=_checksum(scores),
            seconds=time.monotonic() - started,
        )

    def _costs(self, scores: Scores) -> np.ndarray[Any, Any]:
        """`(points, objectives)`, less is better; with a sum of metrics a single column."""
        scaled = [objective.scale * scores[objective.metric] for objective in self.objectives]
        if self.sum_direction is not None:
            sign = 1 if self.sum_direction == "minimize" else -1
            return np.stack([sign * np.sum(scaled, axis=0)], axis=1)
        signs = [1 if objective.direction == "minimize" else -1 for objective in self.objectives]
        return np.stack([sign * values for sign, values in zip(signs, scaled, strict=True)], axis=1)


@dataclass
class Enumeration:
    """What was found so far: the front of all blocks that are done."""

    front: Front | None = None
    metrics: dict[int, dict[str, float]] | None = None
    histograms: dict[str, Histogram] | None = None
    points: int = 0
    failed: int = 0

    def add(self, block: Block) -> None:
        """Fold a block in; the order of blocks plays no part."""
        self.front = block.front if self.front is None else self.front.joined(block.front)
        rows = [dict(zip(block.metrics, row, strict=True)) for row in zip(*block.metrics.values(), strict=True)]
        known = (self.metrics or {}) | dict(zip(block.front.index.tolist(), rows, strict=True))
        self.metrics = {index: known[index] for index in self.front.index.tolist()}
        spread = self.histograms or {}
        self.histograms = {
            name: spread[name].joined(own) if name in spread else own for name, own in block.histograms.items()
        }
        self.points += block.stop - block.first
        self.failed += block.failed

    def rows(self) -> Iterator[tuple[int, int, dict[str, float]]]:
        """The front by number: a point, how many have the same costs, its metrics."""
        if self.front is None or self.metrics is None:
            return
        for index, count in sorted(zip(self.front.index.tolist(), self.front.count.tolist(), strict=True)):
            yield index, count, self.metrics[index]


def enumeration_of(blocks: Iterable[Block]) -> Enumeration:
    """What blocks make up."""
    found = Enumeration()
    for block in blocks:
        found.add(block)
    return found


class BlockLog:
    """The blocks that are done, a line each, in a file that only one search writes."""

    def __init__(self, path: Path, header: Mapping[str, Any], resume: bool) -> None:
        if resume and not path.exists():
            raise SearchError(f"there is no search to resume: {path} does not exist; start one without --resume")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("a+b")
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SearchError(f"{path} is in use: that search is still running; choose another --project") from error
        self.blocks: list[Block] = []
        self._stream.seek(0)
        lines = self._stream.read().splitlines(keepends=True) if resume else []
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()  # a line that was cut off: that block is done again
        self._stream.truncate(sum(map(len, lines)))
        if lines:
            self._read(path, header, lines)
        else:
            self._write(dict(header))

    def _read(self, path: Path, header: Mapping[str, Any], lines: Sequence[bytes]) -> None:
        try:
            known, *rows = [json.loads(line) for line in lines]
            self.blocks = [Block.from_row(row) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise SearchError(f"{path} is damaged ({error}); start anew without --resume") from error
        wanted = json.loads(json.dumps(dict(header)))
        changed = [name for name in {*known, *wanted} if known.get(name) != wanted.get(name)]
        if changed:
            raise SearchError(
                f"{path} is of another search: {', '.join(sorted(changed))} differ; start anew without --resume"
            )

    def append(self, block: Block) -> None:
        """Write a block down."""
        self._write(block.as_row())
        self.blocks.append(block)

    def _write(self, row: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(row).encode() + b"\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def measured_blocks(task: Task, numbers: Sequence[int], n_jobs: int) -> Iterator[Block]:
    """The blocks of `numbers` as they are done, by `n_jobs` processes; one that dies leaves its block to another."""
    is_shared = n_jobs > 1 and len(numbers) > 1
    _share_memory(task.folded, n_jobs if is_shared else 1)
    payload = _pickled(task) if is_shared else None
    if payload is None:
        keep_freed_memory()
        for number in numbers:
            yield task.measure(number)
        return
    let_children_use_huge_pages()
    left, deaths = list(numbers), 0
    while left:
        pool = ProcessPoolExecutor(min(n_jobs, len(left)), get_context("spawn"), _take_task, (payload,))
        try:
            for block in _from_pool(pool, left, n_jobs):
                left.remove(block.number)
                deaths = 0
                yield block
        except BrokenProcessPool as error:
            deaths += 1
            if deaths >= MOST_DEATHS and len(left) == len(numbers):
                logger.warning("n_jobs: no worker comes up (%s); the search goes on in one process", error)
                yield from map(task.measure, left)
                return
            if deaths >= MOST_DEATHS:
                raise SearchError(f"{deaths} workers died one after the other; try n_jobs = 1 ({error})") from error
            logger.warning("a worker died; its block is done again")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _share_memory(folded: FoldedMeasurement, n_jobs: int) -> None:
    """Give the values under way what the processes themselves leave of the memory for the whole search."""
    fixed = resident() * (n_jobs + 1 if n_jobs > 1 else 1) + n_jobs * BLOCK_BYTES
    share = (folded.memory - fixed) // n_jobs
    if share < LEAST_BYTES:
        logger.warning(
            "memory_mib = %d is less than %d process(es) need: about %d MiB before any value; take fewer n_jobs or "
            "raise memory_mib",
            folded.memory >> 20,
            n_jobs,
            fixed >> 20,
        )
    folded.limit(max(LEAST_BYTES, share))


def _from_pool(pool: ProcessPoolExecutor, numbers: Sequence[int], n_jobs: int) -> Iterator[Block]:
    """Blocks as they are done; no more are handed out than keep the workers busy."""
    todo = iter(list(numbers))
    running: set[Future[Block]] = set()
    while True:
        for number in todo:
            running.add(pool.submit(_measure, number))
            if len(running) > n_jobs:
                break
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


_task: Task | None = None


def _take_task(payload: bytes) -> None:
    """Start of a worker: one thread each, and no word on Ctrl-C, which the parent hears too."""
    import signal

    import torch

    global _task  # noqa: PLW0603 - a worker process has one task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    keep_freed_memory()
    _task = pickle.loads(payload)


def _measure(number: int) -> Block:
    assert _task is not None
    return _task.measure(number)


def _pickled(task: Task) -> bytes | None:
    try:
        payload = pickle.dumps(task)
        pickle.loads(payload)
    except Exception as error:
        logger.warning("n_jobs: this search cannot be sent to other processes (%s); it goes on in one", error)
        return None
    return payload


def _checksum(scores: Scores) -> int:
    found = 0
    for name in sorted(scores):
        found = zlib.crc32(np.ascontiguousarray(scores[name]).tobytes(), found)
    return found


def enumerate_points(
    task: Task, log: BlockLog, n_jobs: int, is_over: Callable[[], bool], show: Callable[[int, int], None]
) -> Enumeration:
    """Measure all blocks that `log` does not hold; `show` is given the
    numbers of points that are done and that are on the front; `is_over` may end it early.

    On Ctrl-C all blocks that are done are in the log, and KeyboardInterrupt goes on.
    """
    found = enumeration_of(log.blocks)
    done = {block.number for block in log.blocks}
    for block in measured_blocks(task, [n for n in range(task.blocks) if n not in done], n_jobs):
        log.append(block)
        found.add(block)
        show(found.points, len(block.front.index) if found.front is None else len(found.front.index))
        if is_over():
            break
    return found
