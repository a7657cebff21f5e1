"""Latency in ONNX Runtime: the calls that are timed, the baseline, and networks that ONNX cannot express."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from chop.actions.search import search
from chop.actions.search.strategies.runners.ort_latency import OrtLatency, OrtLatencyOptions
from chop.dataset import MaseDataModule
from chop.errors import MetricError
from chop.exporters.onnx import runtime
from chop.formats import Integer, Log
from chop.ir import MaseGraph, QuantPlan
from tests.actions.search.conftest import jets, jsc_tiny, lab

__all__ = ["jets", "jsc_tiny", "lab"]


class Counted:
    """A session that takes longer in the calls of the warm-up, and notes what it is fed."""

    def __init__(self, clock: list[float]) -> None:
        self.clock, self.calls = clock, list[int]()

    def get_inputs(self) -> Any:
        return []

    def run(self, output_names: None, input_feed: dict[str, Any]) -> list[Any]:
        self.calls.append(len(input_feed["x"]))
        self.clock[0] += 1.0 if len(self.calls) <= 3 else 1e-4 * len(self.calls)
        return []


def test_the_median_and_the_range_of_the_calls_after_the_warm_up(
    jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    session = Counted(clock)
    monkeypatch.setattr("chop.actions.search.strategies.runners.ort_latency.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(runtime, "session_of", lambda model: session)
    monkeypatch.setattr(runtime, "feeds_of", lambda session, graph, x: {"x": x})
    monkeypatch.setattr(OrtLatency, "_model", lambda self, graph: type("Model", (), {"SerializeToString": bytes})())
    found = OrtLatency(jets, OrtLatencyOptions(batch_size=4, warm_up=3, repeats=5)).measure(MaseGraph(jsc_tiny))
    assert session.calls == [4] * 8
    # Calls 4 to 8 take 400 to 800 us, for four samples each.
    assert found == pytest.approx({"ort_latency": 150.0, "ort_latency_iqr": (750 - 450) / 4})


@pytest.mark.parametrize("name", ["integer", "log"])
def test_it_is_measured_of_the_front_alone_and_networks_without_it_are_told(
    name: str,
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lists = {"name": [name], "data_in_width": [8], "weight_width": [4], "bias_width": [4, 8]}
    lab["search_space"]["seed"]["seq_blocks_2"]["config"] = lists
    lab["strategy"]["hw_runner"]["ort_latency"] = {"warm_up": 1, "repeats": 4}
    with caplog.at_level(logging.WARNING, "chop"):
        result = search(jsc_tiny, jets, lab, tmp_path)
    assert not any("ort_latency" in trial.metrics for trial in result.trials)
    told = [own for own in caplog.records if "the operators of ONNX do not round to 'log" in own.getMessage()]
    latencies = [row.trial.metrics.get("ort_latency", 0.0) > 0 for row in result.best]
    assert latencies == [name == "integer"] * len(result.best)
    assert len(told) == (0 if name == "integer" else len(result.best))


@pytest.mark.parametrize("width", [8, None])
def test_real_latencies_are_told_apart_by_their_batch(
    jets: MaseDataModule, jsc_tiny: nn.Module, width: int | None
) -> None:
    graph = MaseGraph(jsc_tiny)
    if width:
        formats = {"data_in": Integer(width, 4), "weight": Integer(width, 6), "bias": Integer(width, 4)}
        graph.apply_plan(QuantPlan.of({"seq_blocks_2": formats}))
    one, many = (
        OrtLatency(jets, OrtLatencyOptions(batch_size=size, warm_up=5, repeats=20)).measure(graph)["ort_latency"]
        for size in (1, 256)
    )
    assert one > 3 * many > 0


def test_what_onnx_cannot_express_has_no_latency(jets: MaseDataModule, jsc_tiny: nn.Module) -> None:
    graph = MaseGraph(jsc_tiny)
    graph.apply_plan(QuantPlan.of({"seq_blocks_2": {"data_in": Log(4)}}))
    with pytest.raises(MetricError, match="seq_blocks_2: data_in: the operators of ONNX do not round to 'log 4"):
        OrtLatency(jets).measure(graph)
