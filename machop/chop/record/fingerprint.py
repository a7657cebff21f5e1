"""Fingerprints of searches: keys that are equal if the figures of one search are valid for another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

LANDSCAPE_IDENTITY = (
    "weights",
    "model_state",
    "dataset",
    "user_code",
    "search_space",
    "choices",
    "layers",
    "calibration_rows",
    "runners",
    "eval_mode",
)
"""What two searches must have in common for the figures of one to be the truth for the other."""


def digest(value: Any) -> str:
    """A checksum of JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def landscape_key(fingerprint: Mapping[str, Any]) -> str:
    """A key that is equal for searches that measure the same things on the same space, with any strategy."""
    return digest([fingerprint.get(name) for name in LANDSCAPE_IDENTITY])
