"""Progress bars: trials done, rate, time left and the best so far."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self, TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    track,
)
from rich.table import Column
from rich.text import Text

from chop.record.goals import Goals, sign
from chop.record.trial import Trial
from chop.report.figure_text import figure_text
from chop.report.notebook.progress import NotebookLine, NotebookProgress
from chop.report.plain_progress import PlainProgress
from chop.tools.logger import get_logger
from chop.tools.terminal import terminal

logger = get_logger(__name__)

Item = TypeVar("Item")

_hidden: ContextVar[bool] = ContextVar("bars are hidden", default=False)
_line: ContextVar[NotebookLine | None] = ContextVar("the line of a notebook's cell that bars share", default=None)

SECONDS_BETWEEN_LINES = 10.0
"""Seconds between two lines of a log that replaces a bar."""

LEAST_FOR_BAR = 120
"""Characters of a terminal that has room for a bar beside the figures."""

REFRESH = 0.1
"""Seconds between two updates of a bar whose trials come in faster."""


@contextmanager
def bars(shown: bool) -> Iterator[None]:
    """Show the bars that are made inside, in a notebook all in one line, or none of them."""
    hidden, line = _hidden.set(not shown), _line.set(NotebookLine())
    try:
        yield
    finally:
        _hidden.reset(hidden)
        _line.reset(line)


class _Shown:
    """A context manager that shows a bar as long as it is entered."""

    _progress: Progress

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *raised: object) -> None:
        for task in self._progress.task_ids:
            self._progress.stop_task(task)
        self._progress.stop()


class SearchProgress(_Shown):
    """Shows each trial as it comes in; a context manager.

    `total` is None where its number is not known beforehand. `order` are the metrics as the user lists them.
    """

    def __init__(self, total: int | None, goals: Goals, order: Sequence[str] = ()) -> None:
        self._goals, self._order = goals, order
        self._trials, self._shown = 0, 0.0
        self._ends: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
        self._progress = progress_bar(MofNCompleteColumn(), "{task.fields[rate]}/s", "{task.fields[best]}")
        self._task = self._progress.add_task("search", total=total, rate="-", best="")

    def on_probe(self, tried: int, of_all: int) -> None:
        """Show how many sensitivity probes have run, before the strategy's first trial."""
        self._progress.update(self._task, best=_probing(tried, of_all))

    def on_step(self, done: int, of_all: int) -> None:
        """Show how far the training is whose snapshots are trials."""
        if time.monotonic() - self._shown >= REFRESH:
            self._shown = time.monotonic()
            best = self._best_so_far()
            self._progress.update(self._task, best=f"training {done / of_all:.0%}{f'; {best}' if best else ''}")

    def on_trial(self, trial: Trial) -> None:
        """Count a trial and show the ends of the front so far, or the best sum."""
        if trial.counts and self._goals.is_within(trial.metrics):
            self._show_best(trial)
        self._trials += 1
        if time.monotonic() - self._shown >= REFRESH:
            self._show()

    def __exit__(self, *raised: object) -> None:
        self._show()
        super().__exit__(*raised)

    def _show(self) -> None:
        self._shown = time.monotonic()
        task = self._progress.tasks[0]
        elapsed = task.elapsed or 0.0
        speed = task.speed or (self._trials / elapsed if elapsed > REFRESH else 0)
        rate = f"{speed:.3g}" if speed else "-"
        total = None if task.total is None else max(task.total, self._trials)
        self._progress.update(self._task, total=total, completed=self._trials, rate=rate, best=self._best_so_far())

    def _best_so_far(self) -> str:
        """The end points of the front: for each objective the network that is best in it.

        With three objectives or more it is the best value of each alone: every end point would take too much room.
        """
        if not self._ends:
            return ""
        if len(self._ends) == 1:
            return f"best: {self._goals.names[0]} {figure_text(self._ends[0][1][0])}"
        names = self._goals.names
        places = [names.index(name) for name in self._order if name in names] or range(len(names))
        ends = [[self._ends[end][1][place] for end in places] for place in places]
        if len(places) > 2:
            best = (f"{names[place]} {figure_text(self._ends[place][1][place])}" for place in places)
            return f"best: {', '.join(best)}"
        shown = (
            f"{names[place]} {' … '.join(dict.fromkeys(figure_text(value) for value in own))}"
            for place, own in zip(places, ends, strict=True)
        )
        return f"front: {', '.join(shown)}"

    def _show_best(self, trial: Trial) -> None:
        """Keep a trial that is better in one objective than all before, or as good and better in the others."""
        goals, metrics = self._goals, trial.metrics
        values = goals.values(metrics) if goals.sum_direction else tuple(metrics[name] for name in goals.names)
        turns = [sign(goals.sum_direction)] if goals.sum_direction else [own.turn for own in goals.objectives]
        costs = [turn * value for turn, value in zip(turns, values, strict=True)]
        ends = [((cost, *costs), values) for cost in costs]
        self._ends = list(map(min, self._ends, ends)) if self._ends else ends


