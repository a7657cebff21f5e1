"""A search that ends in tuned networks: their figures are those of `basic_train`, and nothing tuned is lost."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from chop.actions.calibration import calibrate
from chop.actions.replay import read_row
from chop.actions.search import search
from chop.actions.search.measuring import batched, tuning
from chop.actions.search.run import block_by_block, finishing
from chop.actions.search.run.publish import SearchResult
from chop.actions.search.search_space.base import SpaceSetup
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.actions.search.strategies.runners.basic_train import BasicTrain, BasicTrainOptions
from chop.dataset import MaseDataModule
from chop.errors import ConfigError, SearchError
from chop.ir import MaseGraph
from chop.ir.graph.graph_file import load_onto
from chop.models import get_model
from chop.models.checkpoint_file import read_checkpoint
from chop.record.folder import SearchFolder
from chop.tools.value_digest import value_digest
from chop.training.fine_tuning import FineTuning, fine_tune
from tests.actions.search.conftest import LAB
from tests.actions.search.killing import killed_at

TINY = {"num_samples": 256}
SHORT = {"num_samples": 1500, "max_epochs": 2, "lr_scheduler": "cosine"}


def finished(finish: dict[str, Any], **setup: Any) -> dict[str, Any]:
    table = copy.deepcopy(LAB)
    table["strategy"]["setup"] |= setup
    return {**table, "finish": finish}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    data = MaseDataModule("jsc", batch_size=512)
    data.prepare_data()
    data.setup()
    return search(get_model("jsc-tiny", pretrained=True), data, finished(SHORT), tmp_path_factory.mktemp("finish"))


def test_figures_are_those_of_basic_train(result: SearchResult, jets: MaseDataModule, jsc_tiny: nn.Module) -> None:
    space = MixedPrecisionPTQ(MaseGraph(jsc_tiny), LAB["search_space"]["seed"])
    runner = BasicTrain(jets, BasicTrainOptions(**SHORT, eval_samples=512))
    tuned = [row for row in result.best if row.finished]
    assert len(tuned) > 3
    for row in tuned[:3]:
        alone = runner(jets, space.rebuild_model(row.sampled_config), row.sampled_config)
        assert {name: row.trial.metrics[name] for name in alone} == alone
        assert row.trial.metrics["accuracy"] != row.searched.metrics["accuracy"]
        assert row.trial.metrics["average_bitwidth"] == row.searched.metrics["average_bitwidth"]


def test_batch_norm_is_measured_at_the_end_as_basic_train_does(jets: MaseDataModule, tmp_path: Path) -> None:
    table = finished({**TINY, "max_epochs": 1, "rows": 2})
    lists = {"name": ["integer"], "data_in_width": [4, 6], "weight_width": [3, 8], "bias_width": [8]}
    table["search_space"]["setup"] |= {"batch_norm": "measured", "calibration_rows": 300}
    seed = table["search_space"]["seed"] = {"default": {"config": {"name": ["NA"]}}, "seq_blocks_5": {"config": lists}}
    model = get_model("jsc-toy", pretrained=True)
    found = search(model, jets, table, tmp_path)
    tuned = SearchFolder(tmp_path).tuned()
    assert len(tuned) == 2
    space = MixedPrecisionPTQ(MaseGraph(model), seed, setup=SpaceSetup(batch_norm="measured", calibration_rows=300))
    calibrate(space.graph, jets, 300)
    runner = BasicTrain(jets, BasicTrainOptions(**TINY, lr_scheduler="cosine", eval_samples=512))
    for own in tuned.values():
        trial = next(trial for trial in found.trials if trial.number == own.number)
        graph = space.rebuild_model(space.flattened_indexes_to_config(trial.point))
        assert runner.measure(graph) == {name: own.software_metrics[name] for name in own.software_metrics}
        loaded = load_onto(space.graph, tmp_path / own.graph)
        assert loaded.plan == graph.plan


def test_a_search_block_by_block_is_finished(
    few: partial[SearchResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_by_block, "LARGEST_LOG", 10)
    monkeypatch.setattr(batched, "MOST_CONFIGURATIONS", 5)
    found = few(search_config=finished({**TINY, "max_epochs": 1, "rows": 3}))
    files = SearchFolder(tmp_path)
    assert not files.is_by_trial and len(files.tuned()) == 3
    assert [row.trial.metrics for row in files.best()] == [row.trial.metrics for row in found.best]


def test_of_a_sum_the_best_are_tuned(few: partial[SearchResult]) -> None:
    table = finished({"num_samples": 4000, "max_epochs": 2, "rows": 4}, sum_scaled_metrics=True, direction="maximize")
    table["strategy"]["metrics"]["average_bitwidth"]["scale"] = -0.01
    found = few(search_config=table)
    goals = SearchFolder(found.folder).summary.goals
    sums = [goals.values(trial.metrics)[0] for trial in found.trials]
    (best,) = found.best
    assert best.finished and goals.values(best.trial.metrics)[0] > max(sums)


def test_a_file_has_the_weights_of_plain_fine_tuning(
    result: SearchResult, jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    row = next(row for row in result.best if row.finished)
    graph = MixedPrecisionPTQ(MaseGraph(jsc_tiny), LAB["search_space"]["seed"]).rebuild_model(row.sampled_config)
    fine_tune(graph.model, jets, FineTuning(**SHORT))
    assert row.finished
    loaded = MaseGraph.from_checkpoint(result.folder / row.finished.graph, jsc_tiny)
    wanted = graph.model.state_dict()
    assert loaded.plan == graph.plan
    assert all(torch.equal(value, wanted[name]) for name, value in loaded.model.state_dict().items())


def test_the_front_is_that_of_both_and_files_hold_both_figures(result: SearchResult) -> None:
    files = SearchFolder(result.folder)
    best, rows = files.best(), files.rows("best.json")
    logged = {trial.number: trial for trial in files.trials()}
    for row, own in zip(rows, best, strict=True):
        assert row["software_metrics"]["accuracy"] == logged[row["number"]].metrics["accuracy"]
        assert own.test_metrics is not None
        if own.finished is None:  # tuning has not made it better
            assert "finished" not in row
            continue
        assert row["finished"]["software_metrics"]["accuracy"] == own.trial.metrics["accuracy"]
        assert own.finished.searched_tests is not None
    points = [(own.trial.metrics["accuracy"], -own.trial.metrics["average_bitwidth"]) for own in best]
    everything = points + [(own.metrics["accuracy"], -own.metrics["average_bitwidth"]) for own in logged.values()]
    for point in points:
        assert not any(
            all(b >= a for a, b in zip(point, other, strict=True)) and other != point for other in everything
        )
    summary = files.summary
    assert summary.finish is not None and sorted(summary.finish.trials) == sorted(files.tuned())
    assert "untuned accuracy" in (result.folder / "report.md").read_text(encoding="utf-8")


def test_the_row_is_tuned_or_as_it_was_searched(result: SearchResult) -> None:
    number = next(row.trial.number for row in result.best if row.finished)
    tuned, untuned = read_row(result.folder, number), read_row(result.folder, number, untuned=True)
    assert tuned.tuned and not untuned.tuned
    assert tuned.metrics["accuracy"] != untuned.metrics["accuracy"]


def networks(folder: Path) -> list[Any]:
    """The front of a finished search: every figure, and the weights of the tuned networks."""
    found = []
    for row in SearchFolder(folder).best():
        plain = replace(row, trial=replace(row.trial, seconds=0.0), finished=None)
        weights = value_digest(dict(read_checkpoint(folder / row.finished.graph).state_dict)) if row.finished else ""
        found.append((plain, weights))
    return found


def test_a_kill_loses_nothing_that_is_tuned(
    result: SearchResult, tmp_path: Path, jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = partial(search, jsc_tiny, jets, finished(SHORT), tmp_path)
    assert killed_at(4, run, tmp_path / "finished.jsonl")
    before = (tmp_path / "finished.jsonl").read_bytes()
    calls = counted(monkeypatch)
    run(resume=True)
    assert (tmp_path / "finished.jsonl").read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert len(calls) < len(SearchFolder(tmp_path).tuned()) - 1
    assert networks(tmp_path) == networks(result.folder)


def test_successive_tuning_goes_on_to_the_same_networks(
    tmp_path: Path, jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    table = finished({**TINY, "rows": 12, "ladder": [1, 2], "max_epochs": 3})
    search(jsc_tiny, jets, table, tmp_path / "unbroken")
    run = partial(search, jsc_tiny, jets, table, tmp_path / "broken")
    log, rounds = tmp_path / "broken" / "finished.jsonl", tuned_for(tmp_path / "unbroken")
    assert sorted(rounds, key=lambda pair: pair[1]) == rounds
    assert killed_at(4, run, log)
    assert killed_at(15, partial(run, resume=True), log)
    run(resume=True)
    assert tuned_for(tmp_path / "broken") == rounds
    assert networks(tmp_path / "broken") == networks(tmp_path / "unbroken")


def tuned_for(folder: Path) -> list[tuple[int, int]]:
    """The trials that were tuned, in order, and for how many epochs."""
    rows = [json.loads(line) for line in (folder / "finished.jsonl").read_text(encoding="utf-8").splitlines()[1:]]
    return [(row["number"], row["tuning"]["max_epochs"]) for row in rows]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[FineTuning]:
    """The options of each training from now on."""
    calls: list[FineTuning] = []

    def counting(model: nn.Module, data: Any, options: FineTuning, **more: Any) -> int:
        calls.append(options)
        return fine_tune(model, data, options, **more)

    monkeypatch.setattr(tuning, "fine_tune", counting)
    return calls


@pytest.fixture
def few(tmp_path: Path, jets: MaseDataModule, jsc_tiny: nn.Module) -> partial[SearchResult]:
    """A search of two networks, whose table is given."""
    return partial(search, jsc_tiny, jets, save_path=tmp_path)


def test_a_search_is_finished_later_and_again(
    few: partial[SearchResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = few(search_config=LAB)
    searched = [row.trial.metrics for row in plain.best]
    calls = counted(monkeypatch)
    one = few(search_config=finished({**TINY, "rows": 2, "max_epochs": 1}), resume=True)
    assert [call.max_epochs for call in calls] == [1, 1]
    few(search_config=finished({**TINY, "rows": 3, "max_epochs": 2}), resume=True)
    assert [call.max_epochs for call in calls] == [1, 1, 2, 2, 2]
    again = few(search_config=finished({**TINY, "rows": 2, "max_epochs": 1}), resume=True)
    assert len(calls) == 5
    assert [row.trial.metrics for row in again.best] == [row.trial.metrics for row in one.best]
    left_out = few(search_config=LAB, resume=True)
    assert [row.trial.metrics for row in left_out.best] == searched
    assert not SearchFolder(tmp_path).tuned()


def test_rows_beyond_the_front_and_rungs(few: partial[SearchResult], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    found = few(search_config=finished({**TINY, "rows": 16, "ladder": [1, 2], "max_epochs": 4}))
    epochs = [call.max_epochs for call in calls]
    assert epochs == sorted(epochs) and epochs.count(1) == 16
    assert 8 <= epochs.count(2) < 16 and epochs.count(2) / 2 <= epochs.count(4) <= epochs.count(2)
    metrics = ("accuracy", "average_bitwidth")
    best = [[row.trial.metrics[name] for name in metrics] for row in found.best]
    for line in (
        (found.folder / "finished.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    ):  # also those of fewer epochs
        row = json.loads(line)
        own = {**row["software_metrics"], **row["hardware_metrics"]}
        assert any(accuracy >= own[metrics[0]] and bits <= own[metrics[1]] for accuracy, bits in best)
    longest = {row.finished.epochs for row in found.best if row.finished}
    assert 4 in longest
    assert set(SearchFolder(found.folder).tuned()) >= {row.trial.number for row in found.best if row.finished}


def test_constraints_are_judged_on_tuned_figures(few: partial[SearchResult], tmp_path: Path) -> None:
    table = finished({"num_samples": 4000, "max_epochs": 2, "rows": 18})
    table["strategy"]["metrics"]["accuracy"]["min"] = 0.708  # the best of the space has 0.7063
    found = few(search_config=table)
    assert all(row.finished and row.trial.metrics["accuracy"] >= 0.708 for row in found.best)
    assert "No configuration satisfies" not in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_jobs_lead_to_the_same_networks(
    result: SearchResult, few: partial[SearchResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finishing, "SECONDS_ALONE", 0.0)
    found = few(search_config=finished(SHORT, n_jobs=2))
    assert networks(found.folder) == networks(result.folder)


def test_a_damaged_network_is_tuned_again(
    few: partial[SearchResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = finished({**TINY, "rows": 2, "max_epochs": 1})
    few(search_config=table)
    file = min((tmp_path / "finished").iterdir())
    content, weights = file.read_bytes(), value_digest(dict(read_checkpoint(file).state_dict))
    file.write_bytes(content[:-4] + bytes(4))
    number = int(file.name.split("-")[1])
    tuned = SearchFolder(tmp_path).tuned()[number]
    with pytest.raises(SearchError, match=r"changed after it was written; let ch search --resume"):
        SearchFolder(tmp_path).finished_graph(tuned.graph, tuned.graph_sha256)
    calls = counted(monkeypatch)
    few(search_config=table, resume=True)
    assert len(calls) == 1
    assert value_digest(dict(read_checkpoint(file).state_dict)) == weights


def test_edited_and_mixed_records_are_refused(few: partial[SearchResult], tmp_path: Path) -> None:
    few(search_config=finished({**TINY, "rows": 2, "max_epochs": 1}))
    log = tmp_path / "finished.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    edited = json.loads(lines[1])
    edited["software_metrics"]["accuracy"] = 0.99
    log.write_text("".join([lines[0], json.dumps(edited) + "\n", *lines[2:]]), encoding="utf-8")
    assert len(SearchFolder(tmp_path).tuned()) == 1
    header = json.loads(lines[0])
    log.write_text(json.dumps({**header, "chop_finished": 3}) + "\n", encoding="utf-8")
    with pytest.raises(SearchError, match="written by a later chop"):
        SearchFolder(tmp_path).tuned()


def test_interrupted_it_publishes_what_is_tuned(
    few: partial[SearchResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO")
    calls = counted(monkeypatch)

    def interrupting(model: nn.Module, data: Any, options: FineTuning, **more: Any) -> int:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(options)
        return fine_tune(model, data, options, **more)

    monkeypatch.setattr(tuning, "fine_tune", interrupting)
    table = finished({**TINY, "max_epochs": 1})
    found = few(search_config=table)
    assert found.reason == "interrupted"
    summary = SearchFolder(tmp_path).summary
    assert summary.reason == "interrupted" and summary.finish and len(summary.finish.trials) == 2
    missing = f"{summary.finish.wanted - 2} of {summary.finish.wanted} tunings (1 epoch each)"
    assert f"interrupted: {missing} are missing" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert f"tuned 2 of {summary.finish.wanted} networks (1 epoch each): accuracy" in caplog.text
    assert "tune 2/" not in capsys.readouterr().err  # one line for each network, not two
    monkeypatch.setattr(tuning, "fine_tune", fine_tune)
    assert few(search_config=table, resume=True).reason == "exhausted"
    resumed = SearchFolder(tmp_path).summary.finish
    assert resumed and not resumed.missing


@pytest.mark.parametrize(
    ("finish", "message"),
    [
        ({"max_epochs": 0}, r"finish.max_epochs: expected greater than or equal to 1"),
        ({"epochs": 2}, r"finish.epochs: unknown key"),
        ({"ladder": [2, 1]}, r"finish.ladder: must ascend and stay below max_epochs = 3"),
        ({"ladder": [3]}, r"finish.ladder: must ascend and stay below max_epochs = 3"),
        ({"rows": 0}, r"finish.rows: expected greater"),
        ("soon", r"finish: expected a table"),
    ],
)
def test_wrong_options_are_told(
    few: partial[SearchResult], tmp_path: Path, finish: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        few(search_config=finished(finish))
    assert not list(tmp_path.iterdir())


def test_a_runner_that_trains_leaves_nothing_to_finish(few: partial[SearchResult]) -> None:
    table = finished(SHORT)
    table["strategy"]["sw_runner"] = {"basic_train": {"num_samples": 512}}
    with pytest.raises(ConfigError, match=r"'basic_train' changes each network before it measures"):
        few(search_config=table)
