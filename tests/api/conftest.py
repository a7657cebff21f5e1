"""Small models and data, and a study of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import chop
from chop.api.study import Study


@pytest.fixture
def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))


@pytest.fixture(scope="session")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    """300 samples of three classes."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 8))
    return x, (x[:, :3]).argmax(1)


def few(**more: Any) -> dict[str, Any]:
    """The arguments of a search that takes a fraction of a second."""
    own = {"formats": ["integer"], "widths": [4, 8], "objectives": ["accuracy", "average_bitwidth"]}
    return {**own, "strategy": "brute_force", "seed": 1, **more}


@pytest.fixture
def study(mlp: nn.Module, arrays: tuple[np.ndarray, np.ndarray]) -> Study:
    return chop.search(mlp, arrays, **few())
