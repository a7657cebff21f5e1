"""What a call writes is seen by all that read it later, in float and rounded, in every way; nothing else is changed."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from chop.errors import GraphError
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import Format, Integer
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.trace import _LeafTracer
from tests.evaluation.all_ways import all_ways, require_same, saved_and_loaded

SIGNED, UNSIGNED = Integer(7, 4), Integer(7, 4, is_signed=False)

Body = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """Two layers around what a test writes; its input is `(rows, 6)`."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)
        self.relu, self.drop, self.same = nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Identity()
        self.register_buffer("state", torch.linspace(-1, 1, 6))
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.body(self, self.first(x)))
        return found


q = SIGNED.quantize
u = UNSIGNED.quantize


def relu(h: Tensor) -> Tensor:
    """A rectifier whose input is rounded."""
    return F.relu(u(h))


def add(a: Tensor, b: Tensor) -> Tensor:
    return q(a) + q(b)


def mul(a: Tensor, b: Tensor | float) -> Tensor:
    return q(a) * (q(b) if isinstance(b, Tensor) else b)


def module_before_a_skip(net: Net, h: Tensor) -> Tensor:
    return net.relu(h) + h


def function_before_a_skip(net: Net, h: Tensor) -> Tensor:
    return F.relu(h, inplace=True) + h


def by_position(net: Net, h: Tensor) -> Tensor:
    return F.relu(h, True) + h


def silu_before_a_skip(net: Net, h: Tensor) -> Tensor:
    return F.silu(h, inplace=True) + h


def method(net: Net, h: Tensor) -> Tensor:
    return h.relu_() + h


def torch_function(net: Net, h: Tensor) -> Tensor:
    return torch.relu_(h) + h


def for_effect(net: Net, h: Tensor) -> Tensor:
    h.relu_()
    return h


def used_add(net: Net, h: Tensor) -> Tensor:
    return h.add_(net.state) * h


def operators(net: Net, h: Tensor) -> Tensor:
    before = h
    h += net.state
    h *= 0.5
    return before + h


def divided(net: Net, h: Tensor) -> Tensor:
    before = h
    h /= 4
    return before + h


def out(net: Net, h: Tensor) -> Tensor:
    g = torch.mul(h, 2.0)
    torch.add(h, net.state, out=g)
    return g + h


def clamped(net: Net, h: Tensor) -> Tensor:
    h.clamp_(min=-0.25)
    return h + h


def item(net: Net, h: Tensor) -> Tensor:
    h[:, 0] = 0.5
    h[h > 0.75] = 0.0
    return h + h


def part(net: Net, h: Tensor) -> Tensor:
    h[:, :3] += net.state[3:]
    return h + h


def rectified_part(net: Net, h: Tensor) -> Tensor:
    h[:, 2:4].relu_()
    return h + h


def view_of_a_view(net: Net, h: Tensor) -> Tensor:
    h.view(-1, 3, 2)[:, 1].relu_()
    return h + h


def earlier_view(net: Net, h: Tensor) -> Tensor:
    some = h[:, :3]
    h.relu_()
    return torch.cat([some + some, h[:, 3:]], 1)


def chunks(net: Net, h: Tensor) -> Tensor:
    a, b = h.chunk(2, 1)
    a *= 2.0
    return torch.cat([a + b, b], 1)


def chunks_and_whole(net: Net, h: Tensor) -> Tensor:
    a, _ = h.chunk(2, 1)
    a *= 2.0
    return h + h


def same(net: Net, h: Tensor) -> Tensor:
    g = net.same(net.drop(h))
    g.relu_()
    return h + h


def copied(net: Net, h: Tensor) -> Tensor:
    g = h.clone()
    g.relu_()
    return g + h


def list_index_is_a_copy(net: Net, h: Tensor) -> Tensor:
    some = h[:, [0, 2, 4]]
    some.relu_()
    return torch.cat([some, h[:, 1::2]], 1)


