"""The exporter `hls4ml`: a project for high-level synthesis, verified by compiling and running it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt

from chop.circuits.facts import CLOCK_PERIOD
from chop.errors import ExportError
from chop.exporters.base import EXPORTERS, Check, ExportNetwork, Written
from chop.exporters.circuit_exporter import CircuitExporter
from chop.exporters.hls4ml.layers import LayerList, Project
from chop.exporters.hls4ml.project import (
    COMPILED,
    Backend,
    ProjectSettings,
    compiled,
    reuse_factors,
    write_project,
)
from chop.exporters.integer_layers import IntegerLayers
from chop.formats import Format
from chop.formats.integer import FixedPoint
from chop.nn.ops import Op
from chop.weight_transforms import format_of

USAGE = """
`firmware/{name}.cpp` is the network, `firmware/defines.h` has every type. {tool}

`bash build_lib.sh` compiles it with g++ to `firmware/{name}-chop.so`, whose function `{name}_float` takes pointers to
the input and to the output of one sample (float32).

The test bench `{name}_test.cpp` reads the first {samples} test samples, and the outputs that are due for them, from
`tb_data`.

The input is `({inputs})`{turned}; the output is `({outputs})`.
"""
BENCH_SAMPLES = 100
"""Test samples that the project's own test bench runs on."""

NOT_COMPILED = "the project was not compiled and run (verify = false)"
ANOTHER_EXPORT = "export it to verilog or onnx"
WITHOUT_LAYER = {
    "relu6": "use a ReLU, whose format saturates",
    **dict.fromkeys(("conv3d", "max_pool3d", "avg_pool3d", "adaptive_avg_pool3d", "batch_norm3d"), ANOTHER_EXPORT),
}
"""Operations that a circuit may have and hls4ml has not, with the cure."""

SYNTHESIS = {
    "Vitis": "Synthesis, with Vitis HLS on the path: `vitis-run --mode hls --tcl build_prj.tcl`.",
    "Vivado": "Synthesis, with Vivado HLS on the path: `vivado_hls -f build_prj.tcl`.",
    "Quartus": "Synthesis, with Intel's i++ on the path: `make`.",
    "oneAPI": "Synthesis, with Intel's oneAPI on the path: `cmake -B build && make -C build report`.",
}


@dataclass(frozen=True)
class Hls4mlOptions:
    """The options of the exporter `hls4ml`.

    - `backend`: the tools that the project is for.
    - `io_type`: `io_parallel` takes all elements at once, `io_stream` one pixel after the other.
    - `strategy`: `Latency` gives every product a multiplier, `Resource` shares them.
    - `reuse_factor`: how often a multiplier is used for one sample (with `Resource`: at most, see the manifest).
    - `part`: the FPGA; None: hls4ml's default for the backend. `clock_period`: nanoseconds.
    - `verify`: compile the project and compare all outputs. `false` where there is no compiler for it.
    """

    backend: Backend = "Vitis"
    io_type: Literal["io_parallel", "io_stream"] = "io_parallel"
    strategy: Literal["Latency", "Resource"] = "Latency"
    reuse_factor: Annotated[int, Ge(1)] = 1
    part: str | None = None
    clock_period: Annotated[float, Gt(0)] = CLOCK_PERIOD
    verify: bool = True


