"""What `make bench-training PART=space` tells of its own noise, and the samples that it draws."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from training.networks import CASES, subject_of
from training.space import DRAWN, DRAWN_SEED, order, order_error, orders_of_seeds, scored


def noisy(values: torch.Tensor, noise: float, seed: int) -> torch.Tensor:
    return values + noise * torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def values() -> torch.Tensor:
    return torch.randn(4_001, generator=torch.Generator().manual_seed(0))


def test_the_error_of_an_order_is_that_of_orders_on_other_networks(values: torch.Tensor) -> None:
    others = noisy(values, 0.5, seed=1)
    on_others = [order(values[at : at + 101], others[at : at + 101]) for at in range(0, 3_900, 101)]
    found = [order_error(values[at : at + 101], others[at : at + 101]) for at in (0, 101, 202)]
    assert sum(found) / len(found) == pytest.approx(torch.tensor(on_others).std().item(), rel=0.3)


def test_the_order_that_seeds_allow_is_that_of_trainings_that_differ_by_their_seeds(values: torch.Tensor) -> None:
    runs = [noisy(values, 0.4, seed) for seed in (1, 2)]
    each = [noisy(values, 0.6, seed) for seed in (3, 4)]
    of_space, of_own, allowed = orders_of_seeds(runs, each)
    assert of_space > of_own
    assert allowed == pytest.approx(order(runs[0], (each[0] + each[1]) / 2), abs=0.01)


def test_drawn_samples_are_new_ones() -> None:
    case = next(case for case in CASES if case.model == "toy")
    subject = subject_of(case)
    bundled = {
        tuple(row) for part in ("train", "val", "test") for x, _ in subject.data.batches(part) for row in x.tolist()
    }
    drawn, _ = DRAWN["toy"][0](2_000, DRAWN_SEED)
    assert len(bundled) == 2_000
    assert not bundled & {tuple(row) for row in drawn.tolist()}
    assert sum(len(y) for _, y in scored(subject)) == 400 + DRAWN["toy"][1]
