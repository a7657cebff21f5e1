"""ProbeFeatures in searches: what is tried, when there are none, and that they are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from chop.actions.compare.exports import as_answer
from chop.actions.compare.job import CompareJob, CompareOptions, compare
from chop.actions.search.checks import checked_call
from chop.actions.search.measuring import probes
from chop.actions.search.measuring.probes import SensitivityProbes
from chop.actions.search.search import search
from chop.actions.search.strategies.product.choice_levels import axis_bits
from chop.dataset import MaseDataModule
from chop.errors import SearchError
from chop.evaluation.responses import Responses
from chop.models import get_model


def probes_of(lab: dict[str, Any], data: MaseDataModule, model: nn.Module, folder: Path) -> SensitivityProbes:
    job = checked_call(CompareJob, model, data, lab, folder, 0, "cpu")
    instruments = job.instruments()
    return SensitivityProbes(instruments.subject, instruments.runners)


@pytest.fixture
def lab(lab: dict[str, Any]) -> dict[str, Any]:
    """The lab's 18 choices for each of the three layers of jsc-toy."""
    choices = lab["search_space"]["seed"].pop("seq_blocks_2")
    lab["search_space"] |= {"setup": {"by": "type"}, "seed": {**lab["search_space"]["seed"], "linear": choices}}
    return lab


@pytest.fixture
def surrogate(lab: dict[str, Any]) -> dict[str, Any]:
    """The same, searched by the surrogate."""
    lab["strategy"] |= {"name": "surrogate", "setup": {"n_trials": 20}}
    return lab


@pytest.fixture
def jsc_toy() -> nn.Module:
    return get_model("jsc-toy", pretrained=True)