def own_state(net: Net, h: Tensor) -> Tensor:
    net.state.add_(h.mean())
    return h + net.state


def filled(net: Net, h: Tensor) -> Tensor:
    g = torch.zeros_like(h)
    for place in range(3):
        g[:, 2 * place : 2 * place + 2] = h[:, place : place + 2]
    return g.copy_(g + h)


def transposed(net: Net, h: Tensor) -> Tensor:
    h.t().mul_(2.0)
    return h + h


def detached(net: Net, h: Tensor) -> Tensor:
    h.data.relu_()
    return h + h


def joined(*parts: Tensor) -> Tensor:
    return torch.cat(parts, 1)


def with_parts(h: Tensor, change: Callable[[Tensor], Tensor], columns: slice) -> Tensor:
    found = h.clone()
    found[:, columns] = change(h[:, columns])
    return found


def items(h: Tensor) -> Tensor:
    found = torch.cat([torch.full_like(h[:, :1], 0.5), h[:, 1:]], 1)
    return torch.where(found > 0.75, 0.0, found)


def in_a_row(h: Tensor) -> Tensor:
    return h[:, [0, 1, 1, 2, 2, 3]]


STATE = torch.linspace(-1, 1, 6)

RIGHT: dict[Body, Callable[[Tensor], Tensor]] = {
    module_before_a_skip: lambda h: add(relu(h), relu(h)),
    function_before_a_skip: lambda h: add(relu(h), relu(h)),
    by_position: lambda h: add(relu(h), relu(h)),
    silu_before_a_skip: lambda h: add(F.silu(q(h)), F.silu(q(h))),
    method: lambda h: add(relu(h), relu(h)),
    torch_function: lambda h: add(relu(h), relu(h)),
    for_effect: relu,
    used_add: lambda h: mul(add(h, STATE), add(h, STATE)),
    operators: lambda h: add(mul(add(h, STATE), 0.5), mul(add(h, STATE), 0.5)),
    divided: lambda h: add(h / 4, h / 4),
    out: lambda h: add(add(h, STATE), h),
    clamped: lambda h: add(h.clamp(min=-0.25), h.clamp(min=-0.25)),
    item: lambda h: add(items(h), items(h)),
    part: lambda h: add(*[with_parts(h, lambda p: add(p, STATE[3:]), slice(0, 3))] * 2),
    rectified_part: lambda h: add(*[with_parts(h, relu, slice(2, 4))] * 2),
    view_of_a_view: lambda h: add(*[with_parts(h, relu, slice(2, 4))] * 2),
    earlier_view: lambda h: joined(add(relu(h), relu(h))[:, :3], relu(h)[:, 3:]),
    chunks: lambda h: joined(add(mul(h[:, :3], 2.0), h[:, 3:]), h[:, 3:]),
    chunks_and_whole: lambda h: add(*[with_parts(h, lambda p: mul(p, 2.0), slice(0, 3))] * 2),
    same: lambda h: add(relu(h), relu(h)),
    copied: lambda h: add(relu(h), h),
    list_index_is_a_copy: lambda h: joined(relu(h[:, [0, 2, 4]]), h[:, 1::2]),
    own_state: lambda h: add(h, q(STATE) + q(h.mean())),
    filled: lambda h: add(in_a_row(h), h),
    transposed: lambda h: add(mul(h, 2.0), mul(h, 2.0)),
    detached: lambda h: add(relu(h), relu(h)),
}


def all_rounded(graph: MaseGraph) -> dict[str, dict[str, Format]]:
    return {
        name: {
            operand: UNSIGNED if operand in op.unsigned else SIGNED for operand in op.operands if operand != "data_out"
        }
        for name, op in graph.quantizable_nodes().items()
    }


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(q(x), q(layer.weight), q(layer.bias))


