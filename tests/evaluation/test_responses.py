"""ProbeFeatures from single alternatives, against networks that are run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.program import Axis
from chop.evaluation.responses import SMALLEST_DIVERGENCE, Responses
from chop.formats import Integer
from chop.ir import MaseGraph, QuantPlan


class Branches(nn.Module):
    """Outputs to which three layers add, each on the input alone: changes of several add up exactly."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(6, outputs) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) + self.b(x) + self.c(x)


class Chain(nn.Module):
    """Layers behind each other, whose changes do not add up."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


def axes_of() -> list[Axis]:
    return [[{node: {"weight": Integer(width, width - 1)}} for width in (4, 5, 7)] for node in ("a", "b", "c")]


CODES = np.stack(np.unravel_index(np.arange(27), (3, 3, 3)), 1)


def made(
    model: nn.Module, targets: Tensor | None = None, rows: int = 200, classes: int = 4
) -> tuple[Responses, PlanRunner]:
    torch.manual_seed(1)
    x = torch.randn(rows, 6)
    y = torch.randint(0, 4, (rows,)) if targets is None else targets
    graph = MaseGraph(model)
    batches = [(x[:150], y[:150]), (x[150:], y[150:])]
    return Responses(graph, axes_of(), [0, 0, 0], batches, classes=classes), PlanRunner(graph, batches)


def judged(outputs: Tensor, in_float: Tensor) -> list[float]:
    """The logarithms of the mean square difference and of the mean divergence of the classes' probabilities."""
    apart = float((outputs - in_float).double().square().mean().log())
    own, wanted = (scores.double().log_softmax(1) for scores in (outputs, in_float))
    divergence = functional.kl_div(own, wanted, reduction="batchmean", log_target=True)
    return [apart, float((divergence + SMALLEST_DIVERGENCE).log())]


def plan(code: Sequence[int]) -> QuantPlan:
    return QuantPlan.of({n: f for axis, own in zip(axes_of(), code, strict=True) for n, f in axis[own].items()})


def raw(responses: Responses, codes: Any = CODES) -> np.ndarray:
    return responses.features(codes) * responses._spread + responses._centre


def test_where_layers_add_up_guesses_are_what_the_networks_give() -> None:
    torch.manual_seed(0)
    responses, runner = made(Branches(4))
    assert responses.count == 4
    in_float = runner.predictions(QuantPlan())
    wanted = np.array([judged(runner.predictions(plan(code)), in_float) for code in CODES])
    assert np.abs(responses.features(CODES)).max() < 4.0  # none was cut off
    assert raw(responses)[:, :2] == pytest.approx(wanted, abs=1e-4)
    assert raw(responses)[:, 2:] == pytest.approx(wanted, abs=1e-4)


def test_a_single_change_of_the_lowest_network_is_known() -> None:
    torch.manual_seed(0)
    responses, runner = made(Chain())
    in_float = runner.predictions(QuantPlan())
    single = np.array([[0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 2]])
    wanted = np.array([judged(runner.predictions(plan(code)), in_float) for code in single])
    assert np.abs(responses.features(single)[:, 2:]).max() < 4.0
    assert raw(responses, single)[:, 2:] == pytest.approx(wanted, abs=1e-4)


def test_guesses_of_a_chain_go_with_what_the_networks_give() -> None:
    torch.manual_seed(0)
    responses, runner = made(Chain())
    in_float = runner.predictions(QuantPlan())
    wanted = np.array([judged(runner.predictions(plan(code)), in_float) for code in CODES])
    for column in range(4):
        assert np.corrcoef(raw(responses)[:, column], wanted[:, column % 2])[0, 1] > 0.9


def test_outputs_that_are_no_classes_are_judged_by_what_they_differ_by() -> None:
    torch.manual_seed(0)
    responses, runner = made(Branches(4), torch.randn(200, 4))
    in_float = runner.predictions(QuantPlan())
    wanted = [float((runner.predictions(plan(code)) - in_float).square().mean().log()) for code in CODES]
    assert responses.count == 2
    assert raw(responses)[:, 0] == pytest.approx(wanted, abs=1e-4)


def test_of_many_classes_those_that_may_win_are_enough() -> None:
    torch.manual_seed(0)
    model = Branches(60)
    model(torch.zeros(1, 6))
    torch.manual_seed(1)
    y = model(torch.randn(200, 6)).topk(3, 1).indices[torch.arange(200), torch.arange(200) % 3]  # a third is right
    responses, runner = made(model, y, classes=60)
    in_float = runner.predictions(QuantPlan())
    wanted = np.array([judged(runner.predictions(plan(code)), in_float)[1] for code in CODES])
    for column in (1, 3):
        assert np.corrcoef(raw(responses)[:, column], wanted)[0, 1] > 0.99
    one = runner.predictions(QuantPlan())[:1]
    assert [Responses.kept(one, own, c) for own, c in ((y[:1], 60), (y[:1], None), (one, 60))] == [17, 60, 60]


def test_a_guess_does_not_hang_on_what_else_is_asked_for() -> None:
    torch.manual_seed(0)
    together = made(Chain())[0].features(CODES)
    torch.manual_seed(0)
    responses = made(Chain())[0]
    alone = np.concatenate([responses.features(CODES[[place]]) for place in reversed(range(27))])[::-1]
    assert np.array_equal(alone, together)
    assert np.array_equal(responses.features(CODES), together)
    assert responses.features(CODES[:0]).shape == (0, 4)


def test_the_loss_of_large_scores_is_told() -> None:
    class Loud(Branches):
        def forward(self, x: Tensor) -> Tensor:
            return 3000 * super().forward(x)

    torch.manual_seed(0)
    responses, runner = made(Loud(4))
    in_float = runner.predictions(QuantPlan())
    wanted = [judged(runner.predictions(plan(code)), in_float)[1] for code in CODES]
    assert max(wanted) > 3.0  # beyond what the exponential of a lead can be
    assert raw(responses)[:, 1] == pytest.approx(wanted, abs=1e-2)


def test_outputs_that_are_no_numbers_leave_finite_guesses() -> None:
    class Exploding(Chain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * torch.exp(1e3 * (self.b.weight.abs().amax() - 0.3))

    responses, _ = made(Exploding())
    assert np.isfinite(responses.features(CODES)).all()


def test_a_network_whose_scores_are_all_alike_is_far_from_float() -> None:
    torch.manual_seed(0)
    model = Chain()
    with torch.no_grad():
        model.c.weight.copy_(model.c.weight * 0.05 / model.c.weight.abs().amax())  # nothing is left of it in four bits
        model.c.bias.zero_()
    responses, runner = made(model)
    dead = [place for place, code in enumerate(CODES) if not runner.predictions(plan(code)).any()]
    assert dead == [place for place, code in enumerate(CODES) if code[2] == 0]
    alive = np.setdiff1d(np.arange(27), dead)
    assert raw(responses)[dead, 0].min() > raw(responses)[alive, 0].max()


def test_what_two_networks_share_is_computed_once() -> None:
    torch.manual_seed(0)
    responses, _ = made(Chain(), rows=200)
    assert responses.samples_run["c"] == 200 * Responses.runs(axes_of())
    assert (
        200 * 8 <= responses.samples_run["a"] < 200 * 14
    )  # two networks, three choices in either; the rest is behind it


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32])
def test_classes_may_be_of_any_whole_numbers(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    y = torch.randint(0, 4, (200,))
    torch.manual_seed(0)
    wanted = made(Chain(), y)[0].features(CODES)
    torch.manual_seed(0)
    assert np.array_equal(made(Chain(), y.to(kind))[0].features(CODES), wanted)
