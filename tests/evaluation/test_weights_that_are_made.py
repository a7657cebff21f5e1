"""Weights that hooks, parametrizations or a norm make are rounded as the operation reads them, in every way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from chop.errors import GraphError
from chop.formats import Integer, ScaleInteger
from chop.ir import MaseGraph, QuantPlan
from chop.nn.copying import copied_module
from tests.evaluation.all_ways import all_ways, require_same, saved_and_loaded

IN, WEIGHT, BIAS = Integer(6, 3), Integer(3, 2), Integer(4, 3)
FORMATS = {"layer": {"data_in": IN, "weight": WEIGHT, "bias": BIAS}, "last": {"data_in": IN, "weight": WEIGHT}}


class Net(nn.Module):
    def __init__(self, make: Callable[[nn.Linear], object]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.last = nn.Linear(6, 5), nn.Linear(5, 3)
        make(self.layer)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(self.layer(x)))
        return found


def pruned_twice(layer: nn.Linear) -> None:
    prune.l1_unstructured(layer, "weight", amount=0.3)
    prune.ln_structured(layer, "weight", amount=1, n=2, dim=0)


def pruned_whole(layer: nn.Linear) -> None:
    prune.l1_unstructured(layer, "weight", amount=0.4)
    prune.random_unstructured(layer, "bias", amount=2)


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight - weight.mean(1, keepdim=True)


def standardised(layer: nn.Linear) -> None:
    """A hook of the user's own that sets the weight as a plain tensor."""
    layer.register_parameter("raw", nn.Parameter(layer.weight.detach().clone()))
    del layer.weight

    def set_weight(module: nn.Module, inputs: object) -> None:
        module.weight = (module.raw - module.raw.mean()) / module.raw.std()  # type: ignore[operator, union-attr]

    layer.register_forward_pre_hook(set_weight)
    set_weight(layer, ())


def clipped(layer: nn.Linear) -> None:
    """A hook of the user's own that writes on the weight."""

    def clip(module: nn.Module, inputs: object) -> None:
        module.weight.data.clamp_(-0.2, 0.2)  # type: ignore[union-attr]

    layer.register_forward_pre_hook(clip)


MAKERS = {
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.3),
    "structured": lambda layer: prune.ln_structured(layer, "weight", amount=2, n=2, dim=0),
    "twice": pruned_twice,
    "bias too": pruned_whole,
    "old weight norm": weight_norm,
    "old spectral norm": spectral_norm,
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "own parametrization": lambda layer: parametrize.register_parametrization(layer, "weight", Symmetric()),
}
OWN_HOOKS = {"standardised": standardised}


def made(net: Net) -> tuple[Tensor, Tensor]:
    """The weight and bias that the first layer reads in a call."""
    seen: list[tuple[Tensor, Tensor]] = []
    handle = net.layer.register_forward_hook(
        lambda module, inputs, output: seen.append((module.weight.detach().clone(), module.bias.detach().clone()))
    )
    net(torch.zeros(1, 6))
    handle.remove()
    return seen[0]


def by_hand(net: Net, x: Tensor) -> Tensor:
    weight, bias = made(net)
    hidden = torch.relu(F.linear(IN.quantize(x), WEIGHT.quantize(weight), BIAS.quantize(bias)))
    return F.linear(IN.quantize(hidden), WEIGHT.quantize(net.last.weight), net.last.bias).detach()


@pytest.mark.parametrize("name", [*MAKERS, *OWN_HOOKS])
@pytest.mark.parametrize("is_trained", [False, True])
def test_what_is_made_is_rounded(name: str, is_trained: bool, tmp_path: Path) -> None:
    net = Net({**MAKERS, **OWN_HOOKS}[name])
    if is_trained:
        net.train()(torch.randn(4, 6)).sum().backward()
    net.eval()
    x = torch.randn(20, 6)
    graph = MaseGraph(net)
    wanted, in_float = by_hand(net, x), net(x).detach()
    assert (wanted - in_float).abs().max() > 0.01
    require_same(all_ways(graph, FORMATS, x, at_once=name in MAKERS), wanted, in_float)
    torch.testing.assert_close(
        saved_and_loaded(graph, FORMATS, Net({**MAKERS, **OWN_HOOKS}[name]), x, tmp_path), wanted
    )


