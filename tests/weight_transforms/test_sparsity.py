"""Sparsity against torch's own pruning, against a brute force over groups, and against the conformance suite."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from chop.errors import FormatError
from chop.testing import WeightTransformConformance
from chop.weight_transforms import Sparsity, Storage

SHARES = [0.0, 0.1, 0.25, 1 / 3, 0.5, 0.75, 0.9]
LAYERS = [nn.Linear(12, 7), nn.Conv1d(6, 10, 3), nn.Conv2d(4, 8, 3, groups=2), nn.Conv3d(2, 9, 2)]
TRANSPOSED = [nn.ConvTranspose1d(6, 4, 3), nn.ConvTranspose2d(4, 6, 2)]


class TestSparsity(WeightTransformConformance):
    """The suite over all patterns."""

    transforms: ClassVar = [
        Sparsity(0.5),
        Sparsity(0.9),
        Sparsity(0.75, "channel", channel_axis=0),
        Sparsity(0.3, "channel"),
        Sparsity(0.5, "random"),
        Sparsity(0.9, "random", 7),
        *(Sparsity(sparsity_pattern=pattern, inputs_axis=1) for pattern in ("2:4", "1:4", "3:7", "1:16")),
        Sparsity(0.0),
        Sparsity(sparsity_pattern="2:4"),
    ]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_masks_are_those_of_torch(layer: Any, share: float) -> None:
    weight = layer.weight.detach()
    wanted = prune.L1Unstructured(share).compute_mask(weight, torch.ones_like(weight)).bool()
    assert torch.equal(Sparsity(share).mask(weight), wanted)
    by_channel = prune.LnStructured(share, n=2, dim=0).compute_mask(weight, torch.ones_like(weight)).bool()
    assert torch.equal(Sparsity(share, "channel", channel_axis=0).mask(weight), by_channel)


def test_random_masks_depend_on_the_seed_and_the_shape_alone_and_lie_within_each_other() -> None:
    weight = torch.randn(30, 40)
    mask = Sparsity(0.5, "random").mask(weight)
    assert torch.equal(mask, Sparsity(0.5, "random").mask(torch.randn(30, 40)))
    assert int(mask.sum()) == 600
    assert 250 < int((mask & Sparsity(0.5, "random", 1).mask(weight)).sum()) < 350
    assert not (Sparsity(0.8, "random").mask(weight) & ~mask).any()
    assert Sparsity(0.5, sparsity_seed=3) == Sparsity(0.5)
    with pytest.raises(FormatError, match="sparsity_seed"):
        Sparsity(0.5, "random", -1)


@pytest.mark.parametrize("layer", TRANSPOSED, ids=lambda layer: type(layer).__name__)
def test_output_channels_of_transposed_convolutions_lie_along_dimension_1(layer: Any) -> None:
    weight = layer.weight.detach()
    wanted = prune.LnStructured(0.5, n=2, dim=1).compute_mask(weight, torch.ones_like(weight)).bool()
    assert torch.equal(Sparsity(0.5, "channel", channel_axis=1).mask(weight), wanted)


def test_grouped_transposed_convolutions_have_channels_and_inputs_of_each_group() -> None:
    weight = torch.randn(8, 3, 2, 2)  # 2 groups of 4 inputs and 3 outputs
    chosen = Sparsity(0.5, "channel", channel_axis=1, channel_groups=2)
    kept = chosen.mask(weight).view(2, 4, 3, 4)
    assert (kept.flatten(2).view(2, 4, 3, 4).amax((1, 3)) == kept.view(2, 4, 3, 4).amin((1, 3))).all()
    assert int(kept[:, 0, :, 0].sum()) == 3
    norms = weight.view(2, 4, 3, 4).square().sum((1, 3)).flatten()
    assert set(norms.topk(3).indices.tolist()) == set(kept[:, 0, :, 0].flatten().nonzero().flatten().tolist())
    grouped = Sparsity(sparsity_pattern="1:3", inputs_axis=0, channel_groups=2)
    counts = grouped.mask(weight).view(2, 4, 3, 4).sum(1)  # 4 inputs: one of three, and the fourth
    assert (counts == 2).all()
    assert int(grouped.mask(weight).sum()) == grouped.storage(Storage.dense(weight.shape)).values


def best_of_group(group: list[float], most: int) -> float:
    return max(sum(abs(group[i]) for i in chosen) for chosen in combinations(range(len(group)), min(most, len(group))))


@settings(max_examples=60)
@given(
    m=st.integers(2, 6),
    data=st.data(),
    rows=st.lists(st.lists(st.integers(-4, 4).map(float), min_size=9, max_size=9), min_size=1, max_size=3),
)
def test_n_of_m_keeps_the_greatest_of_each_group(m: int, data: Any, rows: list[list[float]]) -> None:
    """Ties are many: the sum of what is kept is the greatest that n of a group have, and so many are kept."""
    n = data.draw(st.integers(1, m - 1))
    weight = torch.tensor(rows)
    chosen = Sparsity(sparsity_pattern=f"{n}:{m}", inputs_axis=1)
    mask = chosen.mask(weight)
    for row, kept in zip(rows, mask.tolist(), strict=True):
        for first in range(0, len(row), m):
            group, own = row[first : first + m], kept[first : first + m]
            assert sum(own) == min(n, len(group))
            assert sum(abs(v) for v, k in zip(group, own, strict=True) if k) == best_of_group(group, n)
            earlier = [abs(v) for v, k in zip(group, own, strict=True) if k]
            for place, (value, is_kept) in enumerate(zip(group, own, strict=True)):
                later = [k for v, k in list(zip(group, own, strict=True))[place + 1 :] if abs(v) == abs(value)]
                assert is_kept or not any(later), (group, own, earlier)
    assert int(mask.sum()) == chosen.storage(Storage.dense(weight.shape)).values


@settings(max_examples=60)
@given(
    values=st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30),
    share=st.floats(0, 0.99),
    pattern=st.sampled_from(["unstructured", "channel", "2:4", "1:3"]),
)
def test_pruning_is_idempotent_exact_and_takes_the_later_of_equals(
    values: list[float], share: float, pattern: str
) -> None:
    weight = torch.tensor(values)
    share = 0.5 if pattern == "2:4" else 2 / 3 if pattern == "1:3" else share
    chosen = Sparsity(share, pattern, channel_axis=0, inputs_axis=-1)
    once = chosen.apply(weight)
    assert torch.equal(chosen.apply(once), once)
    if ":" not in pattern:
        kept = chosen.mask(weight)
        zeros = min(round(share * len(values)), len(values) - 1)
        assert int((~kept).sum()) == zeros
        order = sorted(range(len(values)), key=lambda place: (-abs(values[place]), place))
        assert kept.tolist() == [order.index(place) < len(values) - zeros for place in range(len(values))]


def test_at_least_one_weight_and_one_channel_are_kept() -> None:
    assert Sparsity(0.9).apply(torch.tensor([[1.0], [2.0]])).tolist() == [[0.0], [2.0]]
    assert Sparsity(0.9, "channel", channel_axis=0).apply(torch.tensor([[1.0], [2.0]])).tolist() == [[0.0], [2.0]]


@pytest.mark.parametrize("pattern", ["unstructured", "channel", "2:4"])
def test_sparsity_zero_is_dense_with_any_pattern(pattern: str) -> None:
    dense = Sparsity.from_keys({"sparsity": 0, "sparsity_pattern": pattern}, channel_axis=0, inputs_axis=1)
    assert dense == Sparsity(0.0)
    assert dense.is_identity
    weight = torch.randn(4, 8)
    assert torch.equal(dense.apply(weight), weight)


def test_n_of_m_has_a_sparsity_of_its_own() -> None:
    assert Sparsity(sparsity_pattern="2:4").sparsity == 0.5
    assert Sparsity(0.5, "2:4") == Sparsity(sparsity_pattern="2:4")
    assert Sparsity(0.67, "1:3") == Sparsity(sparsity_pattern="1:3")
    with pytest.raises(
        FormatError, match=r"sparsity 0.75 contradicts the sparsity_pattern '2:4', whose sparsity is 0.5"
    ):
        Sparsity(0.75, "2:4")
    assert Sparsity.meant({"sparsity": 0.75, "sparsity_pattern": "2:4"})["sparsity"] == 0.5
    assert Sparsity.meant({"sparsity": 0.0, "sparsity_pattern": "2:4"})["sparsity"] == 0.0
    assert Sparsity.meant({"sparsity": 0.75, "sparsity_pattern": "channel"})["sparsity"] == 0.75


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sparsity": 1.0}, "0 <= sparsity < 1"),
        ({"sparsity": -0.1}, "0 <= sparsity < 1"),
        ({"sparsity": True}, "0 <= sparsity < 1"),
        ({"sparsity": "half"}, "0 <= sparsity < 1"),
        ({"sparsity": math.nan}, "0 <= sparsity < 1"),
        ({"sparsity_pattern": "unstructured"}, "sparsity is missing"),
        ({"sparsity": 0.5, "sparsity_pattern": "block"}, "sparsity_pattern must be"),
        ({"sparsity_pattern": 24}, "sparsity_pattern must be"),
        ({"sparsity_pattern": "4:4"}, "N < M"),
        ({"sparsity_pattern": "0:4"}, "sparsity_pattern must be"),
        ({"sparsity": 0.5, "sparsity_patern": "2:4"}, "did you mean 'sparsity_pattern'"),
    ],
)
def test_values_that_mean_nothing_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        Sparsity.from_keys(values)


@pytest.mark.parametrize("context", [{"channel_axis": "0"}, {"inputs_axis": 1.5}, {"channel_groups": 0}])
def test_a_damaged_file_makes_no_transform(context: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=next(iter(context))):
        Sparsity(0.5, **context)


def test_ties_and_masks_do_not_depend_on_the_floating_type() -> None:
    weight = torch.tensor([[2.0, 2.0, -2.0, 1.0]])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert Sparsity(0.5).mask(weight.to(dtype)).tolist() == [[True, True, False, False]]
        assert Sparsity(sparsity_pattern="1:2", inputs_axis=1).mask(weight.to(dtype)).tolist() == [
            [True, False, True, False]
        ]


def stored(chosen: Sparsity, *shape: int) -> tuple[int, int]:
    found = chosen.storage(Storage.dense(shape))
    return found.values, found.index_bits


def test_storage_is_by_the_documented_scheme() -> None:
    assert stored(Sparsity(0.75), 8, 16) == (32, 128)  # one bit for each weight
    assert stored(Sparsity(0.5, "channel", channel_axis=0), 8, 16) == (64, 8)  # one bit for each channel
    assert stored(Sparsity(sparsity_pattern="2:4", inputs_axis=1), 8, 16) == (64, 128)  # two bits for each that is kept
    assert stored(Sparsity(sparsity_pattern="1:3", inputs_axis=1), 8, 16) == (48, 96)
    assert stored(Sparsity(sparsity_pattern="2:4", inputs_axis=1), 8, 1, 3, 3) == (72, 144)  # depthwise: all are kept


def masked(weight: Tensor, chosen: Sparsity) -> Tensor:
    return torch.where(chosen.mask(weight), weight, 0.0)


def test_zeros_have_no_sign() -> None:
    weight = torch.tensor([[-1.0, 2.0]])
    assert not torch.signbit(Sparsity(0.5).apply(weight)[0, 0])
    assert torch.equal(masked(weight, Sparsity(0.5)), Sparsity(0.5).apply(weight))
