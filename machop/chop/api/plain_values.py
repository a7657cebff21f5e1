"""Arguments from Python as the values that a TOML file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Tuples as lists, numbers of NumPy as those of Python, paths as text, at any depth; other values as they are.

    >>> plain({"width": (np.int64(4), 8), "name": "integer"})
    {'width': [4, 8], 'name': 'integer'}
    >>> plain([PurePath("b.safetensors")])
    ['b.safetensors']
    """
    if isinstance(value, Mapping):
        return {key: plain(own) for key, own in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PurePath):
        return str(value)
    return [plain(own) for own in value] if isinstance(value, (tuple, list)) else value
