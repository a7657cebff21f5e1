"""The flow of a search: check everything, search, measure the winners again, write it all down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from chop.actions.calibration import calibrate
from chop.actions.replay import CONFIG_FILE
from chop.actions.search.measurement import FLOAT_CONFIG, Measurement
from chop.actions.search.results import (
    REPORT_FILE,
    TRIALS_FILE,
    best_rows,
    write_best,
    write_log,
)
from chop.actions.search.search_space import SEARCH_SPACES, SearchSpaceBase, SpaceSetup
from chop.actions.search.settings import SearchSettings, parse_search_settings
from chop.actions.search.strategies.base import STRATEGIES, StrategyContext, Values
from chop.actions.search.study import Reason, Study, study_directions, study_values
from chop.actions.setup import Prepared, prepare, resolve_accelerator, software_dir, traced
from chop.actions.transform import pass_name_problems
from chop.config.run_config import RunConfig, dump_toml
from chop.config.typed import Problem, parse_table
from chop.errors import ChopError, ConfigError, MetricError, SearchError
from chop.ir import MaseGraph
from chop.ir.trial import BestRow, Objective, Trial
from chop.ir.trial_log import TrialLog, require_unused
from chop.report.search_progress import SearchProgress
from chop.report.search_report import SearchSummary, print_summary, report_text
from chop.tools.files import move_aside, write_whole
from chop.tools.logger import get_logger

logger = get_logger(__name__)

FLOAT_ROW = -1


@dataclass(frozen=True)
class SearchResult:
    """The trials of a search, its best rows (the Pareto set), why it ended and where its files are."""

    trials: list[Trial]
    best: list[BestRow]
    reason: Reason
    folder: Path


def search(
    model: nn.Module,
    data_module: Any,
    search_config: Mapping[str, Any],
    save_path: Path | str,
    *,
    seed: int = 0,
    resume: bool = False,
    device: str = "cpu",
) -> SearchResult:
    """Search the best number formats for `model`: the table `[search]` of a TOML file, from Python.

    Writes `best.json`, `log.json` and the trial log to `save_path`. Raises ConfigError with all that is wrong with
    `search_config`, before anything runs.
    """
    settings, space, graph, problems = _check(model, data_module, search_config)
    if problems or settings is None or space is None:
        raise ConfigError([f"search.{'.'.join(problem.path)}: {problem.message}" for problem in problems])
    info = data_module.dataset_info
    identity = {"weights": weights_digest(model), "dataset": [info.name, info.sha256], "seed": seed}
    job = _Job(settings, space, graph, data_module, Path(save_path), seed, device, identity)
    return job.run(resume)


def run_search(run_config: RunConfig, resume: bool = False) -> SearchResult:
    """`ch search`: the search of a TOML file with the options of the command line."""
    prepared = _prepare(run_config)
    table = run_config.tables.get("search")
    if table is None:
        raise ConfigError([*run_config.problems, "search: the file has no table [search]; see configs/examples"])
    model, data_module = (prepared.model, prepared.data_module) if prepared else (None, None)
    settings, space, graph, problems = _check(model, data_module, table)
    lines = [*run_config.problems, *pass_name_problems(run_config)]
    lines += [_line(run_config, problem) for problem in problems]
    if lines or settings is None or space is None or prepared is None:
        raise ConfigError(lines)
    _tell_untrained(run_config)
    folder = software_dir(run_config.options) / "search_ckpts"
    identity = _identity(run_config, prepared)
    device = resolve_accelerator(run_config.options)
    job = _Job(settings, space, graph, prepared.data_module, folder, run_config.options.seed, device, identity)
    require_unused(folder / TRIALS_FILE)
    if not resume and (folder / TRIALS_FILE).exists():
        logger.info("the earlier search is kept in %s", move_aside(folder))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CONFIG_FILE, dump_toml(run_config))
    return job.run(resume)


@dataclass(frozen=True)
class _Job:
    """A search whose settings have been checked."""

    settings: SearchSettings
    space: SearchSpaceBase
    graph: MaseGraph
    data_module: Any
    folder: Path
    seed: int
    device: str
    identity: Mapping[str, Any]

    def run(self, resume: bool) -> SearchResult:
        if self.space.calibration_rows:
            calibrate(self.space.graph, self.data_module, self.space.calibration_rows)
        measurement = Measurement(
            self.space,
            self.graph,
            self.data_module,
            self.settings.runners,
            self.settings.eval_mode,
            self.device,
        )
        with self._open_log(resume) as log:
            study = self._study(measurement, log)
            with SearchProgress(self._expected_trials(), *self._shown()) as progress:
                reason = study.run(progress.on_trial)
        return self._finish(measurement, log.trials, reason)

    def _open_log(self, resume: bool) -> TrialLog:
        path = self.folder / TRIALS_FILE
        fingerprint = {
            **self.identity,
            **self.settings.fingerprint(),
            "choices": _digest(self.space.choices_flattened),
        }
        return TrialLog.resume(path, fingerprint) if resume else TrialLog.create(path, fingerprint)

    def _study(self, measurement: Measurement, log: TrialLog) -> Study:
        settings = self.settings
        self._tell_size()
        context = StrategyContext(
            self.space,
            study_directions(settings.objectives, settings.setup),
            self.seed,
            settings.setup.n_trials,
        )
        strategy = STRATEGIES[settings.strategy](context, settings.strategy_options)
        batch = measurement.batch if strategy.asks_ahead else 1
        return Study(self.space, strategy, settings.objectives, settings.setup, measurement.measure_many, log, batch)

    def _shown(self) -> tuple[tuple[Objective, ...], Callable[[Trial], Values]]:
        """What the progress bar shows: every metric as measured, or the sum that is optimised."""
        settings = self.settings
        if not settings.setup.sum_scaled_metrics:
            return settings.objectives, lambda trial: tuple(trial.metrics[o.metric] for o in settings.objectives)
        (direction,) = study_directions(settings.objectives, settings.setup)
        return (Objective("sum", 1.0, direction),), lambda t: study_values(t, settings.objectives, settings.setup)

    def _expected_trials(self) -> int | None:
        """How many trials there will be at the most, if that is known."""
        budget = self.settings.setup.n_trials
        if STRATEGIES[self.settings.strategy].needs_budget:
            return budget
        return min(budget or self.space.size, self.space.size)

    def _tell_size(self) -> None:
        size, budget = self.space.size, self.settings.setup.n_trials
        logger.info("%s distinct points, %s", f"{size:,}", self.settings.strategy)
        if not STRATEGIES[self.settings.strategy].needs_budget and budget is not None and budget < size:
            logger.warning("n_trials = %d: only the first %d of %s points are measured", budget, budget, f"{size:,}")

    def _finish(self, measurement: Measurement, trials: list[Trial], reason: Reason) -> SearchResult:
        if not trials:
            raise SearchError(f"the search ended ({reason}) before its first trial; nothing was measured")
        best = best_rows(trials, self.settings.objectives, self.settings.setup, self.space)
        write_log(self.folder, trials, best, self.space)
        write_best(self.folder, best, self.space)  # kept, whatever happens while winners are measured again
        if not best:
            raise SearchError(f"all {len(trials)} trials failed; the first: {trials[0].failed}")
        float_row = None
        if reason != "interrupted":
            best = [_measured_again(measurement, row) for row in best]
            float_row = _float_row(measurement)
        write_best(self.folder, best, self.space)
        summary = SearchSummary(
            strategy=self.settings.strategy,
            objectives=self.settings.objectives,
            is_front=not self.settings.setup.sum_scaled_metrics,
            provenance=self.data_module.dataset_info.provenance,
            space_size=self.space.size,
            trials=trials,
            best=best,
            reason=reason,
            float_row=float_row,
            folder=self.folder,
        )
        write_whole(self.folder / REPORT_FILE, report_text(summary))
        print_summary(summary)
        return SearchResult(trials, best, reason, self.folder)


def _measured_again(measurement: Measurement, row: BestRow) -> BestRow:
    measurement.check_singly(row.sampled_config, row.trial.metrics)
    return replace(row, test_metrics=measurement.test_metrics(row.sampled_config))


def _float_row(measurement: Measurement) -> BestRow | None:
    """The network in float, as a row to compare with."""
    try:
        measured = measurement.measure_float()
    except MetricError as error:
        logger.warning("the network in float has no row: %s", error)
        return None
    trial = Trial(FLOAT_ROW, {}, measured.software, measured.hardware, {})
    return BestRow(trial, (), FLOAT_CONFIG, measurement.test_metrics(FLOAT_CONFIG))


def _prepare(run_config: RunConfig) -> Prepared | None:
    """Model and data; None where the options are wrong already, so that the search's own problems still show."""
    try:
        return prepare(run_config.options)
    except ChopError:
        if run_config.problems:
            return None
        raise


