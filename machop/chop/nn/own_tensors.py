"""A module's tensors as its `forward` reads them, after hooks, parametrizations or a norm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from chop.errors import GraphError
from chop.nn.on_copies import one_call

WEIGHT_HOOKS = (BasePruningMethod, SpectralNorm, WeightNorm)
"""Pre-hooks of torch that write a tensor of the module, from other tensors of the module alone."""

MADE_BY_HOOK = (
    "a weight that a pre-hook makes anew in every call is read outside of its layer too: put the made one in its place "
    "(prune.remove, remove_weight_norm, remove_spectral_norm), or use torch.nn.utils.parametrizations"
)

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def as_read(module: nn.Module) -> nn.Module:
    """A twin of `module` that holds its tensors as `forward` reads them, and no longer what makes them.

    That is: parametrizations, the pre-hooks of `nn.utils.prune`, `weight_norm` and `spectral_norm`, and the `max_norm`
    of an embedding. A module without any of these is returned itself. Gradients reach the tensors of `module`.
    """
    hooks = () if has_unknown_pre_hooks(module) else tuple(module._forward_pre_hooks.values())
    if not hooks and not is_parametrized(module) and not limits_norm(module):
        return module
    twin = _without_parametrizations(module)
    for hook in hooks:
        hook(twin, ())
    if hooks:
        twin._forward_pre_hooks.clear()
    if limits_norm(twin):
        assert isinstance(twin, EMBEDDINGS) and twin.max_norm is not None
        vars(twin).update(weight=within_norm(twin.weight, twin.max_norm, twin.norm_type), max_norm=None)
    return twin


class MadeByHook(Tensor):
    """A tensor that one of torch's own pre-hooks makes anew in every call: under tracing nothing else may read it."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise TypeError(MADE_BY_HOOK)


@contextmanager
def made_by_hooks_marked(model: nn.Module) -> Iterator[None]:
    """While this is open, the tensors that torch's own pre-hooks make in `model` are `MadeByHook`."""
    kept: list[tuple[dict[str, Any], str, Tensor]] = []
    for module in model.modules():
        hooks = [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, WEIGHT_HOOKS)]
        names = {str(getattr(hook, "name", None) or getattr(hook, "_tensor_name", "")) for hook in hooks}
        made = {name: vars(module).get(name) for name in names}
        kept += [(vars(module), name, value) for name, value in made.items() if isinstance(value, Tensor)]
    for attributes, name, value in kept:
        attributes[name] = value.as_subclass(MadeByHook)
    try:
        yield
    finally:
        for attributes, name, own in kept:
            attributes[name] = own


def limits_norm(module: nn.Module) -> bool:
    """Whether a module is an embedding that scales its rows down to `max_norm`, which torch does in place."""
    return isinstance(module, EMBEDDINGS) and module.max_norm is not None


def has_unknown_pre_hooks(module: nn.Module) -> bool:
    """Whether a module has pre-hooks that are not torch's own: they may change its tensors and its inputs."""
    return any(not isinstance(hook, WEIGHT_HOOKS) for hook in module._forward_pre_hooks.values())


def tensor_as_read(module: nn.Module, name: str) -> Tensor | None:
    """The tensor `name` of a module as `forward` reads it; None where it has none, or where pre-hooks need inputs."""
    twin = as_read(module)
    if not has_unknown_pre_hooks(twin):
        return _tensor(twin, name)
    twin = twin_of(twin, copies=True)
    vars(twin)["forward"] = lambda: _tensor(twin, name)
    twin._forward_hooks.clear()
    try:
        found: Tensor | None = nn.Module.__call__(twin)
    except Exception:  # of a hook that needs inputs
        return None
    return found


