"""Weight transforms as choices of a node: jointly with formats, each meaning once, replayed as they were."""

from __future__ import annotations

from typing import Any

import pytest

from chop.actions.search.search_space.choice_problems import ChoiceProblems
from chop.actions.search.search_space.node_choices import NodeChoices
from chop.formats import Integer
from chop.nn.node_config import node_formats
from chop.nn.ops import OPS
from chop.weight_transforms import Chain, Sparsity, format_of, transforms_of
from tests.actions.search.search_space.test_node_choices import LAB, all_indexes, meaning

OP = {op.name: op for op in OPS}
LINEAR = OP["linear"]
SPARSITY: dict[str, list[Any]] = {
    "weight_sparsity": [0.0, 0.5, 0.75],
    "weight_sparsity_pattern": ["unstructured", "2:4", "channel"],
}


def distinct_transforms(node: NodeChoices) -> list[str]:
    return sorted({str(transforms_of(node.formats(indexes).get("weight"))) for indexes in all_indexes(node)})


def test_what_means_the_same_is_one_choice() -> None:
    node = NodeChoices("fc", LINEAR, {**LAB, **SPARSITY})
    assert node.size == 18 * 6  # dense; 50 and 75 % unstructured and by channel; 2:4
    assert len(distinct_transforms(node)) == 6
    assert NodeChoices("fc", LINEAR, {"name": ["NA"], **SPARSITY}).size == 6
    assert NodeChoices("fc", LINEAR, {**LAB, **SPARSITY, "name": ["integer", "NA"]}).size == 18 * 6 + 6
    assert NodeChoices("fc", LINEAR, {**LAB, **SPARSITY, "bypass": [False, True]}).size == 18 * 6 + 1


def test_methods_of_rounding_are_choices_where_weights_are_rounded() -> None:
    rounding = {"weight_rounding": ["nearest", "gptq"], "weight_rounding_damping": [0.01, 0.1]}
    assert NodeChoices("fc", LINEAR, {**LAB, **rounding}).size == 18 * 3  # nearest has no damping
    assert NodeChoices("fc", LINEAR, {"name": ["NA"], **rounding}).size == 1
    assert NodeChoices("fc", LINEAR, {**LAB, **rounding, "name": ["NA", "integer"]}).size == 18 * 3 + 1
    assert NodeChoices("fc", LINEAR, {"name": ["NA"], **SPARSITY, **rounding}).size == 6
    assert NodeChoices("fc", LINEAR, {"name": ["integer"], "data_in_width": [4, 8], **rounding}).size == 2
    assert (
        NodeChoices("norm", OP["layer_norm"], {**LAB, **rounding}).size == NodeChoices("", OP["layer_norm"], LAB).size
    )
    assert NodeChoices("fc", LINEAR, {**LAB, **rounding}).needs_activations
    assert not NodeChoices("fc", LINEAR, {**LAB, "weight_rounding": ["nearest"]}).needs_activations


@pytest.mark.parametrize(
    "choices",
    [
        {**LAB, **SPARSITY},
        {**LAB, **SPARSITY, "name": ["NA", "integer"], "weight_rounding": ["nearest", "gptq"]},
        {"name": ["integer", "NA"], "data_in_width": [4, 8], "weight_rounding": ["gptq"]},
        {**LAB, **SPARSITY, "name": ["NA", "integer", "integer_floor"]},
        {"name": ["NA"], **SPARSITY, "bypass": [False, True]},
        {"name": ["integer"], "data_in_width": [4, 8], "weight_sparsity_pattern": ["2:4", "1:4"]},
        {"name": ["integer", "log"], "weight_width": [4, 8], "weight_frac_width": ["NA", 2], **SPARSITY},
    ],
)
def test_every_combination_has_its_place_and_its_config_replays_it(choices: dict[str, list[Any]]) -> None:
    node = NodeChoices("fc", LINEAR, choices)
    assert not ChoiceProblems(node).problems()
    enumerated = [meaning(node, node.alternative(i)) for i in range(node.size)]
    assert len(set(enumerated)) == node.size
    for indexes in all_indexes(node):
        number = node.number(indexes)
        assert enumerated[number] == meaning(node, indexes)
        assert node.canonical(indexes) == node.alternative(number)
        assert node_formats(node.config(indexes), LINEAR) == node.formats(indexes)


def test_out_of_lists_any_sparsity_stands_for_that_of_the_pattern() -> None:
    node = NodeChoices("fc", LINEAR, {**LAB, **SPARSITY})
    indexes = dict.fromkeys(node.choices, 0) | {"weight_sparsity": 2, "weight_sparsity_pattern": 1}
    config = node.config(indexes)
    assert config["weight_sparsity"] == 0.5 and config["weight_sparsity_pattern"] == "2:4"
    assert node.number(indexes) == node.number({**indexes, "weight_sparsity": 1})
    assert node.number({**indexes, "weight_sparsity": 0}) == node.number(dict.fromkeys(node.choices, 0))


