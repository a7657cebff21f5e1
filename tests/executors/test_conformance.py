"""Every executor that ships is checked by the conformance suite."""

from chop.testing import ExecutorConformance


class TestExecutors(ExecutorConformance):
    executors = ("local", "processes")
