"""Runs a model in ONNX Runtime, in the ways in which users run it, and measures how fast."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from torch import Tensor

from chop.ir import MaseGraph
from chop.ir.graph.inputs import placeholder_keywords

Feeds = Mapping[str, NDArray[Any]]


class Session(Protocol):
    """A session of ONNX Runtime, as far as it is used here."""

    def get_inputs(self) -> Any:
        """The inputs, each with a `name`."""

    def run(self, output_names: None, input_feed: dict[str, NDArray[Any]]) -> list[Any]:
        """The outputs for a batch."""


DEFAULT = "ONNX Runtime"
WAYS = (DEFAULT, "ONNX Runtime, session.disable_quant_qdq", "ONNX Runtime, no optimisation")
"""The default optimisations (roundings are fused into integer operators), those without fusion, and none."""

ERROR_LEVEL = 3
ROUNDS = 15


def session_of(model: bytes, way: str = DEFAULT) -> Session:
    """A session on one thread; raises whatever ONNX Runtime raises for a model that it does not take."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = ERROR_LEVEL
    if way == WAYS[1]:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if way == WAYS[2]:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    found: Session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return found


def feeds_of(session: Session, graph: MaseGraph, x: Any) -> dict[str, NDArray[Any]]:
    """A batch, as the graph's model takes it, by the names of a session's inputs."""
    given = placeholder_keywords(graph, x)
    return {own.name: _array(given[own.name]) for own in session.get_inputs()}


def _array(value: Tensor) -> NDArray[Any]:
    return np.ascontiguousarray(value.detach().cpu().numpy())


def run(session: Session, feeds: Feeds) -> NDArray[np.float64]:
    """The output of a session for a batch."""
    return np.asarray(session.run(None, dict(feeds))[0], np.float64)


def ratios(sessions: Mapping[str, Session], feeds: Feeds, reference: str) -> dict[str, float]:
    """How many times faster than the session `reference` each one is: medians of interleaved runs of one batch.

    Times are those that the processor spends on this thread, which does all the work of a session on one thread.
    """
    times: dict[str, list[float]] = {name: [] for name in sessions}
    repeats = {name: _repeats(lambda own=own: own.run(None, dict(feeds))) for name, own in sessions.items()}  # type: ignore[misc]
    for _ in range(ROUNDS):
        for name, own in sessions.items():
            begin = time.thread_time()
            for _ in range(repeats[name]):
                own.run(None, dict(feeds))
            times[name].append((time.thread_time() - begin) / repeats[name])
    return {name: statistics.median(_quotients(times[reference], own)) for name, own in times.items()}


def _quotients(reference: Iterable[float], own: Iterable[float]) -> list[float]:
    return [first / second for first, second in zip(reference, own, strict=True)]


def _repeats(call: Callable[[], object], least: float = 0.003) -> int:
    """How often to run a batch so that its time can be told, after a warm-up."""
    call()
    begin = time.thread_time()
    call()
    return max(1, round(least / max(time.thread_time() - begin, 1e-6)))
