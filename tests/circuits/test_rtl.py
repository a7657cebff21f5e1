"""Circuits as Verilog and VHDL: simulators that we did not write find the integer network's own outputs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.circuits import circuit_costs, integer_network
from chop.circuits.alkaid_trace import traced
from chop.circuits.network import IntegerNetwork
from chop.circuits.rtl import (
    Language,
    Rtl,
    RtlOptions,
    Vectors,
    files_of,
    has_yosys,
    missing_programs,
    module_name,
    rtl_of,
    simulated,
    synthesised,
    vectors_of,
)
from chop.errors import CircuitError
from chop.formats.integer import Integer
from tests.circuits.networks import bundled, quantised

SAMPLES = 200


class TwoReaders(nn.Module):
    """Two layers that read the input in formats of their own; of the outputs, one is constant and one cannot fall."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        second = self.second(x)
        return torch.cat([self.first(x) - second, F.relu(second)], dim=1)


def of_two_readers(*, seed: int = 0) -> tuple[IntegerNetwork, Tensor]:
    """Steps of each element's own, before and behind the logic."""
    torch.manual_seed(seed)
    model = TwoReaders()
    with torch.no_grad():
        model.first.weight[0] = model.second.weight[0] = 0
    layer = {"weight": Integer(4, 3), "bias": Integer(5, 4), "data_out": Integer(7, (3, 5, -1, 2), channel_axis=-1)}
    formats = {
        "first": {**layer, "data_in": Integer(5, (2, 4, 1), channel_axis=-1)},
        "second": {**layer, "data_in": Integer(3, 1)},
    }
    x = torch.randn(SAMPLES, 3) * 3
    return integer_network(quantised(model, formats, x), x), x


def small_layer(inputs: int = 6, outputs: int = 4) -> tuple[IntegerNetwork, Tensor]:
    torch.manual_seed(5)
    x = torch.randn(SAMPLES, inputs) * 2
    formats = {"_0": {"data_in": Integer(4, 2), "weight": Integer(4, 3), "bias": Integer(4, 2)}}
    return integer_network(quantised(nn.Sequential(nn.Linear(inputs, outputs)), formats, x), x), x


def written(rtl: Rtl, vectors: Vectors, folder: Path) -> Path:
    for name, text in files_of(rtl, vectors).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def require_simulator(language: Language) -> None:
    missing = missing_programs(language)
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: {language} is not simulated")


