"""An op of one's own joins the table, and is quantised, searched and counted like any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chop.actions.search import search
from chop.actions.search.strategies.runners import RUNNERS
from chop.dataset import MaseDataModule
from chop.errors import ChopError
from chop.formats import Integer
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.node_costs import node_costs
from chop.nn import OP_TABLE, Op
from chop.testing import OpConformance
from chop.testing.ops import OpCall
from chop.tools.user_code import load_plugin
from tests.actions.search.conftest import jets, lab
from tests.testing.own_ops import CENTRED, INPUT, SCALED, Centred, scaled

__all__ = ["jets", "lab"]


@pytest.fixture(autouse=True)
def _registered(_registries_as_they_were: None) -> None:
    OP_TABLE.register("centred")(CENTRED)
    OP_TABLE.register("scaled")(SCALED)


class TestOwn(OpConformance):
    calls = (
        OpCall(CENTRED, Centred(6, 4), (torch.randn(5, 6),)),
        OpCall(SCALED, scaled, (torch.randn(5, 6), torch.randn(6))),
    )


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.last, self.gain = Centred(16, 8), nn.Linear(8, 5), nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(scaled(self.layer(x), self.gain))
        return found


def test_it_counts_as_a_layer_that_multiplies() -> None:
    costs = node_costs(MaseGraph(Model()), torch.zeros(3, 16))
    plan = QuantPlan.of({"layer": {"data_in": Integer(8), "weight": Integer(8), "bias": Integer(8)}})
    found = RUNNERS["average_bitwidth"](None).total(costs, plan)
    ours, last = 16 + 16 * 8 + 8, 8 + 8 * 5 + 5
    assert found["average_bitwidth"] == (8 * ours + 32 * last) / (ours + last)


def test_a_search_chooses_its_formats(tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule) -> None:
    lists = lab["search_space"]["seed"].pop("seq_blocks_2")["config"]
    unbiased = {key: values for key, values in lists.items() if not key.startswith("bias")}
    lab["search_space"]["seed"] |= {"centred": {"config": lists}, "scaled": {"config": unbiased}}
    lab["search_space"]["setup"]["by"] = "type"
    lab["strategy"]["setup"] = {"n_trials": 40}
    found = search(Model(), jets, lab, tmp_path)
    assert len(found.trials) == 40
    assert len({trial.metrics["loss"] for trial in found.trials}) > 5


def test_the_op_of_the_page_is_quantised(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how_to" / "own_op.md").read_text(encoding="utf-8")
    code = page.partition("# my_op.py")[2].partition("```")[0].replace('"centred"', '"page"')
    (tmp_path / "my_op.py").write_text(code, encoding="utf-8")
    module = load_plugin(tmp_path / "my_op.py")
    graph = MaseGraph(nn.Sequential(module.Centred(6, 4), nn.ReLU()))
    assert [op.name for op in graph.quantizable_nodes().values()] == ["page", "relu"]


@pytest.mark.parametrize(
    ("op", "told"),
    [
        ("text", "is no chop.nn.Op"),
        (Op("own"), "names no module, function or method"),
        (Op("own", functions=(scaled,), args={"input": ()}), "has an operand 'input'; operands are data_in"),
        (Op("own", modules=(nn.Linear,), args=INPUT), "which is the op 'linear' already"),
    ],
)
def test_what_is_no_op_is_refused(op: Any, told: str) -> None:
    with pytest.raises(ChopError, match=f"the op 'own' cannot be registered: it .*{told}"):
        OP_TABLE.register("own")(op)


@pytest.fixture
def forgotten() -> Iterator[None]:
    with OP_TABLE.restored():
        OP_TABLE._items.pop("centred")
        OP_TABLE.changes += 1
        yield


@pytest.mark.usefixtures("forgotten")
def test_without_its_row_a_layer_is_traced_into() -> None:
    assert "layer" not in MaseGraph(Model()).quantizable_nodes()
