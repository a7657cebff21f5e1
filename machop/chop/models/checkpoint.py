"""Weights in files: their kind is found out, nothing in them is executed, a misfit says which keys differ."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from chop.errors import CheckpointError
from chop.models.info import MODELS, BuiltinModel
from chop.tools.files import write_whole
from chop.tools.logger import get_logger

logger = get_logger(__name__)

Kind = Literal["pl", "pt", "safetensors", "mz", "hf"]
KIND_NAMES: Mapping[Kind, str] = {
    "pl": "Lightning checkpoint",
    "pt": "PyTorch state dict",
    "safetensors": "safetensors file",
    "mz": "saved graph",
    "hf": "Hugging Face folder",
}
MISSING, UNEXPECTED = "missing:", "unexpected:"
GRAPH_KEY = "chop_graph"
HF_FILE = "model.safetensors"
WRAPPER_PREFIXES = ("model.", "module.", "_orig_mod.")


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, what kind of file they came from, and the file's own notes."""

    path: Path
    kind: Kind
    state_dict: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a Lightning checkpoint, state dict, safetensors file, saved graph or Hugging Face folder, on the CPU.

    Raises CheckpointError for a file that is missing, broken, or holds more than tensors and plain values.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; give the path of a checkpoint (ch train prints it)")
    return _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)


def load_weights(model: nn.Module, path: Path | str, load_type: str | None = None) -> Checkpoint:
    """Put the weights of a file into `model`; all keys must fit.

    Raises CheckpointError that lists the keys which do not.
    """
    checkpoint = read_checkpoint(path)
    _compare_kind(checkpoint, load_type)
    state = _fitting_names(checkpoint.state_dict, model)
    # A graph holds what the model's forward uses, constants and folded biases among it, and no more: that the rest fits
    # is checked where the graph is built again.
    is_graph = checkpoint.kind == "mz"
    wrong = [line for line in misfits(model, state) if not (is_graph and line.startswith((MISSING, UNEXPECTED)))]
    if is_graph:
        state = {name: tensor for name, tensor in state.items() if name in model.state_dict()}
        wrong += [] if state else [f"none of the graph's tensors is one of {type(model).__name__}"]
    if wrong:
        raise CheckpointError(f"{path} does not fit the model:\n  " + "\n  ".join([*wrong, *_guess(state)]))
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"{path} holds NaN or infinity in {', '.join(broken[:5])}: the training diverged; train anew with a "
            "smaller --learning-rate"
        )
    model.load_state_dict(dict(state), strict=not is_graph)
    logger.info("weights: %s (%s)", path, KIND_NAMES[checkpoint.kind])
    return checkpoint


def save_weights(model: nn.Module, path: Path | str, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a model's tensors as safetensors."""
    return save_tensors(model.state_dict(), path, metadata)


def save_tensors(state: Mapping[str, Tensor], path: Path | str, metadata: Mapping[str, str] | None = None) -> Path:
    """Write tensors as safetensors, whole or not at all."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    return write_whole(path, save(tensors, metadata=dict(metadata or {})))


def misfits(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """How the names and shapes in `state` differ from the model's, one line each; empty where they fit."""
    own = model.state_dict()
    lines = [f"{MISSING} {name} {tuple(own[name].shape)}" for name in own if name not in state]
    lines += [f"{UNEXPECTED} {name} {tuple(state[name].shape)}" for name in state if name not in own]
    lines += [
        f"another shape: {name} is {tuple(state[name].shape)}, the model has {tuple(own[name].shape)}"
        for name in own
        if name in state and own[name].shape != state[name].shape
    ]
    return lines


def _is_safetensors(path: Path) -> bool:
    """A safetensors file begins with the length of its JSON header, then the header's brace."""
    with path.open("rb") as stream:
        start = stream.read(9)
    return len(start) == 9 and start[8:9] == b"{"


def _may_be_torch(path: Path) -> bool:
    """Whether a file begins like an archive of PyTorch (zip) or like its older format (a pickle)."""
    with path.open("rb") as stream:
        return stream.read(1) in (b"P", b"\x80")


def _read_folder(path: Path) -> Checkpoint:
    if not (path / HF_FILE).is_file():
        raise CheckpointError(f"the folder {path} has no {HF_FILE}; give a checkpoint file or a Hugging Face folder")
    found = _read_safetensors(path / HF_FILE)
    return Checkpoint(path, "hf", found.state_dict, found.metadata)


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is a damaged safetensors file ({error}); make it anew") from error
    return Checkpoint(path, "mz" if GRAPH_KEY in metadata else "safetensors", state, metadata)


def _read_torch(path: Path) -> Checkpoint:
    if not _may_be_torch(path):
        raise CheckpointError(f"{path} is no file of weights; give a checkpoint (ch train prints where it wrote one)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors and plain values. Such files are refused, since loading "
            "one can run any code: save model.state_dict(), or train with ch train"
        ) from error
    except Exception as error:
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}); make it anew") from error
    return _from_content(path, content)


def _from_content(path: Path, content: Any) -> Checkpoint:
    is_lightning = isinstance(content, dict) and isinstance(content.get("state_dict"), dict)
    state = content["state_dict"] if is_lightning else content
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} holds no state dict ({type(content).__name__}); save model.state_dict()")
    return Checkpoint(path, "pl" if "pytorch-lightning_version" in content else "pt", state)


def _compare_kind(checkpoint: Checkpoint, load_type: str | None) -> None:
    found = "pt" if checkpoint.kind == "safetensors" else checkpoint.kind
    if load_type is not None and load_type != found:
        logger.warning(
            "--load-type %s: %s is a %s and is loaded as one",
            load_type,
            checkpoint.path,
            KIND_NAMES[checkpoint.kind],
        )


def _fitting_names(state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """The names without what a wrapper (Lightning, DataParallel, compile) put before them.

    What else the wrapper holds (the weights of a loss, say) is left out, and named in the log.
    """
    own = set(model.state_dict())
    for prefix in WRAPPER_PREFIXES:
        inner = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        before, after = len(own & set(state)), len(own & set(inner))
        if after > before or (before == 0 and inner and len(inner) == len(state)):
            outside = [name for name in state if not name.startswith(prefix)]
            if outside:
                logger.info("no weights of the model, left out: %s", ", ".join(outside))
            state = inner
    return state


def _guess(state: Mapping[str, Tensor]) -> list[str]:
    """A line that names the models which tensors of these names and shapes fit, if any."""
    names = [name for name in MODELS if _fits(MODELS[name], state)]
    return [f"it fits the model {' or '.join(names)}"] if names else []


def _fits(builtin: BuiltinModel, state: Mapping[str, Tensor]) -> bool:
    features, classes = builtin.info.num_features, builtin.info.num_classes
    if features is None or classes is None:
        return False
    with torch.device("meta"):
        return not misfits(builtin.build(features, classes), state)


def graph_notes(checkpoint: Checkpoint) -> dict[str, Any]:
    """The notes of a saved graph; raises CheckpointError where the file is none."""
    try:
        notes = json.loads(checkpoint.metadata[GRAPH_KEY])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.path} is no saved graph; ch transform writes them") from error
    if not isinstance(notes, dict):
        raise CheckpointError(f"{checkpoint.path} is no saved graph; ch transform writes them")
    return notes
