"""Ranges of activations that a training for a space chooses by its loss, one for each format."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from torch import nn

from chop.actions.calibration import calibrate
from chop.actions.setup import traced
from chop.config.space_training import SpaceTrainingOptions
from chop.dataset import MaseDataModule
from chop.errors import CheckpointError, PassError
from chop.formats import Format, Integer
from chop.ir import MaseGraph, QuantPlan
from chop.ir.choice_offsets import ChoiceOffsets
from chop.ir.choice_ranges import ChoiceRanges, RangeSlot
from chop.ir.graph.format_notes_json import format_notes, noted_ranges
from chop.models import get_model
from chop.models.checkpoint import load_weights, save_weights
from chop.models.weight_notes import FormatNotes, note
from chop.passes.graph.transforms.scales.equalise import equalise_transform_pass
from chop.training.for_space import SpaceTraining
from chop.training.space_plans import narrowest_plan
from chop.training.trained_ranges import PLANS_PER_RANGE, TrainedRanges
from tests.scores import predict, score
from tests.training.spaces import Few, data_module, space_of

WIDE, NARROW = Integer(8, "auto"), Integer(3, "auto")


@pytest.fixture(scope="module")
def jets() -> MaseDataModule:
    return data_module("jsc")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


def seen_graph() -> MaseGraph:
    graph = MaseGraph(Net())
    graph.calibrate({("fc", "data_in"): torch.tensor([[-1.9, 0.3, 1.9]])})
    return graph


def plan_of(act: Format, weight: Format = WIDE) -> QuantPlan:
    return QuantPlan.of({"fc": {"data_in": act, "weight": weight}})


def fraction(graph: MaseGraph, plan: QuantPlan) -> int:
    return graph.freeze(plan)["fc"]["data_in"].fractions[0]


def test_a_range_moves_by_one_where_the_loss_of_its_plans_falls_and_begins_with_what_the_rule_measures() -> None:
    graph = seen_graph()
    ranges = TrainedRanges(graph, {("fc", "data_in"): [WIDE, NARROW], ("fc", "weight"): [WIDE]})
    plans = [plan_of(WIDE), plan_of(NARROW)]
    assert [fraction(graph, plan) for plan in plans] == [6, 1]
    for wanted in (2, 3, 3):
        ranges.choose(plans, lambda plan: abs(fraction(graph, plan) - (6 if plan == plans[0] else 3)), random.Random(0))
        assert [fraction(graph, plan) for plan in plans] == [6, wanted]
    again = TrainedRanges(other := seen_graph(), {("fc", "data_in"): [WIDE, NARROW]})
    again.load(ranges.tensors())
    assert [fraction(other, plan) for plan in plans] == [6, 3]
    assert again.among({}) == ChoiceRanges()
    continued = TrainedRanges(graph, {("fc", "data_in"): [NARROW]})
    assert [*continued.among(continued.tensors()).values] == [RangeSlot("fc", "data_in", NARROW)]


def layers(count: int) -> MaseGraph:
    graph = MaseGraph(nn.Sequential(*(nn.Linear(3, 3) for _ in range(count))))
    graph.calibrate({(f"_{place}", "data_in"): torch.tensor([[-1.9, 0.3, 1.9]]) for place in range(count)})
    return graph


def plan_of_layers(*acts: Format, weight: int = 8) -> QuantPlan:
    return QuantPlan.of({f"_{place}": {"data_in": act, "weight": Integer(weight, 4)} for place, act in enumerate(acts)})


def fractions(graph: MaseGraph, plan: QuantPlan) -> list[int]:
    frozen = graph.freeze(plan)
    return [frozen[node]["data_in"].fractions[0] for node, _ in plan.choices]


def test_a_loss_is_measured_again_once_a_range_of_its_plan_has_moved() -> None:
    """The last plan decides on its wide ranges, not on the narrow one that it shares, whose move lowers its loss."""
    graph = layers(3)
    ranges = TrainedRanges(graph, {(f"_{place}", "data_in"): [WIDE, NARROW] for place in range(3)})
    deciding = [plan_of_layers(NARROW, NARROW, NARROW, weight=weight) for weight in range(2, 2 + PLANS_PER_RANGE)]
    last = plan_of_layers(WIDE, NARROW, WIDE)
    best = {plan: [1, 2, 1] for plan in deciding} | {last: [6, 2, 6]}
    assert [fractions(graph, plan) for plan in (deciding[0], last)] == [[1, 1, 1], [6, 1, 6]]

    def loss_of(plan: QuantPlan) -> float:
        steps = [abs(found - wanted) for found, wanted in zip(fractions(graph, plan), best[plan], strict=True)]
        return steps[0] + 10 * steps[1] + steps[2]

    ranges.choose([*deciding, last], loss_of, random.Random(0))
    assert all(fractions(graph, plan) == wanted for plan, wanted in best.items())


def test_each_plan_is_measured_once_under_the_same_ranges_and_no_more_of_them_than_decide() -> None:
    graph, measured = layers(2), list[QuantPlan]()
    ranges = TrainedRanges(graph, {(f"_{place}", "data_in"): [NARROW] for place in range(2)})
    plans = [plan_of_layers(NARROW, NARROW, weight=weight) for weight in range(2, 4 + PLANS_PER_RANGE)]

    def loss_of(plan: QuantPlan) -> float:
        measured.append(plan)
        return 1.0

    ranges.choose(plans, loss_of, random.Random(0))
    assert measured == (1 + 2 * 2) * plans[:PLANS_PER_RANGE]


def test_activations_in_fixed_point_with_a_measured_range_have_one() -> None:
    formats = {("fc", "data_in"): [WIDE, Integer(4, 2), Integer(4, "auto", granularity="channel")]}
    ranges = TrainedRanges(seen_graph(), {**formats, ("fc", "weight"): [WIDE], ("fc", "bias"): [WIDE]})
    assert ranges.slots == [RangeSlot("fc", "data_in", WIDE)]


def trained(jets: MaseDataModule, model: str) -> SpaceTraining:
    few = Few(jets, 2000)
    lists = {"name": ["integer"], "data_in_width": [3, 8], "data_in_frac_width": ["auto"], "weight_width": [4, 8]}
    space = space_of(get_model(model, pretrained=True), few, {**lists, "weight_frac_width": ["auto"]})
    training = SpaceTraining(space, few, SpaceTrainingOptions(max_epochs=2, probes=3, batch_size=256))
    for epoch in range(2):
        training.train_epoch(epoch)
    return training


def test_a_loaded_checkpoint_has_the_ranges_that_the_probes_were_scored_with(
    jets: MaseDataModule, tmp_path: Path
) -> None:
    training = trained(jets, "jsc-mlp")
    scores, tensors = training.probe()
    chosen = training.ranges_in(tensors)
    assert {slot.chosen.width for slot in chosen.values} == {3, 8}
    model = get_model("jsc-mlp")
    model.load_state_dict({name: tensors[name] for name in model.state_dict()})
    note(model, None, format_notes(training.offsets_in(tensors), chosen))
    save_weights(model, tmp_path / "best.safetensors")
    loaded = get_model("jsc-mlp")
    load_weights(loaded, tmp_path / "best.safetensors")
    graph = traced(loaded, jets)
    assert graph.choice_ranges == chosen
    calibrate(graph, Few(jets, 2000), training.space.calibration_rows or 512)
    graph.apply_plan(narrowest_plan(training.space))
    found = score(*predict(graph.model, list(Few(jets, 2000).batches("val"))), num_classes=5)
    assert scores.values[1] == pytest.approx(found["accuracy"], abs=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"node": "fc"', '"node": "gone"', "node 'gone', data_in, which do not fit"),
        ('"operand": "data_in"', '"operand": "weight"', "node 'fc', weight, which do not fit"),
        ('"frac_width": 2', '"frac_width": 2000', "cannot be read"),
        ('"frac_width": 2', '"frac_width": "auto"', "cannot be read"),
        ('"integer"', '"no-such-format"', "cannot be read"),
    ],
)
def test_ranges_that_cannot_be_those_of_the_model_are_refused(old: str, new: str, told: str) -> None:
    ranges = ChoiceRanges({RangeSlot("fc", "data_in", NARROW): Integer(3, 2)})
    notes = format_notes(ChoiceOffsets(), ranges)
    assert notes is not None
    changed = FormatNotes(notes.entries.replace(old, new), notes.tensors)
    assert changed != notes and json.loads(changed.entries)
    with pytest.raises(CheckpointError, match=told):
        noted_ranges(changed, MaseGraph(Net()))
    assert noted_ranges(notes, MaseGraph(Net())) == ranges


def test_scales_are_not_moved_where_formats_have_ranges_of_their_own() -> None:
    graph = MaseGraph(Net())
    graph.choice_ranges = ChoiceRanges({RangeSlot("fc", "data_in", NARROW): Integer(3, 2)})
    with pytest.raises(PassError, match="with weights and ranges for each format"):
        equalise_transform_pass(graph, {"dummy_in": {"x": torch.randn(2, 3)}, "show": False})
