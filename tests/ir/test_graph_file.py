"""A saved graph: what its file says never makes code run, and no change of it goes unnoticed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from chop.errors import CheckpointError
from chop.ir import MaseGraph
from chop.models import get_model
from chop.models.checkpoint import load_weights
from chop.models.checkpoint_file import GRAPH_KEY, save_tensors
from chop.passes.graph import fold_batch_norm_transform_pass, quantize_transform_pass


def graph_file(folder: Path, **changed: Any) -> Path:
    """A saved graph of jsc-tiny, its notes changed before it is written."""
    model = get_model("jsc-tiny", pretrained=True)
    about: dict[str, Any] = {"model": "jsc-tiny", "version": 1, "formats": {}, "folded": [], **changed}
    return save_tensors(model.state_dict(), folder / "g.safetensors", {GRAPH_KEY: json.dumps(about)})


def test_a_file_never_makes_code_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    own = tmp_path / "mine.py"
    own.write_text(
        f"open({str(marker)!r}, 'w')\nfrom chop.models import get_model\ndef f(): return get_model('jsc-tiny')",
        encoding="utf-8",
    )
    path = graph_file(tmp_path, model=f"{own}:f")
    with pytest.raises(CheckpointError, match="model="):
        MaseGraph.from_checkpoint(path)
    assert not marker.exists()
    loaded = MaseGraph.from_checkpoint(path, get_model("jsc-tiny"))
    assert torch.equal(loaded.model.get_parameter("seq_blocks.2.weight"), _weight())


def _weight() -> Tensor:
    return get_model("jsc-tiny", pretrained=True).get_parameter("seq_blocks.2.weight")


@pytest.mark.parametrize("version", [3, 99, 0, "2", None])
def test_a_saved_graph_of_another_version_is_refused(tmp_path: Path, version: Any) -> None:
    path = graph_file(tmp_path, version=version)
    for read in (MaseGraph.from_checkpoint, lambda path: load_weights(get_model("jsc-tiny"), path)):
        with pytest.raises(CheckpointError, match="version"):
            read(path)


def test_a_loaded_graph_that_is_saved_again_still_names_its_model(tmp_path: Path) -> None:
    loaded = MaseGraph.from_checkpoint(graph_file(tmp_path, task="cls"))
    again = MaseGraph.from_checkpoint(copy.deepcopy(loaded).export(tmp_path / "again.safetensors"))
    assert dict(again.about) == {"model": "jsc-tiny", "task": "cls"}
    assert torch.equal(again.model.get_parameter("seq_blocks.2.weight"), _weight())


@pytest.mark.parametrize(
    ("notes", "told"),
    [
        ({"model": None}, "names no model: pass the model"),
        ({"model": "of-a-plug-in"}, "is the graph of 'of-a-plug-in' .unknown model.*: pass the model"),
        ({"model": "jsc-toy"}, "does not fit 'jsc-toy' as it ships: pass the model"),
        ({"formats": {"seq_blocks_2": {"weight": {"format": "of-a-plug-in"}}}}, "import the module, or install"),
    ],
)
def test_what_is_missing_is_named(notes: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=told):
        MaseGraph.from_checkpoint(graph_file(tmp_path, **notes))


def test_a_quantised_network_is_a_module_like_any_other(tmp_path: Path) -> None:
    layer = {"name": "integer", "data_in_width": 8, "data_in_frac_width": 4, "weight_width": 4, "weight_frac_width": 2}
    graph, _ = quantize_transform_pass(
        MaseGraph(get_model("jsc-tiny", pretrained=True)), {"by": "type", "linear": {"config": layer}}
    )
    torch.save(graph.model, tmp_path / "net.pt")
    x = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
    expected = graph.model(x)
    for net in (torch.load(tmp_path / "net.pt", weights_only=False), copy.deepcopy(graph.model)):
        assert torch.equal(net(x), expected)
        assert net.state_dict().keys() == get_model("jsc-tiny").state_dict().keys()


def test_any_change_of_a_saved_graph_is_refused(tmp_path: Path) -> None:
    path = graph_file(tmp_path)
    content = path.read_bytes()
    for before, after in ((b"jsc-tiny", b"jsc-mlp!"), (content[-1:], bytes([content[-1] ^ 1]))):
        at = content.rindex(before)
        path.write_bytes(content[:at] + after + content[at + len(before) :])
        with pytest.raises(CheckpointError, match="damaged"):
            MaseGraph.from_checkpoint(path)


def test_weights_of_a_graph_with_folded_norms_are_refused_alone(tmp_path: Path) -> None:
    graph, _ = fold_batch_norm_transform_pass(MaseGraph(get_model("jsc-toy", pretrained=True)))
    path = graph.export(tmp_path / "g.safetensors", {"model": "jsc-toy"})
    with pytest.raises(CheckpointError, match=r"folded .* --load the checkpoint"):
        load_weights(get_model("jsc-toy"), path)
    assert load_weights(get_model("jsc-toy"), path, takes_graph=True).kind == "mz"


@pytest.mark.parametrize(
    ("model", "cure"),
    [("jsc-tiny", r"got 'jsc-tiny'; pass chop\.get_model\('jsc-tiny'\)"), (torch.nn.Linear, "pass an instance")],
)
def test_a_model_that_is_no_module_is_named(model: Any, cure: str, tmp_path: Path) -> None:
    path = MaseGraph(torch.nn.Linear(2, 2), example_inputs=torch.zeros(1, 2)).export(tmp_path / "g.safetensors")
    with pytest.raises(CheckpointError, match=rf"^model: expected a torch\.nn\.Module, .*{cure}"):
        MaseGraph.from_checkpoint(path, model=model)
