"""A search from Python finds what the same search of a TOML file finds, with whatever a user has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from lightning import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import chop
from chop.actions.search import SearchStrategyBase
from chop.actions.search.settings.search import parse_search_settings
from chop.actions.search.strategies.runners import AnalyticRunner, Metric
from chop.api.data import data_module_of, real_type
from chop.api.search import Arguments
from chop.api.study import Study
from chop.config.run_config import load_run_config
from chop.dataset import MaseDataModule
from chop.errors import ChopError, ConfigError, DatasetError, GraphError, SearchError
from chop.executors.local import LocalExecutor
from chop.formats import FORMATS, Format
from chop.formats.integer import Integer
from chop.ir import MaseGraph
from chop.record.folder import SearchFolder
from chop.scoring.regression import Regression
from chop.tools.user_code import load_plugin
from tests.api.conftest import few
from tests.conftest import Command

Arrays = tuple[np.ndarray, np.ndarray]


def figures(study: Study | Path) -> list[dict[str, Any]]:
    """All that a search wrote of its trials but for the time that they took."""
    rows = SearchFolder(study.folder if isinstance(study, Study) else study).rows()
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_the_toml_file_of_a_study_does_the_same_search_to_the_bit(tmp_path: Path, ch: Command) -> None:
    objectives = ["accuracy", "average_bitwidth"]
    study = chop.search(
        "jsc-tiny", "jsc", formats=["integer"], widths=[2, 4, 8], objectives=objectives, pretrained=True, n_trials=6,
        num_samples=512, seed=3,
    )  # fmt: skip
    (tmp_path / "same.toml").write_text(study.to_toml(), encoding="utf-8")
    ch("search", "--config", "same.toml", "--project", "same")
    folder = tmp_path / "mase_output" / "same" / "software" / "search_ckpts"
    assert figures(folder) == figures(study)
    assert chop.load_study(folder).summary.baselines == study.summary.baselines


MINE = """
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def build_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))


def spread(predictions, targets):
    return predictions.std()


def build_data():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 8))).float()
    parts = (slice(0, 200), slice(200, 250), slice(250, 300))
    loaders = [DataLoader(TensorDataset(x[own], x[own, :3].argmax(1)), batch_size=50) for own in parts]
    return {**dict(zip(("train", "val", "test"), loaders)), "metrics": {"spread": (spread, "minimize")}}
"""


def test_the_toml_file_says_what_to_give_for_objects_of_python(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    mine = load_plugin(tmp_path / "mine.py")
    given = few(objectives=["accuracy", "spread", "average_bitwidth"], constraints={"model_size": {"max": "200 B"}})
    study = chop.search(mine.build_model(), mine.build_data(), **given)
    text = study.to_toml()
    assert "add --model FILE.py:FUNCTION --load WEIGHTS" in text
    assert "add --dataset FILE.py:FUNCTION" in text
    (tmp_path / "same.toml").write_text(text, encoding="utf-8")
    names = ("--model", "mine.py:build_model", "--dataset", "mine.py:build_data")
    ch("search", *names, "--config", "same.toml", "--project", "same")
    assert figures(tmp_path / "mase_output" / "same" / "software" / "search_ckpts") == figures(study)


ARRAYS = """

def whole():
    x = np.random.default_rng(0).normal(size=(300, 8))
    return x, x[:, :3].argmax(1)


def parts():
    return {name: whole() for name in ("train", "val", "test")}
