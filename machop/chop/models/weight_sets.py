"""Finds the weights of a model in a file: under any prefix, raw or averaged, alone or beside others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from chop.errors import CheckpointError
from chop.models.checkpoint_file import Checkpoint

WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Parts of names that DataParallel, torch.compile and their like put in anywhere."""
AVERAGED = frozenset({"ema", "swa", "avg", "average", "averaged", "averaging", "shadow", "polyak", "lawa"})
COUNTER = "n_averaged"
"""The counter that `torch.optim.swa_utils.AveragedModel` keeps beside averaged weights."""
NORM_COUNTER = "num_batches_tracked"
"""The counter of batches that batch norms have since PyTorch 0.4.1; it starts at 0 if a file lacks it, as in torch."""
TOP = "top"


@dataclass(frozen=True)
class WeightSet:
    """Tensors of a file by the model's own names.

    `name` is the place in the file (`state_dict.ema_model`); `unknown` are names in the same place that the model does
    not have, `outside` those of other places in the same dictionary.
    """

    name: str
    tensors: Mapping[str, Any]
    unknown: Mapping[str, Any]
    outside: Mapping[str, Any]
    averaged: bool = False
    buffers_of: str = ""
    """The place that the buffers are from, where averaged parameters alone are in the file."""


def complete_sets(checkpoint: Checkpoint, own: Mapping[str, Any]) -> list[WeightSet]:
    """All sets in a file with every name of the state dict `own`, and with its shapes where any set has them."""
    found = [weights for place in checkpoint.state_dicts for weights in _complete_in(checkpoint, place, own)]
    return [weights for weights in found if _has_shapes(weights, own)] or found


def with_buffers(
    checkpoint: Checkpoint, sets: Sequence[WeightSet], own: Mapping[str, Any], parameters: Collection[str]
) -> list[WeightSet]:
    """Averaged sets of the model's `parameters` alone, with the buffers of the first raw set among `sets`."""
    raw = next((one for one in sets if not one.averaged), None)
    if raw is None or len(parameters) == len(own):
        return []
    known = {one.name for one in sets}
    partial = complete_sets(checkpoint, {name: own[name] for name in own if name in parameters})
    return [
        replace(one, tensors={**raw.tensors, **one.tensors}, buffers_of=raw.name)
        for one in partial
        if one.averaged and one.name not in known
    ]


def nearest_set(checkpoint: Checkpoint, own: Mapping[str, Any]) -> WeightSet:
    """The set with most names of `own`, for an error to compare with."""
    ranked = [
        (count, len(state), place, prefix)
        for place, state in checkpoint.state_dicts.items()
        for prefix, count in (_prefixes(_names(state, own), _names(own, own)) or Counter({"": 0})).items()
    ]
    *_, place, prefix = max(ranked, key=lambda one: one[:2])
    return _set_at(checkpoint, place, prefix, own)


def choose_set(checkpoint: Checkpoint, sets: list[WeightSet], which: str | None) -> WeightSet:
    """The set that is named by its place, or is the only `raw` or `averaged` one; raw weights where nothing is asked.

    Raises CheckpointError where none or several could be meant.
    """
    kinds = {"raw": [one for one in sets if not one.averaged], "averaged": [one for one in sets if one.averaged]}
    asked = kinds.get(which or "")
    if asked is None:
        asked = [one for one in sets if one.name == which] if which else kinds["raw"] or kinds["averaged"]
    names = ", ".join(f"'{one.name}'" + (" (averaged)" if one.averaged else "") for one in sets)
    if not asked:
        raise CheckpointError(f"{checkpoint.path} holds no weights '{which}' for the model; it holds {names}")
    if any(not _are_equal(asked[0], one) for one in asked[1:]):
        raise CheckpointError(
            f"{checkpoint.path} holds several sets of weights that fit the model: {names}; "
            "choose one by its name: --load-weights NAME (in Python: load_weights(model, path, which=NAME))"
        )
    return asked[0]


