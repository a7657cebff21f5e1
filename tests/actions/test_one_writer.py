"""Commands that write to one folder: the second is refused and changes nothing; a folder that is taken away is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from chop.actions import train as training
from chop.actions.compare import job as comparison
from chop.actions.compare.job import CompareOptions, compare
from chop.actions.lightning_training import KeepCheckpoints
from chop.actions.search import search
from chop.actions.search.run.loop import SearchLoop
from chop.config.options import RunOptions
from chop.dataset import MaseDataModule
from chop.errors import FolderError
from chop.models import get_model

from .search.conftest import LAB

Action = Callable[[Path], object]


@pytest.fixture(scope="module")
def data() -> MaseDataModule:
    module = MaseDataModule("jsc", batch_size=512)
    module.prepare_data()
    module.setup()
    return module


@pytest.fixture(params=["search", "compare", "train"])
def action(request: pytest.FixtureRequest, data: MaseDataModule) -> Action:
    """A command that writes to a folder, which it is given."""

    def model() -> nn.Module:
        return get_model("jsc-tiny", pretrained=True)

    def run(folder: Path) -> object:
        if request.param == "search":
            return search(model(), data, LAB, folder)
        if request.param == "compare":
            return compare(model(), data, LAB, folder, CompareOptions(("random",), seeds=1, budget=4))
        options = RunOptions(max_steps=2, accelerator="cpu")
        return training.train(options, model(), data, folder.parent)

    return run


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], Any]]]:
    """What happens while a command is at work: calls that are put into the list, each once."""
    calls: list[Callable[[], Any]] = []

    def interrupted(inner: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            found = inner(*given)
            while calls:
                calls.pop()()
            return found

        return run

    monkeypatch.setattr(SearchLoop, "run", interrupted(SearchLoop.run))
    monkeypatch.setattr(comparison, "all_runs", interrupted(comparison.all_runs))
    monkeypatch.setattr(KeepCheckpoints, "on_validation_end", interrupted(KeepCheckpoints.on_validation_end))
    yield calls
    assert not calls


def content(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_second_is_refused_and_changes_nothing(
    action: Action, meanwhile: list[Callable[[], Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "training_ckpts"

    def second() -> None:
        before = content(tmp_path)
        with pytest.raises(FolderError, match="training_ckpts is in use: process"):
            action(folder)
        assert content(tmp_path) == before

    meanwhile.append(second)
    action(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["training_ckpts"]


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_folder_that_is_taken_away_is_an_error(
    how: str, action: Action, meanwhile: list[Callable[[], Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "project" / "training_ckpts"
    away = {
        "deleted": lambda: shutil.rmtree(folder.parent),
        "moved": lambda: folder.parent.rename(tmp_path / "elsewhere"),
    }
    meanwhile.append(away[how])
    with pytest.raises(FolderError, match=f"training_ckpts.* was {how}"):
        action(folder)
