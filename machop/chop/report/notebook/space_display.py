"""A search space as a notebook shows it, before any model: which layers have which choices, and what stays in float."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chop.report.format_texts import OPERANDS
from chop.tools.markup import Html, element, table

Entries = Mapping[str, Mapping[str, Any]]
BY = {"type": "kind of layer", "name": "layer", "regex_name": "layers (pattern)"}
FLOAT = (
    "Layers that are not named here, and those that are excluded, stay in float32. The number of points follows from "
    "the model: a study shows it."
)


def space_html(seed: Entries, override: Entries, setup: Mapping[str, Any]) -> Html:
    """The choices of layers, those that overrides put in their place, and the settings, as the tables have them."""
    groups = [*_grouped(seed), *((f"override: {key}", entry["config"]) for key, entry in override.items())]
    rows = [
        (name if not place else "", *operand_and_key(key), ", ".join(map(str, values)))
        for name, config in groups
        for place, (key, values) in enumerate(config.items())
    ]
    by = BY.get(str(setup.get("by", "name")), "layer")
    given = {key: value for key, value in setup.items() if value and key != "by"}
    told = [element("div", f"{key.replace('_', ' ')}: {_text(value)}") for key, value in given.items()]
    return element(
        "div",
        element("div", element("b", "Search space")),
        table((by, "operand", "key", "choices"), rows, range(4)),
        *told,
        element("div", FLOAT),
    )


def _grouped(seed: Entries) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The layers that have the same choices, together."""
    found: dict[str, list[str]] = {}
    for key, entry in seed.items():
        found.setdefault(repr(entry["config"]), []).append(key)
    for keys in found.values():
        yield ", ".join(keys), seed[keys[0]]["config"]


def operand_and_key(key: str) -> tuple[str, str]:
    """The operand that a key is about, as tables call it, and the rest of the key.

    >>> operand_and_key("data_in_width"), operand_and_key("name")
    (('act', 'width'), ('', 'name'))
    """
    operand = next((own for own in OPERANDS if key.startswith(f"{own}_")), None)
    return (OPERANDS[operand], key.removeprefix(f"{operand}_")) if operand else ("", key)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(" = ".join(own) if isinstance(own, list) else str(own) for own in value)
    return str(value)
