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


def ch(name: str, *arguments: str, project: str = "") -> Spent:
    """Run a command of `ch`, in a project of the benchmark's folder if one is named, and return what it took.

    `name` is that of the note which says so later: a command that has ended is not run again. A search that was
    interrupted is resumed. LUTs are kept in a folder of this benchmark, empty at first.
    """
    note, line = FOLDER / f"{name}.json", list(arguments)
    before = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    if before.get("arguments") != line:
        before = {"arguments": line, "ended": False, "clock": 0.0, "cores": 0.0}
    spent = Spent(before["clock"], before["cores"])
    if before["ended"]:
        return spent
    where = ["--project", project, "--project-dir", str(FOLDER)] if project else []
    resumed = ["--resume"] if arguments[0] == "search" and spent.clock and checkpoints(project).exists() else []
    print(f"$ ch {' '.join([*arguments, *resumed])}", flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    _write(note, {**before, "clock": max(spent.clock, 1.0)})
    ended, own = _timed([*line, *resumed, *where])
    _write(note, {**before, **asdict(spent + own), "ended": ended})
    if not ended:
        sys.exit("the command failed")
    return spent + own


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
