"""`chop.train_for_space`: train one set of weights for all networks of a search space, from Python."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from chop.actions.search.search_space import SearchSpaceBase
from chop.actions.setup import TRAINING_FOLDER, resolve_accelerator, traced
from chop.actions.space_training import SpaceTrained, SpaceTrainingJob, consequence_of_random, space_of
from chop.api.argument_types import Device
from chop.api.arguments import folder_of, in_python, naming
from chop.api.data import UserData
from chop.api.log import shown
from chop.api.search import Arguments
from chop.api.space import Space
from chop.config.space_training import SpaceTrainingOptions
from chop.config.typed import parse_table
from chop.dataset.arrays import SPLIT
from chop.dataset.data import Data
from chop.errors import ConfigError, DatasetError
from chop.ir import MaseGraph
from chop.models.checkpoint import load_weights, save_weights
from chop.models.weight_notes import TrainedForSpace
from chop.tools.folder_lock import only_writer
from chop.tools.scratch import scratch_folder


@dataclass(frozen=True)
class SpaceTrainedModel:
    """A model trained for a whole search space: `chop.search(trained.model, data, space)`.

    `history` holds the mean score of the probe plans before the training and after each epoch; `epoch` is the best,
    whose weights `model` has (0: those that it began with). `interrupted`: Ctrl-C ended it.
    """

    model: nn.Module
    notes: TrainedForSpace
    history: tuple[float, ...]
    interrupted: bool

    @property
    def epoch(self) -> int:
        """The number of the best epoch."""
        return self.notes.epoch

    def save(self, path: str | Path) -> Path:
        """Write the weights as an ordinary checkpoint, which `--load` and `weights=` take; returns its path.

        Offsets and ranges that were trained with them are in the file, too. Raises OSError where it cannot be written.
        """
        return save_weights(self.model, path, self.notes.as_metadata())

    def __str__(self) -> str:
        notes = self.notes
        what = "trained for" if notes.epoch else "the weights before a training for"
        return (
            f"{'interrupted: ' if self.interrupted else ''}{what} {notes.counted_networks}: {notes.metric} of "
            f"{notes.counted_probes} {notes.before:.4f} -> {notes.after:.4f} (epoch {notes.epoch} of {notes.epochs})"
        )


def train_for_space(
    model: nn.Module | MaseGraph | str,
    data: UserData,
    space: Space | None = None,
    *,
    formats: Any = None,
    widths: Iterable[int] | int | None = None,
    task: Any = None,
    loss: Any = None,
    metrics: Mapping[str, Any] | None = None,
    split: Sequence[float] = SPLIT,
    max_token_len: int = 512,
    pretrained: bool = False,
    weights: str | Path | None = None,
    seed: int = 0,
    device: Device = "auto",
    folder: str | Path | None = None,
    resume: bool = False,
    verbose: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> SpaceTrainedModel:
    """Train one set of weights for all networks of `space`; the model that is passed stays as it is.

    Returns the trained model with the scores of each epoch: `chop.search(trained.model, data, space)` searches with
    its weights, and `trained.save(path)` keeps them.

    `model`, `data`, `space` and the rest are those of `chop.search`. The `options` are the keys of the table
    `[train_for_space]`: `max_epochs`, `batch_size`, `learning_rate`, `plans_per_step` …. With a
    `folder` the training can go on after a kill (`resume=True`); without `resume`, the files of an earlier training in
    it are kept in `folder-1`, and so on, and other files stay where they are. Ctrl-C ends it and returns the best so
    far.

    Raises ConfigError with everything that is wrong with the arguments, each by its name, before anything runs;
    ChopError where `resume` finds another training.
    """
    given = {name: value for name, value in locals().items() if name != "options"}
    arguments = Arguments.of(**given, objectives=["loss"])
    with shown(verbose, progress), in_python(), ExitStack() as stack:
        chosen = _checked_options(options, arguments.problems())
        if space is None and formats is None:
            raise ConfigError(["space: give a chop.Space, or the number formats to choose from (formats=, widths=)"])
        if folder is None and resume:
            raise ConfigError(["resume: name the folder of the training that is to go on"])
        place = folder_of(folder) if folder is not None else stack.enter_context(scratch_folder()) / TRAINING_FOLDER
        job = _job(arguments, chosen, place)
        with only_writer(job.folder) as locked:
            result = job.run(resume, locked)
        return _trained(job, result)


def _checked_options(options: Mapping[str, Any], others: Sequence[str]) -> SpaceTrainingOptions:
    """The options of the training; raises ConfigError with their problems and those of the `others` arguments."""
    chosen, found = parse_table(SpaceTrainingOptions, options)
    problems = [*others, *(f"{'.'.join(problem.path)}: {problem.message}" for problem in found)]
    if chosen is None or problems:
        raise ConfigError(problems)
    return chosen


def _job(arguments: Arguments, chosen: SpaceTrainingOptions, folder: Path) -> SpaceTrainingJob:
    data = arguments.data_module()
    options = arguments.options(data)
    with naming("model"), naming("data", DatasetError):
        model = arguments.built_model(options, data)
        arguments.tell_untrained(consequence_of_random(chosen.teacher_share))
        graph = traced(model, data)
    space, setup = _space(arguments, graph, data)
    return SpaceTrainingJob(model, space, setup, data, chosen, folder, arguments.seed, resolve_accelerator(options))


def _space(arguments: Arguments, graph: MaseGraph, data: Data) -> tuple[SearchSpaceBase, Any]:
    table = {"search_space": arguments.chosen_space.fitting(graph.quantizable_nodes()).table()}
    space, setup, problems = space_of(graph, table, data)
    if problems or space is None:
        raise ConfigError(list(dict.fromkeys(map(arguments.told, problems))))
    return space, setup


def _trained(job: SpaceTrainingJob, result: SpaceTrained) -> SpaceTrainedModel:
    model = copy.deepcopy(job.model)
    load_weights(model, result.checkpoint)
    history = tuple(scores.mean for scores in result.scores)
    return SpaceTrainedModel(model, result.notes, history, result.interrupted)
