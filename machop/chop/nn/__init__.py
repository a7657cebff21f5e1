"""Quantised execution: one op table and one wrapper."""

from chop.nn.ops import OPERANDS, OPS, QUANTIZABLE_OPS, Op
from chop.nn.quantized import Quantized, call_quantized

__all__ = ["OPERANDS", "OPS", "QUANTIZABLE_OPS", "Op", "Quantized", "call_quantized"]
