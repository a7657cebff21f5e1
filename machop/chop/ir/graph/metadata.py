"""The metadata of a node, as users read it: `node.meta["mase"].parameters["common"]`."""

from __future__ import annotations

from typing import Any

SECTIONS = ("common", "software", "hardware")


class MaseMetadata:
    """Facts about one node or graph, in the sections `common`, `software` and `hardware`."""

    def __init__(self) -> None:
        self.parameters: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}

    def __getitem__(self, section: str) -> dict[str, Any]:
        return self.parameters[section]

    def __repr__(self) -> str:
        filled = [section for section in SECTIONS if self.parameters[section]]
        return f"MaseMetadata({', '.join(filled) or 'empty'})"
