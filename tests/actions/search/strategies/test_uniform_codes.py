"""Uniform networks: every choice that any layer has, in all layers."""

from __future__ import annotations

from chop.actions.search.strategies.product.uniform_codes import uniform_codes
from chop.formats import Integer, MinifloatIEEE
from chop.formats.base import Format
from chop.weight_transforms.chain import Chain
from chop.weight_transforms.sparsity import Sparsity


def axis(node: str, *formats: Format | None) -> list[dict[str, dict[str, Format]]]:
    return [{node: {"weight": own} if own else {}} for own in formats]


def found(*axes: list[dict[str, dict[str, Format]]], every: bool = True) -> list[list[int]]:
    return sorted(uniform_codes(axes, every).tolist())


def test_formats_of_equal_width_that_differ_otherwise_are_all_proposed() -> None:
    exponents = [MinifloatIEEE(8, width) for width in (2, 3, 4)]
    sparse = [Chain((Sparsity(0.5, "random", sparsity_seed=seed),), Integer(8, 4)) for seed in (0, 1)]
    fractions = [Integer(8, width) for width in (2, 4, 6)]
    for formats in (exponents, sparse, fractions):
        assert found(axis("a", *formats), axis("b", *formats)) == [[place] * 2 for place in range(len(formats))]
    assert found(axis("a", *exponents), axis("b", *exponents), every=False) == [[0, 0]]


def test_measured_formats_are_alike_by_their_place_and_given_ones_by_their_value() -> None:
    assert found(axis("a", Integer(8, 3), Integer(8, 4)), axis("b", Integer(8, 5), Integer(8, 4))) == [[0, 0], [1, 1]]
    one, other = axis("a", *(MinifloatIEEE(8, e) for e in (3, 4))), axis("b", *(MinifloatIEEE(8, e) for e in (4, 5)))
    assert found(one, other) == [[0, 0], [1, 0], [1, 1]]


def test_a_layer_without_the_width_takes_the_nearest() -> None:
    wide = axis("a", MinifloatIEEE(8, 3), MinifloatIEEE(8, 4), MinifloatIEEE(4, 2))
    assert found(wide, axis("b", Integer(5, 2), None)) == [[0, 0], [0, 1], [1, 0], [2, 0]]


def test_deep_networks_have_every_choice_too() -> None:
    formats = [Integer(width, 1) for width in range(2, 16)]
    deep = [axis(f"layer{number}", *formats) for number in range(200)]
    assert found(*deep) == [[place] * 200 for place in range(14)]
