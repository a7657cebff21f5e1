"""Which files of a folder belong to a run, and how they are moved aside and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from chop.errors import FolderError
from chop.tools.own_files import OwnFiles

OWN = OwnFiles("run", ("best.*", "log"), lambda path: path.name == "log")


def folder_with(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_text(name, encoding="utf-8")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_move_to_a_free_number_and_over_nothing(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "run", "log")
    (tmp_path / "run-1").mkdir()
    (tmp_path / "run-2").symlink_to(tmp_path / "nowhere")
    (tmp_path / "run-3").write_text("", encoding="utf-8")
    assert OWN.move_aside(folder) == tmp_path / "run-4"
    assert OWN.move_aside(folder) is None


def test_the_own_files_move_out_of_a_folder_and_back_over_nothing(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "run", "best.a", "other")
    folder_with(folder / "log", "b")
    aside = OWN.move_aside(folder)
    assert aside == tmp_path / "run-1" and names(folder) == ["other"] and names(aside) == ["best.a", "log"]
    assert OWN.move_aside(folder) is None
    (folder / "log").mkdir()
    assert not OWN.move_back(aside, folder) and (aside / "best.a").exists()
    (folder / "log").rmdir()
    assert OWN.move_back(aside, folder) and not aside.exists()
    assert (folder / "log" / "b").read_text(encoding="utf-8") == "b" and (folder / "best.a").exists()


def test_a_folder_with_nothing_else_is_renamed_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_with(tmp_path / "run", "best.a", "log")
    node = folder.stat().st_ino
    aside = OWN.move_aside(folder)
    assert aside is not None and aside.stat().st_ino == node and not folder.exists()
    assert OWN.move_back(aside, folder) and folder.stat().st_ino == node
    monkeypatch.chdir(folder)  # which stays the working folder
    assert OWN.move_aside(Path()) == aside and folder.stat().st_ino == node and names(aside) == ["best.a", "log"]


def test_files_behind_a_link_stay_on_their_disk(tmp_path: Path) -> None:
    folder_with(tmp_path / "disk", "log", "other")
    link = tmp_path / "run"
    link.symlink_to(tmp_path / "disk")
    assert OWN.move_aside(link) == tmp_path / "disk-1"
    assert link.is_symlink() and names(link) == ["other"]


def test_files_of_others_are_refused_where_none_is_known(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "run", "best.a", "other")
    with pytest.raises(FolderError, match=r"folder: .*best\.a is no part of a run that could go on, and a run would"):
        OWN.require_own(folder)
    (folder / "log").touch()
    OWN.require_own(folder)
    OWN.require_own(tmp_path / "none")


def test_the_own_files_are_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "run", "best.a", "other")
    folder_with(folder / "log", "b")
    OWN.remove(folder)
    assert names(folder) == ["other"]
