"""Exclusions, overrides, ties, formats mixed at one node, and ranges that are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from chop.actions.search import search
from chop.actions.search.search_space import MixedPrecisionPTQ, SpaceSetup
from chop.dataset import MaseDataModule
from chop.models import get_model

LISTS: dict[str, Any] = {"name": ["integer"], "data_in_width": [4, 8], "weight_width": [4, 8]}
SEED = {"linear": {"config": LISTS}}


def space(
    override: dict[str, Any] | None = None, seed: dict[str, Any] | None = None, **setup: Any
) -> MixedPrecisionPTQ:
    model = get_model("jsc-toy", pretrained=True)
    return MixedPrecisionPTQ(model, seed or SEED, "type", SpaceSetup(by="type", **setup), override)


def configs(found: MixedPrecisionPTQ) -> list[dict[str, Any]]:
    assert found.problems() == []
    rows = [found.flattened_indexes_to_config(found.point(number)) for number in range(found.size)]
    return [{name: entry["config"] for name, entry in row.items() if name.startswith("seq")} for row in rows]


def test_excluded_nodes_stay_in_float() -> None:
    found = configs(space(exclude=["seq_blocks_2", ".*_8"]))
    assert len(found) == 4
    assert all(row["seq_blocks_2"] == row["seq_blocks_8"] == {"name": "NA"} for row in found)


def test_an_override_goes_before_the_seed_whatever_by_is() -> None:
    found = configs(space({"seq_blocks_[28]": {"config": {"weight_width": [8], "data_in_width": [8]}}}))
    assert len(found) == 4
    assert all(row[name]["weight_width"] == 8 for row in found for name in ("seq_blocks_2", "seq_blocks_8"))
    assert {row["seq_blocks_5"]["weight_width"] for row in found} == {4, 8}


def test_tied_nodes_have_one_choice_and_their_points_count_once() -> None:
    tied = space(tie=[["seq_blocks_2", "seq_blocks_5"]])
    found = configs(tied)
    assert len(found) == tied.size == 4 * 4
    assert all(row["seq_blocks_2"] == row["seq_blocks_5"] for row in found)
    assert len({str(row) for row in found}) == 16
    plan = tied.plan(tied.point(5))
    assert plan["seq_blocks_2"] == plan["seq_blocks_5"]


def test_a_pattern_ties_those_of_its_nodes_that_have_choices() -> None:
    assert configs(space(tie=[["seq_blocks_[0-5]"]])) == configs(space(tie=[["seq_blocks_2", "seq_blocks_5"]]))
    assert len(configs(space(tie=[["seq_blocks_[01]"]]))) == 4**3


def test_what_follows_a_choice_has_its_value_in_every_config() -> None:
    tied = space(tie=[["seq_blocks_2", "seq_blocks_5"]], tie_operands=["weight", "data_in"])
    follows = tied.followers
    wanted = {
        "seq_blocks_5/config/weight_width",
        "seq_blocks_5/config/data_in_width",
        "seq_blocks_8/config/data_in_width",
    }
    assert wanted <= set(follows)
    for index in range(tied.size):
        point = tied.point(index)
        config = tied.flattened_indexes_to_config(point)
        for key, leading in follows.items():
            node, _, own = key.partition("/config/")
            assert config[node]["config"][own] == tied.parameters[leading][point[leading]]


def test_tied_operands_have_one_choice() -> None:
    found = configs(space(tie_operands=["weight", "data_in"]))
    assert len(found) == 2**3
    assert all(
        config["weight_width"] == config["data_in_width"] for row in found for config in row.values() if len(config) > 1
    )


def test_formats_mixed_at_a_node_count_only_what_differs() -> None:
    lists = {
        "name": ["integer", "minifloat_ieee", "mxfp", "NA"],
        "weight_width": [4, 8],
        "weight_frac_width": [2, 3],
        "weight_exponent_width": [2, 3],
        "weight_element_exp_bits": [2],
        "weight_element_frac_bits": [1, 3],
        "weight_block_size": [[1, 4], [1, 8]],
    }
    found = configs(space(seed={"linear": {"config": lists}}, exclude=["seq_blocks_[58]"]))
    # integer: 2 widths x 2 fractions; minifloat: 2 x 2; mxfp: 2 x 2; float: 1.
    assert len(found) == 4 + 4 + 4 + 1
    keys = {row["seq_blocks_2"]["name"]: set(row["seq_blocks_2"]) for row in found}
    assert keys["minifloat_ieee"] == {"name", "weight_width", "weight_exponent_width"}
    assert keys["NA"] == {"name"}


@pytest.mark.parametrize(
    ("setup", "override", "told"),
    [
        ({"exclude": ["seq_block_2"]}, None, "did you mean 'seq_blocks_2'?"),
        ({"exclude": ["("]}, None, "no regular expression"),
        ({"tie": [["seq_blocks_2", "seq_blocks_4"]]}, None, "different choices"),
        ({}, {"seq_blocks_2": {"config": {"weigt_width": [4]}}}, "did you mean 'weight_width'?"),
        ({}, {"seq_blocks_2": [1]}, "must hold a table 'config'"),
        ({"tie_operands": ["weight", "data_in"]}, {"seq_blocks_2": {"config": {"data_in_width": [3]}}}, "is tied to"),
    ],
)
def test_what_is_wrong_is_told(setup: dict[str, Any], override: dict[str, Any] | None, told: str) -> None:
    problems = space(override, **setup).problems()
    assert any(told in problem.message for problem in problems), problems


AUTO = {
    "name": ["integer", "scale_integer"],
    "data_in_width": [4, 8],
    "data_in_frac_width": ["auto", "NA"],
    "data_in_range_rule": ["min_max"],
    "weight_width": [4],
    "weight_frac_width": ["auto"],
    "weight_range_rule": ["min_max", "quantile", "mse"],
}


def test_ranges_are_measured_once_and_frozen(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["search_space"]["seed"] = {"seq_blocks_2": {"config": {**AUTO, "name": ["integer"]}}}
    result = search(jsc_tiny, jets, lab, tmp_path)
    assert len(result.trials) == 2 * 2 * 3
    best = max(result.trials, key=lambda trial: trial.metrics["accuracy"])
    assert best.metrics["accuracy"] > 0.6
    by_rule = {trial.metrics["accuracy"] for trial in result.trials}
    assert len(by_rule) > 4
    graph = MixedPrecisionPTQ(jsc_tiny, lab["search_space"]["seed"]).graph
    x = torch.randn(64, 16)
    graph.calibrate({("seq_blocks_2", "data_in"): x * 3, ("seq_blocks_2", "data_out"): x})
    frozen = graph.freeze(MixedPrecisionPTQ(graph, lab["search_space"]["seed"]).plan({}))
    assert isinstance(frozen["seq_blocks_2"]["data_in"].frac_width, int)  # type: ignore[attr-defined]


def test_formats_with_measured_scales_are_searched_and_replayed(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lists = {
        "name": ["integer", "scale_integer", "ternary", "binary"],
        "weight_width": [4, 8, "NA"],
        "data_in_width": [8, "NA"],
        "data_in_scaled": [True],
        "data_in_scaling_factor": [True],
        "weight_scaled": [True],
        "weight_scaling_factor": [True],
    }
    lab["search_space"]["seed"] = {"seq_blocks_2": {"config": lists}}
    result = search(jsc_tiny, jets, lab, tmp_path)
    # integer and scale_integer: two widths each; ternary and binary take no width but their own.
    assert len(result.trials) == 2 + 2 + 1 + 1


def test_bias_correction_is_a_choice_like_any_other() -> None:
    found = space(seed={"linear": {"config": {**LISTS, "bias_correction": [False, True]}}}, exclude=["seq_blocks_[58]"])
    assert found.size == 2 * 2 * 2
    plans = {found.plan(found.point(number)) for number in range(found.size)}
    assert len(plans) == found.size
    assert sum("data_out" in plan["seq_blocks_2"] for plan in plans) == 4
    assert found.calibration_rows == 512
