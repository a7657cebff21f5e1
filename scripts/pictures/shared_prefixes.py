"""How often the batched evaluator computes each layer, counted while it runs, against one network after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from pictures.pages import Rows, table
from pictures.spaces import Space, space
from pictures.style import BLUE, INK, MUTED, ORANGE, new_figure
from pictures.style import PAGE as PAPER
from torch import Tensor, nn

from chop.actions.search.search_space.codes import Codes, codes_of_range
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.measures import Classification
from chop.evaluation.operations import Call, Linear, Operation
from chop.evaluation.program import Program
from chop.evaluation.values import Planes, Same, Value, each
from chop.evaluation.values import Rows as RowsOfValues
from chop.formats import FORMATS
from chop.ir import MaseGraph
from chop.models import get_model

PAGE = "concepts/evaluator.md"
SAMPLES = 512
TREE_WIDTHS = (2, 4, 8)
BRANCH = "#a9b4c0"
SHOWN = (1, 2, 0)
"""The network whose path the tree shows: the number of its choice at each layer."""


@dataclass(frozen=True)
class Counts:
    """How often something is computed on all samples: the layers that multiply, and all stages together.

    `products` are by layer; `loop` is the number of networks, in which a loop computes each layer.
    """

    loop: int
    products: tuple[float, ...]
    stages: float
    stages_of_a_network: int
    macs: tuple[int, ...]

    @property
    def share_of_macs(self) -> float:
        """The multiply-accumulates of the evaluator as a share of the loop's."""
        own = sum(count * macs for count, macs in zip(self.products, self.macs, strict=True))
        return own / (self.loop * sum(self.macs))


def samples_in(value: Value) -> int:
    """The samples that a value holds, those of every configuration counted."""
    if isinstance(value, Planes):
        return value.tensor.shape[1] * value.tensor.shape[2]
    if isinstance(value, RowsOfValues):
        return value.tensor.shape[0] * value.tensor.shape[1]
    return 0 if isinstance(value, Same) else sum(len(one) for one in each(value))


class Counter:
    """Counts the samples of what one operation returns, however it is called; calls within calls count once."""

    def __init__(self, operation: Operation) -> None:
        self.samples = 0
        self._is_inside = False
        for name in ("one", "every", "on_last_reading"):
            setattr(operation, name, self._counting(getattr(operation, name)))

    def _counting(self, method: Callable[..., Value]) -> Callable[..., Value]:
        def counting(*args: Any) -> Value:
            if self._is_inside:
                return method(*args)
            self._is_inside = True
            try:
                value = method(*args)
            finally:
                self._is_inside = False
            self.samples += samples_in(value)
            return value

        return counting


def is_product(operation: Operation) -> bool:
    """Whether a stage multiplies by weights."""
    return isinstance(operation, Linear) or (
        isinstance(operation, Call) and isinstance(operation.function, nn.Linear | nn.Conv2d)
    )


def counted(evaluator: Evaluator, codes: Codes, macs: tuple[int, ...]) -> Counts:
    """Run some configurations twice, and count in the second run, in which the sizes of values are known."""
    program: Program = evaluator.program
    measure = Classification(evaluator.targets, int(evaluator.targets.max()) + 1)
    evaluator.run(codes, [measure])
    counters = {
        number: Counter(program.stages[number].operation)
        for level in range(program.levels)
        for number in program.at(level)
    }
    evaluator.run(codes, [measure])
    times = {number: counter.samples / len(evaluator.targets) for number, counter in counters.items()}
    products = tuple(times[number] for number in sorted(times) if is_product(program.stages[number].operation))
    return Counts(len(codes), products, sum(times.values()), len(times), macs)


def macs_of(own: Space) -> tuple[int, ...]:
    """The multiply-accumulates of each layer, for one sample."""
    subject = own.instruments.subject
    return tuple(subject.work.macs_of(subject.axes or []))


@cache
def tree() -> Counts:
    """27 networks of jsc-toy: its three linear layers with weights of 2, 4 or 8 bits."""
    graph = MaseGraph(get_model("jsc-toy", pretrained=True).eval())
    nodes = [name for name, op in graph.quantizable_nodes().items() if op.name == "linear"]
    formats = [FORMATS["integer"].from_keys({"width": width}) for width in TREE_WIDTHS]
    axes = [[{node: {"weight": own}} for own in formats] for node in nodes]
    evaluator = Evaluator(graph, axes, [first_samples(space("jsc-toy"))])
    sizes = [len(axis) for axis in axes]
    return counted(evaluator, codes_of_range(0, int(np.prod(sizes)), sizes), macs_of(space("jsc-toy")))


