"""The distinct alternatives of a node."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from chop.actions.search.search_space.choice_problems import ChoiceProblems
from chop.actions.search.search_space.node_choices import NodeChoices
from chop.nn.ops import OPS

LINEAR = next(op for op in OPS if op.name == "linear")
RELU = next(op for op in OPS if op.name == "relu")

LAB: dict[str, list[Any]] = {
    "name": ["integer"],
    "data_in_width": [4, 8],
    "data_in_frac_width": ["NA"],
    "weight_width": [2, 4, 8],
    "weight_frac_width": ["NA"],
    "bias_width": [2, 4, 8],
    "bias_frac_width": ["NA"],
}


def all_indexes(node: NodeChoices) -> list[dict[str, int]]:
    keys = list(node.choices)
    return [dict(zip(keys, row, strict=True)) for row in product(*(range(len(node.choices[key])) for key in keys))]


def meaning(node: NodeChoices, indexes: dict[str, int]) -> tuple[Any, ...]:
    return tuple(sorted(node.formats(indexes).items()))


def test_the_lab_has_eighteen_alternatives() -> None:
    assert NodeChoices("fc", LINEAR, LAB).size == 18


def test_na_counts_once_whatever_the_widths() -> None:
    assert NodeChoices("fc", LINEAR, {**LAB, "name": ["integer", "NA", None]}).size == 19


def test_an_explicit_fraction_that_equals_the_default_counts_once() -> None:
    node = NodeChoices("fc", RELU, {"name": ["integer"], "data_in_width": [8], "data_in_frac_width": ["NA", 4, 2]})
    assert node.size == 2


def test_an_alias_is_no_new_alternative() -> None:
    assert NodeChoices("fc", LINEAR, {**LAB, "name": ["integer", "fixed"]}).size == 18


def test_floor_doubles_and_bypass_adds_one() -> None:
    assert NodeChoices("fc", LINEAR, {**LAB, "floor": [False, True], "bypass": [False, True]}).size == 37


def test_keys_of_operands_that_the_op_lacks_are_skipped() -> None:
    assert list(NodeChoices("r", RELU, LAB).choices) == ["name", "data_in_width", "data_in_frac_width"]


@pytest.mark.parametrize(
    "choices",
    [
        LAB,
        {**LAB, "name": ["NA", "integer", "fixed"], "floor": [True, False]},
        {**LAB, "data_in_frac_width": ["NA", 2, 4]},
        {**LAB, "name": ["integer", "integer_floor"], "bypass": [True, False]},
    ],
)
def test_enumeration_meets_every_meaning_exactly_once(choices: dict[str, list[Any]]) -> None:
    node = NodeChoices("fc", LINEAR, choices)
    enumerated = [meaning(node, node.alternative(i)) for i in range(node.size)]
    assert len(set(enumerated)) == node.size
    assert set(enumerated) == {meaning(node, indexes) for indexes in all_indexes(node)}


def test_canonical_indexes_mean_the_same_and_are_the_same_for_equal_meanings() -> None:
    node = NodeChoices("fc", LINEAR, {**LAB, "name": ["NA", "integer"], "data_in_frac_width": ["NA", 2, 4]})
    canonical: dict[tuple[Any, ...], dict[str, int]] = {}
    for indexes in all_indexes(node):
        found = node.canonical(indexes)
        assert meaning(node, found) == meaning(node, indexes)
        assert canonical.setdefault(meaning(node, indexes), found) == found
    alternatives = [node.alternative(i) for i in range(node.size)]
    assert all(node.canonical(indexes) == indexes for indexes in alternatives)


@pytest.mark.parametrize(
    ("changed", "key", "says"),
    [
        ({"name": ["intger"]}, "name", "did you mean 'integer'"),
        ({"data_in_widht": [4]}, "data_in_widht", "did you mean 'data_in_width'"),
        ({"weight_width": [0, 4]}, "weight_width", "1 <= width <= 32"),
        ({"weight_frac_width": ["auto?"]}, "weight_frac_width", "must be a whole number"),
        ({"bias_width": []}, "bias_width", "empty list"),
        ({"weight_width": [True]}, "weight_width", "must be an integer"),
    ],
)
def test_wrong_choices_are_named(changed: dict[str, Any], key: str, says: str) -> None:
    problems = ChoiceProblems(NodeChoices("fc", LINEAR, {**LAB, **changed})).problems()
    assert list(problems) == [key]
    assert says in problems[key]
