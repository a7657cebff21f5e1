"""`ch train --for-space`, from the command line and from Python: what it writes, refuses, and says in later reports."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import chop
from chop.errors import ChopError, ConfigError, FolderError
from chop.models import get_model
from chop.models.checkpoint_file import read_checkpoint, save_tensors
from chop.models.weight_notes import TrainedForSpace, note, notes_on
from chop.training.probes import ProbeScores
from chop.training.space_files import SpaceFiles
from tests.actions.conftest import TOML
from tests.conftest import Command


@pytest.fixture
def better_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each epoch counts as the best so far, whatever a few probes on few samples score."""
    monkeypatch.setattr(ProbeScores, "is_better", lambda self, other: True)


def best_of(folder: Path) -> Path:
    return folder / "mase_output" / "p" / "software" / "training_ckpts" / "best.safetensors"


def test_random_weights_are_told_with_the_teacher_that_they_make(
    config: Path, ch: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = ch("train", "--config", str(config), "--for-space", "--max-epochs", "1")
    said = " ".join(err.split())
    assert "the weights are random, and the training begins with them: 50 % of its loss is on the outputs" in said
    data, space = (torch.randn(40, 16), torch.arange(40) % 5), chop.Space(["integer"], [4, 8])
    chop.train_for_space("jsc-tiny", data, space, max_epochs=1, probes=2, teacher_share=0.0)
    said = " ".join(capsys.readouterr().err.split())
    assert "the weights of 'jsc-tiny' are random, and the training begins with them: give pretrained=True" in said


@pytest.mark.usefixtures("better_each_epoch")
def test_a_search_with_the_checkpoint_says_that_its_weights_were_trained_for_the_space(
    config: Path, tmp_path: Path, ch: Command
) -> None:
    out, err = ch("train", "--config", str(config), "--pretrained", "--for-space")
    assert "before training: accuracy of 3 probes" in " ".join(err.split())
    assert "next:   ch search --config space.toml --load mase_output/p/software/training_ckpts/best" in out
    ch("search", "--config", str(config), "--load", str(best_of(tmp_path)))
    report = (tmp_path / "mase_output" / "p" / "software" / "search_ckpts" / "report.md").read_text(encoding="utf-8")
    notes = TrainedForSpace.from_metadata(read_checkpoint(best_of(tmp_path)).metadata)
    assert notes is not None and (notes.epoch, notes.epochs) == (2, 2)
    assert "The weights were trained for this search space (64 networks, epoch 2 of 2): accuracy of 3 probe" in report


def test_wrong_options_are_refused_at_once_with_their_places(config: Path, ch: Command) -> None:
    config.write_text(
        TOML.replace("probes = 3", 'probes = 1\nplans_per_stp = 2\nteacher_share = "all"'), encoding="utf-8"
    )
    _, said = ch("train", "--config", str(config), "--for-space", "--plans-per-step", "0", status=2)
    for told in (
        "space.toml:8: train_for_space.probes: expected greater than or equal to 2",
        "unknown key; did you mean 'plans_per_step'?",
        "train_for_space.teacher_share: expected",
        "command line: --plans-per-step: train_for_space.plans_per_step: expected greater than or equal to 1, got 0",
    ):
        assert told in " ".join(said.split()), told


@pytest.mark.parametrize("command", [["search"], ["train"], ["train", "--for-space"]])
def test_the_table_is_checked_by_every_command_before_anything_is_loaded(
    config: Path, ch: Command, command: list[str]
) -> None:
    config.write_text(
        TOML.replace("probes = 3", "probes = -6").replace('"toy_tiny"', '"not-a-data-set"'), encoding="utf-8"
    )
    _, said = ch(*command, "--config", str(config), "--pretrained", status=2)
    said = " ".join(said.split())
    assert "space.toml:8: train_for_space.probes: expected greater than or equal to 2" in said
    assert "not-a-data-set" in said and "INFO" not in said


def test_a_training_that_brings_nothing_is_told(config: Path, ch: Command) -> None:
    out, err = ch("train", "--config", str(config), "--pretrained", "--for-space", "--learning-rate", "900")
    assert "no epoch was better than the weights before the training" in " ".join(err.split())
    assert "2 of 2 epochs are done, epoch 0 is the best" in " ".join(out.split())


def test_ctrl_c_tells_how_to_go_on(config: Path, ch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from chop.report.training_progress import TrainingProgress

    def on_step(self: TrainingProgress, epoch: int, step: int) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingProgress, "on_step", on_step)
    out, _ = ch("train", "--config", str(config), "--pretrained", "--for-space", status=130)
    said = " ".join(out.split())
    assert "interrupted: 1 of 2 epochs are done" in said and "the same command with --resume" in said


def test_options_of_a_space_need_for_space_and_a_file(ch: Command) -> None:
    assert "--probes goes with --for-space" in ch("train", "toy", "toy_tiny", "--probes", "4", status=2)[1]
    assert "[search.search_space]" in ch("train", "toy", "toy_tiny", "--for-space", status=2)[1]


def test_there_must_be_a_training_to_resume(config: Path, tmp_path: Path, ch: Command) -> None:
    _, said = ch("train", "--config", str(config), "--pretrained", "--for-space", "--resume", status=2)
    assert "there is no training to resume" in " ".join(said.split())
    assert list(tmp_path.iterdir()) == [config]


@pytest.mark.usefixtures("better_each_epoch")
def test_the_next_command_runs_as_it_is_printed(config: Path, tmp_path: Path, ch: Command) -> None:
    """From another folder than the file's, with values of the command line, and with a project of its own."""
    (tmp_path / "own files").mkdir()
    file = config.rename(tmp_path / "own files" / "space.toml")
    value = "search_space.seed.linear.config.weight_width=[3, 5]"
    options = ("--pretrained", "--max-epochs", "1", "--project", "other", "--seed", "3")
    out, _ = ch("train", "--config", str(file), "--for-space", *options, "--set", value)
    printed = next(line for line in out.splitlines() if line.startswith("next:"))
    _, command, *words = shlex.split(printed.removeprefix("next:"))
    assert "own files/space.toml" in words and "--max-epochs" not in words
    ch(command, *words, "--n-trials", "1")
    report = tmp_path / "mase_output" / "other" / "software" / "search_ckpts" / "report.md"
    assert "this search space (64 networks, epoch 1 of 1" in report.read_text(encoding="utf-8")


def test_options_of_the_float_training_are_refused(config: Path, ch: Command) -> None:
    typed = ("--max-steps", "3", "--training-optimizer", "sgd", "--profile", "--report-to", "tensorboard", "--gpu", "2")
    _, said = ch("train", "--config", str(config), "--for-space", "--pretrained", *typed, status=2)
    for flag in (own for own in typed if own.startswith("--")):
        assert f"command line: {flag} has no effect with --for-space: leave it out" in said


def test_the_table_of_options_shows_those_of_the_training_for_a_space(config: Path, ch: Command) -> None:
    config.write_text("batch_size = 512\nmax_steps = 3\n" + TOML, encoding="utf-8")
    _, said = ch("train", "--config", str(config), "--for-space", "--pretrained", "--max-epochs", "1", "--probes", "2")
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()}
    assert rows["train_for_space.max_epochs"] == ["24", "2", "1"]
    assert rows["train_for_space.probes"] == ["16", "3", "2"]
    assert rows["train_for_space.probe_samples"] == ["100"]
    assert not rows.keys() & {"batch_size", "max_steps", "max_epochs"}


