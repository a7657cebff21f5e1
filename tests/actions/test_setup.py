"""A graph fits every part of the data, or the part is named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from chop.actions.setup import traced
from chop.errors import GraphError


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
