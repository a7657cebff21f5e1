"""Tunes the C library's memory allocation: keeps freed memory for the next layer, which avoids page faults."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 2**29
HUGE_PAGES = "glibc.malloc.hugetlb=1"


def keep_freed_memory() -> None:
    """Keep freed memory in this process, up to half a GiB per piece; no effect without glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
    mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_BLOCK)


def let_children_use_huge_pages() -> None:
    """Let processes that are started from now on lay large tensors on huge pages (glibc reads this when it starts)."""
    os.environ.setdefault("GLIBC_TUNABLES", HUGE_PAGES)


def resident() -> int:
    """The resident memory of this process in bytes; 0 if the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