@pytest.mark.parametrize(
    ("sparsities", "patterns", "found"),
    [
        ([0.75], ["2:4"], ["2:4"]),
        ([0.0, 0.75], ["2:4"], ["dense", "2:4"]),
        ([0.75], ["unstructured", "2:4"], ["75% sparse", "2:4"]),
        ([0.25, 0.5], ["2:4", "1:4"], ["2:4", "1:4"]),
        ([0.25], ["2:4", "1:4", "3:4"], ["2:4", "1:4", "3:4"]),
    ],
)
def test_the_other_values_of_the_lists_make_no_difference_to_a_pair(
    sparsities: list[float], patterns: list[str], found: list[str]
) -> None:
    lists = {"name": ["NA"], "weight_sparsity": sparsities, "weight_sparsity_pattern": patterns}
    node = NodeChoices("fc", LINEAR, lists)
    assert not ChoiceProblems(node).problems()
    formats = [node.formats(node.alternative(index)).get("weight") for index in range(node.size)]
    assert [str(own).removesuffix(" then float") if own else "dense" for own in formats] == found


def test_formats_that_an_operand_may_have_hold_its_chains() -> None:
    node = NodeChoices("fc", LINEAR, {"name": ["NA", "integer"], "weight_width": [4, 8], "weight_sparsity": [0.0, 0.5]})
    half = Sparsity(0.5)
    assert set(node.possible_formats["weight"]) == {
        Integer(4),
        Integer(8),
        Chain((half,), Integer(4)),
        Chain((half,), Integer(8)),
        Chain((half,), None),
    }
    assert not node.needs_activations


@pytest.mark.parametrize("tied", [("data_in", "weight"), ("weight", "data_in", "bias")])
def test_operands_that_are_tied_share_formats_and_weights_keep_transforms_of_their_own(tied: tuple[str, ...]) -> None:
    widths = {"name": ["integer"], "data_in_width": [4, 8], "weight_width": [4, 8], "bias_width": [4, 8]}
    node = NodeChoices("fc", LINEAR, {**widths, "weight_sparsity": [0.0, 0.5]}, tied)
    assert not ChoiceProblems(node).problems()
    assert node.size == (8 if len(tied) == 2 else 4)
    for index in range(node.size):
        formats = node.formats(node.alternative(index))
        weight = format_of(formats["weight"])
        assert isinstance(weight, Integer) and weight.width == formats["data_in"].width  # type: ignore[attr-defined]
    assert len(node.possible_formats["weight"]) == 4


def test_keys_concern_ops_that_own_weights_alone() -> None:
    for name, size in (("relu", 2), ("matmul", 6), ("conv2d", 6 * 3), ("batch_norm1d", 6 * 2)):
        lists = {"name": ["integer"], "data_in_width": [4, 8], "weight_width": [2, 4, 8], "weight_sparsity": [0.0, 0.5]}
        pattern = {"weight_sparsity_pattern": ["unstructured", "2:4"]}
        assert NodeChoices("n", OP[name], {**lists, **pattern}).size == size, name


@pytest.mark.parametrize(
    ("changed", "key", "says"),
    [
        ({"weight_sparsity": [0.5, 1.5]}, "weight_sparsity", "0 <= sparsity < 1 must hold, got 1.5"),
        ({"weight_sparsity": []}, "weight_sparsity", "empty list"),
        ({"weight_sparsity": [0.5, 0.5]}, "weight_sparsity", "twice"),
        ({"weight_sparsty": [0.5]}, "weight_sparsty", "did you mean 'weight_sparsity'"),
        ({"weight_sparsity_patern": ["2:4"]}, "weight_sparsity_patern", "did you mean 'weight_sparsity_pattern'"),
        ({"weight_sparsity_pattern": ["unstructured"]}, "weight_sparsity_pattern", "sparsity is missing"),
        ({"weight_sparsity_pattern": ["2:4", "4:2"]}, "weight_sparsity_pattern", "N < M must hold"),
        ({"bias_sparsity": [0.5]}, "bias_sparsity", "unknown key"),
    ],
)
@pytest.mark.parametrize("name", ["integer", "NA"])
def test_wrong_choices_are_named(changed: dict[str, Any], key: str, says: str, name: str) -> None:
    lists = {**LAB, "name": [name], **changed}
    problems = ChoiceProblems(NodeChoices("fc", LINEAR, lists)).problems()
    assert list(problems) == [key]
    assert says in problems[key]
