"""`ch export` asks for what it needs, and refuses what does not fit, before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import chop
from tests.conftest import Command

RUN = ("mase_output/own", "--trial", "1")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "give the folder of a search with --trial NUMBER, or --load"),
        (("--load", "x", "--untuned"), "--untuned is for the folder of a search, not for --load; leave it out"),
        (RUN, "add --to NAME"),
        ((*RUN, "--to", "onnx", "--set", "form"), "expected KEY=VALUE"),
    ],
)
def test_what_is_missing_is_named(words: tuple[str, ...], told: str, ch: Command) -> None:
    _, error = ch("export", *words, status=2)
    assert told in error


def test_without_a_trial_those_of_the_front_are_named(ch: Command, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 4))
    space, folder = chop.Space(["integer"], [2, 4, 8]), tmp_path / "found"
    own: dict[str, Any] = {"objectives": ["loss", "average_bitwidth"], "strategy": "brute_force"}
    study = chop.search(nn.Linear(4, 2), (x, x[:, :2].argmax(1)), space, folder=folder, **own)
    numbers = sorted(network.number for network in study.front_networks)
    assert 0 < len(numbers) < len(study)
    front = f"(the front has {', '.join(map(str, numbers))})"
    asked = f"holds several networks: add --trial NUMBER {front}\n"
    assert asked in ch("export", str(folder), "--to", "onnx", status=2)[1]
    assert asked in ch("test", "--from-search", str(folder), status=2)[1]
    assert f"has no trial 999 {front}\n" in ch("export", str(folder), "--trial", "999", "--to", "onnx", status=2)[1]
