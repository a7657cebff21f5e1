"""ONNX files compute what the network computes, in every form and in every way to run them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import onnx
import pytest
from onnx import TensorProto

from chop.actions.setup import traced
from chop.dataset import MaseDataModule
from chop.errors import ExportError
from chop.exporters import ExportNetwork, export
from chop.exporters.manifest import MANIFEST, README
from chop.exporters.onnx import onnx_model_of
from chop.exporters.onnx.exporter import FILE
from chop.exporters.onnx.runtime import WAYS
from chop.ir import MaseGraph
from chop.models import get_model
from chop.passes.graph.transforms.quantize import quantize_transform_pass
from chop.testing.exporters import ExporterConformance, FewSamples
from tests.circuits.networks import OWN, WIDTHS
from tests.exporters.networks import bundled_network, own_network
from tests.zoo import data as zoo_data
from tests.zoo.checks import CONFIG
from tests.zoo.specimens import TRACED


class TestOnnx(ExporterConformance):
    exporters: ClassVar = ("onnx", ("onnx", {"form": "smallest"}))
    refused: ClassVar = {"by": "type", "linear": {"config": {"name": "log", "data_in_width": 4, "weight_width": 4}}}


class TestWeightsOnly(ExporterConformance):
    """Formats that ONNX lacks: the weights are exported, rounded, and the reference is the network of these weights."""

    exporters: ClassVar = (("onnx", {"weights_only": True, "form": "smallest"}),)
    config: ClassVar = {"by": "type", "linear": {"config": {"name": "log", "data_in_width": 4, "weight_width": 4}}}

    def test_says_so(self, tmp_path: Path) -> None:
        found = export(self.network(), "onnx", tmp_path / "out", {"weights_only": True, "form": "smallest"})
        assert "weights alone" in found.written.notes[0]
        manifest = json.loads((tmp_path / "out" / MANIFEST).read_text(encoding="utf-8"))
        assert manifest["scores"] == {}  # those of the network with activations in formats are others
        assert manifest["network"]["formats"]
        assert all("data_in" not in own and "weight" in own for own in manifest["network"]["formats"].values())
        readme = (tmp_path / "out" / README).read_text(encoding="utf-8")
        assert "data_in" not in readme
        assert "score on the test set" not in readme
        codes = {own.name: own for own in onnx.load(tmp_path / "out" / FILE).graph.initializer}
        weight = next(own for name, own in codes.items() if name.endswith("weight/codes"))
        assert weight.data_type in (TensorProto.INT8, TensorProto.FLOAT8E5M2)
        assert {"Round", "QuantizeLinear"}.isdisjoint(
            node.op_type for node in onnx.load(tmp_path / "out" / FILE).graph.node
        )


def network_of(model: str, config: dict[str, Any], dataset: str = "jsc") -> ExportNetwork:
    data = FewSamples(dataset, batch_size=32)
    data.prepare_data()
    data.setup()
    graph, _ = quantize_transform_pass(MaseGraph(get_model(model, pretrained=True)), {"by": "type", **config})
    graph.model.eval()
    return ExportNetwork(graph, data, {"model": model})


LOG = {"config": {"name": "log", "data_in_width": 4, "weight_width": 4}}
WIDE = {"config": {"name": "integer", "data_in_width": 16, "weight_width": 16, "data_in_frac_width": 10}}


def test_formats_that_onnx_lacks_are_refused_with_all_reasons(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="onnx") as caught:
        export(network_of("jsc-toy", {"linear": LOG}), "onnx", tmp_path / "out")
    assert len(caught.value.problems) == 3
    assert all(
        own.startswith("seq_blocks_") and "log 4" in own and "--weights-only" in own for own in caught.value.problems
    )
    assert list(tmp_path.iterdir()) == []


def test_a_float_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="onnx") as caught:
        export(network_of("jsc-tiny", {}), "onnx", tmp_path / "out")
    assert "in float" in caught.value.problems[0]


@pytest.mark.parametrize("options", [{"form": "int8"}, {"form": 3}, {"weight_only": True}, {"weights_only": "yes"}])
def test_wrong_options_are_named(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export(network_of("jsc-tiny", {"linear": WIDE}), "onnx", tmp_path / "out", options)
    assert next(iter(options)) in str(caught.value)


def test_sums_that_float32_does_not_hold_are_named(tmp_path: Path) -> None:
    """Products of 16 x 16 bits: whether or not outputs differ on these samples, the note names the layers."""
    found = export(network_of("jsc-toy", {"linear": WIDE}), "onnx", tmp_path / "out", allow_differences=True)
    (note,) = (own for own in found.written.notes if "float32" in own)
    assert "seq_blocks_8" in note


def test_manifest_says_how_fast_each_form_is(tmp_path: Path) -> None:
    config = {"linear": {"config": {"name": "integer", "data_in_width": 6, "weight_width": 4, "bias_width": 6}}}
    found = export(network_of("jsc-toy", config), "onnx", tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["facts"]
    speeds = {own["form"]: own["speed_beside_float"] for own in facts["forms_tried"]}
    assert set(speeds) == {"uint8", "smallest", "arithmetic"}
    assert facts["form"] == max(speeds, key=speeds.__getitem__)
    assert facts["inputs"] == {"x": ["batch", 16]}
    assert facts["outputs"] == {"output": ["batch", 5]}
    assert facts["opset"] == 21
    assert "InferenceSession" in found.written.usage


def test_a_model_for_other_rooms_is_that_of_the_form(tmp_path: Path) -> None:
    config = {"linear": {"config": {"name": "integer", "data_in_width": 6, "weight_width": 4, "bias_width": 6}}}
    model = onnx_model_of(network_of("jsc-tiny", config), "arithmetic")
    assert "Round" in {node.op_type for node in model.graph.node}
    with pytest.raises(ExportError, match="onnx"):
        onnx_model_of(network_of("jsc-tiny", {"linear": LOG}))


@pytest.mark.parametrize("name", WIDTHS)
def test_bundled_networks_differ_in_no_output_of_the_test_set(name: str, tmp_path: Path) -> None:
    found = export(bundled_network(name), "onnx", tmp_path / "out")
    assert [check.tool for check in found.checks] == list(WAYS)
    assert [check.differing for check in found.checks] == [0, 0, 0]


@pytest.mark.parametrize("name", OWN)
def test_every_operation_is_exact(name: str, tmp_path: Path) -> None:
    assert export(own_network(name), "onnx", tmp_path / "out", {"form": "uint8"}).is_exact


def of_the_zoo(name: str) -> ExportNetwork:
    (specimen,) = (own for own in TRACED if own.name == name)
    data = MaseDataModule(f"{Path(zoo_data.__file__)}:{specimen.data}", batch_size=zoo_data.BATCH)
    data.prepare_data()
    data.setup()
    graph, _ = quantize_transform_pass(traced(specimen.model(), data), {"by": "type", "default": {"config": CONFIG}})
    graph.model.eval()
    return ExportNetwork(graph, data, {"model": name})


@pytest.mark.parametrize("name", ["shared_layer", "low_rank", "standardised", "mlp_batch_norm", "convnext", "pruned"])
def test_models_of_the_zoo_are_exact_on_their_samples(name: str, tmp_path: Path) -> None:
    """A layer called twice, weights made in forward, a batch norm in float, GELU and layer norm, a parametrization."""
    found = export(of_the_zoo(name), "onnx", tmp_path / "out", {"form": "uint8"})
    assert found.is_exact


def test_attention_of_hugging_face_is_exported_with_its_inputs(tmp_path: Path) -> None:
    """Two inputs by name, masks, softmax; what computes in float32 is named, and hardly an output differs."""
    pytest.importorskip("transformers")
    network = of_the_zoo("bert")
    found = export(network, "onnx", tmp_path / "out", {"form": "uint8"}, allow_differences=True)
    assert set(found.written.facts["inputs"]) == {"input_ids", "attention_mask"}
    assert found.written.facts["outputs"] == {"logits": ["batch", 3]}
    assert all(check.differing <= check.outputs / 20 for check in found.checks)
    (note,) = (own for own in found.written.notes if "float32" in own)
    assert "LayerNorm" in note
