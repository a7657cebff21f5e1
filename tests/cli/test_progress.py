"""What a running search shows: a bar, lines without a terminal, JSON for programs; and completion in a shell."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from chop.config.examples import example
from chop.record.goals import Goals
from chop.record.trial import Objective, Trial
from chop.report import plain_progress, search_progress
from chop.report.search_progress import EnumerationProgress, SearchProgress
from tests.conftest import Command

ROOT = Path(__file__).resolve().parents[2]
GOALS = Goals((Objective("accuracy"), Objective("average_bitwidth", direction="minimize")))
FOUND = ((0.5, 3.0), (0.7, 8.0), (0.7, 7.0), (0.6, 3.0), (0.4, 4.0))
ENDS = "front: accuracy 0.7 … 0.6, average_bitwidth 7 … 3"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38)(?:;\d+)*m")


def trials() -> list[Trial]:
    return [
        Trial(number, {}, {"accuracy": accuracy}, {"average_bitwidth": bits}, {})
        for number, (accuracy, bits) in enumerate(FOUND)
    ]


def shown(monkeypatch: pytest.MonkeyPatch, width: int, order: Sequence[str] = ()) -> str:
    """All that a bar writes to a terminal of that width."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, color_system="standard", emoji=False)
    monkeypatch.setattr(search_progress, "terminal", lambda **settings: console)
    with SearchProgress(300, GOALS, order) as progress:
        for trial in trials():
            progress.on_trial(trial)
    return file.getvalue()


def test_a_bar_has_the_ends_of_the_front(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ENDS in shown(monkeypatch, 140)


def test_a_bar_has_the_objectives_in_the_order_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    told = shown(monkeypatch, 140, ["average_bitwidth", "latency", "accuracy"])
    assert "front: average_bitwidth 3 … 7, accuracy 0.6 … 0.7" in told


def test_a_bar_has_the_whole_front_in_a_hundred_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ENDS in shown(monkeypatch, 100)


def test_a_bar_has_the_best_of_each_of_three_objectives(monkeypatch: pytest.MonkeyPatch) -> None:
    goals = Goals((*GOALS.objectives, Objective("loss", direction="minimize")))
    monkeypatch.setattr(sys.modules[__name__], "GOALS", goals)
    told = [replace(own, software_metrics={**own.software_metrics, "loss": 1 / (own.number + 1)}) for own in trials()]
    monkeypatch.setattr(sys.modules[__name__], "trials", lambda: told)
    assert "best: accuracy 0.7, average_bitwidth 3, loss 0.2" in shown(monkeypatch, 100)


def test_a_search_passes_its_order_to_the_bar(ch: Command) -> None:
    path = str(example("jsc_toy_by_type").path)
    metrics = ("--metric", "average_bitwidth", "--metric", "accuracy_micro")
    _, err = ch("search", "--config", path, "--pretrained", "--n-trials", "4", *metrics)
    assert re.search(r"front: average_bitwidth \S+( … \S+)?, accuracy_micro", err)


@pytest.mark.parametrize("width", [40, 80])
def test_a_bar_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown(monkeypatch, width)))
    assert max(map(len, lines)) <= width
    assert any(line.startswith("search ") and "5/300" in line and "front: acc"[: width - 30] in line for line in lines)


def test_a_bar_has_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert COLOUR.search(shown(monkeypatch, 100))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not COLOUR.search(shown(monkeypatch, 100))


def test_without_a_terminal_there_are_plain_lines_some_seconds_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(plain_progress.time, "monotonic", lambda: now[0])
    with SearchProgress(300, GOALS) as progress:
        for trial in trials():
            now[0] += 2.0
            progress.on_trial(trial)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert not out and "\x1b" not in err and "━" not in err
    assert [line.split(" ")[1] for line in lines] == ["3/300", "5/300"]
    assert re.fullmatch(rf"search 5/300 \S+/s took \S+ {re.escape(ENDS)}", lines[-1])


def test_a_search_that_has_more_trials_than_are_asked_for_counts_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    with SearchProgress(3, GOALS) as progress:
        for trial in trials():
            progress.on_trial(trial)
    assert capsys.readouterr()[1].splitlines()[-1].startswith("search 5/5 ")


def test_an_enumeration_without_a_terminal_ends_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with EnumerationProgress(5000) as progress:
        progress.show(5000, 7)
    assert re.fullmatch(r"search 5,000/5,000 \S+ points/s took 0:00:00 front 7\n", capsys.readouterr()[1])


