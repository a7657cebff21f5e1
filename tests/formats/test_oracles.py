"""The formats against implementations that others wrote: ml_dtypes, gfloat and ONNX Runtime."""

from __future__ import annotations

from typing import Any

import gfloat
import gfloat.formats
import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from chop.formats import MXFP, BlockMinifloat, MinifloatIEEE, MXInt, ScaleInteger

OCP = {
    (4, 3): (ml_dtypes.float8_e4m3fn, gfloat.formats.format_info_ocp_e4m3),
    (5, 2): (ml_dtypes.float8_e5m2, gfloat.formats.format_info_ocp_e5m2),
    (3, 2): (ml_dtypes.float6_e3m2fn, gfloat.formats.format_info_ocp_e3m2),
    (2, 3): (ml_dtypes.float6_e2m3fn, gfloat.formats.format_info_ocp_e2m3),
    (2, 1): (ml_dtypes.float4_e2m1fn, gfloat.formats.format_info_ocp_e2m1),
}
SCALES = (1e-30, 1e-3, 1.0, 50.0, 1e6, 1e30)


def samples(rows: int = 40, columns: int = 32) -> Tensor:
    """Rows of all magnitudes, with zeros, ties and powers of two among them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, columns, generator=generator)
    x[::5] = (x[::5] * 8).round() / 8
    x[1::5] = torch.exp2(torch.randint(-6, 6, x[1::5].shape, generator=generator).float()) * x[1::5].sign()
    x[2::5, ::3] = 0.0
    return x * torch.tensor(SCALES)[torch.arange(rows) % len(SCALES)].unsqueeze(1)


def parameters(width: int, exponent_width: int, bias: int) -> gfloat.FormatInfo:
    """gfloat's format with the definition of `minifloat_ieee`: saturating, every code a finite number."""
    return gfloat.FormatInfo(
        name="chop",
        k=width,
        precision=width - exponent_width,
        bias=bias,
        is_signed=True,
        domain=gfloat.Domain.Finite,
        has_nz=True,
        num_high_nans=0,
        has_subnormals=True,
        is_twos_complement=False,
    )


def rounded_by_gfloat(info: gfloat.FormatInfo, x: Tensor) -> np.ndarray:
    return np.array([gfloat.round_float(info, float(value), sat=True) for value in x.flatten()]).reshape(x.shape)


@pytest.mark.parametrize(("exponent", "mantissa"), OCP)
def test_mxfp_equals_gfloat_and_ml_dtypes_within_a_block(exponent: int, mantissa: int) -> None:
    x = samples()
    chosen = MXFP(element_exp_bits=exponent, element_frac_bits=mantissa, block_size=(1, 32))
    dtype, info = OCP[exponent, mantissa]
    got = chosen.quantize(x).double().numpy()
    for row, result in zip(x, got, strict=True):
        top = int(np.floor(np.log2(info.max)))
        scale = 2.0 ** max(np.floor(np.log2(float(row.abs().max()))) - top, -126)
        elements = (row.double() / scale).clamp(-float(info.max), float(info.max))
        np.testing.assert_array_equal(result / scale, rounded_by_gfloat(info, elements))
        np.testing.assert_array_equal(result / scale, elements.numpy().astype(dtype).astype(np.float64))


