"""Ctrl-C ends every command with one line that says so, and with status 130."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from itertools import count
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from chop.actions.search.run.loop import SearchLoop
from chop.record.folder import SearchFolder
from tests.cli.test_command_line import BRUTE_FORCE, ENVIRONMENT, LAB
from tests.conftest import Command


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "command", [("search", "--config", LAB, "--pretrained"), ("train", "jsc-tiny", "jsc"), ("test", "jsc-tiny", "jsc")]
)
def test_a_command_that_is_interrupted_at_its_start_says_so(
    command: tuple[str, ...], tmp_path: Path, ch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chop.actions.setup.build_data", interrupt)
    _, err = ch(*command, status=130)
    assert err.splitlines()[-1] == "interrupted" and "Traceback" not in err
    assert not (tmp_path / "mase_output").exists()


def test_what_was_told_already_is_told_once(ch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SearchLoop, "_go_on", interrupt)
    _, err = ch("search", "--config", LAB, "--pretrained", status=130)
    assert err.count("interrupted") == 1
    assert "interrupted before the first trial: nothing was measured; the same command begins anew" in err


def fail(*arguments: object) -> None:
    raise RuntimeError("of its own")


FOLDER = "mase_output/p/software/search_ckpts"


@pytest.mark.parametrize(
    ("place", "happens", "told"),
    [
        ("chop.actions.search.run.job.SearchJob.goals", interrupt, "interrupted"),
        ("chop.actions.search.run.trial_by_trial.log_header", interrupt, "interrupted"),
        ("chop.actions.search.run.loop.SearchLoop._go_on", interrupt, "nothing was measured"),
        ("chop.actions.search.run.loop.SearchLoop._go_on", fail, "There is no trial before it"),
    ],
)
def test_a_search_that_measures_nothing_leaves_nothing(
    place: str, happens: Any, told: str, tmp_path: Path, ch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier search of the project stays where it was, or comes back, and is not offered for --resume."""
    search = ("search", "--config", LAB, "--pretrained", "--project", "p", "--set", "strategy.setup.n_trials=2")
    status = 130 if happens is interrupt else 1

    with monkeypatch.context() as patched:
        patched.setattr(place, happens)
        _, err = ch(*search, status=status)
    assert told in err and "--resume" not in err
    assert not (tmp_path / FOLDER).exists()
    ch(*search)
    before = content_of(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(place, happens)
        _, err = ch(*search, "--seed", "1", status=status)
    assert told in err and "--resume" not in err
    assert content_of(tmp_path) == before
    ch(*search, "--resume")


def test_a_search_that_has_measured_something_leaves_it(
    tmp_path: Path, ch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chop.actions.search.run.publish.Publication.of_trials", interrupt)
    search = ("search", "--config", LAB, "--pretrained", "--project", "p", "--set", "strategy.setup.n_trials=2")
    _, err = ch(*search, status=130)
    assert "interrupted before the report: what was measured is in" in err and "--resume" in err
    assert (tmp_path / FOLDER / "trials.jsonl").read_bytes().count(b"\n") == 3


def signalled(place: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGINT, as Ctrl-C sends it, at the end of the call of `place` with this number."""
    original, calls = resolve_name(place), count(1)

    def signalling(*arguments: object) -> Any:
        found = original(*arguments)
        if next(calls) == at:
            signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(place, signalling)


GRAPH = "mase_output/q/software/transform/graph.safetensors"
QUANTISED = """
model = "toy"
dataset = "toy_tiny"
batch_size = 64
[passes.quantize]
by = "type"
linear.config = {name = "integer", data_in_width = 8, data_in_frac_width = 4, weight_width = 8, weight_frac_width = 4}
"""


@pytest.mark.parametrize(
    ("load", "kept"), [((), "training_ckpts/best.ckpt"), (("--load", GRAPH), "training_ckpts/graph.safetensors")]
)
def test_a_training_keeps_its_best_and_says_how_to_train_further(
    load: tuple[str, ...], kept: str, tmp_path: Path, ch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    if load:
        (tmp_path / "q.toml").write_text(QUANTISED, encoding="utf-8")
        ch("transform", "--config", "q.toml", "--project", "q")
    train = ("train", "toy", "toy_tiny", "--batch-size", "64", "--project", "p")
    with monkeypatch.context() as patched:
        signalled("chop.actions.lightning_training.KeepCheckpoints.on_validation_end", 2, patched)
        told = "".join(ch(*train, *load, "--max-epochs", "9", status=130, columns=300))
    kept = f"mase_output/p/software/{kept}"
    assert "interrupted: " in told and f"next: ch test toy toy_tiny --load {kept}" in told
    assert f"to train further: the same command with --load {kept}" in told
    ch("test", "toy", "toy_tiny", "--load", kept, "--project", "scores")
    ch(*train[:3], "--load", kept, "--max-epochs", "1", "--project", "further")


def test_a_comparison_reports_on_its_runs_and_goes_on_with_what_was_measured(
    tmp_path: Path, ch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("compare", "--config", LAB, "--pretrained", "--project", "c", "--strategies", "random,tpe", "--seeds", "3")
    with monkeypatch.context() as patched:
        signalled("chop.actions.compare.all_runs.ComparisonProgress.on_end", 2, patched)
        _, err = ch(*words, status=130, columns=300)
    assert "interrupted after 2 runs: the figures are of what is done; the same command runs all" in err
    folder = tmp_path / "mase_output/c/software/compare"
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert "Interrupted: the figures are those of the runs that were finished. Runs: random 1, tpe 1." in report
    _, err = ch(*words)
    assert "compare-1/landscape.parquet has the metrics of all 18 points" in " ".join(err.split())


def test_an_interrupt_while_modules_are_imported(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")
    path = f"{tmp_path}:{ENVIRONMENT['PYTHONPATH']}"
    (entry,) = entry_points_of(Path(__file__).resolve().parents[2] / "pyproject.toml")
    for started in (["-m", "chop"], ["-m", "chop.cli"], ["-c", entry]):
        ended = subprocess.run(
            [sys.executable, *started],
            check=False,
            env={**ENVIRONMENT, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        assert (ended.returncode, ended.stderr) == (130, "interrupted\n")


def entry_points_of(pyproject: Path) -> list[str]:
    """What the scripts of an installed package run."""
    scripts = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["scripts"]
    parts = [place.partition(":") for place in scripts.values()]
    return [f"from {module} import {name}; {name}()" for module, _, name in parts]


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("config", "place"),
    [
        (LAB, "loop.SearchLoop._go_on"),
        (LAB, "loop.SearchLoop._replay"),
        (LAB, "verification.Verification.float_row"),
        (BRUTE_FORCE, "verification.Verification.measured_again"),
    ],
)
def test_an_interrupted_resumption_leaves_the_results_of_a_search_that_has_ended(
    config: str, place: str, tmp_path: Path, ch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = ("search", "--config", config, "--pretrained", "--project", "p", "--n-trials", "3")
    ch(*search)
    before = content_of(tmp_path / FOLDER)
    monkeypatch.setattr(f"chop.actions.search.run.{place}", interrupt)
    err = ch(*search, "--resume", status=130)[1]
    assert "nothing new was measured: the results are as they were" in err
    assert content_of(tmp_path / FOLDER) == before


def test_an_interrupted_resumption_that_has_measured_more_tells_of_it(
    tmp_path: Path, ch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = ("search", "--config", LAB, "--pretrained", "--project", "p")
    ch(*search, "--n-trials", "2")
    monkeypatch.setattr("chop.actions.search.run.verification.Verification.float_row", interrupt)
    err = ch(*search, "--n-trials", "4", "--resume", status=130)[1]
    assert "results are as they were" not in err
    assert len(SearchFolder(tmp_path / FOLDER).rows()) == 4


def test_a_comparison_that_is_interrupted_before_it_measures_leaves_the_earlier_one(
    tmp_path: Path, ch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("compare", "--config", LAB, "--pretrained", "--project", "c", "--strategies", "random", "--seeds", "1")
    ch(*words)
    before = content_of(tmp_path)
    monkeypatch.setattr("chop.actions.compare.job.all_runs", interrupt)
    monkeypatch.setattr("chop.actions.compare.job.CompareJob.answers", interrupt)
    err = ch(*words, status=130)[1]
    assert "what was measured is in" not in err and err.splitlines()[-1] == "interrupted"
    assert content_of(tmp_path) == before
