"""Where samples and channels lie: in every op, behind convolutions, linear layers, permutations and attention."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.errors import ChopError, FormatError, GraphError
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import Integer, MXInt, ScaleInteger
from chop.formats.layout import Layout
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.fitting import fitted
from chop.ir.graph.node_costs import node_costs
from chop.passes.graph import calibrate_analysis_pass, quantize_transform_pass

SPREAD = torch.tensor([100.0, 1.0, 0.01, 0.0001])
BY_CHANNEL = {"name": "scale_integer", "data_in_width": 8, "data_in_granularity": "channel"}
BLOCKS = {"name": "mxint", "data_in_block_size": [16], "data_in_element_bits": 4}


class Net(nn.Module):
    """A layer, and any function of its result."""

    def __init__(self, layer: nn.Module, function: Callable[[Tensor], Tensor], **parameters: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.function = function
        for name, value in parameters.items():
            setattr(self, name, nn.Parameter(value))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(
            self.layer(x), **{name: getattr(self, name) for name, _ in self.named_parameters(recurse=False)}
        )


def conv(dims: int) -> nn.Module:
    torch.manual_seed(dims)
    layer: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](3, 4, 1)
    layer.weight.data *= SPREAD.view(4, *[1] * (dims + 1))
    layer.bias.data.zero_()
    return layer


def linear() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.Linear(3, 4)
    layer.weight.data *= SPREAD.view(4, 1)
    layer.bias.data.zero_()
    return layer


IMAGES, VOLUMES, SIGNALS, SEQUENCES, VECTORS = (8, 3, 5, 6), (8, 3, 5, 6, 2), (8, 3, 5), (8, 7, 3), (8, 3)


@pytest.mark.parametrize(
    ("layer", "function", "shape", "op", "axis"),
    [
        (conv(2), F.relu, IMAGES, "relu", 1),
        (conv(3), F.relu, VOLUMES, "relu", 1),
        (conv(1), F.relu, SIGNALS, "relu", 1),
        (conv(2), torch.sigmoid, IMAGES, "sigmoid", 1),
        (conv(2), lambda h: h + h.mean((2, 3), keepdim=True), IMAGES, "add", 1),
        (conv(2), lambda h: h * torch.sigmoid(h), IMAGES, "mul", 1),
        (conv(2), lambda h: F.relu(h.mean((2, 3))), IMAGES, "relu", 1),
        (conv(2), lambda h: F.relu(F.interpolate(h, scale_factor=2)), IMAGES, "relu", 1),
        (conv(2), lambda h: F.relu(F.hardswish(h.abs() + h)), IMAGES, "relu", 1),
        (conv(2), lambda h: F.gelu(h.permute(0, 2, 3, 1)), IMAGES, "gelu", 3),
        (conv(2), lambda h: F.gelu(h.flatten(2).transpose(1, 2)), IMAGES, "gelu", 2),
        (conv(2), lambda h: F.avg_pool2d(h, 2), IMAGES, "avg_pool2d", 1),
        (conv(2), lambda h: F.relu(F.max_pool2d(h, 2)), IMAGES, "relu", 1),
        (conv(2), lambda h: F.relu(torch.chunk(h, 1, 1)[0]), IMAGES, "relu", 1),
        (linear(), F.relu, VECTORS, "relu", 1),
        (linear(), F.relu, SEQUENCES, "relu", 2),
        (linear(), F.gelu, (8, 5, 6, 3), "gelu", 3),
        (linear(), lambda h: F.relu(h.transpose(1, 2)), SEQUENCES, "relu", 1),
        (linear(), lambda h: F.relu(h.permute(0, 3, 1, 2)), (8, 5, 6, 3), "relu", 1),
        (linear(), lambda h: F.relu(h.transpose(0, 1)), SEQUENCES, "relu", 2),
    ],
)
def test_activations_have_one_scale_for_each_channel(
    layer: nn.Module, function: Callable[[Tensor], Tensor], shape: tuple[int, ...], op: str, axis: int
) -> None:
    torch.manual_seed(0)
    seen: list[Tensor] = []
    x = torch.rand(shape) + 0.1
    graph, _ = calibrate_analysis_pass(MaseGraph(Net(layer, function).eval()), {"input_generator": [{"x": x}]})
    graph, info = quantize_transform_pass(graph, {"by": "type", op: {"config": BY_CHANNEL}})
    (formats,) = (dict(chosen) for _, chosen in info["plan"].choices)
    for name, module in graph.model.named_modules():
        if name.endswith((*graph.plan, "_quantized")):
            module.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    graph.model(x)
    (value,) = seen
    others = [dim for dim in range(value.ndim) if dim != axis]
    wanted = value.abs().amax(others) / 127  # one scale for each channel, from the definition
    scale = wanted.clamp(min=1e-30).view(*[-1 if dim == axis else 1 for dim in range(value.ndim)])
    rounded = (value / scale).round().clamp(-128, 127) * scale
    assert formats["data_in"].bits((1, *value.shape[1:])) == 8 * value[0].numel() + 32 * 4
    torch.testing.assert_close(formats["data_in"].quantize(value), rounded, rtol=1e-5, atol=1e-12)


def test_images_of_another_width_have_the_scales_of_their_channels() -> None:
    x = torch.rand(8, 3, 5, 6)
    graph, _ = calibrate_analysis_pass(MaseGraph(Net(conv(2), F.relu).eval()), {"input_generator": [{"x": x}]})
    graph, _ = quantize_transform_pass(graph, {"by": "type", "relu": {"config": BY_CHANNEL}})
    assert graph.model(torch.rand(2, 3, 9, 4)).shape == (2, 4, 9, 4)


@pytest.mark.parametrize(
    ("shape", "bias"),
    [
        ((64, 4), (4,)),
        ((64, 4, 5, 6), (1, 4, 1, 1)),
        ((64, 4, 5, 6), (4, 1, 1)),
        ((64, 5, 4), (4,)),
        ((64, 4, 5), (4, 1)),
    ],
)
def test_a_broadcast_addition_has_one_scale_for_each_channel(shape: tuple[int, ...], bias: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    axis = -len(bias) if len(bias) < 4 else -3
    spread = SPREAD.view(-1, *[1] * (-axis - 1))
    x = torch.randn(shape) * spread
    model = Net(nn.Identity(), lambda h, bias: h + bias, bias=(torch.randn(4) * SPREAD).view(bias)).eval()
    graph, _ = calibrate_analysis_pass(MaseGraph(model), {"input_generator": [{"x": x}]})
    graph, _ = quantize_transform_pass(graph, {"by": "type", "add": {"config": BY_CHANNEL}})
    error = (graph.model(x) - model(x)).abs().movedim(axis, 0).flatten(1).amax(1)
    assert (error / model(x).abs().movedim(axis, 0).flatten(1).amax(1)).max() < 0.02
    chosen = graph.plan["add"]["data_in"]
    assert isinstance(chosen, ScaleInteger)
    assert chosen.scale is not None
    assert len(chosen.scale) == 4


def test_channels_that_cannot_be_told_are_refused_by_name() -> None:
    model = Net(nn.Linear(4, 4), lambda h: F.softmax(h @ h.transpose(1, 2), -1)).eval()
    graph, _ = calibrate_analysis_pass(MaseGraph(model), {"input_generator": [{"x": torch.randn(8, 5, 4)}]})
    advice = "channels is unknown here; choose granularity = \"tensor\" for it \\(keys start with '{}_'\\)$"
    with pytest.raises(ChopError, match=rf"softmax.*: .*{advice.format('data_in')}"):
        quantize_transform_pass(graph, {"by": "type", "softmax": {"config": BY_CHANNEL}})
    for frac_width, key in (("auto", "data_in"), ("learned", "activation")):
        plan = QuantPlan.of({"softmax": {"data_in": Integer(8, frac_width, granularity="channel")}})
        with pytest.raises(GraphError, match=rf"softmax.*: .*{advice.format(key)}"):
            fitted(plan, {"softmax": {own: Layout(3) for own in ("data_in", "data_out")}})


@pytest.mark.parametrize("groups", [1, 2])
def test_weights_of_transposed_convolutions_have_one_scale_for_each_output_channel(groups: int) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(4, 6, 3, groups=groups).eval()
    size = torch.logspace(2, -3, 6).view(groups, 1, 6 // groups).expand(groups, 4 // groups, 6 // groups)
    layer.weight.data *= size.reshape(4, 6 // groups, 1, 1)
    config = {"name": "scale_integer", "weight_width": 8, "weight_granularity": "channel"}
    graph, _ = quantize_transform_pass(
        MaseGraph(nn.Sequential(layer)), {"by": "type", "conv_transpose2d": {"config": config}}
    )
    chosen = graph.plan["_0"]["weight"]
    assert isinstance(chosen, ScaleInteger)
    assert chosen.scale is not None
    assert len(chosen.scale) == 6
    assert chosen.bits(layer.weight.shape) == 8 * layer.weight.numel() + 32 * 6
    x, wanted = torch.randn(2, 4, 5, 5), copy.deepcopy(layer)
    for group in range(groups):
        for output in range(6 // groups):
            own = wanted.weight.data[group * (4 // groups) : (group + 1) * (4 // groups), output]
            step = own.abs().max() / 127
            own.copy_((own / step).round() * step)
    torch.testing.assert_close(graph.model(x), wanted(x), rtol=1e-4, atol=1e-6)


class StepsFirst(nn.Module):
    """As nn.LSTM has it without batch_first."""

    def __init__(self, swap: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 4)
        self.swap = swap

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.swap(x)).mean(0)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.LSTM(16, 16)
        self.layer = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.steps(x.transpose(0, 1))
        return self.layer(torch.relu(h)).mean(0)


class Flattened(nn.Module):
    """All steps of all samples in one dimension, samples inside."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(0, 1).reshape(-1, 16)).view(5, -1, 4).mean(0)


