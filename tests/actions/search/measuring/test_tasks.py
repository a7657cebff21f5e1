"""Searches of a language model: batched, singly, in processes, resumed and stopped early, all with the same figures."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from chop.actions.search import search
from chop.actions.search.measuring import instruments, scheduler
from chop.dataset import MaseDataModule
from chop.errors import SearchError
from tests.actions.search.killing import trials

DATA = """
import torch
def text(samples, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(16, (samples, 12), generator=generator)
    for place in range(1, 12):
        told = (tokens[:, place - 1] + 3) % 16
        tokens[:, place] = torch.where(torch.rand(samples, generator=generator) < 0.3, tokens[:, place], told)
    labels = tokens.masked_fill(torch.rand(tokens.shape, generator=generator) < 0.2, -100)
    return [(tokens, labels)]
def build_data():
    return {"train": text(200, 0), "val": text(256, 1), "test": text(64, 2)}
"""


class NextOfOne(nn.Module):
    """The next token from the last: an embedding that knows it, and a layer to be quantised."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(16, 24)
        self.head = nn.Linear(24, 16)
        following = (torch.arange(16) + 3) % 16
        self.head.weight.data = self.embed.weight.detach()[(torch.arange(16) - 3) % 16].clone()
        assert int(following[0]) == 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.embed(x))
        return scores


@pytest.fixture
def text(tmp_path: Path) -> MaseDataModule:
    for known in [name for name in sys.modules if name.startswith("chop_user_own_")]:
        del sys.modules[known]
    (tmp_path / "own.py").write_text(DATA, encoding="utf-8")
    data = MaseDataModule(f"{tmp_path / 'own.py'}:build_data", 32, task="lm")
    data.setup()
    return data


@pytest.fixture
def table(lab: dict[str, Any]) -> dict[str, Any]:
    lab["search_space"]["seed"]["head"] = lab["search_space"]["seed"].pop("seq_blocks_2")
    lab["strategy"]["sw_runner"]["basic_evaluation"] = {}
    lab["strategy"]["metrics"] = {"perplexity": {}, "average_bitwidth": {}}
    return lab


def with_setup(table: dict[str, Any], **setup: Any) -> dict[str, Any]:
    changed = copy.deepcopy(table)
    changed["strategy"]["setup"] |= setup
    return changed


def test_networks_are_measured_alike_together_and_singly(
    text: MaseDataModule, table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(NextOfOne(), text, table, tmp_path / "together")
    monkeypatch.setattr(instruments, "BATCH_MACS", 1)
    search(NextOfOne(), text, with_setup(table, ask_batch=1), tmp_path / "singly")
    (_, *together), (_, *singly) = trials(tmp_path / "together"), trials(tmp_path / "singly")
    for one, other in zip(together, singly, strict=True):
        assert one["software_metrics"] == pytest.approx(other["software_metrics"], rel=1e-6)


@pytest.mark.slow
def test_two_processes_find_the_same_to_the_bit(
    text: MaseDataModule, table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "SECONDS_ALONE", 0.0)
    for n_jobs in (1, 2):
        search(NextOfOne(), text, with_setup(table, n_jobs=n_jobs), tmp_path / str(n_jobs))
    assert trials(tmp_path / "1") == trials(tmp_path / "2")


def test_a_search_of_perplexity_is_resumed_and_another_task_is_refused(
    text: MaseDataModule, table: dict[str, Any], tmp_path: Path
) -> None:
    found = search(NextOfOne(), text, with_setup(table, n_trials=6), tmp_path / "own")
    again = search(NextOfOne(), text, table, tmp_path / "own", resume=True)
    assert len(found.trials) == 6 and len(again.trials) == 18
    table["strategy"]["metrics"] = {"loss": {}, "average_bitwidth": {}}
    search(NextOfOne(), text, with_setup(table, n_trials=2), tmp_path / "loss")
    tokens = MaseDataModule(text.name, 32, task="cls")
    tokens.setup()
    with pytest.raises(SearchError, match="dataset"):
        search(NextOfOne(), tokens, table, tmp_path / "loss", resume=True)


def test_early_stopping_bounds_perplexity(text: MaseDataModule, table: dict[str, Any], tmp_path: Path) -> None:
    whole = search(NextOfOne(), text, table, tmp_path / "whole")
    stopped = search(NextOfOne(), text, with_setup(table, ladder=[64]), tmp_path / "stopped")
    assert any(trial.stopped_at == 64 for trial in stopped.trials)
    front = [{**row.trial.software_metrics} for row in whole.best]
    assert [{**row.trial.software_metrics} for row in stopped.best] == [pytest.approx(own) for own in front]
