"""The training of widths: its networks are exact, resumable, and what a saved graph gives again."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from chop.api.data import data_module_of
from chop.circuits import circuit_facts
from chop.errors import ConfigError, GraphError
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.measures import WholePredictions
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import Integer, IntegerFloor
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.graph_file import load_onto
from chop.ir.learned import learned_in
from chop.passes.graph import quantize_transform_pass
from chop.passes.graph.transforms.quantize import config_from_plan
from chop.training.learned_widths import (
    Snapshot,
    WidthRun,
    WidthTraining,
    descended,
    snapshot_graph,
    train_widths,
)
from chop.training.output_shifts import bits_between
from chop.training.soft_loss import SoftLoss

OPTIONS = WidthTraining(
    epochs=6, batch_size=64, width_learning_rate=0.1, first_factor=1e-4, last_factor=1e-2, cycles=2, snapshots=3
)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.norm, self.last = nn.BatchNorm2d(4), nn.Linear(4 * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu()
        x = x + self.second(x)
        return self.last(nn.functional.max_pool2d(x, 2).flatten(1))


def made(kind: str) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    shape = (8,) if kind == "mlp" else (2, 6, 6)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3))
    x = torch.randn(256, *shape)
    y = x.flatten(1)[:, :3].argmax(1)
    return (model if kind == "mlp" else Residual()), data_module_of((x, y))


def run(kind: str, options: WidthTraining = OPTIONS) -> tuple[MaseGraph, Any, list[Snapshot]]:
    model, data = made(kind)
    graph = MaseGraph(model)
    return graph, data, list(train_widths(graph, data, options))


@pytest.mark.parametrize("kind", ["mlp", "residual"])
@pytest.mark.parametrize("granularity", ["tensor", "channel", "element"])
def test_the_cost_falls_and_the_networks_are_as_trained(kind: str, granularity: Any, tmp_path: Path) -> None:
    """The network of a snapshot predicts what the training measured; so do the reloaded one, and one run by plan."""
    options = replace(OPTIONS, weight_granularity=granularity, activation_granularity=granularity)
    graph, data, found = run(kind, options)
    before = {name: own.clone() for name, own in graph.model.state_dict().items()}
    assert len(found) == 3
    assert found[-1].cost < found[0].cost
    x, y = next(iter(data.batches("val")))
    for snapshot in (found[0], found[-1]):
        twin = snapshot_graph(graph, snapshot)
        outputs = twin.model(x)
        assert float(data.task.loss(outputs, y).detach()) == pytest.approx(snapshot.validation_loss, rel=1e-5)
        path = twin.export(tmp_path / "graph.safetensors")
        again = MaseGraph.from_checkpoint(path, model=made(kind)[0])
        assert again.plan == twin.plan
        assert torch.equal(again.model(x), outputs)
        assert torch.equal(PlanRunner(twin, [(x, y)], "cpu").predictions(twin.plan), outputs)
        requantised, _ = quantize_transform_pass(again, config_from_plan(twin.plan))
        assert requantised.plan == twin.plan
        assert torch.equal(requantised.model(x), outputs)
    after = graph.model.state_dict()
    assert all(torch.equal(own, after[name]) for name, own in before.items())


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_values_that_share_a_fraction_width_share_a_width(granularity: Any) -> None:
    """The widest of the tensor or channel is saved for all, and sizes and average widths count it."""
    options = replace(OPTIONS, weight_granularity=granularity, activation_granularity=granularity)
    for kind in ("mlp", "residual"):
        graph, _, found = run(kind, replace(options, cost="average_bitwidth", last_factor=1.0))
        for (node, operand), own in found[-1].widths.items():
            if operand != "data_in":
                path = str(graph.node(node).target)
                values = found[-1].weights[f"{path}.{operand}"]
                groups = 1 if granularity == "tensor" else len(values)
                for part in (own.width, own.frac_width):
                    assert all(len(row.unique()) == 1 for row in part.reshape(groups, -1))
                codes = (values * 2.0 ** own.frac_width.float()).round().abs().reshape(groups, -1).amax(1)
                wanted = [0 if code == 0 else int(code).bit_length() + 1 for code in codes.tolist()]
                assert own.width.reshape(groups, -1)[:, 0].tolist() == wanted
        parts = [own.width.double() for (_, operand), own in found[-1].widths.items() if operand != "data_in"]
        assert found[-1].cost == pytest.approx(float(torch.cat([part.flatten() for part in parts]).mean()))


@pytest.mark.parametrize("kind", ["mlp", "residual"])
def test_the_expected_error_is_part_of_the_loss(kind: str) -> None:
    """Both engines train it, and report it as validation loss."""
    options = replace(OPTIONS, error_share=0.75)
    graph, data, found = run(kind, options)
    plain = run(kind)[2]
    x, y = next(iter(data.batches("val")))
    for snapshot, other in zip(found, plain, strict=True):
        outputs = snapshot_graph(graph, snapshot).model(x)
        error = 1 - outputs.softmax(1).gather(1, y[:, None]).mean()
        wanted = 0.25 * nn.functional.cross_entropy(outputs, y) + 0.75 * 4 * error
        assert snapshot.validation_loss == pytest.approx(float(wanted.detach()), rel=1e-5)
        assert any(not torch.equal(own, other.weights[name]) for name, own in snapshot.weights.items())


def test_the_expected_error_is_refused_where_there_are_no_classes() -> None:
    data = data_module_of((torch.randn(64, 8), torch.randn(64, 3)))
    with pytest.raises(GraphError, match="error_share needs the cross entropy of one class"):
        next(train_widths(MaseGraph(made("mlp")[0]), data, replace(OPTIONS, error_share=0.5)))


DESCENT = replace(OPTIONS, descent_tries=80, descent_rounds=2, descent_epochs=1)


@pytest.mark.parametrize(("kind", "options"), [("mlp", OPTIONS), ("mlp", DESCENT), ("residual", OPTIONS)])
def test_a_resumed_training_goes_on_to_the_bit(kind: str, options: WidthTraining) -> None:
    graph, data, found = run(kind, options)
    again = list(train_widths(graph, data, options, found[0]))
    assert len(again) == 2
    for own, wanted in zip(again, found[1:], strict=True):
        assert (own.step, own.cost, own.validation_loss) == (wanted.step, wanted.cost, wanted.validation_loss)
        assert all(torch.equal(own.weights[name], tensor) for name, tensor in wanted.weights.items())


@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
def test_a_snapshot_after_a_descent_is_the_network_that_was_measured(
    rounding: Any, caplog: pytest.LogCaptureFixture
) -> None:
    graph, data, found = run("mlp", replace(DESCENT, activation_rounding=rounding))
    with caplog.at_level("INFO"):
        plain = run("mlp", replace(DESCENT, activation_rounding=rounding, descent_below=1.0))[2]
    half, end = (record for record in caplog.records if "descent_below" in record.message)
    assert "half of the run is done" in half.message and "none was settled" in end.message
    for snapshot in found:
        x, y = next(iter(data.batches("val")))
        outputs = snapshot_graph(graph, snapshot).model(x)
        assert float(data.task.loss(outputs, y).detach()) == pytest.approx(snapshot.validation_loss, rel=1e-5)
    assert found[0].cost < plain[0].cost


class Dropped(nn.Module):
    """The layers of the chain `mlp`, with what changes nothing in eval mode."""

    def __init__(self, chain: nn.Sequential) -> None:
        super().__init__()
        self.a, _, self.b, _, self.c = chain
        self.drop, self.same = nn.Dropout(0.5), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.dropout(self.a(self.same(x)).relu(), 0.1, self.training)
        return self.same(self.c(self.drop(self.b(x)).relu()))


def test_dropout_and_identity_are_no_part_of_a_chain() -> None:
    """The same networks come out, and the ranges, losses and costs of the graphs are theirs."""
    model, data = made("mlp")
    assert isinstance(model, nn.Sequential)
    x, y = next(iter(data.batches("val")))
    networks = []
    for own in (model, Dropped(model)):
        graph = MaseGraph(own.eval())
        found = list(train_widths(graph, data, DESCENT))[-1]
        assert float(data.task.loss(snapshot_graph(graph, found).model(x), y).detach()) == pytest.approx(
            found.validation_loss, rel=1e-5
        )
        networks.append((found.cost, found.validation_loss, [own.tolist() for own in found.weights.values()]))
    assert networks[0] == networks[1]


def test_dropout_that_is_always_on_is_part_of_no_chain() -> None:
    class Random(Dropped):
        def forward(self, x: Tensor) -> Tensor:
            return self.c(nn.functional.dropout(self.b(self.a(x).relu()).relu(), 0.1, True))

    model, data = made("mlp")
    assert isinstance(model, nn.Sequential)
    with pytest.raises(GraphError, match="descent_tries needs a chain"):
        next(train_widths(MaseGraph(Random(model).eval()), data, DESCENT))


def test_a_descent_is_refused_where_there_is_no_chain() -> None:
    with pytest.raises(GraphError, match="descent_tries needs a chain"):
        run("residual", DESCENT)


def test_half_up_rounding_is_bits_cut_off_behind_a_bias() -> None:
    """Written out: hidden values are floor(x · 2^f + 1/2), and the network that cuts off gives the same to the bit."""
    graph, data, found = run("mlp", replace(OPTIONS, activation_rounding="half_up"))
    x, _ = next(iter(data.batches("val")))
    for snapshot in found:
        twin = snapshot_graph(graph, snapshot)
        plan = {node: dict(formats) for node, formats in twin.plan.choices}
        assert [type(formats["data_in"]) for formats in plan.values()] == [Integer, IntegerFloor, IntegerFloor]
        widths = [snapshot.widths[node, "data_in"] for node in plan]
        hidden = x
        for number, (node, own) in enumerate(zip(plan, widths, strict=True)):
            scale, width = 2.0 ** own.frac_width.float(), own.width.float()
            codes = (hidden * scale).round() if number == 0 else torch.floor(hidden * scale + 0.5)
            half = 2.0 ** (width - 1) * own.is_signed * (width > 0)
            codes = codes.clamp(-half, 2.0 ** (width - (half > 0).float()) - 1)
            path = str(twin.node(node).target)
            bias = snapshot.weights[f"{path}.bias"]
            if number < 2:
                behind = widths[number + 1]
                bias = bias - (behind.width > 0) * 2.0 ** -(behind.frac_width.float() + 1)
            hidden = torch.nn.functional.linear(codes / scale, snapshot.weights[f"{path}.weight"], bias)
            hidden = hidden.relu() if number < 2 else hidden
        assert torch.equal(twin.model(x), hidden)


def test_half_up_is_refused_where_no_bias_can_hold_half_a_step() -> None:
    graph = MaseGraph(nn.Sequential(nn.Linear(8, 4, bias=False), nn.ReLU(), nn.Linear(4, 3)))
    with pytest.raises(GraphError, match='take "half_even"'):
        next(train_widths(graph, made("mlp")[1], replace(OPTIONS, activation_rounding="half_up")))


def test_layers_that_stay_in_float_are_named(caplog: pytest.LogCaptureFixture) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.again(self.again(self.first(x)).relu())[:, :3]

    next(train_widths(MaseGraph(Twice()), made("mlp")[1], OPTIONS))
    assert "again, again_1 stay in float" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cost": "luts"}, "^cost: expected"),
        ({"weight_granularity": "row", "cycles": 0}, "(?s)weight_granularity: expected.*cycles: expected"),
        ({"first_factor": 1e-2, "last_factor": 1e-3}, "first_factor: must not be above .*exchange them"),
        ({"epochs": 3, "snapshots": 9}, "snapshots: 9 need as many epochs, and there are 3"),
        *(({name: value}, f"^{name}: expected") for name, value in {
            "teacher_share": 2.0, "error_share": -0.1, "learning_rate": -1.0, "epochs": 0, "first_factor": -1.0,
            "pace": -1.0, "batch_size": 0, "weight_fraction": float("nan"),
        }.items()),
        ({"epochs": 2.5}, "^epochs: expected"),
        ({"teachers": []}, "^teachers: are none: name checkpoints"),
        ({"teachers": ["a.safetensors"], "teacher_share": 0.0}, "^teachers: have no effect with teacher_share = 0"),
        ({"descent_tries": 9, "cost": "average_bitwidth"}, '^cost: must be "ebops" where descent_tries'),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WidthTraining(**wrong)


def test_a_graph_without_layers_is_refused() -> None:
    data = data_module_of((torch.randn(40, 3), torch.randint(0, 3, (40,))))
    with pytest.raises(GraphError, match="no layer"):
        next(train_widths(MaseGraph(nn.Sequential(nn.ReLU())), data, OPTIONS))


def test_widths_that_nothing_learned_are_refused() -> None:
    config = {"name": "integer", "weight_width": 4, "weight_frac_width": "learned"}
    with pytest.raises(Exception, match="needs widths that a training has found"):
        quantize_transform_pass(MaseGraph(made("mlp")[0]), {"by": "type", "default": {"config": config}})


def test_operands_that_do_not_learn_stay_in_float() -> None:
    model, data = made("mlp")
    graph, steps = MaseGraph(model), []
    slots = {("_0", "weight"), ("_2", "data_in")}
    assert slots < {(name, operand) for name, op in graph.quantizable_nodes().items() for operand in op.operands}
    found = list(train_widths(graph, data, OPTIONS, slots=slots, on_step=lambda *own: steps.append(own)))
    assert {slot for snapshot in found for slot in snapshot.widths} == slots
    twin = snapshot_graph(graph, found[-1])
    assert {(node, operand) for node in twin.plan for operand in twin.plan[node]} == slots
    assert steps[0][0] == 1
    assert steps[-1][0] == steps[-1][1] == len(steps)


def test_without_a_learning_rate_the_weights_stay() -> None:
    model, data = made("residual")
    graph = MaseGraph(model)
    found = list(train_widths(graph, data, replace(OPTIONS, learning_rate=0.0)))
    state = graph.model.state_dict()
    assert all(torch.equal(own, state[name]) for name, own in found[-1].weights.items())
    assert found[-1].cost < found[0].cost


@pytest.mark.parametrize("kind", ["mlp", "residual"])
def test_the_batched_evaluator_agrees(kind: str) -> None:
    """Learned widths as one alternative beside float, at every node: what the loop over plans predicts."""
    graph, data, found = run(kind)
    twin = snapshot_graph(graph, found[-1])
    axes: list[Any] = [[{name: {}}, {name: twin.plan[name]}] for name in twin.plan]
    batch = next(iter(data.batches("val")))
    codes = np.array(list(product((0, 1), repeat=len(axes))))
    evaluator = Evaluator(twin, axes, [batch])
    measure = WholePredictions(batch[1], lambda predictions, targets: {}, evaluator.program.example, ())
    evaluator.run_sorted(codes, [measure])
    runner = PlanRunner(twin, [batch], "cpu")
    for code, predictions in zip(codes, measure.predictions, strict=True):
        plan = QuantPlan.of({n: f for axis, i in zip(axes, code, strict=True) for n, f in axis[i].items()})
        assert torch.allclose(predictions, runner.predictions(plan), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
def test_a_found_network_can_be_descended_further(rounding: Any, tmp_path: Path) -> None:
    """Read from its file: without tries it predicts the same, with some its loss plus cost falls; it stays as it is."""
    options = replace(DESCENT, activation_rounding=rounding, teacher_share=0.0, error_share=0.5)
    graph, data, found = run("mlp", options)
    x, y = (torch.cat(own) for own in zip(*data.batches("train"), strict=True))
    path = snapshot_graph(graph, found[0]).export(tmp_path / "graph.safetensors")
    network = load_onto(graph, path)
    outputs = network.model(x)
    assert torch.equal(descended(graph, network, data, options, 1e-3, tries=0).model(x), outputs)
    further = descended(graph, network, data, options, 1e-3, tries=400)
    best = descended(graph, network, data, options, 1e-3, tries=400, rounds=4)
    assert torch.equal(network.model(x), outputs)

    def total(own: MaseGraph) -> float:
        formats, pristine = learned_in(own.plan), copy.deepcopy(own)
        pristine.apply_plan(QuantPlan())
        cost = 0.0
        for name in own.plan:
            spans = bits_between(pristine.model.state_dict()[f"{own.node(name).target}.weight"].numpy())
            inputs = formats[name, "data_in"].element_width
            assert inputs is not None
            cost += float((spans * inputs.values.numpy()).sum())
        return SoftLoss(0.5).of_classes(own.model(x).detach(), y) + 1e-3 * cost

    assert total(further) < total(network) - 1e-3
    assert total(best) < total(further)


@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
def test_saturated_activations_stay_so_in_graphs_in_further_training_and_in_circuits(rounding: Any) -> None:
    """Some samples are far out. Loaded again, a network has the same widths, and the same inputs saturate."""
    options = replace(DESCENT, activation_rounding=rounding, first_factor=1e-4, last_factor=1e-3)
    model = made("mlp")[0]
    x = torch.randn(512, 8) * torch.linspace(0.2, 1, 512)[torch.randperm(512), None] ** -2
    data = data_module_of((x, x[:, :3].argmax(1)))
    graph = MaseGraph(model)
    network = snapshot_graph(graph, next(train_widths(graph, data, options)))
    network = descended(graph, network, data, options, 2e-5, tries=3000)
    engine = WidthRun(graph, data, options).require_chain()
    engine.load_network(network)
    tops = engine.chain.tops.clone()
    assert 0 < int(tops.isfinite().sum()) < len(tops)
    widths = engine.widths()
    for slot, own in learned_in(network.plan).items():
        assert own.element_width is not None
        assert torch.equal(widths[slot].width, own.element_width.values)
    facts = circuit_facts(network, data)
    assert facts.differing == 0
    engine.step(0, 64, 1.0, (1e-3, 0.0))
    assert torch.equal(engine.chain.tops, tops)
    other = WidthRun(graph, data, options).require_chain()
    other.load_state(engine.state())
    assert torch.equal(other.chain.tops, tops)
    engine.measure_ranges()
    reach = 2.0 ** (tops + engine.chain.parameters[2 * engine.chain.count : -len(tops)].round())
    bits = engine.chain._input_bits()[1]
    assert bool((2.0**bits <= reach.floor().clamp(min=1)).all())
