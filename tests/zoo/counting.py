"""Multiply-accumulates of a model, counted where torch multiplies: at its innermost operators."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from chop.dataset.rows import cut
from tests.zoo.reference import plain


class _Counter(TorchDispatchMode):
    """Adds up the products of matrices, vectors and convolutions, each by its own formula."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.macs += _products(func._overloadpacket.__name__, args, result)
        return result


def _products(name: str, args: tuple[Any, ...], result: Any) -> int:
    if name in ("mm", "bmm"):
        return prod(args[0].shape) * int(args[1].shape[-1])
    if name in ("addmm", "baddbmm", "addbmm"):
        return prod(args[1].shape) * int(args[2].shape[-1])
    if name in ("mv", "dot", "vdot"):
        return prod(args[0].shape)
    if name == "addmv":
        return prod(args[1].shape)
    if name == "convolution":
        x, weight, transposed = args[0], args[1], args[6]
        return prod((x if transposed else result).shape) * prod(weight.shape[1:])
    if name == "_trilinear":  # each output sums over both inputs
        return prod(result.shape) * int(args[0].shape[-1]) * int(args[2].shape[-1])
    return 0


@torch.no_grad()
def multiply_accumulates(model: nn.Module, x: Any) -> int:
    """The multiply-accumulates of `model` for one sample: the difference between batches of three and two."""
    three, two = (_count(plain(model), cut(x, 0, samples)) for samples in (3, 2))
    return three - two


def _count(model: nn.Module, x: Any) -> int:
    has_fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH), _Counter() as counter:
            model(**x) if isinstance(x, dict) else model(*x) if not isinstance(x, Tensor) else model(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(has_fastpath)
    return counter.macs
