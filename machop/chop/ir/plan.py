"""The quantisation plan: the number formats of a whole graph, as one value."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from chop.formats import Format
from chop.nn.ops import OPERANDS, STATISTICS


@dataclass(frozen=True)
class QuantPlan:
    """The format of each operand of each node; a missing node or operand stays in float32.

    Equal choices make equal plans, so a plan can be a key.

    >>> from chop.formats import Integer
    >>> plan = QuantPlan.of({"fc": {"weight": Integer(8)}, "relu": {}})
    >>> plan["fc"]["weight"].width, plan["relu"], list(plan)
    (8, {}, ['fc'])
    """

    choices: tuple[tuple[str, tuple[tuple[str, Format], ...]], ...] = ()

    @classmethod
    def of(cls, formats: Mapping[str, Mapping[str, Format]]) -> QuantPlan:
        """The plan that holds `{node: {operand: format}}`."""
        rows = ((node, tuple(sorted(chosen.items(), key=_place))) for node, chosen in sorted(formats.items()) if chosen)
        return cls(tuple(rows))

    def __getitem__(self, node: str) -> dict[str, Format]:
        return next((dict(chosen) for name, chosen in self.choices if name == node), {})

    def without(self, slots: Collection[tuple[str, str]]) -> QuantPlan:
        """The same plan with the operands `(node, operand)` among `slots` in float32."""
        return QuantPlan.of(
            {
                node: {operand: own for operand, own in chosen if (node, operand) not in slots}
                for node, chosen in self.choices
            }
        )

    @property
    def is_open(self) -> bool:
        """Whether something is still to be measured by a run under the whole plan (statistics of batch norms)."""
        return any(chosen.is_open for _, formats in self.choices for _, chosen in formats)

    @property
    def is_measured(self) -> bool:
        """Whether a format has parameters that must still be measured, or learned."""
        return any(chosen.is_measured for _, formats in self.choices for _, chosen in formats)

    def __iter__(self) -> Iterator[str]:
        return (node for node, _ in self.choices)


_PLACES = {operand: place for place, operand in enumerate((*OPERANDS, STATISTICS))}


def _place(choice: tuple[str, Format]) -> int:
    return _PLACES[choice[0]]