"""


@pytest.mark.parametrize("name", ["whole", "parts"])
def test_the_command_line_takes_the_arrays_that_python_takes(name: str, tmp_path: Path, ch: Command) -> None:
    (tmp_path / "arrays.py").write_text(MINE + ARRAYS, encoding="utf-8")
    mine = load_plugin(tmp_path / "arrays.py")
    study = chop.search(mine.build_model(), getattr(mine, name)(), **few())
    (tmp_path / "same.toml").write_text(study.to_toml(), encoding="utf-8")
    names = ("--model", "arrays.py:build_model", "--dataset", f"arrays.py:{name}")
    ch("search", *names, "--config", "same.toml", "--project", "same")
    assert figures(tmp_path / "mase_output" / "same" / "software" / "search_ckpts") == figures(study)


EXAMPLES = sorted((Path(__file__).parents[2] / "machop" / "configs" / "examples").glob("*.toml"))
SEARCHES = [path for path in EXAMPLES if "[search" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_a_toml_file_is_the_same_search_as_arguments(path: Path) -> None:
    arguments = {**chop.load_config(path), "verbose": False}
    module = data_module_of(arguments["data"])
    table = Arguments.of(**arguments).table(module)
    wanted, _ = parse_search_settings(load_run_config(path, {}).tables["search"], module)
    found, problems = parse_search_settings(table, module)
    assert (found, problems) == (wanted, [])


def test_arguments_of_a_toml_file_run_its_search(tmp_path: Path, ch: Command) -> None:
    (path,) = (path for path in SEARCHES if path.stem == "jsc_toy_by_type")
    ch("search", "--config", str(path), "--pretrained", "--project", "same")
    study = chop.search(**{**chop.load_config(path), "pretrained": True})
    assert figures(study) == figures(tmp_path / "mase_output" / "same" / "software" / "search_ckpts")


def test_arrays_loaders_and_a_data_module_are_the_same_data(mlp: nn.Module, arrays: Arrays) -> None:
    x, y = torch.from_numpy(arrays[0]).float(), torch.from_numpy(arrays[1])
    parts = {"train": slice(0, 200), "val": slice(200, 250), "test": slice(250, 300)}
    as_arrays = {part: (arrays[0][own], arrays[1][own]) for part, own in parts.items()}
    loaders = {part: DataLoader(TensorDataset(x[own], y[own]), batch_size=30) for part, own in parts.items()}
    module = MaseDataModule("mine", 30, built=loaders)
    given: list[Any] = [as_arrays, loaders, tuple(loaders.values()), type("Mine", (), loaders)(), module]
    found = [figures(chop.search(mlp, data, **few())) for data in given]
    assert all(own == found[0] for own in found)


class Jets(LightningDataModule):
    """A data module of Lightning, whose data are there after `setup` alone."""

    def __init__(self, loaders: dict[str, Any]) -> None:
        super().__init__()
        self.given = loaders

    def setup(self, stage: str) -> None:
        names = ("train", "val") if stage == "fit" else ("test",)
        self.own = {**getattr(self, "own", {}), **{name: self.given[name] for name in names}}

    def train_dataloader(self) -> Any:
        return self.own["train"]

    def val_dataloader(self) -> Any:
        return self.own["val"]

    def test_dataloader(self) -> Any:
        return self.own["test"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_real_inputs_of_any_type_become_the_type_of_the_parameters(arrays: Arrays, dtype: torch.dtype) -> None:
    x, y = arrays[0].astype(np.float16), arrays[1]
    given: list[Any] = [x, x.astype(np.float64), torch.from_numpy(x), torch.from_numpy(x).double(), x.tolist()]
    module = nn.Linear(8, 3).to(dtype)
    for own in given:
        data = data_module_of((own, y.tolist()), seed=1, real=real_type(module))
        (found, targets), *_ = data.batches("val", None)
        assert found.dtype is dtype and targets.dtype is torch.int64
        expected = data_module_of((x, y), seed=1).batches("val", None)[0]
        assert torch.equal(found, expected[0].to(dtype)) and torch.equal(targets, expected[1])
    tokens = data_module_of((x.astype(np.int64).tolist(), y), real=dtype).batches("val", None)[0][0]
    assert tokens.dtype is torch.int64


def test_arrays_of_which_no_tensor_can_be_made_are_refused_with_a_cure(mlp: nn.Module, arrays: Arrays) -> None:
    with pytest.raises(DatasetError, match=r"inhomogeneous shape.*; give numbers; pad all samples to one length"):
        chop.search(mlp, ([[1.0, 2.0], [1.0]] * 50, [0, 1] * 50), **few())
    with pytest.raises(GraphError, match=r"got Long and Float; whole numbers are taken as they are"):
        chop.search(mlp, (arrays[0].astype(np.int64), arrays[1]), **few())


def test_a_data_module_of_lightning_is_set_up(mlp: nn.Module, arrays: Arrays) -> None:
    x, y = torch.from_numpy(arrays[0]).float(), torch.from_numpy(arrays[1])
    loaders = {part: DataLoader(TensorDataset(x, y), batch_size=64) for part in ("train", "val", "test")}
    found = [figures(chop.search(mlp, data, **few())) for data in (loaders, Jets(loaders))]
    assert found[0] == found[1]


def test_a_data_set_by_name_may_have_metrics_of_your_own() -> None:
    objectives = ["accuracy_micro", (share, "maximize")]
    study = chop.search("jsc-tiny", "jsc", **few(pretrained=True, objectives=objectives, num_samples=500))
    for network in study.front_networks:
        assert network.metrics["share"] == pytest.approx(network.metrics["accuracy_micro"])
    assert "the loss and the metrics" in study.to_toml()


def test_an_executor_may_be_a_name_or_a_class(mlp: nn.Module, arrays: Arrays) -> None:
    class Here(LocalExecutor):
        """An executor of one's own."""

    plain = chop.search(mlp, arrays, **few())
    for executor in ("processes", Here):
        study = chop.search(mlp, arrays, **few(executor=executor))
        assert figures(study) == figures(plain)
        assert f'executor = "{getattr(executor, "__name__", executor)}"' in study.to_toml()
    assert "'Here' is a class of your own: add --plugin" in study.to_toml()
    with pytest.raises(ConfigError, match=r"^executor: unknown executor 'proceses'; did you mean 'processes'"):
        chop.search(mlp, arrays, **few(executor="proceses"))
    with pytest.raises(ConfigError, match=r"^executor: expected a name"):
        chop.search(mlp, arrays, **few(executor=3))


