"""Weight transforms: change a layer's weights before they are rounded to a number format."""

from chop.weight_transforms.base import (
    WEIGHT_TRANSFORMS,
    Rounding,
    Storage,
    Unrounded,
    WeightTransform,
    all_transform_keys,
    transform_name,
    transform_of_key,
)
from chop.weight_transforms.chain import Chain, chained, format_of, kept_share, transforms_of
from chop.weight_transforms.layer_inputs import LayerInputs, Summands, WeightMatrices
from chop.weight_transforms.rounding import WeightRounding
from chop.weight_transforms.sparsity import Sparsity
from chop.weight_transforms.trained_offset import TrainedOffset

__all__ = [
    "WEIGHT_TRANSFORMS",
    "Chain",
    "LayerInputs",
    "Rounding",
    "Sparsity",
    "Storage",
    "Summands",
    "TrainedOffset",
    "Unrounded",
    "WeightMatrices",
    "WeightRounding",
    "WeightTransform",
    "all_transform_keys",
    "chained",
    "format_of",
    "kept_share",
    "transform_name",
    "transform_of_key",
    "transforms_of",
]
