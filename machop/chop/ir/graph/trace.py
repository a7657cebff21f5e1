"""Traces a model to a graph of its calls: with torch.fx, else with torch.export."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from traceback import extract_tb
from typing import Any

import torch
from torch import fx, nn

from chop.errors import GraphError, first_line
from chop.ir.graph.arguments import ArgumentTracer
from chop.ir.graph.export_trace import ExampleInputs, export_trace, why_not_exported
from chop.ir.graph.functional import make_functional
from chop.ir.graph.pickled import TracedModel
from chop.ir.graph.same_results import gives, require_no_writes, steady_results
from chop.ir.graph.writes import OPERATORS
from chop.nn.copying import copied_module
from chop.nn.ops import added_functions, added_modules
from chop.nn.own_tensors import MADE_BY_HOOK, LeavesTensors, MadeByHook, leave_tensors, made_by_hooks_marked, twin_of
from chop.nn.quantized import Quantized
from chop.tools.logger import get_logger

logger = get_logger(__name__)

OTHER_RESULTS = (
    "the graph gives other results than the model; perhaps a function or module that tracing does not look into writes "
    "on its inputs: let it return what it computes, and use that"
)

PACKED = (
    "torch.nn.utils.rnn.pack_padded_sequence makes no tensor; give the recurrent layer the padded sequences, and read "
    "its outputs at the last place of each, outputs[torch.arange(len(x)), lengths - 1]"
)

ARITHMETIC = (operator.add, operator.sub, operator.mul, operator.truediv, operator.matmul, operator.pow, *OPERATORS)
"""Operators that are no operation on None: a model may rely on that error for an argument that is left out."""


class _Value(fx.Proxy):
    """A value under tracing, on which one can write: `h += y` and `h[i] = y` become calls, as `torch.fx` has it not.

    Such a call is named like the operator that does not write, so that `h += y` and `h = h + y` make the same names.
    """

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "data":
            raise TypeError("'.data = …' replaces a tensor where tracing cannot see it; use the new tensor by its name")
        super().__setattr__(name, value)


def _writing(written: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    def write(self: _Value, other: Any) -> Any:
        name = self.tracer.graph._target_to_str(plain)
        return self.tracer.create_proxy("call_function", written, (self, other), {}, name=name)

    return write


for _written, _plain in OPERATORS.items():
    setattr(_Value, f"__{_written.__name__}__", _writing(_written, _plain))


class _LeafTracer(ArgumentTracer):
    """Traces into everything but the layers of `torch.nn`, quantised wrappers and the user's own leaf modules."""

    def __init__(self, leaves: tuple[type[nn.Module], ...] = ()) -> None:
        super().__init__(autowrap_functions=added_functions())
        self._leaves: tuple[type[nn.Module], ...] = (Quantized, LeavesTensors, *leaves)
        self._added = added_modules()

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Value(node, self)

    def create_proxy(self, kind: str, target: Any, args: Any, *others: Any, **named: Any) -> fx.Proxy:
        if kind == "call_function" and target in ARITHMETIC and any(arg is None for arg in args):
            raise TypeError(f"unsupported operand type(s) for {target.__name__}: a tensor and None")
        return super().create_proxy(kind, target, args, *others, **named)

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, MadeByHook):
            raise TypeError(MADE_BY_HOOK)
        return super().create_arg(a)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if any(isinstance(value, fx.Proxy) for value in vars(m).values()):
            return False  # a hook of a module around it has computed one of its tensors
        is_leaf = isinstance(m, self._leaves) or type(m) in self._added
        return is_leaf or super().is_leaf_module(m, module_qualified_name)


def trace(
    model: nn.Module,
    cf_args: dict[str, Any] | None,
    leaves: tuple[type[nn.Module], ...],
    example_inputs: ExampleInputs | None,
) -> fx.GraphModule:
    """The graph of `model` by torch.fx; with `example_inputs` by torch.export where that fails or gives other results.

    Raises GraphError where neither can, and for a model that writes on its own tensors where no graph shows it.
    """
    traced = _traced(model, cf_args, leaves, example_inputs)
    require_no_writes(traced, example_inputs)
    return traced


def _traced(
    model: nn.Module,
    cf_args: dict[str, Any] | None,
    leaves: tuple[type[nn.Module], ...],
    example_inputs: ExampleInputs | None,
) -> fx.GraphModule:
    results = steady_results(model, example_inputs)
    try:
        traced = _by_fx(copied_module(model) if example_inputs is not None else model, cf_args, leaves, example_inputs)
        why_not_fx = None if gives(results, traced, example_inputs) else OTHER_RESULTS
    except GraphError:
        raise
    except Exception as error:
        why_not_fx = PACKED if _packs_sequences(error) else first_line(error)
        if example_inputs is None:
            raise GraphError(
                f"{type(model).__name__} cannot be traced ({why_not_fx}); "
                "its forward must not branch on the values of tensors: write the branch with torch.where, pass a "
                "constant through cf_args, keep the module that branches whole with custom_ops={'modules': "
                "[ThatClass]}, or give example_inputs, so that torch.export can take it"
            ) from error
    if why_not_fx is None or example_inputs is None:
        return traced
    return _by_export(model, example_inputs, results, why_not_fx)


def _by_fx(
    model: nn.Module,
    cf_args: dict[str, Any] | None,
    leaves: tuple[type[nn.Module], ...],
    example_inputs: ExampleInputs | None,
) -> fx.GraphModule:
    tracer = _LeafTracer(leaves)
    tracer.example_inputs = example_inputs
    with made_by_hooks_marked(model), torch.no_grad():  # what branches on gradients goes the way that is measured
        graph = tracer.trace(_with_hooks_in_forward(model), cf_args)
    return _without_writes(TracedModel(tracer.root, graph, type(model).__name__))


def _without_writes(traced: fx.GraphModule) -> fx.GraphModule:
    """The graph, in which no call writes on a value or on the tensors of its module any more."""
    make_functional(traced)
    leave_tensors(traced)
    return traced


def _with_hooks_in_forward(model: nn.Module) -> nn.Module:
    """A model whose `forward` runs the forward hooks of the model as a whole, which tracing passes over."""
    if not model._forward_hooks and not model._forward_pre_hooks:
        return model
    cls = type(model)

    @functools.wraps(cls.forward)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        own = twin_of(self)
        own.__class__ = cls
        return own._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]

    whole = twin_of(model)
    whole.__class__ = type(cls.__name__, (cls,), {"forward": forward, "__module__": cls.__module__})
    return whole


def _by_export(model: nn.Module, example_inputs: ExampleInputs, results: Any, why_not_fx: str) -> fx.GraphModule:
    """The graph by torch.export; raises GraphError where that fails too, or gives other results than the model."""
    name = type(model).__name__
    try:
        exported = _without_writes(export_trace(model, example_inputs))
        why_not = None if gives(results, exported, example_inputs) else OTHER_RESULTS
    except Exception as error:
        why_not = why_not_exported(error)
    if why_not is None:
        logger.info("%s is traced by torch.export, not by torch.fx (%s)", name, why_not_fx)
        return exported
    raise GraphError(
        f"{name} can be traced neither by torch.fx ({why_not_fx}) nor by torch.export ({why_not}); rewrite what they "
        "name, or keep that module whole with custom_ops={'modules': [ThatClass]}"
    )


def _packs_sequences(error: BaseException) -> bool:
    """Whether an error came up where sequences of several lengths are packed for a recurrent layer."""
    return any(frame.name in ("pack_padded_sequence", "pack_sequence") for frame in extract_tb(error.__traceback__))
