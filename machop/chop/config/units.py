"""Parses quantities with units in a TOML file: `"2 KiB"`, `"1.5 us"`, `"73 %"`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
_SMALL = {"m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9}


def _with_prefixes(symbol: str, prefixes: Mapping[str, float], factor: float = 1.0) -> dict[str, float]:
    return {f"{prefix}{symbol}": factor * own for prefix, own in prefixes.items()}


UNITS: dict[str, dict[str, float]] = {
    "": {"%": 0.01, "": 1.0},
    "byte": {
        **_with_prefixes("B", {**_PREFIXES, **_BINARY}),
        "byte": 1.0,
        "bytes": 1.0,
        **_with_prefixes("bit", {**_PREFIXES, **_BINARY}, 0.125),
    },
    "bit": {**_with_prefixes("bit", _PREFIXES), "bits": 1.0},
    "s": _with_prefixes("s", {"": 1.0, **_SMALL}),
    "FLOP": _with_prefixes("FLOP", _PREFIXES),
    "BitOP": _with_prefixes("BitOP", _PREFIXES),
    "us": {"ns": 1e-3, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6},
    "ns": {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9},
    "pJ": {"pJ": 1.0, "nJ": 1e3, "uJ": 1e6, "µJ": 1e6, "mJ": 1e9},
    "x": {"x": 1.0},
}
"""For each unit of a metric (what stands before a `/`) the units that it may be given in, with their factors."""

_QUANTITY = re.compile(r"([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*(.*)")


def parse_quantity(text: str, unit: str) -> float:
    """The number that `text` means in `unit`; raises ValueError with the known units.

    >>> parse_quantity("2 KiB", "byte"), parse_quantity("73 %", ""), parse_quantity("10 us", "s/sample")
    (2048.0, 0.73, 1e-05)
    """
    known = UNITS.get(unit.partition("/")[0], {unit: 1.0})
    found = _QUANTITY.fullmatch(text.strip())
    given = found[2].partition("/")[0].strip() if found else ""
    if found is None or given not in known:
        units = ", ".join(name for name in known if name) or "no unit"
        raise ValueError(f"expected a number, or text of a number and a unit ({units}), got {text!r}")
    return float(Decimal(found[1]) * Decimal(repr(known[given])))  # 10 us are 1e-05 s, not 9.999999999999999e-06
