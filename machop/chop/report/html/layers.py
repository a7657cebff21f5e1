"""The formats of each layer in each network of a search, as columns of text and bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chop.record.summary import LayerFacts
from chop.report.format_texts import OPERANDS, format_name, operand_text

FLOAT = "float32"
FLOAT_BITS = 32.0
WIDTH_KEYS = ("width", "element_bits")
PARTS = (("exponent_width", "frac_width"), ("element_exp_bits", "element_frac_bits"))


@dataclass(frozen=True)
class Cell:
    """The format of an operand: text for people, and bits of a value (None where the config does not say)."""

    text: str
    bits: float | None


def cells_of(config: Mapping[str, Any]) -> dict[str, Cell]:
    """The format of each operand of a node config; one that the node does not have is left out.

    >>> cells_of({"name": "integer", "data_in_width": 8, "weight_width": 4})["weight"]
    Cell(text='4b/2f', bits=4.0)
    >>> cells_of({"name": "NA", "weight_width": 4})
    {'weight': Cell(text='float32', bits=32.0)}
    """
    found = {operand: cell_of(config, operand) for operand in OPERANDS if _own_keys(config, operand)}
    return {operand: cell for operand, cell in found.items() if cell}


def cell_of(config: Mapping[str, Any], operand: str) -> Cell | None:
    """The format of one operand; None where the config of a quantised node says nothing of it."""
    if format_name(config) is None:
        return Cell(FLOAT, FLOAT_BITS)
    own = _own_keys(config, operand)
    return Cell(operand_text(config, operand) or FLOAT, _bits(own)) if own else None


def _own_keys(config: Mapping[str, Any], operand: str) -> dict[str, Any]:
    return {key.removeprefix(f"{operand}_"): own for key, own in config.items() if key.startswith(f"{operand}_")}


def _bits(keys: Mapping[str, Any]) -> float | None:
    for key in WIDTH_KEYS:
        if isinstance(keys.get(key), (int, float)):
            return float(keys[key])
    for exponent, fraction in PARTS:
        if isinstance(keys.get(exponent), int) and isinstance(keys.get(fraction), int):
            return float(1 + keys[exponent] + keys[fraction])
    return FLOAT_BITS if all(value in (None, "NA") for value in keys.values()) else None


def layer_bits(layer: LayerFacts, cells: Mapping[str, Cell]) -> float | None:
    """The bits of a layer's parameters, each in its format; None where one of these is not known."""
    found = [(count, cells.get(operand, Cell(FLOAT, FLOAT_BITS)).bits) for operand, count in layer.parameters.items()]
    known = [count * bits for count, bits in found if bits is not None]
    return sum(known) if len(known) == len(found) else None


def node_configs(sampled_config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The config of each node that is quantised, or could be."""
    return {
        name: entry["config"]
        for name, entry in sampled_config.items()
        if isinstance(entry, Mapping) and name != "default" and set(entry["config"]) != {"name"}
    }


def axes_by_node(choices: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Each key of a space with its node and the key of the node's config: `fc/config/weight_width`.

    >>> list(axes_by_node({"fc/config/weight_width": [2, 4]}))
    [('fc/config/weight_width', 'fc', 'weight_width')]
    """
    for key in choices:
        node, _, own = key.partition("/config/")
        yield key, node, own or key
