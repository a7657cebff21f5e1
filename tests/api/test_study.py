"""A study's tables, networks, records and pictures."""

from __future__ import annotations

import copy
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import chop
from chop.api.study import Study
from chop.api.tables import Table, table_of
from chop.errors import ChopError, ExportError, FolderError, SearchError
from chop.evaluation.plan_runner import PlanRunner
from chop.ir import MaseGraph
from chop.passes.graph import quantize_transform_pass
from chop.record.folder import SearchFolder
from chop.record.front import Front
from chop.scoring.task import task_of
from tests.api.conftest import few

Arrays = tuple[np.ndarray, np.ndarray]


def validation(study: Study) -> tuple[torch.Tensor, torch.Tensor]:
    (batch,) = study._networks.job.data_module.batches("val")  # type: ignore[union-attr]
    return batch


def test_every_network_predicts_as_the_search_measured_to_the_bit(study: Study) -> None:
    job = study._networks.job  # type: ignore[union-attr]
    batches = job.data_module.batches("val")
    ran = PlanRunner(job.graph, batches)
    for number in range(len(study.trials)):
        own = study[number]
        with torch.no_grad():
            predictions = own.model(batches[0][0])
        assert torch.equal(predictions, ran.predictions(job.space.plan(own.trial.point)))
        accumulator = job.data_module.task.accumulator()
        accumulator.update(predictions, batches[0][1])
        assert accumulator.result() == pytest.approx(
            {name: own.metrics[name] for name in accumulator.result()}, rel=1e-6
        )
        assert accumulator.result()["accuracy"] == own.metrics["accuracy"]


def test_the_front_shows_the_positions_of_points_that_its_networks_have(study: Study) -> None:
    best = study.best()
    written = {row["number"]: row["measured_frac_widths"] for row in SearchFolder(study.folder).rows("best.json")}
    for name, found in written[best.number].items():
        config, layer = best.config[name]["config"], best.graph.model.get_submodule(str(best.graph.node(name).target))
        assert set(found) == {"data_in", "weight", "bias"}
        for operand in ("weight", "bias"):
            reach, width = float(getattr(layer, operand).detach().abs().max()), config[f"{operand}_width"]
            fits = [bits for bits in range(-64, 65) if reach * 2.0**bits < 2.0 ** (width - 1)]
            assert found[operand] == max(fits)
            assert f"{width}b/{max(fits)}f" in best.formats
    assert len(written) == len(study.front) and not any("auto" in text for text in study.front["formats"])
    assert best.frac_widths == written[best.number]
    assert chop.load_study(study.folder)[best.number].formats == best.formats


def test_a_range_for_each_channel_shows_its_least_and_greatest_position(mlp: nn.Module, arrays: Arrays) -> None:
    torch.nn.init.constant_(mlp[0].weight[0], 0.01)
    space = chop.Space(formats=["integer"], widths=[8], weight_granularity=["channel"])
    best = chop.search(mlp, arrays, **few(formats=None, widths=None, space=space)).best()
    channels = mlp[0].weight.detach().abs().amax(1)
    least, greatest = best.frac_widths["_0"]["weight"]
    for bits, reach in ((least, channels.max()), (greatest, channels.min())):
        assert float(reach) * 2.0**bits < 128 <= float(reach) * 2.0 ** (bits + 1)
    assert f"w 8b/{least}f…{greatest}f channel" in best.formats


def test_a_study_without_its_options_says_so_when_it_is_loaded(
    study: Study, tmp_path: Path, mlp: nn.Module, arrays: Arrays, caplog: pytest.LogCaptureFixture
) -> None:
    study.save(tmp_path / "kept")
    (tmp_path / "kept" / "resolved.toml").unlink()
    assert len(chop.load_study(tmp_path / "kept").trials) == len(study.trials)
    assert "has no resolved.toml: tables can be shown, but no network be built" in caplog.text
    with pytest.raises(SearchError, match=r"has no resolved.toml, without which its networks cannot be built"):
        chop.load_study(tmp_path / "kept", mlp, arrays)


def test_a_network_is_a_module_that_can_be_copied_saved_and_trained(study: Study) -> None:
    x, _ = validation(study)
    net = study.best().model
    assert study.best().model is net
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    for other in (copy.deepcopy(net), torch.load(file, weights_only=False)):
        assert torch.equal(other(x), net(x))
    net(x).sum().backward()
    assert all(own.grad is not None for own in net.parameters())


def test_a_network_after_training_is_the_one_that_was_measured(mlp: nn.Module, arrays: Arrays) -> None:
    runner = {"basic_train": {"max_epochs": 1, "num_samples": 64}}
    study = chop.search(mlp, arrays, **few(runners=runner, widths=[4], formats=["integer", None]))
    x, y = validation(study)
    for network in study.front_networks:
        accumulator = task_of("cls", 3).accumulator()
        with torch.no_grad():
            accumulator.update(network.model.eval()(x), y)
        assert accumulator.result()["loss"] == network.metrics["loss"]


