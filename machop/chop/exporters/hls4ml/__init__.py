"""The exporter `hls4ml`: a C++ project for high-level synthesis, every type of which follows from the plan."""

from chop.exporters.hls4ml.exporter import Hls4ml, Hls4mlOptions

__all__ = ["Hls4ml", "Hls4mlOptions"]
