"""Results in docs/results, which commands of minutes store, and the tables of pages that are made of them.

`make answers` stores comparisons.json and metrics.json, `make exercises` stores exercises.json; both then write the
pages. A test compares the pages with the results, and, under `-m slow`, the results with the commands.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pictures.pages import ROOT, Rows, table, with_table

from chop.record.comparison import CompareSummary
from chop.tools.files import write_whole

RESULTS = ROOT / "docs" / "results"
COMPARE_TOY = "compare --config machop/configs/examples/jsc_toy_brute_force.toml"
COMPARED = {
    "jsc_tiny": "compare --config machop/configs/examples/jsc_tiny_brute_force.toml "
    "--strategies brute_force,brute_force_random,tpe,random --pretrained",
    "jsc_toy": f"{COMPARE_TOY} --strategies brute_force,brute_force_random,uniform,tpe,surrogate --pretrained "
    "--budget 200",
    "strategies": f"{COMPARE_TOY} --strategies surrogate,sensitivity,greedy,evolution,tpe,nsgaii,random,"
    "brute_force_random,uniform,brute_force --pretrained --budget 200",
}
"""The comparisons of the pages, by the name of their result."""

IN_WORDS = {
    "brute_force": "brute force, by index",
    "brute_force_random": "brute force, in random order",
    "uniform": "uniform precision: all layers alike",
    "tpe": "TPE",
}
IN_README = {
    "uniform": "one format for all layers",
    "brute_force_random": "random order",
    "tpe": "Optuna's TPE",
    "surrogate": "`surrogate` of chop",
}


def stored(name: str) -> dict[str, Any]:
    """The results of a file of docs/results; none where there is no such file."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def store(name: str, results: Mapping[str, Any]) -> None:
    """Store results, beside the others of the file, and write the pages that show them."""
    RESULTS.mkdir(exist_ok=True)
    content = json.dumps({**stored(name), **results}, indent=1, ensure_ascii=False)
    write_whole(RESULTS / f"{name}.json", content + "\n")
    for page, tables in TABLES.items():
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        for own, rows_of in tables.items():
            text = with_table(text, own, rows_of())
        write_whole(path, text)


def compared(summary: CompareSummary) -> dict[str, Any]:
    """What is stored of a comparison: medians of each strategy; null where a share is not reached.

    `probes` is what those of the strategy cost, in evaluations.
    """
    return {
        own.name: {
            **{
                f"{target:.0%}": None if math.isinf(own_[1]) else own_[1] for target, own_ in own.evaluations_to.items()
            },
            "evaluations": own.evaluations,
            "share": round(float(own.hypervolume.median[-1]), 4),
            "repeats": own.duplicates,
            "probes": own.probes,
        }
        for own in summary.strategies
    }


def readme() -> Rows:
    """What one would use instead of a search."""
    results = stored("comparisons")["jsc_toy"]
    rows = []
    for name, words in IN_README.items():
        own = results[name]
        networks = "" if own["evaluations"] == 200 else f" ({own['evaluations']:g} networks)"
        rows.append([f"{words}{networks}", *_counts(own, "90%", "99%"), percent(own["share"])])
    return table(["", "evaluations for 90 % of the exact hypervolume", "for 99 %", "after 200"], rows)


def lab_tiny() -> Rows:
    """The first comparison of the lab."""
    rows = [
        [IN_WORDS.get(name, name), *_counts(own, "95%", "99%"), percent(own["share"]), f"{own['repeats']:g}"]
        for name, own in stored("comparisons")["jsc_tiny"].items()
    ]
    return table(["median of 10 seeds", "evaluations for 95 %", "for 99 %", "after 18", "repeats"], rows)


def lab_toy() -> Rows:
    """The second comparison of the lab."""
    rows = []
    for name, own in stored("comparisons")["jsc_toy"].items():
        networks = "" if own["evaluations"] == 200 else f" with {own['evaluations']:g} networks"
        words = IN_WORDS.get(name, f"`{name}`")
        rows.append([words, *_counts(own, "90%", "95%", "99%"), percent(own["share"]) + networks])
    return table(["median of 10 seeds", "for 90 %", "for 95 %", "for 99 %", "after 200"], rows)


def strategies() -> Rows:
    """All strategies on one space."""
    rows = []
    for name, own in stored("comparisons")["strategies"].items():
        ends = "" if own["evaluations"] == 200 else f" (ends after {own['evaluations']:g})"
        counts = _counts(own, "90%", "95%", "98%", "99%", never="")
        rows.append([f"`{name}`{ends}", *counts, percent(own["share"])])
    return table(["", "for 90 %", "for 95 %", "for 98 %", "for 99 %", "after 200"], rows)


def lab_metrics() -> Rows:
    """What the lab prints of its first tasks."""
    return ["```text no-check: make answers prints them", *stored("metrics")["lines"], "```"]


def percent(share: float) -> str:
    """A share with one digit, or 100 % where it is all."""
    return "100 %" if share == 1 else f"{share:.1%}".replace("%", " %")


def _counts(own: Mapping[str, Any], *targets: str, never: str = "not reached") -> list[str]:
    probes = f" + {own['probes']:.3g}" if own["probes"] else ""
    return [never if own[target] is None else f"{own[target]:g}{probes}" for target in targets]


def _exercise(name: str) -> Rows:
    own: Mapping[str, Sequence[Any]] = stored("exercises")[name]
    return table(own["head"], own["rows"])


EXERCISES = ("widths", "sparsity", "fractions", "formats", "accuracy_and_bits")
TABLES: dict[str, dict[str, Callable[[], Rows]]] = {
    "README.md": {"instead": readme},
    "docs/tutorials/lab3.md": {"metrics": lab_metrics, "jsc_tiny": lab_tiny, "jsc_toy": lab_toy},
    "docs/how_to/compare.md": {"strategies": strategies},
    "docs/tutorials/exercises.md": {name: partial(_exercise, name) for name in EXERCISES},
}
"""The tables of each page, by their names in it."""
