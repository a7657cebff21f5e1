"""`ch info FILE` says what a file of weights holds."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from chop.formats import Integer, MeasuredTensor
from chop.ir import MaseGraph, QuantPlan
from chop.ir.choice_offsets import ChoiceOffsets, OffsetSlot
from chop.ir.choice_ranges import ChoiceRanges, RangeSlot
from chop.ir.graph.format_notes_json import format_notes
from chop.models import get_model
from chop.models.checkpoint import save_weights
from chop.models.checkpoint_file import FORMAT_NOTES_KEY, save_tensors
from chop.models.weight_notes import TrainedForSpace, note
from tests.conftest import Command

NOTES = TrainedForSpace("0123456789abcdef", "6,561", 24, 19, "accuracy", 16, 0.5353, 0.6493, 3)


def trained(path: Path) -> Path:
    """Weights of jsc-tiny with an offset for one format of its layer."""
    model = get_model("jsc-tiny", pretrained=True)
    weight = model.state_dict()["seq_blocks.2.weight"]
    slot = OffsetSlot("seq_blocks_2", "weight", "weight", Integer(3, "auto"))
    note(model, NOTES, format_notes(ChoiceOffsets({slot: MeasuredTensor(torch.ones_like(weight))})))
    return save_weights(model, path, NOTES.as_metadata())


def test_weights_that_were_trained_for_a_space(ch: Command, tmp_path: Path) -> None:
    out, _ = ch("info", str(trained(tmp_path / "w.safetensors")), columns=200)
    for told in (
        "safetensors file", "jsc-tiny", "0123456789abcdef", "verified",
        "6,561 networks, epoch 19 of 24, seed 3: accuracy of 16 probe plans 0.5353 before, 0.6493 after",
    ):  # fmt: skip
        assert told in out
    (row,) = (line for line in out.splitlines() if "seq_blocks_2" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "seq_blocks_2", "weight", "weight", str(Integer(3, "auto")),
    ]  # fmt: skip


def test_a_saved_graph_and_weights_of_no_space(ch: Command, tmp_path: Path) -> None:
    graph = MaseGraph(get_model("jsc-tiny", pretrained=True))
    graph.apply_plan(QuantPlan.of({"seq_blocks_2": {"bias": Integer(5, 2)}}))
    graph.export(tmp_path / "[red].mz", {"model": "jsc-tiny", "task": "cls"})
    out, _ = ch("info", str(tmp_path / "[red].mz"), columns=300)
    assert "saved graph" in out and str(Integer(5, 2)) in out and "not named" in out and "[red].mz" in out
    torch.save({"ema": get_model("jsc-s").state_dict(), "x": torch.ones(2)}, tmp_path / "w.pt")
    out, _ = ch("info", str(tmp_path / "w.pt"), columns=200)
    assert "tensors of 'ema'" in out and "jsc-s" in out and "none: all formats share the weights" in out


def test_what_is_no_such_file_is_refused(ch: Command, tmp_path: Path) -> None:
    assert "none.safetensors does not exist" in ch("info", "none.safetensors", status=2)[1]
    (tmp_path / "text").write_text("text", encoding="utf-8")
    assert "text is no file of weights" in ch("info", str(tmp_path / "text"), status=2)[1]
    save_tensors({"w": torch.ones(1)}, tmp_path / "w.safetensors", {FORMAT_NOTES_KEY: json.dumps([{"node": "w"}])})
    assert "cannot be read" in ch("info", str(tmp_path / "w.safetensors"), status=2)[1]


def test_a_section_goes_before_a_file_of_its_name(ch: Command, tmp_path: Path) -> None:
    (tmp_path / "task").write_text("", encoding="utf-8")
    assert "Tasks" in ch("info", "task")[0]


def test_ranges_that_the_loss_has_chosen_are_shown_without_offsets(ch: Command, tmp_path: Path) -> None:
    model = get_model("jsc-s", pretrained=True)
    ranges = ChoiceRanges({RangeSlot("seq_blocks_2", "data_in", Integer(3, "auto")): Integer(3, 1)})
    note(model, NOTES, format_notes(ChoiceOffsets(), ranges))
    out, _ = ch("info", str(save_weights(model, tmp_path / "w.safetensors", NOTES.as_metadata())), columns=200)
    (row,) = (line for line in out.splitlines() if "seq_blocks_2" in line)
    assert str(Integer(3, "auto")) in row and str(Integer(3, 1)) in row
    assert "none: all formats share the weights" in out