def first_samples(own: Space) -> tuple[Tensor, Tensor]:
    """The samples that are measured: the first of the validation set."""
    x, y = own.samples("val")
    return x[:SAMPLES], y[:SAMPLES]


@cache
def whole(name: str) -> Counts:
    """All networks of a space."""
    own = space(name)
    return counted(own.evaluator(first_samples(own)), own.codes, macs_of(own))


def drawn(name: str, networks: int) -> Counts:
    """Networks that are drawn at random from a space."""
    own = space(name)
    chosen = np.random.default_rng(0).choice(len(own.codes), networks, replace=False)
    return counted(own.evaluator(first_samples(own)), own.codes[chosen], macs_of(own))


def prefix_tree() -> Any:
    """The tree of 27 networks, with the path of one, and how often each layer is computed."""
    figure, axes = new_figure(4.3)
    layers = len(SHOWN)
    for depth in range(1, layers + 1):
        for path in product(range(3), repeat=depth):
            is_shown = path == SHOWN[:depth]
            ends = [depth - 1, depth], [_height(path[:-1]), _height(path)]
            axes.plot(
                *ends, color=ORANGE if is_shown else BRANCH, linewidth=2.2 if is_shown else 1.2, zorder=1 + is_shown
            )
            axes.plot(
                depth, _height(path), "o", color=ORANGE if is_shown else BLUE, markersize=8 - 1.5 * depth, zorder=3
            )
    axes.plot(0, 0, "o", color=INK, markersize=8, zorder=3)
    axes.text(-0.08, 1.4, "input", ha="center")
    for depth, count in enumerate(tree().products, start=1):
        axes.text(depth, 14.6, f"layer {depth}", ha="center", fontweight="bold")
        axes.text(depth, -15.4, f"computed {count:.0f} ×", ha="center", color=BLUE)
        axes.text(depth, -17.2, f"in a loop {tree().loop} ×", ha="center", color=MUTED)
    for choice, width in enumerate(TREE_WIDTHS):
        axes.text(
            0.5,
            _height((choice,)) / 2 + 0.5,
            f"{width} bits",
            ha="center",
            fontsize=8,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},
        )
    axes.text(3.1, _height(SHOWN), "one\nnetwork", color=ORANGE, va="center", fontsize=8)
    axes.set(xlim=(-0.35, 3.55), ylim=(-18, 15.5))
    axes.set_axis_off()
    return figure


def _height(path: tuple[int, ...]) -> float:
    """Where a prefix stands: the middle of the networks below it."""
    return sum((1 - choice) * 9.0 / float(3**depth) for depth, choice in enumerate(path))


def counts_table() -> Rows:
    """Counts of the tree, of whole spaces, and of networks that are drawn."""
    cases = [
        ("jsc-toy, weights alone: the picture", tree()),
        ("jsc-tiny, its whole space", whole("jsc-tiny")),
        ("jsc-toy, its whole space", whole("jsc-toy")),
        ("shapes-cnn, biases of 8 bits", whole("shapes-cnn")),
        ("jsc-toy, 300 networks drawn at random", drawn("jsc-toy", 300)),
        ("jsc-toy, 10 networks drawn at random", drawn("jsc-toy", 10)),
    ]
    rows = [
        [
            name,
            f"{own.loop:,}",
            f"{own.loop * len(own.products):,}",
            " + ".join(f"{count:,.0f}" for count in own.products),
            f"{own.loop * len(own.products) / sum(own.products):.1f}",
            f"{own.loop * own.stages_of_a_network / own.stages:.1f}",
            f"{1 / own.share_of_macs:.1f}",
        ]
        for name, own in cases
    ]
    head = [
        "networks of",
        "networks",
        "layers, in a loop",
        "layers, computed",
        "fewer layers",
        "fewer steps",
        "fewer MACs",
    ]
    return table(head, rows)


PICTURES = {"shared_prefixes": prefix_tree}
TABLES = {"shared_prefixes": counts_table}
