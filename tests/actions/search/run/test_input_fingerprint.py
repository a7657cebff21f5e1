"""Searches whose networks differ have different fingerprints, however alike their choices are."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from chop.actions.search import search
from chop.dataset import MaseDataModule
from chop.errors import SearchError
from chop.models import get_model
from chop.weight_transforms import WEIGHT_TRANSFORMS, WeightTransform


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


OWN_DATA = """
from pathlib import Path

import torch

SCALE = Path(__file__).with_name("scale.txt")
ROWS = {rows}
THRESHOLD = {threshold}


def share_above(predictions, targets):
    return float(SCALE.read_text()) * (predictions.amax(1) > THRESHOLD).float().mean()


def build_data():
    parts = {{}}
    for seed, (part, rows) in enumerate(dict(train=256, val=ROWS, test=128).items()):
        generator = torch.Generator().manual_seed(seed)
        y = torch.arange(rows) % 5
        parts[part] = [(torch.randn(rows, 16, generator=generator) + y[:, None] / 4, y)]
    return parts | {{"metrics": {{"share_above": (share_above, "maximize")}}}}
"""


@dataclass
class OwnData:
    """A file of the user's own that may be written anew, and one that it reads."""

    folder: Path

    def module(self, rows: int = 96, threshold: float = 0.25, scale: float = 1.0) -> MaseDataModule:
        for known in [name for name in sys.modules if name == "own" or name.startswith("chop_user_own_")]:
            del sys.modules[known]
        (self.folder / "scale.txt").write_text(str(scale), encoding="utf-8")
        (self.folder / "own.py").write_text(OWN_DATA.format(rows=rows, threshold=threshold), encoding="utf-8")
        data = MaseDataModule(f"{self.folder / 'own.py'}:build_data", 512)
        data.setup()
        return data


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnData:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return OwnData(tmp_path)


@pytest.fixture
def lab_of_own(lab: dict[str, Any]) -> dict[str, Any]:
    lab["strategy"]["sw_runner"]["basic_evaluation"].pop("num_samples")
    lab["strategy"]["metrics"]["share_above"] = {"scale": 1.0}
    lab["strategy"]["setup"] = {"landscape": True}
    return lab


@pytest.mark.parametrize(
    ("change", "said"), [({"rows": 95}, "dataset changed"), ({"threshold": 0.5}, "user_code changed")]
)
def test_other_rows_or_metrics_of_the_user_are_another_search(
    own: OwnData, lab_of_own: dict[str, Any], change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    model = get_model("jsc-tiny", pretrained=True)
    search(model, own.module(), lab_of_own, tmp_path / "found")
    search(model, own.module(), lab_of_own, tmp_path / "found", resume=True)
    with pytest.raises(SearchError, match=said):
        search(model, own.module(**change), lab_of_own, tmp_path / "found", resume=True)


def test_what_no_checksum_tells_shows_in_the_first_network(
    own: OwnData, lab_of_own: dict[str, Any], tmp_path: Path
) -> None:
    model = get_model("jsc-tiny", pretrained=True)
    search(model, own.module(), lab_of_own, tmp_path / "found")
    with pytest.raises(SearchError, match=r"share_above = .*, but .* now: .* have changed"):
        search(model, own.module(scale=0.5), lab_of_own, tmp_path / "found", resume=True)


def test_the_landscape_of_other_rows_or_metrics_is_not_the_truth(
    own: OwnData, lab_of_own: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = get_model("jsc-tiny", pretrained=True)

    def gap(name: str, **change: Any) -> bool:
        table = copy.deepcopy(lab_of_own)
        table["strategy"] |= {"name": "optuna", "setup": {"sampler": "random", "n_trials": 5}}
        folder = tmp_path / name / "software" / "search_ckpts"
        search(model, own.module(**change), table, folder)
        return "Gap to the optimum" in (folder / "report.md").read_text(encoding="utf-8")

    search(model, own.module(), lab_of_own, tmp_path / "whole" / "software" / "search_ckpts")
    assert gap("same")
    assert not gap("rows", rows=95)
    assert not gap("threshold", threshold=0.5)
    assert "left out of account" not in caplog.text
    assert not gap("scale", scale=0.5)
    assert "left out of account" in caplog.text


def test_a_search_that_cannot_be_trusted_leaves_no_result(
    own: OwnData, lab_of_own: dict[str, Any], tmp_path: Path
) -> None:
    data = own.module()
    (_, direction), calls = data.metrics["share_above"], iter(range(10_000))
    own_metrics = dict(data.metrics)
    own_metrics["share_above"] = (lambda predictions, targets: next(calls) / 1000, direction)
    assert data._user_data is not None
    data._user_data = replace(data._user_data, metrics=own_metrics)
    folder = tmp_path / "found"
    with pytest.raises(SearchError, match="no result of this search can be trusted"):
        search(get_model("jsc-tiny", pretrained=True), data, lab_of_own, folder)
    assert {file.name for file in folder.iterdir()} == {"trials.jsonl", "log.json"}


@pytest.mark.parametrize("kind", ["buffer", "attribute", "hook"])
def test_what_no_state_dict_holds_of_a_model_counts(
    kind: str, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule
) -> None:
    def model(value: float) -> nn.Module:
        found = get_model("jsc-tiny", pretrained=True)
        layer = next(layer for layer in found.modules() if isinstance(layer, nn.ReLU))
        if kind == "buffer":
            layer.register_buffer("shift", torch.tensor(value), persistent=False)
        elif kind == "attribute":
            found.__class__ = type("Own", (type(found),), {"__module__": __name__})
            found.shift = value  # type: ignore[assignment]
        else:
            layer.register_forward_hook(lambda module, inputs, output: output + 0 * value)
        return found

    search(model(1.0), jets, lab, tmp_path)
    search(model(1.0), jets, lab, tmp_path, resume=True)
    with pytest.raises(SearchError, match="model_state changed"):
        search(model(0.5), jets, lab, tmp_path, resume=True)


@dataclass(frozen=True)
class Halved(WeightTransform):
    """Divides the weights by `halved`."""

    halved: float = 2.0

    def apply(self, weights: torch.Tensor) -> torch.Tensor:
        return weights / self.halved


def test_the_code_of_a_users_weight_transform_counts(tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule) -> None:
    WEIGHT_TRANSFORMS.register("halved")(Halved)
    model = get_model("jsc-tiny", pretrained=True)
    lists = lab["search_space"]["seed"]["seq_blocks_2"]["config"] | {"weight_width": [4], "bias_width": [8]}
    for name, more in (("without", {}), ("with", {"weight_halved": [1.0, 2.0]})):
        lab["search_space"]["seed"]["seq_blocks_2"]["config"] = {**lists, **more}
        search(model, jets, lab, tmp_path / name)
    without, own = (
        json.loads((tmp_path / name / "trials.jsonl").read_text(encoding="utf-8").splitlines()[0])["fingerprint"]
        for name in ("without", "with")
    )
    assert without["user_code"] is None
    assert own["user_code"] is not None
