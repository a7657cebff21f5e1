"""How much better winners look on the validation samples that chose them than they are, measured on whole spaces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pictures.pages import Rows, table
from pictures.spaces import FILES, front, space
from pictures.style import BLUE, GREEN, ORANGE, new_figure
from torch import Tensor

from chop.scoring.intervals import Z, wilson_interval

PAGE = "concepts/optimism.md"
SIZES = (128, 256, 512, 1024, 2048, 4096, 8192)
DRAWS = 100
ROWS_AT_A_TIME = 1024
Numbers = NDArray[Any]


@dataclass(frozen=True)
class Draws:
    """The scores of some draws, `(draws,)`.

    They are the winner's score on the samples that chose it and on the test samples, the highest test score of all
    networks, and the optimism of the winner and of the front (the mean of its networks).

    Optimism is the difference of validation and test score, less that of one network that no draw has chosen: its
    expectation is 0, and most of the chance is common to all networks.
    """

    chosen: Numbers
    tested: Numbers
    best: Numbers
    optimism: Numbers
    front_optimism: Numbers


@cache
def hits(name: str) -> tuple[Tensor, Tensor]:
    """Which samples every network of a space classifies right, `(networks, samples)`, and the samples' classes.

    They are all validation and test samples together: no training has seen any of them.
    """
    own = space(name)
    batch = own.samples("val", "test")
    return torch.from_numpy(own.hits(batch)), batch[1]


def weights_of(rows: Tensor, classes: Tensor) -> Tensor:
    """For every sample what a hit adds to the accuracy on `rows`: the mean over classes of the share of hits."""
    weights = torch.zeros(len(classes))
    counts = torch.bincount(classes[rows])
    weights[rows] = 1.0 / (len(counts) * counts[classes[rows]])
    return weights


@cache
def draws(name: str, samples: int) -> Draws:
    """So many validation samples, drawn again and again; as many others as the test set has are the test samples."""
    found, classes = hits(name)
    generator = torch.Generator().manual_seed(samples)
    orders = [torch.randperm(len(classes), generator=generator) for _ in range(DRAWS)]
    own = space(name)
    test = len(own.samples("test")[1])
    validation = torch.stack([weights_of(order[:samples], classes) for order in orders], 1)
    others = torch.stack([weights_of(order[-test:], classes) for order in orders], 1)
    chosen, tested = _products(found, validation), _products(found, others)
    winners, numbers = chosen.argmax(0), np.arange(DRAWS)
    above = chosen - tested
    above -= above[fixed_network(name)]
    fronts = [front(own.bits, chosen[:, draw]) for draw in numbers]
    optimism = np.array([above[members, draw].mean() for draw, members in enumerate(fronts)])
    return Draws(chosen[winners, numbers], tested[winners, numbers], tested.max(0), above[winners, numbers], optimism)


@cache
def accuracies(name: str) -> Numbers:
    """The accuracy of every network on all samples."""
    found, classes = hits(name)
    return _products(found, weights_of(torch.arange(len(classes)), classes).unsqueeze(1))[:, 0]


def fixed_network(name: str) -> int:
    """The network that is best on all samples together."""
    return int(accuracies(name).argmax())


def _products(found: Tensor, weights: Tensor) -> Numbers:
    """The scores of every network in every draw, `(networks, draws)`."""
    return torch.cat([part.float() @ weights for part in found.split(ROWS_AT_A_TIME)]).numpy()  # type: ignore[no-untyped-call]


def sizes_of(name: str) -> list[int]:
    """The numbers of validation samples that leave enough others for a test set."""
    own = space(name)
    return [samples for samples in SIZES if samples <= len(own.samples("val")[1])]


def scores() -> Any:
    """The winner's validation score, its test score and the best test score against the number of samples."""
    figure, panels = new_figure(6.6, rows=3)
    for axes, name in zip(panels, FILES, strict=True):
        sizes = sizes_of(name)
        found = [draws(name, samples) for samples in sizes]
        lines = (
            ("validation", ORANGE, "o-", [own.chosen for own in found]),
            ("test", BLUE, "s-", [own.tested for own in found]),
        )
        for label, colour, line, values in lines:
            low, high = zip(*(np.quantile(own, (0.1, 0.9)) for own in values), strict=True)
            axes.fill_between(sizes, low, high, color=colour, alpha=0.18, linewidth=0)
            means = [own.mean() for own in values]
            axes.plot(sizes, means, line, color=colour, markersize=4.5, label=f"the winner's {label} score")
        best = [own.best.mean() for own in found]
        axes.plot(sizes, best, color=GREEN, linestyle=(0, (4, 2)), label="the best test score of all networks")
        axes.set(xscale="log", ylabel="accuracy", xlim=(112, 9400))
        axes.set_title(f"{name}: {len(space(name).codes):,} networks")
        axes.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
        axes.minorticks_off()
        axes.grid(linewidth=0.6)
    panels[0].legend(fontsize=8)
    panels[-1].set_xlabel("validation samples that chose the winner")
    return figure


