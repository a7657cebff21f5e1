"""Fixtures that several test folders share."""

from __future__ import annotations

import json
import logging
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits

from chop.actions.search.search_space import SEARCH_SPACES
from chop.actions.search.strategies import STRATEGIES
from chop.actions.search.strategies.runners import RUNNERS
from chop.cli.main import main
from chop.dataset import DATASETS
from chop.executors import EXECUTORS
from chop.exporters import EXPORTERS
from chop.formats import FORMATS
from chop.models import MODELS
from chop.nn import OP_TABLE
from chop.passes.graph import PASSES
from chop.registry import Registry
from chop.scoring.task import TASKS
from chop.training.snapshots import TRAININGS
from chop.weight_transforms import WEIGHT_TRANSFORMS

REGISTRIES: tuple[Registry[Any], ...] = (
    DATASETS,
    EXECUTORS,
    EXPORTERS,
    FORMATS,
    MODELS,
    OP_TABLE,
    PASSES,
    RUNNERS,
    SEARCH_SPACES,
    STRATEGIES,
    TASKS,
    TRAININGS,
    WEIGHT_TRANSFORMS,
)

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same examples", PATIENT, derandomize=True)
settings.register_profile("new examples", PATIENT)  # make test-slow
settings.load_profile("same examples")

GOLDEN = Path(__file__).parent / "golden"
Command = Callable[..., tuple[str, str]]
"""Standard output and error of `ch …`; see the fixture `ch`."""


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - packages that chop calls draw from it
    torch.manual_seed(0)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """What a test module draws when it is imported is the same, whatever was imported before it."""
    _seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What fixtures of a module or of the session draw is the same, whatever ran before them."""
    _seed()


@pytest.fixture(scope="session", autouse=True)
def _linear_algebra_on_one_thread() -> Iterator[None]:
    """The threads of several test processes would wait for each other, several times as long as they compute."""
    with threadpool_limits(1, user_api="blas"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # for processes that tests start
        yield


@pytest.fixture(autouse=True)
def _one_thread_and_a_fixed_seed() -> None:
    torch.set_num_threads(1)
    _seed()


@pytest.fixture(autouse=True)
def _registries_as_they_were() -> Iterator[None]:
    """What one test registers is not there in the next."""
    with ExitStack() as stack:
        for registry in REGISTRIES:
            stack.enter_context(registry.restored())
        yield


@pytest.fixture(autouse=True)
def _files_of_one_test_are_no_modules_of_the_next(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the user's own file was imported as, by its own name; another test has another file of that name."""
    before = len(sys.modules)
    yield
    if len(sys.modules) == before:
        return
    folder = str(tmp_path_factory.getbasetemp())
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__dict__", {}).get("__file__")
        if not name.startswith("chop_user_") and isinstance(file, str) and file.startswith(folder):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def _ctrl_c_interrupts() -> Iterator[None]:
    """A script's shell starts `make test &` with SIGINT ignored, which all that the tests start would inherit."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def ch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """`ch …` as typed in `tmp_path`, in this process; it must end with `status`, or one of several."""
    log = logging.getLogger("chop")
    before = log.handlers[:], log.propagate, log.level

    def run(*arguments: str, status: int | tuple[int, ...] = 0, columns: int = 120) -> tuple[str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["ch", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert ended.value.code in (status if isinstance(status, tuple) else (status,)), out + err
        return out, err

    yield run
    log.handlers[:], log.propagate, log.level = before


def golden_cases(kind: str) -> list[dict[str, Any]]:
    """The cases of `index.json` under `quantizer_cases` or `layer_cases`."""
    cases: list[dict[str, Any]] = json.loads((GOLDEN / "index.json").read_text(encoding="utf-8"))[kind]
    return cases


def golden_arrays(file: str) -> dict[str, torch.Tensor]:
    """All arrays of one golden file as tensors."""
    with np.load(GOLDEN / file) as arrays:
        return {name: torch.from_numpy(arrays[name].copy()) for name in arrays}
