"""Transform passes: change the graph."""

from chop.passes.graph.transforms.absorb_batch_norm import absorb_batch_norm_transform_pass
from chop.passes.graph.transforms.fold_batch_norm import fold_batch_norm_transform_pass
from chop.passes.graph.transforms.measure_batch_norm import measure_batch_norm_transform_pass
from chop.passes.graph.transforms.quantize import quantize_transform_pass
from chop.passes.graph.transforms.scales import equalise_transform_pass, migrate_scales_transform_pass

__all__ = [
    "absorb_batch_norm_transform_pass",
    "equalise_transform_pass",
    "fold_batch_norm_transform_pass",
    "measure_batch_norm_transform_pass",
    "migrate_scales_transform_pass",
    "quantize_transform_pass",
]
