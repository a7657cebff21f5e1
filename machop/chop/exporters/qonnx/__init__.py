"""The exporter `qonnx`: ONNX with the Quant operators of QONNX."""

from chop.exporters.qonnx.exporter import Qonnx

__all__ = ["Qonnx"]
