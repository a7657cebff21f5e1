"""Executors that ship, and the one of the documentation, are checked by the conformance suite."""

from typing import Any

from chop.executors import EXECUTORS
from chop.testing import ExecutorConformance
from tests.docs.pages import blocks


def executor_of_the_page() -> Any:
    found: dict[str, Any] = {}
    code = next(own.text for own in blocks("docs/how_to/own_executor.md") if own.text.startswith("# backwards.py"))
    with EXECUTORS.restored():
        exec(code, found)
    return found["Backwards"]


class TestExecutors(ExecutorConformance):
    executors = ("local", "processes", executor_of_the_page())
