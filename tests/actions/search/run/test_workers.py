"""Several processes: the same results to the bit, whoever works, dies or cannot be started."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from chop.actions.search import search
from chop.actions.search.measuring import instruments, scheduler
from chop.actions.search.strategies.runners import RUNNERS, Metric, ModelRunner
from chop.dataset import MaseDataModule
from chop.errors import SearchError
from chop.executors import processes
from chop.executors.processes import Workers
from tests.actions.search.killing import killed_at, trials


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes share the work from the start, a few points each."""
    monkeypatch.setattr(scheduler, "SECONDS_ALONE", 0.0)
    monkeypatch.setattr(instruments, "CHUNKS", instruments.BATCH_MACS // 300_000)


@pytest.mark.usefixtures("at_once")
def test_folded_points_are_the_same_to_the_bit_with_two_processes(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for n_jobs in (1, 2):
        lab["strategy"]["setup"] = {"n_jobs": n_jobs}
        search(jsc_tiny, jets, lab, tmp_path / str(n_jobs))
    assert "processes share the work" in caplog.text
    assert trials(tmp_path / "1") == trials(tmp_path / "2")


@pytest.mark.usefixtures("at_once")
def test_trained_candidates_are_the_same_to_the_bit_with_two_processes(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    training = {"num_samples": 256, "max_epochs": 1, "batch_size": 64, "eval_samples": 256}
    lab["strategy"] |= {"name": "optuna", "sw_runner": {"basic_train": training}}
    for n_jobs in (1, 2):
        lab["strategy"]["setup"] = {"n_jobs": n_jobs, "n_trials": 5, "ask_batch": 3}
        search(jsc_tiny, jets, lab, tmp_path / str(n_jobs))
    assert "processes share the work" in caplog.text
    assert trials(tmp_path / "1") == trials(tmp_path / "2")


class Closed(ModelRunner):
    """Holds something that no other process can have."""

    def __init__(self, data_module: Any, options: Any = None) -> None:
        super().__init__(data_module, options)
        self.held = lambda: 1.0

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("held", "", "minimize"),)

    def measure(self, graph: Any) -> dict[str, float]:
        return {"held": self.held()}


@pytest.mark.usefixtures("at_once")
def test_what_cannot_be_sent_is_measured_here_and_said_once(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    RUNNERS.register("closed")(Closed)
    lab["strategy"]["hw_runner"]["closed"] = {}
    lab["strategy"]["metrics"]["held"] = {"max": 2.0}
    lab["strategy"]["setup"] = {"n_jobs": 2}
    assert len(search(jsc_tiny, jets, lab, tmp_path).trials) == 18
    assert caplog.text.count("cannot be sent to other processes") == 1


def test_processes_that_would_not_pay_are_not_started_and_it_is_said_why(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    lab["strategy"]["setup"] = {"n_jobs": 2}
    search(jsc_tiny, jets, lab, tmp_path / "small")
    assert "n_jobs = 2: all was measured in one process: " in caplog.text
    lab["strategy"] |= {"name": "optuna", "setup": {"n_jobs": 2, "n_trials": 2}}
    search(jsc_tiny, jets, lab, tmp_path / "single")
    assert "points came one at a time (a search with setup.ask_batch" in caplog.text


def squared(number: int) -> int:
    return number * number


def dies(number: int) -> int:
    os._exit(1)


def test_items_are_taken_as_they_are_needed_however_many_there_are() -> None:
    found = Workers(partial(pow, 2), 1).results(count())
    assert dict(islice(found, 3)) == {0: 1, 1: 2, 2: 4}
    with Workers(partial(pow, 2), 2) as pool:
        shared = pool.results(count())
        assert {place: 2**place for place, _ in zip(range(6), shared, strict=False)} == {n: 2**n for n in range(6)}


def test_workers_that_never_come_up_leave_the_work_to_this_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "MOST_DEATHS", 1)
    pool = Workers(dies, 2)
    monkeypatch.setattr(pool, "_here", squared)
    assert dict(pool.results(range(3))) == {0: 0, 1: 1, 2: 4}
    assert "no worker comes up" in caplog.text


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
    with Workers(partial(sized, bytes(2**22)), 2) as pool:
        assert dict(pool.results(range(4))) == {number: 2**22 + number for number in range(4)}
    killer.join()
    assert killed


def test_workers_that_keep_dying_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MOST_DEATHS", 1)
    pool = Workers(dies, 2)
    pool._has_results = True
    with pytest.raises(SearchError, match="1 workers died one after the other"):
        dict(pool.results(range(3)))


def note_and_wait(folder: Path, number: int) -> int:
    (folder / str(os.getpid())).touch()
    with (folder / "log").open("a", encoding="utf-8") as stream:
        stream.write("begun\n")
    time.sleep(60)
    return number


def begun(folder: Path) -> int:
    log = folder / "log"
    return log.read_text(encoding="utf-8").count("begun") if log.exists() else 0


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
        dict(Workers(partial(note_and_wait, tmp_path), 2).results(range(2)))

    assert killed_at(2, run, tmp_path / "log")
    assert are_gone(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux which processes there are")
def test_ctrl_c_ends_workers_whatever_they_are_at(tmp_path: Path) -> None:
    def press() -> None:
        until = time.monotonic() + 60
        while begun(tmp_path) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt), Workers(partial(note_and_wait, tmp_path), 2) as pool:
        dict(pool.results(range(2)))
    assert are_gone(tmp_path)
