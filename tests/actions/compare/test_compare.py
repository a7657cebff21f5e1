"""A comparison from the table `[search]` to its files."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from torch import nn

from chop.actions.compare import compared_search, contenders, job
from chop.actions.compare.experiment import Experiment
from chop.actions.compare.exports import as_answer
from chop.actions.compare.job import CompareOptions, compare
from chop.actions.oracle import Oracle
from chop.actions.search import search
from chop.actions.search.measuring import all_points, batched
from chop.actions.search.measuring.scheduler import Scheduler
from chop.actions.search.strategies.base import STRATEGIES, SearchStrategyBase, StrategyContext
from chop.dataset import MaseDataModule
from chop.errors import ConfigError, SearchError
from chop.models import get_model
from chop.record.blocks import Block
from chop.record.landscape import Landscape, join_parts, part_path, read_about, write_part
from chop.record.trials import TrialLog, read_trials
from chop.report import compare_plots, compare_report


@pytest.fixture(autouse=True)
def _without_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take a second each; the tests that look at them say so."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(compare_plots, "find_spec", lambda name: None)


@pytest.fixture
def pictures() -> None:
    pytest.importorskip("matplotlib")


FEW = CompareOptions(("brute_force", "brute_force_random", "random", "tpe"), seeds=3)
PICTURES = {"hypervolume", "front", "regret", "evaluations_to"}


def rows(folder: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = pyarrow.parquet.read_table(folder / "evaluations.parquet").to_pydict()
    return {name: values for name, values in found.items() if name != "seconds"}


@pytest.mark.usefixtures("pictures")
def test_brute_force_is_judged_by_the_oracle_and_all_files_are_there(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    folder = tmp_path / "mine" / "software" / "compare"
    summary = compare(jsc_tiny, jets, lab, folder, FEW)
    assert (summary.is_exact, summary.budget, summary.space_size) == (True, 18, 18)
    names = {path.name for path in folder.iterdir()}
    pictures = {f"{name}.{kind}" for name in PICTURES for kind in ("png", "svg")}
    assert (
        names
        == {"report.md", "report.html", "summary.json", "evaluations.parquet", "evaluations.csv", "landscape.parquet"}
        | pictures
    )
    oracle = Oracle(Landscape.read(folder / "landscape.parquet"))
    by_index = summary.strategies[0]
    assert (by_index.name, by_index.deterministic, by_index.runs) == ("brute_force", True, 2)
    wanted = [oracle.hypervolume(range(count)) for count in range(1, 19)]
    assert by_index.hypervolume.median == pytest.approx(wanted)
    reached = next(count for count, share in enumerate(wanted, 1) if share >= 0.95)
    assert by_index.evaluations_to[0.95] == (reached, reached, reached)
    tidy = rows(folder)
    assert set(zip(tidy["strategy"], tidy["seed"], strict=True)) == {
        *(("brute_force", seed) for seed in range(2)),
        *((name, seed) for name in FEW.strategies[1:] for seed in range(3)),  # type: ignore[index]
    }
    assert tidy["accuracy"] == oracle.landscape.metrics["accuracy"][tidy["point"]].tolist()
    assert pyarrow.csv.read_csv(folder / "evaluations.csv").num_rows == len(tidy["trial"])
    assert "| brute_force_random |" in (folder / "report.md").read_text(encoding="utf-8")


def test_the_answer_has_what_it_promises(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    options = replace(FEW, strategies=("brute_force", "tpe"), seeds=2, budget=12)
    answer = json.loads(json.dumps(as_answer(compare(jsc_tiny, jets, lab, tmp_path / "c", options))))
    assert list(answer) == ["strategies"]
    assert list(answer["strategies"]) == ["brute_force", "tpe"]
    for own in answer["strategies"].values():
        assert set(own) == {"evaluations_to", "hypervolume_at", "duplicates", "probes", "seconds"}
        assert list(own["evaluations_to"]) == ["0.90", "0.95", "0.98", "0.99"]
        assert list(own["hypervolume_at"]) == ["10", "12"]
        assert all(value is None or 1 <= value <= 12 for value in own["evaluations_to"].values())
    assert answer["strategies"]["brute_force"]["evaluations_to"]["0.99"] is None
    assert answer["strategies"]["brute_force"]["duplicates"] == 0


def no_link(*paths: Any) -> None:
    raise OSError("made to fail")


@pytest.mark.parametrize("link", [os.link, no_link])
def test_the_same_again_from_the_landscape_that_lies_beside_it(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    link: Any,
) -> None:
    monkeypatch.setattr(os, "link", link)
    folder = tmp_path / "mine" / "software" / "compare"
    compare(jsc_tiny, jets, lab, folder, FEW)
    monkeypatch.setattr(compared_search, "measure_all_points", None)
    compare(jsc_tiny, jets, lab, folder, FEW)
    first, again = (Landscape.read(place / "landscape.parquet") for place in (folder.with_name("compare-1"), folder))
    assert (first.about, list(first.metrics)) == (again.about, list(again.metrics))
    assert all(np.array_equal(first.metrics[name], again.metrics[name]) for name in first.metrics)
    assert rows(folder) == rows(folder.with_name("compare-1"))
    lab["strategy"]["metrics"]["accuracy"]["min"] = 0.3
    other = tmp_path / "other" / "software" / "compare"
    summary = compare(jsc_tiny, jets, lab, other, FEW)
    assert Oracle(Landscape.read(other / "landscape.parquet")).goals == summary.goals
    assert not (other / "landscape.parts").exists()


def test_a_damaged_landscape_beside_it_is_passed_over(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    damaged, folder = (tmp_path / name / "software" / "compare" for name in ("a", "b"))
    compare(jsc_tiny, jets, lab, damaged, FEW)
    path = damaged / "landscape.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)
    assert compare(jsc_tiny, jets, lab, folder, FEW).is_exact
    assert "is left out of account" in caplog.text
    assert rows(folder) == rows(damaged)


def test_a_space_that_is_not_enumerated_is_judged_by_what_is_known(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    exact = compare(jsc_tiny, jets, lab, tmp_path / "exact", FEW)
    for budget, is_exact in ((18, True), (5, False)):
        folder = tmp_path / f"union-{budget}"
        summary = compare(jsc_tiny, jets, lab, folder, replace(FEW, budget=budget, most_points=17))
        assert summary.is_exact == is_exact
        assert (folder / "landscape.parquet").exists() == is_exact
        if is_exact:
            truth, own = (Landscape.read(place / "landscape.parquet") for place in (tmp_path / "exact", folder))
            for name, values in truth.metrics.items():
                assert own.metrics[name] == pytest.approx(values, rel=1e-4)
            assert rows(folder)["point"] == rows(tmp_path / "exact")["point"]
            for one, other in zip(summary.strategies, exact.strategies, strict=True):
                assert one.hypervolume.median == pytest.approx(other.hypervolume.median)
        else:
            assert "The exact front is not known" in (folder / "report.md").read_text(encoding="utf-8")
            assert max(float(one.hypervolume.high[-1]) for one in summary.strategies) <= 1.0


def test_a_part_of_jsc_toy_under_a_limit_with_three_objectives(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule
) -> None:
    lists = lab["search_space"]["seed"]["seq_blocks_2"]["config"]
    few = {**lists, "bias_width": [4]}
    lab["search_space"]["seed"] |= {name: {"config": few} for name in ("seq_blocks_2", "seq_blocks_5")}
    lab["strategy"]["metrics"] |= {"memory_density": {}, "accuracy": {"min": 0.3, "direction": "maximize"}}
    options = CompareOptions(("random", "tpe"), seeds=2, budget=20)
    summary = compare(get_model("jsc-toy", pretrained=True), jets, lab, tmp_path / "c", options)
    assert summary.space_size == 36
    assert summary.front["accuracy"].min() >= 0.3
    assert len(summary.pairs) == 2
    assert all(0 < one.hypervolume.median[-1] <= 1 for one in summary.strategies)
    assert any("average_bitwidth and memory_density say the same" in remark for remark in summary.remarks)


def test_limits_that_no_network_keeps_are_told_before_the_first_run(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Experiment.run
    monkeypatch.setattr(Experiment, "run", None)
    lab["strategy"]["metrics"]["accuracy"]["min"] = 0.99
    told = r"satisfies all constraints\. The nearest violates accuracy >= 0\.99: it has 0\.\d+, 0\.\d+ away"
    with pytest.raises(SearchError, match=told):
        compare(jsc_tiny, jets, lab, tmp_path / "c", FEW)
    monkeypatch.setattr(Experiment, "run", run)
    with pytest.raises(SearchError, match=f"no point of the measured points {told}"):
        compare(jsc_tiny, jets, lab, tmp_path / "d", replace(FEW, most_points=17, budget=5))


@pytest.mark.usefixtures("pictures")
def test_a_sum_has_no_front_to_draw(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["setup"] = {"sum_scaled_metrics": True, "direction": "maximize"}
    lab["strategy"]["metrics"]["average_bitwidth"]["scale"] = -0.02
    summary = compare(jsc_tiny, jets, lab, tmp_path / "c", replace(FEW, seeds=1))
    assert summary.strategies[1].hypervolume.median[-1] == 1.0
    report = (tmp_path / "c" / "report.md").read_text(encoding="utf-8")
    told = "% of the way from the worst value to the best"
    assert f"Columns: evaluations to 90 … 99 {told}; the way to the best after 18 evaluations in %" in report
    assert f"Evaluations to 95 {told}, median: " in report
    assert "- The best value is exact: all 18 points have been measured." in report
    assert compare_plots.regret(summary).legends[0]._ncols <= 3  # type: ignore[attr-defined] # more are cut off
    svg = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "c").glob("*.svg"))
    assert "way from the worst value to the best" in svg
    assert not [word for word in ("ypervolume", "exact front") if word in report.replace("hypervolume.png", "") + svg]
    assert {path.stem for path in (tmp_path / "c").glob("*.png")} == PICTURES - {"front"}


@pytest.mark.usefixtures("pictures")
@pytest.mark.filterwarnings("error")
def test_an_objective_that_never_varies_is_named_and_not_drawn(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["hw_runner"]["flops"] = {}
    lab["strategy"]["metrics"] = {"accuracy": {"direction": "maximize"}, "flops": {"direction": "minimize"}}
    summary = compare(jsc_tiny, jets, lab, tmp_path / "c", replace(FEW, strategies=("brute_force", "tpe"), seeds=1))
    assert summary.remarks[0].startswith("Warning: flops is the same (")
    assert summary.remarks[1] == "There is no picture of the front: fewer than two objectives vary."
    assert {path.stem for path in (tmp_path / "c").glob("*.png")} == PICTURES - {"front"}


@pytest.mark.usefixtures("pictures")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("widths", "told"),
    [
        (
            [8],
            (
                "1 seed, 1 evaluation of 1 point",
                "after 1 evaluation in %",
                "the only point has",
                "1 evaluation to 95 %",
            ),
        ),
        ([4, 8], ("1 seed, 2 evaluations of 2 points", "all 2 points have", "after 2 evaluations in %")),
    ],
)
def test_the_smallest_spaces_are_told_in_the_singular_and_drawn(
    widths: list[int], told: tuple[str, ...], tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: Any
) -> None:
    lab["search_space"]["seed"]["seq_blocks_2"]["config"] |= {
        "data_in_width": widths,
        "weight_width": [8],
        "bias_width": [8],
    }
    compare(jsc_tiny, jets, lab, tmp_path / "c", replace(FEW, strategies=("brute_force", "tpe"), seeds=1))
    report = (tmp_path / "c" / "report.md").read_text(encoding="utf-8")
    assert not [words for words in told if words not in report]
    assert "proposed no more" not in report


@pytest.mark.usefixtures("pictures")
def test_the_table_fits_a_terminal_and_the_pictures_tell_strategies_apart(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary = compare(jsc_tiny, jets, lab, tmp_path / "c", replace(FEW, budget=5))
    summary = replace(summary, budget=300)  # the widest of the usual
    compare_report.print_comparison(summary, tmp_path / "c")
    table = capsys.readouterr().out.partition("Columns:")[0].splitlines()
    assert len(table) == 2 + len(summary.strategies)
    assert "at 300 [10-90]  repeats" in table[1]
    monkeypatch.setenv("COLUMNS", "40")
    compare_report.print_comparison(summary, tmp_path / "c")
    tables = capsys.readouterr().out.partition("Columns:")[0].splitlines()[1:]
    assert all(len(line) <= 40 for line in tables)
    headings = {name for line in tables if line.startswith("strategy") for name in re.split("  +", line.strip())}
    assert headings == {"strategy", "90 %", "95 %", "98 %", "99 %", "at 300 [10-90]", "repeats", "ms"}
    front = compare_plots.front(summary)
    assert front is not None
    handles = front.legends[0].legend_handles
    assert [text.get_text() for text in front.legends[0].get_texts()][-1] == "found by the strategy"
    assert handles[-1].get_markerfacecolor() == "white" != handles[-1].get_markeredgecolor()  # type: ignore[union-attr]
    assert all(axes.lines[-1].get_markeredgecolor() == "black" for axes in front.axes if axes.lines)
    lines = compare_plots.hypervolume(replace(summary, budget=5)).axes[0].lines
    looks = {(str(line._dash_pattern), line.get_linewidth()) for line in lines[:-1]}  # type: ignore[attr-defined]
    assert len(looks) == len(summary.strategies)
    assert all(line.get_xdata()[-1] > 5 for line in lines[:-1])  # type: ignore[index]


def test_ctrl_c_keeps_the_runs_that_are_done(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls = Experiment.run, []

    def interrupted(self: Experiment, *arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return run(self, *arguments)

    monkeypatch.setattr(Experiment, "run", interrupted)
    summary = compare(jsc_tiny, jets, lab, tmp_path / "c", FEW)
    assert (summary.interrupted, summary.runs, summary.planned_runs) == (True, 6, 12)
    told = json.loads((tmp_path / "c" / "summary.json").read_text(encoding="utf-8"))
    assert (told["seeds"], told["runs"], told["planned_runs"]) == ([0, 1, 2], 6, 12)
    assert len(set(zip(*(rows(tmp_path / "c")[name] for name in ("strategy", "seed")), strict=True))) == 6
    report = (tmp_path / "c" / "report.md").read_text(encoding="utf-8")
    assert report.startswith("# 4 strategies, 6 of 12 runs, interrupted, 18 evaluations of 18 points")
    assert "Runs: brute_force 2, brute_force_random 2, random 1, tpe 1." in report
    assert "6 of 12 runs, interrupted" in compare_plots.what_is_shown(summary)
    assert not any("brute_force" in remark for remark in summary.remarks)
    calls[:] = [None] * 5  # type: ignore[list-item]
    summary = compare(jsc_tiny, jets, lab, tmp_path / "one", FEW)
    assert "tpe has no finished run." in summary.remarks
    calls[:] = [None] * 6  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        compare(jsc_tiny, jets, lab, tmp_path / "none", FEW)


def test_what_was_measured_before_a_comparison_was_cut_off_is_not_measured_again(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = CompareOptions(("greedy", "brute_force"), seeds=1, budget=8, most_points=1)
    whole = compare(jsc_tiny, jets, lab, tmp_path / "whole", options)
    measure, asked = Scheduler.measure, []

    def counted(self: Scheduler, points: Any, front: Any) -> Any:
        if asked:
            raise KeyboardInterrupt
        asked.extend(points)
        return measure(self, points, front)

    monkeypatch.setattr(Scheduler, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        compare(jsc_tiny, jets, lab, tmp_path / "cut", options)
    measured = len(asked)
    asked[:] = []
    monkeypatch.setattr(
        Scheduler, "measure", lambda self, points, front: asked.extend(points) or measure(self, points, front)
    )
    caplog.set_level("INFO")
    again = compare(jsc_tiny, jets, lab, tmp_path / "cut", options)
    assert f"has the metrics of {measured} points; they are not measured again" in caplog.text
    assert len(asked) == whole.measured - measured
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    assert again.verdict == whole.verdict
    asked[:] = []
    compare(jsc_tiny, jets, lab, tmp_path / "cut", options)  # the one before is done, and moved aside
    assert not asked
    assert rows(tmp_path / "cut") == rows(tmp_path / "cut-1")


@pytest.mark.parametrize("most_points", [1, 18])
def test_what_was_measured_of_other_data_is_measured_anew(
    most_points: int,
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = CompareOptions(("brute_force",), seeds=1, budget=18, most_points=most_points)
    folder = tmp_path / "a" / "software" / "compare"
    compare(jsc_tiny, jets, lab, folder, options)
    truth = Landscape.read(folder / "landscape.parquet").metrics["accuracy"]
    if most_points == 1:  # a log with other figures, as of data that no checksum told from these
        (folder / "landscape.parquet").unlink()
        log = folder / "measured.jsonl"
        logged = read_trials(log)
        log.unlink()
        with TrialLog.create(log, logged.fingerprint) as other:
            for trial in logged.trials:
                other.append(replace(trial, software_metrics={**trial.software_metrics, "accuracy": 0.123}))
    else:
        about = read_about(folder / "landscape.parquet")
        wrong = {name: values + 1 for name, values in Landscape.read(folder / "landscape.parquet").metrics.items()}
        write_part(part_path(folder / "parts", 0), 0, wrong)
        join_parts(folder / "parts", 1, folder / "landscape.parquet", about)
    caplog.set_level("INFO")
    compare(jsc_tiny, jets, lab, folder, options)
    assert "model, data, loss or metrics have changed" in caplog.text
    assert Landscape.read(folder / "landscape.parquet").metrics["accuracy"] == pytest.approx(truth, rel=1e-6)


def test_points_are_found_again_behind_other_comparisons(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    options = CompareOptions(("brute_force_random",), seeds=2, budget=6, most_points=1)
    first = compare(jsc_tiny, jets, lab, tmp_path / "c", options)
    other = copy.deepcopy(lab)
    other["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = 100
    assert not [line for line in compare(jsc_tiny, jets, other, tmp_path / "c", options).remarks if "earlier" in line]
    again = compare(jsc_tiny, jets, lab, tmp_path / "c", replace(options, seeds=1, budget=1))
    assert again.measured == first.measured
    assert [
        line
        for line in again.remarks
        if line.startswith(f"{first.measured} points were measured by earlier comparisons")
    ]


@pytest.mark.parametrize("is_aside", [False, True])
def test_of_points_that_were_measured_only_damaged_ones_are_measured_again(
    is_aside: bool, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    options = CompareOptions(("brute_force",), seeds=1, budget=12, most_points=1)
    first = compare(jsc_tiny, jets, lab, tmp_path / "c", options)
    log = tmp_path / "c" / "measured.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines()
    lines[2] = lines[2][5:]
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if not is_aside:
        (tmp_path / "c" / "report.md").unlink()
    again = compare(jsc_tiny, jets, lab, tmp_path / "c", options)
    assert "11 points were measured by earlier comparisons in this folder." in again.remarks
    assert again.measured == first.measured == 12
    kept = tmp_path / ("c-1/measured.jsonl" if is_aside else "c/measured.jsonl.damaged")
    assert kept.read_text(encoding="utf-8").splitlines() == lines


@pytest.mark.usefixtures("pictures")
def test_pictures_of_a_comparison_that_was_cut_off_do_not_stay(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "c"
    monkeypatch.setattr(compare_plots, "find_spec", lambda name: None)
    compare(jsc_tiny, jets, lab, folder, replace(FEW, seeds=1))
    (folder / "report.md").unlink()
    (folder / "regret.png").write_text("of a comparison that was cut off", encoding="utf-8")
    compare(jsc_tiny, jets, lab, folder, replace(FEW, seeds=1))
    assert not list(folder.glob("*.png"))


def test_the_best_known_front_is_that_of_all_that_was_measured(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    options = CompareOptions(("brute_force_random",), seeds=4, budget=8, most_points=1)
    first = compare(jsc_tiny, jets, lab, tmp_path / "c", options)
    again = compare(jsc_tiny, jets, lab, tmp_path / "c", replace(options, budget=1, seeds=1))
    assert again.measured == first.measured
    assert again.front["accuracy"].tolist() == first.front["accuracy"].tolist()
    assert again.strategies[0].hypervolume.median[-1] < 1


@pytest.mark.parametrize(
    ("proposed", "said"),
    [
        ({"nowhere": 0}, "which is not a point"),
        ({}, "which is not a point"),
        ({"seq_blocks_2/config/weight_width": 9}, "choice 9"),
        ({"seq_blocks_2/config/weight_width": 0.5}, "returned 0.5 for seq_blocks_2/config/weight_width"),
        ({"seq_blocks_2/config/weight_width": True}, "returned True for"),
    ],
)
def test_proposals_that_are_no_points_end_their_strategy(
    proposed: dict[str, Any],
    said: str,
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Astray(SearchStrategyBase):
        asked = 0

        def ask(self, n: int) -> list[Any]:
            self.asked += 1
            return [self.space.point(0) if self.asked == 1 else proposed]

    monkeypatch.setitem(STRATEGIES._items, "astray", Astray)
    summary = compare(jsc_tiny, jets, lab, tmp_path / "c", CompareOptions(("astray", "uniform"), seeds=1))
    assert [one.name for one in summary.strategies] == ["uniform"]
    assert any("astray failed" in remark and said in remark for remark in summary.remarks)


@pytest.mark.usefixtures("pictures")
def test_the_labels_of_pictures_of_one_objective_are_whole(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["metrics"] = {"average_bitwidth": {"direction": "minimize"}, "accuracy": {"min": 0.5}}
    summary = compare(jsc_tiny, jets, lab, tmp_path / "c", replace(FEW, seeds=1))
    for figure in (compare_plots.regret(summary), compare_plots.evaluations_to(summary)):
        figure.draw_without_rendering()
        width, height = figure.get_size_inches() * figure.dpi
        labels = [figure._supylabel, *(axes.xaxis.label for axes in figure.axes)]  # type: ignore[attr-defined]
        for label in filter(None, labels):
            box = label.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, label.get_text()


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(
    ("times", "why"),
    [(1, "Interrupted: the pictures are not drawn"), (2, "Interrupted: the pictures"), (0, "OSError: no font")],
)
def test_ctrl_c_or_an_error_while_pictures_are_drawn_costs_the_pictures_alone(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
    why: str,
) -> None:
    def cut_off(*_: Any) -> Any:
        assert (tmp_path / "c" / "report.md").exists()
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        if not times:
            raise OSError("no font")

    monkeypatch.setattr(compare_plots, "front", cut_off)
    summary = compare(jsc_tiny, jets, lab, tmp_path / "c", replace(FEW, seeds=1))
    assert not [path for path in (tmp_path / "c").iterdir() if path.suffix in (".png", ".svg")]
    assert why in (tmp_path / "c" / "report.md").read_text(encoding="utf-8")
    assert summary.verdict
    assert summary.cut_short == (times > 0)


def test_ctrl_c_after_the_last_run_waits_for_the_report(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    summarise = job.summarise

    def cut_off(*args: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return summarise(*args)

    monkeypatch.setattr(job, "summarise", cut_off)
    summary = compare(jsc_tiny, jets, lab, tmp_path / "c", replace(FEW, seeds=1))
    assert summary.verdict and (tmp_path / "c" / "report.md").exists()
    assert summary.cut_short and not summary.interrupted


def test_an_enumeration_that_was_cut_off_goes_on(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batched, "MOST_CONFIGURATIONS", 6)
    whole = compare(jsc_tiny, jets, lab, tmp_path / "whole", FEW)
    measure, done = all_points.BlockTask.measure, []

    def cut_off(task: all_points.BlockTask, number: int) -> Block:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(number)
        return measure(task, number)

    monkeypatch.setattr(all_points.BlockTask, "measure", cut_off)
    with pytest.raises(KeyboardInterrupt):
        compare(jsc_tiny, jets, lab, tmp_path / "cut", FEW)
    monkeypatch.setattr(
        all_points.BlockTask, "measure", lambda task, number: done.append(number) or measure(task, number)
    )
    assert compare(jsc_tiny, jets, lab, tmp_path / "cut", FEW).verdict == whole.verdict
    assert done == [0, 1, 2]
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    assert not (tmp_path / "cut" / "blocks.jsonl").exists()
    assert not (tmp_path / "cut-1").exists()


def test_points_are_asked_for_together_as_the_file_says(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["setup"] = {"ask_batch": 4}
    options = CompareOptions(("tpe",), seeds=1, budget=18)
    compare(jsc_tiny, jets, lab, tmp_path / "four", options)
    lab["strategy"] |= {"name": "optuna", "setup": {"sampler": "tpe", "ask_batch": 4, "n_trials": 60}}
    found = search(jsc_tiny, jets, lab, tmp_path / "search")
    own = rows(tmp_path / "four")["point"]
    space = [
        int(row["point"]) for row in json.loads((tmp_path / "search" / "log.json").read_text(encoding="utf-8")).values()
    ]
    assert len(found.trials) >= len(own)
    assert space[: len(own)] == own


def test_a_strategy_that_fails_costs_its_own_runs_alone(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Experiment.run

    def failing(self: Experiment, contender: Any, *arguments: Any) -> Any:
        if contender.name == "random":
            raise ZeroDivisionError("made to fail")
        return run(self, contender, *arguments)

    monkeypatch.setattr(Experiment, "run", failing)
    summary = compare(jsc_tiny, jets, lab, tmp_path / "c", FEW)
    assert "random" in FEW.strategies
    assert "random" not in set(rows(tmp_path / "c")["strategy"])
    assert any("random failed with seed" in remark and "made to fail" in remark for remark in summary.remarks)
    with pytest.raises(SearchError, match="no run came to its end"):
        compare(jsc_tiny, jets, lab, tmp_path / "d", replace(FEW, strategies=("random",)))


def test_without_matplotlib_there_are_no_pictures_but_all_else(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    summary = compare(jsc_tiny, jets, lab, tmp_path / "c", replace(FEW, seeds=1))
    assert not list((tmp_path / "c").glob("*.png"))
    assert any("matplotlib is not installed" in remark for remark in summary.remarks)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"strategies": ("tpee",)}, "unknown strategy 'tpee'; did you mean 'tpe'?"),
        ({"strategies": ()}, "--strategies: names none"),
        ({"seeds": 0}, "--seeds: must be at least 1, got 0"),
        ({"budget": -3}, "--budget: must be at least 1, got -3"),
        (
            {"strategies": ("one_value",)},
            "one_value: it optimises one number, and there are 2 objectives",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(
    options: dict[str, Any], told: str, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    if "one_value" not in STRATEGIES:
        STRATEGIES.register("one_value")(OneValue)
    with pytest.raises(ConfigError, match=told.replace("?", r"\?")):
        compare(jsc_tiny, jets, lab, tmp_path / "c", CompareOptions(**options))
    assert not (tmp_path / "c").exists()


class OneValue(SearchStrategyBase):
    """The best of one value."""

    multi_objective = False

    def __init__(self, context: StrategyContext, options: Any = None) -> None:
        super().__init__(context, options)
        self._number = np.random.default_rng(context.seed)

    def ask(self, n: int) -> list[Any]:
        return [self.space.point(int(self._number.integers(self.space.size))) for _ in range(n)]


def test_the_strategy_of_the_file_is_told_where_it_takes_no_part(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "DEFAULT_NAMES", ("brute_force",))
    lab["strategy"] |= {"name": "gradient", "setup": {"weight_granularity": "element", "snapshots": 2, "epochs": 2}}
    summary = compare(jsc_tiny, jets, lab, tmp_path / "c", CompareOptions(seeds=1))
    told = "gradient, the strategy of the file, is left out: its trials have weights of their own"
    assert told in " ".join(summary.remarks) and told in (tmp_path / "c" / "report.md").read_text(encoding="utf-8")
    lab["strategy"] |= {"name": "optuna", "setup": {"sampler": "qmc", "n_trials": 5}}
    summary = compare(jsc_tiny, jets, lab, tmp_path / "d", CompareOptions(seeds=1))
    assert "qmc, the strategy of the file, is left out: name it to compare it" in " ".join(summary.remarks)
