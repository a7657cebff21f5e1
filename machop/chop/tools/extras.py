"""The command that installs an optional part of this package, for error messages."""

from __future__ import annotations

import sys

DISTRIBUTION = "chop-search"
"""The name of this package on the package index; `chop` is that of another one there."""


def install_command(extra: str) -> str:
    """The shell command that installs the packages of an extra, for the interpreter that runs."""
    return f'{sys.executable} -m pip install "{DISTRIBUTION}[{extra}]"'
