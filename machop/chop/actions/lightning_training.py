"""Lightning module and callbacks that train a model. Imported only when needed, because Lightning loads slowly."""

from __future__ import annotations

import io
import math
import shutil
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler

from chop.config.options import RunOptions
from chop.dataset import MaseDataModule
from chop.ir.graph.inputs import to_device
from chop.scoring.metric import Metric
from chop.scoring.outputs import with_samples
from chop.tools.files import write_whole, written_whole
from chop.tools.folder_lock import OwnFolder
from chop.tools.get_input import call_model
from chop.tools.logger import get_logger
from chop.tools.model_inputs import map_tensors
from chop.training.fine_tuning import OPTIMIZERS

logger = get_logger(__name__)


class Training(LightningModule):
    """Trains one model with its loss and optimiser, and scores it on the validation set."""

    def __init__(self, model: nn.Module, data_module: MaseDataModule, options: RunOptions) -> None:
        super().__init__()
        self.model = model
        self.data_module = data_module
        self.options = options
        self.scores: dict[str, float] = {}
        self._accumulator = data_module.task.accumulator()
        self._largest = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """The mean loss of a batch `(x, y)`; None, which Lightning skips, for a batch without labels."""
        x, y = self.data_module.as_batch(batch)
        self._largest = max(self._largest, len(y))
        if not len(y) or (len(y) == 1 < self._largest):  # batch norm cannot train on one sample
            return None
        x, y = map_tensors(lambda tensor: tensor.to(self.device), x), y.to(self.device)
        loss = self.data_module.task.loss(call_model(self.model, x, self.data_module.output), y)
        if loss is not None:
            self.log("train_loss", loss, prog_bar=True, batch_size=len(y))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Accumulate outputs and targets: scores are of the whole validation set, not means over batches."""
        x, y = batch
        outputs = call_model(self.model, to_device(x, str(self.device)), self.data_module.output)
        self._accumulator.update(with_samples(outputs.detach(), len(y)), y)

    def on_validation_epoch_end(self) -> None:
        """Compute the scores over all devices and log `val_<metric>` for each metric."""
        accumulator, self._accumulator = self._accumulator, self.data_module.task.accumulator()
        self.scores = accumulator.result()
        named = {f"val_{name}": torch.tensor(value, dtype=torch.float32) for name, value in self.scores.items()}
        self.log_dict(named, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """The optimiser of the options, and the schedule of its learning rate."""
        cls = OPTIMIZERS[self.options.training_optimizer]
        rates: dict[str, Any] = {"lr": self.options.learning_rate, "weight_decay": self.options.weight_decay}
        optimizer = cls(self.model.parameters(), **rates)
        if self.options.lr_scheduler == "constant":
            return optimizer
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule: LRScheduler = (
            LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps)
            if self.options.lr_scheduler == "linear"
            else CosineAnnealingLR(optimizer, T_max=steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints atomically, through a temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_whole(path, buffer.getvalue())


class KeepCheckpoints(Callback):
    """Writes `last.ckpt` after each validation, and `best.ckpt` when the metric `monitored` improves."""

    def __init__(self, folder: OwnFolder, monitored: Metric) -> None:
        self.folder = folder
        self.best, self.last = folder.path / "best.ckpt", folder.path / "last.ckpt"
        self.monitored = monitored
        self.sign = 1.0 if monitored.direction == "maximize" else -1.0
        self.best_scores: dict[str, float] = {}
        self.last_scores: dict[str, float] = {}
        self.validated_step: int | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoints of the weights that were just validated."""
        assert isinstance(pl_module, Training)
        self.last_scores, self.validated_step = dict(pl_module.scores), trainer.global_step
        _report_epoch(trainer, self.last_scores)
        self.folder.require_in_place()
        trainer.save_checkpoint(self.last)
        if self._is_better():
            self.best_scores = self.last_scores
            if trainer.is_global_zero:
                with written_whole(self.best) as best:
                    shutil.copyfile(self.last, best)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the weights of an interrupted training."""
        if isinstance(exception, KeyboardInterrupt):
            self.folder.require_in_place()
            trainer.save_checkpoint(self.last)

    def _is_better(self) -> bool:
        value = self.last_scores[self.monitored.name]
        best = self.best_scores.get(self.monitored.name)
        return math.isfinite(value) and (best is None or self.sign * value > self.sign * best)


def _report_epoch(trainer: Trainer, scores: dict[str, float]) -> None:
    values = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
    if not math.isfinite(scores["loss"]):
        logger.warning(
            "step %d: validation %s: not finite; lower the learning rate, or look for NaN in the data",
            trainer.global_step,
            values,
        )
    elif trainer.progress_bar_callback is None:
        logger.info("step %d: validation %s", trainer.global_step, values)
