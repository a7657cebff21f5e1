"""Describes the weight transforms of a node as text; loads torch only for networks with transforms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chop.errors import ChopError

KEYS_OF_FORMATS = frozenset(
    (
        *("width", "frac_width", "range_rule", "quantile", "granularity", "symmetric"),
        *("exponent_width", "exponent_bias", "exponent_bias_width", "block_size", "skip_first_dim"),
        *("element_bits", "scale_bits", "element_exp_bits", "element_frac_bits", "scale_exp_bits"),
        *("bipolar", "stochastic", "scaled", "scaling_factor", "mean", "median", "max"),
    )
)
"""Keys, behind `weight_`, of the formats that ship."""


def is_for_transform(key: str) -> bool:
    """Whether a key of a node config is that of a weight transform."""
    if not key.startswith("weight_") or key.removeprefix("weight_") in KEYS_OF_FORMATS:
        return False
    from chop.nn.node_config import is_transform_key

    return is_transform_key(key)


def describe_transforms(config: Mapping[str, Any]) -> list[str]:
    """The transforms of a node config as text, one entry each.

    >>> describe_transforms({"name": "integer", "weight_width": 4, "weight_sparsity": 0.5})
    ['50% sparse']
    >>> describe_transforms({"name": "integer", "weight_rounding": "gptq", "weight_sparsity": 0.5})
    ['50% sparse', 'gptq']
    """
    changes, methods = transforms_and_methods(config)
    return [*changes, *methods]


def transforms_and_methods(config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The transforms of a node config that change weights before they are rounded, and the methods of rounding.

    >>> transforms_and_methods({"name": "integer", "weight_rounding": "gptq"})
    ([], ['gptq'])
    """
    changes: list[str] = []
    methods: list[str] = []
    if not any(map(is_for_transform, config)):
        return changes, methods
    from chop.nn.node_config import transform_values
    from chop.weight_transforms import WEIGHT_TRANSFORMS

    for name, values in sorted(transform_values(config).items()):
        try:
            own = WEIGHT_TRANSFORMS[name].from_keys(values)
            (methods if own.needs_format else changes).append(str(own))
        except ChopError:  # of a package that cannot be loaded any more
            changes.append(" ".join([name, *map(str, values.values())]))
    return changes, methods
