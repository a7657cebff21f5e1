"""Runs `ch train --for-space`: trains one set of weights for all networks of a search space."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from chop.actions.own_place import OwnPlace
from chop.actions.search.checks import build_space
from chop.actions.search.export_target import changes_norms, without_target
from chop.actions.search.run.input_fingerprint import fingerprint_of_training
from chop.actions.search.run.session import layers_digest, trained_choices_digest
from chop.actions.search.search_space import SearchSpaceBase
from chop.actions.search.search_space.choice_order import with_ordered_lists
from chop.actions.search.settings.search import parse_space
from chop.actions.setup import (
    TRAINING_FOLDER,
    Prepared,
    prepare,
    resolve_accelerator,
    software_dir,
    traced,
    warn_of_untrained_weights,
)
from chop.config.later_keys import fingerprint_of_options
from chop.config.next_command import search_command
from chop.config.run_config import SPACE_TRAINING, RunConfig
from chop.config.space_training import SpaceTrainingOptions
from chop.config.typed import Problem, parse_table
from chop.dataset.data import Data
from chop.errors import CheckpointError, ConfigError, InputError, Interrupted
from chop.ir import MaseGraph
from chop.ir.graph.format_notes_json import format_notes
from chop.models.checkpoint import save_weights
from chop.models.checkpoint_file import read_checkpoint
from chop.models.weight_notes import TrainedForSpace, note
from chop.record.comparison import counted
from chop.report.training_progress import TrainingProgress
from chop.tools.folder_lock import OwnFolder, only_writer
from chop.tools.logger import get_logger
from chop.tools.whole_numbers import readable
from chop.training.for_space import SpaceTraining
from chop.training.probes import ProbeScores
from chop.training.space_files import SPACE_TRAINING_FILES, Progress, SpaceFiles
from chop.training.space_run import SpaceRun

logger = get_logger(__name__)


@dataclass(frozen=True)
class SpaceTrained:
    """The result of a training for a space.

    `checkpoint` holds the best weights, those of `epoch` (0: those that it began with), of `epochs` that were wanted.
    `scores` are of the probes before the training and after each epoch. `out_of_patience` is the number of epochs
    without improvement after which it ended early; None where it did not.
    """

    checkpoint: Path
    epoch: int
    epochs: int
    scores: tuple[ProbeScores, ...]
    interrupted: bool
    out_of_patience: int | None
    notes: TrainedForSpace


@dataclass(frozen=True)
class SpaceTrainingJob:
    """A checked training: the model with the weights to begin with, its space, the data and the options."""

    model: nn.Module
    space: SearchSpaceBase
    setup: Any
    data: Data
    options: SpaceTrainingOptions
    folder: Path
    seed: int
    device: str

    def run(self, resume: bool, own: OwnFolder) -> SpaceTrained:
        """Train to the end in a locked folder, or until Ctrl-C, and return what is best.

        The files of an earlier training are moved aside; whatever else lies in the folder stays. They come back where
        the new training leaves nothing.
        """
        files = SpaceFiles(self.folder)
        if resume and not files.holds_training:
            raise InputError(f"there is no training to resume in {self.folder}; start one without --resume")
        place = None if resume else OwnPlace(own, SPACE_TRAINING_FILES)
        training = SpaceTraining(self.space, self.data, self.options, self.seed, self.device)
        if place is None:
            own.settle()
            return self._run(training, files, resume, own)
        try:
            place.take()
            return self._run(training, files, resume, own)
        except BaseException:
            if place.is_taken:
                files.withdraw()
                place.give_back()
            raise

    def _run(self, training: SpaceTraining, files: SpaceFiles, resume: bool, own: OwnFolder) -> SpaceTrained:
        self._tell_beginning(training)
        with TrainingProgress(self.options.max_epochs, training.steps_of_epoch) as shown:
            save_best = partial(self._save_best, training)
            run = SpaceRun(
                training, files, self._facts(), save_best, self._epoch_of_best, shown.on_epoch, shown.on_step
            )
            progress, interrupted = self._progress(run, resume, own)
        wanted, notes = self.options.max_epochs, self._notes(progress)
        ended_early = progress.epochs < wanted and run.is_out_of_patience(progress)
        patience = self.options.patience if ended_early else None
        if progress.epochs and not progress.best:
            logger.warning(
                "no epoch was better than the weights before the training, which are those of %s: try a lower "
                "learning_rate, or more %s",
                files.best,
                "epochs" if patience is None else "patience",
            )
        scores = tuple(ProbeScores(self.data.task.monitored, row) for row in progress.scores)
        return SpaceTrained(files.best, progress.best, wanted, scores, interrupted, patience, notes)

    def _progress(self, run: SpaceRun, resume: bool, own: OwnFolder) -> tuple[Progress, bool]:
        progress = run.resumed() if resume else run.begin()
        try:
            for reached in run.epochs(progress):
                progress = reached
                own.require_in_place()
        except KeyboardInterrupt:
            return progress, True
        return progress, False

    def _facts(self) -> dict[str, Any]:
        """The facts that a resumed training must match: all that it depends on but the patience."""
        options = {name: value for name, value in fingerprint_of_options(self.options).items() if name != "patience"}
        of_setup = fingerprint_of_options(self.setup)
        setup = {name: value for name, value in of_setup.items() if name not in self.space.told_by_choices}
        return {
            **options,
            **fingerprint_of_training(self.model, self.data, self.space, self.seed),
            "layers": layers_digest(self.space.graph),
            "choices": trained_choices_digest(self.space, self.setup),
            **{f"setup.{name}": value for name, value in setup.items()},
        }

    def _notes(self, progress: Progress) -> TrainedForSpace:
        metric = self.data.task.monitored
        return TrainedForSpace(
            choices=trained_choices_digest(self.space, self.setup),
            networks=readable(self.space.size),
            epochs=self.options.max_epochs,
            epoch=progress.best,
            metric=metric.name,
            probes=len(progress.scores[0]),
            before=ProbeScores(metric, progress.scores[0]).mean,
            after=ProbeScores(metric, progress.scores[progress.best]).mean,
            seed=self.seed,
            measured_norms=any(op.has_statistics for op in self.space.graph.quantizable_nodes().values()),
        )

    def _epoch_of_best(self, progress: Progress) -> int | None:
        """The epoch whose weights the file of the best has; None where it is missing or not of this training."""
        try:
            checkpoint = read_checkpoint(SpaceFiles(self.folder).best)
        except CheckpointError:
            return None
        found, own = TrainedForSpace.from_metadata(checkpoint.metadata), self._notes(progress)
        if found is None:
            return None
        expected = own if found.epoch == own.epoch else replace(own, epoch=found.epoch, after=found.after)
        return found.epoch if found.as_metadata() == expected.as_metadata() else None

    def _save_best(self, training: SpaceTraining, tensors: Mapping[str, Tensor], progress: Progress) -> None:
        notes, best = self._notes(progress), with_tensors(self.model, tensors)
        note(best, notes, format_notes(training.offsets_in(tensors), training.ranges_in(tensors)))
        save_weights(best, SpaceFiles(self.folder).best, notes.as_metadata())

    def _tell_beginning(self, training: SpaceTraining) -> None:
        if training.network.has_norms and self.space.norms_in_float:
            logger.warning(
                'batch norms are trained with the statistics of each batch: search with batch_norm = "measured" '
                "under [search.search_space.setup], or networks of few bits lose most of what training gains; the "
                "probes' figures are those of measured norms"
            )


@torch.no_grad()
def with_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy of a model with some of its tensors replaced; those that it does not have are ignored."""
    twin = copy.deepcopy(model)
    own = {**dict(twin.named_parameters(remove_duplicate=False)), **dict(twin.named_buffers(remove_duplicate=False))}
    for name in own.keys() & tensors.keys():
        own[name].copy_(tensors[name])
    return twin


