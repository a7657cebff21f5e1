"""What a search found, as a file: the same for all, whatever environment it ran in; needs torch alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import process_time

from instead.problem import Choice, Problem


@dataclass
class Stopwatch:
    """CPU seconds of this process since the clock was made, without the seconds that were `left_out`."""

    began: float = field(default_factory=process_time)
    laps: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return process_time() - self.began

    def lap(self) -> None:
        """Note the seconds so far."""
        self.laps.append(self.seconds)

    def left_out(self, since: float) -> None:
        """Do not count what was done after `since`, a `process_time()`."""
        self.began += process_time() - since


@dataclass(frozen=True)
class Answer:
    """The networks of a search in the order in which it had them.

    `validation` is their accuracy in the arithmetic of the rival, `laps` the CPU seconds at which each was known, and
    `evaluations` how many networks were run on the validation samples. `taken` is the place of the network of fewest
    BitOPs that loses at most two points there (None: there is none), `test` its accuracy on the test set. `refused` are
    budgets, as shares of the BitOPs of eight bits, for which the rival found no network.
    """

    problem: str
    rival: str
    setting: str
    version: str
    seed: int
    seconds: float
    evaluations: int
    choices: list[Choice]
    validation: list[float]
    laps: list[float]
    taken: int | None
    test: float | None
    refused: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        problem: Problem,
        rival: str,
        setting: str,
        seed: int,
        watch: Stopwatch,
        found: Sequence[tuple[Choice, float]],
        tested: Callable[[Choice], float],
        evaluations: int,
        package: str = "",
    ) -> Answer:
        """The answer from the networks that were `found`, with their accuracies; `tested` measures on the test set."""
        seconds, taken = watch.seconds, problem.fewest_bitops(found)
        test = None if taken is None else tested(found[taken][0])
        choices, validation = [choice for choice, _ in found], [reached for _, reached in found]
        laps = [*watch.laps, *[seconds] * (len(found) - len(watch.laps))]
        about = (problem.name, rival, setting, version(package or rival), seed, seconds, evaluations)
        return cls(*about, choices, validation, laps, taken, test)

    def write(self, folder: Path) -> Path:
        """Write it as a file of its own."""
        path = folder / f"{self.problem}-{self.rival}-{self.setting}-{self.seed}.json"
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Answer:
        """Read what `write` wrote."""
        row = json.loads(path.read_text(encoding="utf-8"))
        row["choices"] = [tuple((a, w) for a, w in choice) for choice in row["choices"]]
        row["refused"] = tuple(row.get("refused", ()))
        return cls(**row)
