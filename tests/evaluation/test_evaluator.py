"""Many configurations at once against the reference, plan by plan, on graphs of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from chop.evaluation.evaluator import Evaluator
from chop.evaluation.measures import Classification, RowChunk, WholePredictions
from chop.evaluation.operations import Linear
from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.program import Axis
from chop.evaluation.values import Planes
from chop.evaluation.walk import Walk
from chop.formats import FORMATS, Format, Integer
from chop.ir import MaseGraph, QuantPlan
from tests.scores import score

CLASSES = 3


class Mlp(nn.Module):
    """A chain with batch norm, as the jet networks are."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(6), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5, bias=False), nn.GELU()
        )
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x))


class Residual(nn.Module):
    """Branches that meet again, a module called twice, a functional layer and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)
        self.weight = nn.Parameter(torch.randn(6, 6) / 3)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.first(x))
        b = self.shared(a) + x
        c = self.shared(b) * torch.sigmoid(a)
        return self.head(F.linear(c - b, self.weight) + 0.5)


class Convolution(nn.Module):
    """Images, an in-place activation, and a reshape with a written-out size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.more = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3)
        self.norm, self.act, self.head = nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(x.view(-1, 1, 6, 6))))
        x = F.max_pool2d(torch.relu(self.more(x)), 2)
        return self.head(torch.flatten(x, 1))


class Attention(nn.Module):
    """Matrix products of two activations, softmax and layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.size(0), 3, 4)
        weights = torch.softmax(self.query(x) @ self.key(x).transpose(1, 2), -1)
        mixed = self.norm(torch.matmul(weights, self.value(x)) + x)
        return self.head(mixed.mean(1))


class AcrossRows(nn.Module):
    """Rows that depend on each other: no batch may be made longer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head(x - x.mean(0))


MODELS: dict[str, tuple[type[nn.Module], int]] = {
    "chain": (Mlp, 6),
    "residual": (Residual, 6),
    "convolution": (Convolution, 36),
    "attention": (Attention, 12),
    "across rows": (AcrossRows, 6),
}
FIXED_POINT = [Integer(8), Integer(4), Integer(6, 4), Integer(2), FORMATS["integer_floor"](6, 3)]
FORMATS_OF_ALL_KINDS: list[Format | None] = [
    None,
    Integer(5),
    FORMATS["minifloat_ieee"](width=6, exponent_width=3),
    FORMATS["log"](width=4, exponent_bias=3),
    FORMATS["mxint"](block_size=(1, 4), element_bits=4),
    FORMATS["block_fp"](width=5, exponent_width=4, block_size=(1, 2), is_activation=True),
    FORMATS["ternary"](),
    FORMATS["scale_integer"](width=4, granularity="channel", channel_axis=0, scale=(0.25,)),
]


def problem(name: str, formats: Sequence[Format | None], choices: int, seed: int, rows: int = 40) -> tuple[Any, ...]:
    """A graph, axes with random choices (some nodes tied, some without any) and batches."""
    torch.manual_seed(seed)
    model, width = MODELS[name]
    graph = MaseGraph(model().eval())
    draw = np.random.default_rng(seed)
    ops = graph.quantizable_nodes()
    names = [node for node in ops if draw.random() < 0.8] or list(ops)[:1]
    groups = [names[:1], *([node] for node in names[1:])]
    if len(names) > 3:
        groups = [[names[0], names[-1]], *([node] for node in names[1:-1])]
    axes: list[Axis] = []
    for group in groups:
        size = int(draw.integers(1, choices + 1))
        drawn = [
            {n: {o: formats[draw.integers(len(formats))] for o in ops[n].operands} for n in group} for _ in range(size)
        ]
        axes.append([graph_formats(graph, alternative) for alternative in drawn])
    x, y = torch.randn(rows, width), torch.randint(CLASSES, (rows,))
    y[:CLASSES] = torch.arange(CLASSES)
    half = rows // 2
    return graph, axes, [(x[:half], y[:half]), (x[half:], y[half:])]


def graph_formats(graph: MaseGraph, drawn: dict[str, dict[str, Format | None]]) -> dict[str, dict[str, Format]]:
    """The drawn formats without those that must be measured on activations, the others frozen."""
    kept = {
        node: {o: f for o, f in formats.items() if f is not None and (not f.is_measured or o in ("weight", "bias"))}
        for node, formats in drawn.items()
    }
    known = graph.calibration.tensors
    kept = {
        n: {o: f for o, f in formats.items() if not f.is_measured or (n, o) in known} for n, formats in kept.items()
    }
    plan = graph.freeze(QuantPlan.of(kept))
    return {node: plan[node] for node in kept}


