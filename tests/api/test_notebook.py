"""What a notebook shows of searches and networks, in a kernel as Jupyter runs it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernel import Kernel, kernel

pytest.importorskip("ipykernel", reason="the packages for notebooks are not installed")

SEARCH = """
import time
import chop
def slow(predictions, targets):
    time.sleep(0.02 * (len(targets) == 64))  # a trial, and not a resample of the test set
    return (predictions.argmax(1) == targets).float().mean()
model = chop.get_model("jsc-toy", pretrained=True)
def searched(**more):
    own = {"formats": ["integer"], "widths": [2, 4, 8], "num_samples": 64, **more}
    return chop.search(model, "jsc", **own, objectives=[(slow, "maximize"), "average_bitwidth"], strategy="evolution")
"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with kernel(tmp_path_factory.mktemp("notebook")) as found:
        found.run(SEARCH)
        yield found


def test_a_bar_is_one_line_that_changes_and_ends_with_what_was_found(cells: Kernel) -> None:
    cell = cells.run("study = searched(n_trials=20, finish={'max_epochs': 1, 'num_samples': 64})")
    (shown,) = cell.outputs
    assert shown["data"]["text/plain"].startswith("tune ")
    texts = [own["data"]["text/plain"] for own in cell.updates]
    running = [text for text in texts if text.startswith("search ") and "left " in text]
    assert len(running) > 2
    ended = next(text for text in texts if text.startswith("search · 20/20"))
    assert "/s · took 0:00:" in ended
    assert re.search(r" · front: slow \S+ … \S+, average_bitwidth \S+ … 2$", ended)
    assert '<progress value="1.0000" max="1">' in shown["data"]["text/html"]
    assert shown["metadata"] == {"chop": "progress"}


def test_a_search_without_progress_shows_nothing(cells: Kernel) -> None:
    assert cells.run("study = searched(n_trials=3, progress=False)").outputs == []


def test_an_interrupted_cell_has_the_study_so_far(cells: Kernel) -> None:
    seen: list[str] = []

    def interrupt(message: dict[str, Any]) -> None:
        text = message["content"].get("data", {}).get("text/plain", "")
        if text.startswith("search ") and "front: " in text and not seen:
            seen.append(text)
            cells.manager.interrupt_kernel()

    cells.run("study = searched(n_trials=700)", interrupt)
    told = cells.run("print(study.reason, 0 < len(study) < 700, len(study.front) > 0)")
    assert told.texts == ["interrupted True True\n"]