@pytest.mark.parametrize(
    ("language", "n_stages"),
    [("vhdl", 0), ("vhdl", 3), pytest.param("verilog", 0, marks=pytest.mark.slow), ("verilog", 3)],
)
def test_a_simulator_finds_the_outputs_of_the_integer_network(
    language: Language, n_stages: int, tmp_path: Path
) -> None:
    """Two ports, steps of each element's own, a constant output; of all outputs, those differ that were made wrong."""
    require_simulator(language)
    network, x = of_two_readers()
    rtl = rtl_of(traced(network), network, RtlOptions(language, "two readers", n_stages=n_stages))
    vectors = vectors_of(rtl, network, [x])
    assert len(rtl.inputs) == 2 and rtl.cycles == n_stages and np.ptp(vectors.outputs, axis=0).min() == 0
    wrong = vectors.outputs.copy()
    wrong[3, 2] ^= 1
    wrong[SAMPLES - 1, 7] ^= 1
    found = simulated(rtl, written(rtl, replace(vectors, outputs=wrong), tmp_path))
    assert (found.differing, found.outputs) == (2, SAMPLES * 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jsc-tiny", "jsc-toy", "toy"])
def test_verilator_finds_no_difference_on_whole_test_sets(name: str, tmp_path: Path) -> None:
    require_simulator("verilog")
    graph, data = bundled(name)
    inputs = [x for x, _ in data.batches("test", None)]
    network = integer_network(graph, inputs[0])
    rtl = rtl_of(traced(network), network, RtlOptions(name=name))
    vectors = vectors_of(rtl, network, inputs)
    found = simulated(rtl, written(rtl, vectors, tmp_path))
    assert (found.differing, found.outputs) == (0, vectors.outputs.size)


def test_ports_hold_the_codes_of_the_integer_network() -> None:
    """The vectors of a file, read back as numbers of the documented bits, are the codes that come in and go out."""
    network, x = of_two_readers()
    rtl = rtl_of(traced(network), network)
    files = files_of(rtl, vectors_of(rtl, network, [x]))
    words = [int(line, 16) for line in files["sim/inputs.hex"].split()]
    codes, start = network.port_codes(x), 0
    for word in rtl.inputs:
        for element in range(word.elements):
            fields = np.array([(own >> (start + element * word.bits)) & (2**word.bits - 1) for own in words])
            signed = np.where(word.is_signed & (fields >= 2 ** (word.bits - 1)), fields - 2**word.bits, fields)
            assert np.array_equal(np.ldexp(signed, -word.frac), codes[word.node].as_float()[:, element])
        start += word.width
    assert len(files["sim/outputs.hex"].split()) == SAMPLES


def test_registers_stand_where_the_options_say() -> None:
    network, _ = small_layer()
    circuit = traced(network)
    costs = circuit_costs(circuit)
    rtl = rtl_of(circuit, network)
    assert (rtl.cycles, rtl.flip_flops, rtl.luts) == (costs.cycles, costs.flip_flops, costs.luts_fused)
    assert rtl_of(circuit, network, RtlOptions(latency_cutoff=1)).cycles > rtl.cycles
    assert rtl_of(circuit, network, RtlOptions(n_stages=4, clock_period=2.5)).latency == 10.0
    combinational = rtl_of(circuit, network, RtlOptions(n_stages=0, fuses_adders=False))
    assert (combinational.cycles, combinational.flip_flops, combinational.luts) == (0, 0, costs.luts)
    assert "clk" not in "".join(combinational.sources.values()) and not combinational.constraints
    assert "create_clock -period 5 " in rtl.constraints


@pytest.mark.parametrize("name", ["../../etc", "module", "8 bits", "größe", "", "a" * 200, "x;$finish"])
def test_any_name_becomes_an_identifier(name: str) -> None:
    found = module_name(name)
    assert found.isascii() and found.isidentifier() and found[0].isalpha() and "__" not in found and len(found) < 100
    network, _ = small_layer(2, 1)
    rtl = rtl_of(traced(network), network, RtlOptions(name=name))
    assert all(Path(own).name == own for own in rtl.sources)
    assert f"module {found} (" in rtl.sources[f"{found}.v"]


def test_two_circuits_share_no_module_but_those_of_the_library() -> None:
    network, _ = small_layer()
    one, two = (rtl_of(traced(network), network, RtlOptions(name=name)) for name in ("one", "two"))
    shared = set(one.sources) & set(two.sources)
    assert all(one.sources[name] == two.sources[name] for name in shared)
    assert not any("_net" in name for name in shared)


def test_a_constant_network_has_no_logic_to_write() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.zero_()
    x = torch.randn(4, 3)
    formats = {"_0": {"data_in": Integer(4, 2), "weight": Integer(4, 3), "bias": Integer(4, 2)}}
    network = integer_network(quantised(model, formats, x), x)
    with pytest.raises(CircuitError, match="output of the network is constant"):
        rtl_of(traced(network), network)


@pytest.mark.slow
def test_yosys_makes_about_as_many_luts_as_alkaid_says() -> None:
    if not has_yosys():
        pytest.skip("yosys not installed: nothing is synthesised")
    network, _ = small_layer()
    circuit = traced(network)
    rtl = rtl_of(circuit, network, RtlOptions(n_stages=0, fuses_adders=False))
    found = synthesised(rtl)
    assert 0.7 < found.luts / circuit_costs(circuit).luts < 1.4
    assert found.flip_flops == 0


def test_a_missing_simulator_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    network, _ = small_layer()
    with pytest.raises(CircuitError, match=r"needs verilator, g\+\+, make"):
        simulated(rtl_of(traced(network), network), tmp_path)
