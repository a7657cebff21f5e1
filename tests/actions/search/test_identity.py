"""Searches whose networks differ have different fingerprints, however alike their choices are."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from chop.actions.search import search
from chop.dataset import MaseDataModule
from chop.errors import SearchError
from chop.models import get_model


def test_other_ties_or_layers_are_another_search(tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule) -> None:
    model = get_model("jsc-tiny", pretrained=True)
    search(model, jets, lab, tmp_path)
    tied = copy.deepcopy(lab)
    tied["search_space"].setdefault("setup", {})["tie_operands"] = ["weight", "bias"]
    with pytest.raises(SearchError, match="choices"):
        search(model, jets, tied, tmp_path, resume=True)
    name, layer = next((name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.ReLU))
    assert isinstance(layer, nn.ReLU)
    model.set_submodule(name, nn.Tanh())
    with pytest.raises(SearchError, match="layers changed"):
        search(model, jets, lab, tmp_path, resume=True)