def test_options_without_effect_are_warned_of(mlp: nn.Module, arrays: Arrays) -> None:
    options = {"landscape": False, "sampler": "tpe"}
    study = chop.search(mlp, arrays, **few(strategy_options=options, early_stopping_confidence=0.9))
    assert study.warnings == (
        "strategy_options: 'brute_force' makes no use of sampler",
        "early_stopping_confidence has no effect without early_stopping",
    )


def test_arguments_that_the_data_make_no_use_of_are_warned_of(mlp: nn.Module, arrays: Arrays) -> None:
    x, y = (torch.as_tensor(own) for own in arrays)
    loader = DataLoader(TensorDataset(x.float(), y), batch_size=50)
    batches = "batch_size has no effect: the data's own loaders make the batches"
    parts = "split has no effect: the data have their own parts"
    own = {"batch_size": 60, "split": (0.5, 0.25, 0.25)}
    assert chop.search(mlp, (loader, loader, loader), **few(**own)).warnings == (parts, batches)
    assert chop.search(mlp, dict.fromkeys(("train", "val", "test"), arrays), **few(**own)).warnings == (parts,)
    assert chop.search(mlp, arrays, **few(**own)).warnings == ()


def test_an_option_of_the_strategy_that_contradicts_an_argument_is_refused(mlp: nn.Module, arrays: Arrays) -> None:
    with pytest.raises(ConfigError, match=r"^strategy_options: n_trials is an argument of chop.search too: give one"):
        chop.search(mlp, arrays, **few(n_trials=3, strategy_options={"n_trials": 2}))


def test_what_was_warned_of_is_kept(mlp: nn.Module, arrays: Arrays) -> None:
    assert chop.search(mlp, arrays, **few()).warnings == ()
    study = chop.search("jsc-tiny", "jsc", **few(num_samples=100, n_trials=2))
    assert any("the weights of 'jsc-tiny' are random" in text for text in study.warnings)
    assert "warning: the weights" in repr(study)


