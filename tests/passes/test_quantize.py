"""Quantising a graph by type, name and pattern."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from chop.errors import PassError
from chop.formats import Integer
from chop.ir import MaseGraph
from chop.models import get_model
from chop.passes.graph import quantize_transform_pass

WIDTHS = ((16, 8), (8, 6), (8, 4), (4, 2))


def layer(data: tuple[int, int] = (8, 4), weight: tuple[int, int] = (8, 4), **more: Any) -> dict[str, Any]:
    names = {"data_in": data, "weight": weight, "bias": (8, 4)}
    widths = {f"{name}_width": width for name, (width, _) in names.items()}
    return {"name": "integer", **widths, **{f"{name}_frac_width": frac for name, (_, frac) in names.items()}, **more}


INPUTS = {"name": "integer", "data_in_width": 8, "data_in_frac_width": 4}


@pytest.fixture
def graph() -> MaseGraph:
    return MaseGraph(get_model("jsc-toy", pretrained=True))


def test_after_sixteen_passes_the_first_config_gives_its_first_result(graph: MaseGraph) -> None:
    x = torch.randn(40, 16)
    configs = [{"by": "type", "linear": {"config": layer(data, weight)}} for data in WIDTHS for weight in WIDTHS]
    outputs = []
    for config in configs:
        graph, _ = quantize_transform_pass(graph, config)
        outputs.append(graph.model(x))
    assert len({tuple(output.flatten().tolist()) for output in outputs}) == 16
    for config, first in zip(configs, outputs, strict=True):
        graph, _ = quantize_transform_pass(graph, config)
        assert torch.equal(graph.model(x), first)
        alone, _ = quantize_transform_pass(MaseGraph(get_model("jsc-toy", pretrained=True)), config)
        assert torch.equal(alone.model(x), first)


@pytest.mark.parametrize(
    ("config", "quantised"),
    [
        ({"by": "type", "linear": {"config": layer()}}, ["seq_blocks_2", "seq_blocks_5", "seq_blocks_8"]),
        ({"by": "name", "seq_blocks_5": {"config": layer()}}, ["seq_blocks_5"]),
        ({"by": "regex_name", r"seq_blocks_[28]": {"config": layer()}}, ["seq_blocks_2", "seq_blocks_8"]),
        ({"by": "name", "seq_blocks_5": {"config": layer()}, "linear": {"config": layer()}}, ["seq_blocks_5"]),
        (
            {"by": "type", "relu": {"config": INPUTS}, "linear": {"config": {"name": None}}},
            [
                "seq_blocks_1",
                "seq_blocks_10",
                "seq_blocks_4",
                "seq_blocks_7",
            ],
        ),
        (
            {"by": "type", "default": {"config": layer()}, "relu": {"config": {"name": "NA"}}},
            [
                "seq_blocks_0",
                "seq_blocks_2",
                "seq_blocks_3",
                "seq_blocks_5",
                "seq_blocks_6",
                "seq_blocks_8",
                "seq_blocks_9",
            ],
        ),
        ({"by": "type", "relu": {"config": {**INPUTS, "bypass": True}}}, []),
    ],
)
def test_the_nodes_that_a_config_means_are_quantised(
    config: dict[str, Any], quantised: list[str], graph: MaseGraph
) -> None:
    graph, info = quantize_transform_pass(graph, config)
    assert sorted(graph.plan) == sorted(quantised)
    assert info["plan"] == graph.plan


def test_a_pattern_must_match_the_whole_name(graph: MaseGraph) -> None:
    graph, _ = quantize_transform_pass(graph, {"by": "regex_name", "seq_blocks_1": {"config": layer()}})
    assert list(graph.plan) == ["seq_blocks_1"]


def test_arguments_are_not_changed(graph: MaseGraph) -> None:
    config = {"by": "type", "default": {"config": {"name": None}}, "linear": {"config": layer()}}
    before = copy.deepcopy(config)
    quantize_transform_pass(graph, config)
    assert config == before


def test_na_as_fraction_width_is_half_the_width(graph: MaseGraph) -> None:
    config = {
        "by": "name",
        "seq_blocks_2": {"config": {"name": "integer", "weight_width": 5, "weight_frac_width": "NA"}},
    }
    graph, _ = quantize_transform_pass(graph, config)
    assert graph.plan["seq_blocks_2"] == {"weight": Integer(5, 2)}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (None, "quantize needs pass_args"),
        ({"by": "typ", "linear": {"config": layer()}}, "did you mean 'type'?"),
        ({"by": "type", "liner": {"config": layer()}}, "did you mean 'linear'?"),
        ({"by": "name", "seq_block_2": {"config": layer()}}, "did you mean 'seq_blocks_2'?"),
        ({"by": "type", "linear": {"config": {**layer(), "name": "intger"}}}, "did you mean 'integer'?"),
        ({"by": "type", "linear": {"config": layer(weight_widht=3)}}, "did you mean 'weight_width'?"),
        ({"by": "type", "linear": {"config": layer(weight=(0, 0))}}, "1 <= width <= 32"),
        ({"by": "type", "linear": {"config": layer(weight_width="8")}}, "width must be an integer"),
        ({"by": "type", "linear": layer()}, "must hold a table 'config'"),
        ({"by": "name", "seq_blocks_1": {"config": layer()}}, "relu has no operand 'weight'"),
        (
            {
                "by": "name",
                "seq_blocks_2": {"config": layer(weight_rounding="nearest", weight_rounding_order="stored")},
            },
            "key 'weight_rounding_order': has no effect without rounding",
        ),
        (
            {"by": "name", "seq_blocks_2": {"config": layer(weight_sparsity=0.5, weight_sparsity_seed=3)}},
            "key 'weight_sparsity_seed': has no effect without sparsity_pattern",
        ),
        ({"by": "regex_name", "(": {"config": layer()}}, "no regular expression"),
    ],
)
def test_a_config_that_means_nothing_is_refused_with_the_cure(
    config: dict[str, Any] | None, told: str, graph: MaseGraph
) -> None:
    with pytest.raises(PassError) as caught:
        quantize_transform_pass(graph, config)
    assert told in str(caught.value)
    assert not list(graph.plan)
