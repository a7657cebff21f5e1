"""Exhaustive searches block by block: the same front as trial by trial, whatever interrupts them and whoever works."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from torch import Tensor, nn

from chop.actions.oracle import Oracle
from chop.actions.search import search
from chop.actions.search.measuring import all_points, batched
from chop.actions.search.run import block_by_block
from chop.actions.search.strategies.runners import RUNNERS, Metric, ModelRunner, OutputRunner
from chop.cli.oracle import show_oracle
from chop.dataset import MaseDataModule
from chop.errors import ConfigError, SearchError
from chop.models import get_model
from chop.record.blocks import Block
from chop.record.folder import SearchFolder
from chop.record.front import Front
from chop.record.goals import Goals
from chop.record.landscape import Landscape, part_path, write_part
from chop.report.html.running_search import running_summary
from chop.report.html.search_data import search_data
from chop.report.html.search_page import running_page


@pytest.fixture
def toy(lab: dict[str, Any]) -> dict[str, Any]:
    """jsc-toy: three layers of 18 choices, the first of them two alone, so that there are 2 · 18 · 18 points."""
    lists = lab["search_space"]["seed"]["seq_blocks_2"]["config"]
    few = {**lists, "weight_width": [4], "bias_width": [4]}
    lab["search_space"]["seed"] |= {"seq_blocks_2": {"config": few}}
    lab["search_space"]["seed"] |= {name: {"config": lists} for name in ("seq_blocks_5", "seq_blocks_8")}
    lab["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = 400
    return lab


@pytest.fixture
def jsc_toy() -> nn.Module:
    return get_model("jsc-toy", pretrained=True)


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_by_block, "LARGEST_LOG", 100)
    monkeypatch.setattr(batched, "MOST_CONFIGURATIONS", 110)


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of `best.json`, but for what is drawn for each search."""
    found = json.loads((folder / "best.json").read_text(encoding="utf-8")).values()
    return [{key: value for key, value in row.items() if key not in ("search", "sha256")} for row in found]


def blocks(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "blocks.jsonl").read_text(encoding="utf-8").splitlines()[1:]]
    return sorted(({**row, "seconds": 0, "sha256": ""} for row in found), key=lambda row: row["block"])


