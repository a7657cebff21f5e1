"""Training: what it writes, what it honours, what it does when it is cut off."""

from __future__ import annotations

import csv
import errno
import logging
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from chop.actions.train import TrainResult, run_train, train
from chop.config.options import RunOptions
from chop.dataset import MaseDataModule
from chop.errors import ChopError
from chop.ir import MaseGraph
from chop.models import get_model
from chop.models.checkpoint import load_weights
from chop.passes.graph import quantize_transform_pass
from tests.scores import predict, score

OPTIONS = RunOptions(model="toy", dataset="toy_tiny", max_epochs=2, batch_size=64, learning_rate=1e-2, seed=3)

REGRESSION = """
import torch
from torch.utils.data import DataLoader, TensorDataset
X = torch.linspace(-1, 1, 64).reshape(-1, 1)
ROWS = TensorDataset(X, 3 * X)
def build_data():
    loader = DataLoader(ROWS, 16)
    return {"train": loader, "val": loader, "test": loader, "loss": torch.nn.functional.mse_loss,
            "metrics": {"mae": (lambda p, y: (p - y).abs().mean(), "minimize")}}
def build_model(): return torch.nn.Linear(1, 1)
"""


class Interrupting(nn.Module):
    """A model that behaves as if the user pressed Ctrl-C at a given call in training."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.inner = get_model("toy")
        self.calls_left = at

    def forward(self, x: torch.Tensor) -> Any:
        self.calls_left -= self.training
        if self.calls_left < 0 and self.training:
            os.kill(os.getpid(), signal.SIGINT)
        return self.inner(x)


def data_module(name: str = "toy_tiny") -> MaseDataModule:
    module = MaseDataModule(name, 64, seed=3)
    module.setup()
    return module


def trained(folder: Path, model: nn.Module | None = None, **changes: Any) -> TrainResult:
    torch.manual_seed(3)
    return train(replace(OPTIONS, **changes), model or get_model("toy"), data_module(), folder)


def content(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def curves(result: TrainResult) -> list[dict[str, str]]:
    with (result.log_dir / "metrics.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_best_checkpoint_scores_what_is_said_of_it(tmp_path: Path) -> None:
    result = trained(tmp_path, max_epochs=4)
    model = get_model("toy")
    load_weights(model, result.best_checkpoint)
    again = score(*predict(model.eval(), data_module().batches("val")), num_classes=2)
    assert result.best_metrics == pytest.approx(again, rel=1e-6)
    values = [float(row["val_accuracy"]) for row in curves(result) if row["val_accuracy"]]
    assert result.best_metrics["accuracy"] == pytest.approx(max(values))
    assert result.best_checkpoint.parent == tmp_path / "training_ckpts"
    assert not result.interrupted


def test_training_lowers_the_loss_and_the_last_checkpoint_is_the_model(tmp_path: Path) -> None:
    model = get_model("toy")
    result = trained(tmp_path, model, max_epochs=10)
    losses = [float(row["val_loss"]) for row in curves(result) if row["val_loss"]]
    assert len(losses) == 10
    assert losses[-1] < 0.8 * losses[0]
    last = get_model("toy")
    load_weights(last, result.last_checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), last.parameters(), strict=True))


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    results = [trained(tmp_path / str(number), seed=seed) for number, seed in enumerate((3, 3))]
    assert results[0].last_metrics == results[1].last_metrics


@pytest.mark.parametrize(
    ("changes", "steps"),
    [({}, 50), ({"max_steps": 30}, 30), ({"accumulate_grad_batches": 5}, 10)],
)
def test_epochs_steps_and_accumulation_are_honoured(tmp_path: Path, changes: dict[str, int], steps: int) -> None:
    result = trained(tmp_path, **changes)
    assert result.steps == steps
    assert result.best_checkpoint.exists()
    assert set(result.last_metrics) == {"loss", "accuracy", "accuracy_micro"}


@pytest.mark.parametrize(("name", "cls"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD")])
def test_optimiser_rate_decay_and_schedule(tmp_path: Path, name: str, cls: str) -> None:
    from chop.actions.lightning_training import Training

    options = replace(OPTIONS, training_optimizer=name, learning_rate=0.3, weight_decay=0.2)
    optimizer = Training(get_model("toy"), data_module(), options).configure_optimizers()
    assert type(optimizer).__name__ == cls
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.3, 0.2)


@pytest.mark.parametrize(
    ("kind", "factors"),
    [("constant", [1, 1, 1, 1]), ("linear", [0.75, 0.5, 0.25, 0]), ("cosine", [0.853553, 0.5, 0.146447, 0])],
)
def test_the_learning_rate_follows_its_schedule(monkeypatch: Any, kind: str, factors: list[float]) -> None:
    from chop.actions.lightning_training import Training

    monkeypatch.setattr(Training, "trainer", SimpleNamespace(estimated_stepping_batches=len(factors)))
    options = replace(OPTIONS, lr_scheduler=kind, learning_rate=0.1)
    made = Training(get_model("toy"), data_module(), options).configure_optimizers()
    optimizer = made if kind == "constant" else made["optimizer"]
    found = []
    for _ in factors:
        optimizer.step()
        if kind != "constant":
            made["lr_scheduler"]["scheduler"].step()
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([0.1 * factor for factor in factors], abs=1e-7)


def test_a_falling_learning_rate_ends_at_nothing(tmp_path: Path) -> None:
    options = replace(OPTIONS, lr_scheduler="cosine")
    state = torch.load(train(options, get_model("toy"), data_module(), tmp_path).last_checkpoint, weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0, abs=1e-9)


def test_ctrl_c_keeps_the_best_so_far(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    result = trained(tmp_path, Interrupting(at=30), max_epochs=50)
    assert result.interrupted
    assert result.steps in (29, 30, 31)
    assert result.best_checkpoint.name == "best.ckpt"
    load_weights(Interrupting(at=0), result.best_checkpoint)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_the_first_validation_keeps_the_last(tmp_path: Path) -> None:
    result = trained(tmp_path, Interrupting(at=5))
    assert result.interrupted
    assert result.best_checkpoint == result.last_checkpoint
    assert result.best_checkpoint.exists()
    assert result.best_metrics == {}


def test_a_missing_gpu_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.WARNING, "chop"):
        assert trained(tmp_path, accelerator="gpu", num_devices=4, max_steps=2).steps == 2
    assert "running on the CPU" in caplog.text


@pytest.mark.parametrize("changes", [{"trainer_precision": "31-true"}, {"strategy": "magic"}])
def test_options_that_lightning_refuses_are_named(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(ChopError, match=next(iter(changes))):
        trained(tmp_path, **changes)


def test_precision_reaches_the_trainer(tmp_path: Path) -> None:
    model = get_model("toy")
    trained(tmp_path, model, trainer_precision="bf16-true", max_steps=2)
    assert model.fc_in.weight.dtype == torch.bfloat16


def test_curves_and_profile_are_written(tmp_path: Path) -> None:
    result = trained(tmp_path, log_every_n_steps=10, profile=True)
    assert [int(row["step"]) for row in curves(result) if row["train_loss"]] == [9, 19, 29, 39, 49]
    assert list((tmp_path / "training_ckpts").glob("*profile*"))


def test_tensorboard_is_written_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trained(tmp_path, report_to="tensorboard", max_steps=2)
    assert list((tmp_path / "training_ckpts").rglob("events.out.tfevents*"))


def test_a_missing_logger_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning.pytorch.loggers as loggers

    def missing(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("No module named 'wandb'")

    monkeypatch.setattr(loggers, "WandbLogger", missing)
    with pytest.raises(ChopError, match="pip install wandb"):
        trained(tmp_path, report_to="wandb")


def test_nothing_of_lightning_is_heard(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path)
    trained(tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Warning" not in err
    assert "Tip" not in err


def test_regression_keeps_the_lowest_loss(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(REGRESSION, encoding="utf-8")
    module = data_module(f"{file}:build_data")
    options = replace(OPTIONS, learning_rate=0.1, max_epochs=20)
    result = train(options, get_model(f"{file}:build_model"), module, tmp_path)
    assert set(result.best_metrics) == {"loss", "mae"}
    assert result.best_metrics["loss"] == pytest.approx(
        min(float(row["val_loss"]) for row in curves(result) if row["val_loss"]), rel=1e-5
    )
    assert result.best_metrics["mae"] < 0.2


def test_a_diverging_training_warns_and_keeps_the_last(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "mine.py"
    file.write_text(REGRESSION, encoding="utf-8")
    options = replace(OPTIONS, training_optimizer="sgd", learning_rate=1e30)
    with caplog.at_level(logging.WARNING, "chop"):
        result = train(options, get_model(f"{file}:build_model"), data_module(f"{file}:build_data"), tmp_path)
    assert "lower the learning rate" in caplog.text
    assert result.best_checkpoint == result.last_checkpoint


def test_a_quantised_graph_is_trained_with_its_formats(tmp_path: Path) -> None:
    config = {"by": "type", "default": {"config": {"name": None}}, "linear": {"config": {
        "name": "integer", "data_in_width": 8, "data_in_frac_width": 4, "weight_width": 4, "weight_frac_width": 2,
    }}}  # fmt: skip
    graph, _ = quantize_transform_pass(MaseGraph(get_model("toy")), config)
    before = [parameter.detach().clone() for parameter in graph.model.parameters()]
    result = train(OPTIONS, graph.model, data_module(), tmp_path)
    assert any(not torch.equal(a, b) for a, b in zip(before, graph.model.parameters(), strict=True))
    again, _ = quantize_transform_pass(MaseGraph(get_model("toy")), config)
    load_weights(again.model, result.last_checkpoint)
    scores = score(*predict(again.model.eval(), data_module().batches("val")), num_classes=2)
    assert scores == pytest.approx(result.last_metrics, rel=1e-6)


def test_the_command_trains_and_says_what_is_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_train(replace(OPTIONS, project_dir=str(tmp_path), project="p"))
    assert result.best_checkpoint == tmp_path / "p" / "software" / "training_ckpts" / "best.ckpt"
    assert f"ch test toy toy_tiny --load {result.best_checkpoint}" in capsys.readouterr().out


def test_an_earlier_training_is_kept(tmp_path: Path) -> None:
    first = trained(tmp_path).best_checkpoint.read_bytes()
    trained(tmp_path)
    assert (tmp_path / "training_ckpts-1" / "best.ckpt").read_bytes() == first


@pytest.mark.parametrize("changes", [{"trainer_precision": "12"}, {"strategy": "magic"}, {"report_to": "wandb"}])
def test_options_that_are_refused_touch_no_earlier_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, changes: dict[str, str]
) -> None:
    import lightning.pytorch.loggers as loggers

    monkeypatch.setattr(loggers, "WandbLogger", Mock(side_effect=ModuleNotFoundError("No module named 'wandb'")))
    trained(tmp_path, max_steps=2)
    before = content(tmp_path)
    with caplog.at_level(logging.INFO, "chop"), pytest.raises(ChopError):
        trained(tmp_path, **changes)
    assert "the earlier training" not in caplog.text
    assert content(tmp_path) == before


@pytest.mark.parametrize("is_first", [False, True])
def test_a_training_without_a_checkpoint_leaves_what_it_found(tmp_path: Path, is_first: bool) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = get_model("toy")

        def forward(self, x: torch.Tensor) -> Any:
            if self.training:
                raise ValueError("boom")
            return self.inner(x)

    if not is_first:
        trained(tmp_path, max_steps=2)
    before = content(tmp_path)
    with pytest.raises(ChopError, match="boom"):
        trained(tmp_path, Broken())
    assert content(tmp_path) == before
    assert is_first or [path.name for path in tmp_path.iterdir()] == ["training_ckpts"]


def test_other_files_stay_when_an_earlier_training_is_moved_aside(tmp_path: Path) -> None:
    folder = tmp_path / "training_ckpts"
    folder.mkdir()
    for name in ("thesis.txt", "best.safetensors"):
        (folder / name).write_text(name, encoding="utf-8")
    trained(tmp_path, max_steps=2)
    first = {path.name for path in folder.iterdir()}
    trained(tmp_path, max_steps=2, profile=True)
    trained(tmp_path, max_steps=2)
    kept = {path.name for number in (1, 2) for path in (tmp_path / f"training_ckpts-{number}").iterdir()}
    assert {path.name for path in folder.iterdir()} == first
    assert kept == (first - {"thesis.txt", "best.safetensors"}) | {"fit-profile.txt", "validate-profile.txt"}


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_other_precisions_end_with_scores(precision: str, tmp_path: Path) -> None:
    options = replace(OPTIONS, trainer_precision=precision, max_epochs=1, project_dir=str(tmp_path), project="p")
    assert run_train(options).best_metrics["accuracy"] > 0


def test_a_last_batch_of_one_row_stops_no_batch_norm(tmp_path: Path) -> None:
    module = MaseDataModule("toy_tiny", 3, seed=3)
    module.setup()
    assert all(len(y) > 1 for _, y in module.train_dataloader())


def test_a_full_disk_leaves_no_half_of_the_best_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fill)
    with pytest.raises(ChopError, match=r"No space left on device: '.*best.ckpt'; make room"):
        trained(tmp_path, max_epochs=1)
    files = sorted(path.name for path in (tmp_path / "training_ckpts").iterdir())
    assert files == ["last.ckpt", "logs"]


def test_parts_that_the_model_cannot_read_are_named_before_it_is_trained(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    wide = REGRESSION.replace('"test": loader', '"test": DataLoader(TensorDataset(X.expand(-1, 2), 3 * X), 16)')
    file.write_text(wide, encoding="utf-8")
    with pytest.raises(ChopError, match=r"does not run on samples of the test set .*\(2, 2\), the training samples"):
        train(OPTIONS, get_model(f"{file}:build_model"), data_module(f"{file}:build_data"), tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.ckpt"))
