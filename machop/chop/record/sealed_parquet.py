"""Parquet files that hold a checksum of all their bytes: 64 digits in the footer, which count as zeros."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

BLANK = "0" * 64
SEAL = {"chop_sha256": BLANK}
"""What a writer adds to the metadata of a file that `seal_file` seals."""

_DIGITS = re.compile(rb"chop_sha256.{0,8}?([0-9a-f]{64})", re.DOTALL)
_CHUNK = 2**20


def seal_file(path: Path) -> None:
    """Write the checksum of a file with `SEAL` in its metadata into it."""
    place = _place(path)
    assert place is not None, f"{path} has no place for a checksum"
    digits = _checksum(path, place)
    with path.open("r+b") as stream:
        stream.seek(place)
        stream.write(digits)


def seal_of(path: Path) -> bool | None:
    """Whether the checksum of a file fits; None where it has none, as files of version 1."""
    place = _place(path)
    if place is None:
        return None
    with path.open("rb") as stream:
        stream.seek(place)
        return stream.read(len(BLANK)) == _checksum(path, place)


def _place(path: Path) -> int | None:
    """Where the digits of the checksum begin."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - 8))
        length = int.from_bytes(stream.read(4), "little")
        start = max(0, size - 8 - length)
        stream.seek(start)
        found = _DIGITS.search(stream.read())
    return start + found.start(1) if found else None


def _checksum(path: Path, place: int) -> bytes:
    """The checksum of all bytes, read in pieces, with zeros in the place of its own digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        left = place
        while left and (piece := stream.read(min(left, _CHUNK))):
            digest.update(piece)
            left -= len(piece)
        stream.seek(len(BLANK), 1)
        digest.update(BLANK.encode())
        while piece := stream.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest().encode()
