"""Writes a project with hls4ml, compiles a copy of it with g++, and runs that on samples."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray

from chop.errors import ExportError
from chop.exporters.hls4ml.layers import Project

CONFIG = "hls4ml_config.yml"
STAMP = "chop"
"""The suffix of compiled libraries; hls4ml would draw one at random, and no two exports would be equal."""

Run = Callable[[NDArray[np.float32]], NDArray[np.float64]]
Backend = Literal["Vitis", "Vivado", "oneAPI", "Quartus"]
COMPILED = ("Vitis", "Vivado", "Quartus")
"""Backends whose projects g++ compiles; oneAPI's need Intel's compiler."""


@dataclass(frozen=True)
class ProjectSettings:
    """The settings of hls4ml other than layers and types."""

    name: str
    backend: Backend
    io_type: str
    strategy: str
    reuse_factor: int
    part: str | None
    clock_period: float


def write_project(project: Project, settings: ProjectSettings, folder: Path) -> None:
    """Write the files of a project into a folder; none of them names the folder."""
    with quiet_hls4ml() as hls4ml:
        layers = [dict(layer) for layer in project.layers]
        graph = hls4ml.model.ModelGraph.from_layer_list(_config(project, settings, folder, hls4ml), layers)
        graph.write()
    stamp = graph.config.get_config_value("Stamp")
    for path in folder.rglob("*"):
        if path.is_file():
            quoted = {f"'{stamp}'": STAMP} if path.name == CONFIG else {}  # YAML quotes one that looks like a number
            _replace_in(path, {str(folder): ".", **quoted, stamp: STAMP})


def reuse_factors(project: Project, settings: ProjectSettings) -> dict[str, int]:
    """How often each layer that shares its multipliers uses one of them.

    It is the greatest number within `settings.reuse_factor` that divides the layer's products as hls4ml's code needs
    it.
    """
    if settings.strategy != "Resource":
        return {}
    found = {}
    for layer in project.layers:
        if "weight_data" in layer:
            *ins, outputs = layer["weight_data"].shape
            found[layer["name"]] = _divisor(prod(ins), outputs, settings.reuse_factor, layer["class_name"] == "Dense")
    return found


def _divisor(inputs: int, outputs: int, wanted: int, is_dense: bool) -> int:
    """A divisor of the inputs, or, where a dense layer has fewer than `wanted`, all of them for some outputs."""
    if is_dense and wanted > inputs:
        return inputs * next(own for own in range(min(wanted // inputs, outputs), 0, -1) if outputs % own == 0)
    return next(own for own in range(min(wanted, inputs), 0, -1) if inputs % own == 0)


def _replace_in(path: Path, texts: dict[str, str]) -> None:
    content = path.read_bytes()
    changed = content
    for old, new in texts.items():
        changed = changed.replace(old.encode(), new.encode())
    if changed != content:
        path.write_bytes(changed)


def _config(project: Project, settings: ProjectSettings, folder: Path, hls4ml: Any) -> dict[str, Any]:
    backend = hls4ml.backends.get_backend(settings.backend)
    config = backend.create_initial_config(
        **({} if settings.part is None else {"part": settings.part}),
        clock_period=settings.clock_period,
        io_type=settings.io_type,
    )
    common = {"Strategy": settings.strategy, "ReuseFactor": settings.reuse_factor}
    reused = reuse_factors(project, settings)
    by_name = {
        name: {
            "Precision": {operand: str(own) for operand, own in types.items()},
            **common,
            **({"ReuseFactor": reused[name]} if name in reused else {}),
        }
        for name, types in project.types.items()
    }
    return {
        **config,
        "OutputDir": str(folder),
        "ProjectName": settings.name,
        "Backend": settings.backend,
        "HLSConfig": {"Model": {"Precision": "fixed<16,6>", **common}, "LayerName": by_name},
    }


@contextmanager
def quiet_hls4ml() -> Iterator[Any]:
    """hls4ml, without what it prints; raises ExportError for what it refuses."""
    with catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        simplefilter("ignore")
        import hls4ml

        try:
            yield hls4ml
        except Exception as error:
            raise ExportError(f"hls4ml refuses the network: {error}") from error


MAIN = """#include <cstdio>
#include <vector>
extern "C" void {name}_float(float *, float *);
int main() {{
    std::vector<float> sample({inputs}), result({outputs});
    while (fread(sample.data(), sizeof(float), {inputs}, stdin) == {inputs}) {{
        {name}_float(sample.data(), result.data());
        fwrite(result.data(), sizeof(float), {outputs}, stdout);
    }}
}}
"""
"""Runs a compiled project on samples; a program of its own, because hls4ml's code stops the process by assertions."""


@contextmanager
def compiled(folder: Path, name: str, inputs: int, outputs: int) -> Iterator[Run]:
    """A function of float32 samples `(samples, inputs)` that runs a copy of a project, compiled with g++.

    Raises ExportError with g++'s messages where it does not compile; the function does where the program stops.
    """
    with TemporaryDirectory(prefix="chop_hls4ml_") as beside:
        copy = Path(beside) / "project"
        shutil.copytree(folder, copy)
        _compile(["bash", "build_lib.sh"], copy)
        (copy / "main.cpp").write_text(MAIN.format(name=name, inputs=inputs, outputs=outputs), encoding="utf-8")
        _compile(["g++", "-O1", "main.cpp", f"firmware/{name}-{STAMP}.so", "-Wl,-rpath,.", "-o", "main"], copy)

        def run(x: NDArray[np.float32]) -> NDArray[np.float64]:
            given = np.ascontiguousarray(x, np.float32)
            done = subprocess.run(["./main"], cwd=copy, input=given.tobytes(), capture_output=True, check=False)
            if done.returncode:
                told = done.stderr.decode(errors="replace").strip()
                raise ExportError(f"the compiled project stopped: {told or f'exit status {done.returncode}'}")
            return np.frombuffer(done.stdout, np.float32).reshape(len(x), outputs).astype(np.float64)

        yield run


def _compile(command: list[str], folder: Path) -> None:
    built = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if built.returncode:
        errors = [line for line in built.stderr.splitlines() if "error" in line] or built.stderr.splitlines()
        raise ExportError("g++ did not compile the project:", errors[:5])
