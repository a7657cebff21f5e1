"""A kernel as notebooks have it, for tests of what a cell shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 120


@dataclass
class CellOutput:
    """What a cell has left on the page: its outputs as they are when it ends, and how often each was changed."""

    outputs: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """The plain texts of all outputs."""
        return [own.get("data", {}).get("text/plain", own.get("text", "")) for own in self.outputs]

    def take(self, message: dict[str, Any]) -> None:
        """Take over a message of the kernel."""
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "update_display_data":
            name = content["transient"]["display_id"]
            (place,) = [n for n, own in enumerate(self.outputs) if own.get("transient", {}).get("display_id") == name]
            self.outputs[place] = content
            self.updates.append(content)
        elif kind in ("display_data", "execute_result", "stream", "error"):
            self.outputs.append(content)


@dataclass
class Kernel:
    """A kernel that runs cells."""

    manager: Any
    client: Any

    def run(self, code: str, on_message: Callable[[dict[str, Any]], None] = lambda message: None) -> CellOutput:
        """Run a cell; raises AssertionError where it fails."""
        found = CellOutput()

        def take(message: dict[str, Any]) -> None:
            found.take(message)
            on_message(message)

        reply = self.client.execute_interactive(code, output_hook=take, timeout=SECONDS)["content"]
        assert reply["status"] == "ok", reply
        return found


@contextmanager
def kernel(folder: Path) -> Iterator[Kernel]:
    """A kernel that runs in a folder."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder))
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
