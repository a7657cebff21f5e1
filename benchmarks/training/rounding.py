"""Test accuracy with weights rounded to nearest and by gptq, and with scales moved between layers before."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from chop.actions.calibration import calibrate
from chop.dataset import MaseDataModule
from chop.ir import MaseGraph
from chop.ir.graph.inputs import placeholder_keywords
from chop.models import get_model
from chop.passes.graph import (
    equalise_transform_pass,
    fold_batch_norm_transform_pass,
    migrate_scales_transform_pass,
    quantize_transform_pass,
)
from chop.passes.graph.transforms.scales.groups import groups_of
from chop.tools.threads import one_thread

NETWORKS = {"jsc-s": "jsc", "jsc-mlp": "jsc", "shapes-cnn": "shapes"}
BATCH = 2048
WIDTHS = (2, 3, 4, 6)
SAMPLES = 512
FURTHEST = 4.0
"""The greatest factor by which channels are scaled apart."""


class Subject:
    """A network with its batch norms folded, and its data."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.data = MaseDataModule(NETWORKS[name], BATCH)
        self.data.prepare_data()
        self.data.setup()
        self.graph = MaseGraph(get_model(name, pretrained=True))
        self.few = placeholder_keywords(self.graph, next(iter(self.data.batches("train", 4)))[0])
        fold_batch_norm_transform_pass(self.graph, {"dummy_in": self.few, "show": False})

    def accuracy(self, graph: MaseGraph, keys: Mapping[str, Any]) -> float:
        """Test accuracy in percent with all layers in fixed point; no keys: in float."""
        own = copy.deepcopy(graph)
        if keys:
            config = {"name": "integer", "weight_frac_width": "auto", "weight_range_rule": "mse", **keys}
            layers = {op: {"config": config} for op in ("linear", "conv2d")}
            own, _ = quantize_transform_pass(own, {"by": "type", **layers})
        with torch.no_grad():
            hits = [own.model(x).argmax(1) == y for x, y in self.data.batches("test")]
        return 100 * float(torch.cat(hits).double().mean())

    def equalised(self, graph: MaseGraph) -> MaseGraph:
        """A copy with equalised weights."""
        own = copy.deepcopy(graph)
        equalise_transform_pass(own, {"dummy_in": self.few, "show": False})
        return self.calibrated(own)

    def migrated(self, graph: MaseGraph, alpha: float) -> MaseGraph:
        """A copy with scales migrated from activations to weights."""
        own = copy.deepcopy(graph)
        batches = [placeholder_keywords(own, x) for x, _ in self.data.batches("train", SAMPLES)]
        arguments = {"dummy_in": self.few, "input_generator": batches, "alpha": alpha, "show": False}
        migrate_scales_transform_pass(own, arguments)
        return self.calibrated(own)

    def scaled_apart(self) -> MaseGraph:
        """A copy that computes the same in float, with channels of uneven ranges."""
        own = copy.deepcopy(self.graph)
        generator = torch.Generator().manual_seed(0)
        for group in groups_of(own)[0]:
            draw: Tensor = torch.rand(group.channels(own.model), generator=generator, dtype=torch.float64) * 2 - 1
            group.move(own.model, FURTHEST**draw)
        own.forget_calibration()
        return self.calibrated(own)

    def calibrated(self, graph: MaseGraph) -> MaseGraph:
        """The graph itself, with activations of the training set seen."""
        calibrate(graph, self.data, SAMPLES)
        return graph


def main() -> None:
    """Print the tables."""
    with one_thread():
        subjects = [Subject(name) for name in NETWORKS]
        for subject in subjects:
            subject.calibrated(subject.graph)
        _rounding(subjects)
        _scales(subjects)


def _rounding(subjects: Sequence[Subject]) -> None:
    print("Weights of all layers in fixed point, range rule mse; activations in float; test accuracy in %.\n")
    _row("network", "weights", "range by", "nearest", "gptq", "gptq in stored order", "float")
    _row(*["---"] * 7)
    for subject in subjects:
        in_float = f"{subject.accuracy(subject.graph, {}):.1f}"
        for width in WIDTHS:
            for granularity in ("tensor", "channel"):
                keys = {"weight_width": width, "weight_granularity": granularity}
                methods: list[dict[str, Any]] = [{}, {"weight_rounding": "gptq"}]
                methods.append({**methods[1], "weight_rounding_order": "stored"})
                found = [f"{subject.accuracy(subject.graph, {**keys, **own}):.1f}" for own in methods]
                _row(subject.name, f"{width} bits", granularity, *found, in_float)


def _scales(subjects: Sequence[Subject]) -> None:
    print(
        "\nWeights and activations of all layers in fixed point, range rule mse by tensor; test accuracy in %. "
        f"'apart': the same network, its channels scaled by up to {FURTHEST:g} either way.\n"
    )
    _row("network", "bits", "rounding", "as it is", "equalise", "migrate_scales", "apart", "apart, equalise")
    _row(*["---"] * 8)
    for subject in subjects:
        apart = subject.scaled_apart()
        migrated = subject.migrated(subject.graph, 0.5)
        graphs = [subject.graph, subject.equalised(subject.graph), migrated, apart, subject.equalised(apart)]
        for width in (4, 6):
            for method in ("nearest", "gptq"):
                keys = {"weight_width": width, "weight_rounding": method}
                keys |= {"data_in_width": width, "data_in_frac_width": "auto", "data_in_range_rule": "mse"}
                _row(subject.name, str(width), method, *(f"{subject.accuracy(graph, keys):.1f}" for graph in graphs))


def _row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)
