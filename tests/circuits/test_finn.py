"""FINN's matrix-vector units: values by hand from the formulas of FINN-R, and the folding that a target leads to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chop.circuits.finn import MatrixVectorUnit

UNIT = MatrixVectorUnit(outputs=32, inputs=64, vectors=9, weight_bits=4, input_bits=4, pe=4, simd=8)


def test_cycles_are_those_of_the_folded_matrix_for_each_vector() -> None:
    assert UNIT.words == 64  # (32 / 4) * (64 / 8)
    assert UNIT.cycles == 576


def test_accumulators_follow_the_bound_of_the_sum() -> None:
    assert UNIT.sum_bits == 14  # log2(64) + 4 + 4 - 2 = 12, and log2(1 + 2^-12) + 1 rounded up: 14
    assert replace(UNIT, is_signed=False).sum_bits == 15
    assert replace(UNIT, weight_bits=16, input_bits=16).sum_bits == 32


def test_luts_by_hand() -> None:
    multipliers = 8 * (2 * 2 - 1) * 8  # SIMD * (2 * ceil(8 / 6) - 1) * 8
    adders = 8 * (2 * 8 - 1)
    assert UNIT.luts("block") == int(300 + 1.1 * 4 * (multipliers + adders + 14)) == 1734
    memory = 4 * 8 * 4 * 1  # PE * SIMD * 4 bits, words in 64 of a LUT
    assert UNIT.luts("distributed") == int(300 + 1.1 * 4 * (multipliers + adders + 14) + memory) == 1862


@pytest.mark.parametrize(
    ("pe", "simd", "bits", "memories"),
    [
        (4, 8, 4, 4),  # 128 bits wide, 64 deep: ceil(128 / 36)
        (1, 1, 1, 1),  # 2,048 of 16,384
        (1, 2, 1, 1),
        (1, 1, 4, 1),  # 2,048 words of 4,096
        (1, 2, 4, 1),  # 8 bits: 1,024 words of 2,048
        (1, 1, 16, 2),  # 16 bits: 2,048 words in two of 1,024
        (1, 2, 16, 2),  # 32 bits, 1,024 deep: two of 18 bits
        (2, 4, 8, 2),  # 64 bits, 256 deep: two of 36 bits
    ],
)
def test_block_memories_by_hand(pe: int, simd: int, bits: int, memories: int) -> None:
    unit = replace(UNIT, pe=pe, simd=simd, weight_bits=bits)
    assert unit.memories("block") == memories
    assert unit.memories("distributed") == 0


@pytest.mark.parametrize(
    ("target", "pe", "simd"),
    [
        (10**6, 1, 1),  # met without any
        (18_432, 1, 2),  # 32 * 64 * 9 = 18,432 is not fewer
        (2_305, 1, 8),  # 18,432 / 8 = 2,304; 8 weights of 4 bits are 32
        (2_304, 1, 16),  # 1,152 cycles: fewer, though 64 bits are wider than 36
        (1_000, 4, 8),  # 16 inputs do not meet it and are too wide: 8, and 4 outputs make 576
        (1, 32, 8),  # cannot be met: all outputs
    ],
)
def test_the_folding_follows_from_the_target(target: int, pe: int, simd: int) -> None:
    found = replace(UNIT, pe=1, simd=1).folded(0, 0, target)
    assert (found.pe, found.simd) == (pe, simd)


def test_given_numbers_are_lowered_to_divisors() -> None:
    found = UNIT.folded(pe=5, simd=100, target_cycles=1)
    assert (found.pe, found.simd) == (4, 64)
    assert UNIT.folded(pe=4, simd=0, target_cycles=2_000).simd == 4  # 1,152 cycles
