"""Runners of the user's own: what they return, and on which samples they measure."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from chop.actions.search import RUNNERS, SearchResult, search
from chop.actions.search.strategies.runners import Metric, OutputRunner
from chop.dataset import MaseDataModule
from chop.errors import ConfigError, SearchError

SEEN: list[int] = []


class Own(OutputRunner):
    """Declares two metrics; `FOUND` is what it returns."""

    FOUND: ClassVar[Any] = {"first": 1.0, "second": torch.tensor(2.0)}

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return Metric("first", "", "minimize"), Metric("second", "", "minimize")

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        SEEN.append(len(targets))
        found: dict[str, float] = self.FOUND
        return found


@pytest.fixture
def own(lab: dict[str, Any]) -> Iterator[dict[str, Any]]:
    RUNNERS.register("own")(Own)
    table = copy.deepcopy(lab)
    table["strategy"]["sw_runner"] = {"basic_evaluation": {"num_samples": 50}, "own": {}}
    table["strategy"]["setup"] = {"n_trials": 2}
    SEEN.clear()
    yield table
    RUNNERS._items.pop("own", None)


@pytest.fixture
def searched(
    own: dict[str, Any], tmp_path: Path, jets: MaseDataModule, jsc_tiny: nn.Module
) -> Callable[[], SearchResult]:
    """Search by the table `own` as it stands then, in the folder `found`."""
    return lambda: search(jsc_tiny, jets, own, tmp_path / "found")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"first": 1.0, "second": 2.0, "third": 3.0}, "returned 'third', which it does not declare"),
        ({"first": 1.0}, "did not return 'second', which it declares"),
        ({"first": 1.0, "secnod": 2.0}, "returned 'secnod', .* and did not return 'second'"),
        ({"first": "high", "second": 2.0}, "returned 'high' for 'first'; a metric is one number"),
        ({"first": torch.ones(3), "second": 2.0}, r"a tensor \(3,\) for 'first'"),
        ({"first": 10**400, "second": 2.0}, "runner Own returned a whole number beyond 1.8e308 for 'first'"),
        (None, "returned a NoneType"),
    ],
)
def test_other_metrics_than_declared_are_named_before_the_first_trial(
    found: Any,
    message: str,
    tmp_path: Path,
    searched: Callable[[], SearchResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Own, "FOUND", found)
    with pytest.raises(SearchError, match=message):
        searched()
    assert SEEN == [50] and not (tmp_path / "found" / "trials.jsonl").exists()


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ([Metric("first", "", "minimize")] * 2, "Own.metrics_of declares 'first' twice"),
        ([Metric(3, "", "minimize")], "Own.metrics_of returned Metric.name=3"),  # type: ignore[arg-type]
        (["first"], "Own.metrics_of returned 'first'; return Metric"),
        ([Metric("first", "", "down")], "direction of 'first' must be one of maximize, minimize, got 'down'"),  # type: ignore[arg-type]
        (7, "Own.metrics_of failed: TypeError"),
    ],
)
def test_wrong_declarations_are_named(
    declared: Any, message: str, tmp_path: Path, searched: Callable[[], SearchResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Own, "metrics_of", lambda data_module: declared)
    with pytest.raises(SearchError, match=message):
        searched()
    assert not (tmp_path / "found").exists()


@pytest.mark.parametrize(("table", "samples"), [({}, 50), ({"num_samples": 70}, 70)])
def test_it_measures_on_the_same_samples_unless_it_says_otherwise(
    table: dict[str, int],
    samples: int,
    own: dict[str, Any],
    searched: Callable[[], SearchResult],
    caplog: pytest.LogCaptureFixture,
) -> None:
    own["strategy"]["sw_runner"]["own"] = table
    with caplog.at_level(logging.INFO, "chop"):
        found = searched()
    assert set(SEEN) == {samples}
    assert ("own measures on the first 50 samples" in caplog.text) is (samples == 50)
    assert found.best[0].trial.metrics["second"] == 2.0


@dataclass(frozen=True)
class NoSamples:
    """Options that do not say on which samples."""

    depth: int = 1


def test_options_without_samples_are_refused(
    searched: Callable[[], SearchResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Own, "Options", NoSamples)
    with pytest.raises(ConfigError, match="derive them from RowOptions"):
        searched()
