"""The exporter `onnx`: one file of standard operators, exact in ONNX Runtime, in the form that runs fastest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chop.errors import ChopError, ExportError
from chop.exporters.base import EXPORTERS, Check, Exporter, ExportNetwork, Written
from chop.formats import Format
from chop.nn.ops import Op

if TYPE_CHECKING:
    import onnx

    from chop.exporters.onnx.choice import Candidate
    from chop.exporters.onnx.skeleton import Skeleton

AUTO = "auto"
FILE = "network.onnx"

TOLERANCE = 1e-4
"""By how much outputs of a network whose activations are in float may differ, beside outputs of magnitude 1."""


@dataclass(frozen=True)
class OnnxOptions:
    """`form`: how roundings are written (`auto`: the fastest exact one). `weights_only`: activations stay in float."""

    form: Literal["auto", "uint8", "vnni", "smallest", "arithmetic"] = "auto"
    weights_only: bool = False


@dataclass(frozen=True)
class _Prepared:
    """The network that is written (of `given`, perhaps its weights alone), traced."""

    given: ExportNetwork
    network: ExportNetwork
    skeleton: Skeleton


@EXPORTERS.register("onnx")
class Onnx(Exporter):
    """An ONNX file of standard operators with the weights in small integer types, for ONNX Runtime and others."""

    Options = OnnxOptions
    extra = "onnx"
    modules = ("onnx", "onnxscript", "onnxruntime")
    distributions = ("onnx", "onnxscript", "onnxruntime")

    target = "onnx"

    options: OnnxOptions
    _last: _Prepared | None = None

    @classmethod
    def format_problem(cls, op: Op, operand: str, chosen: Format | None) -> str | None:
        from chop.exporters.onnx.refusal import format_problem

        return format_problem(op, operand, chosen)

    def problems(self, network: ExportNetwork) -> list[str]:
        from chop.exporters.onnx.refusal import problems_of

        found = [] if self.options.weights_only else problems_of(network)
        if found:
            return found
        try:
            self._prepared(network)
        except ChopError as error:
            return [str(error)]
        return []

    def network_of_files(self, network: ExportNetwork) -> ExportNetwork:
        """The network, or its weights alone."""
        return self._prepared(network).network if self.options.weights_only else network

    def write(self, network: ExportNetwork, folder: Path) -> Written:
        import onnx

        from chop.exporters.onnx.choice import best

        tried = self.candidates(network)
        chosen = best(tried)
        onnx.save(chosen.model, folder / FILE)
        return Written(_facts(chosen, tried), _usage(chosen.model), tuple(self._notes(network, tried)))

    def checks(self, network: ExportNetwork, folder: Path) -> Iterator[Check]:
        from chop.exporters.onnx.runtime import WAYS, feeds_of, run, session_of

        own = self._prepared(network).network
        pairs = list(own.predictions())
        model = (folder / FILE).read_bytes()
        for way in WAYS:
            session = session_of(model, way)
            found = ((run(session, feeds_of(session, own.graph, x)), wanted) for x, wanted in pairs)
            yield Check.of(way, found, tolerance=self._tolerance)

    def candidates(self, network: ExportNetwork, forms: tuple[str, ...] = ()) -> list[Candidate]:
        """The network in some forms, with differences and speeds; without `forms` in those that the options mean."""
        from chop.exporters.onnx.choice import candidates
        from chop.exporters.onnx.rounding import ANYWHERE

        own = self._prepared(network)
        meant = ANYWHERE if self.options.form == AUTO else (self.options.form,)
        return candidates(own.network, own.skeleton, forms or meant, self._tolerance)

    @property
    def _tolerance(self) -> float:
        return TOLERANCE if self.options.weights_only else 0.0

    def _prepared(self, network: ExportNetwork) -> _Prepared:
        """The traced network, made once for each graph: `about` and `scores` may differ."""
        from chop.exporters.onnx.refusal import weights_alone
        from chop.exporters.onnx.skeleton import skeleton_of

        if self._last is None or self._last.given.graph is not network.graph:
            own = weights_alone(network) if self.options.weights_only else network
            self._last = _Prepared(network, own, skeleton_of(own))
        return self._last

    def _notes(self, network: ExportNetwork, tried: list[Candidate]) -> Iterator[str]:
        from chop.exporters.onnx.exactness import inexact_sums

        if self.options.weights_only:
            yield (
                "The weights alone are quantised; activations are in float, so this is not the network that the search "
                "measured, and its scores are not stated. "
                f"Outputs are compared with the network of these weights, up to {TOLERANCE:g} of their size."
            )
        own = self._prepared(network)
        layers = (*own.skeleton.in_float, *inexact_sums(own.network.graph))
        if layers:
            yield (
                "The results of some layers do not fit float32 exactly, so their last bits depend on the library, and "
                f"with them what later layers round: {', '.join(layers)}."
            )
        if self.options.form == "vnni":
            yield "Run it on processors with VNNI (or ARM): x86 without it saturates sums of products of such bytes."
        yield from (f"The form {own.form} does not run: {own.failure}." for own in tried if own.failure)


def _facts(chosen: Candidate, tried: list[Candidate]) -> dict[str, Any]:
    """The facts of the model in the manifest: its form and speed, opset, inputs and outputs."""
    model = chosen.model
    return {
        "form": chosen.form,
        "speed_beside_float": round(chosen.speed, 3),
        "forms_tried": [
            {
                "form": own.form,
                "differing": own.differing,
                "speed_beside_float": round(own.speed, 3),
                "failure": own.failure,
            }
            for own in tried
        ],
        "opset": model.opset_import[0].version,
        "ir_version": model.ir_version,
        "inputs": {own.name: _shape(own) for own in model.graph.input},
        "outputs": {own.name: _shape(own) for own in model.graph.output},
    }


def _shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [own.dim_param or own.dim_value for own in value.type.tensor_type.shape.dim]


def _usage(model: onnx.ModelProto) -> str:
    """Three lines of Python."""
    feeds = ", ".join(f'"{own.name}": {own.name}' for own in model.graph.input)
    return "\n".join(
        [
            "```python",
            "import onnxruntime",
            f'session = onnxruntime.InferenceSession("{FILE}")',
            f"(outputs,) = session.run(None, {{{feeds}}})  # NumPy arrays, samples first",
            "```",
        ]
    )


def onnx_model_of(network: ExportNetwork, form: str = AUTO) -> onnx.ModelProto:
    """A network as a model of ONNX's standard operators, in a form or in the fastest exact one.

    Raises ExportError, with all reasons, for a network that cannot be exported.
    """
    from chop.exporters.onnx.choice import best
    from chop.exporters.onnx.lowering import lowered
    from chop.exporters.onnx.rounding import FORMS

    exporter = Onnx()
    exporter.require_packages()
    if problems := exporter.problems(network):
        raise ExportError("the network cannot be exported to onnx:", problems)
    if form == AUTO:
        return best(exporter.candidates(network)).model
    return lowered(exporter._prepared(network).skeleton, FORMS[form])
