"""A graph of torch.export keeps the conditions that it rests on wherever it goes: copied, saved, sent, counted."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from chop.errors import GraphError
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import Integer
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.node_costs import node_costs
from chop.passes.graph import calibrate_analysis_pass

SHORT, LONG = torch.randn(4, 5, 3), torch.randn(4, 9, 3)


class Cuts(nn.Module):
    """Goes another way for sequences of more than six places."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 6:
            x = x[:, :6]
        found: Tensor = self.fc(x).sum(1)
        return found


def saved(graph: MaseGraph, folder: Path) -> MaseGraph:
    return MaseGraph.from_checkpoint(graph.export(folder / "g.safetensors"), Cuts(), example_inputs=SHORT)


WAYS: dict[str, Callable[[MaseGraph, Path], MaseGraph]] = {
    "itself": lambda graph, folder: graph,
    "copied": lambda graph, folder: copy.deepcopy(graph),
    "sent to a worker": lambda graph, folder: pickle.loads(pickle.dumps(graph)),
    "saved": saved,
}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own, of a pickled graph
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_quantised", [False, True])
def test_other_inputs_are_refused_wherever_the_graph_goes(way: str, is_quantised: bool, tmp_path: Path) -> None:
    graph = MaseGraph(Cuts(), example_inputs=SHORT)
    if is_quantised:
        graph.apply_plan(QuantPlan.of({"fc": {"data_in": Integer(8, 4), "weight": Integer(8, 4)}}))
    wanted = graph.model(SHORT)
    own = WAYS[way](graph, tmp_path)
    assert torch.equal(own.model(SHORT), wanted)
    with pytest.raises(GraphError, match=r"x.shape\[1\] == 5, and now gets x of shape \(4, 9, 3\)"):
        own.model(LONG)


@pytest.mark.parametrize(
    "use",
    [
        lambda graph: node_costs(graph, LONG),
        lambda graph: calibrate_analysis_pass(graph, {"input_generator": [{"x": LONG}]}),
        lambda graph: PlanRunner(graph, [(LONG, torch.zeros(4))]).predictions(QuantPlan()),
    ],
)
def test_what_runs_a_graph_names_the_condition(use: Callable[[MaseGraph], object]) -> None:
    graph = MaseGraph(Cuts(), example_inputs=SHORT)
    with pytest.raises(GraphError, match=r"x.shape\[1\] == 5"):
        use(graph)
