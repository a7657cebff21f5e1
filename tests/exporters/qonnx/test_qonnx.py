"""QONNX files compute what the network computes, and QONNX counts their cost as chop does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tests.circuits.networks import LAYER, OWN, WIDTHS, drawn, learned, one_layer, quantised
from tests.exporters.networks import bundled_network, of_graph, own_network
from torch import Tensor, nn

from chop.circuits import integer_network
from chop.circuits.stages import Round
from chop.errors import ExportError
from chop.exporters import ExportNetwork, export
from chop.formats import Binary, Format, Ternary
from chop.formats.grid import Grid
from chop.formats.integer import Integer, IntegerFloor
from chop.formats.minifloat import MinifloatIEEE
from chop.formats.scale_integer import ScaleInteger
from chop.passes.graph import count_costs_analysis_pass
from chop.testing.exporters import ExporterConformance
from chop.weight_transforms import Chain, Sparsity

pytest.importorskip("qonnx", reason="the package qonnx is not installed")

from chop.exporters.qonnx.exporter import FILE, QonnxModel
from chop.exporters.qonnx.quantisers import rounding_to


class TestQonnx(ExporterConformance):
    exporters: ClassVar = ("qonnx",)
    refused: ClassVar = {"by": "type"}


def operators(folder: Path) -> list[Any]:
    import onnx

    return list(onnx.load(folder / FILE).graph.node)


def constant(folder: Path, name: str) -> np.ndarray:
    import onnx
    from onnx import numpy_helper

    own = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(folder / FILE).graph.initializer}
    return own[name]


@pytest.mark.parametrize("name", WIDTHS)
def test_bundled_networks_differ_in_no_output_of_the_test_set(name: str, tmp_path: Path) -> None:
    found = export(bundled_network(name), "qonnx", tmp_path / "out")
    assert [(check.tool, check.differing) for check in found.checks] == [("QONNX executor", 0)]


@pytest.mark.parametrize("name", OWN)
def test_every_operation_is_exact(name: str, tmp_path: Path) -> None:
    assert export(own_network(name), "qonnx", tmp_path / "out").is_exact


def test_a_reshape_in_front_of_the_first_format_is_exported(tmp_path: Path) -> None:
    x = drawn(40, 2, 3, 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    network = of_graph(quantised(model, {"_1": LAYER}, x), x)
    found = export(network, "qonnx", tmp_path / "out")
    assert found.is_exact
    assert operators(found.folder)[0].op_type == "Flatten"


@pytest.mark.parametrize(
    ("formats", "nodes"),
    [
        ({"weight": Chain((Sparsity(0.5),), Integer(4, 3))}, {"Quant"}),
        ({"weight": Integer(4, (1, 3, 2), channel_axis=0)}, {"Quant"}),
        ({"weight": learned([2, 3, 1, 0], [3, 4, 0, 1])}, {"Quant"}),
        ({"weight": MinifloatIEEE(6, exponent_width=3)}, {"Quant"}),
        ({"weight": Binary(scaled=True, scale=(0.5,))}, {"Quant", "BipolarQuant"}),
        ({"weight": Binary(scaled=True, granularity="channel", scale=(0.5, 2.0, 0.25))}, {"BipolarQuant"}),
        ({"weight": Ternary(scaling_factor=True, threshold=0.1, scale=0.25)}, {"Quant"}),
        ({"data_in": IntegerFloor(5, 2)}, {"Quant"}),
        ({"data_in": Integer(5, 2, is_signed=False)}, {"Quant"}),
        ({"data_in": Integer(4, (1, 3, 0, -1), channel_axis=-1)}, {"Quant"}),
        ({"data_in": ScaleInteger(width=5, scale=(0.125,), zero_point=(3,))}, {"Clip", "Quant"}),
        ({"data_in": Integer(1, 0)}, {"Clip", "Quant"}),
        ({"data_in": learned([1, 4, 0, 2], [3, 0, 2, 8])}, {"Max", "Min", "Quant"}),
        ({"data_in": Integer(3, -1), "data_out": Integer(4, 0)}, {"Quant"}),
    ],
    ids=lambda own: " ".join(sorted(own)) if isinstance(own, set) else str(own),
)
def test_formats_are_exact(formats: dict[str, Format], nodes: set[str], tmp_path: Path) -> None:
    graph, x = one_layer(**formats)
    found = export(of_graph(graph, x), "qonnx", tmp_path / "out")
    assert found.is_exact
    assert nodes <= {node.op_type for node in operators(found.folder)}


def test_a_quantiser_states_width_scale_sign_and_rounding_of_its_format(tmp_path: Path) -> None:
    graph, x = one_layer(data_in=IntegerFloor(5, 3))
    folder = export(of_graph(graph, x), "qonnx", tmp_path / "out").folder
    second = [node for node in operators(folder) if node.op_type == "Quant" and node.input[0].startswith("Relu")]
    ((scale, zero, bits),) = [[constant(folder, name) for name in node.input[1:]] for node in second]
    assert (float(scale), float(zero), float(bits)) == (0.125, 0.0, 4.0)  # 5 bits with a sign, which a ReLU leaves out
    settings = {own.name: own.i if own.type == 2 else own.s for own in second[0].attribute}
    assert settings == {"signed": 0, "narrow": 0, "rounding_mode": b"FLOOR"}


def test_weights_by_channel_have_a_scale_each(tmp_path: Path) -> None:
    graph, x = one_layer(weight=Integer(4, (1, 3, 2), channel_axis=0))
    folder = export(of_graph(graph, x), "qonnx", tmp_path / "out").folder
    weights = [constant(folder, node.input[1]) for node in operators(folder) if node.op_type == "Quant"]
    assert [0.5, 0.125, 0.25] in [own.flatten().tolist() for own in weights]


@pytest.mark.parametrize("name", WIDTHS)
def test_inference_cost_of_qonnx_is_that_of_chop(name: str, tmp_path: Path) -> None:
    """QONNX counts products and weights; biases, norms (`Mul`, `Add`) and pooling count nothing in BitOPs of either.

    Behind a ReLU it counts inputs without the sign that their format has.
    """
    from qonnx.util.inference_cost import inference_cost

    network = bundled_network(name)
    folder = export(network, "qonnx", tmp_path / "out").folder
    theirs = inference_cost(str(folder / FILE), discount_sparsity=False)["total_cost"]
    (argument,) = [node.name for node in network.graph.nodes if node.op == "placeholder"]
    _, ours = count_costs_analysis_pass(network.graph, {"dummy_in": {argument: network.example()}, "show": False})
    layers = {own: network.graph.plan[own] for own, cost in ours.items() if own != "total" and cost["macs"]}
    stages = integer_network(network.graph, network.example()).stages
    without_sign = {own.name.removesuffix("_in") for own in stages if isinstance(own, Round) and own.is_relu}
    bits = {own: (formats["data_in"].bits((1,)), own in without_sign) for own, formats in layers.items()}
    assert theirs["total_macs"] == ours["total"]["macs"]
    assert theirs["total_bops"] == sum(ours[own]["bitops"] * (wide - less) / wide for own, (wide, less) in bits.items())
    weights = [formats["weight"].bits(tuple(weight_of(network, own).shape)) for own, formats in layers.items()]
    assert theirs["total_mem_w_bits"] == sum(weights)
    assert theirs["unsupported"] == "set()"


def weight_of(network: ExportNetwork, name: str) -> Tensor:
    node = next(own for own in network.graph.nodes if own.name == name)
    op = network.graph.op(node)
    assert op is not None
    found = network.graph.parameter(node, op, "weight")
    assert found is not None
    return found


def test_all_reasons_are_given_before_anything_is_written(tmp_path: Path) -> None:
    x = drawn(40, 6)
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 3)).eval()
    formats = {"_1": LAYER, "_3": {**LAYER, "data_in": ScaleInteger(width=6, scale=(0.3,))}}
    with pytest.raises(ExportError) as caught:
        export(of_graph(quantised(model, formats, x), x), "qonnx", tmp_path / "out")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["_0", "_2", "_3"]
    with pytest.raises(ExportError, match="absorb_batch_norm"):
        export(of_graph(quantised(model[:2], {"_1": LAYER}, x), x), "qonnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_sums_beyond_float32_are_told(tmp_path: Path) -> None:
    torch.manual_seed(5)
    x = drawn(40, 6)
    wide = {"data_in": Integer(16, 12), "weight": Integer(14, 12), "bias": Integer(8, 4)}
    network = of_graph(quantised(nn.Sequential(nn.Linear(6, 3)), {"_0": wide}, x), x)
    found = export(network, "qonnx", tmp_path / "out", allow_differences=True)
    assert "float32" in " ".join(found.written.notes)


def test_a_grid_that_no_width_has_is_clamped_to_its_ends() -> None:
    found = rounding_to(Grid.of(2, -3, 12))
    assert (found.bits, found.is_signed) == (5, True)
    assert (float(found.low), float(found.high)) == (-0.75, 3.0)  # type: ignore[arg-type]
    narrow = rounding_to(Grid.of(2, -7, 7))
    assert (narrow.bits, narrow.is_narrow, narrow.low) == (4, True, None)


def test_a_file_that_was_changed_is_found_out(tmp_path: Path) -> None:
    network = bundled_network("jsc-tiny")
    folder = export(network, "qonnx", tmp_path / "out").folder
    import onnx

    model = onnx.load(folder / FILE)
    scale = next(own for own in model.graph.initializer if own.dims == [] and own.name.startswith("Quant"))
    scale.raw_data = np.float32(0.5).tobytes()
    onnx.save(model, folder / FILE)
    x, wanted = next(iter(network.predictions("val", 256)))
    assert (QonnxModel(folder / FILE).run(x.numpy()) != wanted).any()