def test_mxfp_and_mxint_equal_the_block_format_of_gfloat() -> None:
    x = samples()
    pairs: list[tuple[Any, Any]] = [
        (MXInt(block_size=(1, 32)), gfloat.formats.format_info_mxint8),
        (MXFP(element_exp_bits=4, element_frac_bits=3, block_size=(1, 32)), gfloat.formats.format_info_mxfp8_e4m3),
        (MXFP(element_exp_bits=2, element_frac_bits=1, block_size=(1, 32)), gfloat.formats.format_info_mxfp4_e2m1),
    ]
    for chosen, info in pairs:
        got = chosen.quantize(x).double().numpy()
        for row, result in zip(x, got, strict=True):
            exact = row.double().numpy()
            expected = gfloat.quantize_block(info, exact, gfloat.compute_scale_amax)
            np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("width", "exponent", "bias"), [(8, 4, 7), (8, 3, 3), (8, 5, 15), (6, 2, 1), (5, 2, 4), (9, 4, -3)]
)
def test_minifloat_ieee_equals_gfloat(width: int, exponent: int, bias: int) -> None:
    x = samples()
    got = MinifloatIEEE(width, exponent, bias).quantize(x)
    np.testing.assert_array_equal(got.double().numpy(), rounded_by_gfloat(parameters(width, exponent, bias), x))


def test_without_mantissa_bits_gfloat_differs_at_ties_alone() -> None:
    """docs/reference/formats.md: no code is even, so the greater magnitude wins; gfloat takes the even exponent."""
    x = samples()
    got = MinifloatIEEE(4, 3, 3).quantize(x).double().numpy()
    expected = rounded_by_gfloat(parameters(4, 3, 3), x)
    differing = got != expected
    exact = x.double().numpy()
    np.testing.assert_array_equal(np.abs(got - exact)[differing], np.abs(expected - exact)[differing])
    assert (np.abs(got)[differing] > np.abs(expected)[differing]).all()


@pytest.mark.parametrize(
    ("width", "exponent", "bias", "dtype"),
    [
        (6, 3, 3, ml_dtypes.float6_e3m2fn),
        (6, 2, 1, ml_dtypes.float6_e2m3fn),
        (4, 2, 1, ml_dtypes.float4_e2m1fn),
    ],
)
def test_minifloat_ieee_equals_ml_dtypes(width: int, exponent: int, bias: int, dtype: Any) -> None:
    chosen = MinifloatIEEE(width, exponent, bias)
    x = samples().clamp(-chosen.largest, chosen.largest)
    expected = x.numpy().astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(chosen.quantize(x).numpy(), expected)


def test_block_minifloat_equals_gfloat_with_each_blocks_bias() -> None:
    x = samples()
    chosen = BlockMinifloat(width=8, exponent_width=4, exponent_bias_width=8, block_size=(1, 32))
    for row, result in zip(x, chosen.quantize(x), strict=True):
        bias = 15 - int(chosen.top_exponent(row.abs().amax()))
        expected = rounded_by_gfloat(parameters(8, 4, bias), row)
        np.testing.assert_array_equal(result.double().numpy(), expected)
        if row.abs().max() < 1e30:
            largest = row.abs().argmax()
            assert abs(result[largest] - row[largest]) <= row[largest].abs() / 16  # the maximum never saturates


def dequantised_by_onnxruntime(x: Tensor, scale: list[float], point: list[int], axis: int) -> np.ndarray:
    """QuantizeLinear and DequantizeLinear with int8, by tensor or along `axis`."""
    is_tensor = len(scale) == 1
    shape = [] if is_tensor else [len(scale)]
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, shape, scale),
        helper.make_tensor("point", TensorProto.INT8, shape, point),
    ]
    more = {} if is_tensor else {"axis": axis}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "point"], ["q"], **more),
        helper.make_node("DequantizeLinear", ["q", "scale", "point"], ["y"], **more),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(x.shape)) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "qdq", value[:1], value[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": x.numpy()})[0]
    return result


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_scale_integer_equals_onnxruntime(granularity: str, symmetric: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 50, generator=generator) * torch.tensor([0.01, 0.3, 1.0, 4.0, 20.0, 300.0]).unsqueeze(1) + 0.3
    chosen = ScaleInteger(width=8, granularity=granularity, symmetric=symmetric).calibrated(x * 0.8)
    assert chosen.scale is not None
    expected = dequantised_by_onnxruntime(x, list(chosen.scale), list(chosen.zero_point), 0)
    np.testing.assert_array_equal(chosen.quantize(x).numpy(), expected)
