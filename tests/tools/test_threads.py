"""One thread for a while, for torch and for all of BLAS, and what was before afterwards."""

from __future__ import annotations

import sys

import pytest
import torch
from threadpoolctl import ThreadpoolController, threadpool_limits

from chop.tools.threads import one_thread


def counts() -> dict[str, int]:
    libraries = {own["filepath"]: own["num_threads"] for own in ThreadpoolController().info()}
    return {"torch": torch.get_num_threads(), **libraries}


def test_all_libraries_take_one_thread_and_get_back_what_they_had(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy  # noqa: F401 - brings BLAS

    if "scipy.linalg" in sys.modules:
        import scipy

        monkeypatch.setattr(scipy, "linalg", scipy.linalg)  # the module is put back with its parts
        monkeypatch.delitem(sys.modules, "scipy.linalg")
    with threadpool_limits(2, user_api="blas"):
        before = counts()
        with one_thread():
            import scipy.linalg

            with one_thread():
                blas = [own["num_threads"] for own in ThreadpoolController().info() if own["user_api"] == "blas"]
                assert torch.get_num_threads() == 1
                assert set(blas) == {1}
        assert before.items() <= counts().items()
        with one_thread(False):
            assert before.items() <= counts().items()


def test_the_last_to_leave_puts_back_what_the_first_found() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_num_threads() == 1
        second.__exit__(None, None, None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
