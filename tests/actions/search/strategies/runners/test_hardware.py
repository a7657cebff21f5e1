"""Figures that follow from formats and shapes, as users mean them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from chop.actions.search import search
from chop.actions.search.strategies.runners import RUNNERS
from chop.actions.search.strategies.runners.hardware import AverageBitwidth
from chop.dataset import MaseDataModule
from chop.errors import SearchError
from chop.formats import Integer, OutputShift
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.node_costs import node_costs
from tests.actions.search.conftest import jets, jsc_tiny, lab

__all__ = ["jets", "jsc_tiny", "lab"]

Widths = Mapping[str, Mapping[str, int]]


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))
        return found


class Repeated(nn.Module):
    """A layer that is called three times, a table that is the last layer as well, and attention without weights."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.cell, self.head = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        h = self.table(ids)
        for _ in range(3):
            h = torch.tanh(self.cell(h))
        found: Tensor = self.head(h @ h.transpose(1, 2) @ h)
        return found


def figures(model: nn.Module, x: Tensor, widths: Widths, runner: str = "average_bitwidth") -> dict[str, float]:
    """The metrics of a plan with `{node: {operand: bits}}`."""
    plan = QuantPlan.of({n: {operand: Integer(w) for operand, w in own.items()} for n, own in widths.items()})
    return RUNNERS[runner](None).total(node_costs(MaseGraph(model), x), plan)


def every_operand(model: nn.Module, width: int, *ops: str) -> Widths:
    """All operands of the nodes of some ops (none named: of all) in one width, results left out."""
    nodes = MaseGraph(model).quantizable_nodes().items()
    return {n: {o: width for o in op.operands if o != "data_out"} for n, op in nodes if not ops or op.name in ops}


IMAGES, TOKENS = torch.zeros(3, 3, 8, 8), torch.zeros(3, 5, dtype=torch.long)


@pytest.mark.parametrize("width", [2, 4, 8, 16])
@pytest.mark.parametrize("ops", [("conv2d", "linear", "matmul"), ()], ids=["layers", "everything"])
@pytest.mark.parametrize(("kind", "x"), [(Convolutional, IMAGES), (Repeated, TOKENS)], ids=["cnn", "shared"])
def test_a_plan_of_one_width_reads_that_width(
    kind: type[nn.Module], x: Tensor, ops: tuple[str, ...], width: int
) -> None:
    found = figures(kind(), x, every_operand(kind(), width, *ops))
    assert found == {
        "average_bitwidth": width,
        "average_weight_bits": width,
        "average_activation_bits": width,
        "memory_density": 32 / width,
    }


@pytest.mark.parametrize(("kind", "x"), [(Convolutional, IMAGES), (Repeated, TOKENS), (nn.ReLU, IMAGES)])
def test_the_network_in_float_reads_32(kind: type[nn.Module], x: Tensor) -> None:
    assert set(figures(kind(), x, {}).values()) == {32.0, 1.0}


@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 24), st.booleans())
def test_it_is_the_sum_by_hand(data_in: int, weight: int, bias: int, rounds_the_norm: bool) -> None:
    """The head stays in float32: 32 bits; batch norm counts where it has formats."""
    norm = {"norm": {"data_in": 5}} if rounds_the_norm else {}
    found = figures(Convolutional(), IMAGES, {"conv": {"data_in": data_in, "weight": weight, "bias": bias}, **norm})
    weights = [(6 * 3 * 9, weight), (6, bias), (6 * 5 + 5, 32)]
    activations = [(3 * 8 * 8, data_in), (6, 32), (6 * 6 * 6 * rounds_the_norm, 5)]
    assert found["average_bitwidth"] == float(_average(weights + activations))
    assert found["average_weight_bits"] == float(_average(weights))
    assert found["average_activation_bits"] == float(_average(activations))


def _average(counted: list[tuple[int, int]]) -> Fraction:
    return Fraction(sum(values * bits for values, bits in counted), sum(values for values, _ in counted))


