"""Controls what is shown while a search runs: nothing by default; warnings are collected."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from chop.report.search_progress import bars
from chop.tools.logger import ROOT_NAME, set_logging_verbosity
from chop.tools.terminal import terminal


class _Kept(logging.Handler):
    """Keeps the texts of warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def shown(verbose: bool, progress: bool | None) -> Iterator[list[str]]:
    """Show messages if `verbose`, and a bar if `progress` (None: in a notebook), until the end of the block.

    Yields a list of the warnings so far, whether they are shown or not.
    """
    log = logging.getLogger(ROOT_NAME)
    before = log.handlers[:], log.propagate, log.level
    kept = _Kept()
    try:
        if verbose:
            set_logging_verbosity("info")
        log.addHandler(kept)
        with bars(is_notebook() if progress is None else progress):
            yield kept.texts
    finally:
        log.handlers[:], log.propagate, log.level = before


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    return terminal().is_jupyter
