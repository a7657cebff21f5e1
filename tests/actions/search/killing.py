"""Searches in processes of their own that are killed, and what their logs hold."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMEOUT = 600.0
"""Seconds for a search that takes some; a busy machine takes minutes."""


def trials(folder: Path) -> list[dict[str, Any]]:
    """The lines of a trial log, but for what a clock says and what is drawn for each search."""
    left_out = ("seconds", "started", "search", "sha256")
    lines = (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in left_out} for line in lines]


def killed_at(line: int, run: Callable[[], object], log: Path) -> bool:
    """Run in a forked process and kill it as soon as its log has so many lines; False: it came to its end."""
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    until = time.monotonic() + TIMEOUT
    while process.is_alive() and time.monotonic() < until:
        if log.exists() and log.read_bytes().count(b"\n") >= line:
            process.kill()
            break
        time.sleep(0.0005)
    process.join(TIMEOUT)
    assert process.exitcode is not None
    return process.exitcode != 0


def torn(log: Path, draw: random.Random) -> None:
    """Cut a log off somewhere in its last line, as when the process is killed while it writes."""
    data = log.read_bytes()
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    if last:  # the header stays whole
        log.write_bytes(data[: draw.randint(last, len(data))])
