"""Writes batch norms as torch computes them: a product and a sum with one rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto

from chop.exporters.onnx.pieces import Pieces
from chop.exporters.onnx.stored import Floats

BATCH_NORM = "BatchNormalization"
EPSILON = 1e-5
LARGE = 2.0**60
"""Beside this times a factor any summand is lost."""


def factor_and_summand(node: onnx.NodeProto, values: Mapping[str, NDArray[Any]]) -> tuple[Floats, Floats] | None:
    """What a batch norm multiplies each channel by and adds to it, found by asking torch; None for what is no constant.

    For 0 it returns the summand, and for a very large number the factor.
    """
    if any(name not in values for name in node.input[1:]):
        return None
    weight, bias, mean, variance = (torch.from_numpy(np.array(values[name], np.float32)) for name in node.input[1:])
    epsilon = next((own.f for own in node.attribute if own.name == "epsilon"), EPSILON)
    x = torch.stack([torch.full_like(weight, LARGE), torch.zeros_like(weight)])
    product, summand = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, epsilon).numpy()
    return product / np.float32(LARGE), summand


def is_plain(node: onnx.NodeProto, values: Mapping[str, NDArray[Any]]) -> bool:
    """Whether a batch norm multiplies by its weight and adds its bias, which libraries agree about."""
    found = factor_and_summand(node, values)
    wanted = [values.get(name) for name in node.input[1:3]]
    return found is not None and all(np.array_equal(own, due) for own, due in zip(found, wanted, strict=True))  # type: ignore[arg-type]


def write_norm(pieces: Pieces, source: str, output: str, factor: Floats, summand: Floats, ndim: int) -> None:
    """Write x · factor + summand in float64, rounded once to float32, as a fused multiply-add does."""
    shape = (-1, *[1] * (ndim - 2))
    wide = pieces.op("Cast", [source], f"{output}/wide", to=TensorProto.DOUBLE)
    product = pieces.op(
        "Mul", [wide, pieces.number(f"{output}/factor", factor.astype(np.float64).reshape(shape))], f"{output}/product"
    )
    total = pieces.op(
        "Add", [product, pieces.number(f"{output}/summand", summand.astype(np.float64).reshape(shape))], f"{output}/sum"
    )
    pieces.op("Cast", [total], output, is_final=True, to=TensorProto.FLOAT)
