"""`Network`: a network that a search measured, built again exactly as it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from chop.actions.search.run.job import SearchJob
from chop.actions.search.strategies.runners.base import RUNNERS, drawn_alike
from chop.api.arguments import in_python
from chop.config.options import RunOptions
from chop.errors import SearchError
from chop.exporters import Exported, ExportNetwork, export
from chop.ir import MaseGraph
from chop.ir.graph.graph_file import load_onto
from chop.record.summary import SearchSummary
from chop.record.trial import BestRow, Finished
from chop.report.format_texts import describe_formats
from chop.report.notebook.network_display import network_html


@dataclass(frozen=True)
class Networks:
    """Builds the networks of a search exactly as it measured them."""

    job: SearchJob
    about: Mapping[str, Any]

    @classmethod
    def of(cls, job: SearchJob, options: RunOptions) -> Networks:
        """The networks of a search that has run, whose graph is calibrated."""
        about = {"model": options.model, "dataset": options.dataset, "task": options.task} if options.model else {}
        return cls(job, {name: value for name, value in about.items() if value is not None})

    def build(self, config: Mapping[str, Any]) -> MaseGraph:
        """The network of a sampled config, fine-tuned where the search measured it so."""
        settings = self.job.settings
        graph = self.job.space.rebuild_model(config, settings.eval_mode)
        graph.model.to(self.job.device)
        for choice in settings.runners:
            with drawn_alike(), torch.enable_grad():
                RUNNERS[choice.name](self.job.data_module, choice.options).adapt(graph)
        return graph

    def load(self, config: Mapping[str, Any], finished: Finished) -> MaseGraph:
        """The tuned network of a sampled config, from its file.

        Raises SearchError where the file is missing, or was changed.
        """
        path = self.job.files.finished_graph(finished.graph, finished.graph_sha256)
        graph = load_onto(self.job.space.rebuild_model(config, self.job.settings.eval_mode), path)
        graph.model.train(not self.job.settings.eval_mode)
        graph.model.to(self.job.device)
        return graph


class Network:
    """A network that a search measured: `number` of its trial, `config`, `metrics` and, for winners, `test_metrics`.

    `config` is a dictionary as `quantize_transform_pass` takes it. `test_metrics` are `{name: (value, low, high)}` with
    the bounds of the 95 % interval; None where it was not measured on the test set. `frac_widths` are the bits after
    the point that follow from measured ranges, `{node: {operand: bits}}`, for networks of the front. Where it was tuned
    after the search, `finished` says how, and `untuned` is the network as the search measured it.
    """

    def __init__(self, row: BestRow, networks: Networks | None, summary: SearchSummary) -> None:
        self.trial = row.trial
        self.number = row.trial.number
        self.config = row.sampled_config
        self.metrics = row.trial.metrics
        self.test_metrics = row.test_metrics
        self.finished = row.finished
        self.frac_widths = row.frac_widths
        self._row, self._networks, self._summary = row, networks, summary

    @cached_property
    def graph(self) -> MaseGraph:
        """The network as a graph, with the formats of its nodes.

        Raises SearchError for a study that was loaded without its model.
        """
        if self._networks is None:
            raise SearchError("this study was loaded without its model: chop.load_study(folder, model=..., data=...)")
        return self._networks.load(self.config, self.finished) if self.finished else self._networks.build(self.config)

    @cached_property
    def untuned(self) -> Network:
        """The network as the search measured it: itself, where it was not tuned since."""
        if self.finished is None:
            return self
        before = self.finished
        row = replace(self._row, trial=before.searched, test_metrics=before.searched_tests, finished=None)
        return Network(row, self._networks, self._summary)

    @property
    def model(self) -> nn.Module:
        """The network as a module, which predicts as the search measured; it can be trained, copied and saved.

        Raises SearchError for a study that was loaded without its model.
        """
        return self.graph.model

    @property
    def formats(self) -> str:
        """The formats of all layers in one line."""
        return describe_formats(self.config, frac_widths=self.frac_widths)

    def save(self, path: Path | str) -> Path:
        """Write the network as one safetensors file, which `MaseGraph.from_checkpoint` loads; returns its path.

        Raises SearchError for a study that was loaded without its model, OSError where the file cannot be written.
        """
        graph = self.graph
        assert self._networks is not None
        return graph.export(path, self._networks.about)

    def export(
        self,
        to: str,
        output: Path | str,
        options: Mapping[str, Any] | None = None,
        allow_differences: bool = False,
    ) -> Exported:
        """Write the network for another tool (`ch info exporter`) into the folder `output`, and verify it.

        `options` are those of the exporter. Raises ExportError, with all reasons, where it cannot be exported, and
        where an output on the test set differs, unless `allow_differences`; then nothing is left.
        """
        graph = self.graph
        assert self._networks is not None
        graph.model.eval()
        called = {"model": self._networks.job.input_fingerprint.get("model", "a network")}
        about = {**called, **self._networks.about, "trial": self.number, "metrics": dict(self.metrics)}
        network = ExportNetwork(graph, self._networks.job.data_module, about, self.test_metrics or {})
        with in_python():
            return export(network, to, output, options, allow_differences)

    def _repr_html_(self) -> str:
        return network_html(self._row, self._summary)

    def __repr__(self) -> str:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"Network({self.number}: {figures or self.trial.failed}; {self.formats})"
