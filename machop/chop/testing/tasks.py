"""The conformance suite of tasks."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, get_args

import pytest
import torch
from torch import Tensor

from chop.scoring.accumulator import Accumulator, held_bytes
from chop.scoring.bounds import bounds
from chop.scoring.metric import Direction
from chop.scoring.task import TASKS, Task

SAMPLES = 40
BATCHINGS = ((SAMPLES,), (7, 33), (1, 19, 20), (1,) * SAMPLES)
"""Sizes of the batches in which all samples come."""

CLOSE = 1e-6
Listed = str | type[Task] | tuple[str | type[Task], Mapping[str, Any]]


class TaskConformance:
    """Subclass it in a test module, list `tasks` and write `example`; pytest then checks each task on made-up outputs.

    A task is listed by its name or class, or as a pair of that and what the data state: `("cls", {"num_classes": 3})`.
    """

    tasks: ClassVar[Sequence[Listed]] = ()

    def example(self, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Outputs `(samples, …)` in float32, and targets `(samples, …)`, as a network and its data would have them."""
        raise NotImplementedError("write example(samples, generator), which returns outputs and targets")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each task."""
        if "task" in metafunc.fixturenames:
            metafunc.parametrize("task", [_task(listed) for listed in self.tasks], ids=lambda task: type(task).__name__)

    def made(self) -> tuple[Tensor, Tensor]:
        """The outputs and targets that all tests take."""
        return self.example(SAMPLES, torch.Generator().manual_seed(0))

    def filled(self, task: Task, sizes: Sequence[int] = (SAMPLES,), by_sample: bool = False) -> Accumulator:
        """An accumulator that has taken all samples in batches of these sizes."""
        outputs, targets = self.made()
        found = task.accumulator(by_sample)
        for own, of_own in zip(torch.split(outputs, list(sizes)), torch.split(targets, list(sizes)), strict=True):
            found.update(own, of_own)
        return found

    def test_metrics_are_declared(self, task: Task) -> None:
        """`loss` is among them, each has another name, and the one that training monitors is one of them."""
        names = [metric.name for metric in task.metrics]
        assert len(set(names)) == len(names) and "loss" in names and task.monitor in names
        assert all(metric.direction in get_args(Direction) for metric in task.metrics)

    def test_results_are_those_that_are_declared(self, task: Task) -> None:
        """A finite number for each metric, within its range."""
        found = self.filled(task).result()
        assert list(found) == [metric.name for metric in task.metrics]
        assert all(metric.range[0] <= found[metric.name] <= metric.range[1] for metric in task.metrics)
        assert all(map(math.isfinite, found.values()))

    def test_batches_play_no_part(self, task: Task) -> None:
        """The same metrics, however samples come in batches."""
        whole = self.filled(task).result()
        for sizes in BATCHINGS:
            assert self.filled(task, sizes).result() == pytest.approx(whole, rel=CLOSE, abs=CLOSE)

    def test_more_may_follow_a_result(self, task: Task) -> None:
        """A result that was asked for on the way changes nothing: early stopping does so."""
        outputs, targets = self.made()
        found = task.accumulator(by_sample=True)
        for part in (slice(0, 15), slice(15, SAMPLES)):
            found.update(outputs[part], targets[part])
            assert found.result() == found.result()
            _ = found.sample_values(), found.intervals()
        assert found.result() == pytest.approx(self.filled(task).result(), rel=CLOSE, abs=CLOSE)

    def test_no_outputs_are_kept(self, task: Task) -> None:
        """What is held of a sample is less than its outputs, unless a metric says that it needs them all."""
        outputs, _ = self.made()
        found = self.filled(task)
        assert found.keeps_outputs or held_bytes(found) <= max(outputs.nbytes // 2, 64 * SAMPLES)

    def test_arguments_are_not_written_on(self, task: Task) -> None:
        """Others read the same outputs and targets."""
        outputs, targets = self.made()
        found = task.accumulator()
        found.update(own := outputs.clone(), of_own := targets.clone())
        assert torch.equal(own, outputs) and torch.equal(of_own, targets)

    def test_the_loss_trains(self, task: Task) -> None:
        """`loss` of a batch is the measured loss, and has a gradient."""
        outputs, targets = self.made()
        loss = task.loss(outputs.requires_grad_(), targets)
        assert loss is not None
        loss.backward()  # type: ignore[no-untyped-call]
        assert outputs.grad is not None and outputs.grad.isfinite().all() and outputs.grad.any()
        assert loss.item() == pytest.approx(self.filled(task).result()["loss"], rel=1e-4, abs=1e-5)

    def test_intervals_are_around_the_results(self, task: Task) -> None:
        """Bounds may be NaN, where there are none."""
        found = self.filled(task, by_sample=True)
        assert {name: value for name, (value, _, _) in found.intervals().items()} == pytest.approx(found.result())
        assert all(not low > value and not high < value for value, low, high in found.intervals().values())

    def test_bounds_on_all_samples_are_the_results(self, task: Task) -> None:
        """What early stopping is told of single samples makes the metric when all are seen."""
        found, (_, targets) = self.filled(task, (7, 33), by_sample=True), self.made()
        for name, values in found.sample_values().items():
            assert bounds(values, targets, 1e-3) == pytest.approx([found.result()[name]] * 2, rel=1e-5, abs=1e-6)

    def test_worker_processes_take_it(self, task: Task) -> None:
        """Tasks and accumulators go to other processes by value."""
        again = pickle.loads(pickle.dumps(task))
        assert again.metrics == task.metrics
        assert pickle.loads(pickle.dumps(self.filled(task))).result() == self.filled(task).result()


def _task(listed: Listed) -> Task:
    given, stated = listed if isinstance(listed, tuple) else (listed, {})
    return (TASKS[given] if isinstance(given, str) else given)(**stated)
