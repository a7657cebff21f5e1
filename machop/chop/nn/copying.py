"""Copies modules, also those with results of a training step, which `copy.deepcopy` alone refuses."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from chop.errors import GraphError, first_line

Module = TypeVar("Module", bound=nn.Module)


def copied_module(module: Module, memo: dict[int, Any] | None = None) -> Module:
    """A deep copy of `module` that shares nothing with it.

    Tensors that a training step has computed (the pruned weight, say, that a hook sets) are copied without their
    history, and tensors of `torch.inference_mode` become ordinary ones. Python's modules (`self.np = numpy`) are
    shared. Raises GraphError for what cannot be copied otherwise.
    """
    memo = {} if memo is None else memo
    with torch.inference_mode(False), torch.no_grad():
        for own in _tensors(list(map(vars, module.modules()))):
            if not is_lazy(own) and (not own.is_leaf or own.is_inference()):
                memo[id(own)] = _ordinary(own)
    memo |= {id(own): own for part in module.modules() for own in vars(part).values() if isinstance(own, ModuleType)}
    try:
        with torch.inference_mode(False), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, about the structure of exported outputs
            return copy.deepcopy(module, memo)
    except TypeError as error:
        raise GraphError(
            f"{type(module).__name__} holds something that cannot be copied ({first_line(error)}): let its forward "
            "make it, or keep it outside the model"
        ) from error


def _ordinary(tensor: Tensor) -> Tensor:
    plain = tensor.detach().clone()
    return nn.Parameter(plain, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else plain


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
