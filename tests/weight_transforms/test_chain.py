"""Chains: weight transforms and a number format in one, as a plan holds them."""

from __future__ import annotations

import pytest
import torch

from chop.errors import FormatError
from chop.formats import Binary, BlockFP, Format, Integer, Log, MXInt, ScaleInteger, Ternary
from chop.testing.weight_transforms import built_in_formats
from chop.weight_transforms import Chain, Sparsity, chained, format_of, kept_share, transforms_of

HALF = Sparsity(0.5)
CHANNELS = Sparsity(0.5, "channel", channel_axis=0)
TWO_OF_FOUR = Sparsity(sparsity_pattern="2:4", inputs_axis=1)


@pytest.mark.parametrize("then", built_in_formats(), ids=str)
@pytest.mark.parametrize("transform", [HALF, CHANNELS, TWO_OF_FOUR], ids=str)
def test_the_mask_is_that_of_float_and_zeros_stay_zeros_in_every_format(transform: Sparsity, then: Format) -> None:
    weights = torch.randn(8, 16)
    rounded = Chain((transform,), then).quantize(weights)
    kept = transform.mask(weights)
    assert not rounded[~kept].any()
    if isinstance(then, (Binary, Log)):  # formats without a zero
        assert rounded[kept].all()


def test_ranges_are_those_of_the_weights_that_are_kept() -> None:
    weights = torch.tensor([[8.0, 0.3, 0.2, 0.1], [0.02, 0.01, 0.03, 0.04]])
    chain = Chain((CHANNELS,), Integer(8, "auto", granularity="channel")).calibrated(weights)
    assert isinstance(chain.then, Integer)
    assert (
        chain.then.fractions == Integer(8, "auto", granularity="channel").calibrated(CHANNELS.apply(weights)).fractions
    )
    least = Sparsity(sparsity_pattern="1:4", inputs_axis=1)
    small = Chain((least,), Integer(8, "auto", range_rule="mse")).calibrated(weights)
    assert small.then == Integer(8, "auto", range_rule="mse").calibrated(least.apply(weights))
    scaled = Chain((HALF,), Binary(scaled=True)).calibrated(weights)
    assert isinstance(scaled.then, Binary)
    assert scaled.then.scale == (pytest.approx((8.0 + 0.3 + 0.2 + 0.1) / 4),)


def test_a_chain_that_changes_nothing_is_the_format_alone() -> None:
    assert chained([Sparsity(0.0)], Integer(8)) == Integer(8)
    assert chained([Sparsity(0.0)], None) is None
    assert chained([], None) is None
    assert chained([Sparsity(sparsity_pattern="2:4")], Integer(8)) == Integer(8)  # no inputs: a norm's weights
    chain = chained([HALF], Integer(8))
    assert format_of(chain) == Integer(8) and transforms_of(chain) == (HALF,)
    assert format_of(Integer(8)) == Integer(8) and transforms_of(None) == ()
    with pytest.raises(FormatError, match="not in another chain"):
        Chain((HALF,), Chain((HALF,), None))


def test_bits_are_those_of_values_that_are_kept_their_index_and_what_they_share() -> None:
    shape = (8, 16)
    assert Chain((HALF,), Integer(4)).bits(shape) == 64 * 4 + 128
    assert Chain((HALF,), None).bits(shape) == 64 * 32 + 128
    assert Chain((TWO_OF_FOUR,), Integer(4)).bits(shape) == 64 * 4 + 64 * 2
    assert Chain((CHANNELS,), Integer(4)).bits(shape) == 64 * 4 + 8
    blocks = BlockFP(width=8, exponent_width=8, block_size=(1, 16))
    assert Chain((HALF,), blocks).bits(shape) == 64 * 8 + 8 * 8 + 128  # every block keeps its exponent
    assert Chain((CHANNELS,), blocks).bits(shape) == 64 * 8 + 4 * 8 + 8  # that of a dropped channel is dropped
    by_channel = ScaleInteger(width=8, granularity="channel")
    assert Chain((CHANNELS,), by_channel).bits(shape) == 64 * 8 + 4 * 32 + 8
    assert Chain((HALF,), Ternary(scaling_factor=True)).bits(shape) == 64 * 2 + 32 + 128
    assert Chain((HALF,), Binary()).bits(shape) == 64 + 128
    assert Chain((HALF,), MXInt(element_bits=8, block_size=(1, 32))).bits((0, 4)) == 0
    assert kept_share(Chain((HALF,), None), shape) == 0.5 and kept_share(Integer(8), shape) == 1.0


def test_bits_of_any_shape_can_be_asked_for() -> None:
    """A strategy asks for those of a square, whatever the layer."""
    for chosen in (
        Sparsity(sparsity_pattern="2:4", inputs_axis=0, channel_groups=128),
        Sparsity(0.5, "channel", channel_axis=1, channel_groups=128),
    ):
        assert Chain((chosen,), Integer(8)).bits((64, 64)) >= 0


def test_gradients_reach_the_kept_weights_alone() -> None:
    weights = torch.tensor([[1.0, 2.0, 3.0, 4.0]], requires_grad=True)
    (Chain((HALF,), Integer(8, 4)).quantize(weights) * torch.tensor([5.0, 6.0, 7.0, 8.0])).sum().backward()
    assert weights.grad is not None
    assert weights.grad.tolist() == [[0.0, 0.0, 7.0, 8.0]]


def test_it_says_what_it_does() -> None:
    assert str(Chain((HALF,), Integer(8, 4))) == "50% sparse then integer 8b/4f"
    assert str(Chain((TWO_OF_FOUR,), None)) == "2:4 then float"
    assert str(Chain((CHANNELS,), Binary())) == "50% channels then binary"
    assert Chain((HALF,), Integer(8)).kind != Chain((TWO_OF_FOUR,), Integer(8)).kind
