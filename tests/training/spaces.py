"""Search spaces of bundled networks, and few samples, for the tests of trainings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from chop.actions.search.search_space.base import SpaceSetup
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.dataset import MaseDataModule
from chop.ir import MaseGraph

LISTS = {
    "name": ["integer"],
    "data_in_width": [3, 8],
    "data_in_frac_width": ["auto"],
    "weight_width": [2, 4, 8],
    "weight_frac_width": ["auto"],
    "bias_width": [8],
    "bias_frac_width": ["auto"],
}
BY_TYPE = SpaceSetup(by="type")


def data_module(name: str) -> MaseDataModule:
    data = MaseDataModule(name, batch_size=512)
    data.prepare_data()
    data.setup()
    return data


def space_of(
    model: nn.Module,
    data: Any,
    lists: Mapping[str, Any] = LISTS,
    setup: SpaceSetup = BY_TYPE,
    override: Mapping[str, Any] | None = None,
) -> MixedPrecisionPTQ:
    graph = MaseGraph(model)
    graph.observe(next(iter(data.batches("train", 2)))[0])
    seed = {"default": {"config": {"name": ["NA"]}}, "linear": {"config": dict(lists)}}
    space = MixedPrecisionPTQ(graph, seed, "type", setup, override or {})
    assert not space.problems(), space.problems()
    return space


class Few:
    """The first training samples of some data."""

    def __init__(self, data: MaseDataModule, samples: int = 1000) -> None:
        self._data = data
        self._samples = samples

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def batches(self, part: str, num_samples: int | None = None, batch_size: int | None = None) -> Any:
        return self._data.batches(part, min(num_samples or self._samples, self._samples), batch_size)
