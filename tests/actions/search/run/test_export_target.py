"""A search for a target: every network of its space can be exported, and what cannot is told before it begins."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import chop
from chop.actions.calibration import calibrate
from chop.actions.search.checks import build_space
from chop.actions.search.search_space import SearchSpaceBase
from chop.actions.setup import traced
from chop.api.data import data_module_of
from chop.circuits import integer_network
from chop.config.typed import Problem
from chop.dataset import MaseDataModule
from chop.dataset.data import first_batch
from chop.errors import CircuitError, ConfigError, ExportError, UnknownNameError
from chop.exporters import EXPORTERS, Check, Exporter, ExportNetwork
from chop.exporters.base import Written, exporters_for
from chop.exporters.circuit_exporter import CircuitExporter
from chop.exporters.export import exporter_of
from chop.formats import Format
from chop.models.checkpoint_file import read_checkpoint
from chop.models.weight_notes import TrainedForSpace
from chop.nn.ops import Op
from chop.record.folder import SearchFolder
from tests.conftest import Command

INTEGER: dict[str, Any] = {
    "name": ["integer"],
    "data_in_width": [4, 6],
    "data_in_frac_width": ["auto"],
    "weight_width": [3, 5],
    "weight_frac_width": ["auto", 2],
    "bias_width": [6],
    "bias_frac_width": ["auto"],
}


class Circuits(CircuitExporter):
    """Refuses what has no circuit; writes nothing."""

    target: ClassVar[str | None] = "chip"

    def problems(self, network: ExportNetwork) -> list[str]:
        try:
            integer_network(network.graph, network.example())
        except CircuitError as error:
            return list(error.problems)
        return []

    def write(self, network: ExportNetwork, folder: Path) -> Written:
        return Written()

    def checks(self, network: ExportNetwork, folder: Path) -> Iterator[Check]:
        yield Check("none", 0, 0, 0.0)


class Narrow(Exporter):
    """Takes weights of less than 5 bits that are not pruned, and no other format: another package's, say."""

    target: ClassVar[str | None] = "mytool"
    problems, write, checks = Circuits.problems, Circuits.write, Circuits.checks

    @classmethod
    def format_problem(cls, op: Op, operand: str, chosen: Format | None) -> str | None:
        if operand == "weight" and chosen is not None and "sparse" in str(chosen):
            return "pruned weights are unknown to it; leave out weight_sparsity"
        width = getattr(chosen, "width", 0)
        return f"'{chosen}' has too many bits; choose 4 at most" if operand == "weight" and width > 4 else None


@pytest.fixture(autouse=True)
def _registered() -> None:
    EXPORTERS.register("circuits")(Circuits)
    EXPORTERS.register("narrow")(Narrow)


