"""The exporter `onnx`: standard operators of ONNX, verified in ONNX Runtime."""

from chop.exporters.onnx.exporter import Onnx, OnnxOptions, onnx_model_of

__all__ = ["Onnx", "OnnxOptions", "onnx_model_of"]
