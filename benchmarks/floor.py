"""The least time that counted work can take: arithmetic, exponentials and memory traffic over this machine's peaks."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

EXPONENTIALS = ("exp", "exp_", "log", "log_", "_log_softmax", "_softmax", "gelu", "sigmoid", "tanh")


class Counted(TorchDispatchMode):
    """Counts what torch is asked for: operations of products, exponentials (elements), and bytes of all other calls."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.exponentials = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        name = packet.__name__
        aliases = [value.alias_info for value in func._schema.returns]
        if packet in flop_registry:
            self.flops += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        elif name in EXPONENTIALS:
            self.exponentials += out.numel()
        elif not name.startswith(("empty", "new_empty")) and not any(a and not a.is_write for a in aliases):
            tensors = [value for value in tree_leaves((args, out)) if isinstance(value, Tensor)]
            self.bytes += sum(value.nbytes for value in tensors)
        return out

    @property
    def floor(self) -> float:
        """The seconds that this machine needs at the least."""
        flops, exponentials, bandwidth = peaks()
        return self.flops / flops + self.exponentials / exponentials + self.bytes / bandwidth


@cache
def peaks() -> tuple[float, float, float]:
    """Operations of products, exponentials, and bytes of data in the cache, each a second, on one thread."""
    a, b, x = torch.randn(256, 256), torch.randn(256, 4096), torch.randn(100_000)
    out = torch.empty_like(x)
    return (
        2 * a.numel() * b.shape[1] / _best(lambda: a @ b),
        x.numel() / _best(lambda: torch.exp(x, out=out)),
        2 * x.nbytes / _best(lambda: torch.add(x, 1.0, out=out)),
    )


def floor_of(function: Callable[[], Any]) -> float:
    """The least seconds for what a call asks of torch."""
    with Counted() as counted:
        function()
    return counted.floor


def _best(function: Callable[[], Any]) -> float:
    found = []
    for _ in range(20):
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return min(found)
