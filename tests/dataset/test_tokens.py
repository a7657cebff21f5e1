"""Token arrays and batches without targets, as language models read them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chop.dataset import MaseDataModule
from chop.dataset.tokens import TokenArrays
from chop.errors import ChopError, DatasetError

OWN = """
import numpy as np, torch
def arrays():
    tokens = torch.arange(60).view(6, 10) % 7
    return {"train": tokens.numpy(), "val": tokens, "test": tokens}
def text():
    return {part: np.arange(95) % 7 for part in ("train", "val", "test")}
def padded():
    mask = torch.arange(10).lt(8).long().repeat(6, 1)
    batch = {"input_ids": torch.arange(60).view(6, 10) % 7, "attention_mask": mask}
    return {part: [batch] for part in ("train", "val", "test")}
def shifted():
    tokens = torch.arange(60).view(6, 10) % 7
    return {part: [(tokens[:, :-1], tokens[:, 1:])] for part in ("train", "val", "test")}
"""


def module(folder: Path, name: str, **options: Any) -> MaseDataModule:
    for known in [name for name in sys.modules if name.startswith("chop_user_own_")]:
        del sys.modules[known]
    (folder / "own.py").write_text(OWN, encoding="utf-8")
    data = MaseDataModule(f"{folder / 'own.py'}:{name}", 4, task="lm", **options)
    data.setup()
    return data


def test_tokens_are_their_own_targets(tmp_path: Path) -> None:
    data = module(tmp_path, "arrays")
    x, y = data.batches("val")[0]
    assert torch.equal(x, y) and x.dtype is torch.int64 and x.shape == (6, 10)
    trained = torch.cat([data.as_batch(batch)[1] for batch in data.train_dataloader()])
    assert trained.shape == (6, 10) and not torch.equal(trained, y)
    assert sorted(trained.tolist()) == sorted(y.tolist())


def test_one_long_text_is_cut(tmp_path: Path) -> None:
    x, _ = module(tmp_path, "text", max_token_len=20).batches("test")[0]
    assert torch.equal(x, (torch.arange(80) % 7).view(4, 20))
    with pytest.raises(DatasetError, match="95 tokens, shorter than one sample of 512: lower --max-token-len"):
        module(tmp_path, "text")


def test_padding_is_no_target(tmp_path: Path) -> None:
    x, y = module(tmp_path, "padded").batches("val")[0]
    assert (y[:, 8:] == -100).all() and torch.equal(y[:, :8], x["input_ids"][:, :8])


def test_targets_that_are_shifted_already_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="the train set: the targets are x one place further on"):
        module(tmp_path, "shifted")


@pytest.mark.parametrize("tokens", [np.zeros((2, 3, 4), dtype=int), np.zeros(9)])
def test_what_is_no_array_of_tokens_is_refused(tokens: Any) -> None:
    with pytest.raises(DatasetError, match="tokens are whole numbers"):
        TokenArrays(4, 3).loader(tokens, "val")


def test_classes_are_no_tokens() -> None:
    data = MaseDataModule("toy_tiny", 32, task="lm")
    with pytest.raises(ChopError, match="a language model's targets are whole numbers"):
        data.setup()


def test_few_samples_are_measured_together_where_outputs_are_many(tmp_path: Path) -> None:
    """A batch that is measured on holds at most 2**24 outputs, as far as targets tell."""
    data = module(tmp_path, "arrays")
    x, y = data.batches("val")[0]
    y[0, 0] = 2**21 - 1
    data._stored["val"] = [(x, y)]
    assert [len(y) for _, y in data.batches("val")] == [1] * 6
    assert [len(y) for _, y in data.batches("val", batch_size=4)] == [4, 2]
