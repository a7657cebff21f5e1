"""Calls in several processes: a dead worker's call is made again, and whoever works, the results are the same."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context, parent_process, resource_tracker
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from chop.errors import ChopError, SearchError
from chop.evaluation.memory import keep_freed_memory, let_children_use_huge_pages
from chop.tools.logger import get_logger
from chop.tools.scratch import scratch_folder
from chop.tools.user_code import load_plugin, loaded_plugins

logger = get_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_DEATHS = 5
"""Workers that may die, one after the other, without anything being finished in between."""


class CannotStart(ChopError):
    """A worker cannot take the work that it was sent."""


SECONDS_TO_END = 2.0
"""For processes that have nothing left to do."""


class _Left(Generic[Item]):
    """The items that are left, each with its place."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._coming = enumerate(items)
        self._ready: deque[tuple[int, Item]] = deque()

    def are_at_least(self, count: int) -> bool:
        """Whether there are so many."""
        self._ready.extend(islice(self._coming, max(0, count - len(self._ready))))
        return len(self._ready) >= count

    @property
    def first(self) -> Item:
        """The item that is taken next."""
        return self._ready[0][1]

    def take(self) -> tuple[int, Item]:
        """The next item with its place."""
        return self._ready.popleft()

    def put_back(self, taken: tuple[int, Item]) -> None:
        """Take an item that was not finished before all others."""
        self._ready.appendleft(taken)


class Workers(Generic[Item, Result]):
    """Makes calls in `n_jobs` processes; a context manager.

    They are started (spawned, one thread each) once `patience` seconds were spent on calls in this process: what takes
    less altogether would only wait for them. If `call` cannot be sent to another process, all is done in this one.
    """

    def __init__(self, call: Callable[[Item], Result], n_jobs: int, patience: float = 0.0) -> None:
        self._call = call
        self._n_jobs = n_jobs
        self._patience = patience
        self._payload: bytes | None = None
        self._pool: ProcessPoolExecutor | None = None
        self._folder = ExitStack()
        self._deaths = 0
        self._has_results = False
        self.seconds = 0.0
        """Spent on calls in this process."""

        self.was_shared = False
        """Whether other processes were started."""

    def results(self, items: Iterable[Item]) -> Iterator[tuple[int, Result]]:
        """The place of each item and what the call gives for it, as they are done; none is taken before it is due."""
        left = _Left(items)
        while left.are_at_least(1):
            if left.are_at_least(2) and self._may_share():
                yield from self._shared(left)
            else:
                place, item = left.take()
                yield place, self._here(item)

    def _may_share(self) -> bool:
        if self._n_jobs == 1 or self.seconds < self._patience:
            return False
        if self._payload is None:
            self._payload = _pickled(self._call)
            if self._payload is None:
                self._n_jobs = 1
        return self._n_jobs > 1

    def _here(self, item: Item) -> Result:
        started = time.monotonic()
        result = self._call(item)
        self.seconds += time.monotonic() - started
        return result

    def _shared(self, left: _Left[Item]) -> Iterator[tuple[int, Result]]:
        """What other processes give; it ends early, with the rest in `left`, where one of them dies."""
        running: dict[Future[Result], tuple[int, Item]] = {}
        try:
            pool = self._started()
            while running or left.are_at_least(1):
                while len(running) <= self._n_jobs and left.are_at_least(1):  # no more than keep the workers busy
                    future = self._submitted(pool, left.first)
                    running[future] = left.take()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    place, _ = running.pop(future)
                    self._deaths, self._has_results = 0, True
                    yield place, result
        except BrokenProcessPool as error:
            self.close()
            self._count_death(error)
        except CannotStart as error:
            self.close()
            self._n_jobs = 1
            logger.warning("n_jobs: %s; the search goes on in one process", error)
        finally:
            for future, unfinished in reversed(running.items()):
                future.cancel()
                left.put_back(unfinished)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            let_children_use_huge_pages()
            assert self._payload is not None
            # In a file: one that dies while a long message is written to it would leave the writer waiting for ever.
            payload = self._folder.enter_context(scratch_folder()) / "call"
            payload.write_bytes(self._payload)
            start = partial(_start, payload, loaded_plugins())
            self._pool = ProcessPoolExecutor(self._n_jobs, get_context("spawn"), start)
            self.was_shared = True
            logger.info("n_jobs: up to %d processes share the work from now on", self._n_jobs)
        return self._pool

    def _submitted(self, pool: ProcessPoolExecutor, item: Item) -> Future[Result]:
        """Hand an item out; raises BrokenProcessPool also where the pool breaks just then."""
        try:
            with _no_interrupt_for_children():
                return pool.submit(_run, item)
        except OSError as error:  # a process is started with pipes that the breaking pool has closed
            raise BrokenProcessPool(str(error)) from error

    def _count_death(self, error: BrokenProcessPool) -> None:
        """Raise SearchError after too many deaths; where no worker ever came up, go on in this process."""
        self._deaths += 1
        if self._deaths < MOST_DEATHS:
            logger.warning("a worker died; its work is done again")
        elif self._has_results:
            raise SearchError(f"{self._deaths} workers died one after the other; try n_jobs = 1 ({error})") from error
        else:
            logger.warning("n_jobs: no worker comes up (%s); the search goes on in one process", error)
            self._n_jobs = 1

    def close(self, patience: float = 0.0) -> None:
        """End the processes, whatever they are at; `patience` are the seconds in which they may end of themselves, and
        give back what they hold of the system.
        """
        pool, self._pool = self._pool, None
        if pool is None:
            return
        processes = list((pool._processes or {}).values())  # `kill_workers`, from Python 3.14 on
        pool.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + patience
        for process in processes:
            if patience:
                process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
        self._folder.close()

    def __enter__(self) -> Workers[Item, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(patience=0.0 if kind else SECONDS_TO_END)


@contextmanager
def _no_interrupt_for_children() -> Iterator[None]:
    """Processes that are started hear of no Ctrl-C, from their first instruction on; this one hears of it afterwards.

    Python's own helper process is started first: doing so lets Ctrl-C through again.
    """
    resource_tracker.ensure_running()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


_call: Callable[[Any], Any] | None = None
_problem = ""


def _start(payload: Path, plugins: Sequence[Path]) -> None:
    """Start of a worker: one thread, and no word on Ctrl-C, which the parent hears too."""
    import torch

    global _call, _problem  # noqa: PLW0603 - a worker process has one task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        for path in plugins:
            load_plugin(path)
        _call = _unpickled(payload.read_bytes())
    except Exception as error:
        _problem = f"a worker cannot take what it was sent ({type(error).__name__}: {error})"


def _end_with_parent() -> None:
    """A process that was killed cannot end its workers, and they would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(item: Any) -> Any:
    if _call is None:
        raise CannotStart(_problem)
    return _call(item)


def _pickled(call: Callable[[Item], Result]) -> bytes | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, about the structure of exported outputs
            payload = pickle.dumps(call)
        _unpickled(payload)
    except Exception as error:
        is_nameless = any(text in str(error) for text in ("<lambda>", "<locals>", "local object"))
        cure = ": define it with def, outside of all functions" if is_nameless else ""
        logger.warning("n_jobs: this search cannot be sent to other processes (%s%s); it goes on in one", error, cure)
        return None
    return payload


def _unpickled(payload: bytes) -> Callable[[Any], Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        found: Callable[[Any], Any] = pickle.loads(payload)
        return found
