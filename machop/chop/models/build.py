"""Builds models by name for a data set, with random, bundled or loaded weights."""

from __future__ import annotations

import inspect
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from torch import nn

from chop.errors import CheckpointError, ChopError, InputError
from chop.models.checkpoint import load_weights
from chop.models.info import MODELS, ModelInfo
from chop.scoring.task import task_class
from chop.tools.user_code import call_user, is_user_reference, load_user_object


def get_model_info(name: str) -> ModelInfo:
    """The facts of a model; raises UnknownNameError for an unknown name."""
    if is_user_reference(name):
        return ModelInfo(name, "a model of the user's own", model_source="user")
    return MODELS[name].info


def get_model(
    name: str,
    task: str = "cls",
    dataset_info: Any = None,
    pretrained: bool = False,
    checkpoint: Path | str | None = None,
) -> nn.Module:
    """The model `name` (of `ch info`, or `FILE.py:FUNCTION`) for the features and classes of a data set.

    `pretrained` takes the weights that ship with it, `checkpoint` those of a file; with neither they are random.
    Raises ChopError for a task or images that the model does not take, and CheckpointError for weights that do not fit.
    """
    model = _user_model(name, dataset_info) if is_user_reference(name) else _builtin(name, task, dataset_info)
    if pretrained:
        _check_fits(name, dataset_info)
        load_shipped_weights(model, name)
    if checkpoint is not None:
        load_weights(model, checkpoint)
    return model


def _check_fits(name: str, dataset_info: Any) -> None:
    """Raise CheckpointError where the weights that ship with a model were trained on data of another shape."""
    if is_user_reference(name) or dataset_info is None:
        return
    info = MODELS[name].info
    for what in ("num_features", "num_classes"):
        own, given = getattr(info, what), getattr(dataset_info, what, None)
        if given is not None and own is not None and given != own:
            raise CheckpointError(
                f"the weights that ship with '{name}' are for {own} {what.removeprefix('num_')}, as {info.trained_on} "
                f"has them; the data has {given}: choose --dataset {info.trained_on}, or ch train and --load"
            )


def _check_image_size(info: ModelInfo, dataset_info: Any) -> None:
    """Raise InputError where a model is given images of another size than its own, or images in place of vectors."""
    given = getattr(dataset_info, "image_size", None)
    if dataset_info is not None and given != info.image_size:
        raise InputError(
            f"'{info.name}' takes {_images(info.image_size)}, and the data are {_images(given)}: choose another model "
            "or other data (ch info lists both)"
        )


def _images(size: tuple[int, int] | None) -> str:
    return f"images of {size[0]} x {size[1]} pixels" if size else "no images"


def ships_weights(name: str) -> bool:
    """Whether the model `name` has bundled weights."""
    return not is_user_reference(name) and _shipped(name).is_file()


def load_shipped_weights(model: nn.Module, name: str) -> None:
    """Load the bundled weights of the model `name` into `model`; raises CheckpointError if there are none."""
    if not ships_weights(name):
        raise CheckpointError(f"no weights ship with '{name}'; train it (ch train) and use --load PATH")
    with as_file(_shipped(name)) as path:
        load_weights(model, path)


def _shipped(name: str) -> Traversable:
    return files("chop.models").joinpath("weights", f"{name}.safetensors")


def _builtin(name: str, task: str, dataset_info: Any) -> nn.Module:
    builtin = MODELS[name]
    info = builtin.info
    known = task_class(task)
    if known.reads_tokens or known.targets_are_values:
        raise InputError(f"'{name}' does not do task '{task}'; it does {', '.join(info.tasks)}")
    _check_image_size(info, dataset_info)
    features = getattr(dataset_info, "num_features", None) or info.num_features
    classes = getattr(dataset_info, "num_classes", None) or info.num_classes
    if features is None or classes is None:
        raise ChopError(f"'{name}' needs to know the data: give get_model a dataset_info with features and classes")
    return builtin.build(features, classes)


def _user_model(reference: str, dataset_info: Any) -> nn.Module:
    build = load_user_object(reference)
    takes_info = callable(build) and len(inspect.signature(build).parameters) > 0
    model = call_user(build, reference, *([dataset_info] if takes_info else []))
    if not isinstance(model, nn.Module):
        raise ChopError(f"{reference} returned {type(model).__name__}, not a torch.nn.Module")
    return model
