"""Number formats: one file each, all listed in `FORMATS`."""

from chop.formats.base import FLOAT_BITS, FORMATS, Format, format_name
from chop.formats.integer import Integer, IntegerFloor

__all__ = ["FLOAT_BITS", "FORMATS", "Format", "Integer", "IntegerFloor", "format_name"]
