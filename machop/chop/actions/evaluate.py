"""Runs `ch test`: scores a network on the test set with 95 % intervals; a trial must first match its logged metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite

import torch
from torch import nn

from chop.actions.replay import SearchRow, adapt, load_saved_graph, rebuild, require_searched_subject
from chop.actions.search.measuring.plans import LoadedNetwork, TunedGraph
from chop.actions.search.measuring.single import metrics_of
from chop.actions.search.run.verification import figures_agree
from chop.actions.search.search_space.trained_networks import has_own_network
from chop.actions.search.settings.search import parse_search_settings
from chop.actions.search.strategies.runners import RUNNERS, RunnerBase
from chop.actions.setup import Prepared, output_dir, prepare, resolve_accelerator, warn_of_untrained_weights
from chop.config.run_config import RunConfig
from chop.dataset.data import Data
from chop.errors import ConfigError, SearchError
from chop.evaluation.predictions import stream
from chop.ir import MaseGraph
from chop.record.rows import interval_as_json
from chop.scoring.intervals import Interval
from chop.scoring.own_function_checks import check_own_functions
from chop.tools.files import write_whole
from chop.tools.folder_lock import only_writer
from chop.tools.get_input import failures_named
from chop.tools.logger import get_logger
from chop.tools.terminal import table_of, terminal

logger = get_logger(__name__)


def run_test(run_config: RunConfig, row: SearchRow | None = None) -> dict[str, Interval]:
    """Score the model of the options, the saved graph under `--load`, or the network of a trial.

    Shows a table and writes `test/scores.json`. Raises SearchError where a row's metrics do not come out again.
    """
    if row:
        require_searched_subject(run_config.options, row)
    prepared = prepare(run_config.options, takes_graph=row is None)
    folder = output_dir(run_config, row.folder if row else None) / "test"
    with only_writer(folder) as own:
        scores = _scores(run_config, prepared, row)
        own.settle()
        as_json = {name: interval_as_json(interval) for name, interval in scores.items()}
        path = write_whole(folder / "scores.json", json.dumps(as_json, indent=2) + "\n")
    terminal().print(f"written: {path}", soft_wrap=True, highlight=False)
    return scores


def _scores(run_config: RunConfig, prepared: Prepared, row: SearchRow | None) -> dict[str, Interval]:
    """Measure and show the scores on the test set."""
    options = run_config.options
    graph = rebuild(prepared, row) if row else load_saved_graph(options.load_name, prepared)
    if row and graph:
        check_row(run_config, prepared, row, graph)
        if not row.tuned:
            adapt(graph, run_config, prepared.data_module)
    else:
        warn_of_untrained_weights(options)
    model = graph.model if graph else prepared.model
    scores = test_scores(model, prepared, resolve_accelerator(options))
    show_scores("test set", scores)
    return scores


def test_scores(model: nn.Module, prepared: Prepared, device: str = "cpu", part: str = "test") -> dict[str, Interval]:
    """Scores of a model on a whole data set, `{name: (value, low, high)}`."""
    data = prepared.data_module
    batches = data.batches(part)
    accumulator, first = data.task.accumulator(by_sample=True), None
    with failures_named(f"the model fails on the {part} set"):
        for outputs, targets in stream(model.eval().to(device), batches, device, data.output):
            first = outputs if first is None else first
            accumulator.update(outputs, targets)
    assert first is not None
    all_targets = torch.cat([y for _, y in batches]).to(first.device)
    check_own_functions(data.task.data_loss, data.task.data_metrics, first, all_targets)
    return accumulator.intervals()


def check_row(run_config: RunConfig, prepared: Prepared, row: SearchRow, graph: MaseGraph) -> None:
    """Measure a trial's network with the runners of its search; raises where a number differs from the log."""
    settings, problems = parse_search_settings(run_config.tables.get("search"), prepared.data_module)
    if settings is None:
        told = [f"{row.config_path}: search.{'.'.join(p.path)}: {p.message}" for p in problems]
        raise ConfigError([*told, "names of a plug-in are known once it is given: --plugin FILE.py"])
    if failed := row.values.get("failed"):
        logger.warning("trial %d has no metrics to compare with: it failed in the search (%s)", row.number, failed)
        return
    stopped_at = row.values.get("stopped_at")
    where = "in the search" if stopped_at is None else f"in the search, on {stopped_at} rows"
    shown: list[tuple[str, str, str]] = []
    for choice in settings.runners:
        options = choice.options
        if stopped_at is not None and RUNNERS[choice.name].needs == "outputs":
            options = replace(options, num_samples=stopped_at)
        runner = RUNNERS[choice.name](prepared.data_module, options)
        if row.metrics.keys().isdisjoint(metric.name for metric in runner.metrics):
            continue  # left to the best networks, of which this is none
        measured = _measured(runner, prepared.data_module, graph, row)
        for name, value in measured.items():
            shown.append((name, f"{value:.10g}", f"{row.metrics[name]:.10g}"))
            if runner.needs != "model":  # measured times never agree
                _compare(runner, graph, name, value, row)
    _show(("metric", "measured now", where), shown, f"trial {row.number}")


def _measured(runner: RunnerBase, data: Data, graph: MaseGraph, row: SearchRow) -> Mapping[str, float]:
    """The metrics of a trial's network; one with weights of its own is measured as it stands."""
    config = row.values["sampled_config"]
    if row.tuned:
        return metrics_of([runner], TunedGraph(graph, data, config))
    if has_own_network(config):
        return metrics_of([runner], LoadedNetwork(graph, data, config))
    return runner(data, graph, config)


def _compare(runner: RunnerBase, graph: MaseGraph, name: str, value: float, row: SearchRow) -> None:
    """Raise SearchError where a figure differs by more than another order of float sums explains."""
    if not figures_agree(runner, graph, name, (value, row.metrics[name])):
        raise SearchError(
            f"trial {row.number}: {name} is {value!r} now and was {row.metrics[name]!r} in the search; "
            f"the data, the code of a metric or options have changed since (the search had those of {row.config_path})"
        )


def show_scores(title: str, scores: dict[str, Interval]) -> None:
    """Show scores with their intervals as a table."""
    rows = [
        (name, f"{value:.4f}", f"[{low:.4f}, {high:.4f}]" if isfinite(low) else "-")
        for name, (value, low, high) in scores.items()
    ]
    _show(("score", "value", "95 % interval"), rows, title)


def _show(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    terminal().print(table_of(headings, rows, title=title, title_justify="left", box=None))
