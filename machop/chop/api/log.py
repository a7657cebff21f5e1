"""What is shown while a search runs: nothing, unless it is asked for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from chop.report.search_progress import bars
from chop.tools.logger import ROOT_NAME, set_logging_verbosity


@contextmanager
def shown(verbose: bool, progress: bool | None) -> Iterator[None]:
    """Show messages if `verbose`, and a bar if `progress` (None: in a notebook), until the end of the block."""
    log = logging.getLogger(ROOT_NAME)
    before = log.handlers[:], log.propagate, log.level
    try:
        if verbose:
            set_logging_verbosity("info")
        with bars(is_notebook() if progress is None else progress):
            yield
    finally:
        log.handlers[:], log.propagate, log.level = before


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
