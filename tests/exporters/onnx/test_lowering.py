"""Products of rounded values: constants in their smallest types, biases in the steps of the products, exact sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from chop.exporters.onnx.lowering import in_float, lowered
from chop.exporters.onnx.rounding import ANYWHERE, FORMS
from chop.exporters.onnx.stored import stored
from chop.formats import FORMATS, Format, Integer
from tests.exporters.onnx.by_hand import Array, assert_equal, outputs, rounded, skeleton

INPUTS, OUTPUTS = 8, 5
INTEGERS = {TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.INT8: 8, TensorProto.UINT8: 8, TensorProto.INT16: 16}


def drawn(*shape: int, scale: float = 1.0) -> Array:
    return (np.random.default_rng(sum(shape)).normal(size=shape) * scale).astype(np.float32)


def gemm(formats: dict[str, Format], weight: Array) -> onnx.ModelProto:
    nodes = [
        *(
            rounded(name, f"{name}_rounded", f"fc.{key}")
            for name, key in (("x", "data_in"), ("w", "weight"), ("b", "bias"))
        ),
        helper.make_node("Gemm", ["x_rounded", "w_rounded", "b_rounded"], ["sums"], transB=1),
        helper.make_node("Relu", ["sums"], ["positive"]),
        rounded("positive", "output", "next.data_in"),
    ]
    return skeleton(nodes, formats, [INPUTS], {"w": weight, "b": drawn(OUTPUTS)})


def formats_with(activation: Format, weight: Format, bias: Format | None = None) -> dict[str, Format]:
    keys = {"fc.data_in": activation, "fc.weight": weight, "fc.bias": bias or Integer(8, 5)}
    return {**keys, "next.data_in": Integer(6, 2)}


def wanted_of(formats: dict[str, Format], weight: Array, x: Array) -> Array:
    """By torch in float64, where all sums are exact."""
    own = {"fc.data_in": x, "fc.weight": weight, "fc.bias": drawn(OUTPUTS)}
    values = {key: formats[key].quantize(torch.from_numpy(tensor)).double() for key, tensor in own.items()}
    sums = torch.nn.functional.linear(values["fc.data_in"], values["fc.weight"], values["fc.bias"])
    return formats["next.data_in"].quantize(sums.relu()).numpy()


CASES = {
    "same_widths": formats_with(Integer(8, 4), Integer(8, 6)),
    "unsigned": formats_with(Integer(8, 5, is_signed=False), Integer(8, 6)),
    "four_bits": formats_with(Integer(4, 1), Integer(4, 3), Integer(6, 4)),
    "three_bits": formats_with(Integer(3, 0), Integer(3, 2)),
    "far_apart": formats_with(Integer(7, -1), Integer(5, 9)),
    "fine_bias": formats_with(Integer(6, 0), Integer(5, 2), Integer(12, 9)),
    "wide": formats_with(Integer(11, 6), Integer(10, 8)),
    "fraction_by_channel": formats_with(Integer(8, 4), Integer(6, (3, 4, 5, 2, 3))),
    "binary": formats_with(Integer(8, 4), FORMATS["binary"]()),
    "ternary": formats_with(Integer(8, 4), FORMATS["ternary"](max=0.3)),
    "minifloat": formats_with(Integer(6, 3), FORMATS["minifloat_ieee"](width=6, exponent_width=3)),
    "log_weights": formats_with(Integer(6, 3), FORMATS["log"](width=4)),
}


@pytest.mark.parametrize("form", [FORMS[name] for name in ANYWHERE], ids=ANYWHERE)
@pytest.mark.parametrize("case", CASES)
def test_gemm_is_exact(case: str, form: object) -> None:
    weight, x = drawn(OUTPUTS, INPUTS), drawn(300, INPUTS, scale=4)
    model = lowered(gemm(CASES[case], weight), form)
    assert_equal(model, x, wanted_of(CASES[case], weight, x))


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    return {own.name: own.data_type for own in model.graph.initializer}


def test_weights_are_stored_in_their_small_types() -> None:
    weight = drawn(OUTPUTS, INPUTS)
    small = kinds(lowered(gemm(CASES["four_bits"], weight), FORMS["smallest"]))
    assert small["w_rounded/codes"] == TensorProto.INT4
    assert kinds(lowered(gemm(CASES["four_bits"], weight), FORMS["uint8"]))["w_rounded/codes"] == TensorProto.INT8
    assert small["b_rounded/codes"] == TensorProto.INT32
    assert "w" not in small


def test_bytes_that_could_saturate_are_unsigned() -> None:
    """Without VNNI, processors add two products of a byte and a signed byte in 16 bits, and saturate."""
    full = np.full((OUTPUTS, INPUTS), -2.0, np.float32)
    model = lowered(gemm(CASES["same_widths"], full), FORMS["uint8"])
    assert kinds(model)["w_rounded/codes"] == TensorProto.UINT8
    half = kinds(lowered(gemm(CASES["same_widths"], full / 2), FORMS["uint8"]))
    assert half["w_rounded/codes"] == TensorProto.INT8
    asked = kinds(lowered(gemm(CASES["same_widths"], full), FORMS["vnni"]))
    assert asked["w_rounded/codes"] == TensorProto.INT8
    x = np.full((3, INPUTS), 100.0, np.float32)
    assert_equal(model, x, wanted_of(CASES["same_widths"], full, x))


def fused(model: onnx.ModelProto, folder: Path) -> set[str]:
    """The operators that ONNX Runtime makes of a model."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node}


