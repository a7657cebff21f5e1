"""Tensors that cannot be weights are refused by name; other types of floats are converted, and that is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chop.errors import CheckpointError
from chop.models.checkpoint import load_weights


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def load(changed: dict[str, Any], folder: Path, model: nn.Module | None = None) -> nn.Module:
    target = model or net()
    torch.save({**target.state_dict(), **changed}, folder / "w.pt")
    load_weights(target, folder / "w.pt")
    return target


WEIGHT = torch.arange(12.0).reshape(3, 4) / 8


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats_are_converted_and_told(
    dtype: torch.dtype, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "chop"):
        model = load({"0.weight": WEIGHT.to(dtype)}, tmp_path)
    assert torch.equal(model.get_parameter("0.weight"), WEIGHT)
    assert f"converted from {str(dtype).removeprefix('torch.')} to float32" in caplog.text


def quantised() -> Tensor:
    return torch.quantize_per_tensor(WEIGHT, 0.1, 0, torch.qint8)


REFUSED: dict[str, tuple[Any, str]] = {
    "int8": ({"0.weight": WEIGHT.to(torch.int8)}, "0.weight holds int8"),
    "bool": ({"0.weight": WEIGHT > 0}, "0.weight holds bool"),
    "complex": ({"0.weight": WEIGHT.to(torch.complex64)}, "0.weight holds complex64"),
    "NaN": ({"0.bias": torch.tensor([0.0, torch.nan, 1.0])}, "0.bias holds NaN or infinity"),
    "infinity": ({"1.running_var": torch.full((3,), torch.inf)}, "1.running_var holds NaN or infinity"),
    "too large": ({"0.bias": torch.full((3,), 1e300, dtype=torch.float64)}, "0.bias holds NaN or infinity as float32"),
    "variance": ({"1.running_var": torch.tensor([1.0, -1e-3, 1.0])}, "1.running_var is a variance below zero"),
    "fraction of a count": ({"1.num_batches_tracked": torch.tensor(2.5)}, "1.num_batches_tracked does not fit int64"),
    "sparse": ({"0.weight": WEIGHT.to_sparse()}, "0.weight is sparse"),
    "no values": ({"0.weight": WEIGHT.to("meta")}, "0.weight has no values"),
    "shape that broadcasts": ({"0.bias": torch.ones(1)}, "another shape: 0.bias is (1,)"),
    "further": ({"2.weight": torch.ones(1)}, "unexpected: 2.weight"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_weights_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    changed, told = REFUSED[kind]
    model = net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load(changed, tmp_path, model)
    assert told in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor")
def test_quantised_tensors_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"0\.weight is quantised \(qint8\)"):
        load({"0.weight": quantised()}, tmp_path)


def test_counts_that_were_saved_as_floats_are_counts(tmp_path: Path) -> None:
    model = load({"1.num_batches_tracked": torch.tensor(7.0)}, tmp_path)
    assert model.get_buffer("1.num_batches_tracked").item() == 7


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(2, dtype=torch.complex64))


def test_nan_in_a_complex_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="w holds NaN"):
        load({"w": torch.full((2,), complex(1.0, torch.nan))}, tmp_path, Complex())


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.register_buffer("mask", torch.triu(torch.full((3, 3), -torch.inf), 1))


def test_a_mask_may_be_infinite_where_the_models_own_is(tmp_path: Path) -> None:
    load({}, tmp_path, Masked())
    with pytest.raises(CheckpointError, match="mask holds NaN or infinity"):
        load({"mask": torch.full((3, 3), -torch.inf)}, tmp_path, Masked())


def test_lazy_layers_take_any_shape(tmp_path: Path) -> None:
    torch.save({"0.weight": WEIGHT, "0.bias": torch.ones(3)}, tmp_path / "w.pt")
    model = nn.Sequential(nn.LazyLinear(3))
    load_weights(model, tmp_path / "w.pt")
    assert torch.equal(model.get_parameter("0.weight"), WEIGHT)
