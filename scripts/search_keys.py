"""Writes the keys of the table `[search]` to `machop/chop/actions/search_keys.json`, for checks without torch."""

from __future__ import annotations

import json

from chop.actions.config_schema import config_schema
from chop.actions.early_checks import KEYS_FILE, stored_schema
from chop.actions.search.settings.strategy_setup import StrategySetup
from chop.config.json_schema import table_schema


def text() -> str:
    """The content of the file."""
    schema = stored_schema(config_schema()["properties"]["search"], table_schema(StrategySetup))
    return json.dumps(schema, indent=1) + "\n"


if __name__ == "__main__":
    KEYS_FILE.write_text(text(), encoding="utf-8")
