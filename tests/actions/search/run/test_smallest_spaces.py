"""Spaces of one point, and models that leave nothing to choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from chop.actions.search import search
from chop.actions.search.strategies.base import STRATEGIES
from chop.actions.search.strategies.optuna.samplers import SAMPLERS
from chop.dataset import MaseDataModule
from chop.errors import ConfigError

ONE = {"name": ["integer"], "data_in_width": [8], "weight_width": [8], "bias_width": [8]}


def of_one_point(lab: dict[str, Any]) -> dict[str, Any]:
    lab["search_space"]["seed"]["seq_blocks_2"]["config"] = dict(ONE)
    lab["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = 64
    return lab


@pytest.mark.parametrize("strategy", [*(name for name in STRATEGIES if name != "optuna"), *SAMPLERS])
def test_a_space_of_one_point_has_one_trial(
    strategy: str, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab = of_one_point(lab)
    is_sampler = strategy in SAMPLERS
    lab["strategy"] |= {"name": "optuna" if is_sampler else strategy}
    lab["strategy"]["setup"] = {"n_trials": 4, **({"sampler": strategy} if is_sampler else {})}
    if strategy == "cmaes":
        lab["strategy"]["setup"] |= {"sum_scaled_metrics": True, "direction": "maximize"}
        lab["strategy"]["metrics"]["average_bitwidth"]["scale"] = -0.1
    result = search(jsc_tiny, jets, lab, tmp_path)
    assert len(result.trials) == len(result.best) == 1


@pytest.mark.parametrize("kind", ["excluded", "NA"])
def test_a_space_that_quantises_nothing_says_so(
    kind: str, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: Any
) -> None:
    lab = of_one_point(lab)
    if kind == "excluded":
        lab["search_space"]["setup"]["exclude"] = [".*"]
    else:
        lab["search_space"]["seed"]["seq_blocks_2"]["config"] = {"name": ["NA"]}
    with caplog.at_level("WARNING", "chop"):
        search(jsc_tiny, jets, lab, tmp_path)
    assert caplog.text.count("everything is measured in float32") == 1


def test_a_model_without_layers_to_quantise_is_refused(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule
) -> None:
    class Sums(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.cumsum(1)[:, :5]

    lab["search_space"]["seed"] = {"default": {"config": dict(ONE)}}
    with pytest.raises(ConfigError, match="no layer or operation"):
        search(Sums(), jets, lab, tmp_path)
