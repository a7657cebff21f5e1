"""get_model: shapes, names, users' own models and the errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from chop.dataset import get_dataset_info
from chop.errors import CheckpointError, ChopError, UnknownNameError
from chop.ir import MaseGraph
from chop.models import MODELS, get_model, get_model_info

USER_FILE = """
from torch import nn

def build_model(info): return nn.Linear(info.num_features, info.num_classes)
def alone(): return nn.Linear(3, 2)
def nothing(): return None
def broken(): raise KeyError("width")
"""


@pytest.mark.parametrize(
    ("name", "parameters"), [("jsc-tiny", 117), ("jsc-toy", 327), ("jsc-s", 5_807), ("jsc-mlp", 4_389)]
)
def test_jet_models_have_their_shapes(name: str, parameters: int) -> None:
    model = get_model(name, dataset_info=get_dataset_info("jsc"))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(x=torch.randn(3, 16)).shape == (3, 5)


def test_layers_of_jsc_tiny_and_jsc_toy_are_those_of_the_lab() -> None:
    tiny = [type(layer).__name__ for layer in get_model("jsc-tiny").seq_blocks]
    assert tiny == ["BatchNorm1d", "ReLU", "Linear", "ReLU"]
    toy = [type(layer).__name__ for layer in get_model("jsc-toy").seq_blocks]
    assert toy == ["BatchNorm1d", "ReLU", *(["Linear", "BatchNorm1d", "ReLU"] * 3)]


def test_jsc_mlp_is_plain_and_ends_without_relu() -> None:
    layers = get_model("jsc-mlp").seq_blocks
    assert [layer.out_features for layer in layers if isinstance(layer, nn.Linear)] == [64, 32, 32, 5]
    assert isinstance(layers[-1], nn.Linear)


def test_widths_follow_the_data() -> None:
    model = get_model("toy", dataset_info=get_dataset_info("jsc"))
    assert model(torch.randn(2, 16)).shape == (2, 5)


def test_shapes_cnn_takes_images_and_is_traced_layer_by_layer() -> None:
    model = get_model("shapes-cnn", dataset_info=get_dataset_info("shapes"))
    assert sum(p.numel() for p in model.parameters()) == 3_697
    graph = MaseGraph(model)
    x = torch.randn(3, 1, 12, 12)
    assert graph.model(x).shape == (3, 5)
    assert torch.equal(graph.model(x), model(x))
    ops = [graph.op(node).name for node in graph.nodes if graph.op(node)]
    assert ops == ["conv2d", "relu", "max_pool2d"] * 2 + ["linear", "relu", "linear"]


def test_reviews_transformer_takes_words_and_is_traced_layer_by_layer() -> None:
    model = get_model("reviews-transformer", dataset_info=get_dataset_info("reviews"))
    graph = MaseGraph(model)
    words = torch.randint(48, (3, 12))
    assert torch.equal(graph.model(words), model(words))
    ops = [graph.op(node).name for node in graph.nodes if graph.op(node)]
    assert ops.count("linear") == 2 * 6 + 1
    assert ops.count("scaled_dot_product_attention") == 2


@pytest.mark.parametrize(("name", "data"), [("jsc-mlp", "shapes"), ("shapes-cnn", "jsc"), ("toy", "shapes")])
def test_images_for_vectors_and_vectors_for_images_are_refused(name: str, data: str) -> None:
    with pytest.raises(ChopError, match="images of 12 x 12 pixels"):
        get_model(name, dataset_info=get_dataset_info(data))


def test_shipped_weights_for_other_data_are_refused() -> None:
    with pytest.raises(CheckpointError, match="are for 4 features"):
        get_model("toy", dataset_info=get_dataset_info("jsc"), pretrained=True)


def test_unknown_names_and_tasks() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'jsc-tiny'"):
        get_model("jsc-tinny")
    with pytest.raises(ChopError, match="does not do task 'lm'"):
        get_model("toy", task="lm")
    assert isinstance(get_model("toy", task="classification"), nn.Module)


def test_every_model_has_facts() -> None:
    for name in MODELS:
        info = get_model_info(name)
        assert info.name == name
        assert info.description
        assert info.trained_on


def test_a_users_model_is_built_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(USER_FILE, encoding="utf-8")
    assert get_model(f"{path}:build_model", dataset_info=get_dataset_info("jsc")).in_features == 16
    assert get_model(f"{path}:alone").in_features == 3
    assert get_model_info(f"{path}:alone").model_source == "user"
    with pytest.raises(ChopError, match="returned NoneType"):
        get_model(f"{path}:nothing")
    with pytest.raises(ChopError, match=r"net\.py:7: KeyError"):
        get_model(f"{path}:broken")
    with pytest.raises(CheckpointError, match="no weights ship"):
        get_model(f"{path}:alone", pretrained=True)
