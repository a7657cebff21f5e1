"""Files of weights with one bit flipped: they must be refused, or load the same weights."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from chop.errors import ChopError
from chop.ir import MaseGraph
from chop.models import get_model
from chop.models.checkpoint import load_weights, save_weights

TRIES = 150
"""Bits that are flipped in each file, at equal distances."""

Row = tuple[str, int, int, int, int]


def with_flipped_bit(path: Path, at: int) -> Path:
    """A copy of the file beside it with bit number `at` turned over."""
    content = bytearray(path.read_bytes())
    content[at // 8] ^= 1 << at % 8
    damaged = path.with_name(f"damaged.{path.name}")
    damaged.write_bytes(bytes(content))
    return damaged


def count_flipped_bits(tries: int = TRIES) -> list[Row]:
    """By kind of file: how many were tried, loaded the same weights, were refused, and were wrong."""
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            return [_counted(name, path, tries) for name, path in _files(Path(folder)).items()]
    finally:
        logging.disable(logging.NOTSET)


class _Trained(LightningModule):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def _files(folder: Path) -> dict[str, Path]:
    model = get_model("toy")
    torch.save(model.state_dict(), folder / "weights.pt")
    trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    trainer.strategy.connect(_Trained(model))
    trainer.save_checkpoint(folder / "best.ckpt")
    save_weights(model, folder / "weights.safetensors")
    MaseGraph(model).export(folder / "graph.safetensors", {"model": "toy"})
    return {path.name: path for path in sorted(folder.iterdir())}


def _counted(name: str, path: Path, tries: int) -> Row:
    bits = 8 * path.stat().st_size
    outcomes = [_outcome(path, with_flipped_bit(path, at)) for at in range(3, bits, max(1, bits // tries))]
    return name, len(outcomes), outcomes.count("right"), outcomes.count("refused"), outcomes.count("wrong")


def _outcome(path: Path, damaged: Path) -> str:
    try:
        found = _weights(damaged)
    except ChopError:
        return "refused"
    except Exception:
        return "wrong"
    wanted = _weights(path)
    return "right" if all(torch.equal(found[name], wanted[name]) for name in wanted) else "wrong"


def _weights(path: Path) -> dict[str, torch.Tensor]:
    model = get_model("toy")
    if path.name.endswith("graph.safetensors"):
        return dict(MaseGraph.from_checkpoint(path, model).model.state_dict())
    load_weights(model, path)
    return dict(model.state_dict())
