"""The command line of `ch search`: runs a search, or shows what it would do."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from chop.actions.search import run_search
from chop.actions.search.dry_run import dry_run
from chop.actions.search_flags import SearchFlags
from chop.cli.report import serve_beside
from chop.cli.search_lines import TrialLines, print_end
from chop.config.run_config import RunConfig
from chop.errors import ConfigError, Interrupted
from chop.report.dry_run import print_dry_run


def run(
    run_config: RunConfig,
    flags: SearchFlags,
    resume: bool,
    init_from: Sequence[str],
    live: bool,
    as_json: bool,
) -> None:
    """Run a search and show its result, or print lines of JSON and nothing else.

    Raises Interrupted where Ctrl-C cut it short.
    """
    result = run_search(
        run_config,
        resume,
        init_from,
        ["ch", *sys.argv[1:]],
        flags,
        TrialLines() if as_json else None,
        serve_beside if live else lambda folder: None,
    )
    if as_json:
        print_end(result)
    if result.reason == "interrupted":
        raise Interrupted


def show_dry_run(run_config: RunConfig, flags: SearchFlags, unused: Mapping[str, Any]) -> None:
    """Show what a search would do; `unused` are options that make no sense with that, with what was given."""
    given = [name for name, value in unused.items() if value]
    if given:
        raise ConfigError([f"command line: {name} has no effect with --dry-run: leave it out" for name in given])
    print_dry_run(dry_run(run_config, flags))
