"""Append-only logs: a header with kind, version and identity, then one line of JSON per row, with checksums.

The checksum of a line covers its bytes and the identity of its log, so a line of another log fails as an edited one
does. A log whose order matters numbers its rows.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any

from chop.errors import FolderError, SearchError
from chop.record.damage import DAMAGES, keep_damaged
from chop.record.missing_seal import require_no_seal_beside
from chop.record.names import Kind
from chop.record.version import VERSION, new_identity, require_version, warn_unchecked
from chop.tools.files import require_in_place, write_whole
from chop.tools.logger import get_logger
from chop.tools.option_names import option

logger = get_logger(__name__)

SYNC_SECONDS = 1.0
"""Lines are flushed one by one, and forced to the disk within this time."""

CHECKSUM = "sha256"
_SEALED = re.compile(rb'(\{.*), "sha256": "([0-9a-f]{64})"\}')
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Header:
    """The first line of a log: content, version, and the identity that its checksums cover."""

    values: Mapping[str, Any]
    version: int
    identity: str


@dataclass(frozen=True)
class Line:
    """A line after the header, with its number in the file (the header is 1): a row, or its problem."""

    number: int
    row: dict[str, Any]
    problem: str = ""


class JsonLines:
    """A log that is open for writing and locked. Open it with `create` or `open`."""

    def __init__(self, path: Path, kind: Kind, stream: RawIOBase, header: Header) -> None:
        self.path = path
        self.kind = kind
        self.header = header
        self._stream = stream
        self._synced = 0.0
        self._turn = threading.RLock()
        self._due: threading.Timer | None = None
        self._failed: Exception | None = None

    @classmethod
    def create(cls, path: Path, kind: Kind, values: Mapping[str, Any], identity: str = "") -> JsonLines:
        """A new log with a header. Raises SearchError if there is one already, so that nothing is lost."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            stream = path.open("xb", buffering=0)
        except FileExistsError as error:
            raise SearchError(
                f"{path} exists; resume it with --resume or choose another {option('project')}"
            ) from error
        _lock(stream, path)
        log = cls(path, kind, stream, Header(values, VERSION, identity or new_identity()))
        log._write(log._header_line())
        return log

    @classmethod
    def open(cls, path: Path, kind: Kind) -> JsonLines:
        """An earlier log, locked and unchanged; call `go_on` before `append`.

        Raises SearchError where there is none, where another process has it open, or where its header is damaged.
        """
        if not path.exists():
            raise SearchError(f"there is no search to resume: {path} does not exist; start one without --resume")
        stream = path.open("r+b", buffering=0)
        try:
            _lock(stream, path)
            return cls(path, kind, stream, read_header(path, kind))
        except BaseException:
            stream.close()
            raise

    def lines(self) -> Iterator[Line]:
        """The lines after the header as they are in the file, damaged ones with their problem."""
        return read_lines(self.path, self.header)

    def go_on(self, rows: Iterable[Mapping[str, Any]], is_damaged: bool) -> None:
        """Make the log ready for `append`: with its rows, or with `rows` if it is damaged or of version 1.

        The damaged file is kept beside it.
        """
        if is_damaged or self.header.version < VERSION:
            self._rewrite(rows, is_damaged)
        end = _end_of_lines(self._stream)
        if end < self._stream.seek(0, os.SEEK_END):
            logger.warning("%s: the last line was cut off and is left out", self.path)
        self._stream.truncate(end)
        self._stream.seek(end)

    def _rewrite(self, rows: Iterable[Mapping[str, Any]], is_damaged: bool) -> None:
        old = self.header
        values = old.values if old.version == VERSION else {**old.values, "from_version": old.version}
        self.header = Header(values, VERSION, old.identity or new_identity())
        content = b"".join([self._header_line(), *(self._sealed(row) for row in rows)])
        if is_damaged:
            keep_damaged(self.path)
        write_whole(self.path, content)
        self._stream.close()
        self._stream = self.path.open("r+b", buffering=0)
        _lock(self._stream, self.path)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write a row, which then outlives this process. A power failure may lose the last second.

        Raises FolderError where the disk is full, or where the file was deleted or moved.
        """
        self._write(self._sealed(row))

    def close(self) -> None:
        """Force everything to the disk and close the file."""
        with self._turn:
            if self._due is not None:
                self._due.cancel()
            if not self._stream.closed:
                with self._stream:
                    self._sync()

    def _header_line(self) -> bytes:
        first = {self.kind.key: VERSION, "search": self.header.identity}
        return _seal({**first, **self.header.values, **first}, "")

    def _sealed(self, row: Mapping[str, Any]) -> bytes:
        return _seal(row, self.header.identity)

    def _write(self, line: bytes) -> None:
        with self._turn:
            if self._failed is not None:
                raise self._failed
            try:
                _write_all(self._stream, line)
            except OSError as error:
                raise FolderError(
                    f"{self.path}: {error.strerror}; what was written before is kept: make room, then repeat the "
                    "command (a search with --resume)"
                ) from error
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._sync()
            elif self._due is None:
                self._due = threading.Timer(SYNC_SECONDS, self._sync_when_due)
                self._due.daemon = True
                self._due.start()

    def _sync_when_due(self) -> None:
        """Force lines to the disk when no other line follows; an error is raised by the next line, or `close`."""
        with self._turn:
            self._due = None
            if self._stream.closed:
                return
            try:
                self._sync()
            except (OSError, FolderError) as error:
                self._failed = error

    def _sync(self) -> None:
        require_in_place(self.path, self._stream.fileno())
        os.fsync(self._stream.fileno())
        self._synced = time.monotonic()


def _write_all(stream: RawIOBase, line: bytes) -> None:
    """Write a whole line, or nothing of it. Raises OSError."""
    start = stream.tell()
    left = memoryview(line)
    try:
        while left:
            left = left[stream.write(left) :]
    except OSError:
        stream.truncate(start)
        stream.seek(start)
        raise


def read_header(path: Path, kind: Kind) -> Header:
    """The header of a log. Raises SearchError if it is damaged, of another kind, or of a later version."""
    with path.open("rb") as stream:
        line = stream.readline()
    if not line.endswith(b"\n"):
        raise SearchError(f"{path} holds nothing yet; start anew without --resume")
    try:
        values = dict(json.loads(line.removeprefix(_BYTE_ORDER_MARK)))
        version = values.pop(kind.key, 1) if kind.unversioned else values.pop(kind.key)
    except DAMAGES as error:
        raise SearchError(f"{path} is no {kind.name}, or its first line is damaged; start anew") from error
    version = require_version(version, path)
    problem = _problem(line, "", version)
    if not problem and version == 1 and "search" in values:
        problem = "it states version 1, which had no identity"
    if problem:
        raise SearchError(f"{path}: line 1 is damaged ({problem}); start anew without --resume")
    if version == 1:
        require_no_seal_beside(path)
        warn_unchecked(path.parent)
    return Header({k: v for k, v in values.items() if k not in ("search", CHECKSUM)}, version, values.get("search", ""))


def read_lines(path: Path, header: Header) -> Iterator[Line]:
    """The lines after the header; an incomplete last line, as after a kill, is left out."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if number > 1 and line.endswith(b"\n"):
                yield _line(number, line, header)


