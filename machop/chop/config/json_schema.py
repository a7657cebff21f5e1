"""Makes JSON schemas of tables from the dataclasses that read them, for editors that check TOML files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, get_type_hints

Schema = dict[str, Any]


def table_schema(cls: type[Any]) -> Schema:
    """The schema of a table that is read as the dataclass `cls`: its keys with their aliases, and no others.

    >>> from chop.config.space_training import SpaceTrainingOptions
    >>> probes = table_schema(SpaceTrainingOptions)["properties"]["probes"]
    >>> {key: probes[key] for key in ("type", "minimum", "default")}
    {'type': 'integer', 'minimum': 2, 'default': 16}
    """
    hints = get_type_hints(cls, include_extras=True)
    own = [field for field in fields(cls) if field.init]
    keys = {name: _value_schema(field, hints[field.name]) for field in own for name in _spellings(field)}
    required = [f.name for f in own if f.default is MISSING and f.default_factory is MISSING]
    return {**closed(keys), **({"required": required} if required else {})}


def closed(keys: Mapping[str, Schema]) -> Schema:
    """The schema of a table with these keys and no others."""
    return {"type": "object", "additionalProperties": False, "properties": dict(keys)}


def each(value: Schema) -> Schema:
    """The schema of a table whose keys are free, each with such a value."""
    return {"type": "object", "additionalProperties": value}


def one_of(names: Iterable[str]) -> Schema:
    """The schema of a text that is one of some names."""
    return {"type": "string", "enum": sorted(set(names))}


def joined(schemas: Iterable[Schema]) -> Schema:
    """The schema of a table that holds the keys of all of some tables; a key of several may have the values of each."""
    found: dict[str, list[Schema]] = {}
    for schema in schemas:
        for key, value in schema["properties"].items():
            if value not in found.setdefault(key, []):
                found[key].append(value)
    return closed({key: values[0] if len(values) == 1 else {"anyOf": values} for key, values in found.items()})


def _spellings(field: Field[Any]) -> tuple[str, ...]:
    return (field.name, *field.metadata.get("aliases", ()))


def _value_schema(field: Field[Any], hint: Any) -> Schema:
    from pydantic import TypeAdapter

    schema = _without_null(TypeAdapter(hint).json_schema())
    if about := field.metadata.get("help"):
        schema["description"] = about
    if field.default is not MISSING and field.default is not None:
        schema["default"] = field.default
    return schema


def _without_null(schema: Schema) -> Schema:
    """A schema without the value null, which TOML does not have."""
    if "anyOf" not in schema:
        return schema
    kinds = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**rest, **kinds[0]} if len(kinds) == 1 else {**rest, "anyOf": kinds}
