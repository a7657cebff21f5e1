"""only_writer: of several processes one writes to a folder, and what stands in its way is told in one line."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import shutil
import traceback
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from chop.errors import FolderError
from chop.tools.folder_lock import only_writer

FORK = multiprocessing.get_context("fork")


def ended(run: Callable[..., object], *given: object) -> int:
    """The exit status of a forked process: 0 where `run` returns, 3 where the folder is in use."""
    process = FORK.Process(target=_run, args=(run, *given))
    process.start()
    process.join(20)
    assert process.exitcode is not None
    return process.exitcode


def _run(run: Callable[..., object], *given: object) -> None:
    try:
        run(*given)
    except FolderError as error:
        os._exit(3 if "is in use" in str(error) else 4)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def hold(folder: Path) -> None:
    with only_writer(folder):
        pass


def die_holding(folder: Path) -> None:
    with only_writer(folder):
        os.kill(os.getpid(), 9)


def hold_until_all_have_tried(folder: Path, ready: Barrier, tried: Barrier) -> None:
    ready.wait(20)
    try:
        with only_writer(folder) as own:
            own.settle()
            (folder / "winner").open("x", encoding="utf-8").write(str(os.getpid()))
            tried.wait(20)
    except FolderError:
        tried.wait(20)
        raise


def test_a_second_process_is_kept_out_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "project" / "run"
    with only_writer(folder):
        assert ended(hold, folder) == 3
        assert not folder.exists()
    assert ended(hold, folder) == 0
    assert not folder.parent.exists()


def test_folders_on_the_way_stay_only_where_something_was_written(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    folder = tmp_path / "old" / "project" / "software" / "run"
    with pytest.raises(ValueError, match="refused"), only_writer(folder):
        raise ValueError("refused")
    assert list(tmp_path.rglob("*")) == [tmp_path / "old"]
    with only_writer(folder) as own:
        own.settle()
    assert folder.is_dir()


def test_the_same_process_cannot_hold_a_folder_twice_and_is_named(tmp_path: Path) -> None:
    with only_writer(tmp_path / "run"):
        with pytest.raises(FolderError, match=rf"run is in use: process {os.getpid()} is writing there; wait"):
            hold(tmp_path / "run")
        hold(tmp_path / "other")


def test_of_many_starts_at_once_one_wins(tmp_path: Path) -> None:
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        barriers = [FORK.Barrier(6) for _ in range(2)]
        processes = [FORK.Process(target=_run, args=(hold_until_all_have_tried, folder, *barriers)) for _ in range(6)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
        assert sorted(process.exitcode for process in processes) == [0, 3, 3, 3, 3, 3]  # type: ignore[type-var]
        winner = next(process.pid for process in processes if process.exitcode == 0)
        assert (folder / "winner").read_text(encoding="utf-8") == str(winner)


def test_a_killed_holder_leaves_the_folder_free(tmp_path: Path) -> None:
    assert ended(die_holding, tmp_path / "run") == -9
    assert ended(hold, tmp_path / "run") == 0


def test_a_child_that_outlives_its_parent_does_not_keep_the_lock(tmp_path: Path) -> None:
    started, awake = FORK.Event(), FORK.Event()

    def die_with_a_child() -> None:
        with only_writer(tmp_path / "run"):
            if os.fork() == 0:
                started.set()
                awake.wait(20)
                os._exit(0)
            started.wait(20)
            os.kill(os.getpid(), 9)

    if (parent := os.fork()) == 0:  # `Process.join` would wait for the child too, which holds its pipe
        _run(die_with_a_child)
    assert os.waitstatus_to_exitcode(os.waitpid(parent, 0)[1]) == -9
    try:
        assert ended(hold, tmp_path / "run") == 0
    finally:
        awake.set()


@pytest.mark.parametrize("link", ["folder", "parent"])
def test_a_folder_is_held_by_whatever_link_it_is_reached(link: str, tmp_path: Path) -> None:
    folder = tmp_path / "disk" / "run"
    folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder if link == "folder" else folder.parent)
    other = tmp_path / "link" if link == "folder" else tmp_path / "link" / "run"
    with only_writer(folder):
        assert ended(hold, other) == 3
    with only_writer(other):
        assert ended(hold, folder) == 3
        if link == "folder":
            other.unlink()  # moved aside: its name stays held
            assert ended(hold, other) == 3


@pytest.mark.parametrize(
    "take_away", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("elsewhere"))], ids=["rm -rf", "mv"]
)
@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_folder_that_is_taken_away_is_told(
    take_away: Callable[[Path], Any], is_made_anew: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    message = r"run was (deleted|moved to .*elsewhere) while this command was writing"
    with pytest.raises(FolderError, match=message), only_writer(folder) as own:
        own.settle()
        take_away(folder)
        if is_made_anew:
            folder.mkdir()


def test_what_goes_wrong_in_a_folder_that_was_taken_away_is_blamed_on_that(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="was deleted"), only_writer(tmp_path / "run") as own:
        own.settle()
        (tmp_path / "run").rmdir()
        (tmp_path / "run" / "file").write_text("", encoding="utf-8")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_is_told(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(
        FolderError, match=r"its file system has no locks .*choose another --project-dir, on a file system"
    ):
        hold(tmp_path / "run")


def test_a_file_where_a_folder_must_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FolderError, match="a file is where a folder must be"):
        hold(tmp_path / "file" / "run")


def test_a_lock_file_that_vanishes_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last holder removes it between the opening and the locking of another process."""
    lock, times = tmp_path / ".run.lock", iter(range(3))
    flock = fcntl.flock

    def vanish(descriptor: int, how: int) -> None:
        if next(times, None) is not None:
            lock.unlink()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", vanish)
    with only_writer(tmp_path / "run"):
        assert ended(hold, tmp_path / "run") == 3


def test_what_killed_processes_were_writing_is_removed_and_no_more(tmp_path: Path) -> None:
    dead = 2**22 + 1  # beyond the largest process id
    gone = [f".best.json.{dead}-ab12.writing", f"landscape.parts/.000001.parquet.{dead}-cd34.writing"]
    kept = [f".best.json.{os.getpid()}-1.writing", "best.json", "notes.writing", "landscape.parts/000000.parquet"]
    (tmp_path / "landscape.parts").mkdir()
    for file in (*gone, *kept):
        (tmp_path / file).write_text("", encoding="utf-8")
    hold(tmp_path)
    files = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files) == sorted(kept)


def test_a_folder_whose_parent_is_read_only_is_held_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    opened = os.open

    def refuse(path: Any, flags: int, *mode: int) -> int:
        if str(path).endswith(".lock"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    with only_writer(folder):
        assert ended(hold, folder) == 3
    assert ended(hold, folder) == 0
    with pytest.raises(FolderError, match="Permission denied; choose another --project-dir, which you may write to"):
        hold(tmp_path / "none")


def test_a_folder_that_can_never_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)  # as /proc does
    with pytest.raises(FolderError, match=r"none/run cannot be made \(No such file or directory\): choose another"):
        hold(tmp_path / "none" / "run")
