"""How alike accuracy and loss order the networks of whole spaces, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pictures.pages import Rows, table
from pictures.spaces import FILES, front, space
from pictures.style import BLUE, ORANGE, new_figure
from scipy.stats import spearmanr

from chop.evaluation.measures import Scores

PAGE = "concepts/accuracy_and_loss.md"
SAMPLES = 512
SIZES = (128, 512, 2048)
DRAWS = 20
BEST, LEAST_BEST = 0.1, 9
"""The share of the networks that counts as the best, by accuracy; of few networks so many."""

LARGE = ("jsc-toy", "shapes-cnn")
"""The spaces with enough networks for pairs of equal accuracy."""

CHANCE = 0.2
"""The accuracy of guessing one of five classes."""

Numbers = NDArray[Any]


@cache
def measured(name: str) -> Scores:
    """Accuracy and loss of all networks of a space on all validation samples."""
    own = space(name)
    return own.scores(own.samples("val"))


@cache
def tested(name: str) -> Scores:
    """The same on the test set."""
    own = space(name)
    return own.scores(own.samples("test"))


@cache
def drawn(name: str, samples: int) -> list[Scores]:
    """The same on validation samples that are drawn anew each time."""
    own = space(name)
    x, y = own.samples("val")
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randperm(len(y), generator=generator)[:samples] for _ in range(DRAWS)]
    return [own.scores((x[chosen], y[chosen])) for chosen in rows]


def rank_correlation(a: Numbers, b: Numbers) -> float:
    """Spearman's."""
    return float(spearmanr(a, b).statistic)


def best(accuracy: Numbers) -> Numbers:
    """The networks with the highest accuracies."""
    return np.argsort(-accuracy, kind="stable")[: max(LEAST_BEST, round(BEST * len(accuracy)))]


def scatter() -> Any:
    """Accuracy against loss for every network of three spaces."""
    figure, panels = new_figure(6.4, rows=3)
    for axes, name in zip(panels, FILES, strict=True):
        accuracy, loss = measured(name)["accuracy"], measured(name)["loss"]
        top = best(accuracy)
        size = 18 if len(accuracy) < 100 else 3
        for chosen, colour in ((np.arange(len(accuracy)), BLUE), (top, ORANGE)):
            axes.scatter(
                loss[chosen], accuracy[chosen], s=size, color=colour, linewidths=0, rasterized=len(accuracy) > 100
            )
        axes.set(xscale="log", ylabel="accuracy")
        axes.set_title(f"{name}: {len(accuracy):,} networks")
        axes.text(
            0.97,
            0.93,
            f"rank correlation, all: {rank_correlation(accuracy, -loss):.3f}",
            color=BLUE,
            **CORNER,
            transform=axes.transAxes,
        )
        which = "best tenth" if len(top) > LEAST_BEST else "best half"
        text = f"{which}: {rank_correlation(accuracy[top], -loss[top]):.3f}"
        axes.text(0.97, 0.81, text, color=ORANGE, **CORNER, transform=axes.transAxes)
        ticks = [
            tick for tick in (0.2, 0.3, 0.5, 0.7, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 2, 3, 5) if loss.min() < tick < loss.max()
        ]
        if len(ticks) > 6:
            ticks = [tick for tick in ticks if tick not in {0.9, 1.1, 1.2, 1.3}]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(linewidth=0.6)
    panels[-1].set_xlabel("loss (mean cross entropy)")
    return figure


CORNER: dict[str, Any] = {"ha": "right", "va": "top", "fontweight": "bold"}


def correlation_table() -> Rows:
    """Rank correlations of accuracy and of minus the loss, over all networks and over the best tenth."""
    rows = []
    for name in FILES:
        accuracy, loss = measured(name)["accuracy"], -measured(name)["loss"]
        few = drawn(name, SAMPLES)
        top = best(accuracy)
        again = [rank_correlation(own["accuracy"], other["accuracy"]) for own, other in _pairs(few)]
        rows.append(
            [
                name,
                f"{len(accuracy):,}",
                f"{rank_correlation(accuracy, loss):.3f}",
                f"{rank_correlation(accuracy[top], loss[top]):.3f}",
                f"{np.mean([rank_correlation(own['accuracy'], -own['loss']) for own in few]):.3f}",
                f"{np.mean(again):.3f}",
                f"{np.mean([len(np.unique(own['accuracy_micro'])) for own in few]):,.0f}",
            ]
        )
    head = [
        "space",
        "networks",
        "accuracy and loss",
        "the same, best",
        f"the same, {SAMPLES} samples",
        f"accuracy and accuracy, {SAMPLES} other samples",
        f"values of `accuracy_micro`, {SAMPLES} samples",
    ]
    return table(head, rows)


