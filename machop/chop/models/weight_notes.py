"""Notes on the training of a model's weights: kept in a checkpoint beside them, and valid for these weights alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from torch import Tensor, nn

from chop.models.checkpoint_file import FORMAT_NOTES_KEY
from chop.tools.value_digest import value_digest

SPACE_KEY = "chop_trained_for_space"
"""The key of the notes in the metadata of a safetensors file."""

TRAINED_FOR_SPACE = "trained_for_space"
"""The key of the notes in what a graph, and its file, say of themselves."""

_ATTRIBUTE = "_chop_trained_for_space"


@dataclass(frozen=True)
class TrainedForSpace:
    """The training of weights for a whole search space.

    `choices` is a checksum of the space's choices, `networks` how many it has. `before` and `after` are the mean of the
    metric `metric` of `probes` fixed plans before training and at `epoch`, the best of `epochs`, with batch norms that
    are measured under each plan where `measured_norms`. The weights are those of `epoch`; 0: nothing has trained them.
    """

    choices: str
    networks: str
    epochs: int
    epoch: int
    metric: str
    probes: int
    before: float
    after: float
    seed: int = 0
    measured_norms: bool = False

    def as_metadata(self) -> dict[str, str]:
        """The notes as metadata of a safetensors file."""
        return {SPACE_KEY: json.dumps(asdict(self))}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self | None:
        """The notes of a file; None where there are none, or none that can be read."""
        try:
            values = json.loads(metadata[SPACE_KEY])
            return cls.from_json(values)
        except (KeyError, ValueError, TypeError):
            return None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The notes from their values; raises TypeError where one is missing or of another type."""
        found = cls(**values)
        wrong = [one.name for one in fields(cls) if not isinstance(getattr(found, one.name), _TYPES[str(one.type)])]
        if wrong:
            raise TypeError(f"{', '.join(wrong)}: not of the type that is written")
        return found

    def __str__(self) -> str:
        untouched = "" if self.epoch else "the weights before the training; "
        return f"{untouched}{self._counted}, seed {self.seed}: {self._gain}"

    @property
    def counted_networks(self) -> str:
        """How many networks the space has, with the noun."""
        return f"{self.networks} network{'' if self.networks == '1' else 's'}"

    @property
    def counted_probes(self) -> str:
        """How many probe plans were scored, with the noun."""
        return f"{self.probes} probe plan{'' if self.probes == 1 else 's'}"

    @property
    def _counted(self) -> str:
        return f"{self.counted_networks}, epoch {self.epoch} of {self.epochs}"

    @property
    def _gain(self) -> str:
        return f"{self.metric} of {self.counted_probes} {self.before:.4g} before, {self.after:.4g} after"

    def as_text(self, choices: str) -> str:
        """A sentence for reports of a search of the space with the checksum `choices`."""
        which = "this search space" if choices == self.choices else "another search space"
        if not self.epoch:
            before = f"{self.metric} of {self.counted_probes} {self.before:.4g}"
            return f"The weights are those before a training for {which}, none of whose epochs was better: {before}."
        return f"The weights were trained for {which} ({self._counted}): {self._gain}."


_TYPES: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "bool": bool}


@dataclass(frozen=True)
class FormatNotes:
    """Offsets of weights and ranges of activations, by format.

    `entries` is JSON that names the `tensors` (`chop.ir.graph.format_notes_json`).
    """

    entries: str
    tensors: Mapping[str, Tensor]

    def as_metadata(self) -> dict[str, str]:
        """The notes as metadata of a safetensors file, which holds the tensors beside the weights."""
        return {FORMAT_NOTES_KEY: self.entries}


def note(model: nn.Module, notes: TrainedForSpace | None, by_format: FormatNotes | None = None) -> None:
    """Keep notes with a model; they are forgotten as soon as its tensors change."""
    has_some = notes is not None or by_format is not None
    vars(model)[_ATTRIBUTE] = (notes, by_format, _digest(model)) if has_some else None


def hand_on_notes(model: nn.Module, twin: nn.Module) -> None:
    """Keep with a copy of a model what was noted on its weights."""
    if (kept := vars(model).get(_ATTRIBUTE)) is not None:
        vars(twin)[_ATTRIBUTE] = kept


def has_forgotten_format_notes(model: nn.Module) -> bool:
    """Whether there were notes on formats, and the weights have changed since."""
    kept = vars(model).get(_ATTRIBUTE)
    return kept is not None and kept[1] is not None and format_notes_on(model) is None


def notes_on(model: nn.Module) -> TrainedForSpace | None:
    """The notes on a model's weights; None where there are none, or where the weights have changed since."""
    return _kept(model)[0]


def format_notes_on(model: nn.Module) -> FormatNotes | None:
    """The notes on formats that were trained with a model's weights; None as for `notes_on`."""
    return _kept(model)[1]


def _kept(model: nn.Module) -> tuple[TrainedForSpace | None, FormatNotes | None]:
    kept = vars(model).get(_ATTRIBUTE)
    return (kept[0], kept[1]) if kept is not None and kept[2] == _digest(model) else (None, None)


def weights_digest(model: nn.Module) -> str:
    """A checksum of all tensors of a model, by name, and of the notes on formats that were trained with them."""
    notes = format_notes_on(model)
    own = _digest(model)
    return own if notes is None else value_digest([own, notes.entries, dict(notes.tensors)])


def _digest(model: nn.Module) -> str:
    """A checksum of all tensors of a model, by name."""
    return value_digest(dict(sorted(model.state_dict().items())))
