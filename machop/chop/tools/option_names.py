"""Names the options in a message as its reader gives them: `--project-dir`, `--output`, or `folder=` in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_named: ContextVar[Callable[[str], str]] = ContextVar("_named", default="--{}".format)


def option(*names: str) -> str:
    """The options of `ch search` with these names, as the reader of a message gives them; each once.

    >>> option("project-dir", "project")
    '--project-dir or --project'
    """
    return " or ".join(dict.fromkeys(map(_named.get(), names)))


@contextmanager
def options_named(by: Callable[[str], str]) -> Iterator[None]:
    """Let `option` name each option by what `by` returns for it.

    >>> with options_named(lambda name: "folder="):
    ...     option("project-dir", "project")
    'folder='
    """
    before = _named.set(by)
    try:
        yield
    finally:
        _named.reset(before)