class EnumerationProgress(_Shown):
    """Shows how many points of a space are measured, how many a second, and the time left; a context manager."""

    def __init__(self, points: int) -> None:
        self._progress = progress_bar(
            "{task.fields[done]}", "{task.fields[rate]} points/s", "front {task.fields[front]}"
        )
        self._points = points
        self._started = time.monotonic()
        self._earlier = 0
        self._task = self._progress.add_task("search", total=points, rate="-", front="-", done=f"0/{points:,}")

    def start_from(self, points: int) -> None:
        """Count points that an earlier run has measured, which say nothing of the rate."""
        self._earlier = points
        self._started = time.monotonic()
        done = f"{points:,}/{self._points:,}"
        self._progress.reset(self._task, completed=points, total=self._points, done=done, rate="-", front="-")

    def show(self, points: int, front: int) -> None:
        """Show that so many points are done and so many of them make up the front."""
        rate = (points - self._earlier) / max(time.monotonic() - self._started, 1e-9)
        done = f"{points:,}/{self._points:,}"
        self._progress.update(self._task, completed=points, rate=f"{rate:,.0f}", front=front, done=done)


class ComparisonProgress(_Shown):
    """Shows which strategy is under way with which seed, and how much of all runs is done; a context manager."""

    def __init__(self, runs: int, budget: int) -> None:
        self._progress = progress_bar(
            "{task.fields[done]}", "{task.fields[rate]} evaluations/s", "{task.fields[now]}", "compare"
        )
        self._runs = runs
        self._budget = budget
        self._ended = 0
        self._task = self._progress.add_task("compare", total=runs * budget, rate="-", now="", done=f"0/{runs} runs")

    def on_probe(self, tried: int, of_all: int) -> None:
        """Show how many sensitivity probes have run, before a strategy's first trial."""
        self._progress.update(self._task, now=_probing(tried, of_all))

    def on_evaluation(self, strategy: str, seed: int) -> None:
        """Count an evaluation."""
        speed = self._progress.tasks[0].speed
        rate = f"{speed:,.0f}" if speed else "-"
        self._progress.update(self._task, advance=1, rate=rate, now=f"{strategy}, seed {seed}")

    def on_end(self) -> None:
        """Count a run, whatever it had left of its budget."""
        self._ended += 1
        done = f"{self._ended}/{self._runs} runs"
        self._progress.update(self._task, completed=self._ended * self._budget, done=done)


def _probing(tried: int, of_all: int) -> str:
    return f"sensitivity probes: {tried:,} of {of_all:,}"


def each_shown(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """The items, with a bar that goes when the last is done; where there is no terminal, with a line now and then.

    `total` is their number, where they have no length.
    """
    console = terminal(stderr=True)
    count = len(items) if isinstance(items, Sized) else total
    if count == 0:
        return items
    description = f"[bold]{what}"
    if console.is_jupyter and not _hidden.get():
        return _in_notebook(items, description, count)
    if console.is_terminal or _hidden.get():
        return track(items, description, count, console=console, transient=True, disable=_hidden.get())
    return _told(items, what, count)


def _in_notebook(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    """The items, with a bar in the line of the cell, which goes when the last is done."""
    with NotebookProgress(_line_of_cell(), "{task.description}", MofNCompleteColumn(), transient=True) as progress:
        yield from progress.track(items, total, description=description)


def _line_of_cell() -> NotebookLine:
    return _line.get() or NotebookLine()


def _told(items: Iterable[Item], what: str, total: int | None) -> Iterator[Item]:
    """The items, with lines of the log that say how many are done."""
    last = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            logger.info("%s: %d%s done", what, number, "" if total is None else f" of {total}")
        yield item


class TimeColumn(TimeRemainingColumn):
    """The time left, and at the end the time that it took."""

    def __init__(self, named: bool) -> None:
        super().__init__()
        self._named = named

    def render(self, task: Task) -> Text:
        """The time with its name, where there is room for one."""
        if not task.finished and task.stop_time is None:
            return Text("left ", style="default").append(super().render(task)) if self._named else super().render(task)
        minutes, seconds = divmod(round(task.elapsed or 0), 60)
        hours, minutes = divmod(minutes, 60)
        return Text(f"{'took ' if self._named else ''}{hours}:{minutes:02}:{seconds:02}", style="progress.elapsed")


def progress_bar(done: ProgressColumn | str, rate: str, found: str, what: str = "search") -> Progress:
    """A bar with what is done, the rate, the time left and what was found.

    A narrow terminal has no room for the bar itself; a notebook has one of its own; where there is no terminal, lines
    take its place.
    """
    console = terminal(stderr=True)
    ends = TextColumn(found, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))  # what is cut if need be
    words = [f"[bold]{what}", done, rate]
    if console.is_jupyter:
        return NotebookProgress(_line_of_cell(), *words, TimeColumn(True), ends, console=console, disable=_hidden.get())
    bar = [BarColumn(bar_width=16)] if console.width >= LEAST_FOR_BAR else []
    words[1:1] = bar
    is_shown = console.is_terminal
    return (Progress if is_shown else PlainProgress)(
        *words,
        TimeColumn(bool(bar) or not is_shown),
        ends,
        console=console,
        expand=True,
        disable=_hidden.get(),
    )
