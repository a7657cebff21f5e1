"""A search whose network goes through passes first: what it found is built again, continued and loaded as such."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import chop
from chop.actions.setup import traced
from chop.dataset import MaseDataModule
from chop.errors import ConfigError
from chop.ir import MaseGraph
from chop.ir.graph.inputs import placeholder_keywords
from chop.models import get_model
from chop.passes.graph import equalise_transform_pass, fold_batch_norm_transform_pass
from chop.record.folder import SearchFolder
from tests.conftest import Command

FILE = """
model = "jsc-toy"
dataset = "jsc"
batch_size = 512
[search.search_space]
name = "graph/quantize/mixed_precision_ptq"
[search.search_space.setup]
by = "type"
passes = ["fold_batch_norm", "equalise"]
[search.search_space.seed.linear.config]
name = ["integer"]
weight_width = [3, 4]
weight_frac_width = ["auto"]
data_in_width = [4]
data_in_frac_width = ["auto"]
[search.strategy]
name = "brute_force"
[search.strategy.sw_runner.basic_evaluation]
data_loader = "val_dataloader"
num_samples = 512
[search.strategy.hw_runner.bitops]
[search.strategy.metrics]
accuracy.direction = "maximize"
bitops.direction = "minimize"
"""


def by_hand(data: MaseDataModule) -> MaseGraph:
    graph = traced(get_model("jsc-toy", pretrained=True), data)
    few = placeholder_keywords(graph, next(iter(data.batches("train", 2)))[0])
    fold_batch_norm_transform_pass(graph, {"dummy_in": few, "show": False})
    equalise_transform_pass(graph, {"dummy_in": few, "show": False})
    return graph


@pytest.fixture
def data() -> MaseDataModule:
    found = MaseDataModule("jsc", batch_size=512)
    found.prepare_data()
    found.setup()
    return found


def test_its_figures_are_those_of_the_changed_network_and_its_trials_are_built_again(
    tmp_path: Path, ch: Command, data: MaseDataModule
) -> None:
    (tmp_path / "own.toml").write_text(FILE, encoding="utf-8")
    ch("search", "--config", "own.toml", "--pretrained", "--project", "own", "--finish-epochs", "1")
    folder = tmp_path / "mase_output" / "own" / "software" / "search_ckpts"
    rows = SearchFolder(folder).rows()
    wanted = chop.search(
        by_hand(data), "jsc", chop.Space.from_table(_without_passes(tmp_path)), objectives=["accuracy", "bitops"],
        strategy="brute_force", num_samples=512, batch_size=512,
    )  # fmt: skip
    found = {json.dumps(row["sampled_config"], sort_keys=True): row["software_metrics"]["accuracy"] for row in rows}
    for network in wanted:
        assert found[json.dumps(dict(network.config), sort_keys=True)] == network.metrics["accuracy"]
    assert rows[0]["passes"] == ["fold_batch_norm", "equalise"]
    for row in (SearchFolder(folder).rows("best.json")[0]["number"], rows[0]["number"]):
        ch("test", "--from-search", str(folder), "--row", str(row))
        ch("test", "--from-search", str(folder), "--row", str(row), "--untuned")
        ch("transform", "--from-search", str(folder), "--row", str(row), "--untuned")
        ch("test", "jsc-toy", "jsc", "--load", str(folder.parent / "transform" / "graph.safetensors"))
    ch("search", "--config", "own.toml", "--pretrained", "--project", "own", "--finish-epochs", "1", "--resume")
    (tmp_path / "own.toml").write_text(FILE.replace(', "equalise"', ""), encoding="utf-8")
    _, err = ch("search", "--config", "own.toml", "--pretrained", "--project", "own", "--resume", status=1)
    assert "belongs to another search" in " ".join(err.split())


def _without_passes(folder: Path) -> dict[str, object]:
    table = dict(chop.Space.from_toml(folder / "own.toml").table())
    return {**table, "setup": {key: own for key, own in table["setup"].items() if key != "passes"}}


def test_from_python_with_processes_and_loaded_again(tmp_path: Path, data: MaseDataModule) -> None:
    space = chop.Space(["integer"], [3, 4], layers=["linear"], passes=["fold_batch_norm", "migrate_scales"])
    model = get_model("jsc-toy", pretrained=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    options = {"objectives": ["accuracy", "bitops"], "strategy": "brute_force", "num_samples": 256}
    one = chop.search(model, "jsc", space, folder=tmp_path / "one", **options)
    two = chop.search(model, "jsc", space, n_jobs=2, **options)
    assert [own.metrics for own in one] == [own.metrics for own in two]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    x = next(iter(data.batches("val", 50)))[0]
    loaded = chop.load_study(tmp_path / "one", model)
    net, again = one[0].model, loaded[0].model
    assert sum("BatchNorm" in type(own).__name__ for own in net.modules()) == 1  # of the inputs: no layer before it
    assert torch.equal(net(x), again(x))


@pytest.mark.parametrize(
    ("passes", "told"),
    [
        (["fold_batchnorm"], "did you mean 'fold_batch_norm'"),
        (["quantize"], "'quantize' is no pass that keeps the float network"),
        (["equalise", "equalise"], "names a pass twice"),
    ],
)
def test_what_is_no_such_pass_is_told(passes: list[str], told: str) -> None:
    space = chop.Space(["integer"], [4], layers=["linear"], passes=passes)
    model = get_model("jsc-toy", pretrained=True)
    with pytest.raises(ConfigError, match=f"(?s)space: passes: .*{told}"):
        chop.search(model, "jsc", space, objectives=["accuracy"], strategy="brute_force")


def test_a_training_for_a_space_refuses_them() -> None:
    space = chop.Space(["integer"], [4], layers=["linear"], passes=["fold_batch_norm"])
    call = r'example_inputs=x\); PASSES\["fold_batch_norm"\]\(graph\); then graph\.model'
    with pytest.raises(ConfigError, match=f"(?s)space: passes: is for a search.*{call}"):
        chop.train_for_space(get_model("jsc-toy", pretrained=True), "jsc", space)


def test_a_network_whose_norms_were_folded_first_is_trained_and_searched() -> None:
    graph = chop.MaseGraph(get_model("jsc-toy", pretrained=True))
    fold_batch_norm_transform_pass(graph)
    space = chop.Space(["integer"], [4, 8], layers=["linear"])
    trained = chop.train_for_space(graph.model, "jsc", space, max_epochs=1, probes=2, batch_size=4096)
    assert [type(module).__name__ for module in trained.model.modules()].count("BatchNorm1d") == 1  # of the inputs
    study = chop.search(trained.model, "jsc", space, objectives=["accuracy"], n_trials=2, num_samples=256)
    assert len(study.trials) == 2
