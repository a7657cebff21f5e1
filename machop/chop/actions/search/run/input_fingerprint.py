"""The part of a search's fingerprint that is not in its settings: weights, data, user code and seed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from chop.actions.search.search_space import SearchSpaceBase
from chop.actions.search.settings.search import SearchSettings
from chop.actions.search.strategies.runners.base import RUNNERS
from chop.dataset.data import Data
from chop.dataset.data_module import MEASURING_BATCH, PART_NAMES
from chop.formats import FORMATS
from chop.models.weight_notes import weights_digest
from chop.nn.node_config import is_transform_key
from chop.passes.graph.registry import PASSES
from chop.scoring.classification import Classification
from chop.scoring.regression import Regression
from chop.tools.code_origin import is_user_code
from chop.tools.value_digest import code_digest, value_digest
from chop.weight_transforms import WEIGHT_TRANSFORMS, transform_of_key


def fingerprint_of_inputs(
    model: nn.Module, data_module: Data, settings: SearchSettings, space: SearchSpaceBase, seed: int
) -> dict[str, Any]:
    """The part of the fingerprint that is not in the settings: weights, data and user code."""
    samples = data_module.dataset_info.sha256 or _rows_digest(data_module, settings, space)
    runners = [RUNNERS[runner.name] for runner in settings.runners]
    return _fingerprint(model, data_module, samples, space, runners, seed)


def fingerprint_of_training(model: nn.Module, data_module: Data, space: SearchSpaceBase, seed: int) -> dict[str, Any]:
    """The same for a training for a space, which reads all training and validation samples."""
    return _fingerprint(model, data_module, rows_digest(data_module, ("train", "val")), space, (), seed)


def _fingerprint(
    model: nn.Module,
    data_module: Data,
    samples: str,
    space: SearchSpaceBase,
    runners: Iterable[type],
    seed: int,
) -> dict[str, Any]:
    """The fingerprint of what is given; `samples` is their checksum."""
    return {
        "weights": weights_digest(model),
        "model_state": _state_digest(model),
        "dataset": [data_module.dataset_info.name, samples, *_task_of(data_module)],
        "user_code": _code_digest(data_module, space, runners),
        "seed": seed,
    }


def _state_digest(model: nn.Module) -> str | None:
    """A checksum of model state outside the state dict; None if there is none.

    Buffers that are not saved, attributes and hooks of modules decide results too.
    """
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        buffers = {own: module._buffers.get(own) for own in sorted(module._non_persistent_buffers_set)}
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        attributes: dict[str, Any] = {}
        if not type(module).__module__.startswith(("torch.nn.modules.", "chop.")):
            attributes = {own: value for own, value in vars(module).items() if not own.startswith("_")}
            attributes.pop("training", None)
        if buffers or hooks or attributes:
            found[name] = [buffers, hooks, attributes]
    return value_digest(found) if found else None


def _rows_digest(data_module: Data, settings: SearchSettings, space: SearchSpaceBase) -> str:
    """A checksum of the samples that are measured on, and of the training samples if they matter."""
    parts = {PART_NAMES[getattr(runner.options, "data_loader", "val")] for runner in settings.runners}
    if space.calibration_rows or any(RUNNERS[runner.name].needs == "model" for runner in settings.runners):
        parts.add("train")
    return rows_digest(data_module, parts)


def rows_digest(data_module: Data, parts: Iterable[str]) -> str:
    """A checksum of all samples of some sets."""
    return value_digest({part: data_module.batches(part, None, MEASURING_BATCH) for part in sorted(parts)})


def _task_of(data_module: Data) -> list[str]:
    """The task, if the data alone do not determine it: one metric may mean different things in two tasks."""
    task = type(data_module.task)
    return [] if task in (Classification, Regression) else [task.__name__]


def _code_digest(data_module: Data, space: SearchSpaceBase, runners: Iterable[type]) -> str | None:
    """A checksum of all code outside this package: loss, metrics, task, runners, formats, weight transforms, passes.

    None where all are.
    """
    named = {value for choices in space.choices_flattened.values() for value in choices if isinstance(value, str)}
    classes: list[type] = [FORMATS[name] for name in sorted(named) if name in FORMATS]
    keys = {path.rpartition("/")[2] for path in space.choices_flattened}
    transforms = {transform_of_key(key.removeprefix("weight_")) for key in keys if is_transform_key(key)}
    classes += [WEIGHT_TRANSFORMS[name] for name in sorted(filter(None, transforms))]
    classes += [*runners, type(data_module.task)]
    own: list[Any] = [one for one in classes if is_user_code(one)]
    own += [PASSES[name] for name in space.passes if is_user_code(PASSES[name])]
    loss, of_data = data_module.task.data_loss, data_module.task.data_metrics
    if loss is None and not of_data and not own:
        return None
    metrics = {name: [code_digest(function), direction] for name, (function, direction) in of_data.items()}
    return value_digest([code_digest(loss), metrics, [*map(code_digest, own)]])
