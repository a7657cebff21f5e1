"""LUTs by stage: near those of the whole circuit, solved once, and kept by content."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.circuits import circuit_costs, integer_network
from chop.circuits.alkaid_trace import traced
from chop.circuits.network_costs import network_costs
from chop.circuits.plan_costs import PlanCosts
from chop.circuits.solutions import Solutions, Solved, content_key
from chop.circuits.stage_luts import STAGE_LUTS, StageLuts
from chop.circuits.steps import steps_of
from chop.formats.integer import Integer
from chop.ir import MaseGraph, QuantPlan
from tests.circuits.networks import bundled, quantised


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 2


def formats(width: int) -> dict[str, Integer]:
    return {"data_in": Integer(width, 2), "weight": Integer(width, 2), "bias": Integer(4, 2)}


def test_the_sum_over_stages_is_near_the_whole() -> None:
    graph, data = bundled("jsc-toy")
    x, _ = next(iter(data.batches("val", 4)))
    network = integer_network(graph, x)
    luts, fused, depth, waiting, half_of_inputs = network_costs(network, StageLuts(Solutions(None)), STAGE_LUTS)
    whole = circuit_costs(traced(network))
    assert luts == pytest.approx(whole.luts, rel=0.1)
    assert fused == pytest.approx(whole.luts_fused, rel=0.1)
    assert depth == pytest.approx(whole.depth, rel=0.3)
    assert half_of_inputs == sum(network.ranges[port.name].bits.sum() for port in network.ports) / 2
    flip_flops = waiting * whole.cycles / depth + half_of_inputs
    assert flip_flops == pytest.approx(whole.flip_flops, rel=0.3)


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 2), nn.Conv2d(2, 2, 1)
        self.last = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.first(x))
        hidden = F.max_pool2d(self.second(hidden) + hidden, 2)
        return self.last(hidden.flatten(1))


def test_a_space_has_what_each_network_has_and_each_part_is_solved_once() -> None:
    torch.manual_seed(2)
    x = drawn(2, 1, 3, 3)
    graph = MaseGraph(Image())
    axes = [[{node: formats(width)} for width in (3, 4)] for node in ("first", "second", "last")]
    solutions = Solutions(None)
    table = PlanCosts(steps_of(graph, x, axes), StageLuts(solutions), STAGE_LUTS)
    codes = np.array(list(product(range(2), repeat=3)))
    found, solved = table.sums(codes), solutions.solved
    assert (found[:, 0] > 0).all()
    for row, own in zip(found, codes, strict=True):
        plan = {node: chosen for axis, code in zip(axes, own, strict=True) for node, chosen in axis[code].items()}
        graph.apply_plan(QuantPlan.of(plan))
        assert np.array_equal(row, network_costs(integer_network(graph, x), StageLuts(solutions), STAGE_LUTS))
    assert solutions.solved == solved


def test_positions_of_a_convolution_that_read_alike_are_solved_once() -> None:
    torch.manual_seed(3)
    x = drawn(2, 1, 6)
    graph = quantised(nn.Sequential(nn.Conv1d(1, 1, 3)), {"_0": formats(3)}, x)
    solutions = Solutions(None)
    luts, *_ = network_costs(integer_network(graph, x), StageLuts(solutions), STAGE_LUTS)
    one = quantised(nn.Sequential(nn.Conv1d(1, 1, 3)), {"_0": formats(3)}, x[..., :3])
    one.model.load_state_dict(graph.model.state_dict())
    one.apply_plan(graph.plan)
    alone, *_ = network_costs(integer_network(one, x[..., :3]), StageLuts(solutions), STAGE_LUTS)
    assert (luts, solutions.solved) == (4 * alone, 1)


def test_solutions_are_kept_by_content_and_damaged_files_are_solved_again(tmp_path: Path) -> None:
    solved = Solved(1.5, 1.0, 2.0, 30.0, 8.0)

    def solve() -> Solved:
        return solved

    content = ["sums", np.arange(3)]
    first = Solutions(tmp_path)
    assert first.get(content, solve) == first.get(content, solve) == solved
    assert first.solved == 1
    (file,) = tmp_path.rglob("*.json")
    again = Solutions(tmp_path)
    assert (again.get(content, solve), again.solved) == (solved, 0)
    for damage in (
        "",
        "[1]",
        json.dumps({"solution": [1, -2, 3, 4, 5], "key": file.stem}),
        json.dumps({"solution": [1, 2, 3], "key": file.stem}),
        '{"solution": [1, 2, 3, 4, 5], "key": 0}',
    ):
        file.write_text(damage, encoding="utf-8")
        mended = Solutions(tmp_path)
        assert (mended.get(content, solve), mended.solved) == (solved, 1)
    assert content_key(content) != content_key(["sums", np.arange(3.0)]) != content_key(["sums", np.arange(4.0)])


def test_a_folder_that_cannot_be_written_costs_nothing_but_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    solutions = Solutions(tmp_path / "file")
    assert solutions.get([1], lambda: Solved(1.0, 1.0, 1.0, 1.0, 1.0)) == (1.0, 1.0, 1.0, 1.0, 1.0)
    assert solutions.folder is None
