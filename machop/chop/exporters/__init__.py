"""Exporters: write a quantised network in the form of another tool, and verify what was written."""

from chop.exporters.base import EXPORTERS, Check, Exporter, ExportNetwork
from chop.exporters.export import Exported, export

__all__ = ["EXPORTERS", "Check", "ExportNetwork", "Exported", "Exporter", "export"]
