"""Loads weights from files into models, and saves them; all names, shapes and values must fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from chop.errors import CheckpointError
from chop.models.checkpoint_file import (
    FORMAT_NOTES_KEY,
    KIND_NAMES,
    Checkpoint,
    graph_notes,
    read_checkpoint,
    save_tensors,
)
from chop.models.info import MODELS, BuiltinModel
from chop.models.weight_notes import FormatNotes, TrainedForSpace, format_notes_on, note
from chop.models.weight_sets import WeightSet, choose_set, complete_sets, nearest_set, same_shape, with_buffers
from chop.models.weight_values import as_weights
from chop.tools.logger import get_logger

logger = get_logger(__name__)


def load_weights(
    model: nn.Module,
    path: Path | str,
    load_type: str | None = None,
    which: str | None = None,
    takes_graph: bool = False,
) -> Checkpoint:
    """Put the weights of a file into `model`; all names and shapes must fit, and all values must be able to be weights.

    `which` chooses between several sets in the file: "raw", "averaged", or the place that an error names.
    `takes_graph` says that a saved graph is rebuilt on the model next. Raises CheckpointError that lists what is wrong.
    """
    checkpoint = read_checkpoint(path)
    _compare_kind(checkpoint, load_type)
    if checkpoint.kind == "mz":
        tensors = _graph_tensors(checkpoint, model, takes_graph)
    else:
        tensors = _chosen_tensors(checkpoint, model, which)
    state, problems, remarks = as_weights(model, tensors)
    if problems:
        raise CheckpointError(
            f"{path} holds values that cannot be the model's weights:\n  "
            + "\n  ".join(problems)
            + "\n  load another checkpoint, or train anew (with a smaller --learning-rate where values are not finite)"
        )
    model.load_state_dict(state, strict=checkpoint.kind != "mz")
    note(model, TrainedForSpace.from_metadata(checkpoint.metadata), format_notes_in(checkpoint))
    logger.info("weights: %s (%s)", path, KIND_NAMES[checkpoint.kind])
    for remark in remarks:
        logger.info("%s: %s", path, remark)
    if not checkpoint.has_checksum:
        _tell_unverified(checkpoint)
    return checkpoint


def save_weights(model: nn.Module, path: Path | str, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a model's tensors as safetensors, with the notes on formats that were trained with them."""
    notes = format_notes_on(model)
    if notes is None:
        return save_tensors(model.state_dict(), path, metadata)
    tensors = {**model.state_dict(), **notes.tensors}
    return save_tensors(tensors, path, {**(metadata or {}), **notes.as_metadata()})


def format_notes_in(checkpoint: Checkpoint) -> FormatNotes | None:
    """The notes on formats of a file; None for saved graphs, whose formats have what they say."""
    entries = checkpoint.metadata.get(FORMAT_NOTES_KEY)
    return None if entries is None or checkpoint.kind == "mz" else FormatNotes(entries, checkpoint.measured)


