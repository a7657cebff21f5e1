"""Ops of one's own: a layer and a function."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chop.nn import Arg, Op


class Centred(nn.Module):
    """A linear layer of the inputs less their mean."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.randn(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) @ self.weight.T + self.bias


def scaled(x: Tensor, weight: Tensor) -> Tensor:
    return torch.tanh(x) * weight


INPUT = {"data_in": (Arg(0, ("x",)),)}
CENTRED = Op(
    "centred",
    modules=(Centred,),
    args=INPUT,
    params={"weight": Arg(1, ("weight",)), "bias": Arg(2, ("bias",))},
    multiplies=True,
)
SCALED = Op("scaled", functions=(scaled,), args=INPUT, params={"weight": Arg(1, ("weight",))})
