"""Tunes one network for its plan, and measures it with the runners of the search."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from chop.actions.search.measuring.outcome import Outcome
from chop.actions.search.measuring.plans import TunedGraph
from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.single import metrics_of
from chop.actions.search.measuring.subject import Subject
from chop.actions.search.search_space.base import SampledConfig
from chop.actions.search.strategies.runners.base import drawn_alike
from chop.actions.search.strategies.runners.checks import check_finite
from chop.errors import MetricError
from chop.ir import MaseGraph
from chop.ir.graph.graph_file import GRAPH_FILE
from chop.training.fine_tuning import FineTuning, fine_tune


@dataclass(frozen=True)
class ToTune:
    """A network to tune, and how."""

    config: SampledConfig
    tuning: FineTuning


@dataclass(frozen=True)
class Tuned:
    """The outcome of measuring a tuned network, the content of its file, and the seconds of its training."""

    outcome: Outcome
    content: bytes
    seconds: float


class Tuning:
    """Tunes networks from the weights of the search, each as `basic_train` does; a call that executors share.

    `about` is kept with the saved networks: the name of the model, say.
    """

    def __init__(self, subject: Subject, runners: RunnerSet, about: Mapping[str, Any]) -> None:
        self._subject = subject
        self._runners = runners
        self._about = dict(about)

    def __call__(self, wanted: ToTune) -> Tuned:
        started = time.monotonic()
        graph = tuned(self._subject, wanted)
        seconds = time.monotonic() - started
        with TemporaryDirectory() as folder:  # before it is measured, which moves running statistics in training mode
            content = graph.export(Path(folder) / GRAPH_FILE, self._about).read_bytes()
        return Tuned(self._measured(graph, wanted.config), content, seconds)

    def _measured(self, graph: MaseGraph, config: SampledConfig) -> Outcome:
        subject = self._subject
        try:
            metrics = metrics_of(self._runners.needed, TunedGraph(graph, subject.data_module, config, subject.device))
            check_finite(metrics, "the tuned network")
        except MetricError as error:
            return error
        return self._runners.by_group(metrics)


def tuned(subject: Subject, wanted: ToTune) -> MaseGraph:
    """The network of a config, tuned from the weights of the search, with its statistics measured at the end."""
    graph = subject.rebuild(wanted.config)
    with drawn_alike(), torch.enable_grad():
        fine_tune(graph.model, subject.data_module, wanted.tuning, device=subject.device)
        graph.measure_under_plan()
    return graph
