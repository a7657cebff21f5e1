"""Executors that ship, and the one of the documentation, are checked by the conformance suite."""

from pathlib import Path
from typing import Any

from chop.executors import EXECUTORS
from chop.testing import ExecutorConformance
from tests.docs.test_documentation import BLOCK

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how_to" / "own_executor.md").read_text(encoding="utf-8")


def executor_of_the_page() -> Any:
    found: dict[str, Any] = {}
    code = next(text for kind, _, text in BLOCK.findall(PAGE) if kind == "python" and text.startswith("# backwards.py"))
    with EXECUTORS.restored():
        exec(code, found)
    return found["Backwards"]


class TestExecutors(ExecutorConformance):
    executors = ("local", "processes", executor_of_the_page())
