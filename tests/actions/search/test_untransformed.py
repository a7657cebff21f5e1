"""A product with a view of a parameter, which transforms miss, is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import chop
from chop.actions.search.search_space.untransformed import untransformed


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Linear(8, 6)
        self.w = nn.Parameter(torch.randn(3, 6))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.own(x) @ self.w.t()
        return y


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x @ x.transpose(1, 2)


@pytest.mark.parametrize("more", [{"weight_sparsity": [0, 0.5]}, {"weight_rounding": ["gptq"]}])
def test_a_search_warns_once_and_names_the_node(more: dict[str, Any]) -> None:
    x = np.random.default_rng(0).normal(size=(60, 8))
    space = chop.Space(["integer"], [4], **more)
    goals = {"objectives": ["loss", "average_bitwidth"], "strategy": "brute_force", "loss": nn.CrossEntropyLoss()}
    study = chop.search(Net(), (x, x[:, :3].argmax(1)), space, **goals)
    (told,) = [own for own in study.warnings if "view of a parameter" in own]
    assert told.startswith(f"{next(iter(more))}: left out for matmul, which")


def test_products_of_activations_and_lists_without_transforms_are_not_named() -> None:
    lists = {"default": {"config": {"name": ["integer"], "weight_sparsity": [0.5]}}}
    assert "matmul" in untransformed(chop.MaseGraph(Net()), lists)
    assert not untransformed(chop.MaseGraph(Attention()), lists)
    assert not untransformed(chop.MaseGraph(Net()), {"default": {"config": {"weight_sparsity": [0.0]}}})
