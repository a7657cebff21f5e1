"""Builds the circuit of an integer network out of adders, by the package alkaid.

The package is an extra, imported when it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chop.circuits.alkaid_passes import optimised
from chop.circuits.network import IntegerNetwork
from chop.circuits.stages import PADDING, Add, Affine, Clip, Maximum, Port, Round, Select, Stage
from chop.circuits.values import Range, Values
from chop.errors import CircuitError
from chop.formats.grid import Grid
from chop.tools.extras import install_command

EXTRA = "fpga"
SOLVER_OPTIONS = {"hard_dc": 5}
"""The default of alkaid's command line: how much depth a solution may add for fewer adders."""

HARDWARE = (1, 1, -1)
"""Granularity of adders and carries, and no latency cut: alkaid's defaults."""

Objects = NDArray[np.object_]


@dataclass(frozen=True)
class Alkaid:
    """The modules of alkaid."""

    trace: ModuleType
    codegen: ModuleType
    variable: Any


def load_alkaid() -> Alkaid:
    """Import alkaid; raises CircuitError, with the command that installs it, where it is missing."""
    try:
        import alkaid.codegen
        import alkaid.trace
        from alkaid.trace.fixed_variable import FVariable
    except ImportError as error:
        raise CircuitError(f"circuits need the package alkaid ({error}): {install_command(EXTRA)}") from error
    return Alkaid(alkaid.trace, alkaid.codegen, FVariable)


@dataclass(frozen=True)
class Circuit:
    """A combinational circuit; `inputs` are the elements of the ports that it takes, port by port, flattened.

    `logic` is alkaid's program for the elements of the output that vary; None where none does. `constants` `(*shape)`
    are the values of all others.
    """

    logic: Any
    inputs: Mapping[str, NDArray[np.int64]]
    constants: NDArray[np.float64]
    varies: NDArray[np.bool_]

    def run(self, codes: Mapping[str, Values]) -> NDArray[np.float64]:
        """The output `(samples, *shape)` of alkaid's integer interpreter for codes at the ports."""
        floats = [
            codes[name].as_float().reshape(len(codes[name].codes), -1)[:, own] for name, own in self.inputs.items()
        ]
        x = np.ascontiguousarray(np.concatenate(floats, axis=1))
        found = np.repeat(self.constants[None], len(x), axis=0)
        if self.logic is not None:
            found[:, self.varies] = np.asarray(self.logic.predict(x, n_threads=1)).reshape(len(x), -1)
        return found


def traced(network: IntegerNetwork) -> Circuit:
    """The circuit of a whole network, all layers unrolled. What the network's ranges show to be constant is so here.

    Raises CircuitError where alkaid is missing.
    """
    tracer = Tracer()
    read: dict[str, NDArray[np.int64]] = {}
    results: dict[str, Objects] = {}
    for stage in network.stages:
        if isinstance(stage, Port):
            results[stage.name] = tracer.inputs_of(network.ranges[stage.name])
            read[stage.name] = np.flatnonzero(~network.ranges[stage.name].is_constant)
        else:
            found = tracer.result(stage, [results[source] for source in stage.sources])
            results[stage.name] = tracer.with_constants(found, network.ranges[stage.name])
    outputs, varies = results[network.stages[-1].name], ~network.output.is_constant
    constants = np.where(varies, 0.0, Values(network.output.low, network.output.frac).as_float())
    return Circuit(tracer.logic(list(outputs[varies])) if varies.any() else None, read, constants, varies)


