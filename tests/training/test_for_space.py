"""One training for all networks of a space: its gradients, its probes, its files, and that it goes on to the bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.actions.calibration import calibrate
from chop.actions.search.search_space.base import SpaceSetup
from chop.config.space_training import SpaceTrainingOptions
from chop.dataset import MaseDataModule
from chop.errors import ChopError
from chop.formats import FORMATS, Integer
from chop.ir import MaseGraph, QuantPlan
from chop.models import get_model
from chop.testing.op_cases import FORMAT_KEYS
from chop.training.for_space import SpaceTraining
from chop.training.gradients import Surrogate, add_gradients, formats_of, surrogates
from chop.training.plan_network import PlanNetwork
from chop.training.space_files import Progress, SpaceFiles
from chop.training.space_plans import narrowest_plan, probe_plans, widest_plan
from chop.training.space_run import SpaceRun
from chop.weight_transforms import Chain, Sparsity
from tests.scores import predict, score
from tests.training.spaces import LISTS, Few, data_module, space_of

FEW = SpaceTrainingOptions(max_epochs=3, probes=4, batch_size=256)


@pytest.fixture(scope="module")
def jets() -> MaseDataModule:
    return data_module("jsc")


def small_training(data: MaseDataModule, **changes: Any) -> SpaceTraining:
    return SpaceTraining(
        space_of(get_model("jsc-tiny", pretrained=True), Few(data)), Few(data), replace(FEW, **changes)
    )


# Gradients, against torch written out


def test_gradients_of_a_plan_are_those_of_torch_written_out() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    x, y = torch.randn(16, 6), torch.randint(3, (16,))
    graph = MaseGraph(model)
    plan = QuantPlan.of({"_0": {"data_in": Integer(3, 2), "weight": Integer(3, 4)}, "_2": {"weight": Integer(4, 3)}})
    F.cross_entropy(PlanNetwork(graph)([x], surrogates(plan)), y).backward()

    def cut(v: Tensor, width: int, fraction: int) -> Tensor:
        low, high = -(2 ** (width - 1)), 2 ** (width - 1) - 1
        scaled = v * 2.0**fraction
        inside = scaled.clamp(low - 0.5, high + 0.5)  # torch: gradient 1 inside, 0 outside
        return (inside + (inside.round().clamp(low, high) - inside).detach()) / 2.0**fraction

    first, last = model[0], model[2]
    hidden = F.relu(F.linear(cut(x, 3, 2), cut(first.weight, 3, 4), first.bias))
    F.cross_entropy(F.linear(hidden, cut(last.weight, 4, 3), last.bias), y).backward()
    for own, wanted in zip(graph.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(own.grad, wanted.grad)


@pytest.mark.parametrize("name", sorted(FORMAT_KEYS))
def test_every_format_rounds_in_training_as_it_does_elsewhere(name: str) -> None:
    chosen = FORMATS[name].from_keys(FORMAT_KEYS[name])
    x = torch.randn(8, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
    rounded = Surrogate(chosen).quantize(x)
    rounded.sum().backward()
    assert torch.equal(rounded, chosen.quantize(x.detach()))
    assert x.grad is not None and bool((x.grad != 0).any())


def test_weights_that_are_dropped_have_gradients_and_can_come_back() -> None:
    weights = torch.tensor([[3.0, -1.0, 2.0, 0.5]], requires_grad=True)
    rounded = Surrogate(Chain((Sparsity(0.5),), Integer(8, 4))).quantize(weights)
    rounded.sum().backward()
    assert rounded.tolist() == [[3.0, 0.0, 2.0, 0.0]] and torch.equal(weights.grad, torch.ones(1, 4))


def test_balanced_gradients_of_plans_count_by_the_square_root_of_their_norm() -> None:
    weights, unused = nn.Parameter(torch.tensor([1.0, 1.0])), nn.Parameter(torch.ones(1))
    for size, weight in ((16.0, 1.0), (1.0, 2.0)):
        add_gradients((weights * torch.tensor([3.0, 4.0]) * size / 5).sum(), [weights, unused], weight, balanced=True)
    torch.testing.assert_close(weights.grad, torch.tensor([0.6, 0.8]) * (4 + 2))
    add_gradients((weights * 0).sum(), [weights], 1.0, balanced=True)
    torch.testing.assert_close(weights.grad, torch.tensor([0.6, 0.8]) * 6)
    assert unused.grad is None


def test_the_gradients_of_a_plan_alone_stay_as_they_are() -> None:
    weights = nn.Parameter(torch.tensor([1.0, -2.0]))
    add_gradients((weights**2).sum(), [weights], 1.0, balanced=False)
    assert torch.equal(weights.grad, torch.tensor([2.0, -4.0]))


# Batch norms


def test_batch_norms_are_measured_under_each_plan_layer_after_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4), nn.BatchNorm1d(4)).eval()
    rows, x = torch.randn(64, 6), torch.randn(7, 6)
    plan = QuantPlan.of({"_0": {"weight": Integer(3, 3)}, "_3": {"weight": Integer(3, 2)}})
    network = PlanNetwork(MaseGraph(model))
    network.measure_under_plan([rows], formats_of(plan))
    found = network([x], formats_of(plan))

    first, norm, _, last, end = model
    both = [F.linear(v, Integer(3, 3).quantize(first.weight), first.bias) for v in (rows, x)]
    both = [F.relu((v - both[0].mean(0)) / (both[0].var(0, unbiased=False) + norm.eps).sqrt()) for v in both]
    both = [F.linear(v, Integer(3, 2).quantize(last.weight), last.bias) for v in both]
    wanted = (both[1] - both[0].mean(0)) / (both[0].var(0, unbiased=False) + end.eps).sqrt()
    torch.testing.assert_close(found, wanted)
    assert torch.equal(model[1].running_mean, torch.zeros(5))


def test_batch_norm_as_a_function_takes_the_statistics_of_the_batch() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.full((3,), 9.0))
            self.register_buffer("var", torch.full((3,), 4.0))

        def forward(self, x: Tensor) -> Tensor:
            return F.batch_norm(x, self.mean, self.var)

    x = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    found = PlanNetwork(MaseGraph(Functional()))([x], {})
    torch.testing.assert_close(found, F.batch_norm(x, None, None, training=True))


def test_a_batch_of_one_is_refused_where_norms_are_trained(jets: MaseDataModule) -> None:
    few = Few(jets, 20)
    space = space_of(get_model("jsc-s"), few, setup=SpaceSetup(by="type", batch_norm="measured"))
    with pytest.raises(ChopError, match=r"batch norm 'seq_blocks_0': .* raise batch_size"):
        SpaceTraining(space, few, replace(FEW, batch_size=1)).train_epoch(0)


def test_small_batches_are_trained_at_a_lower_rate(jets: MaseDataModule) -> None:
    found = []
    for rate in (None, 3e-3, 6e-3):
        training = small_training(jets, batch_size=32, plans_per_step=1, learning_rate=rate)
        training.train_epoch(0)
        found.append(torch.cat([own.flatten() for own in training.graph.model.parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


# Plans


def test_the_widest_and_the_narrowest_plan_have_the_ends_of_all_lists(jets: MaseDataModule) -> None:
    space = space_of(get_model("jsc-tiny"), jets, {**LISTS, "weight_sparsity": [0.5, 0.0]})
    for plan, width, act in ((widest_plan(space), 8, 8), (narrowest_plan(space), 2, 3)):
        for node in plan:
            weight = plan[node]["weight"]
            assert isinstance(weight, Chain) == (width == 2)
            assert getattr(weight, "then", weight).width == width and plan[node]["data_in"].width == act
    plans = probe_plans(space, 6, seed=0)
    assert len(set(plans)) == 6 and plans[:2] == [widest_plan(space), narrowest_plan(space)]


# Training


def test_the_networks_of_the_space_get_better_and_the_widest_stays_good(jets: MaseDataModule) -> None:
    lists = {**LISTS, "data_in_range_rule": ["mse"], "weight_range_rule": ["mse"]}
    few = Few(jets, 10_000)
    space = space_of(get_model("jsc-mlp", pretrained=True), few, lists)
    training = SpaceTraining(space, few, SpaceTrainingOptions(max_epochs=1, batch_size=512, probe_samples=4096))
    before, _ = training.probe()
    training.train_epoch(0)
    after, _ = training.probe()
    assert after.mean > before.mean + 0.05
    assert after.values[0] > before.values[0] - 0.04


@pytest.mark.parametrize(("model", "batch_norm"), [("jsc-tiny", "float"), ("jsc-s", "measured")])
def test_probes_score_what_a_search_measures(jets: MaseDataModule, model: str, batch_norm: Any) -> None:
    few = Few(jets)
    space = space_of(get_model(model, pretrained=True), few, setup=SpaceSetup(by="type", batch_norm=batch_norm))
    training = SpaceTraining(space, few, replace(FEW, probes=2))
    narrowest = narrowest_plan(space)
    scores, weights = training.probe()
    own = get_model(model)
    own.load_state_dict({name: weights[name] for name in own.state_dict()})
    rebuilt = MaseGraph(own)
    calibrate(rebuilt, few, space.calibration_rows or 512)
    rebuilt.apply_plan(narrowest)
    found = score(*predict(rebuilt.model, few.batches("val")), num_classes=5)
    assert scores.values[1] == pytest.approx(found["accuracy"], abs=1e-12)


def test_the_checkpoint_has_running_statistics_of_many_samples(jets: MaseDataModule) -> None:
    few = Few(jets, 3000)
    space = space_of(get_model("jsc-tiny", pretrained=True), few)
    training = SpaceTraining(space, few, replace(FEW, probes=2))
    training.train_epoch(0)
    _, weights = training.probe()
    x = torch.cat([x for x, _ in few.batches("train")])
    assert len(x) == 3000 > 2 * (space.calibration_rows or 0)
    torch.testing.assert_close(weights["seq_blocks.0.running_mean"], x.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weights["seq_blocks.0.running_var"], x.var(0, unbiased=False), rtol=1e-5, atol=1e-5)


def run_of(training: SpaceTraining, folder: Path, save: Callable[..., None] | None = None) -> SpaceRun:
    folder.mkdir(exist_ok=True)
    save = save or (lambda tensors, progress: None)
    return SpaceRun(training, SpaceFiles(folder), {"seed": 0}, save, lambda progress: progress.best)


@pytest.mark.parametrize("cut", [1, 2])
def test_a_resumed_training_ends_with_the_same_weights_to_the_bit(
    jets: MaseDataModule, tmp_path: Path, cut: int
) -> None:
    kept: dict[str, Mapping[str, Tensor]] = {}
    whole = run_of(small_training(jets), tmp_path / "whole", lambda tensors, progress: kept.update(whole=tensors))
    (*_, ended) = whole.epochs(whole.begin())
    broken = run_of(small_training(jets), tmp_path / "cut")
    epochs = broken.epochs(broken.begin())
    for _ in range(cut):
        next(epochs)
    random.seed(5), torch.manual_seed(5)
    later = run_of(small_training(jets), tmp_path / "cut", lambda tensors, progress: kept.update(cut=tensors))
    (*_, resumed) = later.epochs(later.resumed())
    assert resumed == ended
    for name, tensor in whole.training.weights().items():
        assert torch.equal(tensor, later.training.weights()[name]), name


def test_a_state_of_other_settings_is_refused_by_name(jets: MaseDataModule, tmp_path: Path) -> None:
    run = run_of(small_training(jets), tmp_path)
    run.begin()
    with pytest.raises(ChopError, match=r"seed 0 \(now 1\).*without --resume"):
        replace(run, facts={"seed": 1}).resumed()


def test_a_damaged_state_is_refused(jets: MaseDataModule, tmp_path: Path) -> None:
    run = run_of(small_training(jets), tmp_path)
    run.begin()
    file = tmp_path / "state.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(ChopError, match="damaged"):
        run.resumed()


def test_it_ends_early_when_the_probes_get_no_better(jets: MaseDataModule, tmp_path: Path) -> None:
    training = small_training(jets, patience=1, learning_rate=900.0, max_epochs=5)
    run = run_of(training, tmp_path)
    (*_, ended) = run.epochs(run.begin())
    assert run.is_out_of_patience(ended) and ended.best == 0 and ended.epochs == 1


def test_progress_with_scores_that_are_not_finite_is_written_and_read(jets: MaseDataModule, tmp_path: Path) -> None:
    files = SpaceFiles(tmp_path)
    files.write_state({"a": torch.zeros(1)}, Progress(((0.5,), (float("inf"),)), 0), {})
    assert files.read_state({})[1] == Progress(((0.5,), (float("inf"),)), 0)
