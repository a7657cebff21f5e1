"""Pruned weights in every way that the project runs a plan, against weights that torch itself has pruned."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.errors import GraphError, PassError
from chop.evaluation.guard import guard_verdict
from chop.formats import FORMATS, BlockFP, Format, Integer
from chop.ir import MaseGraph, QuantPlan
from chop.nn import Quantized
from chop.nn.node_config import node_formats
from chop.nn.ops import OPS
from chop.passes.graph import calibrate_analysis_pass, fold_batch_norm_transform_pass, quantize_transform_pass
from chop.testing.op_cases import OpCase, node_config, op_cases
from chop.weight_transforms import Chain, LayerInputs, Rounding, Sparsity, WeightRounding, WeightTransform, chained
from tests.evaluation.all_ways import all_ways, require_same, saved_and_loaded
from tests.evaluation.test_computed_weights import COMPUTE, layer_of
from tests.evaluation.test_computed_weights import Net as ComputedNet
from tests.evaluation.test_evaluator import Convolution, Mlp, Residual
from tests.evaluation.test_weights_that_are_made import MAKERS, OWN_HOOKS, Net, made

WITH_WEIGHTS = [op.name for op in OPS if "weight" in op.params]
PATTERNS = {"unstructured": 0.5, "channel": 0.5, "2:4": None}
HALF, CHANNELS = Sparsity(0.5), Sparsity(0.5, "channel", channel_axis=0)
TWO_OF_FOUR = Sparsity(sparsity_pattern="2:4", inputs_axis=1)
Q = Integer(5, 4)


def sparsity_keys(pattern: str) -> dict[str, Any]:
    share = PATTERNS[pattern]
    return {"weight_sparsity_pattern": pattern, **({} if share is None else {"weight_sparsity": share})}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("op", WITH_WEIGHTS)
def test_every_op_with_weights_is_pruned_in_every_format_and_spelling(op: str, pattern: str) -> None:
    torch.manual_seed(0)
    for case in op_cases(op):
        is_module = isinstance(case.inner, nn.Module)
        weight: Any = case.inner.weight if is_module else case.op.params["weight"].of(case.args, {})
        pruned = node_formats({"name": "NA", **sparsity_keys(pattern)}, case.op)
        is_dense = pattern == "2:4" and "norm" in op
        assert set(pruned) == (set() if is_dense else {"weight"})
        for name in FORMATS:
            formats = node_formats({**node_config(name), **sparsity_keys(pattern)}, case.op)
            dense = node_formats(node_config(name), case.op)
            found = Quantized(case.inner, case.op, formats)(*case.args, **case.kwargs)
            frozen = {**dense, "weight": _rounded(weight.detach(), formats["weight"])}
            wanted = _with_weight(case, frozen.pop("weight"), frozen)
            torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def _rounded(weight: Tensor, chosen: Format) -> Tensor:
    """The weights as the definition says: pruned by torch, rounded, and zero where they were pruned."""
    if not isinstance(chosen, Chain):
        return chosen.quantize(weight)
    (sparsity,), then = chosen.transforms, chosen.then
    assert isinstance(sparsity, Sparsity) and then is not None
    mask = _mask_of_torch(sparsity, weight)
    kept = torch.where(mask, weight, 0.0)
    frozen = then.calibrated(kept.masked_fill(~mask, -torch.inf)) if then.is_measured else then
    return torch.where(mask, frozen.quantize(kept), 0.0)


def _mask_of_torch(sparsity: Sparsity, weight: Tensor) -> Tensor:
    if sparsity.group:
        return sparsity.mask(weight)  # torch has none: see tests/weight_transforms
    assert sparsity.sparsity is not None
    if sparsity.channel_axis is None or weight.ndim < 2:
        method: Any = prune.L1Unstructured(sparsity.sparsity)
    else:
        method = prune.LnStructured(sparsity.sparsity, n=2, dim=sparsity.channel_axis)
    return method.compute_mask(weight, torch.ones_like(weight)).bool()


def _with_weight(case: OpCase, weight: Tensor, formats: Mapping[str, Format]) -> Any:
    if isinstance(case.inner, nn.Module):
        inner = copy.deepcopy(case.inner)
        inner.weight = nn.Parameter(weight)
        return Quantized(inner, case.op, formats)(*case.args, **case.kwargs)
    args = list(case.args)
    args[case.op.params["weight"].index] = weight
    return Quantized(case.inner, case.op, formats)(*args, **case.kwargs)


@pytest.mark.parametrize("chain", [HALF, CHANNELS, TWO_OF_FOUR], ids=str)
@pytest.mark.parametrize("then", [Integer(5, 4), Integer(5, "auto"), None], ids=str)
@pytest.mark.parametrize("model", [Mlp, Residual, Convolution], ids=lambda model: model.__name__)
def test_all_ways_agree_with_a_network_that_torch_has_pruned(
    model: type[nn.Module], then: Format | None, chain: Sparsity, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = model().eval()
    graph, x = MaseGraph(net), torch.randn(12, 36 if model is Convolution else 6)
    layers = [name for name, op in graph.quantizable_nodes().items() if op.name in ("linear", "conv2d")]
    formats = {name: {"weight": Chain((chain,), then), "data_in": Integer(8, 4)} for name in layers}
    by_hand = MaseGraph(net)
    frozen = graph.freeze(QuantPlan.of(formats))
    for name in layers:  # each node reads the weights of its own module
        weight: Any = by_hand.parameter(by_hand.node(name), by_hand.quantizable_nodes()[name], "weight")
        chosen: Any = frozen[name]["weight"]
        own = weight.detach().clone()
        kept = torch.where(_mask_of_torch(chain, own), own, 0.0)
        with torch.no_grad():
            weight.copy_(kept if chosen.then is None else chosen.then.quantize(kept))
    by_hand.apply_plan(QuantPlan.of({name: {"data_in": Integer(8, 4)} for name in layers}))
    with torch.no_grad():
        wanted, in_float = by_hand.model(x), graph.model(x)
    require_same(all_ways(graph, formats, x), wanted, in_float)
    assert torch.equal(saved_and_loaded(graph, formats, model(), x, tmp_path), all_ways(graph, formats, x)["wrapper"])


@pytest.mark.parametrize("name", [*MAKERS, *OWN_HOOKS])
def test_weights_that_are_made_are_pruned_as_they_are_read(name: str) -> None:
    net, x = Net({**MAKERS, **OWN_HOOKS}[name]).eval(), torch.randn(20, 6)
    weight, bias = made(net)
    graph = MaseGraph(net)
    hidden = torch.relu(nn.functional.linear(x, Q.quantize(torch.where(HALF.mask(weight), weight, 0.0)), bias))
    with torch.no_grad():
        wanted, in_float = net.last(hidden), net(x)
    formats = {"layer": {"weight": Chain((HALF,), Q)}}
    require_same(all_ways(graph, formats, x, at_once=name in MAKERS), wanted, in_float)


@pytest.mark.parametrize("name", COMPUTE)
def test_weights_that_are_computed_are_pruned_as_they_are_read(name: str, tmp_path: Path) -> None:
    net, x = ComputedNet(COMPUTE[name]).eval(), torch.randn(20, 6)
    graph = MaseGraph(net)
    with torch.no_grad():
        weight = COMPUTE[name](net, x)
        wanted = net.last(torch.relu(nn.functional.linear(x, Q.quantize(TWO_OF_FOUR.apply(weight)))))
        require_same(all_ways(graph, {layer_of(graph): {"weight": Chain((TWO_OF_FOUR,), Q)}}, x), wanted, net(x))


class Products(nn.Module):
    """Layers as products with parameters, as GPT-2 has them; and one of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(6, 8)), nn.Parameter(torch.randn(8, 4))
        self.c, self.bias = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.addmm(self.bias, torch.relu(x @ self.a), self.b)
        return torch.stack([h @ self.c, (h @ h.transpose(0, 1)).mean(1)], 1)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_parameters_that_are_factors_of_products_are_pruned(pattern: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Products().eval(), torch.randn(10, 6)
    config = {"name": "integer", "weight_width": 5, "weight_frac_width": 3, **sparsity_keys(pattern)}
    graph, info = quantize_transform_pass(MaseGraph(net), {"by": "type", "default": {"config": config}})
    plan = info["plan"]
    transformed = [name for name in plan if isinstance(plan[name].get("weight"), Chain)]
    assert transformed == ["addmm", "matmul", "matmul_1"]
    by_hand = Products()
    q = Integer(5, 3)
    keep = _mask_of_product(pattern)
    with torch.no_grad():
        for name in "abc":
            own = getattr(net, name)
            getattr(by_hand, name).copy_(q.quantize(torch.where(keep(own), own, 0.0)))
        by_hand.bias.copy_(net.bias)
        h = torch.addmm(by_hand.bias, torch.relu(x @ by_hand.a), by_hand.b)
        wanted = torch.stack([h @ by_hand.c, (h @ q.quantize(h.transpose(0, 1))).mean(1)], 1)
        require_same(all_ways(MaseGraph(net), {name: plan[name] for name in plan}, x), wanted, net(x))
    verdict = guard_verdict(MaseGraph(net), x, {(name, "weight"): [plan[name]["weight"]] for name in transformed})
    assert verdict.is_sound, str(verdict)
    loaded = MaseGraph.from_checkpoint(graph.export(tmp_path / "graph.safetensors"), Products())
    assert loaded.plan == graph.plan


def _mask_of_product(pattern: str) -> Any:
    """Masks of weights `(inputs, outputs)`: those of the layer that has them transposed."""
    chosen = Sparsity.from_keys(
        {key.removeprefix("weight_"): value for key, value in sparsity_keys(pattern).items()},
        channel_axis=0,
        inputs_axis=-1,
    )
    return lambda own: chosen.mask(own.t().contiguous()).t()


def test_a_module_that_is_called_twice_is_pruned_as_each_node_says() -> None:
    net, x = Residual().eval(), torch.randn(8, 6)
    graph = MaseGraph(net)
    shared = [name for name in graph.quantizable_nodes() if name.startswith("shared")]
    assert len(shared) == 2
    formats: dict[str, dict[str, Format]] = {shared[0]: {"weight": Chain((HALF,), Q)}, shared[1]: {"weight": Q}}
    found = all_ways(graph, formats, x)
    with torch.no_grad():
        a = torch.relu(net.first(x))
        b = nn.functional.linear(a, Q.quantize(HALF.apply(net.shared.weight)), net.shared.bias) + x
        c = nn.functional.linear(b, Q.quantize(net.shared.weight), net.shared.bias) * torch.sigmoid(a)
        wanted = net.head(nn.functional.linear(c - b, net.weight) + 0.5)
        require_same(found, wanted, net(x))


def test_folding_batch_norm_comes_before_pruning() -> None:
    graph, info = fold_batch_norm_transform_pass(MaseGraph(Convolution().eval()))
    (layer,) = info["folded"].values()
    config = {"name": "NA", "weight_sparsity": 0.5}
    graph, _ = quantize_transform_pass(graph, {"by": "name", layer: {"config": config}})
    folded: Any = graph.inner(graph.node(layer))
    x = torch.randn(3, 1, 6, 6)
    pruned = nn.functional.conv2d(x, HALF.apply(folded.weight), folded.bias, padding=1)
    torch.testing.assert_close(graph.model.get_submodule(layer)(x), pruned)


def test_fine_tuning_keeps_pruned_weights_at_zero() -> None:
    graph = MaseGraph(Mlp())
    graph.apply_plan(QuantPlan.of({"head": {"weight": Chain((HALF,), Integer(8, 6))}}))
    graph.model.train()
    layer: Any = graph.inner(graph.node("head"))
    before, mask = layer.weight.detach().clone(), HALF.mask(layer.weight)
    graph.model(torch.randn(8, 6)).square().sum().backward()
    with torch.no_grad():
        layer.weight -= 0.01 * layer.weight.grad
    assert torch.equal(layer.weight[~mask], before[~mask])
    assert not torch.equal(layer.weight[mask], before[mask])


class TestGuard:
    """The guard runs plans with chains, and finds faults in them."""

    def formats(self, graph: MaseGraph) -> dict[tuple[str, str], Sequence[Format]]:
        return {
            (name, "weight"): [Integer(8, "auto"), Chain((HALF,), Integer(8, "auto"))]
            for name, op in graph.quantizable_nodes().items()
            if "weight" in op.params
        }

    @pytest.mark.parametrize("model", [Mlp, Residual, Convolution], ids=lambda model: model.__name__)
    def test_sound_networks_are_sound(self, model: type[nn.Module]) -> None:
        graph = MaseGraph(model().eval())
        x = torch.randn(4, 36 if model is Convolution else 6)
        verdict = guard_verdict(graph, x, self.formats(graph))
        assert verdict.is_sound and not verdict.unchecked, str(verdict)

    def test_weights_that_are_not_pruned_are_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        graph = MaseGraph(Mlp().eval())
        monkeypatch.setattr(Chain, "quantize", lambda self, x: self.then.quantize(x))
        verdict = guard_verdict(graph, torch.randn(4, 6), self.formats(graph))
        assert not verdict.is_sound
        assert {finding.operand for finding in verdict.findings} == {"weight"}

    def test_pruned_float_weights_are_sound(self) -> None:
        graph = MaseGraph(Mlp().eval())
        formats = {slot: [Chain((CHANNELS,), None)] for slot in self.formats(graph)}
        verdict = guard_verdict(graph, torch.randn(4, 6), formats)
        assert verdict.is_sound and not verdict.unchecked, str(verdict)


def test_a_transposed_factor_is_refused_and_as_a_linear_function_pruned() -> None:
    class Layer(nn.Module):
        def __init__(self, transposes: bool) -> None:
            super().__init__()
            self.transposes, self.w = transposes, nn.Parameter(torch.randn(4, 8))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.w.T if self.transposes else nn.functional.linear(x, self.w)

    config = {"name": "integer", "data_in_width": 8, "weight_width": 8, "weight_sparsity": 0.5}
    with pytest.raises(PassError, match=r"multiplies by no parameter as it stands \(x @ self.w.T: write F.linear"):
        quantize_transform_pass(MaseGraph(Layer(True)), {"by": "name", "matmul": {"config": config}})
    graph = MaseGraph(Layer(False))
    quantize_transform_pass(graph, {"by": "name", "linear": {"config": config}})
    kept = graph.plan["linear"]["weight"].quantize(graph.model.w)
    assert int((kept == 0).sum()) >= 16


def test_keys_for_ops_without_weights_of_their_own_are_refused_where_they_are_named_and_else_skipped() -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x @ x.transpose(0, 1))

    config = {"name": "integer", "data_in_width": 8, "weight_sparsity": 0.5}
    with pytest.raises(PassError, match="matmul has no weights of its own to transform"):
        quantize_transform_pass(MaseGraph(Product()), {"by": "name", "matmul": {"config": config}})
    with pytest.raises(PassError, match="matmul has no weights of its own to transform"):
        quantize_transform_pass(MaseGraph(Product()), {"by": "type", "matmul": {"config": config}})
    seed = {"matmul": {"config": {"name": ["integer"], "data_in_width": [8], "weight_sparsity": [0.5]}}}
    for by in ("type", "name"):
        (problem,) = MixedPrecisionPTQ(Product(), seed, by).problems()
        assert "matmul has no weights of its own to transform" in problem.message
        assert problem.path == ("seed", "matmul", "config", "weight_sparsity")
    with pytest.raises(PassError, match="relu has no operand 'weight'"):
        quantize_transform_pass(MaseGraph(Product()), {"by": "name", "relu": {"config": config}})
    _, info = quantize_transform_pass(MaseGraph(Product()), {"by": "type", "default": {"config": config}})
    assert {str(chosen) for name in info["plan"] for chosen in info["plan"][name].values()} == {
        "integer 8b/4f",
        "integer 8b/4f unsigned",
    }


