"""The guard finds faults that are planted in the wrapper or in the model, by node and operand, and only those."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

from chop.errors import GraphError
from chop.evaluation.guard import guard_verdict, near_float, require_sound
from chop.evaluation.guard.recorder import kind_of
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import BlockFP, Integer
from chop.ir import MaseGraph, QuantPlan
from chop.nn import OP_TABLE, Arg, Op, Quantized, quantized
from chop.testing.op_cases import CALLS, OpCase, op_cases


class Small(nn.Module):
    """A layer, an activation, a sum and a table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(12, 6)
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, ids: Tensor) -> Tensor:
        h = torch.relu(self.a(self.table(ids)))
        return self.b(h + 0.5)


def small() -> tuple[MaseGraph, Tensor]:
    torch.manual_seed(0)
    return MaseGraph(Small()), torch.arange(8).view(4, 2)


def test_a_sound_network_is_sound_and_left_as_it_is() -> None:
    graph, x = small()
    graph.apply_plan(QuantPlan.of({"a": {"weight": Integer(4, 2)}}))
    plan, state = graph.plan, torch.get_rng_state()
    verdict = guard_verdict(graph, x)
    assert verdict.is_sound and not verdict.unchecked, str(verdict)
    assert graph.plan == plan
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("own", [Integer(8, 3), BlockFP(width=8, exponent_width=8, block_size=(1, 16))])
def test_wide_formats_are_tried_in_each_kind_of_op_alone_and_in_all(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[set[str]] = []

    class Trial(near_float._Trial):
        def wrong(self, slots: Any) -> str | None:
            tried.append({ops[name].name for name, _ in slots})
            return super().wrong(slots)

    graph, x = small()
    ops = graph.quantizable_nodes()
    monkeypatch.setattr(near_float, "_Trial", Trial)
    assert guard_verdict(graph, x, {(name, "data_in"): [own] for name in ops if name != "table"}).is_sound
    assert tried == [{"linear"}, {"relu"}, {"add"}, {"linear", "relu", "add"}]


class OneCall(nn.Module):
    """A case of the op table as a network, its further tensors its own."""

    def __init__(self, case: OpCase) -> None:
        super().__init__()
        self.call, self.kwargs, self.rest = case.inner, dict(case.kwargs), list(case.args[1:])
        for place, value in enumerate(self.rest):
            if isinstance(value, Tensor):
                self.register_buffer(f"own_{place}", value.detach())

    def forward(self, x: Tensor) -> Tensor:
        rest = [getattr(self, f"own_{n}") if isinstance(v, Tensor) else v for n, v in enumerate(self.rest)]
        return self.call(x, *rest, **self.kwargs)


@pytest.mark.parametrize("name", CALLS)
def test_every_spelling_of_every_op_is_sound_and_seen(name: str) -> None:
    torch.manual_seed(0)
    for case in op_cases(name):
        if case.inner is not Tensor.__matmul__:  # which torch.fx does not trace
            verdict = guard_verdict(MaseGraph(OneCall(case)), case.args[0])
            assert verdict.is_sound, f"{case.name}: {verdict}"
            assert not [line for line in verdict.unchecked if "refused" not in line], f"{case.name}: {verdict}"


Forward = Callable[..., Any]


def planted(monkeypatch: pytest.MonkeyPatch, change: Callable[[Quantized], Quantized]) -> None:
    """Let every wrapper behave like the one that `change` makes of it."""
    sound = Quantized.forward

    def forward(self: Quantized, *args: Any, **kwargs: Any) -> Any:
        return sound(change(self), *args, **kwargs)

    monkeypatch.setattr(Quantized, "forward", forward)


@pytest.mark.parametrize("operand", ["data_in", "weight", "bias", "data_out"])
def test_a_wrapper_that_skips_an_operand_is_found(monkeypatch: pytest.MonkeyPatch, operand: str) -> None:
    def without(own: Quantized) -> Quantized:
        kept = {name: chosen for name, chosen in own.formats.items() if name != operand}
        return Quantized(own.inner, own.op, kept if own.op.name == "linear" else own.formats)

    planted(monkeypatch, without)
    graph, x = small()
    with pytest.raises(GraphError, match=rf"node 'a', {operand}: it has a format, and is not on its grid.*leave"):
        require_sound(graph, x)


@pytest.mark.parametrize("operand", ["data_in", "weight", "bias"])
def test_a_wrapper_that_rounds_what_has_no_format_is_found(monkeypatch: pytest.MonkeyPatch, operand: str) -> None:
    def more(own: Quantized) -> Quantized:
        return Quantized(own.inner, own.op, {operand: Integer(4, 2), **own.formats} if own.op.params else own.formats)

    planted(monkeypatch, more)
    graph, x = small()
    assert (("a", operand)) in {(f.node, f.operand) for f in guard_verdict(graph, x).findings if "no format" in f.wrong}


def test_a_wrapper_that_rounds_the_wrong_channel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(own: Quantized) -> Quantized:
        turn = {
            name: replace(chosen, channel_axis=1)
            for name, chosen in own.formats.items()
            if isinstance(chosen, Integer) and len(chosen.fractions) > 1 and own.op.name == "linear"
        }
        return Quantized(own.inner, own.op, {**own.formats, **turn})

    planted(monkeypatch, turned)
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    with torch.no_grad():
        layer.weight *= torch.tensor([10.0, 1.0, 0.1, 0.01]).view(4, 1)
    with pytest.raises(GraphError, match=r"node '_0', weight: .*grid"):
        require_sound(MaseGraph(nn.Sequential(layer)), torch.randn(2, 4))


def test_a_wrapper_that_rounds_whole_numbers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Quantized.forward

    def forward(self: Quantized, *args: Any, **kwargs: Any) -> Any:
        if self.op.name == "embedding":
            args = (args[0].clamp(max=3), *args[1:])
        return sound(self, *args, **kwargs)

    monkeypatch.setattr(Quantized, "forward", forward)
    graph, x = small()
    verdict = guard_verdict(graph, x + 4)
    assert str(verdict).startswith("node 'table', input: it has no format, and differs from its float32 value"), str(
        verdict
    )


def test_a_fault_in_the_other_way_of_running_plans_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = PlanRunner.predictions

    def without_bias(self: PlanRunner, plan: QuantPlan) -> Tensor:
        kept = {name: {o: f for o, f in plan[name].items() if (name, o) != ("b", "bias")} for name in plan}
        return sound(self, QuantPlan.of(kept))

    monkeypatch.setattr(PlanRunner, "predictions", without_bias)
    graph, x = small()
    with pytest.raises(GraphError, match=r"node 'b', bias: measured plan by plan, the network returns other results"):
        require_sound(graph, x)


def test_a_weight_that_is_not_rounded_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "quantized_parameters", lambda module, op, formats: {})
    graph = MaseGraph(nn.Sequential(nn.Linear(4, 3)))
    with pytest.raises(GraphError, match=r"node '_0', weight: it has a format, and is not on its grid .*prune.remove"):
        require_sound(graph, torch.randn(2, 4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_of_missing_values_the_first_alone_is_told(value: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    model[0].weight.data[0, 0] = value
    for formats in (None, {("_2", "data_in"): [Integer(8, 3)], ("_0", "weight"): [Integer(8, 3)]}):
        with pytest.raises(GraphError, match=r"^node '_0', weight: it holds NaN or infinity; train[^\n]*$"):
            require_sound(MaseGraph(model), torch.randn(2, 4), formats)


class Leaky(nn.Module):
    """A mask of minus infinity in front of a softmax."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(x.masked_fill(torch.arange(6) > 3, float("-inf")), -1)


def test_a_mask_that_leaks_is_found_for_formats_that_may_be_chosen() -> None:
    graph, x = MaseGraph(Leaky()), torch.randn(2, 6)
    verdict = guard_verdict(graph, x, {("softmax", "data_in"): [Integer(8, 3)]})
    assert all("masked" in finding.wrong for finding in verdict.findings)


class Distances(nn.Module):
    """The logarithm of a distance, which where() throws away at zero, for a sum that may not be reached by -inf."""

    def __init__(self, is_read: bool) -> None:
        super().__init__()
        self.is_read = is_read

    def forward(self, x: Tensor) -> Tensor:
        far = torch.arange(6) - 2 + 0 * x
        logs = torch.log(far.abs()) * 0.5
        return x + (logs.clamp(-20) if self.is_read else torch.where(far.abs() < 1, 1.0, logs))


@pytest.mark.parametrize("operand", ["data_in", "data_out"])
@pytest.mark.parametrize("is_read", [False, True])
def test_infinities_that_the_outputs_do_not_depend_on_mask_nothing(operand: str, is_read: bool) -> None:
    graph, x = MaseGraph(Distances(is_read)), torch.randn(2, 6)
    name = next(
        name
        for name, op in graph.quantizable_nodes().items()
        if op.name == "mul" and "log" in str(graph.node(name).args)
    )
    verdict = guard_verdict(graph, x, {(name, operand): [Integer(8, 3)]})
    assert verdict.is_sound is not is_read, str(verdict)
    assert all("not masked any more" in finding.wrong for finding in verdict.findings)


def test_only_what_may_be_chosen_is_checked() -> None:
    graph, x = small()
    verdict = guard_verdict(graph, x, {("a", "bias"): [Integer(4, 2)]})
    assert verdict.is_sound
    assert guard_verdict(MaseGraph(Leaky()), torch.randn(2, 6), {}).is_sound
    pruned = prune.l1_unstructured(nn.Linear(4, 3), "weight", amount=0.3).eval()
    with torch.no_grad():
        pruned(torch.randn(2, 4))
    only_blocks = {("_0", "data_in"): [BlockFP(width=8, exponent_width=8, block_size=(1, 16))]}
    assert guard_verdict(MaseGraph(nn.Sequential(pruned)), torch.randn(2, 4), only_blocks).is_sound


class NoTwoSamples(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x.view(7, 3))


class Draws(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) + torch.rand_like(x)


def test_what_cannot_be_run_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="chop")
    require_sound(MaseGraph(NoTwoSamples()), torch.randn(5, 3))
    assert "not checked: whether formats do what they say, since the model does not run on 2 samples" in caplog.text
    assert guard_verdict(MaseGraph(NoTwoSamples()), torch.randn(7, 3)).is_sound  # the batch as it is
    assert guard_verdict(MaseGraph(Draws()), torch.randn(7, 3)).is_sound  # draws alike from one seed


def test_a_function_has_the_row_that_the_table_has_now() -> None:
    assert kind_of(torch.digamma) == "digamma"
    OP_TABLE.register("own")(Op("own", functions=(torch.digamma,), args={"data_in": (Arg(0, ("input",)),)}))
    assert kind_of(torch.digamma) == "own"
