"""Searches and comparisons whose pages the tests read, each run once in a test session."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest.mock import patch

import numpy as np

import chop
from chop.actions.search.run import block_by_block
from chop.api.study import Study
from chop.record.folder import SearchFolder


@cache
def small_search() -> SearchFolder:
    """A search of 40 trials with a constraint on jsc-tiny, whose batch norm and linear layer have formats."""
    return SearchFolder(_searched(40).folder)


def _searched(trials: int, **more: Any) -> Study:
    model = chop.get_model("jsc-toy", pretrained=True)
    return chop.search(
        model,
        "jsc",
        widths=[2, 4, 8],
        objectives=["accuracy", "average_bitwidth"],
        constraints={"average_bitwidth": {"max": 7.5}},
        strategy="optuna",
        strategy_options={"sampler": "random"},
        n_trials=trials,
        num_samples=256,
        folder=_folder(),
        **{"formats": ["integer"], **more},
    )


@cache
def search_of_two_formats() -> SearchFolder:
    """A search over two formats, and the layers that stay in float32."""
    return SearchFolder(_searched(16, formats=["integer", "integer_floor"]).folder)


@cache
def exhaustive_search() -> SearchFolder:
    """An exhaustive search, with its table of all points."""
    return _exhaustive_search()


@cache
def tuned_search() -> SearchFolder:
    """A search whose best networks were tuned after it."""
    return SearchFolder(_searched(12, finish={"max_epochs": 1, "rows": 3}).folder)


@cache
def million_points() -> SearchFolder:
    """The record of a search block by block whose table has 1,200,000 points, none better than those measured."""
    with patch.object(block_by_block, "LARGEST_LOG", 10):
        files = _exhaustive_search()
    known, summary, rng = files.landscape(), files.summary, np.random.default_rng(0)
    copies = 1_200_000 // known.size
    metrics = {}
    for name in summary.goals.metrics:
        values = known.metrics[name]
        worse = 0.1 * rng.random((copies, known.size)) * (-1 if summary.metrics[name].direction == "maximize" else 1)
        worse[0] = 0
        metrics[name] = (values + worse * np.abs(values)).reshape(-1)
    files.write_landscape(metrics, {key: value for key, value in known.about.items() if key != "version"})
    size = copies * known.size
    files.write_summary(replace(summary, space_size=size, counts=replace(summary.counts, measured=size)))
    return files


def _exhaustive_search() -> SearchFolder:
    model = chop.get_model("jsc-tiny", pretrained=True)
    study = chop.search(
        model,
        "jsc",
        formats=["integer"],
        widths=[2, 3, 4, 6, 8],
        objectives=["accuracy", "average_bitwidth"],
        strategy="brute_force",
        strategy_options={"landscape": True},
        num_samples=128,
        folder=_folder(),
    )
    return SearchFolder(study.folder)


def _folder() -> Path:
    return Path(mkdtemp()) / "search"


def hypervolume_by_cells(points: np.ndarray, ideal: np.ndarray, worst: np.ndarray, cells: int = 400) -> float:
    """The dominated share of a box in two dimensions, by counting cells of a grid: not the product's way."""
    scaled = (points - ideal) / (worst - ideal)
    middles = (np.arange(cells) + 0.5) / cells
    across, up = np.meshgrid(middles, middles, indexing="ij")
    is_dominated = np.zeros((cells, cells), bool)
    for first, second in scaled:
        is_dominated |= (across >= first) & (up >= second)
    return float(is_dominated.mean())