def test_a_shared_parameter_counts_once_with_each_readers_format_for_its_share() -> None:
    found = figures(Repeated(), TOKENS, {"cell": {"weight": 2, "bias": 2}, "head": {"weight": 4}})
    cell, table = 20 * (2 + 32 + 32) / 3, 28 / 2 * 4  # the embedding does not multiply, and has no format
    assert found["average_weight_bits"] == pytest.approx((cell + table) / (20 + 14))
    whole = figures(Repeated(), TOKENS, {}, "model_size")["model_size"]
    assert whole == pytest.approx(4 * sum(own.numel() for own in Repeated().parameters()))


def test_layers_without_formats_count_their_weights_if_they_multiply() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent, self.act, self.head = nn.LSTM(4, 4, batch_first=True), nn.PReLU(), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.head(self.act(self.recurrent(x)[0][:, -1]))
            return found

    x = torch.zeros(3, 5, 4)
    found = figures(Mixed(), x, every_operand(Mixed(), 8, "linear"))
    recurrent = sum(own.numel() for own in Mixed().recurrent.parameters())
    assert found["average_weight_bits"] == pytest.approx((32 * recurrent + 8 * 10) / (recurrent + 10))
    assert found["average_activation_bits"] == 8


def test_a_result_that_is_corrected_and_not_rounded_is_no_operand() -> None:
    costs = node_costs(MaseGraph(Convolutional()), IMAGES)
    plain = {"data_in": Integer(4), "weight": Integer(3), "bias": Integer(3)}
    corrected = {**plain, "data_out": OutputShift(None, shift=(0.5,) * 6)}
    rounded = {**plain, "data_out": OutputShift(Integer(4), shift=(0.5,) * 6)}
    average = [RUNNERS["average_bitwidth"](None).total(costs, QuantPlan.of({"conv": own})) for own in
               (plain, corrected, rounded, {**plain, "data_out": Integer(4)})]  # fmt: skip
    assert average[0] == average[1] != average[2] == average[3]


def test_figures_of_another_definition_are_not_mixed_with_these(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AverageBitwidth, "definition", 1)
    search(jsc_tiny, jets, lab, tmp_path / "earlier")
    monkeypatch.undo()
    with pytest.raises(SearchError, match="belongs to another search: runners changed, here or in chop"):
        search(jsc_tiny, jets, lab, tmp_path / "earlier", resume=True)
    lab["strategy"]["setup"] = {"n_trials": 2}
    found = search(jsc_tiny, jets, lab, tmp_path / "now", init_from=[str(tmp_path / "earlier")])
    assert not any(trial.inherited for trial in found.trials)


class OfData(AverageBitwidth):
    """Reads the data where it combines, which the table of any other runner is sent without."""

    def combine(self, sums: tuple[float, ...]) -> dict[str, float]:
        return {**super().combine(sums), "average_bitwidth": float(len(self.data_module.task.metrics))}


def test_processes_are_sent_no_data_with_a_table_unless_its_runner_reads_them(jets: MaseDataModule) -> None:
    model = nn.Sequential(nn.Linear(16, 5))
    graph = MaseGraph(model)
    costs = node_costs(graph, torch.randn(1, 16))
    axes = [[{"_0": {"weight": Integer(width)}} for width in (2, 8)]]
    own = AverageBitwidth(jets)
    subject: Any = SimpleNamespace(costs=costs)
    table = own.table(subject, axes)
    assert len(pickle.dumps(table)) < 20_000 < len(pickle.dumps(own.combine))
    scores = table.scores(np.array([[0], [1]]))
    plans = [QuantPlan.of(axes[0][choice]) for choice in (0, 1)]
    assert scores["average_bitwidth"].tolist() == [own.total(costs, plan)["average_bitwidth"] for plan in plans]
    assert OfData(jets).table(subject, axes).scores(np.array([[0]]))["average_bitwidth"] == len(jets.task.metrics)
