"""Settings that cannot be meant are refused by the path of their key, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from chop.actions.search.checks import checked_call
from chop.actions.search.run.job import SearchJob
from chop.dataset import MaseDataModule
from chop.errors import ConfigError

SPACE, STRATEGY, LINEAR = "search_space", "strategy", "search_space.seed.linear.config"
INTEGER: dict[str, Any] = {"name": ["integer"], "data_in_width": [4, 8], "weight_width": [4, 8]}
MIXED: dict[str, Any] = {
    "name": ["integer", "minifloat_ieee", "NA"],
    "weight_width": [4, 8],
    "weight_frac_width": ["auto", "NA"],
    "weight_exponent_width": [2, 3],
}


def problems(lab: dict[str, Any], jets: MaseDataModule, model: nn.Module) -> str:
    """What is said of a configuration; empty if it is taken."""
    try:
        checked_call(SearchJob, model, jets, lab, Path("nowhere"), 0, "cpu")
    except ConfigError as error:
        return str(error)
    return ""


def changed(lab: dict[str, Any], path: str, value: Any, linear: dict[str, Any]) -> dict[str, Any]:
    """The configuration with one value replaced, and `linear` for all linear layers."""
    lab["search_space"] = {**lab["search_space"], "setup": {"by": "type"}}
    lab["search_space"]["seed"] = {"default": {"config": {"name": ["NA"]}}, "linear": {"config": dict(linear)}}
    *tables, key = path.split(".")
    table = lab
    for name in tables:
        table = table.setdefault(name, {})
    table[key] = value
    return lab


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("strategy.metrics.accuracy", {"scale": -1.0, "direction": "maximize"}, "turn its sign"),
        ("strategy.metrics.accuracy", {"scale": -1.0}, "turn its sign"),
        ("strategy.metrics.accuracy", {"direction": "minimize"}, "better is to maximize it"),
        ("strategy.metrics.average_bitwidth", {"direction": "maximize"}, "better is to minimize it"),
        ("strategy.metrics.accuracy", {"scale": 0.0}, "other than 0"),
        ("strategy.metrics.accuracy", {"scale": float("inf")}, "expected a finite number"),
        ("strategy.metrics.accuracy", {"scale": float("nan")}, "expected a finite number"),
        ("strategy.metrics.accuracy", {"scale": 2**63}, "64 bits"),
        ("strategy.metrics.accuracy", {"max": 8.0}, "every configuration satisfies 8"),
        ("strategy.metrics.accuracy", {"min": -1.0}, "every configuration satisfies -1"),
        ("strategy.metrics.accuracy", {"max_drop": "8"}, '"8 %"'),
        ("strategy.setup.timeout", float("inf"), "expected a finite number"),
        ("strategy.setup.n_trials", 10**23, "64 bits"),
        ("strategy.setup.n_trials", True, "expected a valid integer"),
        ("strategy.setup.n_trials", "8", "expected a valid integer"),
        ("strategy.sw_runner.basic_evaluation.num_samples", 2**63, "64 bits"),
        ("strategy.hw_runner.latency", {"bytes_per_second": float("inf")}, "expected a finite number"),
        ("search_space.name", ["graph/quantize/mixed_precision_ptq"], "expected a valid string"),
        ("search_space.setup.tie", [[]], "empty group"),
        ("search_space.setup.tie_operands", ["weight", "weight"], "names an operand twice"),
        ("search_space.setup.tie_operands", ["weight"], "ties weight to nothing"),
        (f"{LINEAR}.data_in_width", [4, 4], "lists 4 twice"),
        (f"{LINEAR}.name", ["integer", "integer"], "lists 'integer' twice"),
        (f"{LINEAR}.bypass", [1], "expected true or false, got 1"),
        ("search_space.seed.default.config.weight_widht", [4], "did you mean 'weight_width'?"),
        ("search_space.seed.default.config.data_in_width", ["x"], "'x' suits none of the formats"),
        ("search_space.seed.default.config.data_in_width", [-3], "-3 suits none of the formats"),
        ("search_space.seed.linear", {"config": {"name": ["integer"]}}, "no width, so nothing would be rounded"),
        ("search_space.seed.relu", {"config": {**INTEGER, "weight_width": ["x"]}}, "relu has no operand 'weight'"),
        (
            "search_space.seed.linear",
            {"config": {**INTEGER, "weight_rounding": ["nearest"], "weight_rounding_damping": [0.1]}},
            "weight_rounding_damping: has no effect without rounding",
        ),
        (
            "search_space.seed.default",
            {"config": {**INTEGER, "weight_rounding": ["nearest"], "weight_rounding_order": ["stored"]}},
            "weight_rounding_order: has no effect without rounding",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    path: str, value: Any, told: str, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    said = problems(changed(lab, path, value, INTEGER), jets, jsc_tiny)
    assert told in said
    assert path.removesuffix("bypass") in said


@pytest.mark.parametrize(
    ("key", "values", "wrong"),
    [
        ("weight_frac_width", ["auto", "atuo"], "'atuo'"),
        ("weight_width", [4, 8, "x"], "'x'"),
        ("weight_width", [8, 40000], "40000"),
        ("weight_width", [8, -3], "-3"),
        ("weight_width", [8, True], "True"),
        ("weight_width", [8, "4"], "'4'"),
        ("weight_exponent_width", [3, "x"], "'x'"),
        ("weight_exponent_width", [3, 40000], "40000"),
        ("data_in_width", [8, 4.5], "4.5"),
    ],
)
def test_of_several_formats_a_value_that_none_takes_is_refused(
    key: str, values: list[Any], wrong: str, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    linear = {**MIXED, "data_in_width": [8], "data_in_exponent_width": [3]}
    said = problems(changed(lab, f"{LINEAR}.{key}", values, linear), jets, jsc_tiny)
    assert f"{LINEAR}.{key}: {wrong} suits none of the formats" in said


def test_of_several_formats_a_value_that_some_take_is_fine(
    lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    assert not problems(changed(lab, f"{LINEAR}.weight_width", [3, 32], MIXED), jets, jsc_tiny)


def test_keys_of_a_format_may_stand_beside_float(
    lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    left = {**INTEGER, "name": ["NA"], "weight_block_size": [[16]]}
    assert not problems(changed(lab, "search_space.seed.batch_norm1d", {"config": left}, INTEGER), jets, jsc_tiny)


@pytest.mark.parametrize(("scale", "is_right"), [(-0.2, True), (0.2, False)])
def test_a_sum_that_rewards_what_is_worse_is_told(
    scale: float,
    is_right: bool,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab["strategy"]["setup"] = {"sum_scaled_metrics": True, "direction": "maximize", "n_trials": 1}
    lab["strategy"]["metrics"]["average_bitwidth"] = {"scale": scale}
    assert not problems(lab, jets, jsc_tiny)
    assert ("average_bitwidth: better is to minimize it" in caplog.text) is not is_right


def test_a_metric_turned_twice_is_itself(lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module) -> None:
    lab["strategy"]["metrics"]["accuracy"] = {"scale": -1.0, "direction": "minimize"}
    assert not problems(lab, jets, jsc_tiny)


def test_learned_widths_that_nothing_has_trained_are_told_with_the_cure(
    lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    wrong = changed(lab, f"{LINEAR}.weight_frac_width", ["auto", "learned"], INTEGER)
    message = problems(wrong, jets, jsc_tiny)
    assert f"{LINEAR}.weight_frac_width: " in message and 'trained by the strategy "gradient" (node' in message


def test_eval_mode_under_setup_is_told_where_it_belongs(
    lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    message = problems(changed(lab, "strategy.setup.eval_mode", False, INTEGER), jets, jsc_tiny)
    assert "strategy.setup.eval_mode: belongs to [search.strategy] itself, not to its setup" in message
