"""Searches over weight sparsity: block by block, trial by trial and by hand they find the same."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import chop
from chop.actions.search import search
from chop.actions.search.measuring import batched
from chop.actions.search.run import block_by_block
from chop.dataset import MaseDataModule
from chop.ir import MaseGraph
from chop.models import get_model
from chop.passes.graph import quantize_transform_pass

SPARSITY = {"weight_sparsity": [0.0, 0.5, 0.75], "weight_sparsity_pattern": ["unstructured", "2:4", "channel"]}


@pytest.fixture
def sparse(lab: dict[str, Any]) -> dict[str, Any]:
    """jsc-toy: pruned and rounded, pruned in float, and with ranges of the pruned weights: 12 · 6 · 6 points."""
    pruned = {"name": ["integer"], "data_in_width": [8], "weight_width": [3, 6], **SPARSITY}
    measured = {"name": ["integer"], "weight_width": [4], "weight_frac_width": ["auto"], **SPARSITY}
    in_float = {"name": ["NA"], **SPARSITY}
    layers = dict(zip(("seq_blocks_2", "seq_blocks_5", "seq_blocks_8"), (pruned, measured, in_float), strict=True))
    lab["search_space"]["seed"] |= {name: {"config": lists} for name, lists in layers.items()}
    lab["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = 400
    lab["strategy"]["hw_runner"] = {"model_size": {}, "bitops": {}}
    lab["strategy"]["metrics"] = {
        "accuracy": {"scale": 1.0, "direction": "maximize"},
        "model_size": {"scale": 1.0, "direction": "minimize"},
    }
    return lab


@pytest.fixture
def jsc_toy() -> nn.Module:
    return get_model("jsc-toy", pretrained=True)


def rows(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "best.json").read_text(encoding="utf-8")).values())


def pruned_by_torch(model: nn.Module, config: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """The model with the unstructured and channel masks of a sampled config made permanent, and the config without."""
    model, config = copy.deepcopy(model), copy.deepcopy(config)
    for name, entry in config.items():
        if not isinstance(entry, dict) or not (share := entry["config"].pop("weight_sparsity", 0)):
            continue
        layer: Any = model.get_submodule(name.replace("seq_blocks_", "seq_blocks."))
        pattern = entry["config"].pop("weight_sparsity_pattern")
        if pattern == "channel":
            prune.ln_structured(layer, "weight", share, n=2, dim=0)
        elif pattern == "unstructured":
            prune.l1_unstructured(layer, "weight", share)
        else:
            grouped = layer.weight.detach().abs().reshape(len(layer.weight), -1, 4)
            order = grouped.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
            prune.custom_from_mask(layer, "weight", (order < 2).reshape(layer.weight.shape))
        prune.remove(layer, "weight")
    return model, config


def test_blocks_trials_and_torch_find_the_same(
    tmp_path: Path, sparse: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_trial = search(jsc_toy, jets, sparse, tmp_path / "trials")
    monkeypatch.setattr(block_by_block, "LARGEST_LOG", 100)
    monkeypatch.setattr(batched, "MOST_CONFIGURATIONS", 110)
    sparse["strategy"]["setup"]["landscape"] = True
    by_block = search(jsc_toy, jets, sparse, tmp_path / "blocks")
    assert [row.trial.number for row in by_block.best] == [row.trial.number for row in by_trial.best]
    table = pyarrow.parquet.read_table(tmp_path / "blocks" / "landscape.parquet").to_pydict()
    assert len(table["accuracy"]) == 12 * 6 * 6
    assert len(set(zip(table["accuracy"], table["model_size"], strict=True))) > 50
    x, y = jets.batches("val_dataloader", 400, 400)[0]
    for row in rows(tmp_path / "blocks"):
        model, config = pruned_by_torch(jsc_toy, row["sampled_config"])
        graph, _ = quantize_transform_pass(MaseGraph(model), config)
        with torch.no_grad():
            predicted = graph.model(x).argmax(1)
        recalls = [float((predicted[y == own] == own).float().mean()) for own in y.unique()]
        assert row["software_metrics"]["accuracy"] == pytest.approx(sum(recalls) / len(recalls), abs=1e-6)
        assert row["hardware_metrics"]["dense_bitops"] >= row["hardware_metrics"]["bitops"]


def test_a_search_from_python_prunes_and_returns_each_network(jets: MaseDataModule) -> None:
    lists = {"weight_sparsity": [0.0, 0.5], "weight_sparsity_pattern": ["unstructured", "2:4"]}
    space = chop.Space([None], exclude=[], weight_width=[4], **lists)
    study = chop.search(
        get_model("jsc-tiny", pretrained=True),
        jets,
        space,
        objectives=["accuracy", "model_size"],
        strategy="brute_force",
        num_samples=500,
    )
    assert len(study.trials) == 3
    zeros = [study[number].graph.plan["seq_blocks_2"].get("weight") for number in range(3)]
    assert [str(own) for own in zeros] == ["None", "50% sparse then float", "2:4 then float"]
    layer: Any = study[2].model.get_submodule("seq_blocks.2")
    read = (layer(torch.eye(16)) - layer(torch.zeros(1, 16))).T
    assert int((read == 0).sum()) == read.numel() // 2