def reference(graph: MaseGraph, axes: Sequence[Axis], batches: Any, codes: Any) -> Tensor:
    runner = PlanRunner(graph, batches)
    plans = [
        QuantPlan.of({n: f for axis, number in zip(axes, code, strict=True) for n, f in axis[number].items()})
        for code in codes
    ]
    return torch.stack([runner.predictions(plan) for plan in plans])


def predictions(evaluator: Evaluator, codes: Any) -> Tensor:
    distinct, own = np.unique(codes, axis=0, return_inverse=True)
    measure = WholePredictions(
        evaluator.targets, lambda predictions, targets: {"": 0.0}, evaluator.program.example, [""]
    )
    evaluator.run_sorted(distinct, [measure])
    return measure.predictions[torch.from_numpy(own.reshape(-1))]


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 400))
def test_fixed_point_is_the_same_to_the_bit(seed: int, rows: int) -> None:
    """Every sum of products is exact in float32, whatever its order; what is left works element by element."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    layers = [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, CLASSES)]
    graph = MaseGraph(nn.Sequential(*layers, nn.BatchNorm1d(CLASSES), nn.ReLU()).eval())
    linear = [name for name, op in graph.quantizable_nodes().items() if op.name == "linear"]
    axes = [
        [{n: {o: draw.choice(FIXED_POINT) for o in ("data_in", "weight", "bias")}} for _ in range(7)] for n in linear
    ]
    batches = [(torch.randn(rows, 6) * 3, torch.randint(CLASSES, (rows,)))]
    codes = draw.integers(0, 7, (60, len(axes)))
    assert torch.equal(predictions(Evaluator(graph, axes, batches), codes), reference(graph, axes, batches, codes))


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_any_formats_on_any_graph_agree_with_the_reference(name: str, seed: int) -> None:
    """A float sum in another order may move a value over a rounding border, so a few may differ by a step."""
    graph, axes, batches = problem(name, FORMATS_OF_ALL_KINDS, 4, seed)
    codes = np.random.default_rng(seed).integers(0, [len(axis) for axis in axes], (25, len(axes)))
    found = predictions(Evaluator(graph, axes, batches), codes)
    wanted = reference(graph, axes, batches, codes)
    assert ((found - wanted).abs() <= 1e-5 * wanted.abs().max()).float().mean() > 0.99


@pytest.mark.parametrize("classes_together", [False, True])
def test_folded_scores_are_those_of_the_predictions(classes_together: bool) -> None:
    graph, axes, batches = problem("chain", FIXED_POINT, 5, seed=4, rows=300 if classes_together else 40)
    codes = np.random.default_rng(0).integers(0, [len(axis) for axis in axes], (50, len(axes)))
    evaluator = Evaluator(graph, axes, batches)
    assert any(part.chunk.target is not None for part in evaluator.parts) == classes_together
    (found,) = evaluator.run(codes, [Classification(evaluator.targets, CLASSES)])
    for row, outputs in enumerate(reference(graph, axes, batches, codes)):
        wanted = score(outputs, evaluator.targets, num_classes=CLASSES)
        assert found["loss"][row] == pytest.approx(wanted["loss"], abs=1e-6)
        assert found["accuracy"][row] == wanted["accuracy"]
        assert found["accuracy_micro"][row] == wanted["accuracy_micro"]


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6))
def test_of_equal_scores_the_first_counts(seed: int) -> None:
    """Few distinct scores, so that ties are everywhere: hits are those of argmax."""
    torch.manual_seed(seed)
    scores = torch.randint(3, (6, 30, CLASSES)).float()
    targets = torch.cat([torch.arange(CLASSES), torch.randint(CLASSES, (27,))])
    measure = Classification(targets, CLASSES)
    for chunks in (
        [RowChunk(torch.arange(30), targets)],
        [RowChunk((targets == c).nonzero().flatten(), targets[targets == c], c) for c in range(CLASSES)],
    ):
        measure.start(6)
        for chunk in chunks:
            measure.add(chunk, 0, 6, Planes(scores[:, chunk.rows].permute(2, 0, 1).contiguous()), np.arange(6))
        found = measure.finish()
        for row in range(6):
            wanted = score(scores[row], targets, num_classes=CLASSES)
            assert found["accuracy"][row] == wanted["accuracy"]
            assert found["loss"][row] == pytest.approx(wanted["loss"], abs=1e-6)


def product(axes: Sequence[Axis]) -> Any:
    sizes = [len(axis) for axis in axes]
    return np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), 1)


class Branches(nn.Module):
    """Many branches that one stage reads together."""

    def __init__(self, count: int = 24) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Linear(4, 3) for _ in range(count)])
        self.head = nn.Linear(3 * count, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([branch(x) for branch in self.branches], 1))


def test_any_number_of_inputs_of_a_stage_keeps_configurations_apart() -> None:
    torch.manual_seed(0)
    graph = MaseGraph(Branches().eval())
    names = [name for name, op in graph.quantizable_nodes().items() if op.name == "linear"]
    widths = [Integer(width, fraction) for width in range(3, 11) for fraction in range(1, 5)]
    axes = [[{name: {"weight": chosen}} for chosen in widths] for name in names]
    batches = [(torch.randn(40, 4), torch.arange(40) % CLASSES)]
    codes = np.random.default_rng(0).integers(0, len(widths), (200, len(axes)))
    found = predictions(Evaluator(graph, axes, batches), codes)
    assert torch.allclose(found, reference(graph, axes, batches, codes), atol=1e-5)


class BatchStatistics(nn.Module):
    """A norm that mixes rows without changing a shape."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def test_a_call_that_mixes_rows_is_found_out_though_the_first_configurations_are_alike() -> None:
    torch.manual_seed(0)
    graph = MaseGraph(BatchStatistics().eval())
    alike = [Integer(30 - step, 8) for step in range(12)]
    axes = [[{"conv": {"data_in": chosen}} for chosen in [*alike, Integer(2, 0), Integer(3, 0)]]]
    batches = [(torch.randn(40, 1, 6, 6), torch.arange(40) % CLASSES)]
    codes = np.arange(len(axes[0]))[:, None]
    found = predictions(Evaluator(graph, axes, batches), codes)
    assert torch.allclose(found, reference(graph, axes, batches, codes), atol=1e-5)


