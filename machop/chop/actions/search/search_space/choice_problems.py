"""Checks the choices of a node and reports their problems, key by key."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import cached_property, partial
from itertools import product
from typing import Any

from chop.actions.search.search_space.choice_keys import concerns
from chop.actions.search.search_space.node_choices import Indexes, NodeChoices
from chop.actions.search.search_space.transform_choices import combinations, meant_values
from chop.errors import ChopError, FormatError, OperandError, did_you_mean
from chop.formats import FORMATS
from chop.formats.learned import LEARNED
from chop.nn.node_config import (
    BATCH_NORM,
    GLOBAL_KEYS,
    bias_correction,
    broken_transform,
    format_class,
    is_float,
    is_transform_key,
    known_keys,
    norm_statistics,
    operand_format,
    split_key,
    transform_keys,
    weight_transforms,
)

MOST_SHOWN = 3
"""Problems of one key that are told; more of them say nothing new."""


def unlearned(node: NodeChoices, learned: Collection[tuple[str, str]]) -> dict[str, str]:
    """The problems of "learned" widths that the graph does not have; `learned` are its nodes and operands."""
    slots = {key: split_key(key) for key, values in node.choices.items() if LEARNED in values}
    return {
        key: '"learned" needs widths that a training has found, and the model has none: write "auto", and have them '
        'trained by the strategy "gradient"'
        for key, slot in slots.items()
        if slot is not None and slot[1] == "frac_width" and (node.node, slot[0]) not in learned
    }


class ChoiceProblems:
    """Finds the problems of the choices of a node."""

    def __init__(self, node: NodeChoices) -> None:
        self._node = node

    def problems(self) -> dict[str, str]:
        """The problems of the choices, as {key: problem}; with any, nothing else of the choices may be used."""
        if "name" not in self._node.choices:
            return {"name": 'is missing; give the formats to choose from, such as ["integer", "NA"]'}
        if wrong := self._list_problems():
            return self._problems_if_mended() | wrong
        unknown = self._key_problems() | self._node.tie_problems
        values = self._value_problems() if self._has_formats else self._values_of_no_format()
        values |= {} if unknown else self._transform_problems() | self._statistics_problems()
        # A key that is misspelt is missing too: once is enough.
        return unknown | {key: text for key, text in values.items() if not unknown or "missing key" not in text}

    def of_any_node(self) -> dict[str, str]:
        """The problems of the lists that the choices of no node may have, also without a "name"."""
        return self._unknown_keys(all_config_keys()) | self._list_problems()

    def _problems_if_mended(self) -> dict[str, str]:
        """The problems that remain without empty lists and repeated values, and with the formats that are meant."""
        kept = {key: _distinct(values) for key, values in self._node.choices.items() if values}
        kept["name"] = _distinct(filter(None, map(_meant_format, kept.get("name", ()))))
        if not kept["name"]:
            return {}
        found = ChoiceProblems(NodeChoices(self._node.node, self._node.op, kept)).problems()
        return {key: text for key, text in found.items() if "missing key" not in text}

    def _list_problems(self) -> dict[str, str]:
        """Lists that are empty or repeat a value, and unknown formats."""
        empty = {key: "is an empty list of choices" for key, values in self._node.choices.items() if not values}
        return empty | self._repetitions() | self._name_problems()

    def _name_problems(self) -> dict[str, str]:
        wrong = [problem for name in self._node.choices.get("name", ()) if (problem := _format_problem(name))]
        return {"name": "; ".join(wrong[:MOST_SHOWN])} if wrong else {}

    def _repetitions(self) -> dict[str, str]:
        """Values that a list holds twice, which strategies would draw more often."""
        problems = {}
        for key, values in self._node.choices.items():
            twice = [value for place, value in enumerate(values) if any(map(partial(_same, value), values[:place]))]
            if twice:
                problems[key] = f"lists {twice[0]!r} twice; remove one"
        return problems

    def _key_problems(self) -> dict[str, str]:
        return self._unknown_keys(_known_keys(self._node.choices["name"] if self._has_formats else _all_formats()))

    def _unknown_keys(self, known: list[str]) -> dict[str, str]:
        unknown = [key for key in self._node.choices if key not in known]
        return {key: broken_transform(key) or f"unknown key{did_you_mean(key, known)}" for key in unknown}

    def _transform_problems(self) -> dict[str, str]:
        """Values that make no weight transform, in any combination that `WeightTransform.meant` leaves."""
        choices = self._node.choices
        keys = [key for key in choices if is_transform_key(key)]
        problems: dict[str, str] = {}
        for indexes in combinations(choices, keys):
            try:
                weight_transforms(meant_values({key: choices[key][i] for key, i in indexes.items()}), self._node.op)
            except ChopError as error:
                problems |= dict([_problem(keys, error)])
        return problems

    def _statistics_problems(self) -> dict[str, str]:
        """Values of `batch_norm` that there are not."""
        for value in self._node.choices.get(BATCH_NORM, ()):
            try:
                norm_statistics({BATCH_NORM: value}, self._node.op)
            except FormatError as error:
                return {BATCH_NORM: str(error)}
        return {}

    def _values_of_no_format(self) -> dict[str, str]:
        """Values beside name = ["NA"] that no format can take."""
        if set(self._node.choices) <= set(GLOBAL_KEYS):
            return {}
        choices = self._node.choices.items()
        own = {key: values for key, values in choices if key not in GLOBAL_KEYS and not is_transform_key(key)}
        in_any = NodeChoices(self._node.node, self._node.op, {**own, "name": _all_formats()})
        return ChoiceProblems(in_any)._unsuitable_values()

    def formats_of_nothing(self) -> dict[str, str]:
        """The problem of formats without any key of an operand, which would leave the node in float32."""
        if not self._has_formats or set(self._node.choices) - set(GLOBAL_KEYS) or self._node.possible_formats:
            return {}
        own = next(name for name in self._node.choices["name"] if not is_float({"name": name}))
        op = self._node.op
        known = [key for key in known_keys(format_class({"name": own})) if split_key(key) and concerns(key, op)]
        keys = ", ".join(known[:4])
        return {"name": f"names '{own}' and no width, so nothing would be rounded; add some of its keys ({keys})"}

    def _value_problems(self) -> dict[str, str]:
        problems: dict[str, str] = {}
        for head in self._heads():
            try:
                values = {key: self._node.choices[key][index] for key, index in head.items()}
                format_class(values)
                bias_correction(values)
            except FormatError as error:
                return dict([_problem(list(head), error)])
            for operand in self._node.op.operands:
                problems |= self._operand_problems(head, operand)
        return self._unsuitable_values() | problems if self._node.mixes_formats else problems

    def _unsuitable_values(self) -> dict[str, str]:
        """Values that none of several formats can take, whatever the other values are."""
        refused: dict[tuple[str, int], str] = {}
        taken: set[tuple[str, int]] = set()
        for head, operand in product(self._heads(), self._node.op.operands):
            self._note_values(head, operand, taken, refused)
        return {
            key: f"{self._node.choices[key][index]!r} suits none of the formats: {message}"
            for (key, index), message in reversed(refused.items())
            if (key, index) not in taken
        }

    def _note_values(
        self, head: Indexes, operand: str, taken: set[tuple[str, int]], refused: dict[tuple[str, int], str]
    ) -> None:
        """Note which values of an operand make a format with some others, and the errors of the rest."""
        keys = self._node.keys_of(head, operand)
        for combination in product(*(range(len(self._node.choices[key])) for key in keys)):
            chosen = dict(zip(keys, combination, strict=True))
            config = {key: self._node.choices[key][index] for key, index in (head | chosen).items()}
            try:
                operand_format(config, operand, self._node.op)
                taken.update(chosen.items())
            except FormatError as error:
                key, text = _problem(keys, error)
                if key in chosen and "missing key" not in text:
                    refused.setdefault((key, chosen[key]), text)

    def _operand_problems(self, head: Indexes, operand: str) -> dict[str, str]:
        """The problem of each value of an operand's keys, with valid values for the other keys."""
        keys = self._node.keys_of(head, operand)
        if self._node.mixes_formats and self._node.operand_choices(head, operand).values:
            return {}
        problems: dict[str, str] = {}
        for combination in product(*(range(len(self._node.choices[key])) for key in keys)):
            config = {
                key: self._node.choices[key][i] for key, i in (head | dict(zip(keys, combination, strict=True))).items()
            }
            try:
                operand_format(config, operand, self._node.op)
            except FormatError as error:
                key, text = _problem(keys, error)
                text = f"{config['name']}: {text}" if self._node.mixes_formats else text
                told = problems.get(key)
                if told is None or (text not in told and told.count(";") < MOST_SHOWN):
                    problems[key] = f"{told}; {text}" if told else text
        return problems

    def _heads(self) -> list[Indexes]:
        heads = [key for key in self._node.choices if key in GLOBAL_KEYS]
        combinations = product(*(range(len(self._node.choices[key])) for key in heads))
        all_heads = [dict(zip(heads, combination, strict=True)) for combination in combinations]
        choices = self._node.choices
        return [head for head in all_heads if not is_float({key: choices[key][i] for key, i in head.items()})]

    @cached_property
    def _has_formats(self) -> bool:
        return any(not is_float({"name": name}) for name in self._node.choices["name"])


