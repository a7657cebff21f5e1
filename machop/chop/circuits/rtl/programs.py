"""Runs the programs of hardware design: simulators and synthesis."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from chop.errors import CircuitError

LONGEST = 3600
"""Seconds after which a program is stopped."""


def run_program(command: Sequence[str], where: Path) -> str:
    """Return what a program prints. Raises CircuitError, with its last lines, if it fails or takes too long."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            cwd=where,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CircuitError(f"{name} took more than {LONGEST} s") from error
    except OSError as error:
        raise CircuitError(f"{name} cannot be run: {error}") from error
    if done.returncode:
        raise CircuitError(f"{name} failed: {(done.stderr or done.stdout)[-1500:].strip()}")
    return done.stdout + done.stderr