def test_guesses_are_made_once_of_the_first_training_rows(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_toy: nn.Module,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    own = probes_of(lab, jets, jsc_toy, tmp_path)
    tries: list[tuple[int, int]] = []
    own.on_probe = lambda tried, of_all: tries.append((tried, of_all))
    found = own(64)
    assert found is not None and own(64) is found
    assert 5 < own.cost < 13.75  # of 110 networks those behind the first layer compute a part
    told = f"110 sensitivity probes (one layer quantised) run on 64 training samples, at the cost of {own.cost:.3g} "
    told += "evaluations"
    assert own.remarks == [f"before the first trial, {told}."]
    assert caplog.text.count(told) == 1
    assert tries == [(number, 110) for number in range(1, 111)]
    codes = np.stack(np.unravel_index(np.arange(18**3), (18, 18, 18)), 1)
    axes = own._subject.space.axes()
    assert axes is not None
    bits = sum(axis_bits(axis)[codes[:, place]] for place, axis in enumerate(axes))
    assert np.corrcoef(found.features(codes)[:, 0], bits)[0, 1] < -0.5  # fewer bits are further from float


def test_more_samples_are_tried_where_evaluations_have_many(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    for rows, tried in ((512, 8 * 512 // 110), (64, 32), (4096, 8 * 4096 // 110)):
        lab["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = rows
        own = probes_of(lab, jets, jsc_toy, tmp_path)
        assert own(None) is not None
        assert f"run on {tried} training samples" in own.remarks[0]


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        ({"MOST_TRIED": 109}, "110 sensitivity probes would be needed, more than 109"),
        ({"MOST_ADDED": 3 * 5 * 31}, "15 outputs per sample, over all layers, are too many"),
        ({"MOST_MACS": 1, "LITTLE": 6}, "110 probes would take too long, each on 32 training samples"),
    ],
)
def test_there_are_no_guesses_where_too_much_would_be_tried(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_toy: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    bounds: dict[str, int],
    why: str,
) -> None:
    caplog.set_level("INFO")
    for name, value in bounds.items():
        monkeypatch.setattr(probes, name, value)
    own = probes_of(lab, jets, jsc_toy, tmp_path)
    assert own(64) is None
    (remark,) = own.remarks
    assert remark.startswith(f"no sensitivity probes before the first trial: {why}")
    assert remark[:-1] in " ".join(caplog.text.split())


@pytest.mark.parametrize(
    ("bounds", "rows"), [({"MOST_ADDED": 3 * 5 * 40}, 40), ({"MOST_MACS": 1, "LITTLE": 10}, 10 * 512 // 110)]
)
def test_fewer_rows_are_tried_where_more_would_be_too_much(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_toy: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    bounds: dict[str, int],
    rows: int,
) -> None:
    for name, value in bounds.items():
        monkeypatch.setattr(probes, name, value)
    own = probes_of(lab, jets, jsc_toy, tmp_path)
    assert own(64) is not None
    assert f"on {rows} training samples (64 would be too much work)" in own.remarks[0]


def test_a_space_of_fewer_points_than_would_be_tried_has_no_guesses(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule
) -> None:
    own = probes_of(lab, jets, get_model("jsc-tiny", pretrained=True), tmp_path)
    assert own(64) is None
    assert "38 sensitivity probes would be needed, more than the 18 of the space" in own.remarks[0]


def test_a_search_goes_without_guesses_where_the_model_fails_on_training_rows(
    tmp_path: Path,
    surrogate: dict[str, Any],
    jets: MaseDataModule,
    jsc_toy: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")

    class Failing(Responses):
        def __init__(self, *args: Any) -> None:
            raise RuntimeError("made to fail")

    monkeypatch.setattr(probes, "Responses", Failing)
    assert len(search(jsc_toy, jets, surrogate, tmp_path).trials) == 20
    (told,) = (record for record in caplog.records if "no sensitivity probes" in record.getMessage())
    assert told.levelname == "WARNING" and told.getMessage().endswith("RuntimeError: made to fail")


def test_a_search_with_guesses_goes_on_as_if_it_had_not_been_cut_off(
    tmp_path: Path, surrogate: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    surrogate["strategy"]["setup"] = {"n_trials": 64, "initial": 4, "probe_rows": 128}  # 54 choices: two models then
    whole = search(jsc_toy, jets, surrogate, tmp_path / "whole")
    surrogate["strategy"]["setup"]["n_trials"] = 57
    search(jsc_toy, jets, surrogate, tmp_path / "cut")
    surrogate["strategy"]["setup"]["n_trials"] = 64
    resumed = search(jsc_toy, jets, surrogate, tmp_path / "cut", resume=True)
    assert [trial.point for trial in resumed.trials] == [trial.point for trial in whole.trials]
    surrogate["strategy"]["setup"]["probe_rows"] = 0
    other = search(jsc_toy, jets, surrogate, tmp_path / "other")
    assert [trial.point for trial in other.trials] != [trial.point for trial in whole.trials]
    with pytest.raises(SearchError, match=r"strategy \(probe_rows was 128, is 0\) changed"):
        search(jsc_toy, jets, surrogate, tmp_path / "cut", resume=True)


def test_a_comparison_tells_what_was_tried_before_the_first_trial(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    options = CompareOptions(("surrogate", "uniform"), seeds=2, budget=20)
    summary = compare(jsc_toy, jets, lab, tmp_path / "with", options)
    probed, uniform = summary.strategies
    told = (
        "surrogate: before the first trial, 110 sensitivity probes (one layer quantised) run on 37 training samples, "
        f"at the cost of {probed.probes:.3g} evaluations."
    )
    assert told in summary.remarks
    assert 2 < probed.probes < 8 and uniform.probes == 0
    assert as_answer(summary)["strategies"]["surrogate"]["probes"] == probed.probes
    assert told in json.loads((tmp_path / "with" / "summary.json").read_text(encoding="utf-8"))["remarks"]
    assert told in " ".join((tmp_path / "with" / "report.md").read_text(encoding="utf-8").split())
    without = compare(jsc_toy, jets, lab, tmp_path / "without", CompareOptions(("uniform",), seeds=2))
    assert not any("quantised differently" in remark for remark in without.remarks)
