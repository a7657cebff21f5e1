"""Files of weights: their kind is found out, misfits are listed, nothing in them runs."""

from __future__ import annotations

import logging
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import chop.models
from chop.errors import CheckpointError
from chop.models import get_model
from chop.models.checkpoint import load_weights, save_weights
from chop.models.checkpoint_file import GRAPH_KEY, graph_notes, read_checkpoint, save_tensors

from .flipped_bits import count_flipped_bits, with_flipped_bit


def lightning_like(model: nn.Module, **extra: Any) -> dict[str, Any]:
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    return {"pytorch-lightning_version": "2.6", "epoch": 3, "state_dict": state | extra, "optimizer_states": []}


def write(kind: str, model: nn.Module, folder: Path) -> Path:
    path = folder / f"weights.{kind}"
    if kind == "ckpt":
        torch.save(lightning_like(model), path)
    elif kind == "pt":
        torch.save(model.state_dict(), path)
    elif kind == "old":
        torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)
    elif kind == "parallel":
        torch.save({f"module.{name}": tensor for name, tensor in model.state_dict().items()}, path)
    elif kind == "nested":
        torch.save({"state_dict": model.state_dict(), "epoch": 1}, path)
    elif kind == "safetensors":
        save_weights(model, path)
    elif kind == "hf":
        save_weights(model, path / "model.safetensors")
    return path


