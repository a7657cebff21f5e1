"""Ends a search in trained networks: tunes those of the front and draws the front again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.measuring.outcome import Measured
from chop.actions.search.measuring.tuning import ToTune, Tuned, Tuning
from chop.actions.search.run.finish_rows import better_half, drawn_again, near_front
from chop.actions.search.run.loop import scaled_metrics
from chop.actions.search.run.publish import Publication, SearchResult
from chop.actions.search.run.resumable import ResumableSearch
from chop.actions.search.run.verification import Verification
from chop.actions.search.settings.finish import Finish
from chop.errors import MetricError
from chop.executors.patient import SECONDS_ALONE, PatientExecutor
from chop.ir.graph.graph_file import load_onto
from chop.models import MODELS
from chop.record.finished import FinishedLog, TunedNetwork, checksum, graph_path
from chop.record.goals import Goals, columns
from chop.record.summary import FinishFacts
from chop.record.trial import BestRow, Finished, Trial
from chop.report.search_progress import each_shown
from chop.report.tuning_progress import TuningProgress
from chop.tools.logger import get_logger
from chop.tools.user_code import is_user_reference

logger = get_logger(__name__)


@dataclass(frozen=True)
class Finishing:
    """Tunes the best networks of a search that has ended, and publishes the front of tuned networks.

    Every network is tuned from the weights of the search, so its figures are those that `basic_train` measures for the
    same plan and options. It is on disk, with its figures, before the next one is waited for.
    """

    search: ResumableSearch
    instruments: Instruments
    goals: Goals
    options: Finish

    def finish(self, result: SearchResult) -> SearchResult:
        """The result with tuned networks; Ctrl-C ends it with those that are tuned by then."""
        chosen = self._chosen(result)
        found: dict[int, list[TunedNetwork]] = {}
        reason, wanted, missing = result.reason, len(chosen), ""
        progress = TuningProgress(self.goals)
        with self.search.files.open_finished() as log:
            try:
                self._tune_all(chosen, log, found, progress)
            except KeyboardInterrupt:
                logger.warning("interrupted: %d of %d networks are tuned; --resume goes on", len(found), wanted)
                reason, missing = "interrupted", progress.missing
        rows = self._rows([own for networks in found.values() for own in reversed(networks)], chosen, result)
        best = drawn_again(result.best, rows, self.goals)
        if reason != "interrupted":
            best = [self._verified(row) if row.finished else row for row in each_shown(best, "tuned networks again")]
        facts = FinishFacts(
            options=self.options.as_json(),
            trials=sorted(found),
            wanted=wanted,
            before=[row.trial.number for row in result.best],
            seconds=sum(networks[-1].seconds for networks in found.values()),
            missing=missing,
            changes=self._changes(chosen, found),
            improved=self._improved(chosen, found),
        )
        if found and not facts.improved:
            told = "tuning made none of the %d networks better: try another learning_rate, or more epochs"
            logger.warning(told, len(found))
        search = self.search
        publication = Publication(search, search.files, self.instruments, self.goals, search.command)
        return publication.of_finished(result, best, facts, reason)

    def _chosen(self, result: SearchResult) -> list[Trial]:
        """The trials whose networks are tuned."""
        front = [row.trial for row in result.best]
        count = self.options.rows
        if count is None:
            return front
        if count <= len(front):
            return near_front(front, self.goals, count)
        known = {trial.number for trial in front}
        others = [own for own in result.trials if own.counts and own.number not in known and self._may_be_within(own)]
        more = near_front(others, self.goals, count - len(front))
        if len(front) + len(more) < count:
            logger.info("finish: rows = %d, but only %d networks are known", count, len(front) + len(more))
        return sorted([*front, *more], key=lambda trial: trial.number)

    def _may_be_within(self, trial: Trial) -> bool:
        """Whether no constraint is violated that tuning cannot change, as it is of formats alone."""
        return all(
            constraint.metric not in self._fixed or constraint.violation(trial.metrics[constraint.metric]) <= 0
            for constraint in self.goals.constraints
        )

    @property
    def _fixed(self) -> set[str]:
        """The metrics that tuning cannot change, as they are of formats alone."""
        runners = self.instruments.runners.all
        return {metric.name for runner in runners if runner.needs == "plan" for metric in runner.metrics}

    def _changes(self, trials: Iterable[Trial], found: Mapping[int, Sequence[TunedNetwork]]) -> list[str]:
        """The metrics of the goals that tuning can change, and those of formats that it has changed, as by zeros."""
        pairs = [(trial, _with(trial, network)) for trial in trials for network in found.get(trial.number, ())]
        changed = {name for old, new in pairs for name in self.goals.metrics if old.metrics[name] != new.metrics[name]}
        return [name for name in self.goals.metrics if name not in self._fixed or name in changed]

    def _improved(self, trials: Iterable[Trial], found: Mapping[int, Sequence[TunedNetwork]]) -> int:
        """How many trials have a tuned network that is better in an objective, or nearer a constraint."""
        count = 0
        for trial in trials:
            of_one = [trial, *(_with(trial, network) for network in found.get(trial.number, ()))]
            excess = self.goals.excess(columns(of_one, self.goals.metrics))
            costs = np.column_stack([self.goals.costs_of(of_one), excess])
            count += bool((costs[1:] < costs[0]).any())
        return count

    def _tune_all(
        self,
        chosen: Sequence[Trial],
        log: FinishedLog,
        found: dict[int, list[TunedNetwork]],
        progress: TuningProgress,
    ) -> None:
        """Tune networks, round by round; `found` has those of each trial, tuned for more and more epochs."""
        jobs = self.search.settings.setup.jobs
        with PatientExecutor(jobs, SECONDS_ALONE) as executor, progress:
            call = Tuning(self.instruments.subject, self.instruments.runners, self._about)
            left = list(chosen)
            for epochs in self.options.rungs:
                progress.start(len(left), epochs)
                for network in self._tuned(call, left, epochs, log, executor):
                    if not network.failed:
                        found.setdefault(network.number, []).append(network)
                    progress.on_network({**network.software_metrics, **network.hardware_metrics})
                measured = [_with(trial, found[trial.number][-1]) for trial in left if trial.number in found]
                better = {trial.number for trial in better_half(measured, self.goals)}
                left = [trial for trial in left if trial.number in better]

    def _tuned(
        self, call: Tuning, trials: Sequence[Trial], epochs: int, log: FinishedLog, executor: PatientExecutor
    ) -> Iterator[TunedNetwork]:
        """The tuned networks of some trials: those of the log, then all others as they are ready."""
        tuning = self.options.tuning(epochs)
        about = tuning.as_json()
        known = {trial.number: log.known(trial.number, about) for trial in trials}
        yield from (network for network in known.values() if network is not None)
        rest = [trial for trial in trials if known[trial.number] is None]
        space = self.instruments.subject.space
        items = [ToTune(space.flattened_indexes_to_config(trial.point), tuning) for trial in rest]
        for place, tuned in executor.map(call, items):
            yield log.add(self._network(rest[place].number, about, tuned), tuned.content)

    def _network(self, number: int, tuning: dict[str, Any], tuned: Tuned) -> TunedNetwork:
        outcome = tuned.outcome
        failed = str(outcome) if isinstance(outcome, MetricError) else ""
        if failed:
            logger.warning("trial %d fails when it is tuned: %s", number, failed)
        metrics = outcome if isinstance(outcome, Measured) else Measured({}, {})
        scaled = {} if failed else scaled_metrics(metrics, self.goals)
        about = (tuned.seconds, graph_path(number, tuning), checksum(tuned.content))
        return TunedNetwork(number, tuning, metrics.software, metrics.hardware, scaled, *about, failed)

    def _rows(self, networks: Iterable[TunedNetwork], chosen: Sequence[Trial], result: SearchResult) -> list[BestRow]:
        """The tuned networks as rows, by number."""
        trials, best = {trial.number: trial for trial in chosen}, {row.trial.number: row for row in result.best}
        space = self.instruments.subject.space
        found = []
        for own in sorted(networks, key=lambda network: network.number):
            trial, row = trials[own.number], best.get(own.number)
            tests = row.test_metrics if row else None
            finished = Finished(trial, own.tuning, own.graph, own.graph_sha256, own.seconds, tests)
            config = row.sampled_config if row else space.flattened_indexes_to_config(trial.point)
            found.append(BestRow(_with(trial, own), (), config, finished=finished))
        return found

    def _verified(self, row: BestRow) -> BestRow:
        """A row with its test scores; its network is loaded from its file, and must have the figures of its tuning."""
        assert row.finished is not None
        path = self.search.files.finished_graph(row.finished.graph, row.finished.graph_sha256)
        subject = self.instruments.subject
        graph = load_onto(subject.rebuild(row.sampled_config), path)
        graph.model.train(not subject.eval_mode)
        return Verification(subject, self.instruments.runners).of_tuned(row, graph)

    @property
    def _about(self) -> dict[str, Any]:
        """The name of the model, for the saved networks, if it can be built by name."""
        name = str(self.search.input_fingerprint.get("model", ""))
        return {"model": name} if name in MODELS or is_user_reference(name) else {}


def _with(trial: Trial, network: TunedNetwork) -> Trial:
    """A trial with the figures of its tuned network."""
    return replace(
        trial,
        software_metrics=network.software_metrics,
        hardware_metrics=network.hardware_metrics,
        scaled_metrics=network.scaled_metrics,
    )
