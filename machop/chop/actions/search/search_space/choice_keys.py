"""Says which node, and which of its operands, a key of a search space is for."""

from __future__ import annotations

from chop.nn.node_config import BATCH_NORM, has_own_weights, is_transform_key, split_key
from chop.nn.ops import Op


def holds_in_float(key: str) -> bool:
    """Whether a key holds for a node without a number format, too."""
    return is_transform_key(key) or key == BATCH_NORM


def operand_of(key: str) -> str | None:
    """The operand that a key is for; None for a key of the whole node."""
    where = split_key(key)
    return where[0] if where else None


def renamed(key: str, operand: str) -> str:
    """The key of the same parameter for another operand."""
    where = split_key(key)
    assert where is not None
    return f"{operand}_{where[1]}"


def concerns(key: str, op: Op) -> bool:
    """Whether a key applies to `op`: it names no operand, one of the op, or what the op owns (weights, statistics)."""
    if is_transform_key(key):
        return has_own_weights(op)
    if key == BATCH_NORM:
        return op.has_statistics
    where = split_key(key)
    return where is None or any(where[0] in (name, op.follows.get(name)) for name in op.operands)