def _check(
    model: nn.Module | None, data_module: Any, table: Any
) -> tuple[SearchSettings | None, SearchSpaceBase | None, Any, list[Problem]]:
    """The settings, and the space of the model; or everything that is wrong with either."""
    settings, problems = parse_search_settings(table, data_module)
    if model is None:
        return settings, None, None, problems
    graph = traced(model, data_module)
    space, found = _build_space(graph, table)
    return settings, space, graph, problems + found


def _build_space(graph: MaseGraph, table: Any) -> tuple[SearchSpaceBase | None, list[Problem]]:
    """The space, also where other settings are wrong: the problems of its seeds belong to the same report."""
    space_table = table.get("search_space") if isinstance(table, Mapping) else None
    if not isinstance(space_table, Mapping):
        return None, []
    setup, _ = parse_table(SpaceSetup, space_table.get("setup", {}))
    name, seed, override = space_table.get("name"), space_table.get("seed", {}), space_table.get("override", {})
    if setup is None or name not in SEARCH_SPACES or not isinstance(seed, Mapping) or not isinstance(override, Mapping):
        return None, []
    space = SEARCH_SPACES[str(name)].build(graph, seed, setup, override)
    return space, [problem.below("search_space") for problem in space.problems()]


def _line(run_config: RunConfig, problem: Problem) -> str:
    path = ("search", *problem.path)
    where = run_config.document.where(path) if run_config.document else "command line"
    return f"{where}: {'.'.join(path)}: {problem.message}"


def _tell_untrained(run_config: RunConfig) -> None:
    options = run_config.options
    if not options.load_name and not options.is_pretrained:
        logger.warning(
            "neither --load nor --pretrained is given: the weights are random, and so are all figures. "
            "Train with `ch train %s %s`, then add --load PATH; or add --pretrained for the weights that ship with %s",
            options.model,
            options.dataset,
            options.model,
        )


def _identity(run_config: RunConfig, prepared: Prepared) -> dict[str, Any]:
    """What a resumed search must find unchanged, besides its settings."""
    info = prepared.data_module.dataset_info
    return {
        "model": run_config.options.model,
        "weights": weights_digest(prepared.model),
        "dataset": [info.name, info.sha256],
        "seed": run_config.options.seed,
        "batch_size": run_config.options.batch_size,
    }


def weights_digest(model: nn.Module) -> str:
    """A checksum of all tensors of a model, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