def _complete_in(checkpoint: Checkpoint, place: str, own: Mapping[str, Any]) -> Iterator[WeightSet]:
    """The complete sets in one state dict; names that belong to none of them must lie outside of all."""
    state = checkpoint.state_dicts[place]
    needed = {name: value for name, value in own.items() if name.rpartition(".")[2] != NORM_COUNTER}
    least = len({_identity(name, value) for name, value in needed.items()})  # tied weights may be there once
    prefixes = [prefix for prefix, count in _prefixes(_names(state, own), _names(own, own)).items() if count >= least]
    found = [_set_at(checkpoint, place, prefix, own) for prefix in prefixes]
    found = [one for one in found if len(one.tensors) == len(own)]
    for one in found:
        others = {id(value) for other in found if other is not one for value in other.tensors.values()}
        if all(id(value) in others for value in one.unknown.values()):
            yield one


def _set_at(checkpoint: Checkpoint, place: str, prefix: str, own: Mapping[str, Any]) -> WeightSet:
    state = checkpoint.state_dicts[place]
    names, own_names = _names(state, own), _names(own, own)
    tensors = {mine: state[names[prefix + name]] for name, mine in own_names.items() if prefix + name in names}
    used = dict.fromkeys(names[prefix + name] for name in own_names if prefix + name in names)
    rest = {names[name]: name for name in names if names[name] not in used}
    inside = {key: name for key, name in rest.items() if name.startswith(prefix)}
    name = ".".join(part for part in (place, prefix.rstrip(".")) if part) or TOP
    return WeightSet(
        name=name,
        tensors=_with_tied(tensors, own),
        unknown={name.removeprefix(prefix): state[key] for key, name in inside.items()},
        outside={key: state[key] for key in rest if key not in inside},
        averaged=_is_averaged(name, state, next(iter(used), "")),
    )


def _names(state: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, str]:
    """The full form of each name by what it is without wrappers; by itself where two would be the same."""
    full = [name for name in state if name.rpartition(".")[2] != COUNTER or COUNTER in own]
    short = {".".join(part for part in name.split(".") if part not in WRAPPERS): name for name in full}
    return short if len(short) == len(full) else {name: name for name in full}


def _prefixes(names: Iterable[str], own: Iterable[str]) -> Counter[str]:
    """How many of the names `own` there are behind each prefix, '' among them."""
    wanted = set(own)
    found: Counter[str] = Counter()
    for name in names:
        starts = [0, *(match.end() for match in re.finditer(r"\.", name))]
        found.update(name[:start] for start in starts if name[start:] in wanted)
    return found


def _with_tied(tensors: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors, those of tied weights that are in the file under one of their names alone, and counters at 0."""
    by_identity = {_identity(name, own[name]): tensor for name, tensor in tensors.items()}
    found = {name: tensors.get(name, by_identity.get(_identity(name, value))) for name, value in own.items()}
    counters = {name: torch.zeros_like(own[name]) for name in own if name.rpartition(".")[2] == NORM_COUNTER}
    given = {name: tensor for name, tensor in found.items() if tensor is not None}
    return {name: (counters | given)[name] for name in own if name in given or name in counters}


def _identity(name: str, value: Any) -> Any:
    """The same for the names of tied weights."""
    if not isinstance(value, Tensor) or torch.nn.parameter.is_lazy(value) or value.is_meta or not value.numel():
        return name
    return value.data_ptr(), tuple(value.shape), value.stride(), value.dtype


def _is_averaged(name: str, state: Mapping[str, Any], key: str) -> bool:
    """Whether a place is called like averaged weights, or counts them as `AveragedModel` does."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    owners = [key[: match.start()] for match in re.finditer(r"\.", key)]
    return bool(words & AVERAGED) or any(f"{owner}.{COUNTER}".lstrip(".") in state for owner in ["", *owners])


def _has_shapes(weights: WeightSet, own: Mapping[str, Any]) -> bool:
    return all(same_shape(weights.tensors[name], value) for name, value in own.items())


def same_shape(found: Any, own: Any) -> bool:
    """Whether a tensor of a file has the shape of the model's; a lazy layer takes any."""
    if not isinstance(own, Tensor) or torch.nn.parameter.is_lazy(own):
        return True
    return isinstance(found, Tensor) and found.shape == own.shape


def _are_equal(one: WeightSet, other: WeightSet) -> bool:
    return all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items() if torch.is_tensor(value))
