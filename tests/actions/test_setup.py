"""What a command does first: weights are chosen by the options."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from chop.actions.setup import build_data, build_model
from chop.config.options import RunOptions
from chop.errors import ChopError
from chop.models import get_model


def test_load_weights_chooses_among_several(tmp_path: Path) -> None:
    raw = get_model("toy").state_dict()
    averaged = {name: tensor + 1 for name, tensor in raw.items()}
    torch.save({"state_dict": raw, "ema": averaged}, tmp_path / "w.pt")
    options = {"model": "toy", "dataset": "toy_tiny", "load_name": str(tmp_path / "w.pt")}
    data = build_data(RunOptions(**options))
    for which, want in ((None, raw), ("averaged", averaged), ("ema", averaged), ("raw", raw)):
        found = build_model(RunOptions(**options, load_weights=which), data).state_dict()
        assert all(torch.equal(found[name], want[name]) for name in want)
    with pytest.raises(ChopError, match="add --load PATH"):
        build_model(RunOptions(model="toy", dataset="toy_tiny", load_weights="raw"), data)
