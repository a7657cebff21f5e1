"""Guesses in searches: what is tried, when there are none, and that they are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from chop.actions.compare.job import CompareJob, CompareOptions, compare
from chop.actions.search import guesses
from chop.actions.search.guesses import Guessing
from chop.actions.search.search import checked_call, search
from chop.dataset import MaseDataModule
from chop.errors import SearchError
from chop.evaluation.responses import Responses


def guessing(lab: dict[str, Any], data: MaseDataModule, model: nn.Module, folder: Path) -> Guessing:
    job = checked_call(CompareJob, model, data, lab, folder, 0, "cpu")
    return Guessing(job.measurement())


@pytest.fixture
def surrogate(lab: dict[str, Any]) -> dict[str, Any]:
    """The lab's search, by the surrogate."""
    lab["strategy"] |= {"name": "surrogate", "setup": {"n_trials": 20}}
    return lab


def test_guesses_are_made_once_of_the_first_training_rows(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    own = guessing(lab, jets, jsc_tiny, tmp_path)
    found = own(64)
    assert found is not None and own(64) is found
    told = "38 networks with one layer changed are tried on 64 training rows, as many rows as 4.75 evaluations"
    assert own.remarks == [told]
    assert caplog.text.count("guesses: 38 networks") == 1
    x, y = jets.batches("train", 64)[0]
    scores = jsc_tiny.eval()(x).detach()
    one_axis = np.arange(18)[:, None]
    wrong = found.features(one_axis)[:, 0] * found._spread[0] + found._centre[0]
    assert wrong.min() == pytest.approx(float((scores.argmax(1) != y).float().mean()), abs=0.1)
    assert wrong.max() > wrong.min()


def test_there_are_no_guesses_where_too_much_would_be_tried(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(guesses, "MOST_TRIED", 37)
    own = guessing(lab, jets, jsc_tiny, tmp_path)
    assert own(64) is None and own.remarks == []
    assert "without guesses: 38 networks would have to be tried, more than 37" in " ".join(caplog.text.split())
    monkeypatch.setattr(guesses, "MOST_TRIED", 38)
    monkeypatch.setattr(guesses, "MOST_ADDED", 5 * 31)
    assert guessing(lab, jets, jsc_tiny, tmp_path)(64) is None
    assert "5 outputs a row, over all layers, are too many" in " ".join(caplog.text.split())
    monkeypatch.setattr(guesses, "MOST_ADDED", 5 * 40)
    assert guessing(lab, jets, jsc_tiny, tmp_path)(64) is not None
    assert "on 40 training rows" in caplog.text


def test_a_search_goes_without_guesses_where_the_model_fails_on_training_rows(
    tmp_path: Path,
    surrogate: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")

    class Failing(Responses):
        def __init__(self, *args: Any) -> None:
            raise RuntimeError("made to fail")

    monkeypatch.setattr(guesses, "Responses", Failing)
    assert len(search(jsc_tiny, jets, surrogate, tmp_path).trials) == 18
    assert "chosen without guesses: RuntimeError: made to fail" in caplog.text


def test_a_search_with_guesses_goes_on_as_if_it_had_not_been_cut_off(
    tmp_path: Path, surrogate: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    surrogate["strategy"]["setup"] = {"n_trials": 16, "initial": 4, "probe_rows": 128}
    whole = search(jsc_tiny, jets, surrogate, tmp_path / "whole")
    surrogate["strategy"]["setup"]["n_trials"] = 7
    search(jsc_tiny, jets, surrogate, tmp_path / "cut")
    surrogate["strategy"]["setup"]["n_trials"] = 16
    resumed = search(jsc_tiny, jets, surrogate, tmp_path / "cut", resume=True)
    assert [trial.point for trial in resumed.trials] == [trial.point for trial in whole.trials]
    surrogate["strategy"]["setup"]["probe_rows"] = 0
    other = search(jsc_tiny, jets, surrogate, tmp_path / "other")
    assert [trial.point for trial in other.trials] != [trial.point for trial in whole.trials]
    with pytest.raises(SearchError, match="strategy changed"):
        search(jsc_tiny, jets, surrogate, tmp_path / "cut", resume=True)


def test_a_comparison_tells_what_was_tried_before_the_first_trial(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    summary = compare(jsc_tiny, jets, lab, tmp_path / "with", CompareOptions(("surrogate", "uniform"), seeds=2))
    told = (
        "Before the first trial of surrogate 38 networks with one layer changed are tried on 512 training rows, as "
        "many rows as 38 evaluations; they are not counted as evaluations."
    )
    assert told in summary.remarks
    assert told in json.loads((tmp_path / "with" / "summary.json").read_text())["remarks"]
    assert told in " ".join((tmp_path / "with" / "report.md").read_text().split())
    without = compare(jsc_tiny, jets, lab, tmp_path / "without", CompareOptions(("uniform",), seeds=2))
    assert not any("tried" in remark for remark in without.remarks)