@pytest.mark.parametrize("body", RIGHT, ids=lambda body: body.__name__)
def test_every_reader_sees_what_was_written(body: Body, tmp_path: Path) -> None:
    net, x = Net(body).eval(), torch.randn(20, 6)
    given, state = x.clone(), net.state.clone()
    graph = MaseGraph(net)
    formats = all_rounded(graph)
    found = all_ways(graph, formats, x)
    assert torch.equal(x, given)
    assert torch.equal(graph.model.state if hasattr(graph.model, "state") else state, state)
    with torch.no_grad():
        wanted = linear(net.last, RIGHT[body](linear(net.first, x)))
        in_float = Net(body).eval()(x.clone())
    require_same(found, wanted, in_float)
    torch.testing.assert_close(saved_and_loaded(graph, formats, Net(body), x, tmp_path), wanted)
    with torch.no_grad():
        torch.testing.assert_close(pickle.loads(pickle.dumps(graph)).model(x), in_float)
        torch.testing.assert_close(MaseGraph(copy.deepcopy(graph).model).model(x), in_float)


@pytest.mark.parametrize("body", [body for body in RIGHT if body is not detached], ids=lambda body: body.__name__)
def test_exported_graphs_are_right_too(body: Body, monkeypatch: pytest.MonkeyPatch) -> None:
    def untraceable(*args: object) -> None:
        raise TypeError("not by torch.fx")

    monkeypatch.setattr(_LeafTracer, "trace", untraceable)
    net, x = Net(body).eval(), torch.randn(20, 6)
    graph = MaseGraph(net, example_inputs=x[:2])
    with torch.no_grad():
        wanted = linear(net.last, RIGHT[body](linear(net.first, x)))
        in_float = Net(body).eval()(x.clone())
    require_same(all_ways(graph, all_rounded(graph), x), wanted, in_float)


def test_gradients_go_through() -> None:
    for body in (module_before_a_skip, part, earlier_view, operators):
        net = Net(body).eval()
        net(torch.ones(2, 6)).sum().backward()
        graph = MaseGraph(net)
        graph.model(torch.ones(2, 6)).sum().backward()
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(graph.model.get_parameter(name).grad, parameter.grad)
        graph.apply_plan(QuantPlan.of(all_rounded(graph)))
        graph.model.train()
        graph.model(torch.randn(8, 6)).sum().backward()


def test_nodes_keep_their_names() -> None:
    names = [node.name for node in MaseGraph(Net(module_before_a_skip)).nodes]
    assert names == ["x", "first", "relu", "add", "last", "output"]
    assert list(MaseGraph(Net(for_effect)).quantizable_nodes()) == ["first", "relu_", "last"]


def test_what_only_a_run_tells_is_refused() -> None:
    def flat(net: Net, h: Tensor) -> Tensor:
        rows = h.reshape(-1, 6)
        h.relu_()
        return rows + rows

    with pytest.raises(GraphError, match=r"'relu_' writes on a tensor of which 'reshape' may be a view or a copy"):
        MaseGraph(Net(flat))


def test_writing_on_the_weight_of_a_layer_is_refused() -> None:
    def limited(net: Net, h: Tensor) -> Tensor:
        net.last.weight.data.clamp_(-0.1, 0.1)
        return h

    with pytest.raises(GraphError, match=r"writes on 'last.weight' in forward, which the layer 'last' reads"):
        MaseGraph(Net(limited))


@fx.wrap
def shifted_by_others(h: Tensor) -> Tensor:
    return h.add_(1.0)


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x) * 2


def test_code_that_is_not_seen_works_on_copies() -> None:
    def body(net: Net, h: Tensor) -> Tensor:
        return net.whole(shifted_by_others(net.first(h)))  # type: ignore[operator, no-any-return]

    net = Net(body)
    net.whole = Whole()
    x = torch.randn(20, 6)
    graph = MaseGraph(net.eval(), custom_ops={"modules": [Whole]})
    runner = PlanRunner(graph, [(x, torch.zeros(20))])
    for _ in range(2):
        torch.testing.assert_close(runner.predictions(QuantPlan()), net(x).detach(), rtol=0, atol=0)
