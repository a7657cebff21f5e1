"""Conformance suites for plug-ins: subclass a suite, list what it tests, run pytest.

It needs pytest and hypothesis, which the extra `testing` installs.
"""

from importlib.util import find_spec

from chop.tools.extras import install_command

_missing = [name for name in ("pytest", "hypothesis") if find_spec(name) is None]
if _missing:
    raise ModuleNotFoundError(
        f"chop.testing needs {' and '.join(_missing)}: {install_command('testing')}", name=_missing[0]
    )

from chop.testing.executors import ExecutorConformance  # noqa: E402 - below the check of what it needs
from chop.testing.exporters import ExporterConformance  # noqa: E402
from chop.testing.formats import FormatConformance  # noqa: E402
from chop.testing.ops import OpConformance  # noqa: E402
from chop.testing.runners import RunnerConformance  # noqa: E402
from chop.testing.strategies import StrategyConformance  # noqa: E402
from chop.testing.tasks import TaskConformance  # noqa: E402
from chop.testing.trainings import TrainingConformance  # noqa: E402
from chop.testing.weight_transforms import WeightTransformConformance  # noqa: E402

__all__ = [
    "ExecutorConformance",
    "ExporterConformance",
    "FormatConformance",
    "OpConformance",
    "RunnerConformance",
    "StrategyConformance",
    "TaskConformance",
    "TrainingConformance",
    "WeightTransformConformance",
]
