"""Counts the MACs of everything that runs, below the names of operations."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
Formula = Callable[[Sequence[Any], Any], int | None]
"""The multiply-accumulates of a call from its arguments and its result; None where they cannot be told."""


class ProductCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts, in `macs`, every product of matrices or vectors and every convolution that runs while it is entered.

    A matrix with M columns and a vector make M multiply-accumulates a row, whatever the call is spelled like. Products
    element by element are not counted unless `counts_elementwise` is set (an outer product is torch's `mul`).
    `uncounted` has the names of the operators that multiply in ways that no formula here describes.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        self.uncounted: list[str] = []
        self.counts_elementwise = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = getattr(func, "overloadpacket", func)
        formula = _FORMULAS.get(packet)
        if formula is None and self.counts_elementwise and packet is aten.mul:
            formula = _elementwise
        count = formula(_positional(func, args, kwargs or {}), result) if formula else 0
        if count is None or (formula is None and _multiplies_unseen(func)):
            self.uncounted.append(str(getattr(packet, "__name__", packet)))
        self.macs += count or 0
        return result


@contextmanager
def counted_products() -> Iterator[ProductCounter]:
    """Count products; fused kernels that hide them (attention, recurrent layers) are disabled meanwhile."""
    has_fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the flags of oneDNN speak of devices that are not there
            with (
                torch.backends.mkldnn.flags(enabled=False),
                torch.backends.cudnn.flags(enabled=False),
                sdpa_kernel(SDPBackend.MATH),
                ProductCounter() as counter,
            ):
                yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(has_fastpath)


def _positional(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """All arguments of a call in the order of the operator's schema, defaults filled in."""
    schema = func._schema.arguments[len(args) :]
    defaults = [None if argument.default_value is None else argument.default_value for argument in schema]
    return [*args, *(kwargs.get(argument.name, default) for argument, default in zip(schema, defaults, strict=True))]


def _values(tensor: Tensor) -> int:
    """How many values a tensor stores: of a sparse one those that are not left out."""
    return int(tensor._nnz()) if _is_sparse(tensor) else tensor.numel()


def _is_sparse(tensor: Tensor) -> bool:
    return tensor.layout is not torch.strided


def _product(first: int) -> Formula:
    """The formula of a product of the operands at `first` and behind it."""

    def count(args: Sequence[Any], result: Any) -> int | None:
        left, right = args[first : first + 2]
        if _is_sparse(left) and _is_sparse(right):
            return None
        if _is_sparse(right):
            return _values(right) * int(left.shape[-2])
        return _values(left) * int(right.shape[-1] if right.ndim > 1 and left.ndim > 1 else 1)

    return count


def _sampled(args: Sequence[Any], result: Any) -> int:
    """A product of which only the places of a sparse matrix are computed."""
    return _values(args[0]) * int(args[1].shape[-1])


def _grouped(args: Sequence[Any], result: Any) -> int:
    """A product of each group of rows (or of each matrix) with a matrix of its own."""
    left, right = args[:2]
    return int(left.numel()) * int(right.shape[-1] if left.ndim + right.ndim > 4 else result.shape[-1])


def _elementwise(args: Sequence[Any], result: Any) -> int:
    return int(result.numel())


def _convolution(args: Sequence[Any], result: Any) -> int:
    """`args` are input, weight, bias, stride, padding, dilation, whether it is transposed, …"""
    x, weight, is_transposed = args[0], args[1], args[6]
    if is_transposed:  # each input value meets a whole kernel `(in, out / groups, *kernel)`
        return int(x.numel() * prod(weight.shape[1:]))
    return int(result.numel() * prod(weight.shape[1:]))


def _time_convolution(args: Sequence[Any], result: Any) -> int:
    kernel, channels, _ = args[1].shape
    return int(result.numel() * kernel * channels)


def _bilinear(args: Sequence[Any], result: Any) -> int:
    """One for each value of the weight `(out, first, second)`: with a pair of values of the two inputs."""
    return int(args[0].numel() // max(1, args[1].shape[1]) * args[1].numel())


def _attention(args: Sequence[Any], result: Any) -> int:
    """Queries with all keys, masked ones as well, and the weights of attention with the values."""
    query, key, value = args[:3]
    return int(prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


def _bag(args: Sequence[Any], result: Any) -> int:
    """A sum of embeddings multiplies by weights per sample only."""
    weight, indices, per_sample = args[0], args[1], args[6]
    return 0 if per_sample is None else int(indices.numel() * weight.shape[-1])


def _distances(args: Sequence[Any], result: Any) -> int:
    """Euclidean distances square every difference; other norms do not multiply."""
    return int(result.numel() * args[0].shape[-1]) if args[2] == 2 else 0


def _pairwise(args: Sequence[Any], result: Any) -> int:
    return int(result.numel() * args[0].shape[-1]) if args[1] == 2 else 0


def _euclidean(args: Sequence[Any], result: Any) -> int:
    return int(result.numel() * args[0].shape[-1])


_FORMULAS: dict[Any, Formula] = {
    **dict.fromkeys((aten.mm, aten.bmm, aten.mv, aten.dot, aten.vdot, aten.hspmm, aten._int_mm), _product(0)),
    **dict.fromkeys((aten.addmm, aten.addmv, aten.addbmm, aten.baddbmm, aten._addmm_activation), _product(1)),
    **dict.fromkeys((aten._sparse_addmm, aten.sspaddmm), _product(1)),
    aten._sparse_mm_reduce_impl: _product(0),
    aten._scaled_mm: _product(0),
    aten._grouped_mm: _grouped,
    aten.sparse_sampled_addmm: _sampled,
    aten.addr: _elementwise,
    aten.convolution: _convolution,
    aten._convolution: _convolution,
    aten.conv_tbc: _time_convolution,
    aten._trilinear: _bilinear,
    aten._embedding_bag: _bag,
    aten._embedding_bag_forward_only: _bag,
    aten._cdist_forward: _distances,
    aten._pdist_forward: _pairwise,
    aten._euclidean_dist: _euclidean,
    aten.affine_grid_generator: _euclidean,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention: _attention,
    aten._scaled_dot_product_efficient_attention: _attention,
    aten._scaled_dot_product_cudnn_attention: _attention,
    aten._scaled_dot_product_fused_attention_overrideable: _attention,
}

_UNSEEN = re.compile(
    "_?(linalg_|cholesky|lu_|triangular_solve|ormqr|geqrf|fft_|sparse_|transformer_encoder|native_multi_head|mkldnn_"
    "|cudnn_|miopen_|weight_int|flash_attention|efficient_attention|nested|scaled_|grouped|mixed|dyn_quant)"
)
"""Beginnings of the names of operators that multiply matrices somewhere inside."""

_HARMLESS = re.compile(
    "_?(linalg_(vector_norm|cross|check_errors)|sparse_(sum|softmax|log_softmax|coo|compressed|mask|broadcast|csr_sum"
    "|csr_prod|resize|dim)|nested_(view|get))"
)
"""Beginnings, out of the former, of those that multiply no matrices."""


def _multiplies_unseen(func: Any) -> bool:
    """Whether an operator without a formula multiplies, or belongs to a library of which nothing is known."""
    if not isinstance(func, torch._ops.OpOverload):
        return True
    if func.namespace in ("prim", "prims"):
        return False
    name = func._schema.name.partition("::")[2]
    return func.namespace != "aten" or bool(_UNSEEN.match(name) and not _HARMLESS.match(name))