@pytest.mark.parametrize("name", ["NA", "integer"])
def test_misspelt_keys_are_refused_everywhere(name: str) -> None:
    for key, hint in (("weight_sparsty", "weight_sparsity"), ("weight_sparsity_patern", "weight_sparsity_pattern")):
        config = {"name": name, "data_in_width": 8, key: 0.5}
        with pytest.raises(PassError, match=f"unknown key '{key}'; did you mean '{hint}'"):
            quantize_transform_pass(MaseGraph(Mlp()), {"by": "type", "default": {"config": config}})


@dataclass(frozen=True)
class Centred(WeightTransform):
    """A transform that is measured on inputs, and rounds by a method of its own: a stand-in for later ones."""

    centred: float = 1.0
    offset: float | None = None

    def apply(self, weights: Tensor) -> Tensor:
        assert self.offset is not None
        return weights - self.offset

    def round(self, weights: Tensor, rounding: Rounding) -> Tensor:
        return rounding(rounding(weights) / 2)

    @property
    def is_measured(self) -> bool:
        return self.offset is None

    @property
    def needs_inputs(self) -> bool:
        return True

    def calibrated(self, weights: Tensor, inputs: LayerInputs) -> Centred:
        return replace(self, offset=self.centred * float(inputs["data_in"].mean()))


