"""What a plug-in's author tests against: subclass a suite, name the things to test, run pytest."""

from chop.testing.formats import FormatConformance
from chop.testing.strategies import StrategyConformance
from chop.testing.weight_transforms import WeightTransformConformance

__all__ = ["FormatConformance", "StrategyConformance", "WeightTransformConformance"]
