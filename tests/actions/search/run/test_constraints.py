"""Constraints: a network that violates one does not count; one that none satisfies says how near they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from chop.actions.oracle import Oracle
from chop.actions.search import run_search, search
from chop.actions.search.measuring import batched
from chop.actions.search.run import block_by_block
from chop.actions.search.run.loop import WORST, told_values
from chop.cli.oracle import show_oracle
from chop.config import load_run_config
from chop.dataset import MaseDataModule
from chop.errors import ConfigError, SearchError
from chop.record.folder import SearchFolder
from chop.record.goals import Constraint, Goals
from chop.record.landscape import Landscape
from chop.record.trial import Objective, Trial
from chop.report.html.search_data import search_data

EXAMPLE = Path(__file__).resolve().parents[4] / "machop/configs/examples/jsc_tiny_brute_force.toml"


def rows(folder: Path, file: str = "best.json") -> list[dict[str, Any]]:
    return list(json.loads((folder / file).read_text(encoding="utf-8")).values())


def with_constraints(lab: dict[str, Any], **constraints: dict[str, Any]) -> dict[str, Any]:
    for name, own in constraints.items():
        lab["strategy"]["metrics"][name] = {**lab["strategy"]["metrics"].get(name, {}), **own}
    return lab


def undominated(points: dict[int, tuple[float, float]]) -> set[int]:
    """The numbers of those with more of the first and less of the second that no other dominates."""
    return {
        number
        for number, (a, b) in points.items()
        if not any(x >= a and y <= b and (x, y) != (a, b) for x, y in points.values())
    }


def test_only_networks_within_the_limits_make_the_front(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    with_constraints(lab, accuracy={"min": "55 %"}, average_bitwidth={"max": "5.9 bits"})
    result = search(jsc_tiny, jets, lab, tmp_path)
    points = {trial.number: (trial.metrics["accuracy"], trial.metrics["average_bitwidth"]) for trial in result.trials}
    within = {number: own for number, own in points.items() if own[0] >= 0.55 and own[1] <= 5.9}
    assert 0 < len(within) < len(points)
    assert {row.trial.number for row in result.best} == undominated(within)
    told = "Constraints: accuracy >= 0.55 (55 %), average_bitwidth <= 5.9 bit (5.9 bits)."
    assert told in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_table_of_limits_alone_is_no_objective(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["metrics"]["accuracy"] = {"min": 0.6}
    result = search(jsc_tiny, jets, lab, tmp_path)
    kept = [trial for trial in result.trials if trial.metrics["accuracy"] >= 0.6]
    assert {row.trial.metrics["average_bitwidth"] for row in result.best} == {
        min(trial.metrics["average_bitwidth"] for trial in kept)
    }
    assert set(result.trials[0].scaled_metrics) == {"average_bitwidth"}
    assert "| accuracy |" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_drop_is_measured_from_the_network_in_float(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    lab["strategy"]["metrics"] |= {"accuracy": {"max_drop": "5 %"}, "loss": {"max_drop": 0.5}}
    caplog.set_level("INFO")
    result = search(jsc_tiny, jets, lab, tmp_path)
    report = (tmp_path / "report.md").read_text(encoding="utf-8").splitlines()
    cells = [line.split("|") for line in report if line.startswith(("| trial", "| FP32"))]
    in_float = dict(zip(map(str.strip, cells[0]), map(str.strip, cells[1]), strict=False))
    least = float(in_float["accuracy"]) - 0.05
    assert f"constraint: accuracy >= {least:.3f}" in caplog.text
    assert f"constraint: loss <= {float(in_float['loss']) + 0.5:.2f}" in caplog.text
    assert all(row.trial.metrics["accuracy"] >= least - 1e-4 for row in result.best)
    assert any(trial.metrics["accuracy"] < least for trial in result.trials)


@pytest.mark.parametrize("least", [0.6, 0.99])
def test_block_by_block_finds_what_trial_by_trial_finds(
    least: float,
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_constraints(lab, accuracy={"min": least}, average_bitwidth={"max": 5.9})
    search(jsc_tiny, jets, lab, tmp_path / "trials")
    monkeypatch.setattr(block_by_block, "LARGEST_LOG", 4)
    monkeypatch.setattr(batched, "MOST_CONFIGURATIONS", 5)
    search(jsc_tiny, jets, lab, tmp_path / "blocks")
    assert len((tmp_path / "blocks" / "blocks.jsonl").read_text(encoding="utf-8").splitlines()) == 5
    ours, theirs = rows(tmp_path / "blocks"), rows(tmp_path / "trials")
    assert [row["number"] for row in ours] == [row["number"] for row in theirs]
    assert [row["software_metrics"]["accuracy"] for row in ours] == [
        row["software_metrics"]["accuracy"] for row in theirs
    ]
    tables = [
        (tmp_path / name / "report.md").read_text(encoding="utf-8").splitlines()[:5] for name in ("blocks", "trials")
    ]
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"min": float("nan")}, "expected a finite number"),
        ({"scale": 0.0}, "must be a finite number other than 0"),
        ({"min": 73}, 'accuracy lies between 0 and 1 (in per cent: "73 %")'),
        ({"max": -0.5}, "accuracy lies between 0 and 1"),
        ({"max_drop": -0.1}, "must be 0 or more"),
    ],
)
def test_what_no_network_can_keep_is_refused(
    table: dict[str, float], told: str, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["metrics"]["accuracy"] |= table
    with pytest.raises(ConfigError) as caught:
        search(jsc_tiny, jets, lab, tmp_path)
    assert told in str(caught.value)


def test_the_oracle_judges_a_search_by_its_own_limits(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    lab["strategy"]["setup"] = {"landscape": True}
    search(jsc_tiny, jets, lab, tmp_path / "all")
    with_constraints(lab, accuracy={"min": 0.99})
    lab["strategy"]["setup"] = {}
    search(jsc_tiny, jets, lab, tmp_path / "limited")
    with pytest.raises(SearchError, match=r"accuracy >= 0\.99|satisfies all constraints"):
        show_oracle(tmp_path / "all", [], [tmp_path / "limited"], as_json=True)


def test_where_nothing_keeps_the_limits_the_nearest_is_shown_and_how_near_it_came(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    with_constraints(lab, accuracy={"min": 0.9})
    result = search(jsc_tiny, jets, lab, tmp_path)
    best = max(trial.metrics["accuracy"] for trial in result.trials)
    assert [row.trial.metrics["accuracy"] for row in result.best] == [best]
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "No configuration satisfies all constraints; the nearest of 18 measured configurations" in report
    assert f"it violates accuracy >= 0.9: it has {best:.6g}, {0.9 - best:.3g} away" in report


def test_a_sum_is_taken_of_those_within_the_limits(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["setup"] = {"sum_scaled_metrics": True, "direction": "maximize"}
    with_constraints(lab, average_bitwidth={"scale": -0.02, "max": 5.1})
    result = search(jsc_tiny, jets, lab, tmp_path)
    sums = {
        trial.number: sum(trial.scaled_metrics.values())
        for trial in result.trials
        if trial.metrics["average_bitwidth"] <= 5.1
    }
    assert 0 < len(sums) < 18
    assert [row.trial.number for row in result.best] == [max(sums, key=lambda number: sums[number])]


def test_the_oracle_and_the_gap_know_the_limits(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    with_constraints(lab, accuracy={"min": 0.6})
    lab["strategy"]["setup"] = {"landscape": True}
    truth = tmp_path / "truth" / "software" / "search_ckpts"
    found = search(jsc_tiny, jets, lab, truth)
    oracle = Oracle(Landscape.read(truth / "landscape.parquet"))
    assert sorted(oracle.front.index.tolist()) == [row.trial.number for row in found.best]
    beyond = [trial.number for trial in found.trials if trial.metrics["accuracy"] < 0.6]
    assert oracle.hypervolume(beyond) == 0
    assert oracle.gap([*beyond, *oracle.front.index.tolist()]).hypervolume == pytest.approx(1.0)
    standing = oracle.standing(beyond[0])
    assert standing.metrics["accuracy"] == found.trials[beyond[0]].metrics["accuracy"]
    assert (standing.dominated_by, set(standing.regret.values())) == (None, {None})
    assert "accuracy" in standing.misses
    with pytest.raises(SearchError, match="satisfies all constraints"):
        oracle.gap(beyond)

    lab["strategy"] |= {"name": "optuna", "setup": {"n_trials": 12}}
    other = SearchFolder(tmp_path / "other" / "software" / "search_ckpts")
    search(jsc_tiny, jets, lab, other.path)
    assert "Gap to the optimum" in (other.path / "report.md").read_text(encoding="utf-8")
    assert other.summary.exact_front == oracle.front_metrics
    assert {own["point"] for own in search_data(other)["exact"]} == {row.trial.number for row in found.best}


def test_a_search_without_anything_within_its_limits_has_no_gap_but_an_end(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["setup"] = {"landscape": True}
    search(jsc_tiny, jets, lab, tmp_path / "truth" / "software" / "search_ckpts")
    for least in (0.7, 0.99):  # no point of those that are measured, no point at all
        with_constraints(lab, accuracy={"min": least})["strategy"]["setup"] = {"n_trials": 2}
        folder = tmp_path / f"other-{least}" / "software" / "search_ckpts"
        search(jsc_tiny, jets, lab, folder)
        report = (folder / "report.md").read_text(encoding="utf-8")
        assert "it violates accuracy" in report
        assert "Gap to the optimum" not in report


def test_other_limits_are_not_resumed(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    with_constraints(lab, accuracy={"min": 0.6})["strategy"]["setup"] = {"n_trials": 3}
    search(jsc_tiny, jets, lab, tmp_path)
    with_constraints(lab, accuracy={"min": 0.61})
    with pytest.raises(SearchError, match=r"limits \(bound was 0.6, is 0.61\) changed"):
        search(jsc_tiny, jets, lab, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('accuracy.min = "0.7 KiB"', "accuracy.min: expected a number, or text of a number and a unit (%), got"),
        ('average_bitwidth.max = "2 KiB"', "average_bitwidth.max: expected a number, or text of a number and a unit"),
        ("accuracy.mim = 0.7", "accuracy.mim: unknown key; did you mean 'min'?"),
        ("accuracy.min = true", "accuracy.min: expected"),
        ("model_size.max = 3", "model_size: no runner of this file returns it; add one of: model_size"),
    ],
)
def test_a_wrong_limit_has_one_line_with_its_place(line: str, message: str, tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8").rstrip("\n") + f"\n{line}\n"
    (tmp_path / "wrong.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        run_search(load_run_config(tmp_path / "wrong.toml", {}))
    assert f"wrong.toml:{len(text.splitlines())}: search.strategy.metrics.{message}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_least_value_above_the_greatest_is_refused(
    lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    with_constraints(lab, accuracy={"min": "80 %", "max": 0.7})
    with pytest.raises(ConfigError, match=r"accuracy\.min: must not be above max, but 80 % > 0.7"):
        search(jsc_tiny, jets, lab, Path("nowhere"))


def test_limits_alone_are_nothing_to_optimise(lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module) -> None:
    lab["strategy"]["metrics"] = {"accuracy": {"min": 0.7}}
    with pytest.raises(ConfigError, match="names nothing to optimise"):
        search(jsc_tiny, jets, lab, Path("nowhere"))


def test_a_strategy_is_told_how_far_a_trial_is_beyond_its_limits() -> None:
    goals = Goals(
        (Objective("a"), Objective("b", direction="minimize")), (Constraint("a", "min", 0.5), Constraint("b", "max", 8))
    )

    def trial(a: float, b: float, failed: str = "") -> Trial:
        return Trial(0, {}, {"a": a, "b": b}, {}, {}, failed=failed)

    assert told_values(trial(0.6, 4), goals, with_violations=True) == (0.6, 4, pytest.approx(-0.2), pytest.approx(-0.5))
    assert told_values(trial(0.6, 4), goals, with_violations=False) == (0.6, 4)
    near, far = (told_values(trial(a, 4), goals, with_violations=False) for a in (0.4, 0.2))
    assert far[0] < near[0] < -WORST / 4
    assert far[1] > near[1] > WORST / 4
    assert told_values(trial(0, 0, "broken"), goals, with_violations=True) == (-WORST, WORST, WORST, WORST)
