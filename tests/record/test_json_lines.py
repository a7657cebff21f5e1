"""Append-only logs: what is not as it was written is named by line, and versions are checked."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from chop.errors import FolderError, SearchError
from chop.record import json_lines
from chop.record.json_lines import JsonLines, Kind

KIND = Kind("chop_things", "log of things")


def made(path: Path, identity: str = "", rows: int = 4) -> Path:
    log = JsonLines.create(path, KIND, {"about": "things"}, identity)
    for number in range(rows):
        log.append({"number": number, "value": number / 3})
    log.close()
    return path


def problems(path: Path) -> list[tuple[int, str]]:
    log = JsonLines.open(path, KIND)
    found = [(line.number, line.problem) for line in log.lines() if line.problem]
    log.close()
    return found


def test_rows_come_back_with_what_the_header_says(tmp_path: Path) -> None:
    log = JsonLines.open(made(tmp_path / "log"), KIND)
    assert log.header.values == {"about": "things"}
    assert [line.row for line in log.lines()] == [{"number": n, "value": n / 3} for n in range(4)]
    log.go_on([], is_damaged=False)
    log.append({"number": 4})
    log.close()
    assert problems(tmp_path / "log") == []
    assert len((tmp_path / "log").read_text(encoding="utf-8").splitlines()) == 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("0.333", "0.334", 1),
        lambda text: text.replace('"number": 1', '"number": 7', 1),
        lambda text: text.replace(', "value"', ',"value"', 2),
        lambda text: text.replace('"value": 0.3', '"value": 9, "value": 0.3', 1),
    ],
    ids=["a figure", "a number", "a space", "a key twice"],
)
def test_an_edited_line_is_named(damage: Callable[[str], str], tmp_path: Path) -> None:
    path = made(tmp_path / "log")
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    found = problems(path)
    assert found
    assert all(problem == "its checksum does not fit" for _, problem in found)


def test_a_line_of_another_log_is_named(tmp_path: Path) -> None:
    ours, theirs = (
        made(tmp_path / name).read_text(encoding="utf-8").splitlines(keepends=True) for name in ("ours", "theirs")
    )
    (tmp_path / "mixed").write_text("".join([*ours[:3], theirs[3], *ours[4:]]), encoding="utf-8")
    assert problems(tmp_path / "mixed") == [(4, "its checksum does not fit")]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_endings_and_a_byte_order_mark_do_no_harm(ending: str, mark: str, tmp_path: Path) -> None:
    path = made(tmp_path / "log")
    path.write_bytes((mark + path.read_text(encoding="utf-8").replace("\n", ending)).encode())
    assert problems(path) == []


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_that_was_cut_off_is_left_out(cut: int, tmp_path: Path) -> None:
    path = made(tmp_path / "log")
    path.write_bytes(path.read_bytes()[:-cut])
    log = JsonLines.open(path, KIND)
    assert [line.row["number"] for line in log.lines()] == [0, 1, 2]
    log.go_on([], is_damaged=False)
    log.append({"number": 3})
    log.close()
    assert problems(path) == []


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            lambda text: text.replace('"chop_things": 2', '"chop_things": 99'),
            "a later chop, version 99; this one reads",
        ),
        (lambda text: text.replace('"chop_things": 2', '"chop_things": 1'), "version 1, which had no checksums"),
        (lambda text: text.replace('"chop_things": 2', '"chop_things": "2"'), "'2' is no version of a record"),
        (lambda text: text.replace("chop_things", "chop_other"), "is no log of things"),
        (lambda text: text.replace("about", "abuot"), "line 1 is damaged"),
        (lambda text: text[5:], "is no log of things"),
        (lambda text: "", "holds nothing yet"),
    ],
)
def test_a_header_of_another_kind_or_version_or_an_edited_one_is_refused(
    damage: Callable[[str], str], told: str, tmp_path: Path
) -> None:
    path = made(tmp_path / "log")
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(SearchError, match=told):
        JsonLines.open(path, KIND)


def test_a_damaged_log_is_kept_beside_and_goes_on_with_its_sound_rows(tmp_path: Path) -> None:
    path = made(tmp_path / "log")
    damaged = path.read_text(encoding="utf-8").replace("0.333", "0.334", 1)
    path.write_text(damaged, encoding="utf-8")
    log = JsonLines.open(path, KIND)
    log.go_on([line.row for line in log.lines() if not line.problem], is_damaged=True)
    log.append({"number": 4})
    log.close()
    assert problems(path) == []
    assert [json.loads(line)["number"] for line in path.read_text(encoding="utf-8").splitlines()[1:]] == [0, 2, 3, 4]
    assert (tmp_path / "log.damaged").read_text(encoding="utf-8") == damaged


def test_a_log_without_checksums_is_read_told_and_gets_some(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "log"
    path.write_text('{"chop_things": 1, "about": "things"}\n{"number": 0}\n', encoding="utf-8")
    log = JsonLines.open(path, KIND)
    assert "without checksums: it cannot be checked" in caplog.text
    log.go_on([line.row for line in log.lines()], is_damaged=False)
    log.append({"number": 1})
    log.close()
    again = JsonLines.open(path, KIND)
    assert (again.header.version, again.header.values["from_version"]) == (2, 1)
    assert [line.row["number"] for line in again.lines()] == [0, 1]
    again.close()


def test_a_log_is_held_while_it_is_open_also_after_it_was_rewritten(tmp_path: Path) -> None:
    path = made(tmp_path / "log")
    log = JsonLines.open(path, KIND)
    with pytest.raises(SearchError, match="is in use"):
        JsonLines.open(path, KIND)
    log.go_on([], is_damaged=True)
    with pytest.raises(SearchError, match="is in use"):
        JsonLines.open(path, KIND)
    log.close()
    JsonLines.open(path, KIND).close()


def test_a_full_disk_is_told_and_leaves_whole_lines(tmp_path: Path) -> None:
    """The largest file of a process stands for a full disk: the line that passes it is written in part."""
    path = made(tmp_path / "log")
    largest = path.stat().st_size + 250

    def fill() -> None:
        log = JsonLines.open(path, KIND)
        log.go_on([], is_damaged=False)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        try:
            for number in range(4, 9):
                log.append({"number": number})
        except FolderError as error:
            log.close()
            told = "log: File too large; what was written before is kept: make room, then repeat the command (a search"
            os._exit(0 if told in str(error) else 2)
        os._exit(1)

    process = multiprocessing.get_context("fork").Process(target=fill)
    process.start()
    process.join(20)
    assert process.exitcode == 0
    log = JsonLines.open(path, KIND)
    assert [line.row["number"] for line in log.lines()] == [0, 1, 2, 3, 4, 5]
    assert path.read_bytes().endswith(b"\n")
    log.close()


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_log_that_was_taken_away_is_told(how: str, tmp_path: Path) -> None:
    path = made(tmp_path / "log")
    log = JsonLines.open(path, KIND)
    log.go_on([], is_damaged=False)
    path.unlink() if how == "deleted" else path.rename(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match=f"log was {how}"):
        log.append({"number": 4})
    with pytest.raises(FolderError, match=f"log was {how}"):
        log.close()


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[threading.Timer]:
    """The timers of logs, which wait for `fire` in place of a time."""
    waiting: list[threading.Timer] = []

    class Waiting(threading.Timer):
        def start(self) -> None:
            waiting.append(self)

    monkeypatch.setattr(threading, "Timer", Waiting)
    monkeypatch.setattr(json_lines, "SYNC_SECONDS", 3600.0)
    return waiting


def fire(timer: threading.Timer) -> None:
    timer.interval = 0.0
    threading.Thread.start(timer)
    timer.join()


def test_a_line_that_no_other_follows_is_forced_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timers: list[threading.Timer]
) -> None:
    log = JsonLines.create(tmp_path / "log", KIND, {})
    log.append({"number": 0})
    forced = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: forced.set())
    log.append({"number": 1})
    assert not forced.is_set()
    (timer,) = timers
    fire(timer)
    assert forced.is_set()
    log.close()


def test_a_log_that_vanished_while_a_line_waited_is_told_by_the_next_line(
    tmp_path: Path, timers: list[threading.Timer]
) -> None:
    log = JsonLines.create(tmp_path / "log", KIND, {})
    log.append({"number": 0})
    log.path.unlink()
    (timer,) = timers
    fire(timer)
    with pytest.raises(FolderError, match="log was deleted"):
        log.append({"number": 1})
    with pytest.raises(FolderError, match="log was deleted"):
        log.close()
