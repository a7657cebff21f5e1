"""A search from Python: its figures, its front, its budget and its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from chop.actions.search import search
from chop.actions.search.strategies.runners import RUNNERS
from chop.dataset import MaseDataModule
from chop.errors import ChopError, ConfigError, SearchError
from chop.formats import Integer
from chop.models import get_model


def quantised_by_hand(model: nn.Module, config: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    """jsc-tiny under a row's config, written out without anything of the graph."""
    norm, relu, linear, last = model.seq_blocks
    widths = config["seq_blocks_2"]["config"]
    data_in, weight, bias = (Integer(widths[f"{name}_width"]) for name in ("data_in", "weight", "bias"))
    hidden = data_in.quantize(relu(norm(x)))
    return last(hidden @ weight.quantize(linear.weight).T + bias.quantize(linear.bias))


def rows_of(folder: Path, file: str) -> list[dict[str, Any]]:
    return list(json.loads((folder / file).read_text(encoding="utf-8")).values())


def test_every_point_of_the_lab_scores_what_it_scores_by_hand(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    result = search(jsc_tiny, jets, lab, tmp_path)
    x, y = jets.val_dataloader().dataset.x[:512], jets.val_dataloader().dataset.y[:512]
    rows = rows_of(tmp_path, "log.json")
    assert len(rows) == len(result.trials) == 18
    assert len({json.dumps(row["sampled_config"]) for row in rows}) == 18
    for row in rows:
        with torch.no_grad():
            scores = quantised_by_hand(jsc_tiny.eval(), row["sampled_config"], x)
        loss = torch.nn.functional.cross_entropy(scores, y).item()
        accuracy = MulticlassAccuracy(num_classes=5)(scores, y).item()
        assert row["software_metrics"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
        assert row["software_metrics"]["loss"] == pytest.approx(loss, rel=1e-5)


def test_average_bitwidth_is_the_sum_by_hand(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    search(jsc_tiny, jets, lab, tmp_path)
    for row in rows_of(tmp_path, "log.json"):
        widths = row["sampled_config"]["seq_blocks_2"]["config"]
        bits = 16 * widths["data_in_width"] + 80 * widths["weight_width"] + 5 * widths["bias_width"]
        expected = bits / (16 + 80 + 5)  # batch norm and relu multiply no matrices and have no formats
        assert row["hardware_metrics"]["average_bitwidth"] == pytest.approx(expected)
        assert row["hardware_metrics"]["memory_density"] == pytest.approx(32 / expected)
        assert row["scaled_metrics"]["average_bitwidth"] == pytest.approx(0.2 * expected)


def test_the_front_holds_exactly_the_undominated_networks(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    search(jsc_tiny, jets, lab, tmp_path)
    points = {
        row["number"]: (row["software_metrics"]["accuracy"], row["hardware_metrics"]["average_bitwidth"])
        for row in rows_of(tmp_path, "log.json")
    }
    undominated = {
        number
        for number, (accuracy, bits) in points.items()
        if not any(a >= accuracy and b <= bits and (a, b) != (accuracy, bits) for a, b in points.values())
    }
    best = rows_of(tmp_path, "best.json")
    assert {row["number"] for row in best} == undominated
    assert all(row["test_metrics"]["accuracy"]["low_95"] < row["test_metrics"]["accuracy"]["high_95"] for row in best)


def test_a_good_network_after_a_bad_one_gets_its_own_score(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    forwards = search(jsc_tiny, jets, lab, tmp_path / "a")
    lab["strategy"]["setup"] = {"order": "random"}
    shuffled = search(jsc_tiny, jets, lab, tmp_path / "b", seed=3)
    by_point = {tuple(trial.point.items()): trial.metrics for trial in forwards.trials}
    assert [t.point for t in shuffled.trials] != [t.point for t in forwards.trials]
    assert all(by_point[tuple(trial.point.items())] == trial.metrics for trial in shuffled.trials)


def test_runners_called_singly_agree_with_the_search(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    search(jsc_tiny, jets, lab, tmp_path)
    runner = RUNNERS["average_bitwidth"](jets)
    for row in rows_of(tmp_path, "log.json")[:4]:
        assert runner(jets, jsc_tiny, row["sampled_config"]) == pytest.approx(row["hardware_metrics"])


@pytest.mark.parametrize("by", ["name", "type", "regex_name"])
def test_every_way_to_name_layers_really_quantises(
    by: str, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lists = lab["search_space"]["seed"].pop("seq_blocks_2")
    lab["search_space"]["seed"][{"name": "seq_blocks_2", "type": "linear", "regex_name": "seq_.*_2"}[by]] = lists
    lab["search_space"]["setup"]["by"] = by
    result = search(jsc_tiny, jets, lab, tmp_path)
    assert len(result.trials) == 18
    assert len({trial.metrics["accuracy"] for trial in result.trials}) > 5
    assert all(row["sampled_config"]["by"] == "name" for row in rows_of(tmp_path, "log.json"))


def test_repeats_are_answered_from_the_log_and_counted(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"] |= {"name": "optuna", "setup": {"sampler": "random", "n_trials": 40}}
    result = search(jsc_tiny, jets, lab, tmp_path)
    first = {}
    for trial in result.trials:
        key = tuple(trial.point.items())
        assert trial.repeats == (first[key].number if key in first else None)
        first.setdefault(key, trial)
    assert any(trial.repeats is not None for trial in result.trials)
    assert len(result.trials) == 40 or len(first) == 18


def test_the_search_ends_when_the_space_is_exhausted(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"] |= {"name": "optuna", "setup": {"sampler": "random", "n_trials": 100_000}}
    result = search(jsc_tiny, jets, lab, tmp_path)
    assert result.reason == "exhausted"
    assert sum(trial.repeats is None for trial in result.trials) == 18


@pytest.mark.parametrize("strategy", [{"sampler": "tpe"}, {"sampler": "random"}, {"order": "random"}])
def test_a_resumed_search_equals_an_unbroken_one(
    strategy: dict[str, Any], tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["name"] = "optuna" if "sampler" in strategy else "brute_force"
    lab["strategy"]["setup"] = {**strategy, "n_trials": 16}
    unbroken = search(jsc_tiny, jets, lab, tmp_path / "unbroken", seed=5)
    lab["strategy"]["setup"]["n_trials"] = 7
    search(jsc_tiny, jets, lab, tmp_path / "broken", seed=5)
    log = tmp_path / "broken" / "trials.jsonl"
    log.write_bytes(log.read_bytes() + b'{"number": 7, "poi')  # killed while writing
    lab["strategy"]["setup"]["n_trials"] = 16
    resumed = search(jsc_tiny, jets, lab, tmp_path / "broken", seed=5, resume=True)
    assert [(t.number, t.point, t.metrics, t.repeats) for t in resumed.trials] == [
        (t.number, t.point, t.metrics, t.repeats) for t in unbroken.trials
    ]


def test_another_search_is_not_resumed(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["setup"] = {"n_trials": 3}
    search(jsc_tiny, jets, lab, tmp_path)
    lab["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = 256
    with pytest.raises(SearchError, match=r"runners \(num_samples was 512, is 256\) changed"):
        search(jsc_tiny, jets, lab, tmp_path, resume=True)


def test_an_earlier_log_is_never_overwritten(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["setup"] = {"n_trials": 3}
    search(jsc_tiny, jets, lab, tmp_path)
    with pytest.raises(SearchError, match="--resume"):
        search(jsc_tiny, jets, lab, tmp_path)


def test_a_sum_of_metrics_has_one_best_trial(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["setup"] = {"sum_scaled_metrics": True, "direction": "maximize"}
    lab["strategy"]["metrics"]["average_bitwidth"]["scale"] = -0.02
    result = search(jsc_tiny, jets, lab, tmp_path)
    sums = {trial.number: sum(trial.scaled_metrics.values()) for trial in result.trials}
    assert [row.trial.number for row in result.best] == [max(sums, key=lambda number: sums[number])]


def test_training_mode_differs_and_leaves_the_model_as_it_was(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    before = {name: tensor.clone() for name, tensor in jsc_tiny.state_dict().items()}
    evaluated = search(jsc_tiny, jets, lab, tmp_path / "eval")
    lab["strategy"]["eval_mode"] = False
    trained = search(jsc_tiny, jets, lab, tmp_path / "train")
    assert [t.metrics["loss"] for t in evaluated.trials] != [t.metrics["loss"] for t in trained.trials]
    assert all(torch.equal(before[name], tensor) for name, tensor in jsc_tiny.state_dict().items())


def test_all_that_is_wrong_is_told_at_once(lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module) -> None:
    lab["search_space"]["seed"]["seq_block_2"] = lab["search_space"]["seed"].pop("seq_blocks_2")
    lab["strategy"]["setup"] = {"n_trails": 3}
    lab["strategy"]["metrics"]["acuracy"] = {}
    lab["strategy"]["hw_runner"]["average_bitwith"] = {}
    with pytest.raises(ConfigError) as caught:
        search(jsc_tiny, jets, lab, Path("nowhere"))
    text = str(caught.value)
    for hint in ("'n_trials'", "'accuracy'", "'average_bitwidth'", "'seq_blocks_2'"):
        assert f"did you mean {hint}?" in text


def test_dropout_in_training_mode_is_drawn_alike_in_every_run(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule
) -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.Dropout(0.3), nn.Linear(32, 5))
    lab["strategy"]["eval_mode"] = False
    lab["search_space"] = {**lab["search_space"], "setup": {"by": "type"}}
    lists = {"name": ["integer"], "weight_width": [4, 8]}
    lab["search_space"]["seed"] = {"linear": {"config": lists}}
    first = search(model, jets, lab, tmp_path / "a")
    torch.rand(5)
    again = search(model, jets, lab, tmp_path / "b")
    assert [trial.metrics for trial in first.trials] == [trial.metrics for trial in again.trials]


def test_scales_of_channels_are_searched_on_biases_too(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lists = {"name": ["scale_integer"], "weight_width": [4, 8], "bias_width": [8]}
    lists |= {"weight_granularity": ["channel"], "bias_granularity": ["channel"]}
    lab["search_space"]["seed"] = {"seq_blocks_2": {"config": lists}}
    assert len(search(jsc_tiny, jets, lab, tmp_path).best) == 2


def test_other_weights_are_not_resumed(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["setup"] = {"n_trials": 2}
    search(jsc_tiny, jets, lab, tmp_path)
    with pytest.raises(SearchError, match="weights changed"):
        search(get_model("jsc-tiny"), jets, lab, tmp_path, resume=True)


class OneBatchSize(nn.Module):
    """Takes batches of 40 rows alone."""

    def __init__(self) -> None:
        super().__init__()
        self.seq_blocks_2 = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.seq_blocks_2(x) + torch.ones(40, 5)


def test_a_model_of_one_batch_size_is_searched_with_it_and_told_without(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, caplog: pytest.LogCaptureFixture
) -> None:
    lab["strategy"]["hw_runner"] = {}
    lab["strategy"]["metrics"] = {"accuracy": {"scale": 1.0}}
    lab["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = 40
    found = search(OneBatchSize(), jets, lab, tmp_path / "of its size")
    assert len(found.trials) == 18 and found.best[0].test_metrics is None
    assert "has no test scores: RuntimeError: The size of tensor a" in caplog.text
    assert (tmp_path / "of its size" / "report.md").exists()
    lab["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = 41
    with pytest.raises(ChopError, match=r"The size of tensor a \(41\)"):
        search(OneBatchSize(), jets, lab, tmp_path / "of another")
