"""The command line of `ch compare`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from chop.actions.compare.exports import as_answer
from chop.actions.compare.job import CompareOptions, run_compare
from chop.config.run_config import RunConfig


def show_comparison(run_config: RunConfig, asked: Mapping[str, Any], as_json: bool) -> bool:
    """Run and print a comparison; returns whether Ctrl-C cut it short.

    `asked` are its options, None for those not given.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    if "strategies" in given:
        given["strategies"] = tuple(name.strip() for name in given["strategies"].split(",") if name.strip())
    summary = run_compare(run_config, CompareOptions(**given), as_json, typed=["ch", *sys.argv[1:]])
    if as_json:
        print(json.dumps(as_answer(summary)))  # noqa: T201 - the answer to the command
    return summary.interrupted or summary.cut_short
