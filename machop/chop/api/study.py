"""`Study`: the result of a search, and the networks that it measured."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chop.api.network import Network, Networks
from chop.api.study_plots import StudyPlots
from chop.api.tables import Row, Table, data_frame, table_of
from chop.config.units import parse_quantity
from chop.errors import SearchError
from chop.record.folder import SearchFolder
from chop.record.summary import FP32
from chop.record.trial import BestRow, Objective, Trial
from chop.report.finish_texts import tuned_names
from chop.report.format_texts import describe_formats
from chop.report.html.search_page import search_page
from chop.report.notebook.study_display import study_html
from chop.tools.files import copied_folder, write_whole

if TYPE_CHECKING:
    import pandas


class Study(StudyPlots):
    """A finished search: its Pareto front, its trials and its networks.

    `study[17]` is the network of trial 17; `len` and iteration are of all trials. `front_networks` are those of
    the front.
    """

    def __init__(self, files: SearchFolder, networks: Networks | None = None) -> None:
        super().__init__(files)
        self._networks = networks
        self.warnings: tuple[str, ...] = ()
        """The warnings of the search; empty for a study that was loaded."""

    def keep(self, stack: ExitStack) -> None:
        """Close `stack`, which holds the temporary folder, when the study is no longer needed."""
        weakref.finalize(self, stack.close)

    @property
    def reason(self) -> str:
        """Why the search ended: n_trials, timeout, patience, exhausted, strategy or interrupted."""
        return self.summary.reason

    @cached_property
    def metrics(self) -> list[str]:
        """The metrics of objectives and constraints, then all others."""
        return list(dict.fromkeys([*self.summary.goals.metrics, *self.summary.metrics]))

    @property
    def front(self) -> Table | pandas.DataFrame:
        """The Pareto front by objectives and constraints, the best by the first objective first.

        `test_…` are the same on the test set, with the bounds of the 95 % interval. A DataFrame with pandas, else a
        `Table`.
        """
        return table_of(self._front_rows)

    @property
    def front_networks(self) -> list[Network]:
        """The networks of the front, in the order of `front`."""
        return [self._network_of(row) for row in self._sorted_rows]

    @property
    def trials(self) -> Table | pandas.DataFrame:
        """Every trial, with its state: measured, repeat, stopped or failed; of more than 100,000 the front."""
        return table_of([self._trial_row(trial) for trial in self._trials.values()])

    def to_pandas(self) -> pandas.DataFrame:
        """Every trial with what was chosen for each layer. Raises ChopError where pandas is missing."""
        return data_frame([{**self._trial_row(own), **_choices(self._configs[n])} for n, own in self._trials.items()])

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives of the search."""
        return self.summary.goals.objectives

    @property
    def _best_rows(self) -> list[BestRow]:
        """The rows of the front: none where no network satisfies all constraints."""
        goals = self.summary.goals
        return [row for row in self.summary.best if goals.is_within(row.trial.metrics)]

    def best(self, max_drop: float | str | None = None, metric: str | None = None) -> Network:
        """The network of the front that is best by `metric`: the first objective that is measured on samples.

        With `max_drop` it is the one that is best by the first other objective, among those whose `metric` is at most
        so much worse than that of the FP32 baseline. This is a difference in the unit of the metric: 0.01 or "1 %" is
        one point of accuracy, 0.70 where FP32 has 0.71. Raises SearchError where there is none.
        """
        quality = self._quality(metric)
        others = [own for own in self.objectives if own is not quality]
        rows, order = self._best_rows, [quality, *others]
        if not rows:
            raise self._no_network()
        if max_drop is not None:
            rows, order = self._within(rows, quality, self._drop(max_drop, quality.metric)), [*others, quality]
        best = min(rows, key=lambda row: [*(_cost(own, row.trial) for own in order), row.trial.number])
        return self._network_of(best)

    def _quality(self, metric: str | None) -> Objective:
        measured = self.summary.best[0].trial.software_metrics
        names = [own.metric for own in self.objectives]
        wanted = metric or next((name for name in names if name in measured), names[0])
        if wanted not in names:
            raise SearchError(f"metric: '{wanted}' is no objective of this study ({', '.join(names)})")
        return next(own for own in self.objectives if own.metric == wanted)

    def _no_network(self) -> SearchError:
        (nearest,) = self.summary.best
        return SearchError(
            f"no measured network satisfies all constraints; the nearest is study[{nearest.trial.number}], which "
            f"misses {self.summary.goals.misses(nearest.trial.metrics)}"
        )

    def _drop(self, given: Any, metric: str) -> float:
        try:
            drop = parse_quantity(given, self.summary.metrics[metric].unit) if isinstance(given, str) else float(given)
        except (TypeError, ValueError) as error:
            raise SearchError(f"max_drop: expected a number, or text with a unit, got {given!r}") from error
        if not drop >= 0:
            raise SearchError(f"max_drop: must be 0 or more, got {given!r}: how much worse than the FP32 baseline")
        return drop

    def _within(self, rows: list[BestRow], quality: Objective, max_drop: float) -> list[BestRow]:
        baseline = self.summary.baselines.get(FP32)
        if baseline is None:
            raise SearchError(
                "max_drop: the FP32 baseline was not measured, as the search was interrupted; best() without max_drop "
                "needs none, and a search with a folder measures it when it goes on (resume=True)"
            )
        reference, name = baseline.trial.metrics[quality.metric], quality.metric
        drops = [quality.turn * (row.trial.metrics[name] - reference) for row in rows]
        kept = [row for row, own in zip(rows, drops, strict=True) if own <= max_drop]
        if not kept:
            nearest = rows[drops.index(min(drops))].trial
            raise SearchError(
                f"max_drop: no network of the front is within {max_drop:g} of FP32 ({name} {reference:.4g}); the "
                f"nearest is trial {nearest.number} with {nearest.metrics[name]:.4g}"
            )
        return kept

    def __getitem__(self, number: int) -> Network:
        """The network of a trial; raises SearchError for a number that no trial has."""
        row = self._row_of(number)
        if row.trial.number not in self._made:
            self._made[row.trial.number] = self._network(row)
        return self._made[row.trial.number]

    def _network_of(self, row: BestRow) -> Network:
        """The network of a row of the front, which a trial may have both tuned and untuned."""
        number = row.trial.number
        return self[number] if self._rows_made[number] == row else self._network(row)

    def _network(self, row: BestRow) -> Network:
        return Network(row, self._networks, self.summary)

    @property
    def tuned(self) -> Table | pandas.DataFrame:
        """Every network that was tuned after the search, with its figures before and after."""
        return table_of([self._tuned_row(row) for row in self._tuned_rows.values()])

    def _tuned_row(self, row: BestRow) -> Row:
        assert row.finished is not None
        before, after = row.searched.metrics, row.trial.metrics
        names = [name for name in self.metrics if name in before and name in after]
        figures = {name: after[name] for name in names} | {f"untuned_{name}": before[name] for name in names}
        formats = describe_formats(row.sampled_config, frac_widths=row.frac_widths)
        return {"trial": row.trial.number, "epochs": row.finished.epochs, **figures, "formats": formats}

    def __iter__(self) -> Iterator[Network]:
        """The networks of all trials, in order; of more than 100,000 those of the front."""
        return (self[number] for number in self._trials)

    def __len__(self) -> int:
        """The number of trials; with more than 100,000, the number of networks on the front."""
        return len(self._trials)

    @cached_property
    def _made(self) -> dict[int, Network]:
        return {}

    @property
    def _front_rows(self) -> list[Row]:
        return [self._front_row(row) for row in self._sorted_rows]

    @property
    def _sorted_rows(self) -> list[BestRow]:
        return sorted(self._best_rows, key=lambda row: (_cost(self.objectives[0], row.trial), row.trial.number))

    def _front_row(self, row: BestRow) -> Row:
        goals = self.summary.goals.metrics
        tests: dict[str, float] = {}
        for name, (value, low, high) in (row.test_metrics or {}).items():
            if name in goals:
                tests |= {f"test_{name}": value, f"test_{name}_low": low, f"test_{name}_high": high}
        figures = {name: row.trial.metrics[name] for name in goals}
        figures |= {f"untuned_{name}": row.searched.metrics[name] for name in tuned_names(self.summary)}
        formats = describe_formats(row.sampled_config, frac_widths=row.frac_widths)
        return {"trial": row.trial.number, **figures, **tests, "formats": formats}

    def _trial_row(self, trial: Trial) -> Row:
        figures = {name: trial.metrics.get(name) for name in self.metrics}
        formats = describe_formats(self._configs[trial.number])
        return {"trial": trial.number, **figures, "state": _state(trial), "seconds": trial.seconds, "formats": formats}

    def to_toml(self) -> str:
        """The TOML file that does the same search: `ch search --config FILE`.

        Comments say what is an object of Python, and what to give on the command line in its place. Raises SearchError
        for a folder without the options of its search.
        """
        text = self._files.resolved
        if text is None:
            raise SearchError(f"{self.folder} has no resolved.toml: its search was not given the options of a file")
        return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("# chop record"))

    def report(self, path: Path | str, lite: bool = False) -> Path:
        """Write the study as one HTML page that loads nothing from outside; returns its path.

        With `lite` it is a small page, of the front and at most 2,000 other networks. Raises SearchError where a record
        is damaged, OSError where the page cannot be written.
        """
        return write_whole(path, search_page(self._files, lite))

    def save(self, folder: Path | str) -> Path:
        """Keep the files of the study in `folder`, which `chop.load_study` reads; returns its path.

        Raises FolderError where `folder` exists or cannot be written.
        """
        return copied_folder(self.folder, Path(folder))

    def __repr__(self) -> str:
        summary = self.summary
        counts = f"{summary.counts.measured} configurations measured of {summary.space_size:,}"
        title = f"Study({len(self._best_rows)} on the front; {counts}; ended by {summary.reason})"
        return "\n".join([title, repr(Table(self._front_rows)), *self._told()])

    def _repr_html_(self) -> str:
        return study_html(self.summary, self._plot_data, self.warnings)

    def _told(self) -> list[str]:
        """Remarks and warnings."""
        return [*self.summary.remarks, *(f"warning: {text}" for text in self.warnings)]


def _cost(objective: Objective, trial: Trial) -> float:
    return objective.turn * trial.metrics[objective.metric]


def _state(trial: Trial) -> str:
    if trial.failed:
        return f"failed: {trial.failed}"
    if trial.stopped_at is not None:
        return f"stopped after {trial.stopped_at} samples"
    return "measured" if trial.repeats is None else f"repeats {trial.repeats}"


def _choices(config: Mapping[str, Any]) -> dict[str, Any]:
    """The choices of a config by node, `{"node/key": value}`."""
    nodes = {
        node: entry["config"] for node, entry in config.items() if isinstance(entry, Mapping) and node != "default"
    }
    return {f"{node}/{key}": value for node, own in nodes.items() for key, value in own.items()}
