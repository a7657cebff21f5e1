"""The networks, spaces and data that parts of this benchmark share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from chop.actions.search.search_space.base import SpaceSetup
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.actions.setup import traced
from chop.dataset import MaseDataModule
from chop.models import get_model

BATCH = 512
"""Samples that are measured at a time."""

FIXED = {"name": ["integer"], "data_in_frac_width": ["auto"], "data_in_range_rule": ["mse"]}
INPUTS = {**FIXED, "data_in_width": [3, 4, 6, 8]}
LAYER = {
    **INPUTS,
    "weight_width": [2, 3, 4, 8],
    "weight_frac_width": ["auto"],
    "weight_range_rule": ["mse"],
    "bias_width": [8],
    "bias_frac_width": ["auto"],
}
BETWEEN = {**FIXED, "data_in_width": [3, 4, 8]}


@dataclass(frozen=True)
class Case:
    """A bundled network with its data, and the lists of its space by op."""

    model: str
    dataset: str
    lists: Mapping[str, Mapping[str, Any]]
    batch_norm: str = "float"


CASES = (
    Case("toy", "toy_tiny", {"linear": LAYER, "add": BETWEEN, "relu": BETWEEN}),
    Case("jsc-mlp", "jsc", {"linear": LAYER}),
    Case("shapes-cnn", "shapes", {"conv2d": LAYER, "linear": LAYER}),
    Case("jsc-s", "jsc", {"linear": LAYER}, "measured"),
)


@dataclass(frozen=True)
class Subject:
    """The network of a case in float, its data, and a space whose graph may be trained."""

    case: Case
    model: nn.Module
    data: MaseDataModule
    space: MixedPrecisionPTQ


def subject_of(case: Case) -> Subject:
    """The network of a case with its bundled weights, newly built."""
    data = MaseDataModule(case.dataset, batch_size=BATCH)
    data.prepare_data()
    data.setup()
    model = get_model(case.model, dataset_info=data.dataset_info, pretrained=True).eval()
    seed = {op: {"config": dict(lists)} for op, lists in case.lists.items()}
    setup = SpaceSetup(by="type", batch_norm=case.batch_norm)  # type: ignore[arg-type]
    space = MixedPrecisionPTQ(traced(model, data), seed, "type", setup)
    assert not space.problems(), space.problems()
    return Subject(case, model, data, space)
