"""Which task data get, what segmentation and regression measure, and metrics of the data that stream."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from chop.errors import ChopError, MetricError, UnknownNameError
from chop.scoring.classification import Classification
from chop.scoring.regression import Regression
from chop.scoring.task import TASKS, Task, task_of
from tests.scores import score


class ShareAbove:
    """The share of outputs above zero, batch by batch."""

    def __init__(self) -> None:
        self.above = self.outputs = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.above += int((outputs > 0).sum())
        self.outputs += outputs.numel()

    def result(self) -> float:
        return self.above / self.outputs


def share_above(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs > 0).double().mean()


def test_classification_by_a_loss_of_no_classes_is_regression() -> None:
    assert type(task_of("cls", loss=F.mse_loss)) is Regression
    assert type(task_of("classification", 3, F.cross_entropy)) is Classification
    assert type(task_of("cls")) is Classification


def test_unknown_names_are_told_the_likely_one() -> None:
    with pytest.raises(UnknownNameError, match="unknown task 'regresion'; did you mean 'regression'"):
        task_of("regresion")


@given(st.data())
def test_the_loss_is_the_same_to_the_bit_however_samples_are_batched(data: st.DataObject) -> None:
    samples, classes = data.draw(st.integers(2, 60)), data.draw(st.integers(2, 9))
    cuts = sorted({0, samples, *data.draw(st.lists(st.integers(1, samples), max_size=4))})
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    outputs = torch.randn(samples, classes, generator=generator)
    targets = torch.randint(classes, (samples,), generator=generator)
    found = Classification(classes).accumulator()
    for start, stop in pairwise(cuts):
        found.update(outputs[start:stop], targets[start:stop])
    assert found.result() == score(outputs, targets, num_classes=classes)


def test_mean_iou_is_that_of_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(20, 4, 6, 5, generator=generator)
    targets = torch.randint(4, (20, 6, 5), generator=generator)
    targets[torch.rand(targets.shape, generator=generator) < 0.2] = -100
    found = task_of("segmentation", 4).accumulator()
    for part in (slice(0, 3), slice(3, 20)):
        found.update(outputs[part], targets[part])
    wanted = MulticlassJaccardIndex(4, ignore_index=-100)(outputs.argmax(1), targets).item()
    assert found.result()["mean_iou"] == pytest.approx(wanted)
    assert found.result()["accuracy_micro"] == score(outputs, targets, num_classes=4)["accuracy_micro"]


def test_classes_without_a_pixel_are_left_out_of_mean_iou() -> None:
    targets = torch.tensor([[[0, 0], [1, 1]]])
    outputs = F.one_hot(torch.tensor([[[0, 1], [1, 1]]]), 5).float().movedim(-1, 1)
    found = task_of("segmentation").accumulator()
    found.update(outputs, targets)
    assert found.result()["mean_iou"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_segmentation_refuses_one_class_a_sample() -> None:
    with pytest.raises(ChopError, match="choose --task cls"):
        task_of("segmentation").accumulator().update(torch.zeros(4, 3), torch.zeros(4).long())


def test_regression_without_a_loss_takes_the_squared_error() -> None:
    outputs, targets = torch.randn(30, 1), torch.randn(30)
    found = task_of("regression").accumulator()
    found.update(outputs, targets)
    assert found.result() == {"loss": pytest.approx(F.mse_loss(outputs[:, 0], targets).item())}
    with pytest.raises(ChopError, match=r"the model gives \(30, 2\) for targets \(30,\)"):
        task_of("regression").accumulator().update(torch.randn(30, 2), targets)


def test_a_metric_that_streams_gives_what_the_function_gives_and_keeps_nothing() -> None:
    outputs, targets = torch.randn(50, 3), torch.randint(3, (50,))
    metrics = {"streamed": (ShareAbove, "maximize")}
    found = task_of("cls", 3, None, metrics).accumulator()
    at_once = task_of("cls", 3, None, {"streamed": (share_above, "maximize")}).accumulator()
    for own in (found, at_once):
        own.update(outputs[:20], targets[:20])
        own.update(outputs[20:], targets[20:])
    assert found.result() == at_once.result()
    assert at_once.keeps_outputs and not found.keeps_outputs


def test_a_streaming_metric_that_fails_costs_itself_alone() -> None:
    class Fails(ShareAbove):
        def update(self, outputs: Tensor, targets: Tensor) -> None:
            raise ZeroDivisionError("none")

    found = task_of("cls", 3, None, {"mine": (Fails, "maximize")}).accumulator()
    found.update(torch.zeros(4, 3), torch.zeros(4).long())
    with pytest.raises(MetricError, match=r"the metric 'mine' of the data failed \(.*test_tasks.py:\d+\)") as raised:
        found.result()
    assert set(raised.value.found) == {"loss", "accuracy", "accuracy_micro"}


def test_a_loss_of_the_data_replaces_that_of_any_task() -> None:
    class Own(Task):
        """The mean output."""

        def values(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
            return {"loss": outputs.mean(1)}

    task = Own(loss=lambda outputs, targets: (outputs**2).mean(1))
    found = task.accumulator()
    found.update(torch.full((5, 2), 3.0), torch.zeros(5))
    assert found.result() == {"loss": 9.0}
    assert task.loss(torch.full((5, 2), 3.0, requires_grad=True), torch.zeros(5)).item() == 9.0  # type: ignore[union-attr]


@pytest.mark.parametrize("found", [{"loss": torch.tensor(1.0)}, {"loss": 1.0}])
def test_values_of_an_own_task_are_one_a_sample(found: Any) -> None:
    class Own(Task):
        """No values."""

        def values(self, outputs: Tensor, targets: Tensor) -> Any:
            return found

    with pytest.raises(ChopError, match=r"for 'loss' of 5 samples; it must be one each: outputs are \("):
        Own().accumulator().update(torch.zeros(5, 2), torch.zeros(5))


def test_four_tasks_ship() -> None:
    assert {"classification", "language_modeling", "regression", "segmentation"} <= set(TASKS)
