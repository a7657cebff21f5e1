"""write_whole: the old file or the new one, never a half."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
from pathlib import Path

import pytest

from chop.tools.files import cure, write_whole


def test_text_and_bytes_are_written_and_folders_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    assert write_whole(path, "grün\n") == path
    assert path.read_bytes() == "grün\n".encode()
    write_whole(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_whole(tmp_path / "file", "old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_the_old_file_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_whole(tmp_path / "file", "old")

    def fill(file: Path, content: bytes) -> None:
        with file.open("wb") as stream:
            stream.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_whole(path, "new content")
    assert caught.value.filename == str(path)
    assert "make room" in cure(caught.value)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_may_not_be_read_is_not_said_to_need_another_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_whole(tmp_path / "file", "old")
    denied = PermissionError(errno.EACCES, "Permission denied", str(path))
    assert "--project-dir" in cure(denied)  # it may be read: so it was to be written
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read any file
    assert "right to read it" in cure(denied)


def test_a_file_that_grows_too_large_is_not_written_in_half(tmp_path: Path) -> None:
    """The limit of a process stands for a full disk: half a file is written before the error."""

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_whole(tmp_path / "file", bytes(5000))
        except OSError as error:
            os._exit(0 if "make room" in cure(error) else 2)
        os._exit(1)

    process = multiprocessing.get_context("fork").Process(target=write)
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_a_new_file_has_the_permissions_that_the_umask_allows(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        path = write_whole(tmp_path / "file", "")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_an_existing_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "file", "old")
    path.chmod(0o600)
    assert write_whole(path, "new").stat().st_mode & 0o777 == 0o600


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere" / "file")
    for text in ("first", "second"):
        write_whole(link, text)
        assert (tmp_path / "elsewhere" / "file").read_text(encoding="utf-8") == text
    assert link.is_symlink()


def test_a_very_long_name_is_written(tmp_path: Path) -> None:
    assert write_whole(tmp_path / ("n" * 255), "x").read_text(encoding="utf-8") == "x"