class Net(nn.Module):
    """Norms in front and between, a sum of two paths, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv, self.inner = nn.BatchNorm1d(2), nn.Conv1d(2, 4, 3, padding=1), nn.BatchNorm1d(4)
        self.relu, self.again, self.pool, self.last = nn.ReLU(), nn.Conv1d(4, 4, 1), nn.MaxPool1d(2), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.inner(self.conv(self.norm(x))))
        return self.last(torch.flatten(self.pool(x + self.again(x)), 1))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def data() -> MaseDataModule:
    torch.manual_seed(0)
    x = torch.randn(400, 2, 8)
    return data_module_of((x.numpy(), (x.sum((1, 2)) > 0).long().numpy()), batch_size=64)


def model() -> nn.Module:
    torch.manual_seed(0)
    net = Net()
    for _ in range(3):
        net(torch.randn(64, 2, 8) * 2 + 1)  # statistics of its own
    return net.eval()


def space_of(
    data: MaseDataModule, seed: Mapping[str, Any], target: str | None = "chip", **setup: Any
) -> tuple[SearchSpaceBase, list[Problem]]:
    entries = {key: {"config": config} for key, config in seed.items()}
    own = {"by": "type", **setup, **({} if target is None else {"export_to": target})}
    table = {"search_space": {"name": "graph/quantize/mixed_precision_ptq", "setup": own, "seed": entries}}
    space, problems = build_space(traced(model(), data), table, data)
    assert space is not None
    return space, problems


LAYERS = {"linear": INTEGER, "conv1d": INTEGER}


def test_a_space_without_offending_choices_is_unchanged(data: MaseDataModule) -> None:
    passes = ["fold_batch_norm", "absorb_batch_norm"]
    plain, _ = space_of(data, LAYERS, None, passes=passes)
    kept, problems = space_of(data, LAYERS, "chip", passes=passes)
    assert problems == []
    assert kept.choices_flattened == plain.choices_flattened
    assert kept.size == plain.size == 8**3
    assert not kept.remarks
    assert not kept.left_out


def test_norms_are_folded_without_being_asked_and_it_is_told(data: MaseDataModule) -> None:
    space, problems = space_of(data, LAYERS)
    assert problems == []
    assert list(space.passes) == ["fold_batch_norm", "absorb_batch_norm"]
    assert "passes change the float network first" in space.remarks[0]
    space, _ = space_of(data, LAYERS, passes=["equalise"])
    assert list(space.passes) == ["fold_batch_norm", "absorb_batch_norm", "equalise"]


def test_formats_in_float_and_without_codes_are_left_out_with_their_keys(data: MaseDataModule) -> None:
    offending = {
        **INTEGER,
        "name": ["NA", "log", "integer"],
        "weight_exponent_bias": [3, 4],
        "bias_correction": [False, True],
        "bypass": [False, True],
    }
    space, problems = space_of(data, {**LAYERS, "linear": offending})
    assert problems == []
    lists = {key: values for key, values in space.choices_flattened.items() if key.startswith("last/")}
    assert lists["last/config/name"] == ["integer"]
    assert lists["last/config/bypass"] == lists["last/config/bias_correction"] == [False]
    assert not any("exponent" in key for key in lists)
    assert space.size == 8**3
    (_, told, reasons) = space.remarks
    assert told.startswith("Kept to what can be exported to chip (circuits): 512 of ")
    assert reasons.startswith("Left out: ")
    assert "choices of last" in reasons
    assert "integer codes" in reasons


def test_combinations_that_no_lists_can_tell_are_left_out_too(data: MaseDataModule) -> None:
    class OneOfEach(Narrow):
        """Takes 6-bit activations with 2 bits after the point, and 4-bit ones with 1."""

        target: ClassVar[str | None] = "pairs"

        @classmethod
        def format_problem(cls, op: Op, operand: str, chosen: Format | None) -> str | None:
            pair = (getattr(chosen, "width", None), getattr(chosen, "frac_width", None))
            return "no" if operand == "data_in" and chosen is not None and pair not in ((6, 2), (4, 1)) else None

    EXPORTERS.register("pairs")(OneOfEach)
    config = {"name": ["integer"], "data_in_width": [4, 6], "data_in_frac_width": [1, 2], "weight_width": [4, 5]}
    space, problems = space_of(data, {"linear": config}, "pairs")
    assert problems == []
    assert space.size == 4
    assert space.choices_flattened["last/config/data_in_frac_width"] == [1, 2]
    points = [space.point(index) for index in range(space.size)]
    formats = {str(space.plan(point)["last"]["data_in"]) for point in points}
    assert formats == {"integer 4b/1f", "integer 6b/2f"}
    assert [space.index(point) for point in points] == [0, 1, 2, 3]
    wrong = {"last/config/data_in_width": 0, "last/config/data_in_frac_width": 1, "last/config/weight_width": 1}
    assert space.canonical(wrong) in points  # a sampler's draw becomes a point that is left
    assert space.left_out
    plain, _ = space_of(data, {"linear": config}, None)
    assert chop_digest(space) != chop_digest(plain)


def chop_digest(space: SearchSpaceBase) -> str:
    from chop.actions.search.run.session import choices_digest

    return choices_digest(space, space.setup)


@pytest.mark.parametrize("number", range(12))
def test_random_points_of_random_spaces_can_be_exported(data: MaseDataModule, number: int) -> None:
    draw = random.Random(number)
    layers: dict[str, Any] = {kind: drawn_lists(draw) for kind in ("linear", "conv1d")}
    layers |= {kind: drawn_lists(draw, is_layer=False) for kind in ("relu", "add", "max_pool1d") if draw.random() < 0.4}
    space, problems = space_of(data, layers)
    assert problems == []
    if space.calibration_rows:
        calibrate(space.graph, data, space.calibration_rows)
    for _ in range(6):
        point = space.point(draw.randrange(space.size))
        config = space.flattened_indexes_to_config(point)
        graph = space.rebuild_model(config)
        integer_network(graph, first_batch(data, "train", 2)[0])
        drawn = {key: draw.randrange(len(values)) for key, values in space.choices_flattened.items()}
        again = space.rebuild_model(space.flattened_indexes_to_config(space.canonical(drawn)))
        assert Circuits().problems(ExportNetwork(again, data)) == []


@pytest.mark.parametrize("to", ["verilog", "hls4ml", "qonnx", "onnx"])
def test_each_exporter_takes_random_points_of_its_space(data: MaseDataModule, to: str) -> None:
    try:
        EXPORTERS[to].require_packages()
    except ExportError as error:
        pytest.skip(str(error))
    draw = random.Random(3)
    layers: dict[str, Any] = {kind: drawn_lists(draw) for kind in ("linear", "conv1d", "batch_norm1d")}
    layers["relu"] = {"name": ["integer", "log"], "data_in_width": [5], "data_in_granularity": ["tensor", "channel"]}
    layers["relu"]["data_in_frac_width"] = ["auto"]
    space, problems = space_of(data, layers, to)
    assert problems == []
    assert space.exporter == to
    calibrate(space.graph, data, 64)
    for _ in range(1 if to == "onnx" else 3):  # which is traced and written, in seconds
        point = space.point(draw.randrange(space.size))
        graph = space.rebuild_model(space.flattened_indexes_to_config(point))
        own = exporter_of(to, {"verify": False} if to == "hls4ml" else {})
        assert own.problems(ExportNetwork(graph, data)) == []


def drawn_lists(draw: random.Random, is_layer: bool = True) -> dict[str, Any]:
    """Lists of a layer, fixed point among them, with more that may have no circuit."""
    others = ["NA", "log", "scale_integer", "minifloat_denorm", "integer_floor"]
    names = ["integer", *draw.sample(others, draw.randint(0, 3))]
    operands = ("data_in", "weight", "bias") if is_layer else ("data_in",)
    lists: dict[str, Any] = {"name": draw.sample(names, len(names))}
    for operand in operands:
        lists[f"{operand}_width"] = draw.sample([3, 4, 5, 6, 8], 2)
        lists[f"{operand}_frac_width"] = draw.sample(["auto", "NA", 2, 4], 2)
        if "minifloat_denorm" in names:
            lists[f"{operand}_exponent_width"] = [2]
    if "scale_integer" in names or draw.random() < 0.3:
        lists["weight_granularity" if is_layer else "data_in_granularity"] = draw.sample(["tensor", "channel"], 2)
    if is_layer and draw.random() < 0.3:
        lists["weight_sparsity"] = [0.0, 0.5]
    return lists


def test_a_missing_bias_format_is_an_error_with_the_lines_to_add(data: MaseDataModule) -> None:
    without = {key: values for key, values in INTEGER.items() if not key.startswith("bias")}
    _, problems = space_of(data, {"linear": without, "conv1d": without})
    texts = {".".join(problem.path): problem.message for problem in problems}
    assert set(texts) == {"search_space.seed.linear.config", "search_space.seed.conv1d.config"}
    told = texts["search_space.seed.conv1d.config"]
    assert told == (
        "no choice of nodes 'conv', 'again' can be exported to chip: its bias is in float; choose a format "
        '(bias_width) for it; add here: bias_width = [3, 5], bias_frac_width = ["auto", 2]'
    )


def test_a_layer_that_has_no_formats_and_one_that_is_excluded_are_told_at_once(data: MaseDataModule) -> None:
    _, problems = space_of(data, {"conv1d": INTEGER}, exclude=["again"])
    texts = {".".join(problem.path): problem.message for problem in problems}
    assert "node 'last'" in texts["search_space.seed"]
    added = 'name = ["integer"], data_in_width = [8], data_in_frac_width = ["auto"], weight_width = [8]'
    assert (
        f'in a table such as [search.search_space.seed.linear.config] (by = "type"): {added}'
        in (texts["search_space.seed"])
    )
    assert texts["search_space.setup.exclude"].endswith("take it out of the list, and give it formats")


def test_an_operator_without_a_circuit_is_told_before_anything_runs(data: MaseDataModule) -> None:
    class Sorting(Net):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cumsum(super().forward(x), 1)

    with pytest.raises(ConfigError) as caught:
        chop.search(Sorting().eval(), data, chop.Space(["integer"], [4], export_to="chip"), objectives=["accuracy"])
    assert any("'cumsum' has no exact integer form" in problem for problem in caught.value.problems)
    assert any(problem.startswith("space: export_to:") for problem in caught.value.problems)


def test_the_exporter_of_another_package_is_a_target_and_a_name(data: MaseDataModule) -> None:
    config = {**INTEGER, "weight_sparsity": [0.0, 0.5]}
    space, problems = space_of(data, {"linear": config}, "mytool")
    assert problems == []
    assert space.exporter == "narrow"
    assert space.choices_flattened["last/config/weight_width"] == [3]
    assert space.choices_flattened["last/config/weight_sparsity"] == [0.0]
    assert list(space.passes) == []
    assert set(exporters_for("narrow")) == {"narrow"}
    with pytest.raises(UnknownNameError, match="did you mean 'mytool'"):
        exporters_for("mytol")


def test_tied_nodes_keep_the_same_choices(data: MaseDataModule) -> None:
    config = {**INTEGER, "name": ["integer", "NA"]}
    space, problems = space_of(data, {**LAYERS, "conv1d": config}, tie=[["conv", "again"]])
    assert problems == []
    assert space.size == 8**2


FILE = """
model = "jsc-tiny"
dataset = "jsc"
batch_size = 512
is_pretrained = true
project = "own"
[search.search_space]
name = "graph/quantize/mixed_precision_ptq"
[search.search_space.setup]
by = "type"
[search.search_space.seed.linear.config]
name = ["NA", "integer"]
data_in_width = [4, 6]
data_in_frac_width = ["auto"]
weight_width = [3, 5]
weight_frac_width = ["auto"]
bias_width = [6]
bias_frac_width = ["auto"]
[search.strategy]
name = "brute_force"
[search.strategy.sw_runner.basic_evaluation]
data_loader = "val_dataloader"
num_samples = 256
[search.strategy.hw_runner.ebops]
[search.strategy.setup]
n_trials = 2
[search.strategy.metrics]
accuracy.direction = "maximize"
ebops.direction = "minimize"
"""


def test_a_search_for_a_target_is_resumed_and_says_how_to_export(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "own.toml").write_text(FILE, encoding="utf-8")
    _, told = ch("search", "--config", "own.toml", "--for", "chp", status=2)
    assert "command line: --for: search.search_space.setup.export_to: 'chp' is no target of an export; did you" in told
    ch("search", "--config", "own.toml", "--for", "chip")
    (tmp_path / "more.toml").write_text(FILE.replace("n_trials = 2", "n_trials = 9"), encoding="utf-8")
    _, told = ch("search", "--config", "more.toml", "--resume", status=1)
    assert "choices" in told
    out, _ = ch("search", "--config", "more.toml", "--for", "chip", "--resume")
    folder = tmp_path / "mase_output" / "own" / "software" / "search_ckpts"
    files = SearchFolder(folder)
    assert len(files.rows()) == 4
    assert files.rows()[0]["passes"] == ["fold_batch_norm", "absorb_batch_norm"]
    report = (folder / "report.md").read_text(encoding="utf-8")
    last = out.rstrip().splitlines()[-1]
    assert last.startswith("next: ch export mase_output/own --trial ")
    assert last.endswith(" --to circuits")
    assert last.replace("next: ", "$ ") in report.rstrip().splitlines()[-3:]
    assert "it would stay in float" in report
    number = last.split()[5]
    ch("transform", "--from-search", "mase_output/own", "--row", number)


def test_weights_are_trained_for_the_space_of_a_target(tmp_path: Path, ch: Command) -> None:
    own = FILE.replace('by = "type"', 'by = "type"\nexport_to = "chip"') + "[search.finish]\n"
    for model_name, dataset, networks in (("jsc-tiny", "jsc", 5), ("toy", "toy_tiny", 64)):
        text = own.replace('"jsc-tiny"', f'"{model_name}"').replace('"jsc"', f'"{dataset}"')
        (tmp_path / "own.toml").write_text(text, encoding="utf-8")
        ch("train", "--config", "own.toml", "--for-space", "--max-epochs", "1", "--project", model_name)
        best = tmp_path / "mase_output" / model_name / "software" / "training_ckpts" / "best.safetensors"
        notes = TrainedForSpace.from_metadata(read_checkpoint(best).metadata)
        assert notes is not None
        assert notes.networks == str(networks)


def test_strategies_are_compared_on_the_space_of_a_target(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "own.toml").write_text(FILE.replace('by = "type"', 'by = "type"\nexport_to = "chip"'), encoding="utf-8")
    out, _ = ch("compare", "--config", "own.toml", "--strategies", "random,uniform", "--seeds", "1", "--budget", "3")
    assert "3 evaluations of 4 points" in out


def test_the_key_of_the_file_and_the_argument_of_python_are_the_option(tmp_path: Path, ch: Command) -> None:
    own = FILE.replace('by = "type"', 'by = "type"\nexport_to = "chp"')
    (tmp_path / "own.toml").write_text(own, encoding="utf-8")
    _, told = ch("search", "--config", "own.toml", status=2)
    assert "own.toml:11: search.search_space.setup.export_to: 'chp' is no target" in told
    space = chop.Space(["integer"], [4], export_to="chip")
    assert space.setup["export_to"] == "chip"
    with pytest.raises(ConfigError, match="belongs in the space"):
        chop.search("jsc-tiny", "jsc", space, export_to="chip", objectives=["accuracy"], pretrained=True)
    study = chop.search(
        "jsc-tiny", "jsc", formats=["integer", None], widths=[4], export_to="chip", pretrained=True, n_trials=1,
        objectives=["accuracy", "ebops"], num_samples=64,
    )  # fmt: skip
    assert study.summary.space_size == 1