def all_config_keys() -> list[str]:
    """Every key that the choices of some node may have."""
    return _known_keys(_all_formats())


def _known_keys(names: Iterable[Any]) -> list[str]:
    """Every key that a node may have with one of some formats, or with a weight transform."""
    classes = [format_class({"name": name}) for name in names if not is_float({"name": name})]
    of_formats = (key for cls in classes for key in known_keys(cls))
    return list(dict.fromkeys([*GLOBAL_KEYS, *of_formats, *transform_keys()]))


def _all_formats() -> list[str]:
    """The names of all formats, except those of packages that cannot be loaded."""
    found = []
    for name in FORMATS.names():
        with suppress(ChopError):
            format_class({"name": name})
            found.append(name)
    return found


def _format_problem(name: Any) -> str:
    """Why a format cannot be used; empty if it can."""
    try:
        if not is_float({"name": name}):
            format_class({"name": name})
    except ChopError as error:
        return str(error)
    return ""


def _meant_format(name: Any) -> Any:
    """The format that a name most likely means; None where no name is like it."""
    if not _format_problem(name):
        return name
    return FORMATS.meant(name) if isinstance(name, str) else None


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if not any(_same(value, other) for other in found):
            found.append(value)
    return found


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _problem(keys: list[str], error: ChopError) -> tuple[str, str]:
    """The key that an error is about, and what it says there: the operand only where the key alone does not tell it."""
    if not isinstance(error, OperandError):
        return _blamed(keys, str(error)) or (keys or ["name"])[0], str(error)
    key = _blamed(keys, error.reason)
    return (key, error.reason) if key else ((keys or ["name"])[0], f"{error.reason} {error.note}")


def _blamed(keys: list[str], message: str) -> str | None:
    """The key that a message is about: the one that it begins with or whose parameter it names; None for none."""
    first = message.partition(":")[0]
    if first in keys:
        return first
    named = [key for key in keys if (where := split_key(key)) and f" {where[1]} " in f" {message} "]
    return max(named, key=len) if named else None