def test_the_points_of_a_large_space_are_measured_block_by_block(
    mlp: nn.Module, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = chop.search(mlp, arrays, **few())
    monkeypatch.setattr("chop.actions.search.run.block_by_block.LARGEST_LOG", 10)
    study = chop.search(mlp, arrays, **few())
    assert study.summary.counts.measured == 16
    assert [own.metrics for own in study] == [own.metrics for own in whole.front_networks]
    x = torch.randn(5, 8)
    assert torch.equal(study.best().model(x), whole[study.best().number].model(x))


def test_arrays_are_split_by_the_seed(mlp: nn.Module, arrays: Arrays) -> None:
    first, again, other = (figures(chop.search(mlp, arrays, **few(seed=seed))) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_graph_is_searched_like_its_model(mlp: nn.Module, arrays: Arrays) -> None:
    before = {name: own.clone() for name, own in mlp.state_dict().items()}
    found = [figures(chop.search(model, arrays, **few())) for model in (mlp, MaseGraph(mlp))]
    assert [row["software_metrics"] for row in found[0]] == [row["software_metrics"] for row in found[1]]
    assert all(torch.equal(own, before[name]) for name, own in mlp.state_dict().items())


def test_a_quantised_graph_is_searched_from_float(mlp: nn.Module, arrays: Arrays) -> None:
    study = chop.search(mlp, arrays, **few())
    again = chop.search(study.best().graph, arrays, **few())
    assert [row["software_metrics"] for row in figures(again)] == [
        row["software_metrics"] for row in figures(study.folder)
    ]


class Backwards(SearchStrategyBase):
    """Every point once, the last first."""

    needs_budget = False

    def __init__(self, context: Any, options: Any = None) -> None:
        super().__init__(context, options)
        self.left = self.space.size

    def ask(self, n: int) -> list[Any]:
        numbers = range(self.left - 1, max(self.left - n, 0) - 1, -1)
        self.left -= len(numbers)
        return [self.space.point(number) for number in numbers]


class LastOnly:
    """Asks for the last point alone; it is no class of chop's."""

    needs_budget = False

    def begin(self, context: Any) -> None:
        self.points = [context.space.point(context.space.size - 1)]

    def ask(self, n: int) -> list[Any]:
        asked, self.points = self.points[:n], self.points[n:]
        return asked


class WeightBits(AnalyticRunner):
    """Bits of all weights."""

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("weight_bits", "bit", "minimize"),)

    def terms(self, cost: Any, formats: Any) -> tuple[float, ...]:
        weights = cost.of("weight")
        return (sum(formats["weight"].bits(w.shape) if "weight" in formats else 32 * w.elements for w in weights),)

    def combine(self, sums: tuple[float, ...]) -> dict[str, float]:
        return {"weight_bits": float(sums[0])}


class Falls(Backwards):
    """Fails after a few points."""

    def ask(self, n: int) -> list[Any]:
        if self.left < self.space.size - 3:
            raise OSError("no more")
        return super().ask(1)


def test_trials_before_a_failure_are_not_lost(mlp: nn.Module, arrays: Arrays) -> None:
    with pytest.raises(SearchError, match=r"no more.*\(the folder stays until this process ends: folder='") as raised:
        chop.search(mlp, arrays, **few(strategy=Falls))
    folder = str(raised.value).rpartition("folder='")[2].removesuffix("')")
    assert len(SearchFolder(folder).trials()) > 0


class Halves(Integer):
    """Fixed point under another name."""


def share(predictions: Tensor, targets: Tensor) -> float:
    return float((predictions.argmax(1) == targets).float().mean())


class Share:
    """The same, batch by batch."""

    def __init__(self) -> None:
        self.right = self.samples = 0

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        self.right += int((predictions.argmax(1) == targets).sum())
        self.samples += len(targets)

    def result(self) -> float:
        return self.right / self.samples


def widths(network: chop.Network) -> tuple[int, ...]:
    nodes = (network.config[name]["config"] for name in ("_0", "_2"))
    return tuple(own[key] for own in nodes for key in ("data_in_width", "weight_width"))


def test_strategy_runner_format_and_metric_may_be_classes_and_objects(mlp: nn.Module, arrays: Arrays) -> None:
    study = chop.search(
        mlp, arrays, formats=[Halves], widths=[4, 8], objectives=[(share, "maximize"), "weight_bits"],
        strategy=Backwards, runners=[WeightBits], seed=1,
    )  # fmt: skip
    plain = chop.search(mlp, arrays, **few(objectives=["accuracy_micro", "model_size"]))
    by_widths = {widths(plain[number]): plain[number].metrics for number in range(16)}
    for number in range(16):
        own = study[number]
        assert own.metrics["share"] == pytest.approx(by_widths[widths(own)]["accuracy_micro"])
        assert own.config["_0"]["config"]["name"] == "Halves"
    assert [len(chop.search(mlp, arrays, **few(strategy=own))) for own in (LastOnly(), LastOnly)] == [1, 1]
    of_objects = chop.search(
        mlp, arrays, **few(formats=[Halves], objectives=[(Share, "maximize")], runners=[WeightBits()]),
    )  # fmt: skip
    assert [of_objects[number].metrics["Share"] for number in range(16)] == [
        pytest.approx(study[15 - number].metrics["share"]) for number in range(16)
    ]
    assert "weight_bits" in of_objects.best().metrics
    assert "--plugin" in study.to_toml()


def test_a_class_that_a_notebook_defines_again_takes_the_place_of_the_first(mlp: nn.Module, arrays: Arrays) -> None:
    sizes = []
    for last in (1, 2):
        again = type("Again", (Backwards,), {"__init__": lambda self, c, o=None, n=last: _begin(self, c, o, n)})
        sizes.append(len(chop.search(mlp, arrays, **few(strategy=again)).trials))
    assert sizes == [1, 2]


def _begin(self: Any, context: Any, options: Any, points: int) -> None:
    SearchStrategyBase.__init__(self, context, options)
    self.left = points


def test_a_format_object_has_its_own_values(mlp: nn.Module, arrays: Arrays) -> None:
    eight: Format = FORMATS["integer"](width=8, frac_width=5)  # type: ignore[call-arg]
    study = chop.search(mlp, arrays, **few(formats=[eight], widths=None))
    config = study[0].config["_0"]["config"]
    assert (config["weight_width"], config["data_in_frac_width"], len(study.trials)) == (8, 5, 1)


def test_regression_on_float_targets_needs_nothing_more(arrays: Arrays) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 1))
    targets = arrays[0].sum(1)
    study = chop.search(model, (arrays[0], targets), **few(objectives=["loss", "average_bitwidth"]))
    whole = (arrays[0], targets)
    with pytest.raises(DatasetError, match=r"^data: the test set: the targets hold NaN .* sample 0, from 0"):
        chop.search(model, {"train": whole, "val": whole, "test": (arrays[0], targets * np.nan)}, **few())
    with pytest.raises(ChopError, match="belong to the task 'regression'"):
        chop.search(model, (arrays[0], targets.astype(int) + 99), **few(objectives=["loss"]))
    named = chop.search(model, (arrays[0], targets), **few(objectives=["loss", "average_bitwidth"], task=Regression))
    assert figures(study) == figures(named)
    assert study.best().metrics["loss"] < 100