def test_the_config_of_a_network_is_what_the_pass_takes(mlp: nn.Module, arrays: Arrays) -> None:
    study = chop.search(mlp, arrays, chop.Space(["integer"], [4, 8], frac_width="NA"), **few(formats=None, widths=None))
    best = study.best()
    graph, _ = quantize_transform_pass(MaseGraph(mlp), dict(best.config))
    x, _ = validation(study)
    assert torch.equal(graph.model(x), best.model(x))


def test_a_saved_network_is_loaded_on_its_model(study: Study, mlp: nn.Module, tmp_path: Path) -> None:
    path = study.best().save(tmp_path / "best.safetensors")
    x, _ = validation(study)
    assert torch.equal(MaseGraph.from_checkpoint(path, model=mlp).model(x), study.best().model(x))


def test_an_export_with_batch_norms_is_refused_once_with_the_argument_that_folds_them(
    arrays: Arrays, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(8, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)]
    model = nn.Sequential(*layers).eval()
    own: dict[str, Any] = {"objectives": ["accuracy", "average_bitwidth"], "n_trials": 1}
    study = chop.search(model, arrays, chop.Space(["integer"], [8]), **own)
    with pytest.raises(ExportError) as told:
        study.best().export("qonnx", tmp_path / "out")
    _, line = str(told.value).splitlines()
    assert line.startswith("  _1, _4: its statistics are in float; ")
    assert line.endswith('(a search runs them by chop.Space(…, passes=["fold_batch_norm", "absorb_batch_norm"]))')
    assert [own.partition(":")[0] for own in told.value.problems] == ["_1", "_4"]
    assert all("chop.Space(…, passes=[" in own and "search.search_space" not in own for own in told.value.problems)
    space = chop.Space(["integer"], [8], passes=["fold_batch_norm", "absorb_batch_norm"])
    exported = chop.search(model, arrays, space, **own).best().export("qonnx", tmp_path / "out")
    assert exported.folder == tmp_path / "out"


def test_the_front_is_that_of_all_trials(study: Study) -> None:
    trials = [study[number] for number in range(len(study.trials))]
    costs = np.array([[-own.metrics["accuracy"], own.metrics["average_bitwidth"]] for own in trials])
    assert sorted(study.front["trial"]) == sorted(Front.of(costs, np.arange(len(costs))).index.tolist())
    assert [own.number for own in study.front_networks] == list(study.front["trial"])
    assert [own.number for own in study] == list(range(len(study)))
    assert list(study.front["accuracy"]) == sorted(study.front["accuracy"], reverse=True)
    assert {"test_accuracy", "test_accuracy_low", "formats"} <= set(study.front.columns)
    assert list(study.trials["state"]) == ["measured"] * len(trials)


def test_best_keeps_within_the_drop_that_is_allowed(study: Study) -> None:
    fp32 = study.summary.baselines["FP32"].trial.metrics["accuracy"]
    front = study.front_networks
    assert study.best().metrics["accuracy"] == max(own.metrics["accuracy"] for own in front)
    for drop in (0.0, 0.05, 1.0):
        near = [own.metrics["average_bitwidth"] for own in front if fp32 - own.metrics["accuracy"] <= drop]
        if near:
            assert study.best(max_drop=drop).metrics["average_bitwidth"] == min(near)
    cheapest = min(own.metrics["average_bitwidth"] for own in front)
    assert study.best(metric="average_bitwidth").metrics["average_bitwidth"] == cheapest
    for wrong in (-2.0, float("nan"), "much", [1]):
        with pytest.raises(SearchError, match=r"max_drop: (must be 0 or more|expected a number)"):
            study.best(max_drop=wrong)  # type: ignore[arg-type]
    with pytest.raises(SearchError, match="metric: 'acc' is no objective"):
        study.best(metric="acc")
    assert study.best(max_drop="100 %").number == study.best(max_drop=1.0).number
    for number in (99, -1):
        with pytest.raises(SearchError, match=f"there is no trial {number}"):
            study[number]
    for other in (True, "1", slice(0, 2)):
        with pytest.raises(SearchError, match=r"study\[...\] takes the number of a trial"):
            study[other]  # type: ignore[index]
    assert study[np.int64(3)] is study[3]  # type: ignore[index]


def distinct(predictions: torch.Tensor, targets: torch.Tensor) -> int:
    return predictions.unique().numel()


def test_max_drop_tells_the_nearest_where_none_is_near_enough(mlp: nn.Module, arrays: Arrays) -> None:
    objectives = [(distinct, "maximize"), "average_bitwidth"]  # formats have few values
    study = chop.search(mlp, arrays, **few(objectives=objectives, widths=[2]))
    with pytest.raises(SearchError, match=r"max_drop: no network of the front is within 1 of FP32 .* is trial 0 with"):
        study.best(max_drop=1)


def test_where_no_network_satisfies_the_constraints_the_front_is_empty_and_best_says_why(
    mlp: nn.Module, arrays: Arrays
) -> None:
    study = chop.search(mlp, arrays, **few(constraints={"model_size": {"max": "1 B"}}))
    assert (len(study.front), study.front_networks, len(study)) == (0, [], 16)
    assert "Study(0 on the front" in repr(study)
    assert study.summary.remarks[0] in repr(study)
    assert "No " in study._repr_html_()
    with pytest.raises(
        SearchError, match=r"satisfies all constraints; the nearest is study\[\d+\], which misses model_size"
    ):
        study.best()


