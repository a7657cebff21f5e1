"""The distinct choices of one node: combines lists of values for keys into formats and weight transforms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

from chop.actions.search.search_space.choice_keys import concerns, holds_in_float, operand_of, renamed
from chop.actions.search.search_space.codes import code_of, index_of
from chop.actions.search.search_space.left_out import NOTHING_LEFT_OUT, WHOLE, LeftOut
from chop.actions.search.search_space.transform_choices import (
    TransformChoices,
    Transforms,
    acting_values,
    combinations,
    transform_choices,
)
from chop.errors import FormatError
from chop.formats import BatchNormStatistics, Format
from chop.nn.node_config import (
    GLOBAL_KEYS,
    WEIGHT,
    format_class,
    is_float,
    is_transform_key,
    known_keys,
    node_formats,
    norm_statistics,
    operand_format,
    speaking_operand,
    split_key,
)
from chop.nn.ops import STATISTICS, Op
from chop.weight_transforms import chained, format_of, transforms_of

Indexes = dict[str, int]
Choices = Mapping[str, list[Any]]


class _Impossible:
    """Stands for values that the named one of several formats cannot take."""


_IMPOSSIBLE = _Impossible()

MOST_KEPT = 100_000

TRANSFORMS = "weight transforms"
"""Among the operands of a branch what comes before the format of the weights, and is chosen apart from it."""


@dataclass(frozen=True)
class _OperandChoices:
    """The distinct formats of one operand, each with the first indexes that make it."""

    values: tuple[Format | None, ...]
    indexes: tuple[Indexes, ...]


@dataclass(frozen=True)
class _Branch:
    """One choice of the keys of a whole node (`name`, `bypass`, `floor` …), and the choices left below it."""

    head: Indexes
    operands: Mapping[str, _OperandChoices | TransformChoices]
    statistics: BatchNormStatistics | None = None

    @property
    def formats(self) -> dict[str, _OperandChoices]:
        """The formats that each operand can choose from."""
        return {name: own for name, own in self.operands.items() if isinstance(own, _OperandChoices)}

    @property
    def transforms(self) -> tuple[Transforms, ...]:
        """The weight transforms to choose from; empty if there is no choice."""
        own = self.operands.get(TRANSFORMS)
        return own.values if isinstance(own, TransformChoices) else ((),)

    @property
    def holds_float(self) -> bool:
        """Whether the weights alone have a choice, one of which leaves them unchanged."""
        return self.statistics is None and set(self.operands) == {TRANSFORMS} and () in self.transforms

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of formats of each operand, and of transforms of the weights."""
        return tuple(len(operand.values) for operand in self.operands.values())

    @cached_property
    def size(self) -> int:
        return prod(self.sizes)

    @property
    def meaning(self) -> tuple[Any, ...]:
        own = () if self.statistics is None else ((STATISTICS, self.statistics),)
        return (*own, *((name, operand.values) for name, operand in self.operands.items()))


@dataclass(frozen=True)
class _Meaning:
    """The meaning of a combination of choices: its distinct choice, indexes, config and formats."""

    number: int
    canonical: Indexes
    config: dict[str, Any]
    formats: dict[str, Format]


