"""Saves and loads a graph as one safetensors file, with the formats in its header and without pickle."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from chop.errors import CheckpointError, ChopError, UnknownNameError
from chop.ir.graph.export_trace import ExampleInputs
from chop.ir.graph.folded_norms import remove_folded_norms
from chop.ir.graph.format_json import format_from_json, plan_as_json
from chop.ir.graph.mase_graph import MaseGraph
from chop.ir.graph.metadata import MaseMetadata
from chop.ir.graph.noted_weights import take_choices
from chop.ir.plan import QuantPlan
from chop.models import get_model
from chop.models.checkpoint import misfits
from chop.models.checkpoint_file import (
    GRAPH_KEY,
    GRAPH_VERSION,
    Checkpoint,
    graph_notes,
    read_checkpoint,
    save_tensors,
)
from chop.registry import REGISTER_IT
from chop.tools.user_code import is_user_reference

GRAPH_FILE = "graph.safetensors"
"""The usual name of a saved graph."""

DTYPE_KEY = "torch_dtype_name"
_OF_THE_GRAPH = ("version", "formats", "folded", "metadata")
_PASS = "pass the model that the graph was made from, MaseGraph.from_checkpoint(path, model=...)"


def save_graph(graph: MaseGraph, path: Path | str, about: Mapping[str, Any] | None = None) -> Path:
    """Write a graph; `about` (model, task, dataset) is kept with it. Loading gives bit-identical outputs.

    A graph that was loaded keeps what its file said of it, but for what `about` says.
    """
    pristine = copy.deepcopy(graph)
    pristine.apply_plan(QuantPlan())
    measured: dict[str, Tensor] = {}
    formats = plan_as_json(graph.plan, measured)
    notes = {
        **graph.about,
        **(about or {}),
        "version": GRAPH_VERSION if measured else 1,
        "formats": formats,
        "folded": list(graph.folded),
        "metadata": {node.name: _metadata_as_json(node.meta["mase"]) for node in graph.nodes if "mase" in node.meta},
    }
    return save_tensors({**pristine.model.state_dict(), **measured}, path, {GRAPH_KEY: json.dumps(notes)})


def load_graph(
    path: Path | str, model: nn.Module | None = None, example_inputs: ExampleInputs | None = None
) -> MaseGraph:
    """The graph of a file; without `model`, one that ships with the package is built by the name in the file.

    Raises CheckpointError for a file that is no saved graph, or does not fit the model, and where `model` is missing
    and is of the user's own: what a file says never makes code run.
    """
    given: object = model
    if given is not None and not isinstance(given, nn.Module):
        cure = f"chop.get_model({given!r})" if isinstance(given, str) else "an instance, with its arguments"
        raise CheckpointError(f"model: expected a torch.nn.Module, got {given!r}; pass {cure}")
    checkpoint = read_checkpoint(path)
    notes = graph_notes(checkpoint)
    graph = MaseGraph(model if model is not None else _named_model(checkpoint, notes), example_inputs=example_inputs)
    graph.about = {key: value for key, value in notes.items() if key not in _OF_THE_GRAPH}
    remove_folded_norms(graph, notes.get("folded", []))
    _fill(graph, checkpoint, f"'{notes['model']}' as it ships" if model is None else "the model")
    for name, parameters in notes.get("metadata", {}).items():
        metadata = MaseMetadata()
        metadata.parameters.update(_metadata_from_json(parameters))
        graph.node(name).meta["mase"] = metadata
    return graph


def load_onto(graph: MaseGraph, path: Path | str) -> MaseGraph:
    """A copy of `graph` with the weights and formats of a file that was made from the same graph.

    Raises CheckpointError for a file that is no saved graph, or does not fit.
    """
    checkpoint = read_checkpoint(path)
    notes = graph_notes(checkpoint)
    found = copy.deepcopy(graph)
    found.apply_plan(QuantPlan())
    remove_folded_norms(found, (name for name in notes.get("folded", []) if name not in found.folded))
    found.about = {key: value for key, value in notes.items() if key not in _OF_THE_GRAPH}
    _fill(found, checkpoint, "the graph")
    return found


def _fill(graph: MaseGraph, checkpoint: Checkpoint, which: str) -> None:
    """Give a graph the weights and formats of a file; `which` names the graph in the message that they do not fit."""
    if wrong := misfits(graph.model, checkpoint.state_dict):
        raise CheckpointError(f"{checkpoint.path} does not fit {which}: {_PASS}\n  " + "\n  ".join(wrong))
    graph.model.load_state_dict(dict(checkpoint.state_dict))
    take_choices(graph)
    graph.forget_calibration()
    graph.apply_plan(saved_plan(checkpoint))


def _metadata_as_json(metadata: Any) -> Any:
    """Metadata without the tensors that `add_value` keeps; types of torch by name."""
    if isinstance(metadata, MaseMetadata):
        return _metadata_as_json(metadata.parameters)
    if isinstance(metadata, Mapping):
        plain = {str(key): _metadata_as_json(value) for key, value in metadata.items()}
        return {key: value for key, value in plain.items() if not isinstance(value, Tensor)}
    return {DTYPE_KEY: str(metadata)} if isinstance(metadata, torch.dtype) else metadata


def _metadata_from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if set(value) == {DTYPE_KEY}:
        dtype = getattr(torch, value[DTYPE_KEY].removeprefix("torch."), None)
        return dtype if isinstance(dtype, torch.dtype) else None
    return {key: _metadata_from_json(part) for key, part in value.items()}


def saved_plan(checkpoint: Checkpoint) -> QuantPlan:
    """The formats of a saved graph; raises CheckpointError where they cannot be read."""
    notes = graph_notes(checkpoint)
    try:
        return QuantPlan.of(
            {
                node: {operand: format_from_json(values, checkpoint.measured) for operand, values in operands.items()}
                for node, operands in notes["formats"].items()
            }
        )
    except UnknownNameError as error:
        raise CheckpointError(
            f"{checkpoint.path} has a format that is not known here ({error}): {REGISTER_IT}"
        ) from error
    except (ChopError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: its formats cannot be read ({error}); save the graph anew"
        ) from error


def _named_model(checkpoint: Checkpoint, notes: Mapping[str, Any]) -> nn.Module:
    name = notes.get("model")
    if not isinstance(name, str):
        raise CheckpointError(f"{checkpoint.path} names no model: {_PASS}")
    if is_user_reference(name):
        raise CheckpointError(
            f"{checkpoint.path} is the graph of a model of your own, '{name}', and a file never makes code run: {_PASS}"
        )
    try:
        return get_model(name, notes.get("task", "cls"))
    except ChopError as error:
        raise CheckpointError(f"{checkpoint.path} is the graph of '{name}' ({error}): {_PASS}") from error
