"""`ch train --for-space --resume`: what it must share with the training that it goes on with, and what it restores."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import chop
from chop.errors import CheckpointError, ChopError
from chop.models import get_model
from chop.models.checkpoint_file import read_checkpoint
from chop.report.training_progress import TrainingProgress
from chop.training.probes import ProbeScores
from chop.training.space_files import SpaceFiles
from tests.actions.test_space_training import OPTIONS, SPACE, best_of
from tests.conftest import Command


def trained(folder: Path, **options: Any) -> Any:
    given = {**OPTIONS, "max_epochs": 3, **options}
    return chop.train_for_space(get_model("toy", pretrained=True), "toy_tiny", folder=folder, **given)


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a training that was interrupted after its first epoch."""

    def on_step(self: TrainingProgress, epoch: int, step: int) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "on_step", on_step)
        trained(tmp_path / "own", space=chop.Space(**SPACE))
    return tmp_path / "own"


def test_a_key_of_the_space_that_has_changed_is_refused(interrupted: Path) -> None:
    with pytest.raises(ChopError, match=r"calibration_samples 512 \(now 8\)"):
        trained(interrupted, space=chop.Space(**SPACE, calibration_samples=8), resume=True)


def test_the_order_of_choices_decides_nothing(interrupted: Path, tmp_path: Path) -> None:
    reordered = {key: values[::-1] for key, values in SPACE.items()}
    unbroken = trained(tmp_path / "whole", space=chop.Space(**SPACE))
    resumed = trained(interrupted, space=chop.Space(**reordered), resume=True)
    assert resumed.notes == unbroken.notes
    for file in ("best.safetensors", "state.safetensors"):
        assert (interrupted / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    again = trained(tmp_path / "reordered", space=chop.Space(**reordered))
    assert again.notes == unbroken.notes and again.history == unbroken.history
    options = {"strategy": "brute_force", "objectives": ["loss"], "num_samples": 100}
    study = chop.search(again.model, "toy_tiny", chop.Space(**reordered), **options)
    assert "a training for this search space" in study.summary.origin.training


def test_a_damaged_state_tells_how_to_start_anew_and_that_works(interrupted: Path) -> None:
    state = interrupted / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-9])
    told = (
        r"state.safetensors is damaged: start anew without resume=True \(from the best weights with weights=\"(.*)\"\)$"
    )
    with pytest.raises(CheckpointError, match=told) as error:
        trained(interrupted, space=chop.Space(**SPACE), resume=True)
    found = re.search(told, str(error.value))
    assert found is not None
    anew = chop.train_for_space("toy", "toy_tiny", chop.Space(**SPACE), weights=found[1], folder=interrupted, **OPTIONS)
    assert anew.notes.epochs == OPTIONS["max_epochs"] and SpaceFiles(interrupted).holds_training


def test_another_loss_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 4)
    data = (x, x.sum(1, keepdim=True))

    def train(loss: Any, **more: Any) -> None:
        space = chop.Space(["integer"], [3, 8])
        model = nn.Linear(4, 1)
        nn.init.ones_(model.weight), nn.init.zeros_(model.bias)
        chop.train_for_space(model, data, space, loss=loss, folder=tmp_path / "own", max_epochs=1, probes=3, **more)

    train(nn.functional.l1_loss)
    with pytest.raises(ChopError, match="user_code"):
        train(nn.functional.smooth_l1_loss, resume=True)


def test_keys_that_say_how_choices_are_written_may_change(config: Path, ch: Command) -> None:
    command = ["train", "--config", str(config), "--pretrained", "--for-space", "--max-epochs", "1"]
    ch(*command)
    ch(*command, "--resume", "--set", 'search_space.setup.exclude=["relu"]')


