"""Reports a search on the terminal and as a file: Pareto table, origin of the figures, files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from chop.record.goals import SUM, Constraint
from chop.record.summary import SearchSummary
from chop.record.trial import BestRow, TestMetrics
from chop.report.figure_text import figure_text
from chop.report.finish_texts import finish_facts, tuned_names
from chop.report.format_texts import describe_formats, format_name
from chop.report.narrow_tables import stacks, widths
from chop.report.next_steps import next_commands
from chop.report.notation import notation
from chop.report.transform_texts import transforms_and_methods
from chop.tools.terminal import print_sentence, terminal
from chop.tools.whole_numbers import readable

MOST_ROWS, MOST_NAMED = 25, 5
NONE = "–"
"""In place of a metric that the FP32 baseline does not have."""

LEAST_FOR_FORMATS = 40
"""Characters that the column of formats must have, to stand beside the figures."""

REASONS = {
    "n_trials": "the number of trials was reached",
    "timeout": "the time was up",
    "patience": "the front has not improved for as many trials as setup.patience allows",
    "exhausted": "every point of the space has been measured",
    "strategy": "the strategy had nothing more to propose",
    "interrupted": "it was interrupted",
}


def print_summary(summary: SearchSummary, folder: Path) -> None:
    """Show the summary of the search in `folder`, and its files, on standard output."""
    console = terminal()
    columns, rows, baselines = summary_table(summary)
    shown = rows[:MOST_ROWS] + baselines
    print_sentence(console, title_of(summary), style="bold")
    for number, table in enumerate(_tables(columns, shown, console.width, summary.baselines)):
        if number:
            console.print()
        console.print(table)
    if len(rows) > MOST_ROWS:
        console.print(f"… and {len(rows) - MOST_ROWS} more in best.json")
    for line in facts_of(summary):
        print_sentence(console, line)
    for file in sorted(folder.iterdir()):
        console.print(f"  {file}", soft_wrap=True, highlight=False, markup=False)
    for command in next_commands(summary, folder):
        console.print(f"next: {command}", soft_wrap=True, highlight=False, markup=False)


def _tables(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, baselines: Collection[str]
) -> list[Table]:
    """The rows as one table, or as several, one below the other, where the columns do not fit into `width` characters.

    Headings take two lines if need be. Each table begins with the number of the trial, or the name of one of the
    `baselines`; the formats are the last column.
    """
    broken = [*map(_broken, columns)]
    for headings in (columns, broken):
        *figures, formats = widths([headings, *rows])
        if sum(figures) + min(formats, LEAST_FOR_FORMATS) <= width:
            return [_table(headings, rows)]
    tables = [
        _table([broken[p] for p in own], [[row[p] for p in own] for row in rows]) for own in stacks(figures, width)
    ]
    formats_of = [[row[0], row[-1]] for row in rows if row[0] not in baselines]
    return [*tables, _table([columns[0], columns[-1]], formats_of)]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        is_text = name == "formats"
        table.add_column(escape(name), justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _broken(heading: str) -> str:
    """A heading in two lines: before its brackets, or behind the underscore that is nearest to its middle."""
    if " [" in heading:
        return heading.replace(" [", "\n[")
    places = [place + 1 for place, letter in enumerate(heading) if letter in "_ "]
    middle = min(places, key=lambda place: abs(place - len(heading) / 2), default=0)
    return f"{heading[:middle]}\n{heading[middle:]}" if middle else heading


def summary_table(summary: SearchSummary) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """The headings of the Pareto table, its rows with the best by the first objective first, and those of baselines."""
    return _columns(summary), [_cells(row, summary) for row in _sorted_rows(summary)], _baselines(summary)


def report_text(summary: SearchSummary, folder: Path | None = None) -> str:
    """The summary as Markdown; with the folder of the search, what to do next is at its end."""
    columns, rows, baselines = summary_table(summary)
    lines = [f"# {title_of(summary)}", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in [*rows, *baselines]]
    lines += ["", *(f"- {line}" for line in facts_of(summary)), ""]
    for command in next_commands(summary, folder) if folder is not None else []:
        lines += ["Next:", "", "```console", f"$ {command}", "```", ""]
    return "\n".join(lines)


def format_names(summary: SearchSummary) -> list[str]:
    """The names of all formats on the front."""
    nodes = [entry for row in summary.best for entry in row.sampled_config.values() if isinstance(entry, Mapping)]
    return sorted({name for entry in nodes if (name := format_name(entry["config"]))})


def title_of(summary: SearchSummary) -> str:
    """The size of the front and the number of configurations behind it: the title of the table."""
    what = "Best" if summary.goals.sum_direction else f"Pareto front: {len(summary.best)}"
    if not summary.goals.is_within(summary.best[0].trial.metrics):
        what = "No configuration satisfies all constraints; the nearest"
    count = summary.counts.measured + summary.counts.inherited
    if summary.of_training:
        return f"{what} of {count:,} measured networks (snapshots of one training, which takes {summary.space_size:,})"
    return f"{what} of {count:,} measured configurations ({readable(summary.space_size)} in the space)"


def _metric_names(summary: SearchSummary) -> list[str]:
    """The metrics of the goals, and those of the best networks alone; those of a whole circuit stand beside its sum."""
    known = summary.goals.metrics
    alone = [name for name, facts in summary.metrics.items() if facts.of_best and name not in known]
    return [*known, *(name for name in alone if name.removeprefix("circuit_") not in known)]


def _test_names(summary: SearchSummary) -> list[str]:
    """The objectives that were measured again on the test set; without any, all that was."""
    rows = [*summary.baselines.values(), *summary.best]
    measured = next((row.test_metrics for row in rows if row.test_metrics), {})
    return [name for name in _metric_names(summary) if name in measured] or list(measured)


def _columns(summary: SearchSummary) -> list[str]:
    tests = [f"test {name} [95 %]" for name in _test_names(summary)]
    figures = [*_metric_names(summary), *(f"untuned {name}" for name in tuned_names(summary))]
    return ["trial", *[SUM] * bool(summary.goals.sum_direction), *figures, *tests, "formats"]


def _cells(row: BestRow, summary: SearchSummary) -> list[str]:
    metrics = row.trial.metrics
    values = [_sum(summary, metrics)] if summary.goals.sum_direction else []
    values += [_figure(name, metrics) for name in _metric_names(summary)]
    values += [_figure(name, row.searched.metrics) if row.finished else "" for name in tuned_names(summary)]
    tests = [_interval(row.test_metrics, name) for name in _test_names(summary)]
    formats = describe_formats(row.sampled_config, len(format_names(summary)) > 1, row.frac_widths)
    return [str(row.trial.number), *values, *tests, formats]


def _baselines(summary: SearchSummary) -> list[list[str]]:
    """The rows of the networks to compare with, by name."""
    return [[name, *_cells(row, summary)[1:]] for name, row in summary.baselines.items()]


def _sum(summary: SearchSummary, metrics: Mapping[str, float]) -> str:
    """The sum of the objectives; a dash where the FP32 baseline lacks one."""
    has_all = all(objective.metric in metrics for objective in summary.goals.objectives)
    return figure_text(summary.goals.values(metrics)[0]) if has_all else NONE


def _figure(name: str, metrics: Mapping[str, float]) -> str:
    """A metric, and where weights are pruned what it is with all of them: `96 of 192`; a dash for none.

    A cost that was measured on the whole circuit comes before the same cost added up by layer.
    """
    if name not in metrics:
        return NONE
    dense, whole = metrics.get(f"dense_{name}"), metrics.get(f"circuit_{name}")
    value = figure_text(metrics[name])
    if whole is not None:
        return f"{figure_text(whole)} ({value} by layer)"
    return value if dense in (None, metrics[name]) else f"{value} of {figure_text(dense)}"


def _is_pruned(config: Mapping[str, Any]) -> bool:
    return bool(transforms_and_methods(config)[0])


def _tells_dense(summary: SearchSummary) -> bool:
    """Whether the table has a figure of the dense network beside one of its own."""
    return any(" of " in _figure(name, row.trial.metrics) for row in summary.best for name in _metric_names(summary))


def _samples(summary: SearchSummary) -> str:
    """The samples that the search measured on, as text."""
    facts = (summary.metrics.get(name) for name in summary.goals.metrics)
    return next((told for own in facts if own and (told := own.told_samples)), "validation samples")


def _is_second_order(config: Mapping[str, Any]) -> bool:
    return any("gptq" in method for method in transforms_and_methods(config)[1])


def _interval(metrics: TestMetrics | None, name: str) -> str:
    if metrics is None:
        return ""
    value, low, high = metrics[name]
    return f"{value:.3f} [{low:.3f}, {high:.3f}]" if isfinite(low) else f"{value:.3f}"


def _sorted_rows(summary: SearchSummary) -> list[BestRow]:
    first = summary.goals.objectives[0]
    return sorted(summary.best, key=lambda row: (first.turn * row.trial.metrics[first.metric], row.trial.number))


def _why(summary: SearchSummary) -> str:
    """Why the search ended."""
    if summary.reason == "patience" and not summary.goals.is_within(summary.best[0].trial.metrics):
        return "no configuration has reduced the violation for as many trials as setup.patience allows"
    if summary.reason == "patience" and summary.goals.sum_direction:
        return "the best sum has not changed for as many trials as setup.patience allows"
    if summary.reason == "exhausted" and summary.of_training:
        return "the training has ended, and all its snapshots have been measured"
    if summary.reason == "strategy" and summary.why_done:
        return summary.why_done
    if summary.reason == "interrupted":
        call = (
            "the same command and --resume" if summary.origin.command else "the same call, its folder and resume=True"
        )
        return f"it was interrupted: go on with {call}"
    return REASONS[summary.reason]


def _not_measured(summary: SearchSummary) -> list[str]:
    """A line on what an interrupted search has left out."""
    if summary.reason != "interrupted" or summary.fp32 or any(row.test_metrics for row in summary.best):
        return []
    formats = [describe_formats(row.sampled_config, True, row.frac_widths) for row in summary.best]
    points = ", the positions of points (b/auto)" if any("b/auto" in own for own in formats) else ""
    return [f"Not measured, as the search was interrupted: FP32, test scores{points}."]


def _missed_on_test(summary: SearchSummary) -> list[str]:
    """A line on rows that satisfy the constraints in the search, and miss one on the test set."""
    missed = []
    for row in summary.best:
        found = {name: interval[0] for name, interval in (row.test_metrics or {}).items()}
        constraints = [
            _on_test(constraint, summary) for constraint in summary.goals.constraints if constraint.metric in found
        ]
        beyond = [
            constraint
            for constraint in constraints
            if constraint and constraint.violation(found[constraint.metric]) > 0
        ]
        if beyond and summary.goals.is_within(row.trial.metrics):
            figures = ", ".join(f"{constraint.metric} {figure_text(found[constraint.metric])}" for constraint in beyond)
            missed.append(f"trial {row.trial.number} ({figures})")
    if not missed:
        return []
    more = f" and {len(missed) - MOST_NAMED} more" if len(missed) > MOST_NAMED else ""
    names = ", ".join(missed[:MOST_NAMED])
    return [
        f"On the test set {len(missed)} of the {len(summary.best)} best violate a constraint that they satisfy in the "
        f"search: {names}{more}."
    ]


def _on_test(constraint: Constraint, summary: SearchSummary) -> Constraint | None:
    """A constraint as it is on the test set: one that is told from the FP32 baseline moves with it."""
    if constraint.in_float is None:
        return constraint
    tested = summary.fp32.test_metrics if summary.fp32 else None
    return (
        replace(constraint, bound=constraint.bound + tested[constraint.metric][0] - constraint.in_float)
        if tested
        else None
    )


def facts_of(summary: SearchSummary) -> list[str]:
    """Sentences below the table: trials, data, constraints, notation, remarks, test columns."""
    counts = summary.counts
    answered = f", {counts.repeats:,} of them repeats answered from the log" if counts.repeats else ""
    answered += f", {counts.failed} failed (a metric that is no finite number)" if counts.failed else ""
    answered += f", {counts.stopped:,} stopped early (they could not reach the front)" if counts.stopped else ""
    answered += f"; {counts.inherited} more from earlier searches" if counts.inherited else ""
    count = counts.measured + counts.repeats
    trials = f"{count:,} trial{'' if count == 1 else 's'}"
    facts = [
        f"{summary.strategy}: {trials}{answered}; ended because {_why(summary)}.",
        f"Data: {summary.origin.data}",
        *([summary.origin.training] if summary.origin.training else []),
    ]
    if summary.goals.constraints:
        facts += [f"Constraints: {summary.goals.constraints_explained()}.", *_missed_on_test(summary)]
    facts += _not_measured(summary)
    names = format_names(summary)
    if names:
        facts.append(notation(names, summary))
    nodes = [
        entry["config"] for row in summary.best for entry in row.sampled_config.values() if isinstance(entry, Mapping)
    ]
    if any(map(_is_second_order, nodes)):
        facts.append("gptq: second-order rounding; a layer's weights are rounded together, from calibration samples.")
    if any(map(_is_pruned, nodes)):
        dense = "; after 'of' are those of the dense network in the same formats" if _tells_dense(summary) else ""
        facts.append(f"Sizes and operations leave out pruned weights and count their index{dense}.")
    facts += finish_facts(summary)
    facts += summary.remarks
    if _test_names(summary):
        again = "Test columns: the same networks measured again on the full test set"
        facts.append(
            f"{again}. The search measured on these samples too, so the figures are optimistic: choose another "
            "data_loader."
            if summary.saw_test
            else f"{again}. Winners are selected on {_samples(summary)}, so the scores there are optimistic."
        )
    return facts