@pytest.mark.parametrize(
    "model",
    [
        StepsFirst(lambda x: x.transpose(0, 1)),
        StepsFirst(lambda x: x.permute(1, 0, 2)),
        StepsFirst(lambda x: torch.stack(x.unbind(1))),
        StepsFirst(lambda x: torch.einsum("bsf->sbf", x)),
        Recurrent(),
        Flattened(),
    ],
)
def test_blocks_never_reach_over_two_samples(model: nn.Module) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 5, 16)
    louder = torch.cat([x[:1], 100 * x[1:]])
    plan = {"by": "type", "linear": {"config": BLOCKS}, "relu": {"config": BLOCKS}}
    graph, _ = quantize_transform_pass(MaseGraph(model.eval()), plan)
    assert torch.equal(graph.model(x)[0], graph.model(louder)[0])
    one_by_one = torch.cat([graph.model(row.unsqueeze(0)) for row in x])
    torch.testing.assert_close(graph.model(x), one_by_one)
    assert not torch.equal(graph.model(x), model(x))
    runner = PlanRunner(MaseGraph(model), [(x, torch.zeros(4))])
    torch.testing.assert_close(runner.predictions(graph.plan), graph.model(x))


def test_where_samples_come_first_blocks_are_as_before() -> None:
    graph, _ = quantize_transform_pass(
        MaseGraph(nn.Sequential(nn.Linear(16, 4))), {"by": "type", "linear": {"config": BLOCKS}}
    )
    x = torch.randn(3, 5, 16)
    graph.model(x)
    assert graph.plan["_0"]["data_in"] == MXInt(block_size=(16,), element_bits=4, is_activation=True)


