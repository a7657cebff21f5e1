"""Files of the user in the folder of a search, a comparison or a training stay there, and are never written over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import chop
from chop.errors import FolderError
from tests.conftest import Command

SOFTWARE = Path("mase_output/p/software")
COMPARE = ("--strategies", "random", "--seeds", "1", "--budget", "2", "--most-points", "1")
ACTIONS = {"search": ("search_ckpts", ()), "compare": ("compare", COMPARE)}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def own(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder with files of the user, whose names no run writes into it."""
    folder = SOFTWARE / request.param
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "best.json").write_text("mine", encoding="utf-8")
    (folder / "thesis.txt").write_text("mine", encoding="utf-8")
    yield folder
    assert contents(folder)["figures/best.json"] == contents(folder)["thesis.txt"] == b"mine"


@pytest.mark.parametrize(("action", "own"), [(key, own) for key, (own, _) in ACTIONS.items()], indirect=["own"])
def test_an_earlier_run_is_moved_out_of_a_folder_with_files_of_the_user(
    action: str, own: Path, config: Path, ch: Command
) -> None:
    _, options = ACTIONS[action]
    command = (action, "--config", str(config), "--pretrained", *options)
    ch(*command)
    first = contents(own)
    _, err = ch(*command, "--seed", "1")
    assert f"is kept in {own}-1" in " ".join(err.split())
    mine = {"figures/best.json", "thesis.txt"}
    aside = contents(own.with_name(f"{own.name}-1"))
    assert aside.keys() == first.keys() - mine and set(contents(own)) == set(first)
    told = {"report.md", "report.html"}  # which name their folder
    assert {name: aside[name] for name in aside.keys() - told} == {
        name: first[name] for name in first.keys() - mine - told
    }


@pytest.mark.parametrize("action", ACTIONS)
def test_a_file_of_the_user_is_never_written_over(action: str, config: Path, ch: Command) -> None:
    folder, options = ACTIONS[action]
    (SOFTWARE / folder).mkdir(parents=True)
    (SOFTWARE / folder / "report.md").write_text("mine", encoding="utf-8")
    _, err = ch(action, "--config", str(config), "--pretrained", *options, status=2)
    assert f"{SOFTWARE}/{folder}/report.md is no part of a " in " ".join(err.split())
    assert "choose another --project-dir or --project" in " ".join(err.split())
    assert contents(SOFTWARE) == {f"{folder}/report.md": b"mine"}


def test_a_file_of_the_user_is_never_written_over_from_python(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "summary.json").write_text("mine", encoding="utf-8")
    x = torch.randn(60, 4)
    options: dict[str, Any] = {"objectives": ["loss"], "strategy": "brute_force", "folder": tmp_path / "own"}
    with pytest.raises(FolderError, match=r"summary\.json is no part of a search .* choose another folder="):
        chop.search(nn.Linear(4, 2), (x, x[:, :2].argmax(1)), chop.Space(["integer"], [4, 8]), **options)
    assert contents(tmp_path) == {"own/summary.json": b"mine"}


def test_the_options_of_a_search_that_was_killed_before_its_log_are_its_own(config: Path, ch: Command) -> None:
    ch("search", "--config", str(config), "--pretrained")
    place = SOFTWARE / "search_ckpts"
    for file in contents(place).keys() - {"resolved.toml"}:
        (place / file).unlink()
    _, err = ch("search", "--config", str(config), "--pretrained", "--seed", "1")
    assert "the earlier search is kept in" in " ".join(err.split())
    assert list(contents(place.with_name("search_ckpts-1"))) == ["resolved.toml"]


def test_a_training_that_is_refused_leaves_the_earlier_one_where_it_is(ch: Command) -> None:
    train = ("train", "toy", "toy_tiny", "--project", "p", "--max-epochs", "1", "--max-steps", "2")
    ch(*train)
    first = contents(SOFTWARE)
    _, err = ch(*train, "--strategy", "no-such-strategy", status=2)
    assert "the earlier training" not in " ".join(err.split())
    assert contents(SOFTWARE) == first
