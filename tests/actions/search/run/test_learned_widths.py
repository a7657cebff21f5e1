"""Networks with learned widths from their training to a saved graph: by EBOPs and LUTs, tuned, cut off and resumed."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import re
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import chop
from chop.actions.search import search
from chop.actions.search.run.publish import SearchResult
from chop.dataset import MaseDataModule
from chop.errors import SearchError
from chop.ir import MaseGraph
from chop.ir.graph.graph_file import load_onto
from chop.models import get_model
from chop.models.checkpoint_file import read_checkpoint
from chop.record.folder import SearchFolder
from chop.report.html.search_data import search_data
from chop.training.fine_tuning import FineTuning, fine_tune
from tests.actions.search.conftest import LAB, LAB_LISTS
from tests.actions.search.killing import TIMEOUT, killed_at, trials
from tests.conftest import Command

TUNED = {"num_samples": 1500, "max_epochs": 2, "lr_scheduler": "constant"}
SETUP = {
    "snapshots": 4,
    "epochs": 4,
    "train_samples": 1024,
    "weight_granularity": "element",
    "activation_granularity": "element",
    "last_factor": 1e-2,
}


def table(**finish: Any) -> dict[str, Any]:
    """Accuracy, EBOPs and LUTs of networks with learned widths, tuned at the end."""
    found = copy.deepcopy(LAB)
    auto = {f"{operand}_frac_width": ["auto"] for operand in ("data_in", "weight", "bias")}
    found["search_space"]["seed"]["seq_blocks_2"]["config"] = {**LAB_LISTS, **auto}
    found["strategy"] |= {"name": "gradient", "setup": dict(SETUP), "hw_runner": {"ebops": {}, "luts": {}}}
    found["strategy"]["metrics"] = {
        "accuracy": {"direction": "maximize"},
        "ebops": {"direction": "minimize"},
        "luts": {"direction": "minimize"},
    }
    return {**found, "finish": finish} if finish else found


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, jets: MaseDataModule) -> SearchResult:
    model = get_model("jsc-tiny", pretrained=True)
    return search(model, jets, table(**TUNED, rows=4), tmp_path_factory.mktemp("whole") / "search_ckpts")


def test_widths_stay_and_weights_are_tuned(result: SearchResult, jets: MaseDataModule) -> None:
    """From the trial's own network, as a fine-tuning of its file is; both figures are kept."""
    files = SearchFolder(result.folder)
    assert len(files.tuned()) == 4
    traced = MaseGraph(get_model("jsc-tiny", pretrained=True))
    searched = {trial.number: trial.metrics for trial in result.trials}
    for number, own in files.tuned().items():
        before = load_onto(traced, files.network(f"networks/{number:04d}.safetensors"))
        after = load_onto(traced, result.folder / own.graph)
        assert after.plan == before.plan and after.plan["seq_blocks_2"]["weight"].is_learned
        with torch.enable_grad():
            fine_tune(before.model, jets, FineTuning(**TUNED))
        wanted = before.model.state_dict()
        assert all(torch.equal(value, wanted[name]) for name, value in after.model.state_dict().items())
        assert own.software_metrics["accuracy"] == pytest.approx(accuracy(after, jets), abs=1e-7)
        assert own.software_metrics["loss"] < searched[number]["loss"]
    report = (result.folder / "report.md").read_text(encoding="utf-8")
    assert "untuned accuracy" in report and "untuned luts" in report


def accuracy(graph: MaseGraph, jets: MaseDataModule) -> float:
    """The mean accuracy over classes on the samples of the search."""
    x, y = next(iter(jets.batches("val", 512, 512)))
    hits = (graph.model.eval()(x).argmax(1) == y).double()
    return float(torch.stack([hits[y == label].mean() for label in y.unique()]).mean())


def test_ebops_are_those_of_the_numbers_in_the_file(result: SearchResult) -> None:
    """Bits of each input times those of each weight, from the highest to the lowest that is not zero, and biases."""
    files = SearchFolder(result.folder)
    for trial in result.trials:
        graph = load_onto(MaseGraph(get_model("jsc-tiny")), files.network(f"networks/{trial.number:04d}.safetensors"))
        node, weights = graph.plan["seq_blocks_2"], graph.model.state_dict()
        rows = bits(node["weight"].quantize(weights["seq_blocks.2.weight"]))
        inputs = node["data_in"].element_width.values.flatten().tolist()  # type: ignore[attr-defined]
        products = sum(bit * width for row in rows for bit, width in zip(row, inputs, strict=True))
        biases = sum(bits(node["bias"].quantize(weights["seq_blocks.2.bias"])))
        assert trial.metrics["ebops_nominal"] == products + biases
        assert 0.5 * (products + biases) < trial.metrics["ebops"] <= products + biases