def test_the_front_is_that_of_all_trials(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_trial = search(jsc_toy, jets, toy, tmp_path / "trials")
    monkeypatch.setattr(block_by_block, "LARGEST_LOG", 100)
    monkeypatch.setattr(batched, "MOST_CONFIGURATIONS", 110)
    by_block = search(jsc_toy, jets, toy, tmp_path / "blocks")
    assert by_block.reason == "exhausted"
    assert len(blocks(tmp_path / "blocks")) == 6
    assert [row.trial.number for row in by_block.best] == [row.trial.number for row in by_trial.best]
    for ours, theirs in zip(rows(tmp_path / "blocks"), rows(tmp_path / "trials"), strict=True):
        assert ours["software_metrics"]["accuracy"] == theirs["software_metrics"]["accuracy"]
        assert ours["hardware_metrics"] == theirs["hardware_metrics"]
        assert ours.get("equal_points", 0) == len(theirs["equal_trials"])
        assert ours["sampled_config"] == theirs["sampled_config"]


@pytest.mark.usefixtures("in_blocks")
def test_the_page_of_a_running_search_has_the_front_of_the_finished_blocks_with_its_choices(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    toy["strategy"]["setup"]["landscape"] = True
    search(jsc_toy, jets, toy, tmp_path / "whole")
    (tmp_path / "running").mkdir()
    lines = (tmp_path / "whole" / "blocks.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "running" / "blocks.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:50])
    files = SearchFolder(tmp_path / "running")
    done = sum(row["stop"] - row["first"] for row in map(json.loads, lines[1:4]))
    known = Landscape.read(tmp_path / "whole" / "landscape.parquet").metrics
    costs = np.stack([-known["accuracy"], known["average_bitwidth"]], 1)[:done]
    data = search_data(files, summary=running_summary(files))
    assert data["trials"]["number"] == sorted(Front.of(costs, np.arange(done)).index.tolist())
    assert f"{done} of 648 points" in data["facts"][0]
    whole = {row["point"]: row["sampled_config"] for row in rows(tmp_path / "whole")}
    common = [place for place, number in enumerate(data["trials"]["number"]) if number in whole]
    assert common
    for axis in data["choices"]:
        for place in common:
            chosen = axis["values"][data["trials"]["codes"][axis["key"]][place]]
            assert whole[data["trials"]["number"][place]][axis["node"]]["config"][axis["own"]] == chosen
    assert '"running":true' in running_page(files)


@pytest.mark.usefixtures("in_blocks")
def test_a_search_that_is_cut_off_goes_on_to_the_same_end(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy["strategy"]["setup"] = {"landscape": True}
    search(jsc_toy, jets, toy, tmp_path / "whole")
    measure = all_points.BlockTask.measure

    def interrupted(task: all_points.BlockTask, number: int) -> Block:
        if number == 2:
            raise KeyboardInterrupt
        return measure(task, number)

    monkeypatch.setattr(all_points.BlockTask, "measure", interrupted)
    assert search(jsc_toy, jets, toy, tmp_path / "cut").reason == "interrupted"
    assert len(rows(tmp_path / "cut")) > 0
    with (tmp_path / "cut" / "blocks.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"block": 2, "fir')  # killed while it was writing
    monkeypatch.setattr(all_points.BlockTask, "measure", measure)
    assert search(jsc_toy, jets, toy, tmp_path / "cut", resume=True).reason == "exhausted"
    assert blocks(tmp_path / "cut") == blocks(tmp_path / "whole")
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    ours, theirs = (Landscape.read(tmp_path / name / "landscape.parquet") for name in ("cut", "whole"))
    assert all(np.array_equal(ours.metrics[name], theirs.metrics[name]) for name in theirs.metrics)
    toy["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = 300
    with pytest.raises(SearchError, match="another search"):
        search(jsc_toy, jets, toy, tmp_path / "cut", resume=True)


@pytest.mark.usefixtures("in_blocks")
@pytest.mark.parametrize("lost", ["the report", "the landscape", "the end of the landscape"])
def test_a_search_that_was_killed_while_it_finished_is_finished_by_resuming(
    lost: str, tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    toy["strategy"]["setup"] = {"landscape": True}
    search(jsc_toy, jets, toy, tmp_path)
    wanted = (rows(tmp_path), (tmp_path / "report.md").read_text(encoding="utf-8"))
    truth = Landscape.read(tmp_path / "landscape.parquet")
    (tmp_path / "report.md").unlink()
    if lost == "the landscape":
        (tmp_path / "landscape.parquet").unlink()
    if lost == "the end of the landscape":
        data = (tmp_path / "landscape.parquet").read_bytes()
        (tmp_path / "landscape.parquet").write_bytes(data[: len(data) // 2])
    search(jsc_toy, jets, toy, tmp_path, resume=True)
    assert (rows(tmp_path), (tmp_path / "report.md").read_text(encoding="utf-8")) == wanted
    again = Landscape.read(tmp_path / "landscape.parquet")
    assert all(np.array_equal(again.metrics[name], truth.metrics[name]) for name in truth.metrics)
    assert search(jsc_toy, jets, toy, tmp_path, resume=True).reason == "exhausted"  # blocks done twice count once
    assert rows(tmp_path) == wanted[0]
    with pytest.raises(SearchError, match=r"blocks.jsonl exists; resume it"):
        search(jsc_toy, jets, toy, tmp_path)


@pytest.mark.usefixtures("in_blocks")
def test_parts_of_an_earlier_search_are_no_part_of_a_landscape(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    write_part(part_path(tmp_path / "landscape.parts", 99), 0, {"accuracy": np.ones(5)})
    toy["strategy"]["setup"] = {"landscape": True}
    search(jsc_toy, jets, toy, tmp_path)
    assert Landscape.read(tmp_path / "landscape.parquet").size == 2 * 18 * 18


def test_a_budget_of_all_points_gives_the_landscape_too(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    points = len(search(jsc_toy, jets, toy, tmp_path / "a").trials)
    toy["strategy"]["setup"] = {"landscape": True, "n_trials": points}
    assert search(jsc_toy, jets, toy, tmp_path / "b").reason == "exhausted"
    assert (tmp_path / "b" / "landscape.parquet").exists()


def test_a_landscape_with_other_bytes_is_refused(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    toy["strategy"]["setup"] = {"landscape": True}
    search(jsc_toy, jets, toy, tmp_path)
    path = tmp_path / "landscape.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(SearchError, match="is damaged"):
        Landscape.read(path)


@pytest.mark.usefixtures("in_blocks")
def test_a_part_of_a_space_is_no_landscape_and_can_be_continued(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    toy["strategy"]["setup"] = {"landscape": True, "n_trials": 150}
    assert search(jsc_toy, jets, toy, tmp_path / "part").reason == "n_trials"
    assert not (tmp_path / "part" / "landscape.parquet").exists()
    toy["strategy"]["setup"] = {"landscape": True}
    assert search(jsc_toy, jets, toy, tmp_path / "part", resume=True).reason == "exhausted"
    search(jsc_toy, jets, toy, tmp_path / "whole")
    assert rows(tmp_path / "part") == rows(tmp_path / "whole")
    ours, theirs = (Landscape.read(tmp_path / name / "landscape.parquet") for name in ("part", "whole"))
    assert all(np.array_equal(ours.metrics[name], theirs.metrics[name]) for name in theirs.metrics)


@pytest.mark.usefixtures("in_blocks")
def test_a_resumed_search_keeps_the_blocks_it_has_whatever_else_would_suit(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy["strategy"]["setup"] = {"n_trials": 220}
    search(jsc_toy, jets, toy, tmp_path)
    begun = blocks(tmp_path)
    monkeypatch.setattr(batched, "MOST_CONFIGURATIONS", 50)  # as with a smaller memory_mib
    toy["strategy"]["setup"] = {"n_trials": 90}  # so few that a new search would write each of them down
    assert search(jsc_toy, jets, toy, tmp_path, resume=True).reason == "n_trials"
    toy["strategy"]["setup"] = {}
    assert search(jsc_toy, jets, toy, tmp_path, resume=True).reason == "exhausted"
    sizes = {row["stop"] - row["first"] for row in begun}
    assert {row["stop"] - row["first"] for row in blocks(tmp_path)} == {*sizes, 90}
    with monkeypatch.context() as patch, pytest.raises(SearchError, match="measures its points block by block"):
        patch.setitem(toy["strategy"]["setup"], "order", "random")
        search(jsc_toy, jets, toy, tmp_path, resume=True)


@pytest.mark.usefixtures("in_blocks")
def test_a_block_whose_metrics_are_gone_or_others_is_measured_again(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    toy["strategy"]["setup"] = {"landscape": True}
    search(jsc_toy, jets, toy, tmp_path / "whole")
    toy["strategy"]["setup"] = {"landscape": True, "n_trials": 400}
    search(jsc_toy, jets, toy, tmp_path / "part")
    first, second, third = (part_path(tmp_path / "part" / "landscape.parts", number) for number in range(3))
    first.write_bytes(second.read_bytes())
    second.write_bytes(b"no table")
    third.unlink()
    toy["strategy"]["setup"] = {"landscape": True}
    search(jsc_toy, jets, toy, tmp_path / "part", resume=True)
    ours, theirs = (Landscape.read(tmp_path / name / "landscape.parquet") for name in ("part", "whole"))
    assert all(np.array_equal(ours.metrics[name], theirs.metrics[name]) for name in theirs.metrics)


@pytest.mark.usefixtures("in_blocks")
def test_a_damaged_line_is_named_and_its_block_alone_is_measured_again(
    tmp_path: Path,
    toy: dict[str, Any],
    jets: MaseDataModule,
    jsc_toy: nn.Module,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search(jsc_toy, jets, toy, tmp_path)
    path, wanted = tmp_path / "blocks.jsonl", rows(tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].replace("0.", "0.9", 1), *lines[3:]]) + "\n", encoding="utf-8")
    measured, measure = [], all_points.BlockTask.measure

    def counted(task: all_points.BlockTask, number: int) -> Block:
        measured.append(number)
        return measure(task, number)

    monkeypatch.setattr(all_points.BlockTask, "measure", counted)
    search(jsc_toy, jets, toy, tmp_path, resume=True)
    assert "blocks.jsonl: line 3 is damaged (its checksum does not fit); that block is measured again" in caplog.text
    assert (measured, rows(tmp_path)) == ([1], wanted)
    assert (tmp_path / "blocks.jsonl.damaged").exists()


@pytest.mark.usefixtures("in_blocks")
def test_there_must_be_blocks_to_resume(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    with pytest.raises(SearchError, match="no search to resume"):
        search(jsc_toy, jets, toy, tmp_path, resume=True)


@pytest.mark.usefixtures("in_blocks")
def test_workers_give_the_same_to_the_bit_also_when_one_is_killed(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = search(jsc_toy, jets, toy, tmp_path / "alone")
    add = all_points.ExhaustiveTotals.add
    killed = []
    others = multiprocessing.active_children()

    def add_and_kill(self: all_points.ExhaustiveTotals, block: Block) -> None:
        add(self, block)
        if not killed:
            killed.append(next(own for own in multiprocessing.active_children() if own not in others))
            killed[0].kill()

    monkeypatch.setattr(all_points.ExhaustiveTotals, "add", add_and_kill)
    toy["strategy"]["setup"] = {"n_jobs": 2}
    started = time.monotonic()
    together = search(jsc_toy, jets, toy, tmp_path / "together")
    passed = time.monotonic() - started
    lines = (tmp_path / "together" / "blocks.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    assert 0 < sum(json.loads(line)["seconds"] for line in lines) <= passed  # a timeout counts them once, not by worker
    assert killed
    assert together.reason == alone.reason
    assert blocks(tmp_path / "together") == blocks(tmp_path / "alone")
    assert rows(tmp_path / "together") == rows(tmp_path / "alone")


@pytest.mark.usefixtures("in_blocks")
def test_a_timeout_keeps_what_is_done(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    toy["strategy"]["setup"] = {"timeout": 1e-9}
    assert search(jsc_toy, jets, toy, tmp_path).reason == "timeout"
    assert len(blocks(tmp_path)) == 1


@pytest.mark.usefixtures("in_blocks")
def test_an_interruption_before_the_first_block_is_one(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(task: all_points.BlockTask, number: int) -> Block:
        raise KeyboardInterrupt

    monkeypatch.setattr(all_points.BlockTask, "measure", cut_off)
    with pytest.raises(KeyboardInterrupt):
        search(jsc_toy, jets, toy, tmp_path)


class Slow(OutputRunner):
    """Takes its time for each network."""

    seconds = 0.0

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("slowly", "", "minimize"),)

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        time.sleep(self.seconds)
        return {"slowly": float(predictions.abs().mean())}


@pytest.mark.usefixtures("in_blocks")
def test_blocks_are_small_where_a_function_of_the_users_is_slow(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    RUNNERS.register("slowly")(Slow)
    monkeypatch.setattr(Slow, "seconds", 0.02)
    monkeypatch.setattr(batched, "BLOCK_SECONDS", 0.2)
    toy["strategy"]["sw_runner"]["slowly"] = {"num_samples": 20}
    toy["strategy"]["metrics"]["slowly"] = {"max": 1e9}
    toy["strategy"]["setup"] = {"timeout": 0.05}
    search(jsc_toy, jets, toy, tmp_path)
    first, *_ = blocks(tmp_path)
    assert 1 <= first["stop"] <= 10


@pytest.mark.usefixtures("in_blocks")
@pytest.mark.parametrize(("key", "value"), [("patience", 20), ("ladder", [100])])
def test_what_blocks_cannot_heed_is_refused(
    key: str, value: Any, tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    toy["strategy"]["setup"] = {key: value}
    with pytest.raises(SearchError, match=f'remove {key} .* or set order = "random" or n_trials'):
        search(jsc_toy, jets, toy, tmp_path)
    toy["strategy"]["setup"] = {key: value, "order": "random", "n_trials": 150}
    assert search(jsc_toy, jets, toy, tmp_path).reason in ("n_trials", key)


class NeverFinite(Slow):
    """Gives no number for any network."""

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        return {"never": float("inf")}

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("never", "", "minimize"),)


@pytest.mark.usefixtures("in_blocks")
def test_a_metric_that_is_never_finite_is_named_at_once(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    RUNNERS.register("never")(NeverFinite)
    toy["strategy"]["sw_runner"]["never"] = {}
    toy["strategy"]["metrics"]["never"] = {"max": 1.0}
    with pytest.raises(SearchError, match="all 648 points failed: never is no finite number"):
        search(jsc_toy, jets, toy, tmp_path)
    assert caplog.text.count("none of the first 108 points counts: never is no finite number") == 1


@pytest.mark.parametrize("is_small", [True, False])
def test_the_oracle_knows_the_space_and_judges_other_searches(
    is_small: bool,
    tmp_path: Path,
    toy: dict[str, Any],
    jets: MaseDataModule,
    jsc_toy: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    truth = tmp_path / "truth" / "software" / "search_ckpts"
    if not is_small:
        monkeypatch.setattr(block_by_block, "LARGEST_LOG", 100)
    toy["strategy"]["setup"] = {"landscape": True, "order": "index"}
    found = search(jsc_toy, jets, toy, truth)
    oracle = Oracle(Landscape.read(truth / "landscape.parquet"))
    assert sorted(oracle.front.index.tolist()) == [row.trial.number for row in found.best]
    gap = oracle.gap([row.trial.number for row in found.best])
    assert (gap.hypervolume, gap.found) == (pytest.approx(1.0), gap.front)
    worst = oracle.standing(int(np.argmin(oracle.landscape.metrics["accuracy"])))
    assert worst.dominated_by > 0
    assert worst.regret["accuracy"] > 0
    assert oracle.standing(found.best[0].trial.number).dominated_by == 0

    toy["strategy"] |= {"name": "optuna", "setup": {"n_trials": 12}}
    other = tmp_path / "other" / "software" / "search_ckpts"
    search(jsc_toy, jets, toy, other)
    report = (other / "report.md").read_text(encoding="utf-8")
    assert "Gap to the optimum" in report
    numbers = [row["point"] for row in json.loads((other / "log.json").read_text(encoding="utf-8")).values()]
    assert oracle.gap(numbers).as_text() in report

    show_oracle(truth, [], [other], as_json=True)
    told = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(told)["gaps"][str(other)]["front"] == gap.front
    show_oracle(tmp_path / "truth", [], [tmp_path / "other"], as_json=True)  # the folders of the projects
    assert capsys.readouterr().out.splitlines()[-1] == told
    one = Oracle(oracle.landscape, Goals(oracle.goals.objectives[:1])).gap(numbers)
    assert (
        f"{100 * (1 - one.hypervolume):.2f} % of the way from the worst value to the best; accuracy " in one.as_text()
    )
    log = json.loads((other / "log.json").read_text(encoding="utf-8"))
    log["0"]["point"] = 648
    (other / "log.json").write_text(json.dumps(log), encoding="utf-8")
    with pytest.raises(SearchError, match="its checksum does not fit"):
        show_oracle(truth, [], [other], as_json=True)

    toy["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = 100
    third = tmp_path / "third" / "software" / "search_ckpts"
    search(jsc_toy, jets, toy, third)
    assert "Gap" not in (third / "report.md").read_text(encoding="utf-8")
    with pytest.raises(SearchError, match="is a search of another space than"):
        show_oracle(truth, [], [third], as_json=True)


@pytest.mark.usefixtures("in_blocks")
def test_a_part_of_an_enumerated_space_is_judged_by_its_own_limits(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, part = (tmp_path / name / "software" / "search_ckpts" for name in ("truth", "part"))
    toy["strategy"]["setup"] = {"landscape": True}
    search(jsc_toy, jets, toy, truth)
    toy["strategy"]["metrics"]["average_bitwidth"]["max"] = 4.5
    toy["strategy"]["setup"] = {"n_trials": 200}
    search(jsc_toy, jets, toy, part)
    assert "Gap to the optimum" in (part / "report.md").read_text(encoding="utf-8")
    capsys.readouterr()
    show_oracle(truth, [], [part], as_json=True)
    gap = json.loads(capsys.readouterr().out.splitlines()[-1])["gaps"][str(part)]
    landscape = Landscape.read(truth / "landscape.parquet")
    limited = landscape.metrics["average_bitwidth"] <= 4.5
    assert 0 < limited.sum() < landscape.size
    accuracy, bits = (landscape.metrics[name][limited] for name in ("accuracy", "average_bitwidth"))
    own = np.stack([-accuracy, bits], 1)
    assert gap["front"] == sum(not ((own <= row).all(1) & (own < row).any(1)).any() for row in np.unique(own, axis=0))


@pytest.mark.parametrize("metadata", [b"{}", b"[1]", b"no json"])
def test_a_landscape_that_says_nothing_of_its_space_is_refused(metadata: bytes, tmp_path: Path) -> None:
    write_part(tmp_path / "part", 0, {"accuracy": np.ones(5)})
    table = pyarrow.parquet.read_table(tmp_path / "part").replace_schema_metadata({b"chop": metadata})
    pyarrow.parquet.write_table(table, tmp_path / "landscape.parquet")
    with pytest.raises(SearchError, match=r"says nothing of what is optimised|is not the exhaustive table of a search"):
        show_oracle(tmp_path, [], [], as_json=True)
    write_part(tmp_path / "some", 3, {"accuracy": np.ones(5)})
    table = pyarrow.parquet.read_table(tmp_path / "some").replace_schema_metadata({b"chop": b"{}"})
    pyarrow.parquet.write_table(table, tmp_path / "landscape.parquet")
    with pytest.raises(SearchError, match="it has not every point once, in order"):
        show_oracle(tmp_path, [], [], as_json=True)


class NeedsTheModel(ModelRunner):
    """A metric that no folding gives."""

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("one", "", "minimize"),)

    def measure(self, graph: Any) -> dict[str, float]:
        return {"one": 1.0}


class Undefined(OutputRunner):
    """A metric that networks have which call a third of all rows or less their first class; for others it is NaN."""

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("undefined", "", "minimize"),)

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        share = float((predictions.argmax(1) == 0).double().mean())
        return {"undefined": share if share < 1 / 3 else float("nan")}


def test_a_point_without_all_its_metrics_counts_nowhere(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    RUNNERS.register("undefined")(Undefined)
    toy["strategy"]["sw_runner"]["undefined"] = {"num_samples": 400}
    toy["strategy"]["metrics"]["undefined"] = {"max": 1.0}
    toy["strategy"]["setup"] = {"landscape": True}
    trials = search(jsc_toy, jets, toy, tmp_path / "trials")
    failed = [trial.number for trial in trials.trials if trial.failed]
    assert 0 < len(failed) < len(trials.trials)
    monkeypatch.setattr(block_by_block, "LARGEST_LOG", 100)
    search(jsc_toy, jets, toy, tmp_path / "blocks")
    for name in ("trials", "blocks"):
        oracle = Oracle(Landscape.read(tmp_path / name / "landscape.parquet"))
        assert np.flatnonzero(~oracle.landscape.is_measured).tolist() == failed
        assert sorted(oracle.front.index.tolist()) == [row.trial.number for row in trials.best]
        assert oracle.standing(failed[0]).misses in ("no finite undefined", "no finite metric")


def test_too_many_model_runs_are_refused(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    RUNNERS.register("needs_the_model")(NeedsTheModel)
    toy["strategy"]["hw_runner"]["needs_the_model"] = {}
    toy["strategy"]["metrics"]["one"] = {"max": 2.0}
    toy["strategy"]["setup"] = {"most_model_runs": 500}
    with pytest.raises(SearchError, match="648 points, and a runner must run the model itself"):
        search(jsc_toy, jets, toy, tmp_path)
    toy["strategy"]["setup"] = {"most_model_runs": 500, "n_trials": 3}
    assert search(jsc_toy, jets, toy, tmp_path).reason == "n_trials"
    del toy["strategy"]["hw_runner"]["needs_the_model"], toy["strategy"]["metrics"]["one"]
    toy["strategy"] |= {"eval_mode": False, "setup": {"most_model_runs": 500}}
    with pytest.raises(SearchError, match=r"run the model itself for each \(eval_mode = false\)"):
        search(jsc_toy, jets, toy, tmp_path / "training")


def test_memory_and_workers_must_make_sense(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    toy["strategy"]["setup"] = {"memory_mib": 1, "n_jobs": 0}
    with pytest.raises(ConfigError) as caught:
        search(jsc_toy, jets, toy, tmp_path)
    assert "memory_mib" in str(caught.value)
    assert "n_jobs" in str(caught.value)
