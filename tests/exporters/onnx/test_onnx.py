"""ONNX files compute what the network computes, in every form and in every way to run them."""

from __future__ import annotations

from typing import ClassVar

from chop.testing.exporters import ExporterConformance


class TestOnnx(ExporterConformance):
    exporters: ClassVar = ("onnx", ("onnx", {"form": "smallest"}))
    refused: ClassVar = {"by": "type", "linear": {"config": {"name": "log", "data_in_width": 4, "weight_width": 4}}}