def _pairs(draws: list[Scores]) -> list[tuple[Scores, Scores]]:
    return list(zip(draws[::2], draws[1::2], strict=True))


def front_table() -> Rows:
    """How many networks are on the fronts of accuracy against loss and against bits, and how far accuracy ranges."""
    rows = []
    for name in FILES:
        accuracy, loss = measured(name)["accuracy"], measured(name)["loss"]
        fronts = [front(costs, accuracy) for costs in (loss, space(name).bits)]
        ranges = [100 * np.ptp(accuracy[members]) for members in fronts]
        rows.append([name, *(f"{len(own)}; {span:.1f} points" for own, span in zip(fronts, ranges, strict=True))])
    return table(["space", "accuracy and loss", "accuracy and average bit width"], rows)


def choice_table() -> Rows:
    """What one loses on the test set by choosing the best network by accuracy, or by loss, on few samples."""
    rows = []
    for name in FILES:
        test = tested(name)["accuracy"]
        for samples in SIZES:
            if samples > len(space(name).samples("val")[1]):
                continue
            draws = drawn(name, samples)
            lost = [
                100 * (test.max() - np.array([test[pick(own)] for own in draws])) for pick in (by_accuracy, by_loss)
            ]
            rows.append([name, f"{samples:,}", *(f"{own.mean():.2f} ± {own.std() / DRAWS**0.5:.2f}" for own in lost)])
    head = ["space", "validation samples", "chosen by accuracy", "chosen by loss"]
    return table(head, rows)


def by_accuracy(scores: Scores) -> int:
    """The network with the highest accuracy, the first of equal ones."""
    return int(scores["accuracy"].argmax())


def by_loss(scores: Scores) -> int:
    """The network with the lowest loss."""
    return int(scores["loss"].argmin())


@dataclass(frozen=True)
class Described:
    """How sure a network is: its accuracy and loss, and the mean probability of the class that it names."""

    accuracy: float
    loss: float
    confidence: float
    confidence_when_wrong: float
    bits: float


def unlike_pair(name: str) -> tuple[int, int]:
    """Two networks of equal accuracy, within 0.1 points and well above chance, whose losses differ most."""
    accuracy, loss = measured(name)["accuracy"], measured(name)["loss"]
    order = np.argsort(accuracy)
    order = order[accuracy[order] > (CHANCE + accuracy.max()) / 2]
    found, widest = (0, 0), -1.0
    for place, first in enumerate(order):
        near = order[place : place + np.searchsorted(accuracy[order[place:]], accuracy[first] + 0.001)]
        low, high = near[loss[near].argmin()], near[loss[near].argmax()]
        if loss[high] - loss[low] > widest:
            found, widest = (int(low), int(high)), float(loss[high] - loss[low])
    return found


def described(name: str, point: int) -> Described:
    """A network of a space, run on its own on the validation samples."""
    own = space(name)
    subject = own.instruments.subject
    outputs = subject.plan_runner(("val", None)).predictions(subject.space.plan(subject.space.point(point)))
    likely = torch.softmax(outputs, 1).amax(1)
    is_wrong = outputs.argmax(1) != own.samples("val")[1]
    scores = measured(name)
    return Described(
        float(scores["accuracy"][point]),
        float(scores["loss"][point]),
        float(likely.mean()),
        float(likely[is_wrong].mean()),
        float(own.bits[point]),
    )


def confidence_table() -> Rows:
    """Pairs of networks with equal accuracy and unlike losses."""
    rows = []
    for name in LARGE:
        for point in unlike_pair(name):
            own = described(name, point)
            rows.append(
                [
                    name,
                    f"{own.bits:.2f}",
                    f"{own.accuracy:.3f}",
                    f"{own.loss:.2f}",
                    f"{own.confidence:.2f}",
                    f"{own.confidence_when_wrong:.2f}",
                ]
            )
    head = ["space", "average bit width", "accuracy", "loss", "mean confidence", "where it is wrong"]
    return table(head, rows)


PICTURES = {"accuracy_and_loss": scatter}
TABLES = {
    "correlations": correlation_table,
    "fronts": front_table,
    "choices": choice_table,
    "confidence": confidence_table,
}
