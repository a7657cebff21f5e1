"""`ch transform`: the passes of a TOML file in order, or the network of a search's row; saves what they made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from chop.actions.calibration import calibrate_for
from chop.actions.replay import SearchRow, adapt, guarded, rebuild
from chop.actions.setup import Prepared, output_dir, prepare, traced
from chop.config.run_config import RunConfig
from chop.config.typed import parse_table
from chop.errors import ChopError, ConfigError
from chop.ir import MaseGraph
from chop.ir.graph.inputs import placeholder_keywords
from chop.passes.graph import PASSES, summarize_quantization_analysis_pass
from chop.tools.folder_lock import only_writer
from chop.tools.logger import get_logger
from chop.tools.terminal import terminal

logger = get_logger(__name__)

METADATA = ("init_metadata", "add_common_metadata", "add_software_metadata")
NEEDS_METADATA = ("profile_statistics", "report_node_meta_param")
GRAPH_FILE = "graph.safetensors"


def run_transform(run_config: RunConfig, row: SearchRow | None = None) -> MaseGraph:
    """Make the graph that the TOML's passes, or a search's row, describe, and save it under `transform`."""
    problems = [*run_config.problems, *([] if row else _problems(run_config))]
    if problems:
        raise ConfigError(problems)
    prepared = prepare(run_config.options)
    folder = output_dir(run_config, row.folder if row else None) / "transform"
    with only_writer(folder) as own:
        graph = rebuild(prepared, row) if row else run_passes(run_config, prepared)
        if row:
            adapt(graph, run_config, prepared.data_module)
        own.settle()
        save_transformed(graph, run_config, folder)
    return graph


def run_passes(run_config: RunConfig, prepared: Prepared) -> MaseGraph:
    """Run `[passes.*]` in the order of the file; the metadata that a pass needs is made first."""
    graph = traced(prepared.model, prepared.data_module)
    done: set[str] = set()
    for written, table in run_config.tables["passes"].items():
        name = PASSES.canonical(written)
        for needed in METADATA if name in NEEDS_METADATA else METADATA[: _metadata_before(name)]:
            if needed not in done:
                graph, _ = PASSES[needed](graph, _arguments(needed, graph, {}, prepared))
                done.add(needed)
        try:
            if name == "quantize":
                calibrate_for(graph, table, prepared.data_module)
            graph, _ = PASSES[name](graph, _arguments(name, graph, table, prepared))
        except ChopError as error:
            raise ConfigError([f"{run_config.where('passes', written)}: passes.{written}: {error}"]) from error
        if name == "quantize" and not list(graph.plan):
            logger.warning("passes.%s: no operand of any node gets a format: the graph computes in float", written)
        done = done - set(METADATA) if name == "quantize" else done | {name}
    return guarded(graph, prepared)


def save_transformed(graph: MaseGraph, run_config: RunConfig, folder: Path) -> None:
    """Write the graph, its summary and its picture; says where."""
    options = run_config.options
    path = graph.export(folder / GRAPH_FILE, {"model": options.model, "task": options.task, "dataset": options.dataset})
    summarize_quantization_analysis_pass(graph, {"save_dir": folder})
    picture = graph.draw(folder / "mase_graph.svg")
    for written in (path, folder / "summary.txt", picture):
        terminal().print(f"written: {written}", soft_wrap=True, highlight=False)
    terminal().print(f"next: ch test {options.model} {options.dataset} --load {path}", soft_wrap=True, highlight=False)


def _metadata_before(name: str) -> int:
    """How many of the metadata passes must have run before one of them."""
    return METADATA.index(name) if name in METADATA else 0


def _arguments(name: str, graph: MaseGraph, table: Mapping[str, Any], prepared: Prepared) -> dict[str, Any]:
    """A pass's arguments: those of the file, and the inputs that only a program can give."""
    arguments = dict(table)
    if name in ("add_common_metadata", "count_costs"):
        x, _ = prepared.data_module.batches("train", prepared.data_module.batch_size)[0]
        arguments.setdefault("dummy_in", placeholder_keywords(graph, x))
    if name == "fold_batch_norm":
        arguments.setdefault("dummy_in", placeholder_keywords(graph, prepared.data_module.batches("train", 2)[0][0]))
    if name in ("profile_statistics", "calibrate", "sensitivity"):
        rows = prepared.data_module.batches("train", arguments.get("num_samples"))
        arguments.setdefault("input_generator", [placeholder_keywords(graph, x) for x, _ in rows])
    if name == "sensitivity":
        arguments.setdefault("output", prepared.data_module.output)
    return arguments


def _problems(run_config: RunConfig) -> list[str]:
    passes = run_config.tables.get("passes")
    if not isinstance(passes, Mapping) or not passes:
        return [
            f"{run_config.where('passes')}: passes: there is no table [passes.*]; add one, or take a --from-search row"
        ]
    return pass_problems(run_config)


@dataclass(frozen=True)
class _TransformTable:
    """The table `[transform]`."""

    style: Literal["graph"] = "graph"


def pass_problems(run_config: RunConfig) -> list[str]:
    """What is wrong with `[transform]`, and with `[passes.*]` on the face of it: unknown passes, values for tables."""
    _, found = parse_table(_TransformTable, run_config.tables.get("transform", {}))
    paths = [("transform", *problem.path) for problem in found]
    problems = [
        f"{run_config.where(*path)}: {'.'.join(path)}: {problem.message}"
        for path, problem in zip(paths, found, strict=True)
    ]
    passes = run_config.tables.get("passes", {})
    if not isinstance(passes, Mapping):
        return [*problems, f"{run_config.where('passes')}: passes: expected tables [passes.*], got {passes!r}"]
    for name, table in passes.items():
        where = f"{run_config.where('passes', name)}: passes.{name}"
        try:
            PASSES.canonical(name)
        except ChopError as error:
            problems.append(f"{where}: {error}")
        if not isinstance(table, Mapping):
            problems.append(f"{where}: expected a table, got {table!r}")
    return problems