def run_space_training(run_config: RunConfig, resume: bool) -> SpaceTrained:
    """Run `ch train --for-space`.

    Raises ConfigError with all that is wrong, Interrupted after Ctrl-C, once the best is reported.
    """
    job = _checked(run_config)
    with only_writer(job.folder) as own:
        result = job.run(resume, own)
    _report(run_config, result)
    if result.interrupted:
        raise Interrupted
    return result


def consequence_of_random(teacher_share: float) -> str:
    """What follows for a training for a space from weights that are random, in words behind "random, and".

    >>> consequence_of_random(0.5)
    'the training begins with them: 50 % of its loss is on the outputs of this random network'
    """
    told = "the training begins with them"
    taught = f": {teacher_share * 100:g} % of its loss is on the outputs of this random network"
    return f"{told}{taught}" if teacher_share else told


def _checked(run_config: RunConfig) -> SpaceTrainingJob:
    options, _ = parse_table(SpaceTrainingOptions, run_config.tables.get(SPACE_TRAINING, {}))
    problems = list(run_config.problems)
    table = run_config.tables.get("search")
    if not isinstance(table, Mapping) or "search_space" not in table:
        where = run_config.document.name if run_config.document else "command line"
        problems.append(f"{where}: --for-space needs --config FILE.toml with a table [search.search_space]")
    if options is None or problems:
        raise ConfigError(problems)
    assert isinstance(table, Mapping)
    prepared = prepare(run_config.options)
    graph = traced(prepared.model, prepared.data_module)
    space, setup, found = space_of(graph, table, prepared.data_module)
    if found or space is None:
        raise ConfigError([run_config.line_of(problem.below("search")) for problem in found])
    warn_of_untrained_weights(run_config.options, consequence_of_random(options.teacher_share))
    return _job(run_config, prepared, space, setup, options)