def test_a_transform_may_be_measured_on_inputs_and_round_by_itself() -> None:
    net, x = Mlp().eval(), torch.randn(16, 6)
    graph = MaseGraph(net)
    formats = {"head": {"weight": Chain((Centred(), HALF), Integer(6, "auto"))}}
    with pytest.raises(GraphError, match=r"node 'head', weight: .* is measured on what the layer reads"):
        graph.apply_plan(QuantPlan.of(formats))
    calibrate_analysis_pass(graph, {"input_generator": [{"x": x}]})
    with torch.no_grad():
        seen = net.layers(x)
        moved = net.head.weight - float(seen.mean())
        kept = HALF.apply(moved)
        q = Integer(6, "auto").calibrated(kept)
        weight = torch.where(kept == 0, 0.0, q.quantize(q.quantize(kept) / 2))
        wanted = nn.functional.linear(seen, weight, net.head.bias)
        frozen = graph.freeze(QuantPlan.of(formats))
        require_same(all_ways(graph, {"head": frozen["head"]}, x), wanted, net(x))


def test_chains_of_many_transforms_come_in_their_order() -> None:
    weight = torch.randn(4, 8)
    both = Chain((CHANNELS, TWO_OF_FOUR), Q)
    assert torch.equal(both.quantize(weight), Q.quantize(TWO_OF_FOUR.apply(CHANNELS.apply(weight))))
    assert both.bits((4, 8)) == 8 * 5 + 8 * 2 + 4
    assert chained((CHANNELS, Sparsity(0.0)), Q) == Chain((CHANNELS,), Q)


