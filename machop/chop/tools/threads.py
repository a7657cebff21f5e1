"""Sets the number of threads of torch and the linear algebra libraries."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Lock

import torch
from threadpoolctl import ThreadpoolController

_lock = Lock()
_inside = 0
_has_scipy = False
_before = ExitStack()


@contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Compute on one thread for a while, if `wanted`.

    On little work, threads that wait for each other cost more than they save, many times more beside another program.

    The number holds for the whole process; the last to leave puts back what the first has found.
    """
    global _inside, _before, _has_scipy  # noqa: PLW0603 - as the setting itself
    if not wanted:
        yield
        return
    with _lock:
        if not _inside:
            _before = ExitStack()
            _before.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
        has_scipy = "scipy.linalg" in sys.modules  # which brings a library of its own, perhaps since the last call
        if not _inside or has_scipy != _has_scipy:
            _before.enter_context(_libraries(has_scipy).limit(limits=1, user_api="blas"))
            _has_scipy = has_scipy
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _before.close()


@cache
def _libraries(with_scipy: bool) -> ThreadpoolController:
    """The BLAS libraries that are loaded by now."""
    return ThreadpoolController()
