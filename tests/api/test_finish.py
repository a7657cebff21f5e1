"""A study that ends in tuned networks: `net.model` is the tuned one, to the bit, and the untuned one is still there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import chop
from chop.api.study import Study
from chop.errors import ConfigError, SearchError
from chop.record.folder import SearchFolder
from chop.record.trial import BestRow
from chop.report.finish_texts import finish_facts
from chop.report.html.search_data import search_data
from chop.report.html.search_page import search_page
from chop.report.search_report import summary_table
from tests.api.conftest import few

Arrays = tuple[np.ndarray, np.ndarray]
FINISH = {"max_epochs": 5, "batch_size": 16, "learning_rate": 0.01, "rows": 4}


@pytest.fixture(scope="module")
def tuned(arrays: Arrays) -> tuple[nn.Module, Study]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))
    return model, chop.search(model, arrays, **few(finish=FINISH))


def on_validation(study: Study, model: nn.Module) -> float:
    """The macro-averaged accuracy on the validation samples, computed here."""
    assert study.front_networks[0]._networks is not None
    ((x, y),) = study.front_networks[0]._networks.job.data_module.batches("val")
    with torch.no_grad():
        right = model(x).argmax(1) == y
    return float(np.mean([right[y == label].float().mean().item() for label in y.unique()]))


def test_the_best_is_tuned_and_predicts_as_measured(tuned: tuple[nn.Module, Study]) -> None:
    _, study = tuned
    net = study.best()
    assert net.finished is not None and net.finished.epochs == 5
    assert on_validation(study, net.model) == pytest.approx(net.metrics["accuracy"], abs=1e-6)
    assert on_validation(study, net.untuned.model) == pytest.approx(net.untuned.metrics["accuracy"], abs=1e-6)
    assert net.metrics["accuracy"] > net.untuned.metrics["accuracy"]
    assert net.untuned.untuned is net.untuned


def test_tables_have_both_figures(tuned: tuple[nn.Module, Study]) -> None:
    _, study = tuned
    front, best = study.front, study.best()
    row = front[front["trial"] == best.number].iloc[0]
    assert row["accuracy"] == best.metrics["accuracy"]
    assert row["untuned_accuracy"] == best.untuned.metrics["accuracy"]
    assert "untuned_average_bitwidth" not in front
    all_tuned = study.tuned
    assert len(all_tuned) == 4 and set(all_tuned["epochs"]) == {5}


def test_tuned_networks_are_marked_where_no_figure_changed(tuned: tuple[nn.Module, Study]) -> None:
    summary = tuned[1].summary
    alike = [replace(row, trial=row.searched) for row in summary.best]
    assert any(row.finished for row in alike)
    assert summary.finish is not None
    summary = replace(summary, best=tuple(alike), finish=replace(summary.finish, improved=0))
    columns, rows, _ = summary_table(summary)
    shown = {row[0]: row[columns.index("untuned accuracy")] for row in rows}
    assert {number for number, figure in shown.items() if figure} == {
        str(row.trial.number) for row in alike if row.finished
    }
    assert "It made none of them better: try another learning_rate, or more epochs." in " ".join(finish_facts(summary))


def test_a_finish_that_improves_nothing_says_so_and_has_the_same_columns(
    mlp: nn.Module, arrays: Arrays, tuned: tuple[nn.Module, Study], caplog: pytest.LogCaptureFixture
) -> None:
    idle = chop.search(mlp, arrays, **few(finish={**FINISH, "max_epochs": 1, "learning_rate": 1e-30}))
    assert "tuning made none of the 4 networks better: try another learning_rate, or more epochs" in caplog.text
    assert idle.summary.finish is not None and idle.summary.finish.improved == 0
    assert list(idle.front.columns) == list(tuned[1].front.columns)
    assert summary_table(idle.summary)[0] == summary_table(tuned[1].summary)[0]
    finish = tuned[1].summary.finish
    assert finish is not None and finish.improved
    told = f"It made {finish.improved} of them better in some metric of the goals, and {4 - finish.improved} in none."
    assert told in " ".join(finish_facts(tuned[1].summary))


def test_networks_that_tuning_made_worse_are_among_the_tuned(mlp: nn.Module, arrays: Arrays) -> None:
    study = chop.search(mlp, arrays, **few(finish={**FINISH, "max_epochs": 1, "learning_rate": 10.0}))
    assert study.summary.finish is not None
    assert sorted(study.tuned["trial"]) == sorted(study.summary.finish.trials)
    assert len(study.tuned) == 4
    assert "Their graphs" not in study._repr_html_()


def test_the_page_has_networks_tuned_and_untuned_and_says_how_to_take_either(tuned: tuple[nn.Module, Study]) -> None:
    _, study = tuned
    data = search_data(SearchFolder(study.folder))
    networks, best = data["trials"], study.best()
    places = [place for place, number in enumerate(networks["number"]) if number == best.number]
    found = {networks["tuned"][place]: networks["metrics"]["accuracy"][place] for place in places}
    wanted = {0: best.untuned.metrics["accuracy"], 5: best.metrics["accuracy"]}
    assert found == {epochs: pytest.approx(value, rel=1e-5) for epochs, value in wanted.items()}
    assert data["tuned"] == sorted(study.tuned["trial"])
    page = search_page(SearchFolder(study.folder))
    assert '[{trial}]{untuned}.model",".untuned"]' in page
    assert search_data(SearchFolder(study.folder), lite=True)["front"] == data["front"]


def test_a_loaded_study_has_the_same_networks(tuned: tuple[nn.Module, Study], arrays: Arrays, tmp_path: Path) -> None:
    model, study = tuned
    folder = study.save(tmp_path / "kept")
    loaded = chop.load_study(folder, model, arrays)
    number = study.best().number
    wanted, found = study[number].model.state_dict(), loaded[number].model.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())
    assert repr(loaded).splitlines()[1:] == repr(study).splitlines()[1 : len(repr(loaded).splitlines())]
    saved = loaded[number].save(tmp_path / "net.safetensors")
    alone = chop.MaseGraph.from_checkpoint(saved, model)
    x = torch.randn(7, 8)
    assert torch.equal(alone.model(x), study[number].model(x))
    next((folder / "finished").glob(f"trial-{number}-*")).unlink()
    with pytest.raises(SearchError, match="the tuned network was removed"):
        _ = chop.load_study(folder, model, arrays)[number].model


def test_a_network_may_be_on_the_front_tuned_and_untuned(
    tuned: tuple[nn.Module, Study], arrays: Arrays, tmp_path: Path
) -> None:
    model, study = tuned
    loaded = chop.load_study(study.save(tmp_path / "twice"), model, arrays)
    row = next(row for row in loaded.summary.best if row.finished)
    trial = replace(row.searched, software_metrics={**row.searched.software_metrics, "accuracy": 2.0})
    untuned = BestRow(trial, (), row.sampled_config)
    loaded.__dict__["summary"] = replace(loaded.summary, best=[row, untuned])
    best, second = loaded.front_networks
    assert (best.finished, second.finished) == (None, row.finished) and loaded.best().finished is None
    assert best.number == second.number and second is loaded[best.number]


def test_to_toml_and_back(tuned: tuple[nn.Module, Study], tmp_path: Path) -> None:
    _, study = tuned
    file = tmp_path / "search.toml"
    file.write_text(study.to_toml(), encoding="utf-8")
    assert chop.load_config(file)["finish"] == FINISH


def test_a_number_is_epochs_and_wrong_options_are_named(mlp: nn.Module, arrays: Arrays) -> None:
    study = chop.search(mlp, arrays, **few(finish=1))
    assert study.summary.finish is not None and study.summary.finish.options["max_epochs"] == 1
    with pytest.raises(ConfigError, match=r"finish\['max_epochs'\]: expected greater than or equal to 1"):
        chop.search(mlp, arrays, **few(finish=0))
    with pytest.raises(ConfigError, match=r"finish: expected .*dictionary"):
        chop.search(mlp, arrays, **few(finish="soon"))