def test_nothing_is_shown_unless_asked_for(mlp: nn.Module, arrays: Arrays, capfd: pytest.CaptureFixture[str]) -> None:
    chop.search(mlp, arrays, **few())
    assert capfd.readouterr() == ("", "")
    chop.search(mlp, arrays, **few(verbose=True))
    assert "distinct points" in capfd.readouterr().err
    chop.search(mlp, arrays, **few(progress=True))
    assert "search" in capfd.readouterr().err
    chop.search(mlp, arrays, **few())
    assert capfd.readouterr() == ("", "")


def test_a_temporary_folder_goes_with_its_study(mlp: nn.Module, arrays: Arrays, tmp_path: Path) -> None:
    study = chop.search(mlp, arrays, **few())
    folder, kept = study.folder, study.save(tmp_path / "kept")
    rows = figures(folder)
    del study
    assert not folder.exists()
    assert figures(kept) == rows


def test_a_search_in_a_folder_goes_on_with_more_trials(mlp: nn.Module, arrays: Arrays, tmp_path: Path) -> None:
    for trials, resume in ((3, False), (9, True)):
        study = chop.search(mlp, arrays, **few(folder=tmp_path / "here", n_trials=trials, resume=resume))
    assert len(study.trials) == 9
    whole = chop.search(mlp, arrays, **few(n_trials=9))
    assert figures(study) == figures(whole)
    with pytest.raises(SearchError, match=r"folder: .*holds a search: resume=True goes on"):
        chop.search(mlp, arrays, **few(folder=tmp_path / "here"))


