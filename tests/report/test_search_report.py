"""The table at the end of a search: nothing in it is cut off, however narrow the terminal."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chop.record.folder import SearchFolder
from chop.record.goals import Constraint, Goals
from chop.record.summary import FP32, MetricFacts, Origin, SearchSummary
from chop.record.trial import BestRow, Objective, Trial, TrialCounts
from chop.report.figure_text import figure_text
from chop.report.next_steps import next_commands
from chop.report.search_report import print_summary, report_text

NAMES = ("accuracy", "average_bitwidth", "memory_density", "bitops", "model_size", "loss")
VALUES = (0.71234, 17.625, 1.8163, 1_234_567.0, 98_765.0, 0.8765)


def summary_of(objectives: int) -> SearchSummary:
    metrics = dict(zip(NAMES[:objectives], VALUES, strict=False))
    trials = [Trial(123_456 + number, {}, metrics, {}, {}) for number in range(3)]
    config = {"layer": {"config": {"name": "integer", "weight_width": 8}}}
    best = [BestRow(trial, (), config, {"accuracy": (0.7, 0.69, 0.71)}) for trial in trials]
    goals = Goals(tuple(Objective(name) for name in metrics))
    return SearchSummary(
        strategy="random",
        goals=goals,
        origin=Origin("jets"),
        space_size=9,
        counts=TrialCounts(measured=3, repeats=0, failed=0, stopped=0, inherited=0),
        best=best,
        reason="n_trials",
        baselines={FP32: best[0]},
    )


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("objectives", [1, 3, 6])
def test_every_figure_is_there_whole(
    objectives: int, columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    summary = summary_of(objectives)
    print_summary(summary, tmp_path)
    shown = capsys.readouterr().out.split("random: ")[0]
    for word in ("123456", "123458", *(figure_text(value) for value in VALUES[:objectives]), "0.700 [0.690, 0.710]"):
        assert re.search(rf"(^|\s){re.escape(word)}(\s|$)", shown), word
    assert all(len(line.rstrip()) <= columns for line in shown.splitlines()[1:])
    assert "…" not in shown


@pytest.mark.parametrize(
    ("config", "means", "told"),
    [
        ({"name": "integer", "weight_width": 8}, {}, "integer; 8b/4f: 8 bits, 4 of them after the point; w its weight"),
        (
            {"name": "integer", "data_in_width": 8, "data_in_frac_width": "learned"},
            {"data_in": 3.1},
            "integer; 3.1b/learned: widths are learned, 3.1 bits on average; act is a layer's input",
        ),
        (
            {"name": "minifloat_ieee", "weight_width": 6, "weight_exponent_width": 3},
            {},
            "minifloat_ieee; 8b: 8 bits; e: of the exponent; w its weight",
        ),
    ],
)
def test_the_legend_explains_what_is_in_the_table_alone(
    config: dict[str, Any], means: dict[str, float], told: str
) -> None:
    summary = summary_of(1)
    row = replace(summary.best[0], sampled_config={"layer": {"config": config, "mean_widths": means}})
    lines = report_text(replace(summary, best=[row])).splitlines()
    assert f"- Formats: {told}; the rest in float32." in lines


@pytest.mark.parametrize(("samples", "told"), [(512, "512 validation samples"), (0, "validation samples")])
def test_the_samples_that_the_search_measured_on_are_told(samples: int, told: str) -> None:
    facts = MetricFacts("", "maximize", samples=samples, part="validation")
    text = report_text(replace(summary_of(1), metrics={"accuracy": facts}))
    assert f"Winners are selected on {told}, so the scores there are optimistic." in text


def test_winners_that_miss_a_limit_on_the_test_part_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = summary_of(2)
    for least, in_float, told in ((0.69, None, False), (0.705, None, True), (0.705, 0.72, False), (0.705, 0.69, True)):
        goals = replace(summary.goals, constraints=(Constraint("accuracy", "min", least, in_float=in_float),))
        print_summary(replace(summary, goals=goals), tmp_path)
        shown = " ".join(capsys.readouterr().out.split())
        line = "On the test set 3 of the 3 best violate a constraint that they satisfy in the search: "
        line += "trial 123456 (accuracy 0.7)"
        assert (line in shown) == told


def test_a_sum_that_patience_ends_has_no_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = summary_of(2)
    print_summary(replace(summary, goals=replace(summary.goals, sum_direction="maximize"), reason="patience"), tmp_path)
    assert "ended because the best sum has not changed for as many trials" in " ".join(capsys.readouterr().out.split())


def test_a_measured_position_of_the_point_is_explained_where_it_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stated = summary_of(1)
    config = {"layer": {"config": {"name": "integer", "weight_width": 8, "weight_frac_width": "auto"}}}
    measured = replace(stated, best=[replace(row, sampled_config=config) for row in stated.best])
    for summary, told in ((stated, False), (measured, True)):
        print_summary(summary, tmp_path)
        shown = " ".join(capsys.readouterr().out.split())
        assert ("8b/auto: the position of the point is measured" in shown) == told
        rows = [replace(row, test_metrics=None) for row in summary.best]
        print_summary(replace(summary, best=rows, baselines={}, reason="interrupted"), tmp_path)
        shown = " ".join(capsys.readouterr().out.split())
        assert "Not measured, as the search was interrupted: FP32, test scores" in shown
        assert ("the positions of points (b/auto)" in shown) == told
    known = replace(measured, best=[replace(row, frac_widths={"layer": {"weight": 5}}) for row in measured.best])
    print_summary(known, tmp_path)
    shown = " ".join(capsys.readouterr().out.split())
    assert "layer w 8b/5f" in shown and "follows from the measured range of each operand" in shown
    assert "auto" not in shown


def test_whole_circuits_come_before_sums_and_a_baseline_without_a_figure_has_a_dash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = summary_of(1)
    goals = Goals((Objective("luts"),), sum_direction="minimize")
    whole = [
        replace(row, trial=replace(row.trial, software_metrics={"luts": 310.5, "circuit_luts": 300.25}))
        for row in summary.best
    ]
    print_summary(replace(summary, goals=goals, best=whole), tmp_path)
    shown = capsys.readouterr().out
    assert "300.2 (310.5 by layer)" in shown
    assert re.search(r"FP32\s+–\s+–", shown)


def test_command_that_exports_names_the_users_own_model_data_and_plugins(tmp_path: Path) -> None:
    files = SearchFolder(tmp_path)
    files.write_resolved('model = "my nets/own net.py:module"\ndataset = "own.py:data"\n')
    origin = Origin("own", command="ch search --config own.toml --plugin 'my formats.py' --plugin=more.py")
    summary = replace(summary_of(1), exporter="onnx", origin=origin)
    assert next_commands(summary, tmp_path) == [
        f"ch export {tmp_path} --trial 123456 --to onnx --model 'my nets/own net.py:module' --dataset own.py:data"
        " --plugin 'my formats.py' --plugin=more.py"
    ]
    assert f"\n```console\n$ ch export {tmp_path} --trial" in report_text(summary, tmp_path)
