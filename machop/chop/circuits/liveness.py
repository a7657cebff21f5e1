"""Which elements of a network's numbers matter: those that vary, and that the output depends on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from chop.circuits.network import IntegerNetwork
from chop.circuits.stages import PADDING, Affine, Maximum, Select, Stage, with_padding
from chop.circuits.values import Integers, Range, Values

Mask = NDArray[np.bool_]


def read_by(stage: Stage, given: tuple[Range, ...], live: Mask) -> list[Mask]:
    """The elements of each source that the elements `live` of a stage's result depend on, constants left out."""
    if isinstance(stage, Affine):
        terms = by_output(stage, live).astype(np.int64) @ stage.is_weight > 0
        found = [_scattered(stage.index, terms, given[0].low.size)]
    elif isinstance(stage, Maximum):
        terms = np.broadcast_to(live.reshape(-1, 1), stage.index.shape)
        found = [_scattered(stage.index, terms, given[0].low.size)]
    elif isinstance(stage, Select):
        sizes = np.cumsum([own.low.size for own in given])
        found = np.split(_scattered(stage.index, live.ravel(), int(sizes[-1])), sizes[:-1])
    else:
        found = [_reduced(live, own.shape) for own in given]
    return [mask.reshape(own.shape) & ~own.is_constant for mask, own in zip(found, given, strict=True)]


def live_elements(network: IntegerNetwork) -> Mapping[str, Mask]:
    """The elements of every stage's result that matter, by the stage's name."""
    ranges = network.ranges
    live = {name: np.zeros(own.shape, dtype=bool) for name, own in ranges.items()}
    last = network.stages[-1].name
    live[last] = ~ranges[last].is_constant
    for stage in reversed(network.stages):
        given = tuple(ranges[source] for source in stage.sources)
        for source, mask in zip(stage.sources, read_by(stage, given, live[stage.name]), strict=True):
            live[source] = live[source] | mask
    return live


def by_output(stage: Affine, live: Mask) -> Mask:
    """A mask of the result of an affine stage as `(groups, positions, outputs)`."""
    groups, positions, outputs = len(stage.weight), stage.index.shape[1], stage.weight.shape[1]
    if stage.channels_last:
        return live.reshape(positions, groups, outputs).transpose(1, 0, 2)
    return live.reshape(groups, outputs, positions).transpose(0, 2, 1)


def folded_bias(stage: Affine, x: Range) -> Values:
    """The bias of every position `(groups, positions, outputs)` with the constant inputs' products added to it."""
    constant = with_padding(np.where(x.is_constant, x.low, 0).reshape(1, -1), 0)[0][stage.index]
    frac = max(x.frac + stage.weight_frac, stage.bias_frac)
    products = constant @ stage.weight.transpose(0, 2, 1) << (frac - x.frac - stage.weight_frac)
    bias = stage.bias.reshape(len(stage.weight), 1, -1) << (frac - stage.bias_frac)
    return Values(products + bias, frac)


def _scattered(index: Integers, terms: Mask, size: int) -> Mask:
    """The elements whose place in `index` is set."""
    found = np.zeros(size, dtype=bool)
    found[index[terms & (index != PADDING)]] = True
    return found


def _reduced(live: Mask, shape: tuple[int, ...]) -> Mask:
    """A mask of a result as one of an input that is broadcast to it."""
    extra = live.ndim - len(shape)
    spread = tuple(axis for axis in range(live.ndim) if axis < extra or shape[axis - extra] != live.shape[axis])
    return np.any(live, axis=spread, keepdims=True).reshape(shape) if spread else live