def _job(
    run_config: RunConfig, prepared: Prepared, space: SearchSpaceBase, setup: Any, options: SpaceTrainingOptions
) -> SpaceTrainingJob:
    shared = run_config.options
    folder, device = software_dir(shared) / TRAINING_FOLDER, resolve_accelerator(shared)
    return SpaceTrainingJob(prepared.model, space, setup, prepared.data_module, options, folder, shared.seed, device)


def space_of(
    graph: MaseGraph, table: Mapping[str, Any], data: Data
) -> tuple[SearchSpaceBase | None, Any, list[Problem]]:
    """The space of the table `search`, its setup, and all problems, with paths below `search`.

    A training needs the network as its file has it: where a target of the search changes batch norms, the space has the
    choices too that the search leaves out. The order of choices in a list decides nothing: plans are drawn from sorted
    lists.
    """
    table = {**table, "search_space": with_ordered_lists(table["search_space"])}
    _, setup, problems = parse_space(table["search_space"])
    if not problems and changes_norms(setup, graph):
        logger.info("the batch norms are trained as they are, with all choices: export_to is for the search")
        table = {**table, "search_space": without_target(table["search_space"])}
    space, found = build_space(graph, table, data)
    problems = [*problems, *found]
    if space is not None and space.passes:
        calls = "; ".join(f'PASSES["{name}"](graph)' for name in space.passes)
        text = (
            "is for a search: a training for the space needs the network as its file has it. Leave the key out, and "
            "train what the passes make of the network: from chop.passes.graph import PASSES; graph = "
            f"chop.MaseGraph(model, example_inputs=x); {calls}; then graph.model (on the command line "
            "FILE.py:FUNCTION, which returns it)"
        )
        problems.append(Problem(("search_space", "setup", "passes"), text))
    if space is not None and not problems and not any((space.possible_formats() or {}).values()):
        problems.append(
            Problem(("search_space",), "no operand of any node has a format: there is nothing to train for")
        )
    return space, setup, problems


def _report(run_config: RunConfig, result: SpaceTrained) -> None:
    from chop.tools.terminal import terminal

    console = terminal(soft_wrap=True, highlight=False)
    before, best, done = result.scores[0], result.scores[result.epoch], len(result.scores) - 1
    ended = "interrupted" if result.interrupted else "trained for the space"
    console.print(f"{ended}: {done} of {result.epochs} epochs are done, epoch {result.epoch} is the best")
    if (patience := result.out_of_patience) is not None:
        told = f"the probes' mean had not improved for {counted(patience, 'epoch')} (patience)"
        console.print(f"ended:  {told}; to train further: the same command with --resume and a larger --patience")
    console.print(f"before: {before.as_text()}")
    console.print(f"best:   {best.as_text()}")
    console.print(f"file:   {result.checkpoint}")
    if result.interrupted:
        console.print("resume: the same command with --resume goes on after the last whole epoch")
    console.print(f"next:   {search_command(run_config, result.checkpoint)}", markup=False)
