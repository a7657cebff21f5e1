"""The suite of trainings on ours, on one of a third party, and on some that break a rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor

from chop.testing import TrainingConformance
from chop.training.snapshots import OnStep, TrainedNetwork
from tests.actions.search.narrowing import Narrowing, narrowing_registered  # noqa: F401

SHORT = {"epochs": 6, "snapshots": 3, "batch_size": 256, "num_samples": 512}
TENSOR = {**SHORT, "weight_granularity": "tensor", "activation_granularity": "tensor"}
CHANNEL = {**SHORT, "weight_granularity": "channel", "activation_granularity": "channel"}


class TestTrainings(TrainingConformance):
    trainings = (
        ("learned_widths", SHORT),
        ("learned_widths", {**TENSOR, "learning_rate": 0.0, "error_share": 0.5}),
        ("learned_widths", {**CHANNEL, "cost": "average_bitwidth", "teacher_share": 0.0}),
        ("learned_widths", {**SHORT, "descent_passes": 3, "descent_networks": 2, "descent_rounds": 1}),
        (
            "learned_widths",
            {**SHORT, "line_networks": 2, "descent_passes": 1, "descent_networks": 2, "descent_rounds": 1},
        ),
        ("narrowing", {"snapshots": 3}),
    )


class Drawing(Narrowing):
    """Draws from torch's own generator."""

    def networks(self, state: Mapping[str, Tensor] | None, on_step: OnStep) -> Iterator[TrainedNetwork]:
        for found in super().networks(state, on_step):
            next(found.graph.model.parameters()).data += torch.rand(1)
            yield found


class Forgetful(Narrowing):
    """Begins anew in place of going on."""

    def networks(self, state: Mapping[str, Tensor] | None, on_step: OnStep) -> Iterator[TrainedNetwork]:
        return super().networks(None, on_step)


class Sharing(Narrowing):
    """Trains the network that it was given."""

    def networks(self, state: Mapping[str, Tensor] | None, on_step: OnStep) -> Iterator[TrainedNetwork]:
        for found in super().networks(state, on_step):
            next(self.graph.model.parameters()).data += 1
            yield found


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Drawing, "test_a_seed_gives_the_same_snapshots_again"),
        (Forgetful, "test_it_goes_on_from_any_snapshot_as_if_unbroken"),
        (Sharing, "test_the_given_network_stays_as_it_is"),
    ],
)
def test_a_training_that_breaks_a_rule_is_found(
    broken: type[Narrowing], test: str, request: pytest.FixtureRequest
) -> None:
    given = {"tmp_path": request.getfixturevalue("tmp_path")} if "goes_on" in test else {}
    with pytest.raises(AssertionError):
        getattr(TrainingConformance(), test)((broken, {"snapshots": 3}), **given)
