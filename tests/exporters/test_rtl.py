"""The exporters `verilog` and `vhdl`, verified by alkaid's interpreter, and by simulators where there are some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import nn

from chop.circuits.rtl import Rtl, Simulation, missing_programs
from chop.errors import ExportError
from chop.exporters import EXPORTERS, ExportNetwork, export
from chop.exporters import rtl as exporters
from chop.ir import MaseGraph
from chop.models import get_model
from chop.passes.graph.transforms.quantize import quantize_transform_pass
from chop.testing.exporters import EXPORTABLE, ExporterConformance, FewSamples

QUICK = {"simulates": False}


class TestRtl(ExporterConformance):
    exporters: ClassVar = (("verilog", QUICK), ("vhdl", QUICK), ("vhdl", {**QUICK, "n_stages": 0}))
    refused: ClassVar = {"by": "type"}


def network() -> ExportNetwork:
    return TestRtl().network()


@pytest.mark.parametrize("to", [pytest.param("verilog", marks=pytest.mark.slow), "vhdl"])
def test_a_simulator_verifies_what_was_written(to: Any, tmp_path: Path) -> None:
    if missing := missing_programs(to):
        pytest.skip(f"{', '.join(missing)} not installed: {to} is not simulated")
    found = export(network(), to, tmp_path / "out")
    assert [check.differing for check in found.checks] == [0, 0]
    assert found.checks[1].tool.startswith({"verilog": "Verilator", "vhdl": "GHDL"}[to])
    assert not found.written.notes


def test_what_was_not_simulated_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporters, "missing_programs", lambda language: ("verilator",))
    found = export(network(), "verilog", tmp_path / "out")
    assert [check.tool for check in found.checks] == ["alkaid's integer interpreter"]
    (note,) = found.written.notes
    assert "was not simulated (not installed: verilator)" in note
    assert note in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_a_simulation_is_announced_with_the_option_that_leaves_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Compiling takes minutes: what runs is said before it starts."""
    told_before: list[str] = []

    def simulated(rtl: Rtl, folder: Path) -> Simulation:
        told_before.append(caplog.text)
        return Simulation("Verilator 5", outputs=10, differing=0)

    monkeypatch.setattr(exporters, "missing_programs", lambda language: ())
    monkeypatch.setattr(exporters, "simulated", simulated)
    with caplog.at_level("INFO", logger="chop"):
        export(network(), "verilog", tmp_path / "out")
    assert "verilator compiles the circuit" in told_before[0] and "--set simulates=false" in told_before[0]
    caplog.clear()
    export(network(), "verilog", tmp_path / "out", QUICK)
    assert "compiles" not in caplog.text and len(told_before) == 1


def test_manifest_and_readme_say_ports_and_latency(tmp_path: Path) -> None:
    options = {**QUICK, "n_stages": 4, "clock_period": 2.5, "name": "../my net"}
    found = export(network(), "verilog", tmp_path / "out", options)
    facts = json.loads((found.folder / "manifest.json").read_text(encoding="utf-8"))["facts"]
    assert (facts["top"], facts["cycles"], facts["latency_ns"]) == ("my_net_net", 4, 10.0)
    assert found.written.notes[0].startswith("the top module is called my_net_net: name = '../my net' is no plain name")
    (port,) = facts["inputs"]
    assert (port["bits"], port["frac"], port["shape"]) == (6, 3, [16])
    assert port["rounding"] == {"rounds": "half to even", "frac": 3, "low": -32, "high": 31}
    readme = (found.folder / "README.md").read_text(encoding="utf-8")
    assert "4 cycles after the edge" in readme and "10 ns at a clock of 2.5 ns" in readme
    assert "| `x` | 96 | 16 | 6, two's complement | 2^-3 |" in readme
    assert {p.name for p in tmp_path.rglob("*.hex")} == {"inputs.hex", "outputs.hex"}
    assert facts["luts_as_written"] <= facts["luts"]


def test_sums_that_float32_rounds_are_compared_in_integers(tmp_path: Path) -> None:
    wide = {"data_in_width": 16, "data_in_frac_width": 12, "weight_width": 16, "weight_frac_width": 15}
    layer = {"name": "integer", **wide, "bias_width": 16, "bias_frac_width": 12}
    config = {**TestRtl.config, "linear": {"config": layer}}
    found = export(TestRtl.network_with(json.dumps(config)), "verilog", tmp_path / "out", QUICK)
    check, in_integers = found.checks
    assert (in_integers.differing, in_integers.required) == (0, True)
    assert check.differing > 0 and check.largest < 1e-5 and not check.required
    assert "which float32 rounds" in found.written.notes[1]


def test_norms_in_float_are_refused_with_the_passes_that_help(tmp_path: Path) -> None:
    data = FewSamples("jsc", batch_size=32)
    data.prepare_data()
    data.setup()
    graph, _ = quantize_transform_pass(MaseGraph(get_model("jsc-toy", pretrained=True)), dict(EXPORTABLE))
    graph.model.eval()
    with pytest.raises(ExportError, match="fold_batch_norm") as caught:
        export(ExportNetwork(graph, data, {"model": "jsc-toy"}), "verilog", tmp_path / "out")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [f"seq_blocks_{n}" for n in (0, 3, 6, 9)]
    assert list(tmp_path.iterdir()) == []


def test_a_constant_network_is_refused(tmp_path: Path) -> None:
    own = network()
    graph = MaseGraph(nn.Sequential(nn.Linear(16, 5)), example_inputs=own.example())
    nn.init.zeros_(graph.model.get_submodule("0").weight)
    graph, _ = quantize_transform_pass(graph, dict(EXPORTABLE))
    graph.model.eval()
    problems = EXPORTERS["verilog"]().problems(ExportNetwork(graph, own.data))
    (told,) = problems
    assert told.startswith("output: it is the same for all inputs: weights are all zero, or ranges too small")


def test_a_network_of_too_many_luts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export(network(), "verilog", tmp_path / "out", {"most_luts": 100})
    assert caught.value.problems[0].startswith("the whole network: about ")
    assert "more than most_luts = 100" in caught.value.problems[0]


@pytest.mark.parametrize("options", [{"clock_period": 0}, {"n_stages": -1}, {"latency_cutoff": "slow"}])
def test_wrong_options_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=next(iter(options))):
        export(network(), "verilog", tmp_path / "out", options)
