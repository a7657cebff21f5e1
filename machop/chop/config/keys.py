"""Gives the keys of tables a meaning, and describes the keys of a table for the reference and the terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from typing import Any

from chop.config.json_schema import Schema, table_schema
from chop.config.later_keys import BEFORE


def documented(
    default: Any = MISSING,
    meaning: str = "",
    *,
    made_by: Callable[[], Any] | None = None,
    before: Any = MISSING,
) -> Any:
    """A field of a dataclass that reads a table: its default, and what the key means, in a sentence.

    `made_by` makes a default that is a list or a table. A key that is added later declares the value that means what
    was done `before` there was such a key: records from then can be resumed with it. It stays if the default changes.

    >>> @dataclass(frozen=True)
    ... class Options:
    ...     rate: float = documented(0.5, "The share of points that are drawn.")
    >>> keys_of(Options)
    [Key(name='rate', values='number', default='0.5', meaning='The share of points that are drawn.')]
    """
    about = {"help": meaning} | ({} if before is MISSING else {BEFORE: before})
    return field(default_factory=made_by, metadata=about) if made_by else field(default=default, metadata=about)


@dataclass(frozen=True)
class Key:
    """A key of a table in words: what it may be, its default (empty without one), and its meaning."""

    name: str
    values: str
    default: str
    meaning: str


def keys_of(cls: type[Any]) -> list[Key]:
    """The keys of the table that is read as the dataclass `cls`."""
    return [_described(name, schema) for name, schema in table_schema(cls)["properties"].items()]


def _described(name: str, schema: Schema) -> Key:
    default = schema.get("default", "")
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return Key(name, values_of(schema), text, schema.get("description", ""))


def values_of(schema: Schema) -> str:
    """What a key may be, in words.

    >>> values_of({"type": "integer", "minimum": 1, "maximum": 4000}), values_of({"enum": ["index", "random"]})
    ('whole number ≥ 1, ≤ 4,000', '`index`, `random`')
    """
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(values_of, schema["anyOf"])))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"a list: {values_of(schema.get('items', {}))}"
    kind = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true`, `false`"}
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[limit]:,}" for limit, sign in limits.items() if limit in schema]
    return " ".join([kind.get(schema.get("type", ""), "a value"), ", ".join(bounds)]).strip()
