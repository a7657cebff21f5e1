"""A comparison is read as it was written, and its page and report come from its folder alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from math import inf
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from chop.actions.compare.job import CompareOptions, run_compare
from chop.errors import SearchError
from chop.record.comparison import Band, CompareSummary, Comparison, StrategySummary
from chop.record.comparison_folder import ComparisonFolder
from chop.record.goals import Goals
from chop.record.summary import Origin
from chop.record.trial import Objective
from chop.report import compare_plots
from chop.report.compare_report import report_text
from tests.record.commands import EXHAUSTIVE, prepared_once, run_config, small_blocks

DATA = Path(__file__).with_name("data") / "v2"
PAGE = """
import sys
from pathlib import Path
from chop.record.comparison_folder import ComparisonFolder
from chop.report.compare_report import print_comparison
folder = Path(sys.argv[1])
print_comparison(ComparisonFolder(folder).summary, folder)
assert "torch" not in sys.modules
"""
FRONT = {"accuracy": np.array([0.5, 0.7]), "bits": np.array([2.0, 4.0])}


def band(*values: float) -> Band:
    return Band(np.array(values) / 2, np.array(values), np.array(values) * 2)


STRATEGY = StrategySummary(
    name="random",
    runs=3,
    deterministic=False,
    hypervolume=band(0.1, 0.25, 0.3),
    hypervolume_by_trial=band(0.1, 0.1, 0.25, 0.3),
    regret={"accuracy [%] under 4 bit": band(inf, 0.5, 0.25)},
    evaluations_to={0.90: (1.0, 2.0, 3.0), 0.95: (2.0, 3.0, inf), 0.98: (inf, inf, inf), 0.99: (inf, inf, inf)},
    evaluations=3.0,
    duplicates=1.0,
    seconds=0.125,
    seconds_per_trial=0.03,
    front=FRONT,
    front_share=0.3,
)
SUMMARY = CompareSummary(
    goals=Goals((Objective("accuracy"), Objective("bits", 0.5, "minimize"))),
    origin=Origin("jets", "ab", "jsc-tiny", "f00", 7, {"chop": "0.1.0"}, "ch compare"),
    space_size=10**40,
    measured=12,
    budget=3,
    seeds=[7, 8, 9],
    is_exact=False,
    strategies=[STRATEGY],
    verdict=["one", "two"],
    comparisons=[
        Comparison("random", "greedy", "hypervolume", 0.5, inf, None, 1.0, "better", ratio=None),
        Comparison("greedy", "random", "evaluations", inf, 4.0, 0.5, -1.0, "worse", 0.1, inf, 2.5, inf, 3.0),
    ],
    correlations={("accuracy", "bits"): -0.5},
    remarks=["a remark [with brackets]"],
    front=FRONT,
    cloud={name: np.append(values, 1 / 3) for name, values in FRONT.items()},
    pairs=[("bits", "accuracy")],
    uniform={name: np.empty(0) for name in FRONT},
    runs=3,
    planned_runs=6,
    units={"bits": "bit"},
)


def parts(value: Any) -> Any:
    """A value that can be compared: arrays as lists, records as dictionaries."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: parts(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [parts(own) for own in value]
    if isinstance(value, Band | StrategySummary | CompareSummary):
        return {one.name: parts(getattr(value, one.name)) for one in fields(value)}
    return value


def test_a_comparison_is_read_as_it_was_written(tmp_path: Path) -> None:
    ComparisonFolder(tmp_path).write_summary(SUMMARY)
    found = ComparisonFolder(tmp_path).summary
    assert parts(found) == parts(SUMMARY)
    assert report_text(found, []) == report_text(SUMMARY, [])
    path = tmp_path / "summary.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"measured": 12', '"measured": 13'), encoding="utf-8")
    with pytest.raises(SearchError, match=r"checksum does not fit.*; run `ch compare` once more"):
        _ = ComparisonFolder(tmp_path).summary


def test_another_process_prints_the_same_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = CompareOptions(("brute_force_random", "uniform"), seeds=2, budget=6)
    no_plots = mock.patch.object(compare_plots, "find_spec", lambda name: None)
    with prepared_once(), small_blocks(), no_plots:
        found = run_compare(run_config(tmp_path, EXHAUSTIVE, "c"), options, typed=["ch", "compare"])
    shown = capsys.readouterr().out
    assert "brute_force_random" in shown
    folder = tmp_path / "c" / "software" / "compare"
    again = subprocess.run(
        [sys.executable, "-c", PAGE, folder], capture_output=True, encoding="utf-8", check=True, timeout=60
    )
    assert again.stdout == shown
    stored = ComparisonFolder(folder).summary
    assert parts(stored) == parts(found)
    assert (stored.origin.command, stored.origin.seed) == ("ch compare", 1)
    assert "No pictures" in stored.remarks[-1]
    assert (folder / "report.md").read_text(encoding="utf-8") == report_text(stored, [])


@pytest.mark.parametrize("case", ["measured", "exact"])
def test_a_comparison_of_an_earlier_chop_is_named(case: str) -> None:
    files = ComparisonFolder(DATA / case)
    with pytest.raises(SearchError, match=r"by an earlier chop, without the curves; run `ch compare` once more"):
        _ = files.summary
    if case == "exact":
        assert files.landscape().size == 18
    else:
        assert len(files.measured().trials) == 11


def test_comparisons_that_were_moved_aside_come_latest_first(tmp_path: Path) -> None:
    for name in ("compare-2", "compare-10", "compare-x", "compare-3"):
        files = ComparisonFolder(tmp_path / name)
        if name != "compare-3":  # which measured no point on its own
            files.open_measured("key", resume=False).close()
    found = ComparisonFolder(tmp_path / "compare").earlier()
    assert [one.path.name for one in found] == ["compare-10", "compare-2"]


def test_a_folder_without_a_comparison_is_told(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"summary.json does not exist; give the folder compare of"):
        _ = ComparisonFolder(tmp_path).summary
