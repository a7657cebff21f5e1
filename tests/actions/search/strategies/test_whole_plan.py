"""Runners that measure a plan as a whole, slowly, and keep their results in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import nn

from chop.actions.search import RUNNERS, search
from chop.actions.search.strategies.runners import Metric, WholePlanRunner
from chop.actions.search.strategies.runners.kept_results import KeptResults
from chop.dataset import MaseDataModule
from chop.errors import ConfigError, SearchError
from chop.ir import MaseGraph, QuantPlan
from chop.testing import RunnerConformance


class Synthesis(WholePlanRunner):
    """Counts the bits that are set in all weights, as a constant-weight layer would."""

    asked: ClassVar[list[QuantPlan]] = []

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("set_bits", "bit", "minimize", (0.0, float("inf"))),)

    def measure_plan(self, network: MaseGraph, plan: QuantPlan) -> dict[str, float]:
        self.asked.append(plan)
        weight = network.model.get_parameter("seq_blocks.2.weight")
        chosen = plan["seq_blocks_2"].get("weight")
        rounded = weight if chosen is None else chosen.quantize(weight)
        return {"set_bits": float((rounded != 0).sum())}


class TestSynthesis(RunnerConformance):
    runners = (Synthesis,)


@pytest.fixture
def slow(lab: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    RUNNERS.register("synthesis")(Synthesis)
    Synthesis.asked.clear()
    lab["strategy"]["hw_runner"]["synthesis"] = {"kept_in": str(tmp_path / "kept" / "synthesis.sqlite")}
    lab["strategy"]["metrics"]["set_bits"] = {}
    return lab


def test_what_was_measured_once_is_kept_for_other_searches(
    tmp_path: Path, slow: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    first = search(jsc_tiny, jets, slow, tmp_path / "first")
    assert len(Synthesis.asked) == 19  # all points, each once, and the float baseline; winners are verified by the file
    again = search(jsc_tiny, jets, slow, tmp_path / "again")
    assert len(Synthesis.asked) == 19
    assert [trial.metrics for trial in again.trials] == [trial.metrics for trial in first.trials]


def test_other_weights_are_measured_anew(
    tmp_path: Path, slow: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    slow["strategy"]["setup"]["n_trials"] = 2
    search(jsc_tiny, jets, slow, tmp_path / "first")
    before = len(Synthesis.asked)
    nn.init.zeros_(jsc_tiny.get_parameter("seq_blocks.2.weight"))
    result = search(jsc_tiny, jets, slow, tmp_path / "again")
    assert len(Synthesis.asked) > before
    assert {trial.metrics["set_bits"] for trial in result.trials} == {0.0}


def test_a_file_of_something_else_is_named(
    tmp_path: Path, slow: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no database " * 100, encoding="utf-8")
    slow["strategy"]["hw_runner"]["synthesis"]["kept_in"] = str(file)
    with pytest.raises(SearchError, match=r"notes.txt keeps no results of runners that can be read .* remove it"):
        search(jsc_tiny, jets, slow, tmp_path / "found")
    assert file.read_text(encoding="utf-8").startswith("no database")


def test_what_is_kept_comes_back_to_the_bit_and_a_damaged_row_is_told(tmp_path: Path) -> None:
    kept = KeptResults(tmp_path / "kept.sqlite")
    assert kept.get("a") is None
    kept.put("a", {"luts": 0.1 + 0.2, "delay": 1e-300})
    assert KeptResults(kept.path).get("a") == {"luts": 0.1 + 0.2, "delay": 1e-300}
    with kept._opened() as file:
        file.execute("UPDATE results SET metrics = '[1, 2'")
    with pytest.raises(SearchError, match="remove it"):
        kept.get("a")


def test_early_stopping_is_refused_beside_it(slow: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module) -> None:
    slow["strategy"]["setup"] = {"ladder": [128]}
    with pytest.raises(ConfigError, match="'synthesis' must measure on all samples"):
        search(jsc_tiny, jets, slow, Path("nowhere"))
