"""A search that is killed, again and again, and resumed until it is done leaves the log of an unbroken one."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from chop.actions.search import search
from chop.actions.search.measuring import instruments, scheduler
from chop.dataset import MaseDataModule
from tests.actions.search.killing import killed_at, torn, trials

BRUTE_FORCE = ("brute_force", {"order": "random"})
TPE = ("optuna", {"sampler": "tpe", "n_trials": 16})
TPE_BY_THREE = ("optuna", {"sampler": "tpe", "n_trials": 16, "ask_batch": 3})
LADDER = ("brute_force", {"order": "random", "ladder": [64, 200], "ladder_confidence": 0.9})
PATIENCE = ("optuna", {"sampler": "random", "patience": 6, "ask_batch": 2})
OURS = {name: (name, {"n_trials": 16}) for name in ("evolution", "greedy", "sensitivity", "surrogate", "uniform")}
SAMPLERS = {name: ("optuna", {"sampler": name, "n_trials": 16}) for name in ("nsgaii", "nsgaiii", "qmc")}
SAMPLERS["gp"] = ("optuna", {"sampler": "gp", "n_trials": 12})
SAMPLERS["cmaes"] = (
    "optuna",
    {"sampler": "cmaes", "n_trials": 16, "sum_scaled_metrics": True, "direction": "maximize"},
)
ALL = {
    "brute force": BRUTE_FORCE,
    "tpe": TPE,
    "tpe by three": TPE_BY_THREE,
    "ladder": LADDER,
    "patience": PATIENCE,
    **SAMPLERS,
    **OURS,
}


def survives(
    lab: dict[str, Any], jets: MaseDataModule, model: nn.Module, folder: Path, kills: int, draw: random.Random
) -> int:
    """Compare a search that is killed at random points with an unbroken one; says how often it really was."""
    search(model, jets, lab, folder / "unbroken", seed=3)
    wanted = trials(folder / "unbroken")
    log = folder / "broken" / "trials.jsonl"
    done = 0
    for line in sorted(draw.sample(range(1, len(wanted)), kills)):
        run = partial(search, model, jets, lab, folder / "broken", seed=3, resume=log.exists())
        done += killed_at(line, run, log)
        assert trials_so_far(log) == wanted[: len(trials_so_far(log))]
        if draw.random() < 0.5:
            torn(log, draw)
    search(model, jets, lab, folder / "broken", seed=3, resume=True)
    assert trials(folder / "broken") == wanted
    return done


def trials_so_far(log: Path) -> list[dict[str, Any]]:
    """The whole lines of a log that may be cut off."""
    data = log.read_bytes()
    log.write_bytes(data[: data.rfind(b"\n") + 1])
    return trials(log.parent)


@pytest.mark.parametrize("name", ALL)
def test_a_killed_search_goes_on_as_if_nothing_had_been(
    name: str, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    strategy, setup = ALL[name]
    lab["strategy"] |= {"name": strategy, "setup": setup}
    assert survives(lab, jets, jsc_tiny, tmp_path, kills=2, draw=random.Random(name)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("name", ALL)
def test_a_killed_search_goes_on_wherever_it_was_killed(
    name: str,
    n_jobs: int,
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduler, "SECONDS_ALONE", 0.0)
    monkeypatch.setattr(instruments, "CHUNKS", instruments.BATCH_MACS)  # chunks of one point
    strategy, setup = ALL[name]
    kills = 0
    for seed in range(3 if n_jobs == 1 else 1):
        lab["strategy"] |= {"name": strategy, "setup": {**setup, "n_jobs": n_jobs}}
        kills += survives(lab, jets, jsc_tiny, tmp_path / str(seed), kills=5, draw=random.Random(seed))
    assert kills > 0
