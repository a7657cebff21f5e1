"""Weights that belong to a format: what a training for a space adds to a layer's parameters where it has the format."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from chop.actions.calibration import calibrate
from chop.actions.setup import traced
from chop.api.own_model import module_of
from chop.config.space_training import SpaceTrainingOptions
from chop.dataset import MaseDataModule
from chop.errors import CheckpointError, PassError
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.measures import WholePredictions
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import Integer, MeasuredTensor
from chop.ir import MaseGraph, QuantPlan
from chop.ir.choice_offsets import ChoiceOffsets, OffsetSlot
from chop.ir.graph.format_notes_json import format_notes, noted_offsets
from chop.models import get_model
from chop.models.checkpoint import load_weights, save_weights
from chop.models.weight_notes import FormatNotes, format_notes_on, note
from chop.passes.graph import equalise_transform_pass, migrate_scales_transform_pass, quantize_transform_pass
from chop.training.for_space import SpaceTraining
from chop.training.space_plans import narrowest_plan, widest_plan
from chop.training.trained_offsets import TrainedOffsets
from chop.weight_transforms import Chain, Sparsity
from tests.scores import predict, score
from tests.training.spaces import Few, data_module, space_of

WIDE, NARROW = Integer(8, "auto"), Integer(2, "auto")


@pytest.fixture(scope="module")
def jets() -> MaseDataModule:
    return data_module("jsc")


def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def offsets_of(values: dict[tuple[str, str, Integer], Tensor]) -> ChoiceOffsets:
    return ChoiceOffsets({OffsetSlot("fc", *key): MeasuredTensor(tensor) for key, tensor in values.items()})


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = layer()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


def test_a_format_rounds_the_weights_that_it_was_trained_with_and_others_stay_shared() -> None:
    graph, x = MaseGraph(Net()), torch.randn(5, 3)
    moved, shift = torch.full((2, 3), 3.0), torch.tensor([1.0, -1.0])
    graph.choice_offsets = offsets_of({("weight", "weight", NARROW): moved, ("bias", "weight", NARROW): shift})
    for chosen, by in ((NARROW, 1.0), (WIDE, 0.0)):
        graph.apply_plan(QuantPlan.of({"fc": {"weight": chosen, "bias": Integer(16, 8)}}))
        weight, bias = layer().weight.detach() + by * moved, layer().bias.detach() + by * shift
        wanted = nn.functional.linear(x, chosen.calibrated(weight).quantize(weight), Integer(16, 8).quantize(bias))
        torch.testing.assert_close(graph.model(x), wanted)


def test_offsets_of_several_operands_are_added_up_before_transforms_and_once_only() -> None:
    first, second = torch.ones(2, 3), torch.full((2, 3), 0.5)
    offsets = offsets_of(
        {("weight", "weight", Chain((Sparsity(0.5),), NARROW)): first, ("weight", "data_in", WIDE): second}
    )
    plan = QuantPlan.of({"fc": {"data_in": WIDE, "weight": Chain((Sparsity(0.5),), NARROW)}})
    found = offsets.added_to(plan)
    offset, pruned = found["fc"]["weight"].transforms
    assert torch.equal(offset.offset.values, first + second) and pruned == Sparsity(0.5)
    assert offsets.added_to(found) == found and found["fc"]["data_in"] == WIDE


def trained(jets: MaseDataModule, model: str = "jsc-mlp") -> SpaceTraining:
    few = Few(jets, 2000)
    space = space_of(get_model(model, pretrained=True), few)
    options = SpaceTrainingOptions(max_epochs=2, probes=3, batch_size=256)
    training = SpaceTraining(space, few, options)
    training.train_epoch(0)
    return training


def test_a_step_trains_the_offsets_of_the_formats_that_were_drawn_and_no_others(jets: MaseDataModule) -> None:
    few = Few(jets, 256)
    space = space_of(get_model("jsc-mlp", pretrained=True), few)
    options = SpaceTrainingOptions(max_epochs=1, probes=2, batch_size=256, plans_per_step=1, widest_weight=0)
    training = SpaceTraining(space, few, options)
    training.train_epoch(0)
    training.probe()
    offsets = space.graph.choice_offsets.values
    choosers = {slot[:3] for slot in offsets}
    assert {slot[1:3] for slot in offsets} == {("weight", "weight"), ("bias", "weight"), ("bias", "data_in")}
    for chooser in choosers:  # the one format that was drawn, or, if that is the widest, all others by as much
        moved = [own for slot, own in offsets.items() if slot[:3] == chooser and own.values.any()]
        among = sum(slot[:3] == chooser for slot in offsets)
        assert len(moved) in (1, among - 1) and len(set(moved)) == 1


def test_a_loaded_checkpoint_predicts_what_the_probes_scored(jets: MaseDataModule, tmp_path: Path) -> None:
    training = trained(jets)
    scores, tensors = training.probe()
    model = get_model("jsc-mlp")
    model.load_state_dict({name: tensors[name] for name in model.state_dict()})
    note(model, None, format_notes(training.offsets_in(tensors)))
    save_weights(model, tmp_path / "best.safetensors")
    loaded = get_model("jsc-mlp")
    load_weights(loaded, tmp_path / "best.safetensors")
    graph = traced(loaded, jets)
    calibrate(graph, Few(jets, 2000), training.space.calibration_rows or 512)
    narrowest = narrowest_plan(training.space)
    graph.apply_plan(narrowest)
    batches = list(Few(jets, 2000).batches("val"))
    found = score(*predict(graph.model, batches), num_classes=5)
    assert scores.values[1] == pytest.approx(found["accuracy"], abs=1e-12)
    shared = MaseGraph(loaded)
    shared.choice_offsets = ChoiceOffsets()
    calibrate(shared, Few(jets, 2000), 512)
    shared.apply_plan(narrowest)
    assert not torch.equal(shared.model(batches[0][0]), graph.model(batches[0][0]))
    graph.export(tmp_path / "graph.mz", {"model": "jsc-mlp"})
    again = MaseGraph.from_checkpoint(tmp_path / "graph.mz", get_model("jsc-mlp"))
    x = batches[0][0]
    assert torch.equal(again.model(x), graph.model(x))


def test_the_evaluator_has_the_weights_of_each_format_where_prefixes_are_shared(jets: MaseDataModule) -> None:
    space = space_of(nn.Sequential(nn.Linear(16, 5)), jets)
    slots = TrainedOffsets(space.graph, space.possible_formats(), widest_plan(space), "cpu").parameters
    torch.manual_seed(1)
    space.graph.choice_offsets = ChoiceOffsets(
        {slot: MeasuredTensor(0.3 * torch.randn_like(own)) for slot, own in slots.items()}
    )
    calibrate(space.graph, jets, 512)
    batches = list(jets.batches("val", 300))
    evaluator = Evaluator(space.graph, space.axes(), batches)
    codes = np.arange(space.size).reshape(-1, 1)
    measure = WholePredictions(evaluator.targets, lambda found, targets: {"": 0.0}, evaluator.program.example, [""])
    evaluator.run_sorted(codes, [measure])
    runner = PlanRunner(space.graph, batches)
    wanted = [runner.predictions(space.plan(space.point(index))) for index in range(space.size)]
    torch.testing.assert_close(measure.predictions, torch.stack(wanted))
    assert len({own.numpy().tobytes() for own in wanted}) == space.size > 5


def noted() -> tuple[nn.Module, FormatNotes]:
    notes = format_notes(offsets_of({("weight", "weight", NARROW): torch.ones(2, 3)}))
    assert notes is not None
    return Net(), notes


def test_offsets_are_forgotten_when_the_weights_change() -> None:
    model, notes = noted()
    note(model, None, notes)
    assert format_notes_on(model) == notes
    with torch.no_grad():
        model.fc.bias.add_(1.0)
    assert format_notes_on(model) is None


def test_a_graph_of_a_model_keeps_its_offsets_and_changed_weights_lose_them_with_a_warning(
    jets: MaseDataModule, caplog: pytest.LogCaptureFixture
) -> None:
    _, tensors = (training := trained(jets)).probe()
    model = get_model("jsc-mlp")
    model.load_state_dict({name: tensors[name] for name in model.state_dict()})
    note(model, None, format_notes(training.offsets_in(tensors)))
    own = traced(model, jets).choice_offsets
    assert own.values
    plain = module_of(MaseGraph(model))
    through_a_graph = traced(plain, jets).choice_offsets
    assert own.values.keys() == through_a_graph.values.keys()
    assert "have changed since" not in caplog.text
    next(plain.parameters()).data *= 1.0001
    assert not traced(plain, jets).choice_offsets.values
    assert "the weights have changed since their training for a search space" in caplog.text


def test_quantising_by_hand_takes_the_weights_of_the_format() -> None:
    model, notes = noted()
    note(model, None, notes)
    graph, x = MaseGraph(model), torch.randn(5, 3)
    fixed = {"name": "integer", "weight_width": 2, "weight_frac_width": "auto"}
    quantize_transform_pass(graph, {"by": "name", "fc": {"config": fixed}})
    weight = NARROW.calibrated(moved := model.fc.weight + 1.0).quantize(moved)
    torch.testing.assert_close(graph.model(x), nn.functional.linear(x, weight, model.fc.bias))
    copied = copy.deepcopy(graph)
    assert torch.equal(copied.model(x), graph.model(x))


def test_a_graph_keeps_offsets_that_its_tracing_renames_and_a_file_of_other_weights_drops_them(tmp_path: Path) -> None:
    class WithUnused(Net):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(2, 2)

    model, notes = WithUnused(), noted()[1]
    note(model, None, notes)
    graph = MaseGraph(nn.DataParallel(model))
    assert "unused.weight" not in graph.model.state_dict() and graph.choice_offsets.values
    assert MaseGraph(module_of(graph)).choice_offsets == graph.choice_offsets
    same, other = tmp_path / "same.mz", tmp_path / "other.mz"
    graph.export(same)
    graph.model.fc.weight.data *= 2
    graph.export(other)
    assert MaseGraph.from_checkpoint(same, model).choice_offsets.values
    assert not MaseGraph.from_checkpoint(other, model).choice_offsets.values


def test_offsets_that_are_all_zero_are_not_written() -> None:
    assert format_notes(offsets_of({("weight", "weight", NARROW): torch.zeros(2, 3)})) is None


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"node": "fc"', '"node": "gone"', "node 'gone', weight, which do not fit"),
        ('"operand": "weight"', '"operand": "bias"', "node 'fc', bias, which do not fit"),
        ('"chop_measured.0"', '"chop_measured.7"', "cannot be read"),
        ('"integer"', '"no-such-format"', "cannot be read"),
        ("[{", "{", "cannot be read"),
    ],
)
def test_offsets_that_cannot_be_those_of_the_model_are_refused(old: str, new: str, told: str) -> None:
    model, notes = noted()
    changed = FormatNotes(notes.entries.replace(old, new), notes.tensors)
    assert changed != notes
    with pytest.raises(CheckpointError, match=told):
        noted_offsets(changed, MaseGraph(model))
    assert json.loads(notes.entries) and noted_offsets(notes, MaseGraph(model)).values


def test_scales_are_not_moved_between_weights_that_belong_to_formats() -> None:
    model, notes = noted()
    note(model, None, notes)
    few = {"x": torch.randn(2, 3)}
    told = "trained for a search space, with weights and ranges for each format"
    with pytest.raises(PassError, match=f"equalise: the weights were {told}"):
        equalise_transform_pass(MaseGraph(model), {"dummy_in": few, "show": False})
    with pytest.raises(PassError, match=f"migrate_scales: the weights were {told}"):
        migrate_scales_transform_pass(MaseGraph(model), {"dummy_in": few, "input_generator": [few], "show": False})


def test_networks_with_batch_norms_and_weights_that_are_read_twice_have_no_offsets(jets: MaseDataModule) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 5)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.second(self.first(x)))

    def slots(model: nn.Module) -> set[tuple[str, str]]:
        space = space_of(model.eval(), Few(jets))
        offsets = TrainedOffsets(space.graph, space.possible_formats(), widest_plan(space), "cpu")
        return {(slot.node, slot.operand) for slot in offsets.parameters}

    assert slots(nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))) == set()
    assert slots(Twice()) == {("first", "bias"), ("second", "bias"), ("last", "weight"), ("last", "bias")}
