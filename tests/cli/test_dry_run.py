"""`ch search --dry-run`: what a search would do, with estimates, and no file written."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from chop.config.examples import example
from chop.report.dry_run import DryRun, lines_of
from tests.conftest import Command

LAB = str(example("jsc_toy_by_type").path)
FOUND = DryRun((), 10**6, "surrogate", 200, None, ("maximize accuracy",), (), (), 16, 0.5, 1, 2**28, 2**30)


def test_a_dry_run_shows_nodes_points_goals_and_estimates_and_writes_nothing(tmp_path: Path, ch: Command) -> None:
    out = ch("search", "--config", LAB, "--pretrained", "--dry-run", "--n-trials", "7")[0]
    assert not [*tmp_path.iterdir()]
    assert re.search(r"^seq_blocks_2 +linear +name integer; data_in_width 4, 8;", out, re.MULTILINE)
    for told in (
        "Space: 18 points",
        "Strategy: tpe, at most 7 trials, at most 6 h",
        "Objectives: maximize accuracy, minimize average_bitwidth",
        "Samples: 512 validation samples (loss",
        "to measure 7 trials",
        "Nothing was written.",
    ):
        assert told in out


def test_a_dry_run_of_a_large_space_times_a_block(tmp_path: Path, ch: Command) -> None:
    out = ch("search", "--config", str(example("jsc_mlp_brute_force").path), "--pretrained", "--dry-run")[0]
    assert "Space: 104,976 points" in out and "to measure 104,976 trials" in out
    assert int(re.findall(r"\((\S+) points took", out)[0].replace(",", "")) > 1000
    assert not [*tmp_path.iterdir()]


def test_a_dry_run_of_a_training_says_that_its_time_is_unknown(tmp_path: Path, ch: Command) -> None:
    out = ch("search", "--config", str(example("jsc_mlp_learned_widths").path), "--pretrained", "--dry-run")[0]
    assert "Time: not estimated" in out
    assert not [*tmp_path.iterdir()]


def test_a_dry_run_counts_the_trials_of_passes_behind_a_training(ch: Command) -> None:
    """15 of the run, and two passes from four networks each."""
    out = ch("search", "--config", str(example("jsc_mlp_front_descent").path), "--pretrained", "--dry-run")[0]
    assert "Strategy: gradient, at most 23 trials" in out


@pytest.mark.parametrize("more", [("--resume",), ("--live",), ("--init-from", "x")])
def test_what_a_dry_run_has_no_use_for_is_refused(more: tuple[str, ...], ch: Command) -> None:
    err = ch("search", "--config", LAB, "--dry-run", *more, status=2)[1]
    assert f"{more[0]} has no effect with --dry-run" in err


def test_a_dry_run_refuses_what_a_search_refuses(ch: Command) -> None:
    err = ch("search", "--config", LAB, "--dry-run", "--metric", "accuraccy", status=2)[1]
    assert "did you mean 'accuracy'?" in err


def test_the_time_is_that_of_all_trials_and_says_what_cuts_it_short() -> None:
    (line,) = (line for line in lines_of(FOUND) if line.startswith("Time: "))
    assert line.startswith("Time: about 100 s to measure 200 trials (16 points took 8.0 s to measure). ")
    (line,) = (line for line in lines_of(replace(FOUND, timeout=60.0, jobs=2)) if line.startswith("Time: "))
    assert "cut short by the timeout of 60 s" in line and "setup.n_jobs = 2 shares that" in line
    assert "Time: 16 points took 8.0 s to measure" in lines_of(replace(FOUND, trials=None))
