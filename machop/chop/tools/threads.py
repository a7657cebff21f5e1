"""How many threads torch and the libraries of linear algebra compute on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Compute on one thread for a while, if `wanted`: on little work, threads that wait for each other cost more than
    they do, many times more beside another program.
    """
    if not wanted:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _libraries("scipy.linalg" in sys.modules).limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)


@cache
def _libraries(with_scipy: bool) -> ThreadpoolController:
    """What is loaded of BLAS by now; scipy brings its own."""
    return ThreadpoolController()