def test_fused_to_integer_products_by_onnx_runtime(tmp_path: Path) -> None:
    model = lowered(gemm(CASES["same_widths"], drawn(OUTPUTS, INPUTS)), FORMS["uint8"])
    assert "QGemm" in fused(model, tmp_path)


@pytest.mark.parametrize("second", [Integer(8, 3), Integer(6, 1)], ids=str)
def test_rounding_before_a_pool_is_rounding_behind_it(second: Format, tmp_path: Path) -> None:
    """Moved in front of pool and reshape, the rounding is fused with the convolution."""
    formats = {"c.data_in": Integer(8, 4), "c.weight": Integer(5, 3), "f.data_in": second, "f.weight": Integer(4, 2)}
    nodes = [
        rounded("x", "x_rounded", "c.data_in"),
        rounded("w", "w_rounded", "c.weight"),
        helper.make_node("Conv", ["x_rounded", "w_rounded"], ["sums"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["sums"], ["positive"]),
        helper.make_node("MaxPool", ["positive"], ["pooled"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
        rounded("flat", "flat_rounded", "f.data_in"),
        rounded("v", "v_rounded", "f.weight"),
        helper.make_node("Gemm", ["flat_rounded", "v_rounded"], ["output"], transB=1),
    ]
    own = {"w": drawn(4, 3, 3, 3), "v": drawn(5, 36), "shape": np.array([-1, 36])}
    x = drawn(6, 3, 6, 6, scale=3)
    read = {"data_in": x, "weight": own["w"]}
    values = {key: formats[f"c.{key}"].quantize(torch.from_numpy(tensor)) for key, tensor in read.items()}
    sums = torch.nn.functional.conv2d(values["data_in"], values["weight"], padding=1)
    flat = torch.nn.functional.max_pool2d(sums.relu(), 3, 2, 1).flatten(1)
    wanted = second.quantize(flat) @ formats["f.weight"].quantize(torch.from_numpy(own["v"])).T
    model = lowered(skeleton(nodes, formats, [3, 6, 6], own, rank=2), FORMS["uint8"])
    assert_equal(model, x, wanted.numpy(), with_reference=False)
    assert "QLinearConv" in fused(model, tmp_path)


def test_float_network_has_no_rounding() -> None:
    weight, x = drawn(OUTPUTS, INPUTS), drawn(10, INPUTS)
    model = in_float(gemm(CASES["wide"], weight))
    found = outputs(model, x)["onnx.reference"]
    np.testing.assert_allclose(found, np.maximum(x @ weight.T + drawn(OUTPUTS), 0), rtol=1e-5)


@pytest.mark.parametrize("form", [FORMS[name] for name in ANYWHERE], ids=ANYWHERE)
def test_convolution_pool_and_a_skip_are_exact(form: object) -> None:
    formats = {
        "c.data_in": Integer(8, 4),
        "c.weight": Integer(5, 3),
        "c.bias": Integer(8, 4),
        "s.data_in": Integer(7, 2),
    }
    nodes = [
        *(
            rounded(name, f"{name}_rounded", f"c.{key}")
            for name, key in (("x", "data_in"), ("w", "weight"), ("b", "bias"))
        ),
        helper.make_node("Conv", ["x_rounded", "w_rounded", "b_rounded"], ["sums"], pads=[1, 1, 1, 1]),
        rounded("sums", "left", "s.data_in"),
        rounded("x", "right", "s.data_in"),
        helper.make_node("Add", ["left", "right"], ["added"]),
        helper.make_node("MaxPool", ["added"], ["output"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    constants = {"w": drawn(3, 3, 3, 3), "b": drawn(3)}
    x = drawn(6, 3, 6, 6, scale=3)
    values = {
        key: formats[f"c.{key}"].quantize(torch.from_numpy(own))
        for key, own in (("data_in", x), ("weight", constants["w"]), ("bias", constants["b"]))
    }
    sums = torch.nn.functional.conv2d(values["data_in"], values["weight"], values["bias"], padding=1)
    added = formats["s.data_in"].quantize(sums) + formats["s.data_in"].quantize(torch.from_numpy(x))
    wanted = torch.nn.functional.max_pool2d(added, 2)
    assert_equal(lowered(skeleton(nodes, formats, [3, 6, 6], constants), form), x, wanted.numpy(), with_reference=False)


def test_weights_read_transposed_keep_their_codes() -> None:
    formats = {"a.data_in": Integer(6, 3), "a.weight": Integer(4, 2)}
    weight, x = drawn(OUTPUTS, INPUTS), drawn(20, INPUTS)
    nodes = [
        rounded("x", "a", "a.data_in"),
        rounded("w", "w_rounded", "a.weight"),
        helper.make_node("Transpose", ["w_rounded"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["a", "turned"], ["output"]),
    ]
    model = lowered(skeleton(nodes, formats, [INPUTS], {"w": weight}), FORMS["smallest"])
    assert "Transpose" not in {node.op_type for node in model.graph.node}
    assert kinds(model)["turned/codes"] == TensorProto.INT4
    wanted = (
        formats["a.data_in"].quantize(torch.from_numpy(x)) @ formats["a.weight"].quantize(torch.from_numpy(weight)).T
    )
    assert_equal(model, x, wanted.numpy())


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.0, -8.0, 7.0], TensorProto.INT4),
        ([0.0, 15.0, 8.0], TensorProto.UINT4),
        ([0.125, -16.0, 3.0], TensorProto.INT8),
        ([1.0, 300.0, -2.5], TensorProto.INT16),
        ([2.0**-9, 448.0, -1.0], TensorProto.FLOAT8E4M3FN),
        ([2.0**-16, 57344.0, -1.0], TensorProto.FLOAT8E5M2),
        ([0.1, 0.2, 0.3], None),
    ],
)
def test_constants_have_the_smallest_type_that_holds_them(values: list[float], kind: int | None) -> None:
    own = np.array(values, np.float32)
    found = stored(own, None)
    assert (found and found.type) == kind
    if found is not None:
        back = numpy_helper.to_array(found.tensor("t")).astype(np.float32) * found.scale
        np.testing.assert_array_equal(back, own)
