"""Defines the options that every command shares: top-level keys of the TOML file and command-line flags."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

CODE_OPTIONS = ("model", "dataset")
"""Options whose value may be FILE.py:FUNCTION, the user's own code."""

Accelerator = Literal["auto", "cpu", "gpu", "mps"]


def _option(default: Any, help_text: str, *flags: str, of_training: bool = False) -> Any:
    """A field with its help and its command-line flags (default: `--<name-with-dashes>`).

    `of_training`: it has no effect on commands that do not train.
    """
    return field(default=default, metadata={"help": help_text, "flags": flags, "of_training": of_training})


def _training(default: Any, help_text: str, *flags: str) -> Any:
    return _option(default, help_text, *flags, of_training=True)


@dataclass(frozen=True)
class RunOptions:
    """The options of a run; one instance holds the values after default < TOML < command line."""

    model: str | None = _option(None, "A model of `ch info`, or FILE.py:FUNCTION (command line only).")
    dataset: str | None = _option(None, "A data set of `ch info`, or FILE.py:FUNCTION (command line only).")
    task: Annotated[str, MinLen(1)] = _option(
        "cls", "What outputs are judged by: cls, lm, regression, segmentation, or one of a plug-in (`ch info task`)."
    )
    load_name: Annotated[str, MinLen(1)] | None = _option(
        None, "Weights to start from; the kind of file is found out.", "--load"
    )
    load_type: Literal["pl", "pt", "mz", "hf"] | None = _option(None, "The kind of file that --load is said to be.")
    load_weights: str | None = _option(
        None, "Which weights of a file with several: raw, averaged, or a name that the log or an error tells."
    )
    is_pretrained: bool = _option(False, "Start from the weights that ship with the model.", "--pretrained")
    batch_size: Annotated[int, Ge(1)] = _option(128, "Samples per batch.")
    max_epochs: Annotated[int, Ge(1)] = _training(20, "Train for at most this many epochs.")
    max_steps: Annotated[int, Ge(1)] | Literal[-1] = _training(-1, "Train for at most this many steps; -1: no limit.")
    learning_rate: Annotated[float, Gt(0), Le(1000)] = _training(1e-3, "Learning rate of the optimiser.")
    weight_decay: Annotated[float, Ge(0)] = _training(0.0, "Weight decay of the optimiser.")
    lr_scheduler: Literal["constant", "linear", "cosine"] = _training(
        "constant", "The learning rate along the training: as it is, or falling to nothing along a line or a cosine."
    )
    training_optimizer: Literal["adam", "sgd", "adamw"] = _training("adam", "The optimiser.")
    trainer_precision: str = _training("32-true", "Precision of training, as Lightning names it.")
    accumulate_grad_batches: Annotated[int, Ge(1)] = _training(1, "Batches whose gradients make one step.")
    seed: Annotated[int, Ge(0), Lt(2**32)] = _option(0, "Seed of everything that draws random numbers.")
    accelerator: Accelerator = _option("auto", "Where to run; without the GPU asked for, the CPU, with a warning.")
    num_devices: Annotated[int, Ge(1)] = _training(1, "Devices to train on.", "--gpu", "--num-devices")
    num_workers: Annotated[int, Ge(0)] = _option(0, "Processes that load data.", "--cpu", "--num-workers")
    strategy: str = _training("auto", "Distribution of training over devices, as Lightning names it.")
    max_token_len: Annotated[int, Ge(1)] = _option(512, "Tokens of each sample that is cut from one long text.")
    disable_dataset_cache: bool = _option(False, "Read the data anew, not from a cache.")
    log_every_n_steps: Annotated[int, Ge(1)] = _training(50, "Log the training loss every so many steps.")
    report_to: Literal["wandb", "tensorboard"] | None = _training(None, "Send training curves there too.")
    profile: bool = _training(False, "Profile the training and write where the time went.")
    no_warnings: bool = _option(False, "Hide warnings.")
    log_level: Literal["debug", "info", "warning", "error", "critical"] = _option("info", "Least severe message shown.")
    project_dir: Annotated[str, MinLen(1)] = _option("mase_output", "Folder of all projects.")
    project: Annotated[str, MinLen(1)] | None = _option(
        None, "Folder of this run; default <model>_<task>_<dataset>_<date>."
    )


def training_options() -> list[str]:
    """The names of the options that have no effect on commands that do not train."""
    return [own.name for own in fields(RunOptions) if own.metadata["of_training"]]
