"""Reads and writes files of weights: finds out their kind, verifies their checksums, and executes nothing in them."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from chop.errors import CheckpointError
from chop.models.unpickling import UnsafeFileError, load_plain_values
from chop.tools.file_kinds import not_weights
from chop.tools.files import write_whole

Kind = Literal["pl", "pt", "safetensors", "mz", "hf"]
KIND_NAMES: Mapping[Kind, str] = {
    "pl": "Lightning checkpoint",
    "pt": "PyTorch state dict",
    "safetensors": "safetensors file",
    "mz": "saved graph",
    "hf": "Hugging Face folder",
}
GRAPH_KEY = "chop_graph"
GRAPH_VERSION = 2
"""The latest version of saved graphs: 2 has tensors that its formats hold. A graph without any is written as 1."""
FORMAT_NOTES_KEY = "chop_choice_offsets"
"""The key of notes on formats: offsets of weights, ranges of activations (`chop.models.weight_notes`)."""
MEASURED = "chop_measured."
"""The prefix of tensors that belong to formats, or to notes on them, and not to the model."""
CHECKSUM_KEY = "chop_checksum"
HF_FILE = "model.safetensors"
EXTRA_STATE = "_extra_state"
FROM_NUMPY = "save tensors instead, torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)"
MOST_DEEP = 4
"""Dictionaries within dictionaries that are looked into for state dicts."""


@dataclass(frozen=True)
class Checkpoint:
    """The state dicts of a file by their place in it ('' is the top level), the file's kind and its own notes.

    `nameless` are the places of lists of tensors, which cannot be told from each other; `measured` are tensors that
    formats, and notes on them, hold, by name.
    """

    path: Path
    kind: Kind
    state_dicts: Mapping[str, Mapping[str, Any]]
    metadata: Mapping[str, str] = field(default_factory=dict)
    has_checksum: bool = True
    nameless: tuple[str, ...] = ()
    measured: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def state_dict(self) -> Mapping[str, Any]:
        """The first state dict; the only one of a safetensors file."""
        return next(iter(self.state_dicts.values()))


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a Lightning checkpoint, state dict, safetensors file, saved graph or Hugging Face folder, on the CPU.

    Raises CheckpointError for a file that is missing or damaged, or whose reading would run code.
    """
    path = Path(path)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # no path at all: too long, say
        raise CheckpointError(f"{str(path)[:80]}…: {error.strerror}; give the path of a checkpoint") from error
    if is_folder:
        return _read_folder(path)
    if not is_file:
        what = "is no file" if path.exists() else "does not exist"
        raise CheckpointError(f"{path} {what}; give the path of a checkpoint (ch train prints it)")
    if problem := not_weights(path):
        raise CheckpointError(problem)
    return _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)


def save_tensors(state: Mapping[str, Tensor], path: Path | str, metadata: Mapping[str, str] | None = None) -> Path:
    """Write tensors as safetensors with a checksum, whole or not at all."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    notes = dict(metadata or {})
    content = save(tensors, metadata={**notes, CHECKSUM_KEY: _checksum(tensors, notes)})
    return write_whole(path, _with_notes_in_order(content))


def graph_notes(checkpoint: Checkpoint) -> dict[str, Any]:
    """The notes of a saved graph; raises CheckpointError where the file is none, or is of a later version."""
    try:
        notes = json.loads(checkpoint.metadata[GRAPH_KEY])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.path} is no saved graph; ch transform writes them") from error
    if not isinstance(notes, dict):
        raise CheckpointError(f"{checkpoint.path} is no saved graph; ch transform writes them")
    version = notes.get("version", GRAPH_VERSION)
    if not isinstance(version, int) or not 1 <= version <= GRAPH_VERSION:
        raise CheckpointError(
            f"{checkpoint.path} is a saved graph of version {version!r}, and this chop reads those up to "
            f"{GRAPH_VERSION}: update chop, or save the graph with this one"
        )
    return notes


def _is_safetensors(path: Path) -> bool:
    """A safetensors file begins with the length of its JSON header, then the header's brace."""
    with path.open("rb") as stream:
        start = stream.read(9)
    return len(start) == 9 and start[8:9] == b"{"