def test_ctrl_c_returns_the_study_so_far(mlp: nn.Module, arrays: Arrays) -> None:
    calls: list[int] = []

    def interrupted(predictions: Tensor, targets: Tensor) -> float:
        calls.append(1)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return float(predictions.mean())

    study = chop.search(mlp, arrays, **few(objectives=[(interrupted, "minimize")], widths=[2, 3, 4, 5, 6, 7, 8]))
    assert study.reason == "interrupted"
    assert 0 < len(study.trials) < 7**4
    assert isinstance(study.best().model, nn.Module)


def test_ctrl_c_while_winners_are_measured_again_returns_the_study(
    mlp: nn.Module, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("chop.actions.search.run.verification.Verification.measured_again", interrupted)
    study = chop.search(mlp, arrays, **few())
    assert (study.reason, len(study.trials)) == ("interrupted", 16)
    assert study.best().test_metrics is None
    with pytest.raises(SearchError, match=r"max_drop: the FP32 baseline was not measured.*best\(\) without max_drop"):
        study.best(max_drop=0.1)
    shown = study._repr_html_()
    assert "study.best()" in shown and "max_drop" not in shown
    assert "go on with the same call, its folder and resume=True" in shown and "--resume" not in shown
    assert "Not measured, as the search was interrupted: FP32, test scores, the positions of points (b/auto)." in shown


class NeedsMore:
    """Cannot be made without arguments."""

    def __init__(self, more: int) -> None:
        self.more = more

    def ask(self, n: int) -> list[Any]:
        return []


WRONG: list[tuple[dict[str, Any], type[ChopError], str]] = [
    ({"objectives": ["acuracy"]}, ConfigError, "^objectives: no metric 'acuracy'; did you mean 'accuracy'"),
    ({"objectives": [lambda p, t: 0.0]}, ConfigError, "objectives: .*has no name|say which way"),
    ({"objectives": [(lambda p, t: 0.0, "minimize")]}, ConfigError, "objectives: <lambda> has no name: give metrics="),
    ({"objectives": [(share, "max")]}, ConfigError, "objectives: expected 'maximize' or 'minimize', got 'max'"),
    ({"objectives": []}, ConfigError, "objectives: name at least one"),
    ({"objectives": ["perplexity"]}, ConfigError, "objectives: no metric 'perplexity'|is no metric of these data"),
    ({"metrics": {"mine": (share, "larger")}}, DatasetError, "data: metrics.'mine'. must be"),
    ({"constraints": {"accuracy": 0.7}}, ConfigError, "constraints: expected .* for 'accuracy', got 0.7"),
    ({"constraints": {"accuracy": {"max_dorp": 1}}}, ConfigError, "^constraints.'accuracy'..'max_dorp'.: unknown key"),
    ({"widths": [4, "8"]}, ConfigError, "^widths: expected whole numbers from 1 .bits., got '8'"),
    ({"widths": [4.0]}, ConfigError, "^widths: .*got 4.0"),
    ({"widths": [True]}, ConfigError, "^widths: .*got True"),
    ({"formats": ["intger"]}, ChopError, "^formats: unknown number format 'intger'; did you mean 'integer'"),
    ({"formats": ["mxfp"]}, ConfigError, "^widths: MXFP has no width: give"),
    ({"formats": None}, ConfigError, "^formats: name the number formats"),
    ({"strategy": "surogate"}, ConfigError, "^strategy: unknown search strategy 'surogate'; did you mean 'surrogate'"),
    ({"strategy": "surrogate"}, ConfigError, "^strategy: 'surrogate' has no end of its own: give n_trials"),
    ({"strategy": 3}, ConfigError, "^strategy: expected a name"),
    ({"strategy": NeedsMore}, ConfigError, r"^strategy: NeedsMore\(\) failed .*give an object of it"),
    ({"objectives": None}, ConfigError, "^objectives: name at least one metric"),
    ({"objectives": [(NeedsMore, "minimize")]}, ConfigError, "^objectives: the class NeedsMore has no update"),
    ({"constraints": {"model_siz": {"max": 1}}}, ConfigError, "^constraints: no metric 'model_siz'; did you mean"),
    ({"runners": [share]}, ConfigError, "^runners: expected names, subclasses of RunnerBase or objects"),
    ({"folder": Path(__file__).with_name("conftest.py")}, ChopError, "^folder: .* is a file"),
    ({"n_trials": 0}, ConfigError, "^n_trials: expected"),
    ({"strategy_options": {"ordr": "index"}}, ConfigError, "^strategy_options.'ordr'.: unknown key; did you mean"),
    ({"runners": ["basic_evaluatoin"]}, ConfigError, "^runners: unknown runner 'basic_evaluatoin'; did you mean"),
    ({"runners": {"basic_evaluation": {"num_sample": 3}}}, ConfigError, "^runners.'basic_evaluation'..'num_sample'."),
    ({"task": "regresion"}, ChopError, "^task: unknown task 'regresion'; did you mean 'regression'"),
    ({"split": (0.5, 0.5)}, DatasetError, "^data: split= is"),
    ({"device": "tpu"}, ConfigError, "^device: expected 'auto', 'cpu', 'gpu', 'cuda' or 'mps', got 'tpu'"),
    ({"seed": -1, "batch_size": 0}, ConfigError, "^batch_size: expected .*\nseed: expected"),
    ({"part": "valid", "num_samples": 0}, ConfigError, "^part: expected 'train', 'val' or 'test'.*\nnum_samples: exp"),
    ({"sum_direction": "up"}, ConfigError, "^sum_direction: expected 'maximize' or 'minimize', got 'up'"),
    ({"early_stopping": [9, 3]}, ConfigError, "^early_stopping: must ascend"),
    ({"constraints": {"accuracy": {"min": 2}}}, ConfigError, "^constraints.'accuracy'..'min'.: no configuration sat"),
    ({"formats": ["binary"], "widths": [2]}, ConfigError, "^widths: .*width must be 1, got 2"),
    ({"widths": [100]}, ConfigError, r"^widths: 1 <= width <= 32 must hold, got 100 \(node '_2'\)$"),
    ({"formats": ["minifloat_ieee"]}, ConfigError, "^(widths|formats): .*missing key exponent_width"),
    ({"pretrained": True}, ConfigError, "^pretrained: is for a model by name"),
    ({"space": {"formats": []}}, ConfigError, "^space: expected a chop.Space"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "kind", "said"), WRONG, ids=[str(next(iter(w[0]))) + str(n) for n, w in enumerate(WRONG)]
)
def test_what_is_wrong_is_told_by_the_name_of_its_argument(
    wrong: dict[str, Any], kind: type[ChopError], said: str, mlp: nn.Module, arrays: Arrays
) -> None:
    with pytest.raises(kind, match=said) as raised:
        chop.search(mlp, arrays, **few(**wrong))
    assert "search." not in str(raised.value)
    assert "--" not in str(raised.value)


SPACES: list[tuple[dict[str, Any], str]] = [
    ({"layers": ["lineer"]}, r"space: layers\['lineer'\]: no node or op is called 'lineer'; did you mean 'linear'"),
    ({"exclude": ["zz"]}, "space: exclude: 'zz' matches no node"),
    ({"ties": [["zz"]]}, "space: ties: 'zz' matches no node"),
    ({"calibration_samples": 0}, "space: calibration_samples: expected"),
    ({"overrides": {"_0": {"widths": [0]}}}, r"overrides\['_0'\]\['widths'\]: expected whole numbers from 1"),
    ({"overrides": {"_0": {"weight_width": [0]}}}, r"space: overrides\['_0'\]\['weight_width'\]: .* must hold, got 0"),
    ({"layers": {"linear": {"widths": [99]}}}, r"^space: layers\['linear'\]\['widths'\]: 1 <= width <= 32 .*\)$"),
    ({"frac_width": [99]}, "^space: frac_width: -64 <= frac_width <= 64 must hold, got 99"),
    ({"data_in_width": [99]}, "^space: data_in_width: 1 <= width <= 32 must hold, got 99"),
    ({"layers": {"linear": {"weight_width": [99]}}}, r"^space: layers\['linear'\]\['weight_width'\]: 1 <= width"),
    ({"weight_sparsity": [2.0]}, "^space: weight_sparsity: 0 <= sparsity < 1 must hold, got 2.0"),
    ({"frac_with": [2]}, "frac_with: no parameter of these formats; did you mean 'frac_width'"),
    ({"by": "name"}, "layers: name the layers"),
]


@pytest.mark.parametrize(
    ("wrong", "said"), SPACES, ids=[next(iter(wrong)) + str(n) for n, (wrong, _) in enumerate(SPACES)]
)
def test_what_is_wrong_in_a_space_is_told_by_its_argument(
    wrong: dict[str, Any], said: str, mlp: nn.Module, arrays: Arrays
) -> None:
    with pytest.raises(ConfigError, match=said):
        chop.search(mlp, arrays, chop.Space(["integer"], [4, 8], **wrong), **few(formats=None, widths=None))


def test_all_that_is_wrong_is_told_at_once(mlp: nn.Module, arrays: Arrays) -> None:
    with pytest.raises(ConfigError) as raised:
        chop.search(mlp, arrays, **few(n_trials=-1, timeout=-1.0, strategy_options={"x": 1}))
    assert [line.split(":")[0] for line in raised.value.problems] == ["n_trials", "timeout", "strategy_options['x']"]


def test_data_without_a_part_are_refused(mlp: nn.Module, arrays: Arrays) -> None:
    with pytest.raises(DatasetError, match=r"^data: has no test: give train, val and test"):
        chop.search(mlp, {"train": arrays, "val": arrays}, **few())
    with pytest.raises(DatasetError, match=r"^data: is a int"):
        chop.search(mlp, 3, **few())
    with pytest.raises(DatasetError, match="data: x has 300 samples and y 299"):
        chop.search(mlp, (arrays[0], arrays[1][1:]), **few())
    with pytest.raises(ChopError, match=r"^data: unknown data set 'jcs'; did you mean 'jsc'"):
        chop.search(mlp, "jcs", **few())


class Branching(nn.Module):
    """A model whose way depends on the values of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_model_that_cannot_be_traced_is_refused_by_name(arrays: Arrays) -> None:
    with pytest.raises(GraphError, match=r"^model: "):
        chop.search(Branching(), arrays, **few())
    with pytest.raises(GraphError, match=r"^model: .*shapes cannot be multiplied"):
        chop.search(nn.Linear(5, 3), arrays, **few())
    with pytest.raises(ChopError, match=r"^model: expected a torch.nn.Module"):
        chop.search(3, arrays, **few())  # type: ignore[arg-type]


def test_importing_chop_does_not_import_torch() -> None:
    code = (
        "import sys, chop\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "assert {'search', 'load_study', 'load_config', 'Space', 'Study', 'MaseGraph'} <= set(dir(chop))\n"
        "assert set(chop.__all__) <= set(dir(chop))\n"
        "assert issubclass(chop.ChopError, Exception) and 'torch' not in sys.modules\n"
        "try:\n    chop.serach\nexcept AttributeError as error:\n    print(error)\n"
    )
    path = str(Path(chop.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, encoding="utf-8",
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no attribute 'serach'" in done.stdout


def test_a_study_is_what_search_says_that_it_returns(study: Study) -> None:
    assert isinstance(study, chop.Study)


def test_arguments_have_types_by_which_mypy_finds_mistakes() -> None:
    types = get_type_hints(chop.search)
    assert [name for name in ("data", "widths", "objectives", "constraints") if types[name] is Any] == []
    assert get_type_hints(chop.load_study)["data"] is not Any


def test_processes_that_shared_nothing_are_a_warning_of_the_study(mlp: nn.Module, arrays: Arrays) -> None:
    study = chop.search(mlp, arrays, **few(strategy="evolution", n_trials=3, n_jobs=2))
    (told,) = [text for text in study.warnings if text.startswith("n_jobs = 2: all was measured in one process")]
    assert "(a search with ask_batch = 4, say" in told
    assert not any("n_jobs" in text for text in chop.search(mlp, arrays, **few(n_jobs=1)).warnings)
