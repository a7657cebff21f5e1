"""A model of the caller as a module, with weights of a file where one is named."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from chop.actions.setup import take_weights
from chop.config.options import RunOptions
from chop.dataset.data import Data
from chop.errors import ChopError
from chop.ir import MaseGraph, QuantPlan
from chop.nn.copying import copied_module


def loaded(model: Any, options: RunOptions, data_module: Data) -> nn.Module:
    """A model as a module, with the weights of the options in a copy of it, if they name a file."""
    own = module_of(model)
    if options.load_name:
        own = copied_module(own)
        take_weights(own, options, data_module)
    return own


def module_of(model: Any) -> nn.Module:
    """A model as a module; a graph without its formats."""
    if isinstance(model, nn.Module):
        return model
    if isinstance(model, MaseGraph):
        plain = copy.deepcopy(model)
        plain.apply_plan(QuantPlan())
        return plain.model
    raise ChopError(f"expected a torch.nn.Module, a MaseGraph or the name of a model, got {model!r}")