@pytest.mark.parametrize("name", [*MAKERS, *OWN_HOOKS])
def test_gradients_pass_straight_to_what_is_trained(name: str) -> None:
    net = Net({**MAKERS, **OWN_HOOKS}[name])
    graph = MaseGraph(net)
    graph.apply_plan(QuantPlan.of(FORMATS))
    graph.model.train()
    layer = graph.inner(graph.node("layer"))
    before = {key: value.detach().clone() for key, value in layer.named_parameters()}
    optimizer = torch.optim.SGD(graph.model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        graph.model(torch.randn(8, 6)).square().sum().backward()
        optimizer.step()
    changed = [key for key, value in layer.named_parameters() if not torch.equal(value, before[key])]
    assert changed == list(before)
    copy.deepcopy(graph)


def test_training_keeps_the_mask() -> None:
    net = Net(MAKERS["pruned"])
    graph = MaseGraph(net)
    graph.apply_plan(QuantPlan.of(FORMATS))
    graph.model.train()
    optimizer = torch.optim.SGD(graph.model.parameters(), lr=0.1)
    graph.model(torch.randn(8, 6)).square().sum().backward()
    optimizer.step()
    graph.model.eval()
    layer, zero = graph.model.get_submodule("layer"), torch.zeros(1, 6)
    read = (layer(3.875 * torch.eye(6)) - layer(zero)).T
    assert bool((read[net.layer.weight_mask == 0] == 0).all())
    assert bool((read[net.layer.weight_mask == 1] != 0).any())


def test_formats_are_measured_on_what_is_made() -> None:
    net = Net(MAKERS["old weight norm"])
    with torch.no_grad():
        net.layer.weight_g.mul_(100)
    graph = MaseGraph(net)
    plan = graph.freeze(QuantPlan.of({"layer": {"weight": ScaleInteger(width=8)}}))
    scale = plan["layer"]["weight"].scale
    weight, _ = made(net)
    assert scale is not None
    assert scale[0] == pytest.approx(float(weight.abs().max()) / 127, rel=0.01)


def test_a_hook_that_writes_leaves_the_graph_as_it_is() -> None:
    net = Net(clipped)
    kept = net.layer.weight.detach().clone()
    graph, x = MaseGraph(net), torch.randn(20, 6)
    formats = {"layer": {"weight": Integer(4, 4)}}
    found = all_ways(graph, formats, x, at_once=False)
    wanted = net.last(torch.relu(F.linear(x, Integer(4, 4).quantize(kept.clamp(-0.2, 0.2)), net.layer.bias)))
    assert torch.equal(graph.model.get_parameter("layer.weight"), kept)
    require_same(found, wanted.detach(), net(x).detach())


def test_a_hook_that_changes_inputs_comes_before_the_rounding() -> None:
    net = Net(lambda layer: layer.register_forward_pre_hook(lambda module, inputs: (inputs[0] / 3,)))
    x = torch.randn(20, 6)
    wanted = net.last(torch.relu(F.linear(IN.quantize(x / 3), net.layer.weight, net.layer.bias))).detach()
    require_same(all_ways(MaseGraph(net), {"layer": {"data_in": IN}}, x, at_once=False), wanted, net(x).detach())


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm, self.conv = nn.Embedding(11, 4, max_norm=0.7), nn.LayerNorm(4), nn.Conv1d(4, 3, 2)
        nn.init.normal_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(self.norm(self.embedding(x)).transpose(1, 2))
        return found


@pytest.mark.parametrize("layer", ["conv", "norm", "embedding"])
def test_layers_of_other_kinds(layer: str) -> None:
    net, x = Tokens().eval(), torch.randint(0, 11, (30, 6))
    if layer != "embedding":
        prune.random_unstructured(getattr(net, layer), "weight", amount=0.5)
    graph = MaseGraph(net)
    kept = copy.deepcopy(graph.model.state_dict())
    found = all_ways(graph, {layer: {"weight": WEIGHT}}, x)
    assert all(torch.equal(value, kept[name]) for name, value in graph.model.state_dict().items())
    plain = copied_module(net)
    with torch.no_grad():
        in_float = net(x)  # scales the rows of its embedding
        plain.embedding = nn.Embedding.from_pretrained(net.embedding.weight.clone())
        own = getattr(plain, layer)
        if layer != "embedding":
            prune.remove(own, "weight")
        own.weight.copy_(WEIGHT.quantize(own.weight))
        require_same(found, plain(x), in_float)


@pytest.mark.parametrize("is_by_place", [False, True])
def test_a_function_that_scales_its_weight_leaves_it_as_it_is(is_by_place: bool) -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table = nn.Parameter(torch.randn(11, 4))

        def forward(self, x: Tensor) -> Tensor:
            return F.embedding(x, self.table, None, 0.7) if is_by_place else F.embedding(x, self.table, max_norm=0.7)

    x = torch.randint(0, 11, (30,))
    graph = MaseGraph(Looks())
    found = all_ways(graph, {"embedding": {"weight": WEIGHT}}, x)
    assert torch.equal(graph.model.table, Looks().table)
    limited = torch.renorm(Looks().table.detach(), 2, 0, 0.7)
    require_same(found, WEIGHT.quantize(limited)[x], limited[x])


def test_a_root_with_hooks_and_a_hook_around_a_layer_are_followed() -> None:
    net = Net(lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5))
    del net.layer._forward_pre_hooks[next(iter(net.layer._forward_pre_hooks))]

    def mask(module: nn.Module, inputs: object) -> None:
        module.layer.weight = module.layer.weight_orig * module.layer.weight_mask  # type: ignore[operator, union-attr]

    net.register_forward_pre_hook(mask)
    net.register_forward_hook(lambda module, inputs, output: 2 * output)
    net.eval()
    graph, x = MaseGraph(net), torch.randn(20, 6)
    name = next(name for name, op in graph.quantizable_nodes().items() if op.name == "linear")
    found = all_ways(graph, {name: FORMATS["layer"], "last": FORMATS["last"]}, x)
    require_same(found, 2 * by_hand(net, x), net(x).detach())


