"""Every format on every op in every spelling: it runs, keeps shape and type, and is near the float result."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from chop.formats import FORMATS
from chop.nn import Quantized
from chop.nn.node_config import node_formats
from chop.nn.ops import OPS, QUANTIZABLE_OPS
from chop.testing.op_cases import CALLS, FORMAT_KEYS, node_config, op_cases

COARSE = {"binary", "ternary", "log", "block_log"}
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
        error = float(((got - exact).norm() / exact.norm()).detach())
        assert 0 < error < (2.0 if name in COARSE else 0.3), case.name


@pytest.mark.parametrize("op", QUANTIZABLE_OPS)
def test_modules_and_functions_agree(op: str) -> None:
    """One row, several spellings: a module and a function on the same tensors give the same."""
    torch.manual_seed(0)
    module, *others = op_cases(op)
    if not isinstance(module.inner, nn.Module) or not others:
        return
    formats = node_formats(node_config("integer"), module.op)
    expected = Quantized(module.inner, module.op, formats)(*module.args, **module.kwargs)
    for other in others:
        args = (*module.args, *other.args[len(module.args) :])
        torch.testing.assert_close(Quantized(other.inner, other.op, formats)(*args, **other.kwargs), expected)


@pytest.mark.parametrize("op", ["batch_norm1d", "batch_norm2d"])
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