@pytest.mark.parametrize("pruning", [(), (HALF,)], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    "then", [Integer(3, "auto", granularity="channel"), BlockFP(width=4, exponent_width=8, block_size=(1, 4))], ids=str
)
@pytest.mark.parametrize("model", [Mlp, Convolution], ids=lambda model: model.__name__)
def test_all_ways_agree_with_weights_that_second_order_rounding_put_in_their_place(
    model: type[nn.Module], then: Format, pruning: tuple[Sparsity, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net, x = model().eval(), torch.randn(40, 36 if model is Convolution else 6).cumsum(-1) / 2
    graph = MaseGraph(net)
    calibrate_analysis_pass(graph, {"input_generator": [{"x": x}]})
    layers = [name for name, op in graph.quantizable_nodes().items() if op.name in ("linear", "conv2d")]
    chain = Chain((WeightRounding("gptq"), *pruning), then)
    formats: dict[str, Any] = {name: {"weight": chain, "data_in": Integer(8, 4)} for name in layers}
    frozen = graph.freeze(QuantPlan.of(formats))
    by_hand, moved = MaseGraph(net), []
    for name in layers:
        weight: Any = by_hand.parameter(by_hand.node(name), by_hand.quantizable_nodes()[name], "weight")
        rounded = frozen[name]["weight"].quantize(weight.detach())
        moved += [name] if not torch.equal(rounded, Chain(pruning, then).quantize(weight.detach())) else []
        with torch.no_grad():
            weight.copy_(rounded)
    assert moved
    by_hand.apply_plan(QuantPlan.of({name: {"data_in": Integer(8, 4)} for name in layers}))
    with torch.no_grad():
        wanted, in_float = by_hand.model(x), graph.model(x)
    known = {name: frozen[name] for name in frozen}
    require_same(all_ways(graph, known, x), wanted, in_float)
    assert torch.equal(saved_and_loaded(graph, formats, model(), x, tmp_path), all_ways(graph, known, x)["wrapper"])
    verdict = guard_verdict(graph, x[:4], {(name, "weight"): [chain] for name in layers})
    assert verdict.is_sound, str(verdict)


KEYS: dict[str, Any] = {"weight_width": 4, "bias_width": 4, "weight_sparsity": 0.5, "weight_rounding": "gptq"}
KEYS["batch_norm"] = "measured"


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("by", ["type", "name"])
def test_a_key_without_effect_on_the_layers_that_it_is_for_is_refused(by: str, key: str) -> None:
    relu, linear = ("_1", "_0") if by == "name" else ("relu", "linear")
    graph = MaseGraph(nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU()))
    own = {"name": "integer", "data_in_width": 8, key: KEYS[key]}
    lists = {name: [value] for name, value in own.items()}
    told = "relu has no operand|relu is no batch norm"
    if by == "name":
        with pytest.raises(PassError, match=told):
            quantize_transform_pass(graph, {"by": by, relu: {"config": own}})
    (problem,) = MixedPrecisionPTQ(graph, {relu: {"config": lists}}, by).problems()
    assert problem.path == ("seed", relu, "config", key)
    assert re.search(told, problem.message)
    sound = {linear: {"config": {"name": ["integer"], "data_in_width": [8], "weight_width": [4], "bias_width": [4]}}}
    assert not MixedPrecisionPTQ(graph, sound, by).problems()  # a linear layer may have a bias, if this has none
    assert not MixedPrecisionPTQ(graph, {"default": {"config": lists}, linear: sound[linear]}, by).problems()
    (problem,) = MixedPrecisionPTQ(graph, sound, by, override={"_1": {"config": lists}}).problems()
    assert problem.path == ("override", "_1", "config", key)


def test_one_config_serves_several_types_of_layers() -> None:
    own = {"name": "integer", "data_in_width": 8, **{name: KEYS[name] for name in ("weight_width", "weight_sparsity")}}
    of_relu = {"config": {name: own[name] for name in ("name", "data_in_width")}}
    plans = [
        quantize_transform_pass(
            MaseGraph(nn.Sequential(nn.Linear(4, 3), nn.ReLU())),
            {"by": "type", "linear": {"config": own}, "relu": relu},
        )[1]["plan"]
        for relu in ({"config": own}, of_relu)
    ]
    assert plans[0] == plans[1]