def test_a_killed_training_goes_on_to_the_bit(config: Path, tmp_path: Path, ch: Command) -> None:
    ch("train", "--config", str(config), "--pretrained", "--for-space", "--project", "whole")
    arguments = ["train", "--config", str(config), "--pretrained", "--for-space", "--project", "cut"]
    killed = subprocess.Popen(
        [sys.executable, "-c", KILL_IN_SECOND_EPOCH, *arguments],
        cwd=tmp_path,
        env={**os.environ},
        stderr=subprocess.PIPE,
    )
    _, said = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, said.decode()
    ch(*arguments, "--resume")
    files = [tmp_path / "mase_output" / name / "software" / "training_ckpts" for name in ("whole", "cut")]
    for name in ("best.safetensors", "state.safetensors"):
        whole, cut = (read_checkpoint(folder / name) for folder in files)
        assert whole.metadata == cut.metadata
        assert (files[0] / name).read_bytes() == (files[1] / name).read_bytes()
        assert all(torch.equal(tensor, cut.state_dict[key]) for key, tensor in whole.state_dict.items())


KILL_IN_SECOND_EPOCH = """
import os, signal
from chop.report.training_progress import TrainingProgress
def on_step(self, epoch, step):
    if (epoch, step) == (1, 3):
        os.kill(os.getpid(), signal.SIGKILL)
TrainingProgress.on_step = on_step
from chop.cli.main import main
main()
"""


