"""Searches that begin with what earlier ones found, and searches in a storage of Optuna."""

from __future__ import annotations

import copy
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest
from torch import nn

from chop.actions.search import SearchResult, search
from chop.actions.search.strategies.optuna.storage import export_search, points_of_storage
from chop.actions.search.strategies.runners.hardware import AverageBitwidth
from chop.dataset import MaseDataModule
from chop.errors import SearchError
from chop.models import get_model


def facts(result: SearchResult) -> list[Any]:
    return [(t.number, dict(t.point), t.metrics, t.repeats, t.inherited) for t in result.trials]


def tpe(lab: dict[str, Any], n_trials: int) -> dict[str, Any]:
    config = copy.deepcopy(lab)
    config["strategy"] |= {"name": "optuna", "setup": {"sampler": "tpe", "n_startup_trials": 3, "n_trials": n_trials}}
    return config


@pytest.fixture
def earlier(tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module) -> Path:
    """A search of seven points, of which one trial may be a repeat."""
    search(jsc_tiny, jets, tpe(lab, 7), tmp_path / "earlier", seed=3)
    return tmp_path / "earlier"


def distinct(folder: Path) -> int:
    return sum("repeats" not in row for row in json.loads((folder / "log.json").read_text(encoding="utf-8")).values())


def test_trials_of_the_same_search_are_taken_over_unmeasured(
    earlier: Path, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    result = search(jsc_tiny, jets, tpe(lab, 5), tmp_path / "new", seed=1, init_from=[earlier])
    inherited = [trial for trial in result.trials if trial.inherited]
    own = [trial for trial in result.trials if not trial.inherited]
    assert len(inherited) == distinct(earlier)
    assert len(own) == 5
    assert [trial.number for trial in result.trials] == list(range(len(result.trials)))
    assert f"{len(inherited)} more from earlier searches" in (tmp_path / "new/report.md").read_text(encoding="utf-8")
    logged = json.loads((tmp_path / "new/log.json").read_text(encoding="utf-8"))
    assert [row.get("inherited") for row in logged.values()][: len(inherited)] == [str(earlier)] * len(inherited)


@pytest.mark.parametrize("names", [["given"], []], ids=["named again", "not named"])
def test_it_is_resumed_also_when_the_earlier_search_is_gone(
    names: list[str], earlier: Path, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    whole = search(jsc_tiny, jets, tpe(lab, 9), tmp_path / "whole", seed=1, init_from=[earlier])
    search(jsc_tiny, jets, tpe(lab, 4), tmp_path / "cut", seed=1, init_from=[earlier])
    log = (tmp_path / "cut/trials.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut/trials.jsonl").write_bytes(b"".join(log[:3]))  # killed while it took them over
    shutil.rmtree(earlier)
    given = [earlier] if names else []
    resumed = search(jsc_tiny, jets, tpe(lab, 9), tmp_path / "cut", seed=1, init_from=given, resume=True)
    assert facts(resumed) == facts(whole)


def test_another_beginning_is_not_resumed(
    earlier: Path, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    search(jsc_tiny, jets, tpe(lab, 2), tmp_path / "new", init_from=[earlier])
    with pytest.raises(SearchError, match=r"began with --init-from .*earlier: give the same, or none"):
        search(jsc_tiny, jets, tpe(lab, 4), tmp_path / "new", init_from=["other"], resume=True)
    (tmp_path / "new/initial.json").unlink()
    with pytest.raises(SearchError, match="init_from changed"):
        search(jsc_tiny, jets, tpe(lab, 4), tmp_path / "new", resume=True)


def test_what_an_earlier_search_in_the_folder_began_with_is_forgotten(
    earlier: Path, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    search(jsc_tiny, jets, tpe(lab, 2), tmp_path / "new", init_from=[earlier])
    (tmp_path / "new/trials.jsonl").unlink()
    search(jsc_tiny, jets, tpe(lab, 2), tmp_path / "new")
    assert len(search(jsc_tiny, jets, tpe(lab, 3), tmp_path / "new", resume=True).trials) == 3


def test_brute_force_measures_what_is_left(
    earlier: Path, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    whole = search(jsc_tiny, jets, lab, tmp_path / "whole")
    result = search(jsc_tiny, jets, lab, tmp_path / "new", init_from=[earlier])
    assert result.reason == "exhausted"
    assert len(result.trials) == 18
    assert sum(not trial.inherited for trial in result.trials) == 18 - distinct(earlier)
    assert {json.dumps(row.sampled_config) for row in result.best} == {
        json.dumps(row.sampled_config) for row in whole.best
    }


def test_of_a_search_that_differs_the_points_are_measured_first(
    earlier: Path,
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = get_model("jsc-tiny")
    with caplog.at_level("INFO"):
        result = search(other, jets, tpe(lab, 9), tmp_path / "new", init_from=[earlier])
    known = [
        row for row in json.loads((earlier / "log.json").read_text(encoding="utf-8")).values() if "repeats" not in row
    ]
    configs = json.loads((tmp_path / "new/log.json").read_text(encoding="utf-8"))
    assert not any(trial.inherited for trial in result.trials)
    assert len(result.trials) == 9
    assert [configs[str(n)]["sampled_config"] for n in range(len(known))] == [row["sampled_config"] for row in known]
    assert "are measured first, anew: weights differ" in caplog.text


def test_a_search_that_measures_first_is_resumed_within(
    earlier: Path, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule
) -> None:
    other = get_model("jsc-tiny")
    whole = search(other, jets, tpe(lab, 9), tmp_path / "whole", init_from=[earlier])
    search(other, jets, tpe(lab, 3), tmp_path / "cut", init_from=[earlier])
    assert facts(search(other, jets, tpe(lab, 9), tmp_path / "cut", resume=True)) == facts(whole)


def test_only_points_of_this_space_are_taken(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    search(jsc_tiny, jets, lab, tmp_path / "all")
    lists = lab["search_space"]["seed"]["seq_blocks_2"]["config"]
    lists |= {"name": ["integer", "NA"], "weight_width": [8, 3, 2], "bias_width": [8], "data_in_width": [8, 4]}
    del lists["data_in_frac_width"]  # absent and "NA" mean the same
    lab["strategy"]["setup"] = {"n_trials": 4}
    with caplog.at_level("INFO"):
        result = search(jsc_tiny, jets, lab, tmp_path / "new", init_from=[tmp_path / "all"])
    assert "4 of its 18 points are in this space" in caplog.text
    assert "choices differ" in caplog.text
    assert len(result.trials) == 4


def test_wrong_sources_get_one_clear_line(
    earlier: Path, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    (tmp_path / "empty").mkdir()
    lab["search_space"]["seed"]["seq_blocks_2"]["config"]["weight_width"] = [5, 6]
    for source, told in (
        (tmp_path / "nowhere", "there is no such folder"),
        (tmp_path / "empty", "no search there"),
        (earlier, r"none of its \d points is one of the 12 of this space"),
        (f"sqlite:///{tmp_path}/none.db#x", "there is no file"),
    ):
        with pytest.raises(SearchError, match=told) as caught:
            search(jsc_tiny, jets, lab, tmp_path / "new", init_from=[source])
        assert "\n" not in str(caught.value)
    (earlier / "log.json").unlink()
    with pytest.raises(SearchError, match="no finished search there"):
        search(jsc_tiny, jets, lab, tmp_path / "new", init_from=[earlier])


def test_an_export_says_where_to(earlier: Path, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"expected sqlite:///FILE\.db"):
        export_search(earlier, str(tmp_path / "study"))
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("kind", ["sqlite:///{}/study.db", "{}/study.log"])
def test_a_search_survives_the_way_through_optuna(
    kind: str, earlier: Path, tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    storage = kind.format(tmp_path)
    name, trials = export_search(earlier, storage)
    assert (name, trials) == ("earlier", 7)
    result = search(jsc_tiny, jets, tpe(lab, 7), tmp_path / "new", init_from=[f"{storage}#earlier"])
    rows = [
        row for row in json.loads((earlier / "log.json").read_text(encoding="utf-8")).values() if "repeats" not in row
    ]
    again = list(json.loads((tmp_path / "new/log.json").read_text(encoding="utf-8")).values())[: len(rows)]
    assert [row["sampled_config"] for row in again] == [row["sampled_config"] for row in rows]
    assert [row["software_metrics"] for row in again] == [row["software_metrics"] for row in rows]
    assert not any(trial.inherited for trial in result.trials)


def test_an_export_takes_the_folder_of_a_project(earlier: Path, tmp_path: Path) -> None:
    shutil.copytree(earlier, tmp_path / "mine" / "software" / "search_ckpts")
    assert export_search(tmp_path / "mine", f"sqlite:///{tmp_path}/study.db") == ("mine", 7)


def test_an_exported_study_says_what_a_search_did(earlier: Path, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    export_search(earlier, storage, "mine")
    study = optuna.load_study(study_name="mine", storage=storage)
    rows = list(json.loads((earlier / "log.json").read_text(encoding="utf-8")).values())
    assert study.metric_names == ["accuracy", "average_bitwidth"]
    assert [way.name for way in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for trial, row in zip(study.trials, rows, strict=True):
        assert trial.values == list(row["scaled_metrics"].values())
        assert {name: trial.user_attrs[name] for name in row["software_metrics"]} == row["software_metrics"]
        widths = row["sampled_config"]["seq_blocks_2"]["config"]
        assert trial.params == {
            f"seq_blocks_2/config/{k}": widths[k] for k in ("data_in_width", "weight_width", "bias_width")
        }
        assert trial.user_attrs.get("repeats") == row.get("repeats")
    ends = [(trial.datetime_start, trial.datetime_complete) for trial in study.trials]
    assert all(start <= end for start, end in ends)
    assert all(before[1] == after[0] for before, after in pairwise(ends))


def test_failed_trials_and_limits_are_exported(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = AverageBitwidth.combine
    monkeypatch.setattr(
        AverageBitwidth,
        "combine",
        lambda self, sums: {n: v if sums[0] > 300 else float("nan") for n, v in usual(self, sums).items()},
    )
    lab["strategy"]["metrics"]["accuracy"]["min"] = 0.7
    result = search(jsc_tiny, jets, lab, tmp_path / "search")
    assert 0 < sum(bool(trial.failed) for trial in result.trials) < 18
    export_search(tmp_path / "search", f"{tmp_path}/study.log")
    assert len(points_of_storage(f"{tmp_path}/study.log")) == sum(not trial.failed for trial in result.trials)
    backend = optuna.storages.journal.JournalFileBackend(f"{tmp_path}/study.log")
    study = optuna.load_study(study_name="search", storage=optuna.storages.JournalStorage(backend))
    for stored, trial in zip(study.trials, result.trials, strict=True):
        assert stored.state.name == ("FAIL" if trial.failed else "COMPLETE")
        assert stored.user_attrs.get("failed", "") == trial.failed
        if not trial.failed:
            assert stored.constraints["accuracy >= 0.7"] == pytest.approx((0.7 - trial.metrics["accuracy"]) / 0.7)


def test_nothing_half_written_stays_behind(earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    export_search(earlier, storage, "first")
    with pytest.raises(SearchError, match="has a study 'first' already: choose another --study-name"):
        export_search(earlier, storage, "first")

    def fail(*_: Any) -> Any:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("chop.actions.search.strategies.optuna.storage._attributes", fail)
    with pytest.raises(SearchError, match="the disk is full"):
        export_search(earlier, storage, "second")
    assert optuna.get_all_study_names(storage) == ["first"]


def test_a_foreign_study_gives_points_and_no_figures(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    storage = f"sqlite:///{tmp_path}/foreign.db"
    study = optuna.create_study(study_name="theirs", storage=storage)
    for width in (2, 4, 5):
        params = {"seq_blocks_2/config/weight_width": width, "seq_blocks_2/config/bias_width": 8}
        params |= {"seq_blocks_2/config/data_in_width": 4}
        dists = {key: optuna.distributions.IntDistribution(2, 8) for key in params}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=dists, value=99.0))
    lab["strategy"]["setup"] = {"n_trials": 2}
    result = search(jsc_tiny, jets, lab, tmp_path / "new", init_from=[storage])
    assert [trial.metrics["accuracy"] < 1 for trial in result.trials] == [True, True]
    widths = [
        row["sampled_config"]["seq_blocks_2"]["config"]
        for row in json.loads((tmp_path / "new/log.json").read_text(encoding="utf-8")).values()
    ]
    assert [(w["weight_width"], w["bias_width"], w["data_in_width"]) for w in widths] == [(2, 8, 4), (4, 8, 4)]


def test_the_front_of_an_enumeration_is_taken_over(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        context.setattr("chop.actions.search.run.block_by_block.LARGEST_LOG", 10)
        front = search(jsc_tiny, jets, lab, tmp_path / "blocks").best
        with pytest.raises(SearchError, match="--init-from has no effect here"):
            search(jsc_tiny, jets, lab, tmp_path / "again", init_from=[tmp_path / "blocks"])
    result = search(jsc_tiny, jets, tpe(lab, 2), tmp_path / "new", init_from=[tmp_path / "blocks"])
    assert [dict(trial.point) for trial in result.trials if trial.inherited] == [dict(row.trial.point) for row in front]
    with pytest.raises(SearchError, match="keeps its trials"):
        export_search(tmp_path / "blocks", f"sqlite:///{tmp_path}/study.db")
