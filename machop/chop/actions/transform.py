"""Runs `ch transform`: applies the passes of a TOML file, or rebuilds the network of a trial, and saves the graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chop.actions.calibration import calibrate_for
from chop.actions.pass_settings import pass_problems
from chop.actions.replay import SearchRow, adapt, guarded, rebuild, require_searched_subject
from chop.actions.setup import Prepared, output_dir, prepare, traced
from chop.config.next_command import scoring_command
from chop.config.run_config import RunConfig
from chop.dataset import MaseDataModule
from chop.dataset.data import first_batch
from chop.errors import ChopError, ConfigError
from chop.ir import MaseGraph
from chop.ir.graph.graph_file import GRAPH_FILE
from chop.ir.graph.inputs import placeholder_keywords
from chop.nn.ops import STATISTICS
from chop.passes.graph import PASSES, summarize_quantization_analysis_pass
from chop.passes.graph.registry import PassNeeds, Source, missing_before, needs_of
from chop.tools.folder_lock import only_writer
from chop.tools.logger import get_logger
from chop.tools.terminal import terminal

logger = get_logger(__name__)


def run_transform(run_config: RunConfig, row: SearchRow | None = None) -> MaseGraph:
    """Make the graph that the passes of the TOML file, or a trial, describe, and save it under `transform`."""
    problems = [*run_config.problems, *([] if row else _problems(run_config))]
    if problems:
        raise ConfigError(problems)
    if row:
        require_searched_subject(run_config.options, row)
    prepared = prepare(run_config.options)
    folder = output_dir(run_config, row.folder if row else None) / "transform"
    with only_writer(folder) as own:
        graph = rebuild(prepared, row) if row else run_passes(run_config, prepared)
        if row and not row.tuned:
            adapt(graph, run_config, prepared.data_module)
        own.settle()
        save_transformed(graph, run_config, folder)
    return graph


def run_passes(run_config: RunConfig, prepared: Prepared) -> MaseGraph:
    """Run `[passes.*]` in the order of the file, each after the passes that it requires."""
    graph = traced(prepared.model, prepared.data_module)
    standing: set[str] = set()
    for written, table in run_config.tables["passes"].items():
        name = PASSES.canonical(written)
        try:
            for required in missing_before(name, standing):
                graph, standing = _run_pass(required, graph, {}, prepared, standing)
            graph, standing = _run_pass(name, graph, table, prepared, standing)
        except ChopError as error:
            raise ConfigError([f"{run_config.where('passes', written)}: passes.{written}: {error}"]) from error
        if needs_of(name).chooses_formats and not list(graph.plan):
            logger.warning("passes.%s: no operand of any node gets a format: the graph computes in float", written)
    return guarded(graph, prepared)


def _run_pass(
    name: str, graph: MaseGraph, table: Mapping[str, Any], prepared: Prepared, standing: set[str]
) -> tuple[MaseGraph, set[str]]:
    """Run one pass; returns the graph and the passes whose results are still valid."""
    needs = needs_of(name)
    if needs.chooses_formats:
        if any(STATISTICS in graph.plan[node] for node in graph.plan):
            raise ChopError("would drop the statistics that measure_batch_norm has measured: write that pass behind it")
        calibrate_for(graph, table, prepared.data_module)
    graph, _ = PASSES[name](graph, _arguments(needs, graph, table, prepared))
    return graph, {name} | (standing if needs.leaves is None else standing & set(needs.leaves))


def save_transformed(graph: MaseGraph, run_config: RunConfig, folder: Path) -> None:
    """Write the graph, its summary and its picture, and report their paths."""
    options = run_config.options
    path = graph.export(folder / GRAPH_FILE, {"model": options.model, "task": options.task, "dataset": options.dataset})
    summarize_quantization_analysis_pass(graph, {"save_dir": folder})
    picture = graph.draw(folder / "mase_graph.svg")
    for written in (path, folder / "summary.txt", picture):
        terminal().print(f"written: {written}", soft_wrap=True, highlight=False)
    terminal().print(f"next: {scoring_command(options, path)}", soft_wrap=True, highlight=False, markup=False)


def _arguments(needs: PassNeeds, graph: MaseGraph, table: Mapping[str, Any], prepared: Prepared) -> dict[str, Any]:
    """The arguments of a pass: those of the file, and the inputs that come from the program."""
    arguments = dict(table)
    for argument, source in needs.inputs.items():
        if argument not in arguments:
            arguments[argument] = _input(source, arguments.get("num_samples"), graph, prepared.data_module)
    return arguments


def _input(source: Source, samples: Any, graph: MaseGraph, data_module: MaseDataModule) -> Any:
    if source == "output":
        return data_module.output
    if source == "batches":
        return [placeholder_keywords(graph, x) for x, _ in data_module.batches("train", samples)]
    count = data_module.batch_size if source == "batch" else 2
    return placeholder_keywords(graph, first_batch(data_module, "train", count)[0])


def _problems(run_config: RunConfig) -> list[str]:
    passes = run_config.tables.get("passes")
    if not isinstance(passes, Mapping) or not passes:
        return [
            f"{run_config.where('passes')}: passes: there is no table [passes.*]; add one, or name a network by "
            "--from-search PATH --trial NUMBER"
        ]
    return pass_problems(run_config)
