"""Checks whether the graph of a model computes what the model computes."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from chop.errors import GraphError, first_line
from chop.ir.graph.export_trace import ExampleInputs, positional_and_keyword
from chop.ir.graph.own_copy import is_uninitialised
from chop.nn.copying import copied_module
from chop.nn.own_tensors import require_unwritten, stamps
from chop.tools.get_input import hint_on

TOLERANCE = 1e-3


@torch.no_grad()
def steady_results(model: nn.Module, example_inputs: ExampleInputs | None) -> Any:
    """The result of a copy of `model` for `example_inputs`; None if it has no reproducible result.

    That is so for models that draw at random, or that cannot be copied or run on these inputs.
    """
    if example_inputs is None:
        return None
    try:
        apart = copied_module(model).eval()  # running a model may leave things on it
        first, again = (_results(apart, example_inputs) for _ in range(2))
    except Exception:  # of the model's own code
        return None
    return first if _are_close(first, again, 0.0) else None


@torch.no_grad()
def draws_at_random(model: nn.Module, example_inputs: ExampleInputs) -> bool:
    """Whether two fresh copies of `model`, in eval mode, return different results for the same inputs.

    False, too, for a model that cannot be copied or run on these inputs.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            own = copied_module(model).eval()
            if is_uninitialised(own):
                _results(own, example_inputs)  # lazy layers draw their weights in the first call
            first = _results(copied_module(own), example_inputs)
            torch.rand(1)  # the second copy draws other numbers
            second = _results(copied_module(own), example_inputs)
    except Exception:  # of the model's own code
        return False
    return not _are_close(first, second, TOLERANCE)


@torch.no_grad()
def is_finite_on(model: nn.Module, example_inputs: ExampleInputs) -> bool:
    """Whether the outputs of a copy of `model` are finite; True, too, where it does not run."""
    try:
        found = _tensors(_results(copied_module(model).eval(), example_inputs))
    except Exception:  # of the model's own code
        return True
    return all(bool(own.isfinite().all()) for own in found)


@torch.no_grad()
def failure(model: nn.Module, example_inputs: ExampleInputs) -> str:
    """The first line of the error that a copy of `model` ends with, with its cure; empty where it runs.

    Empty, too, for a model that cannot be copied.
    """
    try:
        apart = copied_module(model).eval()
    except GraphError:
        return ""
    try:
        _results(apart, example_inputs)
    except Exception as error:  # of the model's own code
        return f"{first_line(error)}{hint_on(error)}"
    return ""


@torch.no_grad()
def gives(results: Any, graph: nn.Module, example_inputs: ExampleInputs | None) -> bool:
    """Whether a graph returns `results` for `example_inputs`; True where these are None."""
    if results is None or example_inputs is None:
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, about the structure of exported outputs
            own = _results(copied_module(graph), example_inputs)
    except Exception:  # of the graph alone: it does not compute what the model does
        return False
    return type(results) is type(own) and _are_close(results, own, TOLERANCE)


@torch.no_grad()
def require_no_writes(graph: nn.Module, example_inputs: ExampleInputs | None) -> None:
    """Raise GraphError for a graph that writes on its parameters or buffers when it is run on `example_inputs`."""
    if example_inputs is None:
        return
    own = copied_module(graph)
    before = stamps(own)
    with suppress(Exception), warnings.catch_warnings():  # of the model's own code
        warnings.simplefilter("ignore", FutureWarning)
        _results(own, example_inputs)
    require_unwritten(own, before)


def _results(model: nn.Module, example_inputs: ExampleInputs) -> Any:
    """The result of a model for a copy of the inputs, on the device of the model."""
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    args, kwargs = tree_map_only(Tensor, lambda x: x.to(device, copy=True), positional_and_keyword(example_inputs))
    with torch.random.fork_rng(devices=[]):
        return model(*args, **kwargs)


def _are_close(one: Any, other: Any, tolerance: float) -> bool:
    pairs = list(zip(_tensors(one), _tensors(other), strict=False))
    return len(_tensors(one)) == len(_tensors(other)) and all(_is_close(a, b, tolerance) for a, b in pairs)


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _is_close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.allclose(a, b, rtol=tolerance, atol=0.01 * tolerance, equal_nan=True)
