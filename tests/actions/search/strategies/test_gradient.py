"""The strategy `gradient`: points of a space, and networks with learned widths."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import chop
from chop.actions.compare.job import CompareOptions, compare
from chop.actions.search import search
from chop.actions.search.strategies.base import StrategyContext
from chop.actions.search.strategies.gradient import Gradient, GradientOptions
from chop.dataset import MaseDataModule
from chop.errors import ConfigError, SearchError
from chop.formats import Integer
from chop.formats.learned import code_bounds
from chop.ir import MaseGraph, QuantPlan
from chop.models.checkpoint import save_weights
from chop.testing.made_up_search import MadeUpSearch
from tests.actions.search.killing import trials

SHORT = {"snapshots": 16, "train_samples": 1024}
OWN = {
    "snapshots": 4,
    "train_samples": 1024,
    "weight_granularity": "element",
    "activation_granularity": "channel",
    "epochs": 4,
    "error_share": 0.5,
}


@pytest.fixture
def table(lab: dict[str, Any]) -> dict[str, Any]:
    lists = lab["search_space"]["seed"]["seq_blocks_2"]["config"]
    lists |= {"data_in_frac_width": ["auto"], "weight_frac_width": ["auto"], "bias_frac_width": ["auto"]}
    lab["strategy"] |= {"name": "gradient", "setup": dict(SHORT)}
    return lab


class Scripted:
    """A trainer whose snapshots are written down."""

    def __init__(self, plans: list[QuantPlan]) -> None:
        self.plans = plans
        self.on_step = lambda done, of_all: None

    def plan(self, number: int) -> QuantPlan | None:
        return self.plans[number] if number < len(self.plans) else None


@pytest.mark.parametrize(
    ("learned", "wanted"),
    [
        ((Integer(8, 4), Integer(8, 4)), (8, 8)),
        ((Integer(5, 3), Integer(4, 2)), (4, 4)),  # 8b/4f is as near, and has bits to spare
        ((Integer(4, 2), Integer(3, 1)), (4, 4)),  # 2b/1f saturates
        ((Integer(3, 0), Integer(1, 0)), (4, 2)),
        ((Integer(8, 1), Integer(8, 7)), (8, 8)),  # bits above the point are missing in 4b/2f
    ],
)
def test_a_snapshot_leads_to_the_nearest_point(learned: tuple[Integer, Integer], wanted: tuple[int, int]) -> None:
    search = MadeUpSearch(layers=1)
    (node,) = search.space.graph.quantizable_nodes().keys() - {"relu"}
    plan = QuantPlan.of({node: {"data_in": learned[0], "weight": learned[1]}})
    context: StrategyContext = replace(search.context, trainer=Scripted([plan, plan]))
    strategy = Gradient(context, GradientOptions())
    (point,) = strategy.ask(2)
    found = search.space.plan(point)[node]
    assert (found["data_in"].width, found["weight"].width) == wanted
    assert strategy.ask(2) == []
    assert f"its 2 snapshots led to 1 of the {search.space.size} networks of the space. More" in strategy.why_done()


def test_a_training_may_end_with_fewer_networks_than_it_can_have_at_the_most() -> None:
    search = MadeUpSearch(layers=1)
    options = GradientOptions(train_weights=True, snapshots=3)
    context: StrategyContext = replace(search.context, trainer=Scripted([QuantPlan.of({})] * 2))
    strategy = Gradient(context, options)
    assert len(strategy.ask(options.networks)) == 2
    assert strategy.ask(1) == []
    assert strategy.why_done() == "the training has ended, and all its snapshots have been measured"


def test_trials_are_points_measured_on_the_weights_of_the_search(
    table: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, tmp_path: Path
) -> None:
    """Their figures are those that brute force has for the same points; the weights of the model do not move."""
    before = copy.deepcopy(jsc_tiny.state_dict())
    found = search(jsc_tiny, jets, table, tmp_path / "gradient").trials
    assert all(torch.equal(own, before[name]) for name, own in jsc_tiny.state_dict().items())
    report = " ".join((tmp_path / "gradient/report.md").read_text(encoding="utf-8").split())
    assert f"ended because the training has ended: its 16 snapshots led to {len(found)} of the " in report
    table["strategy"] |= {"name": "brute_force", "setup": {}}
    known = {tuple(own.point.items()): own.metrics for own in search(jsc_tiny, jets, table, tmp_path / "all").trials}
    assert len(found) > 1
    assert all(known[tuple(own.point.items())] == pytest.approx(own.metrics, rel=1e-6) for own in found)
    bits = [own.metrics["average_bitwidth"] for own in found]
    assert bits[-1] < bits[0]


def test_it_goes_on_after_a_kill_in_both_ways(
    table: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, tmp_path: Path
) -> None:
    for name, setup in {"points": SHORT, "networks": OWN}.items():
        table["strategy"]["setup"] = dict(setup)
        search(jsc_tiny, jets, table, tmp_path / name)
        wanted = trials(tmp_path / name)
        log = tmp_path / name / "trials.jsonl"
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
        shutil.rmtree(tmp_path / name / "networks")
        search(jsc_tiny, jets, table, tmp_path / name, resume=True)
        assert trials(tmp_path / name) == wanted


def by_hand(graph: MaseGraph, x: torch.Tensor) -> torch.Tensor:
    """The outputs of jsc-tiny, each value rounded to its own learned width."""
    weights, plan = graph.model.state_dict(), graph.plan["seq_blocks_2"]
    weights = {name.replace("2.inner.", "2."): own for name, own in weights.items()}

    def rounded(values: torch.Tensor, operand: str) -> torch.Tensor:
        chosen: Any = plan[operand]
        scale = 2.0 ** chosen.frac_width.values.float()
        low, high = code_bounds(chosen.element_width.values.float(), chosen.is_signed)
        return torch.minimum(torch.maximum((values * scale).round(), low), high) / scale

    norm = {name: weights[f"seq_blocks.0.{name}"] for name in ("weight", "bias", "running_mean", "running_var")}
    scaled = (x - norm["running_mean"]) / (norm["running_var"] + 1e-5).sqrt() * norm["weight"] + norm["bias"]
    hidden = rounded(scaled.relu(), "data_in")
    return (hidden @ rounded(weights["seq_blocks.2.weight"], "weight").t() + rounded(weights["seq_blocks.2.bias"], "bias")).relu()  # fmt: skip # noqa: E501


def test_a_winner_keeps_its_weights_and_widths(tmp_path: Path, jets: MaseDataModule) -> None:
    """From Python: it predicts as measured, as by hand, and as its file does."""
    study = chop.search(
        "jsc-tiny", "jsc", formats=["integer"], widths=[4, 8], objectives=["accuracy", "average_bitwidth"],
        pretrained=True, strategy="gradient", strategy_options=OWN, num_samples=512, folder=tmp_path / "search",
    )  # fmt: skip
    x, y = next(iter(jets.batches("val", 512, 512)))
    net = study.best()
    outputs = net.model(x)
    assert (outputs.argmax(1) == y).double().mean() == pytest.approx(net.metrics["accuracy_micro"], abs=1e-9)
    assert torch.allclose(outputs, by_hand(net.graph, x), atol=1e-5)
    node = net.config["seq_blocks_2"]["config"]
    assert node["weight_frac_width"] == node["data_in_frac_width"] == "learned"
    file = tmp_path / "search" / net.config["network_file"]
    loaded = MaseGraph.from_checkpoint(file)  # which names the model that ships with the package
    assert torch.equal(loaded.model.eval()(x), outputs)
    assert loaded.plan == net.graph.plan
    again = chop.load_study(tmp_path / "search", chop.get_model("jsc-tiny", pretrained=True))
    assert torch.equal(again[net.number].model(x), outputs)
    with pytest.raises(SearchError, match="snapshots of one training, each with formats of its own"):
        study.plot_importance()
    page = (tmp_path / "search" / "report.html").read_text(encoding="utf-8")
    assert '"importance":[],"why_no_importance":"the trials are snapshots of one training' in page


@pytest.mark.parametrize(
    ("space", "setup", "message"),
    [
        ({"name": ["integer_floor"]}, {}, r'widths of the format integer alone.*\): name = \["integer"\]$'),
        (
            {"name": ["minifloat_ieee"]},
            {},
            r"^[^\n]*format integer alone, .* has others \(minifloat_ieee\): name = [^\n]*$",
        ),
        ({"weight_sparsity": [0.5]}, {}, r"widths of the format integer alone.*\): no weight_sparsity$"),
        ({"weight_rounding": ["nearest", "gptq"]}, {}, r'by gptq\): weight_rounding = \["nearest"\]$'),
        ({"bias_correction": [True]}, {}, r"bias corrected.*\): bias_correction = \[false\]$"),
        ({}, {"first_factor": 1.0, "last_factor": 0.1}, r"first_factor \(1\) must not be above last_factor"),
        ({}, {"epochs": 3}, "16 snapshots need as many epochs, and there are 3"),
        ({}, {"learning_rate": 0.1}, "learning_rate has no effect: no weights are trained"),
        ({}, {"descent_tries": 9}, 'descent_tries needs weight_granularity = "element"'),
        (
            {},
            {"descent_cost": "luts"},
            "has no effect without descent_tries or line_networks or descent_passes: give",
        ),
        ({}, {"line_growth": 1.5}, "line_growth has no effect without line_networks: give that too, or remove"),
        ({}, {"descent_networks": 3}, "descent_networks has no effect without descent_passes"),
        ({}, {"descent_below": 100}, "descent_below has no effect without"),
        ({}, {"weight_granularity": "element", "train_weights": False}, "weights are always trained"),
        ({}, {"activation_granularity": "channel", "train_weights": False}, "weights are always trained"),
        ({}, {"weight_granularity": "row"}, "weight_granularity"),
        ({}, {"weight_granularity": "element", "ladder": [64]}, "ladder: has no effect on networks"),
    ],
)
def test_wrong_combinations_are_refused_with_a_cure(
    space: dict[str, Any],
    setup: dict[str, Any],
    message: str,
    table: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    tmp_path: Path,
) -> None:
    table["search_space"]["seed"]["seq_blocks_2"]["config"] |= space
    table["strategy"]["setup"] |= setup
    with pytest.raises(ConfigError, match=message):
        search(jsc_tiny, jets, table, tmp_path / "no")
    assert not (tmp_path / "no").exists()


SHARED = nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("setup", "model", "targets", "message"),
    [
        ({"error_share": 0.5}, [], 2, "cross entropy of one class for each sample for its error_share: set it to 0"),
        ({"descent_tries": 9}, [], 2, "cross entropy of one class for each sample for its descent_tries: set it to 0"),
        (
            {"descent_tries": 9},
            [nn.Tanh()],
            0,
            "chain of linear layers and ReLUs on vectors for its descent_tries, and '.*1' is in the way: set",
        ),
        ({"descent_tries": 9}, [nn.ReLU(), SHARED, nn.ReLU(), SHARED, nn.ReLU()], 0, "and '.*2' is in the way: set"),
    ],
)
def test_what_this_task_or_network_has_not_is_refused_before_the_training(
    setup: dict[str, Any], model: list[nn.Module], targets: int, message: str
) -> None:
    """Numbers as targets have no classes, and no expected error; a descent on codes knows linear layers and ReLUs."""
    torch.manual_seed(0)
    x = torch.randn(60, 8)
    y = torch.randn(60, targets) if targets else (x[:, 0] > 0).long()
    net = nn.Sequential(nn.Linear(8, 4), *model, nn.Linear(4, 2))
    elements = {"weight_granularity": "element", "activation_granularity": "element", "snapshots": 1}
    with pytest.raises(ConfigError, match=message):
        chop.search(
            net, (x, y), chop.Space(["integer"], [8]), strategy="gradient", objectives=["loss", "average_bitwidth"],
            strategy_options={**elements, **setup},
        )  # fmt: skip


NORMED_OPTIONS = {"snapshots": 2, "epochs": 2, "train_samples": 64, "weight_granularity": "element"}


def search_with_norms(batch_norm: str, verbose: bool = False, **options: Any) -> chop.Study:
    """A search by gradient on a network with a batch norm."""
    torch.manual_seed(0)
    x = torch.randn(64, 8)
    net = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    return chop.search(
        net, (x, (x[:, 0] > 0).long()), chop.Space(["integer"], [3, 8], batch_norm=batch_norm), strategy="gradient",
        objectives=["loss", "average_bitwidth"], strategy_options=options, verbose=verbose,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options", [NORMED_OPTIONS, {"snapshots": 2, "epochs": 2, "train_samples": 64, "train_weights": True}]
)
def test_measured_norms_are_refused_for_networks_of_their_own(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match='leave out batch_norm = "measured", or, to search points of the space, give'):
        search_with_norms("measured", **options)


def test_points_have_measured_norms() -> None:
    """The cure for the refusal: the trials are those of any other strategy, norms and all."""
    options = {"snapshots": 2, "train_samples": 64}
    losses = [search_with_norms(norms, **options).trials["loss"].iloc[0] for norms in ("measured", "float")]
    assert losses[0] != losses[1]


@pytest.mark.parametrize(("widths", "is_told"), [([8], True), ([3, 8], False)])
def test_a_space_of_one_point_is_told_to_have_no_widths_to_learn(widths: list[int], is_told: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 8)
    study = chop.search(
        nn.Sequential(nn.Linear(8, 2)), (x, (x[:, 0] > 0).long()), formats=["integer"], widths=widths,
        objectives=["loss", "average_bitwidth"], strategy="gradient", strategy_options={"snapshots": 2},
    )  # fmt: skip
    assert any("the space has one point" in warning for warning in study.warnings) == is_told


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        ("file", r'strategy_options\[.teachers.\]: expected a valid list, got .file.; write \["file"\]'),
        ([], "teachers is empty: name checkpoints of the network, or remove it"),
        ([Path()], r"has no model\.safetensors; .* chop\.load_study\(FOLDER, model\)\[NUMBER\]\.model"),
    ],
)
def test_wrong_teachers_are_refused_with_a_cure(teachers: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search_with_norms("float", **NORMED_OPTIONS, teachers=teachers)


def test_a_teacher_is_a_path_and_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    path = save_weights(net, tmp_path / "teacher.safetensors")
    study = search_with_norms("float", verbose=True, **NORMED_OPTIONS, teachers=[path])
    assert len(study.trials) == 2
    assert " ".join(capsys.readouterr().err.split()).count(f"weights: {path}") == 1


def test_a_key_that_is_the_end_of_several_names_all_of_them() -> None:
    wanted = "did you mean 'activation_granularity' or 'weight_granularity'"
    with pytest.raises(ConfigError, match=wanted):
        search_with_norms("float", granularity="channel")


class Twice(nn.Module):
    """A layer that is called twice, and one that is called once."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.a(torch.relu(self.a(x)))))


