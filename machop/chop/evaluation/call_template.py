"""The arguments of a call, with slots where the values of other stages go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx

from chop.evaluation.operations import Slot


class CallTemplate:
    """The arguments of a call with slots in place of nodes; `inputs` are the stages that fill them."""

    def __init__(self, stage_of: Mapping[fx.Node, int], rounded: Mapping[tuple[str, int], int]) -> None:
        self.inputs: list[int] = []
        self._stage_of = stage_of
        self._rounded = rounded

    def of(self, node: fx.Node) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of `node`, those that are rounded first read from there."""
        args = [self._mapped(arg, self._rounded.get(("arg", i))) for i, arg in enumerate(node.args)]
        return args, {key: self._mapped(arg, self._rounded.get((key, 0))) for key, arg in node.kwargs.items()}

    def _mapped(self, arg: Any, rounded: int | None) -> Any:
        if rounded is not None:
            return self._slot(rounded)
        return fx.node.map_arg(arg, lambda source: self._slot(self._stage_of[source]))

    def _slot(self, number: int) -> Any:
        self.inputs.append(number)
        return Slot(len(self.inputs) - 1)