def misfits(model: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """How the names and shapes in `state` differ from the model's, one line each; empty where they fit."""
    own = model.state_dict()
    lines = [f"missing: {name}{_shape(own[name])}" for name in own if name not in state]
    lines += [f"unexpected: {name}{_shape(state[name])}" for name in state if name not in own]
    return lines + _other_shapes(own, state)


def _other_shapes(own: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    return [
        f"another shape: {name} is{_shape(state[name])}, the model has{_shape(own[name])}"
        for name in own
        if name in state and not same_shape(state[name], own[name])
    ]


def _shape(value: Any) -> str:
    is_known = isinstance(value, Tensor) and not nn.parameter.is_lazy(value)
    return f" {tuple(value.shape)}" if is_known else " (of no shape)"


def _chosen_tensors(checkpoint: Checkpoint, model: nn.Module, which: str | None) -> Mapping[str, Any]:
    """The one set of a file's weights that fits the model, and is asked for where there are several."""
    sets = fitting_sets(checkpoint, model)
    if not sets:
        near = nearest_set(checkpoint, model.state_dict())
        lines = misfits(model, {**near.tensors, **near.unknown})
        raise _misfit(checkpoint, lines)
    chosen = choose_set(checkpoint, sets, which)
    if lines := misfits(model, chosen.tensors):
        raise _misfit(checkpoint, lines)
    _tell_choice(checkpoint, chosen, [one for one in sets if one is not chosen])
    return chosen.tensors


def fitting_sets(checkpoint: Checkpoint, model: nn.Module) -> list[WeightSet]:
    """All sets of a file with every name of the model, averaged ones with the buffers of a raw one."""
    own = model.state_dict()
    sets = complete_sets(checkpoint, own)
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return sets + with_buffers(checkpoint, sets, own, parameters)


def _misfit(checkpoint: Checkpoint, lines: list[str]) -> CheckpointError:
    if any(isinstance(value, Tensor) and value.is_quantized for value in _values(checkpoint)):
        lines = [*lines, "the file is of a quantised model: save the state dict of the float model"]
    names = fitting_models(checkpoint)
    guess = f"; it fits the model {' or '.join(names)}" if names else ""
    return CheckpointError(f"{checkpoint.path} does not fit the model{guess}:\n  " + "\n  ".join(lines))


def fitting_models(checkpoint: Checkpoint) -> list[str]:
    """The bundled models, as they ship, that the weights of a file fit."""
    return [name for name, builtin in MODELS.working().items() if _fits(builtin, checkpoint)]


def _values(checkpoint: Checkpoint) -> list[Any]:
    return [value for state in checkpoint.state_dicts.values() for value in state.values()]


def _fits(builtin: BuiltinModel, checkpoint: Checkpoint) -> bool:
    features, classes = builtin.info.num_features, builtin.info.num_classes
    if features is None or classes is None:
        return False
    with torch.device("meta"):
        model = builtin.build(features, classes)
        return any(not misfits(model, one.tensors) for one in complete_sets(checkpoint, model.state_dict()))


def _tell_choice(checkpoint: Checkpoint, chosen: WeightSet, others: list[WeightSet]) -> None:
    if others:
        kind = "averaged weights" if chosen.averaged else "raw weights"
        told = ", ".join(f"'{one.name}'" + (" (averaged)" if one.averaged else "") for one in others)
        logger.info(
            "%s: the %s '%s' are loaded; it also holds %s: choose with --load-weights",
            checkpoint.path, kind, chosen.name, told,
        )  # fmt: skip
    elif chosen.averaged:
        logger.info("%s: the averaged weights '%s' are loaded; it holds no others", checkpoint.path, chosen.name)
    if chosen.buffers_of:
        logger.info(
            "%s: the buffers (running means and the like) are those of '%s'", checkpoint.path, chosen.buffers_of
        )
    if checkpoint.nameless:
        logger.warning(
            "%s: the tensors in '%s' have no names (averaged weights, perhaps) and cannot be loaded: save them by name",
            checkpoint.path, "', '".join(checkpoint.nameless),
        )  # fmt: skip
    named = {id(tensor) for other in others for tensor in other.tensors.values()}
    outside = [name for name, tensor in chosen.outside.items() if id(tensor) not in named]
    if outside:
        logger.warning("%s: no weights of the model, left out: %s", checkpoint.path, ", ".join(outside))


def _graph_tensors(checkpoint: Checkpoint, model: nn.Module, takes_graph: bool) -> Mapping[str, Any]:
    """The tensors of a saved graph that are the model's own.

    A graph holds what forward uses, constants and biases of folded norms among it, and no more.
    """
    own, state = model.state_dict(), checkpoint.state_dict
    tensors = {name: tensor for name, tensor in state.items() if name in own}
    wrong = _other_shapes(own, tensors)
    wrong += [] if tensors else [f"none of the graph's tensors is one of {type(model).__name__}"]
    if wrong:
        raise _misfit(checkpoint, wrong)
    notes = graph_notes(checkpoint)
    if takes_graph:
        return tensors
    if notes.get("folded"):
        raise CheckpointError(
            f"{checkpoint.path} is a graph whose batch norms ({', '.join(notes['folded'])}) are folded into the layers "
            "before them: its weights are no weights of the model. --load the checkpoint that it was made from; ch "
            "test and ch train take the graph as it is"
        )
    if notes.get("formats"):
        logger.info("%s: its weights are taken, its formats are not: this command chooses its own", checkpoint.path)
    return tensors


def _tell_unverified(checkpoint: Checkpoint) -> None:
    if checkpoint.kind in ("pt", "pl"):
        logger.warning(
            "%s: PyTorch's older format has no checksum, so damaged values cannot be noticed; write the file anew: "
            "torch.save(torch.load(path), path)",
            checkpoint.path,
        )
    else:
        logger.info("%s: the file has no checksum of its own: damaged values cannot be noticed", checkpoint.path)


def _compare_kind(checkpoint: Checkpoint, load_type: str | None) -> None:
    found = "pt" if checkpoint.kind == "safetensors" else checkpoint.kind
    if load_type is not None and load_type != found:
        logger.warning(
            "--load-type %s: %s is a %s and is loaded as one",
            load_type,
            checkpoint.path,
            KIND_NAMES[checkpoint.kind],
        )
