"""Runs `ch compare`: checks the settings, measures the space, runs and judges the strategies, writes the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from chop.actions.compare.all_runs import all_runs
from chop.actions.compare.answers import Answers, Enumerated
from chop.actions.compare.compared_search import ComparedSearch
from chop.actions.compare.contenders import Contender, contender, default_names, unfit, unknown_names
from chop.actions.compare.curves import questions
from chop.actions.compare.experiment import Experiment
from chop.actions.compare.exports import evaluations
from chop.actions.compare.measured_points import write_measured
from chop.actions.compare.summary import Facts, StrategyRuns, runs_by_strategy, summarise
from chop.actions.oracle import Oracle
from chop.actions.own_place import OwnPlace
from chop.actions.search.checks import checked_call, checked_run
from chop.actions.search.measuring.samples import measured_samples
from chop.actions.search.run.declared_training import engine_of, training_problem
from chop.actions.search.run.kept_training import TrainingRun
from chop.actions.search.search import command_line
from chop.actions.search.strategies.base import StrategyContext, Training
from chop.config.run_config import RunConfig
from chop.dataset.data import Data
from chop.errors import ConfigError, Interrupted
from chop.record.comparison import CompareSummary, counted
from chop.record.names import COMPARISON_FILES, COMPARISON_FOLDER
from chop.report.compare_plots import forget_plots, write_plots
from chop.report.compare_report import print_comparison, report_text
from chop.report.html.comparison_page import comparison_page
from chop.tools.folder_lock import only_writer
from chop.tools.interrupts import Held, interrupts_held
from chop.tools.logger import get_logger

logger = get_logger(__name__)

PROBES = "surrogate"
"""The strategy that runs sensitivity probes."""

BUDGET = 300


@dataclass(frozen=True)
class CompareOptions:
    """Options of a comparison: `strategies`, `seeds`, `budget` and `most_points`.

    `strategies` are names (None: all that suit the space). Each runs with `seeds` seeds and `budget` evaluations (None:
    300, or all of a smaller space). A space of at most `most_points` is measured exhaustively.
    """

    strategies: tuple[str, ...] | None = None
    seeds: int = 10
    budget: int | None = None
    most_points: int = 5_000_000

    def problems(self) -> list[str]:
        """One line per problem of the options."""
        numbers = {"--seeds": self.seeds, "--budget": self.budget, "--most-points": self.most_points}
        wrong = [
            f"command line: {flag}: must be at least 1, got {value}"
            for flag, value in numbers.items()
            if value is not None and value < 1
        ]
        if self.strategies is not None and not self.strategies:
            wrong.append("command line: --strategies: names none; leave the option out to compare all that suit")
        return wrong + unknown_names(self.strategies or ())


def run_compare(
    run_config: RunConfig, options: CompareOptions, as_json: bool = False, typed: Sequence[str] = ()
) -> CompareSummary:
    """Run `ch compare` on the space of a TOML file; `typed` is the command line.

    Shows the result unless it is printed as JSON.
    """
    job = replace(
        checked_run(CompareJob, run_config, COMPARISON_FOLDER, options.problems()), command=command_line(typed)
    )
    try:
        return job.run(options, is_shown=not as_json)
    except KeyboardInterrupt as end:
        if not job.files.has_points or job.files.has_ended:
            raise  # what was there before is back
        logger.warning(
            "interrupted: what was measured is in %s; the same command goes on, and does not measure it again",
            job.folder,
        )
        raise Interrupted from end


def compare(
    model: nn.Module,
    data_module: Data,
    search_config: Mapping[str, Any],
    save_path: Path | str,
    options: CompareOptions | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> CompareSummary:
    """Compare strategies on the space of the table `[search]`, from Python; files are written to `save_path`."""
    options = options or CompareOptions()
    checked = (model, data_module, search_config, Path(save_path), seed, device)
    job = checked_call(CompareJob, *checked, problems=options.problems())
    return job.run(options, is_shown=False)


@dataclass(frozen=True)
class CompareJob(ComparedSearch):
    """A comparison with checked settings."""

    command: str = ""
    """The command line as it was typed, without passwords; empty for a comparison from Python."""

    def run(self, options: CompareOptions, is_shown: bool) -> CompareSummary:
        """Run every strategy with every seed and report; after Ctrl-C, report on the finished runs.

        Raises FolderError where another comparison is writing to the folder.
        """
        if self.settings.finish:
            logger.info("[search.finish] has no effect: strategies are compared by what they find before it is tuned")
        files = self.files
        with only_writer(self.folder) as own:
            place = OwnPlace(own, COMPARISON_FILES, goes_on=lambda: not files.has_ended)
            try:
                return self._run(options, is_shown, place)
            except BaseException:
                if place.is_taken:
                    files.withdraw()
                    place.give_back()
                raise

    def _run(self, options: CompareOptions, is_shown: bool, place: OwnPlace) -> CompareSummary:
        budget = min(options.budget or BUDGET, self.space.size)
        if options.budget is not None and budget < options.budget:
            logger.info("--budget %d: the space has no more than %d points", options.budget, budget)
        instruments = self.instruments()
        goals = self.goals(instruments)
        context = self.context(instruments, goals, self.seed, budget)
        contenders, remarks = self._contenders(options, context)
        place.take()  # an interrupted comparison is continued
        forget_plots(self.folder)
        seeds = range(self.seed, self.seed + options.seeds)
        with self.answers(instruments, goals, options.most_points) as answers:
            if answers.is_exact:
                _ = Oracle(answers.landscape(), goals).front  # raises if no point satisfies the constraints
            batch = 1 if isinstance(answers, Enumerated) else instruments.batch
            ask_batch = self.settings.setup.ask_batch
            experiment = Experiment(
                answers, goals, budget, lambda seed: replace(context, seed=seed), batch, ask_batch, self._trainer
            )
            runs, ended = all_runs(experiment, contenders, seeds, remarks)
        with interrupts_held("interrupted: the report is written first; Ctrl-C again ends at once") as held:
            oracle = Oracle(answers.landscape(), goals)
            _ = oracle.front  # of what was measured no point may count
            if answers.is_exact and not self.files.has_landscape:
                write_measured(answers, self.files, self.about_landscape(instruments, goals))
            if answers.taken_over:
                remarks.append(
                    f"{counted(answers.taken_over, 'point')} were measured by earlier comparisons in this folder."
                )
            probed = context.probes
            remarks += [f"{PROBES}: {what}" for what in (probed.remarks if probed else [])]
            facts = Facts(
                origin=self.origin(self.command),
                space_size=self.space.size,
                budget=budget,
                seeds=seeds,
                is_exact=answers.is_exact,
                remarks=remarks,
                runs=ended,
                planned_runs=len(contenders) * len(seeds),
                units=instruments.runners.units,
                samples=", ".join(measured_samples(instruments.runners, self.data_module)),
            )
            probes = {PROBES: probed.cost if probed else 0.0}
            found = runs_by_strategy(contenders, runs, oracle, budget, probes)
            is_learned = context.known.is_learned if context.known else (True,) * len(goals.names)
            summary = summarise(facts, found, oracle, questions(oracle, is_learned))
            summary = self._written(summary, found, answers, is_shown, held)
            return replace(summary, cut_short=held.came)

    def _contenders(self, options: CompareOptions, context: StrategyContext) -> tuple[list[Contender], list[str]]:
        """The strategies that take part, and a line on each that cannot.

        Raises ConfigError for one that was asked for by name.
        """
        chosen = [contender(name, self.settings) for name in dict.fromkeys(options.strategies or default_names())]

        def problem_of(training: Training) -> str | None:
            return training_problem(training, self.space, self.data_module, self.device)

        reasons = {one.name: unfit(one, context, problem_of) for one in chosen}
        if options.strategies is not None:
            wrong = [f"command line: --strategies: {name}: {reason}" for name, reason in reasons.items() if reason]
            if wrong:
                raise ConfigError(wrong)
        remarks = [f"{name} is left out: {reason}." for name, reason in reasons.items() if reason]
        own = None if options.strategies is not None else self.settings.algorithm
        if own is not None and own not in reasons:
            reason = unfit(contender(own, self.settings), context, problem_of)
            cure = f"name it to compare it (--strategies {own},random)"
            remarks.append(f"{own}, the strategy of the file, is left out: {reason or cure}.")
        for remark in remarks:
            logger.info("%s", remark)
        return [one for one in chosen if not reasons[one.name]], remarks

    def _trainer(self, chosen: Contender, seed: int) -> TrainingRun | None:
        """A run of the training that a contender declares, if any; its time counts as the strategy's own."""
        training = chosen.strategy.training(chosen.options)
        if training is None:
            return None
        return TrainingRun(training, engine_of(training, self.space, self.data_module, seed, self.device))

    def _written(
        self, summary: CompareSummary, found: Sequence[StrategyRuns], answers: Answers, is_shown: bool, held: Held
    ) -> CompareSummary:
        """Write all files, the pictures last, and show the result.

        Report, pictures and output are made from the files.
        """
        files = self.files
        files.write_evaluations(evaluations(found, answers))
        files.write_summary(summary)
        stored = files.summary
        files.write_report(report_text(stored, []))
        plots, missing = write_plots(files.path, stored, held)
        if missing:
            files.write_summary(replace(stored, remarks=[*stored.remarks, *missing]))
            stored = files.summary
        files.write_page(comparison_page(files))
        files.write_report(report_text(stored, plots))
        if is_shown:
            print_comparison(stored, files.path)
        return stored
