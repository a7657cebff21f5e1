"""The exhaustive table of a space, `landscape.parquet`: all metrics of every point, the reference for searches.

Column `index` numbers the points (the last axis changes fastest), the other columns are metrics. The points with their
metrics are the landscape of the space: hence the name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from chop.errors import SearchError, WrongSearchError
from chop.record.missing_seal import require_no_seal_beside
from chop.record.names import LANDSCAPE_FILE
from chop.record.sealed_parquet import SEAL, seal_file, seal_of
from chop.record.version import VERSION, require_version, warn_unchecked
from chop.tools.files import written_whole
from chop.tools.logger import get_logger

logger = get_logger(__name__)

_KEY = b"chop"
Scores = Mapping[str, np.ndarray[Any, Any]]
"""Metrics by name, each `(points,)`."""


def part_path(folder: Path, number: int) -> Path:
    """The file with the metrics of block `number`, until all blocks are done."""
    return folder / f"{number:06d}.parquet"


def part_as_bytes(first: int, scores: Scores) -> bytes:
    """The content of the file with the metrics of points `first`, `first + 1` …"""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = len(next(iter(scores.values())))
    columns = {"index": np.arange(first, first + rows), **scores}
    table = pa.table([_as_arrow(values) for values in columns.values()], names=list(columns))
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return bytes(memoryview(buffer.getvalue()))


def _as_arrow(values: np.ndarray[Any, Any]) -> Any:
    """A column of numbers as Arrow has it; `pa.array` would import pandas, 40 MiB in every process."""
    import pyarrow as pa

    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def write_part(path: Path, first: int, scores: Scores) -> str:
    """Write the metrics of points `first`, `first + 1` … atomically. Returns the checksum of the file."""
    content = part_as_bytes(first, scores)
    write_part_bytes(path, content)
    return bytes_checksum(content)


def write_part_bytes(path: Path, content: bytes) -> None:
    """Write the content from `part_as_bytes` atomically."""
    with written_whole(path, to_disk=False) as temporary:
        temporary.write_bytes(content)


def bytes_checksum(content: bytes) -> str:
    """The checksum of a block's file with this content."""
    return hashlib.sha256(content).hexdigest()


def part_checksum(path: Path) -> str | None:
    """The checksum of a block's file; None if it is missing."""
    return bytes_checksum(path.read_bytes()) if path.is_file() else None


def read_part(path: Path) -> Scores | None:
    """The metrics of a block's file; None if it is missing or damaged."""
    import pyarrow as pa

    try:
        table = _read_table(path)
    except (OSError, pa.ArrowException):
        return None
    return {name: table[name].to_numpy() for name in table.column_names if name != "index"}


def join_parts(parts: Path, count: int, target: Path, about: Mapping[str, Any]) -> Path:
    """Join the first `count` blocks into one file, a row group each, and remove the folder.

    `about` describes the space.

    Whatever else lies in the folder is of another search.
    """
    import pyarrow.parquet as pq

    files = [part_path(parts, number) for number in range(count)]
    schema = pq.read_schema(files[0]).with_metadata({_KEY: json.dumps({**about, "version": VERSION}).encode()})
    with written_whole(target) as temporary:
        with pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer:
            for file in files:
                writer.write_table(_read_table(file).replace_schema_metadata(schema.metadata))
            writer.add_key_value_metadata(SEAL)
        seal_file(temporary)
    shutil.rmtree(parts)
    return target


@dataclass(frozen=True)
class Landscape:
    """The exhaustive table: all metrics of all points, `metrics[name][index]`, and a description of the space."""

    path: Path
    about: Mapping[str, Any]
    metrics: dict[str, np.ndarray[Any, Any]]

    @classmethod
    def read(cls, path: Path) -> Landscape:
        """Read an exhaustive table; raises SearchError for any other, damaged or changed file."""
        import pyarrow as pa

        with _opened(path) as stream:  # once: a search may replace the file meanwhile
            about = _checked_about(path, stream)
            try:
                table = _read_table(stream)
            except (OSError, pa.ArrowException) as error:
                raise SearchError(f"{path} is damaged ({error}); search the space once more") from error
        if "index" not in table.column_names or not np.array_equal(
            table["index"].to_numpy(), np.arange(table.num_rows)
        ):
            raise SearchError(f"{path} is not the exhaustive table of a search (it has not every point once, in order)")
        return cls(path, about, {n: table[n].to_numpy() for n in table.column_names if n != "index"})

    @property
    def version(self) -> int:
        """The version of the file; 1 had no checksum."""
        return int(self.about.get("version", 1))

    @cached_property
    def is_measured(self) -> np.ndarray[Any, Any]:
        """Which points have finite metrics only; all others count as failed."""
        found: np.ndarray[Any, Any] = np.logical_and.reduce([np.isfinite(values) for values in self.metrics.values()])
        return found

    @property
    def size(self) -> int:
        """The number of points."""
        return len(next(iter(self.metrics.values())))


def _opened(path: Path) -> BinaryIO:
    """An open Parquet file; raises WrongSearchError if it is missing."""
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise WrongSearchError(
            f"{path} {what}; brute_force writes one with landscape = true under [search.strategy.setup], on a space "
            "that can be measured exhaustively. On a larger one use ch compare"
        )
    return path.open("rb")


def _checked_about(path: Path, stream: BinaryIO) -> dict[str, Any]:
    """The description of the space in a file, after its checksum was checked."""
    is_sealed = seal_of(stream)
    if is_sealed is False:
        raise SearchError(f"{path} is damaged (its checksum does not fit); search the space once more")
    about = _about(path, stream)
    version = require_version(about.get("version", 1), path)
    if version > 1 and is_sealed is None:
        raise SearchError(f"{path} has lost its checksum: it was written anew; search the space once more")
    if version == 1:
        require_no_seal_beside(path)
        warn_unchecked(path.parent)
    return about


def _read_table(source: Path | BinaryIO) -> Any:
    """The table in a file, after the checksums of its pages were checked."""
    import pyarrow.parquet as pq

    return pq.read_table(source, page_checksum_verification=True)


def read_about(path: Path) -> dict[str, Any]:
    """The description of the space in a file, unchecked; raises SearchError if it is no exhaustive table."""
    with _opened(path) as stream:
        return _about(path, stream)


def _about(path: Path, stream: BinaryIO) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        about: dict[str, Any] = dict(json.loads((pq.read_schema(stream).metadata or {})[_KEY]))
    except (KeyError, ValueError, TypeError, OSError, pa.ArrowException) as error:
        raise SearchError(f"{path} is not the exhaustive table of a search ({error})") from error
    return about


def landscape_of(folder: Path, key: str, metrics: Collection[str] = ()) -> Landscape | None:
    """An exhaustive table with this key, and `metrics`, among those of all projects in `folder`.

    One that is damaged is told and passed over.
    """
    for path in sorted(folder.glob(f"*/software/*/{LANDSCAPE_FILE}")):
        try:
            if read_about(path).get("key") != key:
                continue
            found = Landscape.read(path)
            if found.about.get("key") == key and set(metrics) <= set(found.metrics):
                return found
        except SearchError as error:
            logger.warning("%s; it is left out of account", error)
    return None
