"""The key of an exhaustive table: a checksum of the parts of a fingerprint that decide metrics."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

NORM_MEASUREMENT = "batch_norm_measurement"
"""The part that says how statistics of batch norms are measured; fingerprints of searches that measure none lack it."""

LANDSCAPE_PARTS = (
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
    NORM_MEASUREMENT,
)
"""The parts of a fingerprint that two searches must share, so that the metrics of one are valid for the other."""


def digest(value: Any) -> str:
    """A checksum of JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def landscape_key(fingerprint: Mapping[str, Any]) -> str:
    """A key that is equal for searches that measure the same things on the same space, with any strategy."""
    parts = [name for name in LANDSCAPE_PARTS if name != NORM_MEASUREMENT or name in fingerprint]
    return digest([fingerprint.get(name) for name in parts])
