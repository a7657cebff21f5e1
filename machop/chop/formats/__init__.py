"""Number formats: one file each, all listed in `FORMATS`."""

from chop.formats.base import FLOAT_BITS, FORMATS, Format, OneByOne, format_name
from chop.formats.batch_norm_statistics import BatchNormStatistics, FloatStatistics, StatisticsBesideFloat
from chop.formats.binary import Binary
from chop.formats.block_fp import BlockFP
from chop.formats.block_log import BlockLog
from chop.formats.block_minifloat import BlockMinifloat
from chop.formats.integer import Integer, IntegerFloor
from chop.formats.log import Log
from chop.formats.measured_tensor import MeasuredTensor
from chop.formats.minifloat import MinifloatDenorm, MinifloatIEEE
from chop.formats.mxfp import MXFP
from chop.formats.mxint import MXInt
from chop.formats.output_shift import OutputShift
from chop.formats.scale_integer import ScaleInteger
from chop.formats.ternary import Ternary

__all__ = [
    "FLOAT_BITS",
    "FORMATS",
    "MXFP",
    "BatchNormStatistics",
    "Binary",
    "BlockFP",
    "BlockLog",
    "BlockMinifloat",
    "FloatStatistics",
    "Format",
    "Integer",
    "IntegerFloor",
    "Log",
    "MXInt",
    "MeasuredTensor",
    "MinifloatDenorm",
    "MinifloatIEEE",
    "OneByOne",
    "OutputShift",
    "ScaleInteger",
    "StatisticsBesideFloat",
    "Ternary",
    "format_name",
]
