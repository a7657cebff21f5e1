"""Runs every strategy with every seed, up to Ctrl-C, and says which have failed."""

from __future__ import annotations

from collections.abc import Sequence

from chop.actions.compare.contenders import Contender
from chop.actions.compare.experiment import Experiment, Run
from chop.errors import SearchError
from chop.record.comparison import counted
from chop.report.search_progress import ComparisonProgress
from chop.tools.logger import get_logger

logger = get_logger(__name__)


def all_runs(
    experiment: Experiment, contenders: Sequence[Contender], seeds: Sequence[int], remarks: list[str]
) -> tuple[list[Run], int]:
    """The finished runs, and how many of the planned ones are done or not needed.

    After Ctrl-C these are fewer than all. Raises KeyboardInterrupt if there is no run.

    Adds a line to `remarks` for a strategy that failed or was not reached; raises SearchError where all failed.
    """
    runs: list[Run] = []
    ended = 0

    def on_end() -> None:
        nonlocal ended
        ended += 1
        progress.on_end()

    def note(name: str, seed: int, error: Exception) -> None:
        what = " ".join(str(error).split())
        remarks.append(f"{name} failed with seed {seed} and was not run again: {type(error).__name__}: {what}.")
        logger.warning("%s", remarks[-1])

    probes = experiment.context_of(seeds[0]).probes
    with ComparisonProgress(len(contenders) * len(seeds), experiment.budget) as progress:
        if probes:
            probes.on_probe = progress.on_probe
        try:
            for run in experiment.runs(contenders, seeds, progress.on_evaluation, on_end, note):
                runs.append(run)
        except KeyboardInterrupt:
            if not runs:
                raise
            logger.warning(
                "interrupted after %s: the figures are of what is done; the same command runs all, and measures no "
                "point again",
                counted(len(runs), "run"),
            )
            remarks += [f"{name} has no finished run." for name in _without_run(contenders, runs)]
    if not runs:
        raise SearchError(f"no run came to its end: {' '.join(remarks)}")
    return runs, ended


def _without_run(contenders: Sequence[Contender], runs: Sequence[Run]) -> list[str]:
    done = {run.strategy for run in runs}
    return [one.name for one in contenders if one.name not in done]