def test_a_study_is_loaded_from_its_records_alone(study: Study, mlp: nn.Module, arrays: Arrays, tmp_path: Path) -> None:
    folder = study.save(tmp_path / "kept")
    loaded = chop.load_study(folder)
    assert loaded.front.to_dict("records") == study.front.to_dict("records")
    assert loaded.best().config == study.best().config
    assert loaded.to_toml() == study.to_toml()
    with pytest.raises(SearchError, match=r"loaded without its model: chop.load_study\(folder, model="):
        _ = loaded.best().model
    for place in ("/proc/x", "/dev/null/x"):
        with pytest.raises(FolderError, match=rf"^folder: {place} cannot be written \(.*\): choose another"):
            study.save(place)
    with pytest.raises(FolderError, match=r"folder: .* exists already"):
        study.save(folder)
    assert [own.name for own in tmp_path.iterdir()] == ["kept"]


def test_a_study_with_a_damaged_file_is_refused_by_name(study: Study, tmp_path: Path) -> None:
    cut, edited = (study.save(tmp_path / name) for name in ("cut", "edited"))
    log = cut / "trials.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    with pytest.raises(SearchError, match=r"trials.jsonl has other trials than summary.json"):
        chop.load_study(cut)
    config = edited / "resolved.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("seed = 1", "seed = 2"), encoding="utf-8")
    with pytest.raises(SearchError, match=r"resolved.toml was changed"):
        chop.load_study(edited)


def test_a_loaded_study_builds_the_same_networks(study: Study, mlp: nn.Module, arrays: Arrays, tmp_path: Path) -> None:
    folder = study.save(tmp_path / "kept")
    loaded = chop.load_study(folder, model=mlp, data=arrays)
    x, _ = validation(study)
    for number in range(len(study.trials)):
        assert torch.equal(loaded[number].model(x), study[number].model(x))


def test_a_study_of_a_function_is_loaded_with_that_function(mlp: nn.Module, arrays: Arrays, tmp_path: Path) -> None:
    def spread(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return predictions.std()

    study = chop.search(mlp, arrays, **few(objectives=[(spread, "minimize")], folder=tmp_path / "own"))
    loaded = chop.load_study(tmp_path / "own", model=mlp, data=arrays, metrics={"spread": (spread, "minimize")})
    x, _ = validation(study)
    assert torch.equal(loaded.best().model(x), study.best().model(x))


def test_a_study_is_not_loaded_with_another_model_or_other_data(
    study: Study, mlp: nn.Module, arrays: Arrays, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = study.save(tmp_path / "kept")
    with pytest.raises(SearchError, match="data: give the data of the search"):
        chop.load_study(folder, model=mlp)
    with pytest.raises(SearchError, match="had other data"):
        chop.load_study(folder, model=mlp, data=(arrays[0] + 1, arrays[1]))
    with torch.no_grad():
        mlp[0].weight.add_(1)  # type: ignore[union-attr]
    capfd.readouterr()
    for other in (mlp, nn.Linear(3, 4)):
        with pytest.raises(SearchError, match="model: the model has other weights"):
            chop.load_study(folder, model=other, data=arrays)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(SearchError, match="folder: expected the path"):
        chop.load_study(None)  # type: ignore[arg-type]


def test_a_study_is_loaded_from_the_folder_of_its_project(study: Study, tmp_path: Path) -> None:
    study.save(tmp_path / "project" / "software" / "search_ckpts")
    assert len(chop.load_study(tmp_path / "project").trials) == len(study.trials)


def test_a_study_says_what_it_is(study: Study) -> None:
    assert "on the front; 16 configurations measured of 16" in repr(study)
    assert "accuracy" in repr(study.best())


def test_tables_are_data_frames_with_pandas(study: Study) -> None:
    pandas = pytest.importorskip("pandas")
    assert isinstance(study.front, pandas.DataFrame)
    frame = study.to_pandas()
    assert len(frame) == len(study.trials)
    assert set(frame["_0/weight_width"]) == {4, 8}


def test_without_pandas_a_table_has_the_same_columns(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    with_either = study.front.to_dict("records")
    monkeypatch.setattr("chop.api.tables.find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    front = study.front
    assert isinstance(front, Table)
    assert front.to_dict() == with_either
    with pytest.raises(ChopError, match=r"needs the package pandas: .*pip install .chop-search\[pandas\]"):
        study.to_pandas()
    with pytest.raises(KeyError):
        front["acuracy"]


def test_a_table_shows_its_rows_and_escapes_what_it_shows() -> None:
    rows: list[dict[str, Any]] = [{"name": f"<{number}>", "value": math.pi} for number in range(70)]
    table = Table(rows)
    assert "3.142" in repr(table)
    assert repr(table).endswith("… and 10 more")
    assert "&lt;0&gt;" in table._repr_html_()
    assert "<0>" not in table._repr_html_()
    assert len(table_of(rows)) == 70
