"""Searches and comparisons by an executor of the user's own: all that it is given travels by value."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import nn

from chop.actions.compare.job import CompareOptions, compare
from chop.actions.search import search
from chop.actions.search.measuring import batched, instruments, scheduler
from chop.actions.search.run import block_by_block
from chop.dataset import MaseDataModule
from chop.errors import ConfigError
from chop.executors import EXECUTORS, Executor
from chop.record.landscape import Landscape
from tests.actions.search.killing import trials


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor makes the calls from the start, a few points each."""
    monkeypatch.setattr(scheduler, "SECONDS_ALONE", 0.0)
    monkeypatch.setattr(instruments, "CHUNKS", instruments.BATCH_MACS // 300_000)


class FarAway(Executor):
    """As a machine without our memory and disk: it gets copies, returns copies, the last first, and writes no files."""

    made: ClassVar[list[int]] = []
    folder: ClassVar[Path] = Path()

    def map(self, call: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        left = enumerate(items)
        payload = pickle.dumps(call)
        while some := list(islice(left, self.jobs)):
            for place, item in reversed(some):
                before = sorted(self.folder.rglob("*"))
                found = pickle.loads(payload)(pickle.loads(pickle.dumps(item)))
                assert sorted(self.folder.rglob("*")) == before, "a call wrote files"
                self.made.append(place)
                yield place, pickle.loads(pickle.dumps(found))

    def close(self, at_once: bool = False) -> None:
        """Nothing was started."""


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    EXECUTORS.register("far_away")(FarAway)
    monkeypatch.setattr(FarAway, "made", [])
    monkeypatch.setattr(FarAway, "folder", tmp_path)
    return {"n_jobs": 2, "executor": "far_away"}


@pytest.mark.usefixtures("at_once")
def test_a_search_by_it_has_the_same_trials(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, far_away: dict[str, Any]
) -> None:
    for folder, setup in (("here", {}), ("far", far_away)):
        lab["strategy"]["setup"] = setup
        search(jsc_tiny, jets, lab, tmp_path / folder)
    assert trials(tmp_path / "here") == trials(tmp_path / "far")
    assert len(FarAway.made) > 1


@pytest.mark.parametrize("strategy", ["brute_force", "tpe"])
def test_it_makes_all_calls_though_they_take_no_time(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    far_away: dict[str, Any],
    strategy: str,
) -> None:
    lab["strategy"] |= {"name": strategy, "setup": {**far_away, "n_jobs": 1, "n_trials": 4}}
    found = search(jsc_tiny, jets, lab, tmp_path)
    assert len(FarAway.made) == (1 if strategy == "brute_force" else len(found.trials))


def test_an_exhaustive_search_by_it_has_the_same_table(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    far_away: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(block_by_block, "LARGEST_LOG", 10)
    monkeypatch.setattr(batched, "MOST_CONFIGURATIONS", 5)
    for folder, setup in (("here", {}), ("far", far_away)):
        lab["strategy"]["setup"] = {**setup, "landscape": True}
        search(jsc_tiny, jets, lab, tmp_path / folder)
    ours, theirs = (Landscape.read(tmp_path / folder / "landscape.parquet") for folder in ("here", "far"))
    assert {name: own.tobytes() for name, own in ours.metrics.items()} == {
        name: own.tobytes() for name, own in theirs.metrics.items()
    }
    assert len(FarAway.made) > 1


@pytest.mark.parametrize("most_points", [100, 1])
@pytest.mark.usefixtures("at_once")
def test_a_comparison_by_it_has_the_same_curves(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    far_away: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    most_points: int,
) -> None:
    monkeypatch.setattr(batched, "MOST_CONFIGURATIONS", 5)
    options = CompareOptions(strategies=("brute_force", "uniform"), seeds=2, budget=8, most_points=most_points)
    summaries = []
    for folder, setup in (("here", {}), ("far", far_away)):
        lab["strategy"]["setup"] = setup
        summaries.append(compare(jsc_tiny, jets, lab, tmp_path / folder, options))
    here, far = ([own.hypervolume.median.tolist() for own in summary.strategies] for summary in summaries)
    assert here == far
    assert len(FarAway.made) > 1


def test_a_name_that_is_unknown_or_cannot_do_so_many_jobs_is_refused(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["setup"] = {"n_jobs": 2, "executor": "proceses"}
    with pytest.raises(ConfigError, match="unknown executor 'proceses'; did you mean 'processes'"):
        search(jsc_tiny, jets, lab, tmp_path)
    lab["strategy"]["setup"] = {"n_jobs": 2, "executor": "local"}
    with pytest.raises(ConfigError, match="'local' makes 1 call at a time: n_jobs = 2 is too many"):
        search(jsc_tiny, jets, lab, tmp_path)
