"""Searches with batch norms measured under each plan: every way to search finds what plain measuring finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import chop
from chop.actions.calibration import calibrate
from chop.actions.search import search
from chop.actions.search.measuring import batched
from chop.actions.search.run import block_by_block
from chop.actions.search.run.publish import write_reports
from chop.actions.search.run.session import SearchSession
from chop.dataset import MaseDataModule
from chop.errors import ConfigError, SearchError
from chop.ir import MaseGraph
from chop.models import get_model
from chop.passes.graph import quantize_transform_pass
from chop.record.folder import SearchFolder
from chop.record.landscape_key import NORM_MEASUREMENT
from tests.conftest import Command

LAYERS = ("seq_blocks_2", "seq_blocks_5", "seq_blocks_8")


@pytest.fixture
def toy(lab: dict[str, Any]) -> dict[str, Any]:
    """jsc-toy: three layers of 4 choices, all batch norms measured."""
    lists = {"name": ["integer"], "data_in_width": [4, 6], "weight_width": [3, 8], "bias_width": [8]}
    space = lab["search_space"]
    space["seed"] = {"default": {"config": {"name": ["NA"]}}, **{name: {"config": lists} for name in LAYERS}}
    space["setup"] |= {"batch_norm": "measured", "calibration_rows": 300}
    lab["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = 400
    return lab


@pytest.fixture
def jsc_toy() -> nn.Module:
    return get_model("jsc-toy", pretrained=True)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key not in ("search", "sha256", "seconds")}
        for row in json.loads((folder / "best.json").read_text(encoding="utf-8")).values()
    ]


def accuracies(result: Any) -> dict[str, float]:
    return {json.dumps(row.trial.point, sort_keys=True): row.trial.metrics["accuracy"] for row in result.best}


def test_blocks_trials_workers_and_a_built_network_find_the_same(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_trial = search(jsc_toy, jets, toy, tmp_path / "trials")
    in_float = {**toy, "search_space": {**toy["search_space"], "setup": {"by": "name"}}}
    floats = search(jsc_toy, jets, in_float, tmp_path / "float")
    monkeypatch.setattr(block_by_block, "LARGEST_LOG", 10)
    monkeypatch.setattr(batched, "MOST_CONFIGURATIONS", 20)
    by_block = search(jsc_toy, jets, toy, tmp_path / "blocks")
    assert accuracies(by_block) == accuracies(by_trial)
    assert accuracies(floats) != accuracies(by_trial)
    costs = [{json.dumps(t.point): t.metrics["average_bitwidth"] for t in own.trials} for own in (floats, by_trial)]
    assert costs[0] == costs[1]
    row = rows(tmp_path / "trials")[0]
    assert row["calibration_rows"] == 300
    config = row["sampled_config"]
    assert config["seq_blocks_3"]["config"] == {"name": "NA", "batch_norm": "measured"}
    graph = MaseGraph(jsc_toy)
    calibrate(graph, jets, 300)
    graph, _ = quantize_transform_pass(graph, config)
    batches = jets.batches("val", 400)
    hits = torch.cat([graph.model(x).argmax(1) == y for x, y in batches])
    targets = torch.cat([y for _, y in batches])
    recalls = [hits[targets == label].float().mean().item() for label in range(5)]
    assert row["software_metrics"]["accuracy"] == pytest.approx(sum(recalls) / 5, abs=1e-6)


@pytest.mark.parametrize("extra", [{"n_jobs": 2}, {"ladder": [100]}])
@pytest.mark.parametrize("strategy", ["optuna", "surrogate"])
def test_strategies_measure_the_same_figures(
    tmp_path: Path,
    toy: dict[str, Any],
    jets: MaseDataModule,
    jsc_toy: nn.Module,
    strategy: str,
    extra: dict[str, Any],
) -> None:
    every = search(jsc_toy, jets, toy, tmp_path / "all")
    known = {json.dumps(t.point, sort_keys=True): t.metrics["accuracy"] for t in every.trials}
    toy["strategy"] |= {"name": strategy, "setup": {"n_trials": 12, **extra}}
    found = search(jsc_toy, jets, toy, tmp_path / strategy)
    assert found.best
    for row in found.best:
        assert row.trial.metrics["accuracy"] == known[json.dumps(row.trial.point, sort_keys=True)]


def test_a_resumed_search_ends_with_the_same_trials(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    toy["strategy"] |= {"name": "optuna", "setup": {"n_trials": 10, "sampler": "random"}}
    search(jsc_toy, jets, toy, tmp_path / "whole", seed=3)
    toy["strategy"]["setup"]["n_trials"] = 4
    search(jsc_toy, jets, toy, tmp_path / "cut", seed=3)
    toy["strategy"]["setup"]["n_trials"] = 10
    search(jsc_toy, jets, toy, tmp_path / "cut", seed=3, resume=True)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    del toy["search_space"]["setup"]["batch_norm"]
    with pytest.raises(SearchError, match="another search"):
        search(jsc_toy, jets, toy, tmp_path / "cut", seed=3, resume=True)


def test_a_search_that_measured_norms_otherwise_is_reported_and_not_resumed(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy["strategy"] |= {"name": "optuna", "setup": {"n_trials": 2, "sampler": "random"}}
    now = SearchSession.fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(SearchSession, "fingerprint", lambda own: now(own) | {NORM_MEASUREMENT: None})
        search(jsc_toy, jets, toy, tmp_path)
    toy["strategy"]["setup"]["n_trials"] = 3
    with pytest.raises(SearchError, match="another search: batch_norm_measurement changed, here or in chop"):
        search(jsc_toy, jets, toy, tmp_path, resume=True)
    (tmp_path / "report.md").unlink()
    write_reports(SearchFolder(tmp_path), False)
    assert (tmp_path / "report.md").is_file()


def test_it_is_a_choice_of_a_layer_like_any_other(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    space = toy["search_space"]
    space["override"] = {"seq_blocks_3": {"config": {"batch_norm": ["float", "measured"]}}}
    space["override"] |= {"seq_blocks_6": {"config": {"batch_norm": ["float"]}}}
    result = search(jsc_toy, jets, toy, tmp_path)
    assert len(result.trials) == 4**3 * 2
    configs = [row["sampled_config"] for row in rows(tmp_path)]
    assert {config["seq_blocks_0"]["config"].get("batch_norm") for config in configs} == {"measured"}
    assert {config["seq_blocks_6"]["config"].get("batch_norm") for config in configs} == {"float"}
    measured = [t.metrics["accuracy"] for t in result.trials if t.point["seq_blocks_3/config/batch_norm"] == 1]
    own = [t.metrics["accuracy"] for t in result.trials if t.point["seq_blocks_3/config/batch_norm"] == 0]
    assert len(measured) == len(own)
    assert measured != own
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "batch norm measured: seq_blocks_0, seq_blocks_9" in report


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"setup": {"by": "name", "batch_norm": "batch"}}, "batch_norm: .*float.*measured"),
        (
            {"override": {"seq_blocks_3": {"config": {"batch_norm": ["mesured"]}}}},
            "expected float or measured.*did you",
        ),
        (
            {"seed": {"seq_blocks_2": {"config": {"name": ["NA"], "batch_norm": ["measured"]}}}},
            "linear is no batch norm",
        ),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path,
    toy: dict[str, Any],
    jets: MaseDataModule,
    jsc_toy: nn.Module,
    change: dict[str, Any],
    told: str,
) -> None:
    toy["search_space"] |= change
    with pytest.raises(ConfigError, match=told):
        search(jsc_toy, jets, toy, tmp_path)


def test_a_model_without_batch_norm_is_told(tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule) -> None:
    lists = {"name": ["integer"], "data_in_width": [4], "weight_width": [3]}
    toy["search_space"]["seed"] = {"seq_blocks_0": {"config": lists}}
    with pytest.raises(ConfigError, match="has no batch norm"):
        search(get_model("jsc-mlp"), jets, toy, tmp_path)


def test_training_is_followed_by_measuring(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    toy["strategy"] |= {"name": "optuna", "setup": {"n_trials": 2}}
    toy["strategy"]["sw_runner"] = {"basic_train": {"num_samples": 512, "eval_samples": 400, "batch_size": 128}}
    tuned = search(jsc_toy, jets, toy, tmp_path / "tuned").best[0].trial
    toy["strategy"]["sw_runner"] = {"basic_evaluation": {"num_samples": 400}}
    plain = search(jsc_toy, jets, toy, tmp_path / "plain").best[0].trial
    assert tuned.metrics["accuracy"] != plain.metrics["accuracy"]
    assert tuned.metrics["accuracy"] > 0.4


def test_from_python_and_reloaded(tmp_path: Path) -> None:
    model = get_model("jsc-toy", pretrained=True)
    goals: dict[str, Any] = {"objectives": ["accuracy", "average_bitwidth"], "n_trials": 6, "num_samples": 300}
    study = chop.search(model, "jsc", formats="integer", widths=[3, 6], batch_norm="measured", **goals)
    network = study.best()
    path = network.graph.export(tmp_path / "net.safetensors", {"model": "jsc-toy"})
    x = torch.randn(50, 16)
    assert torch.equal(MaseGraph.from_checkpoint(path).model(x), network.model(x))
    with pytest.raises(ConfigError, match="belongs in the space"):
        chop.search(model, "jsc", chop.Space("integer", [3]), batch_norm="measured", **goals)
    again = chop.search(model, "jsc", chop.Space("integer", [3, 6], batch_norm="measured"), **goals)
    assert list(again.front["accuracy"]) == list(study.front["accuracy"])


def test_the_command_line_rebuilds_a_winner(tmp_path: Path, ch: Command) -> None:
    text = Path("machop/configs/examples/jsc_toy_by_type.toml").read_text(encoding="utf-8")
    text = text.replace("[search.search_space.setup]", '[search.search_space.setup]\nbatch_norm = "measured"').replace(
        "n_trials = 20", "n_trials = 4"
    )
    config = tmp_path / "t.toml"
    config.write_text(text, encoding="utf-8")
    ch("search", "--config", str(config), "--pretrained", "--project-dir", str(tmp_path), "--project", "p")
    folder = tmp_path / "p" / "software" / "search_ckpts"
    number = rows(folder)[0]["number"]
    ch("test", "--from-search", str(folder), "--row", str(number), "--project-dir", str(tmp_path))
    ch("transform", "--from-search", str(folder), "--row", str(number), "--project-dir", str(tmp_path))
