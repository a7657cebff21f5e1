"""The conformance suite of ops that packages add to the table."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from chop.formats import Format, Integer
from chop.ir import MaseGraph, QuantPlan
from chop.nn.ops import Op
from chop.nn.quantized import Quantized


@dataclass(frozen=True)
class OpCall:
    """A call of an op: a module or a function, with its arguments (tensors, those that are parameters among them)."""

    op: Op
    inner: nn.Module | Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        kind = type(self.inner).__name__ if isinstance(self.inner, nn.Module) else getattr(self.inner, "__name__", "")
        return f"{self.op.name}-{kind}"


class _Model(nn.Module):
    """A model that consists of one call; the arguments of a function but for its inputs are its parameters."""

    def __init__(self, call: OpCall) -> None:
        super().__init__()
        self.called = call.inner
        self.kwargs = dict(call.kwargs)
        self.inputs = 1 + max((arg.index for own in call.op.args.values() for arg in own), default=0)
        self.owned = nn.ParameterList(call.args[self.inputs :])

    def forward(self, x: Tensor) -> Any:
        return self.called(*[x] * self.inputs, *self.owned, **self.kwargs)


def _model_of(call: OpCall) -> nn.Module:
    """The model of a call; a function is called by a global name, as in a file of its own."""
    if isinstance(call.inner, nn.Module):
        return _Model(call)

    def forward(self: Any, x: Tensor) -> Any:
        return called(*[x] * self.inputs, *self.owned, **self.kwargs)  # type: ignore[name-defined]  # noqa: F821

    own = FunctionType(forward.__code__, {"called": call.inner}, "forward")
    kind: type[nn.Module] = type("Calling", (_Model,), {"forward": own})
    return kind(call)


class OpConformance:
    """Subclass it in a test module and list `calls`, one or more of each of your ops, with random values.

    A call of a function gives its inputs first and its parameters behind them.
    """

    calls: ClassVar[Sequence[OpCall]] = ()
    format: ClassVar[Format] = Integer(5, 2)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each call."""
        if "call" in metafunc.fixturenames:
            metafunc.parametrize("call", self.calls, ids=str)

    def test_each_operand_is_rounded_as_by_hand(self, call: OpCall) -> None:
        """The call with some formats is the float call on operands that were rounded before it."""
        operands = [name for name in call.op.possible_operands if name != "data_out"]
        for chosen in [*([name] for name in operands), operands]:
            formats = dict.fromkeys(chosen, self.format)
            got = Quantized(call.inner, call.op, formats)(*call.args, **call.kwargs)
            torch.testing.assert_close(got, _by_hand(call, formats))
        result = Quantized(call.inner, call.op, {"data_out": self.format})(*call.args, **call.kwargs)
        torch.testing.assert_close(result, self.format.quantize(call.inner(*call.args, **call.kwargs)))

    def test_a_graph_calls_it_whole_and_its_formats_change_the_result(self, call: OpCall) -> None:
        """The table has the op, and tracing keeps it as one node, whose formats can be replaced."""
        model = _model_of(call)
        graph = MaseGraph(model)
        found = {name: op for name, op in graph.quantizable_nodes().items() if op.name == call.op.name}
        assert len(found) == 1, (
            f"the graph has no node of the op '{call.op.name}': is it registered in chop.nn.OP_TABLE?"
        )
        (node,), x = found, call.args[0]
        exact = model(x)
        graph.apply_plan(QuantPlan.of({node: dict.fromkeys(found[node].operands, self.format)}))
        assert not torch.equal(graph.model(x), exact)
        assert torch.equal(copy.deepcopy(graph).model(x), graph.model(x))
        graph.apply_plan(QuantPlan())
        assert torch.equal(graph.model(x), exact)


@torch.no_grad()
def _by_hand(call: OpCall, formats: Mapping[str, Format]) -> Any:
    inner, args = call.inner, list(call.args)
    slots = [(operand, arg.index) for operand, own in call.op.args.items() for arg in own]
    if isinstance(inner, nn.Module):
        inner = copy.deepcopy(inner)
        for name, tensor in inner.named_parameters(recurse=False):
            if name in formats:
                tensor.copy_(formats[name].quantize(tensor))
    else:
        slots += [(operand, arg.index) for operand, arg in call.op.params.items()]
    for operand, index in slots:
        if operand in formats and index < len(args):
            args[index] = formats[operand].quantize(args[index])
    return inner(*args, **call.kwargs)
