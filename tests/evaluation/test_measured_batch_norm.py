"""Statistics of batch norms measured under each plan: against plain PyTorch, and to the bit in every way to run."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.evaluation import evaluator as evaluator_module
from chop.evaluation import measured_norm, operations
from chop.evaluation.calibration_rows import CalibrationRows
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.measures import WholePredictions
from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.program import Axis
from chop.formats import BatchNormStatistics, Format, Integer
from chop.ir import MaseGraph, QuantPlan
from chop.passes.graph import calibrate_analysis_pass, quantize_transform_pass

MEASURED = BatchNormStatistics()


def drawn(norm: Any) -> Any:
    """A batch norm with statistics and parameters of its own."""
    for name, low, high in (
        ("running_mean", -0.5, 0.5),
        ("running_var", 0.3, 2.0),
        ("weight", 0.5, 2),
        ("bias", -1, 1),
    ):
        if getattr(norm, name) is not None:
            getattr(norm, name).data.uniform_(low, high)
    return norm


class Residual(nn.Module):
    """Two branches with batch norms of their own, one after their sum, one without gain and shift."""

    def __init__(self) -> None:
        super().__init__()
        self.before = drawn(nn.BatchNorm1d(6))
        self.one, self.two, self.last = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)
        self.norm_one, self.norm_two = drawn(nn.BatchNorm1d(8)), drawn(nn.BatchNorm1d(8, affine=False))
        self.norm_last = drawn(nn.BatchNorm1d(3, eps=1e-2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        hidden = F.relu(self.norm_one(self.one(x))) + self.norm_two(self.two(x))
        scores: Tensor = self.norm_last(self.last(hidden))
        return scores


class Held(nn.Module):
    """What a batch norm reads is read again: as it is by a sum, and as dropout hands it on."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.norm_one, self.norm_two, self.norm_last = (drawn(nn.BatchNorm1d(n)) for n in (8, 8, 3))

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        one = self.norm_one(one) + one
        two = self.two(one)
        handed_on = F.dropout(two, training=False)
        scores: Tensor = self.norm_last(self.last(self.norm_two(two) + handed_on))
        return scores


class Images(nn.Module):
    """A batch norm of images, and one that is called as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3), drawn(nn.BatchNorm2d(4))
        self.more, self.own = nn.Conv2d(4, 4, 3), drawn(nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        x = self.more(x)
        own = self.own
        x = F.batch_norm(x, own.running_mean, own.running_var, own.weight, own.bias, False, 0.1, own.eps)
        scores: Tensor = self.head(F.relu(x).mean((2, 3)))
        return scores


class Volumes(nn.Module):
    """A batch norm of volumes, and one of sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv3d(1, 3, 2), drawn(nn.BatchNorm3d(3))
        self.sequences, self.head = drawn(nn.BatchNorm1d(3)), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x))).flatten(2)
        scores: Tensor = self.head(self.sequences(x).mean(2))
        return scores


KINDS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, (6,)),
    "held": (Held, (6,)),
    "images": (Images, (2, 7, 7)),
    "volumes": (Volumes, (1, 4, 4, 4)),
}


def calibrated(kind: str, rows: int = 40) -> tuple[MaseGraph, nn.Module, Tensor, Tensor]:
    """A graph, its model, the calibration samples (two batches) and other samples."""
    cls, shape = KINDS[kind]
    torch.manual_seed(3)
    model = cls().eval()
    seen, x = torch.randn(rows, *shape) * 1.5, torch.randn(50, *shape) + 0.2
    graph = MaseGraph(model)
    batches = [{"x": seen[:30]}, {"x": seen[30:]}]
    calibrate_analysis_pass(graph, {"input_generator": batches, "num_samples": rows})
    return graph, model, seen, x


