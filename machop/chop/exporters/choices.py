"""The choices of a search space as exporters are asked about them, and which of them they refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chop.formats import Format
from chop.nn.node_config import WEIGHT
from chop.nn.ops import Op

FormatProblem = Callable[[Op, str, Format | None], str | None]
"""Why no network with this format (None: float32) at an operand of this op can be exported; None where it can."""


@dataclass(frozen=True)
class Branch:
    """Choices of a node that differ in the formats of its operands: all combinations of them.

    `formats` holds the formats that each operand may have, not yet measured; an operand without stays in float32.
    `transforms` are what weights may go through before: each a format that begins with them.
    """

    formats: Mapping[str, Sequence[Format]] = field(default_factory=dict)
    transforms: Sequence[Format | None] = ()


Choices = Mapping[str, Sequence[Branch]]
"""The branches of each node that formats can be chosen for, in the order of execution."""


@dataclass(frozen=True)
class RefusedChoices:
    """What cannot be exported of a branch, with the reasons.

    `whole`: nothing of it. `in_float`: nothing of it, since these operands have no format. `formats` and `transforms`:
    those at these places of the branch's lists.
    """

    whole: str | None = None
    in_float: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[tuple[str, int], str] = field(default_factory=dict)
    transforms: Mapping[int, str] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the branch can be exported, whatever its formats are."""
        return self.whole is not None or bool(self.in_float)

    def joined(self, other: RefusedChoices) -> RefusedChoices:
        """Everything that this or the other refuses; its reasons go before the other's."""
        return RefusedChoices(
            self.whole or other.whole,
            {**other.in_float, **self.in_float},
            {**other.formats, **self.formats},
            {**other.transforms, **self.transforms},
        )


@dataclass(frozen=True)
class Refused:
    """What cannot be exported of a space.

    `nodes`: nodes that no choice of formats helps, with the reasons; `choices`: for each branch of each node.
    """

    nodes: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, Sequence[RefusedChoices]] = field(default_factory=dict)

    def joined(self, other: Refused) -> Refused:
        """Everything that this or the other refuses; its reasons go before the other's."""
        choices = {
            node: [first.joined(second) for first, second in zip(own, other.choices[node], strict=True)]
            for node, own in self.choices.items()
        }
        return Refused({**other.nodes, **self.nodes}, choices)


def refused_one_by_one(choices: Choices, ops: Mapping[str, Op], problem: FormatProblem) -> Refused:
    """The refusals of a rule about single operands."""
    return Refused(
        choices={node: [_refused(branch, ops[node], problem) for branch in own] for node, own in choices.items()}
    )


def _refused(branch: Branch, op: Op, problem: FormatProblem) -> RefusedChoices:
    in_float = [operand for operand in op.operands if not branch.formats.get(operand)]
    told = {operand: problem(op, operand, None) for operand in in_float}
    formats = {
        (operand, place): problem(op, operand, chosen)
        for operand, formats in branch.formats.items()
        for place, chosen in enumerate(formats)
    }
    transforms = {place: problem(op, WEIGHT, chosen) for place, chosen in enumerate(branch.transforms)}
    return RefusedChoices(
        in_float={operand: why for operand, why in told.items() if why},
        formats={slot: why for slot, why in formats.items() if why},
        transforms={place: why for place, why in transforms.items() if why},
    )
