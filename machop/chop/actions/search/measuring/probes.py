"""Sensitivity probes of the strategy `surrogate`: one layer quantised at a time, on training samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import count
from logging import INFO, WARNING

from chop.actions.search.measuring.instruments import BATCH_MACS
from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.subject import Subject
from chop.actions.search.strategies.product.choice_levels import axis_bits
from chop.actions.search.strategies.runners.base import row_key
from chop.errors import ChopError, SearchError, first_line
from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.program import Axis
from chop.evaluation.responses import Responses
from chop.ir import QuantPlan
from chop.record.comparison import counted
from chop.tools.logger import get_logger
from chop.tools.threads import one_thread
from chop.training.fine_tuning import FineTuning

logger = get_logger(__name__)

MOST_TRIED = 2_000
MOST_ADDED = 2**16
"""Terms that an estimate may add up: axes, times samples, times outputs of a sample."""

MOST_MACS = 60 * BATCH_MACS
"""Multiply-accumulates of all probes together, a minute or so on one core; more where a search takes far longer."""

LITTLE = 10
"""Evaluations that are little beside a search."""

FEWEST_ROWS, MOST_ROWS = 32, 512
"""Samples that still tell something, and those of which more would tell little more."""

WORTH_IT = 8
"""Evaluations within which samples are added to the fewest, networks counted as if they shared nothing."""


class SensitivityProbes:
    """Runs the sensitivity probes and estimates all points from them; each number of samples is run once.

    Called with the number of training samples (None: as many as are worth it); returns None where there are no probes:
    the space is no product, has too many alternatives or fewer points than probes, outputs are too many, the model
    takes too long or does not run on so many samples. Fewer samples are taken where these would be too much work.
    """

    def __init__(self, subject: Subject, runners: RunnerSet) -> None:
        self._subject = subject
        self._runners = runners
        self._known: dict[int | None, Responses | None] = {}
        self.remarks: list[str] = []
        self.cost = 0.0
        self.on_probe: Callable[[int, int], None] = lambda tried, of_all: None

    def __call__(self, rows: int | None) -> Responses | None:
        if rows not in self._known:
            try:
                with one_thread():  # the same last digits whatever n_jobs is
                    self._known[rows] = self._tried(rows)
            except Exception as error:  # of the model's own code, on rows that it may not be made for
                why = str(error) if isinstance(error, ChopError) else first_line(error)
                remark = f"no sensitivity probes before the first trial: {why}"
                logger.log(INFO if isinstance(error, ChopError) else WARNING, remark)
                self.remarks.append(f"{remark}.")
                self._known[rows] = None
        return self._known[rows]

    def _tried(self, asked: int | None) -> Responses:
        graph, data, device = self._subject.graph, self._subject.data_module, self._subject.device
        axes = self._subject.space.axes()
        if axes is None:
            raise SearchError("the space is no product of choices of nodes")
        runs = Responses.runs(axes)
        wanted = self._worth_it(runs) if asked is None else asked
        rows = self._rows(axes, runs, wanted)
        batches = data.batches("train", rows)
        numbers = count(1)

        def on_run() -> None:
            self.on_probe(next(numbers), runs)

        fewest = [int(axis_bits(axis).argmin()) for axis in axes]
        classes = data.dataset_info.num_classes
        found = Responses(graph, axes, fewest, batches, device, classes, on_run, data.output)
        tried = sum(len(y) for _, y in batches)
        cost = self._cost(found, runs * tried)
        remark = f"{runs:,} sensitivity probes (one layer quantised) run on {counted(tried, 'training sample')}"
        remark += f" ({wanted:,} would be too much work)" if rows < wanted else ""
        remark += f", at the cost of {cost:,.3g} evaluations" if cost else ""
        logger.info("%s", remark)
        self.cost += cost
        self.remarks.append(f"before the first trial, {remark}.")
        return found

    def _cost(self, found: Responses, samples: int) -> float:
        """The cost of probes in evaluations, by multiply-accumulates: what networks share is computed once.

        Where none are known, by `samples` of all networks. 0 where an evaluation has no samples.
        """
        work = self._subject.work
        of_one = work.macs * self._own_rows
        if of_one:
            return work.macs_run(found.samples_run) / of_one
        return samples / self._own_rows if self._own_rows else 0.0

    def _worth_it(self, runs: int) -> int:
        """The number of samples if none is asked for: more where evaluations have many."""
        within = WORTH_IT * self._own_rows // runs if self._own_rows else MOST_ROWS
        return min(max(within, FEWEST_ROWS), MOST_ROWS)

    def _rows(self, axes: Sequence[Axis], runs: int, wanted: int) -> int:
        """The number of samples, at most `wanted`, that probes can afford; raises SearchError if that is none."""
        subject, size = self._subject, self._subject.space.size
        if runs > min(MOST_TRIED, size):
            what = f"{MOST_TRIED:,}" if size > MOST_TRIED else f"the {size:,} of the space"
            raise SearchError(f"{runs:,} sensitivity probes would be needed, more than {what}")
        data = subject.data_module
        row = data.batches("train", 1)
        one = PlanRunner(subject.graph, row, subject.device, data.output).predictions(QuantPlan())
        (_, targets), *_ = row
        outputs = len(axes) * Responses.kept(one, targets, data.dataset_info.num_classes)
        fitting = MOST_ADDED // outputs
        if fitting < min(wanted, FEWEST_ROWS):
            raise SearchError(f"{outputs:,} outputs per sample, over all layers, are too many to add up")
        macs = max(1, subject.work.macs)
        in_time = max(MOST_MACS // macs, LITTLE * (self._own_rows or self._trained_rows)) // runs
        if in_time < min(wanted, FEWEST_ROWS):
            raise SearchError(f"{runs:,} probes would take too long, each on {FEWEST_ROWS} training samples")
        return min(wanted, fitting, in_time)

    @cached_property
    def _own_rows(self) -> int:
        """The number of samples of one evaluation; 0 if a runner runs the model itself."""
        keys = {row_key(runner) for runner in self._runners.of_outputs}
        return sum(len(y) for key in keys for _, y in self._subject.data_module.batches(*key))

    @cached_property
    def _trained_rows(self) -> int:
        """The number of samples that one evaluation trains on; 0 for no training."""
        trained = (own.options for own in self._runners.needed if isinstance(own.options, FineTuning))
        options = next(trained, None)
        if options is None:
            return 0
        rows = sum(len(y) for _, y in self._subject.data_module.batches("train", options.num_samples))
        return int(rows * options.max_epochs)
