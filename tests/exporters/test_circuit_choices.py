"""What exporters of circuits refuse of a space: node by node, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from chop.exporters.choices import Branch, Refused
from chop.exporters.circuit_choices import refused_by_circuits
from chop.formats import Format
from chop.formats.integer import Integer
from chop.formats.log import Log
from chop.formats.output_shift import OutputShift
from chop.formats.scale_integer import ScaleInteger
from chop.ir import MaseGraph

FIXED, AUTO, LOG, SCALED = Integer(8, 4), Integer(6, "auto"), Log(6), ScaleInteger(width=6)


class Net(nn.Module):
    """A norm in front, two layers, and what may lie between."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.norm, self.first, self.between, self.last = nn.BatchNorm1d(4), nn.Linear(4, 6), between, nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first(self.norm(x))))  # type: ignore[no-any-return]


def refused(branches: Mapping[str, list[Branch]], between: nn.Module | None = None) -> Refused:
    torch.manual_seed(0)
    graph = MaseGraph(Net(between or nn.ReLU()).eval(), example_inputs=torch.randn(8, 4))
    every = {name: branches.get(name, [Branch()]) for name in graph.quantizable_nodes()}
    return refused_by_circuits(graph, torch.randn(8, 4), every)


def branch(**formats: Format | list[Format]) -> Branch:
    return Branch({name: own if isinstance(own, list) else [own] for name, own in formats.items()})


WHOLE = branch(data_in=FIXED, weight=FIXED, bias=FIXED)


def test_fixed_point_in_all_layers_is_taken_and_the_norm_in_front_stays_outside() -> None:
    found = refused({"first": [WHOLE], "last": [branch(data_in=AUTO, weight=AUTO, bias=AUTO)]})
    assert found.nodes == {}
    assert not any(own.is_whole or own.formats for node in found.choices.values() for own in node)


def test_an_exporter_without_a_part_in_float_refuses_the_norm_in_front() -> None:
    torch.manual_seed(0)
    graph = MaseGraph(Net(nn.ReLU()).eval(), example_inputs=torch.randn(8, 4))
    for norm, is_refused in ((Branch(), True), (WHOLE, False)):
        choices = {"norm": [norm], "first": [WHOLE], "between": [Branch()], "last": [WHOLE]}
        graph.model.norm.running_var.fill_(float(1 - torch.tensor(graph.model.norm.eps)))  # type: ignore[union-attr, operator]
        found = refused_by_circuits(graph, torch.randn(8, 4), choices, starts_in_float=False)
        assert found.choices["norm"][0].is_whole is is_refused


def test_a_layer_in_float_lacks_a_format_for_each_operand() -> None:
    found = refused({"first": [WHOLE, Branch()], "last": [branch(data_in=FIXED, weight=FIXED)]})
    fine, in_float = found.choices["first"]
    assert not fine.is_whole
    assert set(in_float.in_float) == {"data_in", "weight", "bias"}
    (only,) = found.choices["last"]
    assert only.in_float == {"bias": "its bias is in float; choose a format (bias_width) for it"}


def test_formats_without_codes_are_refused_one_by_one() -> None:
    formats = branch(data_in=[FIXED, LOG, SCALED, AUTO], weight=[FIXED, LOG], bias=[FIXED, SCALED])
    (found,) = refused({"first": [formats], "last": [WHOLE]}).choices["first"]
    assert set(found.formats) >= {("data_in", 1), ("data_in", 2)}
    assert not {("data_in", 0), ("data_in", 3), ("weight", 0), ("bias", 0)} & set(found.formats)
    assert "has no integer codes" in found.formats["data_in", 1]


def test_an_input_may_stay_as_wide_as_the_sums_before_it() -> None:
    found = refused({"first": [WHOLE], "last": [branch(weight=FIXED, bias=FIXED)]})
    assert not found.choices["last"][0].is_whole
    found = refused({"first": [branch(weight=FIXED, bias=FIXED)], "last": [WHOLE]})
    assert set(found.choices["first"][0].in_float) == {"data_in"}


def test_a_bias_correction_is_refused() -> None:
    corrected = Branch({**WHOLE.formats, "data_out": [OutputShift(None)]})
    (found,) = refused({"first": [corrected], "last": [WHOLE]}).choices["first"]
    assert "bias_correction" in found.formats["data_out", 0]


def test_a_norm_that_may_come_behind_a_rounding_keeps_no_choice_in_float() -> None:
    class Behind(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(self.norm(self.between(x))))  # type: ignore[no-any-return]

    norm = Behind(nn.ReLU())
    norm.first = nn.Linear(4, 6)
    graph = MaseGraph(norm.eval(), example_inputs=torch.randn(8, 4))
    layers = {"first": [WHOLE], "last": [WHOLE], "norm": [Branch()]}
    for relu, is_refused in (([Branch()], False), ([Branch(), branch(data_in=FIXED)], True)):
        found = refused_by_circuits(graph, torch.randn(8, 4), {**layers, "between": relu})
        assert found.choices["norm"][0].is_whole is is_refused


class Cumulative(nn.Module):
    """Sums up what comes before: an operator that formats are not known for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 1)


def test_all_reasons_are_found_at_once() -> None:
    found = refused({"first": [Branch()], "last": [WHOLE]}, nn.Sequential(nn.Softsign(), Cumulative()))
    assert [*found.nodes] == ["cumsum"]
    for name, why in (("cumsum", found.nodes["cumsum"]), ("softsign", found.choices["between_0"][0].whole)):
        assert why is not None
        assert why.startswith(f"'{name}' has no exact integer form; replace it in the model")
        assert why.endswith("ch search --for onnx, ch export --to onnx")
    assert found.choices["first"][0].is_whole
    assert not found.choices["last"][0].is_whole