class Tracer:
    """Carries alkaid's symbolic variables through stages."""

    def __init__(self) -> None:
        self.alkaid = load_alkaid()
        self.hardware = self.alkaid.trace.HWConfig(*HARDWARE)
        self.inputs: list[Any] = []

    def logic(self, outputs: list[Any]) -> Any:
        """The combinational logic from all inputs to `outputs`."""
        return optimised(self.alkaid.trace.trace(self.inputs, outputs, optimize=False))

    def result(self, stage: Stage, given: list[Objects]) -> Objects:
        """The variables of a stage's result."""
        makers: dict[type[Stage], Callable[..., Objects]] = {
            Round: self._rounded,
            Affine: self._affine,
            Clip: self._clipped,
            Add: _sum,
            Maximum: _greatest,
            Select: _selected,
        }
        return makers[type(stage)](stage, *given)

    def inputs_of(self, own: Range) -> Objects:
        """New inputs: one for each element of a range that can have more than one value; constants for the others."""
        found = [self._input(*ends) for ends in _ends(own)]
        varies = ~own.is_constant.ravel()
        self.inputs.extend(variable for variable, is_input in zip(found, varies, strict=True) if is_input)
        return _objects(found, own.shape)

    def with_constants(self, found: Objects, own: Range) -> Objects:
        """The variables with constants where a range has one value: it may see more than alkaid does."""
        constants = [self._constant(low) for low, _, _ in _ends(own)]
        return np.where(own.is_constant, _objects(constants, own.shape), found)

    def _input(self, low: float, high: float, step: float) -> Any:
        if low == high:
            return self._constant(low)
        return self.alkaid.variable(low, high, step, hwconf=self.hardware)

    def _constant(self, value: float) -> Any:
        return self.alkaid.variable.from_const(float(value), hwconf=self.hardware)

    def _affine(self, stage: Affine, given: Objects) -> Objects:
        flat = given.ravel()
        groups, positions, _ = stage.index.shape
        bias = np.ldexp(stage.bias.astype(np.float64), -stage.bias_frac).reshape(groups, -1)
        weight = np.ldexp(stage.weight.astype(np.float64), -stage.weight_frac)
        sums = np.empty((groups, positions, stage.weight.shape[1]), object)
        for group in range(groups):
            for position in range(positions):
                sums[group, position] = self._sums(flat, stage.index[group, position], weight[group], bias[group])
        order = (1, 0, 2) if stage.channels_last else (0, 2, 1)
        return sums.transpose(order).reshape(stage.shape)

    def _sums(self, flat: Objects, index: NDArray[np.int64], weight: NDArray[Any], bias: NDArray[Any]) -> Objects:
        """The sums of one position; what is constant goes into the bias, and what has no weight is left out."""
        inside = index != PADDING
        index, weight, bias = index[inside], weight[:, inside], bias.copy()
        is_used = np.any(weight != 0, axis=0)
        is_constant = np.array([flat[own].low == flat[own].high for own in index], dtype=bool)
        for place in np.flatnonzero(is_used & is_constant):
            bias += weight[:, place] * flat[index[place]].low
        kept = np.flatnonzero(is_used & ~is_constant)
        outputs = np.flatnonzero(np.any(weight[:, kept] != 0, axis=1))
        found = _objects([self._constant(own) for own in bias], bias.shape)
        if len(outputs):
            given = self.alkaid.trace.FVArray(flat[index[kept]], dict(SOLVER_OPTIONS), self.hardware)
            matrix = np.ascontiguousarray(weight[np.ix_(outputs, kept)].T)
            found[outputs] = np.asarray(given @ matrix) + bias[outputs]
        return found

    def _rounded(self, stage: Round, given: Objects) -> Objects:
        fracs, lows, highs = (np.broadcast_to(own, stage.shape).ravel().tolist() for own in _numbers(stage.grid))
        down, least = stage.grid.rounds_down, 0 if stage.is_relu else -math.inf
        found = [
            self._round(variable, frac, max(low, least) * 2.0**-frac, high * 2.0**-frac, down)
            for variable, frac, low, high in zip(given.ravel(), fracs, lows, highs, strict=True)
        ]
        return _objects(found, stage.shape)

    def _round(self, variable: Any, frac: int, low: float, high: float, down: bool) -> Any:
        """Rounded, then saturated."""
        if variable.low == variable.high or low == high:
            scaled = np.ldexp(variable.low, frac)
            value = np.ldexp(np.floor(scaled) if down else np.rint(scaled), -frac)
            return self._constant(min(max(float(value), low), high))
        signed, integers, fraction = map(int, variable.kif)
        if fraction > frac:
            if down:
                variable = variable.quantize(signed, integers, frac, "WRAP", "TRN")
            else:
                variable = _half_to_even(variable, signed, integers + 1, frac)
        return self._within(variable, low, high)

    def _within(self, variable: Any, low: float | None, high: float | None) -> Any:
        if variable.low == variable.high:
            value = variable.low if low is None else max(variable.low, low)
            return self._constant(value if high is None else min(value, high))
        if high is not None and variable.high > high and (variable.low >= 0 or low == 0):
            step = float(variable.step)
            top = np.log2(high + step) if high + step > 0 else -np.inf
            if high > 0 and top == np.rint(top):
                return self._capped(variable, int(top))
        variable = variable if low is None else variable.max_of(low)
        return variable if high is None else variable.min_of(high)

    def _capped(self, variable: Any, top: int) -> Any:
        """At most 2^top - step, and 0 where it is negative, from single bits: any above `top`, and the sign.

        For alkaid a third fewer LUTs than two comparisons: 10 % of a sparse network.
        """
        _, integers, fraction = map(int, variable.kif)
        high = 2.0**top - float(variable.step)
        above, below = variable.quantize(0, integers, -top), variable.quantize(0, top, fraction)
        ends = (0.0, high, float(variable.step))
        capped = above.unary_bit_op("any").msb_mux(self._constant(high), below, ends)
        return variable.is_negative().msb_mux(self._constant(0.0), capped, ends) if variable.low < 0 else capped

    def _clipped(self, stage: Clip, given: Objects) -> Objects:
        low, high = (None if end is None else end * 2.0**-stage.bound_frac for end in (stage.low, stage.high))
        return _objects([self._within(variable, low, high) for variable in given.ravel()], stage.shape)


