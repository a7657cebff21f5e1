"""The distinct weight transforms (pruning, say) of one node, from lists of values for keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from chop.nn.node_config import WEIGHT, idle_problem, is_transform_key, transform_values, weight_transforms
from chop.nn.ops import Op
from chop.weight_transforms import WEIGHT_TRANSFORMS, WeightTransform

Choices = Mapping[str, list[Any]]
Transforms = tuple[WeightTransform, ...]


@dataclass(frozen=True)
class TransformChoices:
    """The distinct transforms of a node's weights, each with the first indexes that make it."""

    values: tuple[Transforms, ...]
    indexes: tuple[dict[str, int], ...]


def transform_choices(choices: Choices, op: Op, rounds: bool) -> TransformChoices | None:
    """The transforms that the lists among `choices` make; None without such lists. `rounds`: weights have a format."""
    keys = [key for key in choices if is_transform_key(key)]
    if not keys:
        return None
    found: dict[Transforms, dict[str, int]] = {}
    for indexes in combinations(choices, keys):
        config = meant_values({key: choices[key][index] for key, index in indexes.items()})
        found.setdefault(acting_transforms(config, op, rounds), indexes)
    return TransformChoices(tuple(found), tuple(found.values()))


def acting_transforms(config: Mapping[str, Any], op: Op, rounds: bool) -> Transforms:
    """The transforms of a config that change the weights of `op`, which have a format if `rounds`."""
    return tuple(
        own for own in weight_transforms(config, op) if not own.is_identity and (rounds or not own.needs_format)
    )


def meant_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with the values that a combination out of several lists means."""
    meant = dict(config)
    for name, values in transform_values(config).items():
        own = WEIGHT_TRANSFORMS[name].meant(values)
        meant |= {f"{WEIGHT}_{key}": value for key, value in own.items()}
    return meant


def acting_values(config: Mapping[str, Any], op: Op, rounds: bool) -> dict[str, Any]:
    """A config as it is meant, without the keys of transforms that change nothing, and keys without effect."""
    meant = meant_values(config)
    for values in transform_values(meant).values():
        keys = [f"{WEIGHT}_{key}" for key in values]
        if not acting_transforms({key: meant[key] for key in keys}, op, rounds):
            meant = {key: value for key, value in meant.items() if key not in keys}
    return {key: value for key, value in meant.items() if idle_problem(key, meant) is None}


def idle_choices_problem(key: str, choices: Choices) -> str | None:
    """Why no value in the list of `key`, of a weight transform, has an effect, whatever is chosen from the others."""
    keys = [own for own in choices if is_transform_key(own)] if key in choices and is_transform_key(key) else []
    configs = ({own: choices[own][place] for own, place in found.items()} for found in combinations(choices, keys))
    told = [idle_problem(key, config) for config in configs if config]
    return told[0] if told and all(told) else None


def combinations(choices: Choices, keys: Sequence[str]) -> Iterator[dict[str, int]]:
    """All indexes of the lists of `keys`, in lexicographic order."""
    for own in product(*(range(len(choices[key])) for key in keys)):
        yield dict(zip(keys, own, strict=True))