class Constants(nn.Module):
    """Constants whose first dimension is as long as a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(8, 8), nn.Linear(8, CLASSES)
        self.scale = nn.Parameter(torch.rand(8) + 0.5)
        self.register_buffer("neighbours", torch.rand(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.neighbours @ (self.first(x) * self.scale)
        return self.head(F.layer_norm(x, (8,), self.scale, self.scale).sum(1))


@pytest.mark.parametrize("last", [8, 4, 1])
def test_a_constant_as_long_as_a_batch_is_no_rows(last: int) -> None:
    torch.manual_seed(0)
    graph = MaseGraph(Constants().eval())
    axes = [[{name: {"weight": Integer(width)}} for width in (3, 4, 5, 6, 8)] for name in ("first", "head")]
    batches = [(torch.randn(rows, 4, 8), torch.arange(rows) % CLASSES) for rows in (64, last)]
    codes = np.stack(np.unravel_index(np.arange(25), (5, 5)), 1)
    found = predictions(Evaluator(graph, axes, batches), codes)
    assert torch.allclose(found, reference(graph, axes, batches, codes), atol=1e-5)


def test_the_first_piece_keeps_to_the_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    graph = MaseGraph(BatchStatistics().eval())
    axes = [[{"conv": {"weight": Integer(width, fraction)}} for width in range(3, 11) for fraction in range(8)]]
    batches = [(torch.randn(64, 1, 16, 16), torch.arange(64) % CLASSES)]
    evaluator = Evaluator(graph, axes, batches, memory=2**23)
    compute, sizes = Walk._compute, []

    def noting(walk: Walk, level: int, start: int, parents: Any, alternatives: Any, live: Any) -> Any:
        found = compute(walk, level, start, parents, alternatives, live)
        sizes.append(walk._bytes_per_child[level] * len(parents))  # type: ignore[operator]
        return found

    monkeypatch.setattr(Walk, "_compute", noting)
    predictions(evaluator, np.arange(len(axes[0]))[:, None])
    assert len(sizes) > 2
    assert max(sizes) <= 2**23


def test_little_memory_changes_no_result() -> None:
    graph, axes, batches = problem("chain", FIXED_POINT, 6, seed=8)
    small, usual = (Evaluator(graph, axes, batches, memory=memory) for memory in (2**14, 2**28))
    assert torch.equal(predictions(small, product(axes)), predictions(usual, product(axes)))


def test_what_configurations_share_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first layer once for each of its distinct choices, the last for each whole configuration."""
    torch.manual_seed(0)
    graph = MaseGraph(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, CLASSES)).eval())
    linear = [name for name, op in graph.quantizable_nodes().items() if op.name == "linear"]
    axes = [[{name: {"weight": Integer(width)}} for width in (2, 3, 4, 5)] for name in linear]
    evaluator = Evaluator(graph, axes, [(torch.randn(9, 6), torch.arange(9) % CLASSES)])
    computed: dict[int, int] = {}
    every = Linear.every

    def counted(self: Linear, choices: Any, inputs: Any) -> Any:
        found = every(self, choices, inputs)
        computed[self.weight.shape[0]] = computed.get(self.weight.shape[0], 0) + found.tensor.shape[1]
        return found

    monkeypatch.setattr(Linear, "every", counted)
    predictions(evaluator, product(axes))
    assert computed == {5: 4, CLASSES: 16}
