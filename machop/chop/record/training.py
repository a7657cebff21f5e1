"""The networks that a training leaves in the folder of a search, and the state from which the training goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chop.errors import CheckpointError, SearchError
from chop.record.names import NETWORKS_FOLDER, TRAINING_STATE_FILE

if TYPE_CHECKING:
    from torch import Tensor

NETWORK_FILE = "network_file"
"""The key of a sampled config that names the file of the network, relative to the folder of the search."""

MEAN_WIDTHS = "mean_widths"
"""The key beside a node's `config` with the mean bits of each operand whose widths are learned."""

SNAPSHOT_KEY = "training/config/snapshot"
"""The one key of a point of a training: the number of its snapshot, which is no choice of a space."""

SEARCH, SNAPSHOT = "chop_search", "chop_snapshot"
_NAME = re.compile(rf"{NETWORKS_FOLDER}/(\d{{4,9}})\.safetensors")


def network_name(number: int) -> str:
    """The file of a network in the folder of its search.

    >>> network_name(3)
    'networks/0003.safetensors'
    """
    return f"{NETWORKS_FOLDER}/{number:04d}.safetensors"


def network_path(folder: Path, name: str) -> Path:
    """The file of a network, as a sampled config names it.

    Raises SearchError for a name that no search gives, and where the file is missing.
    """
    if not _NAME.fullmatch(name):
        raise SearchError(f"{folder}: {NETWORK_FILE} = {name!r} is no file of a search; expected {network_name(0)!r}")
    if not (folder / name).is_file():
        raise SearchError(f"{folder / name} does not exist: the network of a trial is lost; --resume trains it again")
    return folder / name


def foreign(about: Mapping[str, object], path: Path, identity: str) -> str:
    """The reason why the file of a network, with the facts `about` it, is not what its name says; empty if it is."""
    if about.get(SEARCH) != identity:
        return f"{path} belongs to another search than the log beside it: the folder is a mixed copy"
    if SNAPSHOT in about and network_name(int(str(about[SNAPSHOT]))) != f"{NETWORKS_FOLDER}/{path.name}":
        return f"{path} holds snapshot {about[SNAPSHOT]} of its search, under the name of another one"
    return ""


@dataclass(frozen=True)
class TrainingState:
    """The tensors behind snapshot number `snapshot` of the training of a search."""

    snapshot: int
    tensors: Mapping[str, Tensor]


def write_training_state(folder: Path, identity: str, state: TrainingState) -> Path:
    """Write a state in place of the one before, whole or not at all."""
    from chop.models.checkpoint_file import save_tensors  # reports are made without torch

    notes = {SEARCH: identity, SNAPSHOT: str(state.snapshot)}
    return save_tensors(state.tensors, folder / TRAINING_STATE_FILE, notes)


def read_training_state(folder: Path, identity: str) -> TrainingState | None:
    """The state of the training of a search; None without one, and for one that is damaged or of another search."""
    from chop.models.checkpoint_file import read_checkpoint

    path = folder / TRAINING_STATE_FILE
    if not path.is_file():
        return None
    try:
        found = read_checkpoint(path)
        if found.kind != "safetensors" or not found.has_checksum or found.metadata.get(SEARCH) != identity:
            return None
        return TrainingState(int(found.metadata[SNAPSHOT]), found.state_dict)
    except (CheckpointError, KeyError, ValueError):
        return None
