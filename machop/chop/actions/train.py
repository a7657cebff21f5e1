"""Runs `ch train`: trains a model with Lightning and keeps the best and the last checkpoint."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from chop.actions.evaluate import show_scores, test_scores
from chop.actions.own_place import OwnPlace
from chop.actions.replay import load_saved_graph
from chop.actions.setup import (
    TRAINING_FOLDER,
    prepare,
    require_parts_alike,
    resolve_accelerator,
    software_dir,
    tell_of_own_batches,
)
from chop.config.next_command import scoring_command
from chop.config.options import RunOptions
from chop.dataset import MaseDataModule
from chop.dataset.rows import Batches
from chop.errors import ChopError, InputError, Interrupted
from chop.evaluation.predictions import stream
from chop.ir.graph.graph_file import GRAPH_FILE
from chop.models.checkpoint import load_weights
from chop.scoring.own_function_checks import check_own_functions
from chop.tools.folder_lock import OwnFolder, only_writer
from chop.tools.get_input import failures_named
from chop.tools.logger import get_logger
from chop.tools.own_files import OwnFiles

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from chop.actions.lightning_training import KeepCheckpoints, Training

logger = get_logger(__name__)

TRAINING_FILES = OwnFiles(
    "training",
    (GRAPH_FILE, "*-profile.txt", "tensorboard", "wandb", "logs", "last.ckpt", "best.ckpt"),
    lambda path: True,
)
"""The files of a training; those of their names that are there are moved aside, whoever wrote them."""
SAMPLES_TO_CHECK_ON = 256
LIGHTNING_ACCELERATORS = {"cuda": "gpu", "mps": "mps", "cpu": "cpu"}
LIGHTNING_LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


@dataclass(frozen=True)
class TrainResult:
    """The checkpoints of a training and their scores on the validation set.

    `best_metrics` are those of `best_checkpoint`: the best by the metric that the task monitors (the highest
    `accuracy` of classes, the lowest `loss` of most others). `steps` are optimiser steps. An interrupted training that
    was never validated has no metrics, and its best checkpoint is its last.
    """

    best_checkpoint: Path
    last_checkpoint: Path
    best_metrics: Mapping[str, float]
    last_metrics: Mapping[str, float]
    log_dir: Path
    steps: int
    interrupted: bool


def run_train(options: RunOptions) -> TrainResult:
    """Train the model of the options on their data and report the checkpoints.

    Raises Interrupted, once what was reached is kept and reported, if the user interrupted.
    """
    prepared = prepare(options, takes_graph=True)
    tell_of_own_batches(options, prepared.data_module)
    saved = load_saved_graph(options.load_name, prepared)
    model = saved.model if saved else prepared.model
    folder = software_dir(options) / TRAINING_FOLDER
    with _only_training(options, folder) as own:
        result = _train(options, model, prepared.data_module, own)
        kept = folder / GRAPH_FILE if saved else result.best_checkpoint
        load_weights(model.float(), result.best_checkpoint)  # other precisions leave the model in their type
        if saved:
            about = {"model": options.model, "task": options.task, "dataset": options.dataset}
            logger.info("the graph with its formats: %s", saved.export(kept, about))
        _report(options, result, kept)
        if result.interrupted:
            raise Interrupted
    for part in ("val", "test"):
        show_scores(f"best weights, {part} set", test_scores(model, prepared, part=part))
    return result


def train(
    options: RunOptions,
    model: nn.Module,
    data_module: MaseDataModule,
    output_dir: Path,
) -> TrainResult:
    """Train `model` in place on the training set; checkpoints and logs go to `output_dir / "training_ckpts"`.

    `model` may be any module, quantised layers included, and ends with its last weights. Ctrl-C keeps the best so far.
    Raises InputError for options that Lightning refuses, for a logger whose package is not installed, and where another
    training is writing to the folder.
    """
    with _only_training(options, output_dir / TRAINING_FOLDER) as own:
        return _train(options, model, data_module, own)


def _train(options: RunOptions, model: nn.Module, data_module: MaseDataModule, own: OwnFolder) -> TrainResult:
    from lightning.pytorch import seed_everything

    from chop.actions.lightning_training import KeepCheckpoints, Training

    folder = own.path
    require_parts_alike(model, data_module)
    place = OwnPlace(own, TRAINING_FILES, goes_on=lambda: _is_helper(options))
    keep = KeepCheckpoints(own, data_module.task.monitored)
    with _quiet_lightning():
        seed_everything(options.seed, workers=True, verbose=False)
        trainer = _trainer(options, folder, keep)
        _check_own_functions(model, data_module)
        try:
            place.take()
            interrupted = _fit(trainer, Training(model, data_module, options), data_module, keep)
        except BaseException:
            own.require_in_place()
            if not _is_helper(options) and not keep.last.exists():
                TRAINING_FILES.remove(folder)  # logs and profiles of a training without a checkpoint
            place.give_back()
            raise
    return _result(trainer, keep, folder, interrupted)


@contextmanager
def _only_training(options: RunOptions, folder: Path) -> Iterator[OwnFolder]:
    """The folder of a training, locked against other processes.

    On several devices Lightning runs the command once for each: the first process holds the folder for all.
    """
    if _is_helper(options):
        yield OwnFolder(folder)
        return
    with only_writer(folder) as own:
        yield own


def _is_helper(options: RunOptions) -> bool:
    """Whether this is a secondary process of a training on several devices."""
    from lightning.pytorch.utilities import rank_zero_only

    return options.num_devices > 1 and bool(getattr(rank_zero_only, "rank", 0))


def _fit(trainer: Trainer, training: Training, data_module: MaseDataModule, keep: KeepCheckpoints) -> bool:
    """Train, and validate the last state if `max_steps` ends within an epoch. True if the user interrupted."""
    training.model.train()
    validation = Batches(data_module.batches("val"))  # the samples that every other command measures on
    try:
        with _sigint_restored(), failures_named("the training fails"):
            trainer.fit(training, _training_batches(data_module), validation)
            if keep.validated_step != trainer.global_step:
                trainer.validate(training, validation, verbose=False)
    except SystemExit:
        if not trainer.interrupted:
            raise
        return True
    finally:
        training.model.cpu()
    return False


def _check_own_functions(model: nn.Module, data: MaseDataModule) -> None:
    """Raise ChopError for a loss or metric of the user that would silently compute wrong values."""
    task = data.task
    if task.data_loss is not None or task.data_metrics:
        batches = data.batches("val", SAMPLES_TO_CHECK_ON)
        with failures_named("the model fails on the val set"):
            outputs, _ = next(stream(model.eval(), batches, output=data.output))
        check_own_functions(task.data_loss, task.data_metrics, outputs, torch.cat([y for _, y in batches]))


def _training_batches(data_module: MaseDataModule) -> Any:
    loader = data_module.train_dataloader()
    return loader if isinstance(loader, DataLoader) else Batches(loader)


def _trainer(options: RunOptions, folder: Path, keep: KeepCheckpoints) -> Trainer:
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import Trainer
    from lightning.pytorch.profilers import SimpleProfiler

    from chop.actions.lightning_training import WholeCheckpoints

    device = resolve_accelerator(options)
    fallen_back = options.accelerator in ("gpu", "mps") and device == "cpu"
    try:
        return Trainer(
            accelerator=LIGHTNING_ACCELERATORS[device],
            devices=1 if fallen_back else options.num_devices,
            strategy=options.strategy,
            precision=options.trainer_precision,  # type: ignore[arg-type]  # Lightning checks it
            max_epochs=options.max_epochs,
            max_steps=options.max_steps,
            accumulate_grad_batches=options.accumulate_grad_batches,
            log_every_n_steps=options.log_every_n_steps,
            profiler=SimpleProfiler(dirpath=folder, filename="profile") if options.profile else None,
            logger=_loggers(options, folder),
            callbacks=[keep],
            plugins=[WholeCheckpoints()],
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stderr.isatty(),
            num_sanity_val_steps=0,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(
            f"Lightning refuses these options (trainer_precision {options.trainer_precision!r}, strategy "
            f"{options.strategy!r}, num_devices {options.num_devices}, accelerator {options.accelerator!r}): {error}"
        ) from error


def _loggers(options: RunOptions, folder: Path) -> list[Any]:
    from lightning.pytorch.loggers import CSVLogger

    csv = CSVLogger(folder, name="logs")
    return [csv, *([_further_logger(options, folder)] if options.report_to else [])]


def _further_logger(options: RunOptions, folder: Path) -> Any:
    """The logger of `report_to`; raises ChopError if its package is not installed."""
    from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

    try:
        if options.report_to == "tensorboard":
            return TensorBoardLogger(folder, name="tensorboard")
        return WandbLogger(project=options.project or "chop", save_dir=folder)
    except ModuleNotFoundError as error:
        cure = f"{sys.executable} -m pip install {options.report_to}"
        raise ChopError(f"--report-to {options.report_to} needs a package that is not installed: {cure}") from error


def _result(trainer: Trainer, keep: KeepCheckpoints, folder: Path, interrupted: bool) -> TrainResult:
    return TrainResult(
        best_checkpoint=keep.best if keep.best_scores else keep.last,
        last_checkpoint=keep.last,
        best_metrics=keep.best_scores or keep.last_scores,
        last_metrics=keep.last_scores,
        log_dir=Path(trainer.log_dir or folder),
        steps=trainer.global_step,
        interrupted=interrupted,
    )


def _report(options: RunOptions, result: TrainResult, kept: Path) -> None:
    from chop.tools.terminal import terminal

    console = terminal(soft_wrap=True, highlight=False)
    scores = ", ".join(f"{name} {value:.4f}" for name, value in result.best_metrics.items()) or "not validated"
    console.print(f"{'interrupted' if result.interrupted else 'trained'}: {result.steps:,} steps")
    console.print(f"best: {result.best_checkpoint} (validation: {scores})")
    console.print(f"last: {result.last_checkpoint}")
    console.print(f"log:  {result.log_dir}/metrics.csv")
    console.print(f"next: {scoring_command(options, kept)}", markup=False)
    if result.interrupted:
        console.print(f"to train further: the same command with --load {kept}", markup=False)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Suppress notes and tips of Lightning; its errors are shown."""
    before = {name: logging.getLogger(name).level for name in LIGHTNING_LOGGERS}
    for name in before:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.|torch\.utils\.data")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _sigint_restored() -> Iterator[None]:
    """Restore Ctrl-C, which Lightning ignores for good after the first one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
