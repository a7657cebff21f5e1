"""scratch_folder: what killed processes leave in the temporary folder goes with the next start, and no more."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from chop.tools.scratch import PREFIX, scratch_folder, sweep_scratch

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def in_child(run: Callable[[], None]) -> int | None:
    process = FORK.Process(target=run)
    process.start()
    process.join(20)
    return process.exitcode


def killed_with_a_folder() -> None:
    with scratch_folder() as folder:
        (folder / "call").write_bytes(bytes(1000))
        os.kill(os.getpid(), 9)


def test_a_folder_goes_with_its_block(temporary: Path) -> None:
    with scratch_folder() as folder:
        (folder / "call").write_text("x", encoding="utf-8")
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_start(temporary: Path) -> None:
    assert in_child(killed_with_a_folder) == -9
    (left,) = temporary.iterdir()
    with scratch_folder() as folder:
        assert not left.exists()
        assert folder.exists()


def test_the_folder_of_a_living_process_stays(temporary: Path) -> None:
    with scratch_folder() as folder:
        assert in_child(sweep_scratch) == 0
        sweep_scratch()
        assert folder.exists()


def test_folders_of_others_and_other_names_stay(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes, other, link = temporary / "chop-notes", temporary / f"{PREFIX}other", temporary / f"{PREFIX}link"
    notes.mkdir()
    other.mkdir()
    link.symlink_to(notes)
    uid = os.getuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: uid + 1)
        sweep_scratch()
    assert other.exists()
    sweep_scratch()
    assert not other.exists()
    assert notes.exists()
    assert link.is_symlink()


def test_a_folder_that_is_swept_before_it_is_held_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, times = tempfile.mkdtemp, iter(range(2))

    def swept(prefix: str) -> str:
        folder = made(prefix=prefix)
        if next(times, None) is not None:
            sweep_scratch()
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", swept)
    with scratch_folder() as folder:
        assert folder.is_dir()
    assert list(temporary.iterdir()) == []
