"""What a plug-in's author tests against: subclass a suite, name the things to test, run pytest."""

from chop.testing.formats import FormatConformance
from chop.testing.strategies import StrategyConformance

__all__ = ["FormatConformance", "StrategyConformance"]
