"""Fine-tuning of quantised networks: it recovers accuracy, repeats itself, and is in the search's figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from chop.actions.search import search
from chop.dataset import MaseDataModule
from chop.errors import ConfigError
from chop.ir import MaseGraph
from chop.models import get_model
from chop.passes.graph import quantize_transform_pass
from chop.scoring.classification import Classification
from chop.training.fine_tuning import FineTuning, fine_tune
from tests.actions.search.conftest import LAB
from tests.scores import predict, score

THREE_BITS = {
    "by": "type",
    "linear": {
        "config": {"name": "integer", "weight_width": 3, "weight_frac_width": "auto", "data_in_width": 6}
        | {"data_in_frac_width": 3, "bias_width": 6, "bias_frac_width": 4}
    },
}


@pytest.fixture(scope="module")
def jets() -> MaseDataModule:
    data = MaseDataModule("jsc", batch_size=512)
    data.prepare_data()
    data.setup()
    return data


def accuracy(model: nn.Module, data: MaseDataModule) -> float:
    predictions, targets = predict(model, data.batches("val", 5000))
    return score(predictions, targets, num_classes=5)["accuracy_micro"]


def test_three_bits_of_jsc_mlp_recover(jets: MaseDataModule) -> None:
    model = get_model("jsc-mlp", pretrained=True)
    graph, _ = quantize_transform_pass(MaseGraph(model), THREE_BITS)
    before = accuracy(graph.model, jets)
    steps = fine_tune(graph.model, jets, FineTuning(num_samples=20_000, max_epochs=2))
    after = accuracy(graph.model, jets)
    assert steps == 2 * 79
    assert after > before + 0.05
    assert after > accuracy(model.eval(), jets) - 0.05
    assert not graph.model.training


def test_it_repeats_itself_whatever_was_drawn_before(jets: MaseDataModule) -> None:
    tuning = FineTuning(num_samples=1000, optimizer="sgd", lr_scheduler="cosine", gradient_accumulation_steps=3)
    states = []
    for _ in range(2):
        torch.rand(7)
        graph, _ = quantize_transform_pass(MaseGraph(get_model("jsc-tiny", pretrained=True)), THREE_BITS)
        fine_tune(graph.model, jets, tuning)
        states.append(graph.model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_another_seed_is_another_training_and_seed_0_is_as_records_without_one_say(jets: MaseDataModule) -> None:
    states = []
    for seed in (0, 1):
        model = get_model("jsc-tiny", pretrained=True)
        fine_tune(model, jets, FineTuning(num_samples=1000, seed=seed))
        states.append(model.state_dict())
    assert any(not torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert FineTuning(seed=1).as_json() == {**FineTuning().as_json(), "seed": 1}


def test_a_warm_up_that_never_ends_is_told(jets: MaseDataModule, caplog: pytest.LogCaptureFixture) -> None:
    for steps in (1, 2):
        caplog.clear()
        tuning = FineTuning(num_samples=500, batch_size=256, num_warmup_steps=steps)
        fine_tune(get_model("jsc-tiny", pretrained=True), jets, tuning)
        assert ("num_warmup_steps = 2, but the training has 2 steps" in caplog.text) == (steps == 2)


def lab() -> dict[str, Any]:
    import copy

    table = copy.deepcopy(LAB)
    table["strategy"]["sw_runner"] = {"basic_train": {"num_samples": 2000, "learning_rate": 0.01, "eval_samples": 512}}
    table["strategy"]["setup"] = {"n_trials": 3}
    return table


def test_a_search_can_train_each_candidate(jets: MaseDataModule, tmp_path: Path) -> None:
    model = get_model("jsc-tiny", pretrained=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = search(model, jets, lab(), tmp_path / "trained")
    plain = lab()
    plain["strategy"]["sw_runner"] = {"basic_evaluation": {"num_samples": 512}}
    measured = search(model, jets, plain, tmp_path / "plain")
    gains = [
        a.metrics["accuracy"] - b.metrics["accuracy"] for a, b in zip(trained.trials, measured.trials, strict=True)
    ]
    assert min(gains) > 0.02
    test = trained.best[0].test_metrics
    assert test is not None
    assert abs(test["accuracy"][0] - trained.best[0].trial.metrics["accuracy"]) < 0.06
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_two_runners_that_give_one_metric_are_refused(jets: MaseDataModule, tmp_path: Path) -> None:
    table = lab()
    table["strategy"]["sw_runner"]["basic_evaluation"] = {}
    with pytest.raises(ConfigError, match="is returned by basic_train as well"):
        search(get_model("jsc-tiny"), jets, table, tmp_path)


def test_a_batch_of_one_sample_is_left_to_another_epoch(jets: MaseDataModule) -> None:
    """Batch norm cannot train on it."""
    model = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 5))
    assert fine_tune(model, jets, FineTuning(num_samples=65, batch_size=64, max_epochs=2)) == 2


@pytest.mark.parametrize(("lengths", "batches"), [([3, 4, 3, 4, 3], 2), ([3, 4, 5], 3), ([3, 3, 3, 4], 2)])
def test_samples_of_many_lengths_are_trained_on(lengths: list[int], batches: int) -> None:
    class OfManyLengths:
        task, output = Classification(num_classes=2), None

        def batches(self, part: str, *_: Any) -> list[Any]:
            return [(torch.ones(1, length), torch.tensor([1])) for length in lengths]

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layer(x.mean(1, keepdim=True))
            return found

    model = Mean()
    before = model.layer.weight.clone()
    assert fine_tune(model, OfManyLengths(), FineTuning(batch_size=64)) == batches
    assert not torch.equal(before, model.layer.weight)
