"""Reports a comparison on the terminal and as a file: table, verdict, origin of the figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isinf
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from chop.record.comparison import (
    TARGETS,
    CompareSummary,
    Comparison,
    Spread,
    StrategySummary,
    checkpoints,
    counted,
    percent,
)
from chop.report.compare_plot_parts import has_bands
from chop.report.narrow_tables import stacks, widths
from chop.tools.terminal import print_sentence, terminal

CAPTIONS = {
    "best_so_far": "The best value so far, by evaluation{band}.",
    "hypervolume": "{share} by evaluation{band}.",
    "front": "The front that each strategy found in its middle run.",
    "regret": "How far the best configuration under a budget is from the exact best{band}.",
    "evaluations_to": "Evaluations to a share of the {whole}{range}.",
}


def print_comparison(summary: CompareSummary, folder: Path) -> None:
    """Show the comparison in `folder`, and its files, on standard output."""
    console = terminal()
    print_sentence(console, title_of(summary), style="italic")
    columns, rows = (
        _columns(summary),
        [_cells(one, summary, decimals=1) for one in summary.strategies],
    )  # fit 80 columns
    for number, places in enumerate(stacks(widths([columns, *rows]), console.width)):
        if number:
            console.print()
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in (columns[place] for place in places):
            table.add_column(escape(name), justify="left" if name == "strategy" else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(escape(row[place]) for place in places))
        console.print(table)
    print_sentence(console, legend_of(summary))
    for line in [*summary.verdict, *facts_of(summary)]:
        print_sentence(console, line)
    for file in sorted(folder.iterdir()):
        console.print(f"  {file}", soft_wrap=True, highlight=False, markup=False)


def report_text(summary: CompareSummary, plots: Sequence[Path]) -> str:
    """The comparison as Markdown, with the pictures `plots`."""
    sections = [
        [
            f"# {title_of(summary)}",
            "",
            *_markdown(_columns(summary), (_cells(s, summary) for s in summary.strategies)),
            "",
            legend_of(summary),
        ],
        ["## Verdict", "", *(f"- {line}" for line in summary.verdict)],
        ["## What it rests on", "", *(f"- {line}" for line in facts_of(summary))],
        *(_picture(plot, summary) for plot in plots if plot.suffix == ".png"),
        [f"## {_share(summary)} by evaluation", "", *_hypervolume_table(summary, by_trial=False)],
        [f"## {_share(summary)} by trial, repeats among them", "", *_hypervolume_table(summary, by_trial=True)],
        _evaluations_table(summary),
        *(_regret_table(summary, label) for label in summary.strategies[0].regret),
        _comparison_table(summary),
        _correlation_table(summary),
    ]
    return "\n".join(line for section in sections for line in [*section, ""])


def title_of(summary: CompareSummary) -> str:
    """The number of strategies, of runs and of evaluations: the title of the table."""
    what = "strategies" if len(summary.strategies) > 1 else "strategy"
    size = f"{counted(summary.budget, 'evaluation')} of {counted(summary.space_size, 'point')}"
    return f"{len(summary.strategies)} {what}, {summary.extent}, {size}"


def legend_of(summary: CompareSummary) -> str:
    """Explains the columns of the table, and the signs that occur in it."""
    has_ended = any(
        one.evaluations < summary.budget and isinf(one.evaluations_to[TARGETS[-1]][1]) for one in summary.strategies
    )
    ended = " -: the strategy ended before it reached that share." if has_ended else ""
    if any(one.probes for one in summary.strategies):
        ended += " +: sensitivity probes before the first trial, in evaluations; the verdict counts them."
    of_seeds = ("median ", ", median and 10-90 % band in %") if len(summary.seeds) > 1 else ("", " in %")
    return (
        f"Columns: {of_seeds[0]}evaluations to 90 … 99 % of the {summary.whole}; the {summary.share} after "
        f"{counted(summary.budget, 'evaluation')}{of_seeds[1]}; trials that proposed a point again; "
        f"time of the strategy itself, ms a trial.{ended}"
    )


def _share(summary: CompareSummary) -> str:
    """The measure, as the beginning of a heading."""
    return summary.share.capitalize()


def _columns(summary: CompareSummary) -> list[str]:
    targets = [f"{100 * target:.0f} %" for target in TARGETS]
    band = " [10-90]" if len(summary.seeds) > 1 else ""
    return ["strategy", *targets, f"at {summary.budget}{band}", "repeats", "ms"]


def _cells(one: StrategySummary, summary: CompareSummary, decimals: int = 2) -> list[str]:
    targets = [reached(one.evaluations_to[target][1], summary.budget, one) for target in TARGETS]
    volume = _percent(one.hypervolume.at(summary.budget), decimals)
    return [one.name, *targets, volume, f"{one.duplicates:g}", _milliseconds(one.seconds_per_trial)]


def _milliseconds(seconds: float) -> str:
    """Two digits or so, in four characters.

    >>> [_milliseconds(seconds) for seconds in (0.00004, 0.00123, 0.0456, 0.789)]
    ['0.04', '1.2', '46', '789']
    """
    time = 1e3 * seconds
    return f"{time:.2f}" if time < 1 else f"{time:.1f}" if time < 10 else f"{time:.0f}"


def reached(evaluations: float, budget: int, one: StrategySummary | None = None) -> str:
    """The number of evaluations plus that of the probes; `-` for a strategy that ended before, `> 100` beyond 100."""
    if not isinf(evaluations):
        return f"{evaluations:g}" + (f" + {one.probes:.3g}" if one and one.probes else "")
    return "-" if one is not None and one.evaluations < budget else f"> {budget}"


def _percent(at: Spread, decimals: int = 2) -> str:
    """A share with its band, in per cent."""
    low, median, high = (percent(share, decimals) for share in at)
    return median if low == high else f"{median} [{low}, {high}]"


def facts_of(summary: CompareSummary) -> list[str]:
    """Sentences below the table: the exact front, constraints, unusual runs, the data."""
    fixed = [one.name for one in summary.strategies if one.deterministic]
    short = [one for one in summary.strategies if one.evaluations < summary.budget]
    facts = [summary.truth]
    if summary.goals.constraints:
        facts.append(f"Constraints: {summary.goals.constraints_explained()}; points that violate them do not count.")
    facts += [f"The seed does not matter to {', '.join(fixed)}: run twice, with the same proposals."] * bool(fixed)
    facts += [
        f"{one.name} proposed no more than {counted(one.evaluations, 'different point')} (median)." for one in short
    ]
    facts += summary.remarks
    if summary.interrupted:
        runs = ", ".join(f"{one.name} {one.runs}" for one in summary.strategies)
        facts.append(f"Interrupted: the figures are those of the runs that were finished. Runs: {runs}.")
    return [*facts, f"Data: {summary.origin.data}"]


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return lines + [f"| {' | '.join(cells)} |" for cells in rows]


def _picture(plot: Path, summary: CompareSummary) -> list[str]:
    band = ": median and 10-90 % band over seeds" if has_bands(summary) else ": median over seeds"
    spread = {"band": band, "range": ": median and 10-90 % range over seeds"}
    shown = spread if len(summary.seeds) > 1 else dict.fromkeys(spread, "")
    caption = CAPTIONS[plot.stem].format(share=_share(summary), whole=summary.whole, **shown)
    return [f"![{caption}]({plot.name})", "", caption]


def _hypervolume_table(summary: CompareSummary, by_trial: bool) -> list[str]:
    counts = checkpoints(summary.budget)
    bands = {one.name: one.hypervolume_by_trial if by_trial else one.hypervolume for one in summary.strategies}
    rows = [[name, *(_percent(own.at(count)) for count in counts)] for name, own in bands.items()]
    return _markdown(["after", *map(str, counts)], rows)


def _regret_table(summary: CompareSummary, label: str) -> list[str]:
    counts = checkpoints(summary.budget)
    rows = [[one.name, *(_regret(one.regret[label].at(count)) for count in counts)] for one in summary.strategies]
    return [f"## Regret: {label}", "", *_markdown(["after", *map(str, counts)], rows)]


def _regret(at: Spread) -> str:
    low, median, high = (f"{value:.4g}" for value in at)
    return median if low == high else f"{median} [{low}, {high}]"


def _evaluations_table(summary: CompareSummary) -> list[str]:
    columns = ["strategy", *(f"{100 * target:.0f} %" for target in TARGETS)]
    rows = [
        [one.name, *(_range(one.evaluations_to[t], summary.budget, one) for t in TARGETS)] for one in summary.strategies
    ]
    return [f"## Evaluations to a share of the {summary.whole}", "", *_markdown(columns, rows)]


def _range(at: Spread, budget: int, one: StrategySummary) -> str:
    low, median, high = (reached(value, budget, one) for value in at)
    return median if low == high else f"{median} [{low}, {high}]"


def _comparison_table(summary: CompareSummary) -> list[str]:
    if not summary.comparisons:
        return []
    columns = ["strategy", "against", "measure", "own", "other", "p (Holm)", "r", "other / own [95 %]", "verdict"]
    return ["## Comparisons", "", *_markdown(columns, (_comparison(one, summary) for one in summary.comparisons))]


def _comparison(one: Comparison, summary: CompareSummary) -> list[str]:
    is_share = one.measure == "hypervolume"
    figures = [percent(v) if is_share else reached(v, summary.budget) for v in (one.own, one.other)]
    p = "-" if one.p is None else f"{one.p:.2g}"
    ratio = _ratio(one, summary.budget)
    measure = summary.share if is_share else one.measure
    return [one.strategy, one.reference, measure, *figures, p, f"{one.effect + 0.0:.2f}", ratio, one.word]


def _ratio(one: Comparison, budget: int) -> str:
    """The evaluations of the other by its own; at least so many where the other has not arrived."""
    if one.ratio is None:
        return ""
    if isinf(one.ratio):
        least = one.times_at_least(budget)
        return "" if least is None else f"> {least:.2g}"
    ends = "" if one.ratio_low is None else f" [{_number(one.ratio_low)}, {_number(one.ratio_high)}]"
    return f"{one.ratio:.2g}{ends}"


def _number(value: float | None) -> str:
    return "" if value is None else "∞" if isinf(value) else f"{value:.2g}"


def _correlation_table(summary: CompareSummary) -> list[str]:
    if not summary.correlations:
        return []
    rows = [[a, b, f"{rho:+.3f}"] for (a, b), rho in summary.correlations.items()]
    return ["## Rank correlation of the metrics", "", *_markdown(["metric", "metric", "Spearman"], rows)]
