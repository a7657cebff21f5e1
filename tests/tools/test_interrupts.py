"""Ctrl-C that is held."""

from __future__ import annotations

import signal
import threading

import pytest

from chop.tools.interrupts import Held, interrupts_held


def test_the_first_is_noted_and_the_second_interrupts(caplog: pytest.LogCaptureFixture) -> None:
    with interrupts_held("wait") as held:
        assert not held.came
        signal.raise_signal(signal.SIGINT)
        assert held.came and caplog.messages == ["wait"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_nothing_is_held_in_other_threads_and_of_other_handlers() -> None:
    found: list[Held] = []

    def use() -> None:
        with interrupts_held("wait") as held:
            found.append(held)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert found == [Held(came=False)]
    numbers: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: numbers.append(number))
    try:
        with interrupts_held("wait") as held:
            signal.raise_signal(signal.SIGINT)
        assert numbers == [signal.SIGINT] and not held.came
    finally:
        signal.signal(signal.SIGINT, before)