@pytest.mark.parametrize("own", [True, False])
def test_what_stays_in_float_is_named_before_the_training(own: bool) -> None:
    """Layers that are called twice; in networks of their own, formats of results and of other operations too."""
    torch.manual_seed(0)
    x = torch.randn(60, 8)
    linear = {"data_in_width": [8], "weight_width": [8], "bias_width": [8], "data_out_width": [8]}
    space = chop.Space(["integer"], [8], layers={"linear": linear, "relu": {"data_in_width": [8]}})
    study = chop.search(
        Twice(), (x, (x[:, 0] > 0).long()), space, strategy="gradient", objectives=["accuracy", "average_bitwidth"],
        strategy_options={"snapshots": 1, "epochs": 1, "train_weights": own},
    )  # fmt: skip
    (left,) = [text for text in study.warnings if "modules Linear, Conv1d and Conv2d that are called once" in text]
    assert ("stay in float: the training" if own else "the first of their choices") in left
    assert ('points of the space, give "tensor" for weight_granularity' in left) == own
    assert "a (data_in, weight, bias, data_out)" in left and "b (data_out)" in left and "relu (data_in)" in left


class Functional(nn.Module):
    """A module and a functional call."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.weight = nn.Linear(8, 8), nn.Parameter(torch.randn(2, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(torch.relu(self.a(x)), self.weight)


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        (Twice(), "linear", r"the training leaves a \(.*\), a_1 \(.*\) in float: .* one for each call"),
        (Functional(), "linear", r"the training leaves linear \(data_in, weight\) in float: .*functional calls"),
        (
            nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(12, 2)),
            "linear",
            r"the search space has no formats for _1: add them to layers \(by type: 'conv1d'\)",
        ),
    ],
)
def test_layers_without_a_format_are_named_before_a_training_for_a_circuit(
    model: nn.Module, kind: str, message: str
) -> None:
    x = torch.randn(60, 8)
    space = chop.Space(["integer"], [8], layers={kind: {"data_in_width": [8], "weight_width": [8], "bias_width": [8]}})
    with pytest.raises(SearchError, match=rf"nothing is trained: [\s\S]*{message}") as told:
        chop.search(
            model, (x, (x[:, 0] > 0).long()), space, strategy="gradient", objectives=["accuracy", "ebops"],
            strategy_options={"snapshots": 1, "epochs": 1, "train_weights": True},
        )  # fmt: skip
    is_advised = "is in float; choose a format" in str(told.value)
    assert is_advised == ("the search space has no formats" in message)


def test_it_needs_a_trainer() -> None:
    with pytest.raises(SearchError, match="needs a trainer"):
        Gradient(MadeUpSearch().context).ask(1)


def test_it_is_compared_on_points_and_not_on_networks(
    table: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, tmp_path: Path
) -> None:
    summary = compare(jsc_tiny, jets, table, tmp_path / "points", CompareOptions(("gradient", "random"), 1, 3))
    assert {own.name for own in summary.strategies} == {"gradient", "random"}
    table["strategy"]["setup"]["train_weights"] = True
    with pytest.raises(ConfigError, match="no points of the space"):
        compare(jsc_tiny, jets, table, tmp_path / "networks", CompareOptions(("gradient",), 1, 6))