def _half_to_even(variable: Any, signed: int, integers: int, frac: int) -> Any:
    """Rounded to 2^-frac.

    Where every value lies half way (sums whose bias has one bit more than all else), alkaid 0.8.2 reads bits that are
    not there: it adds up both constants. Then the even one is half a step more without its last bit.
    """
    more = variable + 2.0 ** (-frac - 1)
    if int(more.kif[2]) <= frac:
        return more.quantize(signed, integers, frac - 1, "WRAP", "TRN")
    return variable.quantize(signed, integers, frac, "WRAP", "RND_CONV")


def _sum(stage: Add, *given: Objects) -> Objects:
    first, second = np.broadcast_arrays(*given)
    found: Objects = first - second if stage.subtracts else first + second
    return found


def _selected(stage: Select, *given: Objects) -> Objects:
    return np.concatenate([own.ravel() for own in given])[stage.index].reshape(stage.shape)


def _greatest(stage: Maximum, given: Objects) -> Objects:
    flat, found = given.ravel(), []
    for index in stage.index:
        first, *others = [flat[own] for own in index if own != PADDING]
        for other in others:
            first = first.max_of(other)
        found.append(first)
    return _objects(found, stage.shape)


def _numbers(grid: Grid) -> tuple[Any, Any, Any]:
    return grid.frac, grid.low, grid.high


def _ends(own: Range) -> list[tuple[float, float, float]]:
    """The least and the greatest value, and the step, of each element."""
    zeros = np.where(own.is_constant, 0, own.zeros)
    low, high = (np.ldexp(end.astype(np.float64), -own.frac).ravel() for end in (own.low, own.high))
    return list(zip(low.tolist(), high.tolist(), np.ldexp(1.0, (zeros - own.frac).ravel()).tolist(), strict=True))


def _objects(items: list[Any], shape: tuple[int, ...]) -> Objects:
    found = np.empty(len(items), object)
    found[:] = items
    return found.reshape(shape)