def _read_folder(path: Path) -> Checkpoint:
    if not (path / HF_FILE).is_file():
        raise CheckpointError(
            f"the folder {path} has no {HF_FILE}; give a checkpoint file or a Hugging Face folder (`ch test`, "
            "`transform` take a network of a search by --from-search FOLDER --trial NUMBER)"
        )
    found = _read_safetensors(path / HF_FILE)
    return Checkpoint(path, "hf", found.state_dicts, found.metadata, found.has_checksum)


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is a damaged safetensors file ({error}); make it anew") from error
    checksum = metadata.pop(CHECKSUM_KEY, None)
    if checksum is not None and checksum != _checksum(state, metadata):
        raise CheckpointError(f"{path} is damaged: its content does not match its checksum; make it anew")
    kind: Kind = "mz" if GRAPH_KEY in metadata else "safetensors"
    holds_more = bool({GRAPH_KEY, FORMAT_NOTES_KEY} & metadata.keys())
    measured = {name: state.pop(name) for name in list(state) if holds_more and name.startswith(MEASURED)}
    return Checkpoint(path, kind, {"": state}, metadata, checksum is not None, measured=measured)


def _with_notes_in_order(content: bytes) -> bytes:
    """The same safetensors file with its notes in the order of their names: the package leaves their order to chance.

    The file begins with the length of its header, 8 bytes; blanks fill the header up to a multiple of 8.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    notes = {"__metadata__": dict(sorted(header.pop("__metadata__").items()))}
    text = json.dumps({**notes, **header}, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[end:]))


def _checksum(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    """The SHA-256 of names, types, shapes and values, and of the notes beside them."""
    found = hashlib.sha256(json.dumps(sorted(notes.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        found.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _read_torch(path: Path) -> Checkpoint:
    with path.open("rb") as stream:
        start = stream.read(2)
    if start[:1] not in (b"P", b"\x80"):  # a zip archive, or the older format: a pickle
        raise CheckpointError(f"{path} is no file of weights; give a checkpoint (ch train prints where it wrote one)")
    is_archive = start == b"PK"
    if is_archive and _is_npz(path):
        raise CheckpointError(f"{path} is an archive of NumPy arrays (.npz): {FROM_NUMPY}")
    if is_archive:
        _verify_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = load_plain_values(path, is_archive)
    except UnsafeFileError as error:
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors and plain values ({error}). Such files are refused, since "
            "loading one can run any code: save model.state_dict(), or train with ch train"
        ) from error
    except Exception as error:
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}); make it anew") from error
    state_dicts = dict(_state_dicts(content, "", MOST_DEEP))
    if not state_dicts and _holds_arrays(content, MOST_DEEP):
        raise CheckpointError(f"{path} holds NumPy arrays, and no tensors: {FROM_NUMPY}")
    if not state_dicts:
        raise CheckpointError(f"{path} holds no state dict ({type(content).__name__}); save model.state_dict()")
    is_lightning = isinstance(content, dict) and "pytorch-lightning_version" in content
    kind: Kind = "pl" if is_lightning else "pt"
    return Checkpoint(path, kind, state_dicts, {}, is_archive, tuple(_nameless(content, "", MOST_DEEP)))


def _holds_arrays(content: Any, depth: int) -> bool:
    """Whether what stands for an array of NumPy is in nested dictionaries, lists and tuples."""
    if isinstance(content, Mapping | list | tuple) and depth:
        return any(
            _holds_arrays(part, depth - 1) for part in (content.values() if isinstance(content, Mapping) else content)
        )
    return type(content).__name__.startswith("numpy.")


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _verify_archive(path: Path) -> None:
    """Raise CheckpointError where a member of an archive of PyTorch does not match its CRC, or is code."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            is_script = any("/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); make it anew") from error
    if damaged is not None:
        raise CheckpointError(f"{path} is damaged: '{damaged}' in it does not match its checksum (CRC); make it anew")
    if is_script:
        raise CheckpointError(
            f"{path} is a TorchScript archive, whose code is not run: save torch.jit.load(path).state_dict()"
        )


def _state_dicts(content: Any, place: str, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dictionary with tensors in a file by its place, `model.ema` for `content["model"]["ema"]`."""
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, Mapping) or depth == 0:
        return
    own = {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and (isinstance(value, Tensor) or key.endswith(EXTRA_STATE))
    }
    if any(isinstance(value, Tensor) for value in own.values()):
        yield place, own
    for key, value in content.items():
        yield from _state_dicts(value, f"{place}.{key}".lstrip("."), depth - 1)


def _nameless(content: Any, place: str, depth: int) -> Iterator[str]:
    """The places of lists of several tensors, as some keep averaged weights."""
    if isinstance(content, list | tuple) and len(content) > 1 and all(isinstance(part, Tensor) for part in content):
        yield place
    elif isinstance(content, Mapping) and depth:
        for key, value in content.items():
            yield from _nameless(value, f"{place}.{key}".lstrip("."), depth - 1)
