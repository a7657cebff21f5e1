"""A search space of one's own with a key of its own: the first points of the usual space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from chop.actions.search.search_space.base import SEARCH_SPACES, Point, SpaceSetup
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.ir import MaseGraph


@dataclass(frozen=True)
class OwnSetup(SpaceSetup):
    """`first`: how many points there are at most."""

    first: int = 1


@SEARCH_SPACES.register("first-few")
class FirstFew(MixedPrecisionPTQ):
    """The first points of a product of choices; no product itself."""

    Setup = OwnSetup

    @classmethod
    def build(cls, graph: MaseGraph, seed: Mapping[str, Any], setup: OwnSetup, override: Mapping[str, Any]) -> FirstFew:
        return cls(graph, seed, setup.by, setup, override)

    @classmethod
    def identity_of(cls, setup: SpaceSetup) -> list[Any]:
        return [asdict(setup)]

    @property
    def size(self) -> int:
        return min(super().size, self.setup.first)  # type: ignore[attr-defined]

    def axes(self) -> None:
        return None

    def index(self, point: Point) -> None:
        return None
