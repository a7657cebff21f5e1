"""The space of a graph: its points are distinct networks, each once; all that is wrong has a path."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from chop.actions.search.search_space import MixedPrecisionPTQ
from chop.actions.search.search_space.base import SpaceSetup
from chop.models import get_model

LISTS: dict[str, Any] = {
    "name": ["integer", "NA"],
    "data_in_width": [4, 8],
    "weight_width": [2, 4, 4],
    "weight_frac_width": ["NA", 1],
}


FIXED = {"name": ["integer"]}


@pytest.fixture
def toy() -> nn.Module:
    return get_model("jsc-toy", pretrained=True)


def space_of(model: nn.Module, by: str = "name", **seeds: Any) -> MixedPrecisionPTQ:
    return MixedPrecisionPTQ(model, {key: {"config": lists} for key, lists in seeds.items()}, by)


def test_a_default_with_one_choice_is_a_space_of_one_point(toy: nn.Module) -> None:
    space = space_of(toy, "type", default={"name": ["integer"], "data_in_width": [8], "weight_width": [4]})
    assert (space.size, space.problems()) == (1, [])
    assert space.plan(space.point(0)).choices


def test_points_are_distinct_networks_and_numbers_lead_to_them_and_back(toy: nn.Module) -> None:
    space = space_of(toy, seq_blocks_2=LISTS, seq_blocks_4={"name": ["integer"], "data_in_width": [3, 5]})
    # Weights 2.1 (twice), 4.2 (twice), 4.1 (twice): three formats; two of the input; and float once.
    assert space.size == (2 * 3 + 1) * 2
    plans = [space.plan(space.point(number)) for number in range(space.size)]
    assert len(set(plans)) == space.size
    for number in range(space.size):
        point = space.point(number)
        assert space.canonical(point) == point
    every = list(_all_points(space))
    assert {space.plan(point) for point in every} == set(plans)
    assert all(space.plan(space.canonical(point)) == space.plan(point) for point in every)


def _all_points(space: MixedPrecisionPTQ) -> list[dict[str, int]]:
    points: list[dict[str, int]] = [{}]
    for name, choices in space.parameters.items():
        points = [{**point, name: index} for point in points for index in range(len(choices))]
    return points


def test_a_sampled_config_is_complete_and_rebuilds_the_network(toy: nn.Module) -> None:
    space = space_of(toy, "type", linear=LISTS)
    x = torch.randn(6, 16)
    for number in range(0, space.size, 31):
        config = space.flattened_indexes_to_config(space.point(number))
        assert config["by"] == "name"
        assert config["default"] == {"config": {"name": "NA"}}
        graph = space.rebuild_model(config)
        assert graph.plan == space.plan(space.point(number))
        assert torch.equal(graph.model(x), space.rebuild_model(config).model(x))
    assert space.rebuild_model(config, is_eval_mode=False).model.training


def test_each_node_has_its_own_copy_of_the_lists_by_type(toy: nn.Module) -> None:
    space = space_of(toy, "type", linear={"name": ["integer"], "weight_width": [2, 4, 8]})
    assert space.size == 3**3
    assert len(space.parameters) == 3
    assert set(space.choice_lengths_flattened.values()) == {1, 3}


def test_single_choices_are_no_parameters_and_may_be_left_out(toy: nn.Module) -> None:
    space = space_of(toy, seq_blocks_2={"name": ["integer"], "weight_width": [4], "data_in_width": [4, 8]})
    assert list(space.parameters) == ["seq_blocks_2/config/data_in_width"]
    config = space.flattened_indexes_to_config({"seq_blocks_2/config/data_in_width": 1})
    assert config["seq_blocks_2"]["config"] == {"name": "integer", "weight_width": 4, "data_in_width": 8}


@pytest.mark.parametrize(
    ("node", "lists", "below_seed", "told"),
    [
        ("seq_blocks_2", {"weight_width": [2]}, "seq_blocks_2.config.name", "is missing"),
        ("seq_blocks_2", {"name": []}, "seq_blocks_2.config.name", "empty list"),
        ("seq_blocks_2", {"name": ["integr"]}, "seq_blocks_2.config.name", "'integer'"),
        ("seq_blocks_2", {**FIXED, "weight_width": [0, 4]}, "seq_blocks_2.config.weight_width", "1 <= width"),
        (
            "seq_blocks_2",
            {"name": ["integer", "ternary"], "weight_width": [4]},
            "seq_blocks_2.config.weight_width",
            "ternary: width must be 2, got 4",
        ),
        ("seq_blocks_2", {**FIXED, "wieght_width": [4]}, "seq_blocks_2.config.wieght_width", "'weight_width'"),
        ("seq_blocks_4", {**FIXED, "weight_width": [4]}, "seq_blocks_4.config.weight_width", "no operand 'weight'"),
        ("seq_blok_2", FIXED, "seq_blok_2", "'seq_blocks_2'"),
        ("conv2d", FIXED, "", "no seed matches any node"),
    ],
)
def test_what_is_wrong_has_a_path_and_a_cure(
    node: str, lists: dict[str, Any], below_seed: str, told: str, toy: nn.Module
) -> None:
    found = {".".join(problem.path): problem.message for problem in space_of(toy, **{node: lists}).problems()}
    assert told in found[f"seed.{below_seed}".rstrip(".")], found


def test_a_wrong_bias_correction_is_told_once_at_its_own_key(toy: nn.Module) -> None:
    lists = {**FIXED, "data_in_width": [4], "weight_width": [2, 4], "bias_correction": ["plan", "no"]}
    (problem,) = space_of(toy, seq_blocks_2=lists).problems()
    assert problem.path == ("seed", "seq_blocks_2", "config", "bias_correction")
    assert "got 'no'" in problem.message


PLAIN: dict[str, Any] = {**FIXED, "weight_width": [2, 4]}
MEASURED = {"batch_norm": ["float", "measured"]}


@pytest.mark.parametrize(
    ("by", "seed", "override", "path"),
    [
        ("type", {"linear": {**PLAIN, **MEASURED}}, {}, "seed.linear.config.batch_norm"),
        ("name", {"seq_blocks_2": {**PLAIN, **MEASURED}}, {}, "seed.seq_blocks_2.config.batch_norm"),
        ("type", {"linear": PLAIN}, {"seq_blocks_2": MEASURED}, "override.seq_blocks_2.config.batch_norm"),
        ("type", {"linear": PLAIN}, {"seq_blocks_[23]": MEASURED}, ""),
        ("type", {"linear": PLAIN, "default": {"name": ["NA"], **MEASURED}}, {}, ""),
    ],
)
def test_batch_norm_is_a_key_of_batch_norms(
    by: str, seed: dict[str, Any], override: dict[str, Any], path: str, toy: nn.Module
) -> None:
    tables = ({key: {"config": lists} for key, lists in own.items()} for own in (seed, override))
    space = MixedPrecisionPTQ(toy, next(tables), by, None, next(tables))
    found = {".".join(problem.path): problem.message for problem in space.problems()}
    assert list(found) == ([path] if path else [])
    assert not path or "no batch norm with statistics of its own" in found[path]


def test_statistics_are_not_measured_on_one_sample(toy: nn.Module) -> None:
    def problems(rows: int) -> list[tuple[str, ...]]:
        setup = SpaceSetup(batch_norm="measured", calibration_rows=rows)
        seed = {"linear": {"config": {**FIXED, "weight_width": [2]}}}
        return [problem.path for problem in MixedPrecisionPTQ(toy, seed, "type", setup).problems()]

    assert (problems(1), problems(2)) == ([("setup", "calibration_rows")], [])


def test_by_must_be_known(toy: nn.Module) -> None:
    (problem,) = space_of(toy, "kind", linear=LISTS).problems()
    assert problem.path == ("setup", "by")
