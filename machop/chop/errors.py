"""All errors that `chop` raises for user input, under one base class."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Self


class ChopError(Exception):
    """Base of all errors that say what is wrong, where, why and what to do about it."""

    def reword(self, words: Callable[[str], str]) -> None:
        """Put what the error says in other words, in the message and in what else it has."""
        self.args = (words(str(self)), *self.args[1:])


class InputError(ChopError):
    """What was given is wrong or is not there: an option, a name or a path. `ch` ends with status 2, and not with 1.

    An error that is also of another kind is both: `WrongSearchError` is a `SearchError`.
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, raised again by a command that has told what it keeps."""


class UnknownNameError(InputError):
    """A name that no registry, node list or schema holds."""


class FormatError(ChopError):
    """A number format with impossible parameters."""


class OperandError(FormatError):
    """Keys of an operand that make no format, or no weight transform: `reason` names them without the operand."""

    def __init__(self, operand: str, op: str, reason: str) -> None:
        self.operand, self.op, self.reason = operand, op, reason
        super().__init__(f"{operand} of '{op}': {reason} {self.note}")

    @property
    def note(self) -> str:
        """How the keys begin in a config."""
        return f"(keys start with '{self.operand}_')"

    def __reduce__(self) -> tuple[type[OperandError], tuple[str, str, str]]:
        return type(self), (self.operand, self.op, self.reason)


class GraphError(ChopError):
    """A model that cannot be turned into a graph, or a graph used in a way that it does not allow."""


class PassError(ChopError):
    """A pass whose arguments or requirements do not hold."""


class CheckpointError(InputError):
    """A file of weights that is missing, unsafe, broken or made for another model."""


class DatasetError(ChopError):
    """A data set that cannot be found or read."""


class SearchError(ChopError):
    """A search that cannot start, cannot be resumed, or cannot be trusted."""


class WrongSearchError(SearchError, InputError):
    """A path that is no search, a trial or a point that it does not have, or an option that it does not take."""


class NodeProblem(str):
    """The reason of one node, which reads `NODE: REASON`."""

    __slots__ = ("node", "reason")

    node: str
    reason: str

    def __new__(cls, node: str, reason: object) -> Self:
        """`reason` is a text, or the error that has it."""
        own = super().__new__(cls, f"{node}: {reason}")
        own.node, own.reason = node, str(reason)
        return own

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return self.node, self.reason


class _ListedError(ChopError):
    """An error with several reasons, `problems`. Each reason is a line of its message, with all nodes that have it."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        self.headline = message
        self.problems = tuple(problems)
        super().__init__("\n  ".join([message, *_by_reason(problems)]))

    def reword(self, words: Callable[[str], str]) -> None:
        super().reword(words)
        self.headline = words(self.headline)
        self.problems = tuple(
            NodeProblem(own.node, words(own.reason)) if isinstance(own, NodeProblem) else words(own)
            for own in self.problems
        )

    def __reduce__(self) -> tuple[type[_ListedError], tuple[Any, ...]]:
        return type(self), (self.headline, self.problems)


def _by_reason(problems: Sequence[str]) -> list[str]:
    """The lines of problems: a reason that several nodes have is one line, behind all of them."""
    nodes: dict[str, list[str]] = {}
    for problem in problems:
        if isinstance(problem, NodeProblem):
            nodes.setdefault(problem.reason, []).append(problem.node)
        else:
            nodes.setdefault(problem, [])
    return [f"{', '.join(dict.fromkeys(named))}: {reason}" if named else reason for reason, named in nodes.items()]


class CircuitError(_ListedError):
    """A network that no integer circuit computes, or a circuit that differs from its network.

    `problems` are the reasons: a `NodeProblem` for each node.
    """


class ExportError(_ListedError):
    """A network that cannot be exported, or an export that does not compute what the network computes.

    `problems` are the reasons, a `NodeProblem` where one node is to blame, or the checks that found a difference.
    """


class WrongExportOptionsError(ExportError, InputError):
    """Options that an exporter does not take."""


class FolderError(ChopError):
    """A folder that another command writes to, that cannot be locked, or that was removed."""


class WrongFolderError(FolderError, InputError):
    """A folder that cannot be written to as was asked: it is a file, exists already, or holds files of others."""


class MetricError(_ListedError, SearchError):
    """A metric that is no finite number: the trial fails, the search continues.

    `found` has the metrics that could be had all the same; `problems` are the reasons of a network that a runner cannot
    measure, a `NodeProblem` where one node is to blame.
    """

    def __init__(self, message: str, found: Mapping[str, float] | None = None, problems: Sequence[str] = ()) -> None:
        super().__init__(message, problems)
        self.found = dict(found or {})

    @classmethod
    def of(cls, error: CircuitError | ExportError) -> Self:
        """The error of a runner that cannot measure what `error` says of a network."""
        return cls(error.headline, problems=error.problems)

    def without(self, nodes: Collection[str]) -> Self:
        """The same error without the reasons of these nodes."""
        kept = [
            problem for problem in self.problems if not (isinstance(problem, NodeProblem) and problem.node in nodes)
        ]
        return type(self)(self.headline, self.found, kept)

    def __reduce__(self) -> tuple[type[MetricError], tuple[Any, ...]]:
        return MetricError, (self.headline, self.found, self.problems)


class ConfigError(InputError):
    """One or more problems in a configuration, each a line `file:line: key: what is wrong`.

    >>> raise ConfigError(["x.toml:3: seed: expected an integer, got 'a'"])
    Traceback (most recent call last):
    chop.errors.ConfigError: x.toml:3: seed: expected an integer, got 'a'
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


MOST_MEANT = 3
"""Names that a hint lists."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known name nearest to `name`, or an empty string.

    >>> did_you_mean("n_trails", ["n_trials", "timeout"])
    "; did you mean 'n_trials'?"
    >>> did_you_mean("TPE", ["tpe", "random"])
    "; did you mean 'tpe'?"
    >>> did_you_mean("rate", ["low_rate", "high_rate", "timeout"])
    "; did you mean 'low_rate' or 'high_rate'?"
    """
    known = list(known)
    ending = [other for other in known if other.lower().endswith(f"_{name.lower()}")]
    if 1 < len(ending) <= MOST_MEANT:
        return f"; did you mean {' or '.join(map(repr, ending))}?"
    near = nearest(name, known)
    return f"; did you mean '{near}'?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` most likely means; None where none is like it."""
    spelled = {other.lower(): other for other in known}
    near = get_close_matches(name.lower(), spelled, n=1, cutoff=0.6)
    return spelled[near[0]] if near else None


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def without_cure(error: ChopError) -> str:
    """What an error says is wrong, for a caller that has a cure of its own: a cure stands behind the first semicolon.

    >>> without_cure(SearchError("trials.jsonl is damaged; start anew"))
    'trials.jsonl is damaged'
    """
    return str(error).partition(";")[0]
