"""Quantised execution: the op table, and the wrapper that quantises any op."""

from chop.nn.ops import OP_TABLE, OPERANDS, OPS, QUANTIZABLE_OPS, Arg, Op
from chop.nn.quantized import Quantized, call_quantized

__all__ = ["OPERANDS", "OPS", "OP_TABLE", "QUANTIZABLE_OPS", "Arg", "Op", "Quantized", "call_quantized"]
