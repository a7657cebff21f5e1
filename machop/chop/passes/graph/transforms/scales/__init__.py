"""Passes that move scales of channels from one layer to the next; the float network computes the same as before."""

from chop.passes.graph.transforms.scales.equalise import equalise_transform_pass
from chop.passes.graph.transforms.scales.migrate import migrate_scales_transform_pass

__all__ = ["equalise_transform_pass", "migrate_scales_transform_pass"]
