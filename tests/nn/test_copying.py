"""Copies of modules that hold what `copy.deepcopy` does not copy."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chop.errors import GraphError
from chop.ir import MaseGraph


class Holds(nn.Module):
    def __init__(self, thing: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.thing = thing

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * 2


def test_a_module_of_python_is_shared() -> None:
    model, x = Holds(math).eval(), torch.randn(2, 4)
    assert torch.equal(MaseGraph(model).model(x), model(x))


def test_what_cannot_be_copied_is_named() -> None:
    with pytest.raises(GraphError, match=r"Holds holds something that cannot be copied \(.*lock"):
        MaseGraph(Holds(threading.Lock()))
