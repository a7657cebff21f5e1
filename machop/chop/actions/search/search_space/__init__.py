"""Search spaces: the choices, their points, and the network of each point."""

from chop.actions.search.search_space.base import SEARCH_SPACES, Point, SampledConfig, SearchSpaceBase, SpaceSetup
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ

__all__ = ["SEARCH_SPACES", "MixedPrecisionPTQ", "Point", "SampledConfig", "SearchSpaceBase", "SpaceSetup"]
