"""Alkaid's optimisation of a circuit, without the pass that makes some circuits wrong."""

from __future__ import annotations

from typing import Any

ROUNDS = 4
"""Rounds until alkaid's passes change nothing more; it gives up after as many."""


def optimised(logic: Any) -> Any:
    """Alkaid's combinational logic as its own optimiser leaves it, and exact.

    `canonicalize_msb_wraps` of alkaid 0.8.2 takes a wrap to one bit for the source's highest bit even where the bit is
    shifted, and loses a power of two (rounding half to even, some saturations). All other passes run as in
    `alkaid.trace.passes.optimize`. On 14 circuits the same LUTs.
    """
    from alkaid.trace.passes import add_surrogate
    from alkaid.trace.passes.order import canonical_sort, topo_bandwidth_sort
    from alkaid.trace.passes.retrace import _retrace

    for _ in range(ROUNDS):
        before = canonical_sort(_simplified(logic))
        logic = canonical_sort(_simplified(_retrace(before)))
        if logic == before:
            break
    return topo_bandwidth_sort(canonical_sort(add_surrogate(logic)))


def _simplified(logic: Any) -> Any:
    from alkaid.trace.passes import common_subexpr_elimin, dead_code_elimin, null_quant_elimin
    from alkaid.trace.passes.canon import canonicalize_outputs, const_propagation

    logic = dead_code_elimin(canonicalize_outputs(const_propagation(logic)))
    return dead_code_elimin(null_quant_elimin(dead_code_elimin(common_subexpr_elimin(logic))))
