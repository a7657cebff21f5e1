"""Prepares for the page the configs of each node by the choices of a point: they tell the formats of every network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chop.record.summary import LayerFacts
from chop.record.trial import Position
from chop.report.format_texts import OPERANDS
from chop.report.html.layers import cell_of
from chop.report.transform_texts import describe_transforms, is_for_transform

AUTO = "auto"

Json = dict[str, Any]
Positions = Mapping[str, Mapping[str, Position]]


def page_parts(written: Mapping[str, Any], layers: Sequence[LayerFacts]) -> Json:
    """The configs that the log of a search has at its start, with the text and bits of every operand.

    `{"nodes": {node: leader}, "parts": [{"keys", "sizes", "configs", "cells", "transforms", "nodes"}]}`; empty where
    the log has none. Measured positions of the point are in the cells, where `layers` have them.
    """
    if not written:
        return {}
    positions = {layer.name: layer.positions for layer in layers}
    parts = []
    for part in written["parts"]:
        groups: dict[str, tuple[Positions, list[str]]] = {}
        for node in part["nodes"]:
            own = positions.get(node, {}) if _is_measured(part) else {}
            groups.setdefault(repr(own), (own, []))[1].append(node)
        parts += [_part(part, own, nodes) for own, nodes in groups.values()]
    return {"nodes": written["nodes"], "parts": parts}


def _is_measured(part: Mapping[str, Any]) -> bool:
    return any(value == AUTO for config in part["configs"] for value in config.values())


def _part(part: Mapping[str, Any], positions: Positions, nodes: Sequence[str]) -> Json:
    keys = {key for config in part["configs"] for key in config if not is_for_transform(key)}
    operands = [own for own in OPERANDS if any(key.startswith(f"{own}_") for key in keys)]
    placed = [_placed(config, positions) for config in part["configs"]]
    return {
        "keys": part["keys"],
        "sizes": part["sizes"],
        "configs": part["configs"],
        "cells": [{own: [cell.text, cell.bits] for own in operands if (cell := cell_of(one, own))} for one in placed],
        "transforms": [" ".join(describe_transforms(config)) for config in part["configs"]],
        "nodes": nodes,
    }


def _placed(config: Mapping[str, Any], positions: Positions) -> dict[str, Any]:
    """A config with the measured position of the point in place of "auto", where it is known."""
    found = dict(config)
    for operand, by_width in positions.items():
        place = by_width.get(str(config.get(f"{operand}_width")))
        if config.get(f"{operand}_frac_width") == AUTO and place is not None:
            found[f"{operand}_frac_width"] = place if isinstance(place, int) else tuple(place)
    return found
