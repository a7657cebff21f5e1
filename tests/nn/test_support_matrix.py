"""Every format on every op in every spelling: it runs, keeps shape and type, and is near the float result."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import nn

from chop.formats import FORMATS, Format
from chop.nn import Quantized
from chop.nn.node_config import node_formats
from chop.nn.ops import OPS, QUANTIZABLE_OPS
from chop.testing.op_cases import CALLS, FORMAT_KEYS, OpCase, node_config, op_cases

FARTHEST = {"binary": 0.85, "ternary": 0.85, "log": 0.4, "block_log": 0.4}
"""The largest distance from the float result, as a share of it; 0.3 of all other formats. Zeros are 1 away."""
SPELLINGS = [case for name in QUANTIZABLE_OPS for case in op_cases(name)]


def test_every_op_and_every_format_has_a_case() -> None:
    assert set(CALLS) == set(QUANTIZABLE_OPS)
    assert set(FORMAT_KEYS) == set(FORMATS)
    spelled = {type(case.inner) if isinstance(case.inner, nn.Module) else case.inner for case in SPELLINGS}
    missing = {module for op in OPS for module in op.modules if op.quantizable} - spelled
    assert missing <= {nn.InstanceNorm2d, nn.InstanceNorm3d}


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("op", QUANTIZABLE_OPS)
def test_a_cell_runs_and_is_near_float(op: str, name: str) -> None:
    torch.manual_seed(0)
    for case in op_cases(op):
        formats = node_formats(node_config(name), case.op)
        assert set(formats) == {operand for operand in case.op.operands if operand != "data_out"}
        layer = Quantized(case.inner, case.op, formats)
        exact = case.inner(*case.args, **case.kwargs)
        got = layer(*case.args, **case.kwargs)
        assert got.shape == exact.shape
        assert got.dtype == exact.dtype
        assert got.isfinite().all()
        assert 0 < distance(got, exact) < FARTHEST.get(name, 0.3), case.name
        assert distance(torch.zeros_like(got), exact) > FARTHEST.get(name, 0.3)


@torch.no_grad()
def distance(got: torch.Tensor, exact: torch.Tensor) -> float:
    return float((got - exact).norm() / exact.norm())


@torch.no_grad()
def by_hand(case: OpCase, formats: Mapping[str, Format]) -> torch.Tensor:
    """The float call on operands that were rounded before it."""
    slots = [(operand, arg.index) for operand, own in case.op.args.items() for arg in own]
    inner, args = case.inner, list(case.args)
    if isinstance(inner, nn.Module):
        inner = copy.deepcopy(inner)
        for name, tensor in inner.named_parameters():
            tensor.copy_(formats[name].quantize(tensor))
    else:
        slots += [(operand, arg.index) for operand, arg in case.op.params.items()]
    for operand, index in slots:
        if index < len(args) and args[index] is not None and args[index].is_floating_point():
            args[index] = formats[operand].quantize(args[index])
    found: torch.Tensor = inner(*args, **case.kwargs)
    return found


@pytest.mark.parametrize("op", QUANTIZABLE_OPS)
def test_every_spelling_computes_with_rounded_operands(op: str) -> None:
    torch.manual_seed(0)
    for case in op_cases(op):
        formats = node_formats(node_config("integer"), case.op)
        got = Quantized(case.inner, case.op, formats)(*case.args, **case.kwargs)
        torch.testing.assert_close(got, by_hand(case, formats), msg=case.name)


BOTH = [op for op in QUANTIZABLE_OPS if isinstance(op_cases(op)[0].inner, nn.Module) and len(op_cases(op)) > 1]


def test_most_ops_are_spelled_as_a_module_and_as_a_function() -> None:
    without = {"add", "sub", "mul", "matmul", "bmm", "addmm", "scaled_dot_product_attention"}
    without |= {"batch_norm2d", "batch_norm3d"}
    assert {*QUANTIZABLE_OPS} - {*BOTH} == without


@pytest.mark.parametrize("op", BOTH)
def test_modules_and_functions_agree(op: str) -> None:
    """One row, several spellings: a module and a function on the same tensors give the same."""
    torch.manual_seed(0)
    module, *others = op_cases(op)
    formats = node_formats(node_config("integer"), module.op)
    expected = Quantized(module.inner, module.op, formats)(*module.args, **module.kwargs)
    for other in others:
        args = (*module.args, *other.args[len(module.args) :])
        torch.testing.assert_close(Quantized(other.inner, other.op, formats)(*args, **other.kwargs), expected)


@pytest.mark.parametrize("op", ["batch_norm1d", "batch_norm2d", "batch_norm3d"])
def test_running_statistics_are_kept_and_learned(op: str) -> None:
    case = op_cases(op)[0]
    layer = Quantized(case.inner, case.op, node_formats(node_config("integer"), case.op))
    norm = layer.inner
    before = norm.running_mean.clone()
    layer(*case.args)
    assert torch.equal(norm.running_mean, before)
    layer.train()
    layer(*case.args)
    assert not torch.equal(norm.running_mean, before)
