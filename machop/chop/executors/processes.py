"""Makes calls in several processes; if a worker dies, its call is made again, with the same results."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process, resource_tracker
from pathlib import Path
from types import MethodType
from typing import Any

from chop.errors import ChopError, SearchError
from chop.evaluation.memory import keep_freed_memory, let_children_use_huge_pages
from chop.executors.base import EXECUTORS, Executor, Item, Result
from chop.executors.remaining import Remaining
from chop.executors.sending import CannotSendError, call_from_bytes, call_to_bytes, outcome_of, read_outcome
from chop.tools.logger import get_logger
from chop.tools.scratch import scratch_folder
from chop.tools.user_code import load_plugin, loaded_plugins

logger = get_logger(__name__)

MOST_DEATHS = 5
"""Workers that may die, one after the other, without anything being finished in between."""

SECONDS_TO_END = 2.0
"""For processes that have nothing left to do."""


class _CannotStartError(ChopError):
    """A worker cannot take the work that it was sent."""


@dataclass
class _Payload:
    """A call as bytes; none if it cannot be sent."""

    call: Callable[[Any], Any]
    content: bytes
    name: str

    def file_in(self, folder: Path) -> Path:
        """The file of the call in a folder, written if it is not there yet.

        The call is not sent as a message: a worker that dies while a long message is written to it would leave the
        writer waiting for ever.
        """
        path = folder / self.name
        if not path.exists():
            path.write_bytes(self.content)
        return path


@EXECUTORS.register("processes")
class ProcessExecutor(Executor):
    """Makes calls in `jobs` processes (spawned, one thread each).

    A call that cannot be sent to another process is made in this one, and so are all where no process comes up.
    """

    def __init__(self, jobs: int) -> None:
        super().__init__(jobs)
        self._pool: ProcessPoolExecutor | None = None
        self._resources = ExitStack()
        self._folder = Path()
        self._payload: _Payload | None = None
        self._payloads = 0
        self._deaths = 0
        self._is_alone = False

    def map(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[int, Result]]:
        remaining = Remaining(items)
        while remaining.are_at_least(1):
            payload = None if self._is_alone else self._payload_of(call)
            if payload and payload.content:
                yield from self._shared(payload, remaining)
            else:
                place, item = remaining.take()
                yield place, call(item)

    def _payload_of(self, call: Callable[[Any], Any]) -> _Payload:
        """The bytes of a call that workers are sent; those of the last call are kept."""
        if self._payload is None or not _is_same(call, self._payload.call):
            content = b""
            try:
                content = call_to_bytes(call)
            except CannotSendError as error:
                logger.warning("n_jobs: this search cannot be sent to other processes (%s); it goes on in one", error)
            self._payload = _Payload(call, content, f"call-{self._payloads}")
            self._payloads += 1
        return self._payload

    def _shared(self, payload: _Payload, remaining: Remaining[Item]) -> Iterator[tuple[int, Any]]:
        """The results of other processes; they end early, with the rest in `remaining`, if a process dies."""
        running: dict[Future[bytes], tuple[int, Item]] = {}
        try:
            pool = self._started()
            file = payload.file_in(self._folder)
            while running or remaining.are_at_least(1):
                while len(running) <= self.jobs and remaining.are_at_least(1):  # no more than keep the workers busy
                    future = _submitted(pool, file, remaining.next_item)
                    running[future] = remaining.take()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    content = future.result()
                    place, _ = running.pop(future)
                    self._deaths = 0
                    yield place, read_outcome(content)
        except BrokenProcessPool as error:
            has_been_read = _mark_of_reading(payload.file_in(self._folder)).exists()
            self.close(at_once=True)
            self._count_death(error, has_been_read)
        except _CannotStartError as error:
            self.close(at_once=True)
            self._is_alone = True
            logger.warning("n_jobs: %s; the search goes on in one process", error)
        finally:
            for future, unfinished in reversed(running.items()):
                future.cancel()
                remaining.put_back(unfinished)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            let_children_use_huge_pages()
            self._folder = self._resources.enter_context(scratch_folder())
            self._pool = ProcessPoolExecutor(self.jobs, get_context("spawn"), partial(_start, loaded_plugins()))
            logger.info("n_jobs: up to %d processes share the work from now on", self.jobs)
        return self._pool

    def _count_death(self, error: BrokenProcessPool, has_been_read: bool) -> None:
        """Raise SearchError after too many deaths; where no worker could read the call, go on in this process."""
        self._deaths += 1
        if self._deaths < MOST_DEATHS:
            logger.warning("a worker died; its work is done again")
        elif has_been_read:
            raise SearchError(f"{self._deaths} workers died one after the other; try n_jobs = 1 ({error})") from error
        else:
            logger.warning("n_jobs: no worker comes up (%s); the search goes on in one process", error)
            self._is_alone = True

    def close(self, at_once: bool = False) -> None:
        """End the processes; those that have nothing left to do may give back first what they hold of the system."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        processes = list((pool._processes or {}).values())  # `kill_workers`, from Python 3.14 on
        pool.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + SECONDS_TO_END
        for process in processes:
            if not at_once:
                process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
        self._resources.close()


def _submitted(pool: ProcessPoolExecutor, file: Path, item: Any) -> Future[bytes]:
    """Hand an item out; raises BrokenProcessPool also where the pool breaks just then."""
    try:
        with _no_interrupt_for_children():
            return pool.submit(_run, file, item)
    except OSError as error:  # a process is started with pipes that the breaking pool has closed
        raise BrokenProcessPool(str(error)) from error


def _is_same(call: Callable[[Any], Any], other: Callable[[Any], Any] | None) -> bool:
    """Whether two calls are one and the same; a bound method is a new object each time that it is asked for."""
    return call is other or (isinstance(call, MethodType) and isinstance(other, MethodType) and call == other)


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


_call: tuple[Path, Callable[[Any], Any]] | None = None
_problem = ""


def _start(plugins: Sequence[Path]) -> None:
    """Start of a worker: one thread, and no word on Ctrl-C, which the parent hears too."""
    import torch

    global _problem  # noqa: PLW0603 - a worker process has one task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        for path in plugins:
            load_plugin(path)
    except Exception as error:
        _problem = f"a worker cannot take what it was sent ({type(error).__name__}: {error})"


def _end_with_parent() -> None:
    """A process that was killed cannot end its workers, and they would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(path: Path, item: Any) -> bytes:
    """The outcome of the call in a file for an item; the call is kept until there is another one."""
    global _call  # noqa: PLW0603 - a worker process makes one call at a time
    if _problem:
        raise _CannotStartError(_problem)
    if _call is None or _call[0] != path:
        _call = None
        try:
            _call = path, call_from_bytes(path.read_bytes())
        except Exception as error:
            raise _CannotStartError(
                f"a worker cannot take what it was sent ({type(error).__name__}: {error})"
            ) from error
        _mark_of_reading(path).touch()
    return outcome_of(_call[1], item)


def _mark_of_reading(path: Path) -> Path:
    """The file that says that a worker has read the call in `path`."""
    return path.with_suffix(".read")