KINDS = {
    "ckpt": "pl", "pt": "pt", "old": "pt", "parallel": "pt", "nested": "pt", "safetensors": "safetensors", "hf": "hf",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_found_out_and_loaded(kind: str, tmp_path: Path) -> None:
    source, target = get_model("jsc-toy"), get_model("jsc-toy")
    checkpoint = load_weights(target, write(kind, source, tmp_path))
    assert checkpoint.kind == KINDS[kind]
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def test_the_name_of_a_file_says_nothing(tmp_path: Path) -> None:
    source = get_model("toy")
    path = write("safetensors", source, tmp_path).rename(tmp_path / "weights.ckpt")
    assert read_checkpoint(path).kind == "safetensors"


def test_a_saved_graph_is_known_by_its_notes(tmp_path: Path) -> None:
    path = save_tensors({"w": torch.ones(2)}, tmp_path / "graph", {GRAPH_KEY: '{"nodes": []}'})
    checkpoint = read_checkpoint(path)
    assert checkpoint.kind == "mz"
    assert graph_notes(checkpoint) == {"nodes": []}
    with pytest.raises(CheckpointError, match="no saved graph"):
        graph_notes(read_checkpoint(save_tensors({"w": torch.ones(2)}, tmp_path / "plain")))


def test_equal_tensors_and_notes_make_equal_files_in_whatever_order_the_notes_come(tmp_path: Path) -> None:
    notes = {f"note {number}é": "x" * number for number in range(8)}
    state = {"b": torch.arange(3.0), "a": torch.ones(2, dtype=torch.int64)}
    first = save_tensors(state, tmp_path / "1.safetensors", notes).read_bytes()
    for number in range(5):
        again = save_tensors(state, tmp_path / "2.safetensors", dict(reversed(notes.items())))
        assert again.read_bytes() == first, number
    read = read_checkpoint(tmp_path / "2.safetensors")
    assert read.metadata == notes and read.has_checksum
    assert all(torch.equal(read.state_dict[name], tensor) for name, tensor in state.items())


def test_a_wrappers_own_tensors_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, target = get_model("toy"), get_model("toy")
    torch.save(lightning_like(source, **{"loss.weight": torch.ones(2)}), tmp_path / "a.ckpt")
    with caplog.at_level(logging.INFO, "chop"):
        load_weights(target, tmp_path / "a.ckpt")
    assert torch.equal(source.fc_in.weight, target.fc_in.weight)
    assert "left out: loss.weight" in caplog.text


def test_a_model_whose_names_look_like_a_wrappers(tmp_path: Path) -> None:
    inner = nn.ModuleDict({"model": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    for number, state in enumerate((inner.state_dict(), lightning_like(inner))):
        torch.save(state, tmp_path / f"{number}.pt")
        target = nn.ModuleDict({"model": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
        load_weights(target, tmp_path / f"{number}.pt")
        assert torch.equal(target["model"].weight, inner["model"].weight)


def test_a_misfit_lists_the_keys_and_names_the_model_that_fits(tmp_path: Path) -> None:
    path = write("ckpt", get_model("jsc-toy"), tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_weights(get_model("jsc-tiny"), path)
    text = str(caught.value)
    assert "another shape: seq_blocks.2.weight is (8, 16), the model has (5, 16)" in text
    assert "unexpected: seq_blocks.3.weight (8,)" in text
    assert text.splitlines()[0].endswith("does not fit the model; it fits the model jsc-toy:")


def test_a_refused_file_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = get_model("jsc-tiny")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = dict(get_model("jsc-tiny").state_dict(), further=torch.ones(1))
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="unexpected: further"):
        load_weights(model, tmp_path / "a.pt")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_contradicted_load_type_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write("ckpt", get_model("toy"), tmp_path)
    with caplog.at_level(logging.WARNING, "chop"):
        load_weights(get_model("toy"), path, load_type="pl")
        assert not caplog.records
        load_weights(get_model("toy"), path, load_type="mz")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is a Lightning checkpoint" in caplog.text


class Hostile:
    """Unpickling it would run a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return subprocess.check_call, (["touch", str(self.marker)],)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"state_dict": {"w": torch.ones(1)}, "callbacks": x}])
@pytest.mark.parametrize("save", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_hostile_files_are_refused_and_run_nothing(tmp_path: Path, wrap: Any, save: Any) -> None:
    path, marker = tmp_path / "evil.ckpt", tmp_path / "marker"
    save(wrap(Hostile(marker)), path)
    with pytest.raises(CheckpointError, match="refused"):
        read_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["ckpt", "pt", "safetensors"])
@pytest.mark.parametrize("keep", [0, 5, 20, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, keep: float) -> None:
    path = write(kind, get_model("toy"), tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], torch.ones(3), {}])
def test_files_that_hold_no_weights(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_checkpoint(tmp_path / "a.pt")


def test_other_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("{not weights, but it begins with a brace}", encoding="utf-8")
    for path, message in (
        (tmp_path / "notes.txt", "is no file of weights"),
        (tmp_path, "has no model"),
        (tmp_path / "x", "does not exist"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(path)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("safetensors", get_model("toy"), tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_weights(get_model("toy"), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_flipped_bits_are_refused_or_change_no_weight_in_files_that_chop_writes() -> None:
    for _, tried, right, refused, wrong in count_flipped_bits(tries=20):
        assert (right + refused, wrong) == (tried, 0)


@pytest.mark.parametrize("kind", ["ckpt", "pt", "safetensors", "hf"])
def test_no_flipped_bit_loads_other_weights(tmp_path: Path, kind: str) -> None:
    source = get_model("toy")
    written = write(kind, source, tmp_path)
    path = written / "model.safetensors" if kind == "hf" else written
    bits = 8 * path.stat().st_size
    refused = 0
    for at in range(3, bits, bits // 150):
        target = get_model("toy")
        try:
            load_weights(target, with_flipped_bit(path, at))
        except CheckpointError:
            refused += 1
            continue
        assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
    assert refused > 75  # the rest are fields of the archive that no reader uses


def test_files_without_a_checksum_are_loaded_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = get_model("toy")
    save_file(source.state_dict(), tmp_path / "foreign.safetensors")
    for path in (tmp_path / "foreign.safetensors", write("old", source, tmp_path)):
        caplog.clear()
        with caplog.at_level(logging.INFO, "chop"):
            load_weights(get_model("toy"), path)
        assert "damaged values cannot be noticed" in caplog.text


def test_weights_that_ship_hold_a_checksum() -> None:
    files = list(Path(chop.models.__path__[0], "weights").glob("*.safetensors"))
    assert len(files) >= 6
    assert all(read_checkpoint(path).has_checksum for path in files)


def test_a_torchscript_archive_is_refused_with_a_cure(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "a.pt"))
    with pytest.raises(CheckpointError, match="TorchScript archive"):
        read_checkpoint(tmp_path / "a.pt")
