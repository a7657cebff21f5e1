"""The files of a training for a space: the best weights, and the state with which a broken training goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from chop.errors import CheckpointError, ChopError
from chop.models.checkpoint_file import read_checkpoint, save_tensors
from chop.models.weight_notes import SPACE_KEY
from chop.tools.own_files import OwnFiles

BEST_FILE, STATE_FILE = "best.safetensors", "state.safetensors"
STATE_KEY = "chop_space_training"
STATE_VERSION = 2
"""Version 2 has more facts than 1, and no note on whether the training had ended."""


@dataclass(frozen=True)
class Progress:
    """The scores of the probes after each epoch, those before the first at place 0, and the number of the best."""

    scores: tuple[tuple[float, ...], ...]
    best: int

    @property
    def epochs(self) -> int:
        """The number of epochs that are done."""
        return len(self.scores) - 1


@dataclass(frozen=True)
class SpaceFiles:
    """The files in the folder of a training. Each is written whole or not at all."""

    folder: Path

    @property
    def best(self) -> Path:
        """The checkpoint with the best weights."""
        return self.folder / BEST_FILE

    @property
    def holds_training(self) -> bool:
        """Whether there is a training to go on with."""
        return (self.folder / STATE_FILE).is_file()

    def withdraw(self) -> None:
        """Remove what a training has left that ended before its first state."""
        if not self.holds_training:
            self.best.unlink(missing_ok=True)

    def write_state(self, tensors: Mapping[str, Tensor], progress: Progress, facts: Mapping[str, Any]) -> None:
        """Write what the next epoch depends on; `facts` are those that a resumed training must share."""
        scores = [list(map(_as_json, row)) for row in progress.scores]
        notes = {"version": STATE_VERSION, "scores": scores, "best": progress.best}
        save_tensors(tensors, self.folder / STATE_FILE, {STATE_KEY: json.dumps({**notes, "facts": dict(facts)})})

    def read_state(self, facts: Mapping[str, Any]) -> tuple[Mapping[str, Tensor], Progress]:
        """The tensors and the progress of the last epoch that was done.

        Raises CheckpointError for a file that is damaged or of another version, ChopError for a training with other
        `facts`.
        """
        path = self.folder / STATE_FILE
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError as error:
            raise CheckpointError(f"{path} is damaged: {self._anew}") from error
        try:
            notes = json.loads(checkpoint.metadata[STATE_KEY])
            version, known = notes["version"], dict(notes["facts"])
            progress = Progress(tuple(tuple(map(float, row)) for row in notes["scores"]), int(notes["best"]))
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} is no state of a training: {self._anew}") from error
        if version != STATE_VERSION:
            cure = self._anew if version == 1 else "update chop"
            raise CheckpointError(f"{path} is of version {version!r}, and this chop reads {STATE_VERSION}: {cure}")
        self._require_same(known, facts)
        return checkpoint.state_dict, progress

    @property
    def _anew(self) -> str:
        """The cure for a training that cannot go on."""
        return f"start anew without --resume (from the best weights with --load {self.best})"

    def _require_same(self, known: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        as_read = json.loads(json.dumps(dict(facts)))
        others = [name for name in {**as_read, **known} if known.get(name) != as_read.get(name)]
        if others:
            told = ", ".join(f"{name} {known.get(name)!r} (now {as_read.get(name)!r})" for name in others)
            raise ChopError(
                f"the training in {self.folder} was begun with other settings: {told}; undo the change, or {self._anew}"
            )


def _is_of_training(path: Path) -> bool:
    """Whether a file is the best or the state of a training; a state may be too damaged to tell."""
    try:
        noted = read_checkpoint(path).metadata.keys()
    except CheckpointError:
        return path.name == STATE_FILE and path.is_file()
    return (STATE_KEY if path.name == STATE_FILE else SPACE_KEY) in noted


SPACE_TRAINING_FILES = OwnFiles("training", (BEST_FILE, STATE_FILE), _is_of_training)
"""The files of a training; one that was killed before its first state has its best alone."""


def _as_json(value: float) -> float | str:
    """A score; NaN and infinities as texts, which JSON has no numbers for."""
    return value if math.isfinite(value) else repr(value)