def test_the_samples_of_a_model_for_one_batch_size_are_seen_by_what_follows_from_them() -> None:
    torch.manual_seed(0)
    model = Net(nn.Identity(), lambda h: F.relu(h.reshape(4, 4, 16).transpose(0, 1)).sum(0)).eval()
    graph, _ = quantize_transform_pass(MaseGraph(model), {"by": "type", "relu": {"config": BLOCKS}})
    x = torch.randn(4, 4, 16)
    louder = torch.cat([x[:1], 100 * x[1:]])
    assert torch.equal(graph.model(x)[0], graph.model(louder)[0])


def test_blocks_are_refused_where_samples_cannot_be_told() -> None:
    with pytest.raises(FormatError, match="samples is unknown"):
        MXInt(block_size=(16,), element_bits=4, is_activation=True).placed(Layout(3, samples=None))


class Shifted(nn.Module):
    """Index arithmetic before a table, arithmetic on sizes and masks, and one real addition."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(80, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        known = (ids != 0) * (ids != 1)
        steps = ids.shape[1] * 1
        h = self.table(ids * 2 + 1) * known.unsqueeze(-1)
        return self.head((h + h).sum(1) / steps)


WIDE = {"name": "integer", "data_in_width": 4, "data_in_frac_width": 2, "data_out_width": 4, "data_out_frac_width": 2}


def test_integers_are_never_rounded() -> None:
    model, ids = Shifted().eval(), torch.randint(10, 39, (6, 5))
    graph, _ = quantize_transform_pass(
        MaseGraph(model), {"by": "name", "add": {"config": WIDE}, "mul_1": {"config": WIDE}}
    )
    assert torch.equal(graph.model(ids), model(ids))


def test_integers_are_no_layers_and_cost_nothing() -> None:
    model, ids = Shifted().eval(), torch.randint(10, 39, (6, 5))
    graph = MaseGraph(model, example_inputs=ids)
    named = {name: op.name for name, op in graph.quantizable_nodes().items()}
    assert sorted(named.values()) == ["add", "embedding", "linear", "mul"]
    costs = node_costs(graph, ids)
    assert {name for name in costs if name in named} == set(named)
    (product,) = (cost for cost in costs.values() if cost.op.name == "mul")
    assert [tensor.shape for tensor in product.tensors if tensor.operand == "data_in"] == [(1, 5, 8)]


def test_a_plan_made_before_anything_was_seen_loses_formats_of_integers() -> None:
    model, ids = Shifted().eval(), torch.randint(10, 39, (6, 5))
    graph, _ = quantize_transform_pass(MaseGraph(model), {"by": "type", "add": {"config": WIDE}})
    graph, _ = calibrate_analysis_pass(graph, {"input_generator": [{"ids": ids}]})
    assert list(graph.plan) == ["add_1"]


@pytest.mark.parametrize("steps_first", [False, True])
def test_channels_are_measured_on_batches_of_several_shapes(steps_first: bool) -> None:
    torch.manual_seed(0)
    model = Net(linear(), lambda h: F.relu(h.transpose(0, 1) if steps_first else h)).eval()
    batches = [torch.rand(4, 7, 3) + 0.1, torch.rand(3 if steps_first else 4, 7 if steps_first else 5, 3) + 0.1]
    graph, _ = calibrate_analysis_pass(MaseGraph(model), {"input_generator": [{"x": x} for x in batches]})
    graph, _ = quantize_transform_pass(graph, {"by": "type", "relu": {"config": BY_CHANNEL}})
    chosen = graph.plan["relu"]["data_in"]
    assert isinstance(chosen, ScaleInteger)
    wanted = torch.cat([model.layer(x).flatten(0, 1) for x in batches]).abs().amax(0) / 127
    torch.testing.assert_close(torch.tensor(chosen.scale), wanted)


def test_a_model_for_one_batch_size_has_layouts_all_the_same() -> None:
    """It takes two samples, as its own tensor has, but not three."""
    model = Net(nn.Identity(), lambda h, other: torch.relu(h @ other), other=torch.randn(2, 5, 3)).eval()
    graph, _ = quantize_transform_pass(MaseGraph(model), {"by": "type", "relu": {"config": BLOCKS}})
    x = torch.randn(2, 4, 5)
    louder = torch.stack([x[0], 100 * x[1]])
    assert torch.equal(graph.model(x)[0], graph.model(louder)[0])


class OnThreeSamples(nn.Module):
    """Runs on batches of three alone; that samples lie apart in its result shows for half of all samples."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x.view(3, 1) - 0.5)


def test_layouts_do_not_depend_on_the_random_numbers_drawn_before() -> None:
    found = []
    for seed in range(8):
        graph = MaseGraph(OnThreeSamples())
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        graph.observe(torch.zeros(3, 1))
        assert torch.equal(torch.get_rng_state(), before)
        found.append(graph.layouts)
    assert all(layouts == found[0] for layouts in found)
