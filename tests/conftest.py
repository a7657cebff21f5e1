"""Fixtures that several test folders share."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _one_thread_and_a_fixed_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _ctrl_c_interrupts() -> Iterator[None]:
    """A script's shell starts `make test &` with SIGINT ignored, which all that the tests start would inherit."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)


def golden_cases(kind: str) -> list[dict[str, Any]]:
    """The cases of `index.json` under `quantizer_cases` or `layer_cases`."""
    cases: list[dict[str, Any]] = json.loads((GOLDEN / "index.json").read_text(encoding="utf-8"))[kind]
    return cases


def golden_arrays(file: str) -> dict[str, torch.Tensor]:
    """All arrays of one golden file as tensors."""
    with np.load(GOLDEN / file) as arrays:
        return {name: torch.from_numpy(arrays[name].copy()) for name in arrays}
