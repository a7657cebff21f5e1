"""The log of an exhaustive search block by block: a header line, then one line per block of points."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chop.errors import SearchError
from chop.record.damage import DAMAGES
from chop.record.differences import told_changes
from chop.record.front import Front
from chop.record.histogram import Histogram
from chop.record.json_lines import Header, JsonLines, Line, read_header, read_lines
from chop.record.names import BLOCKS
from chop.tools.logger import get_logger

logger = get_logger(__name__)


@dataclass(frozen=True)
class Block:
    """Points `first` to `stop - 1`: their front with all metrics, and a histogram of each metric.

    If no point satisfies all constraints, the front is the one with the smallest violation, `excess` (infinite: none
    has metrics).
    """

    number: int
    first: int
    stop: int
    failed: int
    excess: float
    front: Front
    metrics: dict[str, list[float]]
    histograms: dict[str, Histogram]
    checksum: str | int
    """That of the file with all metrics, "" where there is none; in version 1 that of the metrics (CRC-32)."""

    seconds: float
    codes: list[list[int]] | None = None
    """The choices of each point of the front, in the order of `choices` in the header; None: not stated."""

    def as_row(self) -> dict[str, Any]:
        """The block as a line of the log."""
        return {
            "block": self.number,
            "first": self.first,
            "stop": self.stop,
            "failed": self.failed,
            "excess": self.excess if self.excess < np.inf else None,
            "index": self.front.index.tolist(),
            "count": self.front.count.tolist(),
            "costs": self.front.costs.tolist(),
            "metrics": self.metrics,
            "histograms": {name: [h.exponent, *map(list, h.counts.items())] for name, h in self.histograms.items()},
            "checksum": self.checksum,
            "seconds": round(self.seconds, 6),
            **({} if self.codes is None else {"codes": self.codes}),
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
        names = ("block", "first", "stop", "failed", "excess", "metrics", "checksum", "seconds")
        number, first, stop, failed, excess, metrics, checksum, seconds = (row[name] for name in names)
        excess = np.inf if excess is None else excess
        codes = row.get("codes")
        return cls(number, first, stop, failed, excess, front, metrics, spread, checksum, seconds, codes)


class BlockLog:
    """The finished blocks, a line each, in a file that only one search writes; their order does not matter."""

    def __init__(self, path: Path, header: Mapping[str, Any], resume: bool, identity: str = "") -> None:
        self.path = path
        self._lines = self._resumed(path, header) if resume else JsonLines.create(path, BLOCKS, header, identity)

    @property
    def identity(self) -> str:
        """The identity of the search, which its other files hold too."""
        return self._lines.header.identity

    def _resumed(self, path: Path, header: Mapping[str, Any]) -> JsonLines:
        lines = JsonLines.open(path, BLOCKS)
        try:
            changed = _differing(_what_holds(lines.header.values), _what_holds(json.loads(json.dumps(dict(header)))))
            if changed:
                raise SearchError(
                    f"{path} belongs to another search: {', '.join(changed)} changed, here or in chop; undo the "
                    "change, or start anew without --resume"
                )
            problems = [problem for line in lines.lines() if (problem := _problem(line))]
            for problem in problems:
                logger.warning("%s: %s; that block is measured again", path, problem)
            lines.go_on((line.row for line in lines.lines() if not _problem(line)), bool(problems))
        except BaseException:
            lines.close()
            raise
        return lines

    def blocks(self) -> Iterator[Block]:
        """The sound blocks in the log when it was opened, as they are read."""
        return (Block.from_row(line.row) for line in self._lines.lines())

    @staticmethod
    def block_size_of(path: Path) -> int | None:
        """The number of points per block in a log; None if it states none."""
        try:
            found = read_header(path, BLOCKS).values["block_size"]
        except (OSError, SearchError, KeyError):
            return None
        return found if isinstance(found, int) and found > 0 else None

    def append(self, block: Block) -> None:
        """Write a block."""
        self._lines.append(block.as_row())

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def read_blocks(path: Path, header: Header) -> Iterator[Block]:
    """The sound blocks of a log, which a search may be writing; damaged lines are left out."""
    return (Block.from_row(line.row) for line in read_lines(path, header) if not _problem(line))


def blocks_problem(path: Path, header: Header) -> str:
    """The first problem of a log's lines; empty where all are sound."""
    return next((problem for line in read_lines(path, header) if (problem := _problem(line))), "")


def _problem(line: Line) -> str:
    """The problem of the line of a block, if there is one."""
    problem = line.problem
    if not problem:
        try:
            Block.from_row(line.row)
        except DAMAGES as error:
            problem = f"{type(error).__name__}: {error}"
    return problem and f"line {line.number} is damaged ({problem})"


def _what_holds(values: Mapping[str, Any]) -> dict[str, Any]:
    """A header without its history, and what the fingerprint holds too, which a resumed search need not share."""
    left_out = ("from_version", "started", "choices", "follows", "configs", "metrics", "size")
    return {name: value for name, value in values.items() if name not in left_out}


def _differing(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The keys that differ; for `fingerprint` the keys in it that differ, as `told_changes` tells them."""
    keys = sorted(name for name in {*known, *wanted} if known.get(name) != wanted.get(name))
    told = [name if name == "fingerprint" else told_changes(name, known.get(name), wanted.get(name)) for name in keys]
    tables = [table.get("fingerprint") for table in (known, wanted)]
    if "fingerprint" not in keys or not all(isinstance(table, dict) for table in tables):
        return told
    told.remove("fingerprint")
    return [*told, *_differing(*({**table, "fingerprint": None} for table in tables))]  # type: ignore[dict-item]
