"""Copies a model for its graph: unwrapped, in eval mode, without anything that cannot be traced."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from chop.errors import GraphError
from chop.nn.copying import copied_module
from chop.tools.logger import get_logger

logger = get_logger(__name__)

SCRIPTED = "is compiled by torch.jit, so that its operations cannot be seen: give the module that it was compiled from"
QUANTISED = "is quantised by torch.ao, or prepared for it: give the model in float from before"


def own_copy(model: nn.Module, initialise: Callable[[nn.Module], object] | None = None) -> nn.Module:
    """A copy of `model` in eval mode that shares nothing with it.

    `torch.compile` and `nn.DataParallel` are taken off, in submodules too, and decoders of transformers return no cache
    of keys and values. Lazy layers get their shapes by `initialise`, which runs the copy, and the same weights each
    time. Raises GraphError for what torch.jit or torch.ao have made, for tensors without values (on "meta"), and for
    lazy layers without `initialise`.
    """
    model = unwrapped(model)
    for path, module in model.named_modules():
        for is_such, why in ((_is_scripted, SCRIPTED), (_is_quantised, QUANTISED)):
            if is_such(module):
                raise GraphError(f"'{path}' ({type(module).__name__}) {why}" if path else f"the model {why}")
    empty = next((name for name, one in (*model.named_parameters(), *model.named_buffers()) if one.is_meta), None)
    if empty is not None:
        raise GraphError(
            f"'{empty}' is on the device meta, without values: move the model with to_empty(device='cpu') and load "
            "its weights"
        )
    own = copied_module(model).eval()
    _switch_caches_off(own)
    for parent in list(own.modules()):
        for name, child in parent.named_children():
            parent._modules[name] = unwrapped(child)
    if is_uninitialised(own):
        _initialise(own, initialise)
    return own


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, without `torch.compile`, `nn.DataParallel` and the like around it."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def is_uninitialised(model: nn.Module) -> bool:
    """Whether a model has lazy layers, which get their shapes from the first batch."""
    return any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers()))


def _switch_caches_off(model: nn.Module) -> None:
    """Set `use_cache` to False in all configurations of transformers in `model`, nested ones too."""
    waiting = [config for module in model.modules() if (config := getattr(module, "config", None)) is not None]
    seen: set[int] = set()
    while waiting:
        config = waiting.pop()
        if id(config) in seen or not hasattr(type(config), "from_pretrained"):
            continue
        seen.add(id(config))
        waiting += vars(config).values()
        if getattr(config, "use_cache", False):
            config.use_cache = False


def _initialise(model: nn.Module, initialise: Callable[[nn.Module], object] | None) -> None:
    if initialise is None:
        raise GraphError(
            f"{type(model).__name__} has lazy layers without shapes: run the model on a batch once, or give MaseGraph "
            "example_inputs"
        )
    logger.warning(
        "%s has lazy layers without weights; they are drawn for the graph's own copy, the same each time (from "
        "torch.manual_seed(0)), and the model itself stays without: run it on a batch once to measure its own weights",
        type(model).__name__,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        initialise(model)


def _is_scripted(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)


def _is_quantised(module: nn.Module) -> bool:
    return type(module).__module__.startswith(("torch.ao.nn.", "torch.nn.quantized", "torch.nn.qat"))
