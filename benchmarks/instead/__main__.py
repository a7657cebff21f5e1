"""Compares chop with what one would use instead to choose widths for every layer.

    make bench-instead [PART=optuna]

Answers are kept in mase_output/benchmarks/instead: a part that is named is run again, others if they have no answer.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

import optuna  # noqa: E402
import torch  # noqa: E402
from instead import environment, plain_loop  # noqa: E402
from instead.drawing import draw  # noqa: E402
from instead.exact import Judge, bundled_problem, exhaustive, surrogate  # noqa: E402
from instead.problem import NETWORKS, Problem  # noqa: E402
from instead.tables import table  # noqa: E402

ANSWERS = FOLDER.parents[1] / "mase_output" / "benchmarks" / "instead"
RIVALS = {"modelopt": "modelopt_auto", "aimet": "aimet_amp", "mct": "sony_mct"}
PARTS = ("chop", "optuna", *RIVALS)
SEEDS = range(3)
TRIALS = {"chop": 150, "optuna": 400}


def ask(part: str, problem: Problem, file: Path, landscape: Path) -> str:
    """Let one part answer; the reason why it could not, or nothing."""
    if part in RIVALS:
        return environment.make() or environment.run(RIVALS[part], file, ANSWERS)
    if part == "chop":
        exhaustive(problem, landscape).write(ANSWERS)
    for seed in SEEDS:
        if part == "chop":
            surrogate(problem, seed, TRIALS[part]).write(ANSWERS)
        else:
            for careful in (True, False):
                plain_loop.search(problem, seed, TRIALS[part], careful).write(ANSWERS)
    return ""


def compare(name: str, parts: list[str]) -> None:
    """Let all parts answer for one problem, and print its table."""
    problem, file, landscape = bundled_problem(name), ANSWERS / f"{name}.pt", ANSWERS / f"{name}.parquet"
    problem.save(file)
    for part in PARTS:
        if part in parts or not list(ANSWERS.glob(f"{name}-{part}-*.json")):
            started = time.monotonic()
            failed = ask(part, problem, file, landscape)
            told = f"skipped, {failed}" if failed else f"{time.monotonic() - started:.0f} s"
            print(f"{name}, {part}: {told}", file=sys.stderr, flush=True)
    judge = Judge(landscape)
    print("\n".join(["", f"**{name}**", "", *table(problem, judge, ANSWERS)]), flush=True)
    if name == next(iter(NETWORKS)):
        draw(name, judge, ANSWERS)


def main() -> None:
    """Compare on all problems."""
    parser = argparse.ArgumentParser(prog="make bench-instead", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"to run again: {', '.join(PARTS)}"
    )
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ANSWERS.mkdir(parents=True, exist_ok=True)
    for name in NETWORKS:
        compare(name, parser.parse_args().parts)


if __name__ == "__main__":
    main()
