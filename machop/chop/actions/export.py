"""Runs `ch export`: rebuilds the network of a trial, or of a saved graph, and writes it for another tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chop.actions.evaluate import check_row, show_scores, test_scores
from chop.actions.replay import SearchRow, adapt, is_adapted, load_saved_graph, rebuild, require_searched_subject
from chop.actions.setup import output_dir, prepare
from chop.config.run_config import RunConfig
from chop.errors import ConfigError
from chop.exporters import Exported, Exporter, ExportNetwork
from chop.exporters.export import exporter_of, require_exportable, require_replaceable, write_verified
from chop.tools.terminal import terminal


@dataclass(frozen=True)
class ExportRequest:
    """The request of `ch export`: the exporter `to`, its options, and the folder (None: one in the project)."""

    to: str
    output: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    allow_differences: bool = False


def run_export(run_config: RunConfig, request: ExportRequest, row: SearchRow | None = None) -> Exported:
    """Write the network of a trial, or the saved graph under `--load`, for another tool, and verify it.

    Shows the scores on the test set and each check. Raises SearchError where the metrics of a trial do not come out
    again, and ExportError where the network cannot be exported.
    """
    run_config.raise_if_problems()
    exporter = exporter_of(request.to, request.options)
    exporter.require_packages()
    output = request.output or output_dir(run_config, row.folder if row else None) / "export" / _folder(request, row)
    require_replaceable(output)
    network = network_to_export(run_config, row, exporter)
    found = write_verified(exporter, network, output, request.allow_differences, _say)
    for note in found.written.notes:
        _say(f"note: {note}")
    _say(f"written: {found.folder}")
    return found


def network_to_export(run_config: RunConfig, row: SearchRow | None, exporter: Exporter) -> ExportNetwork:
    """The network of a trial, or of the file under `--load`, with its scores on the test set, which are shown.

    Raises ExportError where the exporter refuses it: before anything is measured, unless its weights come from a
    fine-tuning that is repeated here.
    """
    options = run_config.options
    if row:
        require_searched_subject(options, row)
    prepared = prepare(options, takes_graph=row is None)
    graph = rebuild(prepared, row) if row else load_saved_graph(options.load_name, prepared)
    if graph is None:
        raise ConfigError([f"command line: {options.load_name} is no saved graph: `ch transform` writes one"])
    graph.model.eval().to("cpu")
    about: dict[str, Any] = {"model": options.model, "dataset": options.dataset, "task": options.task}
    if row:
        about |= {"search": row.folder.parent.parent.name, "trial": row.number, "metrics": row.metrics}
        about |= {"tuned": True} if row.tuned else {}
    network = ExportNetwork(graph, prepared.data_module, about)
    will_change = row is not None and is_adapted(row, run_config, prepared.data_module)
    if not will_change:
        require_exportable(exporter, network)
    if row:
        check_row(run_config, prepared, row, graph)
    if will_change:
        adapt(graph, run_config, prepared.data_module)
        graph.model.eval().to("cpu")
        require_exportable(exporter, network)
    graph.model.eval().to("cpu")
    scores = test_scores(graph.model, prepared)
    show_scores("test set", scores)
    return replace(network, scores=scores)


def _folder(request: ExportRequest, row: SearchRow | None) -> str:
    return f"trial_{row.number}_{request.to}" if row else request.to


def _say(line: str) -> None:
    terminal().print(line, soft_wrap=True, highlight=False, markup=False)