def ends_within_line(path: Path) -> bool:
    """Whether the last line of a log is incomplete, as after a kill, or while it is written."""
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read() != b"\n"


def _line(number: int, line: bytes, header: Header) -> Line:
    problem = _problem(line, header.identity, header.version)
    if problem:
        return Line(number, {}, problem)
    try:
        row = json.loads(line)
        row.pop(CHECKSUM, None)
    except DAMAGES as error:
        return Line(number, {}, f"{error}" or type(error).__name__)
    return Line(number, row)


def _problem(line: bytes, identity: str, version: int) -> str:
    """The problem of a line's checksum, if there is one."""
    found = _SEALED.fullmatch(line.removeprefix(_BYTE_ORDER_MARK).rstrip(b"\r\n"))
    if version == 1:
        return "it states version 1, which had no checksums" if found else ""
    if found is None:
        return "it has no checksum"
    return "" if _checksum(found[1] + b"}", identity) == found[2].decode() else "its checksum does not fit"


def _seal(row: Mapping[str, Any], identity: str) -> bytes:
    text = json.dumps(row).encode()
    return b'%b, "sha256": "%b"}\n' % (text[:-1], _checksum(text, identity).encode())


def _checksum(text: bytes, identity: str) -> str:
    return hashlib.sha256(identity.encode() + text).hexdigest()


def _end_of_lines(stream: RawIOBase) -> int:
    """The end of the last whole line."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 2**16)
        stream.seek(start)
        place = stream.read(end - start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0


def _lock(stream: RawIOBase, path: Path) -> None:
    """Lock the file until it is closed or the process ends. Raises SearchError if another process holds it."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.close()
        raise SearchError(
            f"{path} is in use: that search is still running; choose another {option('project')}"
        ) from error
