"""What a plug-in's author tests against: subclass a suite, name the things to test, run pytest."""

from chop.testing.formats import FormatConformance

__all__ = ["FormatConformance"]