def axes_of(graph: MaseGraph, widths: Sequence[int] = (3, 6)) -> list[Axis]:
    """Widths for each layer, and for each batch norm its own statistics or measured ones, on an axis of their own."""
    axes: list[Axis] = []
    for name, op in graph.quantizable_nodes().items():
        if op.multiplies:
            axes.append([{name: dict.fromkeys(op.operands, Integer(w, w // 2))} for w in widths])
        elif op.has_statistics:
            rounded = {"data_in": Integer(6, 3), "statistics": MEASURED}
            axes.append([{name: {}}, {name: {"statistics": MEASURED}}, {name: rounded}])
    return [[frozen(graph, own) for own in axis] for axis in axes]


def frozen(graph: MaseGraph, formats: Mapping[str, Mapping[str, Format]]) -> dict[str, dict[str, Format]]:
    """The formats of an alternative with all that a graph knows, as a search space has them."""
    plan = graph.freeze(QuantPlan.of(formats))
    return {name: dict(plan[name]) for name in formats}


def plans_of(axes: Sequence[Axis], codes: Any) -> list[QuantPlan]:
    return [
        QuantPlan.of({node: formats for axis, i in zip(axes, code, strict=True) for node, formats in axis[i].items()})
        for code in codes
    ]


def some_codes(axes: Sequence[Axis], most: int = 60) -> Any:
    codes = np.array(list(product(*(range(len(axis)) for axis in axes))))
    chosen = np.random.default_rng(0).permutation(len(codes))[:most]
    return codes[np.sort(chosen)]


def at_once(graph: MaseGraph, axes: Sequence[Axis], codes: Any, x: Tensor, memory: int = 2**26) -> Tensor:
    """The predictions of configurations by the batched evaluator."""
    y = torch.zeros(len(x))
    own = Evaluator(graph, axes, [(x.clone(), y)], memory=memory)
    measure = WholePredictions(y, lambda predictions, targets: {}, own.program.example, ())
    own.run_sorted(codes, [measure])
    return measure.predictions


@pytest.mark.parametrize("kind", KINDS)
def test_all_ways_to_run_a_plan_agree_to_the_bit(kind: str, tmp_path: Path) -> None:
    graph, model, _, x = calibrated(kind)
    axes = axes_of(graph)
    codes = some_codes(axes)
    together = at_once(graph, axes, codes, x)
    runner = PlanRunner(graph, [(x.clone(), torch.zeros(len(x)))])
    for number, plan in enumerate(plans_of(axes, codes)):
        wanted = runner.predictions(plan)
        torch.testing.assert_close(together[number], wanted, rtol=0, atol=0 if len(KINDS[kind][1]) == 1 else 1e-5)
        if number % 6 == 0:
            built = copy.deepcopy(graph)
            built.apply_plan(plan)
            loaded = MaseGraph.from_checkpoint(built.export(tmp_path / "g.safetensors"), type(model)())
            assert not built.plan.is_open
            assert loaded.plan == built.plan == graph.measured(plan)
            with torch.no_grad():
                assert torch.equal(built.model(x), wanted)
                assert torch.equal(loaded.model(x), wanted)
    assert not graph.plan.choices


@pytest.mark.parametrize("memory", [2**26, 2**12])
def test_the_size_of_the_pieces_changes_nothing(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _, _, x = calibrated("residual")
    axes = axes_of(graph)
    codes = some_codes(axes, 200)
    wanted = at_once(graph, axes, codes, x)
    monkeypatch.setattr(evaluator_module, "LITTLE", 0)
    monkeypatch.setattr(evaluator_module, "ROWS_AT_A_TIME", 7)
    calls: list[int] = []
    plain = CalibrationRows.measured

    def measured(self: CalibrationRows, own: Any) -> Any:
        calls.append(len(own))
        return plain(self, own)

    monkeypatch.setattr(CalibrationRows, "measured", measured)
    assert torch.equal(at_once(graph, axes, codes, x, memory), wanted)
    assert (len(calls) > 2) == (memory < 2**20)


def test_no_size_of_pieces_is_learned_from_the_few_configurations_of_the_check() -> None:
    graph, _, _, x = calibrated("residual")
    axes = axes_of(graph)
    own = Evaluator(graph, axes, [(x, torch.zeros(len(x)))])
    assert own.calibration is not None and own.calibration.walk is not None
    assert set(own.calibration.walk._bytes_per_child) == {None}
    own.calibration.measured(some_codes(axes))
    assert None not in own.calibration.walk._bytes_per_child


def rounded(x: Tensor, width: int, frac: int) -> Tensor:
    """Fixed point by hand."""
    return (x * 2**frac).round().clamp(-(2 ** (width - 1)), 2 ** (width - 1) - 1) / 2**frac


def layer_by_hand(layer: nn.Linear, x: Tensor, width: int) -> Tensor:
    frac = width // 2
    weight, bias = (rounded(own, width, frac) for own in (layer.weight, layer.bias))
    return rounded(F.linear(rounded(x, width, frac), weight, bias), width, frac)


def norm_by_hand(norm: nn.Module, in_float: Tensor, seen: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A batch norm of three: that of the float network by its own statistics, the others by those of the second.

    These are corrected by what the float network's own are beside those of the same samples, if these are near.
    """
    own: Any = norm
    mean, variance = seen.mean(0), seen.var(0, unbiased=False)
    float_mean, float_variance = in_float.mean(0), in_float.var(0, unbiased=False)
    errors = (own.running_mean - float_mean).abs() / (torch.maximum(own.running_var, float_variance) / len(seen)).sqrt()
    ratio, most = own.running_var / float_variance, 1 + 12 / len(seen) ** 0.5
    is_near = (errors <= 4) & (ratio <= most) & (1 / ratio <= most)
    kept = (variance / float_variance).clamp(max=1)
    mean = torch.where(is_near, mean + (own.running_mean - float_mean) * kept.sqrt(), mean)
    more = own.running_var * kept + (variance - float_variance).clamp(min=0)
    variance = torch.where(is_near, more, variance)
    gain = own.weight if own.weight is not None else 1.0
    shift = own.bias if own.bias is not None else 0.0
    first, second = ((h - mean) / (variance + own.eps).sqrt() * gain + shift for h in (seen, x))
    return own(in_float), first, second


@torch.no_grad()
def by_hand(model: Residual, widths: Mapping[str, int], seen: Tensor, x: Tensor) -> Tensor:
    """The residual network written out: each layer quantised, each norm by what the quantised layers before it make."""

    def layer(name: str, three: Sequence[Tensor]) -> list[Tensor]:
        own, (in_float, *others) = getattr(model, name), three
        return [own(in_float), *(layer_by_hand(own, h, widths[name]) for h in others)]

    three = norm_by_hand(model.before, seen, seen, x)
    one, two = (
        norm_by_hand(norm, *layer(name, three)) for name, norm in (("one", model.norm_one), ("two", model.norm_two))
    )
    hidden = [F.relu(a) + b for a, b in zip(one, two, strict=True)]
    return norm_by_hand(model.norm_last, *layer("last", hidden))[2]


@pytest.mark.parametrize("widths", [(3, 4, 6), (6, 3, 4), (8, 8, 8)])
def test_they_are_those_of_plain_torch(widths: tuple[int, int, int]) -> None:
    graph, model, seen, x = calibrated("residual")
    assert isinstance(model, Residual)
    named = dict(zip(("one", "two", "last"), widths, strict=True))
    ops = graph.quantizable_nodes()
    formats: dict[str, dict[str, Format]] = {
        name: dict.fromkeys(ops[name].operands, Integer(width, width // 2)) for name, width in named.items()
    }
    formats |= {name: {"statistics": MEASURED} for name, op in ops.items() if op.has_statistics}
    found = PlanRunner(graph, [(x, torch.zeros(len(x)))]).predictions(QuantPlan.of(formats))
    wanted = by_hand(model, named, seen, x)
    # where a value lies half-way between two steps, the last bit of a mean decides
    assert (found - wanted).abs().median() < 1e-6
    assert ((found - wanted).abs() < 1e-5).float().mean() > 0.97
    assert (found - model(x)).abs().max() > 0.05


def axes_behind_which_norms_write(graph: MaseGraph, measured: bool) -> list[Axis]:
    """Widths for what each layer reads: its results, which norms read, are not rounded."""
    axes: list[Axis] = []
    for name, op in graph.quantizable_nodes().items():
        if op.multiplies:
            axes.append([{name: {"data_in": Integer(w, w // 2), "weight": Integer(w, w - 1)}} for w in (3, 6)])
        elif op.has_statistics and measured:
            axes.append([{name: {"statistics": MEASURED}}])
    return [[frozen(graph, own) for own in axis] for axis in axes]


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("kind", ["residual", "held"])
def test_a_norm_overwrites_what_nothing_else_holds(kind: str, measured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _, _, x = calibrated(kind)
    axes = axes_behind_which_norms_write(graph, measured)
    codes = some_codes(axes)
    runner = PlanRunner(graph, [(x.clone(), torch.zeros(len(x)))])
    wanted = torch.stack([runner.predictions(plan) for plan in plans_of(axes, codes)])
    overwritten: list[bool] = []
    plain = operations.batch_norm

    def noted(own: Tensor, *rest: Any) -> Tensor:
        found = plain(own, *rest)
        overwritten.append(found.data_ptr() == own.data_ptr())
        return found

    monkeypatch.setattr(measured_norm if measured else operations, "batch_norm", noted)
    assert torch.equal(at_once(graph, axes, codes, x), wanted)
    assert set(overwritten) == ({False, True} if kind == "held" else {True})


def test_float_statistics_are_left_where_nothing_asks_for_others() -> None:
    graph, model, _, x = calibrated("residual")
    graph, _ = quantize_transform_pass(graph, {"by": "type", "batch_norm1d": {"config": {"name": "NA"}}})
    assert torch.equal(graph.model(x), MaseGraph(model).model(x))


def test_new_weights_and_new_samples_are_measured_anew() -> None:
    graph, _, seen, x = calibrated("residual")
    plan = plans_of(axes := axes_of(graph), [[1] * len(axes)])[0]
    runner = PlanRunner(graph, [(x, torch.zeros(len(x)))])
    before = runner.predictions(plan)
    calibrate_analysis_pass(graph, {"input_generator": [{"x": seen * 2}], "num_samples": 40})
    after = runner.predictions(plan)
    assert not torch.equal(before, after)
    built = copy.deepcopy(graph)
    built.apply_plan(plan)
    assert torch.equal(built.model(x), after)


def only_measured(graph: MaseGraph) -> QuantPlan:
    """Every norm with measured statistics, and no rounding."""
    ops = graph.quantizable_nodes()
    return QuantPlan.of({name: {"statistics": MEASURED} for name, op in ops.items() if op.has_statistics})


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_without_rounding_computes_what_it_did(kind: str) -> None:
    cls, shape = KINDS[kind]
    torch.manual_seed(3)
    model, seen = cls().train(), torch.randn(2000, *shape)
    for norm in (own for own in model.modules() if isinstance(own, nn.modules.batchnorm._BatchNorm)):
        norm.momentum = 1.0  # the statistics of one batch, of all samples
    with torch.no_grad():
        for _ in range(3):
            model(seen)
            if isinstance(model, Images):  # its norm as a function keeps nothing
                model.own(model.more(F.relu(model.norm(model.conv(seen)))))
    graph, few, x = MaseGraph(model.eval()), seen[:100], torch.randn(50, *shape)
    calibrate_analysis_pass(graph, {"input_generator": [{"x": few}], "num_samples": 100})
    plan = only_measured(graph)
    torch.testing.assert_close(PlanRunner(graph, [(x, torch.zeros(50))]).predictions(plan), model(x), rtol=0, atol=2e-6)
    graph.calibration = replace(graph.calibration, inputs=few[:50], in_float={})
    by_fewer = PlanRunner(graph, [(x, torch.zeros(50))]).predictions(plan)
    torch.testing.assert_close(by_fewer, model(x), rtol=0, atol=2e-6)


def test_the_float_network_is_that_of_the_calibration_until_it_is_calibrated_anew() -> None:
    graph, _, seen, _ = calibrated("residual")
    plan = only_measured(graph)
    before = graph.freeze(plan)
    norm = graph.model.get_submodule("norm_last")
    assert isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None
    norm.running_mean.add_(0.01)  # as a training of the quantised network does
    assert graph.freeze(plan) == copy.deepcopy(graph).freeze(plan) == before
    calibrate_analysis_pass(graph, {"input_generator": [{"x": seen}], "num_samples": len(seen)})
    after = graph.freeze(plan)
    assert [name for name in plan if before[name] != after[name]] == ["norm_last"]


def test_what_is_measured_anew_is_corrected_likewise() -> None:
    graph, _, _, _ = calibrated("residual")
    graph.apply_plan(only_measured(graph))
    before, in_float = graph.plan, graph.calibration.in_float
    assert any(
        own is not None and not torch.equal(own.corrected(own.seen.values), own.seen.values)
        for own in in_float.values()
    )
    graph.measure_under_plan()
    assert graph.plan == before
    with torch.no_grad():
        graph.model.get_submodule("one").weight.mul_(1.1)
    graph.measure_under_plan()
    assert graph.plan != before and graph.calibration.in_float == in_float