@pytest.mark.parametrize("epochs", [1, 2])
def test_the_best_weights_are_written_again_where_they_are_those_of_the_state(
    tmp_path: Path, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epoch 1 of 1 is the best; of two epochs none is, so that the best one is epoch 0."""
    monkeypatch.setattr(ProbeScores, "is_better", lambda self, other: epochs == 1)
    folder = tmp_path / "own"
    first = trained(folder, space=chop.Space(**SPACE), max_epochs=epochs)
    assert first.epoch == (epochs == 1)
    best = folder / "best.safetensors"
    before = read_checkpoint(best)
    best.unlink()
    again = trained(folder, space=chop.Space(**SPACE), max_epochs=epochs, resume=True)
    after = read_checkpoint(best)
    assert after.metadata == before.metadata and again.notes == first.notes
    assert all(torch.equal(own, after.state_dict[name]) for name, own in before.state_dict.items())


def test_best_weights_that_cannot_be_restored_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first epoch is the best, the state has the second, and the file has the best weights of another training."""
    folder, space = tmp_path / "own", chop.Space(**SPACE)
    with monkeypatch.context() as patch:
        better = iter([True, False])
        patch.setattr(ProbeScores, "is_better", lambda self, other: next(better))
        assert trained(folder, space=space, max_epochs=2).epoch == 1
    trained(tmp_path / "other", space=space, max_epochs=1, seed=1)
    shutil.copy(tmp_path / "other" / "best.safetensors", folder / "best.safetensors")
    with pytest.raises(CheckpointError, match=r"weights of epoch 1, is missing, or not of this training"):
        trained(folder, space=space, max_epochs=2, resume=True)


def test_a_training_goes_on_that_was_killed_between_the_files_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs 1 and 3 are better. The file has epoch 3 already, the state epoch 2, and epoch 1 is nowhere."""
    folder, space = tmp_path / "own", chop.Space(**SPACE)
    monkeypatch.setattr(ProbeScores, "is_better", lambda self, other: next(better))
    write, kept = SpaceFiles.write_state, []

    def write_three(self: SpaceFiles, *given: Any) -> None:
        kept.append(given)
        if len(kept) == 4:  # of epoch 3: the first is before the training
            raise KeyboardInterrupt
        write(self, *given)

    better = iter([True, False, True])
    with monkeypatch.context() as patch:
        patch.setattr(SpaceFiles, "write_state", write_three)
        trained(folder, space=space)
    better = iter([True])
    assert trained(folder, space=space, resume=True).epoch == 3


def test_a_greater_patience_goes_on_and_an_end_by_patience_is_told(config: Path, tmp_path: Path, ch: Command) -> None:
    command = ["train", "--config", str(config), "--pretrained", "--for-space", "--learning-rate", "900"]
    out, err = ch(*command, "--max-epochs", "3", "--patience", "1")
    said = " ".join(out.split())
    assert "1 of 3 epochs are done, epoch 0 is the best" in said
    assert "not improved for 1 epoch (patience); to train further: the same command with --resume and a larger" in said
    assert "or more patience" in " ".join(err.split())
    out, _ = ch(*command, "--max-epochs", "3", "--patience", "3", "--resume")
    assert "3 of 3 epochs are done" in " ".join(out.split()) and "patience" not in out


def test_weights_that_no_epoch_improved_are_not_called_trained(config: Path, tmp_path: Path, ch: Command) -> None:
    ch("train", "--config", str(config), "--pretrained", "--for-space", "--learning-rate", "900")
    out, _ = ch("info", str(best_of(tmp_path)))
    assert "the weights before the training" in " ".join(out.split())
    ch("search", "--config", str(config), "--load", str(best_of(tmp_path)), "--n-trials", "2")
    report = (tmp_path / "mase_output" / "p" / "software" / "search_ckpts" / "report.md").read_text(encoding="utf-8")
    assert "those before a training for this search space, none of whose epochs was better" in report
    assert "were trained" not in report


def norms() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))


@pytest.mark.parametrize(("batch_norm", "is_told"), [("float", True), ("measured", False)])
def test_a_search_with_statistics_of_float_after_a_training_tells_the_cure(
    tmp_path: Path, batch_norm: str, is_told: bool
) -> None:
    torch.manual_seed(0)
    x = torch.randn(300, 8)
    data = (x, x[:, :3].argmax(1))
    space = {"formats": ["integer"], "widths": [3, 6]}
    measured = chop.Space(**space, batch_norm="measured")
    result = chop.train_for_space(norms(), data, measured, max_epochs=3, probes=3, learning_rate=0.05)
    assert result.epoch and result.notes.measured_norms
    own = chop.Space(**space, batch_norm=batch_norm)
    study = chop.search(result.model, data, own, objectives=["loss"], strategy="brute_force", n_trials=2)
    cure = 'write batch_norm = "measured"'
    assert (cure in study.summary.origin.training) == is_told
    assert any(cure in warning for warning in study.warnings) == is_told
    if is_told:
        learned = chop.search(
            result.model, data, own, objectives=["loss"], strategy="gradient",
            strategy_options={"snapshots": 1, "epochs": 1, "train_weights": True},
        )  # fmt: skip
        (told,) = [warning for warning in learned.warnings if cure in warning]
        assert told.endswith(
            'to search points of the space, give "tensor" for weight_granularity and '
            "activation_granularity, without train_weights."
        )
