"""Delays Ctrl-C until the end of an operation that must not be interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chop.tools.logger import get_logger

logger = get_logger(__name__)


@dataclass
class Held:
    """Whether Ctrl-C `came` while it was held."""

    came: bool = False


@contextmanager
def interrupts_held(told: str) -> Iterator[Held]:
    """Note the first Ctrl-C in place of raising KeyboardInterrupt, and say `told`; the second raises it.

    In other threads than the main one, and where Ctrl-C does something else already, nothing is held.
    """
    held = Held()
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield held
        return

    def note(number: int, frame: Any) -> None:
        if held.came:
            signal.default_int_handler(number, frame)
        held.came = True
        logger.warning("%s", told)

    signal.signal(signal.SIGINT, note)
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
