"""Parquet files that hold a checksum of all their bytes: 64 digits in the footer, which count as zeros."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO

BLANK = "0" * 64
SEAL = {"chop_sha256": BLANK}
"""The metadata that a writer adds to a file that `seal_file` seals."""

_DIGITS = re.compile(rb"chop_sha256.{0,8}?([0-9a-f]{64})", re.DOTALL)
_CHUNK = 2**20


def seal_file(path: Path) -> None:
    """Write the checksum into a file with `SEAL` in its metadata."""
    with path.open("r+b") as stream:
        place = _place(stream)
        assert place is not None, f"{path} has no place for a checksum"
        digits = _checksum(stream, place)
        stream.seek(place)
        stream.write(digits)


def seal_of(stream: BinaryIO) -> bool | None:
    """Whether the checksum of an open file is right; None without one, as in version 1."""
    place = _place(stream)
    if place is None:
        return None
    digits = _checksum(stream, place)
    stream.seek(place)
    return stream.read(len(BLANK)) == digits


def has_seal(path: Path) -> bool:
    """Whether a file holds a checksum, right or wrong."""
    with path.open("rb") as stream:
        return _place(stream) is not None


def _place(stream: BinaryIO) -> int | None:
    """The position of the digits of the checksum."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 8))
    length = int.from_bytes(stream.read(4), "little")
    start = stream.seek(max(0, size - 8 - length))
    found = _DIGITS.search(stream.read())
    return start + found.start(1) if found else None


def _checksum(stream: BinaryIO, place: int) -> bytes:
    """The checksum of all bytes, read in pieces, with zeros in the place of its own digits."""
    digest = hashlib.sha256()
    left = place
    stream.seek(0)
    while left and (piece := stream.read(min(left, _CHUNK))):
        digest.update(piece)
        left -= len(piece)
    stream.seek(place + len(BLANK))
    digest.update(BLANK.encode())
    while piece := stream.read(_CHUNK):
        digest.update(piece)
    return digest.hexdigest().encode()
