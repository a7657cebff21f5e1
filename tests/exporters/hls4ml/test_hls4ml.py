"""Projects of hls4ml compute what the network computes; g++ compiles them, which takes 5 to 10 s of CPU each."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tests.circuits.networks import LAYER, WIDTHS, drawn, learned, one_layer, quantised
from tests.exporters.hls4ml.networks import averages, images, sequences
from tests.exporters.networks import bundled_network, of_graph, own_network
from torch import nn

from chop.circuits.stages import Round
from chop.circuits.values import Range, Values
from chop.errors import CircuitError, ExportError
from chop.exporters import EXPORTERS, ExportNetwork, export
from chop.formats import Binary, Format
from chop.formats.grid import Grid
from chop.formats.integer import Integer, IntegerFloor
from chop.formats.scale_integer import ScaleInteger
from chop.nn.ops import op_of_function
from chop.testing.exporters import ExporterConformance
from chop.weight_transforms import Chain, Sparsity

pytest.importorskip("hls4ml", reason="the package hls4ml is not installed")

from chop.exporters.hls4ml import layers
from chop.exporters.hls4ml.exporter import Hls4ml
from chop.exporters.hls4ml.types import FixedType, type_of_range, type_of_rounding

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed: nothing is compiled")
NOT_COMPILED = {"verify": False}


class TestHls4ml(ExporterConformance):
    exporters: ClassVar = (("hls4ml", NOT_COMPILED), ("hls4ml", {**NOT_COMPILED, "backend": "oneAPI"}))
    refused: ClassVar = {"by": "type"}


@pytest.mark.slow
@needs_compiler
class TestCompiled(ExporterConformance):
    exporters: ClassVar = ("hls4ml",)
    refused: ClassVar = {"by": "type"}


def compiled(network: ExportNetwork, folder: Path, **options: Any) -> dict[str, dict[str, str]]:
    """Export and compile a network, which must be exact; the types of its layers."""
    found = export(network, "hls4ml", folder / "out", options)
    assert [(check.tool.split(",")[0], check.differing) for check in found.checks] == [("hls4ml", 0)]
    own: dict[str, dict[str, str]] = found.written.facts["types"]
    return own


def written(network: ExportNetwork, folder: Path) -> dict[str, dict[str, str]]:
    """Export a network without compiling it; the types of its layers."""
    own: dict[str, dict[str, str]] = export(network, "hls4ml", folder / "out", NOT_COMPILED).written.facts["types"]
    return own


@needs_compiler
@pytest.mark.parametrize("name", ["jsc-tiny", *(pytest.param(own, marks=pytest.mark.slow) for own in list(WIDTHS)[1:])])
def test_bundled_networks_differ_in_no_output_of_the_test_set(name: str, tmp_path: Path) -> None:
    compiled(bundled_network(name), tmp_path)


@needs_compiler
def test_norms_strides_padding_groups_dilation_and_pooling_are_exact(tmp_path: Path) -> None:
    compiled(images(), tmp_path)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    ("network", "options"),
    [
        *((averages, {"backend": own}) for own in ("Vitis", "Vivado", "Quartus")),
        (averages, {"io_type": "io_stream"}),
        (sequences, {}),
        (sequences, {"io_type": "io_stream"}),
        (lambda: own_network("tokens"), {"strategy": "Resource", "reuse_factor": 2}),
        (lambda: own_network("tokens"), {"backend": "Vivado"}),
        (sequences, {"backend": "Quartus"}),
        (lambda: bundled_network("shapes-cnn"), {"io_type": "io_stream"}),
        (lambda: bundled_network("toy"), {"io_type": "io_stream", "part": "xc7z020clg400-1", "clock_period": 8.0}),
    ],
    ids=str,
)
def test_options_are_exact(network: Any, options: dict[str, Any], tmp_path: Path) -> None:
    compiled(network(), tmp_path, **options)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    "formats",
    [
        {"data_in": IntegerFloor(5, 2)},
        {"data_in": Integer(5, 2, is_signed=False)},
        {"data_in": Integer(2, 0)},
        {"data_in": Integer(3, -2), "data_out": Integer(4, 0)},
        {"data_in": Integer(8, 12)},
        {"weight": Integer(4, (1, 3, 2), channel_axis=0)},
        {"weight": learned([2, 3, 1, 0], [3, 4, 0, 1])},
        {"weight": Chain((Sparsity(0.5),), Integer(4, 3))},
        {"weight": Binary()},
    ],
    ids=str,
)
def test_formats_are_exact(formats: dict[str, Format], tmp_path: Path) -> None:
    graph, x = one_layer(**formats)
    compiled(of_graph(graph, x), tmp_path)


def test_types_are_those_of_the_plan_and_of_exact_ranges(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        for layer, weight, bias in (
            (model[0], [[1.5, -0.5], [0.25, 0.0]], [0.5, -4.0]),
            (model[2], [[1.0, 1.0]], [0.0]),
        ):
            layer.weight[:], layer.bias[:] = torch.tensor(weight), torch.tensor(bias)
    x = drawn(40, 2)
    plan = {"_0": {"data_in": Integer(4, 1), "weight": Integer(5, 2), "bias": Integer(5, 1)}}
    plan["_2"] = {"data_in": Integer(3, 0), "weight": Integer(4, 1), "bias": Integer(4, 1)}
    found = written(of_graph(quantised(model, plan, x), x), tmp_path)
    assert found["network_input"] == {"result": "fixed<4,3,RND_CONV,SAT>"}
    # 1.5 a - 0.5 b + 0.5 lies in -7.25 … 7.75, in steps of 1/4; 0.25 a - 4 in -5 … -3.125, in steps of 1/8
    assert found["_0"]["weight"] == "fixed<4,2>"
    assert found["_0"]["bias"] == "fixed<4,3>"  # codes 1 and -8 in steps of 1/2
    assert found["_0"]["accum"] == found["_0"]["result"] == "fixed<7,4>"
    # a ReLU: never negative; 7.75 rounds to 8, which 3 bits with a sign cut to 3
    assert found["_2_in"] == {"result": "ufixed<2,2,RND_CONV,SAT>"}
    assert found["_2"]["accum"] == "ufixed<2,2>"  # the second neuron is never above 0


def test_sums_of_averages_have_room_for_all_their_terms(tmp_path: Path) -> None:
    found = written(averages(), tmp_path)
    # 4 values from 0 to 3.5 in steps of 1/2: sums up to 14, averages in steps of 1/8
    assert found["_2_in"]["result"] == "ufixed<3,2,RND_CONV,SAT>"
    assert found["_2"]["accum"] == "ufixed<7,4>"
    # from -3.375 to 3.375 in steps of 1/8, 2 bits more in front and behind
    assert (found["_3"]["result"], found["_4"]["accum"]) == ("fixed<6,3>", "fixed<10,5>")


def test_a_rounding_takes_only_what_it_needs() -> None:
    source = Range(np.array([0]), np.array([24]), 3, np.array([0]))  # 0 … 3 in steps of 1/8
    within = Range(np.array([0]), np.array([12]), 2, np.array([0]))
    made = [
        type_of_rounding(Grid.of(2, -32, 31), source, within, False),
        type_of_rounding(Grid.of(2, -32, 31, rounds_down=True), source, within, False),
        type_of_rounding(Grid.of(3, -128, 127), source, source, False),
        type_of_rounding(Grid.of(2, -8, 7), source, within, False),
        type_of_rounding(Grid.of(2, -7, 7), None, within, False),
    ]
    assert [*map(str, made)] == [
        "ufixed<4,2,RND_CONV>",
        "ufixed<4,2,TRN>",
        "ufixed<5,2>",
        "fixed<4,2,RND_CONV,SAT>",
        "fixed<4,2,RND_CONV,SAT_SYM>",
    ]
    with pytest.raises(CircuitError, match="zero point"):
        type_of_rounding(Grid.of(2, -3, 12), None, within, False)
    with pytest.raises(CircuitError, match='granularity = "tensor"'):
        type_of_rounding(Grid.of([1, 2], -8, 7), None, within, False)


def put_into(codes: np.ndarray, frac: int, kind: FixedType) -> np.ndarray:
    """Values as a type of `ap_fixed` holds them, by the rules of its documentation."""
    scaled = codes * 2.0 ** (kind.frac - frac)
    whole = np.rint(scaled) if kind.rounding == "RND_CONV" else np.floor(scaled)
    low, high = (-(2 ** (kind.bits - 1)), 2 ** (kind.bits - 1) - 1) if kind.is_signed else (0, 2**kind.bits - 1)
    if kind.saturation:
        clamped = np.clip(whole, -high if kind.saturation == "SAT_SYM" and kind.is_signed else low, high)
    else:
        clamped = (whole - low) % 2**kind.bits + low
    return clamped * 2.0**-kind.frac


@pytest.mark.parametrize("is_relu", [False, True])
def test_every_value_of_a_range_is_rounded_as_the_format_rounds(is_relu: bool) -> None:
    """Drawn formats and ranges; what an element never is plays no part."""
    random, kept = np.random.default_rng(7), 0
    for _ in range(400):
        low, high = sorted(random.integers(-200, 200, 2).tolist())
        frac, width = int(random.integers(-2, 7)), int(random.integers(2, 9))
        ends = [
            (-(2 ** (width - 1)), 2 ** (width - 1) - 1),
            (0, 2**width - 1),
            (1 - 2 ** (width - 1), 2 ** (width - 1) - 1),
        ]
        grid = Grid.of(int(random.integers(-2, 6)), *ends[random.integers(3)], rounds_down=bool(random.integers(2)))
        stage, source = Round("y", ("x",), (1,), grid, is_relu), Range(*np.array([[low], [high]]), frac, np.array([0]))
        codes = np.arange(low, high + 1)[:, None]
        try:
            kind = type_of_rounding(grid, source, stage.range_of(source), is_relu)
        except CircuitError:
            continue
        kept += 1
        given = np.maximum(codes, 0) if is_relu else codes
        assert np.array_equal(put_into(given, frac, kind), stage.run(Values(codes, frac)).as_float()), (
            grid,
            source,
            kind,
        )
    assert kept > 300


def test_a_least_type_is_read_from_codes_and_their_last_zeros() -> None:
    for low, high, frac, zeros, text in (
        (-4, 3, 0, 0, "fixed<3,3>"),
        (0, 12, 2, 2, "ufixed<2,2>"),
        (-1, 0, 0, 0, "fixed<1,1>"),
        (0, 3, 6, 0, "ufixed<2,-4>"),
        (0, 24, -2, 3, "ufixed<2,7>"),
        (0, 0, 0, 63, "ufixed<1,1>"),
    ):
        own = Range(np.array([low]), np.array([high]), frac, np.array([zeros]))
        assert str(type_of_range(own)) == text


def test_all_reasons_are_given_by_layer_before_anything_is_written(tmp_path: Path) -> None:
    for network, told in (
        (own_network("residual"), ["relu6"]),
        (own_network("images"), ["hardtanh"]),
        (of_graph(*one_layer(data_in=Integer(4, (1, 3, 0, -1), channel_axis=-1))), ["_2_in"]),
        (of_graph(*one_layer(data_in=ScaleInteger(width=5, scale=(0.125,), zero_point=(3,)))), ["_2_in"]),
        (of_graph(*one_layer(data_in=Integer(1, 0))), ["_2_in"]),  # holds -1 and 0, behind a ReLU
    ):
        with pytest.raises(ExportError) as caught:
            export(network, "hls4ml", tmp_path / "out", NOT_COMPILED)
        assert [problem.split(":")[0] for problem in caught.value.problems] == told
    with pytest.raises(ExportError, match="io_parallel"):
        export(images(), "hls4ml", tmp_path / "out", {**NOT_COMPILED, "io_type": "io_stream"})
    x = drawn(20, 6)
    with pytest.raises(ExportError, match="absorb_batch_norm"):
        model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2)).eval()
        export(of_graph(quantised(model, {"_1": LAYER}, x), x), "hls4ml", tmp_path / "out", NOT_COMPILED)
    assert list(tmp_path.iterdir()) == []


def test_two_formats_of_one_input_are_refused(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.first(x) + self.second(x)  # type: ignore[no-any-return]

    x = drawn(20, 3)
    formats = {"first": LAYER, "second": {**LAYER, "data_in": Integer(4, 2)}}
    with pytest.raises(ExportError, match="first_in, second_in: the input is rounded to several formats"):
        export(of_graph(quantised(Two(), formats, x), x), "hls4ml", tmp_path / "out", NOT_COMPILED)


def test_without_a_compiler_nothing_is_written_unless_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    network = bundled_network("jsc-tiny")
    with pytest.raises(ExportError, match=r"g\+\+ is missing.*verify = false"):
        export(network, "hls4ml", tmp_path / "out")
    with pytest.raises(ExportError, match="Intel's compiler"):
        export(network, "hls4ml", tmp_path / "out", {"backend": "oneAPI"})
    told: list[str] = []
    found = export(network, "hls4ml", tmp_path / "out", NOT_COMPILED, report=told.append)
    assert (found.checks, found.is_exact) == ((), False)
    assert told == ["not verified: the project was not compiled and run (verify = false)"]
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "## Not verified\n\nThe project was not compiled and run (verify = false).\n" in readme
    assert "differ" not in readme
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["options"]["verify"] is False
    assert (manifest["checks"], manifest["not_verified"]) == ([], found.not_verified)


def test_two_exports_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for stamp in ("12345678", "1e345678", "a2345678"):  # YAML quotes those that look like numbers
        drawn = uuid.UUID(f"12345678-1234-4234-8234-1234{stamp}")
        monkeypatch.setattr(uuid, "uuid4", lambda drawn=drawn: drawn)
        made.append(export(images(), "hls4ml", tmp_path / stamp, NOT_COMPILED).folder)
    one, two, three = (json.loads((own / "manifest.json").read_text(encoding="utf-8"))["files"] for own in made)
    assert one == two == three


def test_the_test_bench_has_samples_channels_last(tmp_path: Path) -> None:
    network = images()
    folder = export(network, "hls4ml", tmp_path / "out", NOT_COMPILED).folder
    given, due = (
        np.loadtxt(folder / "tb_data" / f"tb_{name}.dat") for name in ("input_features", "output_predictions")
    )
    x = np.concatenate([own.numpy() for own, _ in network.predictions()])
    assert np.array_equal(given.astype(np.float32), x.transpose(0, 2, 3, 1).reshape(50, -1))
    assert np.array_equal(due, np.concatenate([wanted for _, wanted in network.predictions()]))
    assert "(9, 10, 2)`, channels last (the model takes 2, 9, 10)" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@needs_compiler
def test_the_test_bench_returns_what_is_due(tmp_path: Path) -> None:
    folder = export(sequences(), "hls4ml", tmp_path / "out", NOT_COMPILED).folder
    sources = ["own_net_test.cpp", "firmware/own_net.cpp", "-Ifirmware/ap_types", '-DWEIGHTS_DIR="firmware/weights"']
    subprocess.run(["g++", *sources, "-o", "bench"], cwd=folder, check=True, capture_output=True)
    subprocess.run(["./bench"], cwd=folder, check=True, capture_output=True)
    found = np.loadtxt(folder / "tb_data" / "csim_results.log")
    due = np.loadtxt(folder / "tb_data" / "tb_output_predictions.dat")
    assert np.allclose(found, due, rtol=1e-5)  # the bench prints six digits


@pytest.mark.slow
@needs_compiler
def test_sums_beyond_float32_equal_the_network_in_integers(tmp_path: Path) -> None:
    torch.manual_seed(5)
    x = drawn(400, 6) * 100
    wide = {"data_in": Integer(20, 10), "weight": Integer(14, 12), "bias": Integer(8, 4)}
    network = of_graph(quantised(nn.Sequential(nn.Linear(6, 3)), {"_0": wide}, x), x)
    found = export(network, "hls4ml", tmp_path / "out")
    assert [(check.required, check.differing > 0) for check in found.checks] == [(False, True), (True, False)]
    assert "float32" in " ".join(found.written.notes)


def test_options_stand_in_the_project(tmp_path: Path) -> None:
    options = {
        **NOT_COMPILED,
        "part": "xc7z020clg400-1",
        "clock_period": 8.0,
        "reuse_factor": 4,
        "strategy": "Resource",
    }
    folder = export(bundled_network("jsc-tiny"), "hls4ml", tmp_path / "out", options).folder
    project = (folder / "project.tcl").read_text(encoding="utf-8")
    assert "xc7z020clg400-1" in project
    assert "8.0" in project
    assert "reuse_factor = 4" in (folder / "firmware" / "parameters.h").read_text(encoding="utf-8")
    assert not list(folder.rglob("*.so"))


@pytest.mark.parametrize("wrong", [{"reuse_factor": 0}, {"clock_period": 0.0}, {"backend": "Vivad"}, {"io_type": "io"}])
def test_wrong_options_are_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=next(iter(wrong))):
        export(bundled_network("jsc-tiny"), "hls4ml", tmp_path / "out", wrong)


@needs_compiler
def test_a_project_with_a_wrong_type_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "type_of_rounding", lambda *own: replace(type_of_rounding(*own), rounding="TRN"))
    graph, x = one_layer()
    with pytest.raises(ExportError, match="differ"):
        export(of_graph(graph, x), "hls4ml", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_searches_leave_out_what_hls4ml_has_no_type_or_layer_for() -> None:
    assert issubclass(EXPORTERS["hls4ml"], Hls4ml)
    linear, clamp = op_of_function(nn.functional.linear), op_of_function(nn.functional.relu6)
    assert linear is not None and clamp is not None
    by_channel = Integer(4, "auto", granularity="channel", channel_axis=-1)
    assert Hls4ml.format_problem(linear, "data_in", Integer(4, "auto")) is None
    assert Hls4ml.format_problem(linear, "weight", by_channel) is None
    assert "granularity" in (Hls4ml.format_problem(linear, "data_in", by_channel) or "")
    assert "relu6" in (Hls4ml.format_problem(clamp, "data_in", None) or "")
