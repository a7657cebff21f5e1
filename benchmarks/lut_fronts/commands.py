"""Runs commands of `ch` whose results are kept: what is done is not done again, what was interrupted goes on."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path("mase_output") / "benchmarks" / "lut_fronts"
EXAMPLES = Path(__file__).parents[2] / "machop" / "configs" / "examples"
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"


@dataclass(frozen=True)
class Spent:
    """Seconds of a command, interrupted runs included: those of the clock, and of all cores together."""

    clock: float
    cores: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.clock + other.clock, self.cores + other.cores)

    def __str__(self) -> str:
        return f"{self.clock:.0f} s, {self.cores:.0f} s of CPU time"


def checkpoints(project: str) -> Path:
    """The folder of a project's search."""
    return FOLDER / project / "software" / "search_ckpts"


def ch(project: str, *arguments: str, kept_as: str = "") -> Spent:
    """Run a command of `ch` in the folder of the benchmark, unless it has ended before; returns what it took.

    A search that was interrupted is resumed. LUTs are kept in a folder of this benchmark, empty at first.
    """
    note = FOLDER / f"{kept_as or project}.json"
    before = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    if before.get("arguments") != list(arguments):
        before = {"arguments": list(arguments), "ended": False, "clock": 0.0, "cores": 0.0}
    if before["ended"]:
        return Spent(before["clock"], before["cores"])
    resumed = ["--resume"] if arguments[0] == "search" and before["clock"] and checkpoints(project).exists() else []
    line = [*arguments, *resumed, "--project", project, "--project-dir", str(FOLDER)]
    print(f"$ ch {' '.join(line)}", flush=True)
    spent = Spent(before["clock"], before["cores"])
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        ended, own = _timed(line)
        spent += own
        _write(note, {**before, **asdict(spent), "ended": ended})
    except KeyboardInterrupt:
        _write(note, {**before, "clock": max(spent.clock, 1.0)})
        raise
    if not ended:
        sys.exit(f"the command failed; {note} keeps what it took")
    return spent


def _timed(arguments: Sequence[str]) -> tuple[bool, Spent]:
    """Whether `ch` with these arguments succeeded, and what it took."""
    environment = {**os.environ, "XDG_CACHE_HOME": str((FOLDER / "solved").resolve())}
    started, before = time.monotonic(), _cores()
    ended = subprocess.run([sys.executable, "-m", "chop", *arguments], env=environment, check=False).returncode == 0
    return ended, Spent(time.monotonic() - started, _cores() - before)


def _cores() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _write(note: Path, content: object) -> None:
    draft = note.with_suffix(".part")
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.replace(note)
