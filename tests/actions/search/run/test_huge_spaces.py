"""Spaces whose points have numbers that no array, table or float holds: every command takes or refuses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from torch import nn

from chop.actions.compare.job import CompareOptions, compare
from chop.actions.replay import read_row, rebuild
from chop.actions.search import search
from chop.actions.search.strategies.optuna.storage import export_search
from chop.actions.setup import Prepared
from chop.dataset import MaseDataModule
from chop.errors import SearchError
from chop.tools.whole_numbers import from_json
from tests.actions.search.killing import trials

LAYERS, WIDTHS = 20, list(range(2, 16))
MORE_LAYERS = 290
"""14^290 is about 10^332, beyond the largest float."""

OURS = ("uniform", "evolution", "greedy", "sensitivity", "surrogate")
SAMPLERS = ("tpe", "random", "nsgaii", "nsgaiii", "qmc", "gp")
ALL = {
    **{name: (name, {}) for name in OURS},
    **{name: ("optuna", {"sampler": name}) for name in SAMPLERS},
    "in order": ("brute_force", {}),
    "in random order": ("brute_force", {"order": "random"}),
    "early stopping": ("uniform", {"ladder": [64]}),
    "two processes": ("uniform", {"n_jobs": 2}),
}


def deep(layers: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 4), *(nn.Linear(4, 4) for _ in range(layers - 2)), nn.Linear(4, 5))


@pytest.fixture(params=[LAYERS, pytest.param(MORE_LAYERS, marks=pytest.mark.slow)], ids=["1e22", "1e332"])
def layers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def huge(lab: dict[str, Any]) -> dict[str, Any]:
    lists = {"name": ["integer"], "data_in_width": WIDTHS, "data_in_frac_width": ["NA"], "weight_width": [8]}
    lab["search_space"]["setup"]["by"] = "type"
    lab["search_space"]["seed"] = {
        "default": {"config": {"name": ["NA"]}},
        "linear": {"config": {**lists, "weight_frac_width": ["NA"]}},
    }
    lab["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = 128
    return lab


def searched(huge: dict[str, Any], jets: MaseDataModule, layers: int, folder: Path, name: str, **more: Any) -> Any:
    strategy, setup = ALL[name]
    huge["strategy"] |= {"name": strategy, "setup": {"n_trials": 5, **setup}}
    return search(deep(layers), jets, huge, folder, **more)


@pytest.mark.parametrize("name", ALL)
def test_every_strategy_searches_them(
    name: str, layers: int, huge: dict[str, Any], jets: MaseDataModule, tmp_path: Path
) -> None:
    result = searched(huge, jets, layers, tmp_path, name)
    rows = [*json.loads((tmp_path / "log.json").read_text(encoding="utf-8")).values()]
    assert len(rows) == len(result.trials) == 5
    assert {from_json(row["of_points"]) for row in rows} == {14**layers}
    assert all(0 <= from_json(row["point"]) < 14**layers for row in rows)


def test_a_space_that_can_never_be_measured_whole_is_told(
    layers: int, huge: dict[str, Any], jets: MaseDataModule, tmp_path: Path
) -> None:
    huge["strategy"] |= {"name": "brute_force", "setup": {}}
    with pytest.raises(SearchError, match=r"\de\d+ points can never all be measured: give n_trials"):
        search(deep(layers), jets, huge, tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_strategies_are_compared_on_them(
    layers: int, huge: dict[str, Any], jets: MaseDataModule, tmp_path: Path
) -> None:
    huge["strategy"]["setup"] = {}
    names = ("evolution", "random", "brute_force_random")
    summary = compare(deep(layers), jets, huge, tmp_path, CompareOptions(names, seeds=2, budget=4))
    assert summary.space_size == 14**layers
    assert from_json(json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["space_size"]) == 14**layers
    points = pyarrow.parquet.read_table(tmp_path / "evaluations.parquet")["point"].to_pylist()
    assert len(points) == 24
    assert all(0 <= int(point) < 14**layers for point in points)
    assert len({*points}) == summary.measured
    as_text = pyarrow.csv.ConvertOptions(column_types={"point": "string"})
    table = pyarrow.csv.read_csv(tmp_path / "evaluations.csv", convert_options=as_text)
    assert table["point"].to_pylist() == points


def test_a_search_goes_on_is_taken_over_exported_and_rebuilt(
    layers: int, huge: dict[str, Any], jets: MaseDataModule, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    searched(huge, jets, layers, first, "uniform")
    wanted = trials(first)
    lines = (first / "trials.jsonl").read_bytes().splitlines(keepends=True)
    (first / "trials.jsonl").write_bytes(b"".join(lines[:3]))
    searched(huge, jets, layers, first, "uniform", resume=True)
    assert trials(first) == wanted
    again = searched(huge, jets, layers, tmp_path / "again", "tpe", init_from=[first])
    assert sum(bool(trial.inherited) for trial in again.trials) == 5
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    assert export_search(first, storage, "study") == ("study", 5)
    back = searched(huge, jets, layers, tmp_path / "back", "random", init_from=[f"{storage}#study"])
    assert [trial.point for trial in back.trials] == [trial.point for trial in again.trials[:5]]
    row = read_row(first, 3)
    graph = rebuild(Prepared(deep(layers), jets), row)
    assert len(graph.quantizable_nodes()) == layers
