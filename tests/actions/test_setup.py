"""A graph fits every part of the data, or the part is named."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from chop.actions.setup import require_parts_alike, traced
from chop.config.examples import examples
from chop.errors import DatasetError, GraphError
from chop.ir import MaseGraph
from chop.ir.graph.same_results import draws_at_random
from tests.conftest import Command


class Cuts(nn.Module):
    """Takes no more than six tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 6:
            x = x[:, :6]
        return self.layer(x).sum(1)


class Data:
    """Sequences of the lengths that are given for each part, or else of five; samples of one length are one batch."""

    def __init__(self, **lengths: list[int]) -> None:
        self.lengths = {"train": [5], "val": [5], "test": [5], **lengths}

    def batches(self, part: str, rows: int = 4) -> list[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        return [(torch.randn(rows, n, 3, generator=generator), torch.zeros(rows)) for n in self.lengths[part]]


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_part_that_takes_another_branch_is_refused_by_name(part: str) -> None:
    with pytest.raises(
        GraphError, match=rf"the {part} set: the model was traced .* x\.shape\[1\] == 5, and now gets x"
    ):
        traced(Cuts(), Data(**{part: [5, 9]}))


def test_lengths_that_the_graph_handles_like_the_model_are_taken() -> None:
    mixed = Data(train=[5, 3], val=[4], test=[9])
    for model, data, length in ((Cuts(), Data(), 5), (nn.Sequential(nn.Linear(3, 2), nn.ReLU()), mixed, 9)):
        x = torch.randn(2, length, 3)
        assert torch.equal(traced(model, data).model(x), model(x))


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_part_that_the_model_cannot_read_is_refused_before_anything_is_measured(part: str) -> None:
    class Wide(Data):
        def batches(self, part: str, rows: int = 4) -> list[tuple[Tensor, Tensor]]:
            found = super().batches(part, rows)
            return [(torch.cat([x, x], -1) if x.shape[1] == 9 else x, y) for x, y in found]

    with pytest.raises(GraphError, match=rf"of the {part} set \(.*\): they are x float32 \(2, 9, 6\), the training"):
        traced(nn.Sequential(nn.Linear(3, 2)), Wide(**{part: [5, 9]}))


def test_a_model_that_cannot_take_the_data_is_refused_with_both_shapes_before_anything_is_written(
    tmp_path: Path, ch: Command
) -> None:
    example = next(one.path for one in examples() if one.name == "reviews_widths")
    text = example.read_text(encoding="utf-8").replace('dataset = "reviews"', 'dataset = "jsc"')
    (tmp_path / "wrong.toml").write_text(text, encoding="utf-8")
    told = r"two samples are x float32 \(2, 16\); the first layer of the model is embed = Embedding\(.*whole numbers"
    for command in (["search", "--config", "wrong.toml"], ["train", "reviews-transformer", "jsc"]):
        err = ch(*command, "--project-dir", "out", status=1)[1]
        assert re.search(told, err), err
    assert not list(tmp_path.glob("out/**/search_ckpts"))


def test_a_model_of_one_batch_size_is_taken() -> None:
    class OfFour(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(4, 15)

    require_parts_alike(OfFour(), Data())
    with pytest.raises(GraphError, match=r"two samples are x float32 \(2, 5, 3\)"):
        require_parts_alike(nn.Linear(9, 2), Data())


def test_a_model_that_cannot_be_copied_says_so(tmp_path: Path) -> None:
    class Holds(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.file = (tmp_path / "x").open("w", encoding="utf-8")

    with pytest.raises(GraphError, match="cannot be copied"):
        traced(Holds(), Data())


class Holes(Data):
    """One value is missing in a sample of one set."""

    def __init__(self, part: str, value: float) -> None:
        super().__init__()
        self.part, self.value = part, value

    def batches(self, part: str, rows: int = 4) -> list[tuple[Tensor, Tensor]]:
        found = super().batches(part, rows) * 2
        if part == self.part:
            (x, y), hole = found[1], torch.zeros(rows, 5, 3, dtype=torch.bool)
            hole[-2, 1, 0] = True
            found[1] = x.masked_fill(hole, self.value), y
        return found


class Fills(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.nan_to_num())


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_sample_without_a_value_is_named_before_anything_is_measured(part: str) -> None:
    told = rf"^the {part} set holds NaN or infinity in 1 of 8 samples \(the first is sample 6, from 0\): leave them out"
    for value in (math.nan, math.inf):
        with pytest.raises(DatasetError, match=told):
            traced(nn.Linear(3, 2), Holes(part, value))
    with pytest.raises(DatasetError, match=told):
        require_parts_alike(nn.Linear(3, 2), Holes(part, math.nan))


def test_a_missing_value_that_the_model_fills_in_or_that_is_in_the_test_set_is_taken() -> None:
    for model, data in ((Fills(3, 2), Holes("val", math.nan)), (nn.Linear(3, 2), Holes("test", math.nan))):
        assert isinstance(traced(model, data), MaseGraph)


class Noisy(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn(2)


class NoisyInTraining(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn(2) if self.training else super().forward(x)


class Drops(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x), 0.5, training=True)


class DrawsWithNumpy(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + float(np.random.default_rng().normal())


class Counts(nn.Linear):
    """Returns more in each call; what a run writes lasts for that run only."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * self.calls


@pytest.mark.parametrize("kind", [Noisy, Drops, DrawsWithNumpy])
def test_a_model_that_draws_at_random_in_eval_mode_is_refused_as_such(kind: type[nn.Linear]) -> None:
    with pytest.raises(GraphError, match=rf"{kind.__name__} gives different results .* it draws at random\. Let its"):
        traced(kind(3, 2), Data())


@pytest.mark.parametrize("kind", [NoisyInTraining, Counts])
def test_a_model_that_returns_the_same_in_eval_mode_is_taken(kind: type[nn.Linear]) -> None:
    model = kind(3, 2)
    assert not draws_at_random(model.train(), torch.randn(2, 5, 3))
    assert model.training and isinstance(traced(model.eval(), Data()), MaseGraph)


def test_the_check_for_random_draws_leaves_the_generator_of_torch_as_it_was() -> None:
    model = Noisy(3, 2)
    before = torch.random.get_rng_state()
    assert draws_at_random(model, torch.ones(2, 3))
    assert torch.equal(torch.random.get_rng_state(), before)


class Branches(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        h = super().forward(x)
        if h.sum() > 0:
            return 2 * h
        return h


def test_a_branch_on_values_is_named_by_its_line_and_nothing_else_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    told = r"torch\.export \(it branches on the values of a tensor in .*test_setup\.py, line \d+: if h\.sum\(\) > 0:\)"
    with pytest.raises(GraphError, match=told):
        traced(Branches(3, 2), Data())
    assert capfd.readouterr() == ("", "")
