"""Measures a quantised graph as a circuit: LUTs, registers, latency, and whether it computes what the network does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chop.circuits.alkaid_trace import Circuit, load_alkaid, traced
from chop.circuits.from_graph import integer_network
from chop.circuits.network import IntegerNetwork
from chop.dataset.data import Data
from chop.errors import CircuitError
from chop.evaluation.predictions import accumulated, stream
from chop.ir import MaseGraph
from chop.scoring.outputs import with_samples

LATENCY_CUTOFF = 5.0
"""Delay between two registers in alkaid's unit (about one adder), as in its own command line."""

CLOCK_PERIOD = 5.0
"""Nanoseconds of a clock cycle that the latency in nanoseconds is stated for: alkaid's default."""


CONSTANT = 5
"""The code of alkaid's operations that are constants, which need no register."""


@dataclass(frozen=True)
class CircuitCosts:
    """What alkaid states of a circuit.

    - `luts`: 6-input look-up tables, each adder on its own ("plain"): the figure that synthesis with Yosys confirms.
    - `luts_fused`: the same after adders of three numbers are formed: the figure that HGQ2 and alkaid print.
    - `flip_flops`, `cycles`: register bits and clock cycles of the pipelined circuit with `latency_cutoff`.
    - `depth`: the delay of the combinational circuit in alkaid's unit.
    """

    luts: float
    luts_fused: float
    flip_flops: int
    cycles: int
    depth: float


def waiting_bits(logic: Any) -> tuple[float, float]:
    """Bits of all values times the delay from their making to their last use (results: to the end), and the results'.

    Divided by the delay between two registers it is about the number of register bits inside.
    """
    end, last = float(logic.latency[1]), [float(op.latency) for op in logic.ops]
    for op in logic.ops:
        for used in op.input_ids:
            last[used] = max(last[used], float(op.latency))
    results = {number for number in logic.out_idxs if number >= 0}
    waiting, bits = 0.0, 0.0
    for number, op in enumerate(logic.ops):
        if op.opcode == CONSTANT:
            continue
        width = max(0, sum(map(int, op.qint.kif)))
        waiting += width * ((end if number in results else last[number]) - float(op.latency))
        bits += width * (number in results)
    return waiting, bits


@dataclass(frozen=True)
class CircuitFacts:
    """The costs of a circuit, and what it computes on data.

    `metrics` are those of the circuit's own outputs (`accuracy` for classification). Of `outputs` numbers, `differing`
    differ from the quantised network in float32, which itself is inexact where an accumulator has more than 24 bits.
    `outside` names nodes in front of the circuit that stay in float.
    """

    costs: CircuitCosts
    metrics: dict[str, float]
    outputs: int
    differing: int
    accumulators: dict[str, int]
    outside: tuple[str, ...]

    @property
    def luts(self) -> float:
        """LUTs, before adders of three numbers are formed."""
        return self.costs.luts

    @property
    def luts_fused(self) -> float:
        """LUTs, once adders of three numbers are formed."""
        return self.costs.luts_fused

    @property
    def accuracy(self) -> float:
        """The accuracy; raises KeyError for a task that has none."""
        return self.metrics["accuracy"]


def circuit_costs(circuit: Circuit, latency_cutoff: float = LATENCY_CUTOFF) -> CircuitCosts:
    """The costs of a circuit; `latency_cutoff` bounds the delay between two registers."""
    return circuit_costs_of(circuit.logic, latency_cutoff)


def circuit_costs_of(logic: Any, latency_cutoff: float = LATENCY_CUTOFF) -> CircuitCosts:
    """The costs of alkaid's combinational logic; nothing where there is none."""
    if logic is None:
        return CircuitCosts(0.0, 0.0, 0, 0, 0.0)
    model = load_alkaid().codegen.RTLModel(logic, "circuit", "circuit", latency_cutoff=latency_cutoff)
    return CircuitCosts(
        luts=float(logic.cost),
        luts_fused=float(model._comb.cost),
        flip_flops=int(model.reg_bits),
        cycles=int(model.latency),
        depth=float(logic.latency[1]),
    )


def circuit_facts(
    graph: MaseGraph,
    data: Data,
    part: str = "val",
    samples: int | None = None,
    latency_cutoff: float = LATENCY_CUTOFF,
) -> CircuitFacts:
    """Build the circuit of a quantised graph and measure it on the first `samples` samples of a set (None: all).

    Raises CircuitError where no integer circuit computes the network, where alkaid is missing, and where the circuit
    differs from the integer network on any sample.
    """
    batches = [(x, y) for x, y in data.batches(part, samples)]
    network = integer_network(graph, batches[0][0])
    circuit = traced(network)
    pairs, differing, count = [], 0, 0
    for (x, y), (wanted, _) in zip(batches, stream(graph.model, batches, output=data.output), strict=True):
        found = checked_outputs(circuit, network, x)
        reference = np.asarray(wanted.double())
        differing += int((found.reshape(reference.shape) != reference).sum())
        count += reference.size
        pairs.append((with_samples(torch.from_numpy(found).float(), len(y)), y))
    metrics = accumulated(data.task.accumulator(), pairs).result()
    costs = circuit_costs(circuit, latency_cutoff)
    return CircuitFacts(costs, dict(metrics), count, differing, network.accumulators, network.outside)


def checked_outputs(circuit: Circuit, network: IntegerNetwork, x: Any) -> NDArray[np.float64]:
    """The outputs of a circuit for the model's input `x`.

    Raises CircuitError where they differ from the integer network, which is a fault of alkaid.
    """
    codes = network.port_codes(x)
    found, wanted = circuit.run(codes), network.run(codes).as_float()
    wrong = int((found != wanted).sum())
    if wrong:
        raise CircuitError(
            f"the circuit differs from its network in {wrong} of {wanted.size} outputs, a fault of alkaid: "
            "please report it with the saved graph"
        )
    return found