def test_a_pruned_layer_as_the_whole_model() -> None:
    layer = nn.Linear(6, 5)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    graph, x = MaseGraph(layer), torch.randn(20, 6)
    found = all_ways(graph, {"linear": {"weight": WEIGHT}}, x)
    with torch.no_grad():
        require_same(found, F.linear(x, WEIGHT.quantize(layer.weight), layer.bias), layer(x))


def test_a_forward_that_is_not_the_layers_own_stays_in_float() -> None:
    net = Net(lambda layer: None)
    forward = net.layer.forward
    net.layer.forward = forward  # type: ignore[method-assign]  # of the instance now
    assert list(MaseGraph(net).quantizable_nodes()) == ["relu", "last"]

    class Standardised(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight - self.weight.mean(), self.bias)

    whole = MaseGraph(nn.Sequential(Standardised(4, 3)), custom_ops={"modules": [Standardised]})
    assert not whole.quantizable_nodes()


class ReadTwice(nn.Module):
    """A layer whose weight, turned, is that of a second product too."""

    def __init__(self, make: Callable[[nn.Linear], object]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 5)
        make(self.layer)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.relu(self.layer(x)), self.layer.weight.t())


PARAMETRISED = ["weight norm", "spectral norm", "own parametrization"]


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in PARAMETRISED])
def test_what_a_hook_makes_is_read_twice_by_an_exported_graph_alone(name: str) -> None:
    net, x = ReadTwice(MAKERS[name]).eval(), torch.randn(20, 6)
    with pytest.raises(GraphError, match=r"is read outside of its layer too: .*prune.remove"):
        MaseGraph(net)
    graph = MaseGraph(net, example_inputs=x[:2])
    with torch.no_grad():
        for model in (net, graph.model):
            next(model.parameters()).mul_(1.5)  # as if loaded
        torch.testing.assert_close(graph.model(x), net(x))


@pytest.mark.parametrize("name", PARAMETRISED)
def test_a_parametrised_weight_that_is_read_twice(name: str) -> None:
    net, x = ReadTwice(MAKERS[name]).eval(), torch.randn(20, 6)
    graph = MaseGraph(net)
    with torch.no_grad():
        for model in (net, graph.model):
            next(model.parameters()).mul_(1.5)  # as if loaded
    graph.apply_plan(QuantPlan())
    scaled = graph.freeze(QuantPlan.of({"linear": {"weight": ScaleInteger(width=4)}}))["linear"]["weight"]
    formats = {"layer": {"data_in": IN, "weight": WEIGHT}, "linear": {"data_in": IN, "weight": scaled}}
    with torch.no_grad():
        in_float, weight, bias = net(x), net.layer.weight.clone(), net.layer.bias.clone()
        hidden = torch.relu(F.linear(IN.quantize(x), WEIGHT.quantize(weight), bias))
        wanted = F.linear(IN.quantize(hidden), scaled.quantize(weight.t()))
    require_same(all_ways(graph, formats, x), wanted, in_float)
