"""Circuits compute what their networks do, and a circuit that does not is an error."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.circuits import CircuitFacts, circuit_costs, circuit_facts, integer_network
from chop.circuits.alkaid_trace import traced
from chop.circuits.facts import checked_outputs
from chop.circuits.network import IntegerNetwork
from chop.circuits.stages import Affine, Clip, Port, Round, rounding
from chop.errors import CircuitError
from chop.formats.grid import Grid
from chop.formats.integer import Integer, IntegerFloor
from tests.circuits.networks import bundled, quantised

LAYER = {"data_in": Integer(4, 2), "weight": Integer(3, 2), "bias": Integer(4, 2)}


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 2


def test_the_circuit_of_a_bundled_network_is_exact() -> None:
    graph, data = bundled("jsc-tiny")
    facts = circuit_facts(graph, data, samples=2000)
    assert (facts.differing, facts.outputs, facts.outside) == (0, 10000, ())
    assert 0 < facts.luts_fused <= facts.luts
    assert facts.costs.cycles >= 1 and facts.costs.flip_flops > 0
    assert facts == circuit_facts(graph, data, samples=2000)
    wanted = [(x, y) for x, y in data.batches("val", 2000)]
    with torch.no_grad():
        predicted = torch.cat([graph.model(x).argmax(1) == y for x, y in wanted])
    assert facts.metrics["accuracy_micro"] == pytest.approx(float(predicted.float().mean()), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jsc-toy", "jsc-mlp", "toy", "shapes-cnn"])
def test_circuits_of_all_bundled_networks_are_exact(name: str) -> None:
    graph, data = bundled(name)
    facts: CircuitFacts = circuit_facts(graph, data, "test")
    assert facts.differing == 0


class Image(nn.Module):
    """Every stage that a circuit has, in few neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 2, 2, padding=1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.max_pool2d(self.first(x), 2, 2, 1)
        hidden = F.relu6(hidden - F.hardtanh(hidden))
        return self.last(F.avg_pool2d(hidden, 2, 1).flatten(1))


@pytest.mark.parametrize("made", [Integer, IntegerFloor])
def test_every_stage_has_a_circuit(made: Any) -> None:
    torch.manual_seed(2)
    x = drawn(300, 1, 4, 4)
    own = {**LAYER, "data_in": made(4, 2), "data_out": made(5, 1)}
    graph = quantised(
        Image(), {"first": own, "last": {**LAYER, "data_in": made(3, (1, 0, 2, 1, 1, 3, 2, -1), channel_axis=-1)}}, x
    )
    network = integer_network(graph, x)
    assert np.array_equal(checked_outputs(traced(network), network, x), network(x))


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("low", [0, -4])
def test_saturation_from_single_bits_is_exact(down: bool, low: int) -> None:
    """Every code of an input, rounded to steps finer and coarser, below and above its range, behind a ReLU or not.

    Among these are roundings half to even that alkaid's own optimiser makes wrong.
    """
    reach = 73
    for frac, high in product((-1, 0, 1, 3, 5), (1, 3, 6, 15)):
        port = Port("x", (), (1,), Grid.of([4], [-reach], [reach]))
        relu = Clip("relu", ("x",), (1,), 0)
        stage = rounding("y", relu if low == 0 else port, (1,), Grid.of([frac], [low], [high], down))
        network = IntegerNetwork((port, stage), lambda x: (x,))
        x = np.arange(-reach, reach + 1.0)[:, None] / 16
        scaled = np.maximum(x, 0 if low == 0 else -math.inf) * 2.0**frac
        wanted = np.clip(np.floor(scaled) if down else np.rint(scaled), low, high) / 2.0**frac
        assert np.array_equal(checked_outputs(traced(network), network, x), wanted), (frac, high)


@pytest.mark.parametrize("weight", [1, -3])
@pytest.mark.parametrize("bias", [1, 5, 6, 8])
def test_sums_that_all_lie_half_way_are_rounded_to_even(weight: int, bias: int) -> None:
    """The bias has finer steps than all products: by one bit (odd biases), or not."""
    port = Port("x", (), (1,), Grid.of([4], [-8], [7]))
    sums = Affine("sums", ("x",), (1,), np.array([[[0]]]), np.array([[[weight]]]), 0, np.array([bias]), 5)
    for frac, low in product((3, 4), (-64, 0)):
        network = IntegerNetwork(
            (port, sums, Round("y", ("sums",), (1,), Grid.of([frac], [low], [63]))), lambda x: (x,)
        )
        x = np.arange(-8, 8.0)[:, None] / 16
        wanted = np.clip(np.rint((weight * x + bias / 32) * 2**frac), low, 63) / 2**frac
        assert np.array_equal(checked_outputs(traced(network), network, x), wanted), (frac, low)


def test_a_relu_before_a_rounding_is_part_of_its_saturation() -> None:
    port = Port("x", (), (1,), Grid.of([4], [-64], [63]))
    relu = Clip("relu", ("x",), (1,), 0)
    grid = Grid.of([1], [0], [3], True)
    one = traced(IntegerNetwork((port, rounding("y", relu, (1,), grid)), lambda x: (x,)))
    two = traced(IntegerNetwork((port, relu, Round("y", ("relu",), (1,), grid)), lambda x: (x,)))
    assert circuit_costs(one).luts < circuit_costs(two).luts


def test_a_circuit_that_differs_is_an_error() -> None:
    torch.manual_seed(3)
    x = drawn(50, 4)
    graph = quantised(nn.Sequential(nn.Linear(4, 3)), {"_0": LAYER}, x)
    network = integer_network(graph, x)
    first, last = network.stages
    assert isinstance(last, Affine)
    wrong = replace(network, stages=(first, replace(last, bias=last.bias + 1)))
    with pytest.raises(CircuitError, match="differs from its network in 150 of 150 outputs"):
        checked_outputs(traced(wrong), network, x)


def test_neurons_that_nothing_reads_cost_nothing() -> None:
    """A hidden neuron without weights behind it, one without weights before it, and one that is always 0."""
    torch.manual_seed(4)
    x = drawn(50, 4)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    first, last = model[0], model[2]
    with torch.no_grad():
        last.weight[:, 0] = 0
        first.weight[1] = 0
        first.bias[1] = 0.75
        first.bias[2], first.weight[2] = -1.5, first.weight[2].clamp(-0.25, 0.25) / 4
    small = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        small[0].weight.copy_(first.weight[3:]), small[0].bias.copy_(first.bias[3:])
        small[2].weight.copy_(last.weight[:, 3:])
        small[2].bias.copy_(Integer(8, 4).quantize(last.bias) + Integer(3, 2).quantize(last.weight[:, 1]) * 0.75)
    formats = {"_0": LAYER, "_2": {**LAYER, "bias": Integer(8, 4)}}
    found, wanted = (integer_network(quantised(own, formats, x), x) for own in (model, small))
    assert np.array_equal(found(x), wanted(x))
    assert circuit_costs(traced(found)) == circuit_costs(traced(wanted))


def test_without_alkaid_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "alkaid.codegen", None)
    graph = quantised(nn.Sequential(nn.Linear(4, 3)), {"_0": LAYER}, drawn(2, 4))
    with pytest.raises(CircuitError, match=r'pip install "chop-search\[fpga\]"'):
        traced(integer_network(graph, drawn(2, 4)))
