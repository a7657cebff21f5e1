"""Keeps the C library from handing memory back that the next layer asks for at once: each return costs page faults."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 2**29
HUGE_PAGES = "glibc.malloc.hugetlb=1"


def keep_freed_memory() -> None:
    """Let this process keep what it frees, up to half a gibibyte a piece; where there is no glibc nothing happens."""
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
    """Bytes of memory that this process takes now; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
