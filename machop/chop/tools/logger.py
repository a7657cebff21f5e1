"""Logging of the package: silent until `set_logging_verbosity` is called."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from chop.errors import ChopError

ROOT_NAME = "chop"
LEVELS = ("debug", "info", "warning", "error", "critical")

logging.getLogger(ROOT_NAME).addHandler(logging.NullHandler())


def get_logger(name: str = ROOT_NAME) -> logging.Logger:
    """The logger of a module of this package, or of a user's module below it."""
    return logging.getLogger(name if name.partition(".")[0] == ROOT_NAME else f"{ROOT_NAME}.{name}")


def set_logging_verbosity(level: str = "info") -> None:
    """Show messages of at least `level` (debug, info, warning, error, critical) on standard error.

    Calling it again changes the level; it never adds a second handler.
    """
    if level not in LEVELS:
        raise ChopError(f"unknown log level '{level}'; choose one of {', '.join(LEVELS)}")
    root = logging.getLogger(ROOT_NAME)
    if not any(getattr(handler, "chop_handler", False) for handler in root.handlers):
        root.addHandler(_terminal_handler())
        root.propagate = False
    root.setLevel(level.upper())


@contextmanager
def silenced(name: str) -> Iterator[None]:
    """Log nothing from the module or package `name`, and from what lies below it, for as long as this is entered."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


class _PlainLines(logging.Handler):
    """Writes each message as a line on standard error, whatever that is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)  # noqa: T201 - where there is no terminal


def _terminal_handler() -> logging.Handler:
    from rich.logging import RichHandler

    from chop.tools.terminal import terminal

    console = terminal(stderr=True)
    handler: logging.Handler = _PlainLines()
    if console.is_terminal or console.is_jupyter:
        handler = RichHandler(console=console, show_time=False, show_path=False, markup=False)
    is_plain = isinstance(handler, _PlainLines)
    handler.setFormatter(logging.Formatter("%(levelname)-8s %(message)s" if is_plain else "%(message)s"))
    handler.chop_handler = True  # type: ignore[attr-defined]
    return handler
