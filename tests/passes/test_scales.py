"""Scales that are moved between layers: outputs stay, ranges become what the papers say, and the rest is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.errors import PassError
from chop.ir import MaseGraph
from chop.passes.graph import equalise_transform_pass, migrate_scales_transform_pass, quantize_transform_pass
from chop.passes.graph.transforms.scales.groups import groups_of

QUIET = {"show": False}


class Attention(nn.Module):
    """A block of a transformer, norms first: three linear layers read one norm, the residual reads none."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        x = x + F.scaled_dot_product_attention(self.q(h), self.k(h), self.v(h))
        return x + self.down(torch.relu(self.up(self.norm2(x))))


class Functions(nn.Module):
    """Layers as functions and products of parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.randn(*shape)) for shape in ((10, 6), (10, 12), (12, 3)))
        self.bias = nn.Parameter(torch.randn(10))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(F.linear(x, self.a, self.bias))
        return (h @ self.b).relu() @ self.c


def conv_net() -> nn.Module:
    layers = [
        *(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.ReLU()),
        *(nn.Conv2d(8, 4, 1, groups=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(16, 3)),
    ]
    return nn.Sequential(*layers)


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, list[str]]]] = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 3)),
        (6,),
        {"_0": ["_2"], "_2": ["_4"]},
    ),
    "convolutions": (conv_net, (2, 8, 8), {"_1": ["_3"], "_3": ["_5"], "_5": ["_10"]}),
    "transformer": (Attention, (5, 8), {"norm": ["q", "k", "v"], "norm2": ["up"], "up": ["down"]}),
    "functions": (Functions, (6,), {"linear": ["matmul"]}),
}


def prepared(name: str) -> tuple[MaseGraph, Tensor, dict[str, list[str]]]:
    torch.manual_seed(0)
    make, shape, wanted = MODELS[name]
    model = make().eval()
    uneven(model)
    return MaseGraph(model), torch.randn(40, *shape), wanted


def uneven(model: nn.Module) -> None:
    """Channels of very different ranges, and statistics that are none of the usual."""
    with torch.no_grad():
        for own in model.parameters():
            own.mul_(torch.logspace(-1, 1, len(own)).reshape(-1, *[1] * (own.ndim - 1)))
        for name, own in model.named_buffers():
            if "running" in name:
                own.copy_(torch.rand(own.shape) + 0.5)


def arguments(graph: MaseGraph, x: Tensor) -> dict[str, Any]:
    return {"dummy_in": {str(graph.nodes[0].target): x[:4]}, **QUIET}


def moved_by(which: str, graph: MaseGraph, x: Tensor) -> dict[str, Any]:
    if which == "equalise":
        return equalise_transform_pass(graph, arguments(graph, x))[1]
    samples = [{str(graph.nodes[0].target): x}]
    return migrate_scales_transform_pass(graph, {**arguments(graph, x), "input_generator": samples})[1]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("which", ["equalise", "migrate_scales"])
def test_outputs_stay_the_same_while_weights_move(which: str, name: str) -> None:
    graph, x, wanted = prepared(name)
    before, weights = graph.model(x), copy.deepcopy(dict(graph.model.named_parameters()))
    info = moved_by(which, graph, x)
    assert {source: own["into"] for source, own in info["moved"].items()} == wanted
    assert set(info["left"]) == {name for name, op in graph.quantizable_nodes().items() if _is_source(op.name)} - set(
        wanted
    )
    torch.testing.assert_close(graph.model(x), before, rtol=0, atol=1e-5 * float(before.detach().abs().max()))
    moved = [name for name, own in graph.model.named_parameters() if not torch.equal(own, weights[name])]
    assert len(moved) > len(wanted)


def _is_source(op: str) -> bool:
    return op in ("linear", "conv2d", "batch_norm2d", "layer_norm")


def test_equalised_layers_have_equal_ranges() -> None:
    graph, x, _ = prepared("mlp")
    equalise_transform_pass(graph, arguments(graph, x))
    first, second, third = (getattr(graph.model, name).weight.abs() for name in ("0", "2", "4"))
    torch.testing.assert_close(first.amax(1), second.amax(0), rtol=5e-3, atol=0)
    torch.testing.assert_close(second.amax(1), third.amax(0), rtol=5e-3, atol=0)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_migrated_scales_are_those_of_the_paper(alpha: float) -> None:
    graph, x, _ = prepared("transformer")
    own: Any = copy.deepcopy(graph.model)
    with torch.no_grad():
        h = own.norm(x)
        weights = torch.cat([own.q.weight, own.k.weight, own.v.weight])
        scales = h.abs().amax((0, 1)) ** alpha / weights.abs().amax(0) ** (1 - alpha)
    args = {**arguments(graph, x), "alpha": alpha, "input_generator": [{"x": x[:30]}, {"x": x[30:]}]}
    migrate_scales_transform_pass(graph, args)
    new: Any = graph.model
    torch.testing.assert_close(new.norm.weight, own.norm.weight / scales)
    torch.testing.assert_close(new.norm.bias, own.norm.bias / scales)
    for name in "qkv":
        torch.testing.assert_close(getattr(new, name).weight, getattr(own, name).weight * scales)
        if name != "v":
            assert torch.equal(getattr(new, name).bias, getattr(own, name).bias)


def test_channels_that_were_scaled_apart_round_better_when_they_are_equalised() -> None:
    torch.manual_seed(0)
    graph, x = MaseGraph(conv_net().eval()), torch.randn(40, 2, 8, 8)
    with torch.no_grad():
        wanted = graph.model(x)
    for group in groups_of(graph)[0]:  # the same network in float
        channels = group.channels(graph.model)
        group.move(graph.model, torch.logspace(-1, 1, channels, dtype=torch.float64)[torch.randperm(channels)])
    config = {"by": "type", "conv2d": {"config": {"name": "integer", "weight_width": 4, "weight_frac_width": "auto"}}}

    def error(own: MaseGraph) -> float:
        quantised, _ = quantize_transform_pass(copy.deepcopy(own), config)
        with torch.no_grad():
            return float((quantised.model(x) - wanted).square().sum())

    before = error(graph)
    equalise_transform_pass(graph, arguments(graph, x))
    assert error(graph) < 0.5 * before


class TestLayersThatAreLeft:
    """Whatever is not sure to stay the same is left alone, with the reason."""

    def left(self, model: nn.Module, *shape: int) -> dict[str, str]:
        graph = MaseGraph(model.eval())
        before = copy.deepcopy(graph.model.state_dict())
        _, info = equalise_transform_pass(graph, arguments(graph, torch.randn(4, *shape)))
        assert not info["moved"]
        assert all(torch.equal(value, before[name]) for name, value in graph.model.state_dict().items())
        found: dict[str, str] = info["left"]
        return found

    def test_residuals(self) -> None:
        class Residual(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

            def forward(self, x: Tensor) -> Tensor:
                h = self.a(x)
                return self.b(h) + h

        assert "'add' reads its result" in self.left(Residual(), 6)["a"]

    def test_functions_that_are_not_linear_in_scales(self) -> None:
        assert "'_1' reads its result" in self.left(nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 2)), 6)["_0"]

    def test_weights_that_are_shared(self) -> None:
        layer = nn.Linear(6, 6)
        shared = nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(6, 2))
        assert all("reads the same tensor" in why or "output" in why for why in self.left(shared, 6).values())
        tied = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
        tied[2].weight = tied[0].weight
        assert "reads the same tensor" in self.left(tied, 6)["_0"]

    def test_weights_that_are_made(self) -> None:
        made = nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))
        left = self.left(nn.Sequential(made, nn.ReLU(), nn.Linear(6, 2)), 6)
        assert any("parametrisation" in why or "no parameter" in why for why in left.values())

    def test_norms_without_weights(self) -> None:
        model = nn.Sequential(nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, 2))
        assert "no weights to scale" in self.left(model, 6)["_0"]

    def test_channels_that_change_their_place(self) -> None:
        """The last dimension is flattened together with another: scales would come to other inputs."""
        model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
        assert "outputs of the samples would change" in self.left(model, 3, 6)["_0"]


def test_formats_are_chosen_afterwards() -> None:
    graph, x, _ = prepared("mlp")
    config = {"by": "type", "linear": {"config": {"name": "integer", "weight_width": 4, "weight_frac_width": 2}}}
    quantised, _ = quantize_transform_pass(copy.deepcopy(graph), config)
    with pytest.raises(
        PassError, match="equalise: formats, or measured statistics, are chosen already; run it before quantize"
    ):
        equalise_transform_pass(quantised, arguments(graph, x))


@pytest.mark.parametrize("alpha", [-0.1, 1.5, "half", True])
def test_a_wrong_strength_is_refused(alpha: Any) -> None:
    graph, x, _ = prepared("mlp")
    with pytest.raises(PassError, match="0 <= alpha <= 1 must hold"):
        equalise_transform_pass(graph, {**arguments(graph, x), "alpha": alpha})
    with pytest.raises(PassError, match="needs dummy_in"):
        equalise_transform_pass(graph, QUIET)
    with pytest.raises(PassError, match="needs input_generator"):
        migrate_scales_transform_pass(graph, arguments(graph, x))


def test_a_dead_channel_keeps_its_scale() -> None:
    graph, x, _ = prepared("mlp")
    with torch.no_grad():
        graph.model.get_parameter("0.weight")[2] = 0.0
        graph.model.get_parameter("2.weight")[:, 3] = 0.0
    before = graph.model(x)
    equalise_transform_pass(graph, arguments(graph, x))
    assert all(own.isfinite().all() for own in graph.model.parameters())
    torch.testing.assert_close(graph.model(x), before, rtol=0, atol=1e-5 * float(before.detach().abs().max()))


def test_a_graph_is_saved_with_the_weights_as_they_are(tmp_path: Any) -> None:
    graph, x, _ = prepared("convolutions")
    model = conv_net()
    equalise_transform_pass(graph, arguments(graph, x))
    loaded = MaseGraph.from_checkpoint(graph.export(tmp_path / "graph.safetensors"), model)
    assert torch.equal(loaded.model(x), graph.model(x))


def test_norms_of_a_transformer_give_their_scales_to_the_layers_that_read_them() -> None:
    """A vision transformer of Hugging Face, as torch exports it: functions, and parameters by name."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(**sizes, image_size=16, patch_size=8, num_labels=3)
    inputs = {"pixel_values": torch.randn(6, 3, 16, 16)}
    graph = MaseGraph(transformers.ViTForImageClassification(config).eval(), example_inputs=inputs)
    before = graph.model(**inputs).logits
    _, info = migrate_scales_transform_pass(graph, {"dummy_in": inputs, "input_generator": [inputs], **QUIET})
    layers = [len(own["into"]) for own in info["moved"].values()]
    assert layers == [3, 1, 1]  # query, key and value; the first layer of the block; the classifier
    torch.testing.assert_close(
        graph.model(**inputs).logits, before, rtol=0, atol=1e-5 * float(before.detach().abs().max())
    )


def test_a_wrong_show_is_refused() -> None:
    graph, x, _ = prepared("mlp")
    with pytest.raises(PassError, match="equalise: show: expected true or false, got 3"):
        equalise_transform_pass(graph, {**arguments(graph, x), "show": 3})