@EXPORTERS.register("hls4ml")
class Hls4ml(CircuitExporter):
    """A C++ project by hls4ml, with the types of inputs, weights, sums and results that the plan implies.

    Rounding is RND_CONV and saturation SAT, as in the formats, and only where a bit is lost.
    """

    Options = Hls4mlOptions
    extra = "fpga"
    modules = ("hls4ml",)
    distributions = ("hls4ml",)
    starts_in_float = False

    @classmethod
    def format_problem(cls, op: Op, operand: str, chosen: Format | None) -> str | None:
        """The problem of a format that circuits support and hls4ml does not; None if there is none."""
        if op.name in WITHOUT_LAYER:
            return f"hls4ml has no layer for '{op.name}'; {WITHOUT_LAYER[op.name]}"
        own = format_of(chosen)
        if (
            operand not in op.params
            and isinstance(own, FixedPoint)
            and (own.granularity != "tensor" or len(own.fractions) > 1)
        ):
            return f'hls4ml has one type for all elements of {operand}; choose {operand}_granularity = "tensor"'
        return None

    def problems(self, network: ExportNetwork) -> list[str]:
        """All reasons by node: what has no integer form, what hls4ml has no layer for; and a missing compiler."""
        try:
            layers = IntegerLayers.of(network)
        except ExportError as error:
            return list(error.problems)
        return layers.input_problems() or self._listed(layers).problems + self._tool_problems()

    def _tool_problems(self) -> list[str]:
        backend, not_verified = self.options.backend, "or write the project without: verify = false"
        if not self.options.verify:
            return []
        if backend not in COMPILED:
            return [
                f"backend {backend}: its projects need Intel's compiler, and cannot be verified here; {not_verified}"
            ]
        if shutil.which("g++") is None:
            return [
                f"g++ is missing, which compiles the project to verify it; install it (apt install g++), {not_verified}"
            ]
        return []

    def write(self, network: ExportNetwork, folder: Path) -> Written:
        """Write the project."""
        layers = IntegerLayers.of(network)
        project = self._listed(layers).project
        settings = self._settings(network)
        write_project(project, settings, folder)
        self._write_samples(network, layers, project, folder)
        (shape,) = layers.inputs.values()
        is_turned = project.input.is_reordered
        text = USAGE.format(
            name=settings.name,
            samples=BENCH_SAMPLES,
            tool=SYNTHESIS[settings.backend],
            inputs=_listed(project.input.shape),
            turned=f", channels last (the model takes {_listed(shape)})" if is_turned else "",
            outputs=_listed(project.output.shape),
        )
        facts: dict[str, Any] = {
            "types": {name: {k: str(v) for k, v in own.items()} for name, own in project.types.items()}
        }
        if reused := reuse_factors(project, settings):
            facts["reuse_factors"] = reused
        return Written(facts, text, layers.wide_sums())

    def not_verified(self) -> str | None:
        """Not compiled, by `verify = false`."""
        return None if self.options.verify else NOT_COMPILED

    def checks(self, network: ExportNetwork, folder: Path) -> Iterator[Check]:
        """Compile the project and run it.

        Where float32 does not hold the sums, the project must equal the network in integers.
        """
        layers = IntegerLayers.of(network)
        project = self._listed(layers).project
        name = self._settings(network).name
        tool, is_wide = f"hls4ml, {self.options.backend}, compiled with g++", bool(layers.wide_sums())
        with compiled(folder, name, project.input.order.size, project.output.order.size) as run:
            done = [
                (x, project.output.as_ours(run(project.input.as_held(layers.input_of(x)))), wanted)
                for x, wanted in network.predictions()
            ]
        yield Check.of(tool, ((found, wanted) for _, found, wanted in done), required=not is_wide)
        if is_wide:
            exact = ((found, layers.network(x).astype(np.float32).astype(np.float64)) for x, found, _ in done)
            yield Check.of(f"{tool}, against the network in integers", exact)

    def _write_samples(self, network: ExportNetwork, layers: IntegerLayers, project: Project, folder: Path) -> None:
        """Write test samples, and the outputs that are due for them, for the test bench of the project."""
        pairs = [(layers.input_of(x), wanted) for x, wanted in network.predictions(samples=BENCH_SAMPLES)]
        held = project.input.as_held(np.concatenate([x for x, _ in pairs]))
        due = project.output.as_held(np.concatenate([wanted for _, wanted in pairs]))
        for name, values in (("tb_input_features", held), ("tb_output_predictions", due)):
            np.savetxt(folder / "tb_data" / f"{name}.dat", values, "%.9g")

    def _listed(self, layers: IntegerLayers) -> LayerList:
        return LayerList(layers, self.options.io_type, self.options.backend)

    def _settings(self, network: ExportNetwork) -> ProjectSettings:
        own = self.options
        return ProjectSettings(
            f"{network.name}_net", own.backend, own.io_type, own.strategy, own.reuse_factor, own.part, own.clock_period
        )


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
