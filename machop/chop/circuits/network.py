"""A network of integers: what a circuit computes, bit for bit, and how wide each of its numbers is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chop.circuits.stages import Port, Stage
from chop.circuits.values import Range, Values
from chop.errors import CircuitError, NodeProblem

Floats = NDArray[np.float64]
SAMPLES = 512
"""Samples that are computed together."""


@dataclass(frozen=True)
class IntegerNetwork:
    """Stages in the order of execution; the result of the last one is the output.

    `port_values` computes from a model's input `x` what comes to each port, `(samples, …)` in float64: the input
    itself, unless `outside` names nodes that come before the first rounding, which stay in float and outside of the
    circuit (a norm of the inputs). `port_nodes` are the nodes of the graph whose values come to the ports.
    """

    stages: tuple[Stage, ...]
    port_values: Callable[[Any], tuple[Floats, ...]] = field(repr=False, compare=False)
    outside: tuple[str, ...] = ()
    port_nodes: tuple[str, ...] = ()

    @property
    def ports(self) -> tuple[Port, ...]:
        """The inputs of the circuit."""
        return tuple(stage for stage in self.stages if isinstance(stage, Port))

    @cached_property
    def ranges(self) -> Mapping[str, Range]:
        """The range of every stage's result, by the stage's name.

        Raises CircuitError, naming the stage, for a number that is too wide to be computed here.
        """
        found: dict[str, Range] = {}
        for stage in self.stages:
            try:
                found[stage.name] = stage.range_of(*(found[source] for source in stage.sources))
            except CircuitError as error:
                raise CircuitError("the network has no integer circuit:", [NodeProblem(stage.name, error)]) from error
        return found

    @property
    def output(self) -> Range:
        """The range of the output."""
        return self.ranges[self.stages[-1].name]

    @property
    def accumulators(self) -> dict[str, int]:
        """The width in bits of every stage's result, in the common step of its elements."""
        return {name: own.widest for name, own in self.ranges.items()}

    def port_codes(self, x: Any) -> dict[str, Values]:
        """The codes that come in at each port for the model's input `x`."""
        return {port.name: port.codes_of(own) for port, own in zip(self.ports, self.port_values(x), strict=True)}

    def run(self, codes: Mapping[str, Values]) -> Values:
        """The output for codes at the ports, computed in integers alone."""
        results: dict[str, Values] = dict(codes)
        left = {source: number for number, stage in enumerate(self.stages) for source in stage.sources}
        for number, stage in enumerate(self.stages):
            if not isinstance(stage, Port):
                results[stage.name] = stage.run(*(results[source] for source in stage.sources))
            for source in {source for source in stage.sources if left[source] == number}:
                del results[source]
        return results[self.stages[-1].name]

    def __call__(self, x: Any) -> Floats:
        """The output `(samples, *shape)` for the model's input `x`, as float64."""
        codes = self.port_codes(x)
        samples = len(next(iter(codes.values())).codes)
        pieces = []
        for start in range(0, samples, SAMPLES):
            part = {name: Values(own.codes[start : start + SAMPLES], own.frac) for name, own in codes.items()}
            pieces.append(self.run(part).as_float())
        return np.concatenate(pieces)
