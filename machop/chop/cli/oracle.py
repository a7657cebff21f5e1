"""Prints `ch oracle`: the exact front of a space, and how far points and searches are from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chop.actions.oracle import Oracle, goals_of
from chop.errors import SearchError
from chop.record.comparison_folder import ComparisonFolder
from chop.record.damage import DAMAGES
from chop.record.folder import SearchFolder
from chop.record.landscape import Landscape
from chop.record.landscape_key import landscape_key
from chop.record.names import ALL_ROWS_FILE, LANDSCAPE_FILE, SUMMARY_FILE, search_folder
from chop.tools.terminal import print_sentence, terminal

MOST_ROWS = 25


def show_oracle(path: Path, points: Sequence[int], studies: Sequence[Path], as_json: bool) -> None:
    """Print the front, the standing of `points` and the gap of each of `studies`, as tables or as JSON."""
    path, studies = search_folder(path, takes=(".parquet",)), [*map(search_folder, studies)]
    landscape = Landscape.read(path / LANDSCAPE_FILE if path.is_dir() else path)
    _require_own(landscape)
    oracle = Oracle(landscape)
    standings = [asdict(oracle.standing(point)) for point in points]
    gaps = {str(study): asdict(_oracle_of(study, oracle).gap(points_of(study, landscape))) for study in studies}
    front = [
        {"point": index, "equal_points": count - 1, **_metrics(landscape, index)}
        for index, count in zip(oracle.front.index.tolist(), oracle.front.count.tolist(), strict=True)
    ]
    if as_json:
        found = {"points": landscape.size, "front": front, "standings": standings, "gaps": gaps}
        print(json.dumps(found))  # noqa: T201 - the answer to the command
        return
    console = terminal()
    title = f"Exact Pareto front: {len(front)} of {landscape.size:,} points"
    if oracle.goals.constraints:
        console.print(
            f"Constraints: {oracle.goals.constraints_explained()}", soft_wrap=True, highlight=False, markup=False
        )
    _show(console, title, front[:MOST_ROWS])
    if len(front) > MOST_ROWS:
        console.print(f"… and {len(front) - MOST_ROWS} more with --json")
    if standings:
        rows = [_flat(standing) for standing in standings]
        if not any(row["misses"] for row in rows):
            rows = [{key: value for key, value in row.items() if key != "misses"} for row in rows]
        _show(console, "Points; regret: how much better the best is that is no worse in all else", rows)
    if gaps:
        rows = [{"study": name, **_flat(gap)} for name, gap in zip(_short(gaps), gaps.values(), strict=True)]
        _show(console, "Searches, each with its own constraints; hypervolume as a share of the exact front's", rows)


def _require_own(landscape: Landscape) -> None:
    """Raise SearchError if an exhaustive table is not of the search or comparison in whose folder it is."""
    path = landscape.path
    folder = SearchFolder(path.parent)
    if folder.holds_search:
        folder.require_own(path, landscape.version, landscape.about.get("search", ""))
        return
    key = ComparisonFolder(path.parent).landscape_key
    if path.name == LANDSCAPE_FILE and key not in (None, landscape.about.get("key")):
        raise SearchError(
            f"{path} belongs to another comparison than {SUMMARY_FILE} beside it: the folder is a mixed copy"
        )


def _oracle_of(study: Path, oracle: Oracle) -> Oracle:
    """The oracle with the goals of a search, whose constraints may differ from those of the table.

    Raises SearchError for a search that measured other things, or on another space.
    """
    searched = SearchFolder(study)
    header = searched.header.values
    if landscape_key(searched.fingerprint) != oracle.landscape.about.get("key"):
        raise SearchError(
            f"{study} is a search of another space than {oracle.landscape.path}, or measured it otherwise (weights, "
            "data, samples, runners, the code of metrics): its points are not among those of the exhaustive table"
        )
    return Oracle(oracle.landscape, goals_of(header["goals"], searched.log or study)) if "goals" in header else oracle


def points_of(study: Path, landscape: Landscape) -> list[int]:
    """The numbers of the points that a search measured, without failed and stopped ones.

    Raises SearchError for a folder without a finished search, or with one of another space.
    """
    file = study / ALL_ROWS_FILE
    logged = SearchFolder(study).rows(ALL_ROWS_FILE)
    try:
        rows = [row for row in logged if row.get("stopped_at") is None and not row.get("failed")]
        found = [int(row["point"]) for row in rows]
        sizes = {row["of_points"] for row in rows}
    except DAMAGES as error:
        raise SearchError(f"{file} is no log of a finished search with numbered points ({error})") from error
    if sizes - {landscape.size}:
        raise SearchError(f"{study} searched a space of {sizes} points, {landscape.path} has {landscape.size}")
    if any(not 0 <= index < landscape.size for index in found):
        raise SearchError(f"{file} is damaged: it names points that a space of {landscape.size} points does not have")
    return found


def _short(paths: Iterable[str]) -> list[str]:
    """Paths without the folders that all of them share.

    >>> _short(["out/a/software/ckpts", "out/b/software/ckpts"])
    ['a', 'b']
    """
    parts = [Path(path).parts for path in paths]
    if len(set(parts)) < 2:
        return ["/".join(own) for own in parts]
    same = [len(set(places)) == 1 for places in zip(*parts, strict=False)]
    head = same.index(False) if False in same else len(same)
    tail = next(k for k in range(len(parts[0]) + 1) if len({own[-k - 1 :] for own in parts}) > 1)
    return ["/".join(own[head : len(own) - tail]) or "/".join(own) for own in parts]


def _metrics(landscape: Landscape, index: int) -> dict[str, float]:
    return {name: float(values[index]) for name, values in landscape.metrics.items()}


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose nested tables are spread into columns."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        prefix = "regret " if name == "regret" else ""
        found |= {f"{prefix}{key}": own for key, own in value.items()} if isinstance(value, dict) else {name: value}
    return found


def _show(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table, or as lists of names and values if the table would be too wide."""
    print_sentence(console, title, style="bold")
    shown = [{name.replace("_", " "): _cell(value) for name, value in row.items()} for row in rows]
    for headings in ([[name] for name in shown[0]], [name.split() for name in shown[0]]):
        columns = zip(headings, zip(*(row.values() for row in shown), strict=True), strict=True)
        if sum(max(map(len, [*lines, *cells])) + 2 for lines, cells in columns) <= console.width + 2:
            table = Table(box=None, pad_edge=False, header_style="bold")
            for lines in headings:
                justify: Literal["left", "right"] = "left" if lines == ["study"] else "right"
                table.add_column("\n".join(lines), justify=justify, no_wrap=True)
            for row in shown:
                table.add_row(*map(escape, row.values()))
            console.print(table)
            return
    for row in shown:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, cell in row.items():
            table.add_row(name, escape(cell))
        console.print(table)
        console.print()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
