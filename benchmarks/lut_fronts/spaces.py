"""Fronts of exhaustive tables, and what the choices of an example's space mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chop.actions.calibration import calibrate
from chop.actions.search.checks import build_space
from chop.actions.search.search_space.codes import index_of
from chop.actions.setup import prepare, traced
from chop.config.run_config import load_run_config
from chop.record.front import Front

Values = np.ndarray[Any, Any]


def front_by(table: Mapping[str, Values], cost: str) -> Values:
    """The points of the front of accuracy and a cost, by rising cost."""
    costs = np.stack([table[cost], -table["accuracy"]], axis=1)
    return Front.of(costs, np.arange(len(costs))).index


def sparsities_of(config: Path) -> list[Values]:
    """For each axis of the space of an example, the sparsity of its layer's weights under each choice."""
    loaded = load_run_config(config, {"is_pretrained": True})
    prepared = prepare(loaded.options)
    assert prepared.model is not None and prepared.data_module is not None
    space, _ = build_space(traced(prepared.model, prepared.data_module), loaded.tables["search"], prepared.data_module)
    assert space is not None
    calibrate(space.graph, prepared.data_module)
    axes = space.axes()
    assert axes is not None
    found, sizes = [], [len(axis) for axis in axes]
    for place, size in enumerate(sizes):
        numbers = [index_of([own if at == place else 0 for at in range(len(sizes))], sizes) for own in range(size)]
        configs = [space.flattened_indexes_to_config(space.point(number)) for number in numbers]
        node = next(node for node, formats in axes[place][0].items() if formats)
        found.append(np.array([own[node]["config"].get("weight_sparsity", 0.0) for own in configs]))
    return found