# From Python

SPACE = {"formats": ["integer"], "widths": [2, 8]}
OPTIONS = {"max_epochs": 1, "probes": 3, "probe_samples": 500, "batch_size": 256}


@pytest.mark.usefixtures("better_each_epoch")
def test_a_model_trained_from_python_is_searched_as_any_other() -> None:
    model = get_model("toy", pretrained=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    space = chop.Space(**SPACE)
    trained = chop.train_for_space(model, "toy_tiny", space, **OPTIONS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert len(trained.history) == 2 and trained.epoch == 1
    study = chop.search(
        trained.model, "toy_tiny", space, n_trials=2, num_samples=100, strategy="brute_force", objectives="accuracy"
    )
    assert "trained for this search space" in study.summary.origin.training


def test_a_space_of_one_network_is_told_as_one() -> None:
    notes = TrainedForSpace("c", "1", 1, 1, "accuracy", 1, 0.5, 0.6)
    assert "(1 network, epoch 1 of 1): accuracy of 1 probe plan 0.5" in notes.as_text("")


def test_an_earlier_training_of_a_folder_is_kept_and_other_settings_cannot_resume(tmp_path: Path) -> None:
    def train(**options: Any) -> Any:
        space = chop.Space(**SPACE)
        model = get_model("toy", pretrained=True)
        return chop.train_for_space(model, "toy_tiny", space, folder=tmp_path / "own", **OPTIONS, **options)

    train()
    first = (tmp_path / "own" / "best.safetensors").read_bytes()
    train(seed=1)
    assert (tmp_path / "own-1" / "best.safetensors").read_bytes() == first
    with pytest.raises(ChopError, match=r'resume=True \(from the best weights with weights=".*best.safetensors"\)'):
        train(resume=True)


def train_again(folder: Path | str, **options: Any) -> Any:
    given = {**OPTIONS, "max_epochs": 1, **options}
    return chop.train_for_space(
        get_model("toy", pretrained=True), "toy_tiny", chop.Space(**SPACE), folder=folder, **given
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_files_of_the_user_stay_where_they_are(tmp_path: Path) -> None:
    own = tmp_path / "precious"
    (own / "notes").mkdir(parents=True)
    for name in ("thesis.txt", "notes/best.safetensors", "best.ckpt"):
        (own / name).write_text(name, encoding="utf-8")
    before = contents(own)
    train_again(own)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    first = contents(own)
    train_again(own, seed=1)
    assert contents(own).items() >= before.items() and set(contents(own)) == set(first)
    kept = contents(tmp_path / "precious-1")
    assert kept == {name: first[name] for name in ("best.safetensors", "state.safetensors")}


@pytest.mark.parametrize("name", ["best.safetensors", "state.safetensors"])
def test_a_file_of_the_user_is_never_overwritten(name: str, tmp_path: Path) -> None:
    save_tensors({"weight": torch.zeros(2)}, tmp_path / "own" / name)
    before = contents(tmp_path)
    with pytest.raises(FolderError, match=rf"folder: \S*{name} is no part of a training.*choose another folder="):
        train_again(tmp_path / "own")
    assert contents(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["own"]


def test_a_best_that_a_killed_training_left_before_its_first_state_is_moved_aside(tmp_path: Path) -> None:
    train_again(tmp_path / "own")
    (tmp_path / "own" / "state.safetensors").unlink()
    left = contents(tmp_path / "own")
    train_again(tmp_path / "own", seed=1)
    assert contents(tmp_path / "own-1") == left and len(contents(tmp_path / "own")) == 2


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "afile").write_text("mine", encoding="utf-8")
    with pytest.raises(FolderError, match=r"folder: .*afile is a file; give the path of a folder"):
        train_again(tmp_path / "afile")
    assert contents(tmp_path) == {"afile": b"mine"}


@pytest.mark.parametrize("folder", [".", "../here"])
def test_the_working_folder_stays_when_an_earlier_training_in_it_is_moved_aside(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    train_again(folder)
    first = contents(here)
    train_again(folder, seed=1)
    assert Path.cwd() == here and set(contents(here)) == set(first)
    assert contents(tmp_path / "here-1") == first


def test_an_earlier_training_comes_back_where_the_new_one_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_again(tmp_path / "own")
    before = contents(tmp_path)

    def write_state(self: SpaceFiles, *args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SpaceFiles, "write_state", write_state)
    for folder in ("own", "another"):
        with pytest.raises(KeyboardInterrupt):
            train_again(tmp_path / folder)
    assert contents(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["own"]


def test_regression_imitates_the_outputs_of_the_float_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 4)
    y = x.sum(1, keepdim=True) + 0.1 * torch.randn(400, 1)
    model = nn.Linear(4, 1)
    with torch.no_grad():
        model.weight.fill_(1.0), model.bias.zero_()
    trained = chop.train_for_space(model, (x, y), chop.Space(["integer"], [3, 8]), max_epochs=3, probes=3)
    assert trained.notes.metric == "loss" and trained.notes.after <= trained.notes.before
    file = trained.save(tmp_path / "weights.safetensors")
    assert TrainedForSpace.from_metadata(read_checkpoint(file).metadata) == trained.notes


def test_wrong_arguments_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="max_epochs: expected greater than or equal to 1"):
        chop.train_for_space("toy", "toy_tiny", chop.Space(**SPACE), max_epochs=0)
    with pytest.raises(ConfigError, match="plan_per_step: unknown key; did you mean 'plans_per_step'"):
        chop.train_for_space("toy", "toy_tiny", chop.Space(**SPACE), plan_per_step=2)
    with pytest.raises(ChopError, match="resume: name the folder"):
        chop.train_for_space("toy", "toy_tiny", chop.Space(**SPACE), resume=True)


def test_notes_are_of_the_weights_that_they_were_written_with() -> None:
    model = nn.Linear(2, 2)
    notes = TrainedForSpace("c", "16", 2, 1, "accuracy", 3, 0.5, 0.6)
    note(model, notes)
    assert notes_on(model) == notes
    with torch.no_grad():
        model.weight.add_(1.0)
    assert notes_on(model) is None
    assert TrainedForSpace.from_metadata({"chop_trained_for_space": '{"epochs": "many"}'}) is None


@pytest.mark.parametrize("epoch", [0, 1])
def test_ctrl_c_keeps_the_best_so_far(monkeypatch: pytest.MonkeyPatch, epoch: int, tmp_path: Path) -> None:
    from chop.report.training_progress import TrainingProgress

    def on_step(self: TrainingProgress, number: int, step: int) -> None:
        if (number, step) == (epoch, 1):
            raise KeyboardInterrupt

    model, space = get_model("toy", pretrained=True), chop.Space(**SPACE)
    options = {**OPTIONS, "max_epochs": 3, "folder": tmp_path / "cut"}
    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "on_step", on_step)
        trained = chop.train_for_space(model, "toy_tiny", space, **options)
    assert trained.interrupted and len(trained.history) == epoch + 1
    if epoch == 0:
        known = model.state_dict()
        assert all(torch.equal(own, known[name]) for name, own in trained.model.state_dict().items())
    resumed = chop.train_for_space(model, "toy_tiny", space, **options, resume=True)
    whole = chop.train_for_space(model, "toy_tiny", space, **{**options, "folder": tmp_path / "whole"})
    assert resumed.history == whole.history and not resumed.interrupted
