"""A saved graph: what its file says never makes code run, and no change of it goes unnoticed."""

from __future__ import annotations

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
from chop.passes.graph import fold_batch_norm_transform_pass


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


@pytest.mark.parametrize("version", [2, 99, 0, "2", None])
def test_a_saved_graph_of_another_version_is_refused(tmp_path: Path, version: Any) -> None:
    path = graph_file(tmp_path, version=version)
    for read in (MaseGraph.from_checkpoint, lambda path: load_weights(get_model("jsc-tiny"), path)):
        with pytest.raises(CheckpointError, match="version"):
            read(path)


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
