"""The findings of the guard: where something is wrong, what, and how to cure it."""

from __future__ import annotations

from dataclasses import dataclass, field

from chop.errors import GraphError

MOST_SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """A fault at an operand of a node (empty: at the node as a whole)."""

    node: str
    operand: str
    wrong: str
    cure: str

    def __str__(self) -> str:
        where = f"node '{self.node}', {self.operand}" if self.operand else f"node '{self.node}'"
        return f"{where}: {self.wrong}; {self.cure}"


@dataclass
class Verdict:
    """The findings of the guard, and the checks that it could not run, one line each."""

    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether there are no findings."""
        return not self.findings

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings), *(f"not checked: {line}" for line in self.unchecked)]) or "sound"

    def require(self) -> None:
        """Raise GraphError with the first findings, if there are any."""
        if self.findings:
            shown = [str(finding) for finding in self.findings[:MOST_SHOWN]]
            more = len(self.findings) - len(shown)
            raise GraphError("\n".join([*shown, *([f"and {more} more like these"] if more else [])]))
