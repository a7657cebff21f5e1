"""The page of a search shows what its records say, and loads nothing from outside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import chop
from chop.errors import SearchError
from chop.record.folder import SearchFolder
from chop.report.figures import write_figures
from chop.report.html.numbers import column, correlations, history
from chop.report.html.page import as_json
from chop.report.html.pages import page_of
from chop.report.html.running_search import running_summary
from chop.report.html.search_data import search_data
from chop.report.html.search_page import data_of_what_is_sound, search_page
from chop.report.search_report import report_text
from tests.conftest import Command
from tests.report.html.searches import exhaustive_search, hypervolume_by_cells, small_search


def data_of(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    return found


def test_trials_have_the_figures_of_the_log() -> None:
    files = small_search()
    data = data_of(search_page(files))
    trials = [trial for trial in files.trials() if trial.repeats is None]
    assert data["trials"]["number"] == [trial.number for trial in trials]
    for name, values in data["trials"]["metrics"].items():
        assert values == pytest.approx([trial.metrics[name] for trial in trials], rel=1e-5)
    for place, trial in enumerate(trials):
        for choice in data["choices"]:
            assert data["trials"]["codes"][choice["key"]][place] == trial.point[choice["key"]]


def test_front_has_formats_tests_and_config() -> None:
    files = small_search()
    data = search_data(files)
    best = files.best()
    assert [row["trial"] for row in data["front"]] == [row.trial.number for row in best]
    row, known = data["front"][0], best[0]
    assert row["test"]["accuracy"] == pytest.approx(list(known.test_metrics["accuracy"]), rel=1e-5)  # type: ignore[index]
    for node, entry in known.sampled_config.items():
        if isinstance(entry, dict) and "weight_width" in entry["config"]:
            assert row["cells"][node]["weight"][1] == entry["config"]["weight_width"]
            assert row["config"][node]["weight_width"] == entry["config"]["weight_width"]
    assert data["goals"]["constraints"][0]["bound"] == 7.5


def test_layers_say_what_quantising_them_alone_costs() -> None:
    data = search_data(exhaustive_search())
    (layer,) = [own for own in data["layers"] if own["op"] == "linear"]
    assert (layer["parameters"], layer["macs"]) == ({"weight": 16 * 5, "bias": 5}, 16 * 5)
    alone = layer["alone"]["accuracy"]
    lowest = min(row["metrics"]["average_bitwidth"] for row in data["front"])
    (narrowest,) = [row for row in data["front"] if row["metrics"]["average_bitwidth"] == lowest]
    assert 0 < alone < data["baselines"][0]["metrics"]["accuracy"]
    assert narrowest["metrics"]["accuracy"] <= data["baselines"][0]["metrics"]["accuracy"]


def test_layers_say_where_measured_points_are_for_each_width() -> None:
    files = exhaustive_search()
    (layer,) = files.summary.layers
    rows = [row for row in files.best() if row.frac_widths]
    assert rows
    for row in rows:
        config = row.sampled_config[layer.name]["config"]
        for operand, bits in row.frac_widths[layer.name].items():
            assert layer.positions[operand][str(config[f"{operand}_width"])] == bits
    assert set(layer.positions["weight"]) == {"2", "3", "4", "6", "8"}  # also those of networks that are not the best


def test_exact_front_is_that_of_the_table() -> None:
    files = exhaustive_search()
    data = search_data(files)
    assert {own["point"] for own in data["exact"]} == {row.trial.number for row in files.best()}
    assert [own["metrics"]["accuracy"] for own in data["exact"]]


def test_density_counts_every_point_in_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chop.report.html.search_data.MOST_TRIALS", 10)
    files = exhaustive_search()
    for grid in search_data(files)["density"]:
        values = [files.landscape().metrics[name] for name in (grid["x"], grid["y"])]
        expected, *_ = np.histogram2d(*values, grid["bins"])
        cells = [[cell, count] for cell, count in enumerate(expected.reshape(-1).tolist()) if count]
        assert grid["cells"] == cells


def test_page_asks_for_nothing_from_outside() -> None:
    page = search_page(small_search())
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)[1]  # type: ignore[index]
    assert "default-src 'none'" in policy
    outside = re.findall(
        r'(?:src|href)\s*=|https?://[^\s"\'<)]+|@import|url\((?!#)',
        re.sub(r'id="data">.*?</script>', "", page, flags=re.DOTALL),
    )
    assert set(outside) <= {"http://www.w3.org/2000/svg"}


def test_page_stays_below_400_kilobytes_with_lite() -> None:
    assert len(search_page(small_search(), lite=True)) < 400_000


def test_text_of_others_cannot_end_the_data() -> None:
    text = as_json({"name": "</script><script>alert(1)</script>"})
    assert "<" not in text
    assert json.loads(text) == {"name": "</script><script>alert(1)</script>"}
    assert json.loads(as_json({"a": [float("nan"), {"b": float("-inf")}, 1.5]})) == {"a": [None, {"b": None}, 1.5]}


def test_page_is_made_without_torch(tmp_path: Path) -> None:
    copytree(small_search().path, tmp_path / "run")
    code = (
        "import sys; from chop.cli.main import app; "
        f"app(['report', {str(tmp_path / 'run')!r}], standalone_mode=False); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True)
    assert done.stdout.rstrip().endswith("False")
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_search_without_its_log_is_no_comparison(tmp_path: Path) -> None:
    copytree(small_search().path, tmp_path / "run")
    (tmp_path / "run" / "trials.jsonl").unlink()
    with pytest.raises(SearchError, match="no search there"):
        page_of(tmp_path / "run")


def test_history_is_in_the_unit_of_the_metric_whatever_its_scale() -> None:
    files = small_search()
    goals = files.summary.goals
    scaled = replace(goals, objectives=tuple(replace(own, scale=0.25) for own in goals.objectives))
    assert history(files.trials(), scaled)["best"] == history(files.trials(), goals)["best"]


def test_metrics_of_the_best_alone_are_in_table_and_page(tmp_path: Path) -> None:
    study = chop.search(
        chop.get_model("jsc-tiny", pretrained=True),
        "jsc",
        formats=["integer"],
        widths=[4, 8],
        objectives=["accuracy"],
        runners={"simulation_time": {"repeats": 3}},
        n_trials=4,
        num_samples=128,
        folder=tmp_path / "run",
    )
    files = SearchFolder(study.folder)
    number = files.best()[0].trial.number
    data = search_data(files)
    values = dict(zip(data["trials"]["number"], data["trials"]["metrics"]["simulation_time"], strict=True))
    assert values.pop(number) > 0
    assert set(values.values()) == {None}
    assert data["front"][0]["metrics"]["simulation_time"] > 0
    assert "simulation_time" in report_text(files.summary).splitlines()[2]


def test_damaged_record_is_refused(tmp_path: Path) -> None:
    copytree(small_search().path, tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(SearchError):
        search_page(SearchFolder(tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "end", "told"),
    [
        ("trials.jsonl", b"\n", r"trials\.jsonl: line \d+ is damaged .*; the \d+ trials before it are shown$"),
        ("trials.jsonl", b"", r"trials\.jsonl: its last line is cut off and left out; what is before it is shown$"),
        ("resolved.toml", b"\n", r"resolved\.toml"),
        ("summary.json", b"\n", r"^the page is of the log alone: .*summary\.json is damaged"),
    ],
)
def test_what_a_page_says_is_missing_is_a_warning_too(
    name: str, end: bytes, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copytree(small_search().path, tmp_path / "run")
    with caplog.at_level("WARNING", "chop"):
        whole = page_of(tmp_path / "run")
        assert not data_of(whole)["notes"] and not caplog.messages
        file = tmp_path / "run" / name
        file.write_bytes(file.read_bytes()[:-20] + end)
        notes = data_of(page_of(tmp_path / "run"))["notes"]
    assert len(notes) == len(caplog.messages) == 1
    assert notes[0] in caplog.messages[0] and re.search(told, caplog.messages[0]), caplog.messages


@pytest.mark.parametrize("name", ["summary.json", "best.json"])
def test_figures_of_a_damaged_record_show_what_its_page_shows(name: str, tmp_path: Path) -> None:
    copytree(small_search().path, tmp_path / "run")
    (tmp_path / "run" / name).write_text("{", encoding="utf-8")
    written = write_figures(tmp_path / "run", tmp_path / "figures")
    assert {path.stem for path in written} == {
        f"{what}_{size}" for what in ("front", "history") for size in ("single", "double")
    }
    assert "networks" in (tmp_path / "figures" / "front_double.svg").read_text(encoding="utf-8")
    (tmp_path / "run" / "trials.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(SearchError):
        write_figures(tmp_path / "run", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_search_writes_the_page_unless_it_is_told_not_to(tmp_path: Path) -> None:
    assert (small_search().path / "report.html").is_file()
    model = chop.get_model("jsc-tiny", pretrained=True)
    chop.search(
        model,
        "jsc",
        formats=["integer"],
        widths=[4, 8],
        objectives=["accuracy"],
        n_trials=2,
        strategy_options={"html_report": False},
        folder=tmp_path / "run",
    )
    assert (tmp_path / "run" / "report.md").is_file()
    assert not (tmp_path / "run" / "report.html").exists()


def test_hypervolume_is_that_of_counted_cells() -> None:
    files = small_search()
    goals = files.summary.goals
    trials = [trial for trial in files.trials() if trial.counts]
    found = history(files.trials(), goals)
    kept = np.array([goals.is_within(trial.metrics) for trial in trials])
    costs = goals.costs_of(trials)[kept]
    by_cells = hypervolume_by_cells(costs, costs.min(0), costs.max(0))
    assert found["hypervolume"][-1] == pytest.approx(by_cells, abs=0.01)
    assert found["evaluations"][-1] == len(trials)
    best = max(trial.metrics["accuracy"] for trial in trials if goals.is_within(trial.metrics))
    assert found["best"]["accuracy"][-1] == pytest.approx(best, rel=1e-5)


def test_rank_correlation_is_scipys() -> None:
    from scipy.stats import spearmanr

    trials = small_search().trials()
    columns = {name: column(trials, name) for name in ("accuracy", "average_bitwidth")}
    found = correlations(columns)
    assert found["values"][0][1] == pytest.approx(spearmanr(*columns.values()).statistic, abs=1e-5)


def test_commands_of_the_page_name_the_users_own_model_data_and_plugins(tmp_path: Path) -> None:
    copytree(small_search().path, tmp_path / "search")
    files = SearchFolder(tmp_path / "search")
    files.write_resolved('model = "my net.py:module"\ndataset = "own.py:data"\n')
    summary = files.summary
    origin = replace(summary.origin, command="ch search --config own.toml --plugin formats.py")
    files.write_summary(replace(summary, origin=origin))
    commands = [text for _, text, _ in data_of(search_page(files))["commands"]]
    assert [text.split()[1] for text in commands] == ["export", "transform", "test"]
    assert all(
        text.endswith(" --model 'my net.py:module' --dataset own.py:data --plugin formats.py") for text in commands
    )


def test_a_search_without_its_summary_has_the_directions_and_units_of_its_runners(tmp_path: Path) -> None:
    whole = small_search()
    copytree(whole.path, tmp_path / "search", ignore=ignore_patterns("summary.json"))
    data, problem = data_of_what_is_sound(SearchFolder(tmp_path / "search"))
    assert "summary.json" in problem
    found = {own["name"]: (own["direction"], own["unit"]) for own in data["metrics"]}
    assert found["loss"] == ("minimize", whole.summary.metrics["loss"].unit)
    assert found == {name: (own.direction, own.unit) for name, own in whole.summary.metrics.items()}


def test_directions_that_a_log_does_not_state_are_not_guessed() -> None:
    header = small_search().header
    old = replace(header, values={name: own for name, own in header.values.items() if name != "metrics"})
    with patch.object(SearchFolder, "header", old):
        data = search_data(small_search(), summary=running_summary(small_search()))
    known = {own["name"]: own["direction"] for own in data["metrics"]}
    assert known["accuracy"] == "maximize"
    assert known["loss"] is None


def test_ch_report_takes_the_page_itself_and_refuses_a_folder_for_it(tmp_path: Path, ch: Command) -> None:
    copytree(small_search().path, tmp_path / "search")
    assert "written: search/report.html" in ch("report", "search/report.html")[0]
    assert (
        "is a folder: give a file, as search/report.html" in ch("report", "search", "--output", "search", status=2)[1]
    )
