"""Costs from tables: sums over nodes, and what becomes of a configuration for which a runner's function fails."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from chop.evaluation.tables import CostTable

AXES: Any = [[{"fc": {"weight": 2}}, {"fc": {"weight": 4}}]]


def combine(sums: tuple[float, ...]) -> dict[str, float]:
    if sums[0] < 3:
        raise ValueError("too few")
    return {"bits": sums[0]}


def test_a_configuration_that_cannot_be_combined_has_nan_and_no_other() -> None:
    table = CostTable(lambda cost, formats: (formats["weight"],), combine, {"fc": None}, AXES, names=["bits"])
    bits = table.scores(np.array([[1], [0], [1]]))["bits"]
    assert bits[0] == bits[2] == 4.0 and math.isnan(bits[1])


def test_without_names_the_error_is_raised() -> None:
    table = CostTable(lambda cost, formats: (formats["weight"],), combine, {"fc": None}, AXES)
    with pytest.raises(ValueError, match="too few"):
        table.scores(np.array([[0]]))