def test_json_is_a_line_for_each_trial_and_one_at_the_end_and_nothing_else(tmp_path: Path, ch: Command) -> None:
    path = str(example("jsc_toy_by_type").path)
    search = ("search", "--config", path, "--pretrained", "--json", "--n-trials", "4")
    out = [json.loads(line) for line in ch(*search)[0].splitlines()]
    *told, end = out
    assert [(line["event"], line["trial"]) for line in told] == [("trial", number) for number in range(4)]
    assert end["event"] == "end" and end["reason"] == "n_trials"
    by_number = {line["trial"]: line["metrics"] for line in told}
    assert all(row["metrics"] == by_number[row["trial"]] for row in end["best"])
    assert "accuracy" in end["best"][0]["test_metrics"]
    assert (tmp_path / end["folder"] / "trials.jsonl").is_file()
    assert "--json has no effect with --dry-run" in ch(*search, "--dry-run", status=2)[1]


def test_json_stays_alone_with_warnings_and_with_tuning_and_an_error_prints_none(ch: Command) -> None:
    search = ("search", "--config", str(example("jsc_toy_by_type").path), "--json", "--n-trials", "2")
    out, err = ch(*search, "--finish-epochs", "1")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["event"] for line in lines] == ["trial", "trial", "end"]
    assert "WARNING  neither --load nor --pretrained is given" in err
    assert ch(*search, "--set", "strategy.setup.n_jobs=0", status=2)[0] == ""


def test_messages_without_a_terminal_are_a_line_each(ch: Command) -> None:
    err = ch("search", "--config", str(example("jsc_toy_by_type").path), "--n-trials", "1", columns=40)[1]
    (warning,) = [line for line in err.splitlines() if line.startswith("WARNING ")]
    assert warning.endswith("add --pretrained for the weights that ship with jsc-tiny")


def in_terminal(columns: int, *arguments: str, **variables: str) -> str:
    """All that `ch` writes to a terminal with so many columns."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    left_out = ("COLUMNS", "NO_COLOR", "FORCE_COLOR")
    own = {name: value for name, value in os.environ.items() if name not in left_out}
    environment = {**own, "PYTHONPATH": str(ROOT / "machop"), "TERM": "xterm-256color", **variables}
    command = [sys.executable, "-m", "chop.cli", *arguments]
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=environment, close_fds=True)
    os.close(child)
    found = b""
    with contextlib.suppress(OSError), os.fdopen(parent, "rb", buffering=0) as stream:  # ended: no such device
        while part := stream.read(65536):
            found += part
    assert process.wait() == 0, found.decode()
    return found.decode()


@pytest.mark.parametrize(("columns", "no_colour"), [(40, "1"), (80, "")])
def test_a_search_fits_its_terminal_and_breaks_no_word(columns: int, no_colour: str, tmp_path: Path) -> None:
    path = str(example("jsc_toy_by_type").path)
    flags = ("--pretrained", "--n-trials", "3", "--project-dir", str(tmp_path))
    written = in_terminal(columns, "search", "--config", path, *flags, NO_COLOR=no_colour)
    assert bool(COLOUR.search(written)) != bool(no_colour)
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written)
    lines = [line for line in re.split(r"[\r\n]+", plain) if str(tmp_path) not in line and "machop" not in line]
    assert max(map(len, lines)) <= columns
    text = " ".join(plain.split())
    assert "tpe: 3 trials; ended because the number of trials was reached." in text
    assert "of 3 measured configurations (18 in the space)" in text
    for option in ("is_pretrained", "batch_size"):
        assert option in text


def test_json_of_an_exhaustive_search_counts_points(ch: Command) -> None:
    path = str(example("jsc_mlp_brute_force").path)
    flags = ("--set", "strategy.setup.n_jobs=1", "--set", "strategy.setup.landscape=false", "--n-trials", "101000")
    out = [
        json.loads(line) for line in ch("search", "--config", path, "--pretrained", "--json", *flags)[0].splitlines()
    ]
    assert {line["event"] for line in out[:-1]} == {"points"}
    assert out[-2]["points"] == out[-2]["of"] == 101_000 and out[-2]["front"] > 0
    assert out[-1]["event"] == "end"


def typed_in_bash(*arguments: str, **asked: str) -> str:
    """What `ch` prints to a bash that asks for completions, whichever shell the tests run in."""
    known = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "PYTHONPATH": str(ROOT / "machop")}
    command = [sys.executable, "-m", "chop.cli", *arguments]
    result = subprocess.run(
        command, env={**known, **asked}, text=True, capture_output=True, check=False, encoding="utf-8"
    )
    return result.stdout


@pytest.mark.parametrize(
    ("typed", "word", "expected"),
    [("ch sea", 1, "search"), ("ch search --n-t", 2, "--n-trials"), ("ch config ex", 2, "examples")],
)
def test_a_shell_completes_commands_and_options(typed: str, word: int, expected: str) -> None:
    found = typed_in_bash(_CH_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(word))
    assert found.split() == [expected]


def test_the_script_of_a_shell_is_shown() -> None:
    assert "complete -o default -F _ch_completion ch" in typed_in_bash("--show-completion", "bash")
