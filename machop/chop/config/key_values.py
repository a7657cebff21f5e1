"""Reads `--set KEY=VALUE` of the command line: a key, and a value as in a TOML file."""

from __future__ import annotations

import tomllib
from typing import Any

from chop.config.typed import KeyPath
from chop.errors import ConfigError


def key_value(pair: str) -> tuple[str, Any]:
    """The key and the value of `KEY=VALUE`, the value read as TOML; what is no TOML value is text.

    Raises ConfigError for anything else.

    >>> key_value("clock_period=2.5"), key_value("backend=Vitis"), key_value("widths=[2, 4]")
    (('clock_period', 2.5), ('backend', 'Vitis'), ('widths', [2, 4]))
    """
    key, equals, text = pair.partition("=")
    if not equals or not key.strip():
        raise ConfigError([f"command line: --set {pair}: expected KEY=VALUE"])
    try:
        values = tomllib.loads(f"value = {text.strip()}")
    except tomllib.TOMLDecodeError:
        values = {}
    return key.strip(), values["value"] if len(values) == 1 else text.strip()


def key_path(key: str) -> KeyPath:
    """The parts of a dotted key, of which those with dots are quoted as in TOML.

    Raises ConfigError for a key that TOML would not take.

    >>> key_path('search_space.override."layers.0".config')
    ('search_space', 'override', 'layers.0', 'config')
    """
    try:
        table: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError as error:
        problem = f"command line: --set {key}: is no key; quote parts with dots or brackets, as in seed.'fc.*'.config"
        raise ConfigError([problem]) from error
    path: list[str] = []
    while isinstance(table, dict):
        ((part, table),) = table.items()
        path.append(part)
    return tuple(path)
