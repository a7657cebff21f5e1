"""Calls in several processes, whoever dies or cannot be started."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chop.errors import SearchError
from chop.executors import Jobs, processes
from chop.executors.patient import PatientExecutor
from chop.executors.processes import ProcessExecutor
from chop.executors.sending import CannotSendError
from tests.actions.search.killing import killed_at


def squared(number: int) -> int:
    return number * number


def dies_elsewhere(here: int, number: int) -> int:
    if os.getpid() != here:
        os._exit(1)
    return number


class NeverRead:
    """A call that kills the worker that reads it."""

    def __init__(self, here: int) -> None:
        self.here = here

    def __reduce__(self) -> tuple[Any, ...]:
        return read_elsewhere, (self.here,)

    def __call__(self, number: int) -> int:
        return number * number


def read_elsewhere(here: int) -> NeverRead:
    dies_elsewhere(here, 0)
    return NeverRead(here)


def test_workers_that_never_come_up_leave_the_work_to_this_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "MOST_DEATHS", 1)
    with ProcessExecutor(1) as executor:
        assert dict(executor.map(NeverRead(os.getpid()), range(3))) == {0: 0, 1: 1, 2: 4}
    assert "no worker comes up" in caplog.text


def test_a_call_that_kills_every_worker_ends_the_search_and_is_not_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MOST_DEATHS", 1)
    with ProcessExecutor(1) as executor, pytest.raises(SearchError, match="1 workers died one after the other"):
        dict(executor.map(partial(dies_elsewhere, os.getpid()), range(3)))


def test_a_call_that_cannot_be_sent_is_made_here_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    call = lambda number: number + 1  # noqa: E731 - has no name that another process could find
    executor = ProcessExecutor(2)
    for _ in range(2):
        assert dict(executor.map(call, range(3))) == {0: 1, 1: 2, 2: 3}
    assert caplog.text.count("cannot be sent to other processes") == 1
    assert "define it with def, outside of all functions" in caplog.text
    assert executor._pool is None


class OwnError(Exception):
    """An error that cannot be made again of its message alone."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


def raises(number: int) -> int:
    raise OwnError(f"nothing for {number}", "layer 3")


def not_sendable(number: int) -> Any:
    return lambda: number


def test_errors_and_results_that_cannot_travel_are_told_and_kill_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    with ProcessExecutor(1) as executor:
        with pytest.raises(CannotSendError, match="OwnError: nothing for 0 in layer 3"):
            dict(executor.map(raises, [0]))
        with pytest.raises(Exception, match="not_sendable"):
            dict(executor.map(not_sendable, [0]))
        with pytest.raises(ZeroDivisionError) as caught:
            dict(executor.map(partial(divmod, 1), [0]))
        assert "In another process:" in caught.value.__notes__[0]
    assert "died" not in caplog.text


def sized(large: bytes, number: int) -> int:
    return len(large) + number


def kill_a_starting_worker(killed: list[int]) -> None:
    """Kill the first process that is started for work, as early as it is seen."""
    until = time.monotonic() + 60
    while not killed and time.monotonic() < until:
        with suppress(ProcessLookupError, FileNotFoundError):  # threads and processes of earlier tests are ending
            children = " ".join(
                file.read_text(encoding="utf-8") for file in Path("/proc/self/task").glob("*/children")
            ).split()
            for child in children:
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(int(child), signal.SIGKILL)
                    killed.append(int(child))
                    return


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_a_worker_that_is_killed_while_it_starts_leaves_its_work_to_others() -> None:
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_starting_worker, args=(killed,), daemon=True)
    killer.start()
    with ProcessExecutor(2) as executor:
        found = dict(executor.map(partial(sized, bytes(2**22)), range(4)))
    assert found == {number: 2**22 + number for number in range(4)}
    killer.join()
    assert killed


def note_and_wait(folder: Path, number: int) -> int:
    (folder / str(os.getpid())).touch()
    with (folder / "log").open("a", encoding="utf-8") as stream:
        stream.write("begun\n")
    time.sleep(60)
    return number


def are_gone(folder: Path) -> bool:
    """Whether the processes that noted themselves end within some seconds."""
    left = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
    assert len(left) == 2
    until = time.monotonic() + 20
    while any(map(is_running, left)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(is_running, left))


def is_running(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.exists() and "zombie" not in status.read_text(encoding="utf-8")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux which processes there are")
def test_workers_end_when_the_search_is_killed(tmp_path: Path) -> None:
    def run() -> None:
        dict(ProcessExecutor(2).map(partial(note_and_wait, tmp_path), range(2)))

    assert killed_at(2, run, tmp_path / "log")
    assert are_gone(tmp_path)


def test_others_are_started_once_the_work_takes_long_and_more_than_one_item_is_left() -> None:
    patient = PatientExecutor(Jobs(2), patience=1000)
    assert dict(patient.map(squared, range(3))) == {0: 0, 1: 1, 2: 4}
    assert not patient.has_started
    patient = PatientExecutor(Jobs(2), patience=0)
    assert dict(patient.map(squared, [3])) == {0: 9}
    assert not patient.has_started
    patient = PatientExecutor(Jobs(1), patience=0)
    assert dict(patient.map(squared, range(3))) == {0: 0, 1: 1, 2: 4}
    assert not patient.has_started


@pytest.mark.parametrize("items", [[], [3], [3, 4]])
def test_a_named_executor_makes_all_calls(items: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(1)
    monkeypatch.setattr(Jobs, "new_executor", lambda _: counting)
    patient = PatientExecutor(Jobs(1, "processes"), patience=1000)
    assert list(patient.map(squared, items)) == [(place, item * item) for place, item in enumerate(items)]
    assert patient.has_started == bool(items)
    assert not items or counting.given == items


class Counting(ProcessExecutor):
    """Notes what it is given."""

    given: list[int]

    def map(self, call: Any, items: Any) -> Any:
        self.given = list(items)
        return enumerate(map(call, self.given))


def test_places_go_on_where_this_process_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = PatientExecutor(Jobs(2), patience=1e-9)
    counting = Counting(2)
    monkeypatch.setattr(Jobs, "new_executor", lambda _: counting)
    assert dict(patient.map(squared, range(6))) == {number: number * number for number in range(6)}
    assert counting.given == [1, 2, 3, 4, 5]
    assert patient.has_started