def optimism_table() -> Rows:
    """The optimism of winners and of fronts, and what the choice loses, in points."""
    rows = []
    for name in FILES:
        for samples in sizes_of(name):
            own = draws(name, samples)
            rows.append(
                [
                    name,
                    f"{samples:,}",
                    _with_interval(own.optimism),
                    _with_interval(own.front_optimism),
                    f"{100 * (own.best - own.tested).mean():.2f}",
                    f"± {half_width(float(own.tested.mean()), samples):.2f}",
                ]
            )
    head = ["space", "validation samples", "winner", "front, on average", "below the best", "interval of one score"]
    return table(head, rows)


def _with_interval(values: Numbers) -> str:
    """A mean over draws with its 95 % interval, in points."""
    return f"{100 * values.mean():+.2f} ± {100 * Z * values.std() / math.sqrt(len(values)):.2f}"


def half_width(share: float, samples: int) -> float:
    """Half of the width of the 95 % interval of an accuracy, in points."""
    _, low, high = wilson_interval(round(share * samples), samples)
    return 100 * (high - low) / 2


def interval_table() -> Rows:
    """Half of the width of the 95 % interval of a score, by samples."""
    shares = (0.5, 0.7, 0.9, 0.95)
    rows = [
        [f"{samples:,}", *(f"± {half_width(share, samples):.2f}" for share in shares)]
        for samples in (*SIZES, 20_000, 50_000)
    ]
    return table(["samples", *(f"accuracy {100 * share:.0f} %" for share in shares)], rows)


def disagreement(name: str) -> float:
    """The share of samples on which one of two neighbours on the front alone is right: the median over good ones."""
    found, _ = hits(name)
    accuracy = accuracies(name)
    members = front(space(name).bits, accuracy)
    members = members[accuracy[members] > 0.9 * accuracy.max()]
    return float(np.median([float((found[a] ^ found[b]).float().mean()) for a, b in pairwise(members)]))


def samples_needed(variance: float, difference: float) -> str:
    """Samples after which the 95 % interval of a difference excludes 0, where each sample adds so much variance."""
    return f"{math.ceil(Z**2 * variance / difference**2):,}"


def tell_apart_table() -> Rows:
    """How many samples tell two networks apart that are scored on the same samples, or each on its own."""
    rows = []
    for name in FILES:
        top, share = float(accuracies(name).max()), disagreement(name)
        for difference in (0.02, 0.01, 0.005):
            same = samples_needed(share - difference**2, difference)
            others = samples_needed(2 * top * (1 - top), difference)
            rows.append([name, f"{100 * share:.1f} %", f"{100 * difference:g} points", same, others])
    head = [
        "space",
        "samples on which one alone is right",
        "difference",
        "on the same samples",
        "on other samples each",
    ]
    return table(head, rows)


PICTURES = {"optimism": scores}
TABLES = {
    "optimism": optimism_table,
    "intervals": interval_table,
    "tell_apart": tell_apart_table,
}