def with_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A twin of `module` that has `tensors` in place of its own."""
    twin = twin_of(module)
    vars(twin).update(tensors)  # found before parameters and buffers are looked up
    return twin


def twin_of(module: nn.Module, copies: bool = False) -> nn.Module:
    """A module of the same class with the same attributes, which may be set without a trace on `module`.

    Tensors are those of `module`, or with `copies` copies that let gradients through.
    """
    twin: nn.Module = object.__new__(type(module))
    twin.__dict__.update(vars(module))
    for name, own in vars(module).items():
        if name in ("_parameters", "_buffers", "_modules") or name.endswith("_hooks"):
            vars(twin)[name] = type(own)(own)
    if copies:
        for tensors in (twin._parameters, twin._buffers):
            tensors.update({name: own.clone() for name, own in tensors.items() if own is not None})  # type: ignore[misc]
    return twin


class LeavesTensors(nn.Module):
    """A module that is called as a twin: what the call writes on its tensors is not left on the module itself."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        read = as_read(self)
        if has_unknown_pre_hooks(read) and not self.training:
            read = twin_of(read, copies=True)
        return nn.Module.__call__(read, *args, **kwargs)


class LimitedEmbedding(LeavesTensors, nn.Embedding):
    """An embedding with `max_norm`."""


class LimitedEmbeddingBag(LeavesTensors, nn.EmbeddingBag):
    """Bags of embeddings with `max_norm`."""


def leave_tensors(model: nn.Module) -> None:
    """Make the modules in `model` that may write on their own tensors when they are called leave these as they are."""
    limited = {nn.Embedding: LimitedEmbedding, nn.EmbeddingBag: LimitedEmbeddingBag}
    for module in model.modules():
        cls = type(module)
        if limits_norm(module) and cls in limited:
            module.__class__ = limited[cls]
        elif has_unknown_pre_hooks(module) and not issubclass(cls, LeavesTensors):
            module.__class__ = type(cls.__name__, (LeavesTensors, cls), {"__module__": cls.__module__})


@one_call
def within_norm(weight: Tensor, max_norm: float, norm_type: float = 2.0) -> Tensor:
    """A copy of `weight` `(rows, features)` whose rows have been scaled down to `max_norm`, as embeddings do it.

    Gradients pass as if the rows had not been scaled.
    """
    limited = weight.clone()
    rows = torch.arange(len(limited), device=limited.device)
    with torch.no_grad():
        torch.embedding_renorm_(limited.detach(), rows, max_norm, norm_type)
    return limited


def stamps(module: nn.Module) -> dict[str, tuple[int, int]]:
    """For each parameter and buffer which tensor it is, and how often that has been written."""
    tensors = (*module.named_parameters(), *module.named_buffers())
    return {name: (id(own), -1 if own.is_inference() else own._version) for name, own in tensors}


def require_unwritten(module: nn.Module, before: Mapping[str, tuple[int, int]]) -> None:
    """Raise GraphError where a run has written on parameters or buffers: each trial would find others."""
    written = [name for name, stamp in stamps(module).items() if before.get(name) != stamp]
    if written:
        raise GraphError(
            f"the model writes on {', '.join(written)} in forward, also in eval mode, where tracing cannot follow it: "
            "write only in training (if self.training), or compute with a new tensor"
        )


def _tensor(module: nn.Module, name: str) -> Tensor | None:
    found: Any = getattr(module, name, None)
    return found if isinstance(found, Tensor) else None


def _without_parametrizations(module: nn.Module) -> nn.Module:
    """A twin in which parametrised tensors are what they come to now: a rounded one would be parametrised once more."""
    if not is_parametrized(module):
        return twin_of(module)
    twin = twin_of(module)
    parametrized: nn.ModuleDict = module.parametrizations  # type: ignore[assignment]
    classes = type(module).__mro__
    made = next(place for place, cls in enumerate(classes) if not vars(cls).keys().isdisjoint(parametrized))
    twin.__class__ = classes[made + 1]  # torch puts a class with properties before the one that the module had
    del twin._modules["parametrizations"]
    vars(twin).update({name: getattr(module, name) for name in parametrized})
    return twin