def bits(values: torch.Tensor) -> Any:
    """The bits of each value from its highest to its lowest, as nested lists."""
    codes = (values.double() * 2**30).long().abs()
    counts = [(code // (code & -code)).bit_length() if code else 0 for code in codes.flatten().tolist()]
    return torch.tensor(counts).reshape(values.shape).tolist()


def front(folder: Path) -> list[tuple[Any, ...]]:
    """The figures of the front, and the tensors of its tuned networks."""
    rows = SearchFolder(folder).best()
    graphs = [read_checkpoint(folder / row.finished.graph).state_dict if row.finished else {} for row in rows]
    tensors = [{name: own.numpy().tobytes() for name, own in graph.items()} for graph in graphs]
    figures = [(row.trial.number, row.trial.metrics, row.searched.metrics) for row in rows]
    return list(zip(figures, tensors, strict=True))


@pytest.mark.parametrize(("log", "line"), [("trials.jsonl", 3), ("finished.jsonl", 3)])
def test_a_kill_changes_nothing(
    log: str, line: int, result: SearchResult, jets: MaseDataModule, jsc_tiny: nn.Module, tmp_path: Path
) -> None:
    run = partial(search, jsc_tiny, jets, table(**TUNED, rows=4), tmp_path)
    assert killed_at(line, run, tmp_path / log)
    run(resume=True)
    assert trials(tmp_path) == trials(result.folder)
    assert front(tmp_path) == front(result.folder)


def test_a_signal_during_training_ends_it_with_the_trials_so_far(
    jets: MaseDataModule, jsc_tiny: nn.Module, tmp_path: Path
) -> None:
    """SIGINT, as Ctrl-C sends it; the folder is resumed to what an unbroken search finds."""
    wanted = table()
    wanted["strategy"]["setup"] |= {"snapshots": 6, "epochs": 240}
    run = partial(search, jsc_tiny, jets, wanted)
    assert interrupted_at(3, partial(run, tmp_path / "cut"), tmp_path / "cut" / "trials.jsonl") == 0
    files = SearchFolder(tmp_path / "cut")
    assert files.summary.reason == "interrupted" and 2 <= len(files.trials()) < 6
    assert files.best() and (tmp_path / "cut" / "report.md").is_file()
    run(tmp_path / "cut", resume=True)
    run(tmp_path / "whole")
    assert trials(tmp_path / "cut") == trials(tmp_path / "whole")


def interrupted_at(line: int, run: Any, log: Path) -> int:
    """Run in a forked process, which gets SIGINT when its log has so many lines; its exit code."""
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    until = time.monotonic() + TIMEOUT
    while process.is_alive() and time.monotonic() < until:
        if log.exists() and log.read_bytes().count(b"\n") >= line:
            os.kill(process.pid or 0, signal.SIGINT)
            break
        time.sleep(0.001)
    process.join(TIMEOUT)
    assert process.exitcode is not None
    return process.exitcode


TOML = """
[search.search_space]
name = "graph/quantize/mixed_precision_ptq"
[search.search_space.seed.seq_blocks_2.config]
name = ["integer"]
data_in_width = [8]
weight_width = [8]
bias_width = [8]
[search.strategy]
name = "gradient"
[search.strategy.sw_runner.basic_evaluation]
num_samples = 512
[search.strategy.hw_runner.ebops]
[search.strategy.setup]
weight_granularity = "element"
epochs = 4
snapshots = 4
train_samples = 1024
[search.strategy.metrics]
accuracy.direction = "maximize"
ebops.direction = "minimize"
[search.finish]
max_epochs = 1
num_samples = 1500
rows = 4
"""


def test_a_row_is_tested_and_taken_along(ch: Command, tmp_path: Path) -> None:
    """As tuned, and as the search measured it: the figures come out again, also from the file that is made of it."""
    (tmp_path / "widths.toml").write_text(TOML, encoding="utf-8")
    out, _ = ch("search", "jsc-tiny", "jsc", "--config", "widths.toml", "--pretrained", "--project", "p")
    assert "1 epoch from its own weights" in " ".join(out.split())
    folder = tmp_path / "mase_output/p/software"
    best = json.loads((folder / "search_ckpts/best.json").read_text(encoding="utf-8")).values()
    row = next(own for own in best if "finished" in own)
    place = ("--from-search", str(folder / "search_ckpts"), "--row", str(row["number"]))
    for more, figures in (((), row["finished"]), (("--untuned",), row)):
        assert f"{figures['software_metrics']['accuracy']:.10g}" in ch("test", *place, *more)[0]
        ch("transform", *place, *more)
        ch("test", "jsc-tiny", "jsc", "--load", str(folder / "transform/graph.safetensors"), "--project", "p")
        scores = json.loads((folder / "test/scores.json").read_text(encoding="utf-8"))
        assert {name: scores[name] for name in figures["test_metrics"]} == figures["test_metrics"]


def test_what_an_exporter_refuses_is_neither_measured_nor_offered(
    ch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A width for each value of an input, behind a norm in float."""
    granular = 'weight_granularity = "element"\nactivation_granularity = "element"'
    text = TOML.partition("[search.finish]")[0].replace('weight_granularity = "element"', granular)
    (tmp_path / "widths.toml").write_text(text, encoding="utf-8")
    ch("search", "jsc-tiny", "jsc", "--config", "widths.toml", "--pretrained", "--project", "p")
    files = SearchFolder(tmp_path / "mase_output/p/software/search_ckpts")
    assert files.summary.exporters == ("onnx", "verilog", "vhdl")
    page = (files.path / "report.html").read_text(encoding="utf-8")
    assert "As onnx, or with --to verilog, vhdl" in page and "hls4ml" not in page

    def measure(*arguments: object) -> None:
        raise AssertionError("it was measured before the exporter was asked")

    monkeypatch.setattr("chop.actions.export.check_row", measure)
    monkeypatch.setattr("chop.actions.export.test_scores", measure)
    number = str(files.best()[0].trial.number)
    for to in ("hls4ml", "qonnx"):
        _, err = ch("export", "mase_output/p", "--trial", number, "--to", to, status=1)
        assert f"the network cannot be exported to {to}:" in err


def test_what_no_snapshot_can_have_is_told_before_anything_is_trained(jets: MaseDataModule, tmp_path: Path) -> None:
    """A norm in float between layers leaves no circuit, whatever the widths."""
    wanted = table()
    lists = wanted["search_space"]["seed"].pop("seq_blocks_2")
    wanted["search_space"]["seed"]["linear"] = lists
    wanted["search_space"]["setup"] = {"by": "type"}
    with pytest.raises(SearchError, match=r"nothing is trained: .* 'ebops': [\s\S]*seq_blocks_3, .*: its statistics"):
        search(get_model("jsc-toy", pretrained=True), jets, wanted, tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_the_report_says_mean_bits_and_that_the_training_has_ended(result: SearchResult) -> None:
    report = (result.folder / "report.md").read_text(encoding="utf-8")
    assert "measured networks (snapshots of one training, which takes 4)" in report
    assert "ended because the training has ended, and all its snapshots have been measured" in report
    assert re.search(r"(\d+\.\d)b/learned: widths are learned, \1 bits on average", report)
    assert "8b/4f" not in report  # no width of the table is written so
    row = result.best[0]
    graph = SearchFolder(result.folder).network(row.sampled_config["network_file"])
    widths = load_onto(MaseGraph(get_model("jsc-tiny")), graph).plan["seq_blocks_2"]["weight"].element_width.values  # type: ignore[attr-defined]
    assert f"w {float(widths.double().mean()):.1f}b/learned" in report
    study = chop.load_study(result.folder)
    assert f"w {float(widths.double().mean()):.1f}b/learned" in str(study)


def test_the_page_has_the_mean_bits_of_every_network_on_the_front_or_not(result: SearchResult) -> None:
    data = search_data(SearchFolder(result.folder))
    assert set(data["trained"]) == set(range(4))
    row = data["front"][0]
    text, bits = row["cells"]["seq_blocks_2"]["weight"]
    assert f"w {text}" in row["texts"]["seq_blocks_2"] and text == f"{bits:.1f}b/learned"
    assert all(data["trained"][own["trial"]]["cells"] == own["cells"] for own in data["front"])


def test_a_budget_below_the_snapshots_is_told(
    jets: MaseDataModule, jsc_tiny: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = table()
    wanted["strategy"]["setup"]["n_trials"] = 2
    assert search(jsc_tiny, jets, wanted, tmp_path).reason == "n_trials"
    assert "n_trials = 2 ends the training after so many of its 4 snapshots" in caplog.text
