"""`chop.search`: find the best number formats for a model, from Python."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from chop.actions.search.checks import checked_call
from chop.actions.search.run.job import SearchJob
from chop.actions.search.settings.strategy_setup import StrategySetup
from chop.actions.search.strategies.base import STRATEGIES
from chop.actions.setup import build_model, resolve_accelerator, traced
from chop.api.argument_types import Device, argument_problems
from chop.api.arguments import argument_of, as_arguments, folder_of, in_python, naming, telling_names
from chop.api.data import UserData, data_module_of, real_type, unused_by
from chop.api.log import shown
from chop.api.metrics import Goal, goals_of, metric_tables, runner_tables
from chop.api.network import Networks
from chop.api.own_model import loaded
from chop.api.plain_values import plain
from chop.api.space import Space
from chop.api.strategy import strategy_name
from chop.api.study import Study
from chop.api.toml import as_toml
from chop.config.options import RunOptions
from chop.config.typed import Problem
from chop.dataset import MaseDataModule
from chop.dataset.arrays import SPLIT
from chop.dataset.data import Data, Part
from chop.errors import CheckpointError, ChopError, ConfigError, DatasetError, GraphError, SearchError
from chop.executors import EXECUTORS, Executor
from chop.ir import MaseGraph
from chop.nn.ops import Op
from chop.record.names import SEARCH_FILES
from chop.scoring.metric import Direction
from chop.tools.folder_lock import OwnFolder, only_writer
from chop.tools.logger import get_logger
from chop.tools.scratch import scratch_folder
from chop.tools.user_code import is_user_reference

logger = get_logger(__name__)


@telling_names
def search(
    model: nn.Module | MaseGraph | str,
    data: UserData,
    space: Space | None = None,
    *,
    formats: Any = None,
    widths: Iterable[int] | int | None = None,
    batch_norm: Literal["float", "measured"] | None = None,
    weight_rounding: Iterable[str] | str | None = None,
    export_to: str | None = None,
    objectives: Iterable[Any] | None = None,
    constraints: Mapping[str, Mapping[str, Any]] | None = None,
    strategy: Any = "surrogate",
    strategy_options: Mapping[str, Any] | None = None,
    n_trials: int | None = None,
    timeout: float | None = None,
    patience: int | None = None,
    runners: Any = None,
    num_samples: int | None = None,
    part: Part = "val",
    task: Any = None,
    loss: Any = None,
    metrics: Mapping[str, Any] | None = None,
    split: Sequence[float] = SPLIT,
    batch_size: int = 128,
    max_token_len: int = 512,
    pretrained: bool = False,
    weights: str | Path | None = None,
    sum_direction: Direction | None = None,
    eval_mode: bool = True,
    finish: int | Mapping[str, Any] | None = None,
    early_stopping: Sequence[int] = (),
    early_stopping_confidence: float | None = None,
    ask_batch: int | None = None,
    n_jobs: int = 1,
    executor: Any = None,
    memory_mib: int | None = None,
    seed: int = 0,
    device: Device = "auto",
    folder: str | Path | None = None,
    resume: bool = False,
    init_from: Sequence[str | Path] = (),
    verbose: bool = False,
    progress: bool | None = None,
) -> Study:
    """Search the best number format for every layer of `model`; Ctrl-C ends the search and returns what was found.

    `model` is a module, which stays as it is, a `MaseGraph`, or a name of `ch info model`; `weights` is a file for it.
    `data` is a name of `ch info dataset`, a `MaseDataModule`, arrays `(x, y)`, of which `split` and `seed` make parts,
    or `{"train": …, "val": …, "test": …}`, each a DataLoader or `(x, y)`. `task`, `loss` and `metrics`, which are
    `{name: (function, "maximize" | "minimize")}`, say what outputs are judged by.

    `formats` to `export_to` make a `Space`, unless `space` is one. `objectives` are metrics: names (`ch info runner`),
    `(function, "minimize")`, or `{name: direction | {"scale": …, "direction": …}}`; `constraints` are
    `{name: {"min": …, "max": …, "max_drop": …}}`. Runners are found for them, and measure the first `num_samples`
    samples of a `part` (None: all). A strategy, runner, format or metric may be a name, a class or an object.

    The search ends after `n_trials` trials, `timeout` seconds, or `patience` trials that do not improve the front. With
    `finish` (epochs, or the options of `[search.finish]`) the networks of the front are tuned then. Without a `folder`
    the files go with the study. Messages are shown if `verbose`, a bar if `progress`, or if None in a notebook.

    Raises ConfigError with all that is wrong with the arguments, by name, before anything runs; SearchError where the
    model cannot be measured faithfully, no trial succeeds, or `resume` finds another search. All inherit ChopError.
    """
    return Arguments(**locals()).study()


@dataclass(frozen=True)
class Arguments:
    """The arguments of `search`."""

    model: Any
    data: UserData
    space: Space | None
    formats: Any
    widths: Iterable[int] | int | None
    batch_norm: Literal["float", "measured"] | None
    weight_rounding: Iterable[str] | str | None
    export_to: str | None
    objectives: Iterable[Any] | None
    constraints: Mapping[str, Mapping[str, Any]] | None
    strategy: Any
    strategy_options: Mapping[str, Any] | None
    n_trials: int | None
    timeout: float | None
    patience: int | None
    runners: Any
    num_samples: int | None
    part: Part
    task: Any
    loss: Any
    metrics: Mapping[str, Any] | None
    split: Sequence[float]
    batch_size: int
    max_token_len: int
    pretrained: bool
    weights: str | Path | None
    sum_direction: Direction | None
    eval_mode: bool
    finish: int | Mapping[str, Any] | None
    early_stopping: Sequence[int]
    early_stopping_confidence: float | None
    ask_batch: int | None
    n_jobs: int
    executor: Any
    memory_mib: int | None
    seed: int
    device: Device
    folder: str | Path | None
    resume: bool
    init_from: Sequence[str | Path]
    verbose: bool
    progress: bool | None

    @classmethod
    def of(cls, **given: Any) -> Arguments:
        """The arguments that are given, and the defaults of all others."""
        bound = signature(search).bind(**given)
        bound.apply_defaults()
        return cls(**bound.arguments)

    def study(self) -> Study:
        """Run the search; its temporary folder, if it needs one, goes with the study."""
        with shown(self.verbose, self.progress) as warnings, in_python(), ExitStack() as stack:
            study = self._searched(stack)
            study.keep(stack.pop_all())
            study.warnings = tuple(map(as_arguments, dict.fromkeys(warnings)))
            return study

    def _searched(self, stack: ExitStack) -> Study:
        if problems := self.problems():
            raise ConfigError(problems)
        module = self.data_module()
        options = self.options(module)
        with naming("model"), naming("data", DatasetError):
            model = self.built_model(options, module)
            self.tell_untrained("so are all figures")
            graph = traced(model, module)
        table = self.table(module, graph.quantizable_nodes())
        place, device = self._place(stack), resolve_accelerator(options)
        job = checked_call(SearchJob, model, module, table, place, self.seed, device, told=self.told, graph=graph)
        self._tell_unused(job.settings.strategy)
        called = options.model or type(self.model).__name__
        inputs = {"model": called, "batch_size": self.batch_size, **job.input_fingerprint}
        job = replace(job, input_fingerprint=inputs, always_publishes=True)
        if self.folder is None:  # which nobody opens
            job = replace(job, settings=replace(job.settings, setup=replace(job.settings.setup, html_report=False)))
        with only_writer(job.folder) as own, naming("model", GraphError):
            self._require_room(job)
            job = job.begun_from(list(map(str, self.init_from)), self.resume)
            try:
                job.run(self.resume, lambda: self._begin(job, own, as_toml(options, table, self._has_functions)))
            except ChopError as error:
                self._keep_trials(job, stack, error)
                raise
        return Study(job.files, Networks.of(job, options))

    def told(self, problem: Problem) -> str:
        """A problem of the table `[search]` at the argument that it came from."""
        room, *rest = problem.path
        name = argument_of(problem.path)
        if room == "search_space" and (written := self.chosen_space.written_argument(rest)):
            name = f"space: {written}"
        if rest[:1] == ["metrics"] and len(rest) > 2 and rest[2] in (self.constraints or {}).get(rest[1], ()):
            name = f"constraints[{rest[1]!r}][{rest[2]!r}]"
        if room == "search_space" and self.space is None:
            name = "formats" if rest[:1] == ["seed"] and len(rest) < 4 else name.removeprefix("space: ")
        return f"{name}: {as_arguments(problem.message)}"

    def problems(self) -> list[str]:
        """The problems of plain arguments, each by its name."""
        return argument_problems(vars(self))

    def _begin(self, job: SearchJob, own: OwnFolder, text: str) -> None:
        own.settle()
        if not self.resume:
            job.files.write_resolved(text)

    def _keep_trials(self, job: SearchJob, stack: ExitStack, error: ChopError) -> None:
        """Let a temporary folder with trials stay until the process ends, and the error say so."""
        if self.folder is None and job.files.is_by_trial and job.files.trials():
            atexit.register(stack.pop_all().close)
            error.args = (f"{error} (the folder stays until this process ends: folder={str(job.folder)!r})",)

    def tell_untrained(self, what_else: str) -> None:
        """Warn where a model of `chop` has no weights: they are random, and `what_else` follows from that."""
        named = isinstance(self.model, str) and not is_user_reference(self.model)
        if named and not self.pretrained and self.weights is None:
            logger.warning(
                "the weights of '%s' are random, and %s: give pretrained=True or weights=PATH", self.model, what_else
            )

    def _tell_unused(self, strategy: str) -> None:
        """Warn of options that the chosen strategy does not have."""
        known = {own.name for own in (*fields(STRATEGIES[strategy].Options), *fields(StrategySetup))}
        for name in sorted(set(self.strategy_options or {}) - known):
            logger.warning("strategy_options: '%s' makes no use of %s", strategy, name)
        if self.early_stopping_confidence is not None and not self.early_stopping:
            logger.warning("early_stopping_confidence has no effect without early_stopping")
        for name, why in unused_by(self.data).items():
            if not np.array_equal(getattr(self, name), signature(search).parameters[name].default):
                logger.warning("%s has no effect: %s", name, why)

    def _require_room(self, job: SearchJob) -> None:
        if self.resume and not job.files.holds_search:
            raise SearchError(f"folder: there is no search to resume in {job.folder}; leave out resume=True")
        if job.files.holds_search and not self.resume:
            raise SearchError(f"folder: {job.folder} holds a search: resume=True goes on, or choose another folder")
        if not self.resume:
            SEARCH_FILES.require_own(job.folder)

    def _place(self, stack: ExitStack) -> Path:
        if self.folder is not None:
            return folder_of(self.folder)
        if self.resume:
            raise ConfigError(["resume: name the folder of the search that is to go on"])
        return stack.enter_context(scratch_folder()) / "study" / "software" / "search_ckpts"

    @cached_property
    def chosen_space(self) -> Space:
        """The space, as an object or from `formats` and `widths`."""
        if self.space is None:
            more: dict[str, Any] = {} if self.weight_rounding is None else {"weight_rounding": self.weight_rounding}
            norms = self.batch_norm or "float"
            return Space(self.formats, self.widths, batch_norm=norms, export_to=self.export_to, **more)
        if not isinstance(self.space, Space):
            raise ConfigError([f"space: expected a chop.Space, got {self.space!r}"])
        of_space = ("formats", "widths", "batch_norm", "weight_rounding", "export_to")
        for name in (name for name in of_space if getattr(self, name) is not None):
            raise ConfigError([f"{name}: belongs in the space: Space({name}=...)"])
        return self.space

    @cached_property
    def _goals(self) -> list[Goal]:
        return goals_of(self.objectives)

    @property
    def _has_functions(self) -> bool:
        """Whether the data have a loss or metrics that are functions of Python."""
        return bool(self.loss or self.metrics or any(goal.function for goal in self._goals))

    def data_module(self) -> MaseDataModule:
        """The data as a module, set up."""
        functions = {goal.name: goal.function for goal in self._goals if goal.function is not None}
        own = {**(self.metrics or {}), **functions}
        return data_module_of(
            self.data,
            task=self.task,
            loss=self.loss,
            metrics=own or None,
            split=self.split,
            batch_size=self.batch_size,
            max_token_len=self.max_token_len,
            seed=self.seed,
            real=real_type(self.model),
        )

    def options(self, module: MaseDataModule) -> RunOptions:
        """The options at the top of the equivalent TOML file."""
        if not isinstance(self.model, str) and self.pretrained:
            raise ConfigError(["pretrained: is for a model by name; this model has its weights, or those of weights="])
        return RunOptions(
            model=self.model if isinstance(self.model, str) else None,
            dataset=self.data if isinstance(self.data, str) else None,
            task=module.task_name,
            load_name=None if self.weights is None else str(self.weights),
            is_pretrained=self.pretrained,
            batch_size=self.batch_size,
            seed=self.seed,
            accelerator="gpu" if self.device == "cuda" else self.device,
            max_token_len=self.max_token_len,
        )

    def built_model(self, options: RunOptions, data_module: MaseDataModule) -> nn.Module:
        """The model with its weights, or those of the file `weights`; the caller's module stays as it is."""
        with naming("weights" if self.weights else "pretrained", CheckpointError):
            return build_model(options, data_module) if options.model else loaded(self.model, options, data_module)

    def table(self, data_module: Data, nodes: Mapping[str, Op] | None = None) -> dict[str, Any]:
        """The table `[search]` of the TOML file that does the same; `nodes` are those of the model (None: any)."""
        name, metrics = strategy_name(self.strategy), metric_tables(self._goals, self.constraints)
        objectives = [goal.name for goal in self._goals]
        wanted = {metric: "objectives" if metric in objectives else "constraints" for metric in metrics}
        runners = runner_tables(wanted, self.runners, data_module, self.num_samples, self.part)
        table = {"name": name, "eval_mode": self.eval_mode, **runners, "setup": self._setup(), "metrics": metrics}
        space = self.chosen_space if nodes is None else self.chosen_space.fitting(nodes)
        if not isinstance(self.finish, (int, Mapping)) and self.finish is not None:
            raise ConfigError([f"finish: expected a number of epochs or a dictionary of options, got {self.finish!r}"])
        finish = {"max_epochs": self.finish} if isinstance(self.finish, int) else self.finish
        return {"search_space": space.table(), "strategy": table, **({} if finish is None else {"finish": finish})}

    def _setup(self) -> dict[str, Any]:
        setup = {
            "n_trials": self.n_trials,
            "timeout": self.timeout,
            "patience": self.patience,
            "ask_batch": self.ask_batch,
            "n_jobs": self.n_jobs,
            "executor": _executor_name(self.executor),
            "memory_mib": self.memory_mib,
            "ladder": list(self.early_stopping) or None,
            "ladder_confidence": self.early_stopping_confidence,
            "sum_scaled_metrics": True if self.sum_direction else None,
            "direction": self.sum_direction,
        }
        given, more = {key: own for key, own in setup.items() if own is not None}, plain(self.strategy_options or {})
        twice = [key for key in more if key in given and given[key] != more[key] and key != "n_jobs"]
        if twice:
            raise ConfigError([f"strategy_options: {key} is an argument of chop.search too: give one" for key in twice])
        return {**given, **more}


def _executor_name(executor: Any) -> str | None:
    """The name of an executor: of `ch info executor`, or of a class."""
    if isinstance(executor, type) and issubclass(executor, Executor):
        with naming("executor"):
            return EXECUTORS.adopt(executor, executor.__name__)
    if executor is None or isinstance(executor, str):
        return executor
    raise ConfigError([f"executor: expected a name (ch info executor) or a subclass of Executor, got {executor!r}"])
