"""Records that are edited by hand or damaged at random, and what each command makes of them.

`count_damages` tries them all and counts: right (harmless, or measured again), refused, wrong, traceback.
"""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chop.errors import ChopError
from tests.record.commands import CASES, Answer, Case, make_records, prepared_once
from tests.record.edits import Edit, at_random, edits

Counts = tuple[str, int, int, int, int]
"""A file, and how many damages were tried, right, refused, wrong, and ended in a traceback."""


@dataclass
class Damages:
    """Tries damages on records in `folder`, and counts what came of them."""

    folder: Path
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    last: str = ""
    _known: dict[tuple[str, str], Answer] = field(default_factory=dict)

    def attempt(self, case: Case, file: str, name: str, edit: Edit, commands: Sequence[str] | None = None) -> None:
        """Damage a file and run each command that relies on it, on a copy of its own."""
        source = self.folder / case.name
        data = (source / file).read_bytes()
        damaged = edit(data)
        if damaged == data:
            return
        for command, run in case.commands[file].items():
            if commands is None or command in commands:
                with tempfile.TemporaryDirectory(dir=self.folder) as place:
                    folder = Path(place) / "w"
                    shutil.copytree(source, folder)
                    (folder / file).write_bytes(damaged)
                    outcome = self._outcome(case, command, run, folder)
                    self._note(f"{case.name}: {file}: {name}: {command}", file, outcome)

    def _outcome(self, case: Case, command: str, run: Callable[[Path], Answer], folder: Path) -> str:
        wanted = self._wanted(case, command, run)
        try:
            found = run(folder)
        except ChopError as error:
            self.last = str(error)
            return "refused"
        except Exception as error:
            self.last = repr(error)
            return "traceback"
        self.last = ""
        return "right" if _is_true(command, found, wanted) else "wrong"

    def _wanted(self, case: Case, command: str, run: Callable[[Path], Answer]) -> Answer:
        """The answer of a command where nothing is damaged."""
        key = (case.name, command)
        if key not in self._known:
            with tempfile.TemporaryDirectory(dir=self.folder) as place:
                shutil.copytree(self.folder / case.name, Path(place) / "w")
                self._known[key] = run(Path(place) / "w")
        return self._known[key]

    def _note(self, what: str, file: str, outcome: str) -> None:
        self.counts.setdefault(Path(file).name, Counter())[outcome] += 1
        if outcome in ("wrong", "traceback"):
            self.wrong.append(f"{what}: {outcome} {self.last}")

    def by_hand(self, only: Callable[[str], bool] = lambda name: True) -> None:
        """All edits by hand."""
        for case in CASES:
            for file in case.commands:
                other = self.folder / case.other / file
                for name, edit in edits(self.folder / case.name / file, other).items():
                    if only(f"{case.name}: {file}: {name}"):
                        self.attempt(case, file, name, edit)

    def randomly(self, number: int, seed: int = 0) -> None:
        """Random damages on random files, each with one of the commands."""
        draw = random.Random(seed)
        for place in range(number):
            case = draw.choice(CASES)
            file = draw.choice(list(case.commands))
            command = draw.choice(list(case.commands[file]))
            self.attempt(case, file, f"random {place}", at_random(draw), [command])

    def rows(self) -> list[Counts]:
        """By file: how many were tried, right, refused, and wrong or ended in a traceback."""
        return [
            (file, own.total(), own["right"], own["refused"], own["wrong"] + own["traceback"])
            for file, own in sorted(self.counts.items())
        ]


def _is_true(command: str, found: Answer, wanted: Answer) -> bool:
    """Whether an answer is the right one; fewer trials may be taken over, and a gap need not be told."""
    if command == "init-from":
        return all(wanted.get(point) == metrics for point, metrics in found.items())
    if command == "gap":
        return found in (wanted, [])
    return bool(found == wanted)


def count_damages(number: int = 300, seed: int = 0) -> tuple[list[Counts], list[str]]:
    """All edits by hand and `number` random damages: the counts by file, and a line on each that is not right."""
    silent = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as place,
        prepared_once(),
        contextlib.redirect_stdout(silent),
        contextlib.redirect_stderr(silent),
    ):
        make_records(Path(place))
        found = Damages(Path(place))
        found.by_hand()
        found.randomly(number, seed)
        return found.rows(), found.wrong
