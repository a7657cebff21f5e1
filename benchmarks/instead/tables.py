"""The tables of docs/comparison.md from the answers, and the picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from instead.answer import Answer
from instead.exact import Judge
from instead.problem import Problem, accuracy

ROWS = {
    ("chop", "exhaustive"): "`chop`, all networks",
    ("chop", "surrogate"): "`chop`, `surrogate`",
    ("optuna", "careful"): "Optuna loop, careful",
    ("optuna", "defaults"): "Optuna loop, defaults",
    ("modelopt", "careful"): "ModelOpt, careful",
    ("modelopt", "defaults"): "ModelOpt, defaults",
    ("aimet", "careful"): "AIMET, careful",
    ("aimet", "defaults"): "AIMET, defaults",
    ("mct", "careful"): "MCT",
}
"""The rows by rival and setting, in their order."""

HEADER = ("", "networks measured", "CPU s", "hypervolume", "to 95 %", "to 99 %", "BitOPs", "validation", "test")
TARGETS = (0.95, 0.99)


def runs_of(folder: Path, problem: str, rival: str, setting: str) -> list[Answer]:
    """The answers of a rival, one for each seed."""
    return [Answer.read(path) for path in sorted(folder.glob(f"{problem}-{rival}-{setting}-*.json"))]


def table(problem: Problem, judge: Judge, folder: Path) -> list[str]:
    """Markdown: a row for each rival and setting that answered, medians over its seeds."""
    lines = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    for (rival, setting), name in ROWS.items():
        runs = runs_of(folder, problem.name, rival, setting)
        if runs:
            lines.append(f"| {' | '.join([name, *cells(problem, judge, runs)])} |")
    in_float = [accuracy(problem.float_model, part) for part in (problem.validation, problem.test)]
    return [*lines, f"| FP32 | | | | | | | {percent(in_float[0])} | {percent(in_float[1])} |"]


def cells(problem: Problem, judge: Judge, runs: Sequence[Answer]) -> list[str]:
    """The figures of a row."""
    shares = [judge.share(run.choices) for run in runs]
    reached = [needed(judge, runs, target) for target in TARGETS]
    return [
        f"{median(run.evaluations for run in runs):,g}",
        f"{median(run.seconds for run in runs):.1f}",
        spread(shares),
        *reached,
        *taken(problem, runs),
    ]


def needed(judge: Judge, runs: Sequence[Answer], target: float) -> str:
    """The CPU seconds to a share of the hypervolume, and after how many networks, if each was measured just once.

    Nothing where most runs do not reach it.
    """
    counts = [judge.needed(run.choices, target) for run in runs]
    seconds = [run.laps[count - 1] if count else float("inf") for run, count in zip(runs, counts, strict=True)]
    if median(seconds) == float("inf"):
        return ""
    after = f" ({median(count or float('inf') for count in counts):g})"
    one_by_one = all(run.evaluations == len(run.choices) for run in runs)
    return f"{median(seconds):.1f} s{after if one_by_one else ''}"


def spread(shares: Sequence[float]) -> str:
    """The median of some shares, with the least and the greatest where they differ."""
    least, middle, most = (percent(share) for share in (min(shares), median(shares), max(shares)))
    return middle if least == most else f"{middle} [{least}, {most}]"


def percent(share: float) -> str:
    """A share in per cent."""
    return f"{100 * share:.1f} %"


def taken(problem: Problem, runs: Sequence[Answer]) -> list[str]:
    """BitOPs and accuracies of the network that one would take: that of the median run by BitOPs."""
    with_one = [(problem.bitops(run.choices[run.taken]), run) for run in runs if run.taken is not None]
    if len(with_one) * 2 <= len(runs):
        return ["none", "", ""]
    bitops, run = sorted(with_one, key=lambda own: own[0])[len(with_one) // 2]
    assert run.taken is not None and run.test is not None
    return [f"{bitops:,}", percent(run.validation[run.taken]), percent(run.test)]
