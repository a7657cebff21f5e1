"""The conformance suite of executors."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from chop.errors import MetricError
from chop.executors import EXECUTORS, Executor

JOBS = 2
SECONDS = 60.0
"""Within which whatever is waited for must come about."""


class ExecutorConformance:
    """Subclass it in a test module and list `executors`, by name or class; pytest then checks each of them.

    The calls are functions of this module, so whatever makes them must be able to import it.
    """

    executors: ClassVar[Sequence[str | type[Executor]]] = ()
    _open: ClassVar[dict[type[Executor], Executor]] = {}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each executor."""
        if "kind" in metafunc.fixturenames:
            kinds = [EXECUTORS[one] if isinstance(one, str) else one for one in self.executors]
            metafunc.parametrize("kind", kinds, ids=lambda kind: kind.__name__)

    @classmethod
    def teardown_class(cls) -> None:
        """End what the tests have started."""
        while cls._open:
            cls._open.popitem()[1].close()

    def test_every_item_is_done_once_and_has_its_place(self, kind: type[Executor]) -> None:
        """Whatever the order in which results come."""
        found = list(self._shared(kind).map(_squared, [7, 3, 3, 0, -2, 5, 1]))
        assert len(found) == 7
        assert dict(found) == dict(enumerate([49, 9, 9, 0, 4, 25, 1]))
        assert list(self._shared(kind).map(_squared, [])) == []

    def test_results_are_the_same_to_the_bit(self, kind: type[Executor]) -> None:
        """Arrays, and numbers that are no finite ones."""
        items = [np.random.default_rng(seed).standard_normal(257) for seed in range(4)]
        items.append(np.array([np.nan, np.inf, -0.0]))
        found = dict(self._shared(kind).map(_with_sum, items))
        for place, item in enumerate(items):
            for own, wanted in zip(found[place], _with_sum(item), strict=True):
                assert own.dtype == wanted.dtype
                assert own.tobytes() == wanted.tobytes()

    def test_an_item_is_what_it_was_when_it_was_taken(self, kind: type[Executor]) -> None:
        """The call has its own data with it, and another call has its own."""
        executor = self._shared(kind)
        for factor in (3, 5):
            call = partial(_scaled, np.full(1000, factor))
            assert dict(executor.map(call, range(4))) == {item: 1000 * factor * item for item in range(4)}

    def test_an_error_of_the_call_is_raised_with_its_type(self, kind: type[Executor]) -> None:
        """And its message; the executor is of use afterwards."""
        with pytest.raises(MetricError, match="no figure for 2"):
            list(self._shared(kind).map(_fails_at_two, range(5)))
        assert dict(self._shared(kind).map(_squared, range(3))) == {0: 0, 1: 1, 2: 4}

    def test_items_are_taken_as_they_are_due(self, kind: type[Executor]) -> None:
        """There may be no end to them; who stops early leaves nothing behind that the next would get."""
        taken: list[int] = []

        def endless() -> Iterator[int]:
            for number in count():
                taken.append(number)
                yield number

        results = self._shared(kind).map(_squared, endless())
        for done in range(1, 6):
            place, found = next(results)
            assert found == place * place
            assert len(taken) <= done + 2 * JOBS + 2
        del results
        assert dict(self._shared(kind).map(_negated, range(3))) == {0: 0, 1: -1, 2: -2}

    def test_a_result_comes_as_soon_as_it_is_there(self, kind: type[Executor], tmp_path: Path) -> None:
        """Not only when all are done: the third item waits for the first result."""
        results = self._shared(kind).map(partial(_waits_at_two, tmp_path / "first is there"), range(3))
        found = [next(results)]
        (tmp_path / "first is there").touch()
        assert dict([*found, *results]) == {0: 0, 1: 1, 2: 2}

    def test_ctrl_c_ends_it_whatever_it_is_at(self, kind: type[Executor], tmp_path: Path) -> None:
        """KeyboardInterrupt is raised here at once, and nobody works on."""

        def press() -> None:
            _wait_until(lambda: any(tmp_path.iterdir()))
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=press, daemon=True).start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt), _new(kind) as executor:
            list(executor.map(partial(_noted_and_long, tmp_path), range(2)))
        assert time.monotonic() - started < SECONDS
        assert _all_end(int(path.name) for path in tmp_path.iterdir())

    def test_the_work_of_a_process_that_dies_is_done_again(self, kind: type[Executor], tmp_path: Path) -> None:
        """By another, each item once."""
        executor = self._shared(kind)
        if os.getpid() in dict(executor.map(_process, range(4))).values():
            pytest.skip("it has no other process that could die")
        found = list(executor.map(partial(_dies_once, tmp_path / "died"), range(6)))
        assert (tmp_path / "died").exists()
        assert sorted(found) == [(number, number) for number in range(6)]

    def test_nothing_is_left_over_when_it_is_closed(self, kind: type[Executor]) -> None:
        """No process works on, or waits for work."""
        with self._shared(kind) as executor:
            processes = set(dict(executor.map(_process, range(4))).values())
        del self._open[kind]
        assert _all_end(processes)

    def _shared(self, kind: type[Executor]) -> Executor:
        """One executor for the tests that leave it as it was: some take seconds to start."""
        if kind not in self._open:
            self._open[kind] = _new(kind)
        return self._open[kind]


def _new(kind: type[Executor]) -> Executor:
    return kind(min(JOBS, kind.most_jobs or JOBS))


def _squared(number: int) -> int:
    return number * number


def _negated(number: int) -> int:
    return -number


def _scaled(data: Any, number: int) -> int:
    return int(data.sum()) * number


def _with_sum(values: Any) -> tuple[Any, Any]:
    return np.exp(values), np.asarray(np.float32(values.sum()))


def _fails_at_two(number: int) -> int:
    if number == 2:
        raise MetricError("no figure for 2")
    return number


def _waits_at_two(signal_file: Path, number: int) -> int:
    if number == 2:
        assert _wait_until(signal_file.exists)
    return number


def _noted_and_long(folder: Path, number: int) -> int:
    (folder / str(os.getpid())).touch()
    time.sleep(2 * SECONDS)
    return number


def _process(number: int) -> int:
    time.sleep(0.01)
    return os.getpid()


def _dies_once(mark: Path, number: int) -> int:
    if number == 3 and not mark.exists():
        mark.touch()
        os._exit(1)
    return number


def _wait_until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + SECONDS
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def _all_end(processes: Iterable[int]) -> bool:
    """Whether all processes but this one end within a time."""
    others = set(processes) - {os.getpid()}
    return _wait_until(lambda: not any(map(_is_running, others)))


def _is_running(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    if status.exists():
        return "zombie" not in status.read_text(encoding="utf-8")
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return not Path("/proc/self").exists()
    return False
