"""The protocol of executors, and the registry that finds them by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self, TypeVar

from chop.registry import Registry, subclass_problem

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(ABC):
    """Makes up to `jobs` calls at a time; a context manager. Packages add one by an entry point `chop.executors`.

    A call, its items and its results are values: they may travel to another process or machine as copies, so nobody
    shares memory or local files with a call, and nobody changes what was handed over.
    """

    most_jobs: ClassVar[int | None] = None
    """The most calls that it can make at a time; None if there is no limit."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    @abstractmethod
    def map(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[int, Result]]:
        """The place of each item and what the call returns for it, as results come.

        An item is taken no earlier than it is due, so `items` may be endless. An error of the call is raised with its
        type. The work of a process or machine that is lost is done again. A call that has been seen before is not sent
        again.
        """

    @abstractmethod
    def close(self, at_once: bool = False) -> None:
        """End all that was started; `at_once` ends calls that are being made, too."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(at_once=kind is not None)


EXECUTORS: Registry[type[Executor]] = Registry(
    "chop.executors",
    "executor",
    ("chop.executors.local", "chop.executors.processes"),
    problem=subclass_problem(Executor),
)


@dataclass(frozen=True)
class Jobs:
    """How many calls a search makes at a time, and the name of the executor that makes them.

    A named executor makes all calls. Without a name, one job is done in this process, and several by processes once the
    work has taken long enough for that to pay.
    """

    count: int = 1
    executor: str | None = None

    def new_executor(self) -> Executor:
        """A new executor."""
        return EXECUTORS[self.name](self.count)

    @property
    def name(self) -> str:
        """The name of the executor."""
        return self.executor or ("local" if self.count == 1 else "processes")

    def problem(self) -> str | None:
        """Why these jobs cannot be done, if they cannot; the executor must be a known one."""
        most = EXECUTORS[self.name].most_jobs
        if most is None or self.count <= most:
            return None
        return f"'{self.name}' makes {most} call{'s' if most > 1 else ''} at a time: n_jobs = {self.count} is too many"
