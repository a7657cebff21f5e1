"""Samples that are no samples are refused by every pass that takes some, in one way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chop.errors import ChopError, PassError
from chop.ir import MaseGraph
from chop.passes.graph.registry import PASSES, needs_of

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
FURTHER: dict[str, dict[str, Any]] = {
    "sensitivity": {"choices": [{"name": "integer", "weight_width": 4, "weight_frac_width": 2}]},
    "profile_statistics": {
        "by": "type",
        "target_activation_nodes": ["linear"],
        "activation_statistics": {"range_min_max": {}},
        "num_samples": 4,
    },
}


def taking(source: str) -> list[str]:
    return [name for name in PASSES.names() if source in needs_of(name).inputs]


def graph_of() -> MaseGraph:
    torch.manual_seed(0)
    layers = (nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2))
    return MaseGraph(nn.Sequential(*layers).eval())


def run(name: str, given: dict[str, Any]) -> Any:
    graph = graph_of()
    usual = {"dummy_in": {"input": X[:2]}} if "dummy_in" in needs_of(name).inputs else {}
    for required in ("init_metadata", "add_common_metadata", "add_software_metadata"):
        if name == "profile_statistics":
            PASSES[required](graph, {"dummy_in": {"input": X[:2]}} if "common" in required else {})
    quiet = {"show": False} if needs_of(name).keeps_float else {}
    return PASSES[name](graph, {**usual, **FURTHER.get(name, {}), **quiet, **given})


def used_up() -> Any:
    batches = ({"input": x} for x in [X])
    list(batches)
    return batches


@pytest.mark.parametrize("name", taking("input_generator"))
@pytest.mark.parametrize(
    ("generator", "told"),
    [
        (used_up, "input_generator yields no samples"),
        (list, "input_generator yields no samples"),
        (lambda: 3, r"needs input_generator, an iterable of \{argument of the model: batch\}"),
        (lambda: [X], r"input_generator: expected \{argument of the model: batch\}.* got Tensor"),
        (lambda: {"input": X}, "input_generator: expected .* got str"),
        (lambda: [{"y": X}], "input_generator: the model takes input; given are y"),
        (lambda: [{"input": X[:0]}], "input_generator: a batch without samples"),
        (lambda: [{"input": X[:, :4]}], "the graph does not run on these (samples|inputs): .*shapes"),
    ],
)
def test_batches_that_are_none_are_told(name: str, generator: Callable[[], Any], told: str) -> None:
    with pytest.raises(ChopError, match=told):
        run(name, {"input_generator": generator()})


@pytest.mark.parametrize("name", taking("dummy_in"))
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (X, "dummy_in.* batch"),
        ({"y": X}, r"the model takes \(?input\)?.* y\b"),
        ({"input": X[:, :4]}, "does not run on (these|the) (samples|inputs|data).*shapes"),
    ],
)
def test_samples_to_compare_on_that_are_none_are_told(name: str, given: Any, told: str) -> None:
    if name == "add_common_metadata":
        graph = graph_of()
        PASSES["init_metadata"](graph, {})
        with pytest.raises(ChopError, match=told):
            PASSES[name](graph, {"dummy_in": given})
        return
    further = {"input_generator": [{"input": X}]} if name == "migrate_scales" else {}
    with pytest.raises(ChopError, match=told):
        run(name, {**further, "dummy_in": given})


def missing(value: float) -> Tensor:
    x = X.clone()
    x[1, 2] = value
    return x


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["migrate_scales", "profile_statistics", "sensitivity", "measure_batch_norm"])
def test_samples_of_no_meaning_are_refused_with_the_node(name: str, value: float) -> None:
    with pytest.raises(ChopError, match=r"NaN or infinity .*node|node .* NaN or infinity"):
        run(name, {"input_generator": [{"input": missing(value)}]})


@pytest.mark.parametrize("name", ["equalise", "fold_batch_norm", "migrate_scales"])
def test_outputs_of_no_meaning_are_not_compared(name: str) -> None:
    further = {"input_generator": [{"input": X}]} if name == "migrate_scales" else {}
    with pytest.raises(PassError, match=f"{name}: dummy_in: NaN or infinity at node 'output'"):
        run(name, {**further, "dummy_in": {"input": missing(float("nan"))}})
