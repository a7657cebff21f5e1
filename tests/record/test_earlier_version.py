"""Records of version 1, which had no checksums, are read; a line says that they cannot be checked.

The files under `data/v1` were written by the chop before version 2.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from chop.actions.replay import read_row
from chop.actions.search import search
from chop.actions.search.measuring import batched
from chop.actions.search.run import block_by_block
from chop.actions.search.run.session import SearchSession
from chop.actions.search.run.warm_start import Initial
from chop.actions.search.strategies.optuna.storage import export_search
from chop.actions.search.strategies.runners.base import RUNNERS, Metric
from chop.actions.search.strategies.runners.hardware import AverageBitwidth
from chop.config.run_config import load_run_config
from chop.dataset import MaseDataModule
from chop.errors import SearchError
from chop.record.folder import SearchFolder
from chop.record.json_lines import read_header
from chop.record.landscape import Landscape
from chop.record.names import BLOCKS
from chop.record.trials import TrialLog, read_trials
from tests.actions.search.conftest import jets, jsc_tiny, lab

__all__ = ["jets", "jsc_tiny", "lab"]
DATA = Path(__file__).with_name("data") / "v1"
TOLD = "was written by an earlier chop, without checksums: it cannot be checked"


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA, tmp_path / "v1"))


def test_its_trials_are_read_and_told(v1: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read_trials(v1 / "trials" / "trials.jsonl")
    assert (len(found.trials), found.problem, found.header.version) == (6, "", 1)
    assert caplog.text.count(TOLD) == 1


def test_its_log_goes_on_as_one_of_this_version(v1: Path) -> None:
    path = v1 / "trials" / "trials.jsonl"
    before = read_trials(path)
    with TrialLog.resume(path, before.fingerprint) as log:
        log.append(log.trials[0])
    after = read_trials(path)
    assert (after.header.version, after.trials[:6]) == (2, before.trials)
    assert len(SearchFolder(path.parent).rows()) == 6  # log.json of version 1 still belongs to it


def test_a_search_is_resumed(
    v1: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SearchSession, "require_unchanged", lambda *_: None)  # metrics may be defined otherwise by now
    folder = v1 / "command_line"
    begun_by_this_chop(lab, jets, jsc_tiny, v1 / "now", folder / "trials.jsonl", lines=6)
    found = search(jsc_tiny, jets, lab, folder, resume=True)
    assert len(found.trials) == 18
    assert found.trials[:5] == read_trials(DATA / "command_line" / "trials.jsonl").trials[:5]
    assert {row["version"] for row in json.loads((folder / "best.json").read_text(encoding="utf-8")).values()} == {2}
    assert len(SearchFolder(folder).rows()) == 18


def test_an_exhaustive_search_is_resumed(
    v1: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab["strategy"]["hw_runner"] = {"earlier_bitwidth": {}}
    monkeypatch.setitem(RUNNERS._items, "earlier_bitwidth", EarlierBitwidth)
    monkeypatch.setattr(SearchSession, "require_unchanged", lambda *_: None)
    monkeypatch.setattr(block_by_block, "LARGEST_LOG", 10)
    monkeypatch.setattr(batched, "MOST_CONFIGURATIONS", 5)
    lab["strategy"]["setup"] = {"landscape": True}
    folder = v1 / "cut"
    begun_by_this_chop(lab, jets, jsc_tiny, v1 / "now", folder / "blocks.jsonl")
    assert search(jsc_tiny, jets, lab, folder, resume=True).reason == "exhausted"
    ours, theirs = (Landscape.read(path / "landscape.parquet").metrics for path in (folder, DATA / "blocks"))
    assert np.array_equal(ours["accuracy"][:10], theirs["accuracy"][:10])  # of the blocks that it had
    assert read_header(folder / "blocks.jsonl", BLOCKS).values["from_version"] == 1


class EarlierBitwidth(AverageBitwidth):
    """The metrics that the runner of that time had: files of one landscape have the same columns."""

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return tuple(
            own for own in super().metrics_of(data_module) if own.name in ("average_bitwidth", "memory_density")
        )

    def combine(self, sums: tuple[float, ...]) -> dict[str, float]:
        found = super().combine(sums)
        return {metric.name: found[metric.name] for metric in self.metrics}


def begun_by_this_chop(
    lab: dict[str, Any], jets: MaseDataModule, model: nn.Module, now: Path, log: Path, lines: int | None = None
) -> None:
    """Give an old log the fingerprint that this chop has for the search, and leave it some of its lines."""
    search(model, jets, lab, now)
    header, *rows = log.read_text(encoding="utf-8").splitlines()
    ours = json.loads((now / log.name).read_text(encoding="utf-8").splitlines()[0])
    known = json.loads(header) | {"fingerprint": ours["fingerprint"], "goals": ours["goals"]}
    log.write_text("\n".join([json.dumps(known), *rows][:lines]) + "\n", encoding="utf-8")


def test_its_rows_options_beginning_and_landscape_are_read(v1: Path) -> None:
    row = read_row(v1 / "command_line", 3)
    assert load_run_config(row.checked_config(), {}).options.seed == 1
    assert row.metrics["accuracy"] > 0.5
    assert len(Initial.read(v1 / "begun", []).inherited) == 5
    assert Landscape.read(v1 / "blocks" / "landscape.parquet").size == 18
    assert Landscape.read(v1 / "exact" / "landscape.parquet").size == 18
    assert read_trials(v1 / "measured" / "measured.jsonl", in_order=False).fingerprint.keys() == {"key"}
    assert export_search(v1 / "trials", f"sqlite:///{v1}/study.db")[1] == 6


@pytest.mark.parametrize(("case", "trials", "front"), [("trials", 7, 5), ("blocks", 7, 7), ("begun", 13, 7)])
def test_a_search_of_version_2_before_there_was_a_summary_is_read(case: str, trials: int, front: int) -> None:
    folder = SearchFolder(DATA.with_name("v2") / case)
    assert len(folder.trials()) == trials
    assert [len(folder.best()), folder.header.version] == [front, 2]
    assert "jsc-tiny" in (folder.resolved or "")
    assert all(row.test_metrics for row in folder.best())
    if case == "blocks":
        assert folder.landscape().size == 18
    if case == "begun":
        assert len(Initial.read(folder.path, []).inherited) == sum(bool(trial.inherited) for trial in folder.trials())
    with pytest.raises(SearchError, match=r"summary.json does not exist: .* of an earlier chop: go on with --resume"):
        _ = folder.summary


def test_it_does_not_pass_for_a_file_of_this_version(
    v1: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    search(jsc_tiny, jets, lab, v1 / "now")
    shutil.copy(v1 / "command_line" / "best.json", v1 / "now")
    with pytest.raises(SearchError, match=r"best.json has no checksum, and trials.jsonl beside it has"):
        read_row(v1 / "now", 3)
