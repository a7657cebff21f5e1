"""The exporter `hls4ml`: a project for high-level synthesis, verified by compiling and running it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from chop.circuits.facts import CLOCK_PERIOD
from chop.errors import ExportError
from chop.exporters.base import EXPORTERS, Check, ExportNetwork, Written
from chop.exporters.circuit_exporter import CircuitExporter
from chop.exporters.hls4ml.layers import Held, LayerList
from chop.exporters.hls4ml.project import (
    COMPILED,
    Backend,
    ProjectSettings,
    Run,
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

The input is `({inputs})`{turned}; the output is `({outputs})`.
"""
NOT_COMPILED = "The project was not compiled (verify = false): only the integers that its types hold were compared."
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
        """What circuits have, and hls4ml has not: one type for each result, and no clamps."""
        if op.name in WITHOUT_LAYER:
            return f"hls4ml has no layer for '{op.name}'; {WITHOUT_LAYER[op.name]}"
        own = format_of(chosen)
        if (
            operand not in op.params
            and isinstance(own, FixedPoint)
            and (own.granularity != "tensor" or len(own.fractions) > 1)
        ):
            return f'hls4ml has one type for all elements of {operand}; choose granularity = "tensor"'
        return None

    def problems(self, network: ExportNetwork) -> list[str]:
        """All reasons by node: what has no integer form, what hls4ml has no layer for; and a missing compiler."""
        try:
            layers = IntegerLayers.of(network)
        except ExportError as error:
            return list(error.problems)
        return layers.input_problems() or LayerList(layers, self.options.io_type).problems + self._tool_problems()

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
        project = LayerList(layers, self.options.io_type).project
        settings = self._settings(network)
        write_project(project, settings, folder)
        assert project.input is not None and project.output is not None
        (shape,) = layers.inputs.values()
        turned = ", channels last" if not _is_plain(project.input) else ""
        text = USAGE.format(
            name=settings.name,
            tool=SYNTHESIS[settings.backend],
            inputs=_listed(project.input.shape),
            turned=f"{turned} (the model takes {_listed(shape)})" if turned else "",
            outputs=_listed(project.output.shape),
        )
        facts: dict[str, Any] = {
            "types": {name: {k: str(v) for k, v in own.items()} for name, own in project.types.items()}
        }
        if reused := reuse_factors(project, settings):
            facts["reuse_factors"] = reused
        notes = () if self.options.verify else (NOT_COMPILED,)
        return Written(facts, text, notes + layers.wide_sums())

    def checks(self, network: ExportNetwork, folder: Path) -> Iterator[Check]:
        """Compile the project and run it; or, with `verify = false`, run the integers that its types hold."""
        layers = IntegerLayers.of(network)
        if not self.options.verify:
            pairs = ((layers.network(x), wanted) for x, wanted in network.predictions())
            yield Check.of("integer network (the project was not compiled)", pairs)
            return
        project = LayerList(layers, self.options.io_type).project
        source, result = project.input, project.output
        assert source is not None and result is not None
        name = self._settings(network).name
        with compiled(folder, name, prod(source.shape), prod(result.shape)) as run:
            tool = f"hls4ml, {self.options.backend}, compiled with g++"
            yield Check.of(
                tool, ((_run(run, layers, x, source, result), wanted) for x, wanted in network.predictions())
            )

    def _settings(self, network: ExportNetwork) -> ProjectSettings:
        own = self.options
        return ProjectSettings(
            f"{network.name}_net", own.backend, own.io_type, own.strategy, own.reuse_factor, own.part, own.clock_period
        )


def _run(run: Run, layers: IntegerLayers, x: Any, source: Held, result: Held) -> NDArray[np.float64]:
    """The outputs of the compiled project for the model's input `x`, in the order that the network has."""
    given = layers.input_of(x)
    found = run(given.reshape(len(given), -1)[:, source.order])
    ordered = np.empty_like(found)
    ordered[:, result.order] = found
    return ordered


def _is_plain(held: Held) -> bool:
    """Whether elements lie as in the network."""
    return bool(np.array_equal(held.order, np.arange(held.order.size)))


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
