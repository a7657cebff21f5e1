"""Finds misspelt keys and wrong values of the table `[search]` without torch, from a stored table of the keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from annotated_types import Ge, Gt, Le, Lt, MinLen

from chop.config.json_schema import Schema
from chop.config.typed import KeyPath, Problem, check_value
from chop.errors import did_you_mean

KEYS_FILE = Path(__file__).with_name("search_keys.json")
"""What `stored_schema` returns for what ships with chop, written by `make keys`."""

SETUP: KeyPath = ("strategy", "setup")
RUNNERS: tuple[KeyPath, ...] = (("strategy", "sw_runner"), ("strategy", "hw_runner"))
LAYERS: tuple[KeyPath, ...] = (("search_space", "seed"), ("search_space", "override"))
BOUNDS: Mapping[str, Any] = {
    "minimum": Ge,
    "exclusiveMinimum": Gt,
    "maximum": Le,
    "exclusiveMaximum": Lt,
    "minLength": MinLen,
}
TYPES: Mapping[str, Any] = {"integer": int, "number": float, "boolean": bool, "string": str}


def early_problems(search: Any) -> list[Problem]:
    """The problems of the table `search` that its keys and the types of their values show.

    Each is one that the whole check finds as well, in the same words. It finds more: what depends on other keys, on a
    plug-in, on the data or on the model, and keys that resemble no other.
    """
    return list(_problems(_stored(), search, ())) if isinstance(search, Mapping) else []


def stored_schema(search: Schema, shared_setup: Schema) -> Schema:
    """The part of the JSON schema of a table `search` by which it is checked early.

    Choices of formats stay unchecked, and so does a strategy's setup but for keys that all strategies share: keys of
    another strategy are ignored.
    """
    search = _without_notes(search)
    space, strategy = (search["properties"][key]["properties"] for key in ("search_space", "strategy"))
    shared = _without_notes(shared_setup)["properties"]
    strategy["setup"]["properties"] = {key: shared.get(key, {}) for key in strategy["setup"]["properties"]}
    for table in (space["seed"], space["override"]):
        config = table["additionalProperties"]["properties"]["config"]
        config["properties"] = {key: {} for key in config["properties"]}
    return search


def _without_notes(schema: Any) -> Any:
    """A schema without what is for people; names of formats and the like are left to the registries."""
    if not isinstance(schema, Mapping):
        return schema
    if "properties" in schema:
        keys = {key: {} if key == "name" else _without_notes(value) for key, value in schema["properties"].items()}
        return {"properties": keys}
    kept = {key: value for key, value in schema.items() if key not in ("description", "default", "title")}
    return {key: _without_notes(value) for key, value in kept.items()}


@cache
def _stored() -> Schema:
    schema: Schema = json.loads(KEYS_FILE.read_text(encoding="utf-8"))
    return schema


def _problems(schema: Schema, table: Mapping[str, Any], path: KeyPath) -> Iterator[Problem]:
    known = schema.get("properties", {})
    for key, value in table.items():
        below = known.get(key, schema.get("additionalProperties"))
        own = (*path, key)
        if below is None and path not in RUNNERS and path[:-1] not in LAYERS:
            yield from _misspelt(own, known)
        elif below and isinstance(value, Mapping) and not _is_value(below):
            yield from _problems(below, value, own)
        elif below and _is_value(below) and (wrong := check_value(_annotation(below), value)):
            yield Problem(own, wrong)


def _misspelt(path: KeyPath, known: Mapping[str, Schema]) -> Iterator[Problem]:
    """The problem of an unknown key that resembles a known one."""
    of_strategy = _stored()["properties"]["strategy"]["properties"]
    hint = did_you_mean(path[-1], known)
    if hint and not (path[:-1] == SETUP and path[-1] in of_strategy):
        yield Problem(path, f"unknown key{hint}")


def _is_value(schema: Schema) -> bool:
    return not {"properties", "additionalProperties"} & set(schema)


def _annotation(schema: Schema) -> Any:
    """The type that a schema of a value was made from."""
    if "anyOf" in schema:
        return Union[tuple(map(_annotation, schema["anyOf"]))]  # noqa: UP007 - of a list of types
    if "enum" in schema or "const" in schema:
        return Literal[tuple(schema.get("enum", [schema.get("const")]))]
    if schema.get("type") == "array":
        return list[_annotation(schema["items"])]  # type: ignore[misc]
    kind = TYPES[schema["type"]]
    for key, bound in BOUNDS.items():
        if key in schema:
            kind = Annotated[kind, bound(schema[key])]
    return kind
