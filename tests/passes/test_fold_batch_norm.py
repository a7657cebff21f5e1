"""Batch norms are folded into the layer before them where nothing else changes, and are left alone with a reason."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from chop.errors import PassError
from chop.ir import MaseGraph
from chop.models import get_model
from chop.passes.graph import (
    absorb_batch_norm_transform_pass,
    calibrate_analysis_pass,
    fold_batch_norm_transform_pass,
    quantize_transform_pass,
)


def drawn(norm: Any) -> Any:
    """A norm whose tensors are far from those of a fresh one."""
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        if tensor is not None:
            nn.init.normal_(tensor, 1.0)
    if norm.running_var is not None:
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return norm


def images() -> Tensor:
    return torch.randn(3, 4, 5, 5)


def conv() -> nn.Module:
    return nn.Conv2d(4, 4, 3, padding=1)


class Pair(nn.Module):
    """A convolution and a norm, read in the way that `read` says."""

    def __init__(self, read: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.norm, self.read = conv(), drawn(nn.BatchNorm2d(4)), read
        self.twin = conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self, x)


def tied() -> nn.Module:
    model = Pair(lambda own, x: own.norm(own.conv(x)) + own.twin(x))
    model.twin.weight = model.conv.weight
    return model


def function(own: Any, x: Tensor) -> Tensor:
    return F.batch_norm(own.conv(x), own.norm.running_mean, own.norm.running_var)


def with_hook() -> nn.Module:
    model = nn.Sequential(conv(), drawn(nn.BatchNorm2d(4)))
    model[0].register_forward_hook(lambda module, args, result: 2 * result)
    return model


def pruned() -> nn.Module:
    model = nn.Sequential(conv(), drawn(nn.BatchNorm2d(4)))
    prune.random_unstructured(model[0], "weight", 0.5)
    return model


def sequence(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*copy.deepcopy(layers))


FOLDED: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "convolution": (sequence(conv(), drawn(nn.BatchNorm2d(4))), images),
    "groups": (sequence(nn.Conv2d(4, 8, 3, groups=2, bias=False), drawn(nn.BatchNorm2d(8))), images),
    "no gain": (sequence(conv(), drawn(nn.BatchNorm2d(4, affine=False))), images),
    "eps and momentum": (sequence(conv(), drawn(nn.BatchNorm2d(4, eps=0.3, momentum=None))), images),
    "of all devices": (sequence(conv(), drawn(nn.SyncBatchNorm(4))), images),
    "reflecting": (sequence(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), drawn(nn.BatchNorm2d(4))), images),
    "one dimension": (sequence(nn.Conv1d(4, 5, 3), drawn(nn.BatchNorm1d(5))), lambda: torch.randn(3, 4, 7)),
    "three dimensions": (
        sequence(nn.Conv3d(2, 3, 2), drawn(nn.BatchNorm3d(3))),
        lambda: torch.randn(2, 2, 4, 4, 4),
    ),
    "vectors": (sequence(nn.Linear(6, 5), drawn(nn.BatchNorm1d(5))), lambda: torch.randn(4, 6)),
    "keywords": (lambda: Pair(lambda own, x: own.norm(input=own.conv(input=x))), images),
    "double": (lambda: sequence(conv(), drawn(nn.BatchNorm2d(4)))().double(), lambda: images().double()),
}

LEFT: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], str]] = {
    "another axis": (
        sequence(nn.Linear(8, 5), drawn(nn.BatchNorm1d(5))),
        lambda: torch.randn(3, 5, 8),
        "axis",
    ),
    "other sizes": (
        sequence(nn.Linear(8, 6), drawn(nn.BatchNorm1d(5))),
        lambda: torch.randn(3, 5, 8),
        "axis|channels",
    ),
    "images of a linear layer": (
        sequence(nn.Linear(5, 4), drawn(nn.BatchNorm2d(4))),
        images,
        "axis",
    ),
    "no statistics": (
        sequence(conv(), nn.BatchNorm2d(4, track_running_stats=False)),
        images,
        "no running statistics",
    ),
    "transposed": (sequence(nn.ConvTranspose2d(4, 4, 2), drawn(nn.BatchNorm2d(4))), images, "transposed"),
    "before": (sequence(drawn(nn.BatchNorm2d(4)), conv()), images, "no linear or convolutional layer"),
    "behind a function": (
        sequence(conv(), nn.ReLU(), drawn(nn.BatchNorm2d(4))),
        images,
        "no linear or convolutional layer",
    ),
    "weight read": (
        lambda: Pair(lambda own, x: own.norm(own.conv(x)) + F.conv2d(x, own.conv.weight, padding=1)),
        images,
        "'conv.weight' is read elsewhere",
    ),
    "gain read": (
        lambda: Pair(lambda own, x: own.norm(own.conv(x)) * own.norm.weight.sum()),
        images,
        "'norm.weight' is read elsewhere",
    ),
    "called twice": (
        lambda: Pair(lambda own, x: own.norm(own.conv(x)) + own.conv(x + 1)),
        images,
        "more than once",
    ),
    "norm called twice": (
        lambda: Pair(lambda own, x: own.norm(own.conv(x)) + own.norm(x)),
        images,
        "more than once",
    ),
    "tied": (tied, images, "more than once"),
    "result read": (lambda: Pair(lambda own, x: own.norm(y := own.conv(x)) + y), images, "read by others"),
    "a function": (lambda: Pair(function), images, "as a function"),
    "hook": (with_hook, images, "hook"),
    "pruned": (pruned, images, "hook"),
    "parametrised": (
        lambda: nn.Sequential(parametrizations.weight_norm(conv()), drawn(nn.BatchNorm2d(4))),
        images,
        "parametrisation",
    ),
    "half": (
        lambda: nn.Sequential(conv().bfloat16(), drawn(nn.BatchNorm2d(4)).bfloat16()),
        lambda: images().bfloat16(),
        "differ|rounded",
    ),
}


def fold(model: nn.Module, x: Tensor, with_samples: bool) -> tuple[MaseGraph, dict[str, Any]]:
    graph = MaseGraph(model)
    name = next(str(node.target) for node in graph.nodes if node.op == "placeholder")
    arguments = {"show": False, **({"dummy_in": {name: x}} if with_samples else {})}
    want = model.eval()(x)
    graph, info = fold_batch_norm_transform_pass(graph, arguments)
    torch.testing.assert_close(graph.model(x), want, rtol=1e-5, atol=1e-5)
    return graph, info


@pytest.mark.parametrize("kind", FOLDED)
@pytest.mark.parametrize("with_samples", [True, False])
def test_what_stays_equal_is_folded(kind: str, with_samples: bool) -> None:
    torch.manual_seed(0)
    build, inputs = FOLDED[kind]
    graph, info = fold(build(), inputs(), with_samples)
    if kind == "vectors" and not with_samples:  # they might be sequences
        assert "give dummy_in" in next(iter(info["left"].values()))
        return
    assert len(info["folded"]) == 1
    assert not info["left"]
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in graph.model.modules())


def test_samples_that_the_graph_has_seen_tell_that_it_is_for_vectors(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)), torch.randn(2, 8)
    _, info = fold_batch_norm_transform_pass(MaseGraph(model), {"show": False})
    assert not info["folded"]
    assert "fold_batch_norm: _1: not folded: without samples" in caplog.text and "example_inputs" in caplog.text
    graph, info = fold_batch_norm_transform_pass(MaseGraph(model, example_inputs=x), {"show": False})
    assert info == {"folded": {"_1": "_0"}, "left": {}}
    torch.testing.assert_close(graph.model(x), model.eval()(x))
    sequences, x = nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5)), torch.randn(2, 5, 8)
    _, info = fold_batch_norm_transform_pass(MaseGraph(sequences, example_inputs=x), {"show": False})
    assert not info["folded"]


@pytest.mark.parametrize("kind", LEFT)
@pytest.mark.parametrize("with_samples", [True, False])
def test_what_would_change_is_left_alone_with_the_reason(kind: str, with_samples: bool) -> None:
    torch.manual_seed(0)
    build, inputs, reason = LEFT[kind]
    _, info = fold(build(), inputs(), with_samples)
    assert not info["folded"]
    assert info["left"]
    assert any(part in told for told in info["left"].values() for part in reason.split("|")), info


def test_folding_of_a_chain_of_linear_layers() -> None:
    model = get_model("jsc-toy", pretrained=True).eval()
    graph, info = fold_batch_norm_transform_pass(MaseGraph(model))
    assert list(info["folded"]) == ["seq_blocks_3", "seq_blocks_6", "seq_blocks_9"]
    rows = torch.randn(40, 16)
    torch.testing.assert_close(graph.model(rows), model(rows), rtol=1e-4, atol=1e-5)


def test_formats_that_were_measured_before_are_measured_on_the_folded_weights() -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 16)
    names = ("data_in", "weight", "bias")
    widths = {f"{name}_width": 6 for name in names} | {f"{name}_frac_width": "auto" for name in names}
    config = {"by": "type", "linear": {"config": {"name": "integer", **widths}}}

    def calibrated(graph: MaseGraph) -> MaseGraph:
        graph, _ = calibrate_analysis_pass(graph, {"input_generator": [{"x": x}], "num_samples": 40})
        return quantize_transform_pass(graph, config)[0]

    def folded(graph: MaseGraph) -> MaseGraph:
        return fold_batch_norm_transform_pass(graph, {"show": False})[0]

    model = get_model("jsc-toy", pretrained=True)
    first, last = calibrated(folded(MaseGraph(model))), folded(calibrated(MaseGraph(model)))
    assert first.plan == last.plan
    assert torch.equal(first.model(x), last.model(x))


def test_a_refused_fold_leaves_measured_formats_open() -> None:
    graph = MaseGraph(get_model("jsc-toy", pretrained=True))
    before = {name: tensor.clone() for name, tensor in graph.model.state_dict().items()}
    _, info = fold_batch_norm_transform_pass(graph, {"show": False, "dummy_in": {"x": torch.randn(2, 16)}})
    assert len(info["folded"]) == 3
    assert set(before) > set(graph.model.state_dict())


def test_absorbed_statistics_leave_a_product_and_a_sum() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(drawn(nn.BatchNorm1d(4)), nn.ReLU(), nn.BatchNorm1d(4, affine=False)).eval()
    graph, x = MaseGraph(model), torch.randn(20, 4)
    before = graph.model(x)
    graph, info = absorb_batch_norm_transform_pass(graph, {"show": False})
    assert info == {"absorbed": ["0"], "left": {"2": "it has no weight and bias"}}
    assert torch.allclose(graph.model(x), before, rtol=1e-5, atol=1e-5)
    norm: Any = graph.model.get_submodule("0")
    with torch.no_grad():
        norm.weight.copy_(norm.weight.mul(16).round() / 16), norm.bias.copy_(norm.bias.mul(16).round() / 16)
    x = x.mul(8).round() / 8
    assert torch.equal(norm(x), x * norm.weight + norm.bias)


def test_norms_with_formats_are_not_absorbed_and_folding_under_formats_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    graph = MaseGraph(get_model("jsc-toy", pretrained=True))
    layers = {"name": "integer", "weight_width": 4, "weight_frac_width": "auto"}
    linear, _ = quantize_transform_pass(copy.deepcopy(graph), {"by": "type", "linear": {"config": layers}})
    graph, _ = quantize_transform_pass(graph, {"by": "type", "batch_norm1d": {"config": layers}})
    x = torch.randn(50, 16)
    before = graph.model(x)
    with pytest.raises(PassError, match=r"formats are chosen for weight or bias of seq_blocks_0, .*; absorb first"):
        absorb_batch_norm_transform_pass(graph, {"show": False})
    assert torch.equal(graph.model(x), before)
    fold_batch_norm_transform_pass(linear, {"show": False, "dummy_in": {"x": x}})
    assert "seq_blocks_2, seq_blocks_5" in caplog.text
    assert "fold first, then quantise" in caplog.text


def test_a_saved_graph_has_its_absorbed_norms_again(tmp_path: Path) -> None:
    graph, _ = absorb_batch_norm_transform_pass(MaseGraph(get_model("jsc-toy", pretrained=True)), {"show": False})
    loaded = MaseGraph.from_checkpoint(graph.export(tmp_path / "graph.safetensors"), get_model("jsc-toy"))
    x = torch.randn(50, 16)
    assert torch.equal(loaded.model(x), graph.model(x))