class NodeChoices:
    """All choices of a node but those that are `left_out`, as a list of distinct ones in lexicographic order."""

    def __init__(
        self,
        node: str,
        op: Op,
        choices: Choices,
        tied_operands: Sequence[str] = (),
        left_out: LeftOut = NOTHING_LEFT_OUT,
    ) -> None:
        self.node = node
        self.op = op
        self.tied_operands = tied_operands
        self.left_out = left_out
        self.stated = stated = {key: list(values) for key, values in choices.items() if concerns(key, op)}
        # Of tied operands the first one that the op has decides; the others have no choices of their own.
        leader, *followers = [name for name in tied_operands if name in op.operands] or [""]
        self._leader = leader
        followed = ((name, speaking_operand(stated, name, op)) for name in op.follows)
        silent = [name for name, first in followed if name != first and first in op.operands]
        self._followers = tuple(dict.fromkeys([*followers, *silent]))
        self._followed = {name: op.follows[name] for name in silent} | dict.fromkeys(followers, leader)
        tied = (key for key in stated if operand_of(key) in followers and not is_transform_key(key))
        self.tied_keys = {key: renamed(key, leader) for key in tied}
        self.tie_problems = {
            key: f"is tied to {first} (tie_operands), but has other choices"
            for key, first in self.tied_keys.items()
            if stated.get(first) != stated[key]
        }
        self.choices = {key: values for key, values in stated.items() if key not in self.tied_keys}
        self._meanings: dict[tuple[int, ...], _Meaning] = {}
        self._branches: dict[tuple[tuple[str, int], ...], _Branch] = {}

    @cached_property
    def branches(self) -> list[_Branch]:
        """The branches that differ in meaning; of equal ones the first."""
        found: dict[tuple[Any, ...], _Branch] = {}
        for branch in (own for head in self.heads if (own := self.branch(head)).size or not self.left_out):
            found.setdefault(branch.meaning, branch)
        if any(branch.holds_float for branch in found.values()):
            found.pop((), None)  # that of a node that is bypassed
        return list(found.values())

    @property
    def heads(self) -> list[Indexes]:
        """All combinations of the keys of the whole node."""
        return list(combinations(self.choices, [key for key in self.choices if key in GLOBAL_KEYS]))

    def lists(self, branch: _Branch) -> tuple[dict[str, list[Format]], list[Format | None]]:
        """For each operand its formats in the order of those of the operand that decides, and weights transformed."""
        formats: dict[str, list[Format]] = {}
        transforms: list[Format | None] = []
        for place, (name, own) in enumerate(branch.operands.items()):
            for number in range(len(own.values)):
                positions = [number if other == place else 0 for other in range(len(branch.operands))]
                chosen = self.formats(self._complete(branch, positions))
                if name == TRANSFORMS:
                    transforms.append(chosen.get(WEIGHT))
                for operand in (name, *self.following(name)):
                    if (found := format_of(chosen.get(operand))) is not None:
                        formats.setdefault(operand, []).append(found)
        if branch.statistics is not None:
            formats[STATISTICS] = [branch.statistics]
        return formats, transforms

    def following(self, operand: str) -> list[str]:
        """The operands that have their choices from this one."""
        direct = [name for name, first in self._followed.items() if first == operand]
        return [*direct, *(name for own in direct for name in self.following(own))]

    @property
    def possible_formats(self) -> dict[str, list[Format]]:
        """The formats that each operand may have, including those that follow another operand."""
        found: dict[str, list[Format]] = {}
        for branch in self.branches:
            plain: dict[str, Sequence[Format | None]] = {}
            for operand, choices in branch.formats.items():
                plain |= dict.fromkeys((operand, *(self._followers if operand == self._leader else ())), choices.values)
            pairs = product(branch.transforms, plain.get(WEIGHT, (None,)))
            plain[WEIGHT] = [chained(transforms, chosen) for transforms, chosen in pairs]
            for name, formats in plain.items():
                found.setdefault(name, []).extend(chosen for chosen in formats if chosen is not None)
        return {operand: formats for operand, formats in found.items() if formats}

    @property
    def needs_activations(self) -> bool:
        """Whether a format or weight transform among the choices needs ranges of activations."""
        transforms = (own for branch in self.branches for group in branch.transforms for own in group)
        return any(own.is_measured and own.needs_inputs for own in transforms) or any(
            chosen is not None and chosen.is_measured
            for branch in self.branches
            for operand, choices in branch.formats.items()
            if not {operand, *(self._followers if operand == self._leader else ())} <= set(self.op.params)
            for chosen in choices.values
        )

    @property
    def measures_statistics(self) -> bool:
        """Whether a choice has the statistics of a batch norm measured under the plan."""
        return any(branch.statistics is not None for branch in self.branches)

    @cached_property
    def size(self) -> int:
        """The number of distinct choices."""
        return sum(branch.size for branch in self.branches)

    def alternative(self, index: int) -> Indexes:
        """The indexes of distinct choice number `index`."""
        for branch in self.branches:
            if index < branch.size:
                return self._complete(branch, code_of(index, branch.sizes))
            index -= branch.size
        raise IndexError(index)

    def number(self, indexes: Mapping[str, int]) -> int:
        """The number of the distinct choice that means the same formats as `indexes`."""
        return self._meaning(indexes).number

    def canonical(self, indexes: Mapping[str, int]) -> Indexes:
        """The indexes of the distinct choice that means the same formats as `indexes`."""
        return dict(self._meaning(indexes).canonical)

    def config(self, indexes: Mapping[str, int]) -> dict[str, Any]:
        """The config of a choice, with only the keys that its format has."""
        return dict(self._meaning(indexes).config)

    def stated_config(self, indexes: Mapping[str, int]) -> dict[str, Any]:
        """The same, worked out from the lists alone: no format is built."""
        return self._config(self._possible(indexes))

    def formats(self, indexes: Mapping[str, int]) -> dict[str, Format]:
        """The formats of the operands for a choice."""
        return dict(self._meaning(indexes).formats)

    def _meaning(self, indexes: Mapping[str, int]) -> _Meaning:
        """The meaning of a combination of choices; cached, since a search asks for the same ones often."""
        key = tuple(indexes[name] for name in self.choices)
        if key not in self._meanings:
            if len(self._meanings) >= MOST_KEPT:
                self._meanings.clear()
            self._meanings[key] = self._work_out(indexes)
        return self._meanings[key]

    def _work_out(self, indexes: Mapping[str, int]) -> _Meaning:
        chosen_indexes = self._possible(indexes)
        config = self._config(chosen_indexes)
        formats = node_formats(config, self.op)
        wanted = self.branch(self._head(chosen_indexes))
        is_same = (own.meaning == wanted.meaning or (own.holds_float and not wanted.meaning) for own in self.branches)
        place = next(i for i, is_own in enumerate(is_same) if is_own)
        branch = self.branches[place]
        chosen: dict[str, Any] = {name: format_of(own) for name, own in formats.items()}
        chosen[TRANSFORMS] = transforms_of(formats.get(WEIGHT))
        positions = [own.values.index(chosen.get(name)) for name, own in branch.operands.items()]
        number = sum(earlier.size for earlier in self.branches[:place]) + index_of(positions, branch.sizes)
        return _Meaning(number, self._complete(branch, positions), config, formats)

    def _config(self, indexes: Mapping[str, int]) -> dict[str, Any]:
        values = {key: choices[indexes[key]] for key, choices in self.choices.items()}
        values |= {key: values[leading] for key, leading in self.tied_keys.items()}
        values = acting_values(values, self.op, self.rounds_weights(self._head(indexes)))
        if values.get("bypass") is True:
            return {"name": "NA"}
        if is_float(values):
            return {"name": "NA", **{key: value for key, value in values.items() if holds_in_float(key)}}
        known = known_keys(format_class(values))
        return {key: value for key, value in values.items() if key in known or is_transform_key(key)}

    def _head(self, indexes: Mapping[str, int]) -> Indexes:
        return {key: indexes[key] for key in self.choices if key in GLOBAL_KEYS}

    @cached_property
    def mixes_formats(self) -> bool:
        """Whether the node can have one of several number formats."""
        return len({name for name in self.choices["name"] if not is_float({"name": name})}) > 1

    def _possible(self, indexes: Mapping[str, int]) -> Mapping[str, int]:
        """Replace values that are invalid for the chosen format, or left out, by that format's first valid values."""
        if not self.mixes_formats and not self.left_out:
            return indexes
        head = self._head(indexes)
        if self.left_out and not self.branch(head).size:
            head = self.branches[0].head  # what the keys of the whole node lead to is left out
        repaired = {**indexes, **head}
        for operand, choices in self.branch(head).formats.items():
            keys = self.keys_of(head, operand)
            if isinstance(self._format_at({**head, **{key: indexes[key] for key in keys}}, operand), _Impossible):
                repaired |= choices.indexes[0]
        transforms = self.branch(head).operands.get(TRANSFORMS)
        if transforms is not None and self.left_out.has(TRANSFORMS, self._transform_values(repaired)):
            repaired |= transforms.indexes[0]
        return repaired

    def _transform_values(self, indexes: Mapping[str, int]) -> dict[str, Any]:
        """The values of the keys of the whole node and of weight transforms."""
        own = (key for key in self.choices if key in GLOBAL_KEYS or is_transform_key(key))
        return {key: self.choices[key][indexes[key]] for key in own}

    def _format_at(self, indexes: Mapping[str, int], operand: str) -> Format | _Impossible | None:
        """The format of an operand; `_IMPOSSIBLE` for values that are for another of several formats."""
        config = {key: self.choices[key][index] for key, index in indexes.items()}
        if self.left_out.has(operand, config):
            return _IMPOSSIBLE
        try:
            return operand_format(config, operand, self.op)
        except FormatError:
            if self.mixes_formats:
                return _IMPOSSIBLE
            raise

    def branch(self, head: Indexes) -> _Branch:
        """The choices left below those of the whole node; cached."""
        key = tuple(head.items())
        if key not in self._branches:
            self._branches[key] = self._made_branch(head)
        return self._branches[key]

    def _made_branch(self, head: Indexes) -> _Branch:
        values = {key: self.choices[key][index] for key, index in head.items()}
        if self.left_out.has(WHOLE, values):
            return _Branch(head, {WHOLE: _OperandChoices((), ())})
        operands = [] if is_float(values) else [name for name in self.op.operands if name not in self._followers]
        own: dict[str, _OperandChoices | TransformChoices] = {
            operand: self.operand_choices(head, operand) for operand in operands
        }
        is_bypassed = values.get("bypass") is True
        transforms = None if is_bypassed else transform_choices(self.choices, self.op, self.rounds_weights(head))
        if transforms is not None and self.left_out:
            transforms = self._kept(transforms, head)
        below = own if transforms is None else {**own, TRANSFORMS: transforms}
        return _Branch(head, below, norm_statistics(values, self.op))

    def _kept(self, transforms: TransformChoices, head: Indexes) -> TransformChoices:
        """The transforms that are not left out."""
        pairs = [
            (own, indexes)
            for own, indexes in zip(transforms.values, transforms.indexes, strict=True)
            if not self.left_out.has(TRANSFORMS, self._transform_values(head | indexes))
        ]
        return TransformChoices(tuple(own for own, _ in pairs), tuple(indexes for _, indexes in pairs))

    def rounds_weights(self, head: Indexes) -> bool:
        """Whether the weights have a format in a branch."""
        if is_float({key: self.choices[key][index] for key, index in head.items()}):
            return False
        return bool(self.keys_of(head, self._leader if WEIGHT in self._followers else WEIGHT))

    def operand_choices(self, head: Indexes, operand: str) -> _OperandChoices:
        """The distinct formats of an operand in a branch, each with the first values of its keys that make it."""
        found: dict[Format | None, Indexes] = {}
        for indexes, chosen in self.combinations(head, operand):
            found.setdefault(chosen, indexes)
        return _OperandChoices(tuple(found), tuple(found.values()))

    def combinations(self, head: Indexes, operand: str) -> Iterator[tuple[Indexes, Format | None]]:
        """All values of an operand's keys that make a format, with it."""
        for indexes in combinations(self.choices, self.keys_of(head, operand)):
            chosen = self._format_at(head | indexes, operand)
            if not isinstance(chosen, _Impossible):
                yield indexes, chosen

    def keys_of(self, head: Indexes, operand: str) -> list[str]:
        """The keys that choose an operand's format in a branch: its own, or those of the operand that it follows."""
        known = known_keys(format_class({key: self.choices[key][index] for key, index in head.items()}))
        named = ((key, split_key(key)) for key in self.choices if key in known)
        speaking = speaking_operand(self.choices, operand, self.op)
        return [key for key, where in named if where is not None and where[0] == speaking]

    def _complete(self, branch: _Branch, positions: list[int]) -> Indexes:
        indexes = dict.fromkeys(self.choices, 0) | branch.head
        for operand, position in zip(branch.operands.values(), positions, strict=True):
            indexes |= operand.indexes[position]
        return indexes
